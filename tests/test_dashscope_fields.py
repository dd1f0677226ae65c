from __future__ import annotations

import typing

import pytest
from steps import steps_of

from protocol.dashscope.mapping.fields import (
    optional_choice,
    optional_flag,
    optional_integer,
    optional_list,
    optional_number,
    optional_object,
    optional_text,
    refuse_field,
    required_text,
)
from protocol.errors import ApiError

READERS: dict[str, tuple[typing.Callable[[dict], object], list[object], list[object]]] = {
    "required text": (lambda r: required_text(r, "a"), ["x"], [None, "", " ", 1, []]),
    "text": (lambda r: optional_text(r, "a"), [None, "", "x"], [1, True, []]),
    "choice": (lambda r: optional_choice(r, "a", ("x", "y")), [None, "x"], ["z", 1, []]),
    "flag": (lambda r: optional_flag(r, "a"), [None, True, False], [0, 1, "true"]),
    "number": (lambda r: optional_number(r, "a", 0, 2), [None, 0, 2, 1.5], [-0.1, 2.1, True, "1", float("nan")]),
    "integer": (lambda r: optional_integer(r, "a", 1, 4), [None, 1, 4], [0, 5, 1.0, True, "1"]),
    "integer from": (lambda r: optional_integer(r, "a", 1), [None, 10**30], [0, 1.5]),
    "any integer": (lambda r: optional_integer(r, "a"), [None, -5, 0], [False, "1", 1.5]),
    "object": (lambda r: optional_object(r, "a"), [None, {}, {"b": 1}], [[], "x", 1]),
    "list": (lambda r: optional_list(r, "a"), [None, [], [1]], [{}, "x", 1]),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in READERS for value in READERS[name][1]], ids=repr)
def test_reads(name: str, value: object) -> None:
    assert READERS[name][0]({"a": value}) is value
    assert value is not None or READERS[name][0]({}) is None


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in READERS for value in READERS[name][2]], ids=repr)
def test_refuses(name: str, value: object) -> None:
    with pytest.raises(ApiError) as caught:
        READERS[name][0]({"a": value})
    assert (caught.value.status, caught.value.type, caught.value.param) == (400, "invalid_request_error", "a")
    assert caught.value.message.startswith("a: expected ")


def test_a_refusal_quotes_no_more_than_a_piece() -> None:
    assert len(refuse_field("a", "a number", "x" * 10_000).message) < 200


@pytest.mark.parametrize(
    "value",
    [[], {}, [[], {}, [1, None, True]], {"a": {"b": [1.5, "x"]}, "c": -1}, [[["deep"] * 9] * 3] * 3, "it's", 10**90],
    ids=["list", "object", "lists", "objects", "long", "text", "number"],
)
def test_a_refusal_quotes_a_value_as_python_writes_it(value: object) -> None:
    whole = repr(value)
    quoted = whole if len(whole) <= 100 else f"{whole[:100]}…"
    assert refuse_field("a", "b", value).message == f"a: expected b, got {quoted}"


@pytest.mark.parametrize(
    "value", [[[]] * 100_000, {str(number): 0 for number in range(100_000)}], ids=["list", "object"]
)
def test_a_refusal_looks_at_no_more_than_it_quotes(value: object) -> None:
    nested: list = []
    for _ in range(5000):  # deeper than `repr` can go
        nested = [nested]
    for got in (value, nested):
        assert steps_of(lambda got=got: refuse_field("a", "b", got)) < 10_000
