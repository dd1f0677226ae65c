"""The mock backend: every endpoint of the OpenAI API, and DashScope's native one, answered by itself.

It keeps to what a request says about form; it knows no clock and no chance of its own: both are handed in.
"""

from __future__ import annotations

import dataclasses
import typing

from protocol.config import (
    option,
    parse_choice,
    parse_factor,
    parse_integer,
    parse_seconds,
    parse_size,
    parse_switch,
    parse_text,
)
from protocol.errors import ApiError
from protocol.exchange import Answer, Endpoint, Request
from protocol.mock.agents.agents import Agents
from protocol.mock.agents.automations import Automations
from protocol.mock.agents.environments import Environments
from protocol.mock.agents.sessions import Sessions
from protocol.mock.assistants.assistants import Assistants
from protocol.mock.assistants.chatkit import ChatKit
from protocol.mock.assistants.runs import Runs
from protocol.mock.assistants.threads import Threads
from protocol.mock.dashscope.api import NativeMock
from protocol.mock.engine.resources import Resources
from protocol.mock.engine.world import World
from protocol.mock.inference.audio import Audio
from protocol.mock.inference.chat import ChatCompletions
from protocol.mock.inference.decisions import Decisions
from protocol.mock.inference.embeddings import Embeddings
from protocol.mock.inference.images import MockImages
from protocol.mock.inference.moderations import Moderations
from protocol.mock.inference.text_completions import TextCompletions
from protocol.mock.inference.videos import Videos
from protocol.mock.organization.audit import AuditLog
from protocol.mock.organization.organization import Organization
from protocol.mock.organization.usage import Usage
from protocol.mock.organization.webhooks import LiveSessions, Webhooks
from protocol.mock.realtime.endpoints import Realtime
from protocol.mock.responses.conversations import Conversations
from protocol.mock.responses.responses import Responses
from protocol.mock.served_files import NATIVE_ROOT
from protocol.mock.storage.batches import Batches
from protocol.mock.storage.containers import Containers
from protocol.mock.storage.files import Files
from protocol.mock.storage.skills import Skills
from protocol.mock.storage.uploads import Uploads
from protocol.mock.storage.vector_stores import VectorStores
from protocol.mock.training.evals import Evals
from protocol.mock.training.fine_tuning import FineTuning
from protocol.openai.answers import api_path, model_object
from protocol.openai.api.operations import Reference
from protocol.openai.reference.whole import API_REFERENCE
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


@dataclasses.dataclass(frozen=True)
class MockSettings:
    """Section [mock]."""

    text: str = option("powered by openai", parse_text, "what every answer says")
    delay: float = option("0", parse_seconds, "seconds between words; a plain answer takes as long as its words would")
    first_delay: float = option("0", parse_seconds, "seconds before the first word")
    unknown_ids: str = option(
        "refuse", parse_choice("refuse", "invent"), "an id that nobody created: refuse (404) | invent"
    )
    validate: str = option("strict", parse_choice("strict", "warn", "off"), "check requests: strict (400) | warn | off")
    speed: float = option(
        "1", parse_factor, "how many times faster jobs go through their life cycles; 0: they stand still"
    )
    seed: str = option("", parse_text, "the same seed gives the same ids and choices; empty: ever new ones")
    freeze: bool = option("no", parse_switch, "yes: time stands still and ids repeat, so that two runs are equal")
    max_objects: int = option("10000", parse_integer(1, 10_000_000), "objects remembered; the oldest go first")
    max_stored: int = option("256M", parse_size, "bytes of files and objects remembered; the oldest go first")


# What the engine cannot know of itself: classes with `operations()`, which maps operations' keys to handlers.
_BEHAVIOURS: tuple[type, ...] = (
    TextCompletions,
    Embeddings,
    MockImages,
    Audio,
    Files,
    Uploads,
    Batches,
    Containers,
    Skills,
    AuditLog,
    Organization,
    Usage,
    Responses,
    Conversations,
    VectorStores,
    FineTuning,
    Evals,
    Videos,
    Assistants,
    Threads,
    Runs,
    Agents,
    Sessions,
    Environments,
    Automations,
    ChatKit,
    Moderations,
    Decisions,
    Webhooks,
    LiveSessions,
)


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
        self._native = NativeMock(
            text=settings.text, delay=settings.delay, first_delay=settings.first_delay,
            clock=clock, random_bits=random_bits, sleep=sleep,
        )  # fmt: skip
        self._world = World(
            settings, Reference(API_REFERENCE), clock=clock, random_bits=random_bits, sleep=sleep, forward=forward
        )
        chat = ChatCompletions(self._world)
        # The one path that every load test takes goes around all that it does not need.
        self._chat = Endpoint(chat.answer, "mock POST /chat/completions")
        behaviours = chat.operations()
        for behaviour in _BEHAVIOURS:
            behaviours.update(behaviour(self._world).operations())
        self._realtime = Realtime(self._world)
        behaviours.update(self._realtime.operations())
        self._sockets = self._realtime.sockets()
        self._resources = Resources(self._world, behaviours)

    def endpoint(self, request: Request) -> Endpoint:
        """Return the endpoint for a path and method; ApiError 404 or 405, worded as OpenAI's."""
        path = api_path(request.path) or request.path
        if path == "/chat/completions" and request.method == "POST":
            return self._chat
        found = self._world.reference.find(path)
        if found is None:
            if request.path.startswith(NATIVE_ROOT):
                return self._native.endpoint(request)
            raise ApiError(404, f"Invalid URL ({request.method} {request.path})", code="unknown_url")
        key = found.methods.get("GET" if request.method == "HEAD" else request.method)
        if key is None:
            raise ApiError(
                405, f"Not allowed to {request.method} on {request.path}.", code="method_not_allowed",
                fields=[("allow", ", ".join([*found.methods, "OPTIONS"]))],
            )  # fmt: skip
        if key in self._sockets:
            return self._sockets[key]
        return self._resources.endpoint(self._world.reference.operation(key), found.names)

    def models(self, request: Request) -> list[JsonObject]:
        """Return the models the mock lists, those that came to be here among them."""
        models = [model_object(id, created, _MOCK_OWNER) for id, created in _MOCK_MODELS]
        self._world.store.all("/fine_tuning/jobs")  # what is due may have made models
        models += [record.object for record in self._world.store.all(MODELS)]
        return models

    def leave(self) -> None:
        """End what would not end by itself: the server is going away."""
        self._realtime.leave()

    async def close(self) -> None:
        """End what is under way."""
        await self._world.close()
