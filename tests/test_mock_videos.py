"""Videos in the mock: their life, and files that are what they say."""

from __future__ import annotations

import struct

import pytest
from mocks import Clock, ask, make_mock, respond

from protocol.errors import ApiError
from protocol.mock.media.movie import movie_file
from protocol.mock.media.picture import picture_file, read_picture_head


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def mock(clock):
    return make_mock(clock=clock)


def create(mock, **parameters):
    return ask(mock, "POST", "/v1/videos", {"prompt": "A cat at a piano", **parameters})


def content(mock, video, variant="video"):
    return respond(mock, "GET", f"/v1/videos/{video['id']}/content?variant={variant}")


def refused(function, *arguments):
    with pytest.raises(ApiError) as caught:
        function(*arguments)
    return caught.value


def boxes(data):
    """Return the boxes of an MP4 file, those within others too: name, where its content begins, content."""
    found, at = [], 0
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        assert size >= 8 and at + size <= len(data)
        found.append((name.decode(), at + 8, data[at + 8 : at + size]))
        if name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            found += [(inner, at + 8 + start, body) for inner, start, body in boxes(data[at + 8 : at + size])]
        at += size
    return found


def test_progress_grows_to_completion(mock, clock):
    video = create(mock)
    seen = []
    for _ in range(12):
        now = ask(mock, "GET", f"/v1/videos/{video['id']}")
        seen.append((now["status"], now["progress"]))
        clock.now += 0.5
    progress = [share for _, share in seen]
    assert progress == sorted(progress) and len(set(progress)) >= 5
    assert seen[0] == ("queued", 0) and seen[-1] == ("completed", 100)
    assert ("in_progress", 50) in seen


def test_content_waits_for_completion(mock, clock):
    video = create(mock)
    assert refused(content, mock, video).status == 404
    clock.now += 10
    assert content(mock, video).status == 200


def test_movie_has_the_size_and_length_asked_for(mock, clock):
    video = create(mock, size="1280x720", seconds="8")
    clock.now += 10
    data = content(mock, video).body
    found = {name: body for name, _, body in boxes(data)}
    ticks, duration = struct.unpack_from(">II", found["mvhd"], 12)
    assert duration / ticks == 8
    assert [side >> 16 for side in struct.unpack_from(">II", found["tkhd"], 76)] == [1280, 720]
    assert list(found)[:2] == ["ftyp", "moov"]


def test_frames_are_where_the_table_says():
    png = picture_file("x", 32, 16)
    data = movie_file(png, 32, 16, 3)
    found = {name: body for name, _, body in boxes(data)}
    size, frames = struct.unpack_from(">II", found["stsz"], 4)
    places = struct.unpack_from(f">{frames}I", found["stco"], 8)
    assert frames == 3 and [data[place : place + size] for place in places] == [png] * 3


@pytest.mark.parametrize(("variant", "format"), [("thumbnail", "webp"), ("spritesheet", "jpeg")])
def test_pictures_of_a_video_open(mock, clock, variant, format):
    video = create(mock, size="1280x720")
    clock.now += 10
    answer = content(mock, video, variant)
    assert read_picture_head(answer.body) == (format, 1280, 720)
    assert f"image/{format}".encode() in answer.fields


def test_remix_is_another_video_of_the_same_form(mock, clock):
    video = create(mock, size="1024x1792", seconds="12")
    path = f"/v1/videos/{video['id']}/remix"
    assert refused(ask, mock, "POST", path, {"prompt": "at night"}).code == "video_not_completed"
    clock.now += 10
    remix = ask(mock, "POST", path, {"prompt": "at night"})
    assert remix["remixed_from_video_id"] == video["id"] != remix["id"]
    assert (remix["size"], remix["seconds"], remix["prompt"]) == ("1024x1792", "12", "at night")
    assert [one["id"] for one in ask(mock, "GET", "/v1/videos")["data"]] == [remix["id"], video["id"]]


def test_edit_and_extension_take_a_video_by_its_id(mock, clock):
    video = create(mock, size="1280x720", seconds="4")
    clock.now += 10
    body = {"prompt": "in snow", "video": {"id": video["id"]}}
    assert ask(mock, "POST", "/v1/videos/edits", body)["size"] == "1280x720"
    assert ask(mock, "POST", "/v1/videos/extensions", {**body, "seconds": "8"})["seconds"] == "12"


def test_deleted_video_is_gone(mock):
    video = create(mock)
    assert ask(mock, "DELETE", f"/v1/videos/{video['id']}")["deleted"] is True
    assert refused(ask, mock, "GET", f"/v1/videos/{video['id']}").status == 404
