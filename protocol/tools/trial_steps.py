"""The steps of the test client: what it asks a server, and what it makes of the answers."""

from __future__ import annotations

import json
import re
import typing

from protocol.tools.trial_answers import (
    StreamedText,
    api_error,
    check_is_stream,
    check_status,
    chunk_text,
    dig,
    error_text,
    quote,
    read_events,
    read_json,
)
from protocol.tools.trial_client import Answer, Client, Failure
from protocol.tools.trial_console import Console
from protocol.wire.json_text import JsonObject
from protocol.wire.sse import DONE

#: A step is well.
OK = "ok"
#: Neither good nor bad: other servers do it otherwise.
NOTED = "-"

_MODEL = "gpt-4o-mini"
_QUESTION = "Say hello in one short sentence."

# A list of models does not say what each is for, so its name has to tell. Who misses a chat model can give --model.
_NOT_FOR_CHAT = (
    r"(?i)embed|bge-|rerank|moderation|guard|whisper|transcri|tts|speech|audio|asr|cosyvoice|realtime|dall-e|image|"
    r"sora|wan[0-9x]|video|babbage|davinci|turbo-instruct|codex|deep-research|computer-use"
)

#: A step returns its result, OK or NOTED, and a line about it; or it raises a Failure.
Step = typing.Callable[[], typing.Tuple[str, str]]


class Stopwatch:
    """Seconds since the last start."""

    def __init__(self, clock: typing.Callable[[], float]) -> None:
        self._clock = clock
        self._started = 0.0

    def start(self) -> None:
        """Begin to count from 0."""
        self._started = self._clock()

    def seconds(self) -> float:
        """Return the seconds since then."""
        return self._clock() - self._started


class Steps:
    """The steps, and what one learns for the next: the model, where the user names none."""

    def __init__(self, client: Client, console: Console, model: str | None, stopwatch: Stopwatch) -> None:
        self._client = client
        self._console = console
        self._asked_model = model
        self._model = model or _MODEL
        self._stopwatch = stopwatch

    def in_order(self) -> list[tuple[str, Step]]:
        """Return the steps with their names."""
        return [
            ("health", self._health),
            ("models", self._models),
            ("plain answer", self._plain_answer),
            ("streamed answer", self._streamed_answer),
            ("deliberate error", self._deliberate_error),
        ]

    def says_of_itself(self) -> typing.Any:
        """Return what the server says of itself at its root, None for one that says nothing there."""
        try:
            return json.loads(self._client.ask("GET", f"{self._client.target.root}/").body)
        except (Failure, ValueError, RecursionError):
            return None

    def _health(self) -> tuple[str, str]:
        answer = self._client.ask("GET", f"{self._client.target.root}/health")
        status = answer.head.status
        try:
            report = json.loads(answer.body)
        except (ValueError, RecursionError):
            report = None
        says = dig(report, "status")
        if 200 <= status < 300:
            service = dig(report, "service") or "the server"
            return OK, f"{service} says {says!r}" if isinstance(says, str) else f"HTTP {status}"
        if status < 500:
            return NOTED, f"no /health here (HTTP {status}): not oaiserve; going on"
        if isinstance(says, str):
            raise Failure(f"HTTP {status}: the server says {says!r}")
        raise Failure(error_text(answer))

    def _models(self) -> tuple[str, str]:
        answer = self._client.ask("GET", f"{self._client.target.api}/models")
        check_status(answer)
        models = dig(read_json(answer.body, "a list of models"), "data")
        if not isinstance(models, list):
            raise Failure(f"expected a list of models, got {quote(answer.body)}")
        names = [name for name in (dig(model, "id") for model in models) if isinstance(name, str) and name]
        count = "1 model" if len(names) == 1 else f"{len(names)} models"
        if self._asked_model:
            listed = "" if self._asked_model in names else f"; {self._asked_model} is not among them"
            return OK, count + listed
        self._model = next((name for name in names if not re.search(_NOT_FOR_CHAT, name)), _MODEL)
        return OK, f"{count}; going on with {self._model}"

    def _plain_answer(self) -> tuple[str, str]:
        answer = self._client.ask("POST", self._chat_path, self._question(stream=False))
        check_status(answer)
        completion = read_json(answer.body, "a chat completion")
        text = dig(completion, "choices", 0, "message", "content")
        if not isinstance(text, str) or not text.strip():
            raise Failure(f"expected choices[0].message.content, got {quote(answer.body)}")
        return OK, f"{self._model} says {text!r}"

    def _streamed_answer(self) -> tuple[str, str]:
        with self._client.exchange("POST", self._chat_path, self._question(stream=True)) as (head, parts):
            if head.status != 200:
                check_status(Answer(head, b"".join(parts)))
            check_is_stream(head)
            stream = StreamedText()
            try:
                self._show(stream, parts)
            except Failure as exc:
                raise Failure(f"after [DONE]: {exc}" if stream.done else str(exc), final=exc.final) from exc
        return OK, stream.verdict()

    def _show(self, stream: StreamedText, parts: typing.Iterable[bytes]) -> None:
        """Write the words as they arrive."""
        # [DONE] does not end this. The SDKs read on to the end of the body, and one that never ends would hold them.
        for event in read_events(parts):
            if event.data == DONE:
                stream.done = True
                continue
            text = chunk_text(event.data)
            if text:
                stream.add(text, self._stopwatch.seconds())
                self._console.more(text)

    def _deliberate_error(self) -> tuple[str, str]:
        answer = self._client.ask("POST", self._chat_path, {"model": self._model, "messages": []})
        status = answer.head.status
        if 200 <= status < 300:
            return NOTED, f"HTTP {status}: it accepts an empty list of messages, which OpenAI refuses"
        if status not in (400, 422):
            check_status(answer)
        error = api_error(read_json(answer.body, "an error"))
        if not error:
            raise Failure(f"expected an error in OpenAI's shape, got HTTP {status} {quote(answer.body)}")
        return OK, f"HTTP {status} {error}"

    @property
    def _chat_path(self) -> str:
        return f"{self._client.target.api}/chat/completions"

    def _question(self, *, stream: bool) -> JsonObject:
        messages = [{"role": "user", "content": _QUESTION}]
        return {"model": self._model, "messages": messages, "stream": stream}
