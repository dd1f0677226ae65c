"""The administration in the mock: people, roles, keys, certificates, usage, its log; and webhook endpoints."""

from __future__ import annotations

import base64

import pytest
from mocks import NOW, ask, make_mock

from protocol.errors import ApiError
from protocol.mock.organization.certificates import certificate_validity

ROOT = "/v1/organization"


@pytest.fixture
def mock():
    return make_mock()


def refused(mock, method, path, body=None):
    with pytest.raises(ApiError) as caught:
        ask(mock, method, path, body)
    return caught.value


def project_of(mock, name="P"):
    return f"{ROOT}/projects/{ask(mock, 'POST', ROOT + '/projects', {'name': name})['id']}"


# ---- secrets


def test_admin_key_is_shown_once(mock):
    made = ask(mock, "POST", f"{ROOT}/admin_api_keys", {"name": "ci", "expires_in_seconds": 60})
    assert made["value"].startswith("sk-admin-") and made["expires_at"] == int(NOW) + 60
    for shown in (
        ask(mock, "GET", f"{ROOT}/admin_api_keys/{made['id']}"),
        ask(mock, "GET", f"{ROOT}/admin_api_keys")["data"][0],
    ):
        assert "value" not in shown
        assert shown["redacted_value"].startswith("sk-admin-*") and shown["redacted_value"] != made["value"]


def test_service_account_has_a_key_that_the_project_lists_redacted(mock):
    project = project_of(mock)
    made = ask(mock, "POST", f"{project}/service_accounts", {"name": "bot"})
    (key,) = ask(mock, "GET", f"{project}/api_keys")["data"]
    assert key["id"] == made["api_key"]["id"] and "value" not in key
    assert key["owner"]["service_account"]["id"] == made["id"]
    ask(mock, "DELETE", f"{project}/service_accounts/{made['id']}")
    assert ask(mock, "GET", f"{project}/api_keys")["data"] == []


def test_service_account_alone_has_no_key(mock):
    project = project_of(mock)
    body = {"name": "bot", "create_service_account_only": True}
    assert ask(mock, "POST", f"{project}/service_accounts", body)["api_key"] is None
    assert ask(mock, "GET", f"{project}/api_keys")["data"] == []


def test_webhook_secret_is_shown_when_it_is_made(mock):
    body = {"name": "w", "url": "https://example.com/hook", "event_types": ["response.completed"]}
    made = ask(mock, "POST", "/v1/webhook_endpoints", body)
    path = f"/v1/webhook_endpoints/{made['id']}"
    rotated = ask(mock, "POST", f"{path}/rotate_secret", {})
    shown = ask(mock, "GET", path)
    secrets = [made["signing_secret"], rotated["signing_secret"]]
    assert len({len(base64.b64decode(secret[len("whsec_") :])) for secret in secrets}) == 1
    assert secrets[0] != secrets[1] and "signing_secret" not in shown
    assert shown["signing_secret_hint"].endswith(secrets[1][-5:])
    tested = ask(mock, "POST", f"{path}/test", {"event_type": "response.completed"})
    assert (tested["success"], tested["webhook_endpoint_id"]) == (True, made["id"])
    assert "response.completed" in ask(mock, "GET", "/v1/webhook_event_types")["data"]


# ---- people and roles


def test_organization_begins_with_an_owner_and_a_project(mock):
    assert [user["role"] for user in ask(mock, "GET", f"{ROOT}/users")["data"]] == ["owner"]
    assert [one["name"] for one in ask(mock, "GET", f"{ROOT}/projects")["data"]] == ["Default project"]


def test_role_is_given_and_taken(mock):
    role = ask(mock, "POST", f"{ROOT}/roles", {"role_name": "auditor", "permissions": ["api.logs.read"]})
    assert (role["name"], role["predefined_role"]) == ("auditor", False)
    path = f"{ROOT}/users/user-owner/roles"
    given = ask(mock, "POST", path, {"role_id": role["id"]})
    assert (given["object"], given["user"]["id"], given["role"]["id"]) == ("user.role", "user-owner", role["id"])
    assert [one["name"] for one in ask(mock, "GET", path)["data"]] == ["auditor"]
    assert ask(mock, "DELETE", f"{path}/{role['id']}") == {"deleted": True, "object": "user.role.deleted"}
    assert ask(mock, "GET", path)["data"] == []
    assert refused(mock, "POST", path, {"role_id": "role_none"}).status == 404


def test_group_of_a_project_has_its_users_and_roles(mock):
    group = ask(mock, "POST", f"{ROOT}/groups", {"name": "Team"})
    path = f"{ROOT}/groups/{group['id']}"
    ask(mock, "POST", f"{path}/users", {"user_id": "user-owner"})
    assert [user["id"] for user in ask(mock, "GET", f"{path}/users")["data"]] == ["user-owner"]
    project = project_of(mock)
    ask(mock, "POST", f"{project}/groups", {"group_id": group["id"], "role": "member"})
    assert ask(mock, "GET", f"{project}/groups/{group['id']}")["group_name"] == "Team"
    roles = ask(mock, "GET", f"/v1/projects/{project.rpartition('/')[2]}/roles")["data"]
    assert {role["name"] for role in roles} == {"owner", "member"}
    of_group = f"/v1/projects/{project.rpartition('/')[2]}/groups/{group['id']}/roles"
    assert ask(mock, "POST", of_group, {"role_id": roles[0]["id"]})["group"]["name"] == "Team"
    assert len(ask(mock, "GET", of_group)["data"]) == 1


def test_predefined_roles_stay_as_they_are(mock):
    role = ask(mock, "GET", f"{ROOT}/roles")["data"][0]
    assert refused(mock, "POST", f"{ROOT}/roles/{role['id']}", {"role_name": "x"}).status == 400
    assert refused(mock, "DELETE", f"{ROOT}/roles/{role['id']}").status == 400


def test_project_user_is_named_by_address(mock):
    project = project_of(mock)
    added = ask(mock, "POST", f"{project}/users", {"email": "owner@example.com", "role": "member"})
    assert (added["id"], added["role"]) == ("user-owner", "member")
    assert refused(mock, "POST", f"{project}/users", {"role": "member"}).status == 400


def test_invite_is_pending_for_a_week(mock):
    invite = ask(mock, "POST", f"{ROOT}/invites", {"email": "a@example.com", "role": "reader"})
    assert (invite["status"], invite["expires_at"]) == ("pending", int(NOW) + 7 * 86400)


# ---- projects and settings


def test_archived_project_is_listed_on_request(mock):
    project = project_of(mock, "Old")
    archived = ask(mock, "POST", f"{project}/archive")
    assert (archived["status"], archived["archived_at"]) == ("archived", int(NOW))
    assert ask(mock, "GET", f"{ROOT}/projects")["data"] == []
    assert len(ask(mock, "GET", f"{ROOT}/projects?include_archived=true")["data"]) == 1


def test_rate_limits_are_there_and_can_be_changed(mock):
    project = project_of(mock)
    limits = ask(mock, "GET", f"{project}/rate_limits")["data"]
    limit = next(one for one in limits if one["model"] == "gpt-4o")
    body = {"max_requests_per_1_minute": 7}
    assert ask(mock, "POST", f"{project}/rate_limits/{limit['id']}", body)["max_requests_per_1_minute"] == 7
    assert len(ask(mock, "GET", f"{project}/rate_limits")["data"]) == len(limits)
    assert refused(mock, "POST", f"{project}/rate_limits/rl-none", body).status == 404


@pytest.mark.parametrize("of", ["organization", "project"])
def test_spend_limit_is_set_and_removed(mock, of):
    path = f"{ROOT if of == 'organization' else project_of(mock)}/spend_limit"
    assert refused(mock, "GET", path).status == 404
    ask(mock, "POST", path, {"currency": "USD", "interval": "month", "threshold_amount": 500})
    limit = ask(mock, "GET", path)
    assert (limit["threshold_amount"], limit["enforcement"]) == (500, {"status": "enforcing"})
    assert ask(mock, "DELETE", path)["deleted"] is True
    assert refused(mock, "GET", path).status == 404


def test_data_retention_is_kept(mock):
    path = f"{project_of(mock)}/data_retention"
    assert ask(mock, "GET", path)["type"] == "organization_default"
    ask(mock, "POST", path, {"retention_type": "zero_data_retention"})
    assert ask(mock, "GET", path)["type"] == "zero_data_retention"


def test_settings_of_an_unknown_project_are_not_found(mock):
    assert refused(mock, "GET", f"{ROOT}/projects/proj_none/data_retention").status == 404


# ---- certificates


def pem(times=b"\x30\x1e\x17\x0d240101000000Z\x17\x0d250101000000Z"):
    text = base64.b64encode(b"\x30\x82\x01\x00" + times + bytes(8)).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("times", "validity"),
    [
        pytest.param(b"\x30\x1e\x17\x0d240101000000Z\x17\x0d250101000000Z", (1704067200, 1735689600), id="utc"),
        pytest.param(b"\x30\x20\x17\x0d490101000000Z\x18\x0f20500101000000Z", (2493072000, 2524608000), id="general"),
        pytest.param(b"\x30\x1e\x17\x0d991301000000Z\x17\x0d250101000000Z", None, id="no-month"),
        pytest.param(b"", None, id="none"),
    ],
)
def test_validity_of_a_certificate_is_read(times, validity):
    expected = {} if validity is None else {"valid_at": validity[0], "expires_at": validity[1]}
    assert certificate_validity(pem(times)) == expected


def test_certificate_is_activated_before_it_counts(mock):
    made = ask(mock, "POST", f"{ROOT}/certificates", {"certificate": pem(), "name": "c"})
    path = f"{ROOT}/certificates/{made['id']}"
    assert made["certificate_details"]["expires_at"] == 1735689600 and made["active"] is False
    assert ask(mock, "GET", f"{path}?include[]=content")["certificate_details"]["content"] == pem()
    assert "content" not in ask(mock, "GET", path)["certificate_details"]
    body = {"certificate_ids": [made["id"]]}
    switched = ask(mock, "POST", f"{ROOT}/certificates/activate", body)
    assert [one["active"] for one in switched["data"]] == [True]
    assert refused(mock, "DELETE", path).status == 400
    ask(mock, "POST", f"{ROOT}/certificates/deactivate", body)
    assert ask(mock, "GET", f"{ROOT}/certificates")["data"][0]["active"] is False
    assert ask(mock, "DELETE", path)["object"] == "certificate.deleted"


# ---- usage and the log


@pytest.mark.parametrize(
    ("query", "count", "has_more"),
    [
        pytest.param("start_time=1699920000", 1, False, id="rest-of-the-day"),
        pytest.param("start_time=1699315200&end_time=1699920000", 7, False, id="seven-days"),
        pytest.param("start_time=0", 7, True, id="a-page-of-days"),
        pytest.param("start_time=1699920000&bucket_width=1h&limit=2", 2, True, id="hours"),
        pytest.param("start_time=1800000000", 0, False, id="future"),
    ],
)
def test_usage_comes_in_buckets(mock, query, count, has_more):
    page = ask(mock, "GET", f"{ROOT}/usage/completions?{query}")
    assert (len(page["data"]), page["has_more"]) == (count, has_more)
    ends = [bucket["end_time"] for bucket in page["data"]]
    assert [bucket["start_time"] for bucket in page["data"]][1:] == ends[:-1]


def test_next_page_of_usage_goes_on(mock):
    first = ask(mock, "GET", f"{ROOT}/costs?start_time=0&limit=3")
    second = ask(mock, "GET", f"{ROOT}/costs?start_time=0&limit=3&page={first['next_page']}")
    assert second["data"][0]["start_time"] == first["data"][-1]["end_time"]


def test_log_tells_what_was_done(mock):
    project = project_of(mock, "Watched")
    project_id = project.rpartition("/")[2]
    ask(mock, "POST", project, {"name": "Renamed"})
    ask(mock, "POST", f"{ROOT}/groups", {"name": "g"})
    entries = ask(mock, "GET", f"{ROOT}/audit_logs")["data"]
    assert [entry["type"] for entry in entries] == ["group.created", "project.updated", "project.created"]
    assert entries[1]["project.updated"] == {"id": project_id, "changes_requested": {"name": "Renamed"}}
    assert entries[1]["project"]["id"] == project_id
    some = ask(mock, "GET", f"{ROOT}/audit_logs?event_types[]=project.created&project_ids[]={project_id}")["data"]
    assert [entry["id"] for entry in some] == [entries[2]["id"]]
    assert ask(mock, "GET", f"{ROOT}/audit_logs?effective_at[gt]={int(NOW)}")["data"] == []


@pytest.mark.parametrize(
    "provider",
    [
        {"type": "aws", "bucket": "b", "role_arn": "r"},
        {
            "type": "gcp", "bucket": "b", "workload_identity_pool_id": "p", "workload_identity_project_number": "1",
            "workload_identity_provider_id": "w",
        },
    ],
)  # fmt: skip
def test_the_audit_log_tells_what_became_of_an_object_that_was_asked_for(mock, provider):
    made = ask(mock, "POST", f"{ROOT}/external_storage", {"project_id": "proj_123", "provider": provider})
    (entry,) = ask(mock, "GET", f"{ROOT}/audit_logs")["data"]
    assert entry["external_storage.registered"]["data"] == {"project_id": "proj_123", "provider": made["provider"]}
    assert made["provider"].keys() > provider.keys()  # a region, an audience


def test_log_holds_no_secret(mock):
    made = ask(mock, "POST", f"{ROOT}/admin_api_keys", {"name": "ci"})
    assert made["value"] not in str(ask(mock, "GET", f"{ROOT}/audit_logs"))


def test_refused_action_is_not_logged(mock):
    refused(mock, "DELETE", f"{ROOT}/groups/group_none")
    assert ask(mock, "GET", f"{ROOT}/audit_logs")["data"] == []
