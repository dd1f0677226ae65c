"""A source tree of three modules, and what `bundle` makes of it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

from protocol.tools.bundle import write_bundle

ROOT = pathlib.Path(__file__).parent.parent

MAIN = '''\
#!/usr/bin/env python3
"""Greet: the tree's own description."""

from __future__ import annotations

import sys

from protocol.greeting import (
    greet,  # a comment inside an import
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

_SPACES = re.compile(r"\\s+")  # a backslash, and more: \\N{BULLET} \\'


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
STARTER = {"protocol/tools/starter.py": (ROOT / "protocol" / "tools" / "starter.py").read_text("utf-8")}

Changes = dict[str, "str | bytes | None"]


def make_tree(folder: pathlib.Path, changes: Changes | None = None) -> str:
    """Write TREE and the starter with `changes` to their files (None: not there) and return its path."""
    for path, content in {**TREE, **STARTER, **(changes or {})}.items():
        if content is not None:
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(folder)


def build(folder: pathlib.Path, changes: Changes | None = None) -> tuple[str, str]:
    """Make the tree in `folder` and return the paths of the single file and of the zipapp."""
    single, zipapp = write_bundle(make_tree(folder / "tree", changes), str(folder / "built"), "1.2")
    return single, zipapp


def run_python(
    *arguments: str, cwd: str | os.PathLike[str] | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with warnings as errors, and without what its variables may say about caches."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, "-S", "-W", "error", "-X", "utf8", *arguments],
        capture_output=True, encoding="utf-8", timeout=100, cwd=cwd, env={**clean, **environ},
    )  # fmt: skip
