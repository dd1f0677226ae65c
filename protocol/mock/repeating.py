"""Equal answers to equal requests, for `freeze = yes`: ids and choices come from the request alone, not from its turn.

That holds where nothing is kept of a request. What is kept has to have an id of its own, which comes from the order of
requests, and so is the same in each run.
"""

from __future__ import annotations

from protocol.decided import draw_for
from protocol.errors import ApiError
from protocol.exchange import Endpoint, LateEndpoint, Request, Response

# Paths that answer and keep nothing, or only what `store` says; whether they keep it where that is not said.
_KEEPS = {
    "/audio/speech": False,
    "/chat/completions": False,
    "/completions": False,
    "/embeddings": False,
    "/images/generations": False,
    "/moderations": False,
    "/responses": True,
}


def repeating_endpoint(endpoint: Endpoint, method: str, path: str, seed: str) -> Endpoint:
    """Return an endpoint that answers equal requests equally: that one itself where it keeps what it makes."""
    if method != "POST" or path not in _KEEPS:
        return endpoint
    if isinstance(endpoint, LateEndpoint):
        late = endpoint

        async def find(request: Request) -> Endpoint:
            return repeating_endpoint(await late.find(request), method, path, seed)

        return LateEndpoint(find, streams_body=endpoint.streams_body)

    async def answer(request: Request) -> Response:
        if not _is_kept(request, _KEEPS[path]):
            draw_for(seed, f"{path}?{request.head.query} {request.body.decode('latin-1')}", 0)
        given = endpoint.answer(request)
        return given if isinstance(given, Response) else await given

    return Endpoint(
        answer,
        endpoint.label,
        streams_body=endpoint.streams_body,
        errors=endpoint.errors,
        early_head=endpoint.early_head,
    )


def _is_kept(request: Request, by_default: bool) -> bool:
    try:
        store = request.json_object().get("store")
    except ApiError:
        return True
    return store if isinstance(store, bool) else by_default
