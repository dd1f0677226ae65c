"""The mock backend: every endpoint of the OpenAI API, and DashScope's native one, answered by itself.

It keeps to what a request says about form; it knows no clock and no chance of its own: both are handed in.
"""

from __future__ import annotations

import asyncio
import typing

from protocol.exchange import Answer, Endpoint, LateEndpoint, Request, Session
from protocol.mock.engine.time_and_chance import TimeAndChance
from protocol.mock.inference.simple_chat import OtherChat, SimpleChat
from protocol.mock.served_files import NATIVE_ROOT
from protocol.mock.settings import MockSettings, PaceSettings
from protocol.on_demand import is_loaded, load
from protocol.openai.answers import api_path, model_object
from protocol.openai.azure import AZURE_ROOT, azure_address, endpoint_of_azure_batches, endpoint_of_deployment
from protocol.openai.coded_body import decoding_endpoint
from protocol.openai.request_path import plain_path
from protocol.turns import in_turns
from protocol.wire.json_text import JsonObject

# What the mock lists; it answers for any other model just as well.
_MOCK_MODELS = (
    ("gpt-4o", 1715367049),
    ("gpt-4o-mini", 1721172741),
    ("gpt-4.1", 1744316542),
    ("gpt-4.1-mini", 1744318173),
    ("gpt-5", 1754425777),
    ("gpt-5-mini", 1754425928),
    ("gpt-3.5-turbo", 1677610602),
    ("gpt-3.5-turbo-instruct", 1692901427),
    ("o3-mini", 1737146383),
    ("gpt-realtime", 1756271701),
    ("gpt-image-1", 1745517030),
    ("text-embedding-3-small", 1705948997),
    ("text-embedding-3-large", 1705953180),
    ("omni-moderation-latest", 1731689265),
    ("tts-1", 1681940951),
    ("whisper-1", 1677532384),
)
_MOCK_OWNER = "openai"

_Clock = typing.Callable[[], float]
_Repeating = typing.Callable[[Endpoint, str, str, str], Endpoint]
_Sleep = typing.Callable[[float], typing.Awaitable[typing.Any]]


class _Api(typing.Protocol):
    """The endpoints of OpenAI's API, which are loaded when they are first needed: protocol/mock/api.py."""

    def other_chat(self) -> OtherChat:
        """Return what answers POST /v1/chat/completions."""

    def endpoint(self, request: Request, path: str) -> Endpoint:
        """Return the endpoint for a path without /v1."""

    def models(self) -> list[JsonObject]:
        """Return the models that came to be here."""

    def give_back_room(self) -> None:
        """Let what is remembered count no more for what all sessions may remember."""

    def leave(self) -> None:
        """End what would not end by itself."""

    async def close(self) -> None:
        """End what is under way."""


class _NativeApi(typing.Protocol):
    """The endpoints of DashScope's API, loaded likewise: protocol/mock/dashscope/api.py."""

    def endpoint(self, request: Request) -> Endpoint:
        """Return the endpoint for a path and method."""


class Mock:
    """The backend of kind mock.

    `clock` gives seconds since the epoch, `random_bits(n)` an integer of n random bits, `sleep` waits for seconds.
    `find_pace` returns the settings of a [pace NAME]. `max_body` bounds what an encoded body is decoded to, in bytes.
    """

    #: Paths below this are DashScope's own, which the mock answers besides OpenAI's.
    own_root = NATIVE_ROOT
    holds_key = False
    is_resting = False
    keepalive = 0.0
    origin = ""

    def __init__(
        self,
        name: str,
        settings: MockSettings,
        *,
        clock: _Clock,
        random_bits: typing.Callable[[int], int],
        sleep: _Sleep,
        forward: typing.Callable[[Request], Answer],
        find_pace: typing.Callable[[str], PaceSettings] | None = None,
        max_body: int = 65 * 1024 * 1024,
    ) -> None:
        self.name = name
        #: What is said again as it was said is not counted anew.
        self.tells_usage = not settings.freeze
        self._max_body = max_body
        common: list[typing.Any] = []  # what all minds share, once one of them needs it
        native_common: list[typing.Any] = []

        def make_api(time: TimeAndChance) -> _Api:
            api, make_common = load("mock api")
            if not common:
                common.append(make_common(most_records=settings.max_objects, most_bytes=settings.max_stored))
            return typing.cast(_Api, api(time, common[0], forward=forward))

        def make_mind(clock: _Clock, sleep: _Sleep, seed: str) -> _Mind:
            return _Mind(
                settings,
                make_api,
                native_common,
                seed=seed,
                clock=clock,
                random_bits=random_bits,
                sleep=sleep,
                find_pace=find_pace,
            )

        self._make_mind = make_mind
        self._own = make_mind(clock, sleep, "")
        # Each session has a memory of its own. Another one may have the name of one that has ended.
        self._minds: dict[Session, _Mind] = {}
        self._closing: set[asyncio.Future[None]] = set()

    def endpoint(self, request: Request) -> Endpoint:
        """Return the endpoint for a path and method; ApiError 404 or 405, worded as OpenAI's."""
        mind = self._own if request.facts.session is None else self._mind_of(request.facts.session)
        path = plain_path(api_path(request.path) or request.path)
        if request.path.startswith(AZURE_ROOT):
            azure = azure_address(request.path)
            endpoint = mind.endpoint(request, path)
            if azure is not None and azure.deployment:
                endpoint = endpoint_of_deployment(endpoint, azure.deployment)
            elif azure is not None and azure.path == "/batches" and request.method == "POST":
                endpoint = endpoint_of_azure_batches(endpoint)
            return decoding_endpoint(endpoint, request, self._max_body)
        return decoding_endpoint(mind.endpoint(request, path), request, self._max_body)

    def _mind_of(self, session: Session) -> _Mind:
        """Return what answers in a session; the server's own has the name ""."""
        mind = self._minds.get(session) if session.name else self._own
        if mind is None:
            mind = self._make_mind(session.now, session.sleep, session.seed)
            if session.has_ended:
                mind.end()
            else:
                self._minds[session] = mind
        session.follow(mind.time)
        return mind

    def models(self, request: Request) -> list[JsonObject]:
        """Return the models the mock lists, those that came to be here among them."""
        mind = self._own if request.facts.session is None else self._mind_of(request.facts.session)
        return [model_object(id, created, _MOCK_OWNER) for id, created in _MOCK_MODELS] + mind.models()

    def sent_model(self, asked: str) -> str:
        """Return the model's name: it is not changed here."""
        return asked

    def forget(self, session: Session) -> None:
        """Forget what is remembered for a session, and end what is under way there."""
        if session.name:
            mind = self._minds.pop(session, None)
        else:
            mind, self._own = self._own, self._make_mind(session.now, session.sleep, session.seed)
        if mind is not None:
            mind.end()
            mind.leave()
            closing = asyncio.ensure_future(mind.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def leave(self) -> None:
        """End what would not end by itself: the server is going away."""
        for mind in (self._own, *self._minds.values()):
            mind.leave()

    async def close(self) -> None:
        """End what is under way."""
        for mind in (self._own, *self._minds.values()):
            await mind.close()
        await asyncio.gather(*self._closing)


class _Mind:
    """What answers, and what it remembers. A mock has one, and one more for each session of the instrument.

    `seed` is the session's, "" for the one of the settings. `make_api` makes the endpoints of OpenAI's API.
    `native_common` is what all sessions share of DashScope's, empty until one needs it.
    """

    def __init__(
        self,
        settings: MockSettings,
        make_api: typing.Callable[[TimeAndChance], _Api],
        native_common: list[typing.Any],
        *,
        seed: str,
        clock: _Clock,
        random_bits: typing.Callable[[int], int],
        sleep: _Sleep,
        find_pace: typing.Callable[[str], PaceSettings] | None,
    ) -> None:
        time = TimeAndChance(
            settings, seed=seed, clock=clock, random_bits=random_bits, sleep=sleep, find_pace=find_pace
        )
        self.time = time
        # The one path that every load test takes goes around all that it does not need.
        chat = SimpleChat(time, self._other_chat)
        answer_chat = chat.answer if time.is_plain else chat.answer_paced if time.says_text else chat.answer_other
        self._chat = Endpoint(answer_chat, "mock POST /chat/completions")
        # And so does not know the instrument.
        self._any_chat = Endpoint(chat.answer_other, "mock POST /chat/completions")
        self._repeating: _Repeating | None = None
        if settings.freeze:
            (self._repeating,) = load("mock repeating")
        self._api: _Api | None = None
        self._native: _NativeApi | None = None
        self._has_ended = False

        def make_native() -> _NativeApi:
            native_mock, newest = load("mock dashscope")
            if not native_common:
                native_common.extend((newest(), newest()))
            made = native_mock(
                text=settings.text, delay=settings.delay, first_delay=settings.first_delay,
                clock=clock, random_bits=time.random_bits, sleep=sleep, newest=tuple(native_common),
                timing=time if settings.pace else None,
            )  # fmt: skip
            return typing.cast(_NativeApi, made)

        self._make_api = make_api
        self._make_native = make_native

    def endpoint(self, request: Request, path: str) -> Endpoint:
        """Return the endpoint for a path without /v1 and a method; ApiError 404 or 405."""
        endpoint = self._usual_endpoint(request, path)
        return endpoint if self._repeating is None else self._repeating(endpoint, request.method, path, self.time.seed)

    def _usual_endpoint(self, request: Request, path: str) -> Endpoint:
        if path == "/chat/completions" and request.method == "POST":
            return self._chat if request.facts.session is None else self._any_chat
        if _is_loaded(request.path, path):
            return self._find(request, path)

        async def find(request: Request) -> Endpoint:
            # To compile the code takes up to 200 ms.
            return await in_turns(lambda: self._find(request, path))

        return LateEndpoint(find, streams_body=bool(request.head.upgrade))

    def _find(self, request: Request, path: str) -> Endpoint:
        if request.path.startswith(NATIVE_ROOT):
            if self._native is None:
                self._native = self._make_native()
            return self._native.endpoint(request)
        return self._loaded_api().endpoint(request, path)

    def models(self) -> list[JsonObject]:
        """Return the models that came to be here."""
        return [] if self._api is None else self._api.models()

    def end(self) -> None:
        """Give back the room of what is remembered; requests under way are still answered."""
        self._has_ended = True
        if self._api is not None:
            self._api.give_back_room()

    def leave(self) -> None:
        """End what would not end by itself."""
        if self._api is not None:
            self._api.leave()

    async def close(self) -> None:
        """End what is under way."""
        if self._api is not None:
            await self._api.close()

    def _other_chat(self) -> OtherChat:
        return self._loaded_api().other_chat()

    def _loaded_api(self) -> _Api:
        if self._api is None:
            self._api = self._make_api(self.time)
            if self._has_ended:
                self._api.give_back_room()
        return self._api


def _is_loaded(asked: str, path: str) -> bool:
    """Tell whether the code is there that answers below a path; `asked` is the path as it came."""
    if asked.startswith(NATIVE_ROOT):
        return is_loaded("mock dashscope")
    return is_loaded("mock api", "mock reference", f"mock below /{path.split('/', 2)[1]}")
