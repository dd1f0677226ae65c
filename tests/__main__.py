"""Run the suite on each form of the program: the source tree, the single file alone, the zipapp alone.

    python tests [--target source|file|zipapp] [pytest's arguments]

Any Python from 3.9 on will do: pytest and h11 go into a virtual environment in .venv-tests/, made at the first run
and again when the pins or the Python change. Paths among the arguments are taken from the checkout's root.
The last line is for machines: `N passed, N failed, N skipped`, the sum of the runs. The exit code is 0 when all is
well, else 1, or 130 after Ctrl-C.
"""

from __future__ import annotations

import collections
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from typing import Any, BinaryIO

PINS = ("pytest==8.4.2", "h11==0.16.0")
TARGETS = ("source", "file", "zipapp")

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENVIRONMENT = os.path.join(ROOT, ".venv-tests", "py{}.{}".format(*sys.version_info))
PYTHON = os.path.join(ENVIRONMENT, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))

CTRL_C = 130


class CannotRun(Exception):
    """Nothing can be tested; the text says what to do."""


def main(arguments: list[str]) -> int:
    totals: collections.Counter[str] = collections.Counter()
    try:
        targets, arguments = take_targets(arguments)
        make_environment()
        with tempfile.TemporaryDirectory(prefix="oaiserve-tests-") as folder:
            code = test_all(targets, arguments, folder, totals)
    except CannotRun as exc:
        print(f"python tests: {exc}", file=sys.stderr, flush=True)
        totals["failed"] += 1
        code = 1
    except KeyboardInterrupt:
        code = CTRL_C
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped", flush=True)
    return code


def take_targets(arguments: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Split off our own option; everything else is pytest's."""
    chosen, rest = [], []
    words = iter(arguments)
    for word in words:
        name, _, value = word.partition("=")
        if name == "--target":
            chosen.append(value or next(words, ""))
        else:
            rest.append(word)
    for target in chosen:
        if target not in TARGETS:
            raise CannotRun(f"--target {target!r}: expected one of {', '.join(TARGETS)}")
    return tuple(target for target in TARGETS if target in chosen or not chosen), rest


# The environment of the tests


def make_environment() -> None:
    """Make the virtual environment unless it is there, whole, and of these pins and this Python."""
    stamp = os.path.join(ENVIRONMENT, "oaiserve-pins.json")
    wanted = {"pins": list(PINS), "python": sys.version, "base": sys.base_prefix}
    if read_json(stamp) == wanted:
        return
    print(f"python tests: putting {' and '.join(PINS)} into {os.path.relpath(ENVIRONMENT, ROOT)}", flush=True)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    try:
        install = make_venv()
        subprocess.run([*install, "--quiet", "--disable-pip-version-check", *PINS], check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        raise CannotRun(f"could not install {', '.join(PINS)} into {ENVIRONMENT}: {exc}") from exc
    with open(stamp, "w", encoding="utf-8") as file:  # last, so that a half-made environment is made again
        json.dump(wanted, file)


def make_venv() -> list[str]:
    """Make an empty environment and return the command that installs into it."""
    if importlib.util.find_spec("ensurepip"):
        venv.create(ENVIRONMENT, with_pip=True)
        return [PYTHON, "-m", "pip", "install"]
    if importlib.util.find_spec("pip"):  # Debian without python3-venv
        venv.create(ENVIRONMENT, with_pip=False)
        return [sys.executable, "-m", "pip", "--python", PYTHON, "install"]
    raise CannotRun(
        f"{sys.executable} has neither ensurepip nor pip: install one (Debian: python3-venv), or use another"
    )


def read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content: dict[str, Any] = json.load(file)
            return content
    except (OSError, ValueError):
        return {}


# The runs


def test_all(targets: tuple[str, ...], arguments: list[str], folder: str, totals: collections.Counter[str]) -> int:
    """Test the first form, then the others side by side, and return our exit code.

    The others are left out when they would tell no more: pytest could not do what was asked, or was to stop at once.
    """
    environment = dict(os.environ, PYTHONPYCACHEPREFIX=os.path.join(folder, "pycache"))  # the tree stays clean
    environment.pop("PYTHONPATH", None)
    programs = make_programs(targets, folder, environment)
    missing = [target for target in targets if target not in programs]
    totals["failed"] += len(missing)
    runs = [Run(target, programs[target], arguments, folder, environment) for target in targets if target in programs]
    if not runs:
        return 1
    print(f"\n==== {runs[0].target} ====", flush=True)
    code = runs[0].start(None).finish(totals)
    # Beyond 1, "some tests failed", pytest says that it could not do what was asked.
    if code > 1 or code and {"-x", "--exitfirst"} & set(arguments):
        runs = runs[:1]
    codes = [code]
    outputs = [open(os.path.join(folder, f"{run.target}.log"), "w+b") for run in runs[1:]]
    for run, output in zip(runs[1:], outputs):
        run.start(output)
    for run, output in zip(runs[1:], outputs):
        codes.append(run.finish(totals))
        print(f"\n==== {run.target} ====", flush=True)
        output.seek(0)
        shutil.copyfileobj(output, sys.stdout.buffer)
        sys.stdout.flush()
        output.close()
    print(flush=True)
    return 1 if any(codes) or missing else 0


def make_programs(targets: tuple[str, ...], folder: str, environment: dict[str, str]) -> dict[str, str]:
    """Return the path to test by target, each joined form alone in a folder; the tree only, when joining fails."""
    programs = {"source": ROOT}
    if targets == ("source",):
        return programs
    built = os.path.join(folder, "built")
    command = [PYTHON, os.path.join(ROOT, "oaiserve.py"), "bundle", built]
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        print("python tests: `oaiserve.py bundle` failed: no single file and no zipapp to test", flush=True)
        return programs
    for target, name in (("file", "oaiserve.py"), ("zipapp", "oaiserve.pyz")):
        alone = os.path.join(folder, target)
        os.mkdir(alone)
        programs[target] = shutil.move(os.path.join(built, name), alone)
    return programs


class Run:
    """pytest on one form of the program."""

    def __init__(
        self, target: str, program: str, arguments: list[str], folder: str, environment: dict[str, str]
    ) -> None:
        self.target = target
        self._totals = os.path.join(folder, f"{target}-totals.json")
        self._environment = dict(environment, OAISERVE_TARGET=program, OAISERVE_TOTALS=self._totals)
        # -I: neither the working directory nor PYTHONPATH may lend the program a module; it ignores -X's variable.
        python = [PYTHON, "-I", "-X", f"pycache_prefix={environment['PYTHONPYCACHEPREFIX']}", "-m", "pytest"]
        settings = ["-c", os.path.join(ROOT, "pyproject.toml"), "--rootdir", ROOT]
        self._command = [*python, *settings, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, output: BinaryIO | None) -> Run:
        """Begin; what pytest prints goes to `output`, or straight through."""
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environment, stdout=output, stderr=subprocess.STDOUT if output else None
        )
        return self

    def finish(self, totals: collections.Counter[str]) -> int:
        """Wait for the end, add the counts to `totals` and return pytest's exit code."""
        try:
            return wait(self._process)
        finally:
            totals.update(read_json(self._totals) or {"failed": 1})  # nothing was written: pytest could not even begin


def wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait()
    except KeyboardInterrupt:
        # The terminal has told pytest as well: let it end what the tests started, and print what it knows.
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
