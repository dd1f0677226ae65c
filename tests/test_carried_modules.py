"""How the single file and the zipapp run: each way to start them, tracebacks, whose modules are whose, caches."""

from __future__ import annotations

import importlib.util
import marshal
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from bundles import GREETING, MAIN, ROOT, STARTER, WORDS, Changes, build, run_python

HELLO = "grüß dich you\n"
EACH_PRODUCT = pytest.mark.parametrize("product", [0, 1], ids=["file", "zipapp"])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Build the small tree once, for tests that leave the products as they are."""
    return build(tmp_path_factory.mktemp("small"))


def entry(program: str) -> str:
    """Return what goes on sys.path so that `import oaiserve` finds this product."""
    return os.path.dirname(program) if program.endswith(".py") else program


def run_code(program: str, code: str, **environ: str) -> str:
    """Return what Python code prints where `import oaiserve` finds the product, and PROGRAM is its path."""
    result = run_python("-c", code, PYTHONPATH=entry(program), PROGRAM=program, **environ)
    assert result.stderr == ""
    return result.stdout


# Ways to run it


@EACH_PRODUCT
@pytest.mark.parametrize("options", [[], ["-I"], ["-O"], ["-OO", "-B"]], ids=" ".join)
def test_runs_alone_as_a_program(
    built: tuple[str, str], product: int, options: list[str], tmp_path: pathlib.Path
) -> None:
    program = shutil.copy(built[product], tmp_path)
    result = run_python(*options, program, "some/where/you  all")
    assert (result.returncode, result.stdout, result.stderr) == (3, "grüß dich you all\n", "")


@EACH_PRODUCT
def test_runs_by_its_module_name_and_by_a_relative_path(built: tuple[str, str], product: int) -> None:
    program = built[product]
    result = run_python("-m", "oaiserve", "you", PYTHONPATH=entry(program))
    assert (result.returncode, result.stdout, result.stderr) == (3, HELLO, "")
    result = run_python(os.path.basename(program), "you", cwd=os.path.dirname(program))
    assert (result.returncode, result.stdout, result.stderr) == (3, HELLO, "")


@EACH_PRODUCT
@pytest.mark.parametrize("name", ["greet", "greet.txt"])
def test_runs_under_another_name(built: tuple[str, str], product: int, name: str, tmp_path: pathlib.Path) -> None:
    program = shutil.copy(built[product], tmp_path / name)
    assert run_python(program, "you").stdout == HELLO
    if os.name != "nt":
        os.symlink(program, tmp_path / "link")
        assert run_python(str(tmp_path / "link"), "you").stdout == HELLO


@EACH_PRODUCT
def test_can_be_imported(built: tuple[str, str], product: int) -> None:
    code = "import oaiserve; print(oaiserve.__doc__, oaiserve.__version__, oaiserve.greet('me'))"
    assert run_code(built[product], code) == "Greet: the tree's own description. 1.2 grüß dich me\n"


@EACH_PRODUCT
def test_each_part_can_be_imported_by_its_name_in_the_program(built: tuple[str, str], product: int) -> None:
    code = (
        "import oaiserve.protocol.words as words; from oaiserve.protocol import greeting; import oaiserve\n"
        "print(words.HELLO, greeting.greet is oaiserve.greet, greeting.__package__, oaiserve.protocol.__name__)\n"
        "try: import oaiserve.protocol.nothing\n"
        "except ModuleNotFoundError as exc: print(exc)\n"
        "try: import oaiserve.oaiserve\n"
        "except ModuleNotFoundError as exc: print(exc)\n"
    )
    assert run_code(built[product], code).splitlines() == [
        "grüß dich True oaiserve.protocol oaiserve.protocol",
        "No module named 'oaiserve.protocol.nothing'",
        "No module named 'oaiserve.oaiserve'",
    ]


def test_single_file_can_be_imported_as_a_part_of_a_package(built: tuple[str, str], tmp_path: pathlib.Path) -> None:
    (tmp_path / "vendor").mkdir()
    shutil.copy(built[0], tmp_path / "vendor" / "other.py")
    code = "from vendor import other; print(other.greet('you'), other.greet.__module__, other.main.__module__)"
    result = run_python("-c", code, cwd=tmp_path)
    assert (result.stdout, result.stderr) == ("grüß dich you vendor.other.protocol.greeting vendor.other\n", "")


def test_single_file_can_be_imported_out_of_another_s_archive(built: tuple[str, str], tmp_path: pathlib.Path) -> None:
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.write(built[0], "oaiserve.py")
        archive.writestr("__main__.py", "import oaiserve; print(oaiserve.greet('you'))")
    result = run_python(str(tmp_path / "app.pyz"))
    assert (result.stdout, result.stderr) == (HELLO, "")


LOADING = """
import importlib.util, os, runpy, sys
def load(name):
    spec = importlib.util.spec_from_file_location(name, os.environ["PROGRAM"])
    module = importlib.util.module_from_spec(spec)
    {register}
    spec.loader.exec_module(module)
    return module
"""


@pytest.mark.parametrize("register", ["sys.modules[name] = module", "pass"], ids=["registered", "not registered"])
@pytest.mark.parametrize("name", ["oaiserve", "other", "no-identifier"])
def test_single_file_can_be_loaded_from_its_path(built: tuple[str, str], register: str, name: str) -> None:
    code = LOADING.format(register=register) + f"print(load({name!r}).greet('you'), {name!r} in sys.modules)"
    result = run_python("-c", code, PROGRAM=built[0])
    assert (result.stdout, result.stderr) == (f"grüß dich you {register != 'pass'}\n", "")


def test_single_file_can_be_run_by_runpy(built: tuple[str, str]) -> None:
    code = "import os, runpy; print(runpy.run_path(os.environ['PROGRAM'])['greet']('you'))"
    result = run_python("-c", code, PROGRAM=built[0])
    assert (result.stdout, result.stderr) == (HELLO, "")


def test_single_file_runs_with_another_platform_s_line_endings(built: tuple[str, str], tmp_path: pathlib.Path) -> None:
    (tmp_path / "oaiserve.py").write_bytes(pathlib.Path(built[0]).read_bytes().replace(b"\n", b"\r\n"))
    result = run_python(str(tmp_path / "oaiserve.py"), "nobody")
    assert (
        f"line {line_in((tmp_path / 'oaiserve.py').read_text('utf-8'), 'raise LookupError')}, in greet" in result.stderr
    )
    assert run_python(str(tmp_path / "oaiserve.py"), "you").stdout == HELLO


FINDS_TEXTS = """\
    lists = [each for each in gc.get_objects() if type(each) is list]
    print(any(type(item) is str and "raise LookupError(name" in item for each in lists for item in each))
    return 3
"""


def test_lets_go_of_the_strings_that_python_keeps_of_a_script(tmp_path: pathlib.Path) -> None:
    main = MAIN.replace("    return 3\n", FINDS_TEXTS).replace("import sys\n", "import gc\nimport sys\n", 1)
    keeps: Changes = {path: text.replace("holder.clear()", "pass") for path, text in STARTER.items()}
    for name, changes, found in (("lets go", {}, False), ("keeps", keeps, True)):
        program = build(tmp_path / name, {"oaiserve.py": main, **changes})[0]
        assert run_python(program, "you").stdout == f"{HELLO}{found}\n"


@EACH_PRODUCT
def test_reads_itself_once_and_loads_on_demand_from_that(tmp_path: pathlib.Path, product: int) -> None:
    """Modules are loaded on demand from the text that was there at the start, whatever has become of the file."""
    changes: Changes = {
        "oaiserve.py": MAIN.replace("from p", "from protocol.on_demand import load\nfrom p", 1),
        "protocol/on_demand.py": (
            "from __future__ import annotations\nimport importlib\n"
            'TABLE = {"late": "protocol.late"}\n'
            "def load(name: str):\n"
            "    return importlib.import_module(TABLE[name].replace('protocol', '', 1), __package__)\n"
        ),
        "protocol/late.py": "from __future__ import annotations\nfrom protocol.words import HELLO\nLATE = HELLO * 2\n",
    }
    program = build(tmp_path, changes)[product]
    code = (
        "import oaiserve, os, sys; print('oaiserve.protocol.late' in sys.modules)\n"
        "open(os.environ['PROGRAM'], 'wb').close()\n"
        "print(oaiserve.load('late').LATE, oaiserve.protocol.late is oaiserve.load('late'))"
    )
    assert run_code(program, code) == "False\ngrüß dichgrüß dich True\n"


# Tracebacks


def line_in(text: str, what: str) -> int:
    return text[: text.index(what)].count("\n") + 1


def where_it_fails(built: tuple[str, str], product: int) -> tuple[str, int]:
    """Return the file and the line that a traceback has to name for greet()'s error."""
    if product == 0:
        return built[0], line_in(pathlib.Path(built[0]).read_text("utf-8"), "raise LookupError")
    return os.path.join(built[1], "modules", "protocol", "greeting.py"), line_in(GREETING, "raise LookupError")


@EACH_PRODUCT
def test_traceback_names_file_line_and_text(built: tuple[str, str], product: int) -> None:
    file, line = where_it_fails(built, product)
    code = (
        "import oaiserve, traceback\ntry: oaiserve.greet('nobody')\nexcept LookupError: print(traceback.format_exc())"
    )
    for _ in range(2):  # compiled, then from the cache
        text = run_code(built[product], code)
        assert f'  File "{file}", line {line}, in greet\n    raise LookupError(name + text[:3])\n' in text


@EACH_PRODUCT
def test_traceback_of_the_main_module_names_its_line(built: tuple[str, str], product: int) -> None:
    file, text = (built[0], pathlib.Path(built[0]).read_text("utf-8")) if product == 0 else ("oaiserve.py", MAIN)
    code = (
        "import oaiserve, sys, traceback\nsys.argv[1:] = []\n"
        "try: oaiserve.main()\nexcept IndexError: traceback.print_exc(file=sys.stdout)"
    )
    shown = run_code(built[product], code)
    line = line_in(text, "print(greet(")
    assert f'{file}", line {line}, in main\n    print(greet(sys.argv[1]))\n' in shown


@EACH_PRODUCT
def test_traceback_of_a_program_that_fails_names_file_and_line(built: tuple[str, str], product: int) -> None:
    file, line = where_it_fails(built, product)
    shown = run_python(built[product], "nobody").stderr
    assert f'  File "{file}", line {line}, in greet\n' in shown
    # Before Python 3.13 an interpreter that ends shows no text out of an archive.
    assert ("raise LookupError(name + text[:3])" in shown) == (product == 0 or sys.version_info >= (3, 13))


@EACH_PRODUCT
def test_text_of_a_function_can_be_had(built: tuple[str, str], product: int) -> None:
    code = "import inspect, oaiserve; print(inspect.getsource(oaiserve.greet) + inspect.getsource(oaiserve.main))"
    wanted = GREETING[GREETING.index("def greet") :] + MAIN[MAIN.index("def main") : MAIN.index("\n\nif __name__")]
    assert run_code(built[product], code).strip() == wanted.strip()


# One program, and whose module is whose

IMPORTS_ITSELF = """\
    itself = importlib.import_module("oaiserve")
    print(itself.main is main, __name__, [name for name in sys.modules if name.endswith("greeting")])
    return 3
"""


@EACH_PRODUCT
def test_run_as_a_program_and_imported_within_it_is_one(tmp_path: pathlib.Path, product: int) -> None:
    main = MAIN.replace("    return 3\n", IMPORTS_ITSELF).replace("import sys\n", "import importlib\nimport sys\n")
    result = run_python(build(tmp_path, {"oaiserve.py": main})[product], "you")
    assert (result.stdout, result.stderr) == (HELLO + "True oaiserve ['oaiserve.protocol.greeting']\n", "")


def test_run_by_a_program_that_has_imported_it_is_one(built: tuple[str, str]) -> None:
    code = (
        "import oaiserve, os, runpy, sys\nsys.argv[1:] = ['you']\noaiserve.greet = lambda name: 'the same ' + name\n"
        "try: runpy.run_path(os.environ['PROGRAM'], run_name='__main__')\nexcept SystemExit as exc: print(exc.code)"
    )
    assert run_code(built[0], code) == "the same you\n3\n"


@EACH_PRODUCT
def test_reloading_keeps_the_parts_as_python_does(built: tuple[str, str], product: int) -> None:
    code = (
        "import importlib, oaiserve, sys\ngreet, finders = oaiserve.greet, len(sys.meta_path)\n"
        "again = importlib.reload(oaiserve)\nprint(again.greet is greet, again is sys.modules['oaiserve'])\n"
        "print(len(sys.meta_path) - finders)"
    )
    assert run_code(built[product], code) == "True True\n0\n"


@EACH_PRODUCT
@pytest.mark.parametrize("first", ["protocol", "oaiserve"])
def test_embedding_program_s_own_protocol_is_another(
    built: tuple[str, str], product: int, first: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "protocol").mkdir()
    (tmp_path / "protocol" / "__init__.py").write_text("")
    (tmp_path / "protocol" / "words.py").write_text("HELLO = 'theirs'")
    second = "protocol" if first == "oaiserve" else "oaiserve"
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport {first}\nimport {second}\nimport protocol.words\n"
        "print(protocol.words.HELLO, oaiserve.greet('you'), protocol.__path__)"
    )
    assert run_code(built[product], code) == f"theirs grüß dich you [{str(tmp_path / 'protocol')!r}]\n"


@EACH_PRODUCT
def test_files_beside_the_program_do_not_hide_its_parts(
    built: tuple[str, str], product: int, tmp_path: pathlib.Path
) -> None:
    program = shutil.copy(built[product], tmp_path)
    (tmp_path / "protocol.py").write_text("raise SystemExit('theirs')")
    if product == 1:
        (tmp_path / "oaiserve.py").write_text("raise SystemExit('theirs')")
    result = run_python(os.path.basename(program), "you", cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (3, HELLO, "")


@EACH_PRODUCT
def test_lends_nobody_a_module_called_protocol(built: tuple[str, str], product: int) -> None:
    code = "import oaiserve\ntry: import protocol\nexcept ModuleNotFoundError as exc: print(exc)"
    assert run_code(built[product], code) == "No module named 'protocol'\n"


def test_two_copies_under_two_names_have_parts_of_their_own(built: tuple[str, str], tmp_path: pathlib.Path) -> None:
    shutil.copy(built[0], tmp_path / "other.py")
    code = "import oaiserve, other; print(oaiserve.greet is other.greet, oaiserve.greet('you') == other.greet('you'))"
    result = run_python("-c", code, PYTHONPATH=os.pathsep.join([entry(built[0]), str(tmp_path)]))
    assert (result.stdout, result.stderr) == ("False True\n", "")


# Caches

TAG = sys.implementation.cache_tag
HEADER_BYTES = 16


def cache_names(program: str, optimized: str = "") -> list[str]:
    stem = os.path.basename(program).replace(".py", "") if program.endswith(".py") else os.path.basename(program)
    parts = ("main", "protocol", "protocol.greeting", "protocol.words")
    return [f"{stem}.{part}.{TAG}{optimized}.pyc" for part in parts]


def caches_beside(program: str) -> list[str]:
    folder = pathlib.Path(program).parent / "__pycache__"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def greeting_cache(program: str) -> pathlib.Path:
    return pathlib.Path(program).parent / "__pycache__" / cache_names(program)[2]


def tell(cache: pathlib.Path) -> None:
    """Put other code behind the cache's header, so that whoever runs it tells."""
    code = compile("def greet(name): return 'from the cache'", "", "exec")
    cache.write_bytes(cache.read_bytes()[:HEADER_BYTES] + marshal.dumps(code))


@EACH_PRODUCT
def test_keeps_bytecode_beside_it_and_uses_it(tmp_path: pathlib.Path, product: int) -> None:
    program = build(tmp_path)[product]
    assert run_python(program, "you").stdout == HELLO
    assert caches_beside(program) == cache_names(program)
    header = greeting_cache(program).read_bytes()[:HEADER_BYTES]
    assert header.startswith(importlib.util.MAGIC_NUMBER + b"\3\0\0\0")
    tell(greeting_cache(program))
    assert run_python(program, "you").stdout == "from the cache\n"
    assert run_code(program, "import oaiserve; print(oaiserve.greet('you'))") == "from the cache\n"
    assert run_python("-B", program, "you").stdout == "from the cache\n"


def test_both_forms_in_one_folder_keep_caches_of_their_own(tmp_path: pathlib.Path) -> None:
    single, zipapp = build(tmp_path)
    for program in (single, zipapp):
        run_python(program, "you")
        tell(greeting_cache(program))
    assert caches_beside(single) == sorted(cache_names(single) + cache_names(zipapp))
    assert [run_python(program, "you").stdout for program in (single, zipapp)] == ["from the cache\n"] * 2


@EACH_PRODUCT
def test_stale_caches_are_replaced(tmp_path: pathlib.Path, product: int) -> None:
    program = build(tmp_path)[product]
    run_python(program, "you")
    tell(greeting_cache(program))
    moved_down = MAIN.replace("import sys\n", "import sys\n\n\n")  # another line is another place for the single file
    build(tmp_path, {"protocol/greeting.py": GREETING.replace("{HELLO} ", "{HELLO}, "), "oaiserve.py": moved_down})
    for _ in range(2):
        assert run_python(program, "you").stdout == "grüß dich, you\n"
    assert caches_beside(program) == cache_names(program)


@EACH_PRODUCT
def test_another_copy_s_caches_are_not_used(tmp_path: pathlib.Path, product: int) -> None:
    program = build(tmp_path)[product]
    run_python(program, "you")
    tell(greeting_cache(program))
    os.rename(tmp_path / "built", tmp_path / "moved")
    moved = str(tmp_path / "moved" / os.path.basename(program))
    assert run_python(moved, "you").stdout == HELLO
    assert str(tmp_path / "moved") in run_python(moved, "nobody").stderr


BROKEN = {
    "empty": lambda data: b"",
    "half a header": lambda data: data[:10],
    "header alone": lambda data: data[:HEADER_BYTES],
    "half": lambda data: data[: len(data) // 2],
    "another Python's": lambda data: b"\0\0\r\n" + data[4:],
    "unchecked": lambda data: data[:4] + b"\1" + data[5:],
    "another text's": lambda data: data[:8] + b"\0" * 8 + data[HEADER_BYTES:],
    "garbage": lambda data: data[:HEADER_BYTES] + b"\xff" * 100,
    "no code": lambda data: data[:HEADER_BYTES] + marshal.dumps("code"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_and_foreign_caches_are_replaced(tmp_path: pathlib.Path, kind: str) -> None:
    program = build(tmp_path)[0]
    run_python(program, "you")
    whole = greeting_cache(program).read_bytes()
    greeting_cache(program).write_bytes(BROKEN[kind](whole))
    result = run_python(program, "you")
    assert (result.stdout, result.stderr) == (HELLO, "")
    assert greeting_cache(program).read_bytes() == whole


@EACH_PRODUCT
def test_says_nothing_where_it_may_not_write(tmp_path: pathlib.Path, product: int) -> None:
    program = build(tmp_path)[product]
    (tmp_path / "built" / "__pycache__").write_bytes(b"a file where the folder should be: not even root can write")
    result = run_python(program, "you")
    assert (result.returncode, result.stdout, result.stderr) == (3, HELLO, "")


@EACH_PRODUCT
def test_keeps_nothing_when_python_shall_not(tmp_path: pathlib.Path, product: int) -> None:
    program = build(tmp_path)[product]
    assert run_python("-B", program, "you").stdout == HELLO
    assert run_python(program, "you", PYTHONDONTWRITEBYTECODE="1").stdout == HELLO
    code = "import sys; sys.implementation.cache_tag = None; import oaiserve; print(oaiserve.greet('you'))"
    assert run_code(program, code) == HELLO
    assert caches_beside(program) == []


@EACH_PRODUCT
def test_keeps_bytecode_where_python_keeps_all(tmp_path: pathlib.Path, product: int) -> None:
    program = build(tmp_path)[product]
    for _ in range(2):
        assert run_python("-X", f"pycache_prefix={tmp_path / 'caches'}", program, "you").stdout == HELLO
    assert caches_beside(program) == []
    kept = sorted((tmp_path / "caches").rglob("oaiserve*.pyc"))
    assert [path.name for path in kept] == cache_names(program)
    assert kept[0].parent.relative_to(tmp_path / "caches").parts == (tmp_path / "built").parts[1:]


@pytest.mark.parametrize(("option", "optimized"), [("-O", ".opt-1"), ("-OO", ".opt-2")])
def test_each_level_of_optimizing_has_its_own(tmp_path: pathlib.Path, option: str, optimized: str) -> None:
    program = build(tmp_path, {"protocol/words.py": WORDS + "if __debug__:\n    HELLO = 'debugging'\n"})[0]
    for _ in range(2):
        assert run_python(program, "you").stdout == "debugging you\n"
        assert run_python(option, program, "you").stdout == HELLO
    assert caches_beside(program) == sorted(cache_names(program) + cache_names(program, optimized))


def test_image_is_built_with_the_bytecode_of_every_module(tmp_path: pathlib.Path) -> None:
    program = build(tmp_path)[0]
    command = re.search(r'python3 -c "(import oaiserve.+)"', (ROOT / "Dockerfile").read_text("utf-8"))
    assert command is not None
    assert run_code(program, command[1]) == ""
    assert set(cache_names(program)) <= set(caches_beside(program))


def test_starts_at_once_many_times_and_none_meets_half_a_file(tmp_path: pathlib.Path) -> None:
    program = build(tmp_path)[0]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for _ in range(3):
        shutil.rmtree(tmp_path / "built" / "__pycache__", ignore_errors=True)
        starts = [
            subprocess.Popen(
                [sys.executable, "-S", "-X", "utf8", program, "you"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=clean,
            )
            for _ in range(6)
        ]  # fmt: skip
        assert [start.communicate(timeout=100) for start in starts] == [(HELLO, "")] * 6
        assert caches_beside(program) == cache_names(program)
