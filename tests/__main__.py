"""Run the suite on each form of the program: the source tree, the single file alone, the zipapp alone.

    python tests [--target source|file|zipapp] [--processes N] [pytest's arguments]
    python tests tests/test_sse.py::test_writes_event_that_reads_back

Every test runs on the source tree. The single file and the zipapp carry the same text, so they run only the tests
marked `every_form`: what a form can break. Several pytest processes, one a core, share the test files of the tree;
each takes the next file that nobody has taken, so that their order changes from run to run. One process does it, and
prints all that pytest prints, when a single file is asked for or an option wants the terminal.

Any Python from 3.9 on will do: pytest and h11 go into a virtual environment in .venv-tests/, made at the first run
and again when the pins or the Python change. Paths among the arguments are taken from the checkout's root.
The last line is for machines: `N passed, N failed, N skipped`, the sum of the runs. The exit code is 0 when all is
well, else 1, or 130 after Ctrl-C.
"""

from __future__ import annotations

import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from environment import ROOT, CannotInstall, Environment

ENVIRONMENT = Environment("py", ("pytest==8.4.2", "h11==0.16.0"))
TARGETS = ("source", "file", "zipapp")

# With one of these, pytest wants the terminal for itself, or there is nothing to share.
FOR_ONE_PROCESS = frozenset(
    "-s --capture=no --pdb --trace --co --collect-only --fixtures --markers -h --help -V --version --setup-plan".split()
)

CTRL_C = 130


class CannotRun(Exception):
    """Nothing can be tested; the text says what to do."""


def main(arguments: list[str]) -> int:
    totals: collections.Counter[str] = collections.Counter()
    try:
        targets, processes, arguments = take_options(arguments)
        ENVIRONMENT.make()
        with tempfile.TemporaryDirectory(prefix="oaiserve-tests-") as folder:
            code = test_all(targets, processes, arguments, folder, totals)
    except (CannotInstall, CannotRun) as exc:
        print(f"python tests: {exc}", file=sys.stderr, flush=True)
        totals["failed"] += 1
        code = 1
    except KeyboardInterrupt:
        code = CTRL_C
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped", flush=True)
    return code


def take_options(arguments: list[str]) -> tuple[tuple[str, ...], int, list[str]]:
    """Split off our own options; everything else is pytest's."""
    chosen: list[str] = []
    processes = ""
    rest = []
    words = iter(arguments)
    for word in words:
        name, _, value = word.partition("=")
        if name == "--target":
            chosen.append(value or next(words, ""))
        elif name == "--processes":
            processes = value or next(words, "")
        else:
            rest.append(word)
    for target in chosen:
        if target not in TARGETS:
            raise CannotRun(f"--target {target!r}: expected one of {', '.join(TARGETS)}")
    if processes and not (processes.isdecimal() and int(processes)):
        raise CannotRun(f"--processes {processes!r}: expected a whole number from 1 up")
    if FOR_ONE_PROCESS.intersection(rest):
        processes = "1"
    targets = tuple(target for target in TARGETS if target in chosen or not chosen)
    return targets, int(processes or os.cpu_count() or 1), rest


# The runs


def test_all(
    targets: tuple[str, ...], processes: int, arguments: list[str], folder: str, totals: collections.Counter[str]
) -> int:
    """Test the first form, then the others side by side, and return our exit code.

    The others are left out when they would tell no more: pytest could not do what was asked, or was to stop at once.
    """
    environment = dict(os.environ, PYTHONPYCACHEPREFIX=os.path.join(folder, "pycache"))  # the tree stays clean
    environment.pop("PYTHONPATH", None)
    targets = targets_of(arguments, targets)
    programs = make_programs(targets, folder, environment)
    missing = [target for target in targets if target not in programs]
    totals["failed"] += len(missing)
    if len(named_files(arguments)) == 1:
        processes = 1
    runs = [Run(target, programs[target], arguments, folder, environment) for target in targets if target in programs]
    if not runs:
        return 1
    code = runs[0].start(processes, straight=processes == 1).finish(totals)
    # Beyond 1, "some tests failed", pytest says that it could not do what was asked.
    if code > 1 or (code and {"-x", "--exitfirst"} & set(arguments)):
        runs = runs[:1]
    codes = [code]
    for run in runs[1:]:
        run.start(max(1, processes // len(runs[1:])))
    codes += [run.finish(totals) for run in runs[1:]]
    print(flush=True)
    return 1 if any(codes) or missing else 0


def named_files(arguments: list[str]) -> set[str]:
    """Return the files and folders among the arguments; one may name a test behind `::`."""
    paths = {os.path.join(ROOT, argument.partition("::")[0]) for argument in arguments}
    return {path for path in paths if os.path.isfile(path) or os.path.isdir(path)}


def targets_of(arguments: list[str], targets: tuple[str, ...]) -> tuple[str, ...]:
    """Return the forms on which the tests that were named run: a file without a marked test runs on the tree alone."""
    named = named_files(arguments)
    if not named or any(os.path.isdir(path) or is_for_every_form(path) for path in named):
        return targets
    if "source" not in targets:
        raise CannotRun("the tests that were named run on the source tree only; every_form marks those for all")
    return ("source",)


def is_for_every_form(path: str) -> bool:
    with open(path, encoding="utf-8") as file:
        return "mark.every_form" in file.read()


def make_programs(targets: tuple[str, ...], folder: str, environment: dict[str, str]) -> dict[str, str]:
    """Return the path to test by target, each joined form alone in a folder; the tree only, when joining fails."""
    programs = {"source": ROOT}
    if targets == ("source",):
        return programs
    built = os.path.join(folder, "built")
    command = [ENVIRONMENT.python, os.path.join(ROOT, "oaiserve.py"), "bundle", built]
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        print("python tests: `oaiserve.py bundle` failed: no single file and no zipapp to test", flush=True)
        return programs
    for target, name in (("file", "oaiserve.py"), ("zipapp", "oaiserve.pyz")):
        alone = os.path.join(folder, target)
        os.mkdir(alone)
        programs[target] = shutil.move(os.path.join(built, name), alone)
    return programs


class Run:
    """pytest on one form of the program, in one process or in several that share the test files.

    What such processes print is put in order: a line of progress comes through at once; the rest, headings and
    failures, is held until its process has ended, and shown when something failed or the caller gave options.
    """

    def __init__(
        self, target: str, program: str, arguments: list[str], folder: str, environment: dict[str, str]
    ) -> None:
        self._target = target
        self._folder = os.path.join(folder, f"{target}-run")
        self._environment = dict(environment, TESTED_PROGRAM=program)
        # Compiling the tree and its tests takes longer than many a test: that is kept for the next run.
        kept = os.path.join(ENVIRONMENT.folder, "pycache")
        cache = kept if target == "source" else environment["PYTHONPYCACHEPREFIX"]
        # -I: neither the working directory nor PYTHONPATH may lend the program a module; it ignores -X's variable.
        python = [ENVIRONMENT.python, "-I", "-X", f"pycache_prefix={cache}", "-m", "pytest"]
        settings = ["-c", os.path.join(ROOT, "pyproject.toml"), "--rootdir", ROOT]
        self._command = [*python, *settings, *arguments]
        self._shows_all = bool(arguments)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._readers: list[Reader] = []
        self._began = 0.0

    def start(self, processes: int, straight: bool = False) -> Run:
        """Begin; what pytest prints comes straight through from a single process only."""
        self._began = time.monotonic()
        os.mkdir(self._folder)
        print(f"\n==== {self._target} ====", flush=True)
        command = self._command if straight else [*self._command, "-o", "console_output_style=classic"]
        for number in range(processes):
            environment = dict(self._environment, TESTED_TOTALS=self._totals(number))
            if processes > 1:
                environment["TESTED_SHARED"] = self._folder
            output = None if straight else subprocess.PIPE
            error = None if straight else subprocess.STDOUT
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=error)
            self._processes.append(process)
            if not straight:
                self._readers.append(Reader(process))
        return self

    def finish(self, totals: collections.Counter[str]) -> int:
        """Wait for the end, add the counts to `totals` and return pytest's exit code, the greatest of several."""
        codes = []
        try:
            codes = [process.wait() for process in self._processes]
        except KeyboardInterrupt:
            # The terminal has told pytest as well: let it end what the tests started, and print what it knows.
            give_up = time.monotonic() + 10
            for process in self._processes:
                end(process, give_up)
            raise
        finally:
            counted: collections.Counter[str] = collections.Counter()
            written = [read_totals(self._totals(number)) for number in range(len(self._processes))]
            for count in written:
                counted.update(count)
            # Where nothing was written, pytest could not even begin: for the same reason in each, when in all.
            counted["failed"] += written.count({}) if any(written) else 1
            totals.update(counted)
            self._show(codes)
        if self._readers:
            seconds = time.monotonic() - self._began
            said = ", ".join(f"{counted[kind]} {kind}" for kind in ("passed", "failed", "skipped"))
            print(f"---- {self._target}: {said} in {seconds:.1f} s", flush=True)
        return max(codes)

    def _totals(self, number: int) -> str:
        return os.path.join(self._folder, f"totals-{number}.json")

    def _show(self, codes: list[int]) -> None:
        """Show what was held; where pytest could not do what was asked, each process says the same: the first one's.

        After Ctrl-C there are no `codes`.
        """
        has_said = False
        for reader, code in zip(self._readers, codes or [1] * len(self._readers)):
            held = reader.held()
            if (code > 1 and has_said) or not (code or self._shows_all):
                continue
            sys.stdout.buffer.write(held)
            sys.stdout.flush()
            has_said = True


def read_totals(path: str) -> dict[str, int]:
    """Return what a pytest process counted, nothing where it could not even begin."""
    try:
        with open(path, encoding="utf-8") as file:
            counted: dict[str, int] = json.load(file)
            return counted
    except (OSError, ValueError):
        return {}


class Reader(threading.Thread):
    """Passes on the lines of progress that a pytest process prints, and keeps the others."""

    _printing = threading.Lock()

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self._lines = process.stdout
        self._held: list[bytes] = []
        self.start()

    def run(self) -> None:
        for line in self._lines or ():
            # The name of a test file and a letter a test; or, from the second line on, the letters alone.
            if line.startswith(b"tests") or (line.strip() and not line.strip(b".sFExX\r\n")):
                with self._printing:
                    sys.stdout.buffer.write(line)
                    sys.stdout.flush()
            else:
                self._held.append(line)

    def held(self) -> bytes:
        """Wait for the end and return what was kept."""
        self.join(10)
        return b"".join(self._held)


def end(process: subprocess.Popen[bytes], give_up: float) -> None:
    try:
        process.wait(max(0, give_up - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
