"""The command line: which command is meant, and all of them that do not serve."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import typing

from protocol.config import options_of
from protocol.errors import UsageError, evidence
from protocol.on_demand import load
from protocol.program.configuration import configuration_from
from protocol.program.kinds import KINDS, SINGLE
from protocol.program.options import LEDGER_WRITER, OPTIONS, SAID, Said, help_of, make_parser
from protocol.program.version import VERSION
from protocol.server.settings import ServerSettings


def main(arguments: typing.Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 stopped when told, 1 could not go on, 2 wrong usage."""
    try:
        options = make_parser().parse_intermixed_args(arguments)  # options may stand before, behind and between words
        if options.help:
            print(help_of(options.command), end="")
            return 0
        if options.more and options.command not in _WITH_MORE:
            raise UsageError(f"{evidence(options.more[0])} is one word too many; --help tells what there is")
        command = {**COMMANDS, **_OWN_COMMANDS}.get(options.command)
        if command is None:
            (command,) = load("serving")
        return command(options)
    except UsageError as exc:
        for line in str(exc).split("\n"):
            print(f"oaiserve: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; say nothing more, not even while the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _help_command(options: argparse.Namespace) -> int:
    if options.target not in (None, *SAID):
        raise UsageError(f"help: there is no command {evidence(options.target)}; there are {', '.join(SAID)}")
    print(help_of(options.target), end="")
    return 0


def _completion_command(options: argparse.Namespace) -> int:
    write_completion, command, offer = load("completion")
    kinds = {"server": ServerSettings, **SINGLE, **{name: kind.settings for name, kind in KINDS.items()}}
    keys = tuple(f"{section}.{key}=" for section, settings in kinds.items() for key in options_of(settings))
    commands = []
    for name in ("", *SAID):
        said = SAID.get(name, Said("", ""))
        offers = [offer(("-h", "--help"), "say what there is", None)]
        for option in OPTIONS:
            if name in option.commands:
                follows = None if "action" in option.about and "metavar" not in option.about else option.follows
                offers.append(offer(option.flags, option.about["help"], keys if follows == "keys" else follows))
        words = tuple(SAID) if name == "help" else said.words
        commands.append(command(name, said.does, words, tuple(offers)))
    print(write_completion(options.target or "", commands), end="")
    return 0


def _try_command(options: argparse.Namespace) -> int:
    run_trial, ask_hidden = load("try")
    status: int = run_trial(
        options.target or "http://127.0.0.1:8080", key=options.key, model=options.model,
        timeout_seconds=options.timeout, out=sys.stdout, environ=os.environ,
        ask_key=ask_hidden if sys.stdin.isatty() else None,
    )  # fmt: skip
    return status


def _bundle_command(options: argparse.Namespace) -> int:
    write_bundle, bundle_error = load("bundle")
    try:
        source = os.path.dirname(os.path.abspath(sys.argv[0]))
        for path in write_bundle(source, options.target or "dist", VERSION):
            print(path)
    except bundle_error as exc:
        print(f"oaiserve: {exc}", file=sys.stderr)
        return 1
    return 0


def _cassette_command(options: argparse.Namespace) -> int:
    (run_cassette,) = load("cassette command")
    words = [word for word in (options.target, *options.more) if word is not None]
    key = options.key or os.environ.get("OPENAI_API_KEY", "")
    status: int = run_cassette(words, options.live, key, print)
    return status


def _key_command(options: argparse.Namespace) -> int:
    run_key, terminal = load("key command")
    words = [word for word in (options.target, *options.more) if word is not None]
    if options.key is not None:
        raise UsageError("--key goes with try and cassette; key check reads the key where nobody sees it")
    path = options.file
    if path is None:
        configuration, _ = configuration_from(options)
        path = configuration.section("server", os.environ).keys_file or "keys.ini"
    status: int = run_key(words, options.team, path, terminal(sys.stdout, sys.stderr, sys.stdin), time.time())
    return status


def _usage_command(options: argparse.Namespace) -> int:
    ledger = options.target or ""
    if not ledger and not options.from_log:
        configuration, source = configuration_from(options)
        ledger = configuration.section("ledger", os.environ).file
        if not ledger:
            raise UsageError(f"usage: there is no ledger: {source} has no [ledger] file; name one: usage usage.db")
    (run_usage,) = load("usage command")
    form = "json" if options.json else "csv" if options.csv else "table"
    status: int = run_usage(
        ledger, options.from_log or [], by=options.by, since=options.since, form=form, out=sys.stdout, err=sys.stderr,
        now=time.time(),
    )  # fmt: skip
    return status


def _ledger_writer_command(options: argparse.Namespace) -> int:
    # Its parent is told to stop, and has something to be written until its end: the lifeline tells when that is.
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    run_writer, read_lifeline, start_thread = load("ledger writer")
    told = threading.Event()
    start_thread(lambda: read_lifeline(told), "lifeline")
    run_writer(options.target, int(*options.more), told, lambda message: print(f"oaiserve: {message}", file=sys.stderr))
    return 0


COMMANDS = {
    "try": _try_command,
    "bundle": _bundle_command,
    "cassette": _cassette_command,
    "key": _key_command,
    "usage": _usage_command,
    "help": _help_command,
    "completion": _completion_command,
}


_OWN_COMMANDS = {LEDGER_WRITER: _ledger_writer_command}

_WITH_MORE = ("cassette", "key", LEDGER_WRITER)
