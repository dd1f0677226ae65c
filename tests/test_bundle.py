"""Bundling: what it writes for a small tree, each rule that it holds a tree to, and the real tree."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import zipfile

import pytest
from bundles import GREETING, MAIN, ROOT, STARTER, TREE, WORDS, Changes, build, make_tree, run_python

import oaiserve
from protocol.tools.bundle import BundleError, write_bundle

SECTION = """
# ==================== begin {path} after {lines} ====================
r'''
{text}'''
# ==================== end {path} ====================
"""

# What is written


def test_single_file_is_a_header_the_starter_and_each_module_as_it_stands(tmp_path: pathlib.Path) -> None:
    text = pathlib.Path(build(tmp_path)[0]).read_text("utf-8")
    header, starter, modules = text.partition(STARTER["protocol/tools/starter.py"])
    assert header.startswith("#!/usr/bin/env python3\n# oaiserve 1.2: ")
    assert "# Built from version 1.2 by `python oaiserve.py bundle`, do not edit" in header
    assert header.endswith("".join(f"#   {path}\n" for path in TREE) + "\n")
    assert starter
    lines = f"{header}{starter}".count("\n") + 1
    sections = []
    for path, carried in TREE.items():
        sections.append(SECTION.format(path=path, lines=lines + 3, text=carried))
        lines += sections[-1].count("\n")
    assert modules == "\n" + "".join(sections)


def test_returns_the_paths_that_it_wrote_and_leaves_nothing_else(tmp_path: pathlib.Path) -> None:
    built = tmp_path / "some" / "new folder"
    written = write_bundle(make_tree(tmp_path / "tree"), str(built), "1.2")
    assert written == [str(built / "oaiserve.py"), str(built / "oaiserve.pyz")]
    assert sorted(path.name for path in built.iterdir()) == ["oaiserve.py", "oaiserve.pyz"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bit")
def test_both_products_are_executable(tmp_path: pathlib.Path) -> None:
    for path in build(tmp_path):
        result = subprocess.run([path, "you"], capture_output=True, encoding="utf-8", timeout=100)
        assert (result.returncode, result.stderr) == (3, "")


def test_zip_holds_the_start_and_the_modules_that_the_single_file_has(tmp_path: pathlib.Path) -> None:
    single, zipapp = build(tmp_path)
    text = pathlib.Path(single).read_text("utf-8")
    assert pathlib.Path(zipapp).read_bytes().startswith(b"#!/usr/bin/env python3\nPK\x03\x04")
    with zipfile.ZipFile(zipapp) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["__main__.py", "modules.txt", "oaiserve.py"]
        assert text.endswith(archive.read("modules.txt").decode())
        assert archive.read("oaiserve.py").decode().endswith(STARTER["protocol/tools/starter.py"])
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert (entry.compress_type, entry.create_system) == (zipfile.ZIP_STORED, 3)
            assert entry.external_attr >> 16 == 0o100644


def test_same_source_gives_same_bytes(tmp_path: pathlib.Path) -> None:
    """Another folder, other times, the files made in another order and with the line endings of another platform."""
    first = [pathlib.Path(path).read_bytes() for path in build(tmp_path / "first")]
    texts = {**TREE, **STARTER}
    make_tree(tmp_path / "other" / "tree", {path: texts[path].replace("\n", "\r\n") for path in reversed(texts)})
    for path in texts:
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
    assert run_python(single, "you").returncode == 3


def test_cache_and_hidden_files_are_no_part_of_the_tree(tmp_path: pathlib.Path) -> None:
    plain = [pathlib.Path(path).read_bytes() for path in build(tmp_path / "plain")]
    strays = {"protocol/__pycache__/words.cpython-39.pyc": b"\0", "protocol/.words.py.swp": b"\0", "protocol/.x/a": b""}
    assert [pathlib.Path(path).read_bytes() for path in build(tmp_path / "strays", dict(strays))] == plain


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
        "another import form of ours: spaces",
        "protocol/greeting.py",
        GREETING.replace("from protocol.words", "from  protocol.words"),
        "protocol/greeting.py:8: expected `from protocol.x import Name`, got `from  protocol.words import HELLO`",
        GREETING.replace("import HELLO", "import HELLO; MORE = HELLO"),
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
        "text at column 0 that looks like an import of ours",
        "protocol/words.py",
        with_line('TEXT = """\nfrom protocol.words import HELLO\n"""'),
        "protocol/words.py:10: expected no `from protocol.` at column 0 but in imports: indent the line",
        with_line('TEXT = """\n from protocol.words import HELLO\nfrom protocol import words\n"""'),
    ),
    (
        "import of ours inside a function",
        "protocol/greeting.py",
        GREETING + "    from protocol.words import HELLO\n",
        "protocol/greeting.py:21: expected imports at column 0 only, not inside a block or function",
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
        "import behind another statement",
        "protocol/greeting.py",
        GREETING.replace("from protocol.words", "LIMIT = 3; from protocol.words"),
        "protocol/greeting.py:8: expected imports at column 0 only, not inside a block or function",
        GREETING,
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
        with_line("from os import path\nimport json as js"),
    ),
    (
        "no annotations from the future",
        "protocol/words.py",
        WORDS.replace("from __future__ import annotations\n", ""),
        "protocol/words.py:1: expected `from __future__ import annotations`, as in every other module",
        WORDS.replace("import annotations", "import annotations, division"),
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
        "name that another module defines",
        "oaiserve.py",
        MAIN.replace("    greet,", "    HELLO, greet, main,"),
        "oaiserve.py:8: protocol/greeting.py does not define main",
        MAIN.replace("    greet,", "    HELLO, greet,"),
    ),
    (
        "__file__",
        "oaiserve.py",
        MAIN.replace("return 3", "return __file__"),
        "oaiserve.py:17: __file__ is lost in the single file: a carried module has no place",
        MAIN.replace("return 3", "return 3 if __doc__ and __package__ is not None else sys.__file__"),
    ),
    (
        "two files for one module",
        "protocol/words/__init__.py",
        "",
        "protocol/words/__init__.py:1: protocol.words is already the name of protocol/words.py",
        None,
    ),
    (
        "module that nothing reaches",
        "protocol/lonely.py",
        "from __future__ import annotations\n",
        "protocol/lonely.py:1: left out: nothing that oaiserve.py imports leads to it",
        None,
    ),
    (
        "file of another kind",
        "protocol/page.png",
        "",
        "protocol/page.png:1: left out: only .py files can be carried, and .css, .html, .js",
        None,
    ),
    (
        "text that nobody asks for",
        "protocol/page.html",
        "<html></html>",
        "protocol/page.html:1: left out: no module names it",
        None,
    ),
    (
        "text that ends its string",
        "protocol/page.js",
        "const one = 1;\nconst two = '''2''';\n",
        "protocol/page.js:2: expected no ''': it would end the string that carries the text",
        None,
    ),
    (
        "no main function",
        "oaiserve.py",
        MAIN.replace("main()", "start()"),
        "oaiserve.py:1: expected a function main(), which starts the program",
        MAIN,
    ),
    (
        "end of the string that carries the module",
        "protocol/words.py",
        with_line("# '''"),
        "protocol/words.py:9: expected no ''': it would end the string that carries the text",
        with_line("# '' \\'"),
    ),
    (
        "banner",
        "protocol/words.py",
        with_line("# ==================== begin protocol/words.py ===================="),
        "protocol/words.py:9: expected no line that begins as a banner of the single file does",
        with_line(" # ==================== begin protocol/words.py ====================\n# ==== begin x ===="),
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
        "what the grammar allows and the compiler does not",
        "protocol/words.py",
        with_line("nonlocal other"),
        "protocol/words.py:9: nonlocal declaration not allowed at module level",
        with_line("def hello():\n    global HELLO"),
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
    result = run_python(build(tmp_path / "accepted", {path: accepted})[0], "you")
    assert (result.returncode, result.stderr) == (3, "")


@pytest.mark.skipif(sys.version_info < (3, 10), reason="nothing lists the standard library before Python 3.10")
@pytest.mark.parametrize("line", ["import h11", "from h11 import Request"])
def test_refuses_what_is_neither_ours_nor_in_the_standard_library(tmp_path: pathlib.Path, line: str) -> None:
    with pytest.raises(BundleError) as caught:
        build(tmp_path, {"protocol/words.py": with_line(line)})
    assert str(caught.value) == "protocol/words.py:9: h11 is neither ours nor in the standard library"


def module(name: str, *imports: str) -> str:
    lines = ["from __future__ import annotations", *(f"from protocol.{other} import {other}_name" for other in imports)]
    return "\n".join([*lines, f"{name}_name = 1", ""])


def tree_of(imports: dict[str, str]) -> Changes:
    changes = {f"protocol/{name}.py": module(name, *others) for name, others in imports.items()}
    main = MAIN.replace("from protocol.greeting", "from protocol.a import a_name\nfrom protocol.greeting")
    return {"oaiserve.py": main, **changes}


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


def test_module_reached_by_two_ways_is_carried_once(tmp_path: pathlib.Path) -> None:
    single, _ = build(tmp_path, tree_of({"a": "cb", "b": "d", "c": "d", "d": ""}))
    carried = re.findall(
        r"^# =+ begin protocol/(\w)\.py after \d+ =+$", pathlib.Path(single).read_text("utf-8"), re.MULTILINE
    )
    assert carried == ["a", "b", "c", "d"]
    assert run_python(single, "you").returncode == 3


def test_folder_of_modules_must_be_a_package(tmp_path: pathlib.Path) -> None:
    """Python would take any folder for one; the products know only what they carry."""
    changes: Changes = {
        "protocol/words.py": None,
        "protocol/german/words.py": WORDS,
        "protocol/greeting.py": GREETING.replace("protocol.words", "protocol.german.words"),
    }
    with pytest.raises(BundleError) as caught:
        build(tmp_path / "refused", dict(changes))
    assert str(caught.value) == "protocol/german/words.py:1: there is no protocol/german/__init__.py"
    for program in build(tmp_path / "accepted", {**changes, "protocol/german/__init__.py": ""}):
        assert run_python(program, "you").stdout == "grüß dich you\n"


def test_module_counts_as_reached_by_the_table_of_what_is_loaded_on_demand(tmp_path: pathlib.Path) -> None:
    changes: Changes = {
        "protocol/lonely.py": "from __future__ import annotations\n",
        "protocol/on_demand.py": 'from __future__ import annotations\nTABLE = {"lonely": ("protocol.lonely", "x")}\n',
    }
    with pytest.raises(BundleError, match="lonely.py:1: left out"):
        build(tmp_path / "refused", dict(changes))
    build(
        tmp_path / "accepted",
        {**changes, "oaiserve.py": MAIN.replace("from p", "from protocol.on_demand import TABLE\nfrom p", 1)},
    )


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


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Build the real tree by the command, and return the folder with both products."""
    folder = tmp_path_factory.mktemp("built")
    result = run_python(str(ROOT / "oaiserve.py"), "bundle", str(folder))
    assert result.stdout == f"{folder / 'oaiserve.py'}\n{folder / 'oaiserve.pyz'}\n"
    return folder


def test_the_command_builds_the_real_tree_to_programs_that_run(real: pathlib.Path, tmp_path: pathlib.Path) -> None:
    write_bundle(str(ROOT), str(tmp_path), oaiserve.__version__)
    for name in ("oaiserve.py", "oaiserve.pyz"):
        assert (tmp_path / name).read_bytes() == (real / name).read_bytes()
        result = run_python(str(real / name), "--version")
        assert (result.stdout, result.stderr) == (f"{oaiserve.__version__}\n", "")


def test_the_real_tree_keeps_its_description_and_all_of_its_modules(real: pathlib.Path) -> None:
    text = (real / "oaiserve.py").read_text("utf-8")
    carried = set(re.findall(r"^# =+ begin (protocol/\S+) after \d+ =+$", text, re.MULTILINE))
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "protocol").rglob("*.*") if path.suffix != ".pyc"}
    assert carried | set(STARTER) == modules
    code = "import oaiserve; print(oaiserve.__doc__, end='')"
    for entry in (real, real / "oaiserve.pyz"):
        assert run_python("-c", code, PYTHONPATH=str(entry)).stdout == oaiserve.__doc__


@pytest.mark.parametrize("name", ["oaiserve.py", "oaiserve.pyz"])
def test_bundling_from_a_product_answers_one_line(real: pathlib.Path, tmp_path: pathlib.Path, name: str) -> None:
    result = run_python(str(real / name), "bundle", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "bundle needs the source tree: a folder with oaiserve.py and protocol/" in result.stderr
