"""protocol/wire/masking.py: secrets become stars in every place, encoding and split, and nothing else changes."""

from __future__ import annotations

import json
import random
import urllib.parse

import pytest

from protocol.wire.masking import Mask, can_be_masked

PLAIN = "sk-proj-Ab3dEf6hIj9lMn2pQr5t"
STRANGE = 'k/a+b=c"d\\e&f<g>h~i!9'
KEYS = [PLAIN, STRANGE, "abcdefgh", "12345678"]

# How the secret may be written. What an encoder does to each character, by itself or to all.
ENCODINGS = {
    "plain": lambda key: key.encode(),
    "JSON": lambda key: json.dumps(key)[1:-1].encode(),
    "JSON, slashes too": lambda key: json.dumps(key)[1:-1].replace("/", "\\/").encode(),
    "JSON, all escaped": lambda key: "".join(f"\\u{ord(character):04x}" for character in key).encode(),
    "JSON, all escaped, upper case": lambda key: "".join(f"\\u{ord(character):04X}" for character in key).encode(),
    "JSON within JSON": lambda key: json.dumps(json.dumps(key)[1:-1])[1:-1].encode(),
    "JSON, as for HTML": lambda key: (
        json.dumps(key)[1:-1].replace("&", "\\u0026").replace("<", "\\u003c").replace("+", "\\u002B").encode()
    ),
    "URL": lambda key: urllib.parse.quote(key, safe="").encode(),
    "URL, lower case": lambda key: (
        urllib.parse.quote(key, safe="").encode().lower() if key == STRANGE else key.encode()
    ),
    "URL, all escaped": lambda key: "".join(f"%{ord(character):02X}" for character in key).encode(),
    "URL, every other": lambda key: "".join(
        f"%{ord(character):02x}" if number % 2 else character for number, character in enumerate(key)
    ).encode(),
    "HTML": lambda key: (
        key.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;").encode()
    ),
    "HTML, by number": lambda key: "".join(
        f"&#{ord(character)};" if character in '"&<>/' else character for character in key
    ).encode(),
}

# Where it may stand: what is before it, and behind.
PLACES = {
    "alone": (b"", b""),
    "a JSON value": (b'{"error":{"message":"Incorrect API key provided: ', b'. You can find"}}'),
    "the value itself": (b'{"key":"', b'"}'),
    "a member's name": (b'{"', b'":1}'),
    "an event": (b'data: {"a":"', b'"}\n\ndata: [DONE]\n\n'),
    "behind a JSON line end": (b'{"m":"see:\\n', b'\\nthere"}'),
    "behind an escape": (b'{"m":"\\u0022', b'\\u0022"}'),
    "a URL": (b"https://llm.example/v1?key=", b"&b=1"),
    "a URL within a URL": (b"next=%2Fv1%3Fkey%3D", b"%26b%3D1"),
    "HTML": (b"<p>Bearer ", b"</p>"),
    "words": (b"the key ", b" is wrong"),
    "brackets": (b"(", b")"),
    "quotation marks": (b"'", b"'"),
    "other scripts": ("密钥".encode(), "无效".encode()),
    "half a secret before it": (b"sk-pro abcde 1234 ", b""),
}


def pieces_of(text: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.randrange(len(text) + 1) for _ in range(chance.randrange(6)))
    return [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)])]


def streamed(mask: Mask, pieces: list[bytes], *, has_end: bool = True) -> bytes:
    stream = mask.stream(has_end=has_end)
    return b"".join([stream.feed(piece) for piece in pieces]) + stream.close()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", [PLAIN, STRANGE], ids=["plain", "strange"])
def test_a_secret_becomes_stars_in_every_place_and_encoding_however_it_is_split(key, place, encoding):
    before, behind = PLACES[place]
    written = ENCODINGS[encoding](key)
    text = before + written + behind
    expected = before + b"*" * len(written) + behind
    mask = Mask([key])
    assert mask.hide(text) == expected
    chance = random.Random(f"{key}{place}{encoding}")
    cuts = range(len(text) + 1) if place == "alone" else chance.sample(range(len(text)), 8)
    for cut in cuts:
        assert streamed(mask, [text[:cut], text[cut:]]) == expected
        assert_masked(streamed(mask, [text[:cut], text[cut:]], has_end=False), expected, text)
    assert streamed(mask, [text[at : at + 1] for at in range(len(text))]) == expected
    for _ in range(8):
        assert streamed(mask, pieces_of(text, chance)) == expected


def assert_masked(came: bytes, expected: bytes, text: bytes) -> None:
    """Check that all is masked but, where it was split right there, its first characters: they tell nothing."""
    assert len(came) == len(expected)
    if came == expected:
        return
    at = expected.index(b"*" * 8)
    shown = came[at:].split(b"*", 1)[0]
    assert 0 < len(shown) <= 36  # three characters, of which each may have taken twelve bytes
    assert text[at:].startswith(shown) and came == expected[:at] + shown + expected[at + len(shown) :]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("before", "behind"),
    [(b"x", b""), (b"", b"x"), (b"my-", b""), (b"", b"-2"), (b"_", b""), (b"", b"_"), (b"0", b"9")],
)
def test_a_longer_token_is_another_one(key, before, behind):
    if (before and not key[0].isalnum()) or (behind and not key[-1].isalnum()):
        return
    text = b"a " + before + key.encode() + behind + b" b"
    mask = Mask([key])
    assert mask.hide(text) is text
    for cut in range(len(text) + 1):
        assert streamed(mask, [text[:cut], text[cut:]]) == text


@pytest.mark.parametrize("mark", ["...", "…", "***", '"', "", " [cut]"])
@pytest.mark.parametrize("key", [PLAIN, "sk-abc12345", "sk-proj-" + "0123456789abcdefghij" * 2])
def test_the_beginning_of_a_secret_is_masked_from_half_of_it_on_and_at_most_sixteen_characters(key, mark):
    mask = Mask([key])
    fewest = max(8, min(16, len(key) // 2))
    for length in range(1, len(key)):
        text = f"key {key[:length]}{mark}".encode()
        expected = text.replace(key[:length].encode(), b"*" * length) if length >= fewest else text
        assert mask.hide(text) == expected, length
        for cut in (2, 5, 4 + length // 2, 4 + length, len(text)):
            came = streamed(mask, [text[:cut], text[cut:]])
            assert came == expected, (length, cut)


def test_what_waits_is_no_longer_than_the_secret():
    stream = Mask([PLAIN]).stream()
    text = b"x " + PLAIN.encode() + b" y"
    gone = 0
    for at in range(len(text)):
        gone += len(stream.feed(text[at : at + 1]))
        assert at + 1 - gone <= len(PLAIN)


@pytest.mark.parametrize("end", [b"\n\n", b"}", b'"', b" ", b"sk", b"s"])
def test_a_piece_that_ends_an_event_does_not_wait_nor_what_hardly_begins_where_there_is_no_end(end):
    stream = Mask([PLAIN]).stream(has_end=end[:1] != b"s")
    assert stream.feed(b"data: 1" + end) == b"data: 1" + end


def test_what_does_not_hold_the_secret_is_passed_on_as_the_same_object():
    mask = Mask([PLAIN, STRANGE])
    chance = random.Random(1)
    for text in (
        b"data: {}\n\n",
        b"100 %\n",
        b"\\u0041\n",
        b"",
        chance.randbytes(70_000) if hasattr(chance, "randbytes") else b"\0",
    ):
        assert mask.hide(text) is text
    text = b"data: {}\n\n"
    assert mask.stream().feed(text) is text


def test_random_bytes_stay_as_they_are_however_they_are_split():
    chance = random.Random(2)
    mask = Mask([PLAIN])
    alphabet = b'sk-proj-Ab3 \\u0073%73%6B"&#;/\n'
    for _ in range(1000):
        text = bytes(chance.choice(alphabet) for _ in range(chance.randrange(60)))
        if PLAIN[:14].encode() in text:
            continue
        assert streamed(mask, pieces_of(text, chance)) == text


def test_several_secrets_are_masked_and_several_times():
    mask = Mask([PLAIN, "second-secret-1"])
    text = b"%b, second-secret-1, %b." % (PLAIN.encode(), PLAIN.encode())
    assert mask.hide(text) == b"%b, %b, %b." % (b"*" * 28, b"*" * 15, b"*" * 28)
    assert mask.hide_text(f"schlüssel {PLAIN} \ud800") == f"schlüssel {'*' * 28} \ud800"


@pytest.mark.parametrize(
    ("secret", "can"),
    [
        ("null", False), ("key", False), ("x", False), ("1", False), ("-", False), ("", False), ("abcdefg", False),
        ("assistant", False), ("completion", False), ("chat.completion", False), ("application/json", False),
        ("charset=utf-8", False), ("finish_reason", False),
        ("abcdefgh", True), ("12345678", True), ("sk-12345", True), ("no-key-required", True), (PLAIN, True),
        (STRANGE, True),
    ],
)  # fmt: skip
def test_a_secret_that_is_short_or_a_word_of_ordinary_answers_is_not_masked(secret, can):
    assert can_be_masked(secret) is can
