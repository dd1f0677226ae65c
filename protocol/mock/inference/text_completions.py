"""Legacy completions: `n` choices of the mock's text for each prompt."""

from __future__ import annotations

import typing

from protocol.budget import Budget
from protocol.exchange import Response
from protocol.mock.answer.cost import CHUNK_BYTES, answered, charge_answer
from protocol.mock.engine.resources import Handler
from protocol.mock.engine.world import Call, World
from protocol.mock.inference.chat import checked_model, choice_count, cut_at_stop, cut_to_length
from protocol.mock.inference.simple_chat import includes_usage
from protocol.openai.answers import count_words, json_response, split_words
from protocol.openai.completions import Choice, CompletionHead, text_completion, text_frames


class TextCompletions:
    """The behaviour of /completions."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {"POST /completions": self.create}

    def create(self, call: Call) -> typing.Any:
        """Answer POST /v1/completions."""
        body, world = call.body, self._world
        model = checked_model(body)
        prompts = _prompts(body.get("prompt"))
        words = sum(count_words(prompt) if isinstance(prompt, str) else len(prompt) for prompt in prompts)
        text = cut_at_stop(world.settings.text, body.get("stop"))
        pieces, reason = cut_to_length(split_words(text), body, "stop")
        echoes = [[prompt] if body.get("echo") and isinstance(prompt, str) and prompt else [] for prompt in prompts]
        count = choice_count(body)

        def work(budget: Budget) -> Response | typing.Awaitable[Response]:
            said = ((len(text) + sum(map(len, echo)), len(pieces) + len(echo)) for echo in echoes for _ in range(count))
            charge_answer(budget, said, CHUNK_BYTES if body.get("stream") else 0)
            head = CompletionHead(world.new_id("cmpl-"), world.now(), model, words)
            choices = [choice for echo in echoes for choice in [Choice([*echo, *pieces], reason)] * count]
            if body.get("stream"):
                return world.stream(text_frames(head, choices, include_usage=includes_usage(body)))
            response = json_response(text_completion(head, choices))
            return world.after_words(response, max(choice.tokens for choice in choices))

        return answered(work)


def _prompts(prompt: typing.Any) -> list[typing.Any]:
    """Return the prompts: a string or an array of tokens is one, an array of either is several."""
    if isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, list) or not prompt:
        return [""]
    return (
        [prompt] if isinstance(prompt[0], int) else [each for each in prompt if isinstance(each, (str, list))] or [""]
    )
