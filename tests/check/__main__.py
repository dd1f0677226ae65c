"""python tests/check [--fix] [CHECK …]: run all that can fail besides the tests, or only the checks that are named.

    format    every file is as `ruff format` writes it
    lint      ruff's rules, as pyproject.toml chooses them
    types     mypy, strict, as Python 3.9 reads the code
    dead      vulture: what the program defines and does not use; the tests are no users
    arrows    who imports or loads whom, against the plan in the docstring of protocol/__init__.py
    standard  the product imports where nothing is installed
    docs      links, paths, commands, options and the version in what is written

It prints `ok format`, or a line `FAIL format: path:line: …` for each finding. All run, whatever fails. The exit code
is 0 when all is well, else 1. ruff, mypy and vulture go into .venv-tests/ at the first run; the suite needs none.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import subprocess
import sys
from collections.abc import Callable

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # there `check` is a package

from environment import ROOT, CannotInstall

from check.arrows import check_arrows
from check.docs import check_commands, check_links, check_paths, check_test_names, check_version
from check.files import all_files, read_files, read_program
from check.on_demand import BadTable, loaded_names
from check.standard import check_alone, check_imported
from check.tools import ToolFailed, check_dead, check_format, check_lint, check_types, fix


def _dead() -> list[str]:
    return check_dead(loaded_names(read_program()))


def _arrows() -> list[str]:
    return check_arrows(read_program())


def _standard() -> list[str]:
    program = read_program()
    return check_imported(program) or check_alone(ROOT, program)


def _docs() -> list[str]:
    files = all_files()
    texts = read_files(path for path in files if path.endswith((".py", ".md", ".ini", ".toml", ".yaml")))
    pages = {path: text for path, text in texts.items() if path.endswith(".md")}
    command = [sys.executable, "-B", "oaiserve.py", "--help"]
    help_text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [
        *check_links(pages, files),
        *check_paths(texts, files),
        *check_commands(pages, help_text, CHECKS),
        *check_test_names(pages, texts),
        *check_version(texts["CHANGELOG.md"], texts["protocol/program/version.py"]),
    ]


CHECKS: dict[str, Callable[[], list[str]]] = {
    "format": check_format,
    "lint": check_lint,
    "types": check_types,
    "dead": _dead,
    "arrows": _arrows,
    "standard": _standard,
    "docs": _docs,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python tests/check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}; all when none is named")
    parser.add_argument("--fix", action="store_true", help="format first, and mend what ruff can mend")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.checks if name not in CHECKS]
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}; expected some of {', '.join(CHECKS)}")
    chosen = [name for name in CHECKS if name in options.checks or not options.checks]
    if options.fix:
        print("\n".join(_findings(fix)) or "fixed", flush=True)
    failed = []
    # The tools are processes of their own, so that threads are enough to run them side by side.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, findings in zip(chosen, pool.map(_findings, [CHECKS[name] for name in chosen])):
            print("\n".join(f"FAIL {name}: {finding}" for finding in findings) or f"ok {name}", flush=True)
            if findings:
                failed.append(name)
    print(f"{len(chosen) - len(failed)} checks passed, {len(failed)} failed", flush=True)
    return 1 if failed else 0


def _findings(check: Callable[[], list[str]]) -> list[str]:
    try:
        return check()
    except (BadTable, CannotInstall, ToolFailed, OSError, subprocess.CalledProcessError, SyntaxError) as exc:
        return [f"could not be made: {exc}"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
