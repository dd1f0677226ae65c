"""The files that the native mock's answers name by URL: pictures, sound and transcripts.

Nothing is stored. A file's name says all about it, so it is made anew whenever it is fetched.
"""

from __future__ import annotations

import re

from protocol.exchange import Answer, Request, Response
from protocol.mock.dashscope.refusals import refusal
from protocol.mock.dashscope.service_call import last_segment, query_of
from protocol.mock.media.gallery import kept_picture
from protocol.mock.media.picture import PICTURE_MOST_SIDE
from protocol.mock.media.sound import SpokenSound
from protocol.openai.answers import JSON_FIELDS, split_words
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject, encode_json

#: The most words that a sound has.
MOST_SPOKEN_WORDS = 2000

_FILE_FIELDS = {
    "png": encode_fields([("content-type", "image/png")]),
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
    sound = re.fullmatch(r"(\d{1,4})-([0-9a-f]{8})\.(wav|pcm|mp3)", name)
    if sound and int(sound[1]) <= MOST_SPOKEN_WORDS:
        file = SpokenSound(int(sound[1]), sound[3], seed=int(sound[2], 16)).file()
        return Response(200, _FILE_FIELDS[sound[3]], file)
    if re.fullmatch(r"[0-9a-f]{8}\.json", name):
        return Response(200, JSON_FIELDS, encode_json(_transcript(spoken)))
    raise refusal("NotFound", "There is no such file.")


async def _picture(text: str, width: int, height: int, seed: int) -> Response:
    return Response(200, _FILE_FIELDS["png"], await kept_picture(text, width, height, seed=seed))


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
