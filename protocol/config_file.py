"""The text of a config.ini, as sections, keys and values. Only a start that has such a file needs this."""

from __future__ import annotations

import configparser
import re

from protocol.errors import UsageError, evidence


def read_ini(text: str, path: str) -> list[tuple[str, str, str]]:
    """Return section, key and value of every line in order; `path` names the file in messages. UsageError."""
    parser = _IniParser(
        delimiters=("=",), comment_prefixes=("#", ";"), inline_comment_prefixes=(";",), interpolation=None,
        empty_lines_in_values=False, default_section="\0",
    )  # fmt: skip
    try:
        parser.read_string(text, path)
    except configparser.Error as exc:
        raise UsageError(_mistake(exc, path, text)) from exc
    return [(section, key, value) for section in parser.sections() for key, value in parser.items(section)]


class _IniParser(configparser.ConfigParser):
    def optionxform(self, optionstr: str) -> str:
        """Leave a key as it is: ConfigParser would make it lower case, and model names differ by case."""
        return optionstr


def _mistake(exc: configparser.Error, path: str, text: str) -> str:
    if isinstance(exc, configparser.DuplicateOptionError):
        return f"{path} [{exc.section}] {exc.option}: stands there twice (line {exc.lineno}); keep one"
    if isinstance(exc, configparser.DuplicateSectionError):
        return f"{path} [{exc.section}]: stands there twice (line {exc.lineno}); join the two"
    if isinstance(exc, configparser.MissingSectionHeaderError):
        return f"{path} line {exc.lineno}: {evidence(exc.line.strip())} stands before the first [section]"
    if isinstance(exc, configparser.ParsingError):
        number = exc.errors[0][0]
        # What follows the first word may be a key or a password, behind a missing or a wrong sign.
        word, *rest = re.split(r"[\s:=]+", text.splitlines()[number - 1].strip(), maxsplit=1)
        shown = evidence(word) + (" …" if any(rest) else "")
        return f"{path} line {number}: {shown} is not understood; expected 'key = value', [section] or a comment"
    return f"{path}: {' '.join(str(exc).split())}"
