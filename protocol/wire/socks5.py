"""The client's side of SOCKS 5 (RFC 1928) with a user name and password (RFC 1929): bytes in, bytes out; no I/O.

    we: the methods we know ──► proxy: one of them ──► [we: user, password ──► proxy: yes or no]
    ──► we: CONNECT to an address ──► proxy: a reply, and where it connected from

Behind the last reply the connection is the destination's.
"""

from __future__ import annotations

import ipaddress
import typing

_VERSION = 5
_NO_AUTHENTICATION, _USER_AND_PASSWORD = 0, 2
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_ADDRESS_BYTES = {_IPV4: 4, _IPV6: 16}
# RFC 1929 §2: the version of the sub-negotiation.
_LOGIN_VERSION = 1

# RFC 1928 §6.
_REPLIES = {
    1: "general failure",
    2: "its rules do not allow it",
    3: "the network is unreachable",
    4: "the host is unreachable",
    5: "the connection was refused",
    6: "the time to live ran out",
    7: "it does not know CONNECT",
    8: "it does not know this type of address",
}


class SocksRefused(Exception):
    """The proxy will not, or does not speak SOCKS 5. The message says which, without anything that it sent."""


class SocksClient:
    """Asks a proxy to connect to `host` and `port`: send `greeting`, then what `feed` returns, until `is_done`.

    `host` is an IP address or a name of at most 255 bytes in ASCII, which the proxy looks up. `user` and `password`
    have 1 to 255 bytes each; without a user none is offered.
    """

    def __init__(self, host: str, port: int, user: bytes = b"", password: bytes = b"") -> None:
        self._request = bytes((_VERSION, _CONNECT, 0)) + _encoded_address(host) + port.to_bytes(2, "big")
        self._login = bytes((_LOGIN_VERSION, len(user))) + user + bytes((len(password),)) + password if user else b""
        self._unread = b""
        # A function and not a bound method: that would be a cycle, which keeps the password.
        self._read: typing.Callable[[SocksClient], bytes] = SocksClient._read_method
        #: Whether the proxy has connected us.
        self.is_done = False

    def greeting(self) -> bytes:
        """Return the first bytes to send."""
        methods = bytes((_NO_AUTHENTICATION, _USER_AND_PASSWORD)) if self._login else bytes((_NO_AUTHENTICATION,))
        return bytes((_VERSION, len(methods))) + methods

    def feed(self, data: bytes) -> bytes:
        """Take what the proxy sent and return what is to be sent now; SocksRefused.

        Each side speaks in turn, so bytes beyond a reply are an error: they would be taken for the destination's.
        """
        self._unread += data
        return self._read(self)

    def _take(self, size: int) -> bytes:
        """Return a reply of exactly `size` bytes, b"" while it is not whole."""
        if len(self._unread) < size:
            return b""
        if len(self._unread) > size:
            raise SocksRefused("it sent more than its answer")
        reply, self._unread = self._unread, b""
        return reply

    def _read_method(self) -> bytes:
        self._check_version(_VERSION)
        reply = self._take(2)
        if not reply:
            return b""
        if reply[1] == _NO_AUTHENTICATION:
            return self._connect()
        if reply[1] == _USER_AND_PASSWORD and self._login:
            self._read = SocksClient._read_login
            return self._login
        raise SocksRefused("it wants another user and password" if self._login else "it wants a user and a password")

    def _read_login(self) -> bytes:
        self._check_version(_LOGIN_VERSION)
        reply = self._take(2)
        if not reply:
            return b""
        if reply[1] != 0:
            raise SocksRefused("it does not accept the user and the password")
        return self._connect()

    def _connect(self) -> bytes:
        self._read = SocksClient._read_reply
        return self._request

    def _read_reply(self) -> bytes:
        self._check_version(_VERSION)
        came = self._unread
        if len(came) >= 2 and came[1] != 0:
            raise SocksRefused(_REPLIES.get(came[1], "it gave no reason that SOCKS 5 has"))
        if len(came) < 5:
            return b""
        size = came[4] + 1 if came[3] == _NAME else _ADDRESS_BYTES.get(came[3], 0)
        if not size:
            raise SocksRefused("it does not speak SOCKS 5")
        self.is_done = bool(self._take(4 + size + 2))
        return b""

    def _check_version(self, version: int) -> None:
        if self._unread and self._unread[0] != version:
            raise SocksRefused("it does not speak SOCKS 5")


def _encoded_address(host: str) -> bytes:
    """Return a host as RFC 1928 §5 has it: the type of the address, then the address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return bytes((_NAME, len(name))) + name
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed
