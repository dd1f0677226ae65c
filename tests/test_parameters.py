"""Queries and forms as values: brackets, kinds, JSON within."""

from __future__ import annotations

import pytest

from protocol.errors import ApiError
from protocol.openai.api.checks import Conformity
from protocol.openai.api.notation import Shapes, read_shape
from protocol.openai.api.query_and_form import TextReader, nested, query_parameters
from protocol.wire.multipart import FormFile

FILE = FormFile("file", "a.txt", "text/plain", b"x")


def read(query, shape):
    shapes = Shapes({"Tool": '{type "a", n? int}'})
    return TextReader(shapes, Conformity(shapes)).value(read_shape(shape), nested(query_parameters(query)))


@pytest.mark.parametrize(
    ("query", "shape", "value"),
    [
        ("a=1", "{a int}", {"a": 1}),
        ("a=-5", "{a int}", {"a": -5}),
        ("a=01x", "{a int}", {"a": "01x"}),
        ("a=0.5&b=3", "{a num, b num}", {"a": 0.5, "b": 3}),
        ("a=007", "{a num}", {"a": 7.0}),
        ("a=true&b=false&c=yes", "{a bool, b bool, c bool}", {"a": True, "b": False, "c": "yes"}),
        ("a=1", "{a str}", {"a": "1"}),
        ("a=2", "{a 1|2}", {"a": 2}),
        ("a=x&more=1", "{a str}", {"a": "x", "more": "1"}),
        ("include[]=a&include[]=b", "{include [str]}", {"include": ["a", "b"]}),
        ("include=a&include=b", "{include [str]}", {"include": ["a", "b"]}),
        ("include=a", "{include [str]}", {"include": ["a"]}),
        ("f[type]=x&f[n]=1", "{f {type str, n int}}", {"f": {"type": "x", "n": 1}}),
        ("f[a][b]=1", "{f {a {b int}}}", {"f": {"a": {"b": 1}}}),
        ("metadata[k]=1", "{metadata map str}", {"metadata": {"k": "1"}}),
        ("t[][type]=a&t[][n]=1&t[][type]=a", "{t [Tool]}", {"t": [{"type": "a", "n": 1}, {"type": "a"}]}),
        ('t=[{"type":"a"}]', "{t [Tool]}", {"t": [{"type": "a"}]}),
        ('a={"n":1}', "{a {n int}}", {"a": {"n": 1}}),
        ("a={oops", "{a {n int}}", {"a": "{oops"}),
        ("a=%E4%BD%A0+b", "{a str}", {"a": "你 b"}),
        ("a=", "{a str}", {"a": ""}),
        ("a=5", "{a int|str}", {"a": 5}),
        ("a=x", "{a int|str}", {"a": "x"}),
    ],
)
def test_reads(query, shape, value):
    assert read(query, shape) == value


def test_files_stay_files():
    shapes = Shapes({})
    reader = TextReader(shapes, Conformity(shapes))
    assert reader.value(read_shape("{file file}"), nested([("file", FILE)])) == {"file": FILE}
    assert reader.value(read_shape("{image [file]|file}"), nested([("image[]", FILE), ("image[]", FILE)])) == {
        "image": [FILE, FILE]
    }
    assert reader.value(read_shape("{image [file]|file}"), nested([("image", FILE)])) == {"image": [FILE]}


@pytest.mark.parametrize("query", ["a[=1", "a]=1", "a[b]c=1", "a" + "[x]" * 9 + "=1"])
def test_refuses_brackets_that_mean_nothing(query):
    with pytest.raises(ApiError) as caught:
        nested(query_parameters(query))
    assert (caught.value.status, caught.value.code) == (400, "unknown_parameter")


def test_bounds_the_number_of_parameters():
    query_parameters("&".join(["a=1"] * 1000))
    with pytest.raises(ApiError, match="at most 1000"):
        query_parameters("&".join(["a=1"] * 1001))


def test_a_name_that_is_both_value_and_object_keeps_what_came_first():
    assert nested([("a", "1"), ("a[b]", "2")]) == {"a": "1"}
