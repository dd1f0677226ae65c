"""tests/bench: the traffic that it sends, and how it reads clocks and counts; nothing is measured here."""

from __future__ import annotations

import itertools
import json
import pathlib
import socket
import sys
import time

import pytest

# At the end: both folders have an nginx.py.
sys.path.append(str(pathlib.Path(__file__).with_name("bench")))

from load import Load
from paced import is_sampled
from pacing import _let_kernel_time, _receive
from peers import Program, _keys_file, seconds_of_ps
from throughput import _rate_row
from traffic import KEY, TRAFFIC, USUAL, requests, template, wrk_script

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
