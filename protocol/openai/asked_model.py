"""Where a request names its model, for who routes by it and for who replaces it.

It stands in a JSON body, in a part of a form, or in the query (realtime connections, lists of some objects). A body
comes first. What kind of body it is, its Content-Type says; one without that counts as JSON, which it is with clients
that leave it out.
"""

from __future__ import annotations

import typing
import urllib.parse

from protocol.exchange import Request
from protocol.on_demand import load
from protocol.wire.http1.messages import Fields

BodyKind = typing.Literal["json", "form", "other"]


def body_kind(fields: Fields) -> BodyKind:
    """Return what a body is by its Content-Type, as far as models are concerned."""
    media_type = fields.get("content-type").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return "form"
    return "json" if media_type.endswith("json") or not media_type else "other"


def asked_model(request: Request) -> str:
    """Return the model that a held request names, "" where it names none that can be read.

    ApiError 400 for a body that is not what its Content-Type says.
    """
    kind = body_kind(request.fields) if request.body else "other"
    if kind == "form":
        (model_rewriter,) = load("form with a model")
        form = model_rewriter(request.fields.get("content-type"), _unchanged)
        form.feed(request.body)
        return str(form.model or "")
    if kind == "json":
        body = request.json()
        model = body.get("model") if type(body) is dict else None
        return model if type(model) is str else ""
    return query_model(request.head.query)


def query_model(query: str) -> str:
    """Return the model that a query names, "" for none."""
    if "model=" in query:
        for parameter in query.split("&"):
            name, _, value = parameter.partition("=")
            if name == "model":
                return urllib.parse.unquote_plus(value)
    return ""


def with_renamed_model(query: str, rename: typing.Callable[[str], str]) -> str:
    """Return a query with the model that `rename` makes of the one it names; all else stays byte for byte."""
    if "model=" not in query:
        return query
    return "&".join(_renamed_parameter(parameter, rename) for parameter in query.split("&"))


def _renamed_parameter(parameter: str, rename: typing.Callable[[str], str]) -> str:
    name, equals, value = parameter.partition("=")
    if name != "model" or not equals:
        return parameter
    asked = urllib.parse.unquote_plus(value)
    sent = rename(asked)
    return parameter if sent == asked else f"model={urllib.parse.quote(sent, safe='')}"


def _unchanged(model: str) -> str:
    return model
