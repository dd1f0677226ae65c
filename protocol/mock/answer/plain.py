"""What a tool's schema says of its parameters in plain terms, as Pydantic, Zod and FastMCP write schemas.

`$ref` is followed, `allOf` and the branches of `anyOf` that are not null are put together, `const` is an enum of one.
Nothing is checked here: the schema may be anything. What is read serves guesses alone; instance.py and the checker
have the last word.
"""

from __future__ import annotations

import typing

from protocol.budget import Budget
from protocol.wire.json_text import JsonObject

MAX_PARAMETERS = 100  # of one tool, those within others among them
_MAX_DEPTH = 6  # objects within objects
_MAX_MERGED = 32  # schemas that are put together for one value
_MAX_MEMBERS = 300  # of an enum


class Parameter(typing.NamedTuple):
    """A parameter: its name, what its schema says in plain terms, and whether it is of the items of an array."""

    name: str
    schema: JsonObject
    is_in_list: bool


def parameters_of(schema: typing.Any, budget: Budget) -> list[Parameter]:
    """Return the parameters of a tool, those of the outermost object first; MAX_PARAMETERS of them at most."""
    found: list[Parameter] = []
    queue: list[tuple[JsonObject, bool, int]] = [(plain_schema(schema, schema, budget), False, 0)]
    for outer, is_in_list, depth in queue:  # which grows meanwhile
        for name, part in outer["properties"].items():
            if len(found) >= MAX_PARAMETERS:
                return found
            inner = plain_schema(part, schema, budget)
            found.append(Parameter(name, inner, is_in_list))
            if depth < _MAX_DEPTH:
                queue.append((inner, is_in_list, depth + 1))
                if isinstance(inner.get("items"), dict) and inner["items"].get("properties"):
                    queue.append((inner["items"], True, depth + 1))
    return found


def plain_schema(schema: typing.Any, root: typing.Any, budget: Budget, *, with_items: bool = True) -> JsonObject:
    """Return a schema in plain terms: `properties` always, and `type`, `enum`, `items`, `description` where there are.

    `type` is a list where there are several; null is none of them.
    """
    kinds: dict[str, None] = {}
    members: list[typing.Any] = []
    plain: JsonObject = {"properties": {}}
    parts = _parts(schema, root, budget)
    for part in parts:
        kind = part.get("type")
        kinds.update(dict.fromkeys(one for one in (kind if isinstance(kind, list) else [kind]) if isinstance(one, str)))
        enum = [part["const"]] if "const" in part else part.get("enum")
        if isinstance(enum, list):
            members += enum[: _MAX_MEMBERS - len(members)]
        properties = part.get("properties")
        for name, inner in list(properties.items())[:MAX_PARAMETERS] if isinstance(properties, dict) else ():
            if len(plain["properties"]) < MAX_PARAMETERS:
                plain["properties"].setdefault(name, inner)
        if isinstance(part.get("description"), str):
            plain.setdefault("description", part["description"])
        if isinstance(part.get("items"), dict) and with_items and "items" not in plain:
            plain["items"] = plain_schema(part["items"], root, budget, with_items=False)
    kinds.pop("null", None)
    if len(kinds) > 1:
        plain["type"] = list(kinds)
    elif kinds:
        plain["type"] = next(iter(kinds))
    members = [member for member in members if member is not None]
    if members:
        plain["enum"] = members
    return plain


def _parts(schema: typing.Any, root: typing.Any, budget: Budget) -> list[JsonObject]:
    """Return the schemas that say something of one value: this one, those it refers to, and those of its choices."""
    found: list[JsonObject] = []
    seen: set[int] = set()
    queue = [schema]
    for part in queue:  # which grows meanwhile
        budget.spend()
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        found.append(part)
        if len(found) >= _MAX_MERGED:
            break
        if isinstance(part.get("$ref"), str):
            queue.append(_target(part["$ref"], root, budget))
        for word in ("allOf", "anyOf", "oneOf"):
            branches = part.get(word)
            queue += branches[:_MAX_MERGED] if isinstance(branches, list) else ()
    return found


def _target(reference: str, root: typing.Any, budget: Budget) -> typing.Any:
    """Return what a reference within the schema points to, None where it points to nothing."""
    if not reference.startswith("#"):
        return None
    at = root
    for step in reference[1:501].split("/")[1:]:
        budget.spend()
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(at, list) and step.isdecimal() and len(step) < 6 and int(step) < len(at):
            at = at[int(step)]
        elif isinstance(at, dict):
            at = at.get(step)
        else:
            return None
    return at
