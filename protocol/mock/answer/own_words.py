"""What somebody says in a user's turn, apart from what the program that he uses puts around it.

Agents tell a model in the user's own turn where it works and what it has: the system, the folder, the skills. That
names tools, commands and files, and asks for none of them. Agents mark it with tags, whose names are known.
"""

from __future__ import annotations

import re

from protocol.budget import spend_turn

# Qwen Code and opencode; Codex; Cline and Roo; Copilot Chat.
_ASIDE = (
    r"<(system[-_]reminder|environment_context|user_instructions|environment_details|environment_info|workspace_info"
    r"|reminderInstructions|editorContext)(?: [^<>\n]{0,100})?>"
)
# Copilot Chat; Cursor.
_OWN = r"<(userRequest|user_query)>"
_CHARACTERS_A_STEP = 500


def own_words(text: str) -> str:
    """Return what a user's turn says by itself, "" where nothing is left of it."""
    if "</" not in text:
        return text
    spend_turn(1 + len(text) // _CHARACTERS_A_STEP)
    own = _sections(_OWN, text)
    if own:
        return text[own[0][1] : own[0][2]].strip()
    asides = _sections(_ASIDE, text)
    if not asides:
        return text
    starts = [0, *(end for *_, end in asides)]
    ends = [*(start for start, *_ in asides), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends)).strip()


def _sections(rule: str, text: str) -> list[tuple[int, int, int, int]]:
    """Return where each section begins, where what is in it begins and ends, and where the section ends."""
    found: list[tuple[int, int, int, int]] = []
    unclosed: set[str] = set()  # names that nothing closes any more: each is searched for once
    at = 0
    for opening in re.finditer(rule, text):
        if opening.start() < at or opening[1] in unclosed:
            continue
        mark = f"</{opening[1]}>"
        end = text.find(mark, opening.end())
        if end < 0:
            unclosed.add(opening[1])
        else:
            at = end + len(mark)
            found.append((opening.start(), opening.end(), end, at))
    return found
