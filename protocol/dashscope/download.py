"""Fetches what an answer of DashScope only names: pictures, videos, transcripts, and sound that no stream had.

A URL in an answer is taken for hostile. A prompt may have talked the model into it, and this program can reach what
the client cannot, such as other services of its owner. So

    the scheme      https; http becomes https
    the host        public: no address of it may be private, local or reserved; no user information
    the connection  TLS with the certificate checked, whatever `verify` says: a name that leads somewhere else when it
                    is looked up the second time (DNS rebinding) ends at the handshake, before anything is asked
    redirects       not followed
    size and time   bounded, both

The one exception is the base URL's own origin, to which keys are sent anyway: nothing of this holds for it but the
bounds, so that a mock on this machine can be used. No key and no field of the client goes along, anywhere.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
import typing
import urllib.parse

from protocol.dashscope.calls import next_piece, read_whole, to_dashscope_error
from protocol.dashscope.mapping.errors import DashScopeError, upstream_bad_response
from protocol.dashscope.mapping.image import download_url
from protocol.exchange import Request
from protocol.upstream.answer import UpstreamAnswer
from protocol.upstream.destination import Destination, Proxy, parse_destination
from protocol.upstream.failures import UpstreamFailed
from protocol.upstream.pool import UpstreamLimits, UpstreamPool
from protocol.upstream.request import UpstreamRequest
from protocol.wire.http1.writers import encode_fields

_MOST_RESULT_BYTES = 32 * 1024 * 1024
_RESULT_SECONDS = 60.0
_LARGE_RESULT_SECONDS = 600.0
_RESULT_URL = r"https?://[!-~]+"

FindProxy = typing.Callable[[Destination], typing.Optional[Proxy]]


class Downloader:
    """Fetches results by URL, guarded as the module's docstring says.

    `own` is the base URL's destination, `find_proxy` tells which proxy leads to another one. `own_tls` and `make_tls`
    give their TLS contexts, of which the second one always checks certificates. `resolve` finds a host's addresses; by
    default the system does.
    """

    def __init__(
        self,
        name: str,
        own: Destination,
        limits: UpstreamLimits,
        *,
        own_tls: typing.Callable[[], ssl.SSLContext],
        make_tls: typing.Callable[[], ssl.SSLContext],
        find_proxy: FindProxy,
        resolve: typing.Callable[[str], typing.Awaitable[typing.Sequence[str]]] | None = None,
    ) -> None:
        self._name = name
        self._own = own
        self._limits = limits
        self._own_tls = own_tls
        self._make_tls = make_tls
        self._find_proxy = find_proxy
        self._resolve = resolve or _resolve_host
        self._tls: ssl.SSLContext | None = None

    async def fetch(self, url: str, request: Request, deadline: float = 0.0) -> bytes:
        """Return what lies at the URL, at most 32 MB within 60 s and before `deadline` (loop time), held for a request.

        DashScopeError, or ApiError 503 where there is no room for it.
        """
        pool, target = await self._pool_to(url)
        until = asyncio.get_running_loop().time() + _RESULT_SECONDS
        try:
            answer = await _open(pool, target, min(until, deadline) if deadline else until)
            return await read_whole(answer, _MOST_RESULT_BYTES, request)
        finally:
            await pool.close()

    async def pieces(self, url: str, deadline: float = 0.0) -> typing.AsyncGenerator[bytes, None]:
        """Give what lies at the URL as it comes, however large, within ten minutes and before `deadline`."""
        pool, target = await self._pool_to(url)
        until = asyncio.get_running_loop().time() + _LARGE_RESULT_SECONDS
        try:
            answer = await _open(pool, target, min(until, deadline) if deadline else until)
            try:
                data = await next_piece(answer)
                if not data:
                    raise upstream_bad_response("the result is empty")
                while data:
                    yield data
                    data = await next_piece(answer)
            finally:
                answer.discard()
        finally:
            await pool.close()

    async def post(self, url: str, form: bytes, boundary: str, deadline: float = 0.0) -> None:
        """Send a form to the URL, guarded as what is fetched, within ten minutes and before `deadline`."""
        pool, target = await self._pool_to(url)
        until = asyncio.get_running_loop().time() + _LARGE_RESULT_SECONDS
        fields = encode_fields([("content-type", f"multipart/form-data; boundary={boundary}")])
        try:
            answer = await _open(pool, target, min(until, deadline) if deadline else until, "POST", fields, form)
            answer.discard()
        finally:
            await pool.close()

    async def _pool_to(self, url: str) -> tuple[UpstreamPool, str]:
        """Return connections to where the URL leads, if one may go there, and what to ask for."""
        destination, target, is_own = self._split(url)
        proxy = self._find_proxy(destination)
        if not is_own:
            await self._refuse_private(destination.host, proxy is not None)
        tls = self._own_tls if is_own else self._checking_tls
        return UpstreamPool(self._name, destination, self._limits, tls=tls, proxy=proxy), target

    def _split(self, url: str) -> tuple[Destination, str, bool]:
        """Return where to go, what to ask for there, and whether it is the base URL's own origin."""
        destination, target = _split_result_url(url)
        own = self._own
        if (destination.tls, destination.host, destination.port) == (own.tls, own.host, own.port):
            return destination, target, True
        return (*_split_result_url(download_url(url)), False)

    async def _refuse_private(self, host: str, through_proxy: bool) -> None:
        try:
            addresses: typing.Sequence[str] = [str(ipaddress.ip_address(host))]
        except ValueError:
            # Behind a proxy a name may mean nothing here. The proxy looks it up, and its owner answers for that.
            addresses = [] if through_proxy else await self._resolve(host)
        if host == "localhost" or not all(_is_public(address) for address in addresses):
            raise upstream_bad_response("the address of the result is not public, so it is not fetched")

    def _checking_tls(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._make_tls()
        return self._tls


def _split_result_url(url: str) -> tuple[Destination, str]:
    try:
        if not re.fullmatch(_RESULT_URL, url):
            raise ValueError("expected http(s)")
        parts = urllib.parse.urlsplit(url)
        destination = parse_destination(f"{parts.scheme}://{parts.netloc}")
    except ValueError as exc:
        raise upstream_bad_response("the result's URL is not one that can be fetched") from exc
    return destination, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


async def _open(
    pool: UpstreamPool, target: str, until: float, method: str = "GET", more_fields: bytes = b"", body: bytes = b""
) -> UpstreamAnswer:
    origin, own_fields = pool.addressing
    fields = encode_fields([*own_fields, ("accept-encoding", "identity")])
    try:
        answer = await pool.send(UpstreamRequest(method, origin + target, fields + more_fields, body), until)
    except UpstreamFailed as exc:
        raise _fetch_failed(exc) from exc
    if answer.head.status != 200:
        answer.discard()
        what = "result cannot be fetched" if method == "GET" else "file cannot be put where it is to be stored"
        raise upstream_bad_response(f"the {what}: status {answer.head.status}")
    return answer


def _fetch_failed(exc: UpstreamFailed) -> DashScopeError:
    error = to_dashscope_error(exc)
    error.message += " This was for a result that its answer named."
    return error


async def _resolve_host(host: str) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise upstream_bad_response("the host of the result has no address") from exc
    return [str(entry[4][0]) for entry in found]


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    return found.is_global and not found.is_multicast
