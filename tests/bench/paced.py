"""The client of the paced row: many streams at once, each timed from its request to its last byte.

Run as a script, in a process of its own. Ten thousand sockets must not make the client the thing that is measured:
a socket wakes it only when most of its stream has come (SO_RCVLOWAT), and one in 49, the sample, on each arrival.
"""

from __future__ import annotations

import gc
import json
import math
import selectors
import socket
import struct
import sys
import time
from collections.abc import Sequence

from answers import chat_request
from peers import raise_file_limit

_LAST_BYTES = b"data: [DONE]\n\n\r\n0\r\n\r\n"
# No number of streams that begin within a span that their words repeat, so that the sample is of all their phases.
_SAMPLE_EVERY = 49
_CONNECT_AT_ONCE = 100


class Stream:
    """One connection and what is known of its only answer; times are seconds of time.perf_counter."""

    __slots__ = ("connection", "sent", "ended", "arrivals", "size", "tail", "good")

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.sent = self.ended = 0.0
        self.arrivals = self.size = 0
        self.tail = b""
        self.good = True

    def read(self) -> bool:
        """Take what has come; True once nothing more is expected."""
        data = self.connection.recv(262144)
        if not self.size:
            self.good = data.startswith(b"HTTP/1.1 200 ")
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)  # what is left is read as it comes
        self.arrivals += 1
        self.size += len(data)
        self.tail = (self.tail + data)[-len(_LAST_BYTES) :]
        if data and self.tail != _LAST_BYTES:
            return False
        self.good = self.good and bool(data)
        self.ended = time.perf_counter()
        return True


def is_sampled(number: int) -> bool:
    """Tell whether a stream is of the sample. The first is not: a server may prepare with it what the others find."""
    return number % _SAMPLE_EVERY == _SAMPLE_EVERY // 2


def connect(port: int, count: int, low_water: int) -> list[Stream]:
    """Open the connections, a few at a time so that no accept queue overflows."""
    streams = []
    for i in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        if not is_sampled(i):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_water)
        # Reset at the end: tens of thousands of ports in TIME_WAIT would be left for the next round.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.setblocking(False)
        streams.append(Stream(connection))
        if i % _CONNECT_AT_ONCE == 0:
            time.sleep(0.005)
    time.sleep(0.5)
    return streams


def run(streams: Sequence[Stream], request: bytes, ramp: float, limit: float) -> tuple[float, float]:
    """Start the streams evenly over `ramp` seconds and read them to their ends, for `limit` seconds at most.

    Returns by how much the worst start was late and how long the longest turn of reading took: the client's own lag.
    """
    selector = selectors.DefaultSelector()
    step, waiting, left = ramp / len(streams), 0, len(streams)
    late = turn = 0.0
    began = now = time.perf_counter()
    while left and now < began + limit:
        while waiting < len(streams) and began + waiting * step <= now:
            stream = streams[waiting]
            stream.sent = time.perf_counter()
            stream.connection.send(request)
            selector.register(stream.connection, selectors.EVENT_READ, stream)
            late = max(late, stream.sent - (began + waiting * step))
            waiting += 1
        pause = 0.1 if waiting == len(streams) else max(0.0, began + waiting * step - time.perf_counter())
        ready = selector.select(pause)
        woken = time.perf_counter()
        for key, _ in ready:
            if key.data.read():
                selector.unregister(key.fileobj)
                left -= 1
        now = time.perf_counter()
        turn = max(turn, now - woken)
    return late, turn


def at_once(streams: Sequence[Stream]) -> int:
    """Return how many streams were under way together at the most."""
    changes = sorted([(stream.sent, 1) for stream in streams] + [(stream.ended, -1) for stream in streams])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def measure(port: int, path: str, body: str, count: int, ramp: float, ideal: float, size: int) -> dict[str, float]:
    """Run `count` streams of about `size` bytes; times come back as multiples of `ideal` seconds."""
    raise_file_limit()
    streams = connect(port, count, low_water=int(size * 0.85))
    gc.disable()
    late, turn = run(streams, chat_request(port, path, body.encode()), ramp, ramp + 10 * ideal + 10)
    for stream in streams:
        stream.connection.close()
    # A stream that was cut short, refused, or never ended has failed; only whole ones have a time.
    whole = [stream for stream in streams if stream.ended and stream.good and stream.size > 0.9 * size]
    if not whole:
        return {"failed": count}
    times = sorted((stream.ended - stream.sent) / ideal for stream in whole)
    sample = sorted(stream.arrivals for number, stream in enumerate(streams) if is_sampled(number))
    return {
        "p50": percentile(times, 0.5),
        "p99": percentile(times, 0.99),
        "failed": count - len(whole),
        "at_once": at_once(whole),
        "arrivals": percentile(sample, 0.5),
        "client_lag_seconds": max(late, turn),
    }


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
