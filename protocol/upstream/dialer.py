"""How a connection comes about: name and address, perhaps a proxy, perhaps TLS, all within one time limit."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import typing

from protocol.upstream.answer import TELLING_FIELDS, AnswerFacts
from protocol.upstream.connection import UpstreamConnection
from protocol.upstream.destination import Destination, Proxy, parse_ip_address
from protocol.upstream.failures import UpstreamBroke, UpstreamTimeout, UpstreamUnreachable, tls_reason
from protocol.wire.http1.memo import ResponseMemo
from protocol.wire.http1.writers import RequestWriter, encode_fields
from protocol.wire.socks5 import SocksClient, SocksRefused

# RFC 8305 §5: how long one address family is given before the other one is tried beside it.
_ATTEMPT_DELAY_SECONDS = 0.25

# Bytes read from a socket at once.
_READ_BYTES = 65536

_OnLost = typing.Callable[[UpstreamConnection], None]


class Dialer:
    """Opens connections to one destination.

    `name` is the backend's, for messages. `tls` returns the TLS context; `handshake_seconds` is the time that a
    handshake may take.
    """

    def __init__(
        self,
        name: str,
        destination: Destination,
        *,
        tls: typing.Callable[[], ssl.SSLContext],
        proxy: Proxy | None,
        handshake_seconds: float,
    ) -> None:
        self._name = name
        self._destination = destination
        self._tls = tls
        self._proxy = proxy
        self._handshake_seconds = handshake_seconds
        self._memo = ResponseMemo(AnswerFacts, TELLING_FIELDS)
        # What is read is taken out before anything else is read, so one buffer serves all connections.
        self._buffer = memoryview(bytearray(_READ_BYTES))

    async def dial(self, until: float, on_lost: _OnLost, *, is_tunnelled: bool = False) -> UpstreamConnection:
        """Return a new connection, opened until then (loop time); UpstreamUnreachable, UpstreamTimeout.

        `is_tunnelled` has an HTTP proxy connect us to the destination also where it could pass single requests on.

        It is not awaited by asyncio.wait_for, which may swallow a cancellation (CPython issue 37658): the client's
        leaving must never be lost.
        """
        loop = asyncio.get_running_loop()
        opening = loop.create_task(self._open(on_lost, is_tunnelled))
        try:
            await asyncio.wait([opening], timeout=max(0.0, until - loop.time()))
        except asyncio.CancelledError:
            _give_up(opening)
            raise
        try:
            if opening.done():
                return opening.result()
            _give_up(opening)
            raise UpstreamTimeout(self._name, "no connection came about", unsent=True)
        finally:
            del opening  # it has the error, whose traceback has this frame, and those who wait for it the request

    async def _open(self, on_lost: _OnLost, is_tunnelled: bool) -> UpstreamConnection:
        proxy = self._proxy
        try:
            connection = await self._connect(on_lost)
            try:
                if proxy is not None and proxy.is_http and (self._destination.tls or is_tunnelled):
                    await self._pass_proxy(connection, proxy)
                if self._destination.tls:
                    await connection.start_tls(self._tls(), self._destination.host, self._handshake_seconds)
            except BaseException:
                connection.abort()
                raise
        except OSError as exc:
            raise UpstreamUnreachable(self._name, _why_unreachable(exc)) from exc
        return connection

    async def _connect(self, on_lost: _OnLost) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        destination, proxy = self._destination, self._proxy

        def make() -> UpstreamConnection:
            return UpstreamConnection(self._name, self._memo, self._buffer, on_lost)

        if destination.socket_path:
            return (await loop.create_unix_connection(make, destination.socket_path))[1]
        host, port = (proxy.host, proxy.port) if proxy is not None else (destination.host, destination.port)
        # A race of one is no use, and CPython's leaves a socket open when it is cancelled at the wrong moment.
        delay = None if parse_ip_address(host) else _ATTEMPT_DELAY_SECONDS
        if proxy is None or proxy.is_http:
            return (await loop.create_connection(make, host, port, happy_eyeballs_delay=delay))[1]
        wanted = destination.host if proxy.scheme == "socks5h" else await _look_up(destination)
        client = SocksClient(wanted, destination.port, proxy.user, proxy.password)
        _, opening = await loop.create_connection(
            lambda: _SocksOpening(client, make), host, port, happy_eyeballs_delay=delay
        )
        try:
            return await opening.connected
        except SocksRefused as exc:
            opening.abort()
            raise UpstreamUnreachable(self._name, f"its proxy says no: {exc}") from exc
        except BaseException:
            # Also where the connection has just come about and nobody waits for it any more.
            opening.abort()
            raise
        finally:
            del opening  # as in `dial`

    async def _pass_proxy(self, connection: UpstreamConnection, proxy: Proxy) -> None:
        """Have the proxy connect us to the destination (RFC 9110 §9.3.6)."""
        host, port = self._destination.host, self._destination.port
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        fields = [("host", target)] + ([("proxy-authorization", proxy.authorization)] if proxy.authorization else [])
        connection.begin("CONNECT", 0.0)
        connection.send(RequestWriter().start("CONNECT", target, encode_fields(fields), 0))
        try:
            head = await connection.read_head(0.0)
        except UpstreamBroke as exc:
            raise UpstreamUnreachable(self._name, "its proxy closed the connection or does not speak HTTP") from exc
        if not 200 <= head.status < 300:
            raise UpstreamUnreachable(self._name, f"its proxy answered {head.status} to CONNECT")
        if connection.reader.take_rest():
            raise UpstreamUnreachable(self._name, "its proxy sent more than its answer to CONNECT")
        connection.enter_tunnel()


async def _look_up(destination: Destination) -> str:
    """Return the first address of a destination; OSError where it has none."""
    found = await asyncio.get_running_loop().getaddrinfo(destination.host, destination.port, type=socket.SOCK_STREAM)
    return str(found[0][4][0])


class _SocksOpening(asyncio.Protocol):
    """The opening of a connection through a SOCKS proxy; `connected` becomes what `make` makes, which then has it."""

    _transport: asyncio.Transport

    def __init__(self, client: SocksClient, make: typing.Callable[[], UpstreamConnection]) -> None:
        self._client = client
        self._make = make
        self.connected: asyncio.Future[UpstreamConnection] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = typing.cast(asyncio.Transport, transport)
        self._transport.write(self._client.greeting())

    def data_received(self, data: bytes) -> None:
        if self.connected.done():
            return
        try:
            self._transport.write(self._client.feed(data))
        except SocksRefused as exc:
            self.connected.set_exception(exc)
            return
        if self._client.is_done:
            # In this very turn: what comes next is the destination's.
            connection = self._make()
            self._transport.set_protocol(connection)
            connection.connection_made(self._transport)
            self.connected.set_result(connection)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.connected.done():
            self.connected.set_exception(ConnectionResetError("closed by the proxy"))

    def abort(self) -> None:
        """Close now, whoever has the transport."""
        self._transport.abort()


def _give_up(opening: asyncio.Task[UpstreamConnection]) -> None:
    opening.cancel()
    opening.add_done_callback(_close_unwanted)


def _close_unwanted(opening: asyncio.Task[UpstreamConnection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().abort()


def _why_unreachable(exc: OSError) -> str:
    """Say why in words without addresses; the configuration tells its owner where it goes."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({exc.verify_message}); ca_file names the authority to trust"
    if isinstance(exc, ssl.SSLError):
        return tls_reason(exc)
    if isinstance(exc, socket.gaierror):
        return "its name has no address"
    if isinstance(exc, ConnectionRefusedError) or "Connect call failed" in str(exc):
        return "the connection was refused" if _all_refused(exc) else "no address of it answers"
    if isinstance(exc, ConnectionError):
        return "the connection was closed before it was ready"
    return os.strerror(exc.errno).lower() if exc.errno else "no address of it answers"


def _all_refused(exc: OSError) -> bool:
    return exc.errno == errno.ECONNREFUSED or f"[Errno {errno.ECONNREFUSED}]" in str(exc)
