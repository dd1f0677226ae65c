"""Vector stores whose search really searches: by words, over the chunks of the files that were added.

A file that is added is in progress for a second of the life cycles' clock, then completed, or failed where there is
no such file or no text in it. A large one is read meanwhile, bit by bit, and takes as long as that. What a store and a
batch tell of their files is counted when they are looked at.
"""

from __future__ import annotations

import asyncio
import operator
import re
import typing

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.engine.resources import Handler, create_record, list_objects, page_of, update_object
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.storage.files import FILES
from protocol.mock.text.document import text_of
from protocol.mock.text.ranking import Terms, check_chunking, chunks_of, rank, terms_of
from protocol.openai.answers import JSON_FIELDS
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject, encode_json

_VECTOR_STORES = "/vector_stores"
_INDEXING_SECONDS = 1
_A_DAY_SECONDS = 24 * 3600
# API reference, "Create vector store", `chunking_strategy`: what `auto` means, and the least of a chunk.
_AUTO_CHUNKING = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}
# API reference, "Search vector store".
_DEFAULT_RESULTS = 10
_MOST_RESULTS = 50
_FILE_STATES = ("in_progress", "completed", "failed", "cancelled")
_DEEPEST_FILTER = 16
# OpenAI's limit on a file of a vector store.
_MOST_FILE_TOKENS = 5_000_000
_CHARACTERS_A_TOKEN = 4
# What is indexed at one go, and how many chunks are between the turns of others: 1 ms each.
_INDEXED_AT_ONCE_BYTES = 16 * 1024
_CHUNKS_A_TURN = 4
# About what a term of a chunk takes in memory: an entry of a dict.
_TERM_BYTES = 32
# What holds no text to search, whatever readable bytes may stand in it.
_TEXTLESS_NAME = re.compile(
    r".*\.(?:png|jpe?g|gif|webp|bmp|ico|mp[34]|wav|flac|ogg|m4a|mov|avi|zip|gz|tar|7z|exe|dll|so|bin|woff2?)",
    re.IGNORECASE | re.DOTALL,
)


class VectorStores:
    """The operations on vector stores, their files and batches of files."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by their operations' keys."""
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
        """Make a store, and add files to it."""
        body = call.body
        strategy = _chunking(body.get("chunking_strategy"))
        known = {"name": body.get("name") or "", "metadata": body.get("metadata"), "expires_at": None}
        record = create_record(call, {**known, "status": "completed", "usage_bytes": 0})
        self._touch(record)
        for id in _strings(body.get("file_ids")):
            self._add(record, id, None, strategy)
        self._count(record)
        return record.object

    def retrieve(self, call: Call) -> Response:
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
        """Note that a store is in use: from now on its days count anew."""
        world = self._world
        record.object["last_active_at"] = world.now()
        record.plan.clear()
        expiry = record.object.get("expires_after")
        days = expiry.get("days") if isinstance(expiry, dict) else None
        record.object["expires_at"] = world.now() + days * _A_DAY_SECONDS if type(days) is int else None
        if type(days) is int:
            record.plan.append((world.clock() + days * _A_DAY_SECONDS, self._expire))

    def _expire(self, record: Record) -> None:
        record.object["status"] = "expired"
        for file in self._world.store.all(f"{record.path}/files"):
            self._world.store.remove(file.collection, file.id)

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

    def retrieve_file(self, call: Call) -> Response:
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
            "attributes": attributes if isinstance(attributes, dict) else {},
            "chunking_strategy": strategy,
        }
        record = world.store.add(f"{vector_store.path}/files", file_id, world.make("VectorStoreFile", known))
        file = world.store.get(FILES, file_id)
        if file is not None and len(file.content) > _INDEXED_AT_ONCE_BYTES:
            world.spawn(self._index_slowly(record))
        else:
            record.plan.append((world.clock() + _INDEXING_SECONDS, self._index))
        return record

    def _index(self, record: Record) -> None:
        """Read a file that has been added, and cut it into the chunks that are searched."""
        file = self._source(record)
        if file is not None:
            for _ in self._indexing(record, file, _text_in(file)):
                pass

    async def _index_slowly(self, record: Record) -> None:
        """Do the same when it is due, and let others have their turns meanwhile."""
        await self._world.pass_time(_INDEXING_SECONDS)
        file = self._source(record)
        if file is None:
            return
        text = await asyncio.get_running_loop().run_in_executor(None, _text_in, file)
        for number, _ in enumerate(self._indexing(record, file, text)):
            if number % _CHUNKS_A_TURN == 0:
                await asyncio.sleep(0)
            if record.object["status"] != "in_progress" or not self._world.store.has(record):
                return

    def _source(self, record: Record) -> Record | None:
        """Return the uploaded file that is to be indexed; the record fails where there is none."""
        file = self._world.store.get(FILES, record.id)
        if file is None and self._world.settings.unknown_ids == "invent":
            file = self._world.invent(FILES, record.id)
        if file is None:
            _fail(record, "invalid_file", f"No such File object: {record.id}")
        return file

    def _indexing(self, record: Record, file: Record, text: str) -> typing.Iterator[None]:
        """Index the text of a file in many small steps."""
        if not text.strip() and "invented" not in file.notes:
            problem = "unsupported_file" if file.content else "invalid_file"
            _fail(record, problem, "No text could be found in the file." if file.content else "The file is empty.")
            return
        if len(text) > _MOST_FILE_TOKENS * _CHARACTERS_A_TOKEN:
            most = f"Max allowed tokens per file is {_MOST_FILE_TOKENS}."
            _fail(record, "invalid_file", f"File contains too many tokens. {most}")
            return
        static = record.object["chunking_strategy"]["static"]
        chunks: list[tuple[str, Terms]] = []
        vocabulary: dict[str, str] = {}
        taken = 0
        for chunk in chunks_of(text, static["max_chunk_size_tokens"], static["chunk_overlap_tokens"]):
            terms = _shared(terms_of(chunk), vocabulary)
            chunks.append((chunk, terms))
            taken += len(chunk) + _TERM_BYTES * len(terms.counts)
            yield
        content = text.encode("utf-8", "replace")
        record.notes.update(chunks=chunks, filename=file.object["filename"])
        record.object.update(status="completed", usage_bytes=len(content))
        self._world.store.set_content(record, content)
        self._world.store.set_size(record, record.size + taken)

    # ---- batches of files ---------------------------------------------------------------------------------------

    def add_files(self, call: Call) -> JsonObject:
        """Add many files at once: those of `file_ids` alike, those of `files` each with its own attributes."""
        body = call.body
        strategy = _chunking(body.get("chunking_strategy"))
        files = body.get("files")
        own = [file for file in files if isinstance(file, dict)] if isinstance(files, list) else []
        wanted = [(id, body.get("attributes"), strategy) for id in _strings(body.get("file_ids"))]
        wanted += [
            (str(file.get("file_id")), file.get("attributes"), _chunking(file.get("chunking_strategy"))) for file in own
        ]
        vector_store = self._usable(call)
        ids = [self._add(vector_store, *one).id for one in wanted]
        record = create_record(call, {"status": "in_progress"})
        record.notes["files"] = [*dict.fromkeys(ids)]
        self._follow(record)
        return record.object

    def retrieve_batch(self, call: Call) -> Response:
        """Answer a batch, with its files counted."""
        return self._polled(self._batch(call).object)

    def cancel_batch(self, call: Call) -> JsonObject:
        """Give up the files of a batch that are not ready yet."""
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
        files = [self._world.store.get(collection, id) for id in batch.notes.get("files", [])]
        return [file for file in files if file is not None]

    def _follow(self, batch: Record) -> None:
        """Let a batch be where its files are; what it has come to stays, whatever becomes of them."""
        if batch.object["status"] != "in_progress" or "files" not in batch.notes:
            return
        counts = _file_counts(self._files_of(batch))
        batch.object["file_counts"] = counts
        if not counts["in_progress"]:
            batch.object["status"] = "completed"

    def _polled(self, object: JsonObject) -> Response:
        """Return an answer that tells a client how soon to ask again, as long as something is in progress."""
        fields = JSON_FIELDS
        if object["status"] == "in_progress":
            milliseconds = int(1000 / self._world.settings.speed) if self._world.settings.speed else 1000
            fields += encode_fields([("openai-poll-after-ms", str(max(1, milliseconds)))])
        return Response(200, fields, encode_json(object))

    # ---- search -------------------------------------------------------------------------------------------------

    def search(self, call: Call) -> JsonObject:
        """Answer the chunks that have most in common with the query, the best first."""
        body = call.body
        record = self._usable(call)
        queries = _strings(body["query"] if isinstance(body.get("query"), list) else [body.get("query")])
        if body.get("rewrite_query"):
            queries = [_rewritten_query(query) for query in queries]
        files = self._world.store.all(f"{record.path}/files")
        data = search_files(files, queries, body)
        return {
            "object": "vector_store.search_results.page",
            "search_query": queries,
            "data": data,
            "has_more": False,
            "next_page": None,
        }


def search_files(
    files: typing.Sequence[Record], queries: typing.Sequence[str], options: JsonObject
) -> list[JsonObject]:
    """Return the results of a search over a store's files, the best first.

    `options` are those of "Search vector store": `filters`, `max_num_results` and `ranking_options`.
    """
    filters = options.get("filters")
    found = [file for file in files if "chunks" in file.notes and fits_filter(filters, file.object["attributes"])]
    chunks = [(file, text, terms) for file in found for text, terms in file.notes["chunks"]]
    ranking_options = options.get("ranking_options")
    threshold = ranking_options.get("score_threshold") if isinstance(ranking_options, dict) else None
    limit = options.get("max_num_results")
    results: list[JsonObject] = []
    for score, index in rank(queries, [terms for _, _, terms in chunks]):
        if len(results) == (min(limit, _MOST_RESULTS) if type(limit) is int else _DEFAULT_RESULTS):
            break
        if isinstance(threshold, (int, float)) and score < threshold:
            break
        file, text, _ = chunks[index]
        results.append(
            {
                "file_id": file.id,
                "filename": file.notes["filename"],
                "score": score,
                "attributes": file.object["attributes"],
                "content": [{"type": "text", "text": text}],
            }
        )
    return results


_ORDERINGS: dict[str, typing.Callable[[typing.Any, typing.Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def fits_filter(filter: typing.Any, attributes: JsonObject, depth: int = 0) -> bool:
    """Return whether a file's attributes fit a filter of comparisons, which `and` and `or` may join; None fits all.

    What is not there equals nothing and is in nothing. ApiError 400 for a filter that is nested too deeply.
    """
    if not isinstance(filter, dict):
        return True
    if depth > _DEEPEST_FILTER:
        raise ApiError(400, "The filters are nested too deeply.", param="filters", code="invalid_value")
    kind = filter.get("type")
    if kind in ("and", "or"):
        inner = filter.get("filters")
        parts = [fits_filter(part, attributes, depth + 1) for part in inner] if isinstance(inner, list) else []
        return all(parts) if kind == "and" else any(parts)
    found, wanted = attributes.get(str(filter.get("key"))), filter.get("value")
    if kind in _ORDERINGS:
        return _are_ordered(found, wanted) and _ORDERINGS[kind](found, wanted)
    listed = wanted if isinstance(wanted, list) else [wanted]
    is_there = any(_are_equal(found, one) for one in listed)
    return not is_there if kind in ("ne", "nin") else is_there


def _are_equal(found: typing.Any, wanted: typing.Any) -> bool:
    # To Python, true is 1.
    return (type(found) is bool) == (type(wanted) is bool) and found is not None and found == wanted


def _are_ordered(found: typing.Any, wanted: typing.Any) -> bool:
    if bool in (type(found), type(wanted)):
        return False
    return any(isinstance(found, kind) and isinstance(wanted, kind) for kind in (str, (int, float)))


def _file_counts(files: typing.Iterable[Record]) -> JsonObject:
    states = [file.object["status"] for file in files]
    return {**{state: states.count(state) for state in _FILE_STATES}, "total": len(states)}


def _fail(record: Record, code: str, message: str) -> None:
    record.object.update(status="failed", last_error={"code": code, "message": message})


def _chunking(strategy: typing.Any) -> JsonObject:
    """Return the strategy that an answer shows: `auto` in its figures; ApiError 400 where the overlap is too large."""
    static = strategy.get("static") if isinstance(strategy, dict) else None
    if not isinstance(static, dict):
        return _AUTO_CHUNKING
    size, overlap = static.get("max_chunk_size_tokens"), static.get("chunk_overlap_tokens")
    if type(size) is not int or type(overlap) is not int:
        return _AUTO_CHUNKING
    check_chunking(size, overlap)
    return {"type": "static", "static": {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap}}


def _text_in(file: Record) -> str:
    filename = file.object["filename"]
    return "" if _TEXTLESS_NAME.fullmatch(filename) else text_of(file.content, filename)


def _shared(terms: Terms, vocabulary: dict[str, str]) -> Terms:
    """Return the same terms, whose words are kept but once for all chunks of a file."""
    return Terms({vocabulary.setdefault(term, term): count for term, count in terms.counts.items()}, terms.total)


def _strings(values: typing.Any) -> typing.List[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _rewritten_query(query: str) -> str:
    """Return a question as what it searches for: without what is only there for its reader."""
    return " ".join(query.lower().split()).rstrip("?!. ")
