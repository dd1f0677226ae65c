"""The text of an ini file: lines of our own that read as Python's configparser does, and tell all mistakes."""

from __future__ import annotations

import configparser
import random

import pytest

from protocol.config_file import Entry, read_entries

PIECES = [
    "\n[a]\n",
    "\n[b]\n",
    "k",
    "l",
    " = ",
    "=",
    "v",
    " ; c",
    ";",
    "#",
    " #",
    "\n",
    "\n  ",
    "\n    ",
    "\t",
    "w:",
    "]",
]


class Peer(configparser.ConfigParser):
    """configparser as it is set for such a file."""

    def __init__(self):
        super().__init__(
            delimiters=("=",), comment_prefixes=("#", ";"), inline_comment_prefixes=(";",), interpolation=None,
            empty_lines_in_values=False, default_section="\0",
        )  # fmt: skip

    def optionxform(self, optionstr):
        return optionstr


def as_configparser(text):
    peer = Peer()
    try:
        peer.read_string(text)
    except configparser.Error:
        return None
    return [(section, key, value.strip()) for section in peer.sections() for key, value in peer.items(section)]


def as_we_do(text):
    entries, mistakes = read_entries(text)
    return None if mistakes else [(entry.section, entry.key, entry.value) for entry in entries if entry.key]


def test_reads_as_configparser_does():
    draw = random.Random(1)
    read = 0
    for _ in range(5_000):
        text = "[a]\n" + "".join(draw.choice(PIECES) for _ in range(draw.randrange(1, 22)))
        assert as_we_do(text) == as_configparser(text), text
        read += as_we_do(text) is not None
    assert read > 500


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[a]\nk = v", ["v"]),
        ("[a]\nk=v = w ; c", ["v = w"]),
        ("[a]\nk = v;w # x", ["v;w # x"]),
        ("[a]\nk =\n  v\n  w", ["v\nw"]),
        ("[a]\nk = v\n  w = x\nl = y", ["v\nw = x", "y"]),
        ("[a]\n  k = v\n    w\n  l = x", ["v\nw", "x"]),
        ("[a]\nk = v\n\n  l = w", ["v", "w"]),
        ("[a]\nk = v\n; c\n  l = w", ["v", "w"]),
        ("[a]\r\nk = v\r\n  w\r\n", ["v\nw"]),
        ("[a]\nk = v\n[b]\n  k = w", ["v", "w"]),
        ("[a]\nk =", [""]),
    ],
)
def test_values_go_on_in_lines_that_are_indented_more(text, values):
    assert [value for _, _, value in as_we_do(text)] == values


def test_tells_the_line_of_each_and_of_sections_that_are_empty():
    assert read_entries("; c\n[a]\n\n[b]\nk = v\n  w\nl = x\n") == (
        [Entry(2, "a", "", ""), Entry(4, "b", "", ""), Entry(5, "b", "k", "v\nw"), Entry(7, "b", "l", "x")], []
    )  # fmt: skip


def test_tells_all_mistakes_and_no_value():
    text = "k = secret\n[a]\nk secret\n  more = secret\nl = 1\nl = secret\n[b] secret\n[a]\n= secret\n"
    entries, mistakes = read_entries(text)
    assert mistakes == [
        (1, "line 1: 'k' … stands before the first [section]"),
        (3, "line 3: 'k' … is not understood; expected 'key = value', [section] or a comment"),
        (6, "[a] l: stands there twice (line 6); keep one"),
        (7, "line 7: '[b]' … is not understood; expected 'key = value', [section] or a comment"),
        (8, "[a]: stands there twice (line 8); join the two"),
        (9, "line 9: '' … is not understood; expected 'key = value', [section] or a comment"),
    ]
    assert [entry.line for entry in entries] == [2, 5, 6, 8]


def test_a_long_value_is_read_whole():
    lines = 20_000
    _, value = read_entries("[a]\nk =\n" + "  v\n" * lines)[0]
    assert value.value == "\n".join("v" * lines)
