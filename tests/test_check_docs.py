"""tests/check/docs.py, standard.py and tools.py: what they find in small texts; `python tests/check` reads the tree."""

from __future__ import annotations

import pytest
from check.docs import anchors, check_commands, check_links, check_paths, check_test_names, check_version
from check.standard import check_imported
from check.tools import sort_dead

FILES = ["README.md", "config.ini", "deploy/nginx.conf", "protocol/wire/sse.py", "tests/check/__main__.py"]

HELP = """\
usage: python oaiserve.py [COMMAND] [options]

positional arguments:
  COMMAND               mock, try,
                        bundle; nothing: serve as configured

options:
  -h, --help            show this help message and exit
  -p N, --port N        port to listen on
  --set SECTION.KEY=VALUE
                        set one value

examples:
  python oaiserve.py              the mock
  python oaiserve.py try          is it well?
"""
COMPLETE = "`python oaiserve.py mock --port 1 --set a.b=c`, `python oaiserve.py try`, `python oaiserve.py bundle`\n"


# ---- links and paths


@pytest.mark.parametrize(
    "target", ["config.ini", "deploy", "deploy/nginx.conf", "https://nowhere.example/#x", "#two-words", "#快速开始"]
)
def test_accepts_links_that_lead_somewhere(target: str):
    page = f"# Two words\n\n## 快速开始\n\nSee [it]({target}).\n"
    assert list(check_links({"README.md": page}, FILES)) == []


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("gone.ini", "there is no such file"),
        ("deploy/nginx", "there is no such file"),
        ("#two", "there is no such heading"),
        ("README.md#one", "there is no such heading"),
    ],
)
def test_finds_links_that_lead_nowhere(target: str, sentence: str):
    page = f"# Two words\n\n```\n# one\n[code]({target})\n```\n\n[it]({target})\n"
    assert list(check_links({"README.md": page}, FILES)) == [f"README.md:8: {target}: {sentence}"]


def test_anchors_are_github_s():
    page = "# `python tests`: how, why\n\n## What's new?\n\n```\n# a comment\n```\n"
    assert anchors(page) == {"python-tests-how-why", "whats-new"}


def test_finds_paths_that_are_gone_in_comments_and_docstrings_alone():
    code = (
        '"""See protocol/gone.py,\nand protocol/wire/sse.py."""\n'
        'PATH = "protocol/made_up.py"  # as in tests/gone.py\n'
        'def f():\n    """In protocol/wire/."""\n    return "tests/made_up.py"\n'
    )
    assert list(check_paths({"oaiserve.py": code}, FILES)) == [
        "oaiserve.py:1: there is no protocol/gone.py",
        "oaiserve.py:3: there is no tests/gone.py",
    ]


def test_finds_paths_that_are_gone_in_prose_and_leaves_code_alone():
    page = "`protocol/wire/`, `tests/check`, .venv-tests/x, a/tests/x, tests/test_*.py\n\n```\nprotocol/yours.py\n```\n\nprotocol/gone.\n"
    assert list(check_paths({"README.md": page}, FILES)) == ["README.md:7: there is no protocol/gone"]


# ---- commands and options


def test_accepts_pages_that_agree_with_the_help():
    assert list(check_commands({"README.md": COMPLETE + "python tests/check docs  # or all"}, HELP, {"docs"})) == []


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("python oaiserve.py serve", "python oaiserve.py serve: there is no command serve"),
        ("python oaiserve.py --prot 1  # --x", "python oaiserve.py --prot 1  # --x: there is no option --prot"),
        ("python tests/check doc", "python tests/check doc: there is no check doc"),
    ],
)
def test_finds_commands_and_options_that_are_gone(line: str, sentence: str):
    assert list(check_commands({"README.md": COMPLETE + line}, HELP, {"docs"})) == [f"README.md:2: {sentence}"]


def test_finds_commands_and_options_that_are_nowhere_described():
    page = COMPLETE.replace("--port 1", "").replace("python oaiserve.py bundle", "")
    assert list(check_commands({"README.md": page}, HELP, {"docs"})) == [
        "README.md:1: the option --port is nowhere in it",
        "README.md:1: the command bundle is nowhere in it",
    ]


def test_a_help_that_cannot_be_read_is_a_finding():
    assert len(list(check_commands({}, "usage: oaiserve", {"docs"}))) == 1


def test_finds_tests_that_are_gone():
    texts = {"tests/test_sse.py": "def test_here():\n    pass\n"}
    page = "python tests tests/test_sse.py::test_here\npython tests tests/test_sse.py::test_he\n"
    assert list(check_test_names({"README.md": page}, texts)) == [
        "README.md:2: there is no test tests/test_sse.py::test_he"
    ]
    page = "python tests -k here  # some\npython tests --target source -k gone\n"
    assert list(check_test_names({"README.md": page}, texts)) == ["README.md:2: there is no test whose name has gone"]


def test_the_changelog_begins_with_the_program_s_version():
    changelog = "# Changelog\n\n## 0.2.0 (unreleased)\n\n## 0.1.0\n"
    assert list(check_version(changelog, 'VERSION = "0.2.0"\n')) == []
    assert list(check_version(changelog, 'VERSION = "0.1.0"\n')) == [
        "CHANGELOG.md:1: its newest version is 0.2.0, and the program says 0.1.0"
    ]


# ---- the standard library alone


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("import h11", "h11 is not in the standard library"),
        ("from uvloop.loop import Loop", "uvloop is not in the standard library"),
        ("def f():\n    import numpy.linalg", "numpy is not in the standard library"),
        ("import cgi", "cgi is gone by Python 3.13"),
    ],
)
def test_finds_imports_that_not_every_python_brings_along(line: str, sentence: str):
    number = line.count("\n") + 1
    assert check_imported({"oaiserve.py": line + "\n"}) == [f"oaiserve.py:{number}: {sentence}"]


def test_accepts_the_standard_library_and_what_is_ours():
    text = "import asyncio, zlib, _thread\nfrom urllib.parse import quote\nfrom protocol.wire.sse import Event\n"
    assert check_imported({"oaiserve.py": text}) == []


# ---- dead code


def test_excuses_what_others_call_and_nothing_else():
    output = (
        "protocol/a.py:3: unused method 'connection_made' (60% confidence)\n"
        "protocol/a.py:9: unused function 'forgotten' (60% confidence)\n"
    )
    assert sort_dead(output, {"connection_made": "asyncio"}) == ["protocol/a.py:9: unused function 'forgotten'"]


def test_what_is_loaded_on_demand_is_used_where_it_is_defined_and_nowhere_else():
    output = "protocol/a.py:3: unused class 'A' (60% confidence)\nprotocol/b.py:9: unused class 'A' (60% confidence)\n"
    assert sort_dead(output, {}, {("protocol/a.py", "A")}) == ["protocol/b.py:9: unused class 'A'"]


def test_an_excuse_that_is_no_longer_needed_is_found():
    assert sort_dead("", {"connection_made": "asyncio"}) == [
        "tests/check/tools.py:1: connection_made need not be excused: vulture finds no such thing"
    ]
