"""Indexing: how a file that was added to a vector store becomes one that can be searched.

A file is in progress for a second of the life cycles' clock, and then completed, or failed where there is no such file
or no text in it. A small file is indexed when somebody looks at it after that second. A large one is indexed in a task,
in turns, so that other requests are not kept waiting, and so are many small ones together; it takes as long as that
takes.
"""

from __future__ import annotations

import re
import typing

from protocol.budget import spend_turn
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import World
from protocol.mock.storage.files import FILES
from protocol.mock.storage.vector_search import IndexedFile
from protocol.mock.text.document import text_of
from protocol.mock.text.ranking import Terms, chunks_of, terms_of
from protocol.turns import in_turns

_INDEXING_SECONDS = 1
# OpenAI's limit on a file of a vector store.
_MOST_FILE_TOKENS = 5_000_000
_MOST_CHARACTERS = 4 * 5_000_000
# Larger files, or what makes the files together larger that were added in a second, are indexed in a task.
_INDEXED_AT_ONCE_BYTES = 16 * 1024
# A short archive may unpack to much.
_ARCHIVE_BEGINNING = b"PK"
_STEPS_A_TOKEN = 2
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
        # How many bytes are to be indexed at once, and when the first of them is due.
        self._bytes_at_once = 0
        self._first_due = 0.0

    def plan(self, record: Record) -> None:
        """Let a file that has been added be indexed when it is due."""
        world = self._world
        file = world.store.get(FILES, record.id)
        if file is None or self._takes_at_once(file.content):
            record.plan.append((world.clock() + _INDEXING_SECONDS, self._index))
        else:
            world.spawn(self._index_slowly(record))

    def _takes_at_once(self, content: bytes) -> bool:
        now = self._world.clock()
        if now >= self._first_due:
            self._bytes_at_once, self._first_due = 0, now + _INDEXING_SECONDS
        if content.startswith(_ARCHIVE_BEGINNING) or self._bytes_at_once + len(content) > _INDEXED_AT_ONCE_BYTES:
            return False
        self._bytes_at_once += len(content)
        return True

    def _index(self, record: Record) -> None:
        """Index a small file."""
        file = self._source(record)
        if file is not None:
            for _ in self._indexing(record, file, _text_in(file)):
                pass

    async def _index_slowly(self, record: Record) -> None:
        """Index a large file when it is due, and let others have their turns meanwhile."""
        await self._world.pass_time(_INDEXING_SECONDS)
        await in_turns(lambda: self._index_in_turns(record))

    def _index_in_turns(self, record: Record) -> None:
        file = self._source(record)
        if file is None:
            return
        text = _text_in(file)
        steps = _STEPS_A_TOKEN * record.object["chunking_strategy"]["static"]["max_chunk_size_tokens"]
        chunks = self._indexing(record, file, text)
        # Others may have removed the record meanwhile.
        while record.object["status"] == "in_progress" and self._world.store.has(record):
            next(chunks, None)
            spend_turn(steps)

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
        if len(text) > _MOST_CHARACTERS:
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
    return "" if _TEXTLESS_NAME.fullmatch(filename) else text_of(file.content, filename, _MOST_CHARACTERS)


def _shared(terms: Terms, vocabulary: dict[str, str]) -> Terms:
    """Return the same terms with the words of `vocabulary`, so that a file's chunks share their strings."""
    return Terms({vocabulary.setdefault(term, term): count for term, count in terms.counts.items()}, terms.total)
