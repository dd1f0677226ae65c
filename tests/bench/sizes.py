"""How the cost of a request grows with its size: prompts up to 1 MB, heads of up to 100 fields."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Callable

from answers import WrongAnswer, ask
from behind import openai_upstream, settings_for
from peers import CannotMeasure, Peer, cpu_seconds
from report import Findings, Row
from throughput import Options, start
from traffic import USUAL, Template, requests, template

_PROMPTS = (1_000, 10_000, 100_000, 1_000_000)  # bytes
_FIELDS = (20, 40, 60, 80, 100)  # as many as are accepted
_ASKED = 4_000_000  # bytes in all for one figure, in between _FEWEST and _MOST requests
_FEWEST, _MOST = 20, 400
_MOST_MARKS = 40


def measure_sizes(options: Options) -> Findings:
    """Say what CPU time a request takes, in the mock and in the relay, as it grows; the load is one client."""
    found = Findings([], [])
    with openai_upstream(options.cores.upstream, options.folder) as behind:
        for backend, settings in (("mock", ()), ("relay", settings_for(behind, 1))):
            with contextlib.ExitStack() as running:
                peer = start(running, options, backend, *settings)
                for what, unit, sizes, grown in (
                    ("a prompt", "bytes", _PROMPTS, _with_prompt),
                    ("a head", "fields", _FIELDS, _with_fields),
                ):
                    part = _curve(f"{backend}, {what}", unit, sizes, grown, peer, options.rounds)
                    found.rows.extend(part.rows)
                    found.notes.extend(part.notes)
    return found


def _with_prompt(common: Template, size: int) -> Template:
    return common._replace(before=common.before + "word " * (size // len("word ")))


def _with_fields(common: Template, count: int) -> Template:
    missing = count - len(next(requests(common)).partition(b"\r\n\r\n")[0].split(b"\r\n")[1:])
    return common._replace(head=common.head + "".join(f"X-More-{number}: {number}\r\n" for number in range(missing)))


def _curve(
    work: str, unit: str, sizes: tuple[int, ...], grown: Callable[[Template, int], Template], peer: Peer, rounds: int
) -> Findings:
    common = template(USUAL, peer.port, peer.path, stream=False)
    # The least of some rounds: what else the machine does in the meantime only adds to a cost.
    runs = [{size: _cost(grown(common, size), peer) for size in sizes} for _ in range((rounds + 1) // 2)]
    costs = {size: min(run[size] for run in runs) for size in sizes}
    smallest, last, largest = sizes[0], sizes[-2], sizes[-1]
    growth = costs[largest] / costs[smallest]
    figures = {"ratio": growth, **{f"cpu_seconds_at_{size}": cost for size, cost in costs.items()}}
    raw = f"{costs[largest] * 1e6:,.0f} µs; {costs[smallest] * 1e6:,.0f} µs; "
    raw += f"at last {costs[largest] / costs[last]:.2f}x, for {largest / last:.4g}x"
    ratio = f"{growth:.1f}x, for {largest / smallest:,.0f}x"
    row = Row(f"{work} of {largest:,} {unit}", peer.name, f"{smallest:,} {unit}", ratio, raw, figures)
    notes = [f"{work}, CPU time by its {unit}:"]
    for size, cost in costs.items():
        marks = "#" * round(_MOST_MARKS * cost / max(costs.values()))
        notes.append(f"`{size:9,} {marks:{_MOST_MARKS}}` {cost * 1e6:,.0f} µs")
    return Findings([row], notes)


def _cost(common: Template, peer: Peer) -> float:
    """Return the seconds on a core that one request takes; the first ones do not count."""
    made = requests(common)
    count = min(_MOST, max(_FEWEST, _ASKED // len(next(made))))
    with socket.create_connection(("127.0.0.1", peer.port), timeout=30) as connection:
        for request in itertools.islice(made, _FEWEST):
            answer = ask(connection, request)
            if answer.status != 200:
                raise WrongAnswer(f"{peer.name}: expected status 200, got {answer.raw[:200]!r}")
        used = cpu_seconds(peer.process.pid)
        for request in itertools.islice(made, count):
            ask(connection, request)
        cost = (cpu_seconds(peer.process.pid) - used) / count
    if not cost:
        raise CannotMeasure("this system does not tell CPU time finely enough")
    return cost
