"""Where a worker stands. It is apart from workers.py, which only a server with several workers imports."""

from __future__ import annotations

import socket
import typing

from protocol.service.figures import Figures


class WorkerPlace(typing.NamedTuple):
    """What a worker is given: its sockets, a descriptor that is at its end when the parent has gone, whom to tell.

    Signals to read files again, or to leave all to another process, wait until it is `ready`.
    """

    sockets: typing.Sequence[socket.socket]
    lifeline: int
    ready: typing.Callable[[], typing.Any]
    #: Where it counts, and sees what the others have counted.
    figures: Figures
