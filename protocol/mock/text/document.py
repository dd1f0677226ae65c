"""The text of an uploaded file, for the search of vector stores.

It is found in text of UTF-8, or of UTF-16 with its mark (prose, Markdown, JSON, CSV, program source); in HTML and XML,
without tags, scripts and styles; in the XML inside Word, PowerPoint and OpenDocument files. Any other file, such as a
PDF, gives the runs of printable ASCII that are in it uncompressed: seldom more than a title.
"""

from __future__ import annotations

import codecs
import html
import re
import typing

from protocol.budget import spend_turn
from protocol.wire.archive import ArchiveError, read_archive

# Members that hold the text of .docx, .pptx and of OpenDocument.
_OFFICE_MEMBER = re.compile(r"word/(?:document|footnotes|endnotes)\.xml|ppt/slides/slide\d+\.xml|content\.xml")
_OFFICE_MOST_BYTES = 64 * 1024 * 1024  # uncompressed: a small file may hold much

_MARKUP_NAME = re.compile(r".*\.(?:html?|xhtml|xml|svg)", re.IGNORECASE | re.DOTALL)
_MARKUP_BEGINNING = re.compile(r"\s{0,1000}<(?:!doctype html|html\b|\?xml\b)", re.IGNORECASE)
# A tag, or the beginning of what may be a very long one, such as one with a picture in it. No tag has another tag's
# beginning within it, so that no file makes the search go over it again and again.
_MARKUP_TAG = re.compile(r"<[!/?a-zA-Z](?:[^<>]{0,65000}>|[^<>]{65001})")
_MARKUP_EDGE = re.compile(r"[<>]")
_MARKUP_SILENT = re.compile(r"<(script|style)\b", re.IGNORECASE)
# Tags that end a line or a cell, in HTML and in office files; all others may be within words.
_MARKUP_BREAK = re.compile(
    r"</?(?:\w{1,100}:)?(?:p|div|br|li|ul|ol|tr|td|th|h[1-6]?|title|table|section|article|header|footer|tab|pre|option)\b",
    re.IGNORECASE,
)
# A character by its name or number; `html.unescape` itself would read numbers of any length.
_MARKUP_CHARACTER = re.compile(r"&(?:#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,8}|[a-zA-Z][a-zA-Z0-9]{1,31});?")
_LONGEST_CHARACTER = 40

_PRINTABLE = b"\t\n\r" + bytes(range(0x20, 0x7F))
_PRINTABLE_RUN = re.compile(rb"[\t\n\r -~]{6,}")
_ONLY_PRINTABLE_AS_DOTS = bytes(0x2E if byte in _PRINTABLE else 0 for byte in range(256))
_LONGEST_RUN = 1024 * 1024  # a longer one becomes two lines

# No call into C gets more at once: none can be interrupted.
_PIECE = 65536
_LONGEST_FOUND = 65536  # of _MARKUP_TAG
_BYTES_A_STEP = 50  # that are cut into words or runs
_DECODED_BYTES_A_STEP = 500
_STEPS_A_TAG = 4


def text_of(data: bytes, filename: str, most_characters: int) -> str:
    """Return the text of a file, "" where it has none; the end of the file's name helps to recognize markup.

    Reading stops behind `most_characters`: a longer text means that the file has too much. A large file is work to be
    done in turns (protocol/budget.py).
    """
    if data.startswith(b"PK\x03\x04"):
        lines = _Lines(most_characters)
        for member in _office_members(data):
            _read_markup("".join(_decoded_pieces(member, "utf-8", "replace")), lines)
            lines.write("\n")
        return lines.text()
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    is_markup = _MARKUP_NAME.fullmatch(filename) or _MARKUP_BEGINNING.match(data[:_PIECE].decode(encoding, "ignore"))
    text = _decoded(data, encoding, len(data) if is_markup else most_characters)
    if text is None:
        return _printable_text(data, most_characters)
    if is_markup:
        lines = _Lines(most_characters)
        _read_markup(text, lines)
        return lines.text()
    return text


def _decoded(data: bytes, encoding: str, most_characters: int) -> str | None:
    """Return the text that the bytes encode, or a beginning that is too long; None where they are no text."""
    pieces, size = [], 0
    try:
        for piece in _decoded_pieces(data, encoding, "strict"):
            if "\0" in piece:
                return None
            pieces.append(piece)
            size += len(piece)
            if size > most_characters:
                break
    except UnicodeDecodeError:
        return None
    return "".join(pieces)


def _decoded_pieces(data: bytes, encoding: str, errors: str) -> typing.Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    for begin in range(0, len(data), _PIECE):
        spend_turn(1 + _PIECE // _DECODED_BYTES_A_STEP)
        yield decoder.decode(data[begin : begin + _PIECE])
    yield decoder.decode(b"", final=True)


def _printable_text(data: bytes, most_characters: int) -> str:
    """Return the runs of printable ASCII, a line each."""
    lines, size, rest = [], 0, b""
    for begin in range(0, len(data), _PIECE):
        spend_turn(1 + _PIECE // _BYTES_A_STEP)
        piece = rest + data[begin : begin + _PIECE]
        # What is behind the last byte that cannot be printed goes on in the next piece.
        end = piece.translate(_ONLY_PRINTABLE_AS_DOTS).rfind(b"\0") + 1
        is_last = begin + _PIECE >= len(data)
        if is_last or len(piece) - end > _LONGEST_RUN:
            end = len(piece)
        rest = piece[end:]
        runs = [run.decode("ascii").strip() for run in _PRINTABLE_RUN.findall(piece[:end])]
        spend_turn(len(runs))
        if runs:
            lines.append("\n".join(runs))
            size += len(lines[-1])
        if size > most_characters:
            break
    return "\n".join(lines)


class _Lines:
    """Text that comes in pieces, without blank lines, and with one space for whatever is between two words."""

    def __init__(self, most_characters: int) -> None:
        self._left = most_characters + 1  # with the mark before the first word
        self._kept: list[str] = []
        self._pieces: list[str] = []  # that are not in `_kept` yet: one string takes less memory than a thousand
        self._space = "\n"  # what comes before the next word

    @property
    def is_full(self) -> bool:
        """Whether there is more text than was wanted."""
        return self._left < 0

    def write(self, text: str) -> None:
        """Add text."""
        for number, part in enumerate(text.split("\n")):
            if number:
                self._space = "\n"
                spend_turn(1)
            words = part.split()
            if not words:
                self._space = self._space or (" " if part else "")
                continue
            space = self._space or (" " if part[0].isspace() else "")
            piece = space + " ".join(words)
            self._pieces.append(piece)
            self._left -= len(piece)
            self._space = " " if part[-1].isspace() else ""
        if len(self._pieces) > 1000:
            self._kept.append("".join(self._pieces))
            self._pieces.clear()

    def text(self) -> str:
        """Return all that was added."""
        return "".join([*self._kept, *self._pieces])[1:]  # the first word has no line before it


def _read_markup(text: str, lines: _Lines) -> None:
    """Add the text between the tags, in lines as tags break them."""
    until = ""  # the end of the part that is being left out
    for is_tag, piece in _markup_pieces(text):
        spend_turn(_STEPS_A_TAG + len(piece) // _BYTES_A_STEP)
        if lines.is_full:
            return
        if until:
            if piece[: len(until)].lower() == until or (until == "-->" and until in piece):
                until = ""
            continue
        if not is_tag:
            before, comment, rest = piece.partition("<!--")
            lines.write(_MARKUP_CHARACTER.sub(_character, before))
            until = "-->" if comment and "-->" not in rest else ""
            continue
        silent = _MARKUP_SILENT.match(piece)
        if silent and not piece.endswith("/>"):
            until = f"</{silent[1].lower()}"
        elif piece.startswith("<!--"):
            until = "" if piece.endswith("-->") else "-->"
        elif _MARKUP_BREAK.match(piece):
            lines.write("\n")


def _character(found: re.Match[str]) -> str:
    spend_turn(1)
    return html.unescape(found[0])


def _markup_pieces(text: str) -> typing.Iterator[tuple[bool, str]]:
    """Yield the tags and the texts between them, and whether it is a tag; a long text in pieces."""
    at = 0
    while at < len(text):
        found = _MARKUP_TAG.search(text, at, at + _PIECE + _LONGEST_FOUND)
        if found is None or found.start() > at + _PIECE:
            spend_turn((_PIECE + _LONGEST_FOUND) // _BYTES_A_STEP)
            cut = _cut(text, at)
            yield False, text[at:cut]
            at = cut
            continue
        begin, end = found.span()
        if begin > at:
            yield False, text[at:begin]
        if text[end - 1] != ">":
            end = _next_edge(text, end)
            if not text.startswith(">", end):
                yield from _pieces(text, begin, end)
                at = end
                continue
            end += 1
        yield True, text[begin:end]
        at = end


def _next_edge(text: str, at: int) -> int:
    """Return where the next "<" or ">" is, the end of the text where there is none."""
    while at < len(text):
        edge = _MARKUP_EDGE.search(text, at, at + _PIECE)
        if edge is not None:
            return edge.start()
        spend_turn(_PIECE // _DECODED_BYTES_A_STEP)
        at += _PIECE
    return len(text)


def _pieces(text: str, begin: int, end: int) -> typing.Iterator[tuple[bool, str]]:
    """Yield a part of a text that has no tag in pieces."""
    while begin < end:
        cut = min(end, _cut(text, begin))
        yield False, text[begin:cut]
        begin = cut


def _cut(text: str, begin: int) -> int:
    """Return where a piece of a long text ends: not within a character's name nor a comment's first or last mark."""
    end = begin + _PIECE
    if end >= len(text):
        return len(text)
    mark = max(text.rfind("&", end - _LONGEST_CHARACTER, end), text.rfind("<", end - 4, end))
    end = mark if mark > begin else end
    return end - (len(text[end - 2 : end]) - len(text[end - 2 : end].rstrip("-")))


def _office_members(data: bytes) -> list[bytes]:
    try:
        members = read_archive(data, _OFFICE_MOST_BYTES, wanted=_OFFICE_MEMBER.fullmatch, spend=spend_turn)
    except ArchiveError:  # the archive is damaged, or the file only begins like one
        return []
    return [content for _, content in members]
