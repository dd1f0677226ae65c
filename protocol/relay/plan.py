"""What goes to the upstream: target, fields and body of a request, its model renamed where the owner wants that."""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.exchange import Request
from protocol.on_demand import load
from protocol.openai.answers import api_path
from protocol.openai.asked_model import body_kind, with_renamed_model
from protocol.openai.request_path import meant_path
from protocol.relay.header_rules import OwnFields, is_loop, query_without_key, request_fields
from protocol.relay.settings import RelaySettings
from protocol.upstream.destination import Addressing, Destination, address
from protocol.upstream.request import UpstreamRequest
from protocol.wire.http1.messages import SHORT_BODY_BYTES
from protocol.wire.http1.writers import encode_fields, request_lines

# What takes a model, so that one may be put in where the request names none. Other JSON endpoints refuse the member.
_MODEL_PATHS = frozenset(
    f"/{path}"
    for path in (
        "chat/completions", "completions", "responses", "embeddings", "moderations", "images/generations",
        "audio/speech",
    )
)  # fmt: skip

# The same for forms.
_FORM_MODEL_PATHS = frozenset(("/audio/transcriptions", "/audio/translations", "/images/edits", "/images/variations"))


class Plan:
    """What a head alone decides: all of it is the same for every request with that head.

    `is_held` says that the body is wanted in one piece, so that the request can be sent again. `lines` are those of
    `request_lines`.
    """

    __slots__ = ("fields", "is_held", "is_tunnel", "lines", "rewrites_form", "rewrites_json", "target")

    def __init__(self, method: str, target: str, fields: bytes) -> None:
        self.target = target
        self.fields = fields
        self.lines = request_lines(method, target, fields)
        self.is_held = False
        self.is_tunnel = False
        self.rewrites_json = False
        self.rewrites_form = False


class _BodyRewriter(typing.Protocol):
    """What replaces the model in a body as it comes: protocol/openai/model_in_form.py."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes and return those that can be sent on."""

    def close(self) -> bytes:
        """Return the last bytes at the end of the body."""


class Planner:
    """Makes the upstream's requests of the clients' for one backend, whose name is `name`.

    `addressing` is the pool's. `instance` is the token by which a request that comes round again is known.
    """

    def __init__(
        self, name: str, settings: RelaySettings, destination: Destination, addressing: Addressing, instance: str
    ) -> None:
        self._name = name
        self._settings = settings
        self._addressing = addressing
        self._own_fields = OwnFields(settings.api_key, settings.key_field, settings.headers)
        self._renames = bool(settings.model or settings.models)
        self._destination = destination
        self._origin = destination.origin
        self._instance = instance

    # ---- what the head decides ----------------------------------------------------------------------------------

    def plan(self, request: Request) -> Plan:
        """Return the plan for a request's head; ApiError 405 for TRACE, 508 for a loop."""
        head = request.head
        if request.path != head.path or self._leaves_key(request):
            return self._make_plan(request)  # a door or another backend led here: the head alone does not decide
        plans = request.facts.plans
        plan: Plan | None = plans.get(self._name)
        if plan is None:
            plan = plans[self._name] = self._make_plan(request)
        return plan

    def _leaves_key(self, request: Request) -> bool:
        """Tell whether all that is secret in the request stays behind: another host was asked first."""
        return not request.may_show_key(self._origin)

    def _make_plan(self, request: Request) -> Plan:
        head = request.head
        self._refuse_unsafe(request)
        is_tunnel = head.upgrade.lower() == "websocket"
        # A tunnel leads to the upstream itself, whatever proxy it goes through.
        addressing = address(self._destination, None) if is_tunnel else self._addressing
        fields = self._fields(request, addressing)
        kind = body_kind(head.fields)
        if request.path != head.path:
            # Pages post to a door without a preflight as text/plain; behind it JSON is expected.
            fields = [field for field in fields if field[0] != "content-type"] + [("content-type", "application/json")]
            kind = "json"
        is_small = head.content_length is not None and head.content_length <= SHORT_BODY_BYTES
        plan = Plan(head.method, addressing.origin + self._target(request), encode_fields(fields))
        plan.rewrites_json = self._renames and head.has_body and kind == "json"
        plan.rewrites_form = self._renames and kind == "form"
        plan.is_tunnel = is_tunnel
        plan.is_held = not plan.is_tunnel and (plan.rewrites_json or (is_small and not plan.rewrites_form))
        return plan

    def request_fields(self, request: Request) -> list[tuple[str, str]]:
        """Return the fields that go to the upstream, Host and the key among them."""
        return self._fields(request, self._addressing)

    def _fields(self, request: Request, addressing: Addressing) -> list[tuple[str, str]]:
        leaves_key = self._leaves_key(request)
        return request_fields(request.head, addressing.fields, self._own_fields, self._instance, leaves_key=leaves_key)

    def _refuse_unsafe(self, request: Request) -> None:
        """Refuse what would turn the relay against its upstream or its owner."""
        if request.method == "TRACE":
            # RFC 9110 §9.3.8: the answer would repeat the request, and with it our key.
            raise ApiError(
                405, "TRACE is not relayed.", code="method_not_allowed", fields=[("allow", "GET, POST, DELETE")]
            )
        if is_loop(request.head, self._instance):
            raise ApiError(
                508, f"The request has been here before: base_url of the backend '{self._name}' leads back here.",
                code="loop_detected",
            )  # fmt: skip

    def _target(self, request: Request) -> str:
        path = api_path(request.path) or request.path
        query = request.head.query
        if self._settings.api_key or self._leaves_key(request):
            query = query_without_key(query)
        if self._renames:
            query = with_renamed_model(query, self._sent_model)
        return f"{self._destination.base_path}{path}{'?' + query if query else ''}"

    def _sent_model(self, asked: str) -> str:
        """Return what a model that was asked for is called at the upstream."""
        return self._settings.model or self._settings.models.get(asked, asked)

    # ---- the body -----------------------------------------------------------------------------------------------

    def request_to_send(self, request: Request, plan: Plan) -> UpstreamRequest:
        """Return the request to send, with its body held or on its way; ApiError as `renamed_body`."""
        head = request.head
        if plan.is_tunnel:
            return UpstreamRequest(head.method, plan.target, plan.fields)
        if request.stream is None or request.body:
            body = self.renamed_body(request) if plan.rewrites_json else request.body
            if plan.rewrites_form:
                rewriter = self._form_rewriter(request)
                body = rewriter.feed(body) + rewriter.close()
            return UpstreamRequest(head.method, plan.target, plan.fields, body)
        if plan.rewrites_form:
            stream = _rewritten(request.stream, self._form_rewriter(request))
            return UpstreamRequest(head.method, plan.target, plan.fields, stream=stream)
        return UpstreamRequest(head.method, plan.target, plan.fields, stream=request.stream, length=head.content_length)

    def _form_rewriter(self, request: Request) -> _BodyRewriter:
        takes_model = _meant_path(request) in _FORM_MODEL_PATHS

        def rename(asked: str) -> str:
            # "" asks what to put into a form without a model: nothing where forms have none, such as uploads of files.
            return self._sent_model(asked) if asked or takes_model else ""

        (model_rewriter,) = load("form with a model")
        rewriter: _BodyRewriter = model_rewriter(request.fields.get("content-type"), rename)
        return rewriter

    def renamed_body(self, request: Request) -> bytes:
        """Return the held JSON body with its model renamed; ApiError 400 for one in which it cannot be replaced."""
        body = request.body
        find_model, replace_model = load("JSON with a model")
        found = find_model(body)
        if found is not None:
            sent = self._sent_model(found[0])
            renamed: bytes = body if sent == found[0] else replace_model(body, sent)
            return renamed
        if not self._settings.model or _meant_path(request) not in _MODEL_PATHS:
            return body
        replaced: bytes = replace_model(body, self._settings.model)
        if replaced is body:
            # Passed on as it is, a body that another parser does understand would escape the owner's choice of a model.
            raise ApiError(
                400, "The body must be a JSON object in UTF-8, without Content-Encoding.", code="invalid_json"
            )
        return replaced


def _meant_path(request: Request) -> str:
    return meant_path(api_path(request.path) or request.path)


async def _rewritten(body: typing.AsyncIterator[bytes], rewriter: _BodyRewriter) -> typing.AsyncIterator[bytes]:
    async for data in body:
        data = rewriter.feed(data)
        if data:
            yield data
    yield rewriter.close()
