"""The upstream's list of models: kept for a minute, and longer while the upstream fails."""

from __future__ import annotations

import asyncio
import json
import typing

from protocol.errors import ApiError
from protocol.openai.answers import model_object
from protocol.upstream.pool import UpstreamPool
from protocol.upstream.request import UpstreamRequest
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject

_KEPT_SECONDS = 60.0
_LONGEST_SECONDS = 120.0
_MOST_BYTES = 4 * 1024 * 1024
_REMEMBERED_LISTS = 100

# Of the caller's request for the list of models, what the upstream gets to see.
_FIELDS = ("host", "authorization", "api-key", "openai-organization", "openai-project", "user-agent", "via")


class ModelList:
    """What the upstream behind `pool` lists, and the models that are renamed: `renamed` maps names asked to names sent.

    `name` is the backend's. `is_shared` says that every caller sees the same list. The upstream has `timeout` seconds
    for its list (0: 120). `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        name: str,
        pool: UpstreamPool,
        renamed: typing.Mapping[str, str],
        *,
        is_shared: bool,
        timeout: float,
        clock: typing.Callable[[], float],
    ) -> None:
        self._name = name
        self._pool = pool
        self._renamed = renamed
        self._is_shared = is_shared
        self._timeout = timeout or _LONGEST_SECONDS
        self._clock = clock
        self._kept: dict[str, tuple[float, list[JsonObject]]] = {}

    async def read(self, request_fields: list[tuple[str, str]]) -> list[JsonObject]:
        """Return the model objects for a caller whose request would have these fields.

        ApiError, of the upstream's status or 502 or 504, where there never was a list.
        """
        fields = [(name, value) for name, value in request_fields if name in _FIELDS]
        # What one caller may see is nothing for another.
        caller = repr([] if self._is_shared else fields)
        now = self._clock()
        kept = self._kept.pop(caller, None)
        if kept is None or now - kept[0] > _KEPT_SECONDS:
            try:
                kept = (now, await self._fetch(fields))
            except ApiError:
                if kept is None:
                    raise
        self._kept[caller] = kept
        if len(self._kept) > _REMEMBERED_LISTS:
            del self._kept[next(iter(self._kept))]
        return self._with_renamed(kept[1])

    async def _fetch(self, fields: list[tuple[str, str]]) -> list[JsonObject]:
        block = encode_fields([*fields, ("accept", "application/json")])
        target = f"{self._pool.addressing.origin}{self._pool.destination.base_path}/models"
        end_by = asyncio.get_running_loop().time() + self._timeout
        answer = await self._pool.send(UpstreamRequest("GET", target, block), end_by)
        try:
            body = await answer.hold(_MOST_BYTES, self._timeout)
            if not answer.complete:
                raise ApiError(502, f"The list of models of the backend '{self._name}' is too long or too slow.")
        finally:
            answer.discard()
        return self._parse(answer.head.status, body)

    def _parse(self, status: int, body: bytes) -> list[JsonObject]:
        """Return the model objects of a list; ApiError where it is none."""
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if status >= 400:
            error = value.get("error") if isinstance(value, dict) else None
            said = error.get("message") if isinstance(error, dict) else None
            message = f"The backend '{self._name}' answered {status} to the request for its models"
            raise ApiError(status, f"{message}: {said}" if isinstance(said, str) else f"{message}.")
        models = value.get("data") if isinstance(value, dict) else value
        if not isinstance(models, list):
            raise ApiError(502, f"The backend '{self._name}' answered the request for its models with something else.")
        return [model for model in models if isinstance(model, dict) and isinstance(model.get("id"), str)]

    def _with_renamed(self, models: list[JsonObject]) -> list[JsonObject]:
        by_id = {model["id"]: model for model in models}
        for asked, sent in self._renamed.items():
            if asked not in by_id:
                by_id[asked] = {**by_id.get(sent, model_object(asked, 0, self._name)), "id": asked}
        return list(by_id.values())
