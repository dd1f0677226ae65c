"""How a connection ends, and how a client that has gone is noticed where the loop does not tell.

The end of a connection has three forms:

    staged close    the last answer is out, but the client may still be sending. A socket that is closed with unread
                    bytes in it resets the connection, and the reset may overtake the answer: the client would see an
                    error in its place. So our direction is closed alone, what comes is read and dropped until the
                    client closes, and only then is the socket closed (RFC 9112 §9.6).
    reset           a body broke off that only the connection's end would have ended. A clean end would make it look
                    whole, so the client must see an error (RFC 9112 §8).
    abort           there is nobody to be polite to.

A client that goes is told by the loop while its socket is read. There are three gaps:

    the socket is paused        too much waits unread, or an answer is not taken. SocketIntake looks each second whether
                                the socket has an error.
    the client left a tunnel    what it said may wait for an upstream that takes nothing, and its end waits behind that.
                                A WebSocket has no half-close (RFC 6455 §7.1.1), so nobody awaits an answer:
                                SocketIntake gives what was said a moment, and aborts.
    the client ended its side   a client that has closed altogether looks like one that only has nothing more to say and
                                waits for its answer. Probe sends what no client takes for an answer; the host of one
                                that has gone resets the connection, and that shows in the socket. Where no such bytes
                                exist (`Exchange.provoke`), the end of its side is taken for its leaving: whoever wants
                                his answer then keeps his side open, as all clients but a few do.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import sys
import typing

from protocol.deadline import Deadline

# How long a client may say nothing after its last answer, and how long it may go on sending.
_LINGER_SECONDS = 2.0
_LINGER_SECONDS_IN_ALL = 30.0
# When a client has ended its side, how long to wait each time to look whether it has gone altogether. The last one is
# for good: a client that stays may still go later, and its host resets the connection because of the bytes it has not
# read.
_PROBE_SECONDS = (0.005, 0.01, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 1.0)
# How often to look whether a client has gone whose socket is not read.
_LOOK_OUT_SECONDS = 1.0
# How long what a client said in a tunnel before it left may still be on its way.
_LAST_WORDS_SECONDS = 2.0
# With SO_LINGER on and no time to linger, a close is a reset (POSIX, setsockopt).
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# The first byte of tcp(7)'s TCP_INFO is the state; in this one the other side has ended (Linux, tcp_states.h).
_CLOSE_WAIT = b"\x08"


def reset(transport: asyncio.Transport) -> None:
    """End the connection so that the client sees an error, and no clean end of a body."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


def _has_reset(transport: asyncio.Transport) -> bool:
    """Tell whether the client has reset the connection, which the loop notices only where it reads or writes."""
    sock = transport.get_extra_info("socket")
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def _has_end_behind(transport: asyncio.Transport) -> bool:
    """Tell whether the client has ended its side, behind bytes that are not read yet; False where that is unknown."""
    if sys.platform != "linux":
        return False
    sock = transport.get_extra_info("socket")
    state: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return state == _CLOSE_WAIT


class SocketIntake:
    """Whether the socket is read; while it is not, a look at it each second tells of a client that has gone.

    `has_ended` says that the client sends no more, `is_tunnel` that what it sends is of another protocol (RFC 9110
    §15.2.2).
    """

    __slots__ = ("_ends_at", "_is_watched", "_loop", "_transport", "has_ended", "is_open", "is_tunnel")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._is_watched = False  # there is a timer for the next look
        self._ends_at = math.inf  # when a tunnel is over that its client has left
        self.is_open = True
        self.has_ended = self.is_tunnel = False

    def pause(self) -> None:
        """Read the socket no more for now; the client's host stops sending when its buffers are full."""
        if self.is_open and not self.has_ended:
            self.is_open = False
            self._transport.pause_reading()
            self._look_later()

    def resume(self) -> None:
        """Read the socket again."""
        if not self.is_open:
            self.is_open = True
            self._transport.resume_reading()

    def leave_tunnel(self) -> None:
        """Give what the client said the time that it has after its client left, and end the connection then."""
        self._ends_at = self._loop.time() + _LAST_WORDS_SECONDS
        self._look_later()

    def _look_later(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            self._loop.call_later(_LOOK_OUT_SECONDS, self._look)

    def _look(self) -> None:
        self._is_watched = False
        transport, is_leaving = self._transport, self._ends_at < math.inf
        if transport.is_closing() or (self.is_open and not is_leaving):
            return
        if self._loop.time() >= self._ends_at or _has_reset(transport):
            transport.abort()
        elif self.is_tunnel and not is_leaving and _has_end_behind(transport):
            self.leave_tunnel()
        else:
            self._look_later()


class Probe:
    """Looks whether a client that ended its side has gone, after something was sent to it that means nothing.

    `is_awaited` tells whether an answer is still being made; there is nothing to save when none is.
    """

    __slots__ = ("_is_awaited", "_loop", "_looks", "_transport")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, is_awaited: typing.Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._is_awaited = is_awaited
        self._looks = 0
        self._look_later()

    def _look_later(self) -> None:
        self._loop.call_later(_PROBE_SECONDS[self._looks], self._look)
        self._looks = min(self._looks + 1, len(_PROBE_SECONDS) - 1)

    def _look(self) -> None:
        if self._transport.is_closing() or not self._is_awaited():
            return
        if _has_reset(self._transport):
            self._transport.abort()
        else:
            self._look_later()


class StagedClose:
    """Closes our direction, and gives the client time to close its own. When the deadline passes, its owner aborts.

    The time that the client may take is counted while it takes what was written: from when all is sent, and from each
    piece that it still sends.
    """

    __slots__ = ("_deadline", "_loop", "_transport", "_until")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, deadline: Deadline) -> None:
        self._transport = transport
        self._loop = loop
        self._deadline = deadline
        self._until = loop.time() + _LINGER_SECONDS_IN_ALL

    def begin(self, intake: SocketIntake) -> None:
        """Close our direction behind what was written, or all where the client has ended or cannot be told so."""
        transport = self._transport
        if transport.is_closing():
            return
        # From now on `pause_writing` holds until all is sent, and with it the time limit that it sets.
        transport.set_write_buffer_limits(high=1, low=0)
        if intake.has_ended or not transport.can_write_eof():
            transport.close()
            return
        intake.resume()
        try:
            transport.write_eof()
        except OSError:  # the client has reset the connection, which the loop has not told yet
            transport.abort()

    def restart(self) -> None:
        """Count from now: all is sent."""
        self._until = self._loop.time() + _LINGER_SECONDS_IN_ALL
        self.wait()

    def wait(self) -> None:
        """Wait for the client's next piece or its end."""
        # Under TLS bytes may wait where they cannot be seen from here, and the client is asked to agree to the end.
        most = _LINGER_SECONDS if self._transport.can_write_eof() else _LINGER_SECONDS_IN_ALL
        self._deadline.expire_in(min(most, self._until - self._loop.time()))
