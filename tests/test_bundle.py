"""Joining: what it writes for a small tree, each rule that it holds a tree to, and the real tree."""

from __future__ import annotations

import ast
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import pytest

import oaiserve
from protocol.bundle import BundleError, write_bundle

MAIN = '''\
#!/usr/bin/env python3
"""Greet: the tree's own description."""

from __future__ import annotations

import sys

from protocol.greeting import (
    greet,  # a comment inside an import goes with it
)

__version__ = "1.2"


def main() -> int:
    print(greet(sys.argv[1]))
    return 3


if __name__ == "__main__":
    sys.exit(main())
'''

GREETING = '''\
"""Greetings, which stand on words."""

from __future__ import annotations

import os.path
import re

from protocol.words import HELLO

# A comment that stays.
_SPACES = re.compile(r"\\s+")  # and one at the end of a line


def greet(name: str) -> str:
    text = """two empty lines follow


import nothing: this is text"""
    if name == "nobody":
        raise LookupError(name + text[:3])
    return f"{HELLO} {_SPACES.sub(' ', os.path.basename(name))}"
'''

WORDS = '''\
"""Words."""

from __future__ import annotations

import re
import sys

HELLO = "grüß dich"
'''

TREE = {
    "oaiserve.py": MAIN,
    "protocol/__init__.py": '"""The parts."""\n',
    "protocol/greeting.py": GREETING,
    "protocol/words.py": WORDS,
}

JOINED = '''\
"""Greet: the tree's own description."""

from __future__ import annotations

import os.path
import re
import sys


# ==================== begin protocol/words.py ====================

"""Words."""

HELLO = "grüß dich"

# ==================== end protocol/words.py ====================


# ==================== begin protocol/greeting.py ====================

"""Greetings, which stand on words."""

# A comment that stays.
_SPACES = re.compile(r"\\s+")  # and one at the end of a line


def greet(name: str) -> str:
    text = """two empty lines follow


import nothing: this is text"""
    if name == "nobody":
        raise LookupError(name + text[:3])
    return f"{HELLO} {_SPACES.sub(' ', os.path.basename(name))}"

# ==================== end protocol/greeting.py ====================


# ==================== begin oaiserve.py ====================

__version__ = "1.2"


def main() -> int:
    print(greet(sys.argv[1]))
    return 3


if __name__ == "__main__":
    sys.exit(main())

# ==================== end oaiserve.py ====================
'''


def make_tree(folder: pathlib.Path, changes: dict[str, str | bytes | None] | None = None) -> str:
    """Write TREE with `changes` to its files (None: not there) and return its path."""
    for path, content in {**TREE, **(changes or {})}.items():
        if content is not None:
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(folder)


def build(folder: pathlib.Path, changes: dict[str, str | bytes | None] | None = None) -> tuple[str, str]:
    single, zipapp = write_bundle(make_tree(folder / "tree", changes), str(folder / "built"), "1.2")
    return single, zipapp


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-W", "error", "-X", "utf8", *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=20,
    )


# What is written


def test_joined_file_has_header_then_modules_in_the_order_of_imports(tmp_path: pathlib.Path) -> None:
    single, _ = build(tmp_path)
    text = pathlib.Path(single).read_text("utf-8")
    header = text[: text.index('"""')]
    assert text == header + JOINED
    assert header.startswith("#!/usr/bin/env python3\n# oaiserve 1.2: ")
    assert "# Built from version 1.2 by `python oaiserve.py bundle`, do not edit" in header
    assert header.endswith("#   protocol/words.py\n#   protocol/greeting.py\n#   oaiserve.py\n")


def test_returns_the_paths_that_it_wrote_and_leaves_nothing_else(tmp_path: pathlib.Path) -> None:
    built = tmp_path / "some" / "new folder"
    written = write_bundle(make_tree(tmp_path / "tree"), str(built), "1.2")
    assert written == [str(built / "oaiserve.py"), str(built / "oaiserve.pyz")]
    assert sorted(path.name for path in built.iterdir()) == ["oaiserve.py", "oaiserve.pyz"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bit")
def test_both_products_are_executable(tmp_path: pathlib.Path) -> None:
    for path in build(tmp_path):
        result = subprocess.run([path, "you"], capture_output=True, encoding="utf-8", timeout=20)
        assert (result.returncode, result.stderr) == (3, "")


@pytest.mark.parametrize("product", [0, 1], ids=["file", "zipapp"])
def test_product_runs_alone(tmp_path: pathlib.Path, product: int) -> None:
    program = build(tmp_path)[product]
    result = run(program, "some/where/you  all")
    assert (result.returncode, result.stdout, result.stderr) == (3, "grüß dich you all\n", "")


@pytest.mark.parametrize("product", [0, 1], ids=["file", "zipapp"])
def test_product_can_be_imported(tmp_path: pathlib.Path, product: int) -> None:
    program = build(tmp_path)[product]
    entry = os.path.dirname(program) if program.endswith(".py") else program
    code = "import sys; sys.path.insert(0, sys.argv[1]); import oaiserve; print(oaiserve.__doc__, oaiserve.greet('me'))"
    result = run("-c", code, entry)
    assert (result.stdout, result.stderr) == ("Greet: the tree's own description. grüß dich me\n", "")


def test_traceback_of_the_zipapp_names_the_module_and_its_line(tmp_path: pathlib.Path) -> None:
    _, zipapp = build(tmp_path)
    line = GREETING[: GREETING.index("raise LookupError")].count("\n") + 1
    error = run(zipapp, "nobody").stderr
    assert f'{os.path.join("protocol", "greeting.py")}", line {line}, in greet\n' in error


def test_traceback_of_the_single_file_names_its_own_line(tmp_path: pathlib.Path) -> None:
    single, _ = build(tmp_path)
    text = pathlib.Path(single).read_text("utf-8")
    line = text[: text.index("raise LookupError")].count("\n") + 1
    assert f'{single}", line {line}, in greet\n    raise LookupError' in run(single, "nobody").stderr


def test_zip_holds_the_files_of_the_tree(tmp_path: pathlib.Path) -> None:
    _, zipapp = build(tmp_path)
    assert pathlib.Path(zipapp).read_bytes().startswith(b"#!/usr/bin/env python3\nPK\x03\x04")
    with zipfile.ZipFile(zipapp) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["__main__.py", *sorted(TREE)]
        assert {path: archive.read(path).decode() for path in TREE} == TREE
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert (entry.compress_type, entry.create_system) == (zipfile.ZIP_STORED, 3)
            assert entry.external_attr >> 16 == 0o100644


def test_same_source_gives_same_bytes(tmp_path: pathlib.Path) -> None:
    """Another folder, other times, the files made in another order and with the line endings of another platform."""
    first = [pathlib.Path(path).read_bytes() for path in build(tmp_path / "first")]
    other_tree = {path: TREE[path].replace("\n", "\r\n") for path in reversed(TREE)}
    make_tree(tmp_path / "other" / "tree", other_tree)
    for path in TREE:
        os.utime(tmp_path / "other" / "tree" / path, (1, 1))
    written = write_bundle(str(tmp_path / "other" / "tree"), str(tmp_path / "other" / "built"), "1.2")
    assert [pathlib.Path(path).read_bytes() for path in written] == first


def test_another_version_gives_other_bytes(tmp_path: pathlib.Path) -> None:
    single, _ = build(tmp_path)
    before = pathlib.Path(single).read_bytes()
    write_bundle(str(tmp_path / "tree"), str(tmp_path / "built"), "1.3")
    assert pathlib.Path(single).read_bytes() == before.replace(b"oaiserve 1.2:", b"oaiserve 1.3:").replace(
        b"from version 1.2 by", b"from version 1.3 by"
    )


def test_builds_over_an_older_bundle(tmp_path: pathlib.Path) -> None:
    single, _ = build(tmp_path, {"oaiserve.py": MAIN.replace("return 3", "return 4")})
    assert build(tmp_path)[0] == single
    assert run(single, "you").returncode == 3


def test_description_stays_the_main_modules_when_it_has_none(tmp_path: pathlib.Path) -> None:
    single, _ = build(tmp_path, {"oaiserve.py": MAIN.replace('"""Greet: the tree\'s own description."""\n', "")})
    assert ast.get_docstring(ast.parse(pathlib.Path(single).read_text("utf-8"))) is None


def test_cache_and_hidden_files_are_no_part_of_the_tree(tmp_path: pathlib.Path) -> None:
    plain = [pathlib.Path(path).read_bytes() for path in build(tmp_path / "plain")]
    strays = {"protocol/__pycache__/words.cpython-39.pyc": b"\0", "protocol/.words.py.swp": b"\0", "protocol/.x/a": b""}
    assert [pathlib.Path(path).read_bytes() for path in build(tmp_path / "strays", dict(strays))] == plain


def test_module_in_a_folder_of_its_own_is_joined(tmp_path: pathlib.Path) -> None:
    changes = {
        "protocol/words.py": None,
        "protocol/words/__init__.py": "",
        "protocol/words/german.py": WORDS,
        "protocol/greeting.py": GREETING.replace("protocol.words", "protocol.words.german"),
    }
    for program in build(tmp_path, dict(changes)):
        assert run(program, "you").stdout == "grüß dich you\n"


# What a tree must be


def with_line(line: str) -> str:
    """Return WORDS with `line` (or several) at its end; the first of them is line 9."""
    return WORDS + line + "\n"


# id, file that changes, its text that is refused, the error, the nearest text that is accepted
RULES = [
    (
        "another import form of ours: import",
        "protocol/greeting.py",
        GREETING.replace("from protocol.words import HELLO", "import protocol.words"),
        "protocol/greeting.py:8: expected `from protocol.x import Name`, got `import protocol.words`",
        GREETING.replace("from protocol.words import HELLO", "from protocol.words import HELLO  # why"),
    ),
    (
        "another import form of ours: from the package",
        "protocol/greeting.py",
        GREETING.replace("from protocol.words import HELLO", "from protocol import words"),
        "protocol/greeting.py:8: expected `from protocol.x import Name`, got `from protocol import`",
        GREETING.replace("from protocol.words import HELLO", "from protocol.words import (\n    HELLO,\n)"),
    ),
    (
        "another import form of ours: relative",
        "protocol/greeting.py",
        GREETING.replace("from protocol.words", "from .words"),
        "protocol/greeting.py:8: expected `from protocol.x import Name`, got `from .words import`",
        GREETING,
    ),
    (
        "another import form of ours: as",
        "protocol/greeting.py",
        GREETING.replace("import HELLO", "import HELLO as HI"),
        "protocol/greeting.py:8: expected names as they are defined, got `import HELLO as HI`",
        GREETING,
    ),
    (
        "another import form of ours: star",
        "protocol/greeting.py",
        GREETING.replace("import HELLO", "import *"),
        "protocol/greeting.py:8: expected names as they are defined, got `import *`",
        GREETING,
    ),
    (
        "import of ours inside a function",
        "protocol/greeting.py",
        GREETING + "    from protocol.words import HELLO\n",
        "protocol/greeting.py:22: expected imports at column 0 only, not inside a block or function",
        GREETING + "    # from protocol.words import HELLO\n",
    ),
    (
        "import inside a block",
        "protocol/words.py",
        with_line("try:\n    import json\nexcept ImportError:\n    pass"),
        "protocol/words.py:10: expected imports at column 0 only, not inside a block or function",
        with_line("import json\ntry:\n    pass\nexcept ImportError:\n    pass"),
    ),
    (
        "import of oaiserve from below: import",
        "protocol/words.py",
        with_line("import oaiserve"),
        "protocol/words.py:9: expected `from protocol.x import Name`, got `import oaiserve`",
        with_line('"import oaiserve"'),
    ),
    (
        "import of oaiserve from below: from",
        "protocol/words.py",
        with_line("from oaiserve import main"),
        "protocol/words.py:9: expected `from protocol.x import Name`, got `from oaiserve import`",
        with_line('"from oaiserve import main"'),
    ),
    (
        "standard library by from",
        "protocol/words.py",
        with_line("from os import path"),
        "protocol/words.py:9: expected `import os` and its names as attributes, got `from os import`",
        with_line("import os"),
    ),
    (
        "standard library by as",
        "protocol/words.py",
        with_line("import json as js"),
        "protocol/words.py:9: expected `import json` without `as js`",
        with_line("import json, os.path"),
    ),
    (
        "import beside another statement",
        "protocol/words.py",
        with_line("import json; LIMIT = 3"),
        "protocol/words.py:9: expected the import or docstring on lines of its own",
        with_line("import json;\nLIMIT = 3; MORE = 4"),
    ),
    (
        "docstring of the main module beside another statement",
        "oaiserve.py",
        MAIN.replace('description."""\n', 'description."""; from __future__ import annotations\n', 1),
        "oaiserve.py:2: expected the import or docstring on lines of its own",
        MAIN.replace('description."""\n', 'description."""  # and a comment\n', 1),
    ),
    (
        "no annotations from the future",
        "protocol/words.py",
        WORDS.replace("from __future__ import annotations\n", ""),
        "protocol/words.py:1: expected `from __future__ import annotations`, as in every other module",
        WORDS,
    ),
    (
        "another future",
        "protocol/words.py",
        WORDS.replace("import annotations", "import annotations, division"),
        "protocol/words.py:3: expected annotations and nothing else from __future__: one file has one set",
        WORDS,
    ),
    (
        "module that is not there",
        "protocol/greeting.py",
        GREETING.replace("protocol.words", "protocol.wordz"),
        "protocol/greeting.py:8: there is no protocol/wordz.py",
        GREETING,
    ),
    (
        "name that its module does not define",
        "protocol/greeting.py",
        GREETING.replace("import HELLO", "import GOODBYE"),
        "protocol/greeting.py:8: protocol/words.py does not define GOODBYE",
        GREETING,
    ),
    (
        "name that its module only imports",
        "oaiserve.py",
        MAIN.replace("    greet,", "    HELLO, greet,"),
        "oaiserve.py:8: protocol/greeting.py does not define HELLO; protocol/words.py does",
        MAIN.replace("from protocol.g", "from protocol.words import HELLO\nfrom protocol.g"),
    ),
    (
        "name in two modules",
        "protocol/words.py",
        with_line("_SPACES = 3"),
        "protocol/greeting.py:11: _SPACES is already bound in protocol/words.py:9: give it another name",
        with_line("_BLANKS = 3\n_BLANKS = 4"),
    ),
    (
        "imported name bound again",
        "protocol/greeting.py",
        GREETING + "\n\nHELLO = 3\n",
        "protocol/greeting.py:24: HELLO is already bound in protocol/words.py:8: give it another name",
        GREETING + "\n\ndef other():\n    HELLO = 3\n",
    ),
    (
        "name of a module of the standard library that another module imports",
        "protocol/words.py",
        with_line("os = 3"),
        "protocol/words.py:9: os is already imported in protocol/greeting.py:5: give it another name",
        with_line("path = 3"),
    ),
    (
        "name of a builtin",
        "protocol/words.py",
        with_line("class TimeoutError(Exception):\n    pass"),
        "protocol/words.py:9: TimeoutError would hide the builtin from all other modules: give it another name",
        with_line("class Timeout(Exception):\n    def open(self):\n        pass"),
    ),
    (
        "name of the language outside the main module",
        "protocol/words.py",
        with_line("__all__ = []"),
        "protocol/words.py:9: __all__ would count for the whole program: it belongs in oaiserve.py",
        with_line("_all = []"),
    ),
    (
        "__file__",
        "oaiserve.py",
        MAIN.replace("return 3", "return __file__"),
        "oaiserve.py:17: __file__ is lost when the modules are joined",
        MAIN.replace("return 3", "return 3 if __doc__ else sys.__file__"),
    ),
    (
        "__main__ guard outside the main module",
        "protocol/words.py",
        with_line('if __name__ == "__main__":\n    pass'),
        "protocol/words.py:9: __name__ is lost when the modules are joined; a `__main__` guard belongs in oaiserve.py",
        with_line('if HELLO.__class__.__name__ == "__main__":\n    pass'),
    ),
    (
        "code beside the modules",
        "protocol/__init__.py",
        '"""The parts."""\n\nLIMIT = 3\n',
        "protocol/__init__.py:3: expected nothing but a docstring: it is not joined",
        '"""The parts."""\n\n# LIMIT = 3\n',
    ),
    (
        "module that nothing reaches",
        "protocol/lonely.py",
        "from __future__ import annotations\n",
        "protocol/lonely.py:1: left out: nothing that oaiserve.py imports leads to it",
        None,
    ),
    (
        "file that is no module",
        "protocol/page.html",
        "<html></html>",
        "protocol/page.html:1: left out: only .py files can be joined; put its text into a module",
        None,
    ),
    (
        "no main function",
        "oaiserve.py",
        MAIN.replace("main()", "start()"),
        "oaiserve.py:1: expected a function main(), which the zipapp calls",
        MAIN,
    ),
    (
        "syntax",
        "protocol/words.py",
        with_line("LIMIT = = 3"),
        "protocol/words.py:9: invalid syntax",
        with_line("LIMIT == 3 if (LIMIT := 3) else 4"),
    ),
    (
        "syntax of a later Python than the floor",
        "protocol/words.py",
        with_line("match HELLO:\n    case _:\n        pass"),
        "protocol/words.py:",
        with_line("match = HELLO"),
    ),
    (
        "null byte",
        "protocol/words.py",
        with_line("# \0"),
        "protocol/words.py:1: source code string cannot contain null bytes",
        with_line("# \\0"),
    ),
    (
        "another encoding than UTF-8",
        "protocol/words.py",
        WORDS.encode("latin-1"),
        "protocol/words.py:8: expected UTF-8, got byte 0xfc",
        WORDS,
    ),
]


@pytest.mark.parametrize(
    ("path", "refused", "error", "accepted"), [rule[1:] for rule in RULES], ids=[r[0] for r in RULES]
)
def test_holds_the_tree_to_the_rule(
    tmp_path: pathlib.Path, path: str, refused: str | bytes, error: str, accepted: str | None
) -> None:
    with pytest.raises(BundleError) as caught:
        build(tmp_path / "refused", {path: refused})
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(error)
    assert not (tmp_path / "refused" / "built").exists()
    for program in build(tmp_path / "accepted", {path: accepted}):
        assert run(program, "you").returncode == 3


def module(name: str, *imports: str) -> str:
    lines = ["from __future__ import annotations", *(f"from protocol.{other} import {other}_name" for other in imports)]
    return "\n".join([*lines, f"{name}_name = 1", ""])


@pytest.mark.parametrize(
    ("imports", "circle"),
    [
        ({"a": "a"}, "protocol/a.py:2: import cycle: protocol/a.py -> protocol/a.py"),
        ({"a": "b", "b": "a"}, "protocol/b.py:2: import cycle: protocol/a.py -> protocol/b.py -> protocol/a.py"),
        (
            {"a": "b", "b": "dc", "c": "b", "d": ""},
            "protocol/c.py:2: import cycle: protocol/b.py -> protocol/c.py -> protocol/b.py",
        ),
    ],
    ids=["of one", "of two", "behind others"],
)
def test_refuses_import_cycles(tmp_path: pathlib.Path, imports: dict[str, str], circle: str) -> None:
    with pytest.raises(BundleError) as caught:
        build(tmp_path, tree_of(imports))
    assert str(caught.value) == circle


def tree_of(imports: dict[str, str]) -> dict[str, str | bytes | None]:
    changes = {f"protocol/{name}.py": module(name, *others) for name, others in imports.items()}
    main = MAIN.replace("from protocol.greeting", "from protocol.a import a_name\nfrom protocol.greeting")
    return {"oaiserve.py": main, **changes}


def test_module_reached_by_two_ways_is_joined_once_below_both(tmp_path: pathlib.Path) -> None:
    single, _ = build(tmp_path, tree_of({"a": "cb", "b": "d", "c": "d", "d": ""}))
    order = re.findall(r"^# =+ begin (\S+) =+$", pathlib.Path(single).read_text("utf-8"), re.MULTILINE)
    names = ["protocol/d.py", "protocol/b.py", "protocol/c.py", "protocol/a.py"]
    assert order == [*names, "protocol/words.py", "protocol/greeting.py", "oaiserve.py"]


TOP_LEVEL = [
    ("assignment", "taken = 1"),
    ("chained", "other = taken = 1"),
    ("tuple", "other, (more, *taken) = 1, (2, 3)"),
    ("annotated", "taken: int = 1"),
    ("annotation alone", "taken: int"),
    ("augmented", "taken = 1\ntaken += 1"),
    ("function", "def taken(): pass"),
    ("coroutine", "async def taken(): pass"),
    ("class", "class taken: pass"),
    ("decorated", "@str\ndef taken(): pass"),
    ("for", "for taken in (1,): pass"),
    ("with", "with memoryview(b'') as taken: pass"),
    ("while", "while True:\n    taken = 1\n    break"),
    ("if", "if HELLO:\n    pass\nelse:\n    taken = 1"),
    ("try", "try:\n    pass\nfinally:\n    taken = 1"),
    ("except", "try:\n    pass\nexcept OSError as taken:\n    pass"),
    ("walrus", "print if (taken := 1) else 2"),
    ("walrus in a comprehension", "[0 for other in (1, 2) if (taken := other)]"),
    ("global", "def other():\n    global taken\n    taken = 1"),
]


@pytest.mark.parametrize("code", [code for _, code in TOP_LEVEL], ids=[name for name, _ in TOP_LEVEL])
def test_sees_every_way_to_bind_a_name(tmp_path: pathlib.Path, code: str) -> None:
    with pytest.raises(
        BundleError, match=r"^protocol/greeting\.py:22: taken is already bound in protocol/words\.py:\d+:"
    ):
        build(tmp_path, {"protocol/words.py": with_line(code), "protocol/greeting.py": GREETING + "taken = 1\n"})


OTHER_SCOPES = [
    ("parameter", "def other(taken): taken += 1"),
    ("local variable", "def other():\n    taken = 1"),
    ("attribute", "class other:\n    taken = 1\nother.taken = 2"),
    ("item", "other = {}\nother['taken'] = 1"),
    ("comprehension", "other = [taken for taken in (1,)]"),
    ("nested comprehension", "other = {taken: 1 for more in ((1,),) for taken in more}"),
    ("lambda", "other = lambda taken: [taken := 1]"),
    ("keyword", "other = dict(taken=1)"),
]


@pytest.mark.parametrize("code", [code for _, code in OTHER_SCOPES], ids=[name for name, _ in OTHER_SCOPES])
def test_names_of_other_scopes_are_free(tmp_path: pathlib.Path, code: str) -> None:
    single, _ = build(
        tmp_path, {"protocol/words.py": with_line(code), "protocol/greeting.py": GREETING + "taken = 1\n"}
    )
    assert run(single, "you").returncode == 3


@pytest.mark.skipif(sys.version_info < (3, 10), reason="nothing lists the standard library before Python 3.10")
def test_refuses_what_is_neither_ours_nor_in_the_standard_library(tmp_path: pathlib.Path) -> None:
    with pytest.raises(BundleError) as caught:
        build(tmp_path, {"protocol/words.py": with_line("import h11")})
    assert str(caught.value) == "protocol/words.py:9: h11 is neither ours nor in the standard library"


# Where it reads and writes


@pytest.mark.parametrize("missing", ["oaiserve.py", "protocol"])
def test_refuses_a_folder_that_is_no_source_tree(tmp_path: pathlib.Path, missing: str) -> None:
    source = pathlib.Path(make_tree(tmp_path / "tree"))
    (source / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(BundleError) as caught:
        write_bundle(str(source), str(tmp_path / "built"), "1.2")
    assert str(caught.value) == f"{source}: bundle needs the source tree: a folder with oaiserve.py and protocol/"


@pytest.mark.parametrize("product", [0, 1], ids=["file", "zipapp"])
def test_refuses_to_bundle_from_its_own_products(tmp_path: pathlib.Path, product: int) -> None:
    program = pathlib.Path(build(tmp_path)[product])
    source = program.parent if program.suffix == ".py" else program
    with pytest.raises(BundleError, match="bundle needs the source tree: a folder with oaiserve.py and protocol/"):
        write_bundle(str(source), str(tmp_path / "again"), "1.2")


def test_refuses_to_overwrite_the_source(tmp_path: pathlib.Path) -> None:
    source = make_tree(tmp_path / "tree")
    with pytest.raises(BundleError, match="would overwrite the oaiserve.py that it reads"):
        write_bundle(source, os.path.join(source, "protocol", ".."), "1.2")
    assert (tmp_path / "tree" / "oaiserve.py").read_text("utf-8") == MAIN


def test_may_write_into_a_folder_of_the_source_tree(tmp_path: pathlib.Path) -> None:
    source = make_tree(tmp_path / "tree")
    first, second = (
        [pathlib.Path(path).read_bytes() for path in write_bundle(source, os.path.join(source, "dist"), "1.2")]
        for _ in range(2)
    )
    assert first == second


def test_names_the_path_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    (tmp_path / "built").write_bytes(b"a file where a folder should be")
    with pytest.raises(BundleError) as caught:
        build(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'built'}: ")


# The real tree


def test_the_program_under_test_is_the_one_imported(command: list[str]) -> None:
    assert os.path.abspath(oaiserve.__file__).startswith(command[-1])


def test_the_command_builds_the_real_tree_to_programs_that_run(command: list[str], tmp_path: pathlib.Path) -> None:
    assert run(*command[1:], "bundle", str(tmp_path / "first")).returncode == 0
    assert run(*command[1:], "bundle", str(tmp_path / "second")).returncode == 0
    version = run(*command[1:], "--version").stdout
    for name in ("oaiserve.py", "oaiserve.pyz"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
        result = run(str(tmp_path / "first" / name), "--version")
        assert (result.stdout, result.stderr) == (version, "")
        assert oaiserve.__version__ in version


def test_the_real_tree_keeps_its_description_and_all_of_its_modules(command: list[str], tmp_path: pathlib.Path) -> None:
    single, _ = write_bundle(os.path.dirname(command[-1]), str(tmp_path), oaiserve.__version__)
    text = pathlib.Path(single).read_text("utf-8")
    assert ast.get_docstring(ast.parse(text), clean=False) == oaiserve.__doc__
    joined = set(re.findall(r"^# =+ begin protocol/(\S+) =+$", text, re.MULTILINE))
    package = pathlib.Path(command[-1]).parent / "protocol"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    assert joined == {path for path in modules if not path.endswith("__init__.py")}


def test_bundling_from_a_product_answers_one_line(command: list[str], tmp_path: pathlib.Path) -> None:
    if os.path.isdir(os.path.join(os.path.dirname(command[-1]), "protocol")):
        pytest.skip("the source tree is under test")
    result = run(*command[1:], "bundle", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "bundle needs the source tree: a folder with oaiserve.py and protocol/" in result.stderr
