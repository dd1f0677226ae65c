"""JSON texts of clients: what is read, what is refused, and what that costs, however long they are.

Python's json is the oracle for values. `parse_json` reads most texts with it and the long ones by itself, so both are
asked here.
"""

from __future__ import annotations

import asyncio
import json
from random import Random

import pytest

from protocol.budget import work_with_pauses
from protocol.errors import ApiError
from protocol.turns import in_turns
from protocol.wire.json_text import json_lines, parse_json
from protocol.wire.long_json import (
    MOST_CHARACTERS,
    MOST_DEPTH,
    MOST_DIGITS,
    MOST_VALUES,
    BadJson,
    is_wide,
    parse_long_json,
)

WINDOW = 65536


def refusal(body):
    """Return how the body of a request is refused."""
    with pytest.raises(ApiError) as raised:
        parse_json(body)
    assert raised.value.status == 400
    assert raised.value.code == "invalid_json"
    words = raised.value.message.partition("your request: ")[2]
    assert words.endswith(".")
    return words[:-1]


# ---- values -----------------------------------------------------------------------------------------------------

TEXTS = [
    "{}", "[]", '""', "0", "-0", "true", "false", "null", "1.5", "-1e5", "1E+2", "0.0", "12345678901234567890",
    ' {"a" : [ 1 , 2 ] } ', '\n\t\r [\n]\r\n', '{"":{}}', '{"a":1,"a":2}', '[[],{},[{}]]', '["\\n\\u0041\\"\\\\\\/"]',
    '["\\ud83d\\ude00", "\\ud83d", "\\ude00\\ud83d"]', '["é你😀"]', '{"é":"\\u00e9"}', '{"\\n":1,"\\n":2}',
    '["\u2028\x7f"]', "[1,[2,[3,[4,[5,[6]]]]]]",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_reads_what_pythons_json_reads(text):
    body = text.encode("utf-8", "surrogatepass")
    assert parse_long_json(body) == json.loads(text)
    assert parse_json(body) == json.loads(text)


def any_value(random, depth):
    kind = random.randrange(9 if depth else 6)
    if kind == 0:
        return random.choice([None, True, False, 0, -1, 1.5, 1e300, 10**30])
    if kind < 3:
        return random.randrange(-(10 ** random.randrange(1, 12)), 10**6)
    if kind < 6:
        letters = random.choice(["ab", 'a"\\', "a\n\x01", "é€", "a😀", "\ud83d\ude00a"])
        return "".join(random.choice(letters) for _ in range(random.choice([0, 1, 5, 300])))
    if kind < 7:
        return [any_value(random, depth - 1) for _ in range(random.randrange(6))]
    return {any_value(random, 0).__repr__(): any_value(random, depth - 1) for _ in range(random.randrange(6))}


@pytest.mark.parametrize("seed", range(300))
def test_reads_any_value_as_pythons_json_does(seed):
    random = Random(seed)
    text = json.dumps(
        any_value(random, 5), ensure_ascii=random.random() < 0.5, indent=random.choice([None, 1]),
    )  # fmt: skip
    body = text.encode("utf-8", "backslashreplace")
    expected = json.loads(body)
    assert parse_long_json(body) == expected
    assert type(parse_long_json(body)) is type(expected)


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "\\u4f60",
        "\\ud83d\\ude00",
        "\\ud83d",
        "\\ude00",
        "\\ud83d\\ud83d\\ude00",
        "\\\\",
        '\\"',
        "\\n",
        "é",
        "你",
        "😀",
    ]
    + ["\\\\u1234", "\\\\\\u4f60", "\\\\ud83d\\ude00", "\\ud83dé\\ude00"],
)
def test_a_long_string_is_the_same_wherever_its_windows_end(piece):
    # The first window begins behind the quote.
    for before in range(WINDOW - 14 - len(piece.encode()), WINDOW + 2):
        text = f'["{"x" * before}{piece}{piece}yz", 1]'
        assert parse_long_json(text.encode()) == json.loads(text), before


@pytest.mark.parametrize("piece", ["\\u4f60", "\\ud83d\\ude00", "\\\\", "你", "😀", "é", '\\"'])
def test_a_long_string_of_one_piece_over_and_over_is_the_same(piece):
    text = f'{{"a": "{piece * (3 * WINDOW // len(piece.encode()))}"}}'
    assert parse_long_json(text.encode()) == json.loads(text)


def test_names_that_come_often_are_one_string():
    value = parse_long_json(b"[" + b",".join([b'{"a name":[[[[1]]]]}'] * 3) + b"]")
    names = [next(iter(member)) for member in value]
    assert names[0] is names[1] is names[2]


# ---- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "expected a value at byte 0, but came its end"),
        (b"[1,", "expected a value at byte 3, but came its end"),
        (b"[1 2]", "expected ',' or ']' at byte 3, but came '2]'"),
        (b"[1,]", "expected a value at byte 3, but came ']'"),
        (b"{1:2}", "expected a member's name in quotes at byte 1, but came '1:2}'"),
        (b'{"a" 2}', "expected ':' at byte 5, but came '2}'"),
        (b'{"a":2,}', "expected a member's name in quotes at byte 7, but came '}'"),
        (b'{"a":2]', "expected ',' or '}' at byte 6, but came ']'"),
        (b"[1] x", "expected nothing more at byte 4, but came 'x'"),
        (b"[01]", "expected ',' or ']' at byte 2, but came '1]'"),
        (b"[.5]", "expected a value at byte 1, but came '.5]'"),
        (b"[+1]", "expected a value at byte 1, but came '+1]'"),
        (b"[tru]", "expected a value at byte 1, but came 'tru]'"),
        (b"[NaN]", "NaN is not a JSON number"),
        (b"[-Infinity]", "-Infinity is not a JSON number"),
        (b'["a', "a string has no closing quote"),
        (b'["a\\', "a string has no closing quote"),
        (b'["a\x01"]', "Invalid control character at in the string at byte 2, character 2"),
        (b'["\\x"]', "Invalid \\escape in the string at byte 2, character 1"),
        (b'["\\ud83"]', "Invalid \\uXXXX escape in the string at byte 2, character 2"),
        (b'["a\xff"]', "it is not UTF-8 at byte 3"),
        (b'{"a\xff":1}', "it is not UTF-8 at byte 3"),
        (b"\xef\xbb\xbf[]", "expected a value at byte 0, but came '\\xef\\xbb\\xbf[]'"),
    ],
)
def test_says_where_a_long_text_is_no_json(text, reason):
    with pytest.raises(BadJson) as raised:
        parse_long_json(text)
    assert str(raised.value) == reason
    with pytest.raises(ValueError):
        json.loads(text.decode("utf-8"), parse_constant=int)


def test_a_broken_long_body_is_refused_as_a_short_one_is():
    assert refusal(b"[" + b"[]," * 30_000) == "expected a value at byte 90001, but came its end"
    assert refusal(b"[[],") == "Expecting value: line 1 column 5 (char 4)"
    assert refusal(b"") == "it is empty"
    assert refusal(b"NaN") == "NaN is not a JSON number"


def nested(depth, kind, padding=b""):
    opening, closing = {"[": (b"[", b"]"), "{": (b'{"a":', b"}")}[kind]
    return opening * depth + b"1" + closing * depth + padding


@pytest.mark.parametrize("kind", ["[", "{"])
@pytest.mark.parametrize("padding", [b"", b" " * 400, b" " * (2 << 20)])
def test_a_hundred_values_within_each_other_are_read_and_no_more(kind, padding):
    parse_json(nested(MOST_DEPTH, kind, padding))
    for depth in (MOST_DEPTH + 1, 5_000, 30_000):
        assert refusal(nested(depth, kind, padding)) == "it is nested more than 100 deep"


def test_many_values_beside_each_other_are_not_deep():
    parse_json(b"[" + b'[{"a":["]"]}],' * 500 + b"1]")
    parse_json(b'["' + b"[" * 500 + b'"]')
    parse_json(b'["\\\\", "\\"' + b"[" * 500 + b'"]')


def test_a_text_that_breaks_off_is_not_called_deep():
    assert refusal(b"[" + b"[]," * 200).startswith("Expecting value")


@pytest.mark.parametrize(
    ("element", "count"),
    [
        (b"0", 1), (b"[]", 1), (b"{ }", 1), (b"[0]", 2), (b'["a"]', 2), (b'{"a": [1, 2, {}]}', 5), (b'"[1,2,{}]"', 1),
        (b'"\\",[1"', 1), (b'["\\\\", 1]', 3), (b"[[[[[[]]]]]]", 6), (b'{"a": {"b": {"c": {"d": [5, 6]}}}}', 7),
    ],
)  # fmt: skip
def test_values_are_counted_wherever_they_stand(element, count):
    text = b"[" + b",".join([element] * 100) + b"]"
    assert len(parse_long_json(text, 100 * count + 1)) == 100  # the array counts, too
    with pytest.raises(BadJson) as raised:
        parse_long_json(text, 100 * count)
    assert str(raised.value) == f"it has more than {100 * count} values, members and elements counted"


def test_a_body_may_have_400_000_values():
    assert len(parse_json(b"[" + b"0," * (MOST_VALUES - 2) + b"0]")) == MOST_VALUES - 1
    assert refusal(b"[" + b"0," * (MOST_VALUES - 1) + b"0]") == (
        "it has more than 400000 values, members and elements counted"
    )


@pytest.mark.parametrize("text", [b"[],", b"{},", b'{"a":1},', b'"",', b"1,", b"[[1]],"])
def test_tens_of_megabytes_of_values_are_refused_before_they_are_built(text):
    body = b"[" + text * (20_000_000 // len(text)) + b"1]"
    assert refusal(body) == "it has more than 400000 values, members and elements counted"


@pytest.mark.parametrize("padding", [b"", b" " * (2 << 20)])
@pytest.mark.parametrize("sign", [b"", b"-"])
def test_a_number_of_too_many_digits_is_refused_in_our_words(sign, padding):
    reason = refusal(b'{"seed": ' + sign + b"9" * 5000 + b"}" + padding)
    assert reason.startswith(f"it has a {'number' if padding else 'whole number'} of more than 4300 digits")
    assert "sys." not in reason
    assert parse_json(b"[" + sign + b"9" * (MOST_DIGITS - 1) + b"]" + padding) == [int(sign + b"9" * (MOST_DIGITS - 1))]


def test_a_string_that_python_would_copy_for_long_is_refused():
    text = b'["' + b"x" * MOST_CHARACTERS
    assert len(parse_json(text + b'x"]')[0]) == MOST_CHARACTERS + 1
    assert len(parse_json(b'["' + b"x" * (MOST_CHARACTERS - 1) + "é".encode() + b'"]')[0]) == MOST_CHARACTERS
    assert refusal(text + "é".encode() + b'"]') == (
        "it has a string of more than 10485760 characters that are not all ASCII"
    )


# ---- lines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"a",
        b"a\n",
        b"a\nb",
        b"\n\n a \r\n\t\nb\r\n\n",
        b"a" + b"\n" * 200_000 + b"b\n",
        b" " * 200_000 + b"a",
    ],
    ids=range(8),
)
def test_lines_that_are_not_blank_have_their_numbers(text):
    expected = [(number, line.strip()) for number, line in enumerate(text.split(b"\n"), 1) if line.strip()]
    assert [(number, line.strip()) for number, line in json_lines(text)] == expected


# ---- turns ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "turns"),
    [
        (b'{"image": "' + b"QUJD" * 5_000_000 + b'"}', 30),
        (b'{"image": "' + b"\\u00e9" * 1_000_000 + b'"}', 10),
        (b"[" + b"[]," * 200_000 + b"1]", 20),
        (b"[" + b"[[[[]]]]," * 20_000 + b"1]", 60),
        (b"[1" + b" " * 20_000_000 + b"]", 60),
    ],
    ids=["one string", "escapes", "values", "nests", "spaces"],
)
def test_others_have_their_turns_while_a_long_text_is_read(body, turns):
    async def rounds():
        count = 0
        work = asyncio.ensure_future(in_turns(lambda: parse_json(body)))
        while not work.done():
            await asyncio.sleep(0)
            count += 1
        return count

    assert turns <= asyncio.run(rounds()) <= 20 * turns


def test_what_is_nested_too_deeply_for_pieces_is_charged_for_what_it_takes():
    nested: object = "s"
    for _ in range(9):
        nested = {"a": nested, "b": {"c": [nested, nested]}}
    text = json.dumps(nested).encode()
    pauses = 0

    def pause() -> None:
        nonlocal pauses
        pauses += 1

    work_with_pauses(pause, lambda: parse_long_json(text))
    assert pauses > 60  # of 40,000 values about half are read by themselves


@pytest.mark.parametrize(
    ("text", "is_it"),
    [
        ("plain", False), ("caf\u00e9 \u4e2d\u6587 \uffff", False), ("a\U00010000", True), ("\u4e2d\U0001f600b", True),
        ("\U000fffff", True), ("\U0010ffff", True), (r"\u4e2d\n", False), (r"\ud83d\ude00", True), (r"\uDBFF\uDFFF", True),
        (r"\ud7ff \udc00", False), (r"\\ud", False), (r"\u", False),
    ],
)  # fmt: skip
def test_what_is_beyond_the_bmp_is_seen_raw_or_escaped(text: str, is_it: bool) -> None:
    assert is_wide(f'["{text}"]'.encode("utf-8", "surrogatepass")) is is_it
