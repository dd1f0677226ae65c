"""The command `cassette`: what is done with a cassette besides replaying it.

python oaiserve.py cassette check FILE --live URL     ask the living API again, and compare the shapes of answers
python oaiserve.py cassette import HAR FILE           make a cassette of a browser's HAR file
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import typing
import urllib.parse

from protocol.cassette.check import difference, shape_of
from protocol.cassette.har import read_har
from protocol.cassette.recording import Recording
from protocol.cassette.tape import Tape
from protocol.errors import UsageError

_USAGE = "expected: cassette check FILE --live URL, or cassette import HAR FILE"
_TIMEOUT_SECONDS = 120.0


def run_cassette(words: typing.Sequence[str], live: str | None, key: str, say: typing.Callable[[str], object]) -> int:
    """Carry the command out; return the exit status: 1 where an answer has another shape. UsageError for a mistake."""
    if len(words) == 2 and words[0] == "check" and live:
        return _check(words[1], live, key, say)
    if len(words) == 3 and words[0] == "import":
        return _import(words[1], words[2], say)
    raise UsageError(_USAGE)


def _import(source: str, path: str, say: typing.Callable[[str], object]) -> int:
    try:
        with open(source, encoding="utf-8-sig") as file:
            recordings = read_har(file.read(), source)
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{source}: cannot be read: {exc}") from exc
    if os.path.exists(path):
        raise UsageError(f"{path}: is there already")
    tape = Tape(path, f"imported from {os.path.basename(source)}")
    for recording in recordings:
        tape.write(recording, anew=False)
    say(f"{len(recordings)} recordings written to {path}" if recordings else f"{source} has no call of the API")
    return 0


def _check(path: str, live: str, key: str, say: typing.Callable[[str], object]) -> int:
    tape = Tape(path)
    try:
        tape.read()
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: cannot be read: {exc}") from exc
    base = urllib.parse.urlsplit(live if "://" in live else f"http://{live}")
    if base.scheme not in ("http", "https") or not base.hostname:
        raise UsageError(f"--live {live!r}: expected a URL such as https://api.openai.com/v1")
    counts = {"same": 0, "different": 0, "not asked": 0}
    for recording in tape.all():
        what = f"{recording.ask['method']} {recording.ask['path']}"
        body = _body_of(recording)
        if body is None:
            verdict, why = "not asked", "its body is not in the recording"
        else:
            try:
                why = difference(recording, _ask(base, recording, body, key))
            except OSError as exc:
                raise UsageError(f"{live}: cannot be asked: {exc}") from exc
            verdict = "different" if why else "same"
        counts[verdict] += 1
        say(f"{verdict:9} {what}{f': {why}' if why else ''}")
    say(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts["different"] else 0


def _body_of(recording: Recording) -> bytes | None:
    """Return the body to ask with, None for a form, of which a recording holds no files, and what has only its hash."""
    ask = recording.ask
    if "form" in ask or "b64" in ask or "hash" in ask:
        return None
    return json.dumps(ask["json"]).encode() if "json" in ask else str(ask.get("text", "")).encode()


def _ask(base: urllib.parse.SplitResult, recording: Recording, body: bytes, key: str) -> frozenset[str]:
    """Ask the living API what a recording asked, and return the shape of its answer."""
    host, port = base.hostname or "", base.port
    connection: http.client.HTTPConnection
    if base.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, port, timeout=_TIMEOUT_SECONDS, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    path = str(recording.ask["path"])
    root = base.path.rstrip("/")
    # A base URL says where the API begins; what is recorded begins with /v1.
    target = f"{root}{path[3:] if path.startswith('/v1/') and root else path}"
    fields = {"content-type": "application/json"} if body else {}
    if key:
        fields["authorization"] = f"Bearer {key}"
    try:
        connection.request(str(recording.ask["method"]), target, body or None, fields)
        answer = connection.getresponse()
        return shape_of(answer.status, answer.getheader("content-type", ""), answer.read())
    except http.client.HTTPException as exc:
        raise OSError(f"{type(exc).__name__} {exc}") from exc
    finally:
        connection.close()
