"""Answers a second, side by side: each traffic, round by round, with what an answer costs.

Ratios are taken between neighbours in time and their median is reported, so that a machine that gets slower or
faster meanwhile moves both sides. Nothing is judged here.
"""

from __future__ import annotations

import contextlib
import pathlib
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from answers import Answer, WrongAnswer, ask_once, chat_body, chat_request, check_answer
from behind import KINDS, TEXT
from calls import count_calls
from load import Load, run_load
from peers import CannotMeasure, Cores, Peer, Program, oaiserve
from report import Findings, Row, times
from traffic import USUAL, Traffic

_AT_ITS_LIMIT = 0.9  # of the time on a core
_HELD_BACK = (
    "Where a share of a core is shown, the load, an upstream or other programs kept a server from more: the CPU time "
    "is the figure that holds."
)


class Options(NamedTuple):
    """What the command line chose, and where everything runs."""

    program: pathlib.Path
    compared: pathlib.Path | None
    cores: Cores
    folder: pathlib.Path
    file_limit: int
    seconds: int
    connections: int
    rounds: int
    traffic: Sequence[Traffic]
    streams: Sequence[int]
    words: int


def start(running: contextlib.ExitStack, options: Options, backend: str, *settings: str) -> Peer:
    """Start the program that is measured, until the stack is left."""
    program = Program(options.program, backend, settings)
    return running.enter_context(oaiserve(program, options.cores.server, options.folder))


def start_rivals(
    running: contextlib.ExitStack, options: Options, ours: Peer, *others: contextlib.AbstractContextManager[Peer]
) -> tuple[list[Peer], list[str]]:
    """Start whom ours is measured against, and say which of them are missing.

    That is another oaiserve in the same settings, where the command line names one.
    """
    peers, notes = [], []
    if options.compared and ours.program:
        program = ours.program._replace(file=options.compared, called="the other oaiserve")
        others = (oaiserve(program, options.cores.server, options.folder),)
    for other in others:
        try:
            peers.append(running.enter_context(other))
        except CannotMeasure as missing:
            notes.append(str(missing))
    return peers, notes


def check_peer(peer: Peer, text: str, stream: bool) -> Answer:
    """Ask once and return the answer; raises WrongAnswer, with the peer's name, unless it says `text`."""
    answer = ask_once(peer.port, chat_request(peer.port, peer.path, chat_body(stream)))
    try:
        check_answer(answer, text, stream)
    except WrongAnswer as wrong:
        raise WrongAnswer(f"{peer.name}: {wrong}") from None
    return answer


def measure_rates(options: Options, work: str, ours: Peer, rivals: Sequence[Peer], stream: bool) -> Findings:
    """Compare complete answers a second, a row for each traffic and rival."""
    found = Findings([], [])
    for traffic in options.traffic:
        title, peers = f"{work}, {traffic.name}", [ours, *rivals]
        loads = load_in_turn(options, peers, traffic, stream)
        calls, missing = _calls(options, peers, traffic, stream)
        found.rows.extend(_rate_row(title, ours.name, peer.name, loads, calls) for peer in rivals)
        found.notes.extend([f"{traffic.name}: {traffic.meaning}.", *missing, *_doubts(title, loads)])
    return found


def measure_both_kinds(
    options: Options, work: str, ours: Program, *others: contextlib.AbstractContextManager[Peer], text: str = TEXT
) -> Findings:
    """Compare plain and streamed answers of what says `text`, on the usual traffic alone."""
    options = options._replace(traffic=[USUAL])
    with contextlib.ExitStack() as running:
        subject = running.enter_context(oaiserve(ours, options.cores.server, options.folder))
        rivals, missing = start_rivals(running, options, subject, *others)
        found = Findings([], missing)
        for kind, stream in KINDS.items():
            for peer in (subject, *rivals):
                check_peer(peer, text, stream)
            part = measure_rates(options, f"{work}, {kind}", subject, rivals, stream)
            found.rows.extend(part.rows)
            found.notes.extend(part.notes)
    return found


def measure_calls(options: Options) -> Findings:
    """Count the calls of each kind of traffic in the mock, plain and streamed: quick, and no load is needed."""
    rows, notes = [], ["calls: by cProfile, of and by the server's own modules, in its main thread."]
    program = Program(options.program, "mock")
    for stream in (False, True):
        for traffic in options.traffic:
            calls = count_calls(program, traffic, stream, options.folder)
            work = f"mock, {'streamed' if stream else 'plain'} answer, {traffic.name}"
            rows.append(
                Row(work, program.name, "nobody", f"{calls:.0f} calls", "functions a request", {"calls": calls})
            )
    return Findings(rows, notes)


def _calls(
    options: Options, peers: Sequence[Peer], traffic: Traffic, stream: bool
) -> tuple[dict[str, float], list[str]]:
    """Return the calls a request of each oaiserve among the peers, and why one's could not be counted.

    With thousands of keys what is done for all of them once in a while would be taken for the requests', and of
    several workers only their parent would be profiled.
    """
    calls, missing = {}, []
    for peer in peers:
        try:
            if peer.program and peer.program.keys <= 1 and peer.program.workers == 1:
                calls[peer.name] = count_calls(peer.program, traffic, stream, options.folder)
        except CannotMeasure as reason:
            missing.append(str(reason))
    return calls, missing


def load_in_turn(options: Options, peers: Sequence[Peer], traffic: Traffic, stream: bool) -> dict[str, list[Load]]:
    """Load the peers one after another, round by round, after a round that does not count."""
    loads: dict[str, list[Load]] = {peer.name: [] for peer in peers}
    for turn in range(options.rounds + 1):
        for peer in peers if turn % 2 else reversed(peers):
            core, folder = options.cores.load, options.folder
            load = run_load(peer, traffic, stream, turn, options.seconds, options.connections, core, folder)
            if turn:
                loads[peer.name].append(load)
    return loads


def _doubts(work: str, loads: dict[str, list[Load]]) -> list[str]:
    """Return a note for each reason not to take these figures at their word."""
    notes = []
    for name, runs in loads.items():
        failures = sum(load.failures for load in runs)
        if failures:
            notes.append(f"{work}: {name} failed {failures} times (connections, statuses, time limits).")
        if statistics.median(load.busy for load in runs) > 0.95:
            notes.append(f"{work}: the load generator was at its limit with {name}; it may be faster than shown.")
        if 0 < _share_of_core(runs) < _AT_ITS_LIMIT:
            notes.append(_HELD_BACK)
    return notes


def _share_of_core(runs: Sequence[Load]) -> float:
    return statistics.median(load.answers_per_second * load.cpu_seconds for load in runs)


def _rate_row(work: str, subject: str, against: str, loads: dict[str, list[Load]], calls: dict[str, float]) -> Row:
    """Compare the answers a second of two peers, and what an answer cost each, round by round."""
    pairs = list(zip(loads[subject], loads[against]))
    ratios = [ours.answers_per_second / theirs.answers_per_second for ours, theirs in pairs]
    figures = {"ratio": statistics.median(ratios)}
    raw = []
    for name, suffix in ((subject, ""), (against, "_against")):
        rate = statistics.median(load.answers_per_second for load in loads[name])
        cost = statistics.median(load.cpu_seconds for load in loads[name])
        figures[f"answers_per_second{suffix}"], figures[f"cpu_seconds{suffix}"] = rate, cost
        shown = f"{rate:,.0f}/s"
        if cost:
            shown += f" at {cost * 1e6:.1f} µs"
        if 0 < _share_of_core(loads[name]) < _AT_ITS_LIMIT:
            shown += f" on {_share_of_core(loads[name]):.0%} of a core"
        if name in calls:
            figures[f"calls{suffix}"] = calls[name]
            shown += f", {calls[name]:.0f} calls"
        raw.append(shown)
    if figures["cpu_seconds"]:
        figures["cpu_ratio"] = statistics.median(theirs.cpu_seconds / ours.cpu_seconds for ours, theirs in pairs)
        raw.append(f"by CPU time {figures['cpu_ratio']:.2f}x")
    return Row(work, subject, against, times(ratios), "; ".join(raw), figures)
