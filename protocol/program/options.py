"""What may stand on the command line, and the help that tells of it."""

from __future__ import annotations

import argparse
import typing

from protocol.errors import UsageError, without_secrets
from protocol.program.kinds import KINDS
from protocol.program.version import VERSION

#: What the program calls itself, to write a ledger.
LEDGER_WRITER = "ledger-writer"

_EXAMPLES = """\
examples:
  python oaiserve.py                                  the mock on http://127.0.0.1:8080
  python oaiserve.py mock --set mock.text="hi there"  let it say something else
  python oaiserve.py mock --set mock.delay=0.05       twenty words a second
  python oaiserve.py relay                            to api.openai.com, with OPENAI_API_KEY or the caller's key
  python oaiserve.py relay --set relay.base_url=http://127.0.0.1:11434/v1 --set relay.model=qwen3
  python oaiserve.py dashscope                        Alibaba's DashScope behind OpenAI's API, each caller's own key
  python oaiserve.py -p 0                             on any free port; the banner says which
  python oaiserve.py try                              is the server there, and is it well?
  python oaiserve.py key new alice                    a key for a caller of your own, its hash into keys.ini
  python oaiserve.py usage --by team,model --since 30d   what was used, and what it cost
  python oaiserve.py bundle                           one file and a zipapp in dist/
  python oaiserve.py help usage                       what a command takes

Options beat the environment's OAISERVE_SECTION_KEY, e.g. OAISERVE_SERVER_PORT=9000, which beats the file, which beats
the defaults. Without --config, config.ini is read from the working directory
or from beside this program, whichever is found first. Values may name the environment: ${NAME}, ${NAME:-default}.
SIGHUP has the files read again; a mistake in them changes nothing. SIGUSR2 starts the program anew and
lets it take over without a lost request. SIGTERM and Ctrl-C let running answers end.
exit status: 0 stopped when told, 1 could not go on, 2 wrong usage or configuration.
"""


class _Option(typing.NamedTuple):
    """An option: its flags, the commands that take it, and what argparse wants to know of it.

    `follows` is what the shell can offer behind it (protocol/tools/completion.py).
    """

    flags: tuple[str, ...]
    commands: tuple[str, ...]
    about: dict[str, typing.Any]
    follows: str | tuple[str, ...] = ""


_SERVING = ("", *KINDS)

_WITH_CONFIG = (*_SERVING, "key", "usage")

OPTIONS = (
    _Option(
        ("-c", "--config"), _WITH_CONFIG,
        {"metavar": "FILE", "help": "read this configuration instead of config.ini"}, "file",
    ),
    _Option(("-p", "--port"), _SERVING, {"metavar": "N", "help": "port to listen on; 0 takes any free one"}),
    _Option(("--host",), _SERVING, {"metavar": "H", "help": "address to listen on; 0.0.0.0 is every one"}),
    _Option(("--workers",), _SERVING, {"metavar": "N", "help": "processes that share the port; 0 is one a core"}),
    _Option(
        ("--set",), _WITH_CONFIG,
        {"metavar": "SECTION.KEY=VALUE", "action": "append", "default": [], "help": "set one value; again and again"},
        "keys",
    ),
    _Option(
        ("-q", "--quiet"), _SERVING,
        {"action": "store_true", "help": "log no requests; what goes wrong is told all the same"},
    ),
    _Option(
        ("-v", "--verbose"), _SERVING,
        {"action": "store_true", "help": "log all that is known of each request, in one line, probes too"},
    ),
    _Option(
        ("--check",), _SERVING,
        {"action": "store_true", "help": "say what the effective configuration is, secrets masked, and stop"},
    ),
    _Option(
        ("--key",), ("try", "cassette"),
        {
            "metavar": "K",
            "help": "try: the API key (else, here and at their vendors, OPENAI_API_KEY, DASHSCOPE_API_KEY)",
        },
    ),
    _Option(("--model",), ("try",), {"metavar": "M", "help": "try: the model to ask (else the first one listed)"}),
    _Option(
        ("--timeout",), ("try",),
        {
            "metavar": "SECONDS", "type": float, "default": 15.0,
            "help": "try: for how long a server may say nothing (15); one that hangs is tried no further",
        },
    ),
    _Option(
        ("--live",), ("cassette",),
        {"metavar": "URL", "help": "cassette check: the API whose answers the recorded ones are compared with"},
    ),
    _Option(("--team",), ("key",), {"metavar": "T", "default": "", "help": "key new: the team that the key is of"}),
    _Option(
        ("--file",), ("key",),
        {"metavar": "FILE", "help": "key: the file of keys (else [server] keys_file, else keys.ini)"}, "file",
    ),
    _Option(
        ("--by",), ("usage",),
        {
            "metavar": "WHAT", "default": "key",
            "help": "usage: by key, team, model, backend, day, or several: team,model",
        },
        ("key", "team", "model", "backend", "day"),
    ),
    _Option(
        ("--since",), ("usage",),
        {"metavar": "DATE|30d", "help": "usage: from that day (UTC) on, or for so many days until today"},
    ),
    _Option(("--csv",), ("usage",), {"action": "store_true", "help": "usage: as CSV"}),
    _Option(("--json",), ("usage",), {"action": "store_true", "help": "usage: as JSON"}),
    _Option(
        ("--from-log",), ("usage",),
        {
            "metavar": "FILE", "nargs": "+",
            "help": "usage: from logs (log = json) instead of a ledger; - is standard input",
        },
        "file",
    ),
)  # fmt: skip


class Said(typing.NamedTuple):
    """What is said of a command: how it is written, what it does, and the words that may follow it."""

    usage: str
    does: str
    words: tuple[str, ...] = ()


SAID = {
    "mock": Said("mock", "serve; what no route names, the mock answers by itself"),
    "relay": Said("relay", "serve; what no route names goes to a real upstream"),
    "dashscope": Said("dashscope", "serve; what no route names goes to Alibaba's DashScope, translated"),
    "try": Said("try [URL]", "check a server from the outside, by default http://127.0.0.1:8080"),
    "bundle": Said("bundle [DIR]", "write one file and a zipapp of the source tree to DIR (dist)"),
    "cassette": Said(
        "cassette check FILE | cassette import HAR FILE", "work on recorded answers", ("check", "import")
    ),
    "key": Said(
        "key new NAME | key list | key check", "make keys for callers of your own, and tell whose one is",
        ("new", "list", "check"),
    ),
    "usage": Said("usage [FILE]", "add up what was used and what it cost, from the ledger"),
    "help": Said("help [COMMAND]", "say what there is, or what a command takes"),
    "completion": Said("completion bash|zsh|fish", "write a script that lets a shell complete all of this",
                        ("bash", "zsh", "fish")),
}  # fmt: skip


def help_of(command: str | None) -> str:
    """Return the help of a command, or of the whole program."""
    return (make_parser() if command not in SAID else _command_parser(command)).format_help()


def _command_parser(command: str) -> argparse.ArgumentParser:
    said = SAID[command]
    parser = argparse.ArgumentParser(
        usage=f"python oaiserve.py {said.usage} [options]", description=f"{said.does[0].upper()}{said.does[1:]}.",
        epilog="\n".join(
            line.strip() for line in _EXAMPLES.split("\n\n")[0].split("\n")[1:] if f"oaiserve.py {command}" in line
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False,
    )  # fmt: skip
    for option in OPTIONS:
        if command in option.commands:
            about = {**option.about, "help": option.about["help"].partition(f"{command}: ")[2] or option.about["help"]}
            parser.add_argument(*option.flags, **about)
    return parser


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands and options; it raises UsageError."""
    parser = _OneLineParser(
        prog="oaiserve.py",
        usage="python oaiserve.py [COMMAND] [options]",
        description="Stands where the OpenAI API stands. Commands: "
        f"{', '.join(KINDS)} (serve; the backend takes what no route names), try [URL], "
        "bundle [DIR], cassette check|import, key new|list|check, usage [FILE], help [COMMAND], "
        "completion bash|zsh|fish.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    add = parser.add_argument
    add(
        "command",
        nargs="?",
        metavar="COMMAND",
        help=f"{', '.join(SAID)}; nothing: serve as configured",
    )
    add(
        "target",
        nargs="?",
        metavar="URL|DIR",
        help="try: the server's address; bundle: the folder to write to (dist); usage: the ledger; help: a command",
    )
    add(
        "more",
        nargs="*",
        metavar="FILE|NAME",
        help="cassette check FILE, cassette import HAR FILE: recorded answers; key new NAME, key list, key check: keys "
        "of your callers",
    )
    add("-h", "--help", action="store_true", help="say this, or with a command what it takes")
    for option in OPTIONS:
        add(*option.flags, **option.about)
    add("--version", action="version", version=VERSION)
    return parser


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other mistake is said."""

    def error(self, message: str) -> typing.NoReturn:
        message, colon, words = message.partition("unrecognized arguments: ")
        if colon:  # what stands behind an option that does not exist may be a key
            names = [word.partition("=")[0] for word in words.split() if word.startswith("-")]
            message = colon + " ".join([*names, "…"] if names != words.split() else names)
        raise UsageError(f"{without_secrets(message)}; --help tells what there is")
