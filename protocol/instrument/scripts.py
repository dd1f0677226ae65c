"""Scripts as a server reads them: with what it can do about paces."""

from __future__ import annotations

import pathlib
import typing

from protocol.errors import UsageError
from protocol.instrument.script.reading import ScriptError
from protocol.instrument.script.script import Script, ScriptReader


def script_reader(backends: typing.Collection[str]) -> ScriptReader:
    """Return what reads scripts; `backends` are the names of those that may be asked."""
    return ScriptReader(_no_pace, backends)


def read_script_file(path: str, backends: typing.Collection[str]) -> Script:
    """Return the script in a file; UsageError where it is none, or cannot be read."""
    try:
        return script_reader(backends).script(pathlib.Path(path).read_bytes())
    except OSError as exc:
        raise UsageError(f"[mock] script = {path}: {exc.strerror or exc}") from exc
    except ScriptError as exc:
        raise UsageError(f"[mock] script = {path}: {exc.message}") from exc


def _no_pace(text: str) -> str:
    raise ValueError("a rule has no pace of its own here")
