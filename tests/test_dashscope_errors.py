from __future__ import annotations

import json

import pytest

from protocol.dashscope.mapping.errors import (
    DashScopeError,
    error_from_answer,
    is_error_answer,
    native_error,
    native_error_body,
    read_answer,
    upstream_bad_response,
    upstream_timeout,
)

# upstream's status, code and message; the client's status and code ("" where it is the same), x-should-retry: false
ROWS = [
    (401, "InvalidApiKey", "Invalid API-key provided.", 401, "invalid_api_key", False),
    (401, "InvalidAccessKey", "", 401, "invalid_api_key", False),
    (401, "NOT AUTHORIZED", "", 401, "invalid_api_key", False),
    (401, "Strange", "", 401, "invalid_api_key", False),
    (403, "AccessDenied", "current user api does not support asynchronous calls.", 403, "", False),
    (403, "AccessDenied.Unpurchased", "Access denied.", 403, "", False),
    (403, "Model.AccessDenied", "Model access denied.", 403, "", False),
    (403, "Workspace.AccessDenied", "", 403, "", False),
    (403, "App.AccessDenied", "", 403, "", False),
    (403, "Endpoint.AccessDenied", "", 403, "", False),
    (403, "AllocationQuota.FreeTierOnly", "", 403, "insufficient_quota", True),
    (400, "Arrearage", "Access denied, please make sure your account is in good standing.", 403, "", True),
    (404, "ModelNotFound", "Model can not be found.", 404, "model_not_found", False),
    (400, "Model.NotExist", "", 404, "model_not_found", False),
    (404, "model_not_found", "", 404, "model_not_found", False),
    (400, "InvalidParameter", "Model not exist.", 404, "model_not_found", False),
    (404, "NotFound", "", 404, "", False),
    (404, "WorkSpaceNotFound", "", 404, "", False),
    (404, "model_not_supported", "", 404, "", False),
    (400, "DataInspectionFailed", "Input data may contain inappropriate content.", 400, "content_filter", False),
    (400, "data_inspection_failed", "", 400, "content_filter", False),
    (400, "InvalidParameter.DataInspection", "Inappropriate content.", 400, "content_filter", False),
    (400, "InvalidParameter.DataInspection", "Unable to download the media.", 400, "InvalidParameter", False),
    (400, "InvalidParameter.DataInspection", "The request timed out.", 400, "InvalidParameter", False),
    (400, "InvalidParameter", "Range of top_p should be (0.0, 1.0]", 400, "", False),
    (400, "InvalidParameter", "Range of input length should be [1, 6000]", 400, "context_length_exceeded", False),
    (400, "InvalidParameter.NotSupportEnableThinking", "", 400, "", False),
    (500, "InternalError.Algo.InvalidParameter", "", 400, "", False),
    (400, "BadRequest.InputDownloadFailed", "", 400, "", False),
    (400, "InvalidURL", "", 400, "", False),
    (400, "UnsupportedOperation", "", 400, "", False),
    (400, "BadRequest.TooLarge", "", 413, "", False),
    (413, "RequestTooLarge", "", 413, "", False),
    (429, "Throttling", "", 429, "rate_limit_exceeded", False),
    (429, "Throttling.RateQuota", "Requests rate limit exceeded.", 429, "rate_limit_exceeded", False),
    (429, "Throttling.BurstRate", "", 429, "rate_limit_exceeded", False),
    (429, "Throttling.Concurrency", "", 429, "rate_limit_exceeded", False),
    (429, "limit_requests", "", 429, "rate_limit_exceeded", False),
    (429, "Throttling.AllocationQuota", "Allocated quota exceeded.", 429, "rate_limit_exceeded", False),
    (429, "insufficient_quota", "", 429, "rate_limit_exceeded", False),
    (408, "RequestTimeOut", "Request timed out.", 504, "timeout", False),
    (500, "InternalError.Timeout", "", 504, "timeout", False),
    (500, "ResponseTimeout", "", 504, "timeout", False),
    (500, "InternalError", "An internal error has occured.", 500, "", False),
    (500, "InternalError.Algo", "inference internal error", 500, "", False),
    (500, "SystemError", "", 500, "", False),
    (503, "ModelUnavailable", "Model is unavailable.", 503, "", False),
    (500, "ModelServingError", "Too many requests.", 503, "", False),
    (503, "ServiceUnavailable", "", 503, "", False),
    (503, "Model.Unavailable", "", 503, "", False),
    (418, "Strange.Code", "I am a teapot.", 418, "", False),
    (200, "Strange.Code", "An error under 200.", 400, "", False),
]


def body(code: str, message: str) -> bytes:
    return json.dumps({"code": code, "message": message, "request_id": "r-1"}).encode()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[1]} {row[2]}".strip())
def test_maps_each_row_of_the_error_table(row: tuple[int, str, str, int, str, bool]) -> None:
    upstream_status, native_code, message, status, code, useless_retry = row
    error = native_error(upstream_status, body(native_code, message))
    assert error.status == status
    assert error.as_dict() == {
        "error": {
            "message": "DashScope API error: " + (message or native_code),
            "type": "authentication_error" if status == 401 else "dashscope_error",
            "param": None,
            "code": code or native_code,
            "request_id": "r-1",
        }
    }
    assert (("x-should-retry", "false") in error.fields) is useless_retry
    assert ("x-request-id", "r-1") in error.fields


def test_codes_are_compared_without_regard_to_case() -> None:
    assert native_error(400, body("throttling.ratequota", "")).code == "rate_limit_exceeded"


GATEWAY_ROWS = [
    (502, b"<html>Bad Gateway</html>", 502, "upstream_bad_response"),
    (500, b"", 502, "upstream_bad_response"),
    (400, b'{"code":"InvalidPar', 502, "upstream_bad_response"),
    (404, b"[1]", 502, "upstream_bad_response"),
    (401, b"", 401, "invalid_api_key"),
    (408, b"", 504, "timeout"),
    (413, b"<html>", 413, "RequestTooLarge"),
    (429, b"", 429, "rate_limit_exceeded"),
    (503, b"busy", 503, "ServiceUnavailable"),
    (504, b"", 504, "timeout"),
]


@pytest.mark.parametrize("row", GATEWAY_ROWS, ids=lambda row: f"{row[0]} {row[1]!r}")
def test_maps_answers_of_gateways_that_are_no_json(row: tuple[int, bytes, int, str]) -> None:
    upstream_status, answer, status, code = row
    error = native_error(upstream_status, answer, [("Retry-After", "5")])
    assert (error.status, error.code) == (status, code)
    assert ("retry-after", "5") in error.fields


def test_reads_errors_in_openai_shape() -> None:
    answer = b'{"error":{"message":"no","type":"t","param":null,"code":"model_not_found"},"request_id":"r-2"}'
    error = native_error(404, answer)
    assert (error.code, error.native_message, error.request_id) == ("model_not_found", "no", "r-2")


def test_reads_an_error_that_comes_as_an_event_with_its_own_status() -> None:
    answer = b'id:1\nevent:error\n:HTTP_STATUS/400\ndata:{"code":"InvalidParameter","message":"x","request_id":"r"}\n\n'
    assert native_error(400, answer).native_code == "InvalidParameter"


def test_strips_a_byte_order_mark() -> None:
    assert native_error(401, b"\xef\xbb\xbf" + body("InvalidApiKey", "x")).code == "invalid_api_key"


def test_relays_retry_hints_and_takes_the_request_id_from_the_head_if_need_be() -> None:
    error = native_error(
        429, b'{"code":"Throttling"}', [("retry-after", "7"), ("X-Request-Id", "r-9"), ("server", "x")]
    )
    assert error.fields == (("retry-after", "7"), ("x-request-id", "r-9"))
    assert error.request_id == "r-9"


def test_a_useless_retry_is_not_invited_by_another_field() -> None:
    error = native_error(429, body("PrepaidBillOverdue", ""), [("retry-after", "7")])
    assert dict(error.fields) == {"x-request-id": "r-1", "x-should-retry": "false"}


@pytest.mark.parametrize("request_id", ["a\r\nset-cookie: x", "é", "x" * 201, ""])
def test_an_id_that_is_no_header_value_stays_in_the_body(request_id: str) -> None:
    error = error_from_answer({"code": "InternalError", "request_id": request_id})
    assert error.fields == ()
    assert error.request_id == request_id


def test_long_messages_are_cut() -> None:
    assert len(native_error(400, body("InvalidParameter", "x" * 10_000)).message) < 2100


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"code": "InvalidParameter"}, True),
        ({"error": {"message": "x"}}, True),
        ({"code": ""}, False),
        ({"code": None, "output": {}}, False),
        ({"code": "200", "output": {}}, False),
        ({"output": {}}, False),
    ],
)
def test_a_code_makes_an_error_of_a_success(answer: dict, expected: bool) -> None:
    assert is_error_answer(answer) is expected


def test_reads_an_answer() -> None:
    assert read_answer(b'\xef\xbb\xbf{"output":{}}') == {"output": {}}


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (b'{"code":"InvalidApiKey","message":"x"}', 401, "invalid_api_key"),
        (b"<html>", 502, "upstream_bad_response"),
        (b'{"output":', 502, "upstream_bad_response"),
        (b"", 502, "upstream_bad_response"),
    ],
)
def test_refuses_an_answer_that_is_none(answer: bytes, status: int, code: str) -> None:
    with pytest.raises(DashScopeError) as caught:
        read_answer(answer)
    assert (caught.value.status, caught.value.code) == (status, code)


def test_errors_of_our_own_making() -> None:
    bad, late = upstream_bad_response("no", b"x" * 999), upstream_timeout(9)
    assert (bad.status, bad.code, len(bad.message) < 300) == (502, "upstream_bad_response", True)
    assert (late.status, late.code) == (504, "timeout")
    assert {bad.type, late.type} == {"dashscope_error"}


def test_an_error_shows_no_secret_once_it_is_redacted() -> None:
    secret, stars = "sk-0123456789", "*" * 13
    error = error_from_answer(
        {"code": f"Bad.{secret}", "message": f"got {secret}, then {secret}", "request_id": secret}
    )
    error.redact(secret)
    assert error.message == f"DashScope API error: got {stars}, then {stars}"
    assert (error.code, error.request_id, error.fields) == (f"Bad.{stars}", stars, (("x-request-id", stars),))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("InvalidApiKey", 401),
        ("AccessDenied", 403),
        ("Arrearage", 400),
        ("ModelNotFound", 404),
        ("InvalidParameter", 400),
        ("RequestTooLarge", 413),
        ("Throttling.RateQuota", 429),
        ("InternalError.Algo", 500),
        ("ModelUnavailable", 503),
        ("NoSuchCode", 400),
    ],
)
def test_a_stand_in_reports_codes_as_dashscope_does(code: str, status: int) -> None:
    answer = native_error_body(code, "why", "r-4")
    assert answer == (status, {"code": code, "message": "why", "request_id": "r-4"})
