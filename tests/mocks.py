"""A mock backend by itself: no socket, a clock that stands still, chance that repeats."""

from __future__ import annotations

import asyncio
import json
import random

from protocol.config import options_of
from protocol.exchange import Request, Response
from protocol.mock.backend import Mock
from protocol.mock.settings import MockSettings, PaceSettings
from protocol.on_demand import ON_DEMAND, load
from protocol.wire.http1.readers import RequestReader

NOW = 1700000000.9


def mock_settings(**changes):
    """Return the settings of [mock]: the defaults, and these changes."""
    defaults = {key: option.parse(option.default) for key, option in options_of(MockSettings).items()}
    return MockSettings(**{**defaults, **changes})


def pace_settings(**texts):
    """Return the settings of a [pace NAME]: the defaults, and these texts."""
    options = options_of(PaceSettings).items()
    return PaceSettings(**{name: option.parse(str(texts.get(name, option.default))) for name, option in options})


class LateSleep:
    """A clock that goes on while somebody sleeps, and a tenth of a second more; `slept` are the seconds asked for."""

    def __init__(self):
        self.now = NOW
        self.slept = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(round(seconds, 3))
        self.now += seconds + 0.1


async def no_sleep(seconds):
    """Sleep not at all."""


def load_all():
    """Let no request be the first that needs some code: it would be answered in turns, by a coroutine."""
    for occasion in ON_DEMAND:
        if occasion.startswith("mock "):
            load(occasion)


def make_mock(*, clock=lambda: NOW, sleep=no_sleep, forward=None, find_pace=None, **changes):
    """Return a mock with these settings, whose code is loaded."""
    load_all()
    return Mock(
        "mock", mock_settings(**changes), clock=clock, random_bits=random.Random(7).getrandbits, sleep=sleep,
        forward=forward, find_pace=find_pace,
    )  # fmt: skip


def world_of(mock):
    """Return what the parts of a mock share."""
    return mock._own._loaded_api().world


def make_request(method, path, body=None, fields=(), account=None):
    """Return a request as the server would hand it over: `body` is bytes, or sent as JSON."""
    reader = RequestReader()
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    kind = "content-type: application/json\r\n" if body is not None and not isinstance(body, bytes) else ""
    reader.feed(f"{method} {path} HTTP/1.1\r\nhost: x\r\n{kind}{lines}\r\n".encode())
    request = Request(reader.next_event(), "req_1", "127.0.0.1", account)
    request.body = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return request


def ask(mock, method, path, body=None, fields=()):
    """Return the JSON that a mock answers; what it raises comes out."""
    return json.loads(respond(mock, method, path, body, fields).body)


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


def make_form(*parts):
    """Return a form's body and fields: a part is (name, text), or (name, filename, bytes) for a file."""
    body = b""
    for name, *rest in parts:
        filename = "".join(f'; filename="{text}"' for text in rest[:-1])
        content = rest[-1] if isinstance(rest[-1], bytes) else rest[-1].encode()
        body += (
            f'--edge\r\ncontent-disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode() + content + b"\r\n"
        )
    return body + b"--edge--\r\n", [("content-type", "multipart/form-data; boundary=edge")]


def upload(mock, filename, content, purpose="user_data", **fields):
    """Upload a file to a mock; return the file object."""
    texts = [(name, str(value)) for name, value in fields.items()]
    return ask(mock, "POST", "/v1/files", *make_form(("purpose", purpose), *texts, ("file", filename, content)))


def respond(mock, method, path, body=None, fields=()):
    """Return the Response that a mock gives, at once or in a loop of its own; what it raises comes out."""
    request = make_request(method, path, body, fields)
    answer = mock.endpoint(request).answer(request)
    return answer if isinstance(answer, Response) else asyncio.run(_whole(answer))


async def _whole(answer):
    response = await answer
    if not hasattr(response.body, "__aiter__"):
        return response
    return Response(response.status, response.fields, b"".join([piece async for piece in response.body]))
