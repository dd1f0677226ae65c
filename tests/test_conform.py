"""Checks made from shapes: what conforms, and what is said of what does not."""

from __future__ import annotations

import pytest

from protocol.errors import ApiError
from protocol.openai.api.checks import Conformity, check_body
from protocol.openai.api.notation import Shapes, read_shape

SHAPES = {
    "Part": '{type "text", text str}|{type "image", url str, detail? "low"|"high"}',
    "Tree": "{name str, children? [Tree]}",
    "Item": '{type? "message", role "user"|"assistant", content str|[Part]}|{type "call", id str}|{type "call", name str}',
}


def check(shape, value):
    shapes = Shapes(SHAPES)
    check_body(Conformity(shapes).check(read_shape(shape)), value)


def problem(shape, value):
    with pytest.raises(ApiError) as caught:
        check(shape, value)
    assert caught.value.status == 400
    return caught.value.param, caught.value.code, caught.value.message


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("{a str}", {"a": ""}),
        ("{a str}", {"a": "x", "more": 1}),
        ("{a? str}", {}),
        ("{a? str}", {"a": None}),
        ("{a str|null}", {"a": None}),
        ("{a str|null}", {}),
        ("{a num}", {"a": 1}),
        ("{a num 0..2}", {"a": 2.0}),
        ("{a any}", {"a": [1]}),
        ("{a map int}", {"a": {"x": 1, "y": None}}),
        ("{a [int] 1..2}", {"a": [1, 2]}),
        ("{a 1|2}", {"a": 2}),
        ("{a true}", {"a": True}),
        ("{a str 1..3}", {"a": "abc"}),
        ("{a str|[str]}", {"a": ["x"]}),
        ('{a str|"b"}', {"a": "anything"}),
        ("{a [str]|[int]|[[int]]}", {"a": [[1]]}),
        ("{a Part}", {"a": {"type": "image", "url": "u"}}),
        ("{a Tree}", {"a": {"name": "x", "children": [{"name": "y", "children": []}]}}),
        ("{a [Item]}", {"a": [{"role": "user", "content": "x"}]}),
        ("{a [Item]}", {"a": [{"type": "message", "role": "user", "content": [{"type": "text", "text": "x"}]}]}),
        ("{a [Item]}", {"a": [{"type": "call", "name": "x"}]}),
        ("{a file}", {"a": "text"}),
    ],
)
def test_accepts(shape, value):
    check(shape, value)


@pytest.mark.parametrize(
    ("shape", "value", "param", "code", "words"),
    [
        ("{a str}", {}, "a", "missing_required_parameter", "Missing required parameter: 'a'."),
        ("{a str}", {"a": None}, "a", "invalid_type", "Invalid type for 'a': expected a string, but got null instead."),
        (
            "{a str|[Part]}",
            {"a": None},
            "a",
            "invalid_type",
            "one of a string or array of objects, but got null instead.",
        ),
        (
            '{a "x"|"y"|"z"}',
            {"a": None},
            "a",
            "invalid_type",
            "expected one of 'x', 'y', or 'z', but got null instead.",
        ),
        ("{a true}", {"a": None}, "a", "invalid_type", "expected a boolean, but got null instead."),
        (
            "{a Part}",
            {"a": {"type": None}},
            "a.type",
            "invalid_type",
            "one of 'text' or 'image', but got null instead.",
        ),
        ("{a str}", {"a": 1}, "a", "invalid_type", "expected a string, but got an integer instead"),
        ("{a int}", {"a": True}, "a", "invalid_type", "expected an integer, but got a boolean instead"),
        ("{a int 0..5}", {"a": 6}, "a", "integer_above_max_value", "<= 5, but got 6"),
        ("{a num 0..2}", {"a": 2.5}, "a", "decimal_above_max_value", "<= 2"),
        (
            "{a str ..3}",
            {"a": "abcd"},
            "a",
            "string_above_max_length",
            "maximum length 3, but got a string with length 4",
        ),
        ("{a str 1..3}", {"a": ""}, "a", "string_below_min_length", "minimum length 1"),
        ("{a [int] 1..2}", {"a": []}, "a", "empty_array", "minimum length 1"),
        ("{a [int] 1..2}", {"a": [1, 2, 3]}, "a", "array_above_max_length", "maximum length 2"),
        ("{a [int]}", {"a": [1, "x"]}, "a[1]", "invalid_type", "'a[1]'"),
        ("{a map int}", {"a": {"x": "y"}}, "a.x", "invalid_type", "'a.x'"),
        ("{a map (int) ..1}", {"a": {"x": 1, "y": 2}}, "a", "object_above_max_properties", "at most 1 properties"),
        ("{a map int}", {"a": []}, "a", "invalid_type", "expected an object"),
        ('{a "x"|"y"}', {"a": "z"}, "a", "invalid_value", "Supported values are: 'x' and 'y'"),
        ("{a 1|2}", {"a": 3}, "a", "invalid_value", "'1' and '2'"),
        ("{a true}", {"a": 1}, "a", "invalid_value", "'True'"),
        (
            "{a str|[Part]}",
            {"a": 5},
            "a",
            "invalid_type",
            "expected one of a string or array of objects, but got an integer",
        ),
        ("{a str|int|null}", {"a": []}, "a", "invalid_type", "expected one of a string or integer, but got an array"),
        ("{a Part}", {"a": {"type": "sound"}}, "a.type", "invalid_value", "'text' and 'image'"),
        ("{a Part}", {"a": {"text": "x"}}, "a.type", "missing_required_parameter", "'a.type'"),
        ("{a Part}", {"a": {"type": "image"}}, "a.url", "missing_required_parameter", "'a.url'"),
        ("{a Tree}", {"a": {"name": "x", "children": [{"name": 1}]}}, "a.children[0].name", "invalid_type", "a string"),
        ("{a [Item]}", {"a": [{"role": "user"}]}, "a[0].content", "missing_required_parameter", "content"),
        ("{a [Item]}", {"a": [{"role": "x", "content": ""}]}, "a[0].role", "invalid_value", "'user' and 'assistant'"),
        ("{a [Item]}", {"a": [{"type": "call"}]}, "a[0].id", "missing_required_parameter", "a[0].id"),
        ("{a [Item]}", {"a": [{"type": "what"}]}, "a[0].type", "invalid_value", "'message' and 'call'"),
    ],
)
def test_says_what_is_wrong_and_where(shape, value, param, code, words):
    found = problem(shape, value)
    assert found[:2] == (param, code)
    assert words in found[2]
