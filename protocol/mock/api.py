"""OpenAI's API as the mock answers it: every endpoint, by the API's description. Loaded when it is first needed."""

from __future__ import annotations

import typing

from protocol.exchange import Answer, Endpoint, Request
from protocol.mock.engine.resources import Resources
from protocol.mock.engine.store import Shelf
from protocol.mock.engine.time_and_chance import TimeAndChance
from protocol.mock.engine.world import World
from protocol.mock.families import Families, Family
from protocol.on_demand import load
from protocol.openai.api.operations import Reference
from protocol.openai.refusals import method_not_allowed, unknown_url
from protocol.wire.json_text import JsonObject

#: The collection of models that came to be here, such as fine-tuned ones.
MODELS = "/models"


class _Chat(Family, typing.Protocol):
    """The family that answers chats: protocol/mock/inference/chat.py."""

    def answer(self, request: Request, body: JsonObject) -> Answer:
        """Answer POST /v1/chat/completions."""


class _Sockets(Family, typing.Protocol):
    """The family that has the WebSockets: protocol/mock/realtime/endpoints.py."""

    def socket(self, key: str, names: typing.Mapping[str, str]) -> Endpoint:
        """Return the endpoint of an operation that becomes a WebSocket; `names` are the path's parameters."""

    def leave(self) -> None:
        """Let all WebSockets close."""


class Common:
    """What all sessions of a mock have in common: the API's description, and the room for what they remember."""

    def __init__(self, *, most_records: int, most_bytes: int) -> None:
        self.reference = Reference(_api_reference)
        self.shelf = Shelf(most_records=most_records, most_bytes=most_bytes)


class Api:
    """Finds who answers a request. `forward` answers one through the service's routes, as if a client had sent it."""

    def __init__(self, time: TimeAndChance, common: Common, *, forward: typing.Callable[[Request], Answer]) -> None:
        self.world = World(time, common.reference, common.shelf, forward=forward, ask=self._ask)
        self.families = Families(self.world)
        self._resources = Resources(self.world, self.families.handler)
        self._sockets: _Sockets | None = None

    def other_chat(self) -> typing.Callable[[Request, JsonObject], Answer]:
        """Return what answers POST /v1/chat/completions, whatever the chat asks for."""
        return typing.cast(_Chat, self.families.below("/chat")[0]).answer

    def endpoint(self, request: Request, path: str) -> Endpoint:
        """Return the endpoint for a method and a path without /v1; ApiError 404 or 405, worded as OpenAI's."""
        found = self.world.reference.find(path)
        if found is None:
            raise unknown_url(request)
        key = found.methods.get("GET" if request.method == "HEAD" else request.method)
        if key is None:
            raise method_not_allowed(request, found.methods)
        operation = self.world.reference.operation(key)
        if operation.verb == "opens":
            if self._sockets is None:
                self._sockets = typing.cast(_Sockets, self.families.below("/realtime")[0])
            return self._sockets.socket(key, found.names)
        return self._resources.endpoint(operation, found.names)

    def models(self) -> list[JsonObject]:
        """Return the models that came to be here."""
        self.world.store.all("/fine_tuning/jobs")  # what is due may have made models
        return [record.object for record in self.world.store.all(MODELS)]

    def give_back_room(self) -> None:
        """Let what is remembered count no more for what all sessions may remember."""
        self.world.store.close()

    def leave(self) -> None:
        """End what would not end by itself: the server is going away."""
        if self._sockets is not None:
            self._sockets.leave()

    async def close(self) -> None:
        """End what is under way."""
        await self.world.close()

    def _ask(self, method: str, path: str, body: JsonObject) -> typing.Any:
        return self._resources.ask(method, path, body)


def _api_reference() -> tuple[str, ...]:
    (texts,) = load("mock reference")
    return typing.cast("tuple[str, ...]", texts)
