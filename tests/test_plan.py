"""Plans that are made of what is known of other heads: each is the one that would be made for its head alone."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from relays import settings_of

from protocol.errors import ApiError
from protocol.exchange import TELLING_FIELDS, HeadFacts, Request
from protocol.relay.header_rules import request_fields
from protocol.relay.plan import Plan, Planner
from protocol.upstream.destination import address, parse_destination
from protocol.wire.http1.memo import RequestMemo
from protocol.wire.http1.messages import PAUSED, BadMessage, RequestHead
from protocol.wire.http1.readers import RequestReader
from protocol.wire.http1.writers import decode_fields

DESTINATION = parse_destination("https://api.test/v1")


def planner(**options: str) -> Planner:
    settings = settings_of({"relay": {"base_url": "https://api.test/v1", **options}}).backends[0].options
    return Planner(
        "relay", settings, DESTINATION, address(DESTINATION, None), "i1", 1 << 20, reads_answers=bool(settings.api_key)
    )


def memo() -> RequestMemo:
    return RequestMemo(HeadFacts, TELLING_FIELDS)


def request(remembered: RequestMemo, target: str, *pairs: tuple[str, str], minor_version: int = 1) -> Request | None:
    """Read a request's head with what is remembered; None where it is none."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in [("host", "relay.test"), *pairs])
    reader = RequestReader(memo=remembered)
    reader.feed(f"POST {target} HTTP/1.{minor_version}\r\n{lines}\r\n".encode("latin-1"))
    try:
        head = reader.next_event()
    except BadMessage:
        return None
    assert isinstance(head, RequestHead)
    return Request(head, "id", "-")


def said(plan: Plan | str) -> object:
    if isinstance(plan, str):
        return plan
    members = (plan.lines, plan.fields, plan.target, plan.is_held, plan.is_tunnel, plan.kind, plan.takes_model)
    decoded = None if plan.decoded is None else plan.decoded.lines
    return *members, plan.opens_session, decoded, plan.choice.forced


def plan_by(made: Planner, asked: Request | None) -> Plan | str:
    if asked is None:
        return "not HTTP"
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
    known, remembered = planner(**OPTIONS[name]), memo()
    for number in range(400):
        fields = [*rolls.sample(FIELDS, rolls.randrange(6)), ("traceparent", str(number // 3))]
        length = rolls.choice(["1", "500", "65536", "65537", "0"])
        rolls.shuffle(fields)
        head = (rolls.choice(TARGETS[:1] * 8 + TARGETS), *fields, ("content-length", length))
        version = rolls.choice([1, 1, 1, 0])
        asked, alone = (request(one, *head, minor_version=version) for one in (remembered, memo()))
        assert said(plan_by(known, asked)) == said(plan_by(planner(**OPTIONS[name]), alone))


@pytest.mark.parametrize("name", OPTIONS)
def test_what_goes_on_by_its_place_is_what_the_rules_let_pass(name: str) -> None:
    """The order of fields with different names means nothing (RFC 9110 §5.3)."""
    rolls = random.Random(name)
    known, remembered = planner(**OPTIONS[name]), memo()
    usual = 0
    for number in range(300):
        fields = [*rolls.sample(FIELDS, rolls.randrange(5)), ("traceparent", str(number)), ("content-length", "5")]
        written = [(name.title(), f" {value} ") for name, value in fields]
        asked = request(remembered, "/v1/chat/completions", *written)
        plan = plan_by(known, asked)
        if not isinstance(plan, Plan) or asked is None or not asked.facts.plans:
            continue
        usual += 1
        wanted = request_fields(asked.head, known._addressing.fields, known._own_fields, "i1")
        assert sorted(decode_fields(plan.fields)) == sorted(wanted)
        assert b"\r\nTraceparent:  %d \r\n" % number in b"\r\n" + plan.fields, "as it came"
    assert usual > 100 or "asked" in name


@pytest.mark.parametrize("name", OPTIONS)
def test_a_plan_by_a_form_is_the_one_for_its_head(name: str) -> None:
    """Clients that repeat all of their heads but for some values, of which some pass and some stay behind."""
    rolls = random.Random(name)
    known, remembered = planner(**OPTIONS[name]), memo()
    by_form = 0
    for _ in range(40):
        fields = rolls.sample(FIELDS, rolls.randrange(6))
        changing = rolls.sample(["traceparent", "x-real-ip", "cookie", "x-trace", "connection-id", "Accept"], 3)
        is_keyed = rolls.random() < 0.3
        order = rolls.sample(range(len(fields) + 4), len(fields) + 4)
        reader = RequestReader(memo=remembered)
        for number in range(6):
            values = [
                rolls.choice(["", "1", "%b", "%", "%%0d", "\xe9\x80", "a: b", " x "]) + str(number) for _ in changing
            ]
            pairs = [*fields, *zip(changing, values), ("content-length", str(5 + number))]
            if is_keyed:
                pairs[-2] = ("Authorization", f"Bearer k{number % 2}")
            pairs = [pairs[at] for at in order]
            lines = "".join(f"{one}: {value}\r\n" for one, value in [("host", "relay.test"), *pairs])
            reader.feed(
                f"POST /v1/chat/completions?a=%b HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + b"a" * (5 + number)
            )
            try:
                head = reader.next_event()
            except BadMessage:
                break
            assert isinstance(head, RequestHead)
            by_form += head.written is not None
            alone = request(memo(), "/v1/chat/completions?a=%b", *pairs)
            assert said(plan_by(known, Request(head, "id", "-"))) == said(plan_by(planner(**OPTIONS[name]), alone))
            while reader.next_event() is not PAUSED:
                pass
            reader.next_message()
    assert by_form > 50


def test_a_new_field_takes_no_look_at_the_others() -> None:
    known, remembered = planner(api_key="sk-ours-0123456789"), memo()
    fields = [("content-type", "application/json"), ("accept", "*/*"), ("content-length", "5")]
    first, other = (
        plan_by(known, request(remembered, "/v1/chat/completions", *fields, ("traceparent", number))) for number in "12"
    )
    assert isinstance(first, Plan) and isinstance(other, Plan)
    assert other.target is first.target  # taken from the first one
    assert other.lines == first.lines.replace(b"traceparent: 1", b"traceparent: 2")


def test_a_head_that_differs_in_the_length_of_its_body_alone_has_the_same_plan() -> None:
    known, remembered = planner(api_key="sk-ours-0123456789"), memo()

    def planned(length: str, trace: str) -> Plan | str:
        fields = [("content-type", "application/json"), ("content-length", length), ("traceparent", trace)]
        return plan_by(known, request(remembered, "/v1/chat/completions", *fields))

    first, second, third, new = (planned(*head) for head in (("5", "1"), ("6", "1"), ("777", "1"), ("777", "2")))
    assert second is third and new is not third
    assert said(first) == said(second) != said(new)


def test_a_key_that_another_host_must_not_see_stays_behind() -> None:
    known, remembered = planner(api_key=""), memo()
    fields = [("content-type", "application/json"), ("authorization", "Bearer caller"), ("content-length", "5")]
    for origin, is_shown in (("https://api.test", True), ("https://other.test", False), ("https://api.test", True)):
        asked = request(remembered, "/v1/chat/completions", *fields)
        assert asked is not None
        asked.keep_key_for(origin)
        assert (b"caller" in known.plan(asked).lines) == is_shown


def test_a_long_form_with_another_model_is_made_once() -> None:
    made = planner(models="whisper-1 = large")
    form = ("content-type", "multipart/form-data; boundary=edge")
    asked = request(memo(), "/v1/audio/transcriptions", form, ("content-length", "24000000"))
    assert asked is not None
    edge = b'--edge\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    file = edge % (b"file", b"\r\n--edg" * 3_000_000)
    body = file + edge % (b"model", b"whisper-1") + b"--edge--\r\n"
    plan = made.plan(asked)
    assert plan.kind == "form"
    tracemalloc.start()
    try:
        _, sent = made.renamed(asked, plan, plan.kind, body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent == file + edge % (b"model", b"large") + b"--edge--\r\n"
    assert peak < 1.3 * len(body)
