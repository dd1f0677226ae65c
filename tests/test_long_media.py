"""Pictures and speech that take long to make: in short turns, and the same bytes as ever."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import random

import mocks
import pytest
from steps import assert_grows_in_proportion, steps_of, steps_of_turns

from protocol.mock.media.gallery import kept_picture
from protocol.mock.media.picture import PICTURE_FORMATS, picture_file, read_picture_head
from protocol.mock.media.sound import SPEECH_FORMATS, SpokenSound

# Calls in a turn of 5,000 steps (protocol/budget.py): a step has one or two.
MOST_CALLS_A_TURN = 30_000

CHANCE = random.Random(11)
LETTERS = "".join(CHANCE.choice("abcdefghijklmnopqrstuvwxyz     ABCXYZ,.") for _ in range(32_000))
PROMPT = "A lighthouse at dusk, “naïve” café; 猫"
SIGNS = "".join(chr(0x4E00 + CHANCE.randrange(20_000)) for _ in range(32_000))


@pytest.mark.parametrize("text", [LETTERS, SIGNS], ids=["letters", "signs"])
@pytest.mark.parametrize("form", PICTURE_FORMATS)
def test_others_are_answered_while_a_full_picture_is_made(form, text):
    turns = steps_of_turns(lambda: picture_file(text, 768, 512, picture_format=form))
    assert max(turns) < MOST_CALLS_A_TURN and (len(turns) > 3 or sum(turns) < MOST_CALLS_A_TURN)


@pytest.mark.parametrize("form", PICTURE_FORMATS)
def test_others_are_answered_while_a_large_picture_is_made(form):
    turns = steps_of_turns(lambda: picture_file("otter", 4096, 4096, picture_format=form))
    assert max(turns) < MOST_CALLS_A_TURN and (len(turns) > 20 or sum(turns) < MOST_CALLS_A_TURN)


@pytest.mark.parametrize("form", SPEECH_FORMATS)
def test_others_are_answered_while_a_long_speech_is_made(form):
    turns = steps_of_turns(lambda: SpokenSound(4096, form, speed=0.25).pieces())
    assert max(turns) < MOST_CALLS_A_TURN


@pytest.mark.parametrize("text", ["a", "a ", "é", "字", "\u0301", "\n"], ids=ascii)
def test_a_text_costs_steps_in_proportion(text):
    assert_grows_in_proportion(lambda size: picture_file(text * size, 200, 200), 4000, slack=3000)


@pytest.mark.parametrize("text", ["a", "字", "\u0301"], ids=ascii)
def test_a_text_is_drawn_to_its_32000th_character(text):
    whole = [picture_file(text * size, 300, 300) for size in (32_000, 32_001, 3_000_000)]
    assert whole[0] == whole[1] == whole[2]
    steps = steps_of(lambda: picture_file(text * 32_000, 300, 300))
    assert steps_of(lambda: picture_file(text * 3_000_000, 300, 300)) <= steps + 10


@pytest.mark.parametrize(
    ("form", "text", "size", "checksum"),
    [
        ("png", "otter", (96, 64), 0xB44B2BFA),
        ("png", PROMPT, (300, 200), 0xF3F3F1AE),
        ("png", "words and words " * 200, (256, 256), 0xF213F719),
        ("png", "long" * 700, (200, 333), 0x120EE800),
        ("jpeg", "otter", (96, 64), 0x92BC9127),
        ("jpeg", PROMPT, (300, 200), 0x49B50400),
        ("jpeg", "words and words " * 200, (256, 256), 0x847414CE),
        ("jpeg", "long" * 700, (200, 333), 0x69CF4AC8),
        ("webp", "otter", (96, 64), 0x4D4589EB),
        ("webp", PROMPT, (300, 200), 0x25764E16),
        ("webp", "words and words " * 200, (256, 256), 0xA7F218D4),
        ("webp", "long" * 700, (200, 333), 0xA58E98B9),
    ],
)  # fmt: skip
def test_pictures_are_those_of_version_1(form, text, size, checksum):
    data = picture_file(text, *size, picture_format=form, seed=3)
    if form == "png":  # of which zlib writes a part, and there are several of these
        data = data[:60]
    assert binascii.crc32(data) == checksum


# ---- kept


def test_a_picture_that_is_asked_for_again_is_not_made_again():
    first = asyncio.run(kept_picture("otter", 300, 300))
    assert asyncio.run(kept_picture("otter", 300, 300)) is first == picture_file("otter", 300, 300)
    others = {"width": 301}, {"text": "cat"}, {"seed": 1}, {"picture_format": "webp"}
    for other in others:
        asked = {"text": "otter", "width": 300, "height": 300, **other}
        assert asyncio.run(kept_picture(**asked)) == picture_file(**asked) != first


def test_pictures_are_kept_up_to_so_many_bytes():
    first = asyncio.run(kept_picture("otter", 310, 300))
    for number in range(70):  # each counts for 128 kB, with its text
        asyncio.run(kept_picture(f"{number} {LETTERS}"[:32_000], 16, 16))
    assert asyncio.run(kept_picture("otter", 310, 300)) is not first


# ---- answers


def test_many_large_pictures_are_one_answer_in_pieces():
    body = {"prompt": LETTERS, "model": "gpt-image-2", "n": 2, "size": "768x768", "output_format": "jpeg"}
    mock = mocks.make_mock(seed=1)

    async def pieces_of_answer():
        request = mocks.make_request("POST", "/v1/images/generations", {**body, "user": '"b64_json":"'})
        response = await mock.endpoint(request).answer(request)
        return response, [piece async for piece in response.body]

    response, pieces = asyncio.run(pieces_of_answer())
    assert response.length == sum(map(len, pieces)) > 1024 * 1024 > len(pieces[0])
    answer = json.loads(b"".join(pieces))
    assert answer["safety_identifier"] == '"b64_json":"' and answer["output_format"] == "jpeg"
    heads = [base64.b64decode(image["b64_json"])[:3] for image in answer["data"]]
    assert heads == [b"\xff\xd8\xff"] * 2 and answer["usage"]["input_tokens"] == len(LETTERS.split())


def test_a_stream_s_pictures_are_made_as_the_client_takes_them():
    told = []

    def clock():
        told.append(1)
        return mocks.NOW

    async def made():
        body = {"prompt": "otter", "model": "gpt-image-2", "n": 10, "stream": True, "partial_images": 3}
        request = mocks.make_request("POST", "/v1/images/generations", body)
        response = await mocks.make_mock(clock=clock).endpoint(request).answer(request)
        counts = [len(told)]
        await response.body.__anext__()
        await response.body.__anext__()
        counts.append(len(told))
        await response.body.aclose()
        return counts

    before, behind = asyncio.run(made())
    assert behind - before == 1


def test_a_long_speech_is_as_long_as_ever():
    for form in SPEECH_FORMATS:
        response = mocks.respond(
            mocks.make_mock(), "POST", "/v1/audio/speech",
            {"input": "字" * 3000, "model": "tts-1", "voice": "alloy", "response_format": form, "speed": 0.5},
        )  # fmt: skip
        assert response.body == SpokenSound(3000, form, seed=binascii.crc32(b"alloy"), speed=0.5).file()


def test_others_are_answered_while_a_response_paints():
    tool = {"type": "image_generation", "size": "2048x2048", "output_format": "jpeg"}
    request = mocks.make_request(
        "POST", "/v1/responses", {"model": "gpt-5", "input": "Draw a picture of a cat", "tools": [tool]}
    )

    async def answered():
        rounds = 0
        answer = asyncio.ensure_future(mocks.make_mock().endpoint(request).answer(request))
        while not answer.done():
            rounds += 1
            await asyncio.sleep(0)
        return json.loads(answer.result().body), rounds

    answer, rounds = asyncio.run(answered())
    (picture,) = [item["result"] for item in answer["output"] if item["type"] == "image_generation_call"]
    assert read_picture_head(base64.b64decode(picture)) == ("jpeg", 2048, 2048)
    assert rounds > 10
