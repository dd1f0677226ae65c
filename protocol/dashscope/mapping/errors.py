"""DashScope's errors in OpenAI's shape, and back.

OpenAI's SDKs choose the exception class, and whether to try again, by the HTTP status. DashScope's own status is not
reliable: an error inside an event stream comes under 200, a billing stop under 400. So the status for the client
follows from DashScope's `code`, by the first rule of one table that matches. Where none does and there is no status,
the request is at fault: as a 400 it is not made again and again. Source: Alibaba Cloud Model Studio, "Error codes".
"""

from __future__ import annotations

import re
import typing

from protocol.dashscope.mapping.native import relayed_fields
from protocol.errors import ApiError
from protocol.wire.json_text import JsonObject
from protocol.wire.long_json import STRICT_JSON
from protocol.wire.masking import mask_of

_MESSAGE_CHARACTERS = 2000
_MESSAGE_PREFIX = "DashScope API error: "

# For a client code: DashScope's own is kept.
_KEEP_CODE = ""

# A request id from a body becomes a header field: it must not be able to end that field, or to add another.
_SAFE_REQUEST_ID = r"[!-~]{1,200}"


class _Rule:
    """One row: codes, and perhaps a text in the message → status and code for the client.

    `native_status` is the one that DashScope sends with these codes, `useless_retry` says that the account is the
    reason, so that the same request fails until somebody does something about it.
    """

    __slots__ = ("client_code", "client_status", "codes", "message", "native_status", "useless_retry")

    def __init__(
        self,
        codes: str,
        native_status: int,
        client_status: int,
        client_code: str = _KEEP_CODE,
        *,
        message: str = "",
        useless_retry: bool = False,
    ) -> None:
        self.codes = codes
        self.message = message
        self.native_status = native_status
        self.client_status = client_status
        self.client_code = client_code
        self.useless_retry = useless_retry

    def matches(self, code: str, message: str) -> bool:
        if not re.fullmatch(self.codes, code, re.IGNORECASE):
            return False
        return not self.message or re.search(self.message, message, re.IGNORECASE) is not None


# Narrow rules stand before the prefixes that would swallow them.
_RULES = (
    _Rule(r"InvalidApi-?Key|invalid_api_key|InvalidAccessKey|NOT[ _]AUTHORIZED", 401, 401, "invalid_api_key"),
    _Rule(r"AllocationQuota\.Free\w+", 403, 403, "insufficient_quota", useless_retry=True),
    _Rule(r"(?:\w+\.)?AccessDenied(?:\..*)?|access_denied", 403, 403),
    _Rule(r"Arrearage", 400, 403, useless_retry=True),
    _Rule(r"ModelNotFound|Model\.NotExist|model_not_found", 404, 404, "model_not_found"),
    _Rule(r"InvalidParameter", 400, 404, "model_not_found", message=r"Model not exist"),
    _Rule(r"NotFound|WorkSpaceNotFound|model_not_supported", 404, 404),
    # DashScope reports a picture that it could not fetch under this code too; that is no matter of content.
    _Rule(r"InvalidParameter\.DataInspection", 400, 400, "InvalidParameter", message=r"download|time[d ]*out"),
    _Rule(
        r"(?:InternalError\.Algo\.)?DataInspectionFailed|data_inspection_failed|InvalidParameter\.DataInspection"
        r"|IPInfringementSuspect|CustomRoleBlocked|FaqRuleBlocked",
        400,
        400,
        "content_filter",
    ),
    _Rule(r"InvalidParameter", 400, 400, "content_filter", message=r"green network"),
    _Rule(
        r"(?:InternalError\.Algo\.)?InvalidParameter",
        400,
        400,
        "context_length_exceeded",
        message=r"Range of input length should be",
    ),
    _Rule(r"BadRequest\.TooLarge|RequestTooLarge", 413, 413),
    _Rule(
        r"(?:InternalError\.Algo\.)?InvalidParameter(?:\..*)?|Invalid.*|invalid_.*|BadRequest.*|UnsupportedOperation"
        r"|Audio\..*|ServiceUnavailableError|ClientDisconnect",
        400,
        400,
    ),
    # Bills and budgets do not mend themselves, and neither does the end of what is free. A plan's hours do, but not
    # while an SDK waits.
    _Rule(
        r"CommodityNotPurchased|P(?:re|ost)paidBillOverdue|BudgetLimitExceeded",
        429,
        429,
        "insufficient_quota",
        useless_retry=True,
    ),
    _Rule(
        r"Throttling(?:\..*)?|limit_?\w+|insufficient_quota",
        429,
        429,
        "insufficient_quota",
        message=r"(?:free|hour|week|month) allocated quota exceeded",
        useless_retry=True,
    ),
    # Whatever their names say, all others are limits a second or a minute, those of tokens among them: they pass.
    _Rule(r"Throttling(?:\..*)?|limit_?\w+|insufficient_quota", 429, 429, "rate_limit_exceeded"),
    _Rule(r"RequestTimeOut(?:\..*)?|InternalError\.Timeout|ResponseTimeout", 500, 504, "timeout"),
    _Rule(r"ModelUnavailable|Model\.Unavailable|ModelServingError|ServiceUnavailable", 503, 503),
    _Rule(
        r"InternalError(?:\..*)?|SystemError|internal_error|Model\w*Failed|AppProcessFailed|InvokePluginFailed"
        r"|RewriteFailed|RetrievalFailed",
        500,
        500,
    ),
)

# A failed task and an event may come without a status. What is at fault then is the request, unless the code says this.
_UPSTREAM_AT_FAULT = r"internal|system|server|unavailable|^model.*(?:failed|error)"

# An answer that is no JSON comes from a gateway on the way. Under these statuses it needs no further explanation.
_GATEWAY_ERRORS = {
    401: (401, "invalid_api_key"),
    408: (504, "timeout"),
    413: (413, "RequestTooLarge"),
    429: (429, "rate_limit_exceeded"),
    503: (503, "ServiceUnavailable"),
    504: (504, "timeout"),
}


class DashScopeError(ApiError):
    """An error that DashScope answered with, or that came of calling it, in OpenAI's shape.

    `native_code` and `native_message` are as DashScope sent them, empty where it sent nothing; whether another call may
    help is decided by them. `fields` carry `x-request-id`, the retry hints of upstream, and where a retry is useless
    `x-should-retry: false`, which OpenAI's SDKs honour.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        native_code: str = "",
        native_message: str = "",
        request_id: str = "",
        fields: typing.Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(
            status,
            _MESSAGE_PREFIX + _cut(message),
            type="authentication_error" if status == 401 else "dashscope_error",
            code=code,
            fields=fields,
        )
        self.native_code = native_code
        self.native_message = native_message
        self.request_id = request_id

    def as_dict(self) -> JsonObject:
        """Return OpenAI's error object, with upstream's `request_id` when there is one."""
        body = super().as_dict()
        if self.request_id:
            body["error"]["request_id"] = self.request_id
        return body

    def redact(self, secret: str) -> None:
        """Mask a secret in all that is told: a gateway may quote the request that it refuses, key included."""
        mask = mask_of([secret])
        if mask is None:
            return
        self.message = mask.hide_text(self.message)
        self.code = None if self.code is None else mask.hide_text(self.code)
        self.request_id = mask.hide_text(self.request_id)
        self.fields = tuple((name, mask.hide_text(value)) for name, value in self.fields)


def native_error(status: int, body: bytes, answer_fields: typing.Sequence[tuple[str, str]] = ()) -> DashScopeError:
    """Return the error for a native answer of HTTP `status` that is not a success, whatever its body is made of.

    Bodies may be DashScope's JSON, OpenAI-shaped JSON, one event of a stream, HTML or nothing at all.
    """
    answer = _error_object(body)
    if answer is None:
        return _gateway_error(status, body, answer_fields)
    return error_from_answer(answer, status, answer_fields)


def error_from_answer(
    answer: typing.Mapping[str, typing.Any],
    status: int | None = None,
    answer_fields: typing.Sequence[tuple[str, str]] = (),
) -> DashScopeError:
    """Return the error for a native JSON object `{"code", "message", "request_id"}`.

    `status` is upstream's, from the HTTP head or from the comment of an event; it only counts for unknown codes.
    """
    nested = answer.get("error")
    source = nested if isinstance(nested, dict) else answer
    code = _text(source.get("code")) or _text(source.get("type"))
    message = _text(source.get("message"))
    request_id = _text(answer.get("request_id")) or _text(source.get("request_id"))
    request_id = request_id or dict(relayed_fields(answer_fields)).get("x-request-id", "")
    client_status, client_code, useless_retry = _verdict(code, message, status)
    return DashScopeError(
        client_status,
        message or code or f"HTTP status {status} without a message",
        client_code,
        native_code=code,
        native_message=message,
        request_id=request_id,
        fields=_fields_for_client(request_id, useless_retry, answer_fields),
    )


def is_error_answer(answer: typing.Mapping[str, typing.Any]) -> bool:
    """Tell whether a native object is an error although it came under HTTP 200: a success has no `code`."""
    code = answer.get("code")
    return (bool(code) and str(code) not in ("200", "Success")) or isinstance(answer.get("error"), dict)


def _no_fields() -> typing.Sequence[tuple[str, str]]:
    return ()


def read_answer(
    body: bytes, answer_fields: typing.Callable[[], typing.Sequence[tuple[str, str]]] = _no_fields
) -> JsonObject:
    """Return the JSON object of a native answer under HTTP 200; raise DashScopeError for an error or for no JSON."""
    answer = _json_object(body)
    if answer is None:
        raise upstream_bad_response("the answer is not a JSON object", body)
    if is_error_answer(answer):
        raise error_from_answer(answer, None, answer_fields())
    return answer


def upstream_bad_response(reason: str, evidence: bytes = b"") -> DashScopeError:
    """Return the 502 for an answer that is not what the API promises; `evidence` is quoted, cut to 100 bytes."""
    seen = f", got {evidence[:100]!r}" if evidence else ""
    return DashScopeError(502, f"bad answer from DashScope: {reason}{seen}", "upstream_bad_response")


def upstream_timeout(seconds: float) -> DashScopeError:
    """Return the 504 for an answer that did not come within our own limit."""
    return DashScopeError(504, f"no answer from DashScope within {seconds:g} seconds", "timeout")


def native_error_body(code: str, message: str, request_id: str) -> tuple[int, dict[str, str]]:
    """Return the HTTP status and body with which DashScope itself reports `code`: what a mock of it must send."""
    rule = _rule_for(code, message)
    status = rule.native_status if rule else _unlisted_status(code)
    return status, {"code": code, "message": message, "request_id": request_id}


def _verdict(code: str, message: str, status: int | None) -> tuple[int, str, bool]:
    """Return the status and the code for the client, and whether it is useless to try again."""
    rule = _rule_for(code, message)
    if rule is not None:
        return rule.client_status, rule.client_code or code, rule.useless_retry
    if status == 401:
        return 401, "invalid_api_key", False
    if status is None or not 400 <= status <= 599:
        status = _unlisted_status(code)
    return status, code or "upstream_error", False


def _unlisted_status(code: str) -> int:
    return 400 if code and not re.search(_UPSTREAM_AT_FAULT, code, re.IGNORECASE) else 500


def _rule_for(code: str, message: str) -> _Rule | None:
    for rule in _RULES:
        if rule.matches(code, message):
            return rule
    return None


def _gateway_error(status: int, body: bytes, answer_fields: typing.Sequence[tuple[str, str]]) -> DashScopeError:
    fields = relayed_fields(answer_fields)
    if status in _GATEWAY_ERRORS:
        client_status, code = _GATEWAY_ERRORS[status]
        return DashScopeError(client_status, f"HTTP status {status} without an explanation", code, fields=fields)
    error = upstream_bad_response(f"HTTP status {status}, and the body is not JSON", body)
    error.fields = tuple(fields)
    return error


def _fields_for_client(
    request_id: str, useless_retry: bool, answer_fields: typing.Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    fields = relayed_fields(answer_fields)
    if re.fullmatch(_SAFE_REQUEST_ID, request_id) and not any(name == "x-request-id" for name, _ in fields):
        fields.append(("x-request-id", request_id))
    if useless_retry:
        # Upstream's hint when to try again would contradict it.
        fields = [field for field in fields if not field[0].startswith("retry-after")]
        fields.append(("x-should-retry", "false"))
    return fields


def _error_object(body: bytes) -> JsonObject | None:
    """Return the error's JSON object: the whole body, or the first data line of an event stream."""
    answer = _json_object(body)
    if answer is not None:
        return answer
    for line in body.splitlines():
        if line.startswith(b"data:"):
            return _json_object(line[len(b"data:") :])
    return None


def _json_object(body: bytes) -> JsonObject | None:
    try:
        text = body.decode("utf-8")
        if text[:1] == "{":  # nearly always, and then an object to the end, without a look around it
            value, end = STRICT_JSON.raw_decode(text)
            if end == len(text):
                return typing.cast(JsonObject, value)
        value = STRICT_JSON.decode(text[1:] if text[:1] == "\ufeff" else text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _cut(message: str) -> str:
    return message if len(message) <= _MESSAGE_CHARACTERS else message[:_MESSAGE_CHARACTERS] + "…"


def _text(value: object) -> str:
    """Return a code or message as text: gateways also send numbers and null."""
    return value if isinstance(value, str) else "" if value is None else str(value)
