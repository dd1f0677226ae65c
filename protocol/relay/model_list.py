"""The upstream's list of models: kept for a minute, and longer while the upstream fails."""

from __future__ import annotations

import asyncio
import json
import typing

from protocol.errors import ApiError
from protocol.upstream.pool import UpstreamPool
from protocol.upstream.request import UpstreamRequest
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject

_KEPT_SECONDS = 60.0
_LONGEST_SECONDS = 120.0
_MOST_BYTES = 4 * 1024 * 1024
_REMEMBERED_LISTS = 100

# What of the caller's request does not go on, since the list is read here and serves others (RFC 9110 §12.5, §13).
_NOT_PASSED = frozenset(
    "accept accept-encoding content-type range if-match if-none-match if-modified-since if-unmodified-since"
    " if-range".split()
)

# What goes on and does not change the list. All else tells the lists of two callers apart.
_IRRELEVANT = frozenset(
    "user-agent via traceparent tracestate baggage x-request-id x-client-request-id accept-language cache-control"
    " pragma priority".split()
)


class ModelList:
    """What the upstream behind `pool` lists, and the models that are renamed: `renamed` maps names asked to names sent.

    `name` is the backend's. The upstream has `timeout` seconds for its list (0: 120). `clock` gives seconds since the
    epoch.
    """

    def __init__(
        self,
        name: str,
        pool: UpstreamPool,
        renamed: typing.Mapping[str, str],
        *,
        timeout: float,
        clock: typing.Callable[[], float],
    ) -> None:
        self._name = name
        self._pool = pool
        self._renamed = renamed
        self._timeout = timeout or _LONGEST_SECONDS
        self._clock = clock
        self._kept: dict[str, tuple[float, list[JsonObject]]] = {}

    async def read(self, request_fields: list[tuple[str, str]], query: str) -> list[JsonObject]:
        """Return the model objects for a caller whose request would have these fields and this query.

        ApiError, of the upstream's status or 502 or 504, where there never was a list.
        """
        fields = [field for field in request_fields if field[0] not in _NOT_PASSED]
        # What one caller may see is nothing for another.
        telling = [f for f in fields if f[0] not in _IRRELEVANT and not f[0].startswith("x-stainless-")]
        caller = repr((query, telling))
        now = self._clock()
        kept = self._kept.pop(caller, None)
        if kept is None or now - kept[0] > _KEPT_SECONDS:
            try:
                kept = (now, await self._fetch(fields, query))
            except ApiError:
                if kept is None:
                    raise
        self._kept[caller] = kept
        if len(self._kept) > _REMEMBERED_LISTS:
            del self._kept[next(iter(self._kept))]
        return self._with_renamed(kept[1])

    async def _fetch(self, fields: list[tuple[str, str]], query: str) -> list[JsonObject]:
        block = encode_fields([*fields, ("accept", "application/json")])
        target = self._pool.addressing.origin + self._pool.destination.target("/models", query)
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
            raise ApiError(
                status,
                f"{message}: {said}" if isinstance(said, str) else f"{message}.",
                fields=[("x-oaiserve-attempts", f"{self._name}={status}")],
            )
        models = value.get("data") if isinstance(value, dict) else value
        if not isinstance(models, list):
            raise ApiError(502, f"The backend '{self._name}' answered the request for its models with something else.")
        return [model for model in models if isinstance(model, dict) and isinstance(model.get("id"), str)]

    def _with_renamed(self, models: list[JsonObject]) -> list[JsonObject]:
        """Return the list with the names that stand for what is in it; nothing is made up that the upstream lacks."""
        by_id = {model["id"]: model for model in models}
        for asked, sent in self._renamed.items():
            if sent in by_id and asked not in by_id and not ("*" in asked or "?" in asked):
                by_id[asked] = {**by_id[sent], "id": asked}
        return list(by_id.values())
