"""Pictures: made, edited and varied. Each is a real file of the asked size with its prompt written in it.

A picture follows from its prompt, its size and a number. A URL has these three, so no picture is kept: any process of
the server makes it again whenever it is fetched.
Source: OpenAI API reference, "Images".
"""

from __future__ import annotations

import binascii
import re
import typing
import urllib.parse

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.answer.spoken import scripted_text
from protocol.mock.engine.resources import Handler
from protocol.mock.engine.world import Call, World
from protocol.mock.inference.image_rules import GPT_IMAGE_MODEL, check_image_request
from protocol.mock.inference.pieces import answer_of_pieces
from protocol.mock.media.gallery import made_picture
from protocol.mock.media.picture import PICTURE_MOST_SIDE, PictureHead, read_picture_head
from protocol.mock.served_files import mock_file_url
from protocol.mock.storage.files import FILES
from protocol.openai.answers import EVENT_STREAM_FIELDS, JSON_FIELDS, event_bytes
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.multipart import FormFile

_CLASSIC_MODEL = "dall-e-2"
# Parameters that only GPT image models have: a request with one of them that names no model wants such a model.
_GPT_IMAGE_PARAMETERS = frozenset(
    "background complexity frame_count frame_duration_ms input_fidelity markup moderation output_compression"
    " output_format partial_images stream svg".split()
)

_SIZE_TEXT = re.compile(r"(\d{2,4})x(\d{2,4})")
_LEAST_SIDE = 16
_USUAL_SIZE = (1024, 1024)
_MOST_IMAGES = 10
_MOST_INPUTS = 16
_MOST_PROMPT = 32_000  # characters; a lenient check lets longer ones in
_MOST_PARTIAL_IMAGES = 3
# The beginning of a PNG of 1024 x 1024 pixels, in the place of a picture that is at a URL.
_UNSEEN_PICTURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x04\0\0\0\x04\0"
# Of a picture in base64 so much is read: its head.
_HEAD_CHARACTERS = 1024 * 1024
_WHOLE_ANSWER_CHARACTERS = 1024 * 1024  # of base64; a larger answer is sent in pieces
_URL_PROMPT = 500  # characters of a prompt in a picture's URL

# Output tokens of 1024 x 1024 pixels; other sizes are in proportion. "standard" and "hd" are DALL-E's names.
_TOKENS = {"low": 272, "medium": 1056, "high": 4160, "xhigh": 4160, "max": 4160}
_QUALITIES = {"standard": "medium", "hd": "high"}
_USUAL_QUALITY = "medium"
# Input tokens of a picture, and of each of its tiles: it is shrunk until its shorter side is one tile of 512 pixels.
_INPUT_PICTURE_TOKENS, _INPUT_TILE_TOKENS = 65, 129


class _Order(typing.NamedTuple):
    """What a request asks: `name` begins the names of events, `n` pictures are wanted, `inputs` were uploaded.

    An input is None where an uploaded file is no picture.
    """

    name: str
    body: JsonObject
    model: str
    prompt: str
    size: tuple[int, int]
    seed: int
    n: int
    inputs: typing.Sequence[PictureHead | None]

    @property
    def is_gpt(self) -> bool:
        return bool(GPT_IMAGE_MODEL.fullmatch(self.model))

    @property
    def format(self) -> str:
        return str(self.body.get("output_format") or "png") if self.is_gpt else "png"

    @property
    def is_transparent(self) -> bool:
        return self.is_gpt and self.body.get("background") == "transparent"

    @property
    def quality(self) -> str:
        asked = str(self.body.get("quality"))
        asked = _QUALITIES.get(asked, asked)
        return asked if asked in _TOKENS else _USUAL_QUALITY

    @property
    def look(self) -> JsonObject:
        """What answers and events of GPT image models tell of all their pictures."""
        return {
            "background": "transparent" if self.is_transparent else "opaque",
            "output_format": self.format,
            "quality": self.quality,
            "size": "{}x{}".format(*self.size),
        }

    async def picture(self, number: int, text: str) -> str:
        """Return the file of one of the pictures in base64, with a text in it."""
        width, height = self.size
        file = await made_picture(
            text, width, height, picture_format=self.format, seed=self.seed + number, transparent=self.is_transparent
        )
        return binascii.b2a_base64(file, newline=False).decode("ascii")

    def usage(self) -> JsonObject:
        """Return the usage; a word of the prompt counts for a token."""
        text = len(self.prompt.split())
        pictures = sum(map(_input_tokens, self.inputs))
        width, height = self.size
        made = self.n * max(1, _TOKENS[self.quality] * width * height // (1024 * 1024))
        return {
            "input_tokens": text + pictures,
            "input_tokens_details": {"image_tokens": pictures, "text_tokens": text},
            "output_tokens": made,
            "output_tokens_details": {"image_tokens": made, "text_tokens": 0},
            "total_tokens": text + pictures + made,
        }


def _unless_scripted(answer: Handler) -> Handler:
    """Return what answers, unless the script has something else for a request."""

    def answer_or_raise(call: Call) -> typing.Any:
        scripted_text(call.request, "images", call.body, call.body.get("prompt"))
        return answer(call)

    return answer_or_raise


class MockImages:
    """The behaviour of /images.

    Under `unknown_ids = invent`, or where requests are not checked, an uploaded file may be anything.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            "POST /images/generations": _unless_scripted(self.generate),
            "POST /images/edits": _unless_scripted(self.edit),
            "POST /images/variations": _unless_scripted(self.vary),
        }

    def generate(self, call: Call) -> typing.Any:
        """Answer POST /v1/images/generations."""
        return self._answer(call, self._order(call, "image_generation", []))

    def edit(self, call: Call) -> typing.Any:
        """Answer POST /v1/images/edits: pictures of the asked size, or else of the first uploaded picture's.

        A form has its pictures in `image`, JSON refers to them in `images`.
        """
        inputs = self._inputs(call, "image" if call.body.get("images") is None else "images")
        self._check_mask(call, inputs)
        return self._answer(call, self._order(call, "image_edit", inputs))

    def vary(self, call: Call) -> typing.Any:
        """Answer POST /v1/images/variations."""
        return self._answer(call, self._order(call, "image_variation", self._inputs(call, "image")))

    # ---- what is asked ------------------------------------------------------------------------------------------

    def _order(self, call: Call, name: str, inputs: typing.Sequence[PictureHead | None]) -> _Order:
        body = call.body
        if not self._world.takes_any_upload:
            check_image_request(body)
        model = body.get("model")
        if type(model) is not str or not model:
            is_gpt = any(body.get(parameter) for parameter in _GPT_IMAGE_PARAMETERS)
            model = "gpt-image-1" if is_gpt else _CLASSIC_MODEL
        prompt, count = body.get("prompt"), body.get("n")
        size = _size(body.get("size"), inputs, is_strict=self._world.settings.validate == "strict")
        return _Order(
            name, body, model, prompt[:_MOST_PROMPT] if type(prompt) is str else "", size,
            self._world.random_bits(32), min(max(1, count), _MOST_IMAGES) if type(count) is int else 1, inputs,
        )  # fmt: skip

    def _inputs(self, call: Call, param: str) -> list[PictureHead | None]:
        """Return the heads of a request's pictures; ApiError 400 for a file that is no picture, and for no file."""
        asked = call.body.get(param)
        files = [self._picture(one, param) for one in (asked[:_MOST_INPUTS] if type(asked) is list else [asked])]
        heads = [read_picture_head(data) for data in files if data is not None]
        if not heads and not self._world.takes_any_upload:
            message = f"Missing required parameter: '{param}'."
            raise ApiError(400, message, param=param, code="missing_required_parameter")
        if None in heads and not self._world.takes_any_upload:
            raise ApiError(
                400, f"Invalid image file or mode for {param} {heads.index(None) + 1}, please check your image file.",
                type="image_generation_user_error", param=param, code="invalid_image_file",
            )  # fmt: skip
        return heads

    def _picture(self, asked: typing.Any, param: str) -> bytes | None:
        """Return the bytes of a form's file, or of the file that JSON names; ApiError 404 for one that is unknown."""
        if isinstance(asked, FormFile):
            return asked.data
        if type(asked) is not dict:
            return None
        if asked.get("file_id") is not None:
            return self._world.find(FILES, str(asked["file_id"]), param=param).content
        head, _, encoded = str(asked.get("image_url") or "").partition(",")
        if not head.startswith("data:"):
            # The mock fetches nothing, so whatever is at a URL passes for a picture.
            return _UNSEEN_PICTURE if head else None
        if len(encoded) > _HEAD_CHARACTERS:
            encoded = "".join(encoded[:_HEAD_CHARACTERS].split())
            encoded = encoded[: len(encoded) // 4 * 4]
        try:
            return binascii.a2b_base64(encoded)
        except binascii.Error:
            return b""

    def _check_mask(self, call: Call, inputs: typing.Sequence[PictureHead | None]) -> None:
        """Check that a mask is a picture as large as the first uploaded one; ApiError 400."""
        if call.body.get("mask") is None or self._world.takes_any_upload:
            return
        mask, first = self._inputs(call, "mask")[0], inputs[0]
        if mask is not None and first is not None and mask[1:] != first[1:]:
            raise ApiError(
                400, "Invalid mask image format - mask size does not match image size.",
                type="image_generation_user_error", param="mask", code="invalid_mask_image_format",
            )  # fmt: skip

    # ---- what is answered ---------------------------------------------------------------------------------------

    async def _answer(self, call: Call, order: _Order) -> typing.Any:
        """Answer with the pictures."""
        if order.is_gpt and call.body.get("stream") is True:
            return await self._stream(order)
        images = []
        for number in range(order.n):
            images.append(await self._image(call, order, number))
            await self._world.sleep(0)
        answer: JsonObject = {"created": self._world.now(), "data": images}
        if order.is_gpt:
            answer.update(**order.look, **_safety_identifier(order.body), usage=order.usage())
        made = self._world.after_words(_in_pieces(answer) if _is_large(images) else answer, order.n)
        return made if isinstance(made, (dict, Response)) else await made

    async def _image(self, call: Call, order: _Order, number: int) -> JsonObject:
        image: JsonObject = {}
        if order.is_gpt or order.body.get("response_format") == "b64_json" or call.request is None:
            image["b64_json"] = await order.picture(number, order.prompt)
            if call.request is not None:
                call.request.hold(len(image["b64_json"]))
        else:
            width, height = order.size
            text = urllib.parse.urlencode({"text": order.prompt[:_URL_PROMPT]}, errors="replace")
            name = f"{width}x{height}-{(order.seed + number) & 0xFFFFFFFF:08x}.png"
            image["url"] = f"{mock_file_url(call.request, name)}?{text}"
        if order.model == "dall-e-3":
            image["revised_prompt"] = order.prompt
        return image

    async def _stream(self, order: _Order) -> Response:
        """Answer with events, each of which is made when the client has taken those before it."""
        events = self._events(order)
        first = await events.__anext__()  # what is wrong with the order is refused before the answer begins
        return Response(200, EVENT_STREAM_FIELDS, self._in_pace(first, events))

    async def _in_pace(self, first: bytes, others: typing.AsyncIterator[bytes]) -> typing.AsyncIterator[bytes]:
        waits = self._world.waits()
        await self._world.sleep(next(waits))
        yield first
        async for event in others:
            await self._world.sleep(next(waits))
            yield event

    async def _events(self, order: _Order) -> typing.AsyncGenerator[bytes, None]:
        """Yield events: for each picture its partial ones, with more and more of the prompt, then the whole."""
        asked = order.body.get("partial_images")
        partial_images = min(max(0, asked), _MOST_PARTIAL_IMAGES) if type(asked) is int else 0
        for number in range(order.n):
            for index in range(partial_images):
                text = order.prompt[: len(order.prompt) * (index + 1) // (partial_images + 1)]
                yield await self._event(order, "partial_image", number, text, {"partial_image_index": index})
            done = {"usage": order._replace(n=1).usage(), **_safety_identifier(order.body)}
            yield await self._event(order, "completed", number, order.prompt, done)

    async def _event(self, order: _Order, kind: str, number: int, text: str, more: JsonObject) -> bytes:
        event = {
            "type": f"{order.name}.{kind}", "b64_json": await order.picture(number, text),
            "created_at": self._world.now(), **order.look, **more,
        }  # fmt: skip
        return event_bytes([event])


def _is_large(images: typing.Sequence[JsonObject]) -> bool:
    return sum(len(image.get("b64_json", "")) for image in images) > _WHOLE_ANSWER_CHARACTERS


def _in_pieces(answer: JsonObject) -> Response:
    """Return the answer with its pictures as pieces: written as one text, they would keep others waiting."""
    pictures = [image["b64_json"].encode("ascii") for image in answer["data"]]
    emptied = {**answer, "data": [{**image, "b64_json": ""} for image in answer["data"]]}
    place = b'"b64_json":"'  # a string cannot look like it: its quotes are escaped
    begin, *rests = encode_json(emptied).split(place)
    pieces = [begin]
    for picture, rest in zip(pictures, rests):
        pieces += (place, picture, rest)
    return answer_of_pieces(JSON_FIELDS, pieces)


def _size(asked: typing.Any, inputs: typing.Sequence[PictureHead | None], *, is_strict: bool) -> tuple[int, int]:
    """Return the asked size, else that of the first uploaded picture; if strict, ApiError 400 for an impossible one."""
    sides = _SIZE_TEXT.fullmatch(asked) if type(asked) is str else None
    size = (int(sides[1]), int(sides[2])) if sides else (0, 0)
    is_possible = all(_LEAST_SIDE <= side <= PICTURE_MOST_SIDE for side in size)
    if asked in (None, "auto") or not (is_strict or is_possible):
        head = next((head for head in inputs if head is not None and min(head[1:]) > 0), None)
        return _USUAL_SIZE if head is None else _shrunk(head.width, head.height)
    if not is_possible:
        expected = f"'auto' or WIDTHxHEIGHT with sides of {_LEAST_SIDE} to {PICTURE_MOST_SIDE} pixels"
        raise ApiError(
            400, f"Invalid value: '{asked!s:.100}'. Expected {expected}, such as '1024x1024'.", param="size",
            code="invalid_value",
        )  # fmt: skip
    return size


def _shrunk(width: int, height: int) -> tuple[int, int]:
    """Return the largest size of the same shape that can be made, or the size itself."""
    longest = max(width, height, PICTURE_MOST_SIDE)
    return max(1, width * PICTURE_MOST_SIDE // longest), max(1, height * PICTURE_MOST_SIDE // longest)


def _input_tokens(head: PictureHead | None) -> int:
    if head is None or min(head[1:]) < 1:
        return _INPUT_PICTURE_TOKENS + _INPUT_TILE_TOKENS
    tiles = -(-max(head[1:]) // min(head[1:]))
    return _INPUT_PICTURE_TOKENS + _INPUT_TILE_TOKENS * tiles


def _safety_identifier(body: JsonObject) -> JsonObject:
    given = body.get("safety_identifier") or body.get("user")
    return {"safety_identifier": given} if type(given) is str else {}
