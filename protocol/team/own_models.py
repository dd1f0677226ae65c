"""The list of models, as a key sees it: without what it may not ask for, so that a client offers nothing in vain."""

from __future__ import annotations

import typing
import urllib.parse

from protocol.exchange import Answer, Endpoint, Request, Response
from protocol.team.admission import no_such_model
from protocol.team.callers import Caller
from protocol.wire.json_text import encode_json, parse_json

_LIST = "/models"


def lists_models(path: str) -> bool:
    """Tell whether a path of the API is that of all models, or of one."""
    return path == _LIST or path.startswith(f"{_LIST}/")


def own_models(endpoint: Endpoint, caller: Caller, path: str) -> Endpoint:
    """Return an endpoint of a path that lists models, for a caller who may not ask for all. ApiError 403 for one."""
    asked = urllib.parse.unquote(path[len(_LIST) + 1 :])

    def answer(request: Request) -> Answer:
        if path != _LIST:
            if not caller.may_ask_for(asked):
                raise no_such_model(caller.name, asked)
            return endpoint.answer(request)
        answer = endpoint.answer(request)
        return _without_others(answer, caller) if isinstance(answer, Response) else _later(answer, caller)

    return Endpoint(answer, endpoint.label, streams_body=endpoint.streams_body, errors=endpoint.errors)


async def _later(answer: typing.Awaitable[Response], caller: Caller) -> Response:
    return _without_others(await answer, caller)


def _without_others(response: Response, caller: Caller) -> Response:
    if response.status != 200 or not isinstance(response.body, bytes):
        return response
    listing = parse_json(response.body)
    listing["data"] = [model for model in listing["data"] if caller.may_ask_for(model["id"])]
    body = encode_json(listing)
    return Response(response.status, response.fields, body, None, response.request_id, response.attempts)
