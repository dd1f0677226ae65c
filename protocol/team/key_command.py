"""The command `key`: what is done with the file of keys, besides asking for them.

python oaiserve.py key new NAME [--team T]     make a key, print it once, append its section
python oaiserve.py key list                    a table of the keys, and one of the teams
python oaiserve.py key check                   read a key, from a prompt or standard input, and say whose it is

The key itself leaves this module once, in the line that `key new` prints. Its hash is written into the file and shown
nowhere. Sources: RFC 6750 §5.3 (keys are not passed where others see them); NIST SP 800-63B §5.1.1 (a secret with 256
random bits needs no salt).
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import secrets
import string
import time
import typing

from protocol.errors import UsageError, evidence
from protocol.limiter import Window
from protocol.nearest import nearest
from protocol.on_demand import load
from protocol.team.keys_file import NAME_EXPECTED, KeysFile, Rates, find_key, is_name, read_keys_file
from protocol.team.money import dollars

_USAGE = "expected: key new NAME [--team T], key list, or key check"
_ON_THE_COMMAND_LINE = (
    "a key does not belong on the command line, where the list of processes shows it; it is read from a prompt, or "
    "from standard input"
)
_BEGIN = "sk-oai-"
_DIGITS = string.digits + string.ascii_letters
_LENGTH = 43  # 62^43 is more than 2^256
_UNITS = {1_000: "s", 60_000: "min", 3_600_000: "h", 86_400_000: "day"}


class Terminal(typing.NamedTuple):
    """What the command writes to, and what it reads a key from."""

    out: typing.TextIO
    err: typing.TextIO
    keys: typing.TextIO


def run_key(words: typing.Sequence[str], team: str, path: str, terminal: Terminal, now: float) -> int:
    """Carry the command out; return the exit status: 1 where a key is nobody's, or has expired, or cannot be written.

    `path` is the file of keys, `now` in seconds since the epoch. UsageError for a mistake, in the file too.
    """
    if words[:1] == ["new"] and len(words) == 2:
        return _new(words[1], team, path, terminal)
    if team:
        raise UsageError(f"--team: it goes with key new NAME; {_USAGE}")
    if words == ["list"]:
        return _list(path, terminal, now)
    if words == ["check"]:
        return _check(path, terminal, now)
    raise UsageError(_ON_THE_COMMAND_LINE if words[:1] == ["check"] else _USAGE)


# ---- new ------------------------------------------------------------------------------------------------------------


def _new(name: str, team: str, path: str, terminal: Terminal) -> int:
    if not is_name(name):
        raise UsageError(f"key new: {NAME_EXPECTED}")
    if team and not os.path.exists(path):  # a mistake makes no file
        raise UsageError(_no_team(team, path, ()))
    try:
        with _locked(path) as file:
            _append_key(file, name, team, path, terminal)
    except BrokenPipeError:
        raise
    except OSError as exc:
        terminal.err.write(f"oaiserve: {path}: no key was made: {exc.strerror or exc}\n")
        return 1
    terminal.err.write(
        f"[key {name}] was added to {path}{f', in team {team}' if team else ''}. The key is shown this once.\n"
        "What it may take is written into its section. Next: config.ini says [server] keys_file, and a running server "
        "reads the file again on kill -HUP PID, or once it is restarted.\n"
    )
    return 0


def _append_key(file: int, name: str, team: str, path: str, terminal: Terminal) -> None:
    """Append a key's section and print the key: both, or the file is as it was."""
    before = _content(file)
    keys = _read(before, path)
    if any(key.name == name for key in keys.keys.values()):
        raise UsageError(
            f"{path}: there is a [key {name}] already. To give it another key, make one of another name, and move its "
            "hash: hash = sha256:OLD, sha256:NEW; both work until the old one is taken out"
        )
    if team and team not in keys.teams:
        raise UsageError(_no_team(team, path, keys.teams))
    key = _BEGIN + "".join(secrets.choice(_DIGITS) for _ in range(_LENGTH))
    gap = b"" if not before else b"\n" if before.endswith(b"\n") else b"\n\n"
    lines = [
        f"[key {name}]",
        f"hash = sha256:{hashlib.sha256(key.encode()).hexdigest()}",
        *([f"team = {team}"] * (team != "")),
        "",
    ]
    section = gap + "\n".join(lines).encode()
    try:
        if os.write(file, section) < len(section):
            raise OSError(0, "only a part could be written")
        os.fsync(file)
        terminal.out.write(f"{key}\n")
        terminal.out.flush()
    except OSError:
        os.ftruncate(file, len(before))
        raise


def _no_team(team: str, path: str, known: typing.Iterable[str]) -> str:
    near = nearest(team, known) or "; write its section first, if only that line"
    return f"--team {evidence(team)}: {path} has no such [team NAME]{near}"


@contextlib.contextmanager
def _locked(path: str) -> typing.Iterator[int]:
    """Give the file to append to, which others that do so wait for; it is made for its owner alone."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
        try:
            if os.name == "posix":  # elsewhere whoever makes two keys at once may have to do it again
                _, hold_when_free = load("held file")
                hold_when_free(file)
            if os.path.samestat(os.fstat(file), os.stat(path)):
                yield file
                return
        finally:
            os.close(file)
        # An editor has put another one in its place meanwhile.


def _content(file: int) -> bytes:
    pieces: list[bytes] = []
    while True:
        piece = os.read(file, 1 << 20)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def _read(content: bytes, path: str) -> KeysFile:
    try:
        return read_keys_file(content.decode("utf-8-sig"), path)
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path}: cannot be read: it is not UTF-8") from exc


# ---- list and check -------------------------------------------------------------------------------------------------


def _read_file(path: str) -> KeysFile:
    try:
        with open(path, "rb") as file:
            return _read(file.read(), path)
    except OSError as exc:
        raise UsageError(f"{path}: cannot be read: {exc.strerror}") from exc


def _list(path: str, terminal: Terminal, now: float) -> int:
    keys = _read_file(path)
    limits = ("requests", "tokens", "at once", "budget")
    if not keys.keys:
        terminal.err.write(f"{path} has no keys; python oaiserve.py key new NAME makes one\n")
    else:
        terminal.out.write(
            _table(
                ("key", "team", "models", *limits, "works until", "state"),
                [
                    (
                        key.name, key.team, ", ".join(key.models), *_limits(key.rates), _last_day(key.expires),
                        _state(key.expires, now),
                    )
                    for key in {key.name: key for key in keys.keys.values()}.values()  # one may have two
                ],
            )
        )  # fmt: skip
    if keys.teams:
        rows = [(team.name, ", ".join(team.models), *_limits(team.rates)) for team in keys.teams.values()]
        terminal.out.write("\n" * bool(keys.keys) + _table(("team", "models", *limits), rows))
    return 0


def _table(head: typing.Sequence[str], rows: typing.Sequence[typing.Sequence[str]]) -> str:
    cells = [head, *([cell or "-" for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() + "\n" for row in cells)


def _limits(rates: Rates) -> tuple[str, str, str, str]:
    budget = rates.budget
    return (
        _windows(rates.requests), _windows(rates.tokens), str(rates.at_once or ""),
        f"{dollars(budget.nano)} USD/{budget.period}" if budget else "",
    )  # fmt: skip


def _windows(windows: typing.Iterable[Window]) -> str:
    return ", ".join(f"{_amount(window.amount)}/{_UNITS[window.period]}" for window in windows)


def _amount(amount: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if amount % size == 0:
            return f"{amount // size}{letter}"
    return str(amount)


def _last_day(expires: float | None) -> str:
    return "" if expires is None else time.strftime("%Y-%m-%d", time.gmtime(expires - 1))


def _state(expires: float | None, now: float) -> str:
    return "expired" if expires is not None and now >= expires else "works"


def _check(path: str, terminal: Terminal, now: float) -> int:
    keys = _read_file(path)
    typed = _typed_key(terminal).strip()
    if not typed:
        raise UsageError("key check: no key came; it is read from a prompt, or from standard input")
    key = find_key(keys, typed.decode("latin-1"))
    if key is None:
        terminal.out.write(f"nobody's: {path} has no such key\n")
        return 1
    state = _state(key.expires, now)
    until = f"{' since' if state == 'expired' else ' until'} the end of {_last_day(key.expires)}" if key.expires else ""
    terminal.out.write(f"{key.name}{f', team {key.team}' if key.team else ''}: {state}{until}\n")
    return 1 if state == "expired" else 0


def _typed_key(terminal: Terminal) -> bytes:
    if terminal.keys.isatty():
        return getpass.getpass("key (it is not shown): ", terminal.err).encode(errors="surrogateescape")
    return terminal.keys.buffer.readline()
