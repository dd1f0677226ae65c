"""The events of an agent's session, kept for those who listen."""

from __future__ import annotations

import asyncio
import collections

from protocol.mock.engine.world import World
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.sse import encode_named_event

_MOST_EVENTS = 1000


class SessionFeed:
    """The last thousand events of a session, as frames of an event stream."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._frames: collections.deque[bytes] = collections.deque(maxlen=_MOST_EVENTS)
        self._waiting: list[asyncio.Future[None]] = []
        #: How many bytes the frames have that are kept.
        self.size = 0
        #: How many events there have been.
        self.count = 0
        #: How many there had been when the last turn began.
        self.turn_start = 0

    def tell(self, kind: str, members: JsonObject) -> None:
        """Add an event."""
        event = {"type": kind, "event_id": self._world.new_id("event_"), **members}
        frame = encode_named_event(kind, encode_json(event))
        if len(self._frames) == _MOST_EVENTS:
            self.size -= len(self._frames[0])
        self._frames.append(frame)
        self.size += len(frame)
        self.count += 1
        self.wake()

    def since(self, position: int) -> list[bytes]:
        """Return the frames of the events after the first `position` ones, as far as they are still kept."""
        return list(self._frames)[max(0, position - self.count + len(self._frames)) :]

    def wake(self) -> None:
        """Let those go on who wait."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, seconds: float | None) -> None:
        """Wait for the next event, for so many seconds at most; None is no limit."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await asyncio.wait([future], timeout=seconds)
