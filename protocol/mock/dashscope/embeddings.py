"""Embeddings and reranking at the native endpoints: vectors of words, so that texts with common words are close.

Source: DashScope API reference, "Text embedding", "Multimodal embedding", "Text rerank".
"""

from __future__ import annotations

import binascii
import re
import typing

from protocol.dashscope.mapping.models import model_key
from protocol.exchange import Answer
from protocol.mock.dashscope.answers import output_response
from protocol.mock.dashscope.refusals import bad_parameter
from protocol.mock.dashscope.service_call import ServiceCall
from protocol.mock.text.vectors import lexical_words, relevance, unit_vector
from protocol.openai.answers import words_of
from protocol.wire.json_text import JsonObject

_OLD_MODEL = r"text-embedding-v[12].*"
_TEXT_DIMENSIONS = (64, 128, 256, 512, 768, 1024, 1536, 2048)
_MOST_DIMENSIONS = 4096
_OUTPUT_TYPES = ("dense", "sparse", "dense&sparse")
# A few bytes ask for a vector of many numbers, so the count of vectors is bounded too.
_MOST_CONTENTS = 20
_SPARSE_INDICES = 250_002


def embed_texts(call: ServiceCall) -> Answer:
    """Answer with the dense or sparse vectors of texts."""
    texts = call.input.get("texts")
    texts = [texts] if type(texts) is str else texts
    if type(texts) is not list or not all(type(text) is str and text for text in texts) or not texts:
        raise bad_parameter("Input should be a list of non-empty strings: input.contents")
    old = re.fullmatch(_OLD_MODEL, model_key(call.model)) is not None
    most = 25 if old else 10
    if len(texts) > most:
        message = f"Value error, batch size is invalid, it should not be larger than {most}.: input.contents"
        raise bad_parameter(message)
    dimension = _dimension(call.parameters, 1536 if old else 1024, (1536,) if old else _TEXT_DIMENSIONS)
    wanted = call.parameters.get("output_type") or "dense"
    if wanted not in _OUTPUT_TYPES:
        expected = ", ".join(_OUTPUT_TYPES)
        raise bad_parameter(f"parameters.output_type should be one of {expected}")
    embeddings: list[JsonObject] = []
    for index, text in enumerate(texts):
        words = lexical_words(text)
        embeddings.append({"text_index": index})
        if "dense" in wanted:
            embeddings[-1]["embedding"] = unit_vector(words, dimension)
        if "sparse" in wanted:
            embeddings[-1]["sparse_embedding"] = [
                {
                    "index": binascii.crc32(word.encode("utf-8", "surrogatepass")) % _SPARSE_INDICES,
                    "value": count,
                    "token": word,
                }
                for word, count in words.items()
            ]
    usage = {"total_tokens": sum(map(_count_tokens, texts))}
    return output_response(call.request.id, {"embeddings": embeddings}, usage)


def embed_contents(call: ServiceCall) -> Answer:
    """Answer with the vectors of texts, pictures and films. Of pictures and films only the URL counts."""
    contents = call.input.get("contents")
    if type(contents) is not list or not contents or not all(type(part) is dict and part for part in contents):
        raise bad_parameter("Field required: input.contents")
    if len(contents) > _MOST_CONTENTS:
        message = f"Value error, batch size is invalid, it should not be larger than {_MOST_CONTENTS}."
        raise bad_parameter(message)
    dimension = _dimension(call.parameters, 1024, range(1, _MOST_DIMENSIONS + 1))
    kinds = [next(iter(part)) for part in contents]
    parts = [str(part[kind]) for part, kind in zip(contents, kinds)]
    words = [lexical_words(part) if kind == "text" else {part: 1} for part, kind in zip(parts, kinds)]
    usage: JsonObject = {"input_tokens": sum(_count_tokens(part) for part, kind in zip(parts, kinds) if kind == "text")}
    usage["image_count"] = len(kinds) - kinds.count("text")
    if call.parameters.get("enable_fusion"):
        words, kinds = [{word: 1 for each in words for word in each}], ["fusion"]
    embeddings = [
        {"index": index, "embedding": unit_vector(each, dimension), "type": kind}
        for index, (each, kind) in enumerate(zip(words, kinds))
    ]
    return output_response(call.request.id, {"embeddings": embeddings}, usage)


def rerank(call: ServiceCall) -> Answer:
    """Answer with documents in the order of their relevance to a query."""
    query, documents = call.input.get("query"), call.input.get("documents")
    if not query or type(documents) is not list or not documents:
        raise bad_parameter("Field required: input.query, input.documents")
    given = [document if type(document) is dict else {"text": str(document)} for document in documents]
    texts = [" ".join(str(value) for value in document.values()) for document in given]
    asked = " ".join(str(value) for value in query.values()) if type(query) is dict else str(query)
    words = lexical_words(asked)
    results: list[JsonObject] = [
        {"index": index, "relevance_score": relevance(words, lexical_words(text))} for index, text in enumerate(texts)
    ]
    results.sort(key=lambda result: -result["relevance_score"])
    top = call.parameters.get("top_n")
    results = results[:top] if type(top) is int and top > 0 else results
    if call.parameters.get("return_documents"):
        for result in results:
            result["document"] = given[result["index"]]
    usage = {"total_tokens": _count_tokens(asked) * len(texts) + sum(map(_count_tokens, texts))}
    return output_response(call.request.id, {"results": results}, usage)


def _dimension(parameters: JsonObject, default: int, possible: typing.Container[int]) -> int:
    dimension = parameters.get("dimension", default)
    if type(dimension) is not int or dimension not in possible:
        raise bad_parameter(f"Value error, dimension is invalid: parameters.dimension {dimension!r:.50}")
    return dimension


def _count_tokens(text: str) -> int:
    return sum(1 for _ in words_of(text)) or 1
