"""The test client, `python oaiserve.py try`: a few calls that show whether a server speaks the OpenAI API.

    trial_target     the URL, taken apart
    trial_client     the calls: one blocking socket each
    trial_answers    what the answers hold
    trial_steps      what is asked, and what is made of the answers
    trial_console    what is written

Each step gives a result and a line about it, or raises a Failure with a line that says what to do. Here they are run in
order and become a table. What the server sends goes to a terminal: it is shown without control characters, and never
with the key in it.
"""

from __future__ import annotations

import contextlib
import getpass
import re
import socket
import ssl
import time
import typing

from protocol.errors import UsageError
from protocol.tools.trial_answers import dig
from protocol.tools.trial_client import Client, Failure, KeyRefused, connect_within
from protocol.tools.trial_console import Console
from protocol.tools.trial_steps import Step, Steps, Stopwatch
from protocol.tools.trial_target import Target, parse_target

_KEY_VARIABLES = ("OPENAI_API_KEY", "DASHSCOPE_API_KEY")
_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")

_KEY = r"[!-~]+"
_DETAIL_CHARACTERS = 300
_LONGEST_WAIT = 86_400.0  # seconds

_FAILED = "failed"
_NOT_RUN = "not run"


def ask_hidden(prompt: str) -> str:
    """Ask at the terminal, and do not show what is typed there."""
    return getpass.getpass(prompt)


def run_trial(
    url: str,
    *,
    key: str | None,
    model: str | None,
    timeout_seconds: float,
    out: typing.TextIO,
    environ: typing.Mapping[str, str],
    ask_key: typing.Callable[[str], str] | None,
    clock: typing.Callable[[], float] = time.perf_counter,
    connect: typing.Callable[[tuple[str, int], float], socket.socket] = connect_within,
    tls: ssl.SSLContext | None = None,
) -> int:
    """Try the server at `url` (with or without /v1) and write what came of it to `out`.

    Return the exit code: 0 all is well, 1 a step failed, 130 stopped with Ctrl-C. Raise UsageError for a URL, key or
    time limit that cannot be. `timeout_seconds` bounds each wait: to connect, and for the next bytes.
    After one that was in vain the trial is over.

    Without `key`, OPENAI_API_KEY is taken from `environ`, else DASHSCOPE_API_KEY, where the server is on this machine
    or the vendor's: a key is not shown to others unasked. Without those, `ask_key` is called
    with a prompt when the server answers 401; it is None where there is nobody to ask. `clock` gives seconds, `connect`
    a connected socket. `tls` says which certificates to trust, by default those that the system trusts.
    """
    target = parse_target(url)
    if not 0 < timeout_seconds <= _LONGEST_WAIT:
        raise UsageError(f"time limit {timeout_seconds:g}: expected seconds, more than 0 and at most 86400")
    key, key_source = _choose_key(key, environ, target)
    others_use_proxy = not target.is_local and any(map(environ.get, _PROXY_VARIABLES))
    client = Client(target, timeout_seconds, connect, tls, others_use_proxy)
    console = Console(out)
    stopwatch = Stopwatch(clock)
    trial = _Trial(client, console, Steps(client, console, model or None, stopwatch), ask_key, stopwatch)
    if key:
        trial.use_key(key, key_source)
    try:
        return trial.run()
    except KeyboardInterrupt:
        console.line("Stopped.")
        return 130  # what a shell expects of a program that SIGINT ended: 128 + 2


def _choose_key(key: str | None, environ: typing.Mapping[str, str], target: Target) -> tuple[str, str]:
    """Return the key and where it is from, both empty where there is none; UsageError for an impossible one."""
    meant = [name for name in _KEY_VARIABLES if target.may_get(name)]
    candidates = [("--key", key or ""), *((name, environ.get(name, "")) for name in meant)]
    for source, candidate in candidates:
        candidate = candidate.strip()
        if candidate and not re.fullmatch(_KEY, candidate):
            raise UsageError(f"the key of {source} has characters that no key has: spaces, or some beyond ASCII")
        if candidate:
            return candidate, source
    return "", ""


class _Result(typing.NamedTuple):
    """What came of a step: OK, NOTED, _FAILED or _NOT_RUN, and a line about it."""

    name: str
    result: str
    seconds: float | None
    detail: str


def _who(refusal: KeyRefused) -> str:
    return f"the upstream behind its backend '{refusal.backend}'" if refusal.backend else "the server"


def _is_bad_result(result: _Result) -> bool:
    return result.result in (_FAILED, _NOT_RUN)


class _Trial:
    """Runs the steps, with a key that is asked for where it is wanted, and writes what came of them."""

    def __init__(
        self,
        client: Client,
        console: Console,
        steps: Steps,
        ask_key: typing.Callable[[str], str] | None,
        stopwatch: Stopwatch,
    ) -> None:
        self._client = client
        self._console = console
        self._steps = steps
        self._ask_key = ask_key
        self._key_source = ""
        self._stopwatch = stopwatch

    def use_key(self, key: str, source: str) -> None:
        """Send this key from now on, and never show it."""
        self._client.key = self._console.secret = key
        self._key_source = source

    def run(self) -> int:
        """Run all steps, write the table and return the exit code, 0 or 1."""
        target = self._client.target
        key = f"with the key of {self._key_source}" if self._key_source else "without a key"
        self._console.line(f"Trying {target.scheme}://{target.where}{target.api} {key}")
        results: list[_Result] = []
        steps = self._steps.in_order()
        over = False
        for number, (name, step) in enumerate(steps, 1):
            if over:
                results.append(_Result(name, _NOT_RUN, None, ""))
                continue
            self._console.begin(f"{number}/{len(steps)} {name} ")
            result, over = self._run_step(name, step)
            self._console.end_line()
            results.append(result)
        self._write_table(results)
        return 1 if any(map(_is_bad_result, results)) else 0

    def _run_step(self, name: str, step: Step) -> tuple[_Result, bool]:
        """Return a step's result, and whether the trial is over with it."""
        over = False
        try:
            result, detail = self._with_key(step)
        except Failure as exc:
            result, detail, over = _FAILED, str(exc), exc.final
        return _Result(name, result, self._stopwatch.seconds(), detail), over

    def _with_key(self, step: Step) -> tuple[str, str]:
        """Run a step; where the server wants a key and there is none, ask for it and run the step again."""
        self._stopwatch.start()
        try:
            return step()
        except KeyRefused as exc:
            self._refuse_others_keys(exc)
            if self._key_source:
                raise Failure(f"{_who(exc)} refuses the key of {self._key_source}: {exc}", final=True) from exc
            self._get_key(exc)
        self._stopwatch.start()
        try:
            return step()
        except KeyRefused as exc:
            self._refuse_others_keys(exc)
            raise Failure(f"{_who(exc)} refuses that key: {exc}", final=True) from exc

    def _refuse_others_keys(self, refusal: KeyRefused) -> None:
        """Raise a Failure where no key of the user's was refused, but that of the server, or the lack of it."""
        if not refusal.backend:
            return
        says = self._steps.says_of_itself()
        if refusal.backend in (dig(says, "own_keys") or ()):
            raise Failure(
                f"your key is not the matter: {_who(refusal)} refuses the server's own key, "
                f"which its owner sets as api_key: {refusal}",
                final=True,
            ) from refusal
        if "keys" in (dig(says, "features") or ()):
            raise Failure(
                f"your key is not the matter: {_who(refusal)} wants one, and the server has none for it, "
                f"which its owner sets as api_key: {refusal}",
                final=True,
            ) from refusal

    def _get_key(self, refusal: KeyRefused) -> None:
        key = ""
        if self._ask_key is not None:
            self._console.end_line()
            with contextlib.suppress(EOFError):
                key = self._ask_key(f"Key for {self._client.target.where} (not shown): ").strip()
        if not key:
            variables = [name for name in _KEY_VARIABLES if self._client.target.may_get(name)]
            others = f", or set {' or '.join(variables)}" if variables else ""
            advice = f"it wants a key: give --key{others} ({refusal})"
            raise Failure(advice, final=True) from refusal
        if not re.fullmatch(_KEY, key):
            raise Failure("that key has characters that no key has", final=True) from refusal
        self.use_key(key, "your answer")

    def _write_table(self, results: list[_Result]) -> None:
        self._console.line()
        self._console.line(f"{'step':<18}{'result':<9}{'seconds':>8}")
        for name, result, seconds, detail in results:
            # The line is cut after the key is taken out, lest half of the key remain.
            shown = self._console.clean(detail)
            if len(shown) > _DETAIL_CHARACTERS:
                shown = shown[: _DETAIL_CHARACTERS - 3] + "..."
            time_text = "" if seconds is None else f"{seconds:.3f}"
            self._console.line(f"{name:<18}{result:<9}{time_text:>8}  {shown}".rstrip())
        bad = sum(map(_is_bad_result, results))
        self._console.line()
        self._console.line(f"{bad} of {len(results)} steps failed or could not run." if bad else "All is well.")
