"""Files and uploads of the mock: what goes in comes out, and what expires is gone."""

from __future__ import annotations

import hashlib
import tracemalloc

import mocks
import pytest

from protocol.errors import ApiError

HOUR = 3600
UPLOAD = {"bytes": 6, "filename": "a.txt", "mime_type": "text/plain", "purpose": "user_data"}


def refused(mock, method, path, body=None, fields=()):
    with pytest.raises(ApiError) as caught:
        mocks.ask(mock, method, path, body, fields)
    return caught.value


# ---- files


def test_uploads_never_hold_more_than_may_be_kept_beside_their_request():
    mock = mocks.make_mock(max_stored=10_000_000)
    content = bytes(4_000_000)
    mocks.upload(mock, "first", b"x")  # what is loaded when it is first needed
    body, fields = mocks.make_form(("purpose", "user_data"), ("file", "f", content))
    part, _ = mocks.make_form(("data", "f", content))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5):
            mocks.ask(mock, "POST", "/v1/files", body, fields)
        upload = mocks.ask(mock, "POST", "/v1/uploads", {**UPLOAD, "bytes": 8_000_000})
        for _ in range(5):
            mocks.ask(mock, "POST", f"/v1/uploads/{upload['id']}/parts", part, fields)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


def test_an_uploaded_file_is_told_and_downloaded_as_it_came():
    mock = mocks.make_mock()
    file = mocks.upload(mock, "notes.txt", b"\x00\xff\r\n--edg")
    assert file == {
        "id": file["id"],
        "bytes": 9,
        "created_at": int(mocks.NOW),
        "filename": "notes.txt",
        "object": "file",
        "purpose": "user_data",
        "status": "processed",
        "expires_at": None,
        "status_details": None,
    }
    assert file["id"].startswith("file-")
    assert mocks.ask(mock, "GET", f"/v1/files/{file['id']}") == file
    answer = mocks.respond(mock, "GET", f"/v1/files/{file['id']}/content")
    assert answer.body == b"\x00\xff\r\n--edg"
    assert b'content-disposition: attachment; filename="notes.txt"\r\n' in answer.fields
    assert b"content-type: application/octet-stream\r\n" in answer.fields


def test_a_file_is_downloaded_with_the_type_it_was_uploaded_with():
    mock = mocks.make_mock()
    body, fields = mocks.make_form(("purpose", "user_data"), ("file", "a.pdf", b"%PDF"))
    body = body.replace(b'filename="a.pdf"', b'filename="a.pdf"\r\ncontent-type: application/pdf')
    file = mocks.ask(mock, "POST", "/v1/files", body, fields)
    answer = mocks.respond(mock, "GET", f"/v1/files/{file['id']}/content")
    assert b"content-type: application/pdf\r\n" in answer.fields


@pytest.mark.parametrize(
    ("filename", "disposition"),
    [
        pytest.param("über.txt", "filename=\"_ber.txt\"; filename*=UTF-8''%C3%BCber.txt", id="not ASCII"),
        pytest.param("a\\b.txt", "filename=\"a_b.txt\"; filename*=UTF-8''a%5Cb.txt", id="not to be quoted"),
    ],
)
def test_a_name_that_a_header_cannot_hold_is_encoded(filename, disposition):
    mock = mocks.make_mock()
    upload = mocks.ask(mock, "POST", "/v1/uploads", {**UPLOAD, "bytes": 0, "filename": filename})
    file = mocks.ask(mock, "POST", f"/v1/uploads/{upload['id']}/complete", {"part_ids": []})["file"]
    answer = mocks.respond(mock, "GET", f"/v1/files/{file['id']}/content")
    assert f"content-disposition: attachment; {disposition}\r\n".encode() in answer.fields


def test_files_are_listed_by_purpose_the_newest_first_and_all_of_them():
    mock = mocks.make_mock()
    ids = [mocks.upload(mock, f"{n}.txt", b"x", "user_data")["id"] for n in range(30)]
    mocks.upload(mock, "other.txt", b"x", "vision")
    page = mocks.ask(mock, "GET", "/v1/files?purpose=user_data")
    assert [file["id"] for file in page["data"]] == ids[::-1]
    assert not page["has_more"]
    assert len(mocks.ask(mock, "GET", "/v1/files")["data"]) == 31
    assert len(mocks.ask(mock, "GET", "/v1/files?limit=4")["data"]) == 4


def test_a_deleted_file_is_gone():
    mock = mocks.make_mock()
    id = mocks.upload(mock, "a.txt", b"x")["id"]
    assert mocks.ask(mock, "DELETE", f"/v1/files/{id}") == {"id": id, "deleted": True, "object": "file"}
    for path in (f"/v1/files/{id}", f"/v1/files/{id}/content"):
        error = refused(mock, "GET", path)
        assert (error.status, error.message) == (404, f"No such File object: {id}")


@pytest.mark.parametrize(
    ("purpose", "fields", "seconds"),
    [
        ("user_data", {"expires_after[anchor]": "created_at", "expires_after[seconds]": 7200}, 7200),
        ("batch", {}, 30 * 24 * HOUR),
    ],
    ids=["as asked for", "a batch's input"],
)
def test_a_file_that_expires_is_gone_then(purpose, fields, seconds):
    clock = mocks.Clock()
    mock = mocks.make_mock(clock=clock)
    file = mocks.upload(mock, "a.txt", b"x", purpose, **fields)
    assert file["expires_at"] == file["created_at"] + seconds
    clock.now += seconds - 1
    assert mocks.ask(mock, "GET", f"/v1/files/{file['id']}") == file
    clock.now += 1
    assert refused(mock, "GET", f"/v1/files/{file['id']}").status == 404
    assert mocks.ask(mock, "GET", "/v1/files")["data"] == []


def test_speed_makes_files_expire_sooner():
    clock = mocks.Clock()
    mock = mocks.make_mock(clock=clock, speed=3600)
    file = mocks.upload(mock, "a.txt", b"x", **{"expires_after[anchor]": "created_at", "expires_after[seconds]": HOUR})
    clock.now += 1
    assert refused(mock, "GET", f"/v1/files/{file['id']}").status == 404


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([("purpose", "user_data")], "file"),
        ([("purpose", "user_data"), ("file", "no file")], "file"),
        ([("file", "a.txt", b"x")], "purpose"),
        ([("purpose", "fun"), ("file", "a.txt", b"x")], "purpose"),
        (
            [
                ("purpose", "user_data"),
                ("file", "a.txt", b"x"),
                ("expires_after[anchor]", "created_at"),
                ("expires_after[seconds]", "3599"),
            ],
            "expires_after.seconds",
        ),
    ],
    ids=["no file", "a text as file", "no purpose", "another purpose", "expires too soon"],
)
def test_a_form_that_is_no_file_is_refused(parts, param):
    error = refused(mocks.make_mock(), "POST", "/v1/files", *mocks.make_form(*parts))
    assert (error.status, error.param) == (400, param)


def test_the_oldest_files_go_when_there_are_too_many_bytes():
    mock = mocks.make_mock(max_stored=100_000)
    ids = [mocks.upload(mock, "a.bin", bytes(40_000))["id"] for _ in range(3)]
    assert [file["id"] for file in mocks.ask(mock, "GET", "/v1/files?order=asc")["data"]] == ids[1:]


def test_a_frozen_mock_gives_the_same_ids_again():
    def scenario():
        mock = mocks.make_mock(freeze=True)
        return [mocks.upload(mock, "a.txt", b"x"), mocks.upload(mock, "b.txt", b"y")]

    assert scenario() == scenario()


# ---- uploads


def add_part(mock, upload, data):
    return mocks.ask(mock, "POST", f"/v1/uploads/{upload['id']}/parts", *mocks.make_form(("data", "blob", data)))


def test_parts_become_a_file_in_the_order_that_is_named():
    mock = mocks.make_mock()
    upload = mocks.ask(mock, "POST", "/v1/uploads", UPLOAD)
    assert (upload["status"], upload["expires_at"] - upload["created_at"]) == ("pending", HOUR)
    parts = [add_part(mock, upload, data) for data in (b"def", b"abc")]
    assert parts[0]["object"] == "upload.part" and parts[0]["upload_id"] == upload["id"]
    body = {"part_ids": [part["id"] for part in parts[::-1]], "md5": hashlib.md5(b"abcdef").hexdigest()}
    done = mocks.ask(mock, "POST", f"/v1/uploads/{upload['id']}/complete", body)
    assert done == {**upload, "status": "completed", "file": done["file"]}
    assert mocks.ask(mock, "GET", "/v1/files")["data"] == [done["file"]]
    answer = mocks.respond(mock, "GET", f"/v1/files/{done['file']['id']}/content")
    assert answer.body == b"abcdef" and b"content-type: text/plain\r\n" in answer.fields


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"part_ids": []}, "part_ids"),
        ({"part_ids": ["part_unknown"]}, "part_ids"),
        ({"md5": "0" * 32}, "md5"),
    ],
    ids=["not all bytes", "unknown part", "another checksum"],
)
def test_parts_that_do_not_make_the_announced_file_are_refused_and_can_be_completed_later(changes, param):
    mock = mocks.make_mock()
    upload = mocks.ask(mock, "POST", "/v1/uploads", UPLOAD)
    body = {"part_ids": [add_part(mock, upload, b"abcdef")["id"]]}
    path = f"/v1/uploads/{upload['id']}/complete"
    error = refused(mock, "POST", path, {**body, **changes})
    assert (error.status, error.param) == (400, param)
    assert mocks.ask(mock, "POST", path, body)["status"] == "completed"


def test_a_part_of_another_upload_is_not_taken():
    mock = mocks.make_mock()
    one, other = (mocks.ask(mock, "POST", "/v1/uploads", UPLOAD) for _ in range(2))
    part = add_part(mock, one, b"abcdef")
    assert refused(mock, "POST", f"/v1/uploads/{other['id']}/complete", {"part_ids": [part["id"]]}).status == 400


@pytest.mark.parametrize("way", ["cancelled", "completed", "expired"])
def test_an_upload_that_is_over_takes_nothing_more(way):
    clock = mocks.Clock()
    mock = mocks.make_mock(clock=clock)
    upload = mocks.ask(mock, "POST", "/v1/uploads", {**UPLOAD, "bytes": 0})
    path = f"/v1/uploads/{upload['id']}"
    if way == "cancelled":
        assert mocks.ask(mock, "POST", f"{path}/cancel")["status"] == "cancelled"
    elif way == "completed":
        mocks.ask(mock, "POST", f"{path}/complete", {"part_ids": []})
    else:
        clock.now += HOUR
    for action in ("cancel", "complete"):
        error = refused(mock, "POST", f"{path}/{action}", {"part_ids": []})
        assert error.status == 400 and way in error.message
    with pytest.raises(ApiError):
        add_part(mock, upload, b"x")


def test_a_part_has_64_megabytes_at_most():
    mock = mocks.make_mock()
    upload = mocks.ask(mock, "POST", "/v1/uploads", UPLOAD)
    assert add_part(mock, upload, bytes(64 * 1024 * 1024))["object"] == "upload.part"
    with pytest.raises(ApiError) as caught:
        add_part(mock, upload, bytes(64 * 1024 * 1024 + 1))
    assert (caught.value.status, caught.value.param) == (400, "data")


def test_an_unknown_upload_is_404():
    error = refused(mocks.make_mock(), "POST", "/v1/uploads/upload_x/cancel")
    assert (error.status, error.message) == (404, "Upload with id 'upload_x' not found.")


def test_invented_uploads_can_be_cancelled_and_completed_again_and_again():
    mock = mocks.make_mock(unknown_ids="invent")
    for _ in range(2):
        assert mocks.ask(mock, "POST", "/v1/uploads/upload_x/cancel")["status"] == "cancelled"
        done = mocks.ask(mock, "POST", "/v1/uploads/upload_x/complete", {"part_ids": ["p"], "md5": "md5"})
        assert done["status"] == "completed" and done["file"]["bytes"] == 0
