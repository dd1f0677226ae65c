"""What every test stands on: the form of the program under test, clean surroundings and a time limit.

TESTED_PROGRAM names that form: the source tree's folder (when it is not set: this checkout), a joined
oaiserve.py or an oaiserve.pyz. Tests marked `every_form` write `import oaiserve` and run on all three; the others may
write `from protocol.x import Name` as well, and run on the source tree.
A test of a coroutine calls `asyncio.run(main())` itself; no plugin takes part.
"""

from __future__ import annotations

import faulthandler
import gc
import itertools
import json
import os
import pathlib
import signal
import sys
from collections.abc import Iterator

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.path.abspath(os.environ.get("TESTED_PROGRAM") or ROOT)
FROM_SOURCE = os.path.isdir(TARGET)
PROGRAM = os.path.join(TARGET, "oaiserve.py") if FROM_SOURCE else TARGET

# Far more than any test takes, for the machine may be busy: it ends what hangs, and measures nothing.
DEFAULT_LIMIT_SECONDS = 60.0
HAS_ALARM = hasattr(signal, "SIGALRM")

# All that the program reads from its surroundings; proxies are looked up in either case.
PROGRAM_VARIABLES = frozenset(
    ("OPENAI_API_KEY", "DASHSCOPE_API_KEY", "DASHSCOPE_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
)

collect_ignore = ["bench"]  # a program of its own: python tests/bench
if not FROM_SOURCE:  # nor can a file be imported there that takes the program's modules one by one
    collect_ignore += [
        path.name
        for path in pathlib.Path(__file__).parent.glob("test_*.py")
        if "mark.every_form" not in path.read_text(encoding="utf-8")
    ]


def make_target_importable() -> None:
    # The checkout may be on the path by way of `python -m pytest`; the joined forms must do without it.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != ROOT]
    sys.path.insert(0, os.path.dirname(TARGET) if TARGET.endswith(".py") else TARGET)


make_target_importable()


def pytest_report_header() -> str:
    return f"under test: {PROGRAM}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests for each form on a joined one; where processes share the files, begin with the longest."""
    if not FROM_SOURCE:
        config.hook.pytest_deselected(items=[item for item in items if not item.get_closest_marker("every_form")])
        items[:] = [item for item in items if item.get_closest_marker("every_form")]
    if SHARE:
        limits: dict[pathlib.Path, float] = {}  # what takes long has a limit of its own, and else its size tells
        for item in items:
            marker = item.get_closest_marker("limit")
            limits[item.path] = max(limits.get(item.path, DEFAULT_LIMIT_SECONDS), marker.args[0] if marker else 0)
        items.sort(key=lambda item: (limits[item.path], item.path.stat().st_size), reverse=True)


def pytest_collection_finish() -> None:
    """Take what was collected out of the collector's sight: many tests collect garbage, thousands of items are none."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Pass over a test whose file another process has taken."""
    return True if SHARE and (SHARE.is_over() or not SHARE.takes(item.nodeid)) else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    if SHARE and session.shouldfail:  # -x and --maxfail: what one has found is enough for all
        SHARE.end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Hand the totals to the runner, `python tests`, which adds up its processes."""
    path = os.environ.get("TESTED_TOTALS")
    if not path:
        return
    # Each process collects all files: what became of a file as a whole is counted once.
    stats = {
        outcome: [
            report
            for report in reports
            if not (SHARE and isinstance(report, pytest.CollectReport)) or SHARE.takes(report.nodeid)
        ]
        for outcome, reports in terminalreporter.stats.items()
    }
    outcomes = {"passed": ("passed", "xfailed"), "failed": ("failed", "error"), "skipped": ("skipped",)}
    totals = {total: sum(len(stats.get(kind, ())) for kind in kinds) for total, kinds in outcomes.items()}
    pathlib.Path(path).write_text(json.dumps(totals), encoding="ascii")


class Share:
    """The test files among several pytest processes, parted by a folder: whoever makes the file's entry runs it."""

    _END = "end"

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._taken: dict[str, bool] = {}

    def takes(self, node: str) -> bool:
        """Return whether a test's file is ours, and take it when it is nobody's."""
        name = node.partition("::")[0]
        if name not in self._taken:
            self._taken[name] = self._make(name)
        return self._taken[name]

    def end(self) -> None:
        """Let every process run no further test."""
        self._make(self._END)

    def is_over(self) -> bool:
        return os.path.exists(os.path.join(self._folder, self._END))

    def _make(self, name: str) -> bool:
        try:
            os.close(os.open(os.path.join(self._folder, name.replace("/", "+")), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True


SHARE = Share(os.environ["TESTED_SHARED"]) if os.environ.get("TESTED_SHARED") else None


@pytest.fixture(scope="session")
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


working_directories = itertools.count()
last_working_directory: list[pathlib.Path] = []


@pytest.fixture(autouse=True)
def empty_working_directory(clean_surroundings: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Most tests leave nothing behind, and the next one can have the same: thousands of folders take their time.
    if not last_working_directory or any(last_working_directory[0].iterdir()):
        last_working_directory[:] = [clean_surroundings / str(next(working_directories))]
        last_working_directory[0].mkdir()
    monkeypatch.chdir(last_working_directory[0])


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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> None:
    """Let no alarm ring while pytest puts a report together: that would end the run instead of the test."""
    if HAS_ALARM and (call.when != "setup" or call.excinfo is not None):
        signal.setitimer(signal.ITIMER_REAL, 0)
