"""The plan of a package: its rooms in order, and what each may import, as its docstring draws them.

    wire -> errors
        One format each: bytes to events, and back.
    exchange -> errors, wire
    relay -> errors, wire, exchange, service/log

A room is a module or a folder of the package. A line names what the room may import beside itself, or load later: rooms
that stand above it, or a part of one; after a comma it goes on in the next line. `nothing` is written out, and
`everything` stands for all rooms above.
`Pure: wire.` lists the rooms that know neither an event loop nor a clock. People read that docstring first, so the plan
is written there alone.
"""

from __future__ import annotations

import dataclasses
import re

_LINE = re.compile(r"^ {4}([\w/]+) -> ((?:.*,\n +)*.*)$", re.MULTILINE)
_PURE = re.compile(r"^Pure: ([\w/, \n]+)\.", re.MULTILINE)


class BadPlan(Exception):
    """The plan cannot be read, or contradicts itself."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Rooms by name, in order, each with what it may import; `pure` rooms know no event loop and no clock.

    Those that may import `everything` need not do so.
    """

    arrows: dict[str, tuple[str, ...]]
    pure: tuple[str, ...]
    everything: tuple[str, ...] = ()

    def room_of(self, module: str) -> str | None:
        """Return the room that holds a module, the innermost one; both are paths from the package, without `.py`."""
        rooms = [room for room in self.arrows if covers(room, module)]
        return max(rooms, key=len, default=None)


def covers(place: str, module: str) -> bool:
    """Say whether a module is that place, or lies in it."""
    return module == place or module.startswith(place + "/")


def read_plan(docstring: str) -> Plan | None:
    """Return the plan that a docstring draws, or None where it draws none; BadPlan when it cannot hold."""
    arrows: dict[str, tuple[str, ...]] = {}
    everything: list[str] = []
    for room, imports in _LINE.findall(docstring):
        if room in arrows:
            raise BadPlan(f"{room} stands in the plan twice")
        targets = tuple(re.split(r",\s+", imports))
        if imports == "nothing":
            targets = ()
        elif imports == "everything":
            targets = tuple(arrows)
            everything.append(room)
        for target in targets:
            if not re.fullmatch(r"[\w/]+", target):
                raise BadPlan(f"{room} -> {imports}: expected rooms with ', ' between them, or the word nothing")
            if not any(covers(above, target) for above in arrows):
                raise BadPlan(f"{room} -> {target}: only what stands above {room} in the plan may be named")
        arrows[room] = targets
    if not arrows:
        return None
    found = _PURE.search(docstring)
    pure = tuple(re.split(r",\s+", found[1])) if found else ()
    for room in pure:
        if room not in arrows:
            raise BadPlan(f"Pure: {room} is no room of the plan")
    return Plan(arrows, pure, tuple(everything))
