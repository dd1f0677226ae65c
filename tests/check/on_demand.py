"""What is loaded later: the table of protocol/on_demand.py, and the calls of `load` that ask it, read from their texts.

Nothing is imported here: the checks judge a tree that may not even run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import NamedTuple

TABLE = "protocol/on_demand.py"
_MODULE = "protocol.on_demand"


class BadTable(Exception):
    """The table is not written as a table of constants; the text says where."""


class Entry(NamedTuple):
    """A thing that an occasion needs: the line that says so, the module's path from the root, the name in it."""

    line: int
    path: str
    name: str


class Load(NamedTuple):
    """A call of `load`: its line, and the occasion, or as much as is written down of one that is `made_up` there."""

    line: int
    occasion: str
    made_up: bool

    def fits(self, occasion: str) -> bool:
        """Say whether the call may mean this occasion; one of which nothing is written down fits none."""
        return self.occasion != "" and occasion.startswith(self.occasion) if self.made_up else occasion == self.occasion


def read_table(sources: Mapping[str, str]) -> dict[str, list[Entry]]:
    """Return the entries of each occasion, none where there is no table; BadTable where it cannot be read."""
    if TABLE not in sources:
        return {}
    for node in ast.parse(sources[TABLE], TABLE).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "ON_DEMAND":
            if not isinstance(node.value, ast.Dict):
                break
            return {_text(key): _entries(value) for key, value in zip(node.value.keys, node.value.values)}
    raise BadTable(f"{TABLE}:1: expected `ON_DEMAND: … = {{…}}`, a dictionary that is written out")


def loaded_names(sources: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return (path, name) of all that the table names: it is used, though no import says so."""
    return {(entry.path, entry.name) for entries in read_table(sources).values() for entry in entries}


def find_loads(tree: ast.Module) -> Iterator[Load]:
    """Yield the calls of `load` in a module that imports it; "" is the occasion of one that cannot be read."""
    if not any(
        isinstance(node, ast.ImportFrom) and node.module == _MODULE and any(name.name == "load" for name in node.names)
        for node in tree.body
    ):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load":
            for argument in node.args:
                for occasion, made_up in _occasions(argument, tree):
                    yield Load(node.lineno, occasion, made_up)


def _occasions(argument: ast.expr, tree: ast.Module) -> Iterator[tuple[str, bool]]:
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        yield argument.value, False
    elif isinstance(argument, ast.JoinedStr):
        first = argument.values[0] if argument.values else None
        yield (str(first.value) if isinstance(first, ast.Constant) else ""), True
    elif isinstance(argument, ast.Name):
        given = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == argument.id for target in node.targets)
        ]
        for value in given:
            yield from _occasions(value, tree) if not isinstance(value, ast.Name) else [("", True)]
        if not given:
            yield "", True
    else:
        yield "", True


def _entries(value: ast.expr) -> list[Entry]:
    if not isinstance(value, ast.Tuple):
        raise BadTable(f"{TABLE}:{value.lineno}: expected a tuple of (module, name)")
    entries = []
    for pair in value.elts:
        if not (isinstance(pair, ast.Tuple) and len(pair.elts) == 2):
            raise BadTable(f"{TABLE}:{pair.lineno}: expected (module, name)")
        module, name = map(_text, pair.elts)
        entries.append(Entry(pair.lineno, module.replace(".", "/") + ".py", name))
    return entries


def _text(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise BadTable(f"{TABLE}:{node.lineno if node else 1}: expected a string that is written out")
