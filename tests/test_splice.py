"""The model's place in a JSON body: tables of bodies, and generated ones held against the standard library's parser."""

from __future__ import annotations

import json
import random

import pytest
from steps import assert_grows_in_proportion

from protocol.openai.model_in_json import (
    _plain_model,
    _scanned_models,
    find_model,
    named_models,
    renamed_plainly,
    replace_model,
)

BOM = b"\xef\xbb\xbf"

# (id, body, the model found)
NAMED = [
    ("alone", b'{"model":"a"}', "a"),
    ("first", b'{"model":"a","n":1}', "a"),
    ("last", b'{"n":1,"model":"a"}', "a"),
    ("empty", b'{"model":""}', ""),
    ("space_everywhere", b' \r\n{\t"model" :\n"a" , "n" : 1 }\n', "a"),
    ("byte_order_mark", BOM + b'{"model":"a"}', "a"),
    ("escaped_value", rb'{"model":"a\"b\\\u00e9\ud83d\ude00\/"}', 'a"b\\é😀/'),
    ("utf_8_value", '{"model":"通义"}'.encode(), "通义"),
    ("escaped_name", rb'{"mod\u0065l":"a"}', "a"),
    ("wholly_escaped_name", rb'{"\u006D\u006f\u0064\u0065\u006C":"a"}', "a"),
    ("nested_before", b'{"x":{"model":"b"},"model":"a"}', "a"),
    ("nested_after", b'{"model":"a","x":[{"model":"b"}]}', "a"),
    ("brackets_in_a_string", b'{"x":"}]{[","model":"a"}', "a"),
    ("quote_in_a_string", rb'{"x":"\",\"model\":\"b","model":"a"}', "a"),
    ("string_ends_with_a_backslash", rb'{"x":"b\\","model":"a"}', "a"),
    ("name_ends_with_a_backslash", rb'{"model\\":"b","model":"a"}', "a"),
    ("name_is_a_value", b'{"object":"model","model":"a"}', "a"),
    ("longer_names", b'{"models":"b","mode":"c","xmodel":"d","model":"a"}', "a"),
    ("twice_takes_the_last", b'{"model":"b","model":"a"}', "a"),
    ("twice_once_escaped", rb'{"model":"b","mod\u0065l":"a"}', "a"),
    ("another_case_is_another_name", b'{"model":"a","Model":"b"}', "a"),
    ("deep_nests", b'{"x":' + b"[" * 9999 + b"]" * 9999 + b',"model":"a"}', "a"),
    ("empty_nests", b'{"x":[],"y":{},"model":"a"}', "a"),
    ("many_members", b"{" + b'"x":[1,{"a":"b"}],' * 999 + b'"model":"a"}', "a"),
    ("constants", b'{"x":NaN,"y":-Infinity,"z":null,"model":"a"}', "a"),
    ("what_follows_the_object_is_not_looked_at", b'{"model":"a"} trailing', "a"),
]

NOT_NAMED = [
    ("empty_object", b"{}"),
    ("empty_object_with_space", b" { } "),
    ("no_model", b'{"n":1}'),
    ("only_nested", b'{"x":{"model":"a"}}'),
    ("only_in_another_case", b'{"Model":"a"}'),
    ("number", b'{"model":1}'),
    ("null", b'{"model":null}'),
    ("object", b'{"model":{"model":"a"}}'),
    ("deep_array", b'{"model":' + b"[" * 99999 + b"]" * 99999 + b"}"),
    ("long_number", b'{"model":' + b"1" * 9999 + b"}"),
    ("the_last_is_no_string", b'{"model":"a","model":null}'),
    ("wrong_escape", rb'{"model":"\x"}'),
    ("not_utf_8", b'{"model":"\xff"}'),
    ("control_character", b'{"model":"\n"}'),
]

NO_OBJECTS = [
    ("nothing", b""),
    ("space", b" \n"),
    ("array", b'[{"model":"a"}]'),
    ("string", b'"model"'),
    ("text", b"model=a"),
    ("utf_16", '{"model":"a"}'.encode("utf-16")),
    ("two_byte_order_marks", BOM + BOM + b'{"model":"a"}'),
    ("no_name", b'{:"a"}'),
    ("bare_name", b'{model:"a"}'),
    ("single_quotes", b"{'model':'a'}"),
    ("comment", b'{/* " */"model":"a"}'),
    ("no_colon", b'{"model" "a"}'),
    ("no_value", b'{"model":}'),
    ("no_value_behind_another", b'{"n":1,"model":,"x":2}'),
    ("no_comma", b'{"model":"a" "n":1}'),
    ("two_commas", b'{"model":"a",,"n":1}'),
    ("leading_comma", b'{,"model":"a"}'),
    ("semicolon", b'{"model":"a";"n":1}'),
    ("closed_by_the_wrong_bracket", b'{"model":"a"]'),
    ("unknown_space", b'{\x0b"model":"a"}'),
    ("ends_with_a_backslash", b'{"model":"a\\'),
    ("ends_with_an_escaped_quote", b'{"model":"a\\"'),
    ("more_than_ten_thousand_models", b"{" + b'"model":"a",' * 10_001 + b'"a":1}'),
]


def cases(table: list) -> object:
    return pytest.mark.parametrize("case", [pytest.param(row[1:], id=row[0]) for row in table])


@cases(NAMED)
def test_finds_the_outermost_model(case: tuple[bytes, str]) -> None:
    body, model = case
    name, start, end = find_model(body)
    assert name == model
    assert json.loads(body[start:end]) == model


@cases(NAMED)
def test_finds_nothing_in_a_body_that_breaks_off(case: tuple[bytes, str]) -> None:
    body = case[0].replace(b" trailing", b"").rstrip()
    step = max(1, len(body) // 200)
    for end in range(0, len(body), step):
        broken_off = body[:end]
        assert find_model(broken_off) is None
        assert replace_model(broken_off, "new") is broken_off


@cases(NOT_NAMED + NO_OBJECTS)
def test_finds_no_model(case: tuple[bytes]) -> None:
    assert find_model(case[0]) is None


@cases(NO_OBJECTS)
def test_what_is_no_object_comes_back_itself(case: tuple[bytes]) -> None:
    assert replace_model(case[0], "new") is case[0]


# (id, body, body with the model "new")
REPLACED = [
    ("string", b'{"n": 1.0e0, "model" : "a" ,"x":[ ]}', b'{"n": 1.0e0, "model" : "new" ,"x":[ ]}'),
    ("number", b'{"model":1.5}', b'{"model":"new"}'),
    ("null", b'{"model":null}', b'{"model":"new"}'),
    ("object", b'{"model":{"model":"a"},"n":1}', b'{"model":"new","n":1}'),
    ("array", b'{"model":[1,"]"],"n":1}', b'{"model":"new","n":1}'),
    ("broken_string", b'{"model":"\xff\\x","n":1}', b'{"model":"new","n":1}'),
    ("each_of_several", b'{"model":"a","n":1,"model":2}', b'{"model":"new","n":1,"model":"new"}'),
    ("an_escaped_name_stays", rb'{"mod\u0065l":"a"}', rb'{"mod\u0065l":"new"}'),
    ("other_cases_too", b'{"model":"a","MODEL":"b"}', b'{"model":"new","MODEL":"new"}'),
    ("other_cases_are_not_enough", rb'{"n":1,"\u004dodel":"b"}', rb'{"model":"new","n":1,"\u004dodel":"new"}'),
    ("nested_ones_stay", b'{"x":{"model":"a"},"model":"b"}', b'{"x":{"model":"a"},"model":"new"}'),
    ("inserted_into_an_empty_object", b" { } ", b' {"model":"new" } '),
    ("inserted_first", b'{\n "n":1}', b'{"model":"new",\n "n":1}'),
    ("inserted_behind_a_byte_order_mark", BOM + b'{"n":1}', BOM + b'{"model":"new","n":1}'),
    ("inserted_beside_a_nested_one", b'{"x":{"model":"a"}}', b'{"model":"new","x":{"model":"a"}}'),
    ("a_comma_too_many_stays", b'{"model":"a",}', b'{"model":"new",}'),
    ("what_follows_the_object_stays", b'{"model":"a"}\n{"model":"b"}', b'{"model":"new"}\n{"model":"b"}'),
]


@cases(REPLACED)
def test_replaces_nothing_but_the_value(case: tuple[bytes, bytes]) -> None:
    body, expected = case
    assert replace_model(body, "new") == expected
    assert replaced_in_place(body) == expected


@cases(NAMED + NOT_NAMED + NO_OBJECTS + REPLACED)
def test_the_short_way_finds_what_the_scan_finds(case: tuple[bytes, ...]) -> None:
    assert named_models(case[0]) == _scanned_models(case[0])


def test_the_short_way_is_for_bodies_as_nearly_all_write_them() -> None:
    usual = b'{"messages":[{"role":"user","content":"a \\"model\\""}],"model":"gpt-4o","stream":true,"max_tokens":5}'
    assert _plain_model(usual) == _scanned_models(usual)[0][:3]
    for other in (
        usual[:-1],
        usual.replace(b"gpt", b"\\u0067pt"),
        usual.replace(b'"stream"', b'"Model"'),
        usual.replace(b"gpt", b"\xe9"),
    ):
        assert _plain_model(other) is None


# What a parser might take for the outermost model, where Python's json and a search for the name might not agree.
MISLEADING = [
    ("escaped_name_beside_a_nested_one", rb'{"x":{"model":"b"},"mod\u0065l":"a"}'),
    ("escaped_name_beside_a_text", rb'{"mod\u0065l":"a","x":["model"]}'),
    ("nested_alone", b'{"x":{"model":"b"}}'),
    ("nested_in_another_case", b'{"model":"a","x":{"Model":"b"}}'),
    ("escaped_in_another_case", rb'{"model":"a","\u004dodel":"b"}'),
    ("in_an_array", b'[{"model":"a"}]'),
    ("number", b'{"model":1}'),
    ("not_json_behind_it", b'{"model":"a","x":}'),
    ("not_json_within", b'{"x":[}],"model":"a"}'),
    ("trailing", b'{"model":"a"} {"model2":1}'),
    ("nested_too_deep_for_the_parser", b'{"x":' + b"[" * 9999 + b"]" * 9999 + b',"model":"a"}'),
    ("longer_than_is_read", b'{"model":"a","x":"' + b"x" * 65536 + b'"}'),
]


@cases(MISLEADING)
def test_the_short_way_leaves_to_the_scan_what_might_mislead_it(case: tuple[bytes]) -> None:
    assert renamed_plainly(case[0], lambda model: "new") is None


def test_the_short_way_asks_for_the_new_name_and_changes_nothing_else() -> None:
    body = b'{"n": 1.0e0, "model" : "a" ,"x":"\\"model\\""}'
    assert renamed_plainly(body, lambda model: model + '"b') == body.replace(b'"a"', rb'"a\"b"')
    assert renamed_plainly(body, lambda model: model) is body


def replaced_in_place(body: bytes) -> bytes:
    """Replace the model where it has been found already, if there is one alone; the short way gives the same."""
    models = named_models(body) or []
    replaced = replace_model(body, "new", *(models if len(models) == 1 else ()))
    assert renamed_plainly(body, lambda model: "new") in (None, replaced)
    return replaced


def test_replacing_by_the_same_model_gives_an_equal_body_that_is_another_object() -> None:
    body = b'{"model":"new"}'
    assert replace_model(body, "new") == body
    assert replace_model(body, "new") is not body


@pytest.mark.parametrize("model", ['a"b', "a\\b", "line\nend", "通义", "\ud800", "😀"])
def test_a_model_of_any_text_is_written_as_json(model: str) -> None:
    assert find_model(replace_model(b'{"n":1}', model))[0] == model


# ---- generated bodies against json.loads --------------------------------------------------------------------------

TEXTS = ['"', "\\", "\\\\", '\\"', "{", "}", "[", "]", ",", ":", "model", '"model":', "é", "😀", "\n", " ", "u0065", ""]


DAMAGE = [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"", b"\xff"]


class Writer:
    """Writes JSON at random: white space, escapes, nesting and repeated names of every kind."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.budget = self.random.choice([5, 30, 300, 3000])

    def space(self) -> str:
        return self.random.choice(["", "", "", " ", "\n", "\t \r\n"])

    def string(self) -> str:
        text = "".join(self.random.choices(TEXTS, k=self.random.choice([0, 1, 2, 5, 60])))
        return json.dumps(text, ensure_ascii=self.random.random() < 0.5)

    def name(self) -> str:
        if self.random.random() < 0.4:
            name = self.random.choice(["model", "model", "Model", "models", "mode"])
            letters = [f"\\u{ord(c):04x}" if self.random.random() < 0.2 else c for c in name]
            return '"' + "".join(letters) + '"'
        return self.string()

    def value(self, depth: int) -> str:
        self.budget -= 1
        kind = self.random.randrange(6) if depth < 30 and self.budget > 0 else self.random.randrange(2)
        if kind == 0:
            return self.random.choice(["0", "-1.5e+30", "true", "false", "null", "1" * 200])
        if kind < 3:
            return self.string()
        if kind == 3:
            return self.object(depth + 1)
        items = [self.value(depth + 1) for _ in range(self.random.choice([0, 1, 3, 20]))]
        return "[" + self.space() + (self.space() + "," + self.space()).join(items) + "]"

    def member(self, depth: int) -> str:
        is_named_model = depth == 0 and self.random.random() < 0.2
        name, value = ('"model"', self.string()) if is_named_model else (self.name(), self.value(depth))
        return name + self.space() + ":" + self.space() + value

    def object(self, depth: int = 0) -> str:
        members = [self.member(depth) for _ in range(self.random.choice([0, 1, 3, 8]))]
        return "{" + self.space() + (self.space() + "," + self.space()).join(members) + self.space() + "}"


class Pairs(list):
    """The members of an object in their order."""


def outermost(body: bytes) -> Pairs:
    return json.loads(body.decode("utf-8-sig"), object_pairs_hook=Pairs)


def model_by_json(body: bytes) -> str | None:
    models = [value for name, value in outermost(body) if name == "model"]
    return models[-1] if models and type(models[-1]) is str else None


def replaced_by_json(body: bytes) -> Pairs:
    pairs = outermost(body)
    replaced = Pairs((name, "new" if name.lower() == "model" else value) for name, value in pairs)
    return replaced if any(name == "model" for name, _ in pairs) else Pairs([("model", "new"), *replaced])


def check_against_json(body: bytes) -> None:
    found = find_model(body)
    assert (found and found[0]) == model_by_json(body)
    if found:
        assert json.loads(body[found[1] : found[2]]) == found[0]
    assert outermost(replace_model(body, "new")) == replaced_by_json(body)
    assert replaced_in_place(body) == replace_model(body, "new")
    assert named_models(body) == _scanned_models(body)


@pytest.mark.parametrize("seed", range(250))
def test_agrees_with_json_on_generated_bodies(seed: int) -> None:
    writer = Writer(seed)
    check_against_json((writer.space() + writer.object() + writer.space()).encode())


def test_generated_bodies_hold_what_is_to_be_tested() -> None:
    bodies = [Writer(seed).object().encode() for seed in range(250)]
    found = [find_model(body) for body in bodies]
    assert sum(model is not None for model in found) > 50
    assert sum(model is None for model in found) > 50
    assert sum(len(body) > 5_000 for body in bodies) > 10


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_json_on_damaged_bodies_that_are_still_json(seed: int) -> None:
    rolls = random.Random(seed)
    whole = Writer(seed).object().encode()[:2000]
    for _ in range(300):
        body = bytearray(whole)
        for _ in range(rolls.randrange(1, 4)):
            at = rolls.randrange(len(body))
            body[at : at + rolls.randrange(2)] = rolls.choice(DAMAGE)
        damaged = bytes(body)
        find_model(damaged)
        replace_model(damaged, "new")
        assert named_models(damaged) == _scanned_models(damaged)
        try:
            is_object = type(outermost(damaged)) is Pairs
        except ValueError:
            continue
        if is_object:
            check_against_json(damaged)


@pytest.mark.parametrize(
    "unit", [r'"\\\\\""', r'"\""', r'"]\\"', '["[",{}]', '[[[[[[[[[["]"]]]]]]]]]]', '{"a":[{},"}"]}']
)
@pytest.mark.parametrize("count", [50, 700, 12000])
def test_no_window_edge_shifts_the_end_of_a_nest(unit: str, count: int) -> None:
    nest = ",".join([unit] * count)
    for pad in range(0, 140, 140 if count > 10000 else 7):
        body = f'{{"x":["{"p" * pad}",{nest}],"model":"a","y":{{"model":[{nest}]}}}}'.encode()
        name, start, end = find_model(body)
        assert (name, body[start - 8 : end]) == ("a", b'"model":"a"')


@pytest.mark.parametrize("text", [r"\"", r"\\", r"\\\"", 'ab\\"', "x" * 50 + r"\n"])
def test_no_window_edge_shifts_the_end_of_a_string(text: str) -> None:
    for count in [*range(1, 300, 7), 65536]:
        body = b'{"x":"' + text.encode() * count + b'","model":"a"}'
        assert find_model(body) == ("a", len(body) - 4, len(body) - 1)


# ---- what it costs ------------------------------------------------------------------------------------------------

# (id, what comes before, what is repeated, what comes after)
HEAVY = [
    ("members", b"{", b'"":0,', b'"a":0}'),
    ("escaped_names", b"{", b'"\\u006d\\"":"\\"",', b'"a":0}'),
    ("small_nests", b"{", b'"":[[[[[0]]]]],', b'"a":0}'),
    ("middle_nests", b"{", b'"":[' + b"[]," * 440 + b"0],", b'"a":0}'),
    ("open_brackets", b'{"a":', b"[", b""),
    ("brackets", b'{"a":[', b"[],", b"0]}"),
    ("mountains", b'{"a":[', b"[0," * 300 + b"0]" * 300 + b",", b"0]}"),
    ("nested_models", b'{"a":[', b'{"model":0},', b"0]}"),
    ("quotes", b'{"a":"', b'\\"', b'"}'),
    ("unfinished_string_of_quotes", b'{"a":"', b'\\"', b""),
    ("backslashes", b'{"a":"', b"\\\\", b"\\"),
    ("spaces", b"{", b" " * 64, b'"a":0}'),
    ("digits", b'{"a":', b"1", b"}"),
    ("unfinished_digits", b'{"a":', b"1", b""),
    ("models", b"{", b'"model":0,', b'"a":0}'),
    ("text", b'{"a":"', b"text", b'"}'),
    ("unfinished_text", b'{"a":"', b"text", b""),
]


@cases(HEAVY)
def test_cost_grows_with_the_length_and_no_faster(case: tuple[bytes, bytes, bytes]) -> None:
    before, unit, after = case

    def find(size: int) -> None:
        find_model(before + unit * (size // len(unit)) + after)

    assert_grows_in_proportion(find, 60_000)
    find(960_000)  # a pattern that goes over the rest again and again would not come to its end
