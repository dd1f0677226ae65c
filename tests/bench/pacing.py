"""The client of the pace rows: when each word of a few streams among many arrives, and how many answers a line lets by.

Run as a script, in a process of its own. Most streams are only waited for, as in paced.py, so that the client is not
the thing that is measured; of the sample each arrival is timed against the time at which its word was due.
"""

from __future__ import annotations

import gc
import json
import selectors
import sys
import time

from answers import chat_request
from paced import connect, percentile, run
from peers import raise_file_limit

_SAMPLE_EVERY = 50
_WORD = b'"delta":{"content":'


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
    seen: dict[object, int] = {}
    gc.disable()
    began, step, waiting, left = time.perf_counter(), 50 * between / count, 0, count
    limit = began + 10 * words * between + 20
    while left and time.perf_counter() < limit:
        now = time.perf_counter()
        while waiting < count and began + waiting * step <= now:
            stream = streams[waiting]
            stream.sent = time.perf_counter()
            stream.connection.send(request)
            selector.register(stream.connection, selectors.EVENT_READ, (stream, waiting % _SAMPLE_EVERY == 0))
            waiting += 1
        pause = 0.1 if waiting == count else max(0.0, began + waiting * step - time.perf_counter())
        for key, _ in selector.select(pause):
            stream, is_sampled = key.data
            if is_sampled:
                came = time.perf_counter()
                data = stream.connection.recv(262144)
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
    return {
        "failed": sum(not (stream.ended and stream.good) for stream in streams),
        "p50_ms": 1000 * percentile(errors, 0.5),
        "p99_ms": 1000 * percentile(errors, 0.99),
    }


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
