"""Pictures, videos, recordings, vectors and ranks: DashScope's SDK natively, and OpenAI's requests through the translator.

In the SDK only chat can speak OpenAI's protocol, so here the older classes ask natively, and what an OpenAI client sends
asks through the translator, at the same native fake. Both must send the same and read the same. Without the SDK these
tests are skipped.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
from native import EMBEDDINGS, IMAGES, KEY, MULTIMODAL, RERANK, Native, answer, form, translator
from skipping import run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    dashscope = pytest.importorskip("dashscope", reason="the official SDK is not installed")
    if not hasattr(dashscope, "Client"):
        pytest.skip("the SDK has no Client, which version 2 brought", allow_module_level=True)
    from dashscope.aigc.image_generation import ImageGeneration
    from dashscope.audio.qwen_asr import QwenTranscription

pytestmark = pytest.mark.filterwarnings("ignore")

VIDEOS = "/services/aigc/video-generation/video-synthesis"
RECORDINGS = "/services/audio/asr/transcription"
TASK = "/tasks/t-1"
PICTURE, SOUND, FILM = "https://p.invalid/a.png", "https://p.invalid/a.wav", "https://p.invalid/v.mp4"
DATA_SOUND = "data:audio/wav;base64,UklGRg=="
PENDING = answer({"output": {"task_status": "PENDING", "task_id": "t-1"}, "request_id": "r"})


def done(**output: Any) -> bytes:
    return answer({"output": {"task_id": "t-1", "task_status": "SUCCEEDED", **output}, "request_id": "r", "usage": {}})


def message(*content: dict[str, Any]) -> bytes:
    said = {"finish_reason": "stop", "message": {"role": "assistant", "content": list(content)}}
    return answer({"output": {"choices": [said]}, "usage": {"seconds": 2}, "request_id": "r"})


PAINTED = message({"image": PICTURE})
DRAWN = {IMAGES: PENDING, TASK: done(results=[{"url": PICTURE}])}
FILMED = {VIDEOS: PENDING, TASK: done(video_url=FILM)}
EMBEDDED = {
    EMBEDDINGS: answer(
        {
            "output": {
                "embeddings": [
                    {"text_index": 0, "embedding": [0.5, -0.5], "sparse_embedding": [{"index": 7, "value": 0.5}]},
                    {"text_index": 1, "embedding": [0.25, 1.0], "sparse_embedding": [{"index": 8, "value": 1.0}]},
                ]
            },
            "usage": {"total_tokens": 4},
            "request_id": "r",
        }
    )
}
RANKED = {
    RERANK: answer(
        {
            "output": {"results": [{"index": 1, "relevance_score": 0.91, "document": {"text": "b"}}]},
            "usage": {"total_tokens": 9},
            "request_id": "r",
        }
    )
}


class Row(NamedTuple):
    """What is asked natively and by OpenAI's request, what is read of either answer, and what DashScope answers."""

    name: str
    answers: Mapping[str, bytes]
    native: Callable[[dict[str, str]], Any]
    path: str
    body: dict[str, Any]
    read: Callable[[Any], Any]


def _good(response: Any) -> Any:
    assert response.status_code == 200, response
    return response.output


def _pictures_of_message(output: Any) -> list[str]:
    return [part["image"] for choice in output.choices for part in choice.message.content]


def _urls(answered: Any) -> list[str]:
    return [one["url"] for one in answered["data"]]


def _asks(*content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


ROWS = [
    Row(
        "pictures as a task", DRAWN,
        lambda where: [one.url for one in _good(dashscope.ImageSynthesis.call(
            model="wan2.2-t2i-flash", prompt="cat", negative_prompt="dog", n=1, size="1024*1024", seed=1,
            prompt_extend=False, watermark=False, **where)).results],
        "/v1/images/generations",
        {"model": "wan2.2-t2i-flash", "prompt": "cat", "negative_prompt": "dog", "n": 1, "size": "1024x1024", "seed": 1,
         "prompt_extend": False, "watermark": False},
        _urls,
    ),
    Row(
        "pictures at once", {MULTIMODAL: PAINTED},
        lambda where: _pictures_of_message(_good(ImageGeneration.call(
            model="wan2.7-image-pro", messages=_asks({"text": "cat"}), n=1, size="2K", thinking_mode=True, **where))),
        "/v1/images/generations",
        {"model": "wan2.7-image-pro", "prompt": "cat", "n": 1, "size": "2K", "thinking_mode": True},
        _urls,
    ),
    Row(
        "an edit", {MULTIMODAL: PAINTED},
        lambda where: _pictures_of_message(_good(dashscope.MultiModalConversation.call(
            model="qwen-image-edit-plus", messages=_asks({"image": "data:image/png;base64,iVBORw=="}, {"text": "hat"}),
            n=1, **where))),
        "/v1/images/edits",
        {"model": "qwen-image-edit-plus", "prompt": "hat", "n": "1", "image": ("a.png", "image/png", b"\x89PNG")},
        _urls,
    ),
    Row(
        "a video", FILMED,
        lambda where: _good(dashscope.VideoSynthesis.async_call(
            model="wan2.6-t2v", prompt="cat", negative_prompt="dog", size="1280*720", duration=5, seed=1, **where)
        ).task_status,
        "/v1/videos",
        {"model": "wan2.6-t2v", "prompt": "cat", "negative_prompt": "dog", "size": "1280x720", "seconds": "5",
         "seed": 1},
        lambda answered: {"queued": "PENDING"}[answered["status"]],
    ),
    Row(
        "a short recording", {MULTIMODAL: message({"text": "Hello."})},
        lambda where: _good(dashscope.MultiModalConversation.call(
            model="qwen3-asr-flash", messages=_asks({"audio": DATA_SOUND}), result_format="message",
            asr_options={"language": "en", "enable_itn": False}, **where)).choices[0].message.content[0]["text"],
        "/v1/audio/transcriptions",
        {"model": "qwen3-asr-flash", "language": "en", "file": ("a.wav", "audio/wav", b"RIFF")},
        lambda answered: answered["text"],
    ),
    Row(
        "vectors of both kinds", EMBEDDED,
        lambda where: [(one["embedding"], one["sparse_embedding"]) for one in _good(dashscope.TextEmbedding.call(
            model="text-embedding-v4", input=["a", "b"], dimension=64, output_type="dense&sparse", **where)
        )["embeddings"]],
        "/v1/embeddings",
        {"model": "text-embedding-v4", "input": ["a", "b"], "dimensions": 64, "output_type": "dense&sparse"},
        lambda answered: [(one["embedding"], one["sparse_embedding"]) for one in answered["data"]],
    ),
    Row(
        "ranks", RANKED,
        lambda where: [(one.index, one.relevance_score) for one in _good(dashscope.TextReRank.call(
            model="qwen3-rerank", query="q", documents=["a", "b"], top_n=1, return_documents=True, **where)).results],
        "/v1/reranks",
        {"model": "qwen3-rerank", "query": "q", "documents": ["a", "b"], "top_n": 1, "return_documents": True},
        lambda answered: [(one["index"], one["relevance_score"]) for one in answered["results"]],
    ),
]  # fmt: skip


def _encoded(body: dict[str, Any]) -> tuple[bytes, str]:
    files = [(name, *value) for name, value in body.items() if isinstance(value, tuple)]
    if not files:
        return json.dumps(body).encode(), "application/json"
    return form({name: value for name, value in body.items() if not isinstance(value, tuple)}, *files)


def asked_both_ways(row: Row, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, list[tuple[str, str, Any]]]:
    """Return what is read natively and through the translator, and where and how DashScope was asked for work."""
    outcome: list[Any] = []

    async def main() -> None:
        async with Native(row.answers) as native, translator(native) as house:
            # The SDK asks for a task there, whatever address the call was given.
            monkeypatch.setattr(dashscope, "base_http_api_url", f"{native.url}/api/v1")
            outcome.append(await asyncio.to_thread(row.native, {"api_key": KEY}))
            data, kind = _encoded(row.body)
            answered = await house.ask("POST", row.path, {"content-type": kind, "authorization": f"Bearer {KEY}"}, data)
            assert answered.status == 200, answered.body
            outcome.append(row.read(answered.json()))
            works = [one for one in native.received if one.body]
            outcome.append([(one.target, one.get("x-dashscope-async"), json.loads(one.body)) for one in works])

    run(main)
    return outcome[0], outcome[1], outcome[2]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_both_send_and_read_the_same(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    natively, translated, asked = asked_both_ways(row, monkeypatch)
    assert translated == natively
    (one, other) = asked
    # What is DashScope's default in messages is said aloud by one side alone.
    for _, _, body in asked:
        for name, value in (("result_format", "message"), ("output_type", "dense"), ("text_type", "document")):
            if body.get("parameters", {}).get(name) == value:
                del body["parameters"][name]
        body.setdefault("parameters", {})
        # What the SDK says of a video in an older form, and nobody asked for.
        body["input"].pop("extend_prompt", None)
        body["input"].pop("function", None)
    assert other == one


def test_a_long_recording_is_the_same_task(monkeypatch: pytest.MonkeyPatch) -> None:
    result = {"transcription_url": "http://127.0.0.1:9/t.json"}
    asked: list[Any] = []

    async def main() -> None:
        async with Native({RECORDINGS: PENDING, TASK: done(result=result)}) as native, translator(native) as house:
            monkeypatch.setattr(dashscope, "base_http_api_url", f"{native.url}/api/v1")
            call = {"model": "qwen3-asr-flash-filetrans", "file_url": SOUND, "language": "en", "api_key": KEY}
            task = await asyncio.to_thread(lambda: QwenTranscription.async_call(**call))
            assert task.output.task_id == "t-1"
            data, kind = form({"model": "qwen3-asr-flash-filetrans", "file_url": SOUND, "language": "en"})
            fields = {"content-type": kind, "authorization": f"Bearer {KEY}"}
            await house.ask("POST", "/v1/audio/transcriptions", fields, data)
            works = [one for one in native.received if one.body]
            asked.extend((one.target, one.get("x-dashscope-async"), json.loads(one.body)) for one in works)

    run(main)
    natively, translated = asked
    assert translated[:2] == natively[:2] == (f"/api/v1{RECORDINGS}", "enable")
    assert translated[2]["model"] == natively[2]["model"] and translated[2]["input"] == natively[2]["input"]
    assert natively[2]["parameters"].items() <= translated[2]["parameters"].items()
