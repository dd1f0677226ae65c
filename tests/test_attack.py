"""Every kind of attack in a short form: no turn of the loop that answers it takes long, whatever the request says.

Steps are counted and not seconds (tests/steps.py): one turn of the loop is one callback, work in turns included. The
long form, with a clock and with bodies as large as they may be, is `python tests/attack`.
"""

from __future__ import annotations

import asyncio
import pathlib
import platform
import re
import subprocess
import sys

import pytest
from steps import longest_turn

import oaiserve

sys.path.insert(0, str(pathlib.Path(__file__).with_name("attack")))

from kinds import KINDS, Shot
from mutations import Mutations

pytestmark = pytest.mark.limit(120)

# A kind's size here: a hundredth of what the limits let pass takes milliseconds, and is still far from a usual request.
_SIZE = 0.01

# What costs the whole budget at any size is made smaller still, or counting its steps would take a minute.
# Talks are cut into turns by what was said so far, so they are made larger.
_SIZES = {
    "schema-of-long-enum": 0.002, "prompt-beside-tools": 0.002, "frames-of-websockets": 0.05,
    "realtime-many-items": 0.05, "realtime-long-sound": 0.1, "realtime-small-sounds": 0.1,
    "realtime-large-texts": 0.1, "responses-over-a-websocket": 0.05, "live-sessions": 0.05,
}  # fmt: skip

# A step takes 50 to 100 ns, so this is a quarter of what the others may have to wait.
_MOST_STEPS = 250_000


async def fired(port: int, shots: list[Shot]) -> list[str]:
    """Fire the shots one after the other; return the statuses."""
    statuses = []
    identifier = ""
    for shot in shots:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(shot.to_bytes(identifier).replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        if shot.frames:
            writer.write_eof()  # some end within a message
        answer = await reader.read()
        writer.close()
        statuses.append(answer[9:12].decode())
        if b'"id":"' in answer and (not shot.needs_id or not identifier):
            identifier = answer.partition(b'"id":"')[2].partition(b'"')[0].decode()
    return statuses


def attack(shots: list[Shot], **settings: str) -> tuple[int, list[str]]:
    """Fire the shots at a mock of their own; return the steps of the longest turn, and the statuses."""
    statuses: list[str] = []

    async def main() -> None:
        async with oaiserve.serve(oaiserve.load_settings("mock", set={"server.port": "0", **settings})) as server:
            await fired(server.port, shots[:1])  # what is loaded at the first request
            statuses.extend(await fired(server.port, shots))

    return longest_turn(lambda: asyncio.run(main())), statuses


@pytest.mark.parametrize("name", [kind.name for kind in KINDS.values() if "mock" in kind.backends])
def test_no_turn_is_long(name: str) -> None:
    steps, statuses = attack(KINDS[name].shots(_SIZES.get(name, _SIZE)))
    assert steps < _MOST_STEPS
    assert not {status for status in statuses if not status or status >= "500"}


def test_no_turn_is_long_where_equal_requests_get_equal_answers() -> None:
    steps, statuses = attack(KINDS["json-of-messages"].shots(0.2), **{"mock.freeze": "yes"})
    assert steps < _MOST_STEPS and statuses == ["200", "200"]


@pytest.mark.parametrize(("name", "shots", "size"), [("references-to-items", 2, 0.4), ("json-of-messages", 2, 0.4)])
def test_no_turn_grows_with_the_items_of_a_response(name: str, shots: int, size: float) -> None:
    steps, statuses = attack(KINDS[name].shots(size)[:shots])
    assert steps < _MOST_STEPS // 2 and "200" in statuses


@pytest.mark.parametrize("seed", range(4))
def test_no_turn_is_long_for_what_others_make_of_valid_requests(seed: int) -> None:
    mutations = Mutations(seed)
    steps, statuses = attack([mutations.shot(number) for number in range(150)])
    assert steps < _MOST_STEPS
    assert not {status for status in statuses if not status or status >= "500"}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks Linux and glibc what is held")
def test_the_long_form_tells_what_a_kind_did() -> None:
    attack = str(pathlib.Path(__file__).with_name("attack"))
    command = [sys.executable, attack, "json-of-depth", "--size", "0.002", "--backend", "relay"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert run.returncode == 0, run.stderr
    assert re.search(r"^relay: json-of-depth +\d+ ms +\d+ ms +[\d.]+ s +\d+ MB +[\d.]+ MB +400 x4$", run.stdout, re.M)
