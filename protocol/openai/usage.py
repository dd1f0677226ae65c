"""How many tokens an answer was, read from its bytes as they pass.

Answers tell it in their `usage`, in JSON as in the events of a stream, where the last one counts. OpenAI's objects have
it behind everything that a client can have put into them: the text, tools and schemas that they repeat. Sources: OpenAI
API reference, "Chat", "Completions (legacy)", "Responses", "Embeddings", "Images", "Audio"; Alibaba Cloud Model Studio,
"DashScope API reference", `usage`.
"""

from __future__ import annotations

import json
import re
import typing

_USAGE = b'"usage"'
_OBJECT = re.compile(rb"\s*:\s*\{")
# What may yet become a usage: OpenAI's events have "usage":null in all others.
_BEGUN = re.compile(rb'"usage"\s*(?:\Z|:\s*(?:\Z|\{))')
_decode = json.JSONDecoder().raw_decode
# Chats, as OpenAI and most others send them: events without spaces, objects with lines of their own. 1 µs instead of 8
# (CPython 3.11).
_USUAL = re.compile(
    rb'"usage": ?\{\s*"prompt_tokens": ?([0-9]{1,12}),\s*"completion_tokens": ?([0-9]{1,12}),\s*"total_tokens": ?'
    rb'([0-9]{1,12})(?:,\s*"prompt_tokens_details": ?\{\s*"cached_tokens": ?([0-9]{1,12}),\s*"audio_tokens": ?'
    rb'[0-9]{1,12}\s*\},\s*"completion_tokens_details": ?\{\s*"reasoning_tokens": ?([0-9]{1,12})\s*,[^{}]*\})?\s*\}'
)

# A usage is looked for this far before the end of what came, and is no longer than this.
_MOST_USAGE = 2_000
_KEPT = 4_096
_MOST_OTHERS = 8  # things called "usage" that tell no tokens, behind the one that does
_MOST_TOKENS = 10**15


class Usage(typing.NamedTuple):
    """Tokens: `cached` are some of `input`, `reasoning` some of `output`."""

    input: int
    cached: int = 0
    output: int = 0
    reasoning: int = 0


# A named tuple's own constructor is a Python function, and takes twice as long.
_new_usage: typing.Callable[[typing.Type[Usage], typing.Tuple[int, int, int, int]], Usage] = tuple.__new__


class UsageReader:
    """Reads an answer's body piece by piece; what it holds is bounded.

    `usage` is what the answer tells so far, None while it tells nothing; `total` all tokens that it says it was.
    """

    __slots__ = ("_tail", "total", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.total: int | None = None
        self._tail = b""

    def took(self, data: bytes) -> None:
        """Read a piece of the body."""
        block = self._tail + data if self._tail else data
        if _USAGE in block:
            found = find_usage(block)
            if found is not None:
                self.usage, self.total, end = found
                block = block[end:]
            if _BEGUN.search(block) is not None:
                self._tail = block[-_KEPT:]
                return
        self._tail = block[1 - len(_USAGE) :]


def find_usage(block: bytes) -> tuple[Usage, int, int] | None:
    """Return the last usage in a part of an answer, its total, and where it ends; None where there is none."""
    at = block.rfind(_USAGE)
    usual = _USUAL.match(block, at) if at >= 0 else None
    if usual is not None:
        prompt, completion, total, cached, reasoning = usual.groups()
        read, said = int(prompt), int(completion)
        cached = min(int(cached), read) if cached else 0
        reasoning = min(int(reasoning), said) if reasoning else 0
        return _new_usage(Usage, (read, cached, said, reasoning)), int(total), usual.end()
    for _ in range(_MOST_OTHERS):
        if at < 0:
            break
        match = _OBJECT.match(block, at + len(_USAGE))
        found = None if match is None else _read_at(block, match.end() - 1)
        if found is not None:
            return found
        at = block.rfind(_USAGE, 0, at)
    return None


def _read_at(block: bytes, start: int) -> tuple[Usage, int, int] | None:
    """Return the same of the object that begins there, None where that tells no tokens."""
    try:
        told, size = _decode(block[start : start + _MOST_USAGE].decode("ascii", "replace"))
    except ValueError:  # the rest is to come, or is no JSON
        return None
    usage = read_usage(told)
    if usage is None:
        return None
    total = told.get("total_tokens")
    return usage, total if _is_count(total) else usage.input + usage.output, start + size


def read_usage(told: typing.Any) -> Usage | None:
    """Return what an answer's `usage` tells, in the words of any of the APIs; None where that is no tokens."""
    if type(told) is not dict:
        return None
    prompt = told.get("prompt_tokens", told.get("input_tokens"))
    completion = told.get("completion_tokens", told.get("output_tokens"))
    if prompt is None and completion is None:
        prompt = told.get("total_tokens")  # DashScope's embeddings tell no more
    counts: tuple[typing.Any, ...] = (
        0 if prompt is None and completion is not None else prompt,
        _detail(told, ("prompt_tokens_details", "input_tokens_details"), "cached_tokens"),
        0 if completion is None else completion,
        _detail(told, ("completion_tokens_details", "output_tokens_details"), "reasoning_tokens"),
    )
    if not all(_is_count(count) for count in counts):
        return None
    read, cached, said, reasoning = counts
    return Usage(read, min(cached, read), said, min(reasoning, said))


def _detail(told: dict[str, typing.Any], names: typing.Iterable[str], member: str) -> typing.Any:
    for name in names:
        details = told.get(name)
        if type(details) is dict and details.get(member) is not None:
            return details[member]
    return 0


def _is_count(value: typing.Any) -> bool:
    return type(value) is int and 0 <= value < _MOST_TOKENS
