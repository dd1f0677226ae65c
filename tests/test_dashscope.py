from __future__ import annotations

import json

import pytest

from protocol.dashscope.mapping.native import (
    NativeCall,
    dashscope_key,
    mentions_oss,
    native_headers,
    relayed_fields,
    task_headers,
)
from protocol.dashscope.settings import parse_dashscope_url
from protocol.errors import ApiError

KEY = "sk-0123456789"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "https://dashscope.aliyuncs.com/api/v1"),
        ("https://dashscope.aliyuncs.com", "https://dashscope.aliyuncs.com/api/v1"),
        ("  https://dashscope-intl.aliyuncs.com/ ", "https://dashscope-intl.aliyuncs.com/api/v1"),
        ("https://dashscope.aliyuncs.com/api/v1", "https://dashscope.aliyuncs.com/api/v1"),
        ("https://dashscope.aliyuncs.com/api/v1//", "https://dashscope.aliyuncs.com/api/v1"),
        ("https://dashscope.aliyuncs.com/compatible-mode/v1/", "https://dashscope.aliyuncs.com/api/v1"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/api/v1"),
        ("http://gateway.invalid/dash", "http://gateway.invalid/dash/api/v1"),
    ],
)
def test_base_url_ends_in_api_v1_however_it_is_written(text: str, url: str) -> None:
    assert parse_dashscope_url(text) == url


@pytest.mark.parametrize(
    "text", ["dashscope.aliyuncs.com", "ftp://host", "https://", "https://host/?a=1", "https://user@host", "http://a b"]
)
def test_base_url_refuses_what_is_no_plain_http_url(text: str) -> None:
    with pytest.raises(ValueError, match="expected an http"):
        parse_dashscope_url(text)


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "missing_authorization"),
        ("", "missing_authorization"),
        ("   ", "missing_authorization"),
        ("Basic dXNlcjpwYXNz", "invalid_authorization_format"),
        (KEY, "invalid_authorization_format"),
        ("Bearersk-0123456789", "invalid_authorization_format"),
        ("Bearer", "invalid_api_key"),
        ("Bearer ", "invalid_api_key"),
        ("Bearer sk-012345", "invalid_api_key"),
        ("Bearer sk-0123 456789", "invalid_api_key"),
        ("Bearer sk-01234567\u00e9", "invalid_api_key"),
    ],
)
def test_bad_keys_are_401_with_their_code(authorization: str | None, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        dashscope_key(authorization)
    assert (caught.value.status, caught.value.type, caught.value.code) == (401, "authentication_error", code)
    assert KEY not in caught.value.message


@pytest.mark.parametrize("authorization", ["Bearer 0123456789", "bearer 0123456789", "Bearer   0123456789 "])
def test_a_key_of_ten_characters_is_taken(authorization: str) -> None:
    assert dashscope_key(authorization) == "0123456789"


@pytest.mark.parametrize("authorization", [None, "Basic x", "Bearer sk-of-the-caller"])
def test_the_operators_key_replaces_the_callers(authorization: str | None) -> None:
    assert dashscope_key(authorization, "sk-of-the-operator") == "sk-of-the-operator"


def test_headers_of_a_plain_call() -> None:
    assert native_headers(NativeCall("/p", {}), KEY) == [
        ("Authorization", "Bearer " + KEY),
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity"),
        ("Content-Type", "application/json"),
    ]


def test_headers_switch_the_stream_on() -> None:
    fields = dict(native_headers(NativeCall("/p", {}, stream=True), KEY))
    assert (fields["Accept"], fields["X-DashScope-SSE"]) == ("text/event-stream", "enable")
    assert "X-DashScope-Async" not in fields


def test_headers_switch_the_task_on() -> None:
    fields = dict(native_headers(NativeCall("/p", {}, task=True), KEY))
    assert fields["X-DashScope-Async"] == "enable"
    assert "X-DashScope-SSE" not in fields


def test_only_the_three_switches_of_the_client_are_passed_on() -> None:
    client = [
        ("host", "here"),
        ("authorization", "Bearer other"),
        ("x-dashscope-workspace", "ws-1"),
        ("X-DashScope-DataInspection", '{"input":"cip"}'),
        ("x-dashscope-ossresourceresolve", "enable"),
        ("x-dashscope-async", "enable"),
        ("x-stainless-lang", "python"),
    ]
    fields = native_headers(NativeCall("/p", {}), KEY, client, has_oss=True)
    assert [field for field in fields if field[0].startswith("X-")] == [
        ("X-DashScope-WorkSpace", "ws-1"),
        ("X-DashScope-DataInspection", '{"input":"cip"}'),
        ("X-DashScope-OssResourceResolve", "enable"),
    ]


def test_uploaded_files_are_resolved_without_being_asked() -> None:
    call = NativeCall("/p", {"input": {"messages": [{"content": [{"image": "oss://bucket/key"}]}]}})
    assert mentions_oss(call.body)
    assert ("X-DashScope-OssResourceResolve", "enable") in native_headers(call, KEY, has_oss=True)


def test_polling_has_no_body_but_the_key_and_the_workspace() -> None:
    fields = dict(task_headers(KEY, [("X-DashScope-WorkSpace", "ws-1")]))
    assert fields["Authorization"] == "Bearer " + KEY
    assert fields["X-DashScope-WorkSpace"] == "ws-1"
    assert "Content-Type" not in fields


def test_request_id_and_retry_hints_are_relayed() -> None:
    fields = [("X-Request-Id", "r"), ("Retry-After", "3"), ("retry-after-ms", "3000"), ("Server", "istio")]
    assert relayed_fields(fields) == [("x-request-id", "r"), ("retry-after", "3"), ("retry-after-ms", "3000")]


def test_body_is_utf_8_json() -> None:
    assert NativeCall("/p", {"a": "租约"}).encode() == '{"a":"租约"}'.encode()


def test_half_a_surrogate_pair_does_not_break_the_body() -> None:
    assert json.loads(NativeCall("/p", {"a": "x\ud800"}).encode()) == {"a": "x?"}


def test_a_body_nested_too_deeply_is_refused() -> None:
    body: dict = {}
    for _ in range(100_000):
        body = {"a": body}
    with pytest.raises(ApiError) as caught:
        NativeCall("/p", body).encode()
    assert caught.value.status == 400
    while body:  # taken apart by hand: to free it in one go would need as deep a stack
        body = body["a"]
