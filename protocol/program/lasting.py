"""Settings that hold as long as the process: what becomes of them when the configuration is read again."""

from __future__ import annotations

import typing

from protocol.config import Section, Settings
from protocol.server.server import LASTING

# Keys of other sections that hold as long as the process, as LASTING does of [server].
LASTING_OF_SINGLE = {
    "limits": ("file", "store", "store_down"),
    "ledger": ("file", "keep_days", "on_disconnect"),
}


def with_lasting(settings: Settings, lasting: Settings) -> Settings:
    """Return settings in which those are as in others that hold as long as the process."""
    single = {
        section: _as_in(settings.single[section], lasting.single[section], names)
        for section, names in LASTING_OF_SINGLE.items()
    }
    server = _as_in(settings.server, lasting.server, LASTING)
    return settings._replace(server=server, single={**settings.single, **single})


def _as_in(section: Section, other: Section, names: typing.Sequence[str]) -> Section:
    return type(section)(**{**vars(section), **{name: getattr(other, name) for name in names}})


def restart_remark(settings: Settings, lasting: Settings) -> str:
    """Return what has been changed that holds as long as the process, "" for nothing."""
    changed = [f"[server] {name}" for name in LASTING if _differs(name, settings.server, lasting.server)]
    for section, names in LASTING_OF_SINGLE.items():
        sections = settings.single[section], lasting.single[section]
        changed += [f"[{section}] {name}" for name in names if _differs(name, *sections)]
    return f"; {', '.join(changed)} will be as they are said once it is started again" if changed else ""


def _differs(name: str, one: Section, other: Section) -> bool:
    return bool(getattr(one, name) != getattr(other, name))
