"""Virtual environments of pinned packages in .venv-tests/, so that neither this machine nor the product gains any."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import venv
from typing import NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class CannotInstall(Exception):
    """The packages could not be put into an environment; the text says why."""


class Environment(NamedTuple):
    """A virtual environment that has `pins` and no other packages; `name` and this Python's version name its folder."""

    name: str
    pins: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where it is, or will be."""
        return os.path.join(ROOT, ".venv-tests", "{}{}.{}".format(self.name, *sys.version_info))

    @property
    def python(self) -> str:
        """Its Python, once it is made."""
        return os.path.join(self.folder, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))

    def make(self) -> None:
        """Make it, unless it is there, whole, and of these pins and this very Python; CannotInstall where that fails.

        The stamp that says so is written last. So one that was left half made is made again.
        """
        stamp = os.path.join(self.folder, "oaiserve-pins.json")
        wanted = {"pins": list(self.pins), "python": sys.version, "base": sys.base_prefix}
        if _read_stamp(stamp) == wanted:
            return
        print(f"putting {', '.join(self.pins)} into {os.path.relpath(self.folder, ROOT)}", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            install = [*self._make_empty(), "--quiet", "--disable-pip-version-check", *self.pins]
            subprocess.run(install, check=True, capture_output=True, text=True)
            with open(stamp, "w", encoding="utf-8") as file:
                json.dump(wanted, file)
        except OSError as exc:
            raise CannotInstall(f"{self.folder} could not be made: {exc}") from exc
        except subprocess.CalledProcessError as exc:
            reason = (exc.stderr or exc.stdout or f"exit status {exc.returncode}").strip().splitlines()[-1]
            raise CannotInstall(f"{', '.join(self.pins)} could not be installed: {reason}") from exc

    def _make_empty(self) -> list[str]:
        """Make it without packages and return the command that installs some."""
        if importlib.util.find_spec("ensurepip"):
            venv.create(self.folder, with_pip=True)
            return [self.python, "-m", "pip", "install"]
        if importlib.util.find_spec("pip"):  # Debian without python3-venv
            venv.create(self.folder, with_pip=False)
            return [sys.executable, "-m", "pip", "--python", self.python, "install"]
        raise CannotInstall(
            f"{sys.executable} has neither ensurepip nor pip: install one (Debian: python3-venv), or use another Python"
        )


def _read_stamp(path: str) -> object:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None
