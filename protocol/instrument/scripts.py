"""Scripts as a server reads them: with what it can do about paces."""

from __future__ import annotations

import pathlib
import typing

from protocol.errors import UsageError
from protocol.instrument.script.reading import ScriptError, near
from protocol.instrument.script.script import Script, ScriptReader

_NO_PACES = "there is no section [pace NAME] in the configuration"


def script_reader(backends: typing.Collection[str], paces: typing.Collection[str]) -> ScriptReader:
    """Return what reads scripts; `backends` are the names of those that may be asked, `paces` those of the sections."""

    def check_pace(name: str) -> str:
        if name not in paces:
            raise ValueError(f"there is no section [pace {name}]; {near(name, paces)}" if paces else _NO_PACES)
        return name

    return ScriptReader(check_pace, backends)


def read_script_file(path: str, backends: typing.Collection[str], paces: typing.Collection[str]) -> Script:
    """Return the script in a file; UsageError where it is none, or cannot be read."""
    try:
        return script_reader(backends, paces).script(pathlib.Path(path).read_bytes())
    except OSError as exc:
        raise UsageError(f"[mock] script = {path}: {exc.strerror or exc}") from exc
    except ScriptError as exc:
        raise UsageError(f"[mock] script = {path}: {exc.message}") from exc
