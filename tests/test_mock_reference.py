"""The description of the API: it can be read, it is whole, and the mock keeps to it."""

from __future__ import annotations

import asyncio
import inspect
import json
import re

import pytest
from mocks import make_mock, make_request

from protocol.errors import ApiError
from protocol.exchange import Paced, Response
from protocol.openai.api.checks import Conformity
from protocol.openai.api.made_up import Completer
from protocol.openai.api.notation import ListShape, MapShape, NamedShape, ObjectShape, ScalarShape, UnionShape
from protocol.openai.api.operations import Reference
from protocol.openai.reference.whole import API_REFERENCE

REFERENCE = Reference(lambda: API_REFERENCE)
CONFORMITY = Conformity(REFERENCE.shapes)
KEYS = REFERENCE.keys()

# The endpoints that the official Python SDK's tests call.
ENDPOINTS = """
GET POST /agents
GET POST /agents/automations
DELETE GET POST /agents/automations/{automation_id}
GET POST /agents/automations/{automation_id}/invocations
GET /agents/automations/{automation_id}/invocations/{invocation_id}
POST /agents/automations/{automation_id}/pause
POST /agents/automations/{automation_id}/resume
GET POST /agents/environments
GET POST /agents/environments/templates
DELETE GET POST /agents/environments/templates/{environment_template_id}
GET /agents/environments/{environment_id}
GET POST /agents/environments/{environment_id}/files
GET POST /agents/sessions
DELETE GET POST /agents/sessions/{session_id}
GET /agents/sessions/{session_id}/artifacts
DELETE GET /agents/sessions/{session_id}/artifacts/{artifact_id}
GET /agents/sessions/{session_id}/artifacts/{artifact_id}/content
GET POST /agents/sessions/{session_id}/events
GET /agents/sessions/{session_id}/items
GET /agents/sessions/{session_id}/subagents
GET /agents/sessions/{session_id}/subagents/{subagent_id}
GET /agents/sessions/{session_id}/subagents/{subagent_id}/items
GET /agents/sessions/{session_id}/subagents/{subagent_id}/turns
GET /agents/sessions/{session_id}/subagents/{subagent_id}/turns/{turn_id}
GET /agents/sessions/{session_id}/subagents/{subagent_id}/turns/{turn_id}/items
GET /agents/sessions/{session_id}/traces
GET /agents/sessions/{session_id}/turns
GET /agents/sessions/{session_id}/turns/{turn_id}
GET /agents/sessions/{session_id}/turns/{turn_id}/items
DELETE GET POST /agents/{agent_id}
GET POST /assistants
DELETE GET POST /assistants/{assistant_id}
POST /audio/speech
POST /audio/transcriptions
POST /audio/translations
GET POST /audio/voice_consents
DELETE GET POST /audio/voice_consents/{consent_id}
POST /audio/voices
DELETE /audio/voices/{voice_id}
GET POST /batches
GET /batches/{batch_id}
POST /batches/{batch_id}/cancel
GET POST /chat/completions
DELETE GET POST /chat/completions/{completion_id}
GET /chat/completions/{completion_id}/messages
POST /chatkit/sessions
POST /chatkit/sessions/{id}/cancel
GET /chatkit/threads
DELETE GET /chatkit/threads/{id}
GET /chatkit/threads/{id}/items
POST /completions
GET POST /containers
DELETE GET /containers/{container_id}
GET POST /containers/{container_id}/files
DELETE GET /containers/{container_id}/files/{file_id}
GET /containers/{container_id}/files/{file_id}/content
POST /content_provenance_checks
POST /conversations
DELETE GET POST /conversations/{id}
GET POST /conversations/{id}/items
DELETE GET /conversations/{id}/items/{id}
POST /decisions
POST /embeddings
GET POST /evals
DELETE GET POST /evals/{eval_id}
GET POST /evals/{eval_id}/runs
DELETE GET /evals/{eval_id}/runs/{run_id}
POST /evals/{eval_id}/runs/{run_id}/cancel
GET /evals/{eval_id}/runs/{run_id}/output_items
GET /evals/{eval_id}/runs/{run_id}/output_items/{output_item_id}
GET POST /files
DELETE GET /files/{file_id}
GET /files/{file_id}/content
POST /fine_tuning/alpha/graders/run
POST /fine_tuning/alpha/graders/validate
GET POST /fine_tuning/checkpoints/{id}/permissions
DELETE /fine_tuning/checkpoints/{id}/permissions/{id}
GET POST /fine_tuning/jobs
GET /fine_tuning/jobs/{id}
POST /fine_tuning/jobs/{id}/cancel
GET /fine_tuning/jobs/{id}/checkpoints
GET /fine_tuning/jobs/{id}/events
POST /fine_tuning/jobs/{id}/pause
POST /fine_tuning/jobs/{id}/resume
POST /images/edits
POST /images/generations
POST /images/variations
POST /live/sessions
GET /live/sessions/{id}/content
POST /live/sessions/{session_id}/accept
POST /live/sessions/{session_id}/fork
POST /live/sessions/{session_id}/hangup
POST /live/sessions/{session_id}/refer
POST /live/sessions/{session_id}/reject
GET /models
DELETE GET /models/{id}
POST /moderations
GET POST /organization/admin_api_keys
DELETE GET /organization/admin_api_keys/{key_id}
GET /organization/audit_logs
GET POST /organization/certificates
POST /organization/certificates/activate
POST /organization/certificates/deactivate
DELETE GET POST /organization/certificates/{certificate_id}
GET /organization/costs
GET POST /organization/data_retention
GET POST /organization/external_keys
DELETE GET /organization/external_keys/{external_key_id}
POST /organization/external_keys/{external_key_id}/validate
GET POST /organization/external_storage
DELETE GET /organization/external_storage/{id}
POST /organization/external_storage/{id}/validate
GET POST /organization/groups
DELETE GET POST /organization/groups/{group_id}
GET POST /organization/groups/{group_id}/roles
DELETE GET /organization/groups/{group_id}/roles/{role_id}
GET POST /organization/groups/{group_id}/users
DELETE GET /organization/groups/{group_id}/users/{user_id}
GET POST /organization/invites
DELETE GET /organization/invites/{invite_id}
GET POST /organization/projects
DELETE GET POST /organization/projects/{id}/spend_limit
GET POST /organization/projects/{project_id}
GET /organization/projects/{project_id}/api_keys
DELETE GET POST /organization/projects/{project_id}/api_keys/{api_key_id}
POST /organization/projects/{project_id}/archive
GET /organization/projects/{project_id}/certificates
POST /organization/projects/{project_id}/certificates/activate
POST /organization/projects/{project_id}/certificates/deactivate
GET POST /organization/projects/{project_id}/data_retention
GET POST /organization/projects/{project_id}/groups
DELETE GET /organization/projects/{project_id}/groups/{group_id}
GET POST /organization/projects/{project_id}/hosted_tool_permissions
DELETE GET POST /organization/projects/{project_id}/model_permissions
GET /organization/projects/{project_id}/rate_limits
POST /organization/projects/{project_id}/rate_limits/{rate_limit_id}
GET POST /organization/projects/{project_id}/service_accounts
DELETE GET POST /organization/projects/{project_id}/service_accounts/{service_account_id}
POST /organization/projects/{project_id}/service_accounts/{service_account_id}/api_keys
GET POST /organization/projects/{project_id}/service_tier_settings
GET POST /organization/projects/{project_id}/spend_alerts
DELETE GET POST /organization/projects/{project_id}/spend_alerts/{alert_id}
GET POST /organization/projects/{project_id}/users
DELETE GET POST /organization/projects/{project_id}/users/{user_id}
GET POST /organization/roles
DELETE GET POST /organization/roles/{role_id}
GET POST /organization/spend_alerts
DELETE GET POST /organization/spend_alerts/{alert_id}
DELETE GET POST /organization/spend_limit
GET /organization/usage/audio_speeches
GET /organization/usage/audio_transcriptions
GET /organization/usage/code_interpreter_sessions
GET /organization/usage/completions
GET /organization/usage/decisions
GET /organization/usage/embeddings
GET /organization/usage/file_search_calls
GET /organization/usage/images
GET /organization/usage/moderations
GET /organization/usage/vector_stores
GET /organization/usage/web_search_calls
GET /organization/users
DELETE GET POST /organization/users/{user_id}
GET POST /organization/users/{user_id}/roles
DELETE GET /organization/users/{user_id}/roles/{role_id}
GET POST /organization/workload_identity_providers
DELETE GET POST /organization/workload_identity_providers/{id}
GET POST /organization/workload_identity_providers/{id}/federation_rules
DELETE GET POST /organization/workload_identity_providers/{id}/federation_rules/{id}
GET POST /projects/{project_id}/groups/{group_id}/roles
DELETE GET /projects/{project_id}/groups/{group_id}/roles/{role_id}
GET POST /projects/{project_id}/roles
DELETE GET POST /projects/{project_id}/roles/{role_id}
GET POST /projects/{project_id}/users/{user_id}/roles
DELETE GET /projects/{project_id}/users/{user_id}/roles/{role_id}
POST /realtime/calls
POST /realtime/calls/{call_id}/accept
POST /realtime/calls/{call_id}/hangup
POST /realtime/calls/{call_id}/refer
POST /realtime/calls/{call_id}/reject
POST /realtime/client_secrets
POST /realtime/translations/client_secrets
POST /responses
POST /responses/compact
POST /responses/input_tokens
DELETE GET /responses/{id}
POST /responses/{id}/cancel
GET /responses/{response_id}/input_items
GET /safety/alerts/{id}
GET /safety/cases/{id}
GET POST /skills
DELETE GET POST /skills/{id}
GET /skills/{id}/content
GET POST /skills/{id}/versions
DELETE GET /skills/{id}/versions/{version}
GET /skills/{id}/versions/{version}/content
POST /threads
POST /threads/runs
DELETE GET POST /threads/{thread_id}
GET POST /threads/{thread_id}/messages
DELETE GET POST /threads/{thread_id}/messages/{message_id}
GET POST /threads/{thread_id}/runs
GET POST /threads/{thread_id}/runs/{run_id}
POST /threads/{thread_id}/runs/{run_id}/cancel
GET /threads/{thread_id}/runs/{run_id}/steps
GET /threads/{thread_id}/runs/{run_id}/steps/{step_id}
POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs
POST /uploads
POST /uploads/{id}/cancel
POST /uploads/{id}/complete
POST /uploads/{id}/parts
GET POST /vaults
DELETE GET POST /vaults/{vault_id}
GET POST /vaults/{vault_id}/credentials
DELETE GET POST /vaults/{vault_id}/credentials/{credential_id}
GET POST /vector_stores
POST /vector_stores/{id}/file_batches
GET /vector_stores/{id}/file_batches/{id}
POST /vector_stores/{id}/files
GET POST /vector_stores/{id}/files/{id}
GET /vector_stores/{id}/files/{id}/content
POST /vector_stores/{id}/search
DELETE GET POST /vector_stores/{vector_store_id}
POST /vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel
GET /vector_stores/{vector_store_id}/file_batches/{batch_id}/files
GET /vector_stores/{vector_store_id}/files
DELETE /vector_stores/{vector_store_id}/files/{file_id}
GET POST /videos
POST /videos/characters
GET /videos/characters/{id}
POST /videos/edits
POST /videos/extensions
DELETE GET /videos/{id}
GET /videos/{id}/content
POST /videos/{id}/remix
GET POST /webhook_endpoints
DELETE GET POST /webhook_endpoints/{id}
POST /webhook_endpoints/{id}/rotate_secret
POST /webhook_endpoints/{id}/test
GET /webhook_event_types
"""

# What no example can show: WebRTC, which the mock refuses, items to add of which there are none, and WebSockets.
REFUSED = {"POST /realtime/calls", "POST /conversations/{conversation_id}/items"}
ANSWERED = [key for key in KEYS if key not in REFUSED and REFERENCE.operation(key).verb != "opens"]


class Example:
    """Gives what made-up values come from."""

    def new_id(self, prefix):
        return f"{prefix}1"

    def now(self):
        return 1700000000


COMPLETER = Completer(REFERENCE.shapes, CONFORMITY, Example())


def named_in(shape):
    """Yield the names that a shape uses, not those of the shapes that they stand for."""
    if type(shape) is NamedShape:
        yield shape.name
    elif type(shape) in (ListShape, MapShape):
        yield from named_in(shape.item)
    elif type(shape) is ObjectShape:
        for member in shape.members.values():
            yield from named_in(member.shape)
    elif type(shape) is UnionShape:
        for variant in shape.variants:
            yield from named_in(variant)


def definitions():
    return re.findall(r"^(\w+) = ", "\n".join(API_REFERENCE), re.MULTILINE)


def used_names():
    """Return the names that the operations use, and that what they stand for uses."""
    shapes = [REFERENCE.operation(key) for key in KEYS]
    waiting = [
        name
        for operation in shapes
        for shape in (operation.result, operation.query, operation.body)
        if shape is not None
        for name in named_in(shape)
    ]
    used = set()
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            # Its own text, since `named` follows a name that stands for another.
            waiting.extend(named_in(REFERENCE.shapes.named(name)))
    return used


def pattern(key):
    return re.sub(r"\{\w+\}", "{}", key)


def files_in(shape):
    """Return the members of a form that must be files."""
    shape = REFERENCE.shapes.variants(shape)[0]
    if type(shape) is not ObjectShape:
        return []
    return [
        name
        for name, member in shape.members.items()
        if member.required and ScalarShape("file") in REFERENCE.shapes.variants(member.shape)
    ]


def form(body, files):
    """Return a multipart form of an object's members, those of `files` as files."""
    parts = []
    for name, value in body.items():
        is_file = name in files
        text = "example" if is_file else value if isinstance(value, str) else json.dumps(value)
        filename = '; filename="example.wav"' if is_file else ""
        parts.append(f'--x\r\ncontent-disposition: form-data; name="{name}"{filename}\r\n\r\n{text}\r\n')
    return "".join(parts).encode() + b"--x--\r\n", [("content-type", "multipart/form-data; boundary=x")]


async def answer_to(mock, method, path, body, fields):
    request = make_request(method, path, body, fields)
    answer = mock.endpoint(request).answer(request)
    if inspect.isawaitable(answer):
        answer = await answer
    await mock.close()
    return answer


# ---- the text


@pytest.mark.parametrize("key", KEYS)
def test_operation_reads(key):
    operation = REFERENCE.operation(key)
    assert operation.key == key


def test_every_name_that_is_used_stands_for_a_shape():
    assert used_names() <= set(definitions())


def test_no_shape_is_defined_twice():
    names = definitions()
    assert sorted(set(names)) == sorted(names)


def test_no_shape_is_unused():
    # What WebSockets carry of the old events is checked by name.
    assert set(definitions()) - used_names() <= {"RealtimeBetaClientEvent", "RealtimeBetaItem"}


def test_every_endpoint_of_the_sdk_is_described():
    described = {pattern(key) for key in KEYS}
    asked = set()
    for line in ENDPOINTS.split("\n"):
        *methods, path = line.split() or [""]
        asked.update(pattern(f"{method} {path}") for method in methods)
    assert len(asked) == 379
    assert asked - described == set()


# ---- what the mock makes of it


def example_of(operation):
    """Return an example of a request: path, body or form, and header fields."""
    path = re.sub(r"\{\w+\}", "example_1", operation.path)
    query = ""
    if operation.query is not None:
        made = COMPLETER.complete(operation.query)
        query = "?" + "&".join(f"{name}={value}" for name, value in made.items()) if made else ""
    if operation.body is None:
        return f"/v1{path}{query}", None, []
    body = COMPLETER.complete(operation.body)
    files = files_in(operation.body)
    if files:
        data, fields = form(body, files)
        return f"/v1{path}{query}", data, fields
    return f"/v1{path}{query}", body, []


@pytest.mark.parametrize("key", KEYS)
def test_made_up_values_are_of_their_shapes(key):
    operation = REFERENCE.operation(key)
    for shape in (operation.result, operation.query):
        if shape is not None:
            CONFORMITY.check(shape)(COMPLETER.complete(shape))


@pytest.mark.parametrize("key", ANSWERED)
def test_example_is_answered_with_what_the_description_says(key):
    operation = REFERENCE.operation(key)
    path, body, fields = example_of(operation)
    answer = asyncio.run(answer_to(make_mock(unknown_ids="invent"), operation.method, path, body, fields))
    assert isinstance(answer, Response) and 200 <= answer.status < 300
    if operation.result is None or isinstance(answer.body, Paced) or not answer.body.startswith(b"{"):
        return
    told = json.loads(answer.body)
    if operation.verb == "lists" or operation.page == "whole":
        assert isinstance(told["data"], list)
        for item in told["data"]:
            CONFORMITY.check(operation.result)(item)
    else:
        CONFORMITY.check(operation.result)(told)


@pytest.mark.parametrize("key", [key for key in ANSWERED if key.startswith("POST")])
def test_body_that_is_let_pass_breaks_nothing(key):
    mock = make_mock(unknown_ids="invent", validate="off")
    path = re.sub(r"\{\w+\}", "example_1", f"/v1{REFERENCE.operation(key).path}")
    try:
        answer = asyncio.run(answer_to(mock, "POST", path, {}, []))
    except ApiError as refusal:
        assert 400 <= refusal.status < 500
    else:
        assert answer.status < 400
