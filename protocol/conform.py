"""Checks made from shapes: does a value look as the description of the API says, and if not, what is wrong and where?

The checks and their words are those of protocol/validate.py; this module chooses them. Null is as good as absent, a
member that is not described passes, and what a union's variants all refuse is refused for the reason of the variant
that came furthest.
"""

from __future__ import annotations

import typing

from protocol.shape import (
    ChoiceShape,
    ListShape,
    MapShape,
    NamedShape,
    ObjectShape,
    ScalarShape,
    Shape,
    Shapes,
    UnionShape,
)
from protocol.validate import (
    Check,
    InvalidParameter,
    a_boolean,
    a_map,
    a_number,
    a_string,
    a_string_of,
    an_array,
    an_integer,
    an_object,
    anything,
    by_tag,
    invalid_choice,
    invalid_type,
)

# What each kind of shape accepts, in the words of OpenAI's errors, and the JSON kinds of it.
_CONFORM_WORDS = {
    "str": ("a string", (str,)),
    "int": ("an integer", (int,)),
    "time": ("an integer", (int,)),
    "num": ("a decimal", (int, float)),
    "bool": ("a boolean", (bool,)),
    "null": ("null", (type(None),)),
}


# API reference, `metadata` and `attributes`, the only maps whose size it bounds: the characters of a key.
_LONGEST_NAME = 64


class Conformity:
    """Makes checks from shapes whose names `shapes` knows; a named shape's check is made once."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._named: dict[str, Check] = {}

    def check(self, shape: Shape) -> Check:
        """Return the check for a shape."""
        return _CHECK_MAKERS[type(shape)](self, shape)

    def conforms(self, shape: Shape, value: object) -> bool:
        """Whether a value looks as a shape says."""
        try:
            self.check(shape)(value)
        except InvalidParameter:
            return False
        return True

    def _named_check(self, shape: NamedShape) -> Check:
        check = self._named.get(shape.name)
        if check is None:
            # What stands for it until it is made: a shape may hold itself.
            self._named[shape.name] = lambda value: self._named[shape.name](value)
            check = self._named[shape.name] = self.check(self._shapes.named(shape.name))
        return check

    def _scalar_check(self, shape: ScalarShape) -> Check:
        kind, low, high = shape
        if kind in ("int", "time"):
            return an_integer(_whole_bound(low), _whole_bound(high))
        if kind == "num":
            return a_number(low, high)
        if kind == "bool":
            return a_boolean
        if kind == "null":
            return _only_null
        if kind == "str":
            return a_string() if low is None and high is None else a_string_of(int(low or 0), _whole_bound(high))
        return anything

    def _choice_check(self, shape: ChoiceShape) -> Check:
        if all(type(value) is str for value in shape.values):
            return a_string(*shape.values)

        def check(value: typing.Any) -> None:
            if not any(type(value) is type(choice) and value == choice for choice in shape.values):
                raise invalid_choice(value, shape.values)

        return check

    def _list_check(self, shape: ListShape) -> Check:
        objects = all(type(variant) in (ObjectShape, MapShape) for variant in self._shapes.variants(shape.item))
        kind = "an array of objects" if objects else "an array"
        return an_array(self.check(shape.item), shape.low, shape.high, kind=kind)

    def _map_check(self, shape: MapShape) -> Check:
        return a_map(self.check(shape.item), shape.most, None if shape.most is None else _LONGEST_NAME)

    def _object_check(self, shape: ObjectShape) -> Check:
        required = [
            name for name, member in shape.members.items() if member.required and not self._takes_null(member.shape)
        ]
        return an_object({name: self.check(member.shape) for name, member in shape.members.items()}, *required)

    def _takes_null(self, shape: Shape) -> bool:
        return any(variant in (ScalarShape("null"), ScalarShape("any")) for variant in self._shapes.variants(shape))

    # ---- unions -------------------------------------------------------------------------------------------------

    def _union_check(self, shape: UnionShape) -> Check:
        """Return a check that first looks at a value's JSON kind, of objects at the member that tells them apart."""
        variants = self._shapes.variants(shape)
        if ScalarShape("any") in variants:
            return anything
        by_kind: dict[type, list[Shape]] = {}
        words: list[str] = []
        for variant in variants:
            word, kinds = self._described(variant)
            if word not in words and word != "null":
                words.append(word)
            for kind in kinds:
                by_kind.setdefault(kind, []).append(variant)
        checks = {kind: self._check_of_one_kind(kind, members) for kind, members in by_kind.items()}
        if len(checks) == 1:
            return next(iter(checks.values()))
        expected = _worded(words)

        def check(value: typing.Any) -> None:
            chosen = checks.get(type(value))
            if chosen is None and isinstance(value, tuple):  # a form's file: JSON has no such thing
                chosen = checks.get(object)
            if chosen is None:
                raise invalid_type(expected, value)
            chosen(value)

        return check

    def _described(self, shape: Shape) -> tuple[str, tuple[type, ...]]:
        if type(shape) is ScalarShape:
            return _CONFORM_WORDS.get(shape.kind, ("a file", (str, object)))
        if type(shape) is ChoiceShape:
            kinds = tuple({type(value) for value in shape.values})
            return ("a string" if str in kinds else "a boolean" if bool in kinds else "a number"), kinds
        if type(shape) is not ListShape:
            return "an object", (dict,)
        word, _ = self._described(self._shapes.variants(shape.item)[0])
        return f"array of {word.partition(' ')[2]}s", (list,)

    def _check_of_one_kind(self, kind: type, variants: list[Shape]) -> Check:
        if len(variants) == 1:
            return self.check(variants[0])
        if kind is str:
            choices = [variant for variant in variants if type(variant) is ChoiceShape]
            if len(choices) < len(variants):
                return a_string()
            return a_string(*(value for choice in choices for value in choice.values))
        objects = [variant for variant in variants if type(variant) is ObjectShape]
        if kind is dict and len(objects) == len(variants):
            tagged = self._tagged_check(objects)
            if tagged is not None:
                return tagged
        return _any_of([self.check(variant) for variant in variants])

    def _tagged_check(self, variants: list[ObjectShape]) -> Check | None:
        """Return a check that chooses among objects by a member that each of them gives its own values."""
        tag = self._tag_of(variants)
        if tag is None:
            return None
        by_value: dict[str, list[Check]] = {}
        untagged: list[Check] = []
        for variant in variants:
            check, member = self.check(variant), variant.members[tag]
            for value in self._strings_of(member.shape):
                by_value.setdefault(value, []).append(check)
            if not member.required:
                untagged.append(check)
        by_one = {value: checks[0] if len(checks) == 1 else _any_of(checks) for value, checks in by_value.items()}
        tagged = by_tag(tag, by_one)
        if not untagged:
            return tagged
        plain = untagged[0] if len(untagged) == 1 else _any_of(untagged)

        def check(value: typing.Any) -> None:
            (plain if type(value) is dict and value.get(tag) is None else tagged)(value)

        return check

    def _tag_of(self, variants: list[ObjectShape]) -> str | None:
        """Return the member whose values tell most variants apart, None when there is none that all have."""
        best, best_values = None, 1
        for name in variants[0].members:
            if all(name in variant.members and self._strings_of(variant.members[name].shape) for variant in variants):
                values = {value for variant in variants for value in self._strings_of(variant.members[name].shape)}
                if len(values) > best_values:
                    best, best_values = name, len(values)
        return best

    def _strings_of(self, shape: Shape) -> tuple[str, ...]:
        shape = self._shapes.followed(shape)
        is_choice = type(shape) is ChoiceShape and all(type(value) is str for value in shape.values)
        return shape.values if is_choice else ()


_CHECK_MAKERS: dict[type, typing.Callable[[Conformity, typing.Any], Check]] = {
    ScalarShape: Conformity._scalar_check,
    ChoiceShape: Conformity._choice_check,
    ListShape: Conformity._list_check,
    MapShape: Conformity._map_check,
    ObjectShape: Conformity._object_check,
    NamedShape: Conformity._named_check,
    UnionShape: Conformity._union_check,
}


def _any_of(checks: typing.Sequence[Check]) -> Check:
    """Accept what one check accepts; otherwise the error is that of the check that came furthest into the value."""

    def check(value: typing.Any) -> None:
        furthest: InvalidParameter | None = None
        for one in checks:
            try:
                one(value)
                return
            except InvalidParameter as exc:
                if furthest is None or len(exc.steps) > len(furthest.steps):
                    furthest = exc
        if furthest is not None:
            raise furthest

    return check


def _only_null(value: typing.Any) -> None:
    if value is not None:
        raise invalid_type("null", value)


def _whole_bound(bound: float | None) -> int | None:
    return None if bound is None else int(bound)


def _worded(words: typing.Sequence[str]) -> str:
    """Return what was expected, as OpenAI says it: "one of a string or array of objects"."""
    first, *rest = words
    rest = [word.partition(" ")[2] if word.startswith(("a ", "an ")) else word for word in rest]
    if first.startswith("array"):
        first = f"an {first}"
    if not rest:
        return first
    return f"one of {', '.join([first, *rest[:-1]])} or {rest[-1]}"
