"""The README holds what the program says of itself: its options, its examples, its help."""

from __future__ import annotations

import pathlib
import re
import shlex

import oaiserve
from protocol.config import options_of
from protocol.server.settings import ServerSettings
from protocol.service.doors import ChatExample, chat_example

README = pathlib.Path(__file__).parent.parent / "README.md"


def readme():
    return README.read_text(encoding="utf-8")


def test_configuration_table_is_complete_and_current():
    expected = []
    for name, cls in {
        "server": ServerSettings,
        **oaiserve._SINGLE,
        **{name: kind.settings for name, kind in oaiserve._KINDS.items()},
        **{f"{name} NAME": cls for name, cls in oaiserve._PARTS.items()},
    }.items():
        for key, option in options_of(cls).items():
            default = f"`{option.default}`" if option.default else "empty"
            expected.append(f"| {name} | `{key}` | {default} | {option.doc} |")
    table = readme().partition("| Section | Key | Default | Meaning |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == expected


def test_first_curl_line_is_the_banner_s():
    assert chat_example("http://127.0.0.1:8080", ChatExample()) in readme()


def test_options_in_the_readme_exist():
    parser = oaiserve._parser()
    known = {option for action in parser._actions for option in action.option_strings}
    commands = [shlex.split(line, comments=True) for line in re.findall(r"python oaiserve\.py[^\n`]*", readme())]
    used = {word.split("=")[0] for words in commands for word in words if word.startswith("-")}
    assert used and used <= known


def test_set_examples_are_accepted():
    assignments = [
        word
        for line in re.findall(r"python oaiserve\.py[^\n`]*", readme())
        for before, word in zip(shlex.split(line, comments=True), shlex.split(line, comments=True)[1:])
        if before == "--set"
    ]
    configuration = oaiserve._configuration()
    for assignment in assignments:
        if assignment != "SECTION.KEY=VALUE":
            configuration.set_option(assignment)
    configuration.settings(None, {})
    assert assignments
