"""Short requests about what is large in the mock's memory: pages within bytes, long answers and long work in turns."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import tracemalloc

import pytest
from mocks import Clock, ask, make_form, make_mock, make_request, respond, world_of

from protocol.budget import work_with_pauses
from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.engine.resources import json_answer, within_bytes
from protocol.mock.engine.store import memory_size
from protocol.mock.text.vectors import lexical_words
from protocol.mock.training.graders import filled
from protocol.openai.answers import split_words, words_of
from protocol.openai.long_json import json_size

MEGABYTE = 1 << 20
MOST_PAGE_BYTES = 8 * MEGABYTE


def rounds_beside(answer):
    """Wait for an answer; return it, and the rounds that the loop had for others meanwhile."""
    rounds = 0

    async def others():
        nonlocal rounds
        while True:
            await asyncio.sleep(0)
            rounds += 1

    async def main():
        beside = asyncio.create_task(others())
        made = await answer() if not isinstance(answer, Response) else answer
        beside.cancel()
        return made

    return asyncio.run(main()), rounds


def conversation(mock, texts):
    """Return the id of a conversation with a message for each text."""
    id = ask(mock, "POST", "/v1/conversations", {})["id"]
    for text in texts:
        message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        ask(mock, "POST", f"/v1/conversations/{id}/items", {"items": [message]})
    return id


def test_a_page_has_no_more_bytes_than_it_may_and_the_next_goes_on_behind_it():
    mock = make_mock()
    texts = [letter * (3 * MEGABYTE) for letter in "abcdefg"]
    id = conversation(mock, texts)
    seen, after, pages = [], "", 0
    while True:
        page = ask(mock, "GET", f"/v1/conversations/{id}/items?order=asc&limit=100{after}")
        assert len(json.dumps(page["data"])) <= MOST_PAGE_BYTES
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        seen += [item["content"][0]["text"] for item in page["data"]]
        pages += 1
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"
    assert seen == texts
    assert pages == 4  # two texts a page


def test_one_object_that_is_too_large_is_a_page():
    mock = make_mock()
    id = conversation(mock, ["x" * (9 * MEGABYTE), "y"])
    page = ask(mock, "GET", f"/v1/conversations/{id}/items?order=asc")
    assert (len(page["data"]), page["has_more"]) == (1, True)


@pytest.mark.parametrize("cursor", ["next", "next_page"])
def test_a_shorter_page_has_its_cursor_where_it_ends(cursor):
    large = [{"id": str(number), "text": "x" * (3 * MEGABYTE)} for number in range(4)]
    page = within_bytes({"data": large, cursor: None, "first_id": "0", "last_id": "3", "has_more": False})
    assert page == {"data": large[:2], cursor: "1", "first_id": "0", "last_id": "1", "has_more": True}


@pytest.mark.parametrize("answer", [{"data": [1]}, {"data": "x", "has_more": 1}, {"data": [], "has_more": False}])
def test_what_is_no_long_page_stays_as_it_is(answer):
    assert within_bytes(answer) is answer


def test_others_have_turns_while_a_long_answer_is_written():
    mock = make_mock()
    world = world_of(mock)
    value = {"id": "x", "parts": [{"n": number} for number in range(100_000)]}
    world.store.add("/things", "x", value)

    async def write():
        return await json_answer(world, value)

    response, rounds = rounds_beside(write)
    assert json.loads(response.body) == value
    assert rounds >= 20
    assert isinstance(json_answer(world, {"id": "y"}), Response)


@pytest.mark.parametrize(("size_of", "steps"), [(memory_size, 250 / 1_000), (json_size, 500 / 2_000)])
def test_others_have_turns_while_a_value_is_counted(size_of, steps):
    value = [[number] for number in range(100_000)]
    sizes, pauses = [], []
    work_with_pauses(lambda: pauses.append(1), lambda: sizes.append(size_of(value)))
    assert sizes == [size_of(value)]
    assert len(pauses) == 200_000 * steps // 5_000  # a hundred thousand lists and numbers, and what a turn may cost


def test_what_is_remembered_counts_for_the_memory_that_it_takes():
    texts = [{"role": "user", "content": f"number {number}"} for number in range(20_000)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        value = json.loads(json.dumps(texts))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # Names are there once, however many objects have them, and count each time.
    assert taken <= memory_size(value) <= 1.5 * taken
    assert memory_size(value) == memory_size(value, pauses=False)


# ---- streams that repeat what they were asked -----------------------------------------------------------------------


def tools_of(megabytes):
    return [
        {"type": "function", "name": f"f{number}", "description": "x" * MEGABYTE, "parameters": {}}
        for number in range(megabytes)
    ]


def test_a_response_is_too_long_for_a_stream_where_its_events_would_be_longer_than_any_answer():
    mock = make_mock()
    body = {"model": "m", "input": "Hello", "tools": tools_of(17)}
    id = ask(mock, "POST", "/v1/responses", body)["id"]
    for method, path, asked in (
        ("POST", "/v1/responses", {**body, "stream": True}),
        ("GET", f"/v1/responses/{id}?stream=true", None),
    ):
        with pytest.raises(ApiError) as refused:
            respond(mock, method, path, asked)
        assert (refused.value.status, refused.value.code) == (400, "answer_too_large")
    body["tools"] = tools_of(3)
    id = ask(mock, "POST", "/v1/responses", body)["id"]
    assert (
        sum(len(frame) for frame in respond(mock, "GET", f"/v1/responses/{id}?stream=true").body.frames) > 9 * MEGABYTE
    )


def test_others_have_turns_while_a_stream_is_written_that_repeats_what_it_was_asked():
    clock = Clock()

    async def sleep(seconds):
        clock.now += seconds

    mock = make_mock(clock=clock, sleep=sleep)
    for background in (False, True):
        body = {"model": "m", "input": "Hello", "tools": tools_of(3), "background": background}
        id = ask(mock, "POST", "/v1/responses", body)["id"]

        async def again(id=id, background=background):
            request = make_request("GET", f"/v1/responses/{id}?stream=true")
            response = mock.endpoint(request).answer(request)
            response = response if isinstance(response, Response) else await response
            return [piece async for piece in response.body] if background else response.body.frames

        frames, rounds = rounds_beside(again)
        assert b"".join(frames).count(b'"name":"f2"') >= 3
        assert rounds >= 20


# ---- templates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a {{item.x}} b {{ sample.output_text }}{{item.none}}", "a 1 b said"),
        ("{{item.x}", "{{item.x}"),
        ("{{{item.x}}}", "{1}"),
        ("{{ {{item.x}}", "{{ 1"),
        ("{{item.x}}" * 3, "111"),
        ("{{" + "x" * 2000 + "}}", "{{" + "x" * 2000 + "}}"),
        ("", ""),
    ],
)
def test_a_template_is_filled_in(template, expected):
    assert filled(template, {"item": {"x": 1}, "sample": {"output_text": "said"}}) == expected


def test_others_have_turns_while_a_template_of_nothing_but_braces_is_filled_in():
    for template in ("{{" * 100_000, "{{item.x" * 100_000):
        pauses, values = [], {"item": {}, "sample": {}}
        work_with_pauses(functools.partial(pauses.append, 1), functools.partial(filled, template, values))
        assert len(pauses) >= 15


# ---- uploads --------------------------------------------------------------------------------------------------------


def begin_upload(mock, size, part):
    """Return the path of an upload that expects so many bytes, and the id of its part."""
    body = {"bytes": size, "filename": "a.bin", "mime_type": "text/plain", "purpose": "user_data"}
    path = f"/v1/uploads/{ask(mock, 'POST', '/v1/uploads', body)['id']}"
    return path, ask(mock, "POST", f"{path}/parts", *make_form(("data", "a", part)))["id"]


@pytest.mark.parametrize("unknown_ids", ["404", "invent"])
def test_a_part_that_is_named_again_and_again_makes_no_file_larger_than_memory(unknown_ids):
    mock = make_mock(max_stored=3 * MEGABYTE, unknown_ids=unknown_ids)
    path, part = begin_upload(mock, 8192 * MEGABYTE, b"x" * MEGABYTE)
    with pytest.raises(ApiError) as refused:
        ask(mock, "POST", f"{path}/complete", {"part_ids": [part] * 8192})
    assert (refused.value.status, refused.value.code) == (413, "file_too_large")
    with pytest.raises(ApiError) as refused:
        ask(mock, "POST", f"{path}/complete", {"part_ids": [part] * 2})
    assert (refused.value.status, refused.value.code) == (400, "bytes_mismatch")


def test_others_have_turns_while_a_large_upload_is_completed():
    mock = make_mock()
    content = b"xy" * (8 * MEGABYTE)
    path, part = begin_upload(mock, 2 * len(content), content)
    right = hashlib.md5(content * 2).hexdigest()
    for md5, expected in (("0" * 32, "md5_mismatch"), (right, "completed"), (right, "invalid_upload_status")):
        request = make_request("POST", f"{path}/complete", {"part_ids": [part, part], "md5": md5})

        async def complete(request=request):
            try:
                return json.loads((await mock.endpoint(request).answer(request)).body)["status"]
            except ApiError as exc:
                return exc.code

        told, rounds = rounds_beside(complete)
        assert told == expected
        assert rounds >= (0 if expected == "invalid_upload_status" else 10)


# ---- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "a", " a  b\n", "中文 and words ", "a" * 70_000 + " b", " x y" * 30_000])
def test_the_words_of_a_text_are_the_same_one_by_one_and_make_up_the_text(text):
    assert list(words_of(text)) == split_words(text)
    assert "".join(words_of(text)) == text


def test_others_have_turns_while_a_long_text_is_cut_into_words():
    for work in (split_words, lexical_words, lambda text: sum(1 for _ in words_of(text))):
        pauses = []
        work_with_pauses(functools.partial(pauses.append, 1), functools.partial(work, "word " * 100_000))
        assert len(pauses) >= 10


def test_others_have_turns_while_a_native_call_counts_its_words():
    mock = make_mock()
    text = "word " * 300_000
    for path, body in (
        ("services/aigc/text-generation/generation", {"model": "qwen-plus", "input": {"prompt": text}}),
        ("tokenizer", {"model": "qwen-plus", "input": {"prompt": text}}),
        (
            "services/rerank/text-rerank/text-rerank",
            {"model": "gte-rerank", "input": {"query": text, "documents": ["a", text]}},
        ),
    ):
        request = make_request("POST", f"/api/v1/{path}", body, [("authorization", "Bearer sk-x")])
        pauses = []
        endpoint = mock.endpoint(request)
        work_with_pauses(functools.partial(pauses.append, 1), functools.partial(endpoint.answer, request))
        assert len(pauses) >= 30, path
