"""Pictures and videos: the native endpoints that paint and film, each with answers in a shape of its own.

Source: DashScope API reference, "Wanx", "Qwen-Image".
"""

from __future__ import annotations

import re
import typing

from protocol.exchange import Answer
from protocol.mock.dashscope.refusals import bad_parameter
from protocol.mock.dashscope.service_call import ServiceCall
from protocol.mock.dashscope.task_endpoints import TaskEndpoints
from protocol.mock.served_files import mock_file_url
from protocol.wire.json_text import JsonObject

_SIZE = r"([1-9]\d{1,3})\*([1-9]\d{1,3})"
_LEAST_SIDE, _MOST_SIDE = 64, 4096
_CLASSES = {"1K": (1024, 1024), "2K": (2048, 2048), "4K": (4096, 4096)}
_MOST_IMAGES = 6
_MOST_IMAGES_OF_A_SEQUENCE = 12
_MOST_SECONDS = 15


class PictureEndpoints:
    """Answers with URLs of pictures, which are painted when they are fetched."""

    def __init__(self, tasks: TaskEndpoints, random_bits: typing.Callable[[int], int]) -> None:
        self._tasks = tasks
        self._random_bits = random_bits

    def paint(self, call: ServiceCall) -> Answer:
        """Answer a prompt: the results are the URLs of pictures."""
        prompt = call.input.get("prompt")
        if (type(prompt) is not str or not prompt) and "image2image" not in call.request.path:
            raise bad_parameter("Field required: input.prompt")
        urls, usage = self._pictures(call)
        results: list[JsonObject] = [{"url": url} for url in urls]
        for result in results if type(prompt) is str else []:
            result["orig_prompt"] = prompt
            if call.parameters.get("prompt_extend") is not False:
                result["actual_prompt"] = prompt
        return self._tasks.answer(call, len(urls), {"results": results}, usage)

    def paint_messages(self, call: ServiceCall) -> Answer:
        """Answer messages: the reply is a message whose parts are pictures."""
        messages = call.input.get("messages")
        if type(messages) is not list or not messages:
            raise bad_parameter("Field required: input.messages")
        urls, usage = self._pictures(call)
        message = {"role": "assistant", "content": [{"image": url} for url in urls]}
        output = {"choices": [{"finish_reason": "stop", "message": message}]}
        return self._tasks.answer(call, len(urls), output, usage)

    def film(self, call: ServiceCall) -> Answer:
        """Answer a prompt, or pictures to begin with: the result is the URL of a video."""
        if not any(call.input.get(name) for name in ("prompt", "img_url", "media", "first_frame_url")):
            raise bad_parameter("Field required: input.prompt")
        seconds = call.parameters.get("duration", 5)
        if type(seconds) is not int or not 1 <= seconds <= _MOST_SECONDS:
            raise bad_parameter(f"Range of duration should be [1, {_MOST_SECONDS}]")
        width, height = _sides(call.parameters.get("size", "1280*720"))
        url = mock_file_url(call.request, f"{width}x{height}-{seconds}-{self._random_bits(32):08x}.mp4")
        output: JsonObject = {"video_url": url, "orig_prompt": call.input.get("prompt")}
        usage = {"duration": seconds, "video_count": 1, "size": f"{width}*{height}", "SR": min(width, height)}
        return self._tasks.answer(call, 1, output, usage)

    def _pictures(self, call: ServiceCall) -> tuple[list[str], JsonObject]:
        """Return the URLs of the pictures that a call asks for, and the usage."""
        count = call.parameters.get("n", 1)
        most = _MOST_IMAGES_OF_A_SEQUENCE if call.parameters.get("enable_sequential") is True else _MOST_IMAGES
        if type(count) is not int or not 1 <= count <= most:
            raise bad_parameter(f"Range of n should be [1, {most}]")
        width, height = _sides(call.parameters.get("size", "1024*1024"))
        seed = call.parameters.get("seed")
        first = seed if type(seed) is int else self._random_bits(32)
        urls = [
            mock_file_url(call.request, f"{width}x{height}-{(first + number) & 0xFFFFFFFF:08x}.png")
            for number in range(count)
        ]
        return urls, {"image_count": count, "width": width, "height": height}


def _sides(size: typing.Any) -> tuple[int, int]:
    """Return width and height for a size, or for a class of sizes; ApiError."""
    sides = re.fullmatch(_SIZE, size) if type(size) is str else None
    width, height = (int(sides[1]), int(sides[2])) if sides else _CLASSES.get(str(size), (0, 0))
    if not all(_LEAST_SIDE <= side <= _MOST_SIDE for side in (width, height)):
        expected = f"width*height, each side from {_LEAST_SIDE} to {_MOST_SIDE}, e.g. 1024*1024, or 1K, 2K, 4K"
        raise bad_parameter(f"size should be {expected}")
    return width, height
