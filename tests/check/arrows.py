"""Who imports whom: the program's syntax trees, held against the plan in the docstring of protocol/__init__.py.

A package below it may draw a plan of its own rooms in its own docstring (protocol/mock does). Then both hold. Where no
plan is drawn, modules may still not import each other in a circle.

Who calls `load` needs what that occasion loads, as if it were imported: the plan has to allow that too. Only a circle
does no harm there, since nothing is loaded while modules are imported.

Everything here is a pure function of the files' texts, so that its tests need no tree.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from check.on_demand import TABLE, Entry, find_loads, read_table
from check.plan import BadPlan, Plan, covers, read_plan

#: What a pure room may not import: a test of it could depend on when and where it runs.
LIVE = frozenset(
    ("asyncio", "concurrent", "datetime", "select", "selectors", "signal", "socket", "ssl", "subprocess", "threading")
    + ("time",)
)

_MAIN = "oaiserve.py"
_TOP = "protocol"
_DOTTED = re.compile(r"protocol(\.[a-z_][a-z_0-9]*)+")


class Arrow(NamedTuple):
    """One module of ours needs another: paths from the root, the line that says so, and whether it is loaded later."""

    path: str
    line: int
    target: str
    later: bool


def check_arrows(sources: Mapping[str, str]) -> list[str]:
    """Return what is wrong, as `path:line: sentence`; `sources` holds the text of each file by its path, with "/"."""
    trees = {path: ast.parse(text, path) for path, text in sorted(sources.items())}
    table = read_table(sources)
    findings = list(_check_table(table, trees))
    arrows: list[Arrow] = []
    for path, tree in trees.items():
        findings.extend(_check_form(path, tree))
        arrows.extend(_imports(path, tree))
    findings.extend(
        f"{found.path}:{found.line}: there is no {found.target}" for found in arrows if found.target not in trees
    )
    arrows.extend(_loads(table, trees))
    known = [found for found in arrows if found.target in trees]
    plans: dict[str, Plan] = {}
    for path, tree in trees.items():
        if path.endswith("/__init__.py"):
            package = path[: -len("/__init__.py")]
            try:
                plan = read_plan(ast.get_docstring(tree, clean=False) or "")
            except BadPlan as exc:
                findings.append(f"{path}:1: {exc}")
                continue
            if plan:
                plans[package] = plan
            elif package == _TOP:
                findings.append(f"{path}:1: the docstring draws no plan (tests/check/plan.py says how)")
    for package, plan in plans.items():
        findings.extend(_check_plan(package, plan, trees, known))
        findings.extend(_check_pure(package, plan, trees))
    findings.extend(_check_cycles(known))
    return sorted(findings, key=_place)


def _place(finding: str) -> tuple[str, int, str]:
    path, line, sentence = finding.split(":", 2)
    return path, int(line), sentence


# How an import may be written


def _check_form(path: str, tree: ast.Module) -> Iterator[str]:
    if path.endswith("/__init__.py") and len(tree.body) > 1:
        yield f"{path}:{tree.body[1].lineno}: a package holds its docstring alone: who needs one part loads no other"
    at_top = {id(node) for node in tree.body}
    guarded = {id(node) for outer in tree.body if isinstance(outer, (ast.If, ast.Try)) for node in outer.body}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and path != TABLE
            and _DOTTED.fullmatch(node.value)
        ):
            yield f'{path}:{node.lineno}: "{node.value}": what is loaded later stands in {TABLE}'
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        where = f"{path}:{node.lineno}:"
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{where} a relative import: write `from protocol.x import Name`"
            continue
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        roots = {name.partition(".")[0] for name in names}
        if "oaiserve" in roots:
            yield f"{where} nobody imports oaiserve: what is needed from there is handed in"
        elif _TOP in roots:
            yield from _check_own_form(where, node)
            if id(node) not in at_top:
                yield f"{where} an import of ours stands at the top of the module, at column 0"
        elif id(node) not in at_top | guarded:
            yield f"{where} an import stands at the top of the module, not inside a function"


def _check_own_form(where: str, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield f"{where} `import {node.names[0].name}`: write `from protocol.x import Name`"
        return
    for alias in node.names:
        if alias.name == "*":
            yield f"{where} `import *` hides what comes in: name it"
        elif alias.asname:
            yield f"{where} `{alias.name} as {alias.asname}`: a thing has one name, everywhere"
        elif alias.name.startswith("_"):
            yield f"{where} {alias.name} is private to {node.module}"


def _imports(path: str, tree: ast.Module) -> Iterator[Arrow]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name == _TOP or name.startswith(_TOP + "."):
                yield Arrow(path, node.lineno, name.replace(".", "/") + ".py", later=False)


# What is loaded later


def _loads(table: Mapping[str, Sequence[Entry]], trees: Mapping[str, ast.Module]) -> Iterator[Arrow]:
    for path, tree in trees.items():
        targets = {
            (call.line, entry.path)
            for call in find_loads(tree)
            for occasion in table
            if call.fits(occasion)
            for entry in table[occasion]
        }
        yield from (Arrow(path, line, target, later=True) for line, target in targets)


def _check_table(table: Mapping[str, Sequence[Entry]], trees: Mapping[str, ast.Module]) -> Iterator[str]:
    """Yield what does not fit together: the table, the modules that it names, the calls of `load`."""
    called = set()
    for path, tree in trees.items():
        for call in find_loads(tree):
            fitting = {occasion for occasion in table if call.fits(occasion)}
            called |= fitting
            if call.made_up and not call.occasion:
                yield f"{path}:{call.line}: which occasion is loaded cannot be read: write its beginning out"
            elif not fitting:
                yield f"{path}:{call.line}: {TABLE} has no occasion {call.occasion!r}"
    for occasion, entries in table.items():
        for entry in entries:
            if entry.path not in trees:
                yield f"{TABLE}:{entry.line}: there is no {entry.path}"
            elif entry.name not in _defined(trees[entry.path]):
                yield f"{TABLE}:{entry.line}: {entry.path} has no {entry.name}"
        if occasion not in called:
            yield f"{TABLE}:{entries[0].line if entries else 1}: nobody loads {occasion!r}"


def _defined(tree: ast.Module) -> set[str]:
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
    return names


# What the plan says


def _check_plan(package: str, plan: Plan, trees: Mapping[str, ast.Module], arrows: Sequence[Arrow]) -> Iterator[str]:
    init = f"{package}/__init__.py"
    inside = {path: _within(package, path) for path in trees if path.startswith(package + "/") and path != init}
    homeless = {
        module.split("/")[0]: path for path, module in reversed(list(inside.items())) if not plan.room_of(module)
    }
    for name, path in homeless.items():
        yield f"{path}:1: the plan in {init} has no room for {name}"
    for room in plan.arrows:
        if not any(covers(room, module) for module in inside.values()):
            yield f"{init}:1: the plan has a room {room}, and there is no such file or folder"
    drawn = {(room, target) for room, targets in plan.arrows.items() for target in targets}
    used = set()
    for path, line, target, later in arrows:
        if path not in inside or target not in inside:
            continue
        here, there = plan.room_of(inside[path]), plan.room_of(inside[target])
        if not here or not there or here == there:
            continue
        fitting = {arrow for arrow in drawn if arrow[0] == here and covers(arrow[1], inside[target])}
        used |= fitting
        if not fitting:
            allowed = ", ".join(plan.arrows[here]) or "nothing"
            verb = "load" if later else "import"
            yield f"{path}:{line}: {here} may not {verb} {inside[target]}, only {allowed} (plan in {init})"
    for room, target in sorted(arrow for arrow in drawn - used if arrow[0] not in plan.everything):
        yield f"{init}:1: the plan lets {room} import {target}, and nothing there does"


def _check_pure(package: str, plan: Plan, trees: Mapping[str, ast.Module]) -> Iterator[str]:
    for path, tree in trees.items():
        pure = [room for room in plan.pure if covers(f"{package}/{room}", path[: -len(".py")])]
        if not pure:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            for name in names:
                if name.partition(".")[0] in LIVE:
                    yield f"{path}:{node.lineno}: {pure[0]} is pure and may not import {name}"


def _within(package: str, path: str) -> str:
    return path[len(package) + 1 : -len(".py")].replace("/__init__", "")


# Circles


def _check_cycles(arrows: Sequence[Arrow]) -> Iterator[str]:
    """Yield each circle that a search in depth meets, at the import that closes it."""
    graph: dict[str, list[Arrow]] = {}
    for found in arrows:
        if not found.later:
            graph.setdefault(found.path, []).append(found)
    done: set[str] = set()
    for start in sorted(graph):
        trail: list[str] = []
        yield from _search(start, graph, trail, done)


def _search(path: str, graph: Mapping[str, Sequence[Arrow]], trail: list[str], done: set[str]) -> Iterator[str]:
    if path in done:
        return
    trail.append(path)
    for found in graph.get(path, ()):
        if found.target in trail:
            circle = [*trail[trail.index(found.target) :], found.target]
            yield f"{path}:{found.line}: a circle: {' -> '.join(circle)}"
        else:
            yield from _search(found.target, graph, trail, done)
    trail.pop()
    done.add(path)
