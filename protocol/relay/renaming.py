"""The owner's choice of a model, put into whatever body a request names its model in.

Which bodies are read
---------------------
All that could reach a model: what is no upload of files, whatever its Content-Type says. A server that does not look at
the type finds the model in JSON that is sent as text/plain. What is read must be read by everybody in the same way, or
the choice holds for some upstreams only. So these are refused, and only where a model may be renamed at all:

- an object that the scan cannot follow, or that names its model twice, also as "Model": 400;
- a Content-Encoding that cannot be undone here, a multipart type that is no form, a charset other than UTF-8: 415;
- on paths that take a model, a body that is neither a JSON object nor a form: 400 or 415.

A body whose model stays as it is goes on as it came, its coding included. One in which a model is replaced goes on
without its coding. Nothing is looked for deeper in a body: the lines of a batch, graders of evals and tools name models
of their own.
"""

from __future__ import annotations

import re
import typing

from protocol.errors import ApiError
from protocol.on_demand import load
from protocol.openai.asked_model import BodyKind, begins_as, body_kind, query_model, with_renamed_model
from protocol.openai.model_choice import ModelChoice
from protocol.wire.http1.messages import RequestHead

# What takes a model, so that one may be put in where the request names none. Others refuse the member.
_MODEL_PATHS = (
    "/(?:chat/completions|completions|responses(?:/compact|/input_tokens)?|embeddings|moderations|reranks?|videos"
    "|images/(?:generations|edits|variations)|audio/(?:speech|transcriptions|translations)"
    "|realtime/sessions|threads/(?:[^/]+/)?runs)"
)

# Below these nothing but files comes in, which may be larger than what can be held.
_UPLOAD_ROOTS = frozenset(("files", "uploads", "containers", "skills"))

# A browser's form is parted into its pairs, each of which takes fifty times its bytes.
_MOST_PAIRS_BYTES = 1024 * 1024


def is_model_path(path: str) -> bool:
    """Tell whether requests for a path, as `meant_path` has it and without /v1, take a model."""
    return re.fullmatch(_MODEL_PATHS, path) is not None


def kind_to_read(head: RequestHead, path: str) -> BodyKind | None:
    """Return as what the body is to be read, None where it is none of the model's business; ApiError of `body_kind`."""
    if not head.has_body or path[1:].partition("/")[0] in _UPLOAD_ROOTS:
        return None
    return body_kind(head.fields)


class FormRewriter(typing.Protocol):
    """What replaces the model in a form as it comes: protocol/openai/model_in_form.py."""

    #: The model that the form names, None until it has come.
    model: typing.Optional[str]
    #: How many bytes more have come out of what has been read than went in.
    growth: int

    def feed(self, data: bytes) -> bytes:
        """Take bytes and return those that can be sent on."""

    def close(self) -> bytes:
        """Return the last bytes at the end of the body."""


def form_rewriter(choice: ModelChoice, content_type: str, *, takes_model: bool) -> FormRewriter:
    """Return what makes the choice in a form of this Content-Type; ApiError 400 for one that names no boundary."""

    def rename(asked: str) -> str:
        # "" asks what to put into a form without a model: nothing where forms have none.
        return choice.sent(asked) if asked else choice.forced if takes_model else ""

    (model_rewriter,) = load("form with a model")
    rewriter: FormRewriter = model_rewriter(content_type, rename)
    return rewriter


def renamed_body(choice: ModelChoice, kind: BodyKind, body: bytes, *, takes_model: bool) -> bytes:
    """Return a whole body of any kind but a form with the choice made in it, or the same object.

    ApiError 400 or 415 where the choice could not be made for every reader.
    """
    if not body:
        return body
    begin = begins_as(body)
    if begin == "object":
        renamed_plainly, named_models, replace_model = load("JSON to rename a model in")
        renamed: bytes | None = renamed_plainly(body, choice.sent)
        if renamed is not None:
            return renamed
        models = named_models(body)
        if models is not None:
            if len(models) > 1:
                raise ApiError(
                    400, "The body must name its model once, but it has several members 'model', in whatever case.",
                    param="model", code="ambiguous_model",
                )  # fmt: skip
            asked = (models[0].model or "") if models else ""
            sent = choice.sent(asked) if models else choice.forced if takes_model else ""
            replaced: bytes = body if sent == asked else replace_model(body, sent, *models)
            return replaced
    if kind == "pairs" and begin != "object":
        return _renamed_pairs(choice, body, takes_model=takes_model)
    is_meant_as_object = begin == "object" and kind != "other"
    if is_meant_as_object or (kind == "json" and (takes_model or begin == "other")):
        # Passed on as it is, a body that another parser does understand would escape the owner's choice of a model.
        raise ApiError(400, "The body must be a JSON object in UTF-8.", code="invalid_json")
    if takes_model:
        raise ApiError(415, "The body must be a JSON object or a form, since its model has to be found.")
    return body


def _renamed_pairs(choice: ModelChoice, body: bytes, *, takes_model: bool) -> bytes:
    if len(body) > _MOST_PAIRS_BYTES:
        raise ApiError(413, f"A form of type x-www-form-urlencoded may have at most {_MOST_PAIRS_BYTES} bytes here.")
    text = body.decode("latin-1")
    if takes_model and choice.forced and not query_model(text):
        text += f"{'&' if text else ''}model="  # and the last one counts
    return with_renamed_model(text, choice.sent).encode("latin-1")
