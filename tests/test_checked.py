"""--check and the start refuse the same: a file that the configuration names is looked at before anything is served."""

from __future__ import annotations

import os
import subprocess

import pytest
from certificates import Certificate

import oaiserve

ELSEWHERE = ["relay", "--set", "relay.base_url=https://127.0.0.1:1/v1"]
SHARED = ["--workers", "2", "--set", "limits.per_address=5/min"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in a folder with files that are of no use for anything."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "folder").mkdir()
    (tmp_path / "garbage").write_bytes(b"garbage\xff\xfe\x00not anything\n")
    return tmp_path


def listing(folder):
    return sorted(os.path.join(where, name) for where, _, names in os.walk(folder) for name in names)


def refused(capsys, arguments):
    """Return what is said by a --check and by a start that both refuse."""
    said = []
    for more in (["--check"], ["--port", "0"]):
        assert oaiserve.main([*arguments, *more]) == 2
        said.append(capsys.readouterr())
        assert said[-1].out == ""
    assert said[0].err == said[1].err
    return said[0].err


@pytest.mark.parametrize("path", ["folder", "garbage", "missing/x", "garbage/x"])
@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ([], "server.certfile"),
        ([], "server.keys_file"),
        ([], "mock.script"),
        ([], "ledger.file"),
        (SHARED, "limits.file"),
        (["relay"], "relay.cassette"),
        (["relay", "--set", "relay.cassette_mode=fill"], "relay.cassette"),
        (ELSEWHERE, "relay.ca_file"),
        (ELSEWHERE, "relay.cert_file"),
        (["dashscope"], "dashscope.ca_file"),
        (["relay"], "relay.api_key=file:"),
    ],
)  # fmt: skip
def test_a_file_that_is_of_no_use_is_refused_before_anything_is_served(capsys, folder, arguments, key, path):
    before = listing(folder)
    setting = f"{key}{'' if key.endswith(':') else '='}{path}"
    said = refused(capsys, [*arguments, "--set", setting])
    assert said.startswith("oaiserve: ") and said.count("\n") == 1
    assert listing(folder) == before
    assert (folder / "garbage").read_bytes().startswith(b"garbage")


@pytest.mark.parametrize("path", ["folder", "missing/x", "garbage/x"])
@pytest.mark.parametrize(
    ("arguments", "key"),
    [([], "server.log_file"), (["relay", "--set", "relay.cassette_mode=record"], "relay.cassette")],
)
def test_a_file_that_cannot_be_written_is_refused(capsys, folder, arguments, key, path):
    assert "cannot be written" in refused(capsys, [*arguments, "--set", f"{key}={path}"])


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ([], "server.log_file"), ([], "ledger.file"), (SHARED, "limits.file"),
        (["relay", "--set", "relay.cassette_mode=record"], "relay.cassette"),
    ],
)  # fmt: skip
def test_a_file_that_is_to_be_made_is_none_of_the_checks(capsys, folder, arguments, key):
    before = listing(folder)
    assert oaiserve.main([*arguments, "--set", f"{key}=new", "--check"]) == 0
    assert listing(folder) == before


def test_limits_that_nobody_asks_for_are_not_looked_at(capsys):
    assert oaiserve.main(["--set", "limits.file=folder", "--check"]) == 0
    assert oaiserve.main(["--set", "limits.store=nonsense", "--check"]) == 0


def test_an_address_of_a_store_that_is_none_is_refused(capsys):
    said = refused(capsys, ["--set", "limits.per_address=5/min", "--set", "limits.store=nonsense"])
    assert said.startswith("oaiserve: [limits] store: expected redis://")


def test_all_files_that_are_of_no_use_are_told_at_once(capsys):
    said = refused(
        capsys,
        [
            "--set",
            "server.certfile=a",
            "--set",
            "server.keys_file=b",
            "--set",
            "mock.script=c",
            "--set",
            "ledger.file=d/e",
        ],
    )
    assert [line.split(" = ")[0] for line in said.splitlines()] == [
        "oaiserve: [mock] script", "oaiserve: [server] keys_file", "oaiserve: [server] certfile",
        "oaiserve: [ledger] file",
    ]  # fmt: skip


def test_a_private_key_needs_its_certificate(capsys):
    said = refused(capsys, ["--set", "server.keyfile=key.pem"])
    assert said == "oaiserve: [server] keyfile: a private key needs its certificate; set certfile\n"


def test_a_private_key_with_a_password_is_refused_and_nobody_is_asked(capsys, folder):
    certificate = Certificate(folder)
    locked = folder / "locked.pem"
    words = ["openssl", "pkcs8", "-topk8", "-in", certificate.key_file, "-out", str(locked), "-passout", "pass:secret"]
    subprocess.run(words, check=True, capture_output=True, timeout=100)
    files = ["--set", f"server.certfile={certificate.cert_file}", "--set", f"server.keyfile={locked}"]
    assert "cannot be used" in refused(capsys, files)
    assert oaiserve.main([*files[:3], f"server.keyfile={certificate.key_file}", "--check"]) == 0
