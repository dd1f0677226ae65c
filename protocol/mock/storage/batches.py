"""Batches that really run: each line of the input file goes as a request through our own routes.

Theory of operation.

    validating -> in_progress -> finalizing -> completed
        |              |
        v              v
      failed        expired                    cancelling -> cancelled: from every state but those at an end

A batch is one task. A mistake in the file makes the batch fail before any line is sent. A batch that is cancelled, or
that takes longer than its window, sends no further line, and writes the answers that it has. The caller's key goes with
each line. It is held as long as the batch runs, and shown nowhere.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.exchange import BackendFailed, Request, gather
from protocol.mock.engine.resources import Handler, create_record
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.storage.files import FILES, keep_file
from protocol.openai.azure import AZURE_ROOT
from protocol.turns import in_turns
from protocol.wire.http1.messages import Fields, RequestHead
from protocol.wire.json_text import JsonObject, encode_json, json_lines, parse_json

# How long a batch takes before and after its lines run, in seconds of the life cycles' clock.
_VALIDATING_SECONDS = 1
_FINALIZING_SECONDS = 1
# API reference, "Create batch": `completion_window` is always 24h, and a file has so many requests at most.
_WINDOW_SECONDS = 24 * 3600
_MOST_LINES = 50_000
_LINES_AT_ONCE = 8
# The largest answer to a line that a batch holds.
_MOST_ANSWER_BYTES = 16 * 1024 * 1024
# How many mistakes of its file a batch lists.
_MOST_ERRORS = 100
# Of reading a line: protocol/budget.py.
_READING_STEPS = 20

_ENDPOINT = re.compile(r"/v1/[a-z/_]+")
# The fields that tell a route who asks, and from what page: what a page may not do itself, a batch does not do for it.
_CALLER_FIELDS = (
    "authorization", "api-key", "openai-organization", "openai-project", "origin", "sec-fetch-site",
)  # fmt: skip
# The members of a batch that are null until there is something to tell.
_UNTOLD = (
    "cancelled_at cancelling_at completed_at error_file_id errors expired_at failed_at finalizing_at in_progress_at"
    " metadata model output_file_id usage".split()
)
_RUNNING = ("validating", "in_progress", "finalizing")


class Batches:
    """The family of /batches."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {"POST /batches": self.create, "POST /batches/{batch_id}/cancel": self.cancel}

    def create(self, call: Call) -> JsonObject:
        """Begin a batch. Its file is read later: what is wrong with it is no error of this request but the batch's."""
        world = self._world
        file = world.find(FILES, str(call.body.get("input_file_id")), param="input_file_id")
        purpose = file.object.get("purpose")
        if purpose != "batch" and not file.is_invented:
            raise ApiError(
                400, f"Invalid file purpose: expected 'batch', but '{file.id}' has '{purpose}'.", param="input_file_id",
                code="invalid_file_purpose",
            )  # fmt: skip
        if not _ENDPOINT.fullmatch(str(call.body.get("endpoint"))):
            raise ApiError(
                400, "Invalid 'endpoint': expected a path such as /v1/chat/completions.", param="endpoint",
                code="invalid_value",
            )  # fmt: skip
        untold = {name: call.body.get(name) for name in _UNTOLD}
        times = {"created_at": world.now(), "expires_at": world.now() + _WINDOW_SECONDS}
        counts = {"total": 0, "completed": 0, "failed": 0}
        record = create_record(call, {**untold, **times, "status": "validating", "request_counts": counts})
        if world.settings.speed:
            world.spawn(_BatchRun(world, record, file.content, call).run())
        return record.object

    def cancel(self, call: Call) -> JsonObject:
        """Cancel a batch: the lines that are under way come to their end, and no further one is sent."""
        record = call.record()
        status = record.object["status"]
        if status in _RUNNING:
            _enter(self._world, record, "cancelling")
            if record.is_invented:
                _enter(self._world, record, "cancelled")
        elif status not in ("cancelling", "cancelled"):
            raise ApiError(
                400, f"Cannot cancel a batch with status '{status}'.", param="batch_id", code="invalid_batch_status"
            )
        return record.object


def _enter(world: World, record: Record, status: str) -> None:
    record.object["status"] = status
    record.object[f"{status}_at"] = world.now()
    world.store.note_change(record)


class _Line(typing.NamedTuple):
    custom_id: str
    body: JsonObject


class _BatchRun:
    """A batch that runs, from its validation to its files."""

    def __init__(self, world: World, record: Record, content: bytes, call: Call) -> None:
        self._world = world
        self._record = record
        self._content = content
        self._endpoint = call.body["endpoint"]
        self._expires_after = call.body.get("output_expires_after")
        request = call.request
        self._peer = request.peer if request is not None else ""
        self._is_azure = request is not None and request.path.startswith(AZURE_ROOT)
        fields = request.fields if request is not None else Fields([])
        host = request.head.host if request is not None else "localhost"
        self._caller = [("host", host), *((name, fields.get(name)) for name in _CALLER_FIELDS if name in fields)]
        self._deadline = world.clock() + _WINDOW_SECONDS
        # All chance is drawn now, so that the ids do not depend on what else happens while the batch runs.
        self._output_id, self._error_id = world.new_id("file-"), world.new_id("file-")
        self._random = random.Random(world.random_bits(64))
        # By the number of a line: whether it went well, and its line of the output or error file.
        self._answers: dict[int, tuple[bool, bytes]] = {}
        self._usage: dict[str, int] = {}
        self._held_bytes = 0

    async def run(self) -> None:
        """Go through the life cycle, to its end or until the batch is forgotten."""
        # The input counts for the batch as long as it is held: its file may be gone from the store by then.
        self._hold(len(self._content))
        try:
            await self._run()
        finally:
            self._hold(-self._held_bytes)

    def _hold(self, size: int) -> None:
        """Let the batch count for so many bytes more that are no part of its object, or less."""
        self._held_bytes += size
        self._world.store.set_size(self._record, self._record.size + size)

    async def _run(self) -> None:
        await self._world.pass_time(_VALIDATING_SECONDS)
        if not self._world.store.has(self._record):
            return
        lines, errors = await in_turns(self._read_lines)
        self._content = b""
        if errors and not self._is_cancelled:
            self._record.object["errors"] = {"object": "list", "data": errors[:_MOST_ERRORS]}
            _enter(self._world, self._record, "failed")
            return
        if not self._is_cancelled:
            await self._run_lines(lines)
        if not self._world.store.has(self._record):
            return
        if not self._is_cancelled and not self._is_late:
            _enter(self._world, self._record, "finalizing")
            await self._world.pass_time(_FINALIZING_SECONDS)
        self._tell(lines)
        _enter(self._world, self._record, self._outcome(lines))

    @property
    def _is_cancelled(self) -> bool:
        return self._record.object["status"] == "cancelling"

    @property
    def _is_late(self) -> bool:
        return self._world.clock() >= self._deadline

    def _outcome(self, lines: typing.Sequence[_Line]) -> str:
        if self._is_cancelled:
            return "cancelled"
        return "completed" if len(self._answers) == len(lines) else "expired"

    # ---- validation ---------------------------------------------------------------------------------------------

    def _read_lines(self) -> tuple[list[_Line], list[JsonObject]]:
        """Return the requests of the input file, and its mistakes as the batch tells them."""
        texts = list(itertools.islice(json_lines(self._content), _MOST_LINES + 1))
        if not texts:
            return [], [_Mistake("empty_file", "The input file is empty: it must have at least one request.").told()]
        if len(texts) > _MOST_LINES:
            return [], [_Mistake("too_many_tasks", f"The input file has more than {_MOST_LINES} requests.").told()]
        lines: list[_Line] = []
        errors: list[JsonObject] = []
        seen: set[str] = set()
        model: typing.Any = None
        for number, text in texts:
            try:
                line = _read_line(text, self._endpoint, seen, is_azure=self._is_azure)
                model = model if lines else line.body.get("model")
                if line.body.get("model") != model and self._world.settings.validate == "strict":
                    raise _Mistake(
                        "model_mismatch", "All requests of a batch must name the same model: "
                        f"'{model}' was expected, but '{line.body.get('model')}' came.", "body.model",
                    )  # fmt: skip
                lines.append(line)
            except _Mistake as exc:
                errors.append(exc.told(number))
            spend_turn(_READING_STEPS + len(text) // 50)
        self._record.object["model"] = model if isinstance(model, str) else None
        return lines, errors

    # ---- lines --------------------------------------------------------------------------------------------------

    async def _run_lines(self, lines: typing.Sequence[_Line]) -> None:
        self._record.object["request_counts"]["total"] = len(lines)
        _enter(self._world, self._record, "in_progress")
        pending = iter(enumerate(lines))
        await asyncio.gather(*(self._work(pending) for _ in range(_LINES_AT_ONCE)))

    async def _work(self, pending: typing.Iterator[tuple[int, _Line]]) -> None:
        """Send lines one after the other, as long as there are any and the batch goes on."""
        for index, line in pending:
            went_well, told = await self._send(line)
            self._answers[index] = (went_well, encode_json(told))
            self._hold(len(self._answers[index][1]))
            self._record.object["request_counts"]["completed" if went_well else "failed"] += 1
            # Otherwise a backend that answers at once would keep everybody else waiting.
            await asyncio.sleep(0)
            if self._is_cancelled or self._is_late or not self._world.store.has(self._record):
                return

    async def _send(self, line: _Line) -> tuple[bool, JsonObject]:
        """Send a line. Return whether it went well, and what the output or error file says of it."""
        told: JsonObject = {"id": self._new_id("batch_req_"), "custom_id": line.custom_id}
        told.update(response=None, error=None)
        request = self._request(line)
        status, request_id, answer = await self._answer(line, request)
        try:
            body = parse_json(answer)
        except ApiError:
            told["error"] = {"code": "invalid_response", "message": f"The answer (status {status}) was not JSON."}
            return False, told
        told["response"] = {"status_code": status, "request_id": request_id, "body": body}
        went_well = status < 400
        if went_well:
            self._count(body)
        return went_well, told

    def _request(self, line: _Line) -> Request:
        body = encode_json(line.body)
        framing = [("content-type", "application/json"), ("content-length", str(len(body)))]
        head = RequestHead("POST", self._endpoint, 1, Fields([*framing, *self._caller]))
        request = Request(head, self._new_id("req_"), self._peer)
        request.body = body
        return request

    async def _answer(self, line: _Line, request: Request) -> tuple[int, str, bytes]:
        """Return the status, the request id and the body of the answer to a line. Errors are answers too."""
        try:
            if line.body.get("stream"):
                raise ApiError(400, "A batch's requests cannot be streamed.", param="stream", code="invalid_value")
            try:
                answer = self._world.forward(request)
                response, body = await gather(answer, _MOST_ANSWER_BYTES, _too_large())
            except BackendFailed as failure:
                response, body = await gather(failure.response, _MOST_ANSWER_BYTES, _too_large())
        except ApiError as exc:
            return exc.status, request.id, encode_json(exc.as_dict())
        return response.status, response.request_id or request.id, body

    def _new_id(self, prefix: str) -> str:
        return f"{prefix}{self._random.getrandbits(96):024x}"

    # ---- results ------------------------------------------------------------------------------------------------

    def _count(self, body: typing.Any) -> None:
        """Add up the usage that an answer tells of, by the names of either API."""
        usage = body.get("usage") if isinstance(body, dict) else None
        if not isinstance(usage, dict):
            return
        for name, others in _USAGE_NAMES.items():
            found = [usage[other] for other in others if type(usage.get(other)) is int]
            self._usage[name] = self._usage.get(name, 0) + sum(found[:1])
        for name, groups in _USAGE_DETAILS.items():
            details = [usage[group] for group in groups if isinstance(usage.get(group), dict)]
            found = [group[name] for group in details if type(group.get(name)) is int]
            self._usage[name] = self._usage.get(name, 0) + sum(found[:1])

    def _tell(self, lines: typing.Sequence[_Line]) -> None:
        """Write the output file and the error file, unless they would be empty, and tell the usage."""
        output = [told for _, (went_well, told) in sorted(self._answers.items()) if went_well]
        errors = [told for _, (went_well, told) in sorted(self._answers.items()) if not went_well]
        if self._is_late and not self._is_cancelled:
            errors += [self._expired(line) for index, line in enumerate(lines) if index not in self._answers]
        self._write("output", self._output_id, output)
        self._write("error", self._error_id, errors)
        used = self._usage
        if used:
            self._record.object["usage"] = {
                "input_tokens": used["input_tokens"],
                "input_tokens_details": {"cached_tokens": used["cached_tokens"]},
                "output_tokens": used["output_tokens"],
                "output_tokens_details": {"reasoning_tokens": used["reasoning_tokens"]},
                "total_tokens": used["input_tokens"] + used["output_tokens"],
            }

    def _expired(self, line: _Line) -> bytes:
        message = "This request could not be executed before the completion window expired."
        error = {"code": "batch_expired", "message": message}
        return encode_json(
            {"id": self._new_id("batch_req_"), "custom_id": line.custom_id, "response": None, "error": error}
        )

    def _write(self, kind: str, id: str, lines: typing.Sequence[bytes]) -> None:
        if not lines:
            return
        content = b"".join(line + b"\n" for line in lines)
        keep_file(
            self._world, f"{self._record.id}_{kind}.jsonl", content, "batch_output", id=id,
            content_type="application/jsonl", expires_after=self._expires_after,
        )  # fmt: skip
        self._record.object[f"{kind}_file_id"] = id


# The names of each figure: that of the Responses API, and that of the older APIs.
_USAGE_NAMES = {
    "input_tokens": ("input_tokens", "prompt_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens"),
}
_USAGE_DETAILS = {
    "cached_tokens": ("input_tokens_details", "prompt_tokens_details"),
    "reasoning_tokens": ("output_tokens_details", "completion_tokens_details"),
}


class _Mistake(Exception):
    """A mistake in an input file."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self._code = code
        self._message = message
        self._param = param

    def told(self, line: int | None = None) -> JsonObject:
        """Return the mistake as a batch tells it, with the number of its line."""
        return {"code": self._code, "message": self._message, "param": self._param, "line": line}


def _read_line(text: bytes, endpoint: str, seen: set[str], *, is_azure: bool) -> _Line:
    """Return the request of a line; _Mistake where there is none. The line's id is added to those `seen` before.

    Azure's lines may leave out /v1, as its batches may.
    """
    try:
        line = parse_json(text.strip())
    except ApiError:
        line = None
    if not isinstance(line, dict):
        raise _Mistake("invalid_json_line", "This line is not parseable as valid JSON.")
    for name in ("custom_id", "method", "url", "body"):
        if line.get(name) is None:
            raise _Mistake("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
    for name, kind, words in (("custom_id", str, "a string"), ("body", dict, "an object")):
        if type(line[name]) is not kind:
            raise _Mistake("invalid_type", f"Invalid type for '{name}': expected {words}.", name)
    if line["custom_id"] in seen:
        raise _Mistake(
            "duplicate_custom_id", f"The custom_id '{line['custom_id'][:100]}' is a duplicate of another request's:"
            " each must be unique within its batch.", "custom_id",
        )  # fmt: skip
    seen.add(line["custom_id"])
    if line["method"] != "POST":
        came = str(line["method"])[:20]
        raise _Mistake("invalid_method", f"Invalid method '{came}': expected 'POST'.", "method")
    if line["url"] != endpoint and not (is_azure and line["url"] == endpoint[len("/v1") :]):
        raise _Mistake("url_mismatch", f"The URL of this request must be the batch's: {endpoint}.", "url")
    return _Line(line["custom_id"], line["body"])


def _too_large() -> ApiError:
    return ApiError(502, f"The answer has more than the {_MOST_ANSWER_BYTES} bytes that a batch can hold.")
