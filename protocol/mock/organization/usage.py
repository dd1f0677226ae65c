"""The usage and the costs of an organization: buckets of time, which are empty as the mock bills nothing.

Source: OpenAI API reference, "Usage".
"""

from __future__ import annotations

from protocol.mock.engine.resources import Handler
from protocol.mock.engine.world import Call, World
from protocol.wire.json_text import JsonObject

_KINDS = (
    "audio_speeches", "audio_transcriptions", "code_interpreter_sessions", "completions", "decisions", "embeddings",
    "file_search_calls", "images", "moderations", "vector_stores", "web_search_calls",
)  # fmt: skip
# By width: the seconds of a bucket, how many buckets make a page unless the request says, and at most how many.
_WIDTHS = {"1m": (60, 60, 1440), "1h": (3600, 24, 168), "1d": (86400, 7, 180)}


class Usage:
    """The family of /organization/usage and /organization/costs."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        kinds = {f"GET /organization/usage/{kind}": self.buckets for kind in _KINDS}
        return {**kinds, "GET /organization/costs": self.buckets}

    def buckets(self, call: Call) -> JsonObject:
        """Answer a page of buckets from `start_time` until `end_time`, or until now."""
        query = call.query
        seconds, usual, most = _WIDTHS.get(query.get("bucket_width", "1d"), _WIDTHS["1d"])
        start = _number(query.get("start_time"))
        token = str(query.get("page") or "").rpartition("_")[2]
        start = max(start, _number(token))
        end = _number(query.get("end_time")) or self._world.now()
        start -= start % seconds
        count = min(_number(query.get("limit")) or usual, most, max(0, -(-(end - start) // seconds)))
        starts = [start + number * seconds for number in range(count)]
        following = start + count * seconds
        has_more = count > 0 and following < end
        return {
            "object": "page",
            "data": [
                {"object": "bucket", "start_time": at, "end_time": min(at + seconds, end), "results": []}
                for at in starts
            ],
            "has_more": has_more,
            "next_page": f"page_{following}" if has_more else None,
        }


def _number(value: object) -> int:
    if isinstance(value, int):
        return max(0, value)
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 12 else 0
