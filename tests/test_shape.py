"""The notation: what each text means, and what is no notation."""

from __future__ import annotations

import pytest

from protocol.openai.api.notation import (
    ChoiceShape,
    ListShape,
    MapShape,
    Member,
    NamedShape,
    ObjectShape,
    ScalarShape,
    ShapeError,
    Shapes,
    UnionShape,
    read_shape,
    read_shape_at,
)

STR, INT = ScalarShape("str"), ScalarShape("int")


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("str", STR),
        ("int 0..20", ScalarShape("int", 0, 20)),
        ("int 0..", ScalarShape("int", 0, None)),
        ("str ..64", ScalarShape("str", None, 64)),
        ("num -2..2", ScalarShape("num", -2, 2)),
        ("num 0.5..2.5", ScalarShape("num", 0.5, 2.5)),
        ('"asc"', ChoiceShape(("asc",))),
        ('"asc"|"desc"', ChoiceShape(("asc", "desc"))),
        ('"a b" | 7 | -1 | true', ChoiceShape(("a b", 7, -1, True))),
        ("[str]", ListShape(STR)),
        ("[str] 1..4", ListShape(STR, 1, 4)),
        ("[[int]]", ListShape(ListShape(INT))),
        ("[str|int]", ListShape(UnionShape((STR, INT)))),
        ("map num", MapShape(ScalarShape("num"))),
        ("map [str]", MapShape(ListShape(STR))),
        ("map (str ..512) ..16", MapShape(ScalarShape("str", None, 512), 16)),
        ("{}", ObjectShape({})),
        ("{id str, name? str}", ObjectShape({"id": Member(STR, True), "name": Member(STR, False)})),
        ('{"a/b" bool}', ObjectShape({"a/b": Member(ScalarShape("bool"), True)})),
        ("{a {b? int}}", ObjectShape({"a": Member(ObjectShape({"b": Member(INT, False)}), True)})),
        ("{a str\n  b int}", ObjectShape({"a": Member(STR, True), "b": Member(INT, True)})),
        ("Batch", NamedShape("Batch")),
        ("Batch|null", UnionShape((NamedShape("Batch"), ScalarShape("null")))),
        ('str|"a"|"b"', UnionShape((STR, ChoiceShape(("a", "b"))))),
        ("(str|int)", UnionShape((STR, INT))),
        ("map (str|int)", MapShape(UnionShape((STR, INT)))),
    ],
)
def test_reads(text, shape):
    assert read_shape(text) == shape


@pytest.mark.parametrize(
    "text", ["", "{", "{a}", "{a str", "[str", "str str", "| str", '"open', "(str", "map", "{1 str}"]
)
def test_refuses(text):
    with pytest.raises(ShapeError):
        read_shape(text)


@pytest.mark.parametrize(("opening", "closing"), [("{a ", "}"), ("[", "]"), ("(", ")"), ("map ", "")])
def test_shapes_are_nested_a_hundred_deep_at_most(opening, closing):
    assert read_shape(opening * 99 + "str" + closing * 99)
    for depth in (100, 5_000):
        with pytest.raises(ShapeError, match="within one another"):
            read_shape(opening * depth + "str" + closing * depth)


@pytest.mark.parametrize("text", ["{}", "-{}", "int 0..{}", "int {}.."])
def test_a_number_has_eighteen_digits_at_most(text):
    assert read_shape(text.format("9" * 18))
    with pytest.raises(ShapeError):
        read_shape(text.format("9" * 5_000))


def test_says_where_it_ends():
    text = "{a str} by next"
    assert read_shape_at(text, 0) == (ObjectShape({"a": Member(STR, True)}), 7)


def test_names_are_followed_and_unions_flattened():
    shapes = Shapes({"A": "B", "B": "str|C", "C": "int|null"})
    assert shapes.named("A") == UnionShape((STR, NamedShape("C")))
    assert shapes.variants(NamedShape("A")) == [STR, INT, ScalarShape("null")]


def test_an_unknown_name_is_a_mistake_of_the_description():
    with pytest.raises(ShapeError, match="'Nope'"):
        Shapes({}).named("Nope")
