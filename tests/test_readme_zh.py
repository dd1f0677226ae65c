"""The Chinese guide: its commands run, its files are accepted, and it says the same as the English one."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import re
import shlex
import subprocess

import pytest

import oaiserve
from protocol.team.keys_file import read_keys_file

ROOT = pathlib.Path(__file__).parent.parent
GUIDE = (ROOT / "README.zh.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
KEYS = {"OPENAI_API_KEY": "sk-0123456789abcdef", "DASHSCOPE_API_KEY": "sk-0123456789abcdef"}


def blocks(language):
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return [text for told, text in fences if told == language]


def commands():
    """Return the words of each line that runs the program, in their order."""
    lines = [line for block in blocks("") for line in block.splitlines() if line.startswith("python oaiserve.py")]
    return [tuple(shlex.split(line, comments=True)[2:]) for line in lines]


SERVING = [
    words for words in commands() if not words or words[0] in ("mock", "relay", "dashscope") or words[0][0] == "-"
]
OTHERS = [words for words in commands() if words not in SERVING]


@pytest.mark.parametrize("words", sorted(set(SERVING)), ids=" ".join)
def test_a_server_could_start_so(words, command, tmp_path):
    if words == ("--help",):
        more = ()
    else:
        more = () if "--check" in words else ("--check",)
    (tmp_path / "config.ini").write_text("[mock]\n")
    done = subprocess.run(
        [*absolute(command), *words, *more], cwd=tmp_path, env={**os.environ, **KEYS}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def absolute(command):
    """Return the command as it can be run from another folder."""
    return [os.path.abspath(word) if os.path.exists(word) else word for word in command]


def test_the_commands_of_the_team_run_one_after_the_other(command, tmp_path):
    config = next(block for block in blocks("ini") if "keys_file" in block)
    (tmp_path / "config.ini").write_text(config, encoding="utf-8")
    keys = next(block for block in blocks("ini") if "[prices]" in block)
    (tmp_path / "keys.ini").write_text(keys, encoding="utf-8")
    with oaiserve.start("mock", set={"ledger.file": str(tmp_path / "usage.db")}) as server:
        assert ask(server.port, {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "你好"}]})[0] == 200
    run = [words for words in OTHERS if words[0] in ("key", "usage")]
    assert [words[0] for words in run] == ["key", "key", "usage", "usage", "usage"]
    for words in run:
        done = subprocess.run([*absolute(command), *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)
    limits = next(block for block in blocks("ini") if "at_once" in block)
    made = (tmp_path / "keys.ini").read_text(encoding="utf-8")
    rates = read_keys_file(f"{made.rstrip()}\n{limits}", "keys.ini")
    assert [key.name for key in rates.keys.values()] == ["alice"]


def test_what_else_it_runs_is_known():
    parser = oaiserve._parser()
    assert {words[0] for words in OTHERS} == {"bundle", "try", "key", "usage"}
    for words in OTHERS:
        parser.parse_args(list(words))


def test_the_routes_of_its_file_are_accepted(tmp_path):
    config = tmp_path / "config.ini"
    config.write_text(next(block for block in blocks("ini") if "[routes]" in block), encoding="utf-8")
    configuration = oaiserve._configuration()
    configuration.read_file(str(config))
    routes = configuration.settings(None, KEYS).routes
    assert [(route.pattern, route.backends) for route in routes] == [
        ("qwen-*", ("dashscope",)), ("gpt-*", ("relay", "backup")), ("*", ("relay",)),
    ]  # fmt: skip


def ask(port, body, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json", **fields})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, data


def test_its_requests_are_answered_as_it_says():
    lines = [shlex.split(line) for block in blocks("") for line in block.splitlines() if line.startswith("curl ")]
    bodies = {body["model"]: body for body in (json.loads(words[words.index("-d") + 1]) for words in lines)}
    assert set(bodies) == {"qwen-plus", "error-Arrearage"}
    with oaiserve.start("mock") as native:
        base = f"http://127.0.0.1:{native.port}"
        with oaiserve.start("dashscope", set={"dashscope.base_url": base}) as server:
            key = {"authorization": "Bearer sk-0123456789"}
            assert ask(server.port, bodies["qwen-plus"], **key)[1].rstrip().endswith(b"data: [DONE]")
            status, data = ask(server.port, bodies["error-Arrearage"], **key)
    code = json.loads(data)["error"]["code"]
    assert re.search(rf"^\| 账号欠费.*\| {status}，不重试 \| `{code}`", GUIDE, re.MULTILINE)


@pytest.mark.parametrize("block", blocks("python"))
def test_its_programs_are_python(block):
    compile(block, "README.zh.md", "exec")


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
