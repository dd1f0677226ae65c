"""Which of DashScope's errors are final, and which pass; the values are those of Alibaba's page "Error codes"."""

from __future__ import annotations

import asyncio
import json

import pytest
from native import IMAGES, TEXT, Native, answer, events, refusal, translator

from protocol.dashscope.mapping.errors import DashScopeError, error_from_answer, native_error, native_error_body
from protocol.dashscope.mapping.events import NativeEventReader
from protocol.dashscope.mapping.tasks import check_task_succeeded

FINAL = ("x-should-retry", "false")

# What the page says passes by itself: limits of requests and of tokens, a second and a minute.
PASSING = [
    ("Throttling", "Requests throttling triggered."),
    ("Throttling", "Too many requests in route. Please try again later."),
    ("Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
    ("LimitRequests", "You have exceeded your request limit."),
    ("limit_requests", "You exceeded your current requests list."),
    ("Throttling.BurstRate", "Request rate increased too quickly."),
    ("limit_burst_rate", "Request rate increased too quickly."),
    ("Throttling.AllocationQuota", "Allocated quota exceeded, please increase your quota limit."),
    ("insufficient_quota", "You exceeded your current quota, please check your plan and billing details."),
    ("insufficient_quota", "Allocated quota exceeded, please increase your quota limit."),
    ("Throttling.AllocationQuota", "Too many requests. Batch requests are being throttled due to system capacity."),
]
# What somebody has to pay for, or what a plan gives back after hours.
ENDED = [
    (429, "Throttling.AllocationQuota", "Free allocated quota exceeded.", 429, "insufficient_quota"),
    (429, "insufficient_quota", "Free allocated quota exceeded.", 429, "insufficient_quota"),
    (429, "insufficient_quota", "week allocated quota exceeded", 429, "insufficient_quota"),
    (429, "Throttling.AllocationQuota", "hour allocated quota exceeded.", 429, "insufficient_quota"),
    (429, "CommodityNotPurchased", "Commodity has not purchased yet.", 429, "insufficient_quota"),
    (429, "PrepaidBillOverdue", "The prepaid bill is overdue.", 429, "insufficient_quota"),
    (429, "PostpaidBillOverdue", "The postpaid bill is overdue.", 429, "insufficient_quota"),
    (429, "BudgetLimitExceeded", "", 429, "insufficient_quota"),
    (403, "AllocationQuota.FreeTierOnly", "The free tier of the model has been exhausted.", 403, "insufficient_quota"),
    (403, "AllocationQuota.FreeExceeded", "Free allocated quota exceeded.", 403, "insufficient_quota"),
    (400, "Arrearage", "Access denied, please make sure your account is in good standing.", 403, "Arrearage"),
]


def said(code: str, message: str) -> bytes:
    return json.dumps({"code": code, "message": message, "request_id": "r-1"}).encode()


@pytest.mark.parametrize(("code", "message"), PASSING)
def test_a_limit_a_minute_is_tried_again_after_the_time_that_dashscope_says(code: str, message: str) -> None:
    error = native_error(429, said(code, message), [("retry-after", "7")])
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    assert ("retry-after", "7") in error.fields and FINAL not in error.fields


@pytest.mark.parametrize(("native", "code", "message", "status", "client_code"), ENDED)
def test_what_has_ended_is_not_tried_again(native: int, code: str, message: str, status: int, client_code: str) -> None:
    error = native_error(native, said(code, message), [("retry-after", "7")])
    assert (error.status, error.code) == (status, client_code)
    assert FINAL in error.fields and "retry-after" not in dict(error.fields)


@pytest.mark.parametrize(("native", "code", "message", "status", "client_code"), ENDED)
def test_the_mock_reports_it_under_dashscopes_own_status(
    native: int, code: str, message: str, status: int, client_code: str
) -> None:
    assert native_error_body(code, message, "r-1")[0] == native


# code, message; the client's status and code
WITHOUT_STATUS = [
    ("InvalidImage.ImageSize", "The size of image is beyond limit.", 400, "InvalidImage.ImageSize"),
    ("InvalidImage.NoHumanFace", "No human face detected.", 400, "InvalidImage.NoHumanFace"),
    ("InvalidFile.DownloadFailed", "The audio file cannot be downloaded.", 400, "InvalidFile.DownloadFailed"),
    ("InvalidImageFormat", "The input image is in invalid format.", 400, "InvalidImageFormat"),
    ("InvalidInputLength", "The image resolution is invalid.", 400, "InvalidInputLength"),
    ("InvalidGarment", "Missing clothing image.", 400, "InvalidGarment"),
    ("invalid_value", "The requested voice 'x' is not supported.", 400, "invalid_value"),
    ("BadRequestException", "Invalid part type.", 400, "BadRequestException"),
    ("Audio.DecoderError", "Decoder audio file failed.", 400, "Audio.DecoderError"),
    ("ServiceUnavailableError", "Role must be user or assistant.", 400, "ServiceUnavailableError"),
    ("FlowNotPublished", "Flow has not published yet.", 400, "FlowNotPublished"),
    ("FILE_TOO_LARGE", "", 400, "FILE_TOO_LARGE"),
    ("NeverHeardOf", "", 400, "NeverHeardOf"),
    ("DataInspectionFailed", "Input data may contain inappropriate content.", 400, "content_filter"),
    ("IPInfringementSuspect", "Input data is suspected of being involved in IP infringement.", 400, "content_filter"),
    ("CustomRoleBlocked", "Input or output data may contain inappropriate content.", 400, "content_filter"),
    ("FaqRuleBlocked", "Input or output data is blocked by faq rule.", 400, "content_filter"),
    ("InvalidParameter", "The image content does not comply with green network verification.", 400, "content_filter"),
    ("InternalError", "An internal error has occured.", 500, "InternalError"),
    ("InternalError.Upload", "Failed to upload result.", 500, "InternalError.Upload"),
    ("SystemError", "An system error has occured.", 500, "SystemError"),
    ("ModelServiceFailed", "Failed to request model service.", 500, "ModelServiceFailed"),
    ("InvokePluginFailed", "Failed to invoke plugin.", 500, "InvokePluginFailed"),
    ("AppProcessFailed", "Failed to proceed application request.", 500, "AppProcessFailed"),
    ("RewriteFailed", "Failed to rewrite content for prompt.", 500, "RewriteFailed"),
    ("RetrievalFailed", "Failed to retrieve data from documents.", 500, "RetrievalFailed"),
    ("InternalServerError", "", 500, "InternalServerError"),
    ("ModelInferenceError", "", 500, "ModelInferenceError"),
    ("ModelUnavailable", "Model is unavailable, try again later.", 503, "ModelUnavailable"),
    ("RequestTimeOut", "Request timed out, try again later.", 504, "timeout"),
    ("", "something went wrong", 500, "upstream_error"),
]


@pytest.mark.parametrize(("code", "message", "status", "client_code"), WITHOUT_STATUS)
def test_a_code_without_a_status_is_the_requests_fault_unless_it_says_otherwise(
    code: str, message: str, status: int, client_code: str
) -> None:
    error = error_from_answer({"code": code, "message": message})
    assert (error.status, error.code) == (status, client_code)


@pytest.mark.parametrize(("code", "message", "status", "client_code"), WITHOUT_STATUS)
def test_so_it_is_as_an_event(code: str, message: str, status: int, client_code: str) -> None:
    (event,) = NativeEventReader().feed(b"event:error\ndata:" + said(code, message) + b"\n\n")
    assert isinstance(event, DashScopeError)
    assert (event.status, event.code) == (status, client_code)


@pytest.mark.parametrize(("code", "message", "status", "client_code"), WITHOUT_STATUS)
def test_so_it_is_as_a_failed_task(code: str, message: str, status: int, client_code: str) -> None:
    failed = {"output": {"task_status": "FAILED", "code": code, "message": message}, "request_id": "r-1"}
    with pytest.raises(DashScopeError) as caught:
        check_task_succeeded(failed)
    assert (caught.value.status, caught.value.code) == (status, client_code)


@pytest.mark.parametrize("status", [400, 418, 430, 500])
def test_a_status_of_upstream_counts_where_nothing_is_known_of_the_code(status: int) -> None:
    assert native_error(status, said("NeverHeardOf", "x")).status == status


def test_a_picture_that_is_refused_is_not_painted_three_times() -> None:
    async def ask() -> None:
        failed = {"task_id": "t-1", "task_status": "FAILED", "code": "IPInfringementSuspect", "message": "no"}
        paths = {
            IMAGES: answer({"output": {"task_status": "PENDING", "task_id": "t-1"}, "request_id": "r-1"}),
            "/tasks/t-1": answer({"output": failed, "request_id": "r-2"}),
        }
        async with Native(paths) as native, translator(native) as house:
            answered = await house.post("/v1/images/generations", {"model": "wan2.2-t2i-flash", "prompt": "a mouse"})
            # OpenAI's SDKs make a request again for 408, 409, 429 and from 500 up.
            assert (answered.status, answered.json()["error"]["code"]) == (400, "content_filter")

    asyncio.run(ask())


@pytest.mark.parametrize("stream", [False, True])
def test_the_client_sees_which_429_is_final(stream: bool) -> None:
    async def ask(code: str, message: str) -> tuple[str, str]:
        head = refusal(code, message, "429 Too Many Requests", "retry-after: 3")
        late = events(b"event:error\n:HTTP_STATUS/429\ndata:" + said(code, message) + b"\n\n", "retry-after: 3")
        async with Native({TEXT: late if stream else head}) as native, translator(native) as house:
            answered = await house.chat(stream=stream)
            assert answered.status == 429
            return answered.get("x-should-retry"), answered.get("retry-after")

    passing = asyncio.run(ask("Throttling.AllocationQuota", "Allocated quota exceeded, please increase your quota."))
    ended = asyncio.run(ask("PostpaidBillOverdue", "The postpaid bill is overdue."))
    assert ended == ("false", "")
    assert passing == ("", "" if stream else "3")
