"""protocol/dashscope: pictures with their tasks, downloads, speech and transcriptions, to a native fake."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import pathlib
import shutil
import ssl
import struct
import subprocess
from typing import Any

import pytest
from native import (
    COSY,
    CREATED,
    IMAGES,
    KEY,
    MULTIMODAL,
    Client,
    House,
    Native,
    answer,
    begun,
    by_byte,
    events,
    form,
    refusal,
    translator,
    until,
)
from skipping import run
from upstreams import Peer, Received, sized

from protocol.dashscope.mapping.speech import wav_samples
from protocol.openai.audio import wav_header

PICTURES = "/v1/images/generations"
EDITS = "/v1/images/edits"
SPEECH = "/v1/audio/speech"
TRANSCRIPTIONS = "/v1/audio/transcriptions"

TASK = "/tasks/7a0c-1"
CREATED_TASK = answer({"output": {"task_status": "PENDING", "task_id": "7a0c-1"}, "request_id": "r-22"})
PNG = b"\x89PNG\r\n\x1a\nnot really"


def task_answer(status: str, **output: Any) -> bytes:
    return answer({"request_id": "r-23", "output": {"task_id": "7a0c-1", "task_status": status, **output}})


def finished(*urls: str) -> bytes:
    return task_answer("SUCCEEDED", results=[{"url": url, "actual_prompt": "a small cat"} for url in urls])


def made_at_once(*urls: str) -> bytes:
    content = [{"image": url} for url in urls]
    return answer(
        {"output": {"choices": [{"finish_reason": "stop", "message": {"content": content}}]}, "request_id": "r-27"}
    )


CAT = {"model": "wan2.2-t2i-flash", "prompt": "a cat", "size": "1024x1024", "n": 2}


# ---- pictures by tasks ------------------------------------------------------------------------------------------


def test_a_task_is_made_and_polled_to_its_end() -> None:
    polls = [
        task_answer("PENDING"),
        task_answer("RUNNING"),
        finished("https://img.invalid/1.png", "https://img.invalid/2.png"),
    ]

    async def main() -> None:
        async with Native({IMAGES: CREATED_TASK, TASK: polls}) as native, translator(native) as house:
            answered = await house.post(PICTURES, CAT, x_dashscope_workspace="ws-1")
            assert answered.json() == {
                "created": CREATED,
                "data": [
                    {"url": "https://img.invalid/1.png", "revised_prompt": "a small cat"},
                    {"url": "https://img.invalid/2.png", "revised_prompt": "a small cat"},
                ],
            }
            made, *polled = native.received
            assert json.loads(made.body) == {
                "model": "wan2.2-t2i-flash",
                "input": {"prompt": "a cat"},
                "parameters": {"size": "1024*1024", "n": 2},
            }
            assert made.get("x-dashscope-async") == "enable"
            assert [(poll.method, poll.target, poll.body) for poll in polled] == [("GET", "/api/v1" + TASK, b"")] * 3
            assert {poll.get("authorization") for poll in polled} == {f"Bearer {KEY}"}
            assert {poll.get("x-dashscope-workspace") for poll in polled} == {"ws-1"}
            assert house.slept == [1.0, 1.5, 2.25]

    run(main)


FAILED_TASKS = [
    ("failed", task_answer("FAILED", code="DataInspectionFailed", message="inappropriate"), 400, "content_filter"),
    ("cancelled", task_answer("CANCELED"), 502, "task_canceled"),
    ("unknown", task_answer("UNKNOWN"), 502, "task_unknown"),
    ("no result", task_answer("SUCCEEDED", results=[{"code": "InternalError", "message": "no"}]), 500, "InternalError"),
    ("no key any more", refusal("InvalidApiKey", "no", "401 Unauthorized"), 401, "invalid_api_key"),
]


@pytest.mark.parametrize("case", FAILED_TASKS, ids=lambda case: case[0])
def test_a_task_that_fails_says_why(case: tuple[str, bytes, int, str]) -> None:
    name, poll, status, code = case

    async def main() -> None:
        async with Native({IMAGES: CREATED_TASK, TASK: poll}) as native, translator(native) as house:
            answered = await house.post(PICTURES, CAT)
            assert (answered.status, answered.json()["error"]["code"]) == (status, code)
            await house.backend.close()
            # Only what may still be under way is cancelled.
            assert (native.paths[-1] == TASK + "/cancel") is (name == "no key any more")

    run(main)


def test_of_several_results_the_good_ones_count() -> None:
    results = [{"url": "https://img.invalid/1.png"}, {"code": "InternalError", "message": "failed"}]

    async def main() -> None:
        answers = {IMAGES: CREATED_TASK, TASK: task_answer("SUCCEEDED", results=results)}
        async with Native(answers) as native, translator(native) as house:
            answered = await house.post(PICTURES, CAT)
            assert answered.json()["data"] == [{"url": "https://img.invalid/1.png"}]

    run(main)


def test_a_poll_that_fails_now_and_then_does_not_lose_the_task() -> None:
    throttled = refusal("Throttling", "slow down", "429 Too Many Requests")
    polls = [
        throttled,
        sized(b"", "502 Bad Gateway"),
        task_answer("RUNNING"),
        throttled,
        finished("https://img.invalid/1.png"),
    ]

    async def main() -> None:
        async with Native({IMAGES: CREATED_TASK, TASK: polls}) as native, translator(native) as house:
            assert (await house.post(PICTURES, CAT)).status == 200

    run(main)


def test_polls_that_keep_failing_end_the_request_and_cancel_the_task() -> None:
    async def main() -> None:
        throttled = refusal("Throttling", "slow down", "429 Too Many Requests")
        async with Native({IMAGES: CREATED_TASK, TASK: throttled}) as native, translator(native) as house:
            assert (await house.post(PICTURES, CAT)).status == 429
            assert native.paths.count(TASK) == 3
            await until(lambda: native.paths[-1] == TASK + "/cancel")

    run(main)


def test_a_task_that_takes_more_than_five_minutes_is_given_up() -> None:
    async def main() -> None:
        async with Native({IMAGES: CREATED_TASK, TASK: task_answer("RUNNING")}) as native:
            async with translator(native) as house:
                answered = await house.post(PICTURES, CAT)
                assert (answered.status, answered.json()["error"]["code"]) == (504, "timeout")
                assert 290 < sum(house.slept) <= 300
                assert max(house.slept) == 5
                await until(lambda: native.paths[-1] == TASK + "/cancel")

    run(main)


async def leave_while(house: House, client: Client, native: Native, path: str) -> None:
    await house.begin(client, PICTURES, {**CAT, "n": 1})
    await until(lambda: path in native.paths)
    client.leave()


@pytest.mark.parametrize("phase", ["between polls", "within a poll"])
def test_a_client_that_leaves_while_a_task_is_polled_cancels_it_within_a_second(phase: str) -> None:
    async def main() -> None:
        cancelled = answer({"request_id": "r-30"})
        poll = task_answer("RUNNING") if phase == "between polls" else begun(b"")
        seconds = 30.0 if phase == "between polls" else 0.0
        answers = {IMAGES: CREATED_TASK, TASK: poll, TASK + "/cancel": cancelled}

        async def sleep(pause: float) -> None:
            await asyncio.sleep(0 if not native.paths.count(TASK) else seconds)

        async with Native(answers) as native, translator(native, sleep=sleep) as house, house.client() as client:
            await leave_while(house, client, native, TASK)
            assert await until(lambda: native.paths[-1] == TASK + "/cancel") < 0.5
            await until(lambda: native.open_connections <= 1)
            assert native.received[-1].method == "POST"
            assert native.received[-1].get("authorization") == f"Bearer {KEY}"
            await asyncio.sleep(0.05)
            assert native.paths[-1] == TASK + "/cancel"  # and no further poll

    run(main)


def test_a_client_that_leaves_while_a_task_is_being_made_closes_the_connection() -> None:
    async def main() -> None:
        async with Native({IMAGES: begun(b"")}) as native, translator(native) as house, house.client() as client:
            await leave_while(house, client, native, IMAGES)
            await until(lambda: native.open_connections == 0)
            assert native.paths == [IMAGES]

    run(main)


def test_a_cancel_that_is_not_answered_does_not_hold_up_the_end_of_the_program() -> None:
    async def main() -> None:
        answers = {IMAGES: CREATED_TASK, TASK: begun(b""), TASK + "/cancel": begun(b"")}
        async with Native(answers) as native, translator(native, timeout="0.2") as house, house.client() as client:
            await leave_while(house, client, native, TASK)
            await until(lambda: native.paths[-1] == TASK + "/cancel")
            began = asyncio.get_running_loop().time()
            await house.backend.close()
            assert asyncio.get_running_loop().time() - began < 2

    run(main)


def test_a_task_whose_id_would_lead_elsewhere_is_not_polled() -> None:
    async def main() -> None:
        made = answer({"output": {"task_status": "PENDING", "task_id": "../../v1/x"}})
        async with Native({IMAGES: made}) as native, translator(native) as house:
            answered = await house.post(PICTURES, CAT)
            assert (answered.status, answered.json()["error"]["code"]) == (502, "upstream_bad_response")
            assert len(native.received) == 1

    run(main)


# ---- pictures at once -------------------------------------------------------------------------------------------


def test_models_that_answer_at_once_are_asked_without_a_task_once_a_picture() -> None:
    async def main() -> None:
        answers = [made_at_once("https://img.invalid/1.png"), made_at_once("https://img.invalid/2.png")]
        async with Native({MULTIMODAL: answers}) as native, translator(native) as house:
            body = {"model": "qwen-image-plus", "prompt": "a cat", "size": "1024x1024", "n": 2, "watermark": False}
            answered = await house.post(PICTURES, body)
            assert sorted(item["url"] for item in answered.json()["data"]) == [
                "https://img.invalid/1.png",
                "https://img.invalid/2.png",
            ]
            assert [received.get("x-dashscope-async") for received in native.received] == ["", ""]
            assert native.calls[0] == {
                "model": "qwen-image-plus",
                "input": {"messages": [{"role": "user", "content": [{"text": "a cat"}]}]},
                "parameters": {"size": "1328*1328", "watermark": False, "n": 1},
            }

    run(main)


def test_of_several_calls_the_good_ones_count_too() -> None:
    async def main() -> None:
        answers = [made_at_once("https://img.invalid/1.png"), refusal("Throttling", "", "429 Too Many Requests")]
        async with Native({MULTIMODAL: answers}) as native, translator(native) as house:
            answered = await house.post(PICTURES, {"model": "qwen-image-plus", "prompt": "a cat", "n": 3})
            assert [item["url"] for item in answered.json()["data"]] == ["https://img.invalid/1.png"]

    run(main)


@pytest.mark.parametrize(("more", "param"), [({"stream": True}, "stream"), ({"size": "big"}, "size"), ({"n": 9}, "n")])
def test_pictures_that_cannot_be_made_are_refused(more: dict[str, Any], param: str) -> None:
    async def main() -> None:
        async with Native({}) as native, translator(native) as house:
            answered = await house.post(PICTURES, {**CAT, **more})
            assert (answered.status, answered.json()["error"]["param"]) == (400, param)

    run(main)


def test_pictures_are_edited_from_a_form() -> None:
    body, content_type = form(
        {"model": "qwen-image-edit", "prompt": "a hat on it", "n": "1"},
        ("image[]", "a.png", "image/png", PNG),
        ("image[]", "b.jpg", "application/octet-stream", b"\xff\xd8\xff\0"),
    )

    async def main() -> None:
        async with Native({MULTIMODAL: made_at_once("https://img.invalid/1.png")}) as native:
            async with translator(native) as house:
                answered = await house.post(EDITS, body, content_type=content_type)
                assert answered.json()["data"] == [{"url": "https://img.invalid/1.png"}]
                assert native.calls[0]["input"]["messages"][0]["content"] == [
                    {"image": "data:image/png;base64," + base64.b64encode(PNG).decode()},
                    {"image": "data:image/jpeg;base64,/9j/AA=="},
                    {"text": "a hat on it"},
                ]

    run(main)


EDIT_FIELDS = {"model": "qwen-image-edit", "prompt": "a hat"}
BAD_EDITS = [
    ("a mask", form(EDIT_FIELDS, ("image", "a", "", PNG), ("mask", "m", "", PNG)), 400, "mask"),
    ("no picture", form(EDIT_FIELDS), 400, "image"),
    ("another model", form({**EDIT_FIELDS, "model": "wanx-v1"}, ("image", "a", "", PNG)), 400, "model"),
    ("a large picture", form(EDIT_FIELDS, ("image", "a", "", bytes(8 << 20))), 413, "image"),
    ("no form", (b"{}", "application/json"), 400, None),
    ("a form cut short", (form(EDIT_FIELDS)[0][:-9], "multipart/form-data; boundary=xyz"), 400, None),
    ("no UTF-8", (form({"prompt": "?"})[0].replace(b"?", b"\xff"), "multipart/form-data; boundary=xyz"), 400, "prompt"),
]  # fmt: skip


@pytest.mark.parametrize("case", BAD_EDITS, ids=lambda case: case[0])
def test_edits_that_cannot_be_made_are_refused(case: tuple[str, tuple[bytes, str], int, str | None]) -> None:
    _, (body, content_type), status, param = case

    async def main() -> None:
        async with Native({}) as native, translator(native) as house:
            answered = await house.post(EDITS, body, content_type=content_type)
            assert (answered.status, answered.json()["error"]["param"]) == (status, param)
            assert native.received == []

    run(main)


# ---- downloads --------------------------------------------------------------------------------------------------


def base64_pictures(native: Native, *paths: str) -> bytes:
    return finished(*(native.url + path for path in paths))


def test_pictures_asked_for_as_base64_are_fetched_without_the_callers_key() -> None:
    async def main() -> None:
        async with Native({IMAGES: CREATED_TASK, "/1.png?Expires=1": sized(PNG), "/2.png": sized(b"2")}) as native:
            native.answer(TASK, base64_pictures(native, "/api/v1/1.png?Expires=1", "/api/v1/2.png"))
            async with translator(native) as house:
                answered = await house.post(PICTURES, {**CAT, "response_format": "b64_json"})
                assert [base64.b64decode(item["b64_json"]) for item in answered.json()["data"]] == [PNG, b"2"]
                fetched = [received for received in native.received if "png" in received.target]
                assert {received.get("authorization") for received in fetched} == {""}
                assert {name for received in fetched for name, _ in received.fields} == {"host", "accept-encoding"}

    run(main)


HOSTILE = [
    "http://127.0.0.1:{other}/x",
    "https://127.0.0.1/x",
    "https://10.1.2.3/x",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/x",
    "https://[::ffff:127.0.0.1]/x",
    "https://[fe80::1]/x",
    "https://224.0.0.1/x",
    "https://localhost/x",
    "https://2130706433/x",
    "https://inside.example/x",
    "file:///etc/passwd",
    "gopher://example.com/x",
    "http://user:secret@example.com/x",
    "https://example.com/a b",
    "https://example.com/\r\nx: y",
    "https://",
    "",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_a_url_that_leads_inside_is_not_fetched(url: str) -> None:
    async def resolve(host: str) -> list[str]:
        # What the system would say, and one public address of two is not enough.
        return {"inside.example": ["93.184.216.34", "10.0.0.7"], "2130706433": ["127.0.0.1"]}.get(
            host, ["93.184.216.34"]
        )

    async def main() -> None:
        async with Native({"/x": sized(b"secret")}) as inside, Native({IMAGES: CREATED_TASK}) as native:
            native.answer(TASK, finished(url.replace("{other}", str(inside.port))))
            async with translator(native, resolve=resolve) as house:
                answered = await house.post(PICTURES, {**CAT, "response_format": "b64_json"})
                assert (answered.status, answered.json()["error"]["code"]) == (502, "upstream_bad_response")
                assert not inside.connections

    run(main)


BAD_DOWNLOADS = [
    ("a redirect", sized(b"", "302 Found", "location: http://127.0.0.1/x"), "upstream_bad_response"),
    ("not there", sized(b"", "404 Not Found"), "upstream_bad_response"),
    ("too large", b"HTTP/1.1 200 OK\r\ncontent-length: 40000000\r\n\r\n" + bytes(33 << 20), "upstream_bad_response"),
    ("cut short", b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\nconnection: close\r\n\r\n1", "upstream_unreachable"),
]


@pytest.mark.parametrize("case", BAD_DOWNLOADS, ids=lambda case: case[0])
def test_a_picture_that_cannot_be_fetched_is_a_bad_gateway(case: tuple[str, bytes, str]) -> None:
    _, data, code = case

    async def main() -> None:
        async def send_and_close(peer: Peer, received: Received) -> None:
            await peer.send(data)
            peer.writer.close()

        async with Native({IMAGES: CREATED_TASK, "/1.png": send_and_close}) as native:
            native.answer(TASK, base64_pictures(native, "/api/v1/1.png"))
            async with translator(native) as house:
                answered = await house.post(PICTURES, {**CAT, "response_format": "b64_json"})
                assert (answered.status, answered.json()["error"]["code"]) == (502, code)

    run(main)


def test_a_client_that_leaves_during_a_download_closes_its_connection() -> None:
    async def main() -> None:
        async with Native({IMAGES: CREATED_TASK, "/1.png": begun(b"HTTP/1.1 200 OK\r\n\r\n1")}) as native:
            native.answer(TASK, base64_pictures(native, "/api/v1/1.png"))
            async with translator(native) as house, house.client() as client:
                await house.begin(client, PICTURES, {**CAT, "response_format": "b64_json"})
                await until(lambda: "/1.png" in native.paths)
                client.leave()
                await until(native.connections[-1].done)

    run(main)


class Proxy:
    """A proxy that has its own mind about where names lead; of a connection without CONNECT it passes one request on."""

    def __init__(self, ports: dict[str, int]) -> None:
        self.ports = ports
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target = head.decode("latin-1").split()[:2]
        authority, _, path = target.rpartition("//")[2].partition("/")
        self.asked.append(authority)
        port = self.ports.get(authority.rpartition(":")[0]) or int(authority.rpartition(":")[2])
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            other_writer.write(head.replace(target.encode(), f"/{path}".encode(), 1))
        await asyncio.gather(_pass_on(reader, other_writer), _pass_on(other_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def certificate_for(host: str, folder: pathlib.Path) -> tuple[str, ssl.SSLContext]:
    """Return a certificate's file and a context that shows it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program to make a certificate")
    cert_file, key_file = str(folder / "cert.pem"), str(folder / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split()
    names = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    subprocess.run(
        [*command, *names, "-keyout", key_file, "-out", cert_file], check=True, capture_output=True, timeout=100
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return cert_file, context


@pytest.mark.parametrize("trusted", [True, False], ids=["a good certificate", "a strange certificate"])
def test_elsewhere_results_are_fetched_over_tls_whose_certificate_is_checked(
    trusted: bool, tmp_path: pathlib.Path
) -> None:
    cert_file, context = certificate_for("img.example", tmp_path)
    # `verify = no` is for the base URL alone.
    options = {"verify": "no", "max_idle": "0", **({"ca_file": cert_file} if trusted else {})}

    async def main() -> None:
        async with Native({"/1.png": sized(PNG)}, tls=context) as elsewhere:
            async with Native({IMAGES: CREATED_TASK, TASK: finished("http://img.example/api/v1/1.png")}) as native:
                proxy = Proxy({"img.example": elsewhere.port})
                server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
                options["proxy"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
                async with translator(native, **options) as house:
                    answered = await house.post(PICTURES, {**CAT, "response_format": "b64_json"})
                server.close()
                assert proxy.asked[-1] == "img.example:443"
                assert answered.status == (200 if trusted else 502)
                assert len(elsewhere.received) == trusted
                if trusted:
                    assert base64.b64decode(answered.json()["data"][0]["b64_json"]) == PNG

    run(main)


# ---- speech -----------------------------------------------------------------------------------------------------

SOUNDS = [b"\0\1\2\3", b"\4\5", b"\6\7\x08\x09"]
HELLO = {"model": "qwen3-tts-flash", "input": "Hello", "voice": "alloy"}


def sound_frames(*sounds: bytes, url: str = "", ends: bool = True) -> bytes:
    frames = [
        {"output": {"audio": {"data": base64.b64encode(sound).decode(), "url": ""}, "finish_reason": "null"}}
        for sound in sounds
    ]
    last = {"output": {"audio": {"data": "", "url": url}, "finish_reason": "stop"}, "usage": {"characters": 5}}
    frames += [last] if ends else []
    return b"".join(
        b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:" + json.dumps(frame).encode() + b"\n\n" for frame in frames
    )


@pytest.mark.parametrize("way", ["whole", "by byte"])
@pytest.mark.parametrize(
    ("wanted", "kind", "beginning"),
    [("pcm", "audio/pcm", b""), ("wav", "audio/wav", wav_header()), (None, "audio/wav", wav_header())],
    ids=["pcm", "wav", "not said"],
)
def test_qwens_voices_give_samples_or_a_wav_file(wanted: str | None, kind: str, beginning: bytes, way: str) -> None:
    data = events(sound_frames(*SOUNDS))

    async def main() -> None:
        async with (
            Native({MULTIMODAL: data if way == "whole" else by_byte(data)}) as native,
            translator(native) as house,
        ):
            answered = await house.post(SPEECH, {**HELLO, **({"response_format": wanted} if wanted else {})})
            assert answered.get("content-type") == kind
            assert answered.body == beginning + b"".join(SOUNDS)
            assert native.calls == [{"model": "qwen3-tts-flash", "input": {"text": "Hello", "voice": "Cherry"}}]
            assert native.received[0].get("x-dashscope-sse") == "enable"

    run(main)


def test_speech_is_passed_on_as_it_comes() -> None:
    async def main() -> None:
        first = begun(events(sound_frames(SOUNDS[0], ends=False), end=b""))
        async with Native({MULTIMODAL: first}) as native, translator(native) as house, house.client() as client:
            await house.begin(client, SPEECH, {**HELLO, "response_format": "pcm"})
            assert (await client.event()).status_code == 200
            assert bytes((await client.event()).data) == SOUNDS[0]
            client.leave()
            await until(lambda: native.open_connections == 0)

    run(main)


def test_a_long_text_is_spoken_in_pieces_behind_one_header() -> None:
    async def main() -> None:
        answers = [events(sound_frames(b"11")), events(sound_frames(b"22"))]
        async with Native({MULTIMODAL: answers}) as native, translator(native) as house:
            text = "One sentence. " * 60
            answered = await house.post(SPEECH, {**HELLO, "input": text, "response_format": "wav"})
            assert answered.body == wav_header() + b"1122"
            assert " ".join(call["input"]["text"] for call in native.calls) == text.strip()
            assert len(native.calls) == 2

    run(main)


def test_speech_as_events() -> None:
    async def main() -> None:
        async with Native({MULTIMODAL: events(sound_frames(*SOUNDS))}) as native, translator(native) as house:
            body = {**HELLO, "response_format": "pcm", "stream_format": "sse"}
            answered = await house.post(SPEECH, body)
            *deltas, done = answered.events()
            assert answered.get("content-type") == "text/event-stream; charset=utf-8"
            assert b"".join(base64.b64decode(delta["audio"]) for delta in deltas) == b"".join(SOUNDS)
            assert done == {
                "type": "speech.audio.done",
                "usage": {"input_tokens": 5, "output_tokens": 0, "total_tokens": 5},
            }

    run(main)


def test_cosyvoice_gives_the_format_that_is_asked_for() -> None:
    async def main() -> None:
        async with Native({COSY: events(sound_frames(b"ID3", b"mp3"))}) as native, translator(native) as house:
            body = {"model": "cosyvoice-v3-flash", "input": "Hello", "voice": "longanyang", "speed": 1.5}
            answered = await house.post(SPEECH, body)
            assert (answered.get("content-type"), answered.body) == ("audio/mpeg", b"ID3mp3")
            assert native.calls[0]["input"] == {
                "text": "Hello", "voice": "longanyang", "format": "mp3", "sample_rate": 24000, "rate": 1.5,
            }  # fmt: skip

    run(main)


@pytest.mark.parametrize("wanted", ["wav", "pcm"])
def test_sound_that_is_only_named_is_fetched(wanted: str) -> None:
    async def main() -> None:
        async with Native({"/1.wav": sized(wav_header(4) + b"abcd")}) as native:
            native.answer(MULTIMODAL, events(sound_frames(url=native.url + "/api/v1/1.wav")))
            async with translator(native) as house:
                answered = await house.post(SPEECH, {**HELLO, "response_format": wanted})
                assert answered.body == (wav_header() if wanted == "wav" else b"") + b"abcd"

    run(main)


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"response_format": "mp3"}, "response_format", "unsupported_response_format"),
        ({"voice": None}, "voice", None),
        ({"input": " "}, "input", None),
        ({"model": "cosyvoice-v1"}, "model", None),
    ],
)
def test_speech_that_cannot_be_is_refused(more: dict[str, Any], param: str, code: str | None) -> None:
    async def main() -> None:
        async with Native({}) as native, translator(native) as house:
            answered = await house.post(SPEECH, {**HELLO, **more})
            error = answered.json()["error"]
            assert (answered.status, error["param"], error["code"]) == (400, param, code)

    run(main)


BAD_SPEECH = [
    ("refused", refusal("InvalidParameter", "no such voice"), 400, "InvalidParameter"),
    ("an error first", events(b'event:error\ndata:{"code":"Throttling"}\n\n'), 429, "rate_limit_exceeded"),
    ("silent", events(sound_frames()), 502, "upstream_bad_response"),
    ("no base64", events(b'data:{"output":{"audio":{"data":"A"}}}\n\n'), 502, "upstream_bad_response"),
]  # fmt: skip


@pytest.mark.parametrize("case", BAD_SPEECH, ids=lambda case: case[0])
def test_speech_that_fails_before_its_first_sound_has_its_own_status(case: tuple[str, bytes, int, str]) -> None:
    _, data, status, code = case

    async def main() -> None:
        async with Native({MULTIMODAL: data}) as native, translator(native) as house:
            answered = await house.post(SPEECH, HELLO)
            assert (answered.status, answered.json()["error"]["code"]) == (status, code)

    run(main)


def test_speech_that_breaks_midway_is_no_clean_end() -> None:
    broken = events(
        sound_frames(SOUNDS[0], ends=False) + b'event:error\ndata:{"code":"InternalError","message":"x"}\n\n'
    )

    async def main() -> None:
        async with Native({MULTIMODAL: broken}) as native, translator(native) as house:
            answered = await house.post(SPEECH, {**HELLO, "response_format": "pcm"})
            assert (answered.status, answered.body, answered.broken) == (200, SOUNDS[0], True)

    run(main)


WAV_FILES = [
    ("a usual file", wav_header(4) + b"abcd", b"abcd"),
    ("written as a stream", wav_header() + b"abcd", b"abcd"),
    (
        "another chunk before",
        b"RIFF\0\0\0\0WAVE" + b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"data\2\0\0\0xy",
        b"xy",
    ),
    ("a chunk behind", wav_header(2) + b"ab" + b"LIST\0\0\0\0", b"ab"),
    ("no data", b"RIFF\0\0\0\0WAVE", b""),
    ("no WAV", b"abcd", b"abcd"),
]


@pytest.mark.parametrize("case", WAV_FILES, ids=lambda case: case[0])
def test_takes_the_samples_out_of_a_wav_file(case: tuple[str, bytes, bytes]) -> None:
    assert wav_samples(case[1]) == case[2]


# ---- transcriptions ---------------------------------------------------------------------------------------------

RECORDING = ("file", "hello.wav", "audio/wav", b"RIFF")
HEARD = {
    "output": {
        "choices": [
            {
                "finish_reason": "stop",
                "message": {
                    "annotations": [{"type": "audio_info", "language": "en", "emotion": "neutral"}],
                    "content": [{"text": "Hello Alice."}],
                },
            }
        ]
    },
    "usage": {"seconds": 2},
    "request_id": "r-29",
}


async def transcribe(house: House, **fields: str) -> Any:
    body, content_type = form({"model": "whisper-1", **fields}, RECORDING)
    return await house.post(TRANSCRIPTIONS, body, content_type=content_type)


def test_a_recording_goes_out_as_a_message() -> None:
    async def main() -> None:
        async with Native({MULTIMODAL: answer(HEARD)}) as native, translator(native) as house:
            answered = await transcribe(house, prompt="names: Alice", language="en", temperature="0")
            assert answered.json() == {"text": "Hello Alice.", "usage": {"type": "duration", "seconds": 2}}
            assert native.calls == [
                {
                    "model": "qwen3-asr-flash",
                    "input": {
                        "messages": [
                            {"role": "system", "content": [{"text": "names: Alice"}]},
                            {"role": "user", "content": [{"audio": "data:audio/wav;base64,UklGRg=="}]},
                        ]
                    },
                    "parameters": {
                        "result_format": "message",
                        "asr_options": {"enable_itn": False, "language": "en"},
                    },
                }
            ]

    run(main)


@pytest.mark.parametrize(
    ("wanted", "kind", "part"),
    [
        ("text", "text/plain; charset=utf-8", b"Hello Alice.\n"),
        ("verbose_json", "application/json", b'"duration": 2'),
        ("srt", "application/x-subrip; charset=utf-8", b"00:00:02,000"),
        ("vtt", "text/vtt; charset=utf-8", b"WEBVTT"),
    ],
)
def test_transcripts_come_in_the_format_asked_for(wanted: str, kind: str, part: bytes) -> None:
    async def main() -> None:
        async with Native({MULTIMODAL: answer(HEARD)}) as native, translator(native) as house:
            answered = await transcribe(house, response_format=wanted)
            assert answered.get("content-type") == kind
            assert part in answered.body

    run(main)


@pytest.mark.parametrize("way", ["whole", "by byte"])
def test_a_transcript_can_be_streamed(way: str) -> None:
    frames = b"".join(
        b"data:" + json.dumps({"output": {"choices": [{"message": {"content": [{"text": text}]}}]}}).encode() + b"\n\n"
        for text in ("Hello ", "Alice.")
    )
    data = events(frames)

    async def main() -> None:
        async with (
            Native({MULTIMODAL: data if way == "whole" else by_byte(data)}) as native,
            translator(native) as house,
        ):
            answered = await transcribe(house, stream="true")
            *deltas, done = answered.events()
            assert [delta["delta"] for delta in deltas] == ["Hello ", "Alice."]
            assert (done["type"], done["text"]) == ("transcript.text.done", "Hello Alice.")
            assert native.received[0].get("x-dashscope-sse") == "enable"

    run(main)


BAD_UPLOADS = [
    ("no file", form({"model": "whisper-1"}), 400, "file"),
    ("an empty file", form({"model": "whisper-1"}, ("file", "a.wav", "audio/wav", b"")), 400, "file"),
    ("no model", form({}, RECORDING), 400, "model"),
    ("a model that cannot hear", form({"model": "qwen-max"}, RECORDING), 400, "model"),
    ("a large file", form({"model": "qwen3-asr-flash"}, ("file", "a.wav", "audio/wav", bytes(9 << 20))), 413, "file"),
    ("a huge file", form({"model": "qwen3-asr-flash"}, ("file", "a.wav", "audio/wav", bytes(20 << 20))), 413, "file"),
    ("no form", (b"{}", "application/json"), 400, None),
]


@pytest.mark.parametrize("case", BAD_UPLOADS, ids=lambda case: case[0])
def test_uploads_that_are_none_are_refused(case: tuple[str, tuple[bytes, str], int, str | None]) -> None:
    _, (body, content_type), status, param = case

    async def main() -> None:
        async with Native({}) as native, translator(native) as house:
            answered = await house.post(TRANSCRIPTIONS, body, content_type=content_type)
            assert (answered.status, answered.json()["error"]["param"]) == (status, param)
            assert native.received == []

    run(main)


def test_translations_are_not_offered() -> None:
    async def main() -> None:
        async with Native({}) as native, translator(native) as house:
            body, content_type = form({"model": "whisper-1"}, RECORDING)
            answered = await house.post("/v1/audio/translations", body, content_type=content_type)
            assert (answered.status, answered.json()["error"]["code"]) == (400, "unsupported_endpoint")

    run(main)


def test_a_client_that_leaves_while_it_uploads_starts_no_call() -> None:
    async def main() -> None:
        async with Native({}) as native, translator(native) as house, house.client() as client:
            fields = f"authorization: Bearer {KEY}\r\ncontent-type: multipart/form-data; boundary=xyz\r\n"
            client.writer.write(
                f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: x\r\n{fields}content-length: 99\r\n\r\n--xy".encode()
            )
            await until(lambda: bool(house.server.connections))
            await asyncio.sleep(0.02)
            client.leave()
            await until(lambda: not house.server.connections)
            assert native.connections == []

    run(main)
