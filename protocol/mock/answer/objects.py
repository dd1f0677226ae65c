"""Candidates for the objects of a made-up value: which properties they have, those that no schema names among them."""

from __future__ import annotations

import itertools
import math
import typing

from protocol.mock.answer.place import Place, ValueMaker
from protocol.mock.answer.reading import PropertyNames, is_nullable, says_what_names_hold
from protocol.mock.answer.scalar import Schemas, Unsatisfiable
from protocol.mock.json_schema.document import JsonSchema, schema_evidence

_ANY_STRING = {"type": "string"}


class ObjectMaker:
    """Makes objects; `values` makes the values of their properties."""

    __slots__ = ("_values",)

    def __init__(self, values: ValueMaker) -> None:
        self._values = values

    def candidates(self, reading: Schemas, place: Place) -> typing.Iterator[dict[str, typing.Any]]:
        """Yield objects that a reading may be satisfied by; Unsatisfiable, with a reason, when there are none."""
        names = PropertyNames(reading, self._values.document)
        for name in names.required:
            if not self._may_be_named(reading, name):
                raise Unsatisfiable(f"the required property {schema_evidence(name)} is not allowed by propertyNames")
        for turn, rich in ((0, place.rich), (0, False), (1, place.rich)):
            value = self._object(reading, names, place._replace(turn=place.turn + turn, rich=rich))
            if value is None:
                continue
            yield value
            if turn and len(value) < names.high:  # one more property, in case the object has to differ from others
                yield self._add_new_properties(dict(value), reading, place, len(value) + 1)

    def _object(self, reading: Schemas, names: PropertyNames, place: Place) -> dict[str, typing.Any] | None:
        """Return an object; None when an optional property requires another one that cannot be made."""
        self._values.checker.spend(place.path, 2 * len(reading))
        self._values.budget.spend(len(names.declared) // 5)
        value: dict[str, typing.Any] = {}
        missing = dict(names.required)
        main = self._main(names, reading)
        # What the prompt says is for the main properties first. For the others, it must be meant for them alone.
        others = place._replace(only_told=self._values.is_terse and (place.only_told or bool(main)))
        for name in {**main, **names.declared} if main else names.declared:
            optional = name not in missing
            full = len(value) + len(missing) >= names.high
            if optional and (full or not place.rich or not self._may_be_named(reading, name)):
                continue
            if optional and self._values.is_terse:
                self._add_if_told(value, reading, name, others)
            else:
                inner = place if name in main else others
                self._add_property(value, reading, name, inner, name in names.required)
            if name in value:
                missing.pop(name, None)
                missing.update(names.dependents([name], value, missing))
        for name in list(missing):
            self._add_property(value, reading, name, place, name in names.required)
        if not missing.keys() <= value.keys():
            return None
        self._add_more_properties(value, reading, names, place)
        if self._values.is_terse:
            return {name: value[name] for name in {**names.declared, **value} if name in value}
        return value

    def _main(self, names: PropertyNames, reading: Schemas) -> dict[str, None]:
        """Return the properties that a terse object is about: they are required, and may not be null."""
        main: dict[str, None] = {}
        for name in [name for name in names.declared if name in names.required] if self._values.is_terse else ():
            wanted = self._wanted(reading, name)
            self._values.budget.spend(1 + len(wanted))
            if not any(is_nullable(schema) for schema in wanted):
                main[name] = None
        return main

    def _wanted(self, reading: Schemas, name: str) -> list[JsonSchema]:
        return [part for schema in reading for part in self._values.document.property_schemas(schema, name)]

    def _add_if_told(self, value: dict[str, typing.Any], reading: Schemas, name: str, place: Place) -> None:
        """Add an optional property where the prompt or a `default` gives its value."""
        wanted = self._wanted(reading, name)
        if any(self._values.heights.of(schema) == math.inf or schema is False for schema in wanted):
            return
        try:
            found = self._values.make_if_told(wanted, place.member(("properties", name), name, place.turn))
        except Unsatisfiable:
            return
        if found:
            value[name] = found[0]
            self._values.write(name)

    def _add_more_properties(
        self, value: dict[str, typing.Any], reading: Schemas, names: PropertyNames, place: Place
    ) -> None:
        """Fill the object up to minProperties. A map, whose schema names no properties, gets one as a sample."""
        for name in names.declared:
            if name not in value and len(value) < names.low and self._may_be_named(reading, name):
                self._add_property(value, reading, name, place, False)
        is_map = not names.declared and says_what_names_hold(reading)
        sample = min(names.high, 1) if place.rich and is_map and not self._values.is_terse else 0
        self._add_new_properties(value, reading, place, max(names.low, sample))
        if len(value) < names.low:
            reason = f"minProperties is {names.low}, but only {len(value)} properties were found"
            raise Unsatisfiable(reason, place.path)

    def _add_property(
        self, value: dict[str, typing.Any], reading: Schemas, name: str, place: Place, needed: bool
    ) -> None:
        wanted = self._wanted(reading, name)
        if not needed and any(self._values.heights.of(schema) == math.inf or schema is False for schema in wanted):
            return
        try:
            value[name] = self._values.make(wanted, place.member(("properties", name), name, place.turn))
            self._values.write(name)
        except Unsatisfiable:
            if needed:
                raise

    def _add_new_properties(
        self, value: dict[str, typing.Any], reading: Schemas, place: Place, size: int
    ) -> dict[str, typing.Any]:
        """Add properties that no schema names, until the object has `size` properties if so many are allowed."""
        for name in self._new_names(reading, place, size) if len(value) < size else ():
            if name not in value and self._may_be_named(reading, name):
                inner = place._replace(turn=place.turn + len(value))
                self._add_property(value, reading, name, inner, False)
            if len(value) >= size:
                break
        return value

    def _new_names(self, reading: Schemas, place: Place, size: int) -> typing.Iterator[str]:
        """Yield names that no schema declares: first names that propertyNames and patternProperties ask for."""
        rules: list[JsonSchema] = [schema["propertyNames"] for schema in reading if "propertyNames" in schema]
        if rules:
            for turn in range(place.turn, place.turn + size + 8):
                yield self._values.make([_ANY_STRING, *rules], place.member(("propertyNames",), "key", turn))
        for schema in reading:
            for source in schema.get("patternProperties", ()):
                yield from itertools.islice(self._values.document.texts(source, 0, 40, place.turn), 4 * size)
        for turn in range(place.turn, place.turn + size + 8):
            yield f"key{turn + 1}" if turn else "key"

    def _may_be_named(self, reading: Schemas, name: str) -> bool:
        return all(
            self._values.checker.fits(name, schema["propertyNames"]) for schema in reading if "propertyNames" in schema
        )
