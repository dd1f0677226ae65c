"""deploy/kubernetes.yaml, as tests read it: its documents and the files that it carries."""

from __future__ import annotations

import pathlib
import re
import textwrap

_MANIFESTS = pathlib.Path(__file__).parent.parent / "deploy" / "kubernetes.yaml"


def documents() -> dict[tuple[str, str], str]:
    """Return {(kind, name): text} of what is in kubernetes.yaml."""
    found = {}
    for text in _MANIFESTS.read_text(encoding="utf-8").split("\n---\n")[1:]:
        kind = found_in(text, r"^kind: (\S+)$")
        found[kind, found_in(text, r"^  name: (\S+)$")] = text
    return found


def block(text: str, key: str) -> str:
    """Return the block scalar that stands at a key."""
    return textwrap.dedent(found_in(text + "\n", rf"^  {re.escape(key)}: \|\n((?:    .*\n|\n)+)"))


def found_in(text: str, pattern: str) -> str:
    """Return what the group of a pattern finds first, which there must be."""
    found = re.search(pattern, text, re.MULTILINE)
    assert found, pattern
    return found[1]
