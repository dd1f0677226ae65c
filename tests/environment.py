"""Virtual environments of pinned packages in .venv-tests/, so that neither this machine nor the product gains any."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class CannotInstall(Exception):
    """The packages could not be put into an environment; the text says why."""


def make_environment(name: str, pins: Sequence[str]) -> str:
    """Return the path of a Python that has `pins`, and no other packages.

    `name` and this Python's version make the folder's name. The environment is made again unless it is whole, of
    these pins and of this very Python: the stamp that says so is written last.
    """
    folder = os.path.join(ROOT, ".venv-tests", "{}{}.{}".format(name, *sys.version_info))
    python = os.path.join(folder, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
    stamp = os.path.join(folder, "oaiserve-pins.json")
    wanted = {"pins": list(pins), "python": sys.version, "base": sys.base_prefix}
    if _read_stamp(stamp) == wanted:
        return python
    print(f"putting {', '.join(pins)} into {os.path.relpath(folder, ROOT)}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        install = [*_make_venv(folder, python), "--quiet", "--disable-pip-version-check", *pins]
        subprocess.run(install, check=True, capture_output=True, text=True)
    except OSError as exc:
        raise CannotInstall(f"{folder} could not be made: {exc}") from exc
    except subprocess.CalledProcessError as exc:
        reason = (exc.stderr or exc.stdout or f"exit status {exc.returncode}").strip().splitlines()[-1]
        raise CannotInstall(f"{', '.join(pins)} could not be installed: {reason}") from exc
    with open(stamp, "w", encoding="utf-8") as file:
        json.dump(wanted, file)
    return python


def _make_venv(folder: str, python: str) -> list[str]:
    """Make an empty environment and return the command that installs into it."""
    if importlib.util.find_spec("ensurepip"):
        venv.create(folder, with_pip=True)
        return [python, "-m", "pip", "install"]
    if importlib.util.find_spec("pip"):  # Debian without python3-venv
        venv.create(folder, with_pip=False)
        return [sys.executable, "-m", "pip", "--python", python, "install"]
    raise CannotInstall(
        f"{sys.executable} has neither ensurepip nor pip: install one (Debian: python3-venv), or use another Python"
    )


def _read_stamp(path: str) -> object:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None
