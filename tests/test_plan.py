"""Plans that are made of what is known of other heads: each is the one that would be made for its head alone."""

from __future__ import annotations

import random

import pytest
from relays import settings_of

from protocol.errors import ApiError
from protocol.exchange import HeadFacts, Request
from protocol.relay.plan import Plan, Planner
from protocol.upstream.destination import address, parse_destination
from protocol.wire.http1.messages import Fields, RequestHead

DESTINATION = parse_destination("https://api.test/v1")


def planner(**options: str) -> Planner:
    settings = settings_of({"relay": {"base_url": "https://api.test/v1", **options}}).backends[0].options
    return Planner(
        "relay", settings, DESTINATION, address(DESTINATION, None), "i1", 1 << 20, reads_answers=bool(settings.api_key)
    )


def request(target: str, *pairs: tuple[str, str], minor_version: int = 1) -> Request:
    fields = Fields([("host", "relay.test"), *pairs])
    return Request(RequestHead("POST", target, minor_version, fields, HeadFacts()), "id", "-")


def said(plan: Plan | str) -> object:
    if isinstance(plan, str):
        return plan
    members = (plan.lines, plan.fields, plan.target, plan.is_held, plan.is_tunnel, plan.kind, plan.takes_model)
    decoded = None if plan.decoded is None else plan.decoded.lines
    return *members, plan.opens_session, decoded, plan.choice.forced


def plan_by(made: Planner, asked: Request) -> Plan | str:
    try:
        return made.plan(asked)
    except ApiError as exc:
        return exc.message


TARGETS = ["/v1/chat/completions", "/v1/embeddings", "/v1/files", "/v1/models?a=b", "/chat/completions",
           "/v1/engines/gpt-4o/completions", "http://relay.test/v1/responses", "/openai/deployments/a/chat/completions"]  # fmt: skip
FIELDS = [
    ("content-type", "application/json"), ("content-type", "text/plain"), ("content-type", "multipart/form-data; boundary=x"),
    ("content-type", "application/json; charset=utf-8"), ("content-encoding", "gzip"), ("accept", "*/*"), ("st", "api.test"),
    ("accept-encoding", "gzip"), ("authorization", "Bearer caller"), ("authorization", "Basic caller"), ("api-key", "caller"),
    ("x-stainless-lang", "python"), ("via", "1.1 front"), ("via", "1.1 oaiserve-i1"), ("connection", "close"),
    ("connection", "x-hop"), ("connection", "upgrade"), ("upgrade", "websocket"), ("x-hop", "1"), ("cookie", "a=b"),
    ("x-real-ip", "::1"), ("x_real_ip", "::1"), ("origin", "http://a.test"), ("openai-beta", "x"), ("x-a", "\xe9"),
    ("sec-websocket-key", "x"), ("expect", "100-continue"),
]  # fmt: skip
OPTIONS: dict[str, dict[str, str]] = {
    "the caller's key": {"api_key": ""},
    "a key": {"api_key": "sk-ours-0123456789"},
    "a key in a field of its own": {"api_key": "sk-ours-0123456789", "key_field": "api-key"},
    "the caller's key in another field": {"api_key": "", "key_field": "x-api-key"},
    "fields of ours": {"api_key": "sk-ours-0123456789", "headers": "x-a: 1\naccept: text/plain"},
    "a mapping": {"api_key": "x", "models": "gpt-4o = other"},
    "a forced model": {"api_key": "x", "model": "other"},
    "names that were asked for": {"api_key": "", "models": "gpt-4o = other", "model_in_answer": "asked"},
    "keepalive": {"api_key": "", "keepalive": "5"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_plan_is_the_one_for_its_head_whatever_came_before(name: str) -> None:
    rolls = random.Random(name)
    known = planner(**OPTIONS[name])
    for number in range(400):
        fields = [*rolls.sample(FIELDS, rolls.randrange(6)), ("traceparent", str(number))]
        length = rolls.choice(["1", "500", "65536", "65537", "0"])
        rolls.shuffle(fields)
        head = (rolls.choice(TARGETS[:1] * 8 + TARGETS), *fields, ("content-length", length))
        version = rolls.choice([1, 1, 1, 0])
        asked, alone = (request(*head, minor_version=version) for _ in range(2))
        assert said(plan_by(known, asked)) == said(plan_by(planner(**OPTIONS[name]), alone))


def test_a_new_field_takes_no_look_at_the_others() -> None:
    known = planner(api_key="sk-ours-0123456789")
    fields = [("content-type", "application/json"), ("accept", "*/*"), ("content-length", "5")]
    first = known.plan(request("/v1/chat/completions", *fields, ("traceparent", "1")))
    other = known.plan(request("/v1/chat/completions", *fields, ("traceparent", "2")))
    assert other.opening is first.opening  # taken from the first one
    assert other.lines == first.lines.replace(b"traceparent: 1", b"traceparent: 2")


def test_a_key_that_another_host_must_not_see_stays_behind() -> None:
    known = planner(api_key="")
    fields = [("content-type", "application/json"), ("authorization", "Bearer caller"), ("content-length", "5")]
    for origin, is_shown in (("https://api.test", True), ("https://other.test", False), ("https://api.test", True)):
        asked = request("/v1/chat/completions", *fields)
        asked.keep_key_for(origin)
        assert (b"caller" in known.plan(asked).lines) == is_shown
