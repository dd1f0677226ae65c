"""The mock's pictures: real files of the asked size, made, edited, varied and streamed."""

from __future__ import annotations

import base64
import json

import mocks
import pytest
from mocks import LateSleep, make_form, make_mock, pace_settings

from protocol.errors import ApiError
from protocol.mock.media.picture import picture_file, read_picture_head
from protocol.openai.api.checks import Conformity
from protocol.openai.api.notation import NamedShape
from protocol.openai.api.operations import Reference
from protocol.openai.reference.whole import API_REFERENCE
from protocol.wire.sse import SseReader

REFERENCE = Reference(lambda: API_REFERENCE)
REFERENCE.keys()  # reads the names of the shapes
CONFORMITY = Conformity(REFERENCE.shapes)
PROMPT = "A cute baby sea otter"
OTTER = picture_file("otter", 96, 64)


def conform(name, value):
    CONFORMITY.check(NamedShape(name))(value)


def respond(path, body, fields=(), _mock=None):
    return mocks.respond(_mock or make_mock(), "POST", f"/v1/images/{path}", body, fields)


def generate(_mock=None, **parameters):
    answer = json.loads(respond("generations", {"prompt": PROMPT, **parameters}, _mock=_mock).body)
    conform("Images", answer)
    return answer


def edit(*parts, path="edits", _mock=None, **fields):
    texts = [(name, str(value)) for name, value in fields.items()]
    return respond(path, *make_form(*texts, *parts), _mock=_mock)


def pictures(answer):
    return [base64.b64decode(image["b64_json"]) for image in answer["data"]]


def heads(answer):
    return [tuple(read_picture_head(picture)) for picture in pictures(answer)]


def stream(response, name):
    assert b"content-type: text/event-stream" in response.fields
    events = []
    for event in SseReader().feed(response.body):
        data = json.loads(event.data)
        assert event.event == data["type"]
        conform("ImageCompleted" if data["type"] == f"{name}.completed" else "ImagePartial", data)
        events.append(data)
    return events


def refused(call, *args, **parameters):
    with pytest.raises(ApiError) as caught:
        call(*args, **parameters)
    assert caught.value.status == 400
    return caught.value


# ---- generations


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (None, (1024, 1024)),
        ("auto", (1024, 1024)),
        ("1536x1024", (1536, 1024)),
        ("1024x1536", (1024, 1536)),
        ("256x256", (256, 256)),
        ("1536x864", (1536, 864)),
    ],
)
def test_picture_has_the_asked_size(size, expected):
    answer = generate(model="gpt-image-2", size=size)
    assert heads(answer) == [("png", *expected)]
    assert answer["size"] == "{}x{}".format(*expected)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_picture_has_the_asked_format(form):
    answer = generate(model="gpt-image-2", output_format=form, size="64x32")
    assert heads(answer) == [(form, 64, 32)] and answer["output_format"] == form


def test_prompt_is_written_in_the_picture():
    cat = generate(make_mock(seed="1"), model="gpt-image-2", size="128x64", prompt="cat")
    dog = generate(make_mock(seed="1"), model="gpt-image-2", size="128x64", prompt="dog")
    assert pictures(cat) != pictures(dog)


def test_several_pictures_differ():
    answer = generate(model="gpt-image-2", n=10, size="32x32")
    assert len(set(pictures(answer))) == 10


def test_same_seed_gives_the_same_bytes():
    one, same, other = (generate(make_mock(seed=seed), model="gpt-image-2", size="64x64") for seed in "112")
    assert one == same and pictures(one) != pictures(other)


@pytest.mark.parametrize("background", ["transparent", "opaque", "auto"])
def test_background_is_answered(background):
    answer = generate(model="gpt-image-2", size="64x64", background=background)
    [picture] = pictures(answer)
    assert answer["background"] == ("transparent" if background == "transparent" else "opaque")
    assert (b"tRNS" in picture or picture[25] in (4, 6)) == (background == "transparent")


@pytest.mark.parametrize(
    ("quality", "answered", "tokens"),
    [
        (None, "medium", 1056),
        ("auto", "medium", 1056),
        ("low", "low", 272),
        ("high", "high", 4160),
        ("hd", "high", 4160),
    ],
)
def test_usage_follows_from_prompt_quality_and_size(quality, answered, tokens):
    answer = generate(model="gpt-image-2", quality=quality, n=2)
    assert answer["quality"] == answered
    assert answer["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 5},
        "output_tokens": 2 * tokens,
        "output_tokens_details": {"image_tokens": 2 * tokens, "text_tokens": 0},
        "total_tokens": 5 + 2 * tokens,
    }


@pytest.mark.parametrize(
    ("parameters", "member"),
    [
        ({"model": "gpt-image-2"}, "b64_json"),
        ({"model": "chatgpt-image-latest"}, "b64_json"),
        ({"model": "dall-e-2"}, "url"),
        ({"model": "dall-e-3", "response_format": "b64_json"}, "b64_json"),
        ({}, "url"),
        ({"quality": "hd"}, "url"),
        ({"output_format": "png"}, "b64_json"),
    ],
)
def test_model_and_response_format_choose_between_url_and_base64(parameters, member):
    [image] = generate(**parameters)["data"]
    assert set(image) - {"revised_prompt"} == {member}


def test_url_leads_to_the_picture_that_base64_would_have_been():
    mock = make_mock(seed="1")
    answer = generate(mock, model="dall-e-3", size="1792x1024", prompt="100% & 猫?")
    [image] = answer["data"]
    assert set(answer) == {"created", "data"} and image["revised_prompt"] == "100% & 猫?"
    assert image["url"].startswith("http://x/")
    fetched = mocks.respond(mock, "GET", image["url"][len("http://x") :])
    assert b"image/png" in fetched.fields
    same = generate(
        make_mock(seed="1"), model="dall-e-3", size="1792x1024", prompt="100% & 猫?", response_format="b64_json"
    )
    assert [fetched.body] == pictures(same)


def test_safety_identifier_comes_back():
    assert generate(model="gpt-image-2", size="16x16", user="me")["safety_identifier"] == "me"


@pytest.mark.parametrize(
    ("parameters", "param", "words"),
    [
        ({"size": "banana"}, "size", "'banana'"),
        ({"size": "15x64"}, "size", "16 to 4096"),
        ({"size": "64x4097"}, "size", "16 to 4096"),
        ({"n": 0}, "n", ">= 1"),
        ({"n": 11}, "n", "<= 10"),
        ({"prompt": ""}, "prompt", "too short"),
        ({"prompt": "a" * 32001}, "prompt", "too long"),
        ({"prompt": None}, "prompt", "Invalid type for 'prompt': expected a string, but got null instead."),
        ({"output_format": "gif"}, "output_format", "'png', 'jpeg', 'webp'"),
        ({"output_format": "bmp"}, "output_format", "Supported values"),
        ({"output_format": "jpeg", "background": "transparent"}, "background", "Transparent background"),
        ({"partial_images": 4}, "partial_images", "<= 3"),
    ],
)
def test_bad_request_is_openai_s_400(parameters, param, words):
    error = refused(generate, **{"model": "gpt-image-2", **parameters})
    assert error.param == param and words in error.message


# ---- events


def test_stream_has_partial_pictures_before_the_whole():
    response = respond(
        "generations", {"model": "gpt-image-2", "prompt": PROMPT, "stream": True, "partial_images": 2, "size": "64x64"}
    )
    events = stream(response, "image_generation")
    assert [(event["type"], event.get("partial_image_index")) for event in events] == [
        ("image_generation.partial_image", 0),
        ("image_generation.partial_image", 1),
        ("image_generation.completed", None),
    ]
    assert {read_picture_head(base64.b64decode(event["b64_json"]))[1:] for event in events} == {(64, 64)}
    assert len({event["b64_json"] for event in events}) == 3
    assert events[-1]["usage"]["output_tokens"] == 1056 // 256


def test_stream_without_partial_pictures_is_one_event_a_picture():
    response = respond("generations", {"prompt": PROMPT, "stream": True, "n": 2, "size": "64x64"})
    events = stream(response, "image_generation")
    assert [event["type"] for event in events] == ["image_generation.completed"] * 2
    assert events[0]["b64_json"] != events[1]["b64_json"]


def test_events_leave_at_the_mock_s_pace():
    body = {"prompt": PROMPT, "stream": True, "partial_images": 3, "size": "64x64"}
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    response = respond("generations", body, _mock=make_mock(delay=0.5, first_delay=1.0, sleep=sleep))
    assert len(stream(response, "image_generation")) == 4 and waits == [1.0, 0.5, 0.5, 0.5]


def test_events_leave_at_a_pace_whose_errors_do_not_add_up():
    body, clock = {"prompt": PROMPT, "stream": True, "partial_images": 3, "size": "64x64"}, LateSleep()
    pace = {"pace": "p", "find_pace": lambda name: pace_settings(first=1, between=0.5)}
    response = respond("generations", body, _mock=make_mock(clock=clock, sleep=clock.sleep, **pace))
    assert len(stream(response, "image_generation")) == 4 and clock.slept == [1.0, 0.4, 0.4, 0.4]


def test_edits_are_streamed_with_their_own_events():
    response = edit(("image", "a.png", OTTER), prompt="x", model="gpt-image-2", stream="true", partial_images=1)
    events = stream(response, "image_edit")
    assert [event["type"] for event in events] == ["image_edit.partial_image", "image_edit.completed"]


# ---- edits and variations


@pytest.mark.parametrize(
    ("size", "expected"), [(None, (96, 64)), ("auto", (96, 64)), ("128x128", (128, 128))], ids=["none", "auto", "asked"]
)
@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_edited_picture_is_as_large_as_the_first_one_or_as_asked(size, expected, form):
    first, second = picture_file("a", 96, 64, picture_format=form), picture_file("b", 32, 32)
    asked = {"size": size} if size else {}
    parts = [("image[]", "a", first), ("image[]", "b", second)]
    answer = json.loads(edit(*parts, prompt="hat", model="gpt-image-2", **asked).body)
    conform("Images", answer)
    assert heads(answer) == [("png", *expected)]
    # The first picture is one tile and a half, the second is one.
    assert answer["usage"]["input_tokens_details"] == {"image_tokens": 65 + 2 * 129 + 65 + 129, "text_tokens": 1}


def test_picture_larger_than_any_is_shrunk_to_its_shape():
    # Of a file that large nothing but the head is read.
    huge = picture_file("", 16, 8).replace(b"\x00\x00\x00\x10\x00\x00\x00\x08", b"\x00\x00\x40\x00\x00\x00\x20\x00")
    answer = json.loads(edit(("image", "a.png", huge), prompt="x", model="gpt-image-2").body)
    assert heads(answer) == [("png", 4096, 2048)]


def test_mask_as_large_as_the_picture_is_taken():
    answer = edit(("image", "a.png", OTTER), ("mask", "m.png", OTTER), prompt="x", model="gpt-image-2")
    assert heads(json.loads(answer.body)) == [("png", 96, 64)]


def test_variations_have_the_picture_s_size():
    answer = json.loads(edit(("image", "a.png", OTTER), path="variations", n=2, response_format="b64_json").body)
    one, other = pictures(answer)
    assert heads(answer) == [("png", 96, 64)] * 2 and one != other


@pytest.mark.parametrize(
    ("parts", "param", "code"),
    [
        ([("image", "a.png", b"Example data")], "image", "invalid_image_file"),
        ([("image[]", "a.png", OTTER), ("image[]", "b.png", b"")], "image", "invalid_image_file"),
        ([("image", "a.png", OTTER), ("mask", "m.png", b"none")], "mask", "invalid_image_file"),
        ([("image", "a.png", OTTER), ("mask", "m.png", picture_file("", 64, 64))], "mask", "invalid_mask_image_format"),
        ([("image", OTTER[:4].hex())], "image", "missing_required_parameter"),
        ([], "image", "missing_required_parameter"),
    ],
    ids=["no picture", "second is none", "mask is none", "mask of another size", "a text", "nothing"],
)
def test_what_is_no_picture_is_refused(parts, param, code):
    error = refused(edit, *parts, prompt="x", model="gpt-image-2")
    assert (error.param, error.code) == (param, code)


@pytest.mark.parametrize("settings", [{"unknown_ids": "invent"}, {"validate": "warn"}, {"validate": "off"}])
def test_anything_is_a_picture_where_nothing_is_checked(settings):
    parts = [("image", "a", b"Example data"), ("mask", "m", b"Example data")]
    answer = edit(*parts, prompt="x", model="gpt-image-2", _mock=make_mock(**settings))
    assert heads(json.loads(answer.body)) == [("png", 1024, 1024)]


# ---- pace


def test_plain_answer_takes_as_long_as_its_pictures():
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    generate(make_mock(delay=0.5, first_delay=1.0, sleep=sleep), model="gpt-image-2", n=3, size="16x16")
    assert [seconds for seconds in slept if seconds] == [2.0]


# ---- what a model takes


@pytest.mark.parametrize(
    ("parameters", "param", "words"),
    [
        ({"model": "dall-e-3", "n": 2}, "n", "You must provide n=1 for this model."),
        ({"model": "dall-e-3", "size": "256x256"}, None, "The size is not supported by this model."),
        ({"model": "dall-e-2", "size": "1792x1024"}, None, "The size is not supported by this model."),
        ({"model": "dall-e-2", "quality": "hd"}, "quality", "Supported values are: 'standard' and 'auto'."),
        ({"model": "dall-e-2", "prompt": "a" * 1001}, "prompt", "maximum length 1000"),
        ({"model": "dall-e-3", "prompt": "a" * 4001}, "prompt", "maximum length 4000"),
        ({"model": "gpt-image-1", "size": "256x256"}, "size", "'1024x1024', '1024x1536', '1536x1024', and 'auto'"),
        ({"model": "gpt-image-1", "response_format": "url"}, "response_format", "Unknown parameter"),
    ],
)
def test_each_model_has_its_own_bounds(parameters, param, words):
    error = refused(generate, **parameters)
    assert error.param == param and words in error.message
    assert generate(make_mock(validate="warn"), **parameters)["data"]


@pytest.mark.parametrize("size", ["huge", "1x1", "9999x9999", 3])
def test_unchecked_an_impossible_size_is_the_usual_one(size):
    given = generate(make_mock(validate="off"), model="dall-e-3", size=size, response_format="b64_json")
    assert heads(given) == [("png", 1024, 1024)]


def edit_by_json(_mock, **body):
    return mocks.respond(_mock, "POST", "/v1/images/edits", {"prompt": "hat", "model": "gpt-image-2", **body})


def test_an_edit_in_json_refers_to_its_pictures():
    mock = make_mock()
    url = f"data:image/png;base64,{base64.b64encode(picture_file('a', 96, 64)).decode()}"
    answer = json.loads(edit_by_json(mock, images=[{"image_url": url}, {"image_url": "https://x.org/a.png"}]).body)
    assert heads(answer) == [("png", 96, 64)]
    assert answer["usage"]["input_tokens_details"]["image_tokens"] == 65 + 2 * 129 + 65 + 129


@pytest.mark.parametrize(
    ("images", "status"),
    [([{"file_id": "file-nope"}], 404), ([{"image_url": "data:image/png;base64,!"}], 400), ([{}], 400), ([], 400)],
    ids=["unknown file", "no picture", "neither", "none"],
)
def test_an_edit_in_json_needs_a_picture(images, status):
    with pytest.raises(ApiError) as caught:
        edit_by_json(make_mock(), images=images)
    assert caught.value.status == status
