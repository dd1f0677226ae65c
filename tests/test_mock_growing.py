"""What grows in the mock after it was made counts for `max_stored`, too: talks, runs, sessions, evals.

The oracle is what an object would count for that is made now, but for what a status and some times take.
"""

from __future__ import annotations

import pytest
from mocks import Clock, ask, make_mock, world_of
from test_mock_agents import Office, said
from test_mock_assistants import TIME, WEATHER, Desk
from test_mock_evals import CHECK, begin

from protocol.mock.engine.store import memory_size

LONG = "x" * 100_000
SLACK = 1000  # bytes


def check_sizes(mock):
    """Assert that each object counts as it is now, and all of them together; return the bytes that all count for."""
    store = world_of(mock).store
    records = list(store._by_age.values())
    for record in records:
        assert abs(record.object_size - memory_size(record.object)) < SLACK, (record.collection, record.object)
    kept = sum(store._kept.values())
    assert store.held == sum(record.size + len(record.content) for record in records) + kept
    return store.held


def respond(mock, **body):
    return ask(mock, "POST", "/v1/responses", {"model": "m", **body})["id"]


def test_a_talk_counts_once_however_many_responses_keep_it():
    mock = make_mock()
    first = respond(mock, input=LONG)
    ends = [respond(mock, input="And?", previous_response_id=first) for _ in range(20)]
    assert 100_000 < check_sizes(mock) < 350_000  # twenty-one responses take 9,000 each
    ask(mock, "DELETE", f"/v1/responses/{first}")
    assert check_sizes(mock) > 100_000  # the others keep it
    for id in ends:
        ask(mock, "DELETE", f"/v1/responses/{id}")
    assert check_sizes(mock) == 0


@pytest.mark.parametrize("background", [False, True])
def test_no_talk_is_larger_than_what_may_be_stored(background):
    mock = make_mock(max_stored=1_000_000)
    last, longest, turns = None, 0, 0
    for _ in range(40):
        is_known = last is not None and world_of(mock).store.get("/responses", last) is not None
        turns = turns + 1 if is_known else 1
        longest = max(longest, turns)
        more = {"previous_response_id": last} if is_known else {}
        last = respond(mock, input=LONG, background=background, **more)
        assert check_sizes(mock) <= 1_000_000
    assert 5 < longest <= 10


def test_the_items_of_a_conversation_that_is_forgotten_count_while_a_response_keeps_them():
    mock = make_mock()
    conversation = ask(mock, "POST", "/v1/conversations", {"items": [{"role": "user", "content": LONG}]})["id"]
    ids = [respond(mock, input="And?", conversation=conversation) for _ in range(3)]
    assert check_sizes(mock) < 300_000
    world_of(mock).store.remove("/conversations", conversation)
    assert 100_000 < check_sizes(mock) < 200_000
    for id in ids:
        ask(mock, "DELETE", f"/v1/responses/{id}")
    assert check_sizes(mock) == 0


def test_a_background_response_counts_as_it_grows():
    clock = Clock()
    mock = make_mock(clock=clock, text=LONG)
    id = respond(mock, input="Hello", background=True)
    for _ in range(6):
        clock.now += 1
        ask(mock, "GET", f"/v1/responses/{id}")
        check_sizes(mock)
    other = respond(mock, input="Hello", background=True)
    ask(mock, "POST", f"/v1/responses/{other}/cancel")
    check_sizes(mock)


def test_a_run_its_steps_and_its_messages_count():
    desk = Desk("What is the weather in Oslo and what time is it in Rome?", [WEATHER, TIME], {"text": LONG})
    desk.run()
    run = desk.later()
    check_sizes(desk.mock)
    before = world_of(desk.mock).store.held
    desk.submit(run, LONG, LONG)
    assert check_sizes(desk.mock) > before + 190_000
    assert desk.later()["status"] == "completed"
    assert check_sizes(desk.mock) > before + 190_000
    ended = Desk("What is the weather in Oslo?", [WEATHER])
    ended.run()
    ended.later()
    ended.later(10_000)
    check_sizes(ended.mock)


def test_a_session_its_turns_and_its_events_count():
    office = Office("What is the weather in Oslo?")
    session = office.later()
    before = check_sizes(office.mock)
    (action,) = session["required_actions"]
    office.send(
        {
            "type": "agent.session.input.tool_result",
            "call_id": action["call_id"],
            "turn_id": action["turn_id"],
            "success": True,
            "output": LONG,
        }
    )
    office.later()
    assert check_sizes(office.mock) > before + 200_000  # the item, and the event that tells of it
    office.send(said(LONG))
    office.later()
    assert check_sizes(office.mock) > before + 400_000
    ask(office.mock, "DELETE", f"/v1{office.path}")
    world_of(office.mock).store.remove("/agents/sessions", office.session["id"])
    assert check_sizes(office.mock) < before


def test_the_results_of_an_eval_count_before_they_are_shown():
    clock = Clock()
    mock = make_mock(clock=clock)
    rows = [{"item": {"wanted": LONG}, "sample": {"output_text": LONG}} for _ in range(3)]
    path = begin(mock, {"type": "file_content", "content": rows}, [CHECK])
    assert check_sizes(mock) > 600_000
    for _ in range(5):
        clock.now += 1
        ask(mock, "GET", path)
        assert check_sizes(mock) > 600_000
    assert world_of(mock).store.held < 1_300_000
