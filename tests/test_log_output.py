"""protocol/service/log_output.py: a log that cannot be written stops nobody."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from programs import ANY_CHAT, ask, running

import oaiserve
from protocol.event_loop import run_coroutine
from protocol.program.log_target import open_log
from protocol.service.log_output import LogOutput

LINE = "x" * 99 + "\n"


class Pipe:
    """A pipe that a test reads when it likes."""

    def __enter__(self):
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        return self

    def __exit__(self, *exc):
        os.close(self.writing)
        if self.reading is not None:
            os.close(self.reading)

    def read(self):
        try:
            return os.read(self.reading, 1 << 20).decode()
        except BlockingIOError:
            return ""

    def leave(self):
        os.close(self.reading)
        self.reading = None


def test_lines_are_written_at_once():
    with Pipe() as pipe:
        LogOutput(pipe.writing).write("Größe\n" + LINE)
        assert pipe.read() == "Größe\n" + LINE


def test_a_pipe_that_nobody_empties_keeps_lines_waiting_and_in_order():
    with Pipe() as pipe:
        tries = []
        output = LogOutput(pipe.writing, lambda seconds, call: tries.append(call))
        sent = [f"{number:099}\n" for number in range(3000)]
        for line in sent:
            output.write(line)
        assert tries and len(tries) < 3000
        received = ""
        for _ in range(100):
            received += pipe.read()
            tries.pop()() if tries else None
        assert received == "".join(sent)


def test_beyond_a_bound_lines_are_lost_and_counted():
    with Pipe() as pipe:
        output = LogOutput(pipe.writing)
        for _ in range(15_000):
            output.write(LINE)
        received = ""
        for _ in range(600):
            received += pipe.read()
            output.try_again()
        kept = received.count(LINE)
        assert 10_000 < kept < 15_000
        assert received == LINE * kept + f"{15_000 - kept} lines of the log were lost: nobody took them\n"
        output.write(LINE)
        assert pipe.read() == LINE


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full disk to be had")
def test_a_full_disk_raises_nothing_and_says_why_lines_are_lost(tmp_path):
    full = os.open("/dev/full", os.O_WRONLY)
    output = LogOutput(full)
    for _ in range(11_000):
        output.write(LINE)
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(file, full)  # there is room again
    output.try_again()
    output.finish()
    os.close(full)
    os.close(file)
    text = (tmp_path / "log").read_text()
    lost = 11_000 - text.count(LINE)
    assert lost > 0 and text.endswith(f"\n{lost} lines of the log were lost: No space left on device\n")


def test_a_reader_that_has_gone_is_no_error():
    with Pipe() as pipe:
        output = LogOutput(pipe.writing)
        pipe.leave()
        output.write(LINE)
        output.finish()


# ---- the whole program ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full disk to be had")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_full_disk_stops_no_answer(command, workers):
    with running(command, "mock", "--set", "server.log_file=/dev/full", "--workers", workers) as program:
        for _ in range(50):
            assert ask(program.port, "POST", "/v1/chat/completions", ANY_CHAT)[0] == 200
        status, errors = program.stop()
    assert (status, errors) == (0, "")


def test_a_log_that_nobody_reads_stops_no_answer(command):
    with running(command, "mock") as program:  # its standard error is a pipe, which holds 64 kB
        for _ in range(600):
            assert ask(program.port, "POST", "/v1/chat/completions", ANY_CHAT)[0] == 200
        program.process.send_signal(signal.SIGTERM)
        errors = program.process.stderr.read()
        assert program.process.wait(timeout=100) == 0
    assert errors.count("Request completed") == 600 and "Traceback" not in errors


def test_lines_that_wait_for_their_turn_are_written_before_the_log_is_closed(tmp_path) -> None:
    target = tmp_path / "log"

    settings = oaiserve.load_settings("mock", set={"server.log": "text", "server.log_file": str(target)}, environ={})

    async def main() -> None:
        with open_log(settings.server, asyncio.get_running_loop()) as log:
            log.say("the last word")

    run_coroutine(main())
    assert target.read_text().endswith(" - the last word\n")
