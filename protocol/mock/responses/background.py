"""Background responses: made at once, and told over time.

Theory of operation.

    queued -> in_progress -> completed | incomplete             cancelled: from every state before its end

The whole response is made when it is asked for, and so are its events, each with the time at which it is due. At those
times the record's plan changes what answers show: the status, an item more of the output, at last everything. A stream
tells each event when it is due, from any event on and as often as somebody asks. Both follow one schedule and so agree.
"""

from __future__ import annotations

import functools
import math
import typing

from protocol.mock.engine.store import Change, Record
from protocol.mock.engine.world import World
from protocol.mock.responses.events import Obfuscate, response_frames, started_response
from protocol.mock.responses.making import MadeResponse
from protocol.mock.responses.memory import RESPONSES, ResponseMemory, ResponseState, shown_response
from protocol.openai.answers import event_bytes
from protocol.openai.api.operations import Stage
from protocol.openai.long_json import is_long_json
from protocol.turns import in_turns
from protocol.wire.json_text import JsonObject

# How long a background response waits and works when the description does not say so.
_STAGES = (Stage("queued", 1), Stage("in_progress", 2))
# A stream looks this often whether its response has been cancelled.
_LONGEST_NAP_SECONDS = 0.5


class BackgroundState(ResponseState):
    """What a background response knows besides: what it comes to, and when. All times are of the world's clock."""

    __slots__ = ("begun", "cancelled_at", "final", "queued_seconds", "working_seconds")

    def __init__(self, made: MadeResponse, begun: float, stages: typing.Sequence[Stage]) -> None:
        super().__init__(made.context, made.output)
        self.final = made.object
        self.begun = begun
        self.queued_seconds, self.working_seconds = stages[0].seconds, stages[1].seconds
        self.cancelled_at = math.inf


class BackgroundResponses:
    """Lets background responses go on, tells their events, and cancels them."""

    def __init__(self, world: World, memory: ResponseMemory) -> None:
        self._world = world
        self._memory = memory

    def add(self, made: MadeResponse, stages: typing.Sequence[Stage]) -> Record:
        """Remember a response as one that is queued, and plan what becomes of it."""
        record = self._world.store.add(RESPONSES, made.object["id"], started_response(made.object, "queued"))
        state = BackgroundState(made, self._world.clock(), stages[:2] or _STAGES)
        self._world.store.set_state(record, state, made.object)
        self._world.store.keep_chain(record, made.context)

        def work(record: Record) -> None:
            record.object["status"] = "in_progress"

        def finish(record: Record) -> None:
            completed_at = self._world.now() if made.object["completed_at"] else None
            made.object["completed_at"] = completed_at
            record.object.update(made.object)
            self._memory.append_to_conversation(made)

        working_from = state.begun + state.queued_seconds
        record.plan.append((working_from, work))
        for due, event in _schedule(state, None, ()):
            if event["type"] == "response.output_item.done":
                record.plan.append((due, _appending_item(event["item"])))
        record.plan.append((working_from + state.working_seconds, finish))
        return record

    async def stream(
        self,
        record: Record,
        state: BackgroundState,
        after: int,
        obfuscate: Obfuscate | None,
        include: typing.Collection[str] = (),
    ) -> typing.AsyncIterator[bytes]:
        """Yield the events behind a sequence number, each when it is due.

        The stream of a cancelled response ends there, and that of a deleted one without its rest.
        """
        world = self._world
        for due, event in _schedule(state, obfuscate, include):
            if event["sequence_number"] <= after:
                continue
            while world.clock() < due:
                left = (due - world.clock()) / (world.settings.speed or 1)
                await world.sleep(min(left, _LONGEST_NAP_SECONDS))
                if world.store.get(RESPONSES, record.id) is not record or record.object["status"] == "cancelled":
                    return
            if due > state.cancelled_at:
                return
            if is_long_json(event):
                yield await in_turns(functools.partial(event_bytes, [event]))
            else:
                yield event_bytes([event])

    def cancel(self, record: Record, state: BackgroundState) -> None:
        """Cancel a response that is not over; its output is what it has shown so far."""
        record.plan.clear()
        state.cancelled_at = self._world.clock()
        state.output = list(record.object["output"])
        record.object["status"] = "cancelled"
        self._world.store.note_change(record)


def _schedule(
    state: BackgroundState, obfuscate: Obfuscate | None, include: typing.Collection[str]
) -> list[tuple[float, JsonObject]]:
    """Return a response's events, each with the time at which it is due.

    The first two tell that the response is queued. The others are spread evenly over the time in which it works.
    """
    final = shown_response(state.final, state.output, include)
    events = [event for events in response_frames(final, obfuscate) for event in events]
    schedule = []
    for at, event in enumerate(events):
        waited = 0.0 if at < 2 else state.queued_seconds + state.working_seconds * (at - 2) / (len(events) - 3)
        schedule.append((state.begun + waited, event))
    return schedule


def _appending_item(item: JsonObject) -> Change:
    """Return the change that adds an item to the output of a response."""

    def append(record: Record) -> None:
        record.object["output"] = [*record.object["output"], item]

    return append
