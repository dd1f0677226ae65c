"""The usual chat completion, written without being built.

Nearly every answer has one choice, a text and a usage (usual_answer.py). All else in its chat completion is always the
same, so these are put into a form of it: 2 µs instead of 10 (CPython 3.11). The plain twin is `chat_completion` in
answer.py, of which the form is made.
"""

from __future__ import annotations

import functools
from json.encoder import encode_basestring

from protocol.dashscope.mapping.answer import SUMS_OF_USAGE, CompletionFacts, chat_completion, openai_usage
from protocol.dashscope.mapping.usual_answer import as_written, usual_answer
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.long_json import STRICT_JSON

_MOST_BYTES = 65536  # of a long one it takes long to see that it is not usual


def plain_completion(body: bytes, facts: CompletionFacts) -> tuple[bytes, str] | None:
    """Return the chat completion for a native answer as JSON, and its request id; None for one that is not usual."""
    found = usual_answer(body) if len(body) <= _MOST_BYTES else None
    if found is None:
        return None
    _, ended_before, _, text, reasoning, ended, usage, request_id = found
    reason = ended or ended_before
    if not reason or not usage or not request_id or reasoning:
        return None
    if b"\\" in text or not text.isascii():
        try:
            text = as_written(text)
        except ValueError:
            return None
    model = encode_basestring(facts.model).encode("utf-8", "backslashreplace")
    counts: JsonObject = STRICT_JSON.raw_decode(usage.decode("ascii"))[0]
    return _form() % (request_id, facts.created, model, text, reason, _written_usage(counts)), request_id.decode(
        "ascii"
    )


def _written_usage(native: JsonObject) -> bytes:
    if not native.keys() <= SUMS_OF_USAGE:
        return encode_json(openai_usage(native))
    prompt, completion = native.get("input_tokens", 0), native.get("output_tokens", 0)
    return _sums_form() % (prompt, completion, native.get("total_tokens", 0) or prompt + completion)


_SUMS = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 4}


@functools.cache
def _form() -> bytes:
    """Return a chat completion with places for the values that differ."""
    choice = {"message": {"content": "TEXT"}, "finish_reason": "stop"}
    answer = {"output": {"choices": [choice]}, "usage": _SUMS, "request_id": "ID"}
    form = encode_json(chat_completion(answer, CompletionFacts("MODEL", 0, str)))
    for value, place in (
        (b'"chatcmpl-ID"', b'"chatcmpl-%b"'), (b'"created":0', b'"created":%d'), (b'"MODEL"', b"%b"),
        (b'"TEXT"', b'"%b"'), (b'"stop"', b'"%b"'), (encode_json(openai_usage(_SUMS)), b"%b"),
    ):  # fmt: skip
        form = form.replace(value, place)
    return form


@functools.cache
def _sums_form() -> bytes:
    """Return a usage without details, with places for its counts."""
    form = encode_json(openai_usage(_SUMS))
    for count in (b"1", b"2", b"4"):
        form = form.replace(b'_tokens":' + count, b'_tokens":%d')
    return form
