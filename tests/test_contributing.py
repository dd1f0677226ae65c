"""The examples in CONTRIBUTING.md, carried out on a copy of the tree: they fit the code and do what they promise."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from check.arrows import check_arrows

ROOT = pathlib.Path(__file__).parent.parent


# What is true of the program once all examples are in it.
SCRIPT = """
import json, urllib.error, urllib.request
import oaiserve

def ask(path, body=None, method=None):
    request = urllib.request.Request(server.url + path, body and json.dumps(body).encode(), method=method)
    request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        return json.load(refusal)["error"]["param"]

with oaiserve.start(set={"mock.owner": "me"}) as server:
    note = ask("/v1/notes", {"text": "three small words"})
    assert note["id"].startswith("note_") and note["words"] == 3
    assert ask("/v1/notes", {"text": 3}) == "text"
    assert ask("/v1/notes?limit=1")["data"] == [note]
    assert ask("/v1/notes/" + note["id"], method="DELETE")["deleted"]
    assert ask("/v1/notes")["data"] == []
    assert ask("/time")["time"] > 0
    assert {model["owned_by"] for model in ask("/v1/models")["data"]} == {"me"}
with oaiserve.start("echo", set={"echo.before": "so:"}) as server:
    assert ask("/v1/chat/completions", {"model": "x"}) == {"echo": "so:x"}
    assert [model["id"] for model in ask("/v1/models")["data"]] == ["echo-1"]
"""


@pytest.fixture(scope="module")
def changed_tree(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    tree = tmp_path_factory.mktemp("contributing")
    shutil.copytree(ROOT / "protocol", tree / "protocol", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("oaiserve.py", "config.ini", "README.md"):
        shutil.copy(ROOT / name, tree)
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```diff\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(examples) == 5
    for example in examples:
        carry_out(example, tree)
    return tree


def carry_out(example: str, tree: pathlib.Path) -> None:
    """Change the files of a tree: lines with `-` and with a space say where, those with `+` what comes there."""
    for change in re.split(r"^\+\+\+ ", example, flags=re.MULTILINE)[1:]:
        name, _, places = change.partition("\n")
        path = tree / name
        path.parent.mkdir(exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for place in places.split("@@\n"):
            lines = place.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] != "+")
            after = "".join(line[1:] for line in lines if line[0] != "-")
            assert text.count(before) == 1, f"{name} does not have this once:\n{before}"
            text = text.replace(before, after)
        path.write_text(text, encoding="utf-8")


def test_the_program_does_what_the_examples_say(changed_tree: pathlib.Path):
    done = subprocess.run(
        [sys.executable, "-B", "-c", SCRIPT], cwd=changed_tree, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_examples_keep_to_the_plan_of_the_house(changed_tree: pathlib.Path):
    files = [changed_tree / "oaiserve.py", *changed_tree.glob("protocol/**/*.py")]
    texts = {path.relative_to(changed_tree).as_posix(): path.read_text(encoding="utf-8") for path in files}
    assert [finding for finding in check_arrows(texts) if "echo" in finding or "notes" in finding] == []
