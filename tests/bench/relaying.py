"""The measurements of the relay: it and nginx's proxy_pass in front of one upstream, and that upstream by itself.

The upstream is the bench's own and does next to nothing. Where it has to share a core with the load it may still be
the slowest of the three: a note says so then, and the CPU time of an answer is the figure that holds.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from answers import WrongAnswer, answer_end
from behind import CHUNKS, KINDS, TEXT, openai_upstream, settings_for
from nginx import proxy_pass
from peers import Peer, on_core
from report import Findings, Row
from throughput import Options, check_peer, load_in_turn, measure_rates, start, start_rivals
from traffic import USUAL, requests, template

_PACE_SECONDS = 0.01  # far enough apart that every chunk is an arrival of its own
_TURNS = 1000
_UNCOUNTED_TURNS = 50
_COUNTED_STREAMS = 15
_DELAYED = (0.035, 0.045)  # seconds: an answer in two small packets waits so long for an ACK, without TCP_NODELAY


class SideBySide(NamedTuple):
    """Servers that give the same answers: ours, whom it is measured against, the direct way; and who is missing."""

    ours: Peer
    rivals: list[Peer]
    direct: Peer
    notes: list[str]

    def all(self) -> list[Peer]:
        return [self.ours, *self.rivals, self.direct]


def measure_relay(options: Options) -> Findings:
    """Compare answers a second, CPU time and added latency, plain and streamed; then the CPU time of a paced chunk."""
    found = Findings([], [])
    with _side_by_side(options, 0) as sides:
        found.notes.extend([*sides.notes, _arrivals_note(sides, "as fast as they can be written")])
        for kind, stream in KINDS.items():
            rates = measure_rates(options, f"relay, {kind}", sides.ours, sides.rivals, stream)
            found.rows.extend([*rates.rows, *_latencies(options, sides, kind, stream)])
            found.notes.extend(rates.notes)
    with _side_by_side(options, _PACE_SECONDS) as sides:
        found.rows.extend(_chunks(options, sides))
        found.notes.append(_arrivals_note(sides, f"{_PACE_SECONDS * 1000:.0f} ms apart"))
    if options.cores.upstream is not None and options.cores.upstream == options.cores.load:
        found.notes.append("relay: the upstream shares a core with the load.")
    return found


@contextlib.contextmanager
def _side_by_side(options: Options, delay: float) -> Iterator[SideBySide]:
    with contextlib.ExitStack() as running:
        direct = running.enter_context(openai_upstream(options.cores.upstream, options.folder, delay))
        ours = start(running, options, "relay", *settings_for(direct, options.connections))
        nginx = proxy_pass(options.cores.server, options.folder, direct.port, options.connections)
        rivals, notes = start_rivals(running, options, ours, nginx)
        sides = SideBySide(ours, rivals, direct, notes)
        for peer in sides.all():
            check_peer(peer, TEXT, stream=False)
            check_peer(peer, TEXT, stream=True)
        yield sides


def _arrivals_note(sides: SideBySide, how: str) -> str:
    """Say in how many pieces a stream comes: whoever joins chunks has less to do than who passes each on by itself."""
    counts = [f"{_arrivals(peer):.0f} by {peer.name}" for peer in sides.all()]
    return f"relay: {CHUNKS} chunks, {how}, reach a client alone in so many arrivals: {', '.join(counts)}."


def _arrivals(peer: Peer) -> float:
    made = requests(template(USUAL, peer.port, peer.path, stream=True))
    counts = []
    with socket.create_connection(("127.0.0.1", peer.port), timeout=10) as connection:
        for request in itertools.islice(made, _COUNTED_STREAMS):
            connection.sendall(request)
            received, count = b"", 0
            while answer_end(received) < 0:
                piece = connection.recv(65536)
                if not piece:
                    raise WrongAnswer(f"{peer.name} closed the connection within its answer: {received[:100]!r}")
                received, count = received + piece, count + 1
            counts.append(count)
    return statistics.median(counts)


def _latencies(options: Options, sides: SideBySide, kind: str, stream: bool) -> list[Row]:
    """Compare the time until an answer begins and is complete, one after another with nothing else under way."""
    peers = sides.all()
    taken: dict[str, list[Timed]] = {peer.name: [] for peer in peers}
    with contextlib.ExitStack() as kept, on_core(options.cores.load):
        lines = []
        for peer in peers:
            connection = kept.enter_context(socket.create_connection(("127.0.0.1", peer.port), timeout=10))
            lines.append((peer.name, connection, requests(template(USUAL, peer.port, peer.path, stream))))
        for turn in range(_UNCOUNTED_TURNS + _TURNS):
            for name, connection, made in lines:
                timed = _ask_timed(connection, next(made))
                if turn >= _UNCOUNTED_TURNS:
                    taken[name].append(timed)
    rows = []
    for part, at in (("", 1), *([(", first event", 0)] if stream else [])):
        work, against = f"relay, latency alone, {kind}{part}", sides.direct.name
        seconds = {name: [timed[at] for timed in all_timed] for name, all_timed in taken.items()}
        direct = seconds.pop(against)
        rows += [_latency_row(work, name, own, against, direct) for name, own in seconds.items()]
    return rows


class Timed(NamedTuple):
    """Seconds from a request until its answer's first event (or its body) begins, and until it is complete."""

    first: float
    whole: float


def _ask_timed(connection: socket.socket, request: bytes) -> Timed:
    began, first, received = time.perf_counter(), 0.0, b""
    connection.sendall(request)
    while answer_end(received) < 0:
        piece = connection.recv(65536)
        if not piece:
            raise WrongAnswer(f"the server closed the connection within its answer: {received[:100]!r}")
        received += piece
        if not first and received.partition(b"\r\n\r\n")[2]:
            first = time.perf_counter() - began
    return Timed(first, time.perf_counter() - began)


def _latency_row(work: str, subject: str, own: Sequence[float], against: str, direct: Sequence[float]) -> Row:
    figures = {}
    for name, at in (("p50", 49), ("p99", 98)):
        ours, theirs = (statistics.quantiles(side, n=100)[at] for side in (own, direct))
        figures[name] = ours / theirs
        figures[f"{name}_added_seconds"] = ours - theirs
        figures[f"{name}_seconds"], figures[f"{name}_seconds_against"] = ours, theirs
    delayed = figures["delayed"] = sum(_DELAYED[0] < seconds < _DELAYED[1] for seconds in own)
    raw = (
        f"adds {figures['p50_added_seconds'] * 1e6:.0f} µs to {figures['p50_seconds_against'] * 1e6:.0f} µs, "
        f"p99 {figures['p99_added_seconds'] * 1e6:.0f} µs to {figures['p99_seconds_against'] * 1e6:.0f} µs; "
        f"{delayed} took 35 to 45 ms"
    )
    return Row(work, subject, against, f"p50 {figures['p50']:.2f}x, p99 {figures['p99']:.2f}x", raw, figures)


def _chunks(options: Options, sides: SideBySide) -> list[Row]:
    """Say what a chunk costs that comes by itself, a share of its request included."""
    options = options._replace(rounds=(options.rounds + 1) // 2)  # a cost varies less than a rate
    loads = load_in_turn(options, [sides.ours, *sides.rivals], USUAL, stream=True)
    costs = {name: statistics.median(load.cpu_seconds for load in runs) / CHUNKS for name, runs in loads.items()}
    ours = costs.pop(sides.ours.name)
    work = f"relay, CPU time of a chunk, one in {_PACE_SECONDS * 1000:.0f} ms"
    rows = []
    for name, theirs in costs.items():
        figures = {"cpu_seconds": ours, "cpu_seconds_against": theirs, "cpu_ratio": theirs / ours}
        raw = f"{ours * 1e6:.1f} µs, {theirs * 1e6:.1f} µs"
        rows.append(Row(work, sides.ours.name, name, f"{theirs / ours:.2f}x", raw, figures))
    return rows
