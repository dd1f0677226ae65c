"""The pytest plugin: a test that asks for `oai` gets a session of its own, and the environment that leads there.

    pytest -p oaiserve                 or, in conftest.py: pytest_plugins = ["oaiserve"]

    def test_weather(oai):
        oai.script({"when": {"user": "weather"}, "answer": "Sunny."})
        assert my_program("What is the weather?") == "Sunny."

There is one server a process, which the first such test starts; with OAISERVE_URL in the environment it is the one
that is there. OPENAI_BASE_URL and OPENAI_API_KEY are set for the test. When it fails, the end of the journal is told.
"""

from __future__ import annotations

import os
import types
import typing

from protocol.instrument.handle import Call, SessionHandle

_SHOWN_CALLS = 10
_KEY = "sk-oaiserve-test"


class RunningServer(typing.Protocol):
    """A server that this process has started."""

    url: str

    def close(self) -> None:
        """Stop it."""


def make_plugin(pytest: typing.Any, start: typing.Callable[[], RunningServer]) -> object:
    """Return the plugin to be registered; `pytest` is the module, which nobody else may import."""

    def oaiserve_url() -> typing.Iterator[str]:
        """Give the address of the server that all tests of the process share."""
        url = os.environ.get("OAISERVE_URL", "")
        if url:
            yield url
            return
        server = start()
        yield server.url
        server.close()

    # Of any other object, pytest would take the functions for methods.
    plugin = types.ModuleType("oaiserve fixtures")
    vars(plugin).update(
        oaiserve_url=pytest.fixture(scope="session")(oaiserve_url),
        oai=pytest.fixture(name="oai")(_own_session),
        pytest_runtest_makereport=pytest.hookimpl(hookwrapper=True)(_tell_journal),
    )
    return plugin


def _own_session(request: typing.Any, oaiserve_url: str, monkeypatch: typing.Any) -> typing.Iterator[SessionHandle]:
    """Give a session that no other test has."""
    control_key = os.environ.get("OAISERVE_CONTROL_KEY", "")
    session = SessionHandle(oaiserve_url, os.urandom(8).hex(), control_key=control_key)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{session.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", _KEY)
    request.node.oaiserve_session = session
    yield session
    session.end()


def _tell_journal(item: typing.Any) -> typing.Iterator[None]:
    """Tell the end of the journal of a test that failed."""
    outcome: typing.Any = yield
    report = outcome.get_result()
    session = getattr(item, "oaiserve_session", None)
    if session is not None and report.when == "call" and report.failed:
        report.sections.append(("oaiserve's journal", _journal_text(session)))


def _journal_text(session: SessionHandle) -> str:
    """Return the end of a session's journal, a line a call."""
    try:
        calls = session.calls
    except (OSError, ValueError) as exc:
        return f"cannot be read: {exc}"
    lines = [_line(call) for call in calls[-_SHOWN_CALLS:]]
    left_out = len(calls) - len(lines)
    return "\n".join([*([f"… {left_out} before"] if left_out else []), *lines]) or "no call came"


def _line(call: Call) -> str:
    first, total = call.times["first"], call.times["total"]
    parts = [
        f"{call.number:4} {call.request['method']} {call.request['path']}", call.model,
        f"-> {call.status or 'nothing'}",
        call.ended or "running", f"rule {call.rule}" if call.rule else "", f"fault {call.fault}" if call.fault else "",
        f"attempt {call.attempt}" if call.attempt > 1 else "", f"first {first:.3f} s" if first is not None else "",
        f"total {total:.3f} s" if total is not None else "", *call.notes,
    ]  # fmt: skip
    return "  ".join(part for part in parts if part)
