"""The product needs the standard library and nothing else: it imports no more, and it imports where no more is."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping

#: In Python 3.9, the floor, and gone by 3.13, the ceiling (PEP 594, PEP 632 and what went with them).
REMOVED = frozenset(
    "_bootsubprocess aifc asynchat asyncore audioop binhex cgi cgitb chunk crypt distutils formatter imghdr imp lib2to3"
    " macpath msilib nis nntplib ossaudiodev parser pipes smtpd sndhdr spwd sunau symbol telnetlib uu xdrlib".split()
)
#: The beginning of the single file: it runs when modules follow it there, and not as a module of the tree.
_STARTER = "protocol/tools/starter.py"
_OURS = frozenset(("oaiserve", "protocol"))


def check_imported(sources: Mapping[str, str]) -> list[str]:
    """Return a finding for each import of what some Python from 3.9 to 3.13 does not bring along."""
    standard = _standard_modules() - REMOVED
    findings = []
    for path, text in sorted(sources.items()):
        for node in ast.walk(ast.parse(text, path)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            else:
                continue
            for name in names:
                root = name.partition(".")[0]
                if root in REMOVED:
                    findings.append(f"{path}:{node.lineno}: {root} is gone by Python 3.13")
                elif root not in standard | _OURS:
                    findings.append(f"{path}:{node.lineno}: {root} is not in the standard library")
    return findings


def check_alone(root: str, sources: Mapping[str, str]) -> list[str]:
    """Import every module in a Python that sees no installed package, with warnings as errors."""
    paths = sorted(path for path in sources if path != _STARTER)
    names = [path[: -len(".py")].replace("/__init__", "").replace("/", ".") for path in paths]
    # -I and -S: no site-packages, no working directory, no PYTHONPATH. -B: this leaves nothing in the tree.
    script = (
        "import importlib, sys; sys.path.insert(0, sys.argv[1]); [importlib.import_module(n) for n in sys.argv[2:]]"
    )
    python = [sys.executable, "-I", "-S", "-B", "-W", "error", "-c", script, root, *names]
    done = subprocess.run(python, check=False, capture_output=True, text=True)
    if done.returncode == 0:
        return []
    frames = [line.split('"')[1] for line in done.stderr.splitlines() if line.startswith(f'  File "{root}')]
    where = os.path.relpath(frames[-1], root) if frames else "oaiserve.py"
    return [f"{where}:1: with the standard library alone: {done.stderr.strip().splitlines()[-1]}"]


def _standard_modules() -> frozenset[str]:
    names: frozenset[str] | None = getattr(sys, "stdlib_module_names", None)
    if names is not None:
        return names
    folder = sysconfig.get_path("stdlib")  # Python 3.9 has no list of them
    found = {entry.split(".")[0] for entry in os.listdir(folder) + os.listdir(os.path.join(folder, "lib-dynload"))}
    return frozenset(found - {"site-packages"} | set(sys.builtin_module_names))
