"""The rows of [pace NAME]: how punctual words are, and where the line before the slots begins."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

from answers import chat_body
from peers import CannotMeasure, Peer, Program, oaiserve, on_core
from report import Findings, Row
from throughput import Options, check_peer

_STREAMS = 1_000
_WORDS = 200
_BETWEEN_SECONDS = 0.02  # 50 words a second
_SLOTS = 20
_SERVICE_SECONDS = 0.2
_RAMP_SECONDS = 4.0
_LOADS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # of what the slots can do
_MOST_MARKS = 40


def measure_pace(options: Options) -> Findings:
    """Measure by how much words miss their times, and how many answers slots let by under rising load."""
    errors, line = _errors(options), _knee(options)
    return Findings(errors.rows + line.rows, errors.notes + line.notes)


def _errors(options: Options) -> Findings:
    text = " ".join(f"word{number:02d}" for number in range(_WORDS))
    pace = (f"pace.bench.first={_BETWEEN_SECONDS}", f"pace.bench.between={_BETWEEN_SECONDS}", "mock.pace=bench")
    program = Program(options.program, "mock", (f"mock.text={text}", *pace))
    with oaiserve(program, options.cores.server, options.folder) as peer:
        size = len(check_peer(peer, text, stream=True).raw)
        found = _run(
            options, "errors", peer, stream=True, count=_STREAMS, words=_WORDS, between=_BETWEEN_SECONDS, size=size
        )
    shown = f"p50 {found['p50_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms"
    work = f"{_STREAMS:,} streams at {1 / _BETWEEN_SECONDS:.0f} words/s, each word"
    raw = f"{found['failed']:.0f} failed; by the kernel's times, the client read within {found['client_p99_ms']:.2f} ms"
    return Findings([Row(work, "oaiserve [pace]", "its due time", shown, raw, found)], [])


def _knee(options: Options) -> Findings:
    """Offer more and more requests a second to so many slots: throughput is straight, then flat, and waiting grows."""
    capacity = _SLOTS / _SERVICE_SECONDS
    pace = (f"pace.bench.first={_SERVICE_SECONDS}", f"pace.bench.slots={_SLOTS}", "mock.pace=bench")
    rows, notes = [], [f"the line before {_SLOTS} slots of {_SERVICE_SECONDS} s, which do {capacity:.0f} answers/s:"]
    with oaiserve(Program(options.program, "mock", pace), options.cores.server, options.folder) as peer:
        check_peer(peer, "powered by openai", stream=True)
        for load in _LOADS:
            offered = load * capacity
            found = _run(
                options, "line", peer, stream=True, count=int(offered * _RAMP_SECONDS), ramp=_RAMP_SECONDS,
                ideal=_SERVICE_SECONDS, size=1,
            )  # fmt: skip
            ideal_wait = max(0.0, load - 1) * _RAMP_SECONDS / 2
            shown = f"{found['a_second']:.0f}/s, waiting {found['wait_seconds']:.2f} s"
            raw = f"{min(1.0, load) * capacity:.0f}/s, {ideal_wait:.2f} s"
            rows.append(Row(f"slots, {offered:.0f} requests/s", "oaiserve [pace]", "ideal: " + raw, shown, "", found))
            marks = "#" * round(_MOST_MARKS * found["a_second"] / capacity)
            notes.append(f"`{offered:4.0f}/s {marks:{_MOST_MARKS}} {found['a_second']:4.0f}/s` {shown}")
    return Findings(rows, notes)


def _run(options: Options, what: str, peer: Peer, *, stream: bool, **arguments: float) -> dict[str, float]:
    task = {"port": peer.port, "path": peer.path, "body": chat_body(stream).decode(), **arguments}
    script = str(pathlib.Path(__file__).with_name("pacing.py"))
    with on_core(options.cores.load):
        command = [sys.executable, script, what, json.dumps(task)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    if run.returncode:
        raise CannotMeasure(f"the client of the pace rows failed: {run.stderr.strip()[-300:]}")
    return dict(json.loads(run.stdout))
