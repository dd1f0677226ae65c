"""Indexing: how a file that was added to a vector store becomes one that can be searched.

A file is in progress for a second of the life cycles' clock, and then completed, or failed where there is no such file
or no text in it. A small file is indexed when somebody looks at it after that second. A large one is indexed in a task,
a few chunks at a time, so that other requests are not kept waiting; it takes as long as that takes.
"""

from __future__ import annotations

import asyncio
import re
import typing

from protocol.mock.engine.store import Record
from protocol.mock.engine.world import World
from protocol.mock.storage.files import FILES
from protocol.mock.storage.vector_search import IndexedFile
from protocol.mock.text.document import text_of
from protocol.mock.text.ranking import Terms, chunks_of, terms_of

_INDEXING_SECONDS = 1
# OpenAI's limit on a file of a vector store.
_MOST_FILE_TOKENS = 5_000_000
_CHARACTERS_A_TOKEN = 4
# A larger file is indexed in a task.
_INDEXED_AT_ONCE_BYTES = 16 * 1024
# How many chunks are indexed between the turns of others; a chunk takes 1 ms.
_CHUNKS_A_TURN = 4
# About what a term of a chunk takes in memory: an entry of a dict.
_TERM_BYTES = 32
# Files that hold no text to search, whatever readable bytes there may be in them.
_TEXTLESS_NAME = re.compile(
    r".*\.(?:png|jpe?g|gif|webp|bmp|ico|mp[34]|wav|flac|ogg|m4a|mov|avi|zip|gz|tar|7z|exe|dll|so|bin|woff2?)",
    re.IGNORECASE | re.DOTALL,
)


class Indexer:
    """Indexes the files of vector stores."""

    def __init__(self, world: World) -> None:
        self._world = world

    def plan(self, record: Record) -> None:
        """Let a file that has been added be indexed when it is due."""
        world = self._world
        file = world.store.get(FILES, record.id)
        if file is not None and len(file.content) > _INDEXED_AT_ONCE_BYTES:
            world.spawn(self._index_slowly(record))
        else:
            record.plan.append((world.clock() + _INDEXING_SECONDS, self._index))

    def _index(self, record: Record) -> None:
        """Index a small file."""
        file = self._source(record)
        if file is not None:
            for _ in self._indexing(record, file, _text_in(file)):
                pass

    async def _index_slowly(self, record: Record) -> None:
        """Index a large file when it is due, and let others have their turns meanwhile."""
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
        """Return the uploaded file that a record stands for. The record fails where there is none."""
        file = self._world.store.get(FILES, record.id)
        if file is None and self._world.settings.unknown_ids == "invent":
            file = self._world.invent(FILES, record.id)
        if file is None:
            _fail(record, "invalid_file", f"No such File object: {record.id}")
        return file

    def _indexing(self, record: Record, file: Record, text: str) -> typing.Iterator[None]:
        """Cut the text of a file into chunks, a step for each; the last step lets the file be searched."""
        if not text.strip() and not file.is_invented:
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
        record.state = IndexedFile(chunks, file.object["filename"])
        record.object.update(status="completed", usage_bytes=len(content))
        self._world.store.set_content(record, content)
        self._world.store.set_size(record, record.size + taken)


def _fail(record: Record, code: str, message: str) -> None:
    record.object.update(status="failed", last_error={"code": code, "message": message})


def _text_in(file: Record) -> str:
    filename = file.object["filename"]
    return "" if _TEXTLESS_NAME.fullmatch(filename) else text_of(file.content, filename)


def _shared(terms: Terms, vocabulary: dict[str, str]) -> Terms:
    """Return the same terms with the words of `vocabulary`, so that a file's chunks share their strings."""
    return Terms({vocabulary.setdefault(term, term): count for term, count in terms.counts.items()}, terms.total)
