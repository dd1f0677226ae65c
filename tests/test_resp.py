"""RESP2: what it reads at every split, and what it refuses."""

from __future__ import annotations

import random

import pytest

from protocol.team.stores.resp import (
    MOST_DEPTH,
    MOST_ITEMS,
    MOST_LINE_BYTES,
    MOST_REPLY_BYTES,
    NEED_DATA,
    RespBroke,
    RespError,
    RespReader,
    encode_command,
)  # fmt: skip

CASES = [
    (b"+OK\r\n", b"OK"),
    (b"+\r\n", b""),
    (b"-NOSCRIPT No matching script.\r\n", RespError("NOSCRIPT")),
    (b"-ERR\r\n", RespError("ERR")),
    (b":0\r\n", 0),
    (b":-9007199254740993\r\n", -9007199254740993),
    (b"$5\r\nhello\r\n", b"hello"),
    (b"$4\r\n\r\n\r\n\r\n", b"\r\n\r\n"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"*2\r\n:1\r\n$1\r\na\r\n", [1, b"a"]),
    (b"*3\r\n*0\r\n*1\r\n:5\r\n-ERR x\r\n", [[], [5], RespError("ERR")]),
    (b"*1\r\n" * MOST_DEPTH + b":1\r\n", [[[[1]]]]),
]

REFUSED = {
    "another kind": b"%1\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "no number": b":1x\r\n",
    "a sign alone": b":-\r\n",
    "a number with spaces": b": 1\r\n",
    "a number without an end": b":" + b"1" * 30 + b"\r\n",
    "a length below null": b"$-2\r\n",
    "more items than asked for": b"*%d\r\n" % (MOST_ITEMS + 1),
    "a longer string": b"$%d\r\n" % (MOST_REPLY_BYTES + 1),
    "a string that goes on": b"$1\r\nab\r\n",
    "a line that goes on": b"+" + b"a" * MOST_LINE_BYTES + b"aa",
    "a long line": b"+" + b"a" * MOST_LINE_BYTES + b"\r\n",
    "depth": b"*1\r\n" * (MOST_DEPTH + 1) + b":1\r\n",
    "many long items": b"*4000\r\n" + (b"$1000\r\n" + b"a" * 1000 + b"\r\n") * 4000,
}


def values(pieces):
    reader, read = RespReader(), []
    for piece in pieces:
        reader.feed(piece)
        while True:
            value = reader.next_value()
            if value is NEED_DATA:
                break
            read.append(value)
    return read


@pytest.mark.parametrize(("data", "value"), CASES)
def test_reads_a_value_at_every_split_and_what_follows_it(data, value):
    assert values([data]) == [value]
    assert values([data[i : i + 1] for i in range(len(data))]) == [value]
    for at in range(len(data)):
        assert values([data[:at], data[at:] + b":7\r\n"]) == [value, 7]
        assert values([data[:at]]) == []


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_refuses_what_nobody_asked_for(data):
    with pytest.raises(RespBroke):
        values([data])
    with pytest.raises(RespBroke):
        values([data[i : i + 997] for i in range(0, len(data), 997)])


def test_commands_are_read_as_arrays_of_their_words():
    assert values([encode_command("SET", "käse", 12, b"\r\n")]) == [[b"SET", "käse".encode(), b"12", b"\r\n"]]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_is_read_or_refused(seed):
    """Values with bytes changed: nothing but RespBroke comes of it, and nothing is kept beyond the limits."""
    chance = random.Random(seed)
    for _ in range(300):
        data = bytearray(b"".join(chance.choice(CASES)[0] for _ in range(chance.randint(1, 4))))
        for _ in range(chance.randint(0, 3)):
            data[chance.randrange(len(data))] = chance.choice(b"\r\n*$:+-0199\0a")
        cut = chance.randrange(len(data))
        try:
            whole = values([bytes(data)])
        except RespBroke:
            with pytest.raises(RespBroke):
                values([bytes(data[:cut]), bytes(data[cut:])])
        else:
            assert values([bytes(data[:cut]), bytes(data[cut:])]) == whole
