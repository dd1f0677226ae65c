"""The Chinese guide says the same as the English README. Its commands are run by test_readme_commands.py."""

from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent
GUIDE = (ROOT / "README.zh.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_regions_and_errors_are_those_of_the_english_one():
    regions = set(re.findall(r"^\| .* \| `(https://[^`]+)`", GUIDE, re.MULTILINE))
    assert len(regions) == 5 and all(f"`{region}`" in README for region in regions)

    def codes(text, heading):
        table = text.partition(heading)[2].partition("\n#")[0]
        rows = [row.split("|") for row in table.splitlines() if row.startswith("| ") and re.search(r"\| \d", row)]
        return {(re.search(r"\d{3}", row[2])[0], code) for row in rows for code in re.findall(r"`([\w.]+)`", row[3])}

    told = codes(GUIDE, "### 错误码\n")
    assert told == codes(README, "### Errors\n") and len(told) > 12


def test_the_readme_leads_to_it():
    assert "(README.zh.md)" in README.partition("\n## ")[0]
