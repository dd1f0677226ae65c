"""Recordings out of a HAR file: what a browser, or a proxy, has written down of calls ("HTTP Archive 1.2")."""

from __future__ import annotations

import base64
import json
import typing
import urllib.parse

from protocol.cassette.asking import NEUTRAL, asking
from protocol.cassette.recording import Recording, kept_fields
from protocol.errors import UsageError
from protocol.openai.answers import api_path


def read_har(text: str, path: str) -> list[Recording]:
    """Return the recordings of the calls in a HAR file that are the API's; UsageError for what is no such file."""
    try:
        entries = json.loads(text)["log"]["entries"]
        return [made for made in map(_recording, entries) if made is not None]
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise UsageError(f"{path}: expected a HAR file, log.entries[…]: {type(exc).__name__} {exc}") from exc


def _recording(entry: typing.Any) -> Recording | None:
    request, response = entry["request"], entry["response"]
    url = urllib.parse.urlsplit(request["url"])
    if api_path(url.path) is None or not 200 <= int(response["status"]) <= 599:
        return None
    posted = request.get("postData") or {}
    asked = asking(
        request["method"], url.path, url.query, str(posted.get("mimeType", "")), str(posted.get("text", "")).encode(),
        tuple(NEUTRAL),
    )  # fmt: skip
    content = response["content"]
    data = str(content.get("text", ""))
    body = base64.b64decode(data) if content.get("encoding") == "base64" else data.encode()
    fields = [(str(field["name"]).lower(), str(field["value"])) for field in response["headers"]]
    # What a HAR file holds is decoded.
    head = [field for field in kept_fields(fields) if field[0] != "content-encoding"]
    waited = max(0.0, float((entry.get("timings") or {}).get("wait", 0.0))) / 1000
    return Recording(asked.key, asked.shown, int(response["status"]), head, [(waited, body)] if body else [])
