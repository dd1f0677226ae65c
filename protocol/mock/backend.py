"""The mock backend: every endpoint of the OpenAI API, and DashScope's native one, answered by itself.

It keeps to what a request says about form; it knows no clock and no chance of its own: both are handed in.
"""

from __future__ import annotations

import functools
import typing

from protocol.errors import ApiError
from protocol.exchange import Answer, Endpoint, Request
from protocol.mock.engine.resources import Resources
from protocol.mock.engine.world import World
from protocol.mock.families import Families
from protocol.mock.inference.chat import ChatCompletions
from protocol.mock.served_files import NATIVE_ROOT
from protocol.mock.settings import MockSettings
from protocol.on_demand import load
from protocol.openai.answers import api_path, model_object
from protocol.openai.api.operations import Reference
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

#: The collection of models that came to be here, such as fine-tuned ones.
MODELS = "/models"


class Mock:
    """The backend of kind mock.

    `clock` gives seconds since the epoch, `random_bits(n)` an integer of n random bits, `sleep` waits for seconds.
    """

    #: Paths below this are DashScope's own, which the mock answers besides OpenAI's.
    own_root = NATIVE_ROOT

    def __init__(
        self,
        name: str,
        settings: MockSettings,
        *,
        clock: typing.Callable[[], float],
        random_bits: typing.Callable[[int], int],
        sleep: typing.Callable[[float], typing.Awaitable[typing.Any]],
        forward: typing.Callable[[Request], Answer],
    ) -> None:
        self.name = name
        self._world = World(
            settings, Reference(_api_reference), clock=clock, random_bits=random_bits, sleep=sleep, forward=forward
        )
        chat = ChatCompletions(self._world)
        # The one path that every load test takes goes around all that it does not need.
        self._chat = Endpoint(chat.answer, "mock POST /chat/completions")
        self._families = Families(self._world, chat.operations())
        self._resources = Resources(self._world, self._families.handler)

        def make_native() -> typing.Any:
            (native_mock,) = load("mock dashscope")
            return native_mock(
                text=settings.text, delay=settings.delay, first_delay=settings.first_delay,
                clock=clock, random_bits=random_bits, sleep=sleep,
            )  # fmt: skip

        self._native = functools.lru_cache(maxsize=None)(make_native)

    def endpoint(self, request: Request) -> Endpoint:
        """Return the endpoint for a path and method; ApiError 404 or 405, worded as OpenAI's."""
        path = api_path(request.path) or request.path
        if path == "/chat/completions" and request.method == "POST":
            return self._chat
        found = self._world.reference.find(path)
        if found is None:
            if request.path.startswith(NATIVE_ROOT):
                return typing.cast(Endpoint, self._native().endpoint(request))
            raise ApiError(404, f"Invalid URL ({request.method} {request.path})", code="unknown_url")
        key = found.methods.get("GET" if request.method == "HEAD" else request.method)
        if key is None:
            raise ApiError(
                405, f"Not allowed to {request.method} on {request.path}.", code="method_not_allowed",
                fields=[("allow", ", ".join([*found.methods, "OPTIONS"]))],
            )  # fmt: skip
        operation = self._world.reference.operation(key)
        if operation.verb == "opens":
            (realtime,) = self._families.below("/realtime")
            return typing.cast(Endpoint, realtime.socket(key))
        return self._resources.endpoint(operation, found.names)

    def models(self, request: Request) -> list[JsonObject]:
        """Return the models the mock lists, those that came to be here among them."""
        models = [model_object(id, created, _MOCK_OWNER) for id, created in _MOCK_MODELS]
        self._world.store.all("/fine_tuning/jobs")  # what is due may have made models
        models += [record.object for record in self._world.store.all(MODELS)]
        return models

    def leave(self) -> None:
        """End what would not end by itself: the server is going away."""
        realtime = self._families.made("Realtime")
        if realtime is not None:
            realtime.leave()

    async def close(self) -> None:
        """End what is under way."""
        await self._world.close()


def _api_reference() -> tuple[str, ...]:
    (texts,) = load("mock reference")
    return typing.cast("tuple[str, ...]", texts)
