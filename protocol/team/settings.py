"""Section [limits] of the configuration: what holds for whoever asks, and where it is counted."""

from __future__ import annotations

import typing

from protocol.config import Section, option, parse_choice, parse_text
from protocol.on_demand import load


class WindowsText(str):
    """Windows as they are written: "60/min, 5000/day"."""

    __slots__ = ()

    def windows(self) -> tuple[typing.Any, ...]:
        """Return them (protocol/limiter.py); ValueError where it is none."""
        if not self:
            return ()
        (read_windows,) = load("windows")
        return tuple(read_windows(self))


def parse_windows(text: str) -> WindowsText:
    """Return the windows that a text names, still as text: the limiter is loaded only where there are any."""
    windows = WindowsText(text)
    windows.windows()
    return windows


class LimitsSettings(Section):
    """Section [limits]."""

    per_address: WindowsText = option("", parse_windows, "requests of one client's address, e.g. 60/min, 5000/day")
    per_origin: WindowsText = option("", parse_windows, "requests of the pages of one origin, e.g. 600/min")
    file: str = option(
        "", parse_text, "file of what has been taken, on a local disk; empty: beside the keys file, where one is needed"
    )
    store: str = option(
        "",
        parse_text,
        "redis://[user:password@]host:port/db, rediss: or unix: if several hosts share limits",
        secret=True,
    )
    store_down: str = option(
        "closed",
        parse_choice("closed", "open", "local"),
        "while it cannot be reached: closed (503), open (all may), local (this host alone)",
    )
