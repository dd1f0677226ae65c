"""Vector stores of the mock: files become searchable, and the search finds what it is asked for."""

from __future__ import annotations

import json

import mocks
import pytest

from protocol.errors import ApiError
from protocol.mock.storage.vector_search import fits_filter

DOCUMENTS = {
    "cats.txt": b"Cats purr and chase mice. A cat sleeps most of the day.",
    "refunds.md": b"# Refunds\nYou may return any product within 30 days for a full refund.",
    "space.txt": b"The Saturn rocket took astronauts to the moon.",
}
DAY = 24 * 3600


class Shelf:
    """A mock with a vector store."""

    def __init__(self, documents=(), **body):
        self.clock = mocks.Clock()
        self.mock = mocks.make_mock(clock=self.clock)
        self.store = self.ask("POST", "", body)
        self.path = f"/{self.store['id']}"
        self.ids = {name: self.add(name, DOCUMENTS[name]) for name in documents}
        self.clock.now += 1

    def ask(self, method, path, body=None):
        return mocks.ask(self.mock, method, f"/v1/vector_stores{path}", body)

    def add(self, name, content, **body):
        file_id = mocks.upload(self.mock, name, content)["id"]
        return self.ask("POST", f"{self.path}/files", {"file_id": file_id, **body})["id"]

    def look(self):
        return self.ask("GET", self.path)

    def search(self, query, **options):
        return self.ask("POST", f"{self.path}/search", {"query": query, **options})

    def found(self, query, **options):
        return [result["filename"] for result in self.search(query, **options)["data"]]


def counts(**some):
    known = {"cancelled": 0, "completed": 0, "failed": 0, "in_progress": 0, **some}
    return {**known, "total": sum(known.values())}


def refused(call):
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value


# ---- search


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("What is the refund policy for a product?", "refunds.md"),
        ("who flew to the moon", "space.txt"),
        ("do CATS sleep", "cats.txt"),
        (["mice", "cat"], "cats.txt"),
    ],
    ids=["refund", "moon", "cats", "several queries"],
)
def test_search_ranks_the_right_file_first(query, first):
    page = Shelf(DOCUMENTS).search(query)
    results = page["data"]
    assert results[0]["filename"] == first
    assert results[0]["content"] == [{"type": "text", "text": DOCUMENTS[first].decode()}]
    assert 0 < results[0]["score"] <= 1
    assert [result["score"] for result in results] == sorted((result["score"] for result in results), reverse=True)
    assert page["object"] == "vector_store.search_results.page"
    assert page["search_query"] == ([query] if isinstance(query, str) else query)
    assert (page["has_more"], page["next_page"]) == (False, None)


def test_search_shows_as_many_results_as_are_asked_for():
    assert Shelf(DOCUMENTS).found("moon", max_num_results=1) == ["space.txt"]


def test_search_leaves_out_what_scores_too_low():
    assert Shelf(DOCUMENTS).found("moon", ranking_options={"score_threshold": 0.01}) == ["space.txt"]


def test_search_finds_the_chunk_of_a_long_file():
    shelf = Shelf()
    text = " ".join(f"word{n}" for n in range(1000)) + " needle " + "hay " * 1000
    strategy = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 20}}
    shelf.add("long.txt", text.encode(), chunking_strategy=strategy)
    shelf.clock.now += 1
    best = shelf.search("needle")["data"][0]
    assert "needle" in best["content"][0]["text"] and len(best["content"][0]["text"].split()) <= 100


def test_search_may_rewrite_the_query():
    assert Shelf().search("  Where is  it?", rewrite_query=True)["search_query"] == ["where is it"]


def test_search_keeps_to_filters_on_attributes():
    shelf = Shelf()
    for number in range(3):
        shelf.add(f"{number}.txt", b"same words", attributes={"number": number, "even": number % 2 == 0})
    shelf.clock.now += 1
    even = {"type": "eq", "key": "even", "value": True}
    assert shelf.found("words", filters=even) == ["0.txt", "2.txt"]
    both = {"type": "and", "filters": [even, {"type": "gt", "key": "number", "value": 0}]}
    results = shelf.search("words", filters=both)["data"]
    assert [result["attributes"] for result in results] == [{"number": 2, "even": True}]


ATTRIBUTES = {"n": 3, "s": "b", "yes": True}


@pytest.mark.parametrize(
    ("kind", "key", "value", "fits"),
    [
        ("eq", "n", 3, True),
        ("eq", "n", 3.0, True),
        ("eq", "n", "3", False),
        ("eq", "yes", 1, False),
        ("eq", "yes", True, True),
        ("eq", "none", None, False),
        ("ne", "n", 3, False),
        ("ne", "none", 3, True),
        ("gt", "n", 2, True),
        ("gt", "n", 3, False),
        ("gte", "n", 3, True),
        ("lt", "s", "c", True),
        ("lte", "s", "b", True),
        ("lt", "n", "c", False),
        ("lt", "yes", 2, False),
        ("lt", "none", 2, False),
        ("in", "n", [1, 3], True),
        ("in", "n", [1, 2], False),
        ("nin", "s", ["a"], True),
        ("nin", "s", ["b"], False),
    ],
)
def test_comparisons(kind, key, value, fits):
    assert fits_filter({"type": kind, "key": key, "value": value}, ATTRIBUTES) is fits


def test_joined_filters():
    yes, no = {"type": "eq", "key": "n", "value": 3}, {"type": "eq", "key": "n", "value": 4}
    assert fits_filter({"type": "or", "filters": [no, {"type": "and", "filters": [yes, yes]}]}, ATTRIBUTES)
    assert not fits_filter({"type": "and", "filters": [yes, no]}, ATTRIBUTES)


def test_filters_that_are_nested_too_deeply_are_refused():
    shelf = Shelf(["cats.txt"])
    filters = {"type": "eq", "key": "n", "value": 3}
    for _ in range(30):
        filters = {"type": "and", "filters": [filters]}
    error = refused(lambda: shelf.search("cat", filters=filters))
    assert (error.status, error.param) == (400, "filters")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "query"),
        ({"query": "x", "max_num_results": 51}, "max_num_results"),
        ({"query": "x", "filters": {"type": "like", "key": "a", "value": "b"}}, "filters.type"),
        ({"query": "x", "ranking_options": {"score_threshold": 2}}, "ranking_options.score_threshold"),
    ],
    ids=["no query", "too many", "unknown comparison", "no score"],
)
def test_a_search_that_cannot_be_made_is_refused(body, param):
    shelf = Shelf()
    error = refused(lambda: shelf.ask("POST", f"{shelf.path}/search", body))
    assert (error.status, error.param) == (400, param)


# ---- files


def test_a_file_is_in_progress_then_completed_and_the_store_counts_it():
    shelf = Shelf(name="kb")
    file_id = mocks.upload(shelf.mock, "cats.txt", DOCUMENTS["cats.txt"])["id"]
    file = shelf.ask("POST", f"{shelf.path}/files", {"file_id": file_id, "attributes": {"kind": "animal"}})
    assert file == {
        "id": file_id,
        "created_at": int(shelf.clock.now),
        "last_error": None,
        "object": "vector_store.file",
        "status": "in_progress",
        "usage_bytes": 0,
        "vector_store_id": shelf.store["id"],
        "attributes": {"kind": "animal"},
        "chunking_strategy": {
            "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
            "type": "static",
        },
    }
    assert (shelf.look()["status"], shelf.look()["file_counts"]) == ("in_progress", counts(in_progress=1))
    shelf.clock.now += 1
    store = shelf.look()
    assert (store["status"], store["file_counts"]) == ("completed", counts(completed=1))
    assert store["usage_bytes"] == len(DOCUMENTS["cats.txt"])
    assert shelf.ask("GET", f"{shelf.path}/files/{file_id}")["status"] == "completed"
    assert shelf.ask("GET", "")["data"] == [store]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [("empty.txt", b"", "invalid_file"), ("a.png", b"\x89PNG readable words", "unsupported_file")],
    ids=["empty", "a picture"],
)
def test_a_file_without_text_fails(name, content, code):
    shelf = Shelf()
    id = shelf.add(name, content)
    shelf.clock.now += 1
    file = shelf.ask("GET", f"{shelf.path}/files/{id}")
    assert (file["status"], file["last_error"]["code"]) == ("failed", code)
    assert shelf.look()["file_counts"] == counts(failed=1)


def test_a_file_that_does_not_exist_is_refused():
    shelf = Shelf()
    with pytest.raises(ApiError, match=r"Files \[file-unknown\] were not found") as refused:
        shelf.ask("POST", f"{shelf.path}/files", {"file_id": "file-unknown"})
    assert refused.value.status == 404


def test_among_many_a_file_that_does_not_exist_fails():
    shelf = Shelf()
    shelf.ask("POST", f"{shelf.path}/file_batches", {"file_ids": ["file-unknown"]})
    shelf.clock.now += 1
    file = shelf.ask("GET", f"{shelf.path}/files/file-unknown")
    assert file["last_error"] == {"code": "invalid_file", "message": "No such File object: file-unknown"}


def test_a_file_s_text_is_told():
    shelf = Shelf()
    id = shelf.add("page.html", b"<html><title>Page</title><p>Hello <b>you</b></p></html>")
    shelf.clock.now += 1
    page = shelf.ask("GET", f"{shelf.path}/files/{id}/content")
    assert page["data"] == [{"type": "text", "text": "Page\nHello you"}]


def test_a_file_s_attributes_can_be_changed_and_are_searched():
    shelf = Shelf(["cats.txt"])
    id = shelf.ids["cats.txt"]
    assert shelf.ask("POST", f"{shelf.path}/files/{id}", {"attributes": {"a": 1}})["attributes"] == {"a": 1}
    assert shelf.found("cat", filters={"type": "eq", "key": "a", "value": 1}) == ["cats.txt"]


@pytest.mark.parametrize("path", ["/vector_stores/{store}/files/{id}", "/files/{id}"], ids=["from the store", "at all"])
def test_a_file_that_is_removed_is_no_longer_found(path):
    shelf = Shelf(DOCUMENTS)
    mocks.ask(shelf.mock, "DELETE", f"/v1{path.format(store=shelf.store['id'], id=shelf.ids['cats.txt'])}")
    assert "cats.txt" not in shelf.found("cat")
    assert shelf.look()["file_counts"] == counts(completed=2)


def test_files_are_listed_by_their_status():
    shelf = Shelf(["cats.txt"])
    shelf.add("space.txt", DOCUMENTS["space.txt"])
    listed = shelf.ask("GET", f"{shelf.path}/files?filter=completed")["data"]
    assert [file["id"] for file in listed] == [shelf.ids["cats.txt"]]


def test_an_overlap_of_more_than_half_is_refused():
    strategy = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 51}}
    error = refused(lambda: Shelf(chunking_strategy=strategy))
    assert (error.status, error.param) == (400, "chunking_strategy.static.chunk_overlap_tokens")


# ---- batches of files


def test_a_batch_of_files_is_followed_to_its_end():
    shelf = Shelf()
    ids = [mocks.upload(shelf.mock, name, content)["id"] for name, content in DOCUMENTS.items()]
    files = [{"file_id": ids[2], "attributes": {"own": True}}]
    body = {"file_ids": [*ids[:2], "file-unknown"], "attributes": {"own": False}, "files": files}
    batch = shelf.ask("POST", f"{shelf.path}/file_batches", body)
    path = f"{shelf.path}/file_batches/{batch['id']}"
    assert (batch["status"], batch["file_counts"]) == ("in_progress", counts(in_progress=4))
    shelf.clock.now += 1
    batch = shelf.ask("GET", path)
    assert (batch["status"], batch["file_counts"]) == ("completed", counts(completed=3, failed=1))
    listed = shelf.ask("GET", f"{path}/files?filter=completed&order=asc")["data"]
    assert [file["id"] for file in listed] == ids
    assert [file["attributes"]["own"] for file in listed] == [False, False, True]


def test_a_cancelled_batch_leaves_its_files_cancelled():
    shelf = Shelf()
    id = mocks.upload(shelf.mock, "cats.txt", DOCUMENTS["cats.txt"])["id"]
    batch = shelf.ask("POST", f"{shelf.path}/file_batches", {"file_ids": [id]})
    path = f"{shelf.path}/file_batches/{batch['id']}"
    cancelled = shelf.ask("POST", f"{path}/cancel")
    assert (cancelled["status"], cancelled["file_counts"]) == ("cancelled", counts(cancelled=1))
    shelf.clock.now += 10
    assert shelf.ask("GET", path) == cancelled
    assert shelf.look()["file_counts"] == counts(cancelled=1) and shelf.found("cat") == []


def test_a_client_is_told_how_soon_to_ask_again():
    mock = mocks.make_mock(speed=100)
    store = mocks.ask(mock, "POST", "/v1/vector_stores", {"file_ids": ["file-unknown"]})
    answer = mocks.respond(mock, "GET", f"/v1/vector_stores/{store['id']}")
    assert json.loads(answer.body)["status"] == "in_progress"
    assert b"openai-poll-after-ms: 10\r\n" in answer.fields


# ---- stores


def test_a_store_is_made_with_files_and_changed():
    mock = mocks.make_mock()
    id = mocks.upload(mock, "cats.txt", b"cats")["id"]
    store = mocks.ask(mock, "POST", "/v1/vector_stores", {"file_ids": [id], "metadata": {"a": "b"}})
    assert store["id"].startswith("vs_") and store["object"] == "vector_store"
    assert (store["status"], store["file_counts"]) == ("in_progress", counts(in_progress=1))
    changed = mocks.ask(mock, "POST", f"/v1/vector_stores/{store['id']}", {"name": "new"})
    assert (changed["name"], changed["metadata"]) == ("new", {"a": "b"})


def test_a_store_expires_when_nobody_uses_it():
    shelf = Shelf(["cats.txt"], expires_after={"anchor": "last_active_at", "days": 2})
    shelf.clock.now += DAY
    assert shelf.found("cat") == ["cats.txt"]  # which is use
    store = shelf.look()
    assert store["expires_at"] == store["last_active_at"] + 2 * DAY == int(shelf.clock.now) + 2 * DAY
    shelf.clock.now += 2 * DAY
    assert shelf.look()["status"] == "expired"
    error = refused(lambda: shelf.search("cat"))
    assert (error.status, error.code) == (400, "vector_store_expired")


def test_a_deleted_store_takes_its_files_along():
    shelf = Shelf(DOCUMENTS)
    deleted = shelf.ask("DELETE", shelf.path)
    assert deleted == {"id": shelf.store["id"], "deleted": True, "object": "vector_store.deleted"}
    for path in ("", "/files", "/search", f"/files/{shelf.ids['cats.txt']}"):
        method, body = ("POST", {"query": "x"}) if path == "/search" else ("GET", None)
        error = refused(lambda method=method, path=path, body=body: shelf.ask(method, f"{shelf.path}{path}", body))
        assert (error.status, error.message) == (404, f"Vector store with id '{shelf.store['id']}' not found.")


def test_everything_about_an_invented_store_is_answered():
    mock = mocks.make_mock(unknown_ids="invent")
    path = "/v1/vector_stores/vs_x"
    assert mocks.ask(mock, "GET", path)["id"] == "vs_x"
    assert mocks.ask(mock, "POST", f"{path}/search", {"query": "x"})["data"] == []
    assert mocks.ask(mock, "POST", f"{path}/files", {"file_id": "file-x"})["status"] == "in_progress"
    assert mocks.ask(mock, "GET", f"{path}/files/file-y/content")["data"] == []
    assert mocks.ask(mock, "POST", f"{path}/file_batches/b/cancel")["status"] == "cancelled"
    assert mocks.ask(mock, "GET", f"{path}/file_batches/b/files")["data"] == []
