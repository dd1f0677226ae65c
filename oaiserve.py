#!/usr/bin/env python3
"""oaiserve: one file that stands where the OpenAI API stands.

    python oaiserve.py                  the mock on http://127.0.0.1:8080, or what config.ini says
    python oaiserve.py relay            pass requests on to a real upstream
    python oaiserve.py --help           everything else

In a program:

    import oaiserve
    with oaiserve.start(backend="mock") as server:
        client = OpenAI(base_url=server.url + "/v1", api_key="any")
"""

from __future__ import annotations  # Python 3.6 stops here: oaiserve needs Python 3.9 or newer

import argparse
import asyncio
import collections
import contextlib
import gc
import importlib.util
import os
import random
import signal
import socket
import stat
import sys
import threading
import time
import typing

if sys.version_info < (3, 9):  # noqa: UP036  # whoever has an older one should read why
    sys.exit(f"oaiserve needs Python 3.9 or newer; this is {sys.version.split()[0]} ({sys.executable})")
if __name__ == "__main__" and importlib.util.find_spec("protocol") is None:
    sys.exit(
        "oaiserve: this is one file of a source tree, and protocol/ is not beside it; in the tree, "
        "`python oaiserve.py bundle` writes dist/oaiserve.py, which runs alone"
    )

from protocol.config import BackendSettings, Configuration, Section, Settings, describe, options_of
from protocol.dashscope.settings import DashScopeSettings
from protocol.errors import ApiError, UsageError, evidence, without_secrets
from protocol.event_loop import new_loop, run_coroutine
from protocol.exchange import Answer, AsksUpstream, Backend, Endpoint, Request, Response, UpstreamState
from protocol.held_bytes import HeldBytes
from protocol.instrument.gate import Gate, Instrument
from protocol.mock.settings import MockSettings, PaceSettings
from protocol.on_demand import load
from protocol.openai.answers import ERROR_SHAPES
from protocol.openai.asked_model import name_pattern
from protocol.relay.settings import RelaySettings
from protocol.server.collector import keep_collections_short
from protocol.server.server import LASTING, Server, listen_failure, tls_context
from protocol.server.settings import ServerSettings
from protocol.server.worker_place import WorkerPlace
from protocol.service.cors import CorsPolicy
from protocol.service.doors import PROBES, ChatExample, chat_example, service_doors
from protocol.service.figures import Figures
from protocol.service.key_guard import KeyGuard, who_may_call
from protocol.service.log import TELLING_FORMS, Log
from protocol.service.log_output import LogOutput
from protocol.service.metrics import PUBLISH_SECONDS, Level, Metrics
from protocol.service.origins import Origins
from protocol.service.router import Router
from protocol.team.ledger.settings import LedgerSettings
from protocol.team.settings import LimitsSettings
from protocol.turns import start_thread
from protocol.wire.json_text import JsonObject

__version__ = "0.1.0"


# ---- the backends -----------------------------------------------------------------------------------------------


class _Surroundings(typing.NamedTuple):
    """What a backend may need beside its settings.

    By `instance`, a token that all workers share, a server recognizes a request of its own that comes back to it.
    `workers` is how many processes serve; `has_fallback` says that some route has another backend behind this one.
    `forward` sends a request that the backend has made itself through the routes; it works once the router is
    there. `max_body` is the most bytes of a body that a backend may hold. `part` returns the values of a section
    that a backend refers to.
    """

    log: Log
    environ: typing.Mapping[str, str]
    instance: str
    has_fallback: bool
    workers: int
    forward: typing.Callable[[Request], Answer]
    max_body: int
    part: typing.Callable[[str, str], typing.Any]


def _make_mock(backend: BackendSettings, around: _Surroundings) -> Backend:
    (mock,) = load("mock")
    made: Backend = mock(
        backend.name, backend.options, clock=time.time, random_bits=random.Random().getrandbits, sleep=asyncio.sleep,
        forward=around.forward, max_body=around.max_body, find_pace=lambda name: around.part("pace", name),
    )  # fmt: skip
    return made


def _make_relay(backend: BackendSettings, around: _Surroundings) -> Backend:
    (relay,) = load("relay")
    made: Backend = relay(
        backend.name, backend.options, around.environ, around.log,
        has_fallback=around.has_fallback, instance=around.instance, max_body=around.max_body,
    )  # fmt: skip
    return _with_cassette(made, backend.options, around) if _is_recorded(backend) else made


def _is_recorded(backend: BackendSettings) -> bool:
    """Tell whether a backend is a relay with a cassette."""
    return backend.kind == "relay" and bool(backend.options.cassette)


def _with_cassette(relay: Backend, options: RelaySettings, around: _Surroundings) -> Backend:
    if options.cassette_mode != "replay" and around.workers != 1:
        raise UsageError(
            f"[relay] cassette_mode = {options.cassette_mode}: one process writes a cassette; set workers = 1"
        )
    deck, tape = load("cassette")
    made: Backend = deck(
        relay, tape(options.cassette, relay.origin), options.cassette_mode, pace=options.cassette_pace,
        neutral=options.cassette_ignores, say=around.log.say,
    )  # fmt: skip
    return made


def _make_dashscope(backend: BackendSettings, around: _Surroundings) -> Backend:
    (dashscope,) = load("dashscope")
    made: Backend = dashscope(
        backend.name, backend.options, around.environ, around.log, has_fallback=around.has_fallback,
        clock=time.time, random_bits=random.Random().getrandbits, sleep=asyncio.sleep, max_body=around.max_body,
    )  # fmt: skip
    return made


class _Kind(typing.NamedTuple):
    """A kind of backend: its section's settings, which every start reads, and how one is made for a route.

    `descriptors` is how many a client's connection takes: its own, and one to an upstream.
    """

    settings: type
    make: typing.Callable[[BackendSettings, _Surroundings], Backend]
    descriptors: int = 1


# Of a length that is taken for a key: before a mock the line works as it is.
_CALLERS_KEY = "YOUR-API-KEY"

#: A new kind of backend needs its rooms, a line here, and one in protocol/on_demand.py.
_KINDS = {
    "mock": _Kind(MockSettings, _make_mock),
    "relay": _Kind(RelaySettings, _make_relay, descriptors=2),
    "dashscope": _Kind(DashScopeSettings, _make_dashscope, descriptors=2),
}

#: Sections that a backend's settings name.
_PARTS = {"pace": PaceSettings}

#: Sections that stand once, beside [server].
_SINGLE = {"limits": LimitsSettings, "ledger": LedgerSettings}


# Keys of other sections that hold as long as the process, as LASTING does of [server].
_LASTING_OF_SINGLE = {
    "limits": ("file", "store", "store_down"),
    "ledger": ("file", "keep_days", "on_disconnect"),
}


def _make_backends(
    settings: Settings,
    log: Log,
    instance: str,
    forward: typing.Callable[[Request], Answer],
    kept: typing.Mapping[str, Backend],
) -> dict[str, Backend]:
    """Return the backends that a route names, by name; UsageError where their settings cannot work.

    Those that are `kept` need not be made.
    """
    backends: dict[str, Backend] = {}
    for backend in settings.backends:
        routes = [route.backends for route in settings.routes if backend.name in route.backends]
        if routes and backend.name in kept:
            backends[backend.name] = kept[backend.name]
        elif routes:
            has_fallback = any(names[-1] != backend.name for names in routes)
            around = _Surroundings(
                log,
                os.environ,
                instance,
                has_fallback,
                settings.server.workers,
                forward,
                settings.server.max_body,
                settings.part,
            )
            backends[backend.name] = _KINDS[backend.kind].make(backend, around)
    return backends


def _with_lasting(settings: Settings, lasting: Settings) -> Settings:
    """Return settings in which those are as in others that hold as long as the process."""
    single = {
        section: _as_in(settings.single[section], lasting.single[section], names)
        for section, names in _LASTING_OF_SINGLE.items()
    }
    server = _as_in(settings.server, lasting.server, LASTING)
    return settings._replace(server=server, single={**settings.single, **single})


def _as_in(section: Section, other: Section, names: typing.Sequence[str]) -> Section:
    return type(section)(**{**vars(section), **{name: getattr(other, name) for name in names}})


def _restart_remark(settings: Settings, lasting: Settings) -> str:
    """Return what has been changed that holds as long as the process, "" for nothing."""
    changed = [f"[server] {name}" for name in LASTING if _differs(name, settings.server, lasting.server)]
    for section, names in _LASTING_OF_SINGLE.items():
        sections = settings.single[section], lasting.single[section]
        changed += [f"[{section}] {name}" for name in names if _differs(name, *sections)]
    return f"; {', '.join(changed)} will be as they are said once it is started again" if changed else ""


def _differs(name: str, one: Section, other: Section) -> bool:
    return bool(getattr(one, name) != getattr(other, name))


def _key_holders(backends: typing.Mapping[str, Backend]) -> tuple[str, ...]:
    """Return the names of the backends that send a key of the owner's for whoever calls."""
    return tuple(name for name, backend in backends.items() if backend.holds_key)


def _key_guard(origins: Origins, settings: ServerSettings) -> KeyGuard:
    scheme = "https" if settings.certfile else "http"
    return KeyGuard(origins, scheme=scheme, host=settings.host, is_local=settings.is_local)


def _chat_example(settings: Settings, key_holders: typing.Sequence[str]) -> ChatExample:
    """Return an example that the backend answers which its model leads to, once the caller's key is in its place."""
    example = ChatExample(key=_CALLERS_KEY) if settings.server.keys_file else ChatExample()
    backend = _first_asked(settings, example.model)
    if backend is None or backend.kind == "mock":
        return example
    own_model = getattr(backend.options, "default_model", "")
    if own_model and _first_asked(settings, own_model) is backend:
        example = example._replace(model=own_model)
    return example if backend.name in key_holders else example._replace(key=_CALLERS_KEY)


def _first_asked(settings: Settings, model: str) -> BackendSettings | None:
    names = [route.backends[0] for route in settings.routes if name_pattern(route.pattern).fullmatch(model)]
    return next((backend for backend in settings.backends if backend.name in names[:1]), None)


def _routed_kinds(settings: Settings) -> set[str]:
    """Return the kinds of the backends that a route names."""
    routed = {name for route in settings.routes for name in route.backends}
    return {backend.kind for backend in settings.backends if backend.name in routed}


def _descriptors_each(settings: Settings) -> int:
    return max((_KINDS[kind].descriptors for kind in _routed_kinds(settings)), default=1)


def _routed_names(settings: Settings) -> set[str]:
    return {name for route in settings.routes for name in route.backends}


def _routed_mocks(settings: Settings) -> list[BackendSettings]:
    routed = _routed_names(settings)
    return [backend for backend in settings.backends if backend.kind == "mock" and backend.name in routed]


def _pace_names(settings: Settings) -> list[str]:
    return [part.name for part in settings.parts if part.kind == "pace"]


def _read_script(settings: Settings) -> typing.Any:
    """Return the script that [mock] names, None for none; UsageError where it cannot be read, or there are several."""
    paths = sorted({mock.options.script for mock in _routed_mocks(settings) if mock.options.script})
    if not paths:
        return None
    if len(paths) > 1:
        raise UsageError(f"[mock] script: a server has one script, got {' and '.join(paths)}")
    (read_script_file,) = load("script file")
    return read_script_file(paths[0], _routed_names(settings), _pace_names(settings))


def _most_connections(settings: Settings) -> int:
    """Return how many connections there may be: max_connections, or fewer where open files have a limit."""
    most: int = settings.server.max_connections
    if os.name == "posix":
        affordable_connections, _ = load("descriptors")
        most = affordable_connections(most, _descriptors_each(settings))
    return most


def _configuration() -> Configuration:
    kinds = {name: kind.settings for name, kind in _KINDS.items()}
    return Configuration(ServerSettings, kinds, _PARTS, _check_fault, _SINGLE)


def _check_fault(text: str) -> None:
    (parse_fault,) = load("fault")
    parse_fault(text)


# ---- a running service ------------------------------------------------------------------------------------------


class _Application:
    """What one configuration makes of a service: its backends, and all that stands before them.

    Where it takes the place of another, `before`, that one's backends go on here which remember something.
    """

    def __init__(self, settings: Settings, service: Service, before: _Application | None = None) -> None:
        self.version = __version__
        self.now = time.time
        self.settings = settings
        self.backends = {backend.name: backend.kind for backend in settings.backends}
        self.routes = [(route.pattern, route.backends) for route in settings.routes]
        self.shows_page = settings.server.page
        self.features = _features(settings)
        self._service = service
        self._script = _read_script(settings)
        kept = {} if before is None else before._keeps(settings)
        self._backends = _make_backends(settings, service.log, service.instance, service.forward, kept)
        self.key_holders = _key_holders(self._backends)
        self.example = _chat_example(settings, self.key_holders)
        origins = Origins(settings.server.cors_origins)
        guard = _key_guard(origins, settings.server)
        self._guarded = {name: guard.around(backend) for name, backend in self._backends.items()}
        self.cors = CorsPolicy(origins, spends_always=len(self.key_holders) == len(self._guarded))
        self.router = Router(
            settings.routes, self._guarded, self.cors, lambda forward: service_doors(self, forward),
            max_body=settings.server.max_body,
        )  # fmt: skip
        self.gate = Gate(self.router.route, self._make_instrument, service.forget_heads)
        self.route = _with_team(settings, self.gate, self.router, self._backends, service)
        if settings.server.journal or settings.faults or self._script is not None:
            self.gate.begin()

    def _keeps(self, settings: Settings) -> dict[str, Backend]:
        """Return the backends that would be the same under other settings, and remember something."""
        if settings.parts != self.settings.parts:
            return {}
        same = [backend for backend in settings.backends if backend in self.settings.backends]
        return {
            backend.name: self._backends[backend.name]
            for backend in same
            if backend.name in self._backends and (backend.kind == "mock" or _is_recorded(backend))
        }

    def _make_instrument(self, on_switch: typing.Callable[[], None]) -> Instrument:
        (front,) = load("instrument")
        settings = self.settings
        seed = next((mock.options.seed for mock in _routed_mocks(settings) if mock.options.seed), "")
        recorded = [one.name for one in settings.backends if one.name in self._backends and _is_recorded(one)]
        made: Instrument = front(
            self.router.route, ERROR_SHAPES, list(self._backends.values()), self.now, on_switch,
            max_body=settings.server.max_body, control_key=settings.server.control_key,
            keeps_journal=settings.server.journal, seed=seed, paces=_pace_names(settings),
            faults=dict(settings.faults), script=self._script,
            cassettes={name: self._backends[name] for name in recorded}, named=self._guarded,
            is_one_of_many=self._service.is_one_of_many,
        )  # fmt: skip
        return made

    @property
    def draining(self) -> bool:
        """Whether the service is stopping."""
        return self._service.draining

    def metrics(self) -> str:
        """Return the text of /metrics."""
        return self._service.metrics()

    def watch(self, request: Request) -> Response:
        """Return the stream of requests that are over."""
        return self._service.watch(request)

    def resting(self) -> list[str]:
        """Return the names of the backends that requests keep away from for a while."""
        return [name for name, backend in self._backends.items() if backend.is_resting]

    def upstream_states(self) -> typing.Iterator[tuple[str, UpstreamState]]:
        """Give each backend that has an upstream, and how it stands to that."""
        for name, backend in self._backends.items():
            if isinstance(backend, AsksUpstream):
                yield name, backend.upstream_state()

    def leave(self) -> None:
        """Begin to end what would outlast a stop in good order."""
        for backend in self._backends.values():
            backend.leave()

    async def close(self, after: _Application | None = None) -> None:
        """Let go of the backends, but for those that go on in the one `after` it."""
        going_on = [] if after is None else list(after._backends.values())
        for backend in self._backends.values():
            if backend not in going_on:
                await backend.close()


class Service:
    """Everything that a configuration needs to answer, wired together; lives in one event loop.

    `figures` is where a worker counts, among other processes that answer on the same port; None for one that is alone.
    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        *,
        instance: str = "",
        on_request: typing.Callable[[Request], None] | None = None,
        on_large: typing.Callable[[], object] | None = None,
        figures: Figures | None = None,
    ) -> None:
        self.log = log
        self.instance = instance or _new_instance()
        self.is_one_of_many = figures is not None
        self._metrics = Metrics(figures, self._levels)
        self._publishing: asyncio.TimerHandle | None = None
        self._spool = _open_spool(settings, self.instance)
        self._team: typing.Any = None
        self._live: typing.Any = None
        self._watching: typing.Any = None  # the live view, while somebody watches
        self._application = application = _Application(settings, self)
        self._retiring: dict[_Application, asyncio.Task[None]] = {}
        self._server = Server(
            application, ERROR_SHAPES, application.cors, settings.server, log, self._metrics,
            held=HeldBytes(settings.server.max_memory, on_large),
            most_connections=_most_connections(settings), on_request=on_request,
        )  # fmt: skip
        self._let_watch()

    def forward(self, request: Request) -> Answer:
        """Answer a request that a backend has made itself."""
        return self._application.router.forward(request)

    def whither(self, asked: str) -> tuple[str, str]:
        """Return who is asked first for a model, and what that is called there; ApiError 404 where nobody takes it."""
        return self._application.router.whither(asked)

    def _let_watch(self, live: typing.Any = None) -> None:
        """Let answers be seen for the log where its lines tell of them, and for the live view while it is watched."""
        self._watching = live
        server = self.settings.server
        watchers = [] if live is None else [live]
        if server.log in TELLING_FORMS and server.log_requests:
            (onlooker,) = load("onlooker")
            watchers.append(onlooker(asyncio.get_running_loop().time, self.whither))
        self._server.be_watched(watchers, self.log if live is None else live.log_for(self.log))

    def forget_heads(self) -> None:
        """Let every head be routed anew."""
        self._server.forget_heads()

    def team(self, settings: Settings, keys: typing.Any) -> typing.Any:
        """Return what is kept of those who share the service, from the first configuration on that asks for it."""
        if self._team is None:
            team, _, open_store, _ = load("team")
            store = open_store(
                keys, settings.single["limits"], _limits_file(settings), workers=settings.server.workers,
                clock=time.time, say=self.log.say,
            )  # fmt: skip
            self._team = team(
                store, self._spool, self._metrics, clock=time.time, ticks=asyncio.get_running_loop().time,
                finishes=settings.single["ledger"].on_disconnect == "finish",
            )  # fmt: skip
        return self._team

    def reload(self, settings: Settings) -> str:
        """Let other settings hold from now on; return a remark on those that cannot, "" for none.

        What has begun ends as it began. UsageError where they cannot work: then nothing has changed.
        """
        before = self._application
        remark = _restart_remark(settings, before.settings)
        settings = _with_lasting(settings, before.settings)
        tls = tls_context(settings.server)
        self._application = after = _Application(settings, self, before)
        self._server.use(after, after.cors, settings.server, tls)
        self._let_watch(self._watching)
        self._retiring[before] = asyncio.ensure_future(self._retire(before, after))
        return remark

    async def _retire(self, before: _Application, after: _Application) -> None:
        await self._server.settled()
        if self._team is not None:
            await self._team.settled()
        await before.close(after)
        del self._retiring[before]

    @property
    def settings(self) -> Settings:
        """The settings that hold."""
        return self._application.settings

    @property
    def key_holders(self) -> tuple[str, ...]:
        """The names of the backends that send a key of the owner's for whoever calls."""
        return self._application.key_holders

    @property
    def draining(self) -> bool:
        """Whether the service is stopping."""
        return self._server.draining

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self._server.port

    def watch(self, request: Request) -> Response:
        """Return the stream of requests that are over."""
        if self._live is None:
            (live,) = load("live")
            self._live = live(self._let_watch, asyncio.get_running_loop(), time.time, self.whither)
        stream: Response = self._live.watch(request)
        return stream

    def metrics(self) -> str:
        """Return the text of /metrics."""
        return self._metrics.exposition()

    def _levels(self) -> typing.Iterator[Level]:
        """Give how high everything stands that is not counted where it happens."""
        yield "build_info", (__version__,), 1
        yield "connections", (), self._server.open_connections
        if self._spool is not None:
            yield "ledger_lag_seconds", (), self._spool.lag()
            yield "ledger_lost_total", (), self._spool.lost
        resting = self._application.resting()
        for name, state in self._application.upstream_states():
            yield "upstream_connections", (name, "busy"), state.busy
            yield "upstream_connections", (name, "idle"), state.idle
            yield "upstream_connections", (name, "opening"), state.opening
            yield "upstream_waiting", (name,), state.waiting
            yield "upstream_resting", (name,), name in resting
            yield "upstream_rests_total", (name,), state.has_rested

    def _publish(self) -> None:
        """Let the other workers see how high everything stands, now and again and again."""
        self._metrics.publish()
        self._publishing = asyncio.get_running_loop().call_later(PUBLISH_SECONDS, self._publish)

    @property
    def sockets(self) -> typing.Sequence[socket.socket]:
        """What the server listens on."""
        return self._server.sockets

    async def listen(self, sockets: typing.Sequence[socket.socket] = ()) -> None:
        """Begin to accept; OSError when the address cannot be had."""
        await self._server.listen(sockets)
        if self.is_one_of_many:
            self._publish()

    async def drain(self, *, is_succeeded: bool = False) -> None:
        """Stop in good order, within drain_timeout. `is_succeeded`: another process listens on the same sockets."""
        for application in (self._application, *self._retiring):
            application.leave()
        if self._live is not None:
            self._live.leave()
        await self._server.drain(is_succeeded=is_succeeded)
        await self._close_applications()

    async def close(self) -> None:
        """Stop now."""
        await self._server.close()
        await self._close_applications()

    async def _close_applications(self) -> None:
        if self._publishing is not None:
            self._publishing.cancel()
        for retiring in self._retiring.values():
            retiring.cancel()
        await asyncio.gather(*self._retiring.values(), return_exceptions=True)
        for application in (*self._retiring, self._application):
            await application.close()
        if self._team is not None:
            await self._team.close()
        if self._spool is not None:
            self._spool.close()


def _features(settings: Settings) -> list[str]:
    """Return what is switched on that the page for people has to know of."""
    switched = {
        "keys": settings.server.keys_file, "ledger": settings.single["ledger"].file,
        "workers": settings.server.workers != 1,
    }  # fmt: skip
    return [name for name, is_on in switched.items() if is_on]


def _new_instance() -> str:
    return os.urandom(8).hex()


# ---- the team ---------------------------------------------------------------------------------------------------


def _with_team(
    settings: Settings, gate: Gate, router: Router, backends: typing.Mapping[str, Backend], service: Service
) -> typing.Callable[[Request], Endpoint]:
    """Return how requests are routed: by the gate, behind a gateway where keys, limits or a ledger are asked for."""
    limits, ledger = settings.single["limits"], settings.single["ledger"]
    if not _has_team(settings):
        return gate.route
    _, load_keys, _, _ = load("team")
    keys = load_keys(settings.server.keys_file)
    route: typing.Callable[[Request], Endpoint] = (
        service.team(settings, keys)
        .gateway(
            gate.route, router, backends.values(), keys, limits, adds_usage=ledger.usage_chunk,
            allows_unpriced=ledger.unpriced == "allow", max_body=settings.server.max_body,
            ledger_file=_ledger_file(settings), shows_page=settings.server.page,
        )
        .route
    )  # fmt: skip
    return route


def _has_team(settings: Settings) -> bool:
    """Tell whether keys, limits or a ledger are asked for."""
    limits = settings.single["limits"]
    asked = settings.single["ledger"].file, settings.server.keys_file, limits.per_address, limits.per_origin
    return any(asked)


def _limits_file(settings: Settings) -> str:
    """Return the path of the file in which it stands what has been taken, "" where nobody has said."""
    beside = settings.server.keys_file or settings.single["ledger"].file
    file: str = settings.single["limits"].file or (f"{beside}.limits" if beside else "")
    return file


# ---- the ledger -------------------------------------------------------------------------------------------------

# Calls of the last moment are written when everything else has stopped.
_LEDGER_SECONDS = 5.0
_LEDGER_GLANCE_SECONDS = 0.05

# How long a parent of workers sleeps that has nothing to look after.
_LONG_SECONDS = 3600.0


def _ledger_file(settings: Settings) -> str:
    """Return the path of the ledger, "" for none. A program may change its folder while it serves."""
    file: str = settings.single["ledger"].file
    return os.path.abspath(file) if file else ""


def _open_spool(settings: Settings, instance: str) -> typing.Any:
    file = _ledger_file(settings)
    if not file:
        return None
    (spool,) = load("spool")
    return spool(file, instance, asyncio.get_running_loop().call_later)


def _make_ledger_writer(settings: Settings, say: typing.Callable[[str], object]) -> typing.Any:
    """Return what keeps the ledger's one writer alive, None without a ledger."""
    file = _ledger_file(settings)
    if not file:
        return None
    (writer_process,) = load("ledger process")
    keep_days = settings.single["ledger"].keep_days
    return writer_process([sys.executable, _own_path(), _LEDGER_WRITER, file, str(keep_days)], say)


@contextlib.asynccontextmanager
async def _writing_ledger(settings: Settings, log: Log) -> typing.AsyncIterator[None]:
    """Keep the ledger's writer alive while the block runs, and let it write the last calls."""
    writer = _make_ledger_writer(settings, log.say)
    if writer is None:
        yield
        return

    async def tend() -> None:
        while True:
            await asyncio.sleep(writer.tend())

    tending = asyncio.ensure_future(tend())
    try:
        yield
    finally:
        tending.cancel()
        for pause in writer.let_go(_LEDGER_SECONDS, _LEDGER_GLANCE_SECONDS):
            await asyncio.sleep(pause)


def _own_path() -> str:
    """Return the path of this program: of the file, or of the archive, that holds this code."""
    path = _own_path.__code__.co_filename
    while path and not os.path.isfile(path):
        path = os.path.dirname(path)
    return os.path.abspath(path)


# ---- embedding --------------------------------------------------------------------------------------------------

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
    configuration = _configuration()
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
    with _open_log(settings.server, asyncio.get_running_loop()) as log:
        async with _writing_ledger(settings, log):
            service = Service(settings, log, on_request=recorder.add)
            await service.listen()
            try:
                yield RunningServer(_url(settings.server, service.port), service.port, recorder.requests, lambda: None)
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


def pytest_configure(config: typing.Any) -> None:
    """Give pytest the fixture `oai` (protocol/instrument/pytest_plugin.py), where it was told to load this module."""
    (make_plugin,) = load("pytest plugin")
    config.pluginmanager.register(make_plugin(sys.modules["pytest"], start), "oaiserve fixtures")


# ---- the command line -------------------------------------------------------------------------------------------

_EXAMPLES = """\
examples:
  python oaiserve.py                                  the mock on http://127.0.0.1:8080
  python oaiserve.py mock --set mock.text="hi there"  let it say something else
  python oaiserve.py mock --set mock.delay=0.05       twenty words a second
  python oaiserve.py relay                            to api.openai.com, with OPENAI_API_KEY or the caller's key
  python oaiserve.py relay --set relay.base_url=http://127.0.0.1:11434/v1 --set relay.model=qwen3
  python oaiserve.py dashscope                        Alibaba's DashScope behind OpenAI's API, each caller's own key
  python oaiserve.py -p 0                             on any free port; the banner says which
  python oaiserve.py try                              is the server there, and is it well?
  python oaiserve.py key new alice                    a key for a caller of your own, its hash into keys.ini
  python oaiserve.py usage --by team,model --since 30d   what was used, and what it cost
  python oaiserve.py bundle                           one file and a zipapp in dist/
  python oaiserve.py help usage                       what a command takes

Options beat the environment's OAISERVE_SECTION_KEY, e.g. OAISERVE_SERVER_PORT=9000, which beats the file, which beats
the defaults. Without --config, config.ini is read from the working directory
or from beside this program, whichever is found first. Values may name the environment: ${NAME}, ${NAME:-default}.
SIGHUP has the files read again; a mistake in them changes nothing. SIGUSR2 starts the program anew and
lets it take over without a lost request. SIGTERM and Ctrl-C let running answers end.
exit status: 0 stopped when told, 1 could not go on, 2 wrong usage or configuration.
"""


def main(arguments: typing.Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 stopped when told, 1 could not go on, 2 wrong usage."""
    try:
        options = _parser().parse_intermixed_args(arguments)  # options may stand before, behind and between words
        if options.help:
            print(_help(options.command), end="")
            return 0
        if options.more and options.command not in _WITH_MORE:
            raise UsageError(f"{evidence(options.more[0])} is one word too many; --help tells what there is")
        return {**_COMMANDS, **_OWN_COMMANDS}.get(options.command, _serve_command)(options)
    except UsageError as exc:
        for line in str(exc).split("\n"):
            print(f"oaiserve: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; say nothing more, not even while the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other mistake is said."""

    def error(self, message: str) -> typing.NoReturn:
        message, colon, words = message.partition("unrecognized arguments: ")
        if colon:  # what stands behind an option that does not exist may be a key
            names = [word.partition("=")[0] for word in words.split() if word.startswith("-")]
            message = colon + " ".join([*names, "…"] if names != words.split() else names)
        raise UsageError(f"{without_secrets(message)}; --help tells what there is")


class _Option(typing.NamedTuple):
    """An option: its flags, the commands that take it, and what argparse wants to know of it.

    `follows` is what the shell can offer behind it (protocol/tools/completion.py).
    """

    flags: tuple[str, ...]
    commands: tuple[str, ...]
    about: dict[str, typing.Any]
    follows: str | tuple[str, ...] = ""


_SERVING = ("", *_KINDS)
_WITH_CONFIG = (*_SERVING, "key", "usage")

_OPTIONS = (
    _Option(
        ("-c", "--config"), _WITH_CONFIG,
        {"metavar": "FILE", "help": "read this configuration instead of config.ini"}, "file",
    ),
    _Option(("-p", "--port"), _SERVING, {"metavar": "N", "help": "port to listen on; 0 takes any free one"}),
    _Option(("--host",), _SERVING, {"metavar": "H", "help": "address to listen on; 0.0.0.0 is every one"}),
    _Option(("--workers",), _SERVING, {"metavar": "N", "help": "processes that share the port; 0 is one a core"}),
    _Option(
        ("--set",), _WITH_CONFIG,
        {"metavar": "SECTION.KEY=VALUE", "action": "append", "default": [], "help": "set one value; again and again"},
        "keys",
    ),
    _Option(
        ("-q", "--quiet"), _SERVING,
        {"action": "store_true", "help": "log no requests; what goes wrong is told all the same"},
    ),
    _Option(
        ("-v", "--verbose"), _SERVING,
        {"action": "store_true", "help": "log all that is known of each request, in one line, probes too"},
    ),
    _Option(
        ("--check",), _SERVING,
        {"action": "store_true", "help": "say what the effective configuration is, secrets masked, and stop"},
    ),
    _Option(
        ("--key",), ("try", "cassette"),
        {
            "metavar": "K",
            "help": "try: the API key (else, here and at their vendors, OPENAI_API_KEY, DASHSCOPE_API_KEY)",
        },
    ),
    _Option(("--model",), ("try",), {"metavar": "M", "help": "try: the model to ask (else the first one listed)"}),
    _Option(
        ("--timeout",), ("try",),
        {
            "metavar": "SECONDS", "type": float, "default": 15.0,
            "help": "try: for how long a server may say nothing (15); one that hangs is tried no further",
        },
    ),
    _Option(
        ("--live",), ("cassette",),
        {"metavar": "URL", "help": "cassette check: the API whose answers the recorded ones are compared with"},
    ),
    _Option(("--team",), ("key",), {"metavar": "T", "default": "", "help": "key new: the team that the key is of"}),
    _Option(
        ("--file",), ("key",),
        {"metavar": "FILE", "help": "key: the file of keys (else [server] keys_file, else keys.ini)"}, "file",
    ),
    _Option(
        ("--by",), ("usage",),
        {
            "metavar": "WHAT", "default": "key",
            "help": "usage: by key, team, model, backend, day, or several: team,model",
        },
        ("key", "team", "model", "backend", "day"),
    ),
    _Option(
        ("--since",), ("usage",),
        {"metavar": "DATE|30d", "help": "usage: from that day (UTC) on, or for so many days until today"},
    ),
    _Option(("--csv",), ("usage",), {"action": "store_true", "help": "usage: as CSV"}),
    _Option(("--json",), ("usage",), {"action": "store_true", "help": "usage: as JSON"}),
    _Option(
        ("--from-log",), ("usage",),
        {
            "metavar": "FILE", "nargs": "+",
            "help": "usage: from logs (log = json) instead of a ledger; - is standard input",
        },
        "file",
    ),
)  # fmt: skip


class _Said(typing.NamedTuple):
    """What is said of a command: how it is written, what it does, and the words that may follow it."""

    usage: str
    does: str
    words: tuple[str, ...] = ()


_SAID = {
    "mock": _Said("mock", "serve; what no route names, the mock answers by itself"),
    "relay": _Said("relay", "serve; what no route names goes to a real upstream"),
    "dashscope": _Said("dashscope", "serve; what no route names goes to Alibaba's DashScope, translated"),
    "try": _Said("try [URL]", "check a server from the outside, by default http://127.0.0.1:8080"),
    "bundle": _Said("bundle [DIR]", "write one file and a zipapp of the source tree to DIR (dist)"),
    "cassette": _Said(
        "cassette check FILE | cassette import HAR FILE", "work on recorded answers", ("check", "import")
    ),
    "key": _Said(
        "key new NAME | key list | key check", "make keys for callers of your own, and tell whose one is",
        ("new", "list", "check"),
    ),
    "usage": _Said("usage [FILE]", "add up what was used and what it cost, from the ledger"),
    "help": _Said("help [COMMAND]", "say what there is, or what a command takes"),
    "completion": _Said("completion bash|zsh|fish", "write a script that lets a shell complete all of this",
                        ("bash", "zsh", "fish")),
}  # fmt: skip


def _help(command: str | None) -> str:
    """Return the help of a command, or of the whole program."""
    return (_parser() if command not in _SAID else _command_parser(command)).format_help()


def _command_parser(command: str) -> argparse.ArgumentParser:
    said = _SAID[command]
    parser = argparse.ArgumentParser(
        usage=f"python oaiserve.py {said.usage} [options]", description=f"{said.does[0].upper()}{said.does[1:]}.",
        epilog="\n".join(
            line.strip() for line in _EXAMPLES.split("\n\n")[0].split("\n")[1:] if f"oaiserve.py {command}" in line
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False,
    )  # fmt: skip
    for option in _OPTIONS:
        if command in option.commands:
            about = {**option.about, "help": option.about["help"].partition(f"{command}: ")[2] or option.about["help"]}
            parser.add_argument(*option.flags, **about)
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="oaiserve.py",
        usage="python oaiserve.py [COMMAND] [options]",
        description="Stands where the OpenAI API stands. Commands: "
        f"{', '.join(_KINDS)} (serve; the backend takes what no route names), try [URL], "
        "bundle [DIR], cassette check|import, key new|list|check, usage [FILE], help [COMMAND], "
        "completion bash|zsh|fish.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    add = parser.add_argument
    add(
        "command",
        nargs="?",
        metavar="COMMAND",
        help=f"{', '.join([*_KINDS, *_COMMANDS])}; nothing: serve as configured",
    )
    add(
        "target",
        nargs="?",
        metavar="URL|DIR",
        help="try: the server's address; bundle: the folder to write to (dist); usage: the ledger; help: a command",
    )
    add(
        "more",
        nargs="*",
        metavar="FILE|NAME",
        help="cassette check FILE, cassette import HAR FILE: recorded answers; key new NAME, key list, key check: keys "
        "of your callers",
    )
    add("-h", "--help", action="store_true", help="say this, or with a command what it takes")
    for option in _OPTIONS:
        add(*option.flags, **option.about)
    add("--version", action="version", version=__version__)
    return parser


def _help_command(options: argparse.Namespace) -> int:
    if options.target not in (None, *_SAID):
        raise UsageError(f"help: there is no command {evidence(options.target)}; there are {', '.join(_SAID)}")
    print(_help(options.target), end="")
    return 0


def _completion_command(options: argparse.Namespace) -> int:
    write_completion, command, offer = load("completion")
    kinds = {"server": ServerSettings, **_SINGLE, **{name: kind.settings for name, kind in _KINDS.items()}}
    keys = tuple(f"{section}.{key}=" for section, settings in kinds.items() for key in options_of(settings))
    commands = []
    for name in ("", *_SAID):
        said = _SAID.get(name, _Said("", ""))
        offers = [offer(("-h", "--help"), "say what there is", None)]
        for option in _OPTIONS:
            if name in option.commands:
                follows = None if "action" in option.about and "metavar" not in option.about else option.follows
                offers.append(offer(option.flags, option.about["help"], keys if follows == "keys" else follows))
        words = tuple(_SAID) if name == "help" else said.words
        commands.append(command(name, said.does, words, tuple(offers)))
    print(write_completion(options.target or "", commands), end="")
    return 0


def _serve_command(options: argparse.Namespace) -> int:
    if options.command is not None and options.command not in _KINDS:
        raise UsageError(
            f"there is no command {evidence(options.command)}; there are {', '.join([*_KINDS, *_COMMANDS])}"
        )
    if options.target is not None:
        raise UsageError(f"{evidence(options.target)} is one word too many; the address is set by --host and --port")
    gc.disable()  # next to nothing that a start makes is garbage: the collector would look for it in vain, 5 ms
    try:
        handed = _handed_over()
        settings, source = _settings_from(options)
        address = handed.sockets[0].getsockname()[:2] if handed.sockets else ()
        settings = _at(address, settings)
        instance = _new_instance()
        key_holders, warnings = _checked(settings, instance)
    finally:
        gc.enable()
    for warning in warnings:
        print(f"oaiserve: {warning}", file=sys.stderr)
    if options.check:
        print(f"; from {source}\n{describe(settings)}", end="")
        return 0
    if os.name == "posix":
        _, allow_connections = load("descriptors")
        allow_connections(settings.server.max_connections, _descriptors_each(settings))
    count = settings.server.workers or os.cpu_count() or 1
    outside = _Outside(lambda: _at(address, _settings_from(options)[0]), handed, _manager())
    try:
        if count > 1:
            return _run_workers(count, settings, source, instance, key_holders, outside)
        return run_coroutine(_serve_until_told(settings, source, instance, None, outside))
    except BrokenPipeError:
        raise  # who should have read the banner has gone; that the address cannot be had would be a wrong track
    except OSError as exc:
        print(f"oaiserve: {listen_failure(exc, settings.server)}", file=sys.stderr)
        return 1


class _Handed(typing.NamedTuple):
    """Nothing was handed over (protocol/server/handover.py)."""

    sockets: typing.Sequence[socket.socket] = ()
    tell_listening: typing.Callable[[], None] | None = None


class _NoManager:
    """No service manager wants to hear anything."""

    watchdog_seconds = 0.0
    ready = reloading = stopping = alive = staticmethod(lambda: None)
    succeeded_by = staticmethod(lambda process: None)


class _Outside(typing.NamedTuple):
    """What a running program has to do with: its files, whoever started it, and who listens before and after it.

    `read_again` returns the settings as they are now; UsageError where they have mistakes.
    """

    read_again: typing.Callable[[], Settings]
    handed: typing.Any
    manager: typing.Any

    def tell_listening(self) -> None:
        """Tell whoever waits that this process listens: the one before it, which tells the manager, or the manager."""
        (self.handed.tell_listening or self.manager.ready)()


def _handed_over() -> typing.Any:
    if os.name != "posix" or not {"_OAISERVE_HANDOVER", "LISTEN_FDS"} & set(os.environ):
        return _Handed()
    take_over, _, _ = load("handover")
    return take_over(os.environ)


def _manager() -> typing.Any:
    if os.name != "posix" or not os.environ.get("NOTIFY_SOCKET"):
        return _NoManager()
    _, manager, _ = load("handover")
    return manager(os.environ)


def _at(address: typing.Sequence[typing.Any], settings: Settings) -> Settings:
    """Return settings with the address of sockets that were handed over, if any were."""
    if not address:
        return settings
    host, port = address
    return settings._replace(server=ServerSettings(**{**vars(settings.server), "host": host, "port": port}))


class _Succession:
    """The program started anew, to take over the sockets; `say` takes a line for the log."""

    def __init__(self, manager: typing.Any, say: typing.Callable[[str], object]) -> None:
        self._manager = manager
        self._say = say
        self._successor: typing.Any = None
        #: Whether it has been started, and is not known to have failed.
        self.is_under_way = False

    def start(self, sockets: typing.Sequence[socket.socket]) -> int | None:
        """Start it, and return the descriptor that will tell how that goes; None where it cannot be started."""
        _, _, successor = load("handover")
        # Python before 3.10 does not tell the options that it was started with itself.
        arguments = getattr(sys, "orig_argv", ["", *sys.argv])[1:]
        try:
            self._successor = successor([sys.executable, *arguments], os.environ, sockets)
        except OSError as exc:
            self._say(f"No new process can be started ({exc.strerror}); this one goes on")
            return None
        self.is_under_way = True
        descriptor: int = self._successor.pipe
        return descriptor

    def has_happened(self) -> bool:
        """Return whether it has taken over; only once the descriptor can be read."""
        failure = self._successor.news()
        self.is_under_way = not failure
        process = self._successor.process
        self._say(failure or f"The new process {process} has taken over; this one ends when its requests are over")
        if not failure:
            self._manager.succeeded_by(process)
        return not failure


def _checked(settings: Settings, instance: str) -> tuple[tuple[str, ...], list[str]]:
    """Return the backends that hold a key, and what the owner should know besides; UsageError for what is wrong.

    A service would say so, too; but --check and the parent of workers make none.
    """
    mistakes: list[str] = []
    key_holders: tuple[str, ...] = ()
    remarks: list[str] = []

    def check_backends() -> None:
        nonlocal key_holders
        key_holders = _key_holders(_make_backends(settings, Log("off", _write_nothing), instance, _nobody_answers, {}))

    def check_script() -> None:
        script = _read_script(settings)
        remarks.extend(() if script is None else script.warnings)

    checks: tuple[typing.Callable[[], object], ...] = (
        check_backends,
        check_script,
        lambda: _check_workers(settings),
        lambda: _check_team(settings),
        lambda: tls_context(settings.server),
        lambda: _check_log_file(settings.server),
        lambda: remarks.extend(_check_ledger(settings)),
    )
    for check in checks:
        try:
            check()
        except UsageError as exc:
            mistakes.append(str(exc))
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return key_holders, remarks


def _check_workers(settings: Settings) -> None:
    """Raise UsageError for what several processes cannot do."""
    if settings.server.workers != 1 and settings.server.journal:
        raise UsageError("[server] journal = yes: each worker would keep a journal of its own; set workers = 1")


def _check_team(settings: Settings) -> None:
    """Raise UsageError for a keys file that cannot be read, and limits that cannot be kept: workers would end at it."""
    if _has_team(settings):
        _, load_keys, _, check_store = load("team")
        keys = load_keys(settings.server.keys_file)
        check_store(keys, settings.single["limits"], _limits_file(settings), workers=settings.server.workers)


def _check_log_file(settings: ServerSettings) -> None:
    """Raise UsageError for a log file that cannot be opened; one that is not there stays away."""
    path = os.path.realpath(settings.log_file)
    is_there = os.path.exists(path)
    if not settings.log_file or (is_there and stat.S_ISFIFO(os.stat(path).st_mode)):  # which waits for its reader
        return
    target = _LogTarget(None)
    target.use(target.opened(settings))
    target.use(None)
    if not is_there and os.path.exists(path):
        os.unlink(path)


def _run_workers(
    count: int,
    settings: Settings,
    source: str,
    instance: str,
    key_holders: typing.Sequence[str],
    outside: _Outside,
) -> int:
    run_workers, workers_failed = load("workers")
    terminal = _Terminal()
    manager = outside.manager
    latest = settings

    def say(message: str) -> None:
        with _open_log(latest.server, None) as log:
            log.say(message)

    def tend() -> float:
        manager.alive()
        pause = writer.tend() if writer is not None else _LONG_SECONDS
        return min(pause, manager.watchdog_seconds or pause)

    def announce(port: int) -> None:
        print(_banner(settings, port, source, key_holders), flush=True)
        outside.tell_listening()

    def renew() -> int:
        if terminal.has_gone():
            return signal.SIGTERM
        manager.reloading()
        try:
            return read_again()
        finally:
            manager.ready()

    def read_again() -> int:
        nonlocal latest
        with _open_log(latest.server, None) as log:
            try:
                renewed = outside.read_again()
                remark = _restart_remark(renewed, latest)
                renewed = _with_lasting(renewed, latest)
                _checked(renewed, instance)
            except UsageError as exc:
                _say_mistakes(log, exc)
                return signal.SIGUSR1
            latest = renewed
            log.say(_REREAD + remark)
        return signal.SIGHUP

    writer = _make_ledger_writer(settings, lambda message: print(f"oaiserve: {message}", file=sys.stderr))
    try:
        status: int = run_workers(
            count,
            settings.server,
            lambda place: run_coroutine(_serve_until_told(latest, source, instance, place, outside)),
            announce,
            tend,
            renew,
            _Succession(manager, say),
            outside.handed.sockets,
            manager.stopping,
        )
    except workers_failed as exc:
        print(f"oaiserve: {exc}", file=sys.stderr)
        return 1
    finally:
        for pause in () if writer is None else writer.let_go(_LEDGER_SECONDS, _LEDGER_GLANCE_SECONDS):
            time.sleep(pause)
    return status


def _check_ledger(settings: Settings) -> list[str]:
    """Return what the owner of a ledger should know of its place; UsageError where there can be none."""
    file = _ledger_file(settings)
    if not file:
        return []
    check_place, network_remark, read_mounts = load("ledger place")
    check_place(file)
    if os.path.exists(file):
        (check_ledger,) = load("ledger that is there")
        check_ledger(file)
    remark = network_remark(file, read_mounts())
    return [remark] if remark else []


def _nobody_answers(request: Request) -> Answer:
    raise ApiError(503, "Nobody answers yet.")


def _configuration_from(options: argparse.Namespace) -> tuple[Configuration, str]:
    configuration = _configuration()
    path = options.config or _find_config()
    if path:
        configuration.read_file(path)
    configuration.read_environment(os.environ)
    for assignment in options.set:
        configuration.set_option(assignment)
    return configuration, path or "the defaults (no config.ini found)"


def _settings_from(options: argparse.Namespace) -> tuple[Settings, str]:
    configuration, source = _configuration_from(options)
    for key in ("host", "port", "workers"):
        value = getattr(options, key)
        if value is not None:
            configuration.set("server", key, value, f"--{key}")
    if options.quiet and options.verbose:
        raise UsageError("-q and -v: one says less, the other more; give one of them")
    settings = configuration.settings(options.command, os.environ)
    said: dict[str, typing.Any] = {}
    if options.quiet:
        said = {"log_requests": False}
    elif options.verbose:
        said = {"log_requests": True, "log_probes": True}
        if settings.server.log not in TELLING_FORMS:
            said["log"] = "line"
    return settings._replace(server=ServerSettings(**{**vars(settings.server), **said})), source


def _find_config() -> str | None:
    for folder in (os.getcwd(), os.path.dirname(os.path.abspath(sys.argv[0]))):
        path = os.path.join(folder, "config.ini")
        if os.path.isfile(path):
            return path
    return None


async def _serve_until_told(
    settings: Settings,
    source: str,
    instance: str,
    place: WorkerPlace | None,
    outside: _Outside,
) -> int:
    """Serve until told to stop; a worker has a `place`, and its parent shows the banner."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    manager = outside.manager if place is None else _NoManager()
    is_succeeded = False
    terminal = _Terminal()
    _on_signals(loop, told)
    if place is not None:
        loop.add_reader(place.lifeline, told.set)
    keep_collections_short()
    output = _LogTarget(loop)
    with _open_log(settings.server, loop, output) as log:
        # That of workers is their parent's.
        async with _writing_ledger(settings, log) if place is None else contextlib.AsyncExitStack():
            service = Service(
                settings,
                log,
                instance=instance,
                on_large=_keep_large_blocks_apart,
                figures=place.figures if place is not None else None,
            )
            await service.listen(outside.handed.sockets if place is None else place.sockets)
            succession = _Succession(manager, log.say)

            def leave_all() -> None:
                nonlocal is_succeeded
                is_succeeded = True
                told.set()

            def hand_over() -> None:
                news = None if succession.is_under_way else succession.start(service.sockets)
                if news is not None:
                    loop.add_reader(news, hear, news)

            def hear(news: int) -> None:
                loop.remove_reader(news)
                if succession.has_happened():
                    leave_all()

            def reload() -> None:
                if place is None and terminal.has_gone():
                    told.set()
                    return
                manager.reloading()
                read_again()
                manager.ready()

            def read_again() -> None:
                try:
                    renewed = outside.read_again()
                    _check_workers(renewed)
                    reopened = output.opened(renewed.server)
                    remark = service.reload(renewed)
                except UsageError as exc:
                    _say_mistakes(log, exc)
                    reopen()
                    return
                log.flush()
                output.use(reopened)
                _use_log(log, service.settings.server)
                if place is None:
                    log.say(_REREAD + remark)

            def reopen() -> None:
                log.flush()
                try:
                    output.use(output.opened(service.settings.server))
                except UsageError as exc:
                    _say_mistakes(log, exc)

            if hasattr(signal, "SIGHUP"):
                loop.add_signal_handler(signal.SIGHUP, reload)
                loop.add_signal_handler(signal.SIGUSR1, reopen)
                loop.add_signal_handler(signal.SIGUSR2, hand_over if place is None else leave_all)
            if place is None:
                print(_banner(settings, service.port, source, service.key_holders), flush=True)
                outside.tell_listening()
                _keep_telling(manager, loop)
            else:
                place.ready()
            await told.wait()
            told.clear()
            if place is not None:
                loop.remove_reader(place.lifeline)
            if not is_succeeded:
                manager.stopping()
            draining = asyncio.ensure_future(service.drain(is_succeeded=is_succeeded))
            impatience = asyncio.ensure_future(told.wait())
            await asyncio.wait([draining, impatience], return_when=asyncio.FIRST_COMPLETED)
            impatience.cancel()
            if not draining.done():
                draining.cancel()
                await service.close()
    return 0


def _keep_telling(manager: typing.Any, loop: asyncio.AbstractEventLoop) -> None:
    """Tell the service manager that the loop goes round, as often as it wants to hear that."""
    if manager.watchdog_seconds:
        manager.alive()
        loop.call_later(manager.watchdog_seconds, _keep_telling, manager, loop)


def _keep_large_blocks_apart() -> None:
    with contextlib.suppress(ImportError):  # some builds of Python have no ctypes
        (keep,) = load("large blocks")
        keep()


def _on_signals(loop: asyncio.AbstractEventLoop, told: asyncio.Event) -> None:
    """Let SIGTERM and SIGINT stop the server in good order, and a second one at once."""
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, told.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(told.set))


def _url(settings: ServerSettings, port: int) -> str:
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{'https' if settings.certfile else 'http'}://{host}:{port}"


def _banner(settings: Settings, port: int, source: str, key_holders: typing.Sequence[str]) -> str:
    url = _url(settings.server, port)
    routes = "; ".join(f"{route.pattern} = {', '.join(route.backends)}" for route in settings.routes)
    notes = [*_worker_notes(settings), *_key_notes(settings, key_holders), *_connection_notes(settings)]
    return (
        f"oaiserve {__version__} listens on {url} (OpenAI base URL: {url}/v1)\n"
        f"  settings: {source}; routes: {routes}\n"
        f"  pages:    {who_may_call(Origins(settings.server.cors_origins), key_holders)}\n"
        f"{''.join(f'  mind:     {note}' + chr(10) for note in notes)}"
        f"  try it:   {chat_example(url, _chat_example(settings, key_holders))}\n"
        "  stop it:  Ctrl-C"
    )


def _worker_notes(settings: Settings) -> typing.Iterator[str]:
    """Give lines for who may wonder where an object went, or a fault: what is remembered is a worker's own."""
    if settings.server.workers == 1:
        return
    if "mock" in _routed_kinds(settings):
        yield "each worker of the mock remembers its own files and other objects; --workers 1 keeps all"
    if settings.faults or any(mock.options.script for mock in _routed_mocks(settings)):
        yield "each worker counts by itself how often faults and the script's rules have come; --workers 1 counts all"


def _key_notes(settings: Settings, key_holders: typing.Sequence[str]) -> typing.Iterator[str]:
    """Give lines for who lets others spend a key, or see it, perhaps without knowing."""
    keys = {backend.name: backend.options.api_key for backend in settings.backends if backend.name in key_holders}
    can_be_masked = load("key that is held")[0] if keys else bool
    unmasked = [name for name, key in keys.items() if key and not can_be_masked(key)]
    if unmasked:
        yield (
            f"the key of {', '.join(unmasked)} cannot be masked where the upstream repeats it: it has less than 8 "
            "characters, or is a word of ordinary answers"
        )
    routed = {name for route in settings.routes for name in route.backends}
    for backend in settings.backends:
        if backend.name in routed and getattr(backend.options, "kept_back", None):
            variable = backend.options.kept_back
            instead = "it is asked without one" if settings.server.keys_file else "callers bring their keys"
            yield (
                f"the environment's {variable} is not sent to {backend.name}, whose upstream is another's: {instead}; "
                f"if it is meant for it, write api_key = ${{{variable}}} there"
            )
    if settings.server.keys_file:
        yield from _team_notes(settings, key_holders)
    elif key_holders and not settings.server.is_local:
        yield (
            f"whoever reaches this port spends the key of {', '.join(key_holders)}: nobody is asked for a key; "
            "[server] keys_file asks for one, --host 127.0.0.1 lets this machine alone in"
        )


def _team_notes(settings: Settings, key_holders: typing.Sequence[str]) -> typing.Iterator[str]:
    """Give lines for who has keys for callers, and may expect more of them than they do."""
    routed = _routed_names(settings)
    keyless = [
        backend.name
        for backend in settings.backends
        if backend.name in routed and backend.name not in key_holders and hasattr(backend.options, "api_key")
    ]
    if keyless:
        yield (
            f"{', '.join(keyless)} has no key: its upstream is asked without one, for the keys of callers are this "
            "server's own; api_key gives it one"
        )
    _, load_keys, _, _ = load("team")
    keys = load_keys(settings.server.keys_file)
    if not any(one.rates.budget for one in (*keys.keys.values(), *keys.teams.values())):
        return
    if settings.single["ledger"].unpriced == "allow":
        yield "a model without a price takes nothing from budgets: [ledger] unpriced = allow"
        return
    (price_of,) = load("prices")
    unpriced = [
        route.pattern
        for route in settings.routes
        if not {"*", "?"} & set(route.pattern) and price_of(keys.prices, route.pattern) is None
    ]
    if unpriced:
        yield f"keys with a budget may not ask for {', '.join(unpriced)}: no line of [prices] in the keys file fits"


def _connection_notes(settings: Settings) -> typing.Iterator[str]:
    """Give a line for who would look in vain for connections that the limit on open files has no room for."""
    most, wanted = _most_connections(settings), settings.server.max_connections
    if most < wanted:
        yield f"{most} connections at once, not max_connections = {wanted}: the limit on open files (ulimit -n) is low"


# What the log says when the files were read again.
_REREAD = "The configuration was read again"


def _say_mistakes(log: Log, exc: UsageError) -> None:
    for mistake in str(exc).split("\n"):
        log.say(f"The configuration stays as it was: {mistake}")


@contextlib.contextmanager
def _open_log(
    settings: ServerSettings, loop: asyncio.AbstractEventLoop | None, target: _LogTarget | None = None
) -> typing.Iterator[Log]:
    target = target or _LogTarget(loop)
    target.use(target.opened(settings))
    try:
        log = Log(settings.log, target.write, call_soon=None if loop is None else loop.call_soon)
        _use_log(log, settings)
        yield log
    finally:
        target.use(None)


def _use_log(log: Log, settings: ServerSettings) -> None:
    log.use(
        settings.log, () if settings.log_probes else PROBES, records_requests=settings.log_requests,
        has_colours=not settings.log_file and _has_colours(),
    )  # fmt: skip


def _has_colours() -> bool:
    """Tell whether lines on standard error may have colours: on a terminal that has some (https://no-color.org)."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _LogTarget:
    """Where the log goes: a file, standard error, or nowhere. Without a loop, what it does not take at once is lost."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._opened: _LogFile | None = None

    def write(self, lines: str) -> None:
        """Write whole lines."""
        if self._opened is not None:
            self._opened.write(lines)

    def opened(self, settings: ServerSettings) -> _LogFile | None:
        """Return what the settings name, None for nothing; UsageError for a file that cannot be written."""
        if settings.log == "off":
            return None
        if settings.log_file:
            try:
                file = open(settings.log_file, "ab", buffering=0, opener=_open_privately)
            except OSError as exc:
                why = f"cannot be written: {exc.strerror}"
                raise UsageError(f"[server] log_file = {settings.log_file!r}: {why}") from exc
        else:
            if self._opened is not None and self._opened.is_standard_error:
                return self._opened  # lines may wait there
            try:
                file = open(sys.stderr.fileno(), "wb", buffering=0, closefd=False)
            except (AttributeError, OSError, ValueError):  # a program has put something else there, or nothing
                return _LogFile(_write_stderr, _do_nothing, is_standard_error=True)
        output = LogOutput(file.fileno(), None if self._loop is None else self._loop.call_later)

        def close() -> None:
            output.finish()
            file.close()

        return _LogFile(output.write, close, is_standard_error=not settings.log_file)

    def use(self, opened: _LogFile | None) -> None:
        """Write there from now on, and close what was written to before."""
        before, self._opened = self._opened, opened
        if before is not None and before is not opened:
            before.close()


class _LogFile(typing.NamedTuple):
    write: typing.Callable[[str], None]
    close: typing.Callable[[], None]
    is_standard_error: bool


def _do_nothing() -> None:
    """Stand for the end of what is not ours to close."""


class _Terminal:
    """The terminal that the program was started in, if any. One that is closed sends SIGHUP, too.

    Where that signal was ignored at the start, as nohup has it, the program outlives its terminal.
    """

    def __init__(self) -> None:
        is_ignored = not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._is_needed = not is_ignored and _has_terminal()

    def has_gone(self) -> bool:
        """Whether it was there and is no more."""
        return self._is_needed and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _write_nothing(lines: str) -> None:
    """Stand for the output of a log that is off."""


def _open_privately(path: str, flags: int) -> int:
    """Open a file; one that has to be made is for its owner alone: the log tells who called, and for what."""
    return os.open(path, flags, 0o600)


def _write_stderr(lines: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(lines)
            sys.stderr.flush()


def _try_command(options: argparse.Namespace) -> int:
    run_trial, ask_hidden = load("try")
    status: int = run_trial(
        options.target or "http://127.0.0.1:8080", key=options.key, model=options.model,
        timeout_seconds=options.timeout, out=sys.stdout, environ=os.environ,
        ask_key=ask_hidden if sys.stdin.isatty() else None,
    )  # fmt: skip
    return status


def _bundle_command(options: argparse.Namespace) -> int:
    write_bundle, bundle_error = load("bundle")
    try:
        source = os.path.dirname(os.path.abspath(sys.argv[0]))
        for path in write_bundle(source, options.target or "dist", __version__):
            print(path)
    except bundle_error as exc:
        print(f"oaiserve: {exc}", file=sys.stderr)
        return 1
    return 0


def _cassette_command(options: argparse.Namespace) -> int:
    (run_cassette,) = load("cassette command")
    words = [word for word in (options.target, *options.more) if word is not None]
    key = options.key or os.environ.get("OPENAI_API_KEY", "")
    status: int = run_cassette(words, options.live, key, print)
    return status


def _key_command(options: argparse.Namespace) -> int:
    run_key, terminal = load("key command")
    words = [word for word in (options.target, *options.more) if word is not None]
    if options.key is not None:
        raise UsageError("--key goes with try and cassette; key check reads the key where nobody sees it")
    path = options.file
    if path is None:
        configuration, _ = _configuration_from(options)
        path = configuration.section("server", os.environ).keys_file or "keys.ini"
    status: int = run_key(words, options.team, path, terminal(sys.stdout, sys.stderr, sys.stdin), time.time())
    return status


def _usage_command(options: argparse.Namespace) -> int:
    ledger = options.target or ""
    if not ledger and not options.from_log:
        configuration, source = _configuration_from(options)
        ledger = configuration.section("ledger", os.environ).file
        if not ledger:
            raise UsageError(f"usage: there is no ledger: {source} has no [ledger] file; name one: usage usage.db")
    (run_usage,) = load("usage command")
    form = "json" if options.json else "csv" if options.csv else "table"
    status: int = run_usage(
        ledger, options.from_log or [], by=options.by, since=options.since, form=form, out=sys.stdout, err=sys.stderr,
        now=time.time(),
    )  # fmt: skip
    return status


def _ledger_writer_command(options: argparse.Namespace) -> int:
    # Its parent is told to stop, and has something to be written until its end: the lifeline tells when that is.
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    run_writer, read_lifeline = load("ledger writer")
    told = threading.Event()
    start_thread(lambda: read_lifeline(told), "lifeline")
    run_writer(options.target, int(*options.more), told, lambda message: print(f"oaiserve: {message}", file=sys.stderr))
    return 0


_COMMANDS = {
    "try": _try_command,
    "bundle": _bundle_command,
    "cassette": _cassette_command,
    "key": _key_command,
    "usage": _usage_command,
    "help": _help_command,
    "completion": _completion_command,
}

# What the program calls itself.
_LEDGER_WRITER = "ledger-writer"
_OWN_COMMANDS = {_LEDGER_WRITER: _ledger_writer_command}
_WITH_MORE = ("cassette", "key", _LEDGER_WRITER)


if __name__ == "__main__":
    sys.exit(main())
