"""Other mocks as peers: aimock; and applications of Granian and Robyn that say ready-made answers, on a core each.

The least that an application does stands in for a mock there: it reads the body, sees whether that asks for a stream,
and sends bytes that were made before. Nothing is parsed, checked, counted, made up or logged.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Callable

from behind import completion, events
from installed import installed
from peers import Peer, Program
from report import Findings
from throughput import Options, measure_both_kinds

# aimock cuts its text after so many characters, and a chunk is to be a word.
_TEXT = "this mock says each word with four keys"
_CHARACTERS = len("this ")
_HOW = (
    "granian and robyn: one worker, an application that sends ready-made bytes, and less cannot be done; they and "
    "aimock keep connections and write no log."
)

_GRANIAN = """\
ANSWER, EVENTS = %(answer)r, %(events)r


async def app(scope, protocol):
    if b'"stream": true' not in await protocol():
        return protocol.response_bytes(200, [("content-type", "application/json")], ANSWER)
    stream = protocol.response_stream(200, [("content-type", "text/event-stream")])
    for event in EVENTS:
        await stream.send_bytes(event)
"""
_ROBYN = """\
from robyn import Headers, Response, Robyn, SSEResponse

ANSWER, EVENTS = %(answer)r.decode(), [event.decode() for event in %(events)r]
app = Robyn(__file__)


@app.post("/v1/chat/completions")
async def answer(request):
    if '"stream": true' in request.body:
        return SSEResponse(iter(EVENTS))
    return Response(200, Headers({"content-type": "application/json"}), ANSWER)


app.start(host="127.0.0.1", port=%(port)d)
"""


def measure_mocks(options: Options) -> Findings:
    """Compare our mock with each of them."""
    program = Program(options.program, "mock", (f"mock.text={_TEXT}",))
    found = measure_both_kinds(options, "mock", program, *(_mock(options, name) for name in _MOCKS), text=_TEXT)
    if not options.compared:
        found.notes.append(_HOW)
    return found


def _mock(options: Options, name: str) -> contextlib.AbstractContextManager[Peer]:
    command, source = _MOCKS[name]
    return installed(name, command, options.cores.server, options.folder, source)


def _granian(port: int, home: pathlib.Path) -> list[str]:
    _write(home / "granian_mock.py", _GRANIAN)
    one = ["--workers", "1", "--interface", "rsgi", "--http", "1", "--no-ws"]
    return ["granian", "--host", "127.0.0.1", "--port", str(port), *one, "--log-level", "error", "granian_mock:app"]


def _robyn(port: int, home: pathlib.Path) -> list[str]:
    _write(home / "robyn_mock.py", _ROBYN, port=port)
    return ["robyn", "robyn_mock.py", "--processes", "1", "--workers", "1", "--log-level", "ERROR"]


def _aimock(port: int, home: pathlib.Path) -> list[str]:
    fixture = {"match": {"endpoint": "chat"}, "response": {"content": _TEXT}}
    (home / "fixture.json").write_text(json.dumps({"fixtures": [fixture]}))
    said = ["--fixtures", str(home / "fixture.json"), "--chunk-size", str(_CHARACTERS), "--log-level", "warn"]
    return ["llmock", "--host", "127.0.0.1", "--port", str(port), *said]


def _write(file: pathlib.Path, application: str, **more: int) -> None:
    answer = json.dumps(completion(_TEXT)).encode()
    file.write_text(application % {"answer": answer, "events": events(_TEXT), **more})


_MOCKS: dict[str, tuple[Callable[[int, pathlib.Path], list[str]], str]] = {
    "granian": (_granian, "pip install granian uvloop"),
    "robyn": (_robyn, "pip install robyn"),
    "aimock": (_aimock, "npm install @copilotkit/aimock"),
}
