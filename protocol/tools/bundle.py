"""Put the source tree into one readable file, and into a zipapp.

The tree is canonical and both products are built from it. They carry each module's text as it stands, and the modules
stay modules: protocol/tools/starter.py, which stands before them, compiles each when it is imported. A module can be
carried when it keeps a few rules, and each rule whose breach would make a product differ from the tree is checked here,
on the syntax tree, and named with its file and line. Texts of other kinds, such as a page's, are carried likewise; what
asks for one names its path (`load_text` in protocol/on_demand.py).

The same source gives the same bytes, whatever the platform, the Python version and the time of day: files are read
with any line ending and written with `\\n`, nothing comes from a clock or from the order of a folder, and the zip is
stored, not deflated, because zlib's versions differ in what they emit.
"""

from __future__ import annotations

import ast
import os
import re
import symtable
import sys
import typing

from protocol.wire.archive import write_archive

_MAIN = "oaiserve.py"
_PACKAGE = "protocol"
_ROOTS = ("", "oaiserve", _PACKAGE)  # what an import of our own begins with: "" is a relative one
_STARTER = "protocol/tools/starter.py"
_ON_DEMAND = "protocol/on_demand.py"
_FLOOR = (3, 9)
_TEXTS = (".css", ".html", ".js")  # what is carried besides modules

# Each names a place on the disk, which a carried module does not have.
_PLACE_NAMES = frozenset(("__file__", "__path__", "__cached__"))

_SHEBANG = "#!/usr/bin/env python3\n"

_HEADER = """\
# oaiserve {version}: the whole program in one file.
#
# Built from version {version} by `python oaiserve.py bundle`, do not edit: change the source tree, then build again.
#
# As a program:       python oaiserve.py --help
# Inside a program:   import oaiserve
#
# Needs Python 3.9 or newer and nothing else. Copyright (c) 2026 oaiserve contributors.
# SPDX-License-Identifier: MIT
"""

_CONTENTS = """\
#
# First comes how it starts, then the modules of the source tree, each as it stands there:
{contents}
"""

_RULE = "=" * 20
_QUOTES = "'" * 3

_ZIPAPP_MAIN = """\
# Starts oaiserve from the zipapp that this file is in.

import sys

# In the grammar of Python 2, too: the other files are not.
if sys.version_info < (3, 9):
    sys.exit("oaiserve needs Python 3.9 or newer; this is %s (%s)" % (sys.version.split()[0], sys.executable))

import oaiserve

if __name__ == "__main__":
    sys.exit(oaiserve.main())
"""


class BundleError(Exception):
    """The source tree cannot be bundled, or not written: one line, with file and line where there are such."""


class _OwnImport(typing.NamedTuple):
    module: str  # "protocol.wire.sse"
    names: list[str]
    line: int


class _Module:
    """One file of the source tree, and what has to be known about it before it is carried."""

    __slots__ = ("path", "text", "tree", "name", "own_imports", "names")

    def __init__(self, path: str, text: str) -> None:
        self.path = path  # from the tree's root, with "/"
        self.text = text
        self.tree = _parse(path, text)
        self.name = re.sub(r"(/__init__)?\.py$", "", path).replace("/", ".")
        self.own_imports: list[_OwnImport] = []
        self.names: set[str] = set()  # what an import can have of it

    def error(self, line: int, message: str) -> BundleError:
        return BundleError(f"{self.path}:{line}: {message}")


def write_bundle(source: str, target: str, version: str) -> list[str]:
    """Write `target`/oaiserve.py and `target`/oaiserve.pyz from the tree in the folder `source`; return both paths.

    Raises BundleError and nothing else when `source` is not a source tree, when the tree breaks a rule, or when a file
    cannot be read or written.
    """
    try:
        texts = _read_tree(source)
        if os.path.exists(target) and os.path.samefile(source, target):
            raise BundleError(f"{target}: bundle would overwrite the {_MAIN} that it reads: name another folder")
        starter = texts.pop(_STARTER)
        _check(texts)
        products = _products(starter, texts, version)
        os.makedirs(target, exist_ok=True)
        return [_write(os.path.join(target, name), data) for name, data in products.items()]
    except OSError as exc:
        raise BundleError(f"{exc.filename}: {exc.strerror}") from exc


def _write(path: str, data: bytes) -> str:
    # Beside it and then over it, so that whoever runs the old file never reads half of the new one.
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.chmod(path + ".new", 0o755)
    os.replace(path + ".new", path)
    return path


# Reading the tree


def _read_tree(source: str) -> dict[str, str]:
    """Return the text of each file of the program by its path from `source`: the main one, then the others by name."""
    package = os.path.join(source, _PACKAGE)
    if not (os.path.isfile(os.path.join(source, _MAIN)) and os.path.isdir(package)):
        raise BundleError(f"{source}: bundle needs the source tree: a folder with {_MAIN} and {_PACKAGE}/")
    paths = []
    for folder, folders, names in os.walk(package):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                paths.append(os.path.relpath(os.path.join(folder, name), source).replace(os.sep, "/"))
    if _STARTER not in paths:
        raise BundleError(f"{source}: there is no {_STARTER}, which starts what is built")
    return {path: _read(source, path) for path in [_MAIN, *sorted(paths)]}


def _read(source: str, path: str) -> str:
    if not path.endswith((".py", *_TEXTS)):
        raise BundleError(f"{path}:1: left out: only .py files can be carried, and {', '.join(_TEXTS)}")
    with open(os.path.join(source, path), "rb") as file:
        data = file.read()
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise BundleError(f"{path}:{line}: expected UTF-8, got byte 0x{data[exc.start]:02x}") from exc
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"


def _parse(path: str, text: str) -> ast.Module:
    try:
        return ast.parse(text, path, feature_version=_FLOOR)
    except (SyntaxError, ValueError) as exc:  # ValueError: a null byte, before Python 3.12
        line = getattr(exc, "lineno", None) or 1
        raise BundleError(f"{path}:{line}: {getattr(exc, 'msg', exc)}") from exc


# Checking the rules


def _check(texts: dict[str, str]) -> None:
    """Raise BundleError for the first breach of a rule."""
    modules: dict[str, _Module] = {}
    for path, text in texts.items():
        if not path.endswith(".py"):
            _check_text(path, text)
            continue
        module = _Module(path, text)
        if module.name in modules:
            raise module.error(1, f"{module.name} is already the name of {modules[module.name].path}")
        modules[module.name] = module
        _check_text(path, text)
        _check_indented(module)
        _check_places(module)
        _collect_imports(module)
        _collect_names(module)
    for module in modules.values():
        _check_own_imports(module, modules)
    main = modules["oaiserve"]
    if "main" not in main.names:
        raise main.error(1, "expected a function main(), which starts the program")
    done: set[str] = set()
    for module in modules.values():
        _check_cycles(module, modules, [], done)
    _check_reached(main, modules)
    _check_named([path for path in texts if not path.endswith(".py")], modules)


def _check_text(path: str, text: str) -> None:
    """The text becomes a raw string between banners."""
    for number, line in enumerate(text.split("\n"), 1):
        if _QUOTES in line:
            raise BundleError(f"{path}:{number}: expected no {_QUOTES}: it would end the string that carries the text")
        if line.startswith(f"# {_RULE} "):
            raise BundleError(f"{path}:{number}: expected no line that begins as a banner of the single file does")


def _check_indented(module: _Module) -> None:
    """The imports of a module are known by the beginning of their lines."""
    imports = {node.lineno for node in module.tree.body if isinstance(node, ast.ImportFrom)}
    for number, line in enumerate(module.text.split("\n"), 1):
        if line.startswith(f"from {_PACKAGE}.") and number not in imports:
            raise module.error(number, f"expected no `from {_PACKAGE}.` at column 0 but in imports: indent the line")


def _check_places(module: _Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id in _PLACE_NAMES:
            raise module.error(node.lineno, f"{node.id} is lost in the single file: a carried module has no place")


def _collect_imports(module: _Module) -> None:
    has_annotations = False
    top_level = {id(node) for node in module.tree.body}
    for node in ast.walk(module.tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        if id(node) not in top_level or node.col_offset:
            raise module.error(node.lineno, "expected imports at column 0 only, not inside a block or function")
        if isinstance(node, ast.Import):
            for alias in node.names:
                _check_standard(module, node.lineno, alias.name, f"import {alias.name}")
        elif node.module == "__future__":
            has_annotations = has_annotations or any(alias.name == "annotations" for alias in node.names)
        else:
            _collect_from(module, node)
    has_code = len(module.tree.body) > (ast.get_docstring(module.tree, clean=False) is not None)
    if has_code and not has_annotations:
        raise module.error(1, "expected `from __future__ import annotations`, as in every other module")


def _collect_from(module: _Module, node: ast.ImportFrom) -> None:
    origin = "." * node.level + (node.module or "")
    if not origin.startswith(f"{_PACKAGE}."):
        _check_standard(module, node.lineno, origin, f"from {origin} import")
        return
    line = module.text.split("\n")[node.lineno - 1]
    if not line.startswith(f"from {origin} import "):
        raise module.error(node.lineno, f"expected `from {_PACKAGE}.x import Name`, got `{line}`")
    for alias in node.names:
        if alias.name == "*" or alias.asname:
            got = "*" if alias.name == "*" else f"{alias.name} as {alias.asname}"
            raise module.error(node.lineno, f"expected names as they are defined, got `import {got}`")
    module.own_imports.append(_OwnImport(origin, [alias.name for alias in node.names], node.lineno))


def _check_standard(module: _Module, line: int, origin: str, statement: str) -> None:
    root = origin.partition(".")[0]
    if root in _ROOTS:
        raise module.error(line, f"expected `from {_PACKAGE}.x import Name`, got `{statement}`")
    # Before Python 3.10 nothing lists the standard library; a build there takes any module for a part of it.
    known = getattr(sys, "stdlib_module_names", None)
    if known is not None and root not in known:
        raise module.error(line, f"{root} is neither ours nor in the standard library")


def _collect_names(module: _Module) -> None:
    try:
        table = symtable.symtable(module.text, module.path, "exec")
    except SyntaxError as exc:  # what the grammar allows and the compiler does not: `nonlocal` at the top
        raise module.error(exc.lineno or 1, exc.msg) from exc
    for symbol in table.get_symbols():
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
            module.names.add(symbol.get_name())


def _check_own_imports(module: _Module, modules: dict[str, _Module]) -> None:
    for wanted, names, line in module.own_imports:
        if wanted not in modules:
            raise module.error(line, f"there is no {wanted.replace('.', '/')}.py")
        for name in names:
            if name not in modules[wanted].names:
                homes = [other.path for other in modules.values() if other is not module and name in other.names]
                hint = f"; {homes[0]} does" if homes else ""
                raise module.error(line, f"{modules[wanted].path} does not define {name}{hint}")


def _check_cycles(module: _Module, modules: dict[str, _Module], trail: list[_Module], done: set[str]) -> None:
    """Raise BundleError where imports lead back to a module of the trail that led to them."""
    if module.name in done:
        return
    trail = [*trail, module]
    for wanted, _, line in sorted(module.own_imports):
        if modules[wanted] in trail:
            circle = [*trail[trail.index(modules[wanted]) :], modules[wanted]]
            raise module.error(line, f"import cycle: {' -> '.join(other.path for other in circle)}")
        _check_cycles(modules[wanted], modules, trail, done)
    done.add(module.name)


def _check_reached(main: _Module, modules: dict[str, _Module]) -> None:
    """Raise BundleError for a module that nothing leads to: by imports, or by the table of what is loaded on demand."""
    reached, pending = {main.name}, [main]
    while pending:
        module = pending.pop()
        names = {wanted for wanted, _, _ in module.own_imports}
        if module.path == _ON_DEMAND:
            constants = (node.value for node in ast.walk(module.tree) if isinstance(node, ast.Constant))
            names.update(value for value in constants if isinstance(value, str) and value in modules)
        if module is not main and "." in module.name:
            folder = module.name.rpartition(".")[0]
            if folder not in modules:
                raise module.error(1, f"there is no {folder.replace('.', '/')}/__init__.py")
            names.add(folder)
        pending.extend(modules[name] for name in sorted(names - reached))
        reached |= names
    for module in modules.values():
        if module.name not in reached:
            raise module.error(1, f"left out: nothing that {_MAIN} imports leads to it")


def _check_named(paths: list[str], modules: dict[str, _Module]) -> None:
    """Raise BundleError for a text that no module asks for."""
    named = {
        node.value
        for module in modules.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for path in paths:
        if path not in named:
            raise BundleError(f"{path}:1: left out: no module names it")


# Writing the products


def _products(starter: str, texts: dict[str, str], version: str) -> dict[str, bytes]:
    header = _SHEBANG + _HEADER.format(version=version)
    contents = _CONTENTS.format(contents="\n".join(f"#   {path}" for path in texts))
    begin = f"{header}{contents}\n{starter}\n"
    modules = _sections(texts, begin.count("\n"))
    members = {"__main__.py": _ZIPAPP_MAIN, "modules.txt": modules, "oaiserve.py": f"{header}\n{starter}"}
    archive = write_archive([(path, text.encode()) for path, text in members.items()], len(_SHEBANG))
    return {
        "oaiserve.py": f"{begin}{modules}".encode(),
        "oaiserve.pyz": _SHEBANG.encode() + archive,
    }


def _sections(texts: dict[str, str], lines: int) -> str:
    """Return the modules between their banners; so many lines of the single file stand before them."""
    sections = []
    for path, text in texts.items():
        lines += 3  # an empty one, the banner, the quotes
        begin = f"\n# {_RULE} begin {path} after {lines} {_RULE}\nr{_QUOTES}\n"
        sections.append(f"{begin}{text}{_QUOTES}\n# {_RULE} end {path} {_RULE}\n")
        lines += text.count("\n") + 2
    return "".join(sections)
