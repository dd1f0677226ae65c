"""The server: listens, holds what its connections share, and ends them in good order."""

from __future__ import annotations

import asyncio
import errno
import itertools
import math
import os
import socket
import ssl
import time
import typing

from protocol.deadline import clock_of
from protocol.errors import ApiError, UsageError
from protocol.exchange import LONG_BODY, TELLING_FIELDS, Endpoint, ErrorShapes, HeadFacts, Request
from protocol.held_bytes import HeldBytes
from protocol.pacer import Pacer
from protocol.server.connection import READ_BYTES, Connection
from protocol.server.listening import Listener, open_sockets
from protocol.server.settings import ServerSettings
from protocol.service.cors import CorsPolicy
from protocol.service.forwarded_for import TrustedProxies
from protocol.service.log import RequestLog
from protocol.service.metrics import Metrics
from protocol.wire.http1.memo import RequestMemo

# For how long lines of heads are remembered, the keys in them among these.
_MEMORY_SECONDS = 600
# Turns of the loop in which connections learn of their end, and log it: one, two under TLS, where a client that does
# not agree to the end is cut off in the first.
_CLOSING_TURNS = 4
_GLANCE_SECONDS = 0.25
# A server that stops: how long it goes on to accept while it has connections, and then how long those that are kept may
# bring the request that is on its way. A proxy's busy pool has used each of its connections by then, and has been told
# to make a new one; without that, a request that crosses the end of its connection is lost.
_FAREWELL_SECONDS = 0.5
_LEAVING_GLANCE_SECONDS = 0.02

#: Keys of [server] that hold as long as the process.
LASTING = (
    "host", "port", "workers", "max_head", "max_body", "max_memory", "max_connections", "drain_timeout",
)  # fmt: skip


class Application(typing.Protocol):
    """What the server asks who answers a request."""

    def route(self, request: Request) -> Endpoint:
        """Choose the endpoint from the head; ApiError 404 or 405 where there is none."""


class Watcher(typing.Protocol):
    """Who sees each request, from its endpoint to its end."""

    def around(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint that answers as another does."""


class Server:
    """Listens, holds the connections, and ends them in good order.

    `application` says who answers a request, `errors` how an error looks to its clients, `cors` which pages may read an
    answer. `held` counts what requests and answers hold; others may count there, too. `most_connections` is how many
    the machine has room for, 0 for as many as the settings allow. `on_request` is called with each request once its
    body is held, or its endpoint is about to read it (for embedding).
    """

    def __init__(
        self,
        application: Application,
        errors: ErrorShapes,
        cors: CorsPolicy,
        settings: ServerSettings,
        log: RequestLog,
        metrics: Metrics,
        *,
        held: HeldBytes | None = None,
        most_connections: int = 0,
        on_request: typing.Callable[[Request], None] | None = None,
    ) -> None:
        # What connections ask for (ServerForConnections).
        self.loop = loop = asyncio.get_running_loop()
        self.time = clock_of(loop)
        self.errors = errors
        self.log: RequestLog = log
        self.metrics = metrics
        self.held = HeldBytes(settings.max_memory) if held is None else held
        self.on_request = on_request
        self.heads = RequestMemo(HeadFacts, TELLING_FIELDS)
        self.pacer = Pacer(self.loop)
        # What is read is taken out before anything else is read, so one buffer serves all connections. asyncio's own
        # reads get 256 kB of fresh memory each, which may be mapped and unmapped every time: up to 12 µs a request.
        self.receive_buffer = memoryview(bytearray(READ_BYTES))
        # A body that finds no room even where nothing else is held is too large (413), and not to be sent again (503).
        # To read a long one takes as much again (HeldBody).
        most = max(self.held.most // 2, min(self.held.most, LONG_BODY))
        self.most_body_bytes = min(settings.max_body, most or settings.max_body)
        self.most_connections = min(settings.max_connections, most_connections or settings.max_connections)
        self.connections: set[Connection] = set()
        #: Accepted, and not made yet: under TLS those whose handshake is under way.
        self.greeting: set[Connection] = set()
        self.draining = False
        #: The port that is listened on; 0 before `listen`.
        self.port = 0
        self._watchers: tuple[Watcher, ...] = ()
        self._obey(application, cors, settings)
        self._listener: Listener | None = None
        self._forgetting: asyncio.TimerHandle | None = None
        self._cancelled: set[asyncio.Task[None]] = set()
        self._id_prefix = f"req_{os.urandom(8).hex()}"
        self._id_counter = itertools.count(1)
        # The second for which the Date field was made, and that field with the name of the next one.
        self._second = -1
        self._dated = b""

    def _obey(self, application: Application, cors: CorsPolicy, settings: ServerSettings) -> None:
        self.settings = settings
        self.proxies = TrustedProxies(settings.trusted_proxies)
        # Limits in seconds; a limit of 0 is none.
        self.head_seconds = settings.head_timeout or math.inf
        self.body_seconds = settings.body_timeout or math.inf
        self.idle_seconds = settings.idle_timeout or math.inf
        self.begins_traces = settings.trace == "begin"
        self._application = application
        self._cors = cors

    def use(
        self, application: Application, cors: CorsPolicy, settings: ServerSettings, tls: ssl.SSLContext | None
    ) -> None:
        """Let another application and other settings hold from the next request, `tls` from the next connection on.

        What has begun goes on as it began. Of the settings, LASTING must be as they were.
        """
        self._obey(application, cors, settings)
        if self._listener is not None:
            self._listener.tls = tls
        self.forget_heads()

    async def settled(self) -> None:
        """Wait until all requests are over that have begun by now."""
        begun = [(connection, connection.exchange) for connection in self.connections if connection.exchange]
        while begun:
            await asyncio.sleep(_GLANCE_SECONDS)
            begun = [(connection, exchange) for connection, exchange in begun if connection.exchange is exchange]

    async def listen(self, sockets: typing.Sequence[socket.socket] = ()) -> None:
        """Begin to accept, on `sockets` if any are given; OSError when the address cannot be had.

        UsageError for a certificate that cannot be used.
        """
        settings = self.settings
        tls = tls_context(settings)
        sockets = sockets or await open_sockets(self.loop, settings.host, settings.port)
        self._listener = Listener(self, sockets, tls, settings.head_timeout or None)
        self.port = sockets[0].getsockname()[1]
        self._forget_in_time()

    def _forget_in_time(self) -> None:
        """Let go of what is remembered of heads, now and again and again: a key is not kept for ever."""
        self.forget_heads()
        self._forgetting = self.loop.call_later(_MEMORY_SECONDS, self._forget_in_time)

    def new_connection(self) -> Connection:
        """Make the protocol of a connection that has been accepted, and count it."""
        connection = Connection(self, is_surplus=self.open_connections >= self.most_connections)
        self.greeting.add(connection)
        return connection

    def surplus_refusal(self) -> ApiError:
        """Return what a connection is told that is one too many."""
        message = f"All {self.most_connections} connections are in use; try again soon."
        return ApiError(503, message, fields=[("retry-after", "1")])

    @property
    def open_connections(self) -> int:
        """How many connections there are, those that are still to be made among them."""
        return len(self.connections) + len(self.greeting)

    def note_end(self, connection: Connection) -> None:
        """Learn that a connection is over."""
        self.connections.discard(connection)
        if self._listener is not None:
            self._listener.note_room()

    @property
    def sockets(self) -> typing.Sequence[socket.socket]:
        """What is listened on."""
        return () if self._listener is None else self._listener.sockets

    async def drain(self, *, is_succeeded: bool = False) -> None:
        """Take leave of clients, let running requests end, and close what is left; all within drain_timeout.

        Each answer says from now on that its connection ends. New connections are accepted for a moment more, and so
        are requests on kept ones. Where another process has taken the sockets over (`is_succeeded`), nobody waits for
        the end, and clients that keep a connection have all of that time to use it once more.
        """
        self.draining = True
        give_up = self.loop.time() + self.settings.drain_timeout
        if self._listener is not None:
            farewell = self.loop.time() if is_succeeded else min(give_up, self.loop.time() + _FAREWELL_SECONDS)
            while self.open_connections and self.loop.time() < farewell:
                await asyncio.sleep(_LEAVING_GLANCE_SECONDS)
            self._listener.close(takes_waiting=not is_succeeded)
            await asyncio.sleep(0)  # in this turn it takes those that wait
        farewell = give_up if is_succeeded else self.loop.time() + _FAREWELL_SECONDS
        while self.loop.time() < give_up:
            if not any(connection.is_answering for connection in self.connections):
                if not self.open_connections or self.loop.time() >= farewell:
                    break
            await asyncio.sleep(_LEAVING_GLANCE_SECONDS)
        await self.close()

    async def close(self) -> None:
        """Close every connection now, and end what answers them."""
        if self._listener is not None:
            self._listener.close()
            self._listener.end_handshakes()
        if self._forgetting is not None:
            self._forgetting.cancel()
        for connection in list(self.connections):
            connection.abandon()
        await asyncio.gather(*self._cancelled, return_exceptions=True)
        for _ in range(_CLOSING_TURNS):
            await asyncio.sleep(0)
            for connection in list(self.connections):
                connection.abandon()
        self.log.flush()

    def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel what answers a request, once, so that it can clean up; `close` waits for its end."""
        if task not in self._cancelled:
            self._cancelled.add(task)
            task.add_done_callback(self._cancelled.discard)
            task.cancel()

    def new_id(self) -> str:
        """Return a request id that no other request has."""
        return f"{self._id_prefix}{next(self._id_counter):08x}"

    def route(self, request: Request) -> Endpoint:
        """Choose the endpoint from the head; ApiError where there is none."""
        endpoint = self._application.route(request)
        for watcher in self._watchers:
            endpoint = watcher.around(endpoint)
        return endpoint

    def be_watched(self, watchers: typing.Sequence[Watcher], log: RequestLog) -> None:
        """Let watchers see the answers to requests from now on, and a log learn of their ends."""
        self._watchers = tuple(watchers)
        self.log = log
        self.forget_heads()

    def forget_heads(self) -> None:
        """Let every head be routed anew: the application may choose otherwise from now on."""
        self.heads.forget()
        for connection in self.connections:
            connection.reader.forget_head()

    def common_fields(self, request: Request, request_id: str) -> bytes:
        """Return the field lines of every answer: Date (RFC 9110 §6.6.1), the id that it carries, and CORS."""
        cors = request.facts.cors_fields
        if cors is None:
            cors = request.facts.cors_fields = self._cors.block(request.fields.get("origin"))
        second = int(time.time())
        if second != self._second:
            self._make_date(second)
        return b"%b%b\r\n%b" % (self._dated, request_id.encode(), cors)

    def common_fields_without_request(self) -> bytes:
        """Return the same where no request could be read; the answer gets an id nevertheless."""
        self._make_date(int(time.time()))
        return b"%b%b\r\n%b" % (self._dated, self.new_id().encode(), self._cors.block(""))

    def _make_date(self, second: int) -> None:
        self._second = second
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second))
        self._dated = b"date: %b\r\nx-request-id: " % date.encode()


def tls_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """Return what a server speaks TLS with, None where it speaks none; UsageError for what cannot be used."""
    if not settings.certfile:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password given here, OpenSSL would ask for it on the terminal, and wait.
        context.load_cert_chain(settings.certfile, settings.keyfile or None, password="")
    except (OSError, ValueError) as exc:
        files = f"[server] certfile = {settings.certfile!r}, keyfile = {settings.keyfile!r}"
        reason = isinstance(exc, OSError) and exc.strerror
        raise UsageError(f"{files}: cannot be used: {reason or exc}") from exc
    return context


def listen_failure(exc: OSError, settings: ServerSettings) -> str:
    """Return a sentence for an address that cannot be listened on: why, and what to do."""
    where = f"{settings.host}:{settings.port}"
    if isinstance(exc, socket.gaierror) or exc.errno == errno.EADDRNOTAVAIL:
        return f"{where}: this machine has no such address; set [server] host or --host, e.g. 127.0.0.1 or 0.0.0.0"
    if exc.errno == errno.EADDRINUSE:
        return f"{where}: the port is in use; choose another with --port N (0 takes any free one), or stop its user"
    if exc.errno == errno.EACCES:
        return f"{where}: not permitted; ports below 1024 need privileges, choose another with --port N"
    return f"{where}: cannot listen: {exc.strerror or exc}"
