"""The text of an ini file, as sections, keys and values. Only a start that has such a file needs this.

    [section]
    key = value         ; a comment, as is a line that begins with ; or #
    other = a value that goes on
        in lines that are indented more, until an empty one or a comment

Python's configparser reads the same, but it stops at most mistakes and tells no lines.
"""

from __future__ import annotations

import re
import typing

from protocol.errors import evidence, without_secrets

_SECTION = re.compile(r"\[([^\]]+)\]")
_COMMENT = re.compile(r"(?:^|\s);.*")


class Entry(typing.NamedTuple):
    """A key of a section and its value, or a section's own line, whose key and value are empty. Lines count from 1."""

    line: int
    section: str
    key: str
    value: str


def read_entries(text: str) -> tuple[list[Entry], list[tuple[int, str]]]:
    """Return what stands in the text of an ini file, and all that is wrong with its lines, by their numbers.

    What stands there twice is among the entries twice, and a mistake. A mistake names keys and sections alone: a value
    may be a secret.
    """
    entries: list[tuple[int, str, str, list[str]]] = []
    mistakes: list[tuple[int, str]] = []
    seen: set[tuple[str, str]] = set()
    section = ""
    value: list[str] = []  # lines that are indented more than its first one belong to it
    indent = -1
    for number, line in enumerate(text.split("\n"), 1):
        words = "" if line.lstrip().startswith(("#", ";")) else _COMMENT.sub("", line, 1).strip()
        if not words:
            indent = -1
            continue
        before, indent = indent, len(line) - len(line.lstrip())
        if 0 <= before < indent:
            value.append(words)
            indent = before
            continue
        header = _SECTION.fullmatch(words)
        key, equals, rest = (part.strip() for part in words.partition("="))
        value = [rest]
        if header:
            section, key, value, indent = header[1], "", [], -1
        elif not section:
            mistakes.append((number, f"line {number}: {_name_of(words)} stands before the first [section]"))
            continue
        elif not (key and equals):
            mistakes.append((number, f"line {number}: {_name_of(words)} is not understood; {_EXPECTED}"))
            continue
        if (section, key) in seen:
            name = f"[{without_secrets(section)}]{' ' if key else ''}{without_secrets(key)}"
            mend = "keep one" if key else "join the two"
            mistakes.append((number, f"{name}: stands there twice (line {number}); {mend}"))
        seen.add((section, key))
        entries.append((number, section, key, value))
    return [Entry(line, section, key, "\n".join(value).strip()) for line, section, key, value in entries], mistakes


_EXPECTED = "expected 'key = value', [section] or a comment"


def _name_of(words: str) -> str:
    """Return the first word of a line: what follows it may be a key or a password, behind a missing or a wrong sign."""
    word, *rest = re.split(r"[\s:=]+", words, maxsplit=1)
    return evidence(word) + (" …" if any(rest) else "")
