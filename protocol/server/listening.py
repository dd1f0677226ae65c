"""Listening: sockets that accept, and what holds them back.

asyncio's own listening knows no limit. Where descriptors run out it tries thousands of times a second and logs a
traceback each time, and a connection counts for nobody until its TLS handshake is over. So this accepts by itself:

    fewer than `most_connections` open      accepted, and served
    a few more than that                    accepted, and told 503: whoever is told can come again, or go elsewhere
    more still, or no descriptor left       left waiting in the kernel's queue until a connection ends

A connection counts from here on, also while its handshake is under way.
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import contextlib
import errno
import socket
import ssl
import typing

from protocol.server.connection import Connection
from protocol.service.log import RequestLog

# Connections that wait in the kernel to be accepted.
_BACKLOG = 4096
#: Connections beyond `most_connections` that are accepted, to be told so.
TOLD_CONNECTIONS = 32
# Connections accepted in one go, before the loop's other work has its turn.
_ACCEPTED_A_TURN = 64
_OUT_OF_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
# How long to wait before another try where something else than a connection of ours must end first.
_PAUSE_SECONDS = 1.0
_SECONDS_BETWEEN_LINES = 1.0


class ServerForListener(typing.Protocol):
    """What listening needs of the server. Connections that are still to be made are in `greeting`."""

    loop: asyncio.AbstractEventLoop
    log: RequestLog
    greeting: set[Connection]
    most_connections: int

    @property
    def open_connections(self) -> int:
        """How many connections there are, those that are still to be made among them."""

    def new_connection(self) -> Connection:
        """Make the protocol of a connection that has been accepted, and count it."""


class _LeanTls(asyncio.sslproto.SSLProtocol):
    """TLS for one connection, with a buffer for one record and a little more; asyncio's own takes 256 kB for each."""

    max_size = 20480


class Listener:
    """Accepts connections on `sockets` until it is closed; `tls` is what they speak, with so many seconds to agree."""

    def __init__(
        self,
        server: ServerForListener,
        sockets: typing.Sequence[socket.socket],
        tls: ssl.SSLContext | None,
        handshake_seconds: float | None,
    ) -> None:
        self._server = server
        # What asyncio's loops can do beyond what it asks of others.
        self._loop = typing.cast(asyncio.BaseEventLoop, server.loop)
        self._sockets = sockets
        #: What the next connection speaks.
        self.tls = tls
        self._patience = typing.cast("int | None", handshake_seconds)  # asyncio takes a float as well
        self._room: asyncio.Event = asyncio.Event()
        self._told_at = -_SECONDS_BETWEEN_LINES
        loop = server.loop
        for sock in sockets:
            sock.setblocking(False)
            sock.listen(_BACKLOG)
        self._accepting = [loop.create_task(self._accept(sock)) for sock in sockets]
        self._greetings: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def sockets(self) -> typing.Sequence[socket.socket]:
        """What is listened on."""
        return self._sockets

    def close(self, *, takes_waiting: bool = False) -> None:
        """Accept no more, from the loop's next turn on; handshakes that are under way may end.

        `takes_waiting`: those in the kernel's queue are accepted then, which it would reset.
        """
        if self._is_closed:
            return
        self._is_closed = True
        for sock in self._sockets:
            with contextlib.suppress(NotImplementedError):  # Windows
                self._loop.remove_reader(sock)
        # A task that has been handed a connection this turn has it next, and would lose it if it were cancelled now.
        self._loop.call_soon(self._end, takes_waiting)

    def _end(self, takes_waiting: bool) -> None:
        for task in self._accepting:
            task.cancel()
        for sock in self._sockets:
            if takes_waiting:
                self._take_waiting(sock)
            sock.close()

    def _take_waiting(self, sock: socket.socket) -> None:
        """Accept those that wait; where there is no room for all, the others are left to the end of the socket."""
        with contextlib.suppress(OSError):
            while self._server.open_connections < self._server.most_connections + TOLD_CONNECTIONS:
                client, _ = sock.accept()
                client.setblocking(False)
                self._begin_greeting(client, self._server.new_connection())

    def end_handshakes(self) -> None:
        """End the handshakes that are under way."""
        for task in self._greetings:
            task.cancel()

    def note_room(self) -> None:
        """Learn that a connection is over."""
        self._room.set()

    def tell(self, message: str) -> None:
        """Write a line into the log, one a second at most: what there is too much of should not fill the log, too."""
        now = self._server.loop.time()
        if now - self._told_at >= _SECONDS_BETWEEN_LINES:
            self._told_at = now
            self._server.log.say(message)

    async def _accept(self, sock: socket.socket) -> None:
        server = self._server
        accepted = 0
        while not self._is_closed:
            if server.open_connections >= server.most_connections + TOLD_CONNECTIONS:
                self.tell(f"All {server.most_connections} connections are in use: new ones wait until one ends")
                await self._wait_for_room()
                continue
            try:
                client, _ = await server.loop.sock_accept(sock)
            except ConnectionAbortedError:
                continue  # the client has gone again (POSIX, accept)
            except OSError as exc:
                self.tell(f"No connection can be accepted ({exc.strerror}): new ones wait until one ends")
                await self._wait_for_room(_PAUSE_SECONDS)
                continue
            self._begin_greeting(client, server.new_connection())
            accepted += 1
            if not accepted % _ACCEPTED_A_TURN:
                await asyncio.sleep(0)

    def _begin_greeting(self, client: socket.socket, connection: Connection) -> None:
        def end(task: asyncio.Task[None]) -> None:
            self._greetings.discard(task)
            if connection in self._server.greeting:
                self._server.greeting.discard(connection)
                client.close()
                self.note_room()

        task = self._server.loop.create_task(self._greet(client, connection))
        self._greetings.add(task)
        task.add_done_callback(end)

    async def _wait_for_room(self, seconds: float | None = None) -> None:
        self._room.clear()
        try:
            await asyncio.wait_for(self._room.wait(), seconds)
        except asyncio.TimeoutError:
            pass

    async def _greet(self, client: socket.socket, connection: Connection) -> None:
        """Make a connection of an accepted socket; one that never comes about is closed, and nobody need know why."""
        try:
            # asyncio does it for sockets that know their protocol; those of socket.create_server do not. Without it the
            # second piece of an answer waits until the client has acknowledged the first, which may take it 40 ms.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is None:
                await self._loop.connect_accepted_socket(lambda: connection, client)
            else:
                await self._agree(client, connection, self.tls)
        except OSError as exc:
            exc.__traceback__ = None  # a frame of asyncio's there has the error (CPython 3.10 to 3.12): all would stay

    async def _agree(self, client: socket.socket, connection: Connection, tls: ssl.SSLContext) -> None:
        """Have the handshake; OSError when it fails."""
        agreed: asyncio.Future[None] = self._loop.create_future()
        protocol = _LeanTls(self._loop, connection, tls, agreed, server_side=True, ssl_handshake_timeout=self._patience)
        transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, client)
        try:
            await agreed
        except BaseException:
            transport.abort()
            raise
        finally:
            del agreed  # it may have the error, whose traceback has this frame


def numeric_addresses(host: str, port: int) -> list[typing.Any]:
    """Return what getaddrinfo tells of an address in numbers, or of "", to bind to; nothing of a name.

    For a name somebody may have to be asked, and Python loads the tables of all characters that names may have.
    """
    flags = socket.AI_PASSIVE | socket.AI_NUMERICHOST
    try:
        return socket.getaddrinfo(host.encode() or None, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror:
        return []


async def open_sockets(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[socket.socket]:
    """Bind sockets to all addresses of a host, "" for those of this machine, and to the same port; OSError.

    Addresses of a kind that this machine does not have are left out if it has others.
    """
    found = numeric_addresses(host, port)
    if not found:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    try:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            if sockets:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            try:
                sockets.append(socket.create_server(address, family=family, backlog=_BACKLOG))
            except OSError as exc:
                if exc.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                failure = exc
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    if failure is not None and not sockets:
        raise OSError(failure.errno, failure.strerror)
    return sockets
