"""A relay whose base_url leads back to itself says so at once, on every path: its list of models went round and round."""

from __future__ import annotations

import pytest
from relays import house
from skipping import run
from upstreams import closed_port


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-4o", "/v1/files", "/v1/chat/completions"])
def test_what_leads_back_is_refused_in_the_first_round(path: str) -> None:
    async def main() -> None:
        port = closed_port()
        rounds: list[str] = []
        url = f"http://127.0.0.1:{port}"
        async with house(url, server={"port": str(port)}, on_request=lambda one: rounds.append(one.path)) as relayed:
            answer = await (relayed.ask() if path.endswith("completions") else relayed.ask("GET", path, b""))
        assert answer.status == 508
        assert "leads back here" in answer.json()["error"]["message"]
        # Once by the client and once by the relay; a single model is asked for again where the list has none.
        assert len(rounds) <= (4 if path.endswith("gpt-4o") else 2)

    run(main)
