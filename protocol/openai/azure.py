"""Azure's addresses for the same endpoints, as its clients ask for them.

    /openai/v1/chat/completions                                   OpenAI's paths, below another root
    /openai/responses?api-version=2025-03-01-preview              the same in Azure's older form
    /openai/deployments/NAME/chat/completions?api-version=…       what NAME stands for is the model
    /openai/realtime?api-version=…&deployment=NAME                likewise
    /openai/batches?api-version=…                                 its `endpoint` may be without /v1

A deployment is a model under a name that its owner chose. The body need not name a model then, and where it does, Azure
does not look at it. Keys come as `api-key: KEY`. Source: Azure OpenAI, "REST API reference" and "Realtime API"; the
class AzureOpenAI of both official SDKs.
"""

from __future__ import annotations

import re
import typing
import urllib.parse

from protocol.exchange import Answer, Endpoint, LateEndpoint, Request
from protocol.on_demand import load
from protocol.openai.long_json import encode_long_json
from protocol.wire.gathering import joined
from protocol.wire.http1.messages import Fields

#: All of Azure's paths are below this, and none of OpenAI's.
AZURE_ROOT = "/openai/"

_ADDRESS = r"(?s)/openai(?:(/v1)|/deployments/([^/]+))?(/[^/].*?)/?"

# What only Azure has in a query.
_PARAMETERS = frozenset(("api-version", "deployment"))


class AzureAddress(typing.NamedTuple):
    """A path of Azure's: the same one as OpenAI has it, without /v1, and the deployment that it names, "" for none.

    `is_api` says that it is the API's by what stands before it; else it is where OpenAI has such a path.
    """

    path: str
    deployment: str
    is_api: bool


def azure_address(path: str) -> AzureAddress | None:
    """Read a path as Azure's; None for any that is not below AZURE_ROOT."""
    match = re.fullmatch(_ADDRESS, path) if path.startswith(AZURE_ROOT) else None
    if match is None:
        return None
    version, deployment, rest = match.groups()
    return AzureAddress(rest, urllib.parse.unquote(deployment or ""), bool(version or deployment))


def azure_model(path: str, query: str) -> str:
    """Return the deployment that a request's path or, for Realtime, its query names; "" for none, or not Azure's."""
    address = azure_address(path)
    if address is None:
        return ""
    if address.deployment or address.path != "/realtime":
        return address.deployment
    named = [value for name, value in urllib.parse.parse_qsl(query) if name == "deployment"]
    return named[-1] if named else ""


def without_azure_parameters(query: str) -> str:
    """Return a query without what only Azure has in it; all else stays byte for byte."""
    return "&".join(part for part in query.split("&") if part.partition("=")[0].lower() not in _PARAMETERS)


def with_renamed_deployment(query: str, rename: typing.Callable[[str], str]) -> str:
    """Return a query with what `rename` makes of each deployment that it names; all else stays byte for byte."""
    return "&".join(_renamed_parameter(part, rename) for part in query.split("&"))


def _renamed_parameter(parameter: str, rename: typing.Callable[[str], str]) -> str:
    name, equals, value = parameter.partition("=")
    if not equals or name != "deployment":
        return parameter
    return f"{name}={urllib.parse.quote(rename(urllib.parse.unquote_plus(value)), safe='')}"


def endpoint_of_deployment(endpoint: Endpoint, deployment: str) -> Endpoint:
    """Return an endpoint that finds the deployment in the place of the model, in whatever body the request has."""
    if isinstance(endpoint, LateEndpoint):
        late = endpoint

        async def find(request: Request) -> Endpoint:
            return endpoint_of_deployment(await late.find(request), deployment)

        return LateEndpoint(find, streams_body=endpoint.streams_body)

    def answer(request: Request) -> Answer:
        _name_model(request, deployment)
        return endpoint.answer(request)

    return Endpoint(
        answer, endpoint.label, streams_body=endpoint.streams_body, errors=endpoint.errors,
        is_vital=endpoint.is_vital, early_head=endpoint.early_head,
    )  # fmt: skip


def endpoint_of_azure_batches(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that finds /v1 before the `endpoint` of a batch, which Azure's clients leave out."""
    if isinstance(endpoint, LateEndpoint):
        late = endpoint

        async def find(request: Request) -> Endpoint:
            return endpoint_of_azure_batches(await late.find(request))

        return LateEndpoint(find, streams_body=endpoint.streams_body)

    def answer(request: Request) -> Answer:
        value = request.json() if request.body else None
        if type(value) is dict:
            asked = value.get("endpoint")
            if type(asked) is str and asked.startswith("/") and not asked.startswith("/v1/"):
                named = {**value, "endpoint": f"/v1{asked}"}
                request.replace_body(named, encode_long_json(named))
        return endpoint.answer(request)

    return Endpoint(answer, endpoint.label, errors=endpoint.errors)


def _name_model(request: Request, model: str) -> None:
    """Put a model into a request's body; ApiError 400 for one that cannot be read."""
    fields = request.fields
    if fields.get("content-type").lower().startswith("multipart/form-data"):
        if request.stream is not None:
            request.stream = _form_with_model(fields, request.stream, model)
        elif request.body:
            rewriter = _form_rewriter(fields, model)
            request.body = joined((rewriter.feed(request.body), rewriter.close()))
    elif request.body:
        value = request.json()
        if type(value) is dict and value.get("model") != model:
            named = {**value, "model": model}
            request.replace_body(named, encode_long_json(named))


class _FormRewriter(typing.Protocol):
    def feed(self, data: bytes) -> bytes:
        """Take bytes and return those that can be sent on."""

    def close(self) -> bytes:
        """Return the last bytes at the end of the body."""


def _form_rewriter(fields: Fields, model: str) -> _FormRewriter:
    (model_rewriter,) = load("form with a model")
    rewriter: _FormRewriter = model_rewriter(fields.get("content-type"), lambda asked: model)
    return rewriter


async def _form_with_model(
    fields: Fields, stream: typing.AsyncIterator[bytes], model: str
) -> typing.AsyncIterator[bytes]:
    rewriter = _form_rewriter(fields, model)
    async for data in stream:
        passing = rewriter.feed(data)
        if passing:
            yield passing
    yield rewriter.close()
