"""The backend before a relay that answers from a cassette, and records what is not on it."""

from __future__ import annotations

import asyncio
import collections
import functools
import json
import typing
import weakref

from protocol.cassette.asking import MOST_ASKED_BYTES, Asking, asking, is_too_long
from protocol.cassette.nearest import nearest_difference
from protocol.cassette.recording import Piece, Recording, kept_fields
from protocol.cassette.tape import Tape
from protocol.errors import ApiError, UsageError
from protocol.exchange import LONG_BODY, Backend, Body, Endpoint, Request, ResetClient, Response, Session, answer_of
from protocol.openai.answers import json_response, model_list
from protocol.turns import in_turns
from protocol.wire.http1.writers import decode_fields
from protocol.wire.json_text import JsonObject
from protocol.witness import witnessed

#: What a deck can do: answer from the tape alone, ask for what is not on it, ask always.
MODES = ("replay", "fill", "record")

# Bytes of an answer that is recorded, and its pieces.
_MOST_BYTES = 8 << 20
_MOST_PIECES = 100_000
# Bytes of recordings that wait to be written.
_MOST_UNWRITTEN = 64 << 20


class _Unwritten(typing.NamedTuple):
    """A recording that is to be written, perhaps into a new file, and about how many bytes it has."""

    recording: Recording
    anew: bool
    size: int


class Deck:
    """A relay with a cassette. `pace` is the factor by which recorded times are shortened, 0 for no waiting at all.

    UsageError, from the constructor, where a cassette that is to be replayed cannot be read, or another one not be
    written. `say` writes to the log.
    """

    own_root = ""
    keepalive = 0.0
    tells_usage = False

    def __init__(
        self,
        relay: Backend,
        tape: Tape,
        mode: str,
        *,
        pace: float,
        neutral: typing.Sequence[str],
        say: typing.Callable[[str], None],
    ) -> None:
        self.name = relay.name
        self.holds_key = relay.holds_key
        self.origin = relay.origin
        self._relay = relay
        self._tape = tape
        self._pace = pace
        self._neutral = neutral
        self._say = say
        # How many recordings of a key a session has been given; None is nobody's, and everybody's.
        self._given: weakref.WeakKeyDictionary[Session, dict[str, int]] = weakref.WeakKeyDictionary()
        self._given_to_all: dict[str, int] = {}
        # What is kept and not written yet, in order, and the task that writes it.
        self._unwritten: collections.deque[_Unwritten] = collections.deque()
        self._writing: asyncio.Future[None] | None = None
        self._is_reading = False
        self._is_anew = False  # what is recorded next begins the file anew
        self.mode = ""
        self._held = Endpoint(self._answer, self.name)
        self._insert(mode)

    def _insert(self, mode: str) -> None:
        if mode != "replay":
            self._tape.check_writable()
        if mode != "record":
            try:
                self._tape.read()
            except FileNotFoundError as exc:
                if mode == "replay":
                    raise UsageError(f"{self._tape.path}: there is no such cassette; fill or record makes one") from exc
                self._tape.clear()
            except (OSError, UnicodeDecodeError) as exc:
                raise UsageError(f"{self._tape.path}: cannot be read: {exc}") from exc
        self.mode = mode
        self._is_anew = mode == "record"
        self._given.clear()
        self._given_to_all.clear()

    # ---- what is controlled -------------------------------------------------------------------------------------

    def state(self) -> JsonObject:
        """Return what the control API shows."""
        return {"file": self._tape.path, "mode": self.mode, "recordings": len(self._tape)}

    async def set_mode(self, mode: str) -> None:
        """Read the cassette anew, in turns with everybody else, and go on in another mode.

        ValueError where there is no such mode or no cassette, and while it is read or written.
        """
        if mode not in MODES:
            raise ValueError(f"expected {' | '.join(MODES)}")
        if self._is_reading or self._writing is not None:
            raise ValueError("the cassette is being read or written; try again")
        self._is_reading = True
        try:
            await in_turns(lambda: self._insert(mode))
        except UsageError as exc:
            raise ValueError(str(exc)) from exc
        finally:
            self._is_reading = False
            self._write_on()

    # ---- a backend ----------------------------------------------------------------------------------------------

    def endpoint(self, request: Request) -> Endpoint:
        """Choose who answers; ApiError 501 for a WebSocket where nobody may be asked, else what the relay raises."""
        if request.head.upgrade.lower() != "websocket":
            return self._held
        if self.mode == "replay":
            raise ApiError(501, "WebSockets are not recorded, and cassette_mode = replay asks nobody.")
        self._say(f"a WebSocket to {request.path} is passed on, and not recorded")
        return self._relay.endpoint(request)

    async def models(self, request: Request) -> list[JsonObject]:
        """Return the models that were recorded, or those of the relay; ApiError 404 where nothing was recorded."""
        asked = asking("GET", "/v1/models", "", "", b"", self._neutral)
        recording = None if self.mode == "record" else self._next(request, asked)
        if recording is None:
            await self._refuse_miss(asked)
            models = self._relay.models(request)
            listed = models if isinstance(models, list) else await models
            body = typing.cast(bytes, json_response(model_list(listed)).body)
            head = [("content-type", "application/json")]
            self._keep(Recording(asked.key, asked.shown, 200, head, [(0.0, body)]), len(body))
            return listed
        try:
            value = json.loads(b"".join(data for _, data in recording.pieces))
            return [model for model in value["data"] if isinstance(model, dict) and "id" in model]
        except (KeyError, TypeError, ValueError) as exc:
            raise ApiError(502, "The recorded list of models is none.") from exc

    def sent_model(self, asked: str) -> str:
        """Return what the relay calls a model."""
        return self._relay.sent_model(asked)

    @property
    def is_resting(self) -> bool:
        """Whether requests keep away from the relay."""
        return self._relay.is_resting

    def forget(self, session: Session) -> None:
        """Let a session begin at the first recordings again."""
        self._given.pop(session, None)
        if not session.name:
            self._given_to_all.clear()
        self._relay.forget(session)

    def leave(self) -> None:
        """Let the relay end what outlasts a stop."""
        self._relay.leave()

    async def close(self) -> None:
        """Let the relay give back what it holds, and write what is not written yet."""
        await self._relay.close()
        if self._writing is not None:
            await self._writing

    # ---- answers ------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        head, body = request.head, request.body
        kind = head.fields.get("content-type")
        if is_too_long(kind, body):
            return await self._answer_too_long(request)

        def read() -> Asking:
            return asking(head.method, request.path, head.query, kind, body, self._neutral)

        asked = await in_turns(read) if len(body) > LONG_BODY else read()
        recording = None if self.mode == "record" else self._next(request, asked)
        if recording is not None:
            return self._replayed(recording, request)
        await self._refuse_miss(asked)
        return self._recorded(await self._ask(request), asked, request)

    async def _ask(self, request: Request) -> Response:
        answer = answer_of(self._relay.endpoint(request), request)
        return answer if isinstance(answer, Response) else await answer

    async def _answer_too_long(self, request: Request) -> Response:
        """Pass a request on that is not recorded; ApiError 413 where nobody may be asked."""
        most = MOST_ASKED_BYTES >> 20
        if self.mode == "replay":
            message = f"A body of more than {most} MB that is no form is not recorded, and cassette_mode = replay "
            message += "asks nobody."
            raise ApiError(413, message, code="cassette_miss", fields=[("x-should-retry", "false")])
        self._say(f"a request to {request.path} is not recorded: its body has more than {most} MB")
        return await self._ask(request)

    def _next(self, request: Request, asked: Asking) -> Recording | None:
        session = request.facts.session
        is_named = session is not None and bool(session.name)
        given = self._given.setdefault(session, {}) if session is not None and is_named else self._given_to_all
        recordings = self._tape.of(asked.key)
        number = given.get(asked.key, 0)
        if number >= len(recordings):
            return None
        given[asked.key] = number + 1
        return recordings[number]

    async def _refuse_miss(self, asked: Asking) -> None:
        """Raise ApiError 404 where nobody may be asked for what is not on the tape."""
        if self.mode == "replay":
            difference = await in_turns(lambda: nearest_difference(asked.shown, self._tape.all()))
            message = f"No recording is left for {asked.shown['method']} {asked.shown['path']}. {difference}"
            raise ApiError(404, message, code="cassette_miss", fields=[("x-should-retry", "false")])

    def _replayed(self, recording: Recording, request: Request) -> Response:
        fields = [(name, value) for name, value in recording.head if name != "x-request-id"]
        request_id = dict(recording.head).get("x-request-id", "")
        pieces = recording.pieces
        body: Body = b"".join(data for _, data in pieces)
        if recording.end != "done" or len(pieces) > 1 or (self._pace and pieces):
            body = _Player(recording, self._pace, request.facts.session)
        return Response(recording.status, fields, body, request_id=request_id)

    def _recorded(self, response: Response, asked: Asking, request: Request) -> Response:
        fields = response.fields
        pairs = decode_fields(fields) if isinstance(fields, bytes) else list(fields)
        head = kept_fields([*pairs, *([("x-request-id", response.request_id)] if response.request_id else [])])
        recorder = _Recorder(asked, response.status, head, self._keep, self._say, request)
        return Response(
            response.status, fields, witnessed(response.body, recorder), response.length, response.request_id,
            response.attempts,
        )  # fmt: skip

    # ---- what is kept -------------------------------------------------------------------------------------------

    def _keep(self, recording: Recording, size: int) -> None:
        """Have a recording of so many bytes more, and write it: a short one at once, a long one in turns."""
        if sum(one.size for one in self._unwritten) + size > _MOST_UNWRITTEN:
            self._say(f"{self._tape.path}: a recording is not kept: {_MOST_UNWRITTEN >> 20} MB wait to be written")
            return
        anew, self._is_anew = self._is_anew, False
        if anew:
            self._tape.clear()
        self._tape.add(recording)
        self._unwritten.append(_Unwritten(recording, anew, size))
        self._write_on()

    def _write_on(self) -> None:
        if self._is_reading or self._writing is not None or not self._unwritten:
            return
        if len(self._unwritten) == 1 and self._unwritten[0].size <= LONG_BODY:
            self._write(self._unwritten.popleft())
        else:
            self._writing = asyncio.ensure_future(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._unwritten:
                await in_turns(functools.partial(self._write, self._unwritten[0]))
                self._unwritten.popleft()
        except ApiError as exc:
            self._say(f"{self._tape.path}: recordings wait to be written: {exc.message}")
        finally:
            self._writing = None

    def _write(self, one: _Unwritten) -> None:
        try:
            self._tape.write(one.recording, anew=one.anew)
        except OSError as exc:
            self._is_anew |= one.anew
            self._say(f"{self._tape.path}: a recording cannot be written: {exc}")


class _Recorder:
    """Sees an answer leave (Witness), and keeps it once it is over."""

    def __init__(
        self,
        asked: Asking,
        status: int,
        head: typing.Sequence[tuple[str, str]],
        keep: typing.Callable[[Recording, int], None],
        say: typing.Callable[[str], None],
        request: Request,
    ) -> None:
        self._asked = asked
        self._status = status
        self._head = head
        self._keep = keep
        self._say = say
        self._request = request
        self._pieces: list[Piece] = []
        self._bytes = 0
        self._fault = ""  # why it is not recorded
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()

    def took(self, data: bytes) -> None:
        """Learn that a piece is leaving."""
        if self._fault:
            return
        self._bytes += len(data)
        if self._bytes > _MOST_BYTES:
            self._fault = f"it has more than {_MOST_BYTES >> 20} MB"
        elif len(self._pieces) >= _MOST_PIECES:
            self._fault = f"it comes in more than {_MOST_PIECES} pieces"
        elif not self._request.may_hold(len(data)):
            self._fault = "there is no room for it within max_memory"
        if self._fault:
            self._pieces.clear()
            return
        now = self._loop.time()
        self._pieces.append((now - self._last, data))
        self._last = now

    def whole(self) -> None:
        """Learn that the body has come to its end."""
        self._end("done")

    def cut(self, error: Exception | None = None) -> None:
        """Learn that the body breaks off, and why if somebody knows."""
        self._end("reset" if isinstance(error, ApiError) and error.by_reset else "cut")

    def _end(self, end: str) -> None:
        asked = self._asked
        if self._fault:
            self._say(f"the answer to {asked.shown['path']} is not recorded: {self._fault}")
        else:
            recording = Recording(asked.key, asked.shown, self._status, self._head, self._pieces, end)
            self._keep(recording, self._bytes + asked.size)


class _Player:
    """A body as it was recorded. Its times are counted from its beginning: errors do not add up."""

    def __init__(self, recording: Recording, pace: float, session: Session | None) -> None:
        self._pieces = iter(recording.pieces)
        self._end = recording.end
        self._pace = pace
        self._session = session
        self._begun: float | None = None
        self._due = 0.0

    def __aiter__(self) -> _Player:
        return self

    async def __anext__(self) -> bytes:
        piece = next(self._pieces, None)
        if piece is None:
            if self._end == "reset":
                raise ResetClient
            if self._end != "done":
                raise ApiError(502, "The recorded answer broke off here.")
            raise StopAsyncIteration
        if self._pace:
            self._due += piece[0] / self._pace
            await self._wait()
        return piece[1]

    async def _wait(self) -> None:
        now = asyncio.get_running_loop().time() if self._session is None else self._session.now()
        if self._begun is None:
            self._begun = now
        left = self._begun + self._due - now
        if left > 0:
            await (asyncio.sleep(left) if self._session is None else self._session.sleep(left))
