"""Containers of the mock: files in them, and their end."""

from __future__ import annotations

import mocks
import pytest

from protocol.errors import ApiError


class Box:
    """A mock with a container."""

    def __init__(self, **body):
        self.clock = mocks.Clock()
        self.mock = mocks.make_mock(clock=self.clock)
        self.container = self.ask("POST", "", {"name": "box", **body})
        self.path = f"/{self.container['id']}"

    def ask(self, method, path, body=None, fields=()):
        return mocks.ask(self.mock, method, f"/v1/containers{path}", body, fields)


def refused(call):
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value


def test_a_container_tells_what_it_is():
    box = Box(memory_limit="4g")
    container = box.container
    assert container == {
        "id": container["id"],
        "created_at": int(mocks.NOW),
        "name": "box",
        "object": "container",
        "status": "running",
        "expires_after": {"anchor": "last_active_at", "minutes": 20},
        "last_active_at": int(mocks.NOW),
        "memory_limit": "4g",
        "network_policy": {"type": "disabled"},
    }
    assert container["id"].startswith("cntr_")
    assert box.ask("GET", box.path) == container


def test_a_file_of_a_form_is_kept():
    box = Box()
    body, fields = mocks.make_form(("file", "../up/a.csv", b"a,b\n"))
    file = box.ask("POST", f"{box.path}/files", body, fields)
    assert file["path"] == "/mnt/data/a.csv"
    assert (file["bytes"], file["source"], file["container_id"]) == (4, "user", box.container["id"])
    answer = mocks.respond(box.mock, "GET", f"/v1/containers{box.path}/files/{file['id']}/content")
    assert answer.body == b"a,b\n" and b'filename="a.csv"' in answer.fields
    assert box.ask("GET", f"{box.path}/files")["data"] == [file]


def test_an_uploaded_file_is_copied_and_outlives_its_original():
    box = Box()
    id = mocks.upload(box.mock, "a.txt", b"abc")["id"]
    file = box.ask("POST", f"{box.path}/files", {"file_id": id})
    mocks.ask(box.mock, "DELETE", f"/v1/files/{id}")
    assert (file["path"], file["bytes"]) == ("/mnt/data/a.txt", 3)
    assert mocks.respond(box.mock, "GET", f"/v1/containers{box.path}/files/{file['id']}/content").body == b"abc"


def test_a_container_is_made_with_files():
    mock = mocks.make_mock()
    id = mocks.upload(mock, "a.txt", b"abc")["id"]
    container = mocks.ask(mock, "POST", "/v1/containers", {"name": "box", "file_ids": [id]})
    (file,) = mocks.ask(mock, "GET", f"/v1/containers/{container['id']}/files")["data"]
    assert (file["path"], file["bytes"]) == ("/mnt/data/a.txt", 3)
    error = refused(lambda: mocks.ask(mock, "POST", "/v1/containers", {"name": "box", "file_ids": ["file-x"]}))
    assert (error.status, error.param) == (404, "file_ids")


def test_a_container_that_nobody_uses_expires_with_its_files():
    box = Box(expires_after={"anchor": "last_active_at", "minutes": 5})
    body, fields = mocks.make_form(("file", "a.csv", b"a,b\n"))
    file = box.ask("POST", f"{box.path}/files", body, fields)
    box.clock.now += 299
    box.ask("GET", f"{box.path}/files")  # which is use
    box.clock.now += 299
    assert box.ask("GET", box.path)["status"] == "running"
    box.clock.now += 1
    assert box.ask("GET", box.path)["status"] == "expired"
    for path in ("/files", f"/files/{file['id']}/content"):
        error = refused(lambda path=path: box.ask("GET", f"{box.path}{path}"))
        assert (error.status, error.code) == (404, "container_expired")


def test_what_is_deleted_is_gone():
    box = Box()
    body, fields = mocks.make_form(("file", "a.csv", b"a,b\n"))
    id = box.ask("POST", f"{box.path}/files", body, fields)["id"]
    gone = {"id": id, "deleted": True, "object": "container.file.deleted"}
    assert box.ask("DELETE", f"{box.path}/files/{id}") == gone
    assert refused(lambda: box.ask("GET", f"{box.path}/files/{id}")).status == 404
    assert box.ask("DELETE", box.path)["object"] == "container.deleted"
    error = refused(lambda: box.ask("GET", box.path))
    assert (error.status, error.message) == (404, f"Container with id '{box.container['id']}' not found.")


def test_a_container_needs_a_name():
    error = refused(lambda: mocks.ask(mocks.make_mock(), "POST", "/v1/containers", {}))
    assert (error.status, error.param) == (400, "name")
