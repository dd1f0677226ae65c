"""Embeddings and rerank: OpenAI's (and, for rerank, the common `/v1/rerank`) as native calls, and the answers back.

DashScope takes a limited number of inputs a call, so one request becomes a plan of several calls, whose answers are
merged in order. Sources: DashScope API reference, "Text embedding", "Multimodal embedding", "Text rerank"; OpenAI API
reference, "Create embeddings".
"""

from __future__ import annotations

import binascii
import re
import struct
import typing

from protocol.dashscope.mapping.answer import as_list, as_object, token_count
from protocol.dashscope.mapping.errors import upstream_bad_response
from protocol.dashscope.mapping.fields import (
    is_integer,
    optional_choice,
    optional_flag,
    optional_integer,
    optional_text,
    refuse_field,
    required_text,
)
from protocol.dashscope.mapping.models import model_key
from protocol.dashscope.mapping.native import (
    MULTIMODAL_EMBEDDING_PATH,
    TEXT_EMBEDDING_PATH,
    TEXT_RERANK_PATH,
    NativeCall,
)
from protocol.dashscope.mapping.parts import native_part
from protocol.errors import ApiError
from protocol.wire.json_text import JsonObject

_OLD_MODEL = r"text-embedding-v[12].*"
_ASYNC_MODEL = r"text-embedding-async-.*"
_MULTIMODAL_MODEL = r".*-vl-embedding.*|tongyi-embedding-vision-.*|multimodal-embedding-.*|.*one-peace.*"
_SMALL_BATCH_MODEL = r"tongyi-embedding-vision-.*"

_OLD_DIMENSION = 1536
_TEXT_BATCH = 10
_OLD_TEXT_BATCH = 25
_MULTIMODAL_BATCH = 20
_SMALL_MULTIMODAL_BATCH = 8
_MOST_INPUTS = 2048  # OpenAI's own limit

_TEXT_EXTENSIONS = ("text_type", "instruct")
_OUTPUT_TYPES = ("dense", "sparse", "dense&sparse")
_MULTIMODAL_EXTENSIONS = (
    "enable_fusion",
    "fps",
    "instruct",
    "res_level",
    "max_video_frames",
    "output_type",
)

_RERANK_MOST_DOCUMENTS = 500


class EmbeddingPlan:
    """The native calls for one embeddings request, in the order of its inputs; they may run at once.

    `sizes` has the number of inputs in each call. `base64` says that the client wants packed floats.
    """

    __slots__ = ("base64", "calls", "model", "sizes")

    def __init__(self, model: str, calls: list[NativeCall], sizes: list[int], base64: bool) -> None:
        self.model = model
        self.calls = calls
        self.sizes = sizes
        self.base64 = base64


def plan_embeddings(request: typing.Mapping[str, typing.Any]) -> EmbeddingPlan:
    """Return the plan for an embeddings request, or raise the ApiError 400 that names the field at fault.

    The multimodal service is called for its models, and for inputs that are objects (`{"text"}`, `{"image"}`, OpenAI's
    image parts). Token arrays are refused: DashScope takes text only.
    """
    model = required_text(request, "model")
    inputs = _read_inputs(request.get("input"))
    encoding = optional_choice(request, "encoding_format", ("float", "base64"))
    dimensions = optional_integer(request, "dimensions", 1)
    key = model_key(model)
    if re.fullmatch(_ASYNC_MODEL, key):
        raise refuse_field("model", "an embedding model that answers at once, e.g. text-embedding-v4", model)
    if re.fullmatch(_MULTIMODAL_MODEL, key) or any(isinstance(item, dict) for item in inputs):
        calls, sizes = _multimodal_calls(request, model, inputs, dimensions)
    else:
        calls, sizes = _text_calls(request, model, inputs, dimensions)
    return EmbeddingPlan(model, calls, sizes, encoding == "base64")


def merge_embeddings(plan: EmbeddingPlan, answers: typing.Sequence[JsonObject]) -> JsonObject:
    """Return the embeddings object for the native answers, in the order of the plan's calls.

    Raises DashScopeError 502 where an answer has not one embedding for each input.
    """
    vectors: list[_Vectors] = []
    tokens = 0
    for answer, size in zip(answers, plan.sizes):
        vectors.extend(_read_vectors(answer, size))
        usage = as_object(answer.get("usage"))
        tokens += token_count(usage, "total_tokens") or token_count(usage, "input_tokens")
    return {
        "object": "list",
        "data": [_embedding(index, both, plan.base64) for index, both in enumerate(vectors)],
        "model": plan.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def plan_rerank(request: typing.Mapping[str, typing.Any]) -> NativeCall:
    """Return the native call for a rerank request `{"model", "query", "documents", "top_n"?, "return_documents"?}`."""
    model = required_text(request, "model")
    query = request.get("query")
    if not isinstance(query, dict):
        query = required_text(request, "query")
    documents = request.get("documents")
    if not isinstance(documents, list) or not 1 <= len(documents) <= _RERANK_MOST_DOCUMENTS:
        raise refuse_field("documents", f"a list of 1 to {_RERANK_MOST_DOCUMENTS} documents", documents)
    # Only the models for pictures take objects. The others take texts.
    keep_objects = "-vl-" in model_key(model)
    native_documents = [
        _rerank_document(document, f"documents[{number}]", keep_objects) for number, document in enumerate(documents)
    ]
    parameters: JsonObject = {}
    top_n = optional_integer(request, "top_n", 1)
    if top_n is not None:
        parameters["top_n"] = top_n
    return_documents = optional_flag(request, "return_documents")
    if return_documents is not None:
        parameters["return_documents"] = return_documents
    instruct = optional_text(request, "instruct")
    if instruct:
        parameters["instruct"] = instruct
    body = {"model": model, "input": {"query": query, "documents": native_documents}, "parameters": parameters}
    return NativeCall(TEXT_RERANK_PATH, body)


def rerank_answer(answer: typing.Mapping[str, typing.Any], model: str) -> JsonObject:
    """Return `{"id", "model", "results": [{"index", "relevance_score", "document"?}], "usage"}`, the best first."""
    results = []
    for result in as_list(as_object(answer.get("output")).get("results")):
        if not isinstance(result, dict) or "index" not in result or "relevance_score" not in result:
            raise upstream_bad_response("a rerank result lacks index or relevance_score")
        results.append({name: result[name] for name in ("index", "relevance_score", "document") if name in result})
    return {
        "id": answer.get("request_id") or "",
        "model": model,
        "results": results,
        "usage": {"total_tokens": token_count(as_object(answer.get("usage")), "total_tokens")},
    }


def _read_inputs(value: object) -> list[typing.Any]:
    if isinstance(value, (str, dict)):
        value = [value]
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST_INPUTS:
        raise refuse_field("input", f"a string or a list of 1 to {_MOST_INPUTS} strings", value)
    if all(is_integer(item) for item in value) or any(isinstance(item, list) for item in value):
        raise ApiError(
            400,
            "input: token arrays cannot be sent to DashScope; send the text itself "
            "(LangChain: check_embedding_ctx_length=False)",
            type="invalid_request_error",
            param="input",
        )
    for number, item in enumerate(value):
        if not isinstance(item, (str, dict)) or not item:
            raise refuse_field(f"input[{number}]", "a non-empty string", item)
    return value


def _text_calls(
    request: typing.Mapping[str, typing.Any], model: str, inputs: list[str], dimensions: int | None
) -> tuple[list[NativeCall], list[int]]:
    parameters = {name: request[name] for name in _TEXT_EXTENSIONS if request.get(name) is not None}
    output_type = optional_choice(request, "output_type", _OUTPUT_TYPES)
    batch = _TEXT_BATCH
    if re.fullmatch(_OLD_MODEL, model_key(model)):
        # These models refuse dimension and output_type, which they do not know.
        batch = _OLD_TEXT_BATCH
        if dimensions not in (None, _OLD_DIMENSION):
            raise refuse_field("dimensions", f"{_OLD_DIMENSION}, the only size of this model", dimensions)
        if output_type not in (None, "dense"):
            raise refuse_field("output_type", "dense, the only type of this model's vectors", output_type)
    else:
        parameters["output_type"] = output_type or "dense"
        if dimensions is not None:
            parameters["dimension"] = dimensions
    return _batched_calls(TEXT_EMBEDDING_PATH, model, "texts", inputs, parameters, batch)


def _multimodal_calls(
    request: typing.Mapping[str, typing.Any], model: str, inputs: list[typing.Any], dimensions: int | None
) -> tuple[list[NativeCall], list[int]]:
    contents = [_content(item, f"input[{number}]") for number, item in enumerate(inputs)]
    parameters = {name: request[name] for name in _MULTIMODAL_EXTENSIONS if request.get(name) is not None}
    if dimensions is not None:
        parameters["dimension"] = dimensions
    batch = _SMALL_MULTIMODAL_BATCH if re.fullmatch(_SMALL_BATCH_MODEL, model_key(model)) else _MULTIMODAL_BATCH
    if not parameters.get("enable_fusion"):
        return _batched_calls(MULTIMODAL_EMBEDDING_PATH, model, "contents", contents, parameters, batch)
    # Fused inputs give one vector together, so they go in one call.
    calls, _ = _batched_calls(MULTIMODAL_EMBEDDING_PATH, model, "contents", contents, parameters, len(contents))
    return calls, [1]


def _batched_calls(
    path: str, model: str, name: str, inputs: list[typing.Any], parameters: JsonObject, batch: int
) -> tuple[list[NativeCall], list[int]]:
    batches = [inputs[start : start + batch] for start in range(0, len(inputs), batch)]
    calls = [NativeCall(path, {"model": model, "input": {name: part}, "parameters": parameters}) for part in batches]
    return calls, [len(part) for part in batches]


def _content(item: object, where: str) -> JsonObject:
    if isinstance(item, str):
        return {"text": item}
    if isinstance(item, dict) and isinstance(item.get("multi_images"), list):
        return item
    return native_part(item, where)


class _Vectors(typing.NamedTuple):
    """What stands for one input: the dense vector, empty where there is none, and the sparse one, where asked for."""

    dense: list[float]
    sparse: list[typing.Any] | None


def _embedding(index: int, vectors: _Vectors, base64: bool) -> JsonObject:
    dense = _packed(vectors.dense) if base64 and vectors.dense else vectors.dense
    embedding = {"object": "embedding", "index": index, "embedding": dense}
    if vectors.sparse is not None:
        embedding["sparse_embedding"] = vectors.sparse
    return embedding


def _read_vectors(answer: typing.Mapping[str, typing.Any], size: int) -> list[_Vectors]:
    """Return the vectors of one answer in the order of the inputs, which need not be the answer's."""
    output = as_object(answer.get("output"))
    found: dict[int, _Vectors] = {}
    for position, item in enumerate(as_list(output.get("embeddings"))):
        item = as_object(item)
        index = item.get("text_index", item.get("index"))
        sparse = as_list(item["sparse_embedding"]) if "sparse_embedding" in item else None
        found[index if isinstance(index, int) else position] = _Vectors(as_list(item.get("embedding")), sparse)
    if not found and size == 1:
        found[0] = _Vectors(as_list(output.get("embedding")), None)
    if sorted(found) != list(range(size)) or not all(one.dense or one.sparse is not None for one in found.values()):
        raise upstream_bad_response(f"expected an embedding for each of {size} inputs, got {len(found)}")
    return [found[index] for index in range(size)]


def _packed(vector: list[float]) -> str:
    """Return base64 of the floats as little-endian IEEE 754 singles, as OpenAI does."""
    try:
        data = struct.pack(f"<{len(vector)}f", *vector)
    except (struct.error, OverflowError) as exc:
        raise upstream_bad_response("an embedding is not a list of single-precision numbers") from exc
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _rerank_document(document: object, where: str, keep_objects: bool) -> object:
    if isinstance(document, dict) and not keep_objects:
        document = document.get("text")
    if isinstance(document, (str, dict)) and document:
        return document
    raise refuse_field(where, "a non-empty string or an object with text", document)
