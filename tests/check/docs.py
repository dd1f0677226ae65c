"""What is written about the program, held against it: links, paths, commands, options, the version.

The tests hold the README's configuration table and config.ini against the settings, key for key. Here is what a test of
one module does not see. Nothing in the tree is generated from something else; so there is no check that it is current.
"""

from __future__ import annotations

import ast
import io
import posixpath
import re
import tokenize
from collections.abc import Collection, Iterator, Mapping

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_PATH = re.compile(r"(?<![\w/.<-])(?:protocol|tests|deploy|\.ci)/(?![\w/.-]*\*)[\w/.-]*\w")  # no pattern
_RUN = re.compile(r"\bpython3? oaiserve\.py([^\n`]*)")
_CHECK = re.compile(r"\bpython3? tests/check([^\n`#]*)")
_TEST = re.compile(r"\b(tests/\w+\.py)::(\w+)")
_CHOICE = re.compile(r"\bpython3? tests [^\n`#]*-k (\w+)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def check_links(pages: Mapping[str, str], files: Collection[str]) -> Iterator[str]:
    """Yield the links between `pages` (Markdown by path) and to `files` that lead nowhere."""
    for path, text in pages.items():
        prose = _without_fences(text)
        for found in _LINK.finditer(prose):
            target = found[1]
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            goal = posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) if name else path
            if not _exists(goal, files):
                yield f"{path}:{_line(prose, found)}: {target}: there is no such file"
            elif anchor and goal in pages and anchor not in anchors(pages[goal]):
                yield f"{path}:{_line(prose, found)}: {target}: there is no such heading"


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(_without_fences(page))
    }


def check_paths(texts: Mapping[str, str], files: Collection[str]) -> Iterator[str]:
    """Yield the paths in prose (of Markdown all but the code, of Python comments and docstrings) that do not exist."""
    for path, text in texts.items():
        if path.endswith(".py"):
            prose = _comments_and_docstrings(path, text)
        else:
            prose = _without_fences(text) if path.endswith(".md") else text
        for found in _PATH.finditer(prose):
            if not _exists(found[0], files):
                yield f"{path}:{_line(prose, found)}: there is no {found[0]}"


def check_commands(pages: Mapping[str, str], help_text: str, checks: Collection[str]) -> Iterator[str]:
    """Yield where a page's commands and options, the help's own examples, and what the program takes differ."""
    known = set(_OPTION.findall(help_text.partition("\nexamples:")[0]))
    commands = re.search(r"COMMAND +((?:\w+,\s+)+\w+);", help_text)
    words = set(re.split(r",\s+", commands[1])) if commands else set()
    if not (known and words):
        yield "oaiserve.py:1: --help names no options or no commands (or tests/check/docs.py cannot read it)"
        return
    for path, text in {**pages, "oaiserve.py": help_text}.items():
        for found in _RUN.finditer(text):
            first = re.match(r" ([a-z]+)\b", found[1])
            if first and first[1] not in words:
                yield f"{path}:{_line(text, found)}: {found[0].strip()}: there is no command {first[1]}"
            for option in _OPTION.findall(found[1].partition("#")[0]):
                if option not in known:
                    yield f"{path}:{_line(text, found)}: {found[0].strip()}: there is no option {option}"
        for found in _CHECK.finditer(text):
            for name in re.findall(r"(?<![\w-])[a-z]+", found[1]):
                if name not in checks:
                    yield f"{path}:{_line(text, found)}: {found[0].strip()}: there is no check {name}"
    written = "\n".join(pages.values())
    for option in sorted(known - set(_OPTION.findall(written)) - {"--help"}):
        yield f"README.md:1: the option {option} is nowhere in it"
    for word in sorted(word for word in words if not re.search(rf"python oaiserve\.py {word}\b", written)):
        yield f"README.md:1: the command {word} is nowhere in it"


def check_test_names(pages: Mapping[str, str], texts: Mapping[str, str]) -> Iterator[str]:
    """Yield the tests that a page names, or chooses by a part of their names as `-k` does, and that are no more."""
    names = {name for text in texts.values() for name in re.findall(r"def (test_\w+)\(", text)}
    for path, text in pages.items():
        for found in _CHOICE.finditer(text):
            if not any(found[1] in name for name in names):
                yield f"{path}:{_line(text, found)}: there is no test whose name has {found[1]}"
        for found in _TEST.finditer(text):
            if f"def {found[2]}(" not in texts.get(found[1], ""):
                yield f"{path}:{_line(text, found)}: there is no test {found[0]}"


def check_version(changelog: str, program: str) -> Iterator[str]:
    """Yield a finding unless the changelog begins with the version that the program says it is."""
    told = re.search(r'^VERSION = "(.+)"$', program, re.MULTILINE)
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    if not (told and newest and told[1] == newest[1]):
        yield (
            f"CHANGELOG.md:1: its newest version is {newest[1] if newest else None}, "
            f"and the program says {told[1] if told else None}"
        )


def _exists(path: str, files: Collection[str]) -> bool:
    return path in files or any(file.startswith(path + "/") for file in files)


def _line(text: str, found: re.Match[str]) -> int:
    return text.count("\n", 0, found.start()) + 1


def _without_fences(page: str) -> str:
    return _FENCE.sub(lambda found: "\n" * found[0].count("\n"), page)


def _comments_and_docstrings(path: str, text: str) -> str:
    """Return a text of as many lines, in which nothing else is left."""
    lines = [""] * (text.count("\n") + 1)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = token.string
    for node in ast.walk(ast.parse(text, path)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and ast.get_docstring(node):
                written = text.splitlines()[first.lineno - 1 : first.end_lineno]
                lines[first.lineno - 1 : first.end_lineno] = written
    return "\n".join(lines)
