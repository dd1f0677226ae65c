"""Responses with a picture over a WebSocket: painted in turns with everybody else, whatever their pace."""

from __future__ import annotations

import asyncio

import pytest
from mocks import make_mock
from test_mock_realtime import Socket
from test_turns import Rounds

PAINT = {
    "model": "gpt-5", "input": "Draw a cat", "tool_choice": {"type": "image_generation"},
    "tools": [{"type": "image_generation", "size": "4096x4096", "output_format": "jpeg"}],
}  # fmt: skip


@pytest.mark.parametrize("delay", [0, 0.001])
def test_a_picture_is_painted_in_turns(delay):
    async def rounds(body):
        socket = Socket(make_mock(first_delay=delay), "/v1/responses")
        socket.send("response.create", **body)
        with Rounds() as others:
            events = await socket.until("response.completed")
            count = others.count
        await socket.close()
        return count, events[-1]["response"]["output"]

    async def both():
        plain, _ = await rounds({"model": "gpt-5", "input": "Say a word"})
        painted, output = await rounds({**PAINT, "input": f"Draw cat {delay}"})
        return plain, painted, output

    plain, painted, output = asyncio.run(both())
    assert any(item["type"] == "image_generation_call" and item["result"] for item in output)
    assert painted > 20 + (plain if not delay else 0)
