"""DashScope's official SDK against the mock: its older classes, and the client of version 2. Skipped without it."""

from __future__ import annotations

import base64
import urllib.request
import warnings

import pytest

import oaiserve

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    dashscope = pytest.importorskip("dashscope", reason="the official SDK is not installed")
    if not hasattr(dashscope, "Client"):
        pytest.skip("the SDK has no Client, which version 2 brought", allow_module_level=True)

# The SDK's own affairs, such as what it leaves open.
pytestmark = pytest.mark.filterwarnings("ignore")

HELLO = [{"role": "user", "content": "hi"}]
TOOLS = [{"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def where():
    with oaiserve.start("mock") as server:
        yield {"api_key": "sk-any", "base_address": server.url + "/api/v1"}


@pytest.fixture
def client(where):
    made = dashscope.Client(api_key=where["api_key"], base_url=where["base_address"], max_retries=0)
    with made:
        yield made


def test_text_plain_and_streamed_both_ways(where, client):
    call = {"model": "qwen-plus", "messages": HELLO, "result_format": "message", **where}
    assert dashscope.Generation.call(**call).output.choices[0].message.content == "powered by openai"
    for incremental, said in ((True, ""), (False, "powered by openai")):
        parts = list(dashscope.Generation.call(**call, stream=True, incremental_output=incremental))
        assert parts[-1].output.choices[0].message.content == said
    parts = client.chat.completions.create(model="qwen-plus", messages=HELLO, stream=True)
    assert "".join(part.choices[0].delta.content for part in parts) == "powered by openai"


def test_tools_and_pictures_to_look_at(client):
    asked = [{"role": "user", "content": "ask the clock"}]
    choice = client.chat.completions.create(model="qwen-plus", messages=asked, tools=TOOLS).choices[0]
    assert (choice.finish_reason, choice.message.tool_calls[0].function.name) == ("tool_calls", "clock")
    seen = [{"role": "user", "content": [{"type": "image", "url": "https://p.invalid/a.png"}]}]
    answer = client.chat.completions.create(model="qwen-vl-plus", messages=seen)
    assert answer.choices[0].message.content == "powered by openai"


def test_embeddings_and_speech(where):
    call = {"model": "text-embedding-v4", "input": ["a", "b"], "dimension": 64, **where}
    assert [len(row["embedding"]) for row in dashscope.TextEmbedding.call(**call).output["embeddings"]] == [64, 64]
    call = {"model": "qwen3-tts-flash", "text": "Hello there", "voice": "Cherry", **where}
    parts = list(dashscope.MultiModalConversation.call(**call, stream=True))
    sound = b"".join(base64.b64decode(part.output.audio.data) for part in parts)
    with urllib.request.urlopen(parts[-1].output.audio.url) as file:
        assert file.read()[44:] == sound


def test_image_task_to_its_end(client):
    job = client.images.generate(model="wan2.2-t2i-flash", prompt="a cat", size="64*64", poll_interval=0.2)
    with urllib.request.urlopen(job.image_urls[0]) as file:
        assert file.read().startswith(b"\x89PNG")


def test_errors_become_the_sdk_s_own(client):
    with pytest.raises(dashscope.v2.errors.RateLimitError) as caught:
        client.chat.completions.create(model="error-429-Throttling.RateQuota", messages=HELLO)
    assert caught.value.status_code == 429
