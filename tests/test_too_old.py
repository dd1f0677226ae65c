"""What somebody reads who has too old a Python, or oaiserve.py of the tree alone."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def interpreter(version):
    """Return a Python of this version; the test is skipped where there is none."""
    paths = [*glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python")), f"python{version}"]
    for path in paths:
        found = shutil.which(path)
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    pytest.skip(f"no Python {version} here")


@pytest.mark.every_form
@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7", "3.8"])
def test_too_old_a_python_is_told_in_one_line(command, version):
    done = subprocess.run(
        [interpreter(version), *command[1:], "--version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "oaiserve needs Python 3.9 or newer" in done.stderr
    is_program = command[-1].endswith(".py")
    if (version == "3.6" and command[-1] == os.path.join(ROOT, "oaiserve.py")) or (version == "2.7" and is_program):
        # What it runs is not in its grammar: Python shows the first line that is not, and that says so.
        assert done.stderr.count("\n") <= 4 and done.stderr.splitlines()[-1].startswith("SyntaxError: ")
        return
    assert done.stderr.startswith(f"oaiserve needs Python 3.9 or newer; this is {version}.")
    assert done.stderr.count("\n") == 1


def test_the_tree_s_file_alone_says_what_it_is(tmp_path):
    shutil.copy(os.path.join(ROOT, "oaiserve.py"), tmp_path)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "oaiserve.py")], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.count("\n") == 1
    assert "one file of a source tree" in done.stderr and "python oaiserve.py bundle" in done.stderr
