"""The place of a part in a made-up value, and what the makers of arrays and objects need of the maker of all values."""

from __future__ import annotations

import typing

from protocol.budget import Budget
from protocol.mock.answer.assignment import ReadPrompt
from protocol.mock.answer.hints import Hint
from protocol.mock.answer.reading import SchemaChoices, SchemaHeights
from protocol.mock.answer.scalar import Schemas
from protocol.mock.json_schema.check import SchemaChecker
from protocol.mock.json_schema.document import JsonSchema, SchemaDocument, SchemaPath

WantedSchemas = typing.Sequence[JsonSchema]


class Place(typing.NamedTuple):
    """Where a value is made: the path in the schema, the property's name, and how the value is to look."""

    path: SchemaPath
    name: str
    depth: int
    rich: bool
    turn: int  # moves every choice on, so that the items of an array differ
    within: frozenset[int]  # ids of the $ref targets that the value is part of
    only_told: bool = False  # the value is left out unless the prompt clearly gives it

    def member(self, path: SchemaPath, name: str, turn: int) -> Place:
        return Place((*self.path, *path), name, self.depth + 1, self.rich, turn, self.within, self.only_told)


class ValueMaker(typing.Protocol):
    """The maker of all values, as the makers of arrays and objects know it: it makes their members."""

    document: SchemaDocument
    checker: SchemaChecker
    budget: Budget
    prompt: ReadPrompt
    hints: tuple[Hint, ...]  # those that are left
    told: int  # how many values the prompt has given by now
    is_terse: bool
    heights: SchemaHeights
    choices: SchemaChoices
    possible: set[frozenset[int]]  # lists of schemas that a value was found for, by the ids of their members

    def make(
        self, wanted: WantedSchemas, place: Place, avoided: typing.AbstractSet[object] = frozenset()
    ) -> typing.Any:
        """Return a value that satisfies all the wanted schemas and whose json_key is not to be avoided.

        Raises Unsatisfiable.
        """

    def make_if_told(self, wanted: WantedSchemas, place: Place) -> list[typing.Any]:
        """Return a value alone in a list where the prompt or a `default` gives it; [] for none."""
        ...

    def write(self, text: str) -> str:
        """Count the characters of a text that becomes part of the value; SchemaError when they are too many."""


def description_of(reading: Schemas) -> object:
    """Return the first description that the schemas of a reading have, "" for none."""
    return next((schema["description"] for schema in reading if schema.get("description")), "")
