"""The README's table holds every setting. Its commands are run by test_readme_commands.py."""

from __future__ import annotations

import pathlib

from protocol.config import options_of
from protocol.program.kinds import KINDS, PARTS, SINGLE
from protocol.server.settings import ServerSettings

README = pathlib.Path(__file__).parent.parent / "README.md"


def readme():
    return README.read_text(encoding="utf-8")


def test_configuration_table_is_complete_and_current():
    expected = []
    for name, cls in {
        "server": ServerSettings,
        **SINGLE,
        **{name: kind.settings for name, kind in KINDS.items()},
        **{f"{name} NAME": cls for name, cls in PARTS.items()},
    }.items():
        for key, option in options_of(cls).items():
            default = f"`{option.default}`" if option.default else "empty"
            expected.append(f"| {name} | `{key}` | {default} | {option.doc} |")
    table = readme().partition("| Section | Key | Default | Meaning |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == expected
