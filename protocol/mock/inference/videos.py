"""Videos: queued, in progress, completed; then a real file of the right size and length, of one picture that stays.

The file is an MP4 whose frames are one PNG picture with the prompt in it, a frame a second.
Sources: OpenAI API reference, "Videos"; ISO/IEC 14496-12 for the boxes, 14496-1 for the codec's descriptors.
"""

from __future__ import annotations

import re
import struct
import typing

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.engine.resources import Handler
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.media.picture import picture_file
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject

_MODEL = "sora-2"
_SECONDS = "4"
_SIZE = "720x1280"
_KEPT_SECONDS = 24 * 3600
_SIZE_TEXT = re.compile(r"(\d{1,4})x(\d{1,4})")
# Shares of the time in progress after which the progress, in percent, is told.
_PROGRESS = (10, 25, 50, 75, 90)

# What can be downloaded of a video: format and media type.
_VARIANTS = {
    "video": ("mp4", "video/mp4"),
    "thumbnail": ("webp", "image/webp"),
    "spritesheet": ("jpeg", "image/jpeg"),
}


class Videos:
    """Makes videos, from prompts and from other videos."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            "POST /videos": self.create,
            "POST /videos/edits": self.edit,
            "POST /videos/extensions": self.extend,
            "POST /videos/{video_id}/remix": self.remix,
            "GET /videos/{video_id}/content": self.content,
        }

    def create(self, call: Call) -> JsonObject:
        """Begin a video."""
        return self._begin(call, {})

    def edit(self, call: Call) -> JsonObject:
        """Begin a video that changes another, which is uploaded or was made here."""
        source = self._source(call)
        return self._begin(call, {name: source[name] for name in ("model", "seconds", "size") if name in source})

    def extend(self, call: Call) -> JsonObject:
        """Begin a video that goes on where another ends."""
        source = self._source(call)
        known = {name: source[name] for name in ("model", "size") if name in source}
        seconds = _seconds(source.get("seconds", "0")) + _seconds(call.body.get("seconds"))
        return self._begin(call, {**known, "seconds": str(seconds)})

    def remix(self, call: Call) -> JsonObject:
        """Begin a video that was made here once more, with another prompt."""
        source = self._finished(call, call.names["video_id"])
        known = {name: source.object[name] for name in ("model", "seconds", "size")}
        return self._begin(call, {**known, "remixed_from_video_id": source.id})

    def _source(self, call: Call) -> JsonObject:
        asked = call.body.get("video")
        if isinstance(asked, dict) and isinstance(asked.get("id"), str):
            return self._finished(call, asked["id"]).object
        return {}

    def _finished(self, call: Call, id: str) -> Record:
        record = self._world.find("/videos", id)
        if record.object.get("status") != "completed" and not record.is_invented:
            raise ApiError(
                400, f"Video '{id[:100]}' is not completed: its status is '{record.object.get('status')}'.",
                param="video", code="video_not_completed",
            )  # fmt: skip
        return record

    def _begin(self, call: Call, known: JsonObject) -> JsonObject:
        world, body = self._world, call.body
        made = {
            "id": world.new_id("video_"),
            "model": body.get("model") or _MODEL,
            "prompt": body.get("prompt"),
            "seconds": str(body.get("seconds") or _SECONDS),
            "size": body.get("size") or _SIZE,
            "progress": 0,
            "completed_at": None,
            "expires_at": None,
            "error": None,
            "remixed_from_video_id": None,
            **known,
        }
        record = world.store.add("/videos", made["id"], world.make("Video", made))
        stages = world.reference.operation("POST /videos").stages
        world.live(record, stages)
        self._plan_progress(record)
        return record.object

    def _plan_progress(self, record: Record) -> None:
        """Put what is told of the progress between the stages of the life cycle."""
        (begin, start), (end, finish) = record.plan
        steps = [
            (begin + (end - begin) * share / 100, lambda record, share=share: record.object.update(progress=share))
            for share in _PROGRESS
        ]
        record.plan[:] = [(begin, start), *steps, (end, lambda record: self._complete(record, finish))]

    def _complete(self, record: Record, finish: typing.Callable[[Record], None]) -> None:
        finish(record)
        record.object.update(progress=100, expires_at=self._world.now() + _KEPT_SECONDS)

    def content(self, call: Call) -> Response:
        """Answer a video's file, or a picture of it; ApiError 404 until it is completed."""
        record = self._world.find("/videos", call.names["video_id"])
        video = record.object
        if video.get("status") != "completed" and not record.is_invented:
            raise ApiError(404, "Video is not ready yet, use GET /v1/videos/{video_id} to check status.")
        format, media_type = _VARIANTS[call.query.get("variant") or "video"]
        match = _SIZE_TEXT.fullmatch(str(video.get("size")))
        width, height = (int(match[1]), int(match[2])) if match else (720, 1280)
        text = video.get("prompt") or ""
        if format == "mp4":
            data = movie_file(picture_file(text, width, height), width, height, max(1, _seconds(video["seconds"])))
        else:
            data = picture_file(text, width, height, picture_format=format)
        return Response(200, encode_fields([("content-type", media_type)]), data)


def _seconds(value: typing.Any) -> int:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 5 else 0


# ---- the file


def movie_file(png: bytes, width: int, height: int, seconds: int) -> bytes:
    """Return an MP4 file that shows a PNG picture of that size for so many seconds (1 to 9999)."""
    kind = _movie_part(b"ftyp", b"isom", struct.pack(">I", 512), b"isomiso2mp41")
    # The place of the picture depends on the length of what says the place.
    head = kind + _movie_box(png, width, height, seconds, 0)
    head = kind + _movie_box(png, width, height, seconds, len(head) + 8)
    return head + _movie_part(b"mdat", png)


def _movie_part(name: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I4s", len(data) + 8, name) + data


def _movie_full_part(name: bytes, flags: int, *parts: bytes) -> bytes:
    return _movie_part(name, struct.pack(">I", flags), *parts)


_MOVIE_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_MOVIE_TICKS_A_SECOND = 1000


def _movie_box(png: bytes, width: int, height: int, seconds: int, picture_at: int) -> bytes:
    duration = seconds * _MOVIE_TICKS_A_SECOND
    header = _movie_full_part(
        b"mvhd", 0, struct.pack(">IIIIIH10x", 0, 0, _MOVIE_TICKS_A_SECOND, duration, 0x10000, 0x100), _MOVIE_MATRIX,
        bytes(24), struct.pack(">I", 2),
    )  # fmt: skip
    track = _movie_full_part(
        b"tkhd", 3, struct.pack(">IIIII8xhhHH", 0, 0, 1, 0, duration, 0, 0, 0, 0), _MOVIE_MATRIX,
        struct.pack(">II", width << 16, height << 16),
    )  # fmt: skip
    media = _movie_part(
        b"mdia",
        _movie_full_part(b"mdhd", 0, struct.pack(">IIIIHH", 0, 0, _MOVIE_TICKS_A_SECOND, duration, 0x55C4, 0)),
        _movie_full_part(b"hdlr", 0, struct.pack(">I4s12x", 0, b"vide"), b"video\0"),
        _movie_part(
            b"minf",
            _movie_full_part(b"vmhd", 1, bytes(8)),
            _movie_part(b"dinf", _movie_full_part(b"dref", 0, struct.pack(">I", 1), _movie_full_part(b"url ", 1))),
            _movie_sample_table(png, width, height, seconds, picture_at),
        ),
    )
    return _movie_part(b"moov", header, _movie_part(b"trak", track, media))


def _movie_sample_table(png: bytes, width: int, height: int, frames: int, picture_at: int) -> bytes:
    """Return the table of frames: each a chunk of its own, and all at the place of the one picture."""
    entry = _movie_part(
        b"mp4v", struct.pack(">6xH16xHHIIIH32xHh", 1, width, height, 0x480000, 0x480000, 0, 1, 24, -1),
        _movie_picture_codec(len(png)),
    )  # fmt: skip
    return _movie_part(
        b"stbl",
        _movie_full_part(b"stsd", 0, struct.pack(">I", 1), entry),
        _movie_full_part(b"stts", 0, struct.pack(">III", 1, frames, _MOVIE_TICKS_A_SECOND)),
        _movie_full_part(b"stsc", 0, struct.pack(">IIII", 1, 1, 1, 1)),
        _movie_full_part(b"stsz", 0, struct.pack(">II", len(png), frames)),
        _movie_full_part(b"stco", 0, struct.pack(">I", frames), struct.pack(">I", picture_at) * frames),
    )


def _movie_picture_codec(size: int) -> bytes:
    """Return the descriptors that say: visual, and 0x6D, ISO/IEC 15948 (PNG)."""
    bits = size * 8
    codec = struct.pack(">BBBHII", 0x6D, 0x11, size >> 16 & 0xFF, size & 0xFFFF, bits & 0xFFFFFFFF, bits & 0xFFFFFFFF)
    body = struct.pack(">HB", 1, 0) + bytes([4, len(codec)]) + codec + bytes([6, 1, 2])
    return _movie_full_part(b"esds", 0, bytes([3, len(body)]), body)
