"""The README and the Chinese guide as what can be run: their commands and their blocks of code; and a terminal for it.

A command is a line of a shell block, or a text in backticks that begins as one. Its comment does not count, and the
same command in several places is run once.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from programs import Program
from upstreams import closed_port

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md")}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL = ("", "sh")
_INLINE = re.compile(
    r"`((?:python[0-9.]* (?:oaiserve\.py|tests|-)|source |printf |curl |docker |pip |systemctl )[^`]*)`"
)


class Block(NamedTuple):
    """A block of code that is no shell's: the page, its language and its text."""

    page: str
    language: str
    text: str


def _uncommented(line: str) -> str:
    return re.sub(r"\s+#.*", "", line).strip()


def _commands() -> set[str]:
    found = set()
    for page in PAGES.values():
        for language, text in _FENCE.findall(page):
            if language in _SHELL:
                found |= {_uncommented(line) for line in text.replace("\\\n", " ").splitlines()}
        found |= set(_INLINE.findall(_FENCE.sub("", page)))
    return {re.sub(r" {2,}", " ", command) for command in found}


COMMANDS = _commands()
BLOCKS = [
    Block(name, language, text)
    for name, page in PAGES.items()
    for language, text in _FENCE.findall(page)
    if language not in _SHELL
]


def block(page: str, language: str, words: str) -> Block:
    """Return the only block of a page in this language that has these words."""
    (found,) = (one for one in BLOCKS if one.page == page and one.language == language and words in one.text)
    return found


class Terminal:
    """A shell in a folder with nothing but the single file, where lines of the pages are pasted.

    What is replaced in them, and nothing else: `instead`, of which the port 8080 is one. `pasted` is what was taken.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.port = closed_port()
        self.instead = {":8080": f":{self.port}"}
        self.variables = {"OAISERVE_SERVER_PORT": str(self.port)}
        self.pasted: set[str | Block] = set()

    def text(self, pasted: str | Block) -> str:
        """Return a command or a block as it is run here."""
        self.pasted.add(pasted)
        text = pasted if isinstance(pasted, str) else pasted.text
        for one, other in self.instead.items():
            text = text.replace(one, other)
        return text

    def write(self, name: str, pasted: Block, before: str = "") -> pathlib.Path:
        """Write a block into a file, behind more text."""
        file = self.folder / name
        file.write_text(before + self.text(pasted), encoding="utf-8")
        return file

    def run(self, command: str, *words: str, status: int = 0, given: str = "") -> str:
        """Run a command, and more words, to its end with this status; return what it prints, or its mistakes (2)."""
        shell = ["bash", "-c", " ".join((self.text(command), *words))]
        done = subprocess.run(
            shell, cwd=self.folder, env=self.environment(), input=given, capture_output=True, encoding="utf-8",
            timeout=50,
        )  # fmt: skip
        assert done.returncode == status, (command, done.stdout, done.stderr)
        return done.stderr if status == 2 else done.stdout

    def python(self, pasted: Block, before: str = "") -> str:
        """Run a program behind more of it, and return what it prints."""
        self.write("program.py", pasted, before)
        return self.run("python program.py")

    @contextlib.contextmanager
    def serving(self, *commands: str) -> Iterator[Program]:
        """Run commands of which the last one is a server's, until the block is left; its log is `server.log` here."""
        *before, last = map(self.text, commands)
        shell = ["bash", "-c", "\n".join((*before, f"exec {last}"))]
        with open(self.folder / "server.log", "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                shell, cwd=self.folder, env=self.environment(), stdout=subprocess.PIPE, stderr=log, encoding="utf-8"
            )  # fmt: skip
        try:
            assert process.stdout is not None
            banner = []
            while "stop it" not in (line := process.stdout.readline()):
                assert line, (commands, (self.folder / "server.log").read_text(encoding="utf-8"))
                banner.append(line)
            yield Program(process, "".join(banner))
        finally:
            process.terminate()
            process.communicate(timeout=50)

    def log(self) -> str:
        """Return what the server has logged."""
        return (self.folder / "server.log").read_text(encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """Return the variables of what runs here."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return {**kept, "PATH": path, "PYTHONIOENCODING": "utf-8", **self.variables}

    def clean(self) -> None:
        """Leave the folder as empty as it was: the program, its bytecode, and the name of Python."""
        for path in self.folder.iterdir():
            if path.name not in ("bin", "oaiserve.py", "__pycache__"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def place_python(folder: pathlib.Path) -> None:
    """Let `python` be the Python of the tests, for a terminal in this folder."""
    (folder / "bin").mkdir()
    for name in ("python", "python3"):
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (folder / "bin" / name).chmod(0o755)
