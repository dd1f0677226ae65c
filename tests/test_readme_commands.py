"""Every command and block of code of the README and of the Chinese guide is run, and does what the text says.

In an empty folder with the single file, as pasted. What is replaced is said where it is: the port, keys and upstreams,
for which a mock on this machine stands. CANNOT lists what is not run here, with the reason; whatever is neither run
nor listed fails the suite.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pathlib
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from pages import BLOCKS, COMMANDS, PAGES, ROOT, Block, Terminal, block, place_python
from programs import ANY_CHAT, Program, ask
from scripted_upstream import scripted
from upstreams import closed_port

import oaiserve
from protocol.team.keys_file import read_keys_file

pytestmark = pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="there is no bash or curl")

KEY = "sk-0123456789abcdef"
CHAT = "/v1/chat/completions"
STAND_INS = pathlib.Path(__file__).parent / "stand_ins"
DASHSCOPE_SDK = "it needs DashScope's SDK; tests/test_mock_native_sdk.py has what that sends"
DOCKER = "it needs Docker and a registry; tests/test_deploy.py holds compose.yaml and Dockerfile against the program"
ITSELF = "it is for developers, and this suite is the first of the three"
CANNOT: dict[str | Block, str] = {
    block("README.md", "python", "import dashscope"): DASHSCOPE_SDK,
    block("README.zh.md", "python", "import dashscope"): DASHSCOPE_SDK,
    **{command: DOCKER for command in COMMANDS if command.startswith("docker ")},
    **dict.fromkeys(("python tests", "python tests/check", "python tests/bench", "python tests/bench pace"), ITSELF),
    "pip install .": "it takes pip its time; tests/test_pip.py installs, and takes away again",
    "systemctl reload oaiserve": "it needs systemd; tests/test_handover.py sends what systemd does",
    "systemctl kill -s USR2 --kill-who=main oaiserve": "likewise",
    "python oaiserve.py completion fish | source": "it needs fish; tests/test_completion.py reads the script",
    "python3.12 oaiserve.py": "not every machine has that Python",
    'python -c "import asyncio, ssl, json"': "it is what a start is measured by, and says nothing",
    "python oaiserve.py usage --from-log": "it is named with files below",
}
SHOWN: set[str | Block] = {"python oaiserve.py bundle"}  # without it there would be no program here

F = TypeVar("F", bound=Callable[..., Any])


def runs(*pasted: str | Block) -> Callable[[F], F]:
    """Say what a test runs; that it does is looked at when it is over."""

    def mark(test: F) -> F:
        test.runs = pasted  # type: ignore[attr-defined]
        SHOWN.update(pasted)
        return test

    return mark


BUNDLE = "python oaiserve.py bundle"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Make the single file as the README says, in a copy of the tree, and put it into an empty folder."""
    tree, home = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("home")
    for folder in (tree, home):
        place_python(folder)
    shutil.copy(ROOT / "oaiserve.py", tree)
    shutil.copytree(ROOT / "protocol", tree / "protocol", ignore=shutil.ignore_patterns("__pycache__"))
    Terminal(tree).run(BUNDLE)
    assert sorted(path.name for path in (tree / "dist").iterdir()) == ["oaiserve.py", "oaiserve.pyz"]
    shutil.move(tree / "dist" / "oaiserve.py", home)
    return home


@pytest.fixture
def terminal(request: pytest.FixtureRequest, home: pathlib.Path) -> Iterator[Terminal]:
    terminal = Terminal(home)
    if importlib.util.find_spec("openai") is None:
        terminal.variables["PYTHONPATH"] = str(STAND_INS)
    terminal.instead["sk-…"] = KEY
    yield terminal
    terminal.clean()
    assert set(getattr(request.function, "runs", ())) <= terminal.pasted


@pytest.fixture(scope="module")
def upstream() -> Iterator[oaiserve.RunningServer]:
    with oaiserve.start("mock") as server:
        yield server


def chat(server: Program, body: Any = ANY_CHAT, path: str = CHAT, **fields: str) -> tuple[int, Any, bytes]:
    return ask(server.port, "POST", path, body, content_type="application/json", **fields)


def text_of(answer: tuple[int, Any, bytes]) -> str:
    status, _, data = answer
    assert status == 200, data
    text: str = json.loads(data)["choices"][0]["message"]["content"]
    return text


def asking(words: str, **more: Any) -> Any:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": words}], **more}


def test_all_that_the_pages_have_is_run_or_listed() -> None:
    there = COMMANDS | set(BLOCKS)
    assert there - SHOWN - set(CANNOT) == set()
    assert (SHOWN | set(CANNOT)) - there == set()
    assert SHOWN & set(CANNOT) == set()


# ---- a first answer, and the mock -----------------------------------------------------------------------------------

FIRST_CURL = next(command for command in COMMANDS if "gpt-4o-mini" in command and "stream" in command)
FIRST_PROGRAM = block("README.md", "python", "print(client.chat")
CHINESE_CLIENT = block("README.zh.md", "python", 'api_key="any"')


@runs(
    "python oaiserve.py", FIRST_CURL, FIRST_PROGRAM, CHINESE_CLIENT, "python oaiserve.py try",
    "python oaiserve.py try https://host/v1 --key sk-… --model gpt-4o-mini", "python oaiserve.py try http://host:port",
    "python oaiserve.py try http://127.0.0.1:8080", "python3 --version", "python -m oaiserve",
)  # fmt: skip
def test_a_first_answer(terminal: Terminal) -> None:
    with terminal.serving("python oaiserve.py") as server:
        streamed = terminal.run(FIRST_CURL)
        assert f"  try it:   {terminal.text(FIRST_CURL)}\n" in server.banner
        words = re.findall(r'"content":"([^"]+)"', streamed)
        assert words == ["powered ", "by ", "openai"]
        assert all(f"`{word}`" in PAGES["README.md"] for word in words) and streamed.endswith("data: [DONE]\n\n")
        assert terminal.python(FIRST_PROGRAM) == "powered by openai\n"
        terminal.python(CHINESE_CLIENT, "from openai import OpenAI\n")
        terminal.instead.update({"https://host/v1": f"{server.url}/v1", "http://host:port": server.url})
        for command in COMMANDS:
            if command.startswith("python oaiserve.py try") and "qwen" not in command:
                # Where none is named it asks at 8080, which may be anybody's on this machine.
                where = [] if "http" in command else [server.url]
                assert terminal.run(command, *where).endswith("All is well.\n")
    with terminal.serving("python -m oaiserve") as server:
        assert text_of(chat(server)) == "powered by openai"
    assert terminal.run("python3 --version").startswith("Python 3.")


def says(text: str) -> Callable[[Program], None]:
    def check(server: Program) -> None:
        assert text_of(chat(server)) == text

    return check


def has_fast_jobs(server: Program) -> None:
    lines = json.dumps({"custom_id": "1", "method": "POST", "url": CHAT, "body": ANY_CHAT}).encode()
    head = (
        b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b\r\ncontent-disposition: form-data; '
    )
    form = head + b'name="file"; filename="a.jsonl"\r\n\r\n' + lines + b"\r\n--b--\r\n"
    status, _, file = ask(server.port, "POST", "/v1/files", form, content_type="multipart/form-data; boundary=b")
    assert status == 200, file
    batch = {"input_file_id": json.loads(file)["id"], "endpoint": CHAT, "completion_window": "24h"}
    made = json.loads(chat(server, batch, "/v1/batches")[2])
    while made["status"] != "completed":
        assert made["status"] in ("validating", "in_progress", "finalizing"), made
        made = json.loads(ask(server.port, "GET", f"/v1/batches/{made['id']}")[2])


def repeats_itself(server: Program) -> None:
    assert chat(server)[2] == chat(server)[2]


def invents_ids(server: Program) -> None:
    assert ask(server.port, "GET", "/v1/files/file-nobody")[0] == 200


def takes_anything(server: Program) -> None:
    assert chat(server, {"model": "gpt-4o", "messages": "none", "n": -1})[0] == 200


MOCKS: dict[str, Callable[[Program], None]] = {
    'python oaiserve.py mock --set mock.text="All is well." --set mock.first_delay=0.5 --set mock.delay=0.05':
        says("All is well."),
    'python oaiserve.py mock --set mock.text="你好，世界" --set mock.delay=0.05': says("你好，世界"),
    'python oaiserve.py mock --set mock.text="你好，世界" --set mock.first_delay=0.5 --set mock.delay=0.05':
        says("你好，世界"),
    "python oaiserve.py mock --set mock.speed=100": has_fast_jobs,
    "python oaiserve.py mock --set mock.freeze=yes": repeats_itself,
    "python oaiserve.py mock --set mock.unknown_ids=invent": invents_ids,
    "python oaiserve.py mock --set mock.validate=off": takes_anything,
}  # fmt: skip
SHOWN.update(MOCKS)


@pytest.mark.parametrize("command", MOCKS)
def test_a_mock_does_as_it_is_set(terminal: Terminal, command: str) -> None:
    with terminal.serving(command) as server:
        MOCKS[command](server)


PACES = block("README.md", "ini", "[pace typical]")


@runs(PACES)
def test_an_engine_takes_its_time_and_has_a_cache(terminal: Terminal) -> None:
    terminal.write("config.ini", PACES)
    with terminal.serving("python oaiserve.py") as server:
        long = asking("word " * 40)
        cached = [json.loads(chat(server, long)[2])["usage"]["prompt_tokens_details"]["cached_tokens"] for _ in "12"]
    assert cached == [0, 32]


LIMITS_CURL = next(command for command in COMMANDS if "_oaiserve/limits" in command)


@runs(LIMITS_CURL)
def test_limits_are_openais(terminal: Terminal) -> None:
    with terminal.serving("python oaiserve.py") as server:
        terminal.run(LIMITS_CURL)
        answers = [chat(server) for _ in range(4)]
        assert [status for status, _, _ in answers] == [200, 200, 200, 429]
        assert answers[0][1]["x-ratelimit-remaining-requests"] == "2"
        fields, error = answers[3][1], json.loads(answers[3][2])["error"]
        assert error["code"] == "rate_limit_exceeded" and int(fields["retry-after"]) in range(1, 21)
        assert ask(server.port, "POST", "/_oaiserve/clock", '{"advance": 60}')[0] == 200
        assert chat(server)[0] == 200


# ---- the relay ------------------------------------------------------------------------------------------------------


def relayed(terminal: Terminal, upstream: oaiserve.RunningServer) -> None:
    """Let the mock stand for the upstream; it gets the environment's key, as api.openai.com would."""
    terminal.variables.update(OAISERVE_RELAY_BASE_URL=f"{upstream.url}/v1", OAISERVE_RELAY_API_KEY="${OPENAI_API_KEY}")


@runs("export OPENAI_API_KEY=sk-…", "python oaiserve.py relay")
def test_the_relay_sends_its_own_key(terminal: Terminal, upstream: oaiserve.RunningServer) -> None:
    relayed(terminal, upstream)
    with terminal.serving("export OPENAI_API_KEY=sk-…", "python oaiserve.py relay") as server:
        assert text_of(chat(server, authorization="Bearer any")) == "powered by openai"
    assert upstream.requests[-1].fields.get("authorization") == f"Bearer {KEY}"


OTHER_UPSTREAM = "python oaiserve.py relay --set relay.base_url=http://127.0.0.1:11434/v1 --set relay.model=qwen3"
COMPATIBLE = "python oaiserve.py relay --set relay.base_url=https://dashscope.aliyuncs.com/compatible-mode/v1"


@runs(OTHER_UPSTREAM, COMPATIBLE)
def test_another_upstream_gets_the_callers_key(terminal: Terminal, upstream: oaiserve.RunningServer) -> None:
    there = f"{upstream.url}/v1"
    terminal.instead.update({
        "http://127.0.0.1:11434/v1": there, "https://dashscope.aliyuncs.com/compatible-mode/v1": there,
    })  # fmt: skip
    terminal.variables["OPENAI_API_KEY"] = KEY
    for command, model in ((OTHER_UPSTREAM, "qwen3"), (COMPATIBLE, "gpt-4o")):
        with terminal.serving(command) as server:
            assert text_of(chat(server, authorization="Bearer mine")) == "powered by openai"
        got = upstream.requests[-1]
        assert (got.json()["model"], got.fields.get("authorization")) == (model, "Bearer mine")


@runs("python oaiserve.py relay --set relay.proxy=socks5h://127.0.0.1:1080")
def test_the_proxy_is_asked(terminal: Terminal, upstream: oaiserve.RunningServer) -> None:
    relayed(terminal, upstream)
    terminal.variables.update(OPENAI_API_KEY=KEY, OAISERVE_RELAY_RETRIES="0")
    terminal.instead["127.0.0.1:1080"] = f"127.0.0.1:{closed_port()}"  # where there is none
    with terminal.serving("python oaiserve.py relay --set relay.proxy=socks5h://127.0.0.1:1080") as server:
        status, _, data = chat(server)
        assert status == 502, data
    assert f"127.0.0.1:{terminal.instead['127.0.0.1:1080'].rpartition(':')[2]}" in terminal.log()


@runs("python oaiserve.py relay --workers 4")
@pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="workers share no port here")
def test_workers_share_the_port(terminal: Terminal, upstream: oaiserve.RunningServer) -> None:
    relayed(terminal, upstream)
    terminal.variables["OPENAI_API_KEY"] = KEY
    with terminal.serving("python oaiserve.py relay --workers 4") as server:
        for _ in range(8):
            assert text_of(chat(server)) == "powered by openai"


ROUTES = block("README.md", "ini", "[relay second]")
CHINESE_ROUTES = block("README.zh.md", "ini", "[relay backup]")


@runs(ROUTES, CHINESE_ROUTES)
def test_models_are_mapped_and_backends_follow_each_other(terminal: Terminal, upstream: oaiserve.RunningServer) -> None:
    relayed(terminal, upstream)
    terminal.variables.update(OPENAI_API_KEY=KEY, SECOND_KEY="sk-second-0123456789")
    terminal.instead["https://llm.example/v1"] = f"{upstream.url}/v1"
    terminal.write("config.ini", ROUTES)
    with terminal.serving("python oaiserve.py") as server:
        assert chat(server)[1]["x-oaiserve-attempts"] == "relay=200"
        assert upstream.requests[-1].json()["model"] == "gpt-4.1"
        status, fields, _ = chat(server, {**ANY_CHAT, "model": "llama"})
        assert (status, fields["x-oaiserve-attempts"]) == (200, "second=200")
        assert upstream.requests[-1].fields.get("authorization") == "Bearer sk-second-0123456789"
    terminal.variables["OAISERVE_RELAY_BASE_URL"] = f"http://127.0.0.1:{closed_port()}/v1"
    terminal.write("config.ini", CHINESE_ROUTES)
    with terminal.serving("python oaiserve.py") as server:
        status, fields, _ = chat(server)
        assert status == 200 and fields["x-oaiserve-attempts"].endswith("backup=200")


CORS = [command for command in COMMANDS if "server.cors_origins" in command]


@runs(*CORS)
def test_pages_of_the_list_may_call(terminal: Terminal, upstream: oaiserve.RunningServer) -> None:
    relayed(terminal, upstream)
    terminal.variables.update(OPENAI_API_KEY=KEY, DASHSCOPE_API_KEY=KEY, DASHSCOPE_BASE_URL=upstream.url)
    assert len(CORS) == 2
    for command in CORS:
        with terminal.serving(command) as server:
            seen = [
                (chat(server, origin=origin)[0], chat(server, origin=origin)[1].get("access-control-allow-origin"))
                for origin in ("https://app.example", "http://localhost:3000", "https://other.example")
            ]
            assert seen == [(200, "https://app.example"), (200, "http://localhost:3000"), (403, None)]


# ---- DashScope ------------------------------------------------------------------------------------------------------

QWEN_CURL = next(command for command in COMMANDS if "qwen-plus" in command and "curl" in command)
ARREARS_CURL = next(command for command in COMMANDS if "error-Arrearage" in command)
CALLERS = block("README.md", "python", "farui-plus")
CHINESE_CALLERS = block("README.zh.md", "python", "print(chunk")


@runs(
    "python oaiserve.py dashscope", CALLERS, CHINESE_CALLERS, QWEN_CURL, ARREARS_CURL,
    "python oaiserve.py try --model qwen-plus",
)  # fmt: skip
def test_each_caller_brings_a_key(terminal: Terminal, upstream: oaiserve.RunningServer) -> None:
    terminal.variables["DASHSCOPE_BASE_URL"] = upstream.url
    with terminal.serving("python oaiserve.py dashscope") as server:
        terminal.python(CALLERS, "from openai import OpenAI\n")
        assert upstream.requests[-1].fields.get("authorization") == f"Bearer {KEY}"
        assert terminal.python(CHINESE_CALLERS) == "powered by openai"
        assert terminal.run(QWEN_CURL).endswith("data: [DONE]\n\n")
        error = json.loads(terminal.run(ARREARS_CURL))["error"]
        assert re.search(rf"^\| 账号欠费.*\| 403，不重试 \| `{error['code']}`", PAGES["README.zh.md"], re.MULTILINE)
        assert "All is well." in terminal.run("python oaiserve.py try --model qwen-plus", server.url, "--key", KEY)
        assert chat(server)[0] == 401


@runs(
    "export DASHSCOPE_API_KEY=sk-…", "export DASHSCOPE_BASE_URL=https://dashscope-intl.aliyuncs.com",
    "python oaiserve.py dashscope", "python oaiserve.py dashscope --check",
    "python oaiserve.py dashscope --set dashscope.default_model=qwen-plus",
)  # fmt: skip
def test_the_server_may_hold_the_key(terminal: Terminal, upstream: oaiserve.RunningServer) -> None:
    region = "export DASHSCOPE_BASE_URL=https://dashscope-intl.aliyuncs.com"
    terminal.instead["https://dashscope-intl.aliyuncs.com"] = upstream.url
    with terminal.serving("export DASHSCOPE_API_KEY=sk-…", region, "python oaiserve.py dashscope") as server:
        assert text_of(chat(server, {"messages": ANY_CHAT["messages"]})) == "powered by openai"
        assert upstream.requests[-1].json()["model"] == "farui-plus"
        assert upstream.requests[-1].fields.get("authorization") == f"Bearer {KEY}"
    terminal.variables.update(DASHSCOPE_API_KEY=KEY, DASHSCOPE_BASE_URL=upstream.url)
    shown = terminal.run("python oaiserve.py dashscope --check")
    assert upstream.url in shown and KEY not in shown
    with terminal.serving("python oaiserve.py dashscope --set dashscope.default_model=qwen-plus") as server:
        chat(server, {"messages": ANY_CHAT["messages"]})
        assert upstream.requests[-1].json()["model"] == "qwen-plus"


TRIAL = next(command for command in COMMANDS if "routes.mock-*=mock" in command)


@runs(TRIAL)
def test_the_trial_needs_no_account(terminal: Terminal) -> None:
    with terminal.serving(TRIAL) as server:
        assert text_of(chat(server, {**ANY_CHAT, "model": "qwen-plus"}, authorization="Bearer 0123456789")) == (
            "powered by openai"
        )


# ---- test with it ---------------------------------------------------------------------------------------------------

SESSIONS = block("README.md", "python", 'server.session("t1")')
OUR_PROGRAM = """\
from openai import OpenAI

def my_program(url):
    for _ in range(2):
        OpenAI(base_url=url, api_key="any").chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])

"""


@runs(SESSIONS)
def test_a_session_holds_what_a_program_did(terminal: Terminal) -> None:
    assert terminal.python(SESSIONS, OUR_PROGRAM) == ""


VITEST = block("README.md", "js", "vitest")


@runs(VITEST)
@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_node_asks_over_http(terminal: Terminal) -> None:
    modules = terminal.folder / "node_modules" / "vitest"
    shutil.copytree(STAND_INS / "vitest", modules)
    (modules / "package.json").write_text('{"name": "vitest", "exports": "./index.mjs"}')
    body = '{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}'
    ours = (
        'const myProgram = (base) => fetch(`${base}/chat/completions`, {method: "POST", '
        f"headers: {{'content-type': 'application/json'}}, body: '{body}'}}).then((answer) => answer.text());\n"
    )
    file = terminal.write("once.test.mjs", VITEST, ours)  # imports are done first, wherever they stand
    with terminal.serving("python oaiserve.py"):
        done = subprocess.run(["node", file.name], cwd=terminal.folder, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (0, "ok asks once\n"), done.stderr


SCRIPT = block("README.md", "json", '"strict": true')


@runs(SCRIPT)
def test_the_script_says_what_it_is_written_for(terminal: Terminal) -> None:
    terminal.write("script.json", SCRIPT)
    with terminal.serving("python oaiserve.py mock --set mock.script=script.json") as server:
        assert text_of(chat(server, asking("say hello"))) == "gpt-4o heard: hello"
        assert [chat(server, asking("the weather?"))[0] for _ in range(3)] == [503, 503, 200]
        assert text_of(chat(server, asking("the weather?"))) == "Sunny."
        status, _, data = chat(server, authorization="Bearer broke")
        assert (status, json.loads(data)["error"]["code"]) == (429, "insufficient_quota")
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
        called = json.loads(chat(server, asking("the weather?", tools=tools))[2])["choices"][0]["message"]
        assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"city": "Oslo"}
        result = {"role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": '{"celsius": 7}'}
        body = asking("the weather?", tools=tools)
        body["messages"] += [called, result]
        assert text_of(chat(server, body)) == "It is 7 degrees."
        assert text_of(chat(server, asking("Hello"))) == "Who are you?"
        status, fields, data = chat(server, {"model": "gpt-4o", "input": "Hello"}, "/v1/embeddings")
        assert (status, fields.get("x-should-retry")) == (404, "false"), (status, data)


RECORD = "python oaiserve.py relay --set relay.cassette=talk.jsonl --set relay.cassette_mode=record"
REPLAY = "python oaiserve.py relay --set relay.cassette=talk.jsonl"
COMPARE = "python oaiserve.py cassette check talk.jsonl --live https://api.openai.com/v1"
FROM_HAR = "python oaiserve.py cassette import calls.har talk.jsonl"


@runs(RECORD, REPLAY, COMPARE, FROM_HAR)
def test_a_cassette_is_recorded_replayed_compared_and_imported(
    terminal: Terminal, upstream: oaiserve.RunningServer
) -> None:
    relayed(terminal, upstream)
    terminal.instead["https://api.openai.com/v1"] = f"{upstream.url}/v1"
    terminal.variables["OPENAI_API_KEY"] = KEY
    with terminal.serving(RECORD) as server:
        recorded = chat(server)[2]
    terminal.variables["OAISERVE_RELAY_BASE_URL"] = f"http://127.0.0.1:{closed_port()}/v1"
    with terminal.serving(REPLAY) as server:
        assert chat(server)[2] == recorded
        status, _, data = chat(server, asking("something else"))
        assert (status, json.loads(data)["error"]["code"]) == (404, "cassette_miss")
    assert "1 same, 0 different" in terminal.run(COMPARE)
    (terminal.folder / "talk.jsonl").unlink()
    request = {"method": "GET", "url": "https://api.openai.com/v1/models", "headers": []}
    answer = {"status": 200, "headers": [], "content": {"text": '{"object":"list","data":[]}'}}
    entries = [{"request": request, "response": answer, "timings": {"wait": 1}}]
    (terminal.folder / "calls.har").write_text(json.dumps({"log": {"version": "1.2", "entries": entries}}))
    assert "1 recording" in terminal.run(FROM_HAR)
    with terminal.serving(REPLAY) as server:
        assert ask(server.port, "GET", "/v1/models")[2] == b'{"object":"list","data":[]}'


RESET_CURL = next(command for command in COMMANDS if "x-oaiserve-fault" in command)
FAULTS_CURL = next(command for command in COMMANDS if "_oaiserve/faults" in command)


@runs(RESET_CURL, FAULTS_CURL)
def test_faults_come_as_they_are_asked_for(terminal: Terminal) -> None:
    with terminal.serving("python oaiserve.py") as server:
        broken = terminal.run(RESET_CURL, status=56)  # curl: failure in receiving network data
        assert broken.count('"content":"') >= 3 and "[DONE]" not in broken
        terminal.run(FAULTS_CURL)
        answers = [chat(server) for _ in range(3)]
        assert [status for status, _, _ in answers] == [503, 503, 200] and answers[0][1]["retry-after"] == "1"


# ---- a team ---------------------------------------------------------------------------------------------------------

TEAM, LIMITS, NAMED = (
    block("README.md", "ini", words) for words in ("[team web]", "at_once = 8", "keys_file = keys.ini")
)
CHINESE_TEAM, CHINESE_LIMITS, CHINESE_NAMED = (
    block("README.zh.md", "ini", words) for words in ("[team web]", "at_once = 8", "keys_file = keys.ini")
)
ALICES_CURL = next(command for command in COMMANDS if "ALICES-KEY" in command)
HASH = 'printf %s "$KEY" | sha256sum'
USAGES = [command for command in COMMANDS if command.startswith("python oaiserve.py usage")]


def limited(terminal: Terminal, limits: Block) -> None:
    """Write below a key's hash, which stands last, what the key may take."""
    keys = terminal.folder / "keys.ini"
    keys.write_text(keys.read_text(encoding="utf-8") + terminal.text(limits), encoding="utf-8")


@runs(
    TEAM, NAMED, LIMITS, "python oaiserve.py key new alice --team web", "python oaiserve.py key list",
    "python oaiserve.py key check", HASH, "python oaiserve.py relay --check", "python oaiserve.py relay --host 0.0.0.0",
    ALICES_CURL, "python oaiserve.py usage", "python oaiserve.py usage --by day --since 30d",
    "python oaiserve.py usage usage.db --csv", "python oaiserve.py usage --from-log web1.log web2.log",
)  # fmt: skip
def test_a_team_step_by_step(terminal: Terminal, upstream: oaiserve.RunningServer) -> None:
    relayed(terminal, upstream)
    terminal.variables["OPENAI_API_KEY"] = KEY
    terminal.write("keys.ini", TEAM)
    terminal.write("config.ini", NAMED)
    made = terminal.run("python oaiserve.py key new alice --team web")
    key = re.search(r"sk-oai-\w+", made)[0]
    assert key not in (terminal.folder / "keys.ini").read_text(encoding="utf-8")
    limited(terminal, LIMITS)
    assert "alice" in terminal.run("python oaiserve.py key list")
    assert terminal.run("python oaiserve.py key check", given=f"{key}\n").startswith("alice, team web: works")
    terminal.variables["KEY"] = key
    hashed = terminal.run(HASH).split()[0]
    assert f"hash = sha256:{hashed}\n" in (terminal.folder / "keys.ini").read_text(encoding="utf-8")
    assert KEY not in terminal.run("python oaiserve.py relay --check")
    terminal.variables["OAISERVE_SERVER_LOG"] = "json"
    terminal.instead["ALICES-KEY"] = key
    with terminal.serving("python oaiserve.py relay --host 0.0.0.0") as server:
        said = terminal.run(ALICES_CURL)
        assert "powered by openai" in said, said
        assert [chat(server)[0], ask(server.port, "GET", "/health")[0]] == [401, 200]
        assert upstream.requests[-1].fields.get("authorization") == f"Bearer {KEY}"
        shown = json.loads(ask(server.port, "GET", "/v1/models", authorization=f"Bearer {key}")[2])["data"]
        assert shown and all(model["id"].startswith("gpt-4o") for model in shown)
    (terminal.folder / "web1.log").write_text(terminal.log(), encoding="utf-8")
    (terminal.folder / "web2.log").write_text(terminal.log(), encoding="utf-8")
    for command, calls in (
        ("python oaiserve.py usage", "1"), ("python oaiserve.py usage usage.db --csv", "1"),
        ("python oaiserve.py usage --by day --since 30d", "1"),
        ("python oaiserve.py usage --from-log web1.log web2.log", "2"),
    ):  # fmt: skip
        row = terminal.run(command).splitlines()[-2 if "csv" not in command else -1]
        assert calls in re.split(r"[\s,]+", row), row


@runs(
    CHINESE_TEAM, CHINESE_NAMED, CHINESE_LIMITS, "python oaiserve.py key new alice --team web --file keys.ini",
    "python oaiserve.py key list --file keys.ini", "python oaiserve.py usage usage.db --by team,model --csv",
)  # fmt: skip
def test_the_team_of_the_guide(terminal: Terminal) -> None:
    terminal.write("keys.ini", CHINESE_TEAM)
    terminal.write("config.ini", CHINESE_NAMED)
    key = re.search(r"sk-oai-\w+", terminal.run("python oaiserve.py key new alice --team web --file keys.ini"))[0]
    limited(terminal, CHINESE_LIMITS)
    assert "alice" in terminal.run("python oaiserve.py key list --file keys.ini")
    rates = read_keys_file((terminal.folder / "keys.ini").read_text(encoding="utf-8"), "keys.ini")
    assert rates.keys and rates.prices
    with terminal.serving("python oaiserve.py") as server:
        assert chat(server, {**ANY_CHAT, "model": "qwen-plus"}, authorization=f"Bearer {key}")[0] == 200
    assert "web,qwen-plus,1," in terminal.run("python oaiserve.py usage usage.db --by team,model --csv")


# ---- configuration, programs, deployment ----------------------------------------------------------------------------

SLOW = block("README.md", "ini", "I think, therefore I wait.")
PROXIES = block("README.md", "ini", "trusted_proxies")
IN_A_PROGRAM = block("README.md", "python", "oaiserve.serve(")


@runs(SLOW)
def test_routes_decide_by_the_models_name(terminal: Terminal) -> None:
    terminal.write("config.ini", SLOW)
    with terminal.serving("python oaiserve.py") as server:
        assert text_of(chat(server, {**ANY_CHAT, "model": "slow-1"})) == "I think, therefore I wait."
        assert text_of(chat(server)) == "powered by openai"


@runs(PROXIES)
def test_a_trusted_proxy_names_the_client(terminal: Terminal) -> None:
    terminal.write("config.ini", PROXIES)
    with terminal.serving("python oaiserve.py") as server:
        assert chat(server, x_forwarded_for="203.0.113.1, 198.51.100.7, 10.1.2.3")[0] == 200
    assert "198.51.100.7" in terminal.log() and "203.0.113.1" not in terminal.log()


LOG_LINE = block("README.md", "text", "POST /v1/chat/completions")


def shape_of(line: str) -> str:
    return re.sub(r"\d+", "0", re.sub(r"id=req_\w+", "id=req_0", line).strip())


@runs(LOG_LINE)
def test_a_line_of_the_log_is_as_it_is_shown(terminal: Terminal, upstream: oaiserve.RunningServer) -> None:
    relayed(terminal, upstream)
    terminal.variables.update(OPENAI_API_KEY=KEY, OAISERVE_RELAY_SPARE_RETRIES="0", TZ="CET-1")
    (terminal.folder / "keys.ini").write_text(
        f"[key alice]\nhash = sha256:{hashlib.sha256(KEY.encode()).hexdigest()}\n"
    )
    with scripted(lambda request: (503, {}, b"{}")) as spare:
        (terminal.folder / "config.ini").write_text(
            "[server]\nkeys_file = keys.ini\nlog = line\n[relay]\nmodel = qwen3\n[relay spare]\nmodel = qwen3\n"
            f"base_url = {spare.url}\n[routes]\n* = spare, relay\n[ledger]\nfile = usage.db\n"
        )
        with terminal.serving("python oaiserve.py") as server:
            for _ in range(2):  # the second one finds a connection that was kept
                assert chat(server, authorization=f"Bearer {KEY}")[0] == 200
    shown = [line for line in terminal.log().splitlines() if " POST " in line]
    assert shape_of(shown[1]) == shape_of(terminal.text(LOG_LINE))
    # Of several backends the one that answered counts in the ledger, too.
    assert terminal.run("python oaiserve.py usage --by backend --csv").splitlines()[1].startswith("relay,2,")


@runs(
    "python oaiserve.py --check", "python oaiserve.py help usage", "python oaiserve.py --help",
    "python oaiserve.py --config config.ini --check", "python oaiserve.py --port 9000 --host 0.0.0.0",
    "source <(python oaiserve.py completion bash)",
)  # fmt: skip
def test_it_tells_what_it_takes(terminal: Terminal) -> None:
    assert "port = " in terminal.run("python oaiserve.py --check")
    assert "--since" in terminal.run("python oaiserve.py help usage")
    assert "--workers" in terminal.run("python oaiserve.py --help")
    (terminal.folder / "config.ini").write_text("[mock]\ndelay = soon\n\n[relay]\ntimeuot = 3\n")
    mistakes = terminal.run("python oaiserve.py --config config.ini --check", status=2)
    assert "config.ini line 2" in mistakes and "config.ini line 5" in mistakes and "did you mean timeout" in mistakes
    (terminal.folder / "config.ini").unlink()
    terminal.run("source <(python oaiserve.py completion bash)")
    port = closed_port()
    terminal.instead["--port 9000"] = f"--port {port}"
    with terminal.serving("python oaiserve.py --port 9000 --host 0.0.0.0") as server:
        assert server.port == port and chat(server)[0] == 200


@runs(IN_A_PROGRAM)
def test_it_serves_within_a_program(terminal: Terminal) -> None:
    asks = 'client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])'
    text = terminal.text(IN_A_PROGRAM).replace("    ...\n    assert", f"    {asks}\n    assert")
    (terminal.folder / "program.py").write_text(
        "import ast, asyncio, types\nfrom openai import OpenAI\n"
        f"code = compile({text!r}, 'README.md', 'exec', ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)\n"
        "asyncio.run(types.FunctionType(code, globals())())\n"
    )
    done = subprocess.run(
        ["bash", "-c", "python program.py"], cwd=terminal.folder, env=terminal.environment(), capture_output=True, text=True
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
