"""The engine: what the verbs of the API's description do, for every operation that no family of the mock answers.

A request's query and body are checked against the description first, as `validate` says, and a fault is told in
OpenAI's words. A new object takes over what its request says of it; whatever else its shape requires is made up.
"""

from __future__ import annotations

import typing

from protocol.budget import is_in_turns
from protocol.errors import ApiError
from protocol.exchange import Answer, Endpoint, Request, Response
from protocol.mock.engine.named_faults import answer_sound_or_not
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World, fill_path, members_of
from protocol.openai.answers import JSON_FIELDS
from protocol.openai.api.checks import check_body
from protocol.openai.api.operations import Operation
from protocol.openai.api.query_and_form import nested, query_parameters
from protocol.openai.long_json import encode_long_json, is_long_json, json_size
from protocol.turns import in_turns
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.multipart import parse_form

Handler = typing.Callable[[Call], typing.Any]

# What a handler may raise when `validate` lets a request pass that is not as described.
_HANDLER_ERRORS = (AttributeError, IndexError, KeyError, TypeError, ValueError)
_BYTES_FIELDS = encode_fields([("content-type", "application/octet-stream")])
_DEFAULT_PAGE = 20
_LONGEST_PAGE = 1000
_MOST_PAGE_BYTES = 8 << 20
# Where no more is remembered in all, no answer is long.
_SHORT_BYTES = 1 << 20
# Parameters of lists that choose the page; all others filter the objects.
_PAGE_PARAMETERS = frozenset(["after", "before", "limit", "order", "page", "include", "order_by"])


class Resources:
    """Answers the operations of the API.

    `find_handler` returns the handler of an operation that needs more than its verb, None for any other.
    """

    def __init__(self, world: World, find_handler: typing.Callable[[Operation], Handler | None]) -> None:
        self._world = world
        self._find_handler = find_handler

    def endpoint(self, operation: Operation, names: typing.Mapping[str, str]) -> Endpoint:
        """Return the endpoint of an operation for these parameters of its path."""
        handler = self._find_handler(operation) or _VERBS[operation.verb]

        def answer(request: Request) -> Answer:
            call, warning = self._read(request, operation, names)
            return answer_sound_or_not(request, call.body, lambda: answer_call(call, warning))

        def answer_call(call: Call, warning: str) -> Answer:
            try:
                result = handler(call)
            except _HANDLER_ERRORS as exc:
                self._refuse_malformed(call, exc)
                raise
            if isinstance(result, (dict, Response)):
                return _answered(self._world, result, warning)
            return self._answered_later(call, result, warning)

        return Endpoint(answer, f"mock {operation.key}")

    def ask(self, method: str, path: str, body: JsonObject) -> typing.Any:
        """Return what an operation answers to a JSON body, in process: an object, a Response, or an awaitable of one.

        Raises the ApiError that a client would get.
        """
        found = self._world.reference.find(path)
        if found is None or method not in found.methods:
            raise ApiError(404, f"Invalid URL ({method} {path})", code="unknown_url")
        operation = self._world.reference.operation(found.methods[method])
        self._world.check(operation.body, body)
        handler = self._find_handler(operation) or _VERBS[operation.verb]
        return handler(Call(self._world, None, operation, found.names, {}, body))

    async def _answered_later(self, call: Call, result: typing.Awaitable[typing.Any], warning: str) -> Response:
        try:
            answer = _answered(self._world, await result, warning)
            return answer if isinstance(answer, Response) else await answer
        except _HANDLER_ERRORS as exc:
            self._refuse_malformed(call, exc)
            raise

    def _refuse_malformed(self, call: Call, exc: Exception) -> None:
        """Refuse a request that `validate` let pass though its handler can do nothing with it; ApiError 400."""
        for shape, value in ((call.operation.query, call.query), (call.operation.body, call.body)):
            if shape is None:
                continue
            try:
                check_body(self._world.reference.conformity.kept_check(shape), value)
            except ApiError as refusal:
                raise refusal from exc

    # ---- what a request says ------------------------------------------------------------------------------------

    def _read(self, request: Request, operation: Operation, names: typing.Mapping[str, str]) -> tuple[Call, str]:
        """Read a request. Return its call, and what is wrong with it where `validate` only warns."""
        query = self._read_query(request, operation)
        body = self._read_body(request, operation)
        warning = self._world.check(operation.query, query) or self._world.check(operation.body, body)
        return Call(self._world, request, operation, names, query, body), warning

    def _read_query(self, request: Request, operation: Operation) -> JsonObject:
        # A query that is not described cannot be checked, so no handler may see it.
        if not request.head.query or operation.query is None:
            return {}
        return self._world.texts.value(operation.query, nested(query_parameters(request.head.query)))

    def _read_body(self, request: Request, operation: Operation) -> JsonObject:
        media_type = request.fields.get("content-type").partition(";")[0].strip().lower()
        if media_type == "multipart/form-data":
            raw = nested(parse_form(request.fields.get("content-type"), request.body, request.hold_part).parts)
            return raw if operation.body is None else self._world.texts.value(operation.body, raw)
        # Many actions take no body, and clients send none, {} or null.
        if not request.body or (operation.body is None and not media_type.endswith("json")):
            return {}
        return request.json_object() if request.json() is not None else {}


def json_answer(
    world: World, value: JsonObject, fields: bytes = JSON_FIELDS
) -> Response | typing.Coroutine[typing.Any, typing.Any, Response]:
    """Return an answer of status 200; a long one is written in turns with everybody else, and a page made shorter."""
    # What is not remembered came with the request, and a long one is answered in turns.
    if not is_in_turns() and (world.store.held <= _SHORT_BYTES or not is_long_json(value)):
        return Response(200, fields, encode_json(value))

    def write() -> Response:
        return Response(200, fields, encode_long_json(within_bytes(value)))

    return write() if is_in_turns() else in_turns(write)


def _answered(
    world: World, result: JsonObject | Response, warning: str
) -> Response | typing.Coroutine[typing.Any, typing.Any, Response]:
    answer = json_answer(world, result) if isinstance(result, dict) else result
    return with_warning(answer, warning) if isinstance(answer, Response) else _warned_later(answer, warning)


async def _warned_later(answer: typing.Awaitable[Response], warning: str) -> Response:
    return with_warning(await answer, warning)


def with_warning(response: Response, warning: str) -> Response:
    """Return an answer; a warning about its request goes into the field `x-oaiserve-warning`."""
    if warning:
        fields = response.fields if isinstance(response.fields, bytes) else encode_fields(response.fields)
        shown = warning.encode("ascii", "replace").decode()
        response.fields = fields + encode_fields([("x-oaiserve-warning", shown)])
    return response


# ---- the verbs --------------------------------------------------------------------------------------------------


def list_objects(call: Call) -> JsonObject:
    """Answer a page of a collection, filtered by the parameters that name members of its objects."""
    call.parents()
    filters = {name: value for name, value in call.query.items() if name not in _PAGE_PARAMETERS}
    objects = [record.object for record in call.world.store.all(call.collection)]
    return page_of([object for object in objects if _fits(object, filters)], call.query, call.operation.page)


def _fits(object: JsonObject, filters: JsonObject) -> bool:
    for name, wanted in filters.items():
        if name == "metadata" and isinstance(wanted, dict):
            if any((object.get("metadata") or {}).get(key) != value for key, value in wanted.items()):
                return False
        elif name == "filter" and isinstance(wanted, str):  # lists of a vector store's files filter by status so
            if object.get("status") != wanted:
                return False
        elif name in object and isinstance(object[name], (str, int)) and object[name] != wanted:
            return False
    return True


def page_of(objects: list[JsonObject], query: JsonObject, kind: str = "") -> JsonObject:
    """Return a page of objects: `limit` of them in `order`, `after` or `before` an id. `objects` has the oldest first.

    `kind` is "" for OpenAI's usual page, "next" or "token" for one with another cursor, "whole" for all objects.
    """
    if query.get("order", "desc") == "desc":
        objects = objects[::-1]
    ids = [object.get("id") for object in objects]
    start, end = 0, len(objects)
    after = query.get("after") or query.get("page")
    if after is not None and after in ids:
        start = ids.index(after) + 1
    limit = min(query.get("limit") or _DEFAULT_PAGE, _LONGEST_PAGE)
    if query.get("before") is not None and query["before"] in ids:
        end = ids.index(query["before"])
        start = max(start, end - limit)
    shown = objects[start:end] if kind == "whole" else objects[start : min(end, start + limit)]
    page: JsonObject = {"object": "list", "data": shown}
    has_more = start + len(shown) < end
    last_id = shown[-1].get("id") if shown else None
    if kind == "next":
        page["next"] = last_id if has_more else None
    elif kind == "token":
        page["next_page"] = last_id if has_more else None
    page.update(first_id=shown[0].get("id") if shown else None, last_id=last_id, has_more=has_more)
    return page


def within_bytes(page: JsonObject) -> JsonObject:
    """Return a page of at most 8 MB of objects, or one object; any other answer as it is."""
    objects = page.get("data")
    if type(objects) is not list or "has_more" not in page:
        return page
    left = _MOST_PAGE_BYTES
    for count, object in enumerate(objects):
        left -= json_size(object)
        if left < 0 < count:
            last_id = objects[count - 1].get("id")
            cursors = {name: last_id for name in ("next", "next_page", "last_id") if name in page}
            return {**page, "data": objects[:count], **cursors, "has_more": True}
    return page


def create_object(call: Call) -> JsonObject:
    """Add an object to the collection and answer it."""
    return create_record(call).object


def create_record(call: Call, known: JsonObject | None = None, content: bytes = b"") -> Record:
    """Add an object to the collection: what its request says, `known` over that, and made-up values for the rest."""
    call.parents()
    operation, world = call.operation, call.world
    object = world.complete(
        operation.result, {"id": world.new_id(operation.prefix), **call.known(), **operation.sets, **(known or {})}
    )
    record = world.store.add(call.collection, object.get("id") or world.new_id(operation.prefix), object, content)
    if operation.stages:
        world.live(record, operation.stages)
    return record


def give_object(call: Call) -> JsonObject | Response:
    """Answer the object at the path, or its content."""
    if call.operation.gives_bytes:
        return Response(200, _BYTES_FIELDS, _content_of(call))
    if call.operation.path.endswith("}"):
        return call.world.complete(call.operation.result, call.record().object)
    return _singleton(call).object


def _content_of(call: Call) -> bytes:
    collection, _, id = fill_path(call.operation.path, call.names).rpartition("/")[0].rpartition("/")
    return call.world.find(collection, id).content


def _singleton(call: Call) -> Record:
    """Return the object that exists once at a path, such as a project's data retention; made up on first use."""
    call.parents()
    collection, _, id = fill_path(call.operation.path, call.names).rpartition("/")
    record = call.world.store.get(collection, id)
    if record is None:
        record = call.world.store.add(collection, id, call.world.complete(call.operation.result, dict(call.names)))
    return record


def update_object(call: Call) -> JsonObject:
    """Change the object at the path to what the body says, and answer it."""
    record = call.record() if call.operation.path.endswith("}") else _singleton(call)
    return _change(call, record)


def set_object(call: Call) -> JsonObject:
    """Answer an action on the object above it: change what the description sets, and what the body says."""
    record = call.record()
    if "status" in call.operation.sets:
        record.plan.clear()
    return _change(call, record)


def _change(call: Call, record: Record) -> JsonObject:
    changed = {**record.object, **call.known(), **call.operation.sets}
    changed.update({name: record.object[name] for name in ("id", "object", "created_at") if name in record.object})
    members = members_of(call.world, call.operation.result)
    if "updated_at" in members:
        changed["updated_at"] = call.world.now()
    for name, value in list(call.operation.sets.items()):
        if name == "status" and f"{value}_at" in members:
            changed[f"{value}_at"] = call.world.now()
    answer = call.world.complete(call.operation.result, changed) if call.operation.result is not None else {}
    record.object.update({**call.operation.sets, **answer})
    call.world.store.note_change(record)
    return answer


def delete_object(call: Call) -> JsonObject:
    """Remove the object at the path, and say so."""
    collection, _, id = fill_path(call.operation.path, call.names).rpartition("/")
    if call.operation.path.endswith("}"):
        call.record()
    call.world.store.remove(collection, id)
    return deleted_answer(call, id)


def deleted_answer(call: Call, id: str) -> JsonObject:
    """Return what is answered when something has gone."""
    if call.operation.result is None:
        return {"id": id, "deleted": True}
    return call.world.complete(call.operation.result, {**call.names, "id": id, "deleted": True})


def answer_made_up(call: Call) -> JsonObject:
    """Answer with a made-up object, and remember nothing."""
    call.parents()
    if call.operation.result is None:
        return {}
    known = {"id": call.world.new_id(call.operation.prefix), **call.known(), **call.operation.sets}
    return call.world.complete(call.operation.result, known)


_VERBS: dict[str, Handler] = {
    "lists": list_objects,
    "creates": create_object,
    "gives": give_object,
    "updates": update_object,
    "deletes": delete_object,
    "sets": set_object,
    "answers": answer_made_up,
}
