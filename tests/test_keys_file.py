"""keys.ini: what it says, and all that can be wrong in it, told at once and without a hash."""

from __future__ import annotations

import calendar
import hashlib

import pytest

import oaiserve
from protocol.errors import UsageError
from protocol.limiter import Window
from protocol.openai.usage import Usage
from protocol.team import keys_file
from protocol.team.keys_file import Key, Rates, Team, find_key, read_keys_file
from protocol.team.money import NANO, Budget, Price, cost, dollars, parse_budget

KEY = "sk-oai-aliceskey"
DIGEST = hashlib.sha256(KEY.encode()).digest()
HASH = f"sha256:{DIGEST.hex()}"
OTHER_HASH = f"sha256:{hashlib.sha256(b'another').hexdigest()}"

WHOLE = f"""\
; who may call
[team web]
budget = 300 USD/month
models = gpt-*
[key alice]
hash = {HASH}                   ; written by key new
team = web
models = gpt-*, qwen-*
requests = 60/min, 5000/day
tokens = 200k/min
at_once = 8
budget = 30.5 USD/day
expires = 2027-01-31
[prices]                        ; USD a million tokens
gpt-4o-mini = 0.15 in, 0.075 cached, 0.60 out
* = 1 in, 2 out
"""


def read(text):
    return read_keys_file(text, "keys.ini")


def mistakes(text):
    with pytest.raises(UsageError) as caught:
        read(text)
    return str(caught.value).splitlines()


def test_says_who_may_take_what():
    keys = read(WHOLE)
    rates = Rates(
        (Window(60, 60_000), Window(5000, 86_400_000)), (Window(200_000, 60_000),), 8, Budget(30_500_000_000, "day")
    )
    ends = float(calendar.timegm((2027, 2, 1, 0, 0, 0)))
    assert keys.keys == {DIGEST: Key("alice", DIGEST, "web", ("gpt-*", "qwen-*"), rates, ends)}
    assert keys.teams == {"web": Team("web", ("gpt-*",), Rates(budget=Budget(300 * NANO, "month")))}
    assert keys.prices == (
        Price("gpt-4o-mini", 150_000_000, 75_000_000, 600_000_000),
        Price("*", NANO, NANO, 2 * NANO),
    )


def test_a_key_alone_may_do_everything_for_ever():
    (key,) = read(f"[key bob]\nhash = {HASH}\n").keys.values()
    assert key == Key("bob", DIGEST, "", (), Rates(), None)
    assert Rates() == Rates((), (), 0, None)


def test_a_value_left_empty_is_as_if_it_did_not_stand_there():
    empty = "team =\nmodels =\nrequests =\ntokens =\nat_once =\nbudget =\nexpires =\n"
    assert read(f"[key bob]\nhash = {HASH}\n{empty}") == read(f"[key bob]\nhash = {HASH}\n")


def test_an_empty_file_lets_nobody_in():
    assert read("") == ({}, {}, ())


def test_finds_whose_a_key_is():
    keys = read(WHOLE)
    assert find_key(keys, KEY).name == "alice"
    assert find_key(keys, KEY + "x") is None
    assert find_key(keys, HASH) is None
    assert find_key(keys, "") is None


def test_a_key_that_is_no_ascii_is_found_by_its_bytes():
    key = "schlüssel".encode()
    keys = read(f"[key bob]\nhash = sha256:{hashlib.sha256(key).hexdigest()}\n")
    assert find_key(keys, key.decode("latin-1")).name == "bob"
    assert find_key(keys, "☃") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\n", "line 1: 'x' … stands before the first [section]"),
        ("[team web]\nmodels\n", "line 2: 'models' is not understood; expected 'key = value', [section] or a comment"),
        ("[team a]\n[team a]\n", "[team a]: stands there twice (line 2); join the two"),
        ("[team a]\n[team  a]\n", "line 2: [team a]: stands there twice; join the two"),
        ("[team a]\nat_once = 1\nat_once = 2\n", "[team a] at_once: stands there twice (line 3); keep one"),
        ("[keys bob]\n", "line 1: there is no section [keys bob]; did you mean key?"),
        ("[users]\n", "line 1: there is no section [users]; there are [key NAME], [team NAME] and [prices]"),
        ("[key]\n", "line 1: there is no section [key]; did you mean key?"),
        ("[team a]\nhash = x\n", "line 2: there is no 'hash' in [team a]; it has models, requests, tokens"),
        ("[team a]\nbudgets = x\n", "line 2: there is no 'budgets' in [team a]; did you mean budget?; it has models"),
        ("[key bob]\n", "line 1: [key bob]: it has no hash; such a section is written by: python oaiserve.py key new"),
        (
            f"[key bob]\nhash = {HASH}\nteam = wbe\n[team web]\n",
            "line 3: [key bob] team = 'wbe': there is no such [tea",
        ),
        ("[team a]\nrequests = 60/mint\n", "line 2: [team a] requests = '60/mint': expected amounts in a time"),
        ("[team a]\nat_once = few\n", "line 2: [team a] at_once = 'few': expected a whole number"),
        ("[team a]\nbudget = 3 EUR/month\n", "line 2: [team a] budget = '3 EUR/month': expected dollars in a calendar"),
        ("[team a]\nbudget = 0 USD/month\n", "line 2: [team a] budget = '0 USD/month': expected dollars"),
        ("[team a]\nbudget = 9999999 USD/month\n", "budget = '9999999 USD/month': expected at most 9007199 USD"),
        (
            f"[key a]\nhash = {HASH}\nexpires = 2027-02-30\n",
            "line 3: [key a] expires = '2027-02-30': expected the last",
        ),
        (
            f"[key a]\nhash = {HASH}\nexpires = 20270201\n",
            "line 3: [key a] expires = '20270201': expected the last day",
        ),
        ("[team a]\nbudget = 3 USD/day\n", "line 2: [team a] budget: no model has a price, so that nothing would ever"),
        ("[prices]\ngpt = 1\n", "line 2: [prices] 'gpt' = '1': expected dollars a million tokens"),
        ("[prices]\ngpt = 1 in\n", "what costs nothing is 0 out"),
        ("[prices]\ngpt = 1 in, 1 in, 2 out\n", "line 2: [prices] 'gpt' = '1 in, 1 in, 2 out': expected dollars"),
        ("[prices]\n* = 1 in, 2 out\ngpt = 1 in, 2 out\n", "line 3: [prices] 'gpt': it is never reached, since '*'"),
    ],
)
def test_mistake_says_where_it_is_and_what_is_expected(text, expected):
    found = mistakes(text)
    assert expected in found[0] and found[0].startswith("keys.ini ") and len(found) == 1


def test_all_mistakes_are_told_at_once_in_the_file_s_order():
    text = f"{WHOLE}[team x]\nat_once = few\n[key y]\nmodel = gpt\nexpires = soon\n"
    assert [line.split(":")[0] for line in mistakes(text)] == [f"keys.ini line {line}" for line in (18, 19, 20, 21)]


def test_one_hash_is_one_key_s():
    assert mistakes(f"[key alice]\nhash = {HASH}\n[key bob]\nhash = {HASH}\n") == [
        "keys.ini line 4: [key bob] hash: it is that of [key alice]; a key has one name"
    ]
    assert len(read(f"[key alice]\nhash = {HASH}\n[key bob]\nhash = {OTHER_HASH}\n").keys) == 2


def test_a_name_has_two_keys_while_one_takes_the_other_s_place():
    text = f"[key bob]\nhash = {HASH}, {OTHER_HASH}\nrequests = 3/min\n"
    keys = read(text)
    assert find_key(keys, KEY) == find_key(keys, "another")._replace(digest=DIGEST)
    assert find_key(keys, "another").name == "bob" and len(keys.keys) == 2
    assert "it is that of [key bob]" in mistakes(text + f"[key carl]\nhash = {OTHER_HASH}\n")[0]
    (line,) = mistakes(f"[key bob]\nhash = {HASH}, {KEY}\n")
    assert "expected sha256: and 64 hex digits" in line and KEY not in line


@pytest.mark.parametrize("hidden", [KEY, "hunter2", HASH[:-1], HASH + "0", HASH[7:], HASH.upper(), ""])
def test_what_stands_in_the_place_of_a_hash_is_not_repeated(hidden):
    (line,) = mistakes(f"[key alice]\nhash = {hidden}\n")
    assert "line 2: [key alice] hash: expected sha256: and 64 hex digits" in line
    assert "printf %s KEY | sha256sum" in line
    assert not hidden or hidden not in line


@pytest.mark.parametrize(
    "text", [f"[key {KEY}]", f"[team {HASH[7:]}]", f"{KEY} = x", f"[key a]\n{KEY}", f"hash = {KEY}"]
)
def test_a_key_in_a_wrong_place_is_not_repeated(text):
    told = "\n".join(mistakes(text + "\n"))
    assert KEY not in told and HASH[7:] not in told


@pytest.mark.parametrize("name", ["alice", "ci-runner.7", "a@b.example", "x" * 31, "7"])
def test_names_that_are_taken(name):
    (key,) = read(f"[key {name}]\nhash = {HASH}\n").keys.values()
    assert key.name == name


@pytest.mark.parametrize("name", ["-x", "a b", "jürgen", "a:b", "x" * 65, "sk-oai-x", "SK_x", "gsk_x", "0" * 32, "a/b"])
def test_names_that_are_not_taken(name):
    (line,) = mistakes(f"[key {name}]\nhash = {HASH}\n")
    assert line.startswith("keys.ini line 1: [key …]: expected a name") and name not in line


@pytest.mark.parametrize(
    ("first", "second", "reached"),
    [
        ("*", "gpt-4o", False),
        ("gpt-*", "gpt-4*", False),
        ("gpt-?", "gpt-4", False),
        ("gpt-?", "gpt-*", True),
        ("gpt-4*", "gpt-*", True),
        ("gpt-4o", "gpt-4o-mini", True),
        ("*-mini", "gpt-*-mini", False),
        ("a*b", "a*", True),
        ("gpt.4", "gpt-4", True),
    ],
)
def test_a_price_behind_one_that_takes_all_of_it_is_a_mistake(first, second, reached):
    text = f"[prices]\n{first} = 1 in, 2 out\n{second} = 1 in, 2 out\n"
    if reached:
        assert len(read(text).prices) == 2
    else:
        assert "it is never reached" in mistakes(text)[0]


def test_cost_is_rounded_up_once():
    price = Price("*", 150_000_000, 75_000_000, 600_000_000)
    assert cost(price, Usage(1_000_000, 0, 0, 0)) == 150_000_000
    assert cost(price, Usage(1_000_000, 1_000_000, 1_000_000, 500_000)) == 675_000_000
    assert cost(price, Usage(0, 0, 0, 0)) == 0
    assert cost(Price("*", 1, 1, 1), Usage(1, 0, 1, 0)) == 1


@pytest.mark.parametrize(
    ("text", "nano", "told"),
    [
        ("30 USD/month", 30 * NANO, "30"),
        ("0.000000001 USD / month", 1, "0.000000001"),
        ("1.50 USD/month", 15 * 10**8, "1.5"),
    ],
)
def test_money_is_exact(text, nano, told):
    assert parse_budget(text) == Budget(nano, "month")
    assert dollars(nano) == told
    assert dollars(-nano) == f"-{told}"


@pytest.mark.parametrize("hidden", [KEY, f"gpt-*{KEY}", HASH, f"gpt{HASH.upper()}", "xai-0123456789abcdef"])
def test_no_pattern_of_models_holds_a_key_or_a_hash(hidden):
    (line,) = mistakes(f"[team web]\nmodels = gpt-*, {hidden}\n")
    assert "[team web] models = " in line and "not a key or a hash" in line and hidden not in line
    assert (
        read("[team web]\nmodels = acme/task-classifier-large, sk-7b, o/m:" + "0f" * 32).teams["web"].models[0][:4]
        == "acme"
    )


@pytest.mark.parametrize("options", [["--check"], ["-p", "0"], ["-p", "0", "--workers", "2"]])
def test_a_start_tells_all_mistakes_and_ends(tmp_path, capfd, options):
    path = tmp_path / "keys.ini"
    path.write_text("[key alice]\nhash = hunter2\nteam = web\n")
    assert oaiserve.main(["mock", *options, "--set", f"server.keys_file={path}"]) == 2
    out, err = capfd.readouterr()
    assert out == "" and "hunter2" not in err
    assert f"{path} line 2: [key alice] hash: expected" in err and f"{path} line 3: [key alice] team = 'web'" in err


def test_a_keys_file_that_is_not_there_ends_a_start(tmp_path, capfd):
    assert oaiserve.main(["mock", "--check", "--set", f"server.keys_file={tmp_path / 'none.ini'}"]) == 2
    assert "keys_file = " in capfd.readouterr().err


def test_only_prices_that_can_take_others_are_held_against_them(monkeypatch):
    """Each line was matched with each line above it: a list of a thousand models took seconds of a start."""
    asked = []
    covers = keys_file._covers
    monkeypatch.setattr(keys_file, "_covers", lambda *pair: asked.append(pair) or covers(*pair))
    lines = [f"model-{number} = 1 in, 2 out" for number in range(50)]
    read_keys_file("\n".join(["[prices]", *lines, "model-* = 1 in, 2 out", "other = 1 in, 2 out"]), "keys.ini")
    assert asked == [("model-*", "other")]
