"""The command that a prompt gives to be run, where it stands without quotation marks.

It ends where the sentence goes on: words of a sentence that a shell took for arguments would name other files.
"""

from __future__ import annotations

import re

_PURPOSE = (
    r"to (?:see|check|verify|list|show|find|get|make|install|build|test|start|confirm|count|know|learn|print|create"
    r"|update|fix|ensure|look|do|tell|read|run)\b"
)
_SENTENCE = (
    r"(?:(?:and|then|but|so|before|after|because|when|once"
    r"|(?:in|on|with|using|inside|from|at|by|under) (?:the|this|that|my|your|our|a|an|its|each|every)"
    rf"|{_PURPOSE})(?=\s+\S)"
    r"|(?:again|now|please|for (?:me|us)|in (?:bash|shell))(?![^\s.,!?]))"
)
_WORD = r"(?:\"[^\"\n]{0,500}\"|'[^'\n]{0,500}'|\S)+"
# After a shell's own signs "then" is the shell's, too. A full stop before a capital ends the sentence.
_GAP = rf"[^\S\n]+(?:(?<=[;|&(] )|(?!{_SENTENCE})(?!(?<=\w[.!?] )(?-i:[A-Z])))"

#: A rule whose first group is a command after "run" and the like. Nothing has to follow, so that it never goes back.
COMMAND_RULE = rf"(?i)\b(?:run|execute|type|call)\s+(?:the\s+)?(?:command:?\s+)?({_WORD}(?:{_GAP}{_WORD})*)"
#: What ends a sentence, or a part of it, and no command.
COMMAND_END = ".?!,;:。？！"
_MOST_READ = 5_000  # characters


def told_command(prompt: str) -> str:
    """Return the command at the beginning of a prompt: in back-quotes, or after "run"; "" for none."""
    prompt = prompt[:_MOST_READ]
    quoted = re.search(r"`([^`\n]+)`", prompt)
    if quoted:
        return quoted[1]
    told = re.search(COMMAND_RULE, prompt)
    return told[1].rstrip(COMMAND_END) if told else ""
