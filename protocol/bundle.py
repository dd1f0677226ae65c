"""Join the source tree into one readable file, and pack it as a zipapp.

The tree is canonical and both products are built from it. Joining works because the modules keep a few rules: they
name what they import, they bind each name once in the whole program, and they import the standard library in one
form. Nothing is renamed or rewritten: each module's text is copied as it stands, its import statements are cut, the
imports of the standard library are gathered at the top, and the modules are put in the order of their imports.

So every rule whose breach would change what the program does once it is joined is checked here, on the syntax tree,
and named with its file and line. What is left in the single file is a plain module: its line numbers are its own.

The same source gives the same bytes, whatever the platform, the Python version and the time of day: files are read
with any line ending and written with `\\n`, nothing comes from a clock or from the order of a folder, and the zip is
stored, not deflated, because zlib's versions differ in what they emit.
"""

from __future__ import annotations

import ast
import builtins
import os
import sys

from protocol.wire.archive import write_archive

_BUNDLE_MAIN = "oaiserve.py"
_BUNDLE_PACKAGE = "protocol"
_BUNDLE_ROOTS = ("oaiserve", _BUNDLE_PACKAGE)  # the names that an import of our own begins with
_BUNDLE_FLOOR = (3, 9)

# These mean another place, or another module, once the modules are joined; oaiserve.py may still ask who it is.
_BUNDLE_PLACE_NAMES = frozenset(("__file__", "__path__", "__spec__", "__loader__", "__package__", "__cached__"))
_BUNDLE_MAIN_NAMES = frozenset(("__name__", "__doc__"))

_BUNDLE_SHEBANG = "#!/usr/bin/env python3\n"

_BUNDLE_HEADER = """\
# oaiserve {version}: the whole program in one file.
#
# Built from version {version} by `python oaiserve.py bundle`, do not edit: change the source tree, then build again.
#
# As a program:       python oaiserve.py --help
# Inside a program:   import oaiserve
#
# Needs Python 3.9 or newer and nothing else. Copyright (c) 2026 oaiserve contributors.
# SPDX-License-Identifier: MIT
#
# The modules of the source tree follow in the order of their imports:
{contents}
"""

_BUNDLE_STARTER = '''\
"""Start oaiserve from the zipapp that this file is in."""

import sys

import oaiserve

if __name__ == "__main__":
    sys.exit(oaiserve.main())
'''


class BundleError(Exception):
    """The source tree cannot be joined, or not written: one line, with file and line where there are such."""


class _BundleModule:
    """One file of the source tree, and what joining has to know about it."""

    __slots__ = ("path", "text", "tree", "own_imports", "standard_imports", "bindings")

    def __init__(self, path: str, text: str) -> None:
        self.path = path  # from the tree's root, with "/"
        self.text = text
        self.tree = _bundle_parse(path, text)
        self.own_imports: list[tuple[str, str, int]] = []  # path of the module, name, line
        self.standard_imports: list[tuple[str, int]] = []  # "os.path", line
        self.bindings: dict[str, int] = {}  # top-level name -> line where it is bound first

    @property
    def is_main(self) -> bool:
        return self.path == _BUNDLE_MAIN


def write_bundle(source: str, target: str, version: str) -> list[str]:
    """Write `target`/oaiserve.py and `target`/oaiserve.pyz from the tree in the folder `source`; return both paths.

    Raises BundleError and nothing else when `source` is not a source tree, when the tree breaks a rule of joining,
    or when a file cannot be read or written.
    """
    try:
        texts = _bundle_read(source)
        if os.path.exists(target) and os.path.samefile(source, target):
            raise BundleError(f"{target}: bundle would overwrite the {_BUNDLE_MAIN} that it reads: name another folder")
        joined = _bundle_join(_bundle_check(texts), version)
        products = {"oaiserve.py": joined.encode(), "oaiserve.pyz": _bundle_zipapp(texts)}
        os.makedirs(target, exist_ok=True)
        return [_bundle_write(os.path.join(target, name), data) for name, data in products.items()]
    except OSError as exc:
        raise BundleError(f"{exc.filename}: {exc.strerror}") from exc


def _bundle_write(path: str, data: bytes) -> str:
    # Beside it and then over it, so that whoever runs the old file never reads half of the new one.
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.chmod(path + ".new", 0o755)
    os.replace(path + ".new", path)
    return path


# Reading the tree


def _bundle_read(source: str) -> dict[str, str]:
    """Return the text of each file of the program by its path from `source`, in the order of their names."""
    package = os.path.join(source, _BUNDLE_PACKAGE)
    if not (os.path.isfile(os.path.join(source, _BUNDLE_MAIN)) and os.path.isdir(package)):
        raise BundleError(
            f"{source}: bundle needs the source tree: a folder with {_BUNDLE_MAIN} and {_BUNDLE_PACKAGE}/"
        )
    paths = [_BUNDLE_MAIN]
    for folder, folders, names in os.walk(package):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                paths.append(os.path.relpath(os.path.join(folder, name), source).replace(os.sep, "/"))
    return {path: _bundle_text(source, path) for path in sorted(paths)}


def _bundle_text(source: str, path: str) -> str:
    if not path.endswith(".py"):
        raise BundleError(f"{path}:1: left out: only .py files can be joined; put its text into a module")
    with open(os.path.join(source, path), "rb") as file:
        data = file.read()
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise BundleError(f"{path}:{line}: expected UTF-8, got byte 0x{data[exc.start]:02x}") from exc
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _bundle_parse(path: str, text: str) -> ast.Module:
    try:
        return ast.parse(text, path, feature_version=_BUNDLE_FLOOR)
    except (SyntaxError, ValueError) as exc:  # ValueError: a null byte, before Python 3.12
        line = getattr(exc, "lineno", None) or 1
        raise BundleError(f"{path}:{line}: {getattr(exc, 'msg', exc)}") from exc


# Checking the rules


def _bundle_check(texts: dict[str, str]) -> list[_BundleModule]:
    """Return the modules in the order of their imports; raise BundleError for the first breach of a rule."""
    modules: dict[str, _BundleModule] = {}
    for path, text in texts.items():
        module = _BundleModule(path, text)
        if path.endswith("/__init__.py"):
            _bundle_check_package(module)
            continue
        _bundle_check_names_of_place(module)
        _bundle_check_lines(module)
        _bundle_collect_imports(module)
        _bundle_collect_bindings(module)
        modules[path] = module
    for module in modules.values():
        _bundle_check_own_imports(module, modules)
    if "main" not in modules[_BUNDLE_MAIN].bindings:
        raise BundleError(f"{_BUNDLE_MAIN}:1: expected a function main(), which the zipapp calls")
    ordered = _bundle_order(modules)
    _bundle_check_bindings(ordered)
    return ordered


def _bundle_check_package(module: _BundleModule) -> None:
    body = module.tree.body
    first = 0 if ast.get_docstring(module.tree, clean=False) is None else 1
    if len(body) > first:
        raise BundleError(f"{module.path}:{body[first].lineno}: expected nothing but a docstring: it is not joined")


def _bundle_check_names_of_place(module: _BundleModule) -> None:
    forbidden = _BUNDLE_PLACE_NAMES if module.is_main else _BUNDLE_PLACE_NAMES | _BUNDLE_MAIN_NAMES
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id in forbidden:
            but = f"; a `__main__` guard belongs in {_BUNDLE_MAIN}" if node.id == "__name__" else ""
            raise BundleError(f"{module.path}:{node.lineno}: {node.id} is lost when the modules are joined{but}")


def _bundle_check_lines(module: _BundleModule) -> None:
    """What is cut goes by whole lines, so nothing else may stand on them."""
    cut = {id(node) for node in _bundle_cut_statements(module)}
    body = module.tree.body
    for before, after in zip(body, body[1:]):
        if before.end_lineno == after.lineno and (id(before) in cut or id(after) in cut):
            raise BundleError(f"{module.path}:{after.lineno}: expected the import or docstring on lines of its own")


def _bundle_cut_statements(module: _BundleModule) -> list[ast.stmt]:
    cut: list[ast.stmt] = [node for node in module.tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    if module.is_main and ast.get_docstring(module.tree, clean=False) is not None:
        return [module.tree.body[0], *cut]  # it moves to the top
    return cut


def _bundle_collect_imports(module: _BundleModule) -> None:
    has_annotations = False
    top_level = {id(node) for node in module.tree.body}
    for node in ast.walk(module.tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        where = f"{module.path}:{node.lineno}"
        if id(node) not in top_level:
            raise BundleError(f"{where}: expected imports at column 0 only, not inside a block or function")
        if isinstance(node, ast.Import):
            module.standard_imports.extend(_bundle_standard_imports(where, node))
        elif node.module == "__future__":
            has_annotations = _bundle_is_annotations(where, node)
        else:
            module.own_imports.extend(_bundle_own_imports(where, node))
    if not has_annotations:
        raise BundleError(f"{module.path}:1: expected `from __future__ import annotations`, as in every other module")


def _bundle_is_annotations(where: str, node: ast.ImportFrom) -> bool:
    if [(alias.name, alias.asname) for alias in node.names] != [("annotations", None)]:
        raise BundleError(f"{where}: expected annotations and nothing else from __future__: one file has one set")
    return True


def _bundle_standard_imports(where: str, node: ast.Import) -> list[tuple[str, int]]:
    # Before Python 3.10 nothing lists the standard library; a build there takes any module for a part of it.
    known = getattr(sys, "stdlib_module_names", None)
    for alias in node.names:
        root = alias.name.partition(".")[0]
        if root in _BUNDLE_ROOTS:
            raise BundleError(f"{where}: expected `from {_BUNDLE_PACKAGE}.x import Name`, got `import {alias.name}`")
        if alias.asname:
            raise BundleError(f"{where}: expected `import {alias.name}` without `as {alias.asname}`")
        if known is not None and root not in known:
            raise BundleError(f"{where}: {root} is neither ours nor in the standard library")
    return [(alias.name, node.lineno) for alias in node.names]


def _bundle_own_imports(where: str, node: ast.ImportFrom) -> list[tuple[str, str, int]]:
    origin = "." * node.level + (node.module or "")
    root, _, rest = origin.partition(".")
    if root not in (*_BUNDLE_ROOTS, ""):
        raise BundleError(
            f"{where}: expected `import {origin}` and its names as attributes, got `from {origin} import`"
        )
    if root != _BUNDLE_PACKAGE or not rest:
        raise BundleError(f"{where}: expected `from {_BUNDLE_PACKAGE}.x import Name`, got `from {origin} import`")
    for alias in node.names:
        if alias.name == "*" or alias.asname:
            got = "*" if alias.name == "*" else f"{alias.name} as {alias.asname}"
            raise BundleError(f"{where}: expected names as they are defined, got `import {got}`")
    path = origin.replace(".", "/") + ".py"
    return [(path, alias.name, node.lineno) for alias in node.names]


def _bundle_check_own_imports(module: _BundleModule, modules: dict[str, _BundleModule]) -> None:
    for path, name, line in module.own_imports:
        if path not in modules:
            raise BundleError(f"{module.path}:{line}: there is no {path}")
        if name not in modules[path].bindings:
            homes = [other.path for other in modules.values() if name in other.bindings]
            hint = f"; {homes[0]} does" if homes else ""
            raise BundleError(f"{module.path}:{line}: {path} does not define {name}{hint}")


def _bundle_collect_bindings(module: _BundleModule) -> None:
    """Record the names that the module's own scope binds, imports aside.

    Functions, classes and lambdas have a scope of their own and are not entered, except for their `global` lines;
    nor do the loop variables of a comprehension count.
    """
    pending: list[ast.AST] = [module.tree]
    while pending:
        node = pending.pop()
        children = ast.iter_child_nodes(node)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            _bundle_bind(module, node.name, node.lineno)
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            _bundle_bind(module, node.id, node.lineno)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            _bundle_bind(module, node.name, node.lineno)
        elif isinstance(node, ast.comprehension):
            children = iter((node.iter, *node.ifs))
        pending.extend(children)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Global):
            for name in node.names:
                _bundle_bind(module, name, node.lineno)


def _bundle_bind(module: _BundleModule, name: str, line: int) -> None:
    module.bindings[name] = min(line, module.bindings.get(name, line))


def _bundle_check_bindings(ordered: list[_BundleModule]) -> None:
    """Raise BundleError where one name would mean two things in the one namespace that all modules share."""
    taken: dict[str, str] = {}
    for module in ordered:
        for name, line in module.standard_imports:
            taken.setdefault(name.partition(".")[0], f"imported in {module.path}:{line}")
    for module in ordered:
        for line, name in sorted((line, name) for name, line in module.bindings.items()):
            where = f"{module.path}:{line}"
            if name in taken:
                raise BundleError(f"{where}: {name} is already {taken[name]}: give it another name")
            if name.startswith("__") and name.endswith("__") and not module.is_main:
                raise BundleError(f"{where}: {name} would count for the whole program: it belongs in {_BUNDLE_MAIN}")
            if hasattr(builtins, name) and name not in _BUNDLE_MAIN_NAMES:
                raise BundleError(
                    f"{where}: {name} would hide the builtin from all other modules: give it another name"
                )
        taken.update((name, f"bound in {module.path}:{line}") for name, line in module.bindings.items())


# Ordering and joining


def _bundle_order(modules: dict[str, _BundleModule]) -> list[_BundleModule]:
    ordered: list[_BundleModule] = []
    _bundle_visit(_BUNDLE_MAIN, modules, [], ordered)
    reached = {module.path for module in ordered}
    for path in modules:
        if path not in reached:
            raise BundleError(f"{path}:1: left out: nothing that {_BUNDLE_MAIN} imports leads to it")
    return ordered


def _bundle_visit(path: str, modules: dict[str, _BundleModule], trail: list[str], ordered: list[_BundleModule]) -> None:
    """Append all that the module at `path` stands on, in the order of names, then the module itself."""
    if modules[path] in ordered:
        return
    trail = [*trail, path]
    for wanted, line in sorted({(wanted, line) for wanted, _, line in modules[path].own_imports}):
        if wanted in trail:
            circle = " -> ".join([*trail[trail.index(wanted) :], wanted])
            raise BundleError(f"{path}:{line}: import cycle: {circle}")
        _bundle_visit(wanted, modules, trail, ordered)
    ordered.append(modules[path])


def _bundle_join(ordered: list[_BundleModule], version: str) -> str:
    main = ordered[-1]
    contents = "\n".join(f"#   {module.path}" for module in ordered)
    standard = sorted({name for module in ordered for name, _ in module.standard_imports})
    head = [
        _BUNDLE_SHEBANG + _BUNDLE_HEADER.format(version=version, contents=contents) + _bundle_docstring(main),
        "from __future__ import annotations\n",
        "".join(f"import {name}\n" for name in standard),
    ]
    return "\n\n".join(["\n".join(head), *map(_bundle_section, ordered)])


def _bundle_docstring(main: _BundleModule) -> str:
    if ast.get_docstring(main.tree, clean=False) is None:
        return ""
    node = main.tree.body[0]
    return "".join(line + "\n" for line in main.text.split("\n")[node.lineno - 1 : node.end_lineno])


def _bundle_section(module: _BundleModule) -> str:
    """Return the module between its banners, without what is cut and the empty lines that follow it."""
    lines = module.text.split("\n")
    cut: set[int] = set()
    if module.is_main and lines[0].startswith("#!"):
        cut.add(0)  # the joined file begins with one
    for node in _bundle_cut_statements(module):
        end = node.end_lineno or node.lineno
        while end < len(lines) and not lines[end].strip():
            end += 1
        cut.update(range(node.lineno - 1, end))
    text = "\n".join(line for number, line in enumerate(lines) if number not in cut).strip("\n")
    rule = "=" * 20
    return f"# {rule} begin {module.path} {rule}\n\n{text}\n\n# {rule} end {module.path} {rule}\n"


def _bundle_zipapp(texts: dict[str, str]) -> bytes:
    files = dict(texts, **{"__main__.py": _BUNDLE_STARTER})
    entries = [(path, files[path].encode()) for path in sorted(files)]
    return _BUNDLE_SHEBANG.encode() + write_archive(entries, len(_BUNDLE_SHEBANG))
