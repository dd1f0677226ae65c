"""The mock's world: its time, its chance and its memory, which all its parts share."""

from __future__ import annotations

import asyncio
import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.exchange import Answer, Request
from protocol.mock.engine.store import Change, Record, Shelf, Store
from protocol.mock.engine.time_and_chance import TimeAndChance
from protocol.openai.api.checks import check_body
from protocol.openai.api.made_up import UNKNOWN, Completer
from protocol.openai.api.notation import Member, ObjectShape, Shape, read_shape
from protocol.openai.api.operations import Operation, Reference, Stage
from protocol.openai.api.query_and_form import TextReader
from protocol.wire.json_text import JsonObject

# What it costs to make an object (protocol/budget.py): one request may ask for thousands.
_OBJECT_STEPS = 40

# OpenAI's words for an id that is not known, for the collections where it has words of their own.
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
    """What the parts of a mock share; there is one for each session, and `reference` and `shelf` are those of all.

    `forward` answers a request through the service's routes, as if a client had sent it. `ask(method, path, body)`
    returns what the mock's own operation answers to a JSON body, in process: an object, a Response, or an awaitable of
    one; it raises the ApiError that a client would get.
    """

    def __init__(
        self,
        time: TimeAndChance,
        reference: Reference,
        shelf: Shelf,
        *,
        forward: typing.Callable[[Request], Answer],
        ask: typing.Callable[[str, str, JsonObject], typing.Any],
    ) -> None:
        self.time = time
        self.settings = time.settings
        self.is_paced = time.is_paced
        #: Whether an uploaded file may be anything: where ids are invented, or requests are not checked strictly.
        self.takes_any_upload = self.settings.unknown_ids == "invent" or self.settings.validate != "strict"
        # What `time` has is so often needed that it is the world's own, too.
        self.now = time.now
        self.clock = time.clock
        self.new_id = time.new_id
        self.random_bits = time.random_bits
        self.sleep = time.sleep
        self.pass_time = time.pass_time
        self.stream = time.stream
        self.after_words = time.after_words
        self.waits = time.waits
        self.moment = time.moment
        self.key_of = time.key_of
        self.reference = reference
        self.forward = forward
        self.ask = ask
        self.store = Store(time, shelf)
        self.texts = TextReader(reference.shapes, reference.conformity)
        self._completer = Completer(reference.shapes, reference.conformity, time)
        self._tasks: set[asyncio.Task[typing.Any]] = set()

    # ---- memory -------------------------------------------------------------------------------------------------

    def make(self, shape: str, known: JsonObject) -> JsonObject:
        """Return an object of the named shape: what is known, and plausible values for what else it requires."""
        return self.complete(read_shape(shape), known)

    def complete(self, shape: Shape | None, known: typing.Any = UNKNOWN) -> typing.Any:
        """Return a value of a shape: what is known, and plausible values for what else it requires.

        Raises ValueError for None, the shape of operations that answer nothing.
        """
        if shape is None:
            raise ValueError("there is no shape to complete the value to")
        spend_turn(_OBJECT_STEPS)
        return self._completer.complete(shape, known)

    def find(self, collection: str, id: str, *, param: str | None = None) -> Record:
        """Return the record of an id. One that is not known is an ApiError 404, or made up, as `unknown_ids` says."""
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
        """Return a made-up record for an id that nobody created, and remember it."""
        template = self.reference.template(collection)
        shape, _ = self.reference.item_shape(template)
        known = {**path_names(template, collection), "id": id}
        made = self.complete(shape, known) if shape is not None else {"id": id}
        record = self.store.add(collection, id, made)
        record.is_invented = True
        return record

    def live(self, record: Record, stages: typing.Sequence[Stage]) -> None:
        """Begin a life cycle: a record's `status` goes through these stages, from now on."""
        due = self.clock()
        self._enter(record, stages[0], is_last=len(stages) == 1)
        for number, stage in enumerate(stages[1:], 1):
            due += stages[number - 1].seconds
            record.plan.append((due, self._entering(stage, is_last=number == len(stages) - 1)))

    def _entering(self, stage: Stage, *, is_last: bool) -> Change:
        return lambda record: self._enter(record, stage, is_last=is_last)

    def _enter(self, record: Record, stage: Stage, *, is_last: bool) -> None:
        record.object["status"] = stage.status
        shape, _ = self.reference.item_shape(self.reference.template(record.collection))
        members = members_of(self, shape)
        if f"{stage.status}_at" in members:
            record.object[f"{stage.status}_at"] = self.now()
        if is_last and "progress" in members:
            record.object["progress"] = 100

    def check(self, shape: Shape | None, value: typing.Any) -> str:
        """Check a value as `validate` says. Return what is wrong as a warning, "" for nothing; strict, ApiError 400."""
        mode = self.settings.validate
        if mode == "off" or shape is None:
            return ""
        try:
            check_body(self.reference.conformity.kept_check(shape), value)
        except ApiError as exc:
            if mode == "strict":
                raise
            return exc.message
        return ""

    def conforming(self, key: str, body: JsonObject) -> JsonObject:
        """Return the members of a body that are as the operation has them; only a lenient `validate` lets others in."""
        members = members_of(self, self.reference.operation(key).body)
        if self.settings.validate == "strict":
            return {name: value for name, value in body.items() if name in members}
        conforms = self.reference.conformity.conforms
        return {name: value for name, value in body.items() if name in members and conforms(members[name].shape, value)}

    # ---- tasks --------------------------------------------------------------------------------------------------

    def spawn(self, work: typing.Coroutine[typing.Any, typing.Any, typing.Any]) -> asyncio.Task[typing.Any]:
        """Begin work in the background, which `close` ends if it is not over by then."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Cancel the work in the background, and wait until it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Call:
    """One request to an operation, read and checked.

    `names` are the path's parameters. `query` and `body` are objects; a file in a form is a FormFile in `body`.
    `request` is None where the mock asks itself.
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
        """The path of the collection that the operation is about, with the parameters' values."""
        return fill_path(self.operation.collection, self.names)

    def record(self) -> Record:
        """Return the record that the path names; ApiError 404 when it, or a record above it, is not known."""
        self.parents()
        path = fill_path(self.operation.path, self.names)
        if self.operation.verb == "sets":
            path = path.rpartition("/")[0]
        collection, _, id = path.rpartition("/")
        return self.world.find(collection, id)

    def parents(self) -> None:
        """Check that the records exist that the collection's path goes through; ApiError 404."""
        steps = self.operation.collection.split("/")
        for number, step in enumerate(steps):
            if step.startswith("{"):
                collection = fill_path("/".join(steps[:number]), self.names)
                if self.world.reference.has(f"GET {'/'.join(steps[: number + 1])}"):
                    self.world.find(collection, self.names[step[1:-1]])

    def known(self) -> JsonObject:
        """Return what a new object knows from its request: the path's parameters, and the body."""
        return {**self.names, **{name: value for name, value in self.body.items() if value is not None}}


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


def members_of(world: World, shape: Shape | None) -> typing.Mapping[str, Member]:
    """Return the members of an object's shape, none for any other shape."""
    followed = None if shape is None else world.reference.shapes.followed(shape)
    return followed.members if isinstance(followed, ObjectShape) else {}
