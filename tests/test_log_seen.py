"""What the log tells of answers, in the forms that tell it: models, backend, phases, tokens, how they ended, traces."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys

import pytest
from programs import ask
from relays import CHAT, echo_received
from skipping import run
from upstreams import Peer, Upstream, chunked, sized

import oaiserve
from protocol.program.log_target import use_log
from protocol.service.log import Log

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
USAGE = {"prompt_tokens": 12, "completion_tokens": 85, "total_tokens": 97}
EVENTS = "content-type: text/event-stream"


@contextlib.asynccontextmanager
async def logging(upstream: Upstream, **options: str):
    """Run a relay to an upstream with a log that tells all, and give the service and the log's lines."""
    given = {"relay.base_url": f"{upstream.url}/v1", "relay.models": "gpt-4o = qwen3", "server.log": "json", **options}
    settings = oaiserve.load_settings("relay", set=given, environ={})
    lines: list[str] = []
    service = oaiserve.Service(settings, Log(settings.server.log, lines.append))
    await service.listen()
    try:
        yield service, lines
    finally:
        await service.close()


async def asking(port: int, *fields: tuple[str, str], body: bytes = b'{"model":"gpt-4o"}') -> asyncio.StreamReader:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = [f"POST {CHAT} HTTP/1.1", "host: x", f"content-length: {len(body)}", "content-type: application/json"]
    head += [f"{name}: {value}" for name, value in fields]
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    reader.writer = writer  # which would close what nobody holds
    return reader


async def whole(reader: asyncio.StreamReader) -> str:
    """Return an answer of known length, or what of a chunked one came."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = re.search(r"content-length: (\d+)", head)
    text = (await (reader.readexactly(int(length[1])) if length else reader.read())).decode()
    reader.writer.close()
    return text


def completed(lines: list[str]) -> list[dict]:
    """Return the records of requests that are over."""
    return [record for record in map(json.loads, lines) if record["event"] == "request_completed"]


def test_a_record_tells_models_backend_attempts_phases_tokens_and_the_end() -> None:
    async def answer(peer: Peer) -> None:
        for status in ("503 Busy", "200 OK"):
            await peer.read()
            await peer.send(sized(json.dumps({"usage": USAGE}).encode(), status, "content-type: application/json"))

    async def main() -> None:
        async with Upstream(answer) as upstream, logging(upstream) as (service, lines):
            await whole(await asking(service.port))
            (told,) = completed(lines)
            assert told["attempts"] == ["relay=503", "relay=200"]
            names = ("asked", "sent", "backend", "endpoint", "ended", "status", "tok_in", "tok_out")
            assert [told[name] for name in names] == ["gpt-4o", "qwen3", "relay", "relay", "done", 200, 12, 85]
            assert 0 <= told["seconds_connect"] <= told["seconds_first"] <= told["seconds"]
            assert "seconds_queue" not in told

    run(main)


def test_a_record_tells_for_how_long_there_was_no_connection() -> None:
    async def main() -> None:
        may_answer = asyncio.Event()

        async def answer(peer: Peer) -> None:
            while True:
                await peer.read()
                await may_answer.wait()
                await peer.send(sized(b"{}"))

        options = {"relay.max_connections": "1"}
        async with Upstream(answer) as upstream, logging(upstream, **options) as (service, lines):
            first, second = await asking(service.port), await asking(service.port)
            while len(upstream.received) < 1:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            may_answer.set()
            await whole(first)
            await whole(second)
            told = completed(lines)
            assert [("seconds_queue" in record, "seconds_connect" in record) for record in told] == [
                (False, True), (True, False),
            ]  # fmt: skip
            assert 0 < told[1]["seconds_queue"] <= told[1]["seconds_first"]

    run(main)


@pytest.mark.parametrize(("by", "ended"), [("upstream", "broke"), ("client", "left"), ("nobody", "done")])
def test_a_record_tells_how_an_answer_ended(by: str, ended: str) -> None:
    async def main() -> None:
        async def answer(peer: Peer) -> None:
            await peer.read()
            end = b"0\r\n\r\n" if by == "nobody" else b""
            await peer.send(chunked(b"data: {}\n\n", fields=(EVENTS,), end=end))
            if by == "upstream":
                peer.reset()
            elif by == "client":
                await peer.until_gone()

        async with Upstream(answer) as upstream, logging(upstream) as (service, lines):
            reader = await asking(service.port, ("connection", "close"))
            await reader.readuntil(b"data: {}")
            if by == "client":
                reader.writer.transport.abort()
            while not completed(lines):
                await asyncio.sleep(0.01)
            assert completed(lines)[0]["ended"] == ended
            reader.writer.close()

    run(main)


@pytest.mark.parametrize(("form", "looks"), [("json", True), ("line", True), ("text", False), ("off", False)])
def test_answers_are_looked_at_where_the_form_tells_of_them_alone(form: str, looks: bool) -> None:
    seen = []
    with oaiserve.start(set={"server.log": form, "server.log_file": "/dev/null"}) as server:
        ask(server.port, "GET", "/v1/models")
        seen += [request.seen is not None for request in server.requests]
    assert seen == [looks]


def test_a_form_that_is_changed_while_it_serves_looks_at_what_comes_then() -> None:
    async def answer(peer: Peer) -> None:
        while True:
            await peer.read()
            await peer.send(sized(b"{}"))

    async def main() -> None:
        async with Upstream(answer) as upstream, logging(upstream, **{"server.log": "text"}) as (service, lines):
            await whole(await asking(service.port))
            server = service.settings.server
            for form in ("json", "text"):
                changed = type(server)(**{**vars(server), "log": form})
                service.reload(service.settings._replace(server=changed))
                service.log.use(form)
                if form == "json":
                    lines.clear()
                    await whole(await asking(service.port))
                    assert completed(lines)[0]["asked"] == "gpt-4o"

    run(main)


# ---- traces


@pytest.mark.parametrize(
    ("trace", "came", "passed"),
    [
        ("pass", [], []),
        ("pass", [("traceparent", PARENT), ("tracestate", "a=1")], [PARENT, "a=1"]),
        ("pass", [("traceparent", "odd"), ("tracestate", "a=1")], ["odd", "a=1"]),
        ("begin", [("traceparent", PARENT), ("tracestate", "a=1")], [PARENT, "a=1"]),
        ("begin", [], None),
        ("begin", [("traceparent", "odd"), ("tracestate", "a=1")], None),
        ("begin", [("traceparent", PARENT), ("traceparent", PARENT)], None),
    ],
)
def test_a_trace_is_passed_on_as_it_came_or_begun(trace, came, passed) -> None:
    async def main() -> None:
        options = {"server.trace": trace}
        async with Upstream(echo_received()) as upstream, logging(upstream, **options) as (service, lines):
            for _ in range(3):  # the second head is known, and so is the third
                received = json.loads(await whole(await asking(service.port, *came, ("x-mine", "kept"))))
                fields = dict(received["fields"])
                told = [(one.get("trace_id"), one.get("span_id")) for one in map(json.loads, lines)][-2:]
                assert fields["x-mine"] == "kept" and told[0] == told[1]
                if passed is None:
                    begun = re.fullmatch("00-([0-9a-f]{32})-([0-9a-f]{16})-01", fields["traceparent"])
                    assert told[0] == begun.groups() and "tracestate" not in fields
                else:
                    assert [fields[name] for name in ("traceparent", "tracestate") if name in fields] == passed
                    assert told[0] == ((TRACE, SPAN) if PARENT in passed else (None, None))
            ids = {one.get("trace_id") for one in map(json.loads, lines)}
            assert len(ids) == (3 if passed is None else 1), "each request that begins one has its own"

    run(main)


# ---- the command line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], ["log = text", "log_requests = yes", "log_probes = no"]),
        (["-q"], ["log = text", "log_requests = no", "log_probes = no"]),
        (["--quiet", "--set", "server.log=json"], ["log = json", "log_requests = no", "log_probes = no"]),
        (["-v"], ["log = line", "log_requests = yes", "log_probes = yes"]),
        (["--verbose", "--set", "server.log=json"], ["log = json", "log_requests = yes", "log_probes = yes"]),
    ],
)
def test_q_says_less_and_v_more(capsys, words, told):
    assert oaiserve.main([*words, "--check"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert [line for line in lines if line.startswith(("log = ", "log_requests", "log_probes"))] == told


def test_q_and_v_contradict_each_other(capsys):
    assert oaiserve.main(["-q", "-v", "--check"]) == 2
    assert capsys.readouterr().err == "oaiserve: -q and -v: one says less, the other more; give one of them\n"


@pytest.mark.parametrize(
    ("environ", "is_terminal", "has_colours"),
    [
        ({}, True, True), ({}, False, False), ({"NO_COLOR": "1"}, True, False), ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
    ],
)  # fmt: skip
def test_colours_are_for_terminals_and_for_who_wants_them(monkeypatch, environ, is_terminal, has_colours):
    for name, value in {"NO_COLOR": "", "TERM": "xterm", **environ}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    server = oaiserve.load_settings(set={"server.log": "line"}).server
    told = {}
    for log_file in ("", "some.log"):
        log = Log("off", print)
        use_log(log, type(server)(**{**vars(server), "log_file": log_file}))
        told[log_file] = log._has_colours
    assert told == {"": has_colours, "some.log": False}
