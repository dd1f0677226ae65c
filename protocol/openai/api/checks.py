"""Checks of request bodies, made from the description of the API. They refuse in OpenAI's words.

Theory of operation. A check is a function of a value: it returns nothing, or raises InvalidParameter. `check_body`
turns that into the ApiError 400 with `param` and `code` that the API has (OpenAI API reference, "Error codes"; the
sentences are those that users of its SDK meet). Checks compose: the check of an object is made from those of its
members. `Conformity` makes them from shapes (notation.py).

Null is as good as absent. A member that is not described passes, because clients send more than any list knows. When
all variants of a union refuse a value, the error is that of the variant that came furthest into it.

The path of a parameter is gathered on the way out of a failed check, so that a good body costs no path: a chat of two
messages takes 1.7 µs instead of 3.1 (CPython 3.11).
"""

from __future__ import annotations

import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.openai.api.notation import (
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

Check = typing.Callable[[typing.Any], None]
_KIND_NAMES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
}


# An array or a map with more members is checked in turns with others.
_LONG = 100


class InvalidParameter(Exception):
    """A value that fails its check. `sentence` has `{path}` where the parameter's path goes.

    `steps` lead from the value outwards: each check that the error passes adds a member's name, or an "[index]".
    """

    def __init__(self, sentence: str, code: str, *steps: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code
        self.steps = list(steps)

    def as_error(self) -> ApiError:
        """Return the answer to the client."""
        path = ""
        for step in reversed(self.steps):
            path += step if step.startswith("[") or not path else f".{step}"
        return ApiError(400, self.sentence.replace("{path}", path), param=path, code=self.code)


def check_body(check: Check, body: typing.Any) -> None:
    """Run a check on a body; ApiError 400 with the path of the parameter at fault."""
    try:
        check(body)
    except InvalidParameter as exc:
        raise exc.as_error() from exc


def missing_parameter(path: str) -> InvalidParameter:
    """Return the error for a required parameter that is not there."""
    return InvalidParameter("Missing required parameter: '{path}'.", "missing_required_parameter", path)


def invalid_type(expected: str, value: typing.Any) -> InvalidParameter:
    """Return the error for a value of another JSON kind than `expected` names, e.g. "a string"."""
    got = "null" if value is None else _KIND_NAMES.get(type(value), "a file")
    return InvalidParameter(f"Invalid type for '{{path}}': expected {expected}, but got {got} instead.", "invalid_type")


class InvalidChoice(InvalidParameter):
    """A value that is none of `choices`."""

    def __init__(self, value: object, choices: typing.Sequence[object], *steps: str) -> None:
        shown = str(value)[:100].replace("{path}", "")
        sentence = f"Invalid value: '{shown}'. Supported values are: {_listed(choices)}."
        super().__init__(sentence, "invalid_value", *steps)
        self.value = value
        self.choices = choices


def a_string(*choices: str) -> Check:
    """Check for a string, one of `choices` if there are any."""

    def check(value: typing.Any) -> None:
        if type(value) is not str:
            raise invalid_type(f"one of {_listed(choices, 'or')}" if choices else "a string", value)
        if choices and value not in choices:
            raise InvalidChoice(value, choices)

    return check


def a_string_of(shortest: int, longest: int | None) -> Check:
    """Check for a string of so many characters, both bounds included."""

    def check(value: typing.Any) -> None:
        if type(value) is not str:
            raise invalid_type("a string", value)
        size = len(value)
        if longest is not None and size > longest:
            raise InvalidParameter(
                f"Invalid '{{path}}': string too long. Expected a string with maximum length {longest}, but got a "
                f"string with length {size} instead.",
                "string_above_max_length",
            )
        if size < shortest:
            raise InvalidParameter(
                f"Invalid '{{path}}': string too short. Expected a string with minimum length {shortest}, but got a "
                f"string with length {size} instead.",
                "string_below_min_length",
            )

    return check


def a_map(of: Check, most: int | None = None, longest_name: int | None = None) -> Check:
    """Check for an object of at most `most` members, whose values all pass `of`.

    A member's name has at most `longest_name` characters.
    """

    def check(value: typing.Any) -> None:
        if type(value) is not dict:
            raise invalid_type("an object", value)
        if most is not None and len(value) > most:
            raise InvalidParameter(
                f"Invalid '{{path}}': too many properties. Expected an object with at most {most} properties, but got "
                f"an object with {len(value)} properties instead.",
                "object_above_max_properties",
            )
        if longest_name is not None:
            for name in value:
                if len(name) > longest_name:
                    raise _name_too_long(name, longest_name)
        is_long = len(value) > _LONG
        for name, member in value.items():
            if is_long:
                spend_turn(2)
            if member is not None:
                try:
                    of(member)
                except InvalidParameter as exc:
                    exc.steps.append(name)
                    raise

    return check


def _name_too_long(name: str, longest: int) -> InvalidParameter:
    shown = name[:100].replace("{path}", "")
    return InvalidParameter(
        f"Invalid property name in '{{path}}': '{shown}' is too long. Expected a string with maximum length {longest}, "
        f"but got a string with length {len(name)} instead.",
        "property_name_above_max_length",
    )


def a_boolean(value: typing.Any) -> None:
    """Check for true or false."""
    if type(value) is not bool:
        raise invalid_type("a boolean", value)


def an_integer(lowest: int | None = None, highest: int | None = None) -> Check:
    """Check for an integer within bounds, both included."""

    def check(value: typing.Any) -> None:
        if type(value) is not int:
            raise invalid_type("an integer", value)
        _check_range(value, "integer", lowest, highest)

    return check


def a_number(lowest: float | None = None, highest: float | None = None) -> Check:
    """Check for a number within bounds, both included."""

    def check(value: typing.Any) -> None:
        if type(value) not in (int, float):
            raise invalid_type("a decimal", value)
        _check_range(value, "decimal", lowest, highest)

    return check


def an_array(of: Check, shortest: int = 0, longest: int | None = None, *, kind: str = "an array") -> Check:
    """Check for an array whose members pass `of`, with bounds on their number; `kind` is what errors call it."""

    def check(value: typing.Any) -> None:
        if type(value) is not list:
            raise invalid_type(kind, value)
        size = len(value)
        if size < shortest:
            raise _array_too_short(size, shortest)
        if longest is not None and size > longest:
            raise InvalidParameter(
                f"Invalid '{{path}}': array too long. Expected an array with maximum length {longest}, but got an "
                f"array with length {size} instead.",
                "array_above_max_length",
            )
        index = 0
        try:
            if size > _LONG:
                for member in value:
                    spend_turn(2)
                    of(member)
                    index += 1
                return
            for member in value:
                of(member)
                index += 1
        except InvalidParameter as exc:
            exc.steps.append(f"[{index}]")
            raise

    return check


def _array_too_short(size: int, shortest: int) -> InvalidParameter:
    got = f"an array with length {size}" if size else "an empty array"
    return InvalidParameter(
        f"Invalid '{{path}}': {'array too short' if size else 'empty array'}. Expected an array with minimum length "
        f"{shortest}, but got {got} instead.",
        "array_below_min_length" if size else "empty_array",
    )


def an_object(members: typing.Mapping[str, Check], *required: str) -> Check:
    """Check for an object that has the `required` members, and whose described `members` pass their checks.

    A null stands for a member that is not there, but not where the member is required: there it is of the wrong type.
    """

    def check(value: typing.Any) -> None:
        if type(value) is not dict:
            raise invalid_type("an object", value)
        for name in required:
            if name not in value:
                raise missing_parameter(name)
        try:
            for name, member in value.items():
                member_check = members.get(name)
                if member_check is not None and (member is not None or name in required):
                    member_check(member)
        except InvalidParameter as exc:
            exc.steps.append(name)
            raise

    return check


def by_tag(tag: str, variants: typing.Mapping[str, Check]) -> Check:
    """Check an object by the variant that its member `tag` chooses; any other value of that member is invalid."""
    tag_check = a_string(*variants)

    def check(value: typing.Any) -> None:
        if type(value) is not dict:
            raise invalid_type("an object", value)
        name = value.get(tag)
        chosen = variants.get(name) if type(name) is str else None
        if chosen is not None:
            chosen(value)
            return
        if tag not in value:
            raise missing_parameter(tag)
        try:
            tag_check(name)
        except InvalidParameter as exc:
            exc.steps.append(tag)
            raise

    return check


def anything(value: typing.Any) -> None:
    """Accept every value."""


def _check_range(value: float, kind: str, lowest: float | None, highest: float | None) -> None:
    if lowest is not None and value < lowest:
        raise InvalidParameter(
            f"Invalid '{{path}}': {kind} below minimum value. Expected a value >= {lowest}, but got {value} instead.",
            f"{kind}_below_min_value",
        )
    if highest is not None and value > highest:
        raise InvalidParameter(
            f"Invalid '{{path}}': {kind} above maximum value. Expected a value <= {highest}, but got {value} instead.",
            f"{kind}_above_max_value",
        )


def _listed(choices: typing.Sequence[object], word: str = "and") -> str:
    quoted = [f"'{choice}'" for choice in choices]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])}, {word} {quoted[-1]}" if len(quoted) > 2 else f"{quoted[0]} {word} {quoted[1]}"


# By kind of a scalar: what OpenAI's errors call it, and the Python types that JSON gives for it.
_WORDS = {
    "str": ("a string", (str,)),
    "int": ("an integer", (int,)),
    "time": ("an integer", (int,)),
    "num": ("a decimal", (int, float)),
    "bool": ("a boolean", (bool,)),
    "null": ("null", (type(None),)),
}

# How many characters a key may have. API reference, `metadata` and `attributes`: the only maps that it bounds.
_LONGEST_NAME = 64


class Conformity:
    """Makes checks from shapes. `shapes` knows their names; the check of a named shape is made once."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._named: dict[str, Check] = {}
        # By the shape's id(): a shape is costly to hash. The shape is kept, so that nothing else gets its id().
        self._kept: dict[int, tuple[Shape, Check]] = {}

    def check(self, shape: Shape) -> Check:
        """Return the check for a shape."""
        return _CHECK_MAKERS[type(shape)](self, shape)

    def kept_check(self, shape: Shape) -> Check:
        """Return the check for a shape that stays, such as an operation's body; it is made once."""
        kept = self._kept.get(id(shape))
        if kept is None:
            kept = self._kept[id(shape)] = (shape, self.check(shape))
        return kept[1]

    def conforms(self, shape: Shape, value: object) -> bool:
        """Whether a value is as a shape says."""
        try:
            self.check(shape)(value)
        except InvalidParameter:
            return False
        return True

    def _named_check(self, shape: NamedShape) -> Check:
        check = self._named.get(shape.name)
        if check is None:

            def check_when_made(value: typing.Any) -> None:
                self._named[shape.name](value)

            # A shape may hold itself: the check that is being made finds this one in its own place.
            self._named[shape.name] = check_when_made
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

        word, _ = self._described(shape)

        def check(value: typing.Any) -> None:
            if value is None:
                raise invalid_type(word, value)
            if not any(type(value) is type(choice) and value == choice for choice in shape.values):
                raise InvalidChoice(value, shape.values)

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
        """Return a check that chooses a variant: by the value's JSON kind, among objects by their tag."""
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
            if chosen is None and value is not None and type(value) not in _KIND_NAMES:  # a FormFile
                chosen = checks.get(object)
            if chosen is None:
                raise invalid_type(expected, value)
            chosen(value)

        return check

    def _described(self, shape: Shape) -> tuple[str, tuple[type, ...]]:
        if type(shape) is ScalarShape:
            return _WORDS.get(shape.kind, ("a file", (str, object)))
        if type(shape) is ChoiceShape:
            kinds = tuple({type(value) for value in shape.values})
            return ("a string" if str in kinds else "a boolean" if bool in kinds else "a number"), kinds
        if type(shape) is not ListShape:
            return "an object", (dict,)
        word, _ = self._described(self._shapes.variants(shape.item)[0])
        if word.startswith("array of "):
            return f"array of {word[len('array of ') : -1]} arrays", (list,)
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
        """Return a check that chooses among objects by their tag, None where they have none."""
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
        tagless = untagged[0] if len(untagged) == 1 else _any_of(untagged)
        return lambda value: (tagless if type(value) is dict and value.get(tag) is None else tagged)(value)

    def _tag_of(self, variants: list[ObjectShape]) -> str | None:
        """Return the tag: the member of all variants whose values tell most of them apart; None when there is none."""
        best, best_values = None, 1
        for name in variants[0].members:
            if all(name in variant.members and self._strings_of(variant.members[name].shape) for variant in variants):
                values = {value for variant in variants for value in self._strings_of(variant.members[name].shape)}
                if len(values) > best_values:
                    best, best_values = name, len(values)
        return best

    def _strings_of(self, shape: Shape) -> tuple[str, ...]:
        """Return the strings that a shape chooses among; () for any other shape."""
        choice = self._shapes.followed(shape)
        if type(choice) is ChoiceShape and all(type(value) is str for value in choice.values):
            return choice.values
        return ()


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
    """Accept what one check accepts; otherwise the error is that of the check that came furthest into the value.

    Where several refuse one member as none of their choices, the error has the choices of all.
    """

    def check(value: typing.Any) -> None:
        furthest: InvalidParameter | None = None
        for one in checks:
            try:
                one(value)
                return
            except InvalidParameter as exc:
                if (
                    isinstance(furthest, InvalidChoice)
                    and isinstance(exc, InvalidChoice)
                    and furthest.steps == exc.steps
                ):
                    furthest = InvalidChoice(exc.value, [*dict.fromkeys([*furthest.choices, *exc.choices])], *exc.steps)
                elif furthest is None or _depth(exc) > _depth(furthest):
                    # A traceback has this frame, and with it those who called: all that they hold would stay for good.
                    furthest = exc.with_traceback(None)
        try:
            if furthest is not None:
                raise furthest
        finally:
            del furthest

    return check


def _depth(error: InvalidParameter) -> tuple[int, int]:
    """Return how far into a value its check came: how deep, and to which item of an array."""
    outermost = error.steps[-1] if error.steps else ""
    return len(error.steps), int(outermost[1:-1]) if outermost.startswith("[") else 0


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
