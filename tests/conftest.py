"""What every test stands on: the form of the program under test, clean surroundings and a time limit.

OAISERVE_TARGET names that form: the source tree's folder (when it is not set: this checkout), a joined
oaiserve.py or an oaiserve.pyz. Tests write `import oaiserve` and `from protocol.x import Name` for all three.
A test of a coroutine calls `asyncio.run(main())` itself; no plugin takes part.
"""

from __future__ import annotations

import faulthandler
import gc
import itertools
import json
import os
import pathlib
import re
import signal
import sys
from collections.abc import Iterator

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.path.abspath(os.environ.get("OAISERVE_TARGET") or ROOT)
FROM_SOURCE = os.path.isdir(TARGET)
PROGRAM = os.path.join(TARGET, "oaiserve.py") if FROM_SOURCE else TARGET

DEFAULT_LIMIT_SECONDS = 30.0
HAS_ALARM = hasattr(signal, "SIGALRM")

# All that the program reads from its surroundings; proxies are looked up in either case.
PROGRAM_VARIABLES = frozenset(
    ("OPENAI_API_KEY", "DASHSCOPE_API_KEY", "DASHSCOPE_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
)

collect_ignore = ["bench"]  # a program of its own: python tests/bench


def make_target_importable() -> None:
    # The checkout may be on the path by way of `python -m pytest`; the joined forms must do without it.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != ROOT]
    is_file = PROGRAM == TARGET and TARGET.endswith(".py")
    sys.path.insert(0, os.path.dirname(TARGET) if is_file else TARGET)
    if is_file:
        register_joined_modules()


def register_joined_modules() -> None:
    """Let each module that was joined into the single file be imported by its own name."""
    import oaiserve

    with open(TARGET, encoding="utf-8") as file:
        paths = re.findall(r"^# =+ begin (\S+)\.py =+$", file.read(), re.MULTILINE)
    for path in paths:
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            sys.modules[".".join(parts[:depth])] = oaiserve


make_target_importable()


def pytest_report_header() -> str:
    return f"under test: {PROGRAM}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if FROM_SOURCE:
        return
    for item in items:
        if item.get_closest_marker("source_only"):
            item.add_marker(pytest.mark.skip(reason="needs the source tree"))


def pytest_collection_finish() -> None:
    """Take what has been collected out of the collector's sight: many tests collect garbage, thousands of items are none."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Hand the totals to the runner, `python tests`, which adds up three runs."""
    path = os.environ.get("OAISERVE_TOTALS")
    if not path:
        return
    stats = terminalreporter.stats
    outcomes = {"passed": ("passed", "xfailed"), "failed": ("failed", "error"), "skipped": ("skipped",)}
    totals = {total: sum(len(stats.get(kind, ())) for kind in kinds) for total, kinds in outcomes.items()}
    pathlib.Path(path).write_text(json.dumps(totals), encoding="ascii")


@pytest.fixture
def command() -> list[str]:
    """Give the start of a command line that runs the program under test."""
    return [sys.executable, PROGRAM]


@pytest.fixture(scope="session", autouse=True)
def clean_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """Take away the variables that the program reads, and any config.ini that the working directory may hold."""
    folder = tmp_path_factory.mktemp("working-directories")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper() in PROGRAM_VARIABLES:
                patch.delenv(name)
        patch.chdir(folder)
        yield folder


working_directory_numbers = itertools.count()


@pytest.fixture(autouse=True)
def empty_working_directory(clean_surroundings: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = clean_surroundings / str(next(working_directory_numbers))
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture(autouse=True)
def time_limit(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that hangs, or (without SIGALRM) end the run with a traceback of every thread."""
    marker = request.node.get_closest_marker("limit")
    seconds = marker.args[0] if marker else DEFAULT_LIMIT_SECONDS
    if request.config.getoption("usepdb"):
        yield
    elif HAS_ALARM:
        yield from limit_by_alarm(seconds)
    else:
        faulthandler.dump_traceback_later(seconds, exit=True)
        yield
        faulthandler.cancel_dump_traceback_later()


def limit_by_alarm(seconds: float) -> Iterator[None]:
    def on_alarm(number: int, frame: object) -> None:
        pytest.fail(f"took longer than its limit of {seconds:g} s")

    before = signal.signal(signal.SIGALRM, on_alarm)
    # Again each second, because an event loop swallows what is raised inside one of its callbacks.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
