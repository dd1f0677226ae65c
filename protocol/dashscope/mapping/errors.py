"""DashScope's errors in OpenAI's shape, and back.

DashScope names an error by `code`; the HTTP status beside it is not reliable (an error inside an event stream comes
under 200, a billing stop under 400). So the code decides, first matching rule of one table. Statuses matter: OpenAI's
SDKs choose the exception class, and whether to try again, by them. Source: Alibaba Cloud Model Studio, "Error codes".
"""

from __future__ import annotations

import json
import re
import typing

from protocol.dashscope.mapping.native import relayed_fields
from protocol.errors import ApiError

_MESSAGE_CHARACTERS = 2000
_ERROR_PREFIX = "DashScope API error: "

_ERROR_KEEP_CODE = ""

# What comes from a body must not be able to end a header field, or to add one.
_ERROR_HEADER_ID = r"[!-~]{1,200}"


class _ErrorRule:
    """One row: codes (and perhaps a text in the message) → status and code for the client, native status for a mock."""

    __slots__ = ("client_code", "client_status", "codes", "message", "native_status", "useless_retry")

    def __init__(
        self,
        codes: str,
        native_status: int,
        client_status: int,
        client_code: str = _ERROR_KEEP_CODE,
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
_ERROR_RULES = (
    _ErrorRule(r"InvalidApi-?Key|invalid_api_key|InvalidAccessKey|NOT[ _]AUTHORIZED", 401, 401, "invalid_api_key"),
    _ErrorRule(r"AllocationQuota\.FreeTierOnly", 403, 403, "insufficient_quota", useless_retry=True),
    _ErrorRule(r"(?:\w+\.)?AccessDenied(?:\..*)?|access_denied", 403, 403),
    _ErrorRule(r"Arrearage", 400, 403, useless_retry=True),
    _ErrorRule(r"ModelNotFound|Model\.NotExist|model_not_found", 404, 404, "model_not_found"),
    _ErrorRule(r"InvalidParameter", 400, 404, "model_not_found", message=r"Model not exist"),
    _ErrorRule(r"NotFound|WorkSpaceNotFound|model_not_supported", 404, 404),
    # The same code also says that a picture could not be fetched, which is no matter of content.
    _ErrorRule(r"InvalidParameter\.DataInspection", 400, 400, "InvalidParameter", message=r"download|time[d ]*out"),
    _ErrorRule(
        r"DataInspectionFailed|data_inspection_failed|InvalidParameter\.DataInspection", 400, 400, "content_filter"
    ),
    _ErrorRule(
        r"(?:InternalError\.Algo\.)?InvalidParameter",
        400,
        400,
        "context_length_exceeded",
        message=r"Range of input length should be",
    ),
    _ErrorRule(r"BadRequest\.TooLarge|RequestTooLarge", 413, 413),
    _ErrorRule(
        r"(?:InternalError\.Algo\.)?InvalidParameter(?:\..*)?|BadRequest(?:\..*)?|InvalidURL.*|UnsupportedOperation"
        r"|invalid_parameter_error|invalid_request_error",
        400,
        400,
    ),
    _ErrorRule(r"Throttling\.AllocationQuota|insufficient_quota", 429, 429, "insufficient_quota", useless_retry=True),
    _ErrorRule(r"Throttling(?:\..*)?|limit_\w+", 429, 429, "rate_limit_exceeded"),
    _ErrorRule(r"RequestTimeOut(?:\..*)?|InternalError\.Timeout|ResponseTimeout", 500, 504, "timeout"),
    _ErrorRule(r"ModelUnavailable|Model\.Unavailable|ModelServingError|ServiceUnavailable", 503, 503),
    _ErrorRule(r"InternalError(?:\..*)?|SystemError|internal_error", 500, 500),
)

# An answer that is no JSON comes from a gateway on the way. These statuses say enough without a body.
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

    `native_code` and `native_message` are as DashScope sent them, empty where it sent nothing; the retry decisions
    read them. `fields` carry `x-request-id`, the retry hints of upstream, and `x-should-retry: false` (honoured by
    OpenAI's SDKs) where the account, not the moment, is the reason.
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
            _ERROR_PREFIX + _message_cut(message),
            type="authentication_error" if status == 401 else "dashscope_error",
            code=code,
            fields=fields,
        )
        self.native_code = native_code
        self.native_message = native_message
        self.request_id = request_id

    def as_dict(self) -> dict[str, typing.Any]:
        """Return OpenAI's error object, with upstream's `request_id` when there is one."""
        body = super().as_dict()
        if self.request_id:
            body["error"]["request_id"] = self.request_id
        return body


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
    code = _error_text(source.get("code")) or _error_text(source.get("type"))
    message = _error_text(source.get("message"))
    request_id = _error_text(answer.get("request_id")) or _error_text(source.get("request_id"))
    request_id = request_id or dict(relayed_fields(answer_fields)).get("x-request-id", "")
    client_status, client_code, useless_retry = _error_client_view(code, message, status)
    return DashScopeError(
        client_status,
        message or code or f"HTTP status {status} without a message",
        client_code,
        native_code=code,
        native_message=message,
        request_id=request_id,
        fields=_error_fields(request_id, useless_retry, answer_fields),
    )


def is_error_answer(answer: typing.Mapping[str, typing.Any]) -> bool:
    """Tell whether a native object is an error although it came under HTTP 200: a success has no `code`."""
    code = answer.get("code")
    return bool(code) and str(code) not in ("200", "Success") or isinstance(answer.get("error"), dict)


def read_answer(body: bytes, answer_fields: typing.Sequence[tuple[str, str]] = ()) -> dict[str, typing.Any]:
    """Return the JSON object of a native answer under HTTP 200; raise DashScopeError for an error or for no JSON."""
    answer = _json_object(body)
    if answer is None:
        raise upstream_bad_response("the answer is not a JSON object", body)
    if is_error_answer(answer):
        raise error_from_answer(answer, None, answer_fields)
    return answer


def upstream_unreachable(reason: str) -> DashScopeError:
    """Return the 502 for a connection that could not be made or broke."""
    return DashScopeError(502, f"cannot reach DashScope: {reason}", "upstream_unreachable")


def upstream_bad_response(reason: str, evidence: bytes = b"") -> DashScopeError:
    """Return the 502 for an answer that is not what the API promises; `evidence` is quoted, cut to 100 bytes."""
    seen = f", got {evidence[:100]!r}" if evidence else ""
    return DashScopeError(502, f"bad answer from DashScope: {reason}{seen}", "upstream_bad_response")


def upstream_timeout(seconds: float) -> DashScopeError:
    """Return the 504 for an answer that did not come within our own limit."""
    return DashScopeError(504, f"no answer from DashScope within {seconds:g} seconds", "timeout")


def internal_error(request_id: str = "") -> ApiError:
    """Return the 500 for a defect of our own; what it was belongs in the log, not in the answer."""
    fields = [("x-request-id", request_id)] if request_id else []
    return ApiError(500, "Internal server error", type="internal_error", code="server_error", fields=fields)


def native_error_body(code: str, message: str, request_id: str) -> tuple[int, dict[str, str]]:
    """Return the HTTP status and body with which DashScope itself reports `code`: what a stand-in for it must send."""
    rule = _error_rule(code, message)
    return rule.native_status if rule else 400, {"code": code, "message": message, "request_id": request_id}


def _error_client_view(code: str, message: str, status: int | None) -> tuple[int, str, bool]:
    rule = _error_rule(code, message)
    if rule is not None:
        return rule.client_status, rule.client_code or code, rule.useless_retry
    if status == 401:
        return 401, "invalid_api_key", False
    if status is not None and 400 <= status <= 599:
        return status, code or "upstream_error", False
    return 500, code or "upstream_error", False


def _error_rule(code: str, message: str) -> _ErrorRule | None:
    for rule in _ERROR_RULES:
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


def _error_fields(
    request_id: str, useless_retry: bool, answer_fields: typing.Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    fields = relayed_fields(answer_fields)
    if re.fullmatch(_ERROR_HEADER_ID, request_id) and not any(name == "x-request-id" for name, _ in fields):
        fields.append(("x-request-id", request_id))
    if useless_retry:
        # A promise of upstream's to be ready again would contradict it.
        fields = [field for field in fields if not field[0].startswith("retry-after")]
        fields.append(("x-should-retry", "false"))
    return fields


def _error_object(body: bytes) -> dict[str, typing.Any] | None:
    """Return the error's JSON object: the whole body, or the first data line of an event stream."""
    answer = _json_object(body)
    if answer is not None:
        return answer
    for line in body.splitlines():
        if line.startswith(b"data:"):
            return _json_object(line[len(b"data:") :])
    return None


def _json_object(body: bytes) -> dict[str, typing.Any] | None:
    try:
        value = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _message_cut(message: str) -> str:
    return message if len(message) <= _MESSAGE_CHARACTERS else message[:_MESSAGE_CHARACTERS] + "…"


def _error_text(value: object) -> str:
    """Return a code or message as text: gateways also send numbers and null."""
    return value if isinstance(value, str) else "" if value is None else str(value)
