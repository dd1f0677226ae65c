"""tests/bench: the traffic that it sends, and how it reads clocks and counts; nothing is measured here."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import socket
import sys
import time

import pytest

# At the end: both folders have an nginx.py.
sys.path.append(str(pathlib.Path(__file__).with_name("bench")))

from behind import CHUNKS, TEXT, events
from changes import as_changes, read_run
from installed import installed
from load import Load
from other_mocks import _CHARACTERS, _MOCKS, _TEXT
from paced import is_sampled
from pacing import _let_kernel_time, _receive
from peers import (
    CannotMeasure,
    Cores,
    Program,
    ServerProcess,
    _keys_file,
    compile_ahead,
    cpu_seconds,
    oaiserve,
    running,
    seconds_of_ps,
)
from report import Row, as_json
from throughput import Options, _rate_row, check_peer
from traffic import KEY, TRAFFIC, USUAL, requests, template, wrk_script
from variants import measure_workers

from protocol.team.keys_file import find_key, read_keys_file


def made(traffic, count=50, seed=7, keys=1):
    common = template(traffic, 8080, "/v1/chat/completions", True, keys)
    return list(itertools.islice(requests(common, seed), count))


@pytest.mark.parametrize("name", TRAFFIC)
def test_requests_are_whole_and_their_texts_vary(name):
    lengths = set()
    for request in made(TRAFFIC[name]):
        head, _, body = request.partition(b"\r\n\r\n")
        assert f"\r\nContent-Length: {len(body)}".encode() in head
        assert json.loads(body)["stream"] is True
        lengths.add(len(body))
    assert len(lengths) > 20


def test_the_same_seed_gives_the_same_requests():
    assert made(USUAL) == made(USUAL)
    assert made(USUAL) != made(USUAL, seed=8)


def test_usual_heads_are_all_new_and_those_of_the_others_repeat():
    def heads(traffic):
        return {request.partition(b"Content-Length")[0] for request in made(traffic)}

    assert {name: len(heads(traffic)) for name, traffic in TRAFFIC.items()} == {
        "usual": 50,
        "untraced": 1,
        "repeated": 1,
    }


def test_wrk_is_given_the_same_parts():
    common = template(USUAL, 8080, "/v1/chat/completions", False, 20)
    script = wrk_script(common, 3)
    assert all(json.dumps(part) in script for part in (common.head, common.before, common.after))
    assert "randomseed(3)" in script and "math.random(20)" in script and "if true then" in script


def test_each_caller_s_key_is_in_the_keys_file():
    keys = read_keys_file(_keys_file(20), "keys.ini")
    asked = {line for request in made(USUAL, 300, keys=20) for line in request.split(b"\r\n") if b"Bearer" in line}
    assert asked == {f"Authorization: Bearer {KEY % number}".encode() for number in range(1, 21)}
    assert all(find_key(keys, KEY % number) for number in range(1, 21))


@pytest.mark.parametrize(
    ("shown", "seconds"), [("0:01.25", 1.25), ("00:00:07", 7), ("01:02:03", 3723), ("2-00:00:01", 172801)]
)
def test_ps_tells_seconds(shown, seconds):
    assert seconds_of_ps(shown) == seconds


def test_names_say_what_is_on():
    file = pathlib.Path("oaiserve.py")
    assert Program(file, "mock").name == "oaiserve (log, CORS, metrics on)"
    assert Program(file, "mock", ("server.log=off",)).name == "oaiserve (CORS, metrics on)"
    assert Program(file, "mock", keys=1).name == "oaiserve (log, CORS, metrics, keys, limits, ledger on)"


def test_ratios_are_those_of_neighbours_in_time():
    ours = [Load(100, 0.01, 0, 0.5), Load(10, 0.02, 0, 0.5), Load(300, 0.01, 0, 0.5)]
    theirs = [Load(200, 0.005, 0, 0.5), Load(20, 0.01, 0, 0.5), Load(100, 0.01, 0, 0.5)]
    row = _rate_row("work", "ours", "theirs", {"ours": ours, "theirs": theirs}, {"ours": 84.0})
    assert (row.figures["ratio"], row.figures["cpu_ratio"]) == (0.5, 0.5)
    assert row.figures["calls"] == 84 and "calls_against" not in row.figures


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels are not asked for their times")
def test_a_word_has_come_when_the_kernel_had_it_however_late_the_client_reads():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        sender, _ = server.accept()
        with sender:
            _let_kernel_time(client)
            for word in (b"one", b"two"):
                sender.send(word)
                time.sleep(0.02)
                sent_before = time.time() - 0.02
                data, came = _receive(client)
                assert data == word and came <= sent_before


def test_streams_that_are_timed_are_of_all_phases_and_the_first_is_none_of_them():
    """At 50 words/s and a stream begun each millisecond, each word of every 20th is due with those of the first."""
    timed = [number for number in range(1000) if is_sampled(number)]
    assert len(timed) >= 20 and 0 not in timed
    assert len({number % 20 for number in timed}) == 20


def row(work, against="nginx", **figures):
    return Row(work, "oaiserve", against, "", "", figures)


def changes(rows, before, here=None, there=None, file=None):
    file.write_text(as_json(before, [], there or {}))
    return as_changes(rows, here or {}, read_run(file)).splitlines()


def test_ratios_of_an_earlier_run_are_shown_beside_those_of_this_one(tmp_path):
    now = [row("plain", ratio=1.2, cpu_ratio=1.0, cpu_seconds=1e-5), row("latency", p50=1.5, p99=2.0)]
    then = [row("plain", ratio=1.0, cpu_ratio=0.8, cpu_seconds=2e-5), row("latency", p50=3.0, p99=2.0)]
    shown = changes(now, then, file=tmp_path / "earlier run")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown[2:] if line]
    assert cells == [
        ["plain", "oaiserve", "nginx", "ratio", "1.20", "1.00", "1.20x"],
        ["plain", "oaiserve", "nginx", "by CPU time", "1.00", "0.80", "1.25x"],
        ["latency", "oaiserve", "nginx", "p50", "1.50", "3.00", "0.50x"],
        ["latency", "oaiserve", "nginx", "p99", "2.00", "2.00", "1.00x"],
    ]


def test_what_is_in_one_run_alone_or_has_no_ratio_is_named(tmp_path):
    now = [row("plain, usual", ratio=1.0), row("plain", "envoy", ratio=1.0), row("words", late_ms=0.2)]
    then = [row("plain, repeated", ratio=1.0), row("plain", ratio=1.0), row("words", late_ms=0.3)]
    assert changes(now, then, file=tmp_path / "run.json") == [
        "- Only in this run: plain, usual: oaiserve against nginx; plain: oaiserve against envoy.",
        "- Only in that run: plain, repeated: oaiserve against nginx; plain: oaiserve against nginx.",
        "- Without a ratio in both: words: oaiserve against nginx.",
    ]


def test_versions_and_loads_that_are_not_the_same_are_told_in_one_line(tmp_path):
    here = {"Python": "3.11.7", "connections": "64", "nginx": "1.22.1", "envoy": "1.40.0"}
    there = {"Python": "3.12.1", "connections": "64", "nginx": "1.27.0"}
    told = changes([], [], here, there, file=tmp_path / "run.json")
    assert told == [
        "- Ratios may differ for another reason than the program: Python 3.11.7, there 3.12.1; nginx 1.22.1, there 1.27.0."
    ]


@pytest.mark.parametrize("content", [b"", b"#!/usr/bin/env python3\n", b"PK\x03\x04", b"[1]", b"no JSON"])
def test_what_is_no_json_object_is_taken_for_a_program(tmp_path, content):
    file = tmp_path / "run.json"
    file.write_bytes(content)
    assert read_run(file) is None


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"rows": [1], "circumstances": {}}', b'{"rows": []}', b"{\xff}"])
def test_another_json_object_is_refused_in_one_line(tmp_path, content):
    file = tmp_path / "oaiserve.py"
    file.write_bytes(content)
    with pytest.raises(CannotMeasure, match=r"^--compare .*oaiserve\.py: it begins as a JSON object does.*$"):
        read_run(file)


def test_a_file_to_compare_with_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CannotMeasure, match="No such file"):
        read_run(tmp_path / "nothing")


@pytest.mark.parametrize("content", ["", "[1]", "Some words, and\nsome more."])
def test_what_is_no_oaiserve_is_refused_in_one_line(tmp_path, content):
    file = tmp_path / "oaiserve.py"
    file.write_text(content)
    with pytest.raises(CannotMeasure, match=r"^.*oaiserve\.py is no oaiserve\.py that starts: mock --check: .*$"):
        compile_ahead(file, tmp_path)


def test_a_server_whose_command_is_missing_says_where_to_have_it(tmp_path):
    with (
        pytest.raises(CannotMeasure, match=r"^no thing: pip install thing has it$"),
        installed("thing", lambda port, home: ["no-such-thing", str(port)], None, tmp_path, "pip install thing"),
    ):
        pass


def test_a_mock_that_counts_characters_says_a_word_a_chunk_and_as_many_as_the_others():
    assert {len(word) for word in _TEXT.split()} == {_CHARACTERS - 1}
    assert len(events(_TEXT)) == len(events(TEXT)) == CHUNKS


@pytest.mark.parametrize("name", ["granian", "robyn"])
def test_an_application_that_stands_in_for_a_mock_is_python(name, tmp_path):
    _MOCKS[name][0](8080, tmp_path)
    compile((tmp_path / f"{name}_mock.py").read_text(), name, "exec")


@pytest.mark.skipif(sys.platform != "linux", reason="ps elsewhere tells of one process alone")
def test_time_on_a_core_is_counted_in_what_a_command_starts_in_its_turn(tmp_path):
    """Robyn's command starts a Python that starts another one."""
    start = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
    busy = """
import time
while time.process_time() < 0.3: pass
print("http://127.0.0.1:1", flush=True)
time.sleep(60)"""
    command = [sys.executable, "-c", start, start, busy]
    with running(ServerProcess("nested", command, None, tmp_path)) as process:
        process.printed_port()
        assert cpu_seconds(process.pid) >= 0.3


PROGRAM = pathlib.Path(__file__).parents[1] / "oaiserve.py"


@pytest.mark.parametrize(("cores", "why"), [(Cores(0, 1, 1), "two cores alone"), (Cores(None, None, None), "chosen")])
def test_two_workers_are_measured_only_where_the_load_leaves_them_a_core_each(tmp_path, cores, why):
    options = Options(PROGRAM, None, cores, tmp_path, 1000, 1, 4, 1, [USUAL], [], 20)
    rows, notes = measure_workers(options)
    assert not rows and len(notes) == 1 and why in notes[0]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_workers_are_all_on_the_cores_that_their_server_has(tmp_path):
    cores = os.sched_getaffinity(0)
    two = Program(PROGRAM, "mock", (f"mock.text={TEXT}",), called="two workers", workers=2)
    with oaiserve(two, cores, tmp_path) as server:
        check_peer(server, TEXT, stream=True)
        workers = pathlib.Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        assert [os.sched_getaffinity(int(worker)) for worker in workers] == [cores, cores]
    assert server.name == "two workers (log, CORS, metrics on)"
