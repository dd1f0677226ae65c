"""ruff, mypy and vulture: pinned, in an environment of their own, and what they find as `path:line: sentence`.

pyproject.toml says what ruff and mypy ask for. The pins run on Python 3.9 to 3.13 and judge the code as 3.9 reads it.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import threading
from collections.abc import Collection, Mapping

from environment import ROOT, CannotInstall, Environment

ENVIRONMENT = Environment("check-py", ("ruff==0.17.6", "mypy==1.19.1", "vulture==2.16"))

#: Names that nobody here uses because somebody else calls them. Vulture would have them deleted.
CALLED_BY_OTHERS = {
    **dict.fromkeys(
        ("data_received", "eof_received", "connection_lost"),
        "asyncio calls it on a protocol",
    ),
    "otel": "the README's table of metrics has it, and a test holds the two together",
    "pause_writing": "asyncio calls it when a transport's buffer fills",
    "max_size": "asyncio's TLS takes its buffer's size from it",
    "sizehint": "asyncio passes it to get_buffer",
    "pytest_configure": "pytest calls it of a module that it is told to load",
    "use_faults": "a program calls it of its session",
    **dict.fromkeys(("__getattr__", "__dir__"), "Python asks it for a module's names (PEP 562)"),
    "has_location": "Python reads it of a module's spec",
}

_environment_lock = threading.Lock()
_PLACE = re.compile(r"^(\S+?):(\d+)(?::\d+)?: (.*)$")


class ToolFailed(Exception):
    """A tool could not do its work; the text is what it said."""


def fix() -> list[str]:
    """Mend what ruff can mend without a change of meaning, and format."""
    _run("ruff", "check", "--fix-only", "--quiet", ".")
    _run("ruff", "format", "--quiet", ".")
    return []


def check_format() -> list[str]:
    """Is every file as `ruff format` would write it?"""
    output = _run("ruff", "format", "--check", "--quiet", "--output-format=concise", ".")
    return _located(output) if output.strip() else []


def check_lint() -> list[str]:
    """What does `ruff check` object to?"""
    return _located(_run("ruff", "check", "--quiet", "--output-format=concise", "."))


def check_types() -> list[str]:
    """What does mypy object to: in the program, and in the tools beside the tests?"""
    # Each folder of tools is a program of its own, and two of them have a __main__.
    parts = (["oaiserve.py", "protocol"], ["tests/bench"], ["tests/__main__.py", "tests/check"])
    return [finding for part in parts for finding in _located(_run("mypy", "--no-error-summary", *part))]


def check_dead(loaded: Collection[tuple[str, str]]) -> list[str]:
    """What does the program define and not use? The tests are no users: what only they use is dead.

    `loaded` are (path, name) of what is loaded on demand: no import names it.
    """
    return sort_dead(_run("vulture", "oaiserve.py", "protocol"), CALLED_BY_OTHERS, loaded)


def sort_dead(output: str, called_by_others: Mapping[str, str], loaded: Collection[tuple[str, str]] = ()) -> list[str]:
    """Return vulture's findings but those that are used after all; an entry of `called_by_others` may be one too."""
    findings, needed = [], set()
    for line in _located(output):
        names = re.findall(r"unused \w+ '(\w+)'", line)
        if names and names[0] in called_by_others:
            needed.add(names[0])
        elif not (names and (line.partition(":")[0], names[0]) in loaded):
            findings.append(re.sub(r" \(\d+% confidence\)$", "", line))
    for name in sorted(set(called_by_others) - needed):
        findings.append(f"tests/check/tools.py:1: {name} need not be excused: vulture finds no such thing")
    return findings


def _located(output: str) -> list[str]:
    """Return the lines that name a place, without its column. Where none does, the output itself is the finding."""
    found: list[str] = []
    for place in map(_PLACE.match, output.splitlines()):
        if place and found and place[3].startswith("note: "):  # mypy goes on about the line before
            found[-1] += f"\n    {place[3]}"
        elif place:
            found.append(f"{place[1]}:{place[2]}: {place[3]}")
    return found or [line for line in output.splitlines() if line.strip()]


def _run(tool: str, *arguments: str) -> str:
    with _environment_lock:  # the checks run side by side; the first one makes it
        failure = _make_environment()
    if failure:
        raise failure
    command = [ENVIRONMENT.python, "-m", tool, *arguments]
    environment = dict(os.environ, MYPYPATH=os.path.join(ROOT, "tests"), NO_COLOR="1", PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    # All of them say 1, or vulture 3, when they found something. Anything else is a failure of their own.
    if done.returncode not in (0, 1, 3) or (done.returncode and not done.stdout.strip()):
        raise ToolFailed(f"{tool}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


@functools.cache
def _make_environment() -> CannotInstall | None:
    """Return why there are no tools, None when there are; what failed once is not tried for each tool again."""
    try:
        ENVIRONMENT.make()
    except CannotInstall as exc:
        return exc
    return None
