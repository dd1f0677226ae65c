"""The command `key`: keys made, listed and recognized; the key itself is shown once, and its hash never."""

from __future__ import annotations

import errno
import getpass
import hashlib
import io
import os
import random
import re
import stat
import sys
import threading

import pytest

import oaiserve
from protocol.errors import UsageError
from protocol.team.key_command import Terminal, run_key
from protocol.team.keys_file import read_keys_file

NOW = 1_800_000_000.0  # 2027-01-15
KEY = "sk-oai-0000aaaabbbbccccddddeeeeffff0123456789ABCDEFGHIJ"
HASH = hashlib.sha256(KEY.encode()).hexdigest()


class Run:
    """What the command has answered: its exit status, what it wrote, and the one line that is a key."""

    def __init__(self, path, *words, team="", typed=b"", now=NOW, out=None):
        self.out = out or io.StringIO()
        self.err = io.StringIO()
        terminal = Terminal(self.out, self.err, io.TextIOWrapper(io.BytesIO(typed)))
        self.status = run_key(list(words), team, str(path), terminal, now)

    @property
    def key(self):
        assert re.fullmatch(r"sk-oai-[0-9A-Za-z]{43}\n", self.out.getvalue())
        return self.out.getvalue()[:-1]


def keys_in(path):
    return {key.name: key for key in read_keys_file(path.read_text(encoding="utf-8-sig"), "keys.ini").keys.values()}


def main(capfd, *words):
    status = oaiserve.main(["key", *words])
    return status, *capfd.readouterr()


# ---- new ------------------------------------------------------------------------------------------------------------


def test_prints_the_key_alone_and_writes_its_hash(tmp_path):
    path = tmp_path / "keys.ini"
    run = Run(path, "new", "alice")
    assert run.status == 0
    assert path.read_text() == f"[key alice]\nhash = sha256:{hashlib.sha256(run.key.encode()).hexdigest()}\n"
    assert run.err.getvalue().startswith(f"[key alice] was added to {path}. The key is shown this once.\n")
    assert "kill -HUP" in run.err.getvalue()


@pytest.mark.skipif(os.name != "posix", reason="there are no modes")
def test_a_new_file_is_its_owner_s_alone_and_another_keeps_its_mode(tmp_path):
    made, shared = tmp_path / "made.ini", tmp_path / "shared.ini"
    shared.touch()
    shared.chmod(0o664)
    Run(made, "new", "alice")
    Run(shared, "new", "alice")
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(shared.stat().st_mode) == 0o664


@pytest.mark.parametrize(
    "before",
    [
        b"[team web]\nbudget = 3 USD/day ; none\n[prices]\n* = 1 in, 2 out\n",
        b"[team web]",
        b"\xef\xbb\xbf[team web]\r\nmodels =\r\n  gpt-*\r\n  qwen-*",
        b"; \xe2\x98\x83\n\n\n[team web]\n\n\n",
    ],
)
def test_what_stands_in_the_file_stays_byte_for_byte(tmp_path, before):
    path = tmp_path / "keys.ini"
    path.write_bytes(before)
    run = Run(path, "new", "alice", team="web")
    assert path.read_bytes().startswith(before + b"\n")
    assert keys_in(path)["alice"].digest == hashlib.sha256(run.key.encode()).digest()
    assert keys_in(path)["alice"].team == "web"


def test_every_key_is_another(tmp_path):
    assert len({Run(tmp_path / "keys.ini", "new", f"n{number}").key for number in range(20)}) == 20
    assert list(keys_in(tmp_path / "keys.ini")) == [f"n{number}" for number in range(20)]


@pytest.mark.parametrize(
    ("before", "words", "told"),
    [
        (f"[key alice]\nhash = sha256:{HASH}\n", ["alice"], "there is a [key alice] already"),
        ("", ["a b"], "expected a name of at most 64"),
        ("", [KEY], "expected a name of at most 64"),
        ("", ["alice", "--team", "web"], "--team 'web': keys.ini has no such [team NAME]; write its section first"),
        ("[team web]\n", ["alice", "--team", "wbe"], "has no such [team NAME]; did you mean web?"),
        ("[team web]\nat_once = few\n", ["alice"], "keys.ini line 2: [team web] at_once = 'few': expected"),
        ("caf\udce9", ["alice"], "keys.ini: cannot be read: it is not UTF-8"),
    ],
)
def test_a_mistake_leaves_the_file_as_it_is(tmp_path, monkeypatch, capfd, before, words, told):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "keys.ini"
    path.write_bytes(before.encode("utf-8", "surrogateescape"))
    status, out, err = main(capfd, "new", *words)
    assert (status, out) == (2, "") and told in err and KEY not in err
    assert path.read_bytes() == before.encode("utf-8", "surrogateescape")


def test_a_mistake_makes_no_file(tmp_path):
    path = tmp_path / "keys.ini"
    with pytest.raises(UsageError, match="has no such"):
        Run(path, "new", "alice", team="web")
    assert not path.exists()


def test_the_key_of_a_name_is_replaced_without_a_gap(tmp_path):
    path = tmp_path / "keys.ini"
    old, new = Run(path, "new", "alice").key, Run(path, "new", "alice-2").key
    section, other = path.read_text().split("\n\n")
    path.write_text(f"{section.strip()}, {other.split(' = ')[1]}")
    for key in (old, new):
        assert Run(path, "check", typed=key.encode()).out.getvalue() == "alice: works\n"
    assert Run(path, "list").out.getvalue().count("alice") == 1


def test_where_there_is_no_folder_no_key_is_made(tmp_path):
    run = Run(tmp_path / "none" / "keys.ini", "new", "alice")
    assert (run.status, run.out.getvalue()) == (1, "")
    assert "no key was made: No such file or directory" in run.err.getvalue()


class Full(io.StringIO):
    """An output on which nothing can be written any more."""

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_key_that_could_not_be_shown_is_not_in_the_file(tmp_path):
    path = tmp_path / "keys.ini"
    path.write_text("[team web]\n")
    run = Run(path, "new", "alice", out=Full())
    assert run.status == 1 and "no key was made: No space left on device" in run.err.getvalue()
    assert path.read_text() == "[team web]\n"


def test_a_key_that_could_not_be_written_is_not_shown(tmp_path, monkeypatch):
    path = tmp_path / "keys.ini"
    path.write_text("[team web]\n")
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:20]))
    run = Run(path, "new", "alice")
    assert (run.status, run.out.getvalue()) == (1, "") and "no key was made" in run.err.getvalue()
    assert path.read_text() == "[team web]\n"


def test_many_at_once_do_not_mix(tmp_path):
    path = tmp_path / "keys.ini"
    keys = {}

    def make(name):
        keys[name] = Run(path, "new", name).key

    threads = [threading.Thread(target=make, args=(f"n{number}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: key.digest for name, key in keys_in(path).items()} == {
        name: hashlib.sha256(key.encode()).digest() for name, key in keys.items()
    }
    assert len(keys) == 16


def test_a_file_that_an_editor_replaced_meanwhile_is_the_one_written_to(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "keys.ini"
    path.write_text("[team web]\n")
    flock, told = fcntl.flock, []

    def replace_once(file, operation):
        if not told:
            told.append(operation)
            (tmp_path / "edited").write_text("[team other]\n")
            os.replace(tmp_path / "edited", path)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", replace_once)
    assert Run(path, "new", "alice").status == 0
    assert path.read_text().startswith("[team other]\n\n[key alice]\nhash = ")


# ---- list and check -------------------------------------------------------------------------------------------------

LISTED = f"""\
[team web]
budget = 300 USD/month
[key alice]
hash = sha256:{HASH}
team = web
models = gpt-*, qwen-*
requests = 60/min, 5000/day
tokens = 1500/s, 2M/h
at_once = 8
budget = 30.5 USD/day
expires = 2027-01-31
[key bob]
hash = sha256:{"0" * 64}
expires = 2027-01-14
[prices]
* = 1 in, 2 out
"""


def test_lists_keys_and_teams(tmp_path):
    path = tmp_path / "keys.ini"
    path.write_text(LISTED)
    run = Run(path, "list")
    assert run.status == 0
    assert (
        run.out.getvalue()
        == """\
key    team  models         requests        tokens        at once  budget        works until  state
alice  web   gpt-*, qwen-*  60/min, 5k/day  1500/s, 2M/h  8        30.5 USD/day  2027-01-31   works
bob    -     -              -               -             -        -             2027-01-14   expired

team  models  requests  tokens  at once  budget
web   -       -         -       -        300 USD/month
"""
    )


def test_a_file_without_keys_is_told(tmp_path):
    path = tmp_path / "keys.ini"
    path.touch()
    run = Run(path, "list")
    assert (run.status, run.out.getvalue()) == (0, "")
    assert "has no keys; python oaiserve.py key new NAME makes one" in run.err.getvalue()


@pytest.mark.parametrize("command", ["list", "check"])
def test_a_file_that_is_not_there_is_a_mistake(tmp_path, monkeypatch, capfd, command):
    monkeypatch.chdir(tmp_path)
    assert main(capfd, command) == (2, "", "oaiserve: keys.ini: cannot be read: No such file or directory\n")


@pytest.mark.parametrize(
    ("typed", "now", "status", "told"),
    [
        (KEY.encode() + b"\n", NOW, 0, "alice, team web: works until the end of 2027-01-31\n"),
        (b"  " + KEY.encode() + b"\r\n", NOW, 0, "alice, team web: works until the end of 2027-01-31\n"),
        (KEY.encode(), 1_801_439_999.0, 0, "alice, team web: works until the end of 2027-01-31\n"),
        (KEY.encode(), 1_801_440_000.0, 1, "alice, team web: expired since the end of 2027-01-31\n"),
        (KEY[:-1].encode(), NOW, 1, "nobody's: {path} has no such key\n"),
        (HASH.encode(), NOW, 1, "nobody's: {path} has no such key\n"),
        ("schlüssel".encode(), NOW, 1, "nobody's: {path} has no such key\n"),
    ],
)
def test_says_whose_a_key_is(tmp_path, typed, now, status, told):
    path = tmp_path / "keys.ini"
    path.write_text(LISTED)
    run = Run(path, "check", typed=typed, now=now)
    assert (run.status, run.out.getvalue(), run.err.getvalue()) == (status, told.format(path=path), "")


def test_at_a_terminal_the_key_is_asked_for_where_nobody_sees_it(tmp_path, monkeypatch):
    path = tmp_path / "keys.ini"
    key = Run(path, "new", "alice").key
    monkeypatch.setattr(getpass, "getpass", lambda prompt, stream: key)
    terminal = Terminal(io.StringIO(), io.StringIO(), io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(terminal.keys, "isatty", lambda: True, raising=False)
    assert run_key(["check"], "", str(path), terminal, NOW) == 0
    assert terminal.out.getvalue() == "alice: works\n"


def test_what_key_new_made_is_known_to_key_check(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    status, key, _ = main(capfd, "new", "alice", "--file", "other.ini")
    assert status == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(key.encode())))
    assert main(capfd, "check", "--file", "other.ini") == (0, "alice: works\n", "")


def test_the_file_is_the_server_s_where_none_is_named(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    # What other sections say need not be right here: the server's own environment may have what they name.
    (tmp_path / "config.ini").write_text("[server]\nkeys_file = served.ini\n[relay]\napi_key = ${NOT_SET_HERE}\n")
    assert main(capfd, "new", "alice")[0] == 0
    assert main(capfd, "new", "bob", "--set", "server.keys_file=set.ini")[0] == 0
    assert main(capfd, "new", "carl", "--file", "named.ini")[0] == 0
    names = {path: list(keys_in(tmp_path / f"{path}.ini")) for path in ("served", "set", "named")}
    assert names == {"served": ["alice"], "set": ["bob"], "named": ["carl"]}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "expected: key new NAME [--team T], key list, or key check"),
        (["new"], "expected: key new NAME"),
        (["new", "a", "b"], "expected: key new NAME"),
        (["show"], "expected: key new NAME"),
        (["list", "--team", "web"], "--team: it goes with key new NAME"),
        (["check", KEY], "a key does not belong on the command line"),
        (["check", "--key", KEY], "--key goes with try and cassette"),
        (["check"], "no key came"),
    ],
)
def test_wrong_words_are_told(tmp_path, monkeypatch, capfd, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.ini").touch()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    status, out, err = main(capfd, *words)
    assert (status, out) == (2, "") and told in err and KEY not in err


# ---- secrecy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [2, 16, 58, 77])
def test_no_output_holds_a_key_or_a_hash_but_the_one_line_of_key_new(tmp_path, capfd, monkeypatch, seed):
    draw = random.Random(seed)
    path = tmp_path / "keys.ini"
    for _ in range(20):
        text = LISTED
        secret = draw.choice([KEY, f"sha256:{HASH}", f"sha256:{HASH.upper()}"])
        for _ in range(draw.randrange(1, 4)):  # the secret somewhere, over something, or a sign less
            at = draw.randrange(len(text) + 1)
            text = text[:at] + draw.choice([secret, f" {secret}\n", f"\n{secret} = ", "\n", "=", ";"]) + text[at:]
            at = draw.randrange(len(text))
            text = text[:at] + text[at + draw.choice([0, 0, 1, 1, 5]) :]
        path.write_text(text)
        for words in (["list"], ["check"], ["new", "carl"], ["new", secret], ["check", secret], ["list", secret]):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(secret.encode())))
            status, out, err = main(capfd, *words, "--file", str(path))
            shown = out.lower() + err.lower()
            made = out[:-1] if words == ["new", "carl"] and status == 0 else ""
            for hidden in (KEY, KEY[7:], HASH, made and hashlib.sha256(made.encode()).hexdigest()):
                assert not hidden or hidden.lower() not in shown
            assert not made or (shown.count(made.lower()) == 1 and re.fullmatch(r"sk-oai-\w{43}", made))
