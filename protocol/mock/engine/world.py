"""The mock's world: its time, its chance and its memory, which all its parts share.

`freeze = yes` makes two runs of the same scenario equal to the byte: the time that answers tell stands still, and ids
come from a seed. Life cycles go on all the same, by a clock of their own that `speed` makes faster.
"""

from __future__ import annotations

import asyncio
import random
import typing

from protocol.errors import ApiError
from protocol.exchange import Answer, Paced, Request, Response
from protocol.mock.engine.store import Record, Store
from protocol.openai.answers import EVENT_STREAM_FIELDS
from protocol.openai.api.checks import Conformity, check_body
from protocol.openai.api.made_up import UNKNOWN, Completer
from protocol.openai.api.notation import ObjectShape, read_shape
from protocol.openai.api.operations import Operation, Reference, Stage
from protocol.openai.api.query_and_form import TextReader
from protocol.wire.json_text import JsonObject

#: The time that is told when time stands still: 2024-01-01 00:00 UTC.
FROZEN_SECONDS = 1704067200

_ID_BITS = 96

# How OpenAI says that an id is not known, where it has words of its own for that.
_NOT_FOUND = {
    "/files": "No such File object: {}",
    "/batches": "No batch found with id '{}'.",
    "/assistants": "No assistant found with id '{}'.",
    "/threads": "No thread found with id '{}'.",
    "/threads/{thread_id}/messages": "No message found with id '{}'.",
    "/threads/{thread_id}/runs": "No run found with id '{}'.",
    "/models": "The model '{}' does not exist.",
    "/fine_tuning/jobs": "Could not find fine tune: {}",
}


class World:
    """What the parts of a mock share. `settings` is its section; clock, chance, sleep and the router are handed in."""

    def __init__(
        self,
        settings: typing.Any,
        reference: Reference,
        *,
        clock: typing.Callable[[], float],
        random_bits: typing.Callable[[int], int],
        sleep: typing.Callable[[float], typing.Awaitable[typing.Any]],
        forward: typing.Callable[[Request], Answer],
    ) -> None:
        self.settings = settings
        #: Whether words take time.
        self.is_paced = bool(settings.delay or settings.first_delay)
        self.reference = reference
        self.sleep = sleep
        self.forward = forward
        self._clock = clock
        self.random_bits = random_bits
        if settings.seed or settings.freeze:
            self.random_bits = random.Random(settings.seed or "oaiserve").getrandbits
        self.store = Store(self.clock, most_records=settings.max_objects, most_bytes=settings.max_stored)
        self.conformity = Conformity(reference.shapes)
        self.texts = TextReader(reference.shapes, self.conformity)
        self._completer = Completer(reference.shapes, self.conformity, self)
        self._tasks: set[asyncio.Task[typing.Any]] = set()
        self._checks: dict[int, tuple[typing.Any, typing.Any]] = {}
        #: `ask(method, path, body)` gives what one operation of the mock itself answers; set by the engine.
        self.ask: typing.Callable[[str, str, JsonObject], typing.Any] = _ask_nobody

    # ---- time and chance ----------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return the time to tell, in seconds since the epoch; to a change of a plan, when it was due."""
        if self.settings.freeze:
            return FROZEN_SECONDS
        moment = self.store.moment
        return int(self._clock() if moment is None or not self.settings.speed else moment / self.settings.speed)

    def clock(self) -> float:
        """Return the seconds by which life cycles go: real ones, times the setting `speed`; in a change, its own."""
        moment = self.store.moment
        return self._clock() * self.settings.speed if moment is None else moment

    def new_id(self, prefix: str) -> str:
        """Return an id that nothing else has."""
        # As ":024x" gives them, in 0.13 instead of 0.31 µs (CPython 3.11).
        return prefix + self.random_bits(_ID_BITS).to_bytes(_ID_BITS // 8, "big").hex()

    async def pass_time(self, seconds: float) -> None:
        """Wait for so many seconds of the clock by which life cycles go."""
        if not self.settings.speed:
            await asyncio.get_running_loop().create_future()
        await self.sleep(seconds / self.settings.speed)

    # ---- memory -------------------------------------------------------------------------------------------------

    def make(self, shape: str, known: JsonObject) -> JsonObject:
        """Return an object of the named shape: what is known, and plausible values for what else it requires."""
        return self._completer.complete(read_shape(shape), known)

    def complete(self, shape: typing.Any, known: typing.Any = UNKNOWN) -> typing.Any:
        """Return a value of a shape: what is known, and plausible values for what else it requires."""
        return self._completer.complete(shape, known)

    def find(self, collection: str, id: str, *, param: str | None = None) -> Record:
        """Return the record of an id; ApiError 404 when it is not known, or one made up as `unknown_ids` says."""
        record = self.store.get(collection, id)
        if record is not None:
            return record
        if self.settings.unknown_ids != "invent":
            usual = f"{_named(collection)} with id '{{}}' not found."
            words = _NOT_FOUND.get(self.reference.template(collection), usual)
            code = "model_not_found" if collection == "/models" else "not_found"
            raise ApiError(404, words.replace("{}", id[:100]), param=param, code=code)
        return self.invent(collection, id)

    def invent(self, collection: str, id: str) -> Record:
        """Make a record up that nobody created."""
        template = self.reference.template(collection)
        shape, _ = self.reference.item_shape(template)
        known = {**path_names(template, collection), "id": id}
        made = self.complete(shape, known) if shape is not None else {"id": id}
        record = self.store.add(collection, id, made)
        record.notes["invented"] = True
        return record

    def live(self, record: Record, stages: typing.Sequence[Stage]) -> None:
        """Let a record's `status` go through the stages of its life cycle, from now on."""
        due = self.clock()
        self._enter(record, stages[0], is_last=len(stages) == 1)
        for number, stage in enumerate(stages[1:], 1):
            due += stages[number - 1].seconds
            is_last = number == len(stages) - 1
            record.plan.append((due, lambda record, stage=stage, is_last=is_last: self._enter(record, stage, is_last)))

    def _enter(self, record: Record, stage: Stage, is_last: bool) -> None:
        record.object["status"] = stage.status
        shape, _ = self.reference.item_shape(self.reference.template(record.collection))
        members = self.reference.shapes.followed(shape).members if shape is not None else {}
        if f"{stage.status}_at" in members:
            record.object[f"{stage.status}_at"] = self.now()
        if is_last and "progress" in members:
            record.object["progress"] = 100

    def check(self, shape: typing.Any, value: typing.Any) -> str:
        """Check a value as `validate` says: ApiError 400, or what is wrong as a warning, "" for nothing."""
        mode = self.settings.validate
        if mode == "off" or shape is None:
            return ""
        try:
            made = self._checks.get(id(shape))
            if made is None:
                # With its shape, whose id nothing else can have while it is there.
                made = self._checks[id(shape)] = (shape, self.conformity.check(shape))
            check_body(made[1], value)
        except ApiError as exc:
            if mode == "strict":
                raise
            return exc.message
        return ""

    def conforming(self, key: str, body: JsonObject) -> JsonObject:
        """Return the members of a body that are as the operation has them: others come unless `validate` is strict."""
        members = members_of(self, self.reference.operation(key).body)
        if self.settings.validate == "strict":
            return {name: value for name, value in body.items() if name in members}
        conforms = self.conformity.conforms
        return {name: value for name, value in body.items() if name in members and conforms(members[name].shape, value)}

    # ---- the pace of answers ------------------------------------------------------------------------------------

    def stream(self, frames: list[bytes]) -> Response:
        """Return a stream of events, each frame of which is sent when its word is due."""
        settings = self.settings
        if not self.is_paced:
            frames = [b"".join(frames)]
        return Response(200, EVENT_STREAM_FIELDS, Paced(frames, first_delay=settings.first_delay, delay=settings.delay))

    def after_words(self, answer: JsonObject | Response, words: int) -> typing.Any:
        """Return an answer, or one that waits as long as a stream of so many words would take."""
        if not self.is_paced:
            return answer
        settings = self.settings
        return self._later(answer, settings.first_delay + settings.delay * max(0, words - 1))

    async def _later(self, answer: JsonObject | Response, seconds: float) -> JsonObject | Response:
        await self.sleep(seconds)
        return answer

    # ---- tasks --------------------------------------------------------------------------------------------------

    def spawn(self, work: typing.Coroutine[typing.Any, typing.Any, typing.Any]) -> asyncio.Task[typing.Any]:
        """Begin work in the background; it ends with the mock at the latest."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Call:
    """One request to an operation: what it names and takes, read and checked.

    `names` are the path's parameters, `query` and `body` objects; the body of a form has a FormFile for a file.
    """

    __slots__ = ("body", "names", "operation", "query", "request", "world")

    def __init__(
        self,
        world: World,
        request: Request | None,
        operation: Operation,
        names: typing.Mapping[str, str],
        query: JsonObject,
        body: JsonObject,
    ) -> None:
        self.world = world
        self.request = request
        self.operation = operation
        self.names = names
        self.query = query
        self.body = body

    @property
    def collection(self) -> str:
        """The path of the collection that the operation is about."""
        return fill_path(self.operation.collection, self.names)

    def record(self) -> Record:
        """Return the record that the path names; ApiError 404 for it or for what it lies in."""
        self.parents()
        path = fill_path(self.operation.path, self.names)
        if self.operation.verb == "sets":
            path = path.rpartition("/")[0]
        collection, _, id = path.rpartition("/")
        return self.world.find(collection, id)

    def parents(self) -> None:
        """Check that what the path goes through exists; ApiError 404."""
        steps = self.operation.collection.split("/")
        for number, step in enumerate(steps):
            if step.startswith("{"):
                collection = fill_path("/".join(steps[:number]), self.names)
                if self.world.reference.has(f"GET {'/'.join(steps[: number + 1])}"):
                    self.world.find(collection, self.names[step[1:-1]])

    def known(self) -> JsonObject:
        """Return what a new object knows from its request: the path's parameters, and the body."""
        return {**self.names, **{name: value for name, value in self.body.items() if value is not None}}


def _ask_nobody(method: str, path: str, body: JsonObject) -> typing.Any:
    raise ApiError(404, f"Invalid URL ({method} {path})", code="unknown_url")


def fill_path(template: str, names: typing.Mapping[str, str]) -> str:
    """Return a path with its parameters' values."""
    return "/".join(names[step[1:-1]] if step.startswith("{") else step for step in template.split("/"))


def path_names(template: str, path: str) -> dict[str, str]:
    """Return the parameters of a path by name."""
    pairs = zip(template.split("/"), path.split("/"))
    return {name[1:-1]: value for name, value in pairs if name.startswith("{")}


def _named(collection: str) -> str:
    """Return what a collection's members are called: "Vector store" for /vector_stores."""
    word = collection.rpartition("/")[2].replace("_", " ")
    if word.endswith("ies"):
        word = f"{word[:-3]}y"
    elif word.endswith(("ches", "xes", "sses")):
        word = word[:-2]
    else:
        word = word.removesuffix("s")
    return word.capitalize() or "Object"


def members_of(world: World, shape: typing.Any) -> typing.Mapping[str, typing.Any]:
    """Return the members of an object's shape, none for any other."""
    shape = world.reference.shapes.followed(shape)
    return shape.members if type(shape) is ObjectShape else {}
