"""The measurements of the relay: it and nginx's proxy_pass in front of one upstream, and that upstream by itself.

The upstream is the bench's own and does next to nothing. Where it has to share a core with the load it may still be
the slowest of the three: a note says so then, and the CPU time of an answer is the figure that holds.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from answers import WrongAnswer, answer_end, ask, chat_body, chat_request
from load import Load
from nginx import proxy_pass
from peers import CannotMeasure, Peer, oaiserve, on_core, upstream
from report import Findings, Row
from rows import Options, check_peer, doubts, load_in_turn, rate_row

_TEXT = "each word of this text comes by itself"
_CHUNKS = len(_TEXT.split()) + 2  # a role first, a finish reason last
_PACE_SECONDS = 0.01  # far enough apart that every chunk is an arrival of its own
_TURNS = 1000
_UNCOUNTED_TURNS = 50
_COUNTED_STREAMS = 15
_AT_ITS_LIMIT = 0.9  # of the time on a core


class SideBySide(NamedTuple):
    """Servers that give the same answers: ours, the direct way, and nginx or a note why it is missing."""

    ours: Peer
    direct: Peer
    nginx: Peer | None
    notes: list[str]

    def all(self) -> list[Peer]:
        return [peer for peer in (self.ours, self.nginx, self.direct) if peer]


def measure_relay(options: Options) -> Findings:
    """Compare answers a second, CPU time and added latency, plain and streamed; then the CPU time of a paced chunk."""
    options = options._replace(rounds=(options.rounds + 1) // 2)
    found = Findings([], [])
    with _side_by_side(options, 0) as sides:
        found.notes.extend([*sides.notes, _arrivals_note(sides, "as fast as they can be written")])
        for kind, stream in (("plain answer", False), (f"streamed answer of {_CHUNKS} chunks", True)):
            for part in (_rates(options, sides, kind, stream), _latencies(options, sides, kind, stream)):
                found.rows.extend(part.rows)
                found.notes.extend(part.notes)
    with _side_by_side(options, _PACE_SECONDS) as sides:
        found.rows.extend(_chunks(options, sides))
        found.notes.append(_arrivals_note(sides, f"{_PACE_SECONDS * 1000:.0f} ms apart"))
    if options.cores.upstream is not None and options.cores.upstream == options.cores.load:
        found.notes.append("relay: the upstream shares a core with the load.")
    return found


@contextlib.contextmanager
def _side_by_side(options: Options, delay: float) -> Iterator[SideBySide]:
    cores, folder, kept = options.cores, options.folder, options.connections
    nginx, notes = None, []
    with contextlib.ExitStack() as running:
        direct = running.enter_context(upstream(_plain_answer(), _stream_pieces(), delay, cores.upstream, folder))
        settings = (
            f"relay.base_url=http://127.0.0.1:{direct.port}/v1",
            "relay.api_key=x",
            f"relay.max_idle={kept}",  # more than the load has connections would not be kept
        )
        ours = running.enter_context(oaiserve(options.program, cores.server, folder, *settings, backend="relay"))
        try:
            nginx = running.enter_context(proxy_pass(cores.server, folder, direct.port, kept))
        except CannotMeasure as missing:
            notes.append(str(missing))
        sides = SideBySide(ours, direct, nginx, notes)
        for peer in sides.all():
            check_peer(peer, _TEXT, stream=False)
            check_peer(peer, _TEXT, stream=True)
        yield sides


def _plain_answer() -> bytes:
    message: dict[str, object] = {"role": "assistant", "content": _TEXT, "refusal": None, "annotations": []}
    completion = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-3.5-turbo",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 13, "completion_tokens": 8, "total_tokens": 21},
    }
    body = json.dumps(completion).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _stream_pieces() -> list[bytes]:
    """Return the streamed answer as the upstream writes it: one HTTP chunk an event, [DONE] together with the last."""
    words = _TEXT.split(" ")
    spoken = [f"{word} " for word in words[:-1]] + words[-1:]
    pieces = [_http_chunk(_event({"role": "assistant", "content": ""}, None))]
    pieces += [_http_chunk(_event({"content": word}, None)) for word in spoken]
    pieces.append(_http_chunk(_event({}, "stop") + b"data: [DONE]\n\n") + b"0\r\n\r\n")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [head + pieces[0], *pieces[1:]]


def _event(delta: dict[str, str], finish_reason: str | None) -> bytes:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "gpt-3.5-turbo",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }
    return b"data: %b\n\n" % json.dumps(chunk).encode()


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _arrivals_note(sides: SideBySide, how: str) -> str:
    """Say in how many pieces a stream comes: whoever joins chunks has less to do than who passes each on by itself."""
    counts = [f"{_arrivals(peer):.0f} by {peer.name}" for peer in sides.all()]
    return f"relay: {_CHUNKS} chunks, {how}, reach a client alone in so many arrivals: {', '.join(counts)}."


def _arrivals(peer: Peer) -> float:
    request = chat_request(peer.port, peer.path, chat_body(True))
    counts = []
    with socket.create_connection(("127.0.0.1", peer.port), timeout=10) as connection:
        for _ in range(_COUNTED_STREAMS):
            connection.sendall(request)
            received, count = b"", 0
            while answer_end(received) < 0:
                piece = connection.recv(65536)
                if not piece:
                    raise WrongAnswer(f"{peer.name} closed the connection within its answer: {received[:100]!r}")
                received, count = received + piece, count + 1
            counts.append(count)
    return statistics.median(counts)


def _rates(options: Options, sides: SideBySide, kind: str, stream: bool) -> Findings:
    work = f"relay, {kind}"
    loads = load_in_turn(options, sides.all(), chat_body(stream))
    rows = [rate_row(work, sides.ours.name, peer.name, loads) for peer in (sides.nginx, sides.direct) if peer]
    relays = [peer.name for peer in (sides.ours, sides.nginx) if peer]
    return Findings(rows, doubts(work, loads) + _held_back(work, relays, loads))


def _held_back(work: str, relays: Sequence[str], loads: dict[str, list[Load]]) -> list[str]:
    notes = []
    for name in relays:
        used = statistics.median(load.answers_per_second * load.cpu_seconds for load in loads[name])
        if 0 < used < _AT_ITS_LIMIT:
            why = "its upstream or other programs were in the way, so trust the CPU time"
            notes.append(f"{work}: {name} was on a core for {used:.0%} of the time only: {why}.")
    return notes


def _latencies(options: Options, sides: SideBySide, kind: str, stream: bool) -> Findings:
    """Compare the time until an answer is complete, one request after another with nothing else under way."""
    peers = sides.all()
    taken: dict[str, list[float]] = {peer.name: [] for peer in peers}
    with contextlib.ExitStack() as kept, on_core(options.cores.load):
        lines = []
        for peer in peers:
            connection = kept.enter_context(socket.create_connection(("127.0.0.1", peer.port), timeout=10))
            lines.append((peer.name, connection, chat_request(peer.port, peer.path, chat_body(stream))))
        for turn in range(_UNCOUNTED_TURNS + _TURNS):
            for name, connection, request in lines:
                began = time.perf_counter()
                ask(connection, request)
                if turn >= _UNCOUNTED_TURNS:
                    taken[name].append(time.perf_counter() - began)
    work = f"relay, latency alone, {kind}"
    direct = taken.pop(sides.direct.name)
    return Findings([_latency_row(work, name, own, sides.direct.name, direct) for name, own in taken.items()], [])


def _latency_row(work: str, subject: str, own: Sequence[float], against: str, direct: Sequence[float]) -> Row:
    figures = {}
    for name, at in (("p50", 49), ("p99", 98)):
        ours, theirs = (statistics.quantiles(side, n=100)[at] for side in (own, direct))
        figures[name] = ours / theirs
        figures[f"{name}_added_seconds"] = ours - theirs
        figures[f"{name}_seconds"], figures[f"{name}_seconds_against"] = ours, theirs
    raw = (
        f"adds {figures['p50_added_seconds'] * 1e6:.0f} µs to {figures['p50_seconds_against'] * 1e6:.0f} µs, "
        f"p99 {figures['p99_added_seconds'] * 1e6:.0f} µs to {figures['p99_seconds_against'] * 1e6:.0f} µs"
    )
    return Row(work, subject, against, f"p50 {figures['p50']:.2f}x, p99 {figures['p99']:.2f}x", raw, figures)


def _chunks(options: Options, sides: SideBySide) -> list[Row]:
    """Say what a chunk costs that comes by itself, a share of its request included."""
    relays = [peer for peer in (sides.ours, sides.nginx) if peer]
    options = options._replace(rounds=(options.rounds + 1) // 2)  # a cost varies less than a rate
    loads = load_in_turn(options, relays, chat_body(True))
    costs = {name: statistics.median(load.cpu_seconds for load in runs) / _CHUNKS for name, runs in loads.items()}
    ours = costs[sides.ours.name]
    if not ours:
        return []  # the system does not tell
    work, figures = f"relay, CPU time of a chunk, one in {_PACE_SECONDS * 1000:.0f} ms", {"cpu_seconds": ours}
    raw = f"{ours * 1e6:.1f} µs"
    if sides.nginx is None:
        return [Row(work, sides.ours.name, "-", "-", raw, figures)]
    theirs = costs[sides.nginx.name]
    figures.update(cpu_seconds_against=theirs, cpu_ratio=theirs / ours)
    return [
        Row(work, sides.ours.name, sides.nginx.name, f"{theirs / ours:.2f}x", f"{raw}, {theirs * 1e6:.1f} µs", figures)
    ]
