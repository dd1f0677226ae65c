"""The realtime endpoints: the WebSockets of all kinds of sessions, and the keys with which browsers open them.

The mock has neither WebRTC nor SIP. A call or a Live session cannot be opened by an offer; what ends one, or passes it
on, changes a record and nothing else. wire.py has the conversation over a WebSocket; what is said in it is in
session.py, beta.py, translation.py, live.py and responses_api.py.
"""

from __future__ import annotations

import functools
import typing

from protocol.errors import ApiError
from protocol.exchange import Endpoint, Request, Response
from protocol.mock.answer.spoken import caller_of
from protocol.mock.engine.resources import Handler, create_object
from protocol.mock.engine.world import Call, World
from protocol.mock.realtime.beta import BetaTalk
from protocol.mock.realtime.configuration import SessionKind, changed_session, new_session
from protocol.mock.realtime.live import LIVE_SESSIONS, LiveTalk
from protocol.mock.realtime.responses_api import ResponsesTalk
from protocol.mock.realtime.session import RealtimeSession
from protocol.mock.realtime.translation import TranslationSession, new_translation
from protocol.mock.realtime.wire import OpenSockets, SocketTalk
from protocol.openai.api.notation import NamedShape, Shape
from protocol.openai.api.query_and_form import nested, query_parameters
from protocol.openai.azure import azure_model
from protocol.wire.json_text import JsonObject
from protocol.wire.websocket import check_handshake, choose_subprotocol

_SECRETS = "/realtime/client_secrets"
_CALLS = "/realtime/calls"

_SECRET_SECONDS = 600
_SESSION_SECONDS = 3600

_BETA_FIELD = "realtime=v1"
_BETA_SUBPROTOCOL = "openai-beta.realtime-v1"

_DEFAULT_REALTIME_MODEL = "gpt-realtime"
_DEFAULT_LIVE_MODEL = "gpt-live-1"

_BETA_CLIENT_EVENT = NamedShape("RealtimeBetaClientEvent")


class Realtime:
    """The family of /realtime and /live, and of all WebSockets."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._open = OpenSockets()
        talks = {
            "GET /realtime": self._session_talk,
            "GET /realtime/translations": self._translation_talk,
            "GET /responses": self._responses_talk,
            "GET /live/sessions": self._live_talk,
        }
        self._sockets = {key: self._socket(key, talk) for key, talk in talks.items()}
        self._named_sockets = {
            "GET /live/sessions/{session_id}/fork": self._forked_talk,
            "GET /live/sessions/{session_id}/attach": self._attached_talk,
        }

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            "POST /realtime/calls": self.call,
            "POST /realtime/client_secrets": self.secret,
            "POST /realtime/sessions": self.beta_session,
            "POST /realtime/transcription_sessions": self.beta_session,
            "POST /realtime/translations/client_secrets": self.translation_secret,
            "POST /live/sessions": self.live_session,
            "POST /live/sessions/{session_id}/fork": self.fork_live_session,
        }

    def socket(self, key: str, names: typing.Mapping[str, str]) -> Endpoint:
        """Return the endpoint of an operation that becomes a WebSocket; `names` are the path's parameters."""
        if not names:
            return self._sockets[key]
        return self._socket(key, functools.partial(self._named_sockets[key], names["session_id"]))

    def leave(self) -> None:
        """Let all WebSockets close: the server is going away."""
        self._open.leave()

    def _socket(self, key: str, make_talk: typing.Callable[[Request, JsonObject], SocketTalk]) -> Endpoint:
        def answer(request: Request) -> Response:
            check_handshake(request.head)
            subprotocol = choose_subprotocol(request.fields, ("realtime",))
            shape = self._world.reference.operation(key).query
            query: JsonObject = {}
            if shape is not None:
                query = self._world.texts.value(shape, nested(query_parameters(request.head.query)))
                self._world.check(shape, query)
            deployment = azure_model(request.path, request.head.query)
            if deployment:
                query["model"] = deployment
            return self._open.answer(request, make_talk(request, query), self._world, subprotocol)

        return Endpoint(answer, f"mock {key}", streams_body=True)

    def _checker(self, shape: Shape | None) -> typing.Callable[[JsonObject], JsonObject]:
        """Return what checks a client's event as `validate` says, and returns it with all that handlers rely on."""

        def check(message: JsonObject) -> JsonObject:
            self._world.check(shape, message)
            return message if self._world.settings.validate == "strict" else self._world.complete(shape, message)

        return check

    # ---- sessions -----------------------------------------------------------------------------------------------

    def _session_talk(self, request: Request, query: JsonObject) -> SocketTalk:
        session = self._secret_session(request, ("realtime", "transcription"))
        if session is None:
            session = self._new_session("transcription" if query.get("intent") == "transcription" else "realtime")
            model = query.get("model")
            if query.get("call_id"):
                self._world.find(_CALLS, query["call_id"], param="call_id")
            elif not model and session["type"] == "realtime":
                raise ApiError(400, "You must provide a model parameter.", param="model", code="missing_model")
            if "model" in session:
                session["model"] = model or _DEFAULT_REALTIME_MODEL
        shapes = self._world.reference
        check = self._checker(shapes.operation("GET /realtime").body)
        talk = RealtimeSession(self._world, session, check=check, caller=caller_of(request))
        if not _is_beta(request):
            return talk
        return BetaTalk(talk, check=self._checker(_BETA_CLIENT_EVENT))

    def _translation_talk(self, request: Request, query: JsonObject) -> SocketTalk:
        session = self._secret_session(request, ("translation",))
        if session is None:
            if not query.get("model"):
                raise ApiError(400, "You must provide a model parameter.", param="model", code="missing_model")
            session = new_translation(self._world.new_id("sess_"), query["model"], {}, self._session_end())
        shape = self._world.reference.operation("GET /realtime/translations").body
        return TranslationSession(self._world, session, check=self._checker(shape))

    def _responses_talk(self, request: Request, query: JsonObject) -> SocketTalk:
        return ResponsesTalk(self._world, caller_of(request))

    def _live_talk(self, request: Request, query: JsonObject) -> SocketTalk:
        check = self._checker(self._world.reference.operation("GET /live/sessions").body)
        return LiveTalk(self._world, check=check, caller=caller_of(request))

    def _forked_talk(self, id: str, request: Request, query: JsonObject) -> SocketTalk:
        stored = self._world.find(LIVE_SESSIONS, id, param="session_id").object["session"]
        check = self._checker(self._world.reference.operation("GET /live/sessions/{session_id}/fork").body)
        return LiveTalk(
            self._world, check=check, caller=caller_of(request), forked={"model": _DEFAULT_LIVE_MODEL, **stored}
        )

    def _attached_talk(self, id: str, request: Request, query: JsonObject) -> SocketTalk:
        self._world.find(LIVE_SESSIONS, id, param="session_id")
        raise ApiError(
            400, "Only sessions over WebRTC or SIP are attached to, and this server is a mock with neither.",
            param="session_id", code="webrtc_not_available",
        )  # fmt: skip

    def _new_session(self, kind: SessionKind, model: str = "") -> JsonObject:
        return new_session(kind, self._world.new_id("sess_"), model or _DEFAULT_REALTIME_MODEL, self._session_end())

    def _session_end(self) -> int:
        return self._world.now() + _SESSION_SECONDS

    def _secret_session(self, request: Request, kinds: typing.Collection[str]) -> JsonObject | None:
        """Return the session that a client secret opens, None where the key is an ordinary one; ApiError 401."""
        record = self._world.store.get(_SECRETS, request.key) if request.key else None
        if record is None or record.object["session"]["type"] not in kinds:
            return None
        if record.object["expires_at"] <= self._world.now():
            raise ApiError(401, "The client secret has expired; create a new one.", code="token_expired")
        return {**record.object["session"], "expires_at": self._session_end()}

    # ---- client secrets -----------------------------------------------------------------------------------------

    def secret(self, call: Call) -> JsonObject:
        """Answer POST /realtime/client_secrets."""
        asked = call.body.get("session") or {"type": "realtime"}
        session = changed_session(self._new_session(asked["type"], asked.get("model") or ""), asked)
        return self._add_secret(session, call.body.get("expires_after"))

    def translation_secret(self, call: Call) -> JsonObject:
        """Answer POST /realtime/translations/client_secrets."""
        asked = call.body["session"]
        audio = asked.get("audio") or {}
        session = new_translation(self._world.new_id("sess_"), asked["model"], audio, self._session_end())
        return self._add_secret(session, call.body.get("expires_after"))

    def _add_secret(self, session: JsonObject, expires_after: JsonObject | None) -> JsonObject:
        seconds = (expires_after or {}).get("seconds") or _SECRET_SECONDS
        value = self._world.new_id("ek_")
        secret = {"value": value, "expires_at": self._world.now() + seconds, "session": session}
        return self._world.store.add(_SECRETS, value, secret).object

    def beta_session(self, call: Call) -> JsonObject:
        """Answer the older POST /realtime/sessions and /realtime/transcription_sessions."""
        is_realtime = call.operation.path == "/realtime/sessions"
        session = self._new_session("realtime" if is_realtime else "transcription", call.body.get("model") or "")
        inner = RealtimeSession(self._world, session, check=_unchanged_event)
        update = "session.update" if is_realtime else "transcription_session.update"
        told = BetaTalk(inner, check=_unchanged_event).receive({"type": update, "session": call.body})[0]["session"]
        client_secret = call.body.get("client_secret") or {}
        expires = client_secret.get("expires_after") or client_secret.get("expires_at")
        secret = self._add_secret(inner.session, expires)
        return {**told, "client_secret": {"value": secret["value"], "expires_at": secret["expires_at"]}}

    # ---- calls and Live sessions --------------------------------------------------------------------------------

    def call(self, call: Call) -> JsonObject:
        """Refuse POST /realtime/calls."""
        raise _no_webrtc("sdp", "GET /v1/realtime?model=…")

    def live_session(self, call: Call) -> JsonObject:
        """Refuse POST /live/sessions, unless unknown ids are invented: then the session is made up too."""
        if self._world.settings.unknown_ids != "invent":
            raise _no_webrtc("transport.sdp", "GET /v1/live/sessions")
        return create_object(call)

    def fork_live_session(self, call: Call) -> JsonObject:
        """Answer POST …/fork: a session that goes on from another; it gets an id and an answer to its offer."""
        call.record()
        id = self._world.new_id("live_")
        known = {"session": {"id": id}, "transport": call.body.get("transport")}
        made: JsonObject = self._world.complete(call.operation.result, known)
        self._world.store.add("/live/sessions", id, made)
        return made


def _no_webrtc(param: str, instead: str) -> ApiError:
    return ApiError(
        400, "This server is a mock without WebRTC: it cannot answer an SDP offer. Open the session as a WebSocket, "
        f"{instead}, which has the same events.", param=param, code="webrtc_not_available",
    )  # fmt: skip


def _is_beta(request: Request) -> bool:
    subprotocols = request.fields.get("sec-websocket-protocol")
    return _BETA_FIELD in request.fields.get("openai-beta") or _BETA_SUBPROTOCOL in subprotocols


def _unchanged_event(message: JsonObject) -> JsonObject:
    return message
