"""The page for people: who is shown it, that it runs nothing but its own, and what it does in a real browser."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import pathlib
import re
import time

import pytest
from browser import CONTROL, ENTER, ESCAPE, RIGHT, TAB, Browser, needs_browser, running_browser
from programs import ANY_CHAT, ask, running

import oaiserve

PARTS = pathlib.Path(__file__).parent.parent / "protocol" / "service" / "page"
BROWSERS_ACCEPT = "text/html,application/xhtml+xml"


@pytest.fixture(scope="module")
def server():
    with oaiserve.start(set={"server.journal": "yes", "mock.text": "one two three", "mock.delay": "0.02"}) as running:
        yield running


# ---- the text -------------------------------------------------------------------------------------------------------


@pytest.mark.every_form
def test_page_is_one_text_of_which_the_policy_names_all_that_runs(server):
    status, fields, body = ask(server.port, "GET", "/", accept=BROWSERS_ACCEPT)
    text = body.decode()
    assert (status, fields["content-type"], fields["vary"]) == (200, "text/html; charset=utf-8", "Accept")
    policy = dict(part.strip().partition(" ")[::2] for part in fields["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'"
    scripts, styles = (re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL) for name in ("script", "style"))
    assert policy["script-src"].split() == [digest(script) for script in scripts] and len(scripts) == 2
    assert policy["style-src"].split() == [digest(style) for style in styles] and len(styles) == 1
    assert not re.search(r"""\b(src|href)=["'](?!#|data:)|\bstyle=|\bon[a-z]+=["']|@import|url\(""", text)


def digest(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_page_can_be_worked_on_as_files():
    page = (PARTS / "page.html").read_text("utf-8")
    for name in re.findall(r"""(?:src|href)=["']([a-z]+\.[a-z]+)["']""", page):
        assert (PARTS / name).is_file()
    words = (PARTS / "words.js").read_text("utf-8")
    english, chinese = (
        set(re.findall(r'(?:^ {4}|, )"?(\w+)"?: "', part, re.MULTILINE))
        for part in words.partition("\nconst DOORS")[0].split("\n  zh: {")
    )
    assert english == chinese
    used = set(re.findall(r'data-(?:word|label|hint)="(\w+)"', page))
    used |= set(re.findall(r'\bsay\("(\w+)"', (PARTS / "page.js").read_text("utf-8")))
    assert used <= english


# ---- who is shown it ------------------------------------------------------------------------------------------------

ELSEWHERE = {"host": "proxy.example"}


@pytest.mark.parametrize(
    ("fields", "page", "live"),
    [
        ({}, 200, 200),
        (ELSEWHERE, 0, 403),
        ({"origin": "https://evil.example"}, 0, 403),
        ({"sec_fetch_site": "cross-site"}, 0, 403),
        ({"origin": "http://localhost:3000", "sec_fetch_site": "same-site"}, 0, 403),
    ],
    ids=["this machine", "another name", "another site's page", "a link on another site", "another port's page"],
)
def test_page_is_for_this_machine(server, fields, page, live):
    status, got, _ = ask(server.port, "GET", "/", accept=BROWSERS_ACCEPT, **fields)
    assert got["content-type"] == ("text/html; charset=utf-8" if page else "application/json") and status == 200
    assert ask(server.port, "HEAD", "/_oaiserve/live", **fields)[0] == live


def test_page_is_shown_elsewhere_where_the_owner_says_so_but_to_no_other_site():
    with oaiserve.start(set={"server.page": "yes"}) as server:
        for fields, status in ((ELSEWHERE, 200), ({**ELSEWHERE, "origin": "https://evil.example"}, 403)):
            assert ask(server.port, "HEAD", "/_oaiserve/live", **fields)[0] == status
            _, got, _ = ask(server.port, "GET", "/", accept=BROWSERS_ACCEPT, **fields)
            assert got["content-type"].startswith("text/html") == (status == 200)


def test_who_has_no_key_gets_the_page_and_nothing_that_it_shows(tmp_path):
    key = "sk-oai-" + "a" * 40
    (tmp_path / "keys.ini").write_text(f"[key anna]\nhash = sha256:{hashlib.sha256(key.encode()).hexdigest()}\n")
    with oaiserve.start(set={"server.page": "yes", "server.keys_file": str(tmp_path / "keys.ini")}) as server:
        assert ask(server.port, "GET", "/", accept=BROWSERS_ACCEPT, **ELSEWHERE)[0] == 200
        assert (
            ask(server.port, "GET", "/", accept=BROWSERS_ACCEPT, **ELSEWHERE, origin="https://evil.example")[0] == 401
        )
        for path in ("/", "/metrics", "/_oaiserve/live"):
            assert ask(server.port, "HEAD", path, **ELSEWHERE)[0] == 401
            assert ask(server.port, "HEAD", path, **ELSEWHERE, authorization=f"Bearer {key}")[0] == 200


def test_who_has_no_key_gets_no_page_elsewhere_where_the_owner_does_not_say_so(tmp_path):
    (tmp_path / "keys.ini").write_text(f"[key anna]\nhash = sha256:{'0' * 64}\n")
    with oaiserve.start(set={"server.keys_file": str(tmp_path / "keys.ini")}) as server:
        assert ask(server.port, "GET", "/", accept=BROWSERS_ACCEPT, **ELSEWHERE)[0] == 401
        assert ask(server.port, "GET", "/", accept=BROWSERS_ACCEPT)[0] == 200


# ---- what is told live ----------------------------------------------------------------------------------------------


class Viewer:
    """Who reads the events of /_oaiserve/live."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
        self.connection.request("GET", "/_oaiserve/live")
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200
        assert self.answer.readline() == b": keep-alive\n"  # it watches from here on

    def rows(self, count):
        """Return as many rows as come, at least so many."""
        rows = []
        while len(rows) < count:
            line = self.answer.readline()
            assert line, "the stream has ended"
            if line.startswith(b"data:"):
                rows += json.loads(line[5:])["rows"]
        return rows

    def close(self):
        self.connection.close()


@pytest.mark.every_form
def test_each_request_is_told_as_soon_as_it_is_over(server):
    viewer = Viewer(server.port)
    ask(
        server.port,
        "POST",
        "/v1/chat/completions",
        {**ANY_CHAT, "stream": True, "stream_options": {"include_usage": True}},
    )
    ask(
        server.port,
        "POST",
        "/v1/chat/completions",
        ANY_CHAT,
        x_oaiserve_fault="status 503",
        authorization="Bearer secret-key",
    )
    ask(server.port, "GET", "/nowhere")
    streamed, failed, unknown = viewer.rows(3)
    viewer.close()
    assert (streamed["method"], streamed["path"], streamed["status"]) == ("POST", "/v1/chat/completions", 200)
    assert streamed["asked"] == streamed["sent"] == "gpt-4o" and streamed["out"] == 3
    assert 0 <= streamed["first"] <= streamed["seconds"]
    assert (failed["status"], failed["fault"], failed["key"]) == (
        503,
        "status 503",
        hashlib.md5(b"secret-key").hexdigest()[:8],
    )
    assert (unknown["status"], "asked" in unknown) == (404, False)
    calls = json.loads(ask(server.port, "GET", f"/_oaiserve/calls?since={streamed['came'] - 0.000001}")[2])["calls"]
    assert next(call for call in calls if call["number"] == streamed["call"])["request"]["json"]["stream"] is True


def test_relay_tells_heads_times_tokens_and_attempts(tmp_path):
    with oaiserve.start() as upstream:
        settings = {
            "relay.base_url": upstream.url,
            "relay.api_key": "sk-the-owners-own-key",
            "relay.models": "fast = gpt-4o-mini",
        }
        with oaiserve.start("relay", set=settings) as relay:
            viewer = Viewer(relay.port)
            ask(relay.port, "POST", "/v1/chat/completions", {**ANY_CHAT, "model": "fast"})
            (row,) = viewer.rows(1)
            viewer.close()
    assert (row["asked"], row["sent"], row["attempts"], row["out"]) == ("fast", "gpt-4o-mini", ["relay=200"], 3)
    assert "sk-the-owners-own-key" not in json.dumps(row) and "Hello" not in json.dumps(row)


def test_a_stop_does_not_wait_for_who_watches(command):
    with running(command, "mock") as program:
        viewer = Viewer(program.port)
        assert program.stop()[0] == 0
        assert viewer.answer.read() == b"\n"  # the end of the first comment, then that of the stream
        viewer.close()


# ---- one's own limits and use ---------------------------------------------------------------------------------------

ANNA, BERT = "sk-oai-" + "a" * 40, "sk-oai-" + "b" * 40
TEAM = f"""
[team web]
requests = 5/min
[key anna]
hash = sha256:{hashlib.sha256(ANNA.encode()).hexdigest()}
team = web
tokens = 10000/day
budget = 1 USD/month
[key bert]
hash = sha256:{hashlib.sha256(BERT.encode()).hexdigest()}
[prices]
gpt-4o = 2.5 in, 10 out
"""


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    folder = tmp_path_factory.mktemp("team")
    (folder / "keys.ini").write_text(TEAM)
    settings = {
        "server.keys_file": str(folder / "keys.ini"),
        "ledger.file": str(folder / "usage.db"),
        "server.page": "yes",
    }
    with oaiserve.start(set=settings) as server:
        assert ask(server.port, "POST", "/v1/chat/completions", ANY_CHAT, authorization=f"Bearer {ANNA}")[0] == 200
        until(lambda: own_use(server, ANNA)["usage"])
        yield server


def until(condition):
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def own_use(server, key):
    status, _, body = ask(server.port, "GET", "/_oaiserve/me", authorization=f"Bearer {key}")
    assert status == 200
    return json.loads(body)


def test_a_key_is_told_what_is_left_and_used_and_takes_nothing_by_asking(team):
    for _ in range(10):
        told = own_use(team, ANNA)
    assert (told["key"], told["team"]) == ("anna", "web")
    limits = {(limit["of"], limit["kind"], limit["window"]): limit for limit in told["limits"]}
    requests, tokens, money = (limits[name] for name in (
        ("team web", "requests", "minute"), ("key anna", "tokens", "day"), ("key anna", "money", "month")
    ))  # fmt: skip
    assert requests["limit"] == 5 and requests["left"] in (4, 5)
    assert tokens["limit"] == 10_000 and 9_990 <= tokens["left"] < 10_000
    (used,) = told["usage"]
    assert (used["model"], used["calls"], used["tok_out"]) == ("gpt-4o", 1, 3)
    assert money["limit"] - money["left"] == used["cost_nano"] == used["tok_in"] * 2_500 + 3 * 10_000


def test_a_key_is_told_nothing_of_others_and_nobody_anything(team):
    told = own_use(team, BERT)
    assert (told["key"], told["limits"], told["usage"]) == ("bert", [], [])
    assert ask(team.port, "GET", "/_oaiserve/me")[0] == 401
    assert ask(team.port, "GET", "/_oaiserve/me", authorization="Bearer sk-oai-wrong")[0] == 401


def test_without_a_keys_file_there_is_no_own_use(server):
    assert ask(server.port, "GET", "/_oaiserve/me")[0] == 404


# ---- in a browser ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def only_browser(tmp_path_factory):
    """Begin a browser once: it takes seconds."""
    with running_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(only_browser, server):
    """Return the browser as at first; afterwards nobody has complained, and nothing was fetched from elsewhere."""
    only_browser.begin(server.url)
    yield only_browser
    assert [line for line in only_browser.messages() if not line.startswith("DEBUG")] == []
    origin = only_browser.run("return location.origin")
    assert [url for url in only_browser.requested() if not url.startswith((origin, "data:"))] == []


@needs_browser
def test_browser_shows_what_the_server_is(browser: Browser, server):
    browser.open(server.url + "/")
    browser.until("document.querySelector('#backends').children.length")
    assert browser.text("#base") == f"{server.url}/v1"
    assert "mock" in browser.text("#backends")
    assert browser.until("document.querySelector('#state.good')") and browser.text("#version") == oaiserve.__version__
    snippets = browser.run(
        "return [...document.querySelectorAll('#snippets button')].map((button, at) => {"
        " document.querySelectorAll('#snippets button')[at].click();"
        " return document.querySelector('#snippet').textContent; })"
    )
    assert len(snippets) == 7 and all(f"{server.url}/v1" in snippet for snippet in snippets)


@needs_browser
def test_browser_shows_a_stream_as_it_comes(browser: Browser, server):
    browser.open(server.url + "/#/playground")
    browser.until("document.querySelector('#model').value")
    browser.run(
        "window.seen = []; new MutationObserver(() => seen.push(document.querySelector('#answer').textContent))"
        ".observe(document.querySelector('#answer'), {childList: true})"
    )
    browser.click("#send")
    browser.until(
        "document.querySelector('#answer').textContent === 'one two three' && !document.querySelector('#send').disabled"
    )
    assert {"one ", "one two ", "one two three"} <= set(browser.run("return seen"))
    figures = browser.text("#figures")
    assert "200" in figures and "First token" in figures and "Tokens/s" in figures and "→ 3" in figures
    assert browser.text("#events").rstrip().endswith("[DONE]")
    assert json.loads(browser.text("#request"))["messages"] == [{"role": "user", "content": "Hello! What can you do?"}]


@needs_browser
def test_browser_sends_tools_schema_system_and_says_what_is_no_json(browser: Browser, server):
    browser.open(server.url + "/#/playground")
    browser.until("document.querySelector('#model').value")
    browser.run("document.querySelectorAll('#playground details').forEach((part) => { part.open = true; })")
    browser.write("#tools", "[")
    browser.click("#send")
    browser.until("document.querySelector('#ask-trouble').textContent.startsWith('Tools is no JSON')")
    browser.click("#tools-example")
    browser.click("#schema-example")
    browser.write("#system", "Be brief.")
    browser.write("#temperature", "0.5")
    browser.run("document.querySelector('#stream').click()")
    browser.click("#send")
    browser.until("document.querySelector('#answer').textContent && !document.querySelector('#send').disabled")
    body = json.loads(server.requests[-1].body)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."} and body["temperature"] == 0.5
    assert body["tools"][0]["function"]["name"] == "get_weather" and "stream" not in body
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["name", "age"]


@needs_browser
def test_browser_shows_requests_live_and_the_whole_of_one(browser: Browser, server):
    browser.open(server.url + "/#/live")
    browser.until("document.querySelector('#live-state.good')")
    ask(
        server.port,
        "POST",
        "/v1/chat/completions",
        {**ANY_CHAT, "messages": [{"role": "user", "content": "<b>seen</b>"}]},
    )
    ask(server.port, "GET", "/v1/models")
    browser.until("live.rows.some((row) => row.path === '/v1/models')")
    browser.write("#filter", "completions")
    browser.until("document.querySelectorAll('#rows tr').length === 1")
    browser.click("#rows .open")
    browser.until("!document.querySelector('#call-whole').hidden")
    assert "<b>seen</b>" in browser.text("#call-request") and "one two three" in browser.text("#call-answer")
    browser.press(ESCAPE)
    browser.click("#pause")
    ask(server.port, "POST", "/v1/chat/completions", ANY_CHAT)
    browser.until("live.waiting.length >= 1")
    assert browser.run("return document.querySelectorAll('#rows tr').length") == 1
    browser.click("#pause")
    browser.until("document.querySelectorAll('#rows tr').length === 2")
    browser.until("document.querySelectorAll('#rate rect').length === 60")


@needs_browser
def test_browser_goes_with_the_system_and_speaks_chinese(browser: Browser, server):
    colour = "getComputedStyle(document.body).backgroundColor"
    browser.set_dark(False)
    browser.open(server.url + "/")
    light = browser.run(f"return {colour}")
    browser.set_dark(True)
    browser.until(f"{colour} !== arguments[0]", light)
    browser.click("#theme")  # light, whatever the system has
    browser.until(f"{colour} === arguments[0]", light)
    browser.click("#language")
    assert browser.text("#tab-playground") == "试用" and browser.run("return document.documentElement.lang") == "zh"
    browser.open(server.url + "/")
    assert browser.text("#tab-playground") == "试用", "it is remembered"
    left = browser.run("return [...document.querySelectorAll('[data-word]')].filter((one) => !one.textContent).length")
    assert left == 0


@needs_browser
@pytest.mark.parametrize("part", ["server", "playground", "live"])
def test_browser_fits_a_phone(browser: Browser, server, part):
    browser.set_size(360, 740, is_phone=True)
    browser.open(f"{server.url}/#/{part}")
    browser.until("document.querySelector('#backends').children.length")
    assert browser.run("return document.documentElement.scrollWidth") == 360


@needs_browser
def test_keyboard_alone_suffices(browser: Browser, server):
    browser.open(server.url + "/")
    browser.until("document.querySelector('#model').value")
    focused = "document.activeElement.id"
    for _ in range(10):
        browser.press(TAB)
        if browser.run(f"return {focused}") == "tab-server":
            break
    browser.press(RIGHT)
    browser.until(f"{focused} === 'tab-playground' && !document.querySelector('#playground').hidden")
    browser.press(TAB, TAB, TAB, TAB)  # model, system, role, content
    browser.until("document.activeElement.tagName === 'TEXTAREA' && document.activeElement.closest('.message')")
    browser.press(*" Again.")
    browser.press(ENTER, held=CONTROL)
    browser.until("document.querySelector('#answer').textContent === 'one two three'")
    assert "What can you do? Again." in json.loads(server.requests[-1].body)["messages"][0]["content"]


@needs_browser
def test_browser_shows_a_key_its_own_limits_and_use(browser: Browser, team):
    browser.open(team.url + "/#/mine")
    browser.until("!document.querySelector('#tab-mine').hidden")
    browser.click("#tab-mine")
    browser.write("#key", ANNA)
    browser.press(ENTER)
    browser.until("document.querySelectorAll('#limits tr').length === 3")
    assert "Requests / minute" in browser.text("#limits") and "$1.0000" in browser.text("#limits")
    assert (
        "gpt-4o" in browser.text("#usage") and browser.run("return document.querySelectorAll('#days rect').length") == 1
    )
    assert "Key anna, team web" in browser.text("#mine-note")
