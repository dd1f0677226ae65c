"""The files that the native mock's answers name by URL: pictures, videos, sound and transcripts.

Nothing is stored. A file's name says all about it, so it is made anew whenever it is fetched.
"""

from __future__ import annotations

import re

from protocol.exchange import Answer, Request, Response
from protocol.mock.dashscope.refusals import refusal
from protocol.mock.dashscope.service_call import last_segment, query_of
from protocol.mock.media.gallery import kept_picture
from protocol.mock.media.movie import movie_file
from protocol.mock.media.picture import PICTURE_MOST_SIDE
from protocol.mock.media.sound import SpokenSound
from protocol.openai.answers import JSON_FIELDS, split_words
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject, encode_json

#: The most words that a sound has.
MOST_SPOKEN_WORDS = 2000

_FILE_FIELDS = {
    "png": encode_fields([("content-type", "image/png")]),
    "mp4": encode_fields([("content-type", "video/mp4")]),
    "wav": encode_fields([("content-type", "audio/wav")]),
    "pcm": encode_fields([("content-type", "audio/pcm")]),
    "mp3": encode_fields([("content-type", "audio/mpeg")]),
}


def serve_file(request: Request, spoken: str) -> Answer:
    """Answer with a file that an earlier answer named; `spoken` is the text of transcripts."""
    name = last_segment(request.path)
    picture = re.fullmatch(r"(\d{2,4})x(\d{2,4})-([0-9a-f]{8})\.png", name)
    if picture and max(int(picture[1]), int(picture[2])) <= PICTURE_MOST_SIDE:
        text = query_of(request).get("text", "")
        return _picture(text, int(picture[1]), int(picture[2]), int(picture[3], 16))
    video = re.fullmatch(r"(\d{2,4})x(\d{2,4})-(\d{1,2})-([0-9a-f]{8})\.mp4", name)
    if video and max(int(video[1]), int(video[2])) <= PICTURE_MOST_SIDE and int(video[3]):
        return _video(int(video[1]), int(video[2]), int(video[3]), int(video[4], 16))
    sound = re.fullmatch(r"(\d{1,4})-([0-9a-f]{8})\.(wav|pcm|mp3)", name)
    if sound and int(sound[1]) <= MOST_SPOKEN_WORDS:
        file = SpokenSound(int(sound[1]), sound[3], seed=int(sound[2], 16)).file()
        return Response(200, _FILE_FIELDS[sound[3]], file)
    if re.fullmatch(r"[0-9a-f]{8}\.json", name):
        return Response(200, JSON_FIELDS, encode_json(_transcript(spoken)))
    raise refusal("NotFound", "There is no such file.")


async def _picture(text: str, width: int, height: int, seed: int) -> Response:
    return Response(200, _FILE_FIELDS["png"], await kept_picture(text, width, height, seed=seed))


async def _video(width: int, height: int, seconds: int, seed: int) -> Response:
    picture = await kept_picture("", width, height, seed=seed)
    return Response(200, _FILE_FIELDS["mp4"], movie_file(picture, width, height, seconds))


def _transcript(text: str) -> JsonObject:
    """Return the file that a transcription leads to: one channel, one sentence."""
    words = split_words(text)
    end = 200 * len(words)
    timed = [
        {"begin_time": 200 * at, "end_time": 200 * (at + 1), "text": word.strip(), "punctuation": ""}
        for at, word in enumerate(words)
    ]
    sentence = {
        "sentence_id": 0, "begin_time": 0, "end_time": end, "language": "en", "emotion": "neutral", "text": text,
        "words": timed,
    }  # fmt: skip
    return {
        "properties": {"audio_format": "pcm_s16le", "channels": [0], "original_duration_in_milliseconds": end},
        "transcripts": [{"channel_id": 0, "text": text, "sentences": [sentence]}],
    }
