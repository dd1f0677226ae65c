"""A server within a program: `oaiserve.start`, `oaiserve.serve` and what they return."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import threading
import typing

from protocol.config import Settings
from protocol.errors import UsageError
from protocol.event_loop import new_loop
from protocol.exchange import Request
from protocol.on_demand import load
from protocol.program.banner import url_of
from protocol.program.books import writing_ledger
from protocol.program.kinds import new_configuration
from protocol.program.log_target import open_log
from protocol.program.service import Service
from protocol.turns import start_thread
from protocol.wire.json_text import JsonObject

_RECORDED_REQUESTS = 1000
_RECORDED_BYTES = 64 << 20


class _Recorder:
    """Keeps the newest requests, up to a number of them and of the bytes of their bodies, but at least the last one."""

    def __init__(self) -> None:
        self.requests: typing.Deque[Request] = collections.deque()
        self._sizes: typing.Deque[int] = collections.deque()  # an endpoint may put another body into its request
        self._bytes = 0

    def add(self, request: Request) -> None:
        """Keep a request, and no more of the oldest than fit."""
        requests, sizes = self.requests, self._sizes
        while len(sizes) > len(requests):  # a program may take requests out, or clear them
            self._bytes -= sizes.popleft()
        size = len(request.body)
        requests.append(request)
        sizes.append(size)
        self._bytes += size
        while len(requests) > _RECORDED_REQUESTS or (self._bytes > _RECORDED_BYTES and len(requests) > 1):
            requests.popleft()
            self._bytes -= sizes.popleft()


class SessionHandle(typing.Protocol):
    """A session in a program's hands, and the server's own: protocol/instrument/handle.py says what each does."""

    name: str
    url: str

    @property
    def calls(self) -> typing.Sequence[typing.Any]:
        """What came and what went, the oldest first."""

    @property
    def clock(self) -> typing.Any:
        """The session's clock: `now`, `advance(seconds)`."""

    def session(self, name: str) -> SessionHandle:
        """Return another session of the server."""

    def find(self, **conditions: typing.Any) -> typing.Sequence[typing.Any]:
        """Return the calls that fulfil all conditions."""

    def wait_for(self, count: int = 1, timeout: float = 5, **conditions: typing.Any) -> typing.Sequence[typing.Any]:
        """Wait for so many calls; AssertionError after `timeout` seconds."""

    def verify(self, **conditions: typing.Any) -> None:
        """Check that calls fulfil conditions; AssertionError names the nearest ones."""

    def script(self, rule: JsonObject) -> typing.Any:
        """Put a rule in front of the others, and return it: `used` says how many calls it has taken."""

    def use_script(self, script: typing.Any) -> None:
        """Let a script stand in the place of the one that there is; None for none."""

    def use_faults(self, faults: typing.Mapping[str, typing.Any] | None) -> None:
        """Let faults, by the pattern of the model, stand in the place of those that there are; None for none."""

    def verdict(self) -> typing.Any:
        """Return what the calls so far tell of the program that made them: `ok`, `text`, `check()`."""

    def reset(self, *what: str) -> None:
        """Put parts of the session back to how they were at first, by default all."""

    def end(self) -> None:
        """End the session."""


class RunningServer:
    """A server within a program. What hangs on its own session is here, too: `calls`, `verify`, `clock`, …

    `requests` holds what came in, the newest last: at most a thousand, with bodies of 64 MB in all, and at least the
    newest one. The body of one that is relayed as it comes is not held, and empty here.
    """

    def __init__(self, url: str, port: int, requests: typing.Deque[Request], stop: typing.Callable[[], None]) -> None:
        self.url = url
        self.port = port
        self.requests = requests
        self._stop = stop

    def session(self, name: str = "") -> SessionHandle:
        """Return a session of the server, which begins when it is first used; "" is the server's own."""
        (handle,) = load("session handle")
        made: SessionHandle = handle(self.url, name)
        return made

    def __getattr__(self, name: str) -> typing.Any:
        if name.startswith("_") or not hasattr(SessionHandle, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.session(), name)

    def close(self) -> None:
        """Stop the server and give its port back; a second call does nothing."""
        stop, self._stop = self._stop, lambda: None
        stop()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def load_settings(
    backend: str | None = None,
    *,
    config: str | None = None,
    set: typing.Mapping[str, typing.Any] | None = None,
    environ: typing.Mapping[str, str] | None = None,
) -> Settings:
    """Return settings for a program: defaults, then the file `config`, then `set`, e.g. `{"mock.text": "hi"}`.

    Unlike the command line it looks for no config.ini by itself, takes any free port and writes no log, unless `config`
    or `set` say otherwise. UsageError (a one-line message) for a mistake.
    """
    return _program_settings(backend, config, set, environ, ())


def _program_settings(
    backend: str | None,
    config: str | None,
    set: typing.Mapping[str, typing.Any] | None,
    environ: typing.Mapping[str, str] | None,
    defaults: typing.Sequence[str],
) -> Settings:
    configuration = new_configuration()
    for assignment in ("server.port=0", "server.log=off", *defaults):
        configuration.set_option(assignment)
    if config is not None:
        configuration.read_file(config)
    for name, value in (set or {}).items():
        configuration.set_option(f"{name}={value}")
    return configuration.settings(backend, os.environ if environ is None else environ)


@contextlib.asynccontextmanager
async def serve(settings: Settings | None = None) -> typing.AsyncIterator[RunningServer]:
    """Serve within the running event loop, until the block is left.

    `async with oaiserve.serve(oaiserve.load_settings("mock")) as server: ...`; without settings it is the mock on a
    free port of 127.0.0.1. OSError when the address cannot be had.
    """
    settings = settings or load_settings()
    recorder = _Recorder()
    with open_log(settings.server, asyncio.get_running_loop()) as log:
        async with writing_ledger(settings, log):
            service = Service(settings, log, on_request=recorder.add)
            await service.listen()
            try:
                yield RunningServer(
                    url_of(settings.server, service.port), service.port, recorder.requests, lambda: None
                )
            finally:
                await service.close()


def start(
    backend: str | None = None,
    *,
    config: str | None = None,
    set: typing.Mapping[str, typing.Any] | None = None,
    environ: typing.Mapping[str, str] | None = None,
    script: typing.Any = None,
    seed: typing.Any = "",
) -> RunningServer:
    """Start a server in a thread of its own and return it: for tests and scripts. Parameters as for `load_settings`.

    It keeps a journal, unless `config` or `set` say otherwise. `script` is what the mock says, a file's path or the
    script itself; `seed` makes all that is drawn repeat. OSError when the address cannot be had. Use it in a `with`
    block, or call `close()`.
    """
    options = dict(set or {})
    if seed != "":
        options["mock.seed"] = seed
    if isinstance(script, (str, os.PathLike)):
        options["mock.script"] = os.fspath(script)
    settings = _program_settings(backend, config, options, environ, ("server.journal=yes",))
    started = threading.Event()
    outcome: list[typing.Any] = []
    loop = new_loop()

    async def run() -> None:
        async with serve(settings) as server:
            stopping = asyncio.Event()
            outcome.extend([server, stopping])
            started.set()
            await stopping.wait()

    def live() -> None:
        try:
            loop.run_until_complete(run())
        except BaseException as exc:  # noqa: BLE001  # handed to the caller, who waits for it
            outcome.append(exc)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
            started.set()

    thread = start_thread(live, "oaiserve")
    started.wait()
    if isinstance(outcome[0], BaseException):
        thread.join()
        raise outcome[0]
    server, stopping = outcome[:2]

    def stop() -> None:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()

    running = RunningServer(server.url, server.port, server.requests, stop)
    if script is not None and "mock.script" not in options:
        try:
            running.session().use_script(script)
        except Exception as exc:
            running.close()
            raise UsageError(f"script: {exc}") from exc
    return running
