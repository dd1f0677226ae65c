"""What a mistake or a file must not tell: keys and passwords that stand in a mistyped line, and who called."""

from __future__ import annotations

import os
import stat

import pytest
from programs import running

import oaiserve
from protocol.errors import evidence, without_keys, without_secrets

SECRET = "sk-hunter2-0123456789abc"
PASSWORD = "hunter2"

LINES = [
    f"[relay]\napi_key: {SECRET}\n",
    f"[relay]\napi_key {SECRET}\n",
    f"[relay]\napi_key =\n{SECRET}\n",
    f"[relay]\napi_key:{PASSWORD}\n",
    f"[relay]\nproxy http://user:{PASSWORD}@proxy:3128\n",
    f"[relay]\nbase_url = https://user:{PASSWORD}@llm.example\n",
    f"[relay]\nbase_url = https://{SECRET}@llm.example/v1\n",
    f"[relay]\nbase_url = {SECRET}\n",
    f"[relay]\nretries = {SECRET}\n",
    f"[relay]\nproxy = ftp://user:{PASSWORD}@proxy\n",
    f"[relay]\nheaders = Authorization {SECRET}\n",
    f"[relay]\nkey_field = x {SECRET}\n",
    f"[relay]\n{SECRET} = 1\n",
    f"[{SECRET}]\na = 1\n",
    f"{SECRET}\n",
    f"api_key = {SECRET}\n",
    f"[routes]\ngpt-* = {SECRET}\n",
    f"[server]\ntrusted_proxies = {SECRET}\n",
    f"[dashscope]\nbase_url = ftp://user:{PASSWORD}@host\n[routes]\nq* = dashscope\n",
    f"[dashscope]\nbase_url = {SECRET}\n[routes]\nq* = dashscope\n",
]

ARGUMENTS = [
    ["relay", "--set", SECRET],
    ["relay", "--set", f"relay.api_key:{SECRET}"],
    ["relay", "--set", f"relay.api_key {PASSWORD}"],
    ["relay", "--set", f"relay.{SECRET}=1"],
    ["relay", "--api-key", SECRET],
    ["relay", f"--api-key={PASSWORD}"],
    ["relay", "--api-key", PASSWORD],
    ["relay", SECRET],
    [SECRET],
    ["relay", "--port", SECRET],
    ["relay", "--check", "--set", f"relay.proxy=user:{PASSWORD}@proxy:x"],
]


@pytest.mark.parametrize("text", LINES)
def test_a_mistyped_line_with_a_key_or_a_password_is_not_repeated(text, capsys):
    with open("mine.ini", "w", encoding="utf-8") as file:
        file.write(text)
    assert oaiserve.main(["relay", "--check", "-c", "mine.ini"]) == 2
    told = capsys.readouterr()
    said = told.out + told.err
    assert SECRET not in said and PASSWORD not in said and "0123456789" not in said
    assert said.startswith("oaiserve: ") and said.count("\n") == 1


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_a_mistyped_argument_with_a_key_or_a_password_is_not_repeated(arguments, capsys):
    assert oaiserve.main(arguments) == 2
    told = capsys.readouterr()
    said = told.out + told.err
    assert SECRET not in said and PASSWORD not in said and "0123456789" not in said
    assert said.startswith("oaiserve: ") and said.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("port = 1", "port = 1"),
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt"),
        ("https://llm.example/v1", "https://llm.example/v1"),
        ("https://user:word@llm.example", "https://***@llm.example"),
        (f"api_key: {SECRET}", "api_key: ***"),
        ("AIzaSyA1234567890abcdefghij", "***"),
        ("Bearer abcdef", "***"),
        ("x" * 100, "x" * 80),
    ],
)
def test_evidence_is_cut_and_free_of_what_may_be_secret(text, shown):
    assert evidence(text) == repr(shown)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/v1/responses/resp_0123456789abcdef0123456789", "/v1/responses/resp_0123456789abcdef0123456789"),
        ("/v1/skills/task-sketch/risk-averse", "/v1/skills/task-sketch/risk-averse"),
        (f"/v1/models/{SECRET}/x", "/v1/models/***/x"),
        (f"/{SECRET}?a", "/***"),
        ("/v1/%73k%2Dhunter2/%41", "/v1/***/A"),
        ("/v1/files/hunter2.own.key", "/v1/files/***"),
        ("/v1/%2541", "/v1/%2541"),
    ],
)
def test_a_path_is_logged_without_keys_and_with_its_ids(path, shown):
    assert without_keys(path, "hunter2.own.key") == shown


@pytest.mark.skipif(os.name != "posix", reason="there are no such modes")
def test_a_log_file_is_made_for_its_owner_alone_and_one_that_is_there_is_left_as_it_is(command, tmp_path):
    made, there = tmp_path / "made.log", tmp_path / "there.log"
    there.touch()
    there.chmod(0o640)
    for path in (made, there):
        with running(command, "--set", f"server.log_file={path}"):
            pass
    assert [stat.S_IMODE(path.stat().st_mode) for path in (made, there)] == [0o600, 0o640]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("--api-key-0123456789-abcdef x", "--*** x"),
        ("no-word-of-letters-alone-is-a-key", "no-word-of-letters-alone-is-a-key"),
        ("a 0123456789abcdef0123 b", "a *** b"),
        ("Bearer abcdefgh", "***"),
        ("https://user:pw@host", "https://***@host"),
        ("0123456789", "0123456789"),
    ],
)
def test_what_may_be_a_key_is_hidden(text, shown):
    assert without_secrets(text) == shown


def test_a_long_text_is_searched_for_keys_in_time_that_grows_as_it_does():
    # Each of its parts could begin a key: looked at to the end each time, it would take hours.
    text = "a-" * 300_000
    assert without_secrets(text) == text
    assert evidence(text, 5) == "'a-a-a'"
