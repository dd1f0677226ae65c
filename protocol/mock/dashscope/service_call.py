"""What a request asks of DashScope's native API: its key, its service call, and the error that it may ask for.

Any key is good that is sent as `Authorization: Bearer …`; none, or one that cannot be a key, is 401. Errors come on
request, by the name of the model, or by a key of the same form where the model cannot be chosen:

    error-429-Throttling.RateQuota     this status and code
    error-Arrearage                    this code, under the status that DashScope sends it with
    error-event-400-InvalidParameter   in a stream: under HTTP 200, as its first event
    error-late-500-InternalError.Algo  in a stream: as its last event, halfway through; a task: it fails in the end
"""

from __future__ import annotations

import re
import typing
import urllib.parse

from protocol.dashscope.mapping.errors import native_error_body
from protocol.errors import ApiError
from protocol.exchange import Request
from protocol.mock.dashscope.refusals import bad_parameter, object_member, refusal
from protocol.wire.json_text import JsonObject

_ASKED_ERROR = r"error-(?:(event|late)-)?(?:([45]\d\d)-)?([A-Za-z][A-Za-z0-9_.]{0,99})"
_BEARER = r"(?i:bearer) +([!-~]+)"
# What DashScope says with a code, by the beginning of the code; the first row that fits counts.
_MESSAGES = (
    ("InvalidApiKey", "Invalid API-key provided."),
    ("Arrearage", "Access denied, please make sure your account is in good standing."),
    ("Throttling.AllocationQuota", "Allocated quota exceeded, please increase your quota limit."),
    ("Throttling", "Requests rate limit exceeded, please try again later."),
    ("CommodityNotPurchased", "Commodity has not purchased yet."),
    ("PrepaidBillOverdue", "The prepaid bill is overdue."),
    ("PostpaidBillOverdue", "The postpaid bill is overdue."),
    ("DataInspectionFailed", "Input data may contain inappropriate content."),
    ("ModelNotFound", "Model can not be found."),
    ("AccessDenied", "Access denied."),
    ("RequestTimeOut", "Request timed out, please try again later."),
    ("InternalError", "An internal error has occured, please try again later or contact service support."),
    ("ModelUnavailable", "Model is unavailable, please try again later."),
)


class AskedError(typing.NamedTuple):
    """An error that a request asks for; `when` is "" (at once), "event" or "late"."""

    when: str
    status: int
    code: str
    message: str

    def body(self, request_id: str) -> JsonObject:
        """Return the error as DashScope writes it."""
        return {"code": self.code, "message": self.message, "request_id": request_id}

    def as_error(self) -> ApiError:
        """Return the error that is raised for it."""
        fields = [("retry-after", "1")] if self.status == 429 else []
        return ApiError(self.status, self.message, code=self.code, fields=fields)


class ServiceCall(typing.NamedTuple):
    """A request for one of the services. Header fields ask for a stream, and for a task in the place of an answer."""

    request: Request
    body: JsonObject
    model: str
    input: JsonObject
    parameters: JsonObject
    stream: bool
    task: bool
    asked_error: AskedError | None


def read_key(request: Request) -> str:
    """Return the caller's key; ApiError 401 where there is none, or not in the form of one."""
    authorization = request.fields.get("authorization").strip()
    if not authorization:
        raise refusal("InvalidApiKey", "No API-key provided.")
    bearer = re.fullmatch(_BEARER, authorization)
    if bearer is None:
        raise refusal("InvalidApiKey", "Invalid API-key provided.")
    return bearer[1]


def asked_error(name: str) -> AskedError | None:
    """Return the error that the name of a model, or a key, asks for."""
    match = re.fullmatch(_ASKED_ERROR, name)
    if match is None:
        return None
    when, status, code = match[1] or "", match[2], match[3]
    message = next((text for begin, text in _MESSAGES if code.startswith(begin)), f"The mock was asked for {code}.")
    return AskedError(when, int(status) if status else native_error_body(code, message, "")[0], code, message)


def read_call(request: Request) -> ServiceCall:
    """Read a request for one of the services; ApiError in DashScope's words."""
    try:
        body = request.json_object()
    except ApiError as exc:
        raise bad_parameter("Required body invalid, please check the request body format.") from exc
    model = body.get("model")
    if type(model) is not str or not model:
        raise bad_parameter("Field required: model")
    fields = request.fields
    stream = fields.get("x-dashscope-sse").lower() == "enable" or "text/event-stream" in fields.get("accept").lower()
    task = fields.get("x-dashscope-async").lower() == "enable"
    wanted = asked_error(model) or asked_error(read_key(request))
    given, parameters = object_member(body, "input"), object_member(body, "parameters")
    return ServiceCall(request, body, model, given, parameters, stream, task, wanted)


# ---- paths and queries ------------------------------------------------------------------------------------------


def last_segment(path: str) -> str:
    """Return the last segment of a path, percent-decoded."""
    return urllib.parse.unquote(path.rpartition("/")[2])


def query_of(request: Request) -> dict[str, str]:
    """Return the query of a request by name; ApiError for one of more than a hundred fields."""
    try:
        return dict(urllib.parse.parse_qsl(request.head.query, max_num_fields=100))
    except ValueError as exc:
        raise bad_parameter("The query should have at most 100 fields.") from exc


def page_of(query: typing.Mapping[str, str]) -> tuple[int, int]:
    """Return which page of a list a query asks for, and how many rows it has: ten, or at most a hundred."""
    texts = query.get("page_no", "1"), query.get("page_size", "10")
    page, size = (int(text) if re.fullmatch("[1-9][0-9]{0,5}", text) else 1 for text in texts)
    return page, min(size, 100)
