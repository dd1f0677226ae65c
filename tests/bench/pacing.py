"""The client of the pace rows: when each word of a few streams among many arrives, and how many answers a line lets by.

Run as a script, in a process of its own. Most streams are only waited for, as in paced.py, so that the client is not
the thing that is measured; of the sample each arrival is timed against the time at which its word was due.

An arrival is when the kernel had the segment, as it notes on Linux (SO_TIMESTAMPNS), and not when this client came to
read it: it is the server's lateness that is asked for. By how much the client came later is told beside it.
"""

from __future__ import annotations

import gc
import json
import selectors
import socket
import struct
import sys
import time

from answers import chat_request
from paced import connect, is_sampled, percentile, run
from peers import raise_file_limit

_WORD = b'"delta":{"content":'
# Linux's numbers, for which Python has no names: the option, and what a time comes as, a struct timespec.
_SO_TIMESTAMPNS = 35
_TIME = struct.Struct("@qq")


def measure_errors(
    port: int, path: str, body: str, count: int, words: int, between: float, size: int
) -> dict[str, float]:
    """Run `count` streams, begun over the time of fifty words; return how far arrivals are from their times.

    The first word is due `between` seconds after the request, and each other one as long after the one before.
    """
    raise_file_limit()
    # Woken sooner, the client would be busy with the ends of all while it times the words of a few.
    streams = connect(port, count, low_water=size - 4 * size // words)
    request = chat_request(port, path, body.encode())
    selector = selectors.DefaultSelector()
    errors: list[float] = []
    lags: list[float] = []
    seen: dict[object, int] = {}
    for number, stream in enumerate(streams):
        if is_sampled(number):
            _let_kernel_time(stream.connection)
    gc.disable()
    # The kernel's clock is the one of the calendar.
    began, step, waiting, left = time.time(), 50 * between / count, 0, count
    limit = began + 10 * words * between + 20
    while left and time.time() < limit:
        now = time.time()
        while waiting < count and began + waiting * step <= now:
            stream = streams[waiting]
            stream.sent = time.time()
            stream.connection.send(request)
            selector.register(stream.connection, selectors.EVENT_READ, (stream, is_sampled(waiting)))
            waiting += 1
        pause = 0.1 if waiting == count else max(0.0, began + waiting * step - time.time())
        for key, _ in selector.select(pause):
            stream, is_timed = key.data
            if is_timed:
                data, came = _receive(stream.connection)
                lags.append(time.time() - came)
                for _ in range(data.count(_WORD)):
                    number = seen[stream] = seen.get(stream, 0) + 1
                    errors.append(abs(came - stream.sent - number * between))
                is_over = not data or data.endswith(b"0\r\n\r\n")
                stream.ended, stream.good = came, seen.get(stream) == words
            else:
                is_over = stream.read()
            if is_over:
                selector.unregister(stream.connection)
                left -= 1
    for stream in streams:
        stream.connection.close()
    errors.sort()
    lags.sort()
    return {
        "failed": sum(not (stream.ended and stream.good) for stream in streams),
        "p50_ms": 1000 * percentile(errors, 0.5),
        "p99_ms": 1000 * percentile(errors, 0.99),
        "client_p99_ms": 1000 * percentile(lags, 0.99),
    }


def _let_kernel_time(connection: socket.socket) -> None:
    if sys.platform == "linux":
        connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def _receive(connection: socket.socket) -> tuple[bytes, float]:
    """Return what has come, and when its last segment did, in seconds since the epoch."""
    data, notes, _, _ = connection.recvmsg(262144, socket.CMSG_SPACE(_TIME.size))
    for level, kind, value in notes:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIME.unpack(value)
            return data, seconds + nanoseconds / 1e9
    return data, time.time()


def measure_line(port: int, path: str, body: str, count: int, ramp: float, ideal: float, size: int) -> dict[str, float]:
    """Ask `count` times, evenly over `ramp` seconds; return how many answers a second came, and their mean wait."""
    raise_file_limit()
    streams = connect(port, count, low_water=1)
    gc.disable()
    run(streams, chat_request(port, path, body.encode()), ramp, 10 * ramp + 20)
    for stream in streams:
        stream.connection.close()
    whole = [stream for stream in streams if stream.ended and stream.good]
    ends = sorted(stream.ended for stream in whole)
    waits = [stream.ended - stream.sent - ideal for stream in whole]
    return {
        "failed": count - len(whole),
        "a_second": (len(ends) - 1) / (ends[-1] - ends[0]),
        "wait_seconds": sum(waits) / len(waits),
    }


if __name__ == "__main__":
    what, arguments = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps(measure_errors(**arguments) if what == "errors" else measure_line(**arguments)))
