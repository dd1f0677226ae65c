"""The measurements of the mock: each starts its servers, checks that they answer rightly, and compares them."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from answers import WrongAnswer, ask, ask_once, chat_body, chat_request
from load import children_seconds
from nginx import json_library, lua_mock
from peers import (
    CannotMeasure,
    Peer,
    Program,
    bare,
    build_forms,
    cpu_seconds,
    oaiserve,
    on_core,
    python_environment,
    resident_kilobytes,
)
from report import Findings, Row, times
from throughput import Options, check_peer, measure_rates, start, start_rivals

_TEXT = "powered by openai"
_DELAY_SECONDS = 0.05  # 20 words a second
_RAMP_SECONDS = 0.9  # below the 0.95 s of a stream of 20 words, so that all of them are under way together
_SPARE_FILES = 200  # descriptors of a server that are not connections
_IDLE_CONNECTIONS = 2000
_IMPORTS = "import asyncio, ssl, json"


def measure_plain(options: Options) -> Findings:
    """Compare complete plain answers a second."""
    return _throughput(options, "mock, plain answer", stream=False)


def measure_streamed(options: Options) -> Findings:
    """Compare complete streamed answers a second, without a delay between the words."""
    return _throughput(options, "mock, streamed answer", stream=True)


def _throughput(options: Options, work: str, stream: bool) -> Findings:
    core, folder = options.cores.server, options.folder
    with contextlib.ExitStack() as running:
        ours = start(running, options, "mock", f"mock.text={_TEXT}")
        answer = check_peer(ours, _TEXT, stream)
        rivals, notes = start_rivals(
            running, options, ours, bare(answer.raw, core, folder), lua_mock(core, folder, _TEXT, 0)
        )
        for lua in [peer for peer in rivals if peer.name == "nginx+lua"]:
            notes.append(f"nginx+lua: {json_library(lua)}.")
            if stream:
                rivals.append(lua._replace(name="nginx+lua, in one write", path="/joined" + lua.path))
        for peer in rivals:
            check_peer(peer, _TEXT, stream)
        found = measure_rates(options, work, ours, rivals, stream)
    return Findings(found.rows, notes + found.notes)


def measure_paced(options: Options) -> Findings:
    """Compare the time of many paced streams at once with the time they would ideally take."""
    rows: list[Row] = []
    notes: list[str] = []
    fits = options.file_limit - _SPARE_FILES
    for asked in options.streams:
        if asked > fits:
            notes.append(f"{asked:,} streams at once: the open-file limit leaves {fits:,}; raise it with ulimit -n.")
    for count in sorted({min(asked, fits) for asked in options.streams}):
        found = _paced_streams(options, count)
        rows += found.rows
        notes += [note for note in found.notes if note not in notes]
    return Findings(rows, notes)


def _paced_streams(options: Options, count: int) -> Findings:
    core, folder = options.cores.server, options.folder
    text = " ".join(f"word{i:02d}" for i in range(options.words))
    settings = (f"mock.delay={_DELAY_SECONDS}", f"mock.text={text}", f"server.max_connections={count + _SPARE_FILES}")
    with contextlib.ExitStack() as running:
        ours = start(running, options, "mock", *settings)
        rivals, notes = start_rivals(running, options, ours, lua_mock(core, folder, text, _DELAY_SECONDS))
        peers = [ours, *rivals]
        alone = [_time_alone(peer, text) for peer in peers]
        runs: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in peers}
        for _ in range(max(1, options.rounds // 3)):
            for peer, one in zip(peers, alone):
                runs[peer.name].append(_run_paced(options, peer, count, one))
    for peer, one in zip(peers, alone):
        notes.append(
            f"paced: {peer.name} waits {one.waits} times in a stream of {options.words} words, "
            f"so ideal is {one.waits} x {_DELAY_SECONDS} s."
        )
    return Findings([_paced_row(count, peer.name, runs[peer.name]) for peer in peers], notes)


class Alone(NamedTuple):
    """One paced stream with nobody else on the server: how many bytes, and how many waits its time must have held."""

    size: int
    waits: int


def _time_alone(peer: Peer, text: str) -> Alone:
    times, answers = [], []
    for _ in range(2):
        began = time.perf_counter()
        answers.append(check_peer(peer, text, stream=True))
        times.append(time.perf_counter() - began)
    seconds = min(times)
    # No stream is faster than its waits, so rounding down finds their number; a timer may be early by a hair.
    waits = int(seconds / _DELAY_SECONDS + 0.05)
    if waits not in (len(text.split()) - 1, len(text.split())):
        raise WrongAnswer(f"{peer.name}: a wait a word or one fewer was expected, its stream took {seconds:.3f} s")
    return Alone(len(answers[-1].raw), waits)


def _run_paced(options: Options, peer: Peer, count: int, alone: Alone) -> dict[str, float]:
    task = {
        "port": peer.port,
        "path": peer.path,
        "body": chat_body(True).decode(),
        "count": count,
        "ramp": _RAMP_SECONDS,
        "ideal": alone.waits * _DELAY_SECONDS,
        "size": alone.size,
    }
    command = [sys.executable, str(pathlib.Path(__file__).with_name("paced.py")), json.dumps(task)]
    with on_core(options.cores.load):
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if run.returncode:
        raise CannotMeasure(f"the client of {count:,} paced streams failed: {run.stderr.strip()[-300:]}")
    return dict(json.loads(run.stdout))


def _paced_row(count: int, subject: str, runs: Sequence[dict[str, float]]) -> Row:
    work = f"{count:,} paced streams at once"
    whole = [run for run in runs if "p50" in run]
    figures = {name: statistics.median(run[name] for run in whole) for name in (whole[0] if whole else {})}
    figures["failed"] = sum(run["failed"] for run in runs)
    if not whole:
        return Row(work, subject, "ideal time", "none came whole", "", figures)
    raw = (
        f"{figures['at_once']:,.0f} at once, {figures['arrivals']:.0f} arrivals each, "
        f"{figures['failed']:.0f} failed, client late by {figures['client_lag_seconds'] * 1000:.0f} ms at most"
    )
    return Row(work, subject, "ideal time", f"p50 {figures['p50']:.2f}x, p99 {figures['p99']:.2f}x", raw, figures)


class Form(NamedTuple):
    """A form of the program, and whether it finds its bytecode on the disk when it starts."""

    name: str
    program: pathlib.Path
    cached: bool


def measure_start(options: Options) -> Findings:
    """Compare starting a process until its first answer with a Python that imports three modules and ends.

    A mock's first answer is a chat completion, a relay's is that it is healthy.
    """
    rows = []
    for form in _forms(options):
        for backend in ("mock", "relay"):
            pairs = [
                (_time_to_first_answer(options, form, backend), _time_to_import(options, form.cached))
                for _ in range(2 * options.rounds + 1)
            ]
            del pairs[0]  # the first start writes the bytecode, where it may
            rows.append(_start_row(f"start to first answer, {backend}", form.name, pairs))
    return Findings(rows, [])


def _forms(options: Options) -> list[Form]:
    """Return the tree, the single file and the zipapp; the one program that was named where that is not the tree."""
    if not (options.program.parent / "protocol").is_dir():
        name = options.program.name
        return [Form(f"{name}, no bytecode", options.program, False), Form(name, options.program, True)]
    built = build_forms(options.program, options.folder)
    return [Form("tree", options.program, True)] + [
        Form(f"{name}{'' if cached else ', no bytecode'}", program, cached)
        for name, program in built.items()
        for cached in (False, True)
    ]


def _start_row(work: str, form: str, pairs: Sequence[tuple[Start, Start]]) -> Row:
    ratios = [ours.seconds / theirs.seconds for ours, theirs in pairs]
    middle, other_middle = (statistics.median(one.seconds for one in side) for side in zip(*pairs))
    raw = f"{middle * 1000:.0f} ms, {other_middle * 1000:.0f} ms"
    figures = {"ratio": statistics.median(ratios), "seconds": middle, "seconds_against": other_middle}
    if pairs[0][0].cpu_seconds:
        figures["cpu_ratio"] = statistics.median(ours.cpu_seconds / theirs.cpu_seconds for ours, theirs in pairs)
        raw += f", by CPU time {figures['cpu_ratio']:.2f}x"
    return Row(work, form, f'python -c "{_IMPORTS}"', times(ratios), raw, figures)


class Start(NamedTuple):
    """How long a start took, and for how long it had the core (0 where the system does not tell)."""

    seconds: float
    cpu_seconds: float


def _time_to_first_answer(options: Options, form: Form, backend: str) -> Start:
    folder, core = options.folder, options.cores.server
    with oaiserve(Program(form.program, backend), core, folder, form.cached) as server:
        if backend == "mock":
            answer = ask_once(server.port, chat_request(server.port, server.path, chat_body(False)))
        else:
            answer = ask_once(server.port, _health_request(server.port))
        start = Start(time.perf_counter() - server.process.started, cpu_seconds(server.process.pid))
    if answer.status != 200:
        raise WrongAnswer(f"{form.name}: expected a healthy {backend}, got {answer.raw[:200]!r}")
    return start


def _health_request(port: int) -> bytes:
    return f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def _time_to_import(options: Options, cached: bool) -> Start:
    used, began = children_seconds(), time.perf_counter()
    with on_core(options.cores.server):
        environment = python_environment(options.folder, cached)
        subprocess.run([sys.executable, "-c", _IMPORTS], cwd=options.folder, env=environment, timeout=60, check=True)
    return Start(time.perf_counter() - began, children_seconds() - used)


def measure_memory(options: Options) -> Findings:
    """Compare memory after one answer, and what each kept-alive connection adds that has had an answer and is idle."""
    core, folder = options.cores.server, options.folder
    count = min(_IDLE_CONNECTIONS, options.file_limit - _SPARE_FILES)
    with oaiserve(Program(options.program, "relay"), core, folder) as relay:
        ask_once(relay.port, _health_request(relay.port))
        idle_relay = resident_kilobytes(relay.process.pid)
    with oaiserve(Program(options.program, "mock", (f"mock.text={_TEXT}",)), core, folder) as ours:
        answer = check_peer(ours, _TEXT, stream=False)
        idle, each = _memory(ours, count)
    with bare(answer.raw, core, folder) as peer:
        other_idle, other_each = _memory(peer, count)
    idle_raw = f"{idle / 1024:.1f} MB, {other_idle / 1024:.1f} MB"
    each_raw = f"{each:.1f} kB, {other_each:.1f} kB (growth over {count:,})"
    rows = [
        _memory_row("memory, idle mock after one answer", idle, other_idle, idle_raw),
        _memory_row(
            "memory, idle relay", idle_relay, other_idle, f"{idle_relay / 1024:.1f} MB, {other_idle / 1024:.1f} MB"
        ),
        _memory_row("memory, a kept-alive idle connection", each, other_each, each_raw),
    ]
    return Findings(rows, [])


def _memory_row(work: str, ours: float, theirs: float, raw: str) -> Row:
    figures = {"ratio": ours / theirs, "kilobytes": ours, "kilobytes_against": theirs}
    return Row(work, "oaiserve", "bare asyncio", times([ours / theirs]), raw, figures)


def _memory(server: Peer, count: int) -> tuple[float, float]:
    """Return kB in use after one answer, and the kB that each of `count` kept connections adds."""
    request = chat_request(server.port, server.path, chat_body(False))
    ask_once(server.port, request)
    idle = resident_kilobytes(server.process.pid)
    with contextlib.ExitStack() as kept:
        for _ in range(count):
            connection = kept.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            ask(connection, request)
        time.sleep(0.2)
        return idle, (resident_kilobytes(server.process.pid) - idle) / count
