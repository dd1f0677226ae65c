"""The official `dashscope` SDK, natively and as an OpenAI client through the translator, at the same native fake.

What it reads must be the same both ways. The SDK is no part of the suite's pins: without it these tests are skipped.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from dashscope_samples import (
    CHINESE_FRAMES,
    MESSAGE_ANSWER,
    MULTIMODAL_FRAMES,
    TEXT_FRAMES,
    THINKING_ANSWER,
    THINKING_FRAMES,
    TOOL_FRAMES,
    TOOLS_ANSWER,
    VISION_ANSWER,
    sse,
)
from native import KEY, MULTIMODAL, TEXT, House, Native, answer, events, refusal, translator
from skipping import run
from upstreams import Peer, Received

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    dashscope = pytest.importorskip("dashscope", reason="the official SDK is not installed")
    if not hasattr(dashscope, "Client"):
        pytest.skip("the SDK has no Client, which version 2 brought", allow_module_level=True)

# The SDK's own affairs, such as what it says of itself or leaves open.
pytestmark = pytest.mark.filterwarnings("ignore")

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
PICTURE_QUESTION = [
    {
        "role": "user",
        "content": [{"type": "text", "text": "Where?"}, {"type": "image", "url": "https://p.invalid/a.png"}],
    }
]


class Case(NamedTuple):
    """A request and what DashScope answers, plain and as a stream."""

    name: str
    path: str
    plain: bytes
    frames: list[str]
    request: dict[str, Any]


QUESTION = [{"role": "system", "content": "You are a lawyer."}, {"role": "user", "content": "What is a lease?"}]
USER = QUESTION[1]
DOCUMENTS = [QUESTION[0], {"role": "system", "content": "fileid://file-fe-1,fileid://file-fe-2"}, USER]
MARKED = {"type": "text", "text": "You are a lawyer.", "cache_control": {"type": "ephemeral"}}
CACHED = [{"role": "system", "content": [MARKED]}, USER, {"role": "assistant", "content": [MARKED]}, USER]
CACHE_USAGE = {"cached_tokens": 0, "cache_creation_input_tokens": 1605, "cache_type": "ephemeral"}
CACHED_ANSWER = json.loads(MESSAGE_ANSWER)
CACHED_ANSWER["usage"]["prompt_tokens_details"] = CACHE_USAGE
CACHED_FRAMES = [json.dumps({**json.loads(frame), "usage": CACHED_ANSWER["usage"]}) for frame in TEXT_FRAMES]
SAMPLING = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 64, "seed": 7, "stop": ["END"], "presence_penalty": 0.5}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
JSON = {"response_format": {"type": "json_object"}, "enable_thinking": False}
JSON_QUESTION = [{"role": "user", "content": "JSON, please."}]
CALL = {"id": "c", "type": "function", "index": 0, "function": {"name": "get_weather", "arguments": "{}"}}
HISTORY = [
    USER,
    {"role": "assistant", "content": "", "reasoning_content": "Look.", "tool_calls": [CALL]},
    {"role": "tool", "content": "21 C", "tool_call_id": "c"},
]
CASES = [
    Case("text", TEXT, MESSAGE_ANSWER, TEXT_FRAMES, {"model": "farui-plus", **SAMPLING}),
    Case("Chinese", TEXT, MESSAGE_ANSWER, CHINESE_FRAMES, {"model": "qwen-max"}),
    Case("reasoning", TEXT, THINKING_ANSWER, THINKING_FRAMES, {"model": "qwen-plus", "enable_thinking": True}),
    Case("a model that always thinks", TEXT, THINKING_ANSWER, THINKING_FRAMES, {"model": "qwq-plus"}),
    Case("tools", TEXT, TOOLS_ANSWER, TOOL_FRAMES, {"model": "qwen-max", "tools": [WEATHER], "tool_choice": "auto"}),
    Case("documents", TEXT, MESSAGE_ANSWER, TEXT_FRAMES, {"model": "qwen-long", "messages": DOCUMENTS}),
    Case("the explicit cache", TEXT, json.dumps(CACHED_ANSWER).encode(), CACHED_FRAMES, {"model": "qwen3-max", "messages": CACHED}),
    Case("JSON without thinking", TEXT, MESSAGE_ANSWER, TEXT_FRAMES, {"model": "qwen3-8b", "messages": JSON_QUESTION, **JSON}),
    Case("a forced tool", TEXT, TOOLS_ANSWER, TOOL_FRAMES, {"model": "qwen-max", "tools": [WEATHER], "tool_choice": NAMED}),
    Case("a thinking model's history", TEXT, THINKING_ANSWER, THINKING_FRAMES, {"model": "deepseek-v4-pro", "messages": HISTORY}),
    Case(
        "a picture", MULTIMODAL, VISION_ANSWER, MULTIMODAL_FRAMES,
        {"model": "qwen-vl-max", "messages": PICTURE_QUESTION},
    ),
]  # fmt: skip


def both_ways(native: Native, house: House) -> list[dict[str, str]]:
    """Return the options of a native client, and of one that goes through the translator."""
    return [
        {"base_url": f"{native.url}/api/v1", "protocol": "native"},
        {"base_url": f"http://127.0.0.1:{house.server.port}/v1", "protocol": "openai"},
    ]


def asked_both_ways(case: Case, ask: Callable[[Any], Any]) -> tuple[Any, Any, list[Any]]:
    """Return what the SDK reads natively and through the translator, and all native calls."""
    outcome: list[Any] = []

    async def respond(peer: Peer, received: Received) -> None:
        streamed = received.get("x-dashscope-sse") == "enable"
        await peer.send(events(sse(case.frames)) if streamed else answer(case.plain))

    async def main() -> None:
        async with Native({case.path: respond}) as native, translator(native) as house:
            for options in both_ways(native, house):
                client = dashscope.Client(api_key=KEY, max_retries=0, timeout=10, **options)
                try:
                    outcome.append(await asyncio.to_thread(ask, client))
                finally:
                    client.close()
            outcome.append(native.calls)

    run(main)
    return outcome[0], outcome[1], outcome[2]


def usage_of(usage: Any) -> dict[str, Any]:
    """Return the counts that both protocols have."""
    details = usage.model_dump()
    reasoning = details.get("output_tokens_details") or details.get("completion_tokens_details") or {}
    return {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        # Older models of DashScope send no total.
        "total": usage.total_tokens or usage.input_tokens + usage.output_tokens,
        "reasoning": reasoning.get("reasoning_tokens") or 0,
        "cached": {name: (details.get("prompt_tokens_details") or {}).get(name) or 0 for name in CACHE_USAGE},
    }


def plain_reading(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    completion = client.chat.completions.create(**{"messages": QUESTION, **request})
    choice = completion.choices[0]
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
    return {
        "text": choice.message.content or "",
        "reasoning": choice.message.reasoning_content or "",
        "calls": calls,
        "finish_reason": choice.finish_reason,
        "usage": usage_of(completion.usage),
    }


def streamed_reading(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    text, reasoning, finish_reason, usage = "", "", None, None
    calls: dict[int, list[str]] = {}
    for chunk in client.chat.completions.create(**{"messages": QUESTION, **request}, stream=True):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reasoning += choice.delta.reasoning_content or ""
            if choice.finish_reason not in (None, "null"):
                finish_reason = choice.finish_reason
            for fragment in choice.delta.tool_calls or ():
                call = calls.setdefault(fragment.index, ["", "", ""])
                call[0] = fragment.id or call[0]
                call[1] = fragment.function.name or call[1]
                call[2] += fragment.function.arguments or ""
    return {
        "text": text,
        "reasoning": reasoning,
        "calls": [tuple(call) for _, call in sorted(calls.items())],
        "finish_reason": finish_reason,
        "usage": usage_of(usage),
    }


@pytest.mark.parametrize("reading", [plain_reading, streamed_reading], ids=["plain", "streamed"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_sdk_reads_the_same_natively_and_through_the_translator(
    case: Case, reading: Callable[[Any, dict[str, Any]], dict[str, Any]]
) -> None:
    natively, translated, _ = asked_both_ways(case, lambda client: reading(client, case.request))
    assert translated == natively
    assert natively["text"] or natively["calls"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_translator_sends_what_the_sdk_sends(case: Case) -> None:
    _, _, (natively, translated) = asked_both_ways(case, lambda client: streamed_reading(client, case.request))
    # What OpenAI's default is and DashScope's is not is said aloud.
    translated["parameters"].pop("parallel_tool_calls", None)
    # So is the type of a part, which the SDK leaves out.
    for message in translated["input"]["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else ():
            part.pop("type", None)
    assert json.loads(json.dumps(translated)) == natively


def older_reading(address: str, request: dict[str, Any], streamed: bool) -> dict[str, Any]:
    """Return what the classes of version 1 read, which speak the native protocol only."""
    options = {"stream": True, "incremental_output": True} if streamed else {}
    answers = dashscope.Generation.call(
        messages=QUESTION, result_format="message", api_key=KEY, base_address=address, **options, **request
    )
    reading: dict[str, Any] = {"text": "", "reasoning": "", "calls": [], "finish_reason": None, "usage": None}
    for one in answers if streamed else [answers]:
        choice = one.output.choices[0]
        reading["text"] += choice.message.content
        reading["reasoning"] += choice.message.get("reasoning_content") or ""
        if choice.finish_reason != "null":
            reading["finish_reason"] = choice.finish_reason
        reading["usage"] = (one.usage.input_tokens, one.usage.output_tokens)
    return reading


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("case", CASES[:4], ids=lambda case: case.name)
def test_the_older_classes_read_natively_what_comes_through_the_translator(case: Case, streamed: bool) -> None:
    reading = streamed_reading if streamed else plain_reading
    older: list[dict[str, Any]] = []

    def ask(client: Any) -> dict[str, Any]:
        if not older:
            older.append(older_reading(client.config.base_url, case.request, streamed))
        return reading(client, case.request)

    _, translated, _ = asked_both_ways(case, ask)
    usage = translated["usage"]
    assert {**translated, "usage": (usage["input"], usage["output"])} == older[0]


ERRORS = [
    ("401 Unauthorized", "InvalidApiKey", "Invalid API-key provided."),
    ("403 Forbidden", "Model.AccessDenied", "Model access denied."),
    ("404 Not Found", "ModelNotFound", "Model can not be found."),
    ("400 Bad Request", "InvalidParameter", "Range of top_p should be (0.0, 1.0]"),
    ("429 Too Many Requests", "Throttling.RateQuota", "Requests rate limit exceeded."),
    ("429 Too Many Requests", "Throttling.AllocationQuota", "Allocated quota exceeded, please increase your quota."),
    ("429 Too Many Requests", "PrepaidBillOverdue", "The prepaid bill is overdue."),
    ("400 Bad Request", "InvalidFile.Format", "Invalid file format."),
    ("500 Internal Server Error", "InternalError.Algo", "inference internal error"),
    ("503 Service Unavailable", "ModelUnavailable", "Model is unavailable"),
]


@pytest.mark.parametrize("reading", [plain_reading, streamed_reading], ids=["plain", "streamed"])
@pytest.mark.parametrize("row", ERRORS, ids=lambda row: row[1])
def test_the_sdk_raises_the_same_natively_and_through_the_translator(row: tuple[str, str, str], reading: Any) -> None:
    status, code, message = row

    def ask(client: Any) -> Exception:
        with pytest.raises(dashscope.v2.errors.DashScopeError) as caught:
            reading(client, {"model": "qwen-max"})
        return caught.value

    outcome: list[Any] = []

    async def main() -> None:
        async with Native({TEXT: refusal(code, message, status)}) as native, translator(native) as house:
            for base, protocol in (
                (f"{native.url}/api/v1", "native"),
                (f"http://127.0.0.1:{house.server.port}/v1", "openai"),
            ):
                client = dashscope.Client(api_key=KEY, max_retries=0, timeout=10, base_url=base, protocol=protocol)
                outcome.append(await asyncio.to_thread(ask, client))
                client.close()

    run(main)
    natively, translated = outcome
    assert type(translated) is type(natively)
    assert message in str(natively)
    assert message in str(translated)
