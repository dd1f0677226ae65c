"""What a socket's other side has not received yet, on Linux."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios

_INTEGER = struct.Struct("i")


def unacknowledged_bytes(sock: socket.socket) -> int:
    """Return how many written bytes the other side has not acknowledged (SIOCOUTQ of tcp(7)); 0 where that is unknown.

    On a unix socket the number means something else, so it counts as unknown.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(_INTEGER.size))
    except OSError:
        return 0
    count: int = _INTEGER.unpack(answer)[0]
    return count
