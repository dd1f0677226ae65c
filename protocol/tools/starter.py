"""How the single file and the zipapp start: they carry the modules of the source tree, and this finds and runs them.

`bundle` puts this text, as it stands, before the modules of the single file, and into the zipapp. A carried module is
the text of one string between two banners. Python's compiler drops a string that nobody uses, so a module costs next to
nothing until it is imported; only then is its text compiled, or its bytecode read from a cache.

A carried module's name begins with the program's own: `oaiserve.protocol.errors`. So it never meets a module of another
program that is called `protocol` as well.
"""

import gc
import importlib.machinery
import importlib.util
import marshal
import os
import sys
import types
from collections.abc import Sequence

# Whoever has an older Python should read this and no traceback, so all of this file is in the grammar of Python 3.6:
# no other __future__, and what older ones cannot read of annotations is quoted.
if sys.version_info < (3, 9):  # noqa: UP036  # this is for them
    sys.exit(f"oaiserve needs Python 3.9 or newer; this is {sys.version.split()[0]} ({sys.executable})")

_FUTURE = "\nfrom __future__ import annotations\n"  # stands in every module
_BEGIN = b"\n# ==================== begin "  # then the file, and the line that stands before its text


class _Carried(importlib.machinery.SourceFileLoader):
    """Finds and loads the carried modules; `name` is the program's, and begins all of theirs.

    `path` is the single file, in which a module is some lines, or the archive, in which it counts as a file `apart`.
    All texts are read once: a file that is replaced under a running server must not mix its version with the old one.
    """

    def __init__(self, name: str, path: str, texts: bytes, apart: bool) -> None:
        super().__init__(name, path)
        self.apart = apart
        self.may_write = True
        self.folders: list[str] = []  # the __path__ of our packages and of nobody else's
        self.modules: dict[str, tuple[str, bytes, int]] = {}  # "protocol.errors" -> file, text, lines before it
        self.texts: dict[str, bytes] = {}  # of files that are no modules, by the path in the tree
        if b"\r" in texts:
            texts = texts.replace(b"\r\n", b"\n")
        for part in texts.split(_BEGIN)[1:]:
            head, text = part.split(b"\nr'''\n", 1)
            file, _, line, *_ = head.decode().split()
            text = text.split(b"'''\n", 1)[0]
            if not file.endswith(".py"):
                self.texts[file] = text
                continue
            key = file.replace("/__init__.py", ".py")[:-3].replace("/", ".") if "/" in file else ""
            self.modules[key] = (file, text, 0 if apart else int(line))
        # A folder that holds no caches, and gets none, is not asked for one module after the other.
        self.has_caches = not sys.dont_write_bytecode or os.path.isdir(os.path.dirname(self._cache(name) or ""))

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "types.ModuleType | None" = None
    ) -> "importlib.machinery.ModuleSpec | None":
        """Return how to load a carried module; None for any other."""
        return self._spec(name) if path is self.folders and self._key(name) in self.modules else None

    def load(self, name: str) -> types.ModuleType:
        """Run a carried module and return it; for those that nobody has to find."""
        module = importlib.util.module_from_spec(self._spec(name))
        sys.modules[name] = module
        self.exec_module(module)
        return module

    def get_code(self, name: str) -> types.CodeType:
        """Return the module's code, from its cache or compiled.

        The cache has Python's own form for one that is checked by a hash. Here the hash covers all that makes the code:
        that of another version never passes, nor that of a copy elsewhere.
        """
        file, text, lines = self.modules[self._key(name)]
        text = text.replace(b"\nfrom protocol.", b"\nfrom " + b"." * (file.count("/") + 1) + b"protocol.")
        path = self._path_of(file)
        cache = self._cache(name) if self.has_caches else None
        if cache is None:
            return self._compiled(text, path, lines)
        known = importlib.util.source_hash(b"%b:%d\n%b" % (os.fsencode(path), lines, text))
        header = importlib.util.MAGIC_NUMBER + b"\3\0\0\0" + known
        try:
            data = self.get_data(cache)
            cached = marshal.loads(data[len(header) :]) if data.startswith(header) else None
        except (OSError, EOFError, ValueError, TypeError):  # there is none, or half of one
            cached = None
        if isinstance(cached, types.CodeType):
            return cached
        code = self._compiled(text, path, lines)
        if self.may_write and not sys.dont_write_bytecode:
            self.set_data(cache, header + marshal.dumps(code))  # whole or not at all, and silent
            self.may_write = os.path.exists(cache)  # where one cannot be written, the others need not be tried
        return code

    def _compiled(self, text: bytes, path: str, lines: int) -> types.CodeType:
        return self._moved_down(compile(text.decode(), path, "exec", dont_inherit=True), lines)

    def get_source(self, name: str) -> str:
        """Return the module's text, with each line where its code has it."""
        _, text, lines = self.modules[self._key(name)]
        return "\n" * lines + text.decode()

    def get_text(self, file: str) -> bytes:
        """Return the text of a file that is no module, by its path in the tree."""
        return self.texts[file]

    def _key(self, name: str) -> str:
        return name[len(self.name) + 1 :]

    def _path_of(self, file: str) -> str:
        return os.path.join(self.path, "modules", *file.split("/")) if self.apart else self.path

    def _cache(self, name: str) -> "str | None":
        stem = self.path[:-3] if self.path.endswith(".py") else self.path
        try:
            return importlib.util.cache_from_source(f"{stem}.{self._key(name) or 'main'}.py")
        except NotImplementedError:  # this Python keeps no caches
            return None

    def _spec(self, name: str) -> importlib.machinery.ModuleSpec:
        file = self.modules[self._key(name)][0]
        spec = importlib.machinery.ModuleSpec(name, self, origin=self._path_of(file))
        spec.has_location = True
        spec.cached = self._cache(name)
        if name == self.name or file.endswith("/__init__.py"):
            spec.submodule_search_locations = self.folders
        return spec

    def _moved_down(self, code: types.CodeType, lines: int) -> types.CodeType:
        """Return the code as if so many lines stood before its text: to compile those would take longer."""
        if not lines:
            return code
        inner = (self._moved_down(part, lines) if isinstance(part, types.CodeType) else part for part in code.co_consts)
        return code.replace(co_firstlineno=code.co_firstlineno + lines, co_consts=tuple(inner))


def _start(name: str) -> _Carried:
    """Let the modules in this file, or beside it, be found."""
    loader = globals().get("__loader__") or importlib.machinery.SourceFileLoader(name, __file__)
    path, texts = os.path.abspath(__file__), loader.get_data(__file__)
    apart = _BEGIN not in texts
    if apart:
        path, texts = os.path.dirname(path), loader.get_data(os.path.join(os.path.dirname(__file__), "modules.txt"))
    carried = _Carried(name, path, texts, apart)
    if f"{name}.protocol" not in sys.modules:  # after a reload they stay what they are, as other modules do
        sys.meta_path.append(carried)
    return carried


if __name__ == "__main__":
    # CPython keeps what it parsed of a script until the script ends: here 4 MB of strings, in one list with all names.
    for holder in gc.get_referrers(_Carried.__name__):
        if type(holder) is list and any(type(part) is str and _FUTURE in part for part in holder):
            holder.clear()
    gc.disable()  # nothing of what a start makes is garbage; the collector would look for it in vain, 5 ms
    # What the program imports as `oaiserve`, or who embeds it has imported, is this same one and no second copy.
    program = sys.modules.get("oaiserve") or _start("oaiserve").load("oaiserve")
    gc.enable()
    sys.exit(program.main())

_carried = _start(__name__)
if _carried.apart:
    _carried.load(__name__)  # takes this module's place in sys.modules: tracebacks ask each module for one text
else:
    __package__, __path__ = __name__, _carried.folders
    if __spec__ is not None:
        __spec__.submodule_search_locations = __path__
    if __name__ not in sys.modules:
        _carried.load(f"{__name__}.protocol")  # found without asking for the folder above, which nobody could find
    exec(_carried.get_code(__name__), globals())
