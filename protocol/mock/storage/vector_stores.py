"""Vector stores, their files and their batches of files. A search really searches the texts of the files.

What a store and a batch tell of their files is counted when they are looked at.
"""

from __future__ import annotations

import typing

from protocol.budget import Budget
from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.engine.resources import Handler, create_record, json_answer, list_objects, page_of, update_object
from protocol.mock.engine.store import Record, State
from protocol.mock.engine.world import Call, World
from protocol.mock.storage.files import FILES, expire
from protocol.mock.storage.indexing import Indexer
from protocol.mock.storage.vector_search import search_files
from protocol.mock.text.ranking import SEARCH_STEPS, check_chunking
from protocol.mock.unchecked import object_of, objects_of, strings_of
from protocol.openai.answers import JSON_FIELDS
from protocol.turns import begun_at_once
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject

_VECTOR_STORES = "/vector_stores"
_A_DAY_SECONDS = 24 * 3600
# API reference, "Create vector store", `chunking_strategy`: what `auto` stands for.
_AUTO_CHUNKING = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}
_FILE_STATES = ("in_progress", "completed", "failed", "cancelled")


class _BatchState(State):
    """What a batch knows and does not show: the ids of its files."""

    __slots__ = ("file_ids",)

    def __init__(self, file_ids: list[str]) -> None:
        self.file_ids = file_ids


class VectorStores:
    """The family of /vector_stores."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._indexer = Indexer(world)

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        store = "/vector_stores/{vector_store_id}"
        batch = f"{store}/file_batches/{{batch_id}}"
        return {
            "GET /vector_stores": self.list,
            "POST /vector_stores": self.create,
            f"GET {store}": self.retrieve,
            f"POST {store}": self.update,
            f"POST {store}/search": self.search,
            f"POST {store}/files": self.add_file,
            f"GET {store}/files/{{file_id}}": self.retrieve_file,
            f"GET {store}/files/{{file_id}}/content": self.file_text,
            f"POST {store}/file_batches": self.add_files,
            f"GET {batch}": self.retrieve_batch,
            f"POST {batch}/cancel": self.cancel_batch,
            f"GET {batch}/files": self.list_batch,
        }

    # ---- stores -------------------------------------------------------------------------------------------------

    def list(self, call: Call) -> JsonObject:
        """Answer a page of the stores, with their files counted."""
        for record in self._world.store.all(_VECTOR_STORES):
            self._count(record)
        return list_objects(call)

    def create(self, call: Call) -> JsonObject:
        """Make a store, and add the files that the request names."""
        body = call.body
        strategy = _chunking(body.get("chunking_strategy"))
        known = {"name": body.get("name") or "", "metadata": body.get("metadata"), "expires_at": None}
        record = create_record(call, {**known, "status": "completed", "usage_bytes": 0})
        self._touch(record)
        for id in strings_of(body.get("file_ids")):
            self._add(record, id, None, strategy)
        self._count(record)
        return record.object

    def retrieve(self, call: Call) -> Response | typing.Awaitable[Response]:
        """Answer a store, with its files counted."""
        return self._polled(self._store(call).object)

    def update(self, call: Call) -> JsonObject:
        """Change a store's name, metadata or expiry."""
        record = self._store(call)
        update_object(call)
        if "expires_after" in call.body:
            if call.body["expires_after"] is None:
                record.object["expires_after"] = None
            self._touch(record)
        return record.object

    def _store(self, call: Call) -> Record:
        record = self._world.find(_VECTOR_STORES, call.names["vector_store_id"])
        self._count(record)
        return record

    def _count(self, record: Record) -> None:
        files = self._world.store.all(f"{record.path}/files")
        counts = _file_counts(files)
        record.object["file_counts"] = counts
        record.object["usage_bytes"] = sum(file.object["usage_bytes"] for file in files)
        if record.object["status"] != "expired":
            record.object["status"] = "in_progress" if counts["in_progress"] else "completed"

    def _touch(self, record: Record) -> None:
        """Note that a store is in use: the days until it expires count from now on."""
        world = self._world
        record.object["last_active_at"] = world.now()
        record.plan.clear()
        days = object_of(record.object.get("expires_after")).get("days")
        record.object["expires_at"] = world.now() + days * _A_DAY_SECONDS if type(days) is int else None
        if type(days) is int:
            record.plan.append((world.clock() + days * _A_DAY_SECONDS, lambda record: expire(world, record)))

    def _usable(self, call: Call) -> Record:
        """Return the store that the path names, and note that it is used; ApiError 400 for one that has expired."""
        record = self._store(call)
        if record.object["status"] == "expired":
            raise ApiError(
                400, f"Vector store '{record.id}' is expired.", param="vector_store_id", code="vector_store_expired"
            )
        self._touch(record)
        return record

    # ---- files --------------------------------------------------------------------------------------------------

    def add_file(self, call: Call) -> JsonObject:
        """Add a file to a store."""
        body = call.body
        strategy = _chunking(body.get("chunking_strategy"))
        vector_store, file_id = self._usable(call), str(body.get("file_id"))
        if self._world.store.get(FILES, file_id) is None and self._world.settings.unknown_ids != "invent":
            raise ApiError(404, f"Files [{file_id[:100]}] were not found", param="file_id")
        return self._add(vector_store, file_id, body.get("attributes"), strategy).object

    def retrieve_file(self, call: Call) -> Response | typing.Awaitable[Response]:
        """Answer a store's file."""
        call.parents()
        return self._polled(call.record().object)

    def file_text(self, call: Call) -> JsonObject:
        """Answer the text that was found in a file."""
        call.parents()
        record = self._world.find(f"{_VECTOR_STORES}/{call.names['vector_store_id']}/files", call.names["file_id"])
        text = record.content.decode()
        data = [{"type": "text", "text": text}] if text else []
        return {"object": "vector_store.file_content.page", "data": data, "has_more": False, "next_page": None}

    def _add(self, vector_store: Record, file_id: str, attributes: typing.Any, strategy: JsonObject) -> Record:
        world = self._world
        known = {
            "id": file_id,
            "created_at": world.now(),
            "vector_store_id": vector_store.id,
            "status": "in_progress",
            "usage_bytes": 0,
            "last_error": None,
            "attributes": object_of(attributes),
            "chunking_strategy": strategy,
        }
        record = world.store.add(f"{vector_store.path}/files", file_id, world.make("VectorStoreFile", known))
        self._indexer.plan(record)
        return record

    # ---- batches of files ---------------------------------------------------------------------------------------

    def add_files(self, call: Call) -> JsonObject:
        """Add many files at once: those of `file_ids` alike, those of `files` each with its own attributes."""
        body = call.body
        strategy = _chunking(body.get("chunking_strategy"))
        wanted = [(id, body.get("attributes"), strategy) for id in strings_of(body.get("file_ids"))]
        wanted += [
            (str(file.get("file_id")), file.get("attributes"), _chunking(file.get("chunking_strategy")))
            for file in objects_of(body.get("files"))
        ]
        vector_store = self._usable(call)
        ids = [self._add(vector_store, *one).id for one in wanted]
        record = create_record(call, {"status": "in_progress"})
        record.state = _BatchState([*dict.fromkeys(ids)])
        self._follow(record)
        return record.object

    def retrieve_batch(self, call: Call) -> Response | typing.Awaitable[Response]:
        """Answer a batch, with its files counted."""
        return self._polled(self._batch(call).object)

    def cancel_batch(self, call: Call) -> JsonObject:
        """Cancel a batch: its files that are not ready yet are given up."""
        record = self._batch(call)
        if record.object["status"] != "in_progress":
            return record.object
        for file in self._files_of(record):
            if file.object["status"] == "in_progress":
                file.plan.clear()
                file.object["status"] = "cancelled"
        self._follow(record)
        record.object["status"] = "cancelled"
        return record.object

    def list_batch(self, call: Call) -> JsonObject:
        """Answer a page of a batch's files."""
        objects = [file.object for file in self._files_of(self._batch(call))]
        state = call.query.get("filter")
        return page_of([object for object in objects if state in (None, object["status"])], call.query)

    def _batch(self, call: Call) -> Record:
        self._store(call)
        collection = f"{_VECTOR_STORES}/{call.names['vector_store_id']}/file_batches"
        record = self._world.find(collection, call.names["batch_id"])
        self._follow(record)
        return record

    def _files_of(self, batch: Record) -> typing.List[Record]:
        collection = f"{batch.collection.rpartition('/')[0]}/files"
        state = batch.state_of(_BatchState)
        files = [self._world.store.get(collection, id) for id in (state.file_ids if state is not None else [])]
        return [file for file in files if file is not None]

    def _follow(self, batch: Record) -> None:
        """Let a batch be completed once its files are. From then on they do not change it any more."""
        if batch.object["status"] != "in_progress" or batch.is_invented:
            return
        counts = _file_counts(self._files_of(batch))
        batch.object["file_counts"] = counts
        if not counts["in_progress"]:
            batch.object["status"] = "completed"

    def _polled(self, object: JsonObject) -> Response | typing.Awaitable[Response]:
        """Return an answer; while the object is in progress, a header field tells the client how soon to ask again."""
        fields = JSON_FIELDS
        if object["status"] == "in_progress":
            milliseconds = int(1000 / self._world.settings.speed) if self._world.settings.speed else 1000
            fields += encode_fields([("openai-poll-after-ms", str(max(1, milliseconds)))])
        return json_answer(self._world, object, fields)

    # ---- search -------------------------------------------------------------------------------------------------

    def search(self, call: Call) -> JsonObject | typing.Awaitable[JsonObject]:
        """Answer the chunks that have most in common with the query, the best first."""
        return begun_at_once(lambda budget: self._found(call, budget), SEARCH_STEPS, "The search")

    def _found(self, call: Call, budget: Budget) -> JsonObject:
        body = call.body
        record = self._usable(call)
        query = body.get("query")
        queries = strings_of(query if isinstance(query, list) else [query])
        if body.get("rewrite_query"):
            queries = [_rewritten_query(query) for query in queries]
        files = self._world.store.all(f"{record.path}/files")
        data = search_files(files, queries, body, budget)
        return {
            "object": "vector_store.search_results.page",
            "search_query": queries,
            "data": data,
            "has_more": False,
            "next_page": None,
        }


def _file_counts(files: typing.Iterable[Record]) -> JsonObject:
    states = [file.object["status"] for file in files]
    return {**{state: states.count(state) for state in _FILE_STATES}, "total": len(states)}


def _chunking(strategy: typing.Any) -> JsonObject:
    """Return a strategy as answers show it, `auto` in figures. ApiError 400 where the chunks overlap too much."""
    static = object_of(object_of(strategy).get("static"))
    size, overlap = static.get("max_chunk_size_tokens"), static.get("chunk_overlap_tokens")
    if type(size) is not int or type(overlap) is not int:
        return _AUTO_CHUNKING
    check_chunking(size, overlap)
    return {"type": "static", "static": {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap}}


def _rewritten_query(query: str) -> str:
    """Return a question as a search query: in lower case and without the marks at its end."""
    return " ".join(query.lower().split()).rstrip("?!. ")
