"""Embeddings: vectors of the models' lengths, near each other for texts that share words.

A load test embeds the same text again and again, and 1,536 numbers take 0.1 ms to make: so the last vectors are kept.
"""

from __future__ import annotations

import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.answer.spoken import scripted_text
from protocol.mock.engine.resources import Handler
from protocol.mock.engine.world import Call, World
from protocol.mock.text.vectors import encode_vector, lexical_words, token_words, unit_vector
from protocol.openai.answers import JSON_FIELDS, count_words
from protocol.turns import in_turns
from protocol.wire.gathering import Gathering
from protocol.wire.json_text import encode_json

# How long a model's vectors are, unless `dimensions` asks for shorter ones. Any other model's are as -3-small's, and at
# most _MOST_DIMENSION long.
_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
_USUAL_DIMENSION = 1536
_MOST_DIMENSION = 4096

# API reference, "Create embeddings": inputs of a request, tokens of an input, tokens of a request.
_MOST_EMBEDDED_INPUTS = 2048
_INPUT_TOKENS = 8192
_REQUEST_TOKENS = 300_000

# How many vectors are kept, of about 8 kB each, and the characters of the longest text whose vector is.
_KEPT_VECTORS = 512
_LONGEST_KEPT = 1000
# More numbers, or vectors of more tokens, are made in turns with other requests: these take 5 ms.
_NUMBERS_A_TURN = 16_384
_TOKENS_A_TURN = 1000
# Of a vector, copied to fresh memory.
_BYTES_A_STEP = 1000

EmbeddingInput = typing.Union[str, typing.Sequence[int]]


class Embeddings:
    """The behaviour of /embeddings.

    Under `unknown_ids = invent` vectors are always arrays of numbers. That setting serves the SDK's own suite, which
    asks for base64 by default and refuses it when it checks answers strictly.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._gives_base64 = world.settings.unknown_ids != "invent"
        self._is_strict = world.settings.validate == "strict"
        self._kept: dict[tuple[typing.Any, ...], bytes] = {}

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {"POST /embeddings": self.create}

    def create(self, call: Call) -> typing.Any:
        """Answer POST /v1/embeddings; ApiError 400 in OpenAI's words for what cannot be embedded.

        Unchecked, the empty text stands for that, and a length that the model does not have is the usual one.
        """
        body = call.body
        scripted_text(call.request, "embeddings", body, body.get("input"))
        inputs = _inputs(body.get("input"), is_strict=self._is_strict)
        tokens = _tokens(inputs)
        asked = body.get("model")
        model = asked if type(asked) is str else ""
        dimension = _vector_dimension(model, body.get("dimensions"), is_strict=self._is_strict)
        in_base64 = body.get("encoding_format") == "base64" and self._gives_base64
        if len(inputs) * dimension > _NUMBERS_A_TURN or tokens > _TOKENS_A_TURN:
            return self._many(inputs, dimension, in_base64, model, tokens)
        vectors = self._vectors(inputs, dimension, in_base64)
        return self._world.after_words(_answer(vectors, model, tokens), 1)

    async def _many(
        self, inputs: typing.Sequence[EmbeddingInput], dimension: int, in_base64: bool, model: str, tokens: int
    ) -> Response:
        """Answer for many inputs, with turns for other requests in between."""
        made = await in_turns(lambda: _answer(self._vectors(inputs, dimension, in_base64), model, tokens))
        answer = self._world.after_words(made, 1)
        return answer if isinstance(answer, Response) else await answer

    def _vectors(self, inputs: typing.Sequence[EmbeddingInput], dimension: int, in_base64: bool) -> list[bytes]:
        return [self._vector(input, dimension, in_base64) for input in inputs]

    def _vector(self, input: EmbeddingInput, dimension: int, in_base64: bool) -> bytes:
        """Return an input's vector as JSON."""
        if type(input) is not str or len(input) > _LONGEST_KEPT:
            return _made_vector(input, dimension, in_base64)
        key = (input, dimension, in_base64)
        vector = self._kept.get(key)
        if vector is None:
            if len(self._kept) >= _KEPT_VECTORS:
                del self._kept[next(iter(self._kept))]
            vector = self._kept[key] = _made_vector(input, dimension, in_base64)
        return vector


def _made_vector(input: EmbeddingInput, dimension: int, in_base64: bool) -> bytes:
    words = lexical_words(input) if isinstance(input, str) else token_words(input)
    vector = unit_vector(words, dimension)
    return b'"%b"' % encode_vector(vector).encode() if in_base64 else encode_json(vector)


def _answer(vectors: typing.Sequence[bytes], model: str, tokens: int) -> Response:
    body = Gathering()  # 2,048 vectors are 140 MB: never twice, and not in one turn
    body.add(b'{"object":"list","data":[')
    for index, vector in enumerate(vectors):
        spend_turn(len(vector) // _BYTES_A_STEP)
        body.add(b'%b{"object":"embedding","index":%d,"embedding":' % (b"," if index else b"", index))
        body.add(vector)
        body.add(b"}")
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body.add(b'],"model":%b,"usage":%b}' % (encode_json(model), encode_json(usage)))
    return Response(200, JSON_FIELDS, body.take())


def _inputs(input: typing.Any, *, is_strict: bool) -> list[EmbeddingInput]:
    """Return the inputs: a string or an array of tokens is one, an array of these is several; else ApiError 400.

    Where that is not checked, the empty text stands for it.
    """
    if type(input) is str or (type(input) is list and input and type(input[0]) is int):
        input = [input]
    if type(input) is not list or not input or not all(map(_is_embeddable, input)):
        if not is_strict:
            return [""]
        raise ApiError(
            400, "'$.input' is invalid. Please check the API reference:"
            " https://platform.openai.com/docs/api-reference.",
        )  # fmt: skip
    if len(input) > _MOST_EMBEDDED_INPUTS:
        raise ApiError(
            400, f"Invalid 'input': array too long. Expected an array with maximum length {_MOST_EMBEDDED_INPUTS}, but"
            f" got an array with length {len(input)} instead.", param="input", code="array_above_max_length",
        )  # fmt: skip
    return input


def _is_embeddable(input: typing.Any) -> bool:
    if type(input) is list:
        return bool(input) and all(type(token) is int for token in input)
    return type(input) is str and input != ""


def _tokens(inputs: typing.Sequence[EmbeddingInput]) -> int:
    """Count the tokens of the inputs; a word of a text is one. ApiError 400 for more than a model takes."""
    total = 0
    for input in inputs:
        tokens = count_words(input) or 1 if isinstance(input, str) else len(input)
        if tokens > _INPUT_TOKENS:
            raise ApiError(
                400, f"This model's maximum context length is {_INPUT_TOKENS} tokens, however you requested"
                f" {tokens} tokens ({tokens} in your prompt; 0 for the completion). Please reduce your prompt; or"
                " completion length.",
            )  # fmt: skip
        total += tokens
        if total > _REQUEST_TOKENS:
            message = f"Invalid 'input': maximum request size is {_REQUEST_TOKENS} tokens per request."
            raise ApiError(400, message, param="input", code="max_tokens_per_request")
    return total


def _vector_dimension(model: str, asked: typing.Any, *, is_strict: bool) -> int:
    """Return how long the vectors are; ApiError 400 for a length that the model does not have, if that is checked."""
    usual = _DIMENSIONS.get(model, _USUAL_DIMENSION)
    if type(asked) is not int:
        return usual
    if not is_strict:
        return asked if 1 <= asked <= _DIMENSIONS.get(model, _MOST_DIMENSION) else usual
    if model == "text-embedding-ada-002":
        raise ApiError(400, "This model does not support specifying dimensions.", param="dimensions")
    most = _DIMENSIONS.get(model, _MOST_DIMENSION)
    if not 1 <= asked <= most:
        bound = f"less than or equal to {most}" if asked > most else "greater than or equal to 1"
        message = f"Invalid value for 'dimensions' = {asked}. Must be {bound}."
        raise ApiError(400, message, param="dimensions", code="invalid_value")
    return asked
