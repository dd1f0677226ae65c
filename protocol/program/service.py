"""A running service: what a configuration makes of it, and what outlasts a change of that."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import typing

from protocol.config import Settings
from protocol.deadline import clock_of
from protocol.exchange import Answer, AsksUpstream, Backend, Endpoint, Request, Response, UpstreamState
from protocol.held_bytes import HeldBytes
from protocol.instrument.gate import Gate, Instrument
from protocol.on_demand import load
from protocol.openai.answers import ERROR_SHAPES
from protocol.program.books import has_team, ledger_file, limits_file, open_spool
from protocol.program.lasting import restart_remark, with_lasting
from protocol.program.making import is_recorded, key_holders_of, make_backends, most_connections_of
from protocol.program.routed import example_of, named_script, pace_names, routed_mocks
from protocol.program.version import VERSION
from protocol.server.server import Server, tls_context
from protocol.server.settings import ServerSettings
from protocol.service.cors import CorsPolicy
from protocol.service.doors import service_doors
from protocol.service.figures import Figures
from protocol.service.key_guard import KeyGuard
from protocol.service.log import TELLING_FORMS, Log
from protocol.service.metrics import PUBLISH_SECONDS, Level, Metrics
from protocol.service.origins import Origins
from protocol.service.router import Router


class _Application:
    """What one configuration makes of a service: its backends, and all that stands before them.

    Where it takes the place of another, `before`, that one's backends go on here which remember something.
    """

    def __init__(self, settings: Settings, service: Service, before: _Application | None = None) -> None:
        self.version = VERSION
        self.now = time.time
        self.settings = settings
        self.backends = {backend.name: backend.kind for backend in settings.backends}
        self.routes = [(route.pattern, route.backends) for route in settings.routes]
        self.shows_page = settings.server.page
        self.features = _features(settings)
        self._service = service
        self._script = named_script(settings)
        kept = {} if before is None else before._keeps(settings)
        self._backends = make_backends(settings, service.log, service.instance, service.forward, kept)
        self.key_holders = key_holders_of(self._backends)
        self.example = example_of(settings, self.key_holders)
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
            if backend.name in self._backends and (backend.kind == "mock" or is_recorded(backend))
        }

    def _make_instrument(self, on_switch: typing.Callable[[], None]) -> Instrument:
        (front,) = load("instrument")
        settings = self.settings
        seed = next((mock.options.seed for mock in routed_mocks(settings) if mock.options.seed), "")
        recorded = [one.name for one in settings.backends if one.name in self._backends and is_recorded(one)]
        made: Instrument = front(
            self.router.route, ERROR_SHAPES, list(self._backends.values()), self.now, on_switch,
            max_body=settings.server.max_body, control_key=settings.server.control_key,
            keeps_journal=settings.server.journal, seed=seed, paces=pace_names(settings),
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
    `owns_process` says that nothing else in the process has files of the service's.
    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        *,
        instance: str = "",
        owns_process: bool = False,
        on_request: typing.Callable[[Request], None] | None = None,
        on_large: typing.Callable[[], object] | None = None,
        figures: Figures | None = None,
    ) -> None:
        self.log = log
        self.instance = instance or new_instance()
        self.is_one_of_many = figures is not None
        self._owns_process = owns_process
        self._metrics = Metrics(figures, self._levels)
        self._publishing: asyncio.TimerHandle | None = None
        self._spool = open_spool(settings, self.instance)
        self._team: typing.Any = None
        self._live: typing.Any = None
        self._watching: typing.Any = None  # the live view, while somebody watches
        self._application = application = _Application(settings, self)
        self._retiring: dict[_Application, asyncio.Task[None]] = {}
        self._server = Server(
            application, ERROR_SHAPES, application.cors, settings.server, log, self._metrics,
            held=HeldBytes(settings.server.max_memory, on_large),
            most_connections=most_connections_of(settings), on_request=on_request,
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
                keys, settings.single["limits"], limits_file(settings), workers=settings.server.workers,
                clock=time.time, say=self.log.say,
                call_soon=asyncio.get_running_loop().call_soon if self._owns_process else None,
            )  # fmt: skip
            self._team = team(
                store, self._spool, self._metrics, clock=time.time, ticks=clock_of(asyncio.get_running_loop()),
                finishes=settings.single["ledger"].on_disconnect == "finish",
            )  # fmt: skip
        return self._team

    def reload(self, settings: Settings) -> str:
        """Let other settings hold from now on; return a remark on those that cannot, "" for none.

        What has begun ends as it began. UsageError where they cannot work: then nothing has changed.
        """
        before = self._application
        remark = restart_remark(settings, before.settings)
        settings = with_lasting(settings, before.settings)
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
        yield "build_info", (VERSION,), 1
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


def _with_team(
    settings: Settings, gate: Gate, router: Router, backends: typing.Mapping[str, Backend], service: Service
) -> typing.Callable[[Request], Endpoint]:
    """Return how requests are routed: by the gate, behind a gateway where keys, limits or a ledger are asked for."""
    limits, ledger = settings.single["limits"], settings.single["ledger"]
    if not has_team(settings):
        return gate.route
    _, load_keys, _, _ = load("team")
    keys = load_keys(settings.server.keys_file)
    route: typing.Callable[[Request], Endpoint] = (
        service.team(settings, keys)
        .gateway(
            gate.route, router, backends.values(), keys, limits, adds_usage=ledger.usage_chunk,
            allows_unpriced=ledger.unpriced == "allow", max_body=settings.server.max_body,
            ledger_file=ledger_file(settings), shows_page=settings.server.page,
        )
        .route
    )  # fmt: skip
    return route


def _key_guard(origins: Origins, settings: ServerSettings) -> KeyGuard:
    scheme = "https" if settings.certfile else "http"
    return KeyGuard(origins, scheme=scheme, host=settings.host, is_local=settings.is_local)


def _features(settings: Settings) -> list[str]:
    """Return what is switched on that the page for people has to know of."""
    switched = {
        "keys": settings.server.keys_file, "ledger": settings.single["ledger"].file,
        "workers": settings.server.workers != 1,
    }  # fmt: skip
    return [name for name, is_on in switched.items() if is_on]


def new_instance() -> str:
    """Return a token that no other service has."""
    return os.urandom(8).hex()
