"""Which models a key sees: those that it may ask for."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request

import pytest

import oaiserve

KEYS = {"all": "sk-oai-all-of-them", "some": "sk-oai-some-of-them", "team": "sk-oai-of-a-team", "none": "sk-oai-none"}
MODELS = {"some": "models = gpt-4o*, gpt-5, unlisted", "team": "models = gpt-4o*\nteam = web", "none": "models = x"}
FILE = "[team web]\nmodels = *-mini\n" + "".join(
    f"[key {name}]\nhash = sha256:{hashlib.sha256(key.encode()).hexdigest()}\n{MODELS.get(name, '')}\n"
    for name, key in KEYS.items()
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("own_models") / "keys.ini"
    path.write_text(FILE)
    with oaiserve.start("mock", set={"server.keys_file": str(path)}) as running:
        yield running


def ask(server, path, name, method="GET"):
    fields = {"authorization": f"Bearer {KEYS[name]}"}
    request = urllib.request.Request(server.url + path, headers=fields, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.loads(exc.read() or b"null")


def listed(server, name, path="/v1/models"):
    status, listing = ask(server, path, name)
    assert status == 200 and listing["object"] == "list"
    return [model["id"] for model in listing["data"]]


def test_a_key_without_models_sees_all(server):
    assert "gpt-4o-mini" in listed(server, "all") and "text-embedding-3-small" in listed(server, "all")


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/s/t1/v1/models"])
def test_a_key_sees_what_it_may_ask_for_in_the_list_s_order(server, path):
    own = [id for id in listed(server, "all", path) if id.startswith("gpt-4o") or id == "gpt-5"]
    assert listed(server, "some", path) == own != []


def test_a_team_s_models_hold_too(server):
    assert listed(server, "team") == ["gpt-4o-mini"]


def test_a_key_that_may_ask_for_none_of_them_sees_none(server):
    assert listed(server, "none") == []


@pytest.mark.parametrize("id", ["text-embedding-3-small", "gpt-3.5%2Dturbo", "a/b"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_one_that_a_key_may_not_ask_for_is_refused_as_a_request_for_it_is(server, id, method):
    status, error = ask(server, f"/v1/models/{id}", "some", method)
    assert status == 403 and error["error"]["code"] == "model_not_found"


def test_one_that_it_may_ask_for_is_there(server):
    assert ask(server, "/v1/models/gpt-4o-mini", "some")[1]["id"] == "gpt-4o-mini"
    assert ask(server, "/v1/models/unlisted", "some")[0] == 404
    assert ask(server, "/v1/models/text-embedding-3-small", "all")[0] == 200
    assert ask(server, "/v1/models", "some", "HEAD") == (200, None)
