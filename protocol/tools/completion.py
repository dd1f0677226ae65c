"""Completion of the command line by a shell: a script for bash, zsh or fish, written from what the program knows."""

from __future__ import annotations

import typing

from protocol.errors import UsageError, evidence

# Names by which the program is called: what pip installs, and the file itself.
_NAMES = ("oaiserve", "oaiserve.py")


class Offer(typing.NamedTuple):
    """An option: `flags` such as -c and --config, what it says, and what follows it.

    That is None for nothing, "file" for a path, "" for what nobody can guess, or the words to choose from. Those that
    end with = are the beginnings of words.
    """

    flags: tuple[str, ...]
    says: str
    value: str | tuple[str, ...] | None


class Command(typing.NamedTuple):
    """A command: its name, "" for none, what it says, the words that may follow, and its options."""

    name: str
    says: str
    words: tuple[str, ...]
    options: tuple[Offer, ...]


def write_completion(shell: str, commands: typing.Sequence[Command]) -> str:
    """Return the script for a shell; UsageError for one that is not known."""
    if shell not in _WRITERS:
        raise UsageError(f"completion: expected {', '.join(_WRITERS)}, got {evidence(shell)}")
    return "\n".join(_WRITERS[shell](commands)) + "\n"


def _by_value(commands: typing.Sequence[Command]) -> dict[str | tuple[str, ...], list[str]]:
    """Return the flags by what follows them."""
    found: dict[str | tuple[str, ...], list[str]] = {}
    for command in commands:
        for offer in command.options:
            if offer.value is not None:
                flags = found.setdefault(offer.value, [])
                flags += [flag for flag in offer.flags if flag not in flags]
    return found


def _words(command: Command, commands: typing.Sequence[Command]) -> list[str]:
    """Return what may be said in a command, or before there is one."""
    names = [] if command.name else [one.name for one in commands if one.name]
    return [*names, *command.words, *(flag for offer in command.options for flag in offer.flags)]


def _bash(commands: typing.Sequence[Command]) -> typing.Iterator[str]:
    names = "|".join(command.name for command in commands if command.name)
    yield "# oaiserve in bash: source <(oaiserve completion bash)"
    yield "_oaiserve() {"
    yield "    local word=${COMP_WORDS[COMP_CWORD]} command= number"
    yield "    for ((number = 1; number < COMP_CWORD; number++)); do"
    yield f"        case ${{COMP_WORDS[number]}} in {names}) command=${{COMP_WORDS[number]}}; break ;; esac"
    yield "    done"
    yield "    COMPREPLY=()"
    yield '    case "${COMP_WORDS[COMP_CWORD-1]}" in'
    for value, flags in _by_value(commands).items():
        if value == "file":
            then = 'COMPREPLY=($(compgen -f -- "$word"))'
        elif isinstance(value, str):
            then = ":"
        else:
            space = "compopt -o nospace; " if value[0].endswith("=") else ""
            then = f"""{space}COMPREPLY=($(compgen -W '{" ".join(value)}' -- "$word"))"""
        yield f"        {'|'.join(flags)}) {then}; return ;;"
    yield "    esac"
    yield '    case "$command" in'
    for command in commands:
        words = " ".join(_words(command, commands))
        yield f"""        '{command.name}') COMPREPLY=($(compgen -W '{words}' -- "$word")) ;;"""
    yield "    esac"
    yield "}"
    yield f"complete -o default -F _oaiserve {' '.join(_NAMES)} ./oaiserve.py"


def _zsh(commands: typing.Sequence[Command]) -> typing.Iterator[str]:
    names = "|".join(command.name for command in commands if command.name)
    yield "# oaiserve in zsh, behind compinit: source <(oaiserve completion zsh)"
    yield "_oaiserve() {"
    yield "    local command word"
    yield "    for word in ${words[2,CURRENT-1]}; do"
    yield f"        case $word in ({names}) command=$word; break ;; esac"
    yield "    done"
    yield "    case ${words[CURRENT-1]} in"
    for value, flags in _by_value(commands).items():
        if value == "file":
            then = "_files"
        elif isinstance(value, str):
            then = ":"
        else:
            then = "compadd -S '' -- " if value[0].endswith("=") else "compadd -- "
            then += " ".join(f"'{word}'" for word in value)
        yield f"        ({'|'.join(flags)}) {then}; return ;;"
    yield "    esac"
    yield "    case $command in"
    for command in commands:
        yield f"        ('{command.name}') compadd -- {' '.join(_words(command, commands))} ;;"
    yield "    esac"
    yield "    [[ $command == (try|bundle|cassette|usage) && $PREFIX != -* ]] && _files"
    yield "}"
    yield f"compdef _oaiserve {' '.join(_NAMES)}"


def _fish(commands: typing.Sequence[Command]) -> typing.Iterator[str]:
    yield "# oaiserve in fish: oaiserve completion fish | source"
    names = " ".join(command.name for command in commands if command.name)
    for program in _NAMES:
        for command in commands:
            begin = f"complete -c {program}"
            if command.name:
                says = f"-a {command.name} -d {_quoted(command.says)}"
                yield f"{begin} -f -n 'not __fish_seen_subcommand_from {names}' {says}"
                here = f"'__fish_seen_subcommand_from {command.name}'"
            else:
                here = f"'not __fish_seen_subcommand_from {names}'"
            if command.words:
                yield f"{begin} -n {here} -a '{' '.join(command.words)}'"
            for offer in command.options:
                yield f"{begin} -n {here} {_fish_option(offer)} -d {_quoted(offer.says)}"


def _fish_option(offer: Offer) -> str:
    flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in offer.flags)
    if offer.value is None:
        return f"{flags} -f"
    if offer.value == "file":
        return f"{flags} -r -F"
    if isinstance(offer.value, str):
        return f"{flags} -x"
    return f"{flags} -x -a '{' '.join(offer.value)}'"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_WRITERS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
