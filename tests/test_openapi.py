"""GET /openapi.json: the description that requests are checked against, as a document that tools read."""

from __future__ import annotations

import json
import re

import pytest
from programs import ask

import oaiserve
from protocol.openai.api.as_openapi import openapi
from protocol.openai.api.operations import Reference
from protocol.openai.reference.whole import API_REFERENCE


@pytest.fixture(scope="module")
def reference():
    return Reference(lambda: API_REFERENCE)


@pytest.fixture(scope="module")
def document(reference):
    return openapi(reference, "1.2.3")


def nodes(value):
    """Give all objects within a value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        yield from nodes(inner)


def test_every_operation_is_there_once_under_a_name_of_its_own(document, reference):
    found = [
        (f"{method.upper()} {path}", item)
        for path, methods in document["paths"].items()
        for method, item in methods.items()
    ]
    assert sorted(key for key, _ in found) == sorted(reference.keys())
    names = [item["operationId"] for _, item in found]
    assert len(set(names)) == len(names)


def test_every_parameter_of_a_path_is_described(document):
    for path, methods in document["paths"].items():
        for item in methods.values():
            named = [one["name"] for one in item.get("parameters", []) if one["in"] == "path"]
            assert named == re.findall(r"\{(\w+)\}", path)


def test_every_reference_leads_somewhere_and_every_schema_is_used(document):
    schemas = document["components"]["schemas"]
    used = {
        node["$ref"].rpartition("/")[2] for node in nodes(document) if "$ref" in node and isinstance(node["$ref"], str)
    }
    assert used == set(schemas)


def test_a_chat_is_described_as_it_is_checked(document):
    post = document["paths"]["/chat/completions"]["post"]
    body = post["requestBody"]["content"]["application/json"]["schema"]
    schema = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert {"model", "messages"} <= set(schema["required"])
    assert schema["properties"]["temperature"] == {"type": "number", "minimum": 0, "maximum": 2}
    assert "stream" not in schema["required"]


def test_what_has_a_file_is_a_form_and_what_gives_a_file_is_bytes(document):
    assert "multipart/form-data" in document["paths"]["/files"]["post"]["requestBody"]["content"]
    content = document["paths"]["/files/{file_id}/content"]["get"]["responses"]["200"]["content"]
    assert content == {"application/octet-stream": {}}


def test_the_service_gives_it_again_and_again():
    with oaiserve.start("mock") as server:
        status, fields, text = ask(server.port, "GET", "/openapi.json")
        assert (status, fields["content-type"]) == (200, "application/json")
        assert json.loads(text)["info"]["version"] == oaiserve.__version__
        assert ask(server.port, "GET", "/openapi.json")[2] == text
        assert ask(server.port, "POST", "/openapi.json")[0] == 405
