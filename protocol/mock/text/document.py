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

from protocol.wire.archive import ArchiveError, read_archive

# Members that hold the text of .docx, .pptx and of OpenDocument.
_OFFICE_MEMBER = re.compile(r"word/(?:document|footnotes|endnotes)\.xml|ppt/slides/slide\d+\.xml|content\.xml")
_OFFICE_MOST_BYTES = 64 * 1024 * 1024  # uncompressed: a small file may hold much

_MARKUP_NAME = re.compile(r".*\.(?:html?|xhtml|xml|svg)", re.IGNORECASE | re.DOTALL)
_MARKUP_BEGINNING = re.compile(r"\s*<(?:!doctype html|html\b|\?xml\b)", re.IGNORECASE)
# No tag has another tag's beginning within it, so that no file makes the search go over it again and again.
_MARKUP_TAG = re.compile(r"<[!/?a-zA-Z][^<>]*>")
_MARKUP_SILENT = re.compile(r"<(script|style)\b[^<>]*(?<!/)>", re.IGNORECASE)
# Tags that end a line or a cell, in HTML and in office files; all others may be within words.
_MARKUP_BREAK = re.compile(
    r"</?(?:\w+:)?(?:p|div|br|li|ul|ol|tr|td|th|h[1-6]?|title|table|section|article|header|footer|tab|pre|option)\b",
    re.IGNORECASE,
)
_PRINTABLE_RUN = re.compile(rb"[\t\n\r -~]{6,}")


def text_of(data: bytes, filename: str) -> str:
    """Return the text of a file, "" where it has none; the end of the file's name helps to recognize markup."""
    if data.startswith(b"PK\x03\x04"):
        return "\n".join(_markup_text(member.decode("utf-8", "replace")) for member in _office_members(data))
    text = _decoded(data)
    if text is None:
        return "\n".join(run.decode("ascii").strip() for run in _PRINTABLE_RUN.findall(data))
    if _MARKUP_NAME.fullmatch(filename) or _MARKUP_BEGINNING.match(text):
        return _markup_text(text)
    return text


def _decoded(data: bytes) -> str | None:
    """Return the text that the bytes encode, None where they are no text."""
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _markup_text(text: str) -> str:
    """Return the text between the tags, in lines as tags break them, without blank lines."""
    kept: list[str] = []
    until = ""  # the end of the part that is being left out
    for piece in _markup_pieces(text):
        if until:
            if piece.lower().startswith(until) or (until == "-->" and until in piece):
                until = ""
            continue
        if not _MARKUP_TAG.fullmatch(piece):
            before, comment, rest = piece.partition("<!--")
            kept.append(html.unescape(before))
            until = "-->" if comment and "-->" not in rest else ""
            continue
        silent = _MARKUP_SILENT.fullmatch(piece)
        if silent:
            until = f"</{silent[1].lower()}"
        elif piece.startswith("<!--"):
            until = "" if piece.endswith("-->") else "-->"
        elif _MARKUP_BREAK.match(piece):
            kept.append("\n")
    lines = (" ".join(line.split()) for line in "".join(kept).split("\n"))
    return "\n".join(line for line in lines if line)


def _markup_pieces(text: str) -> typing.Iterator[str]:
    """Yield the tags and the texts between them, one by one: a long text must let other threads have their turns."""
    end = 0
    for tag in _MARKUP_TAG.finditer(text):
        yield text[end : tag.start()]
        yield tag[0]
        end = tag.end()
    yield text[end:]


def _office_members(data: bytes) -> list[bytes]:
    try:
        return [member for name, member in read_archive(data, _OFFICE_MOST_BYTES) if _OFFICE_MEMBER.fullmatch(name)]
    except ArchiveError:  # the archive is damaged, or the file only begins like one
        return []
