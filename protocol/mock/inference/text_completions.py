"""Legacy completions: `n` choices of the mock's text for each prompt."""

from __future__ import annotations

import typing

from protocol.budget import Budget
from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.instrument.script.asked import Line, Talk, talk_of
from protocol.mock.answer.cost import CHUNK_BYTES, LOGPROB_BYTES, answered, charge_answer
from protocol.mock.answer.logprobs import text_logprobs
from protocol.mock.answer.reply import Reply
from protocol.mock.answer.spoken import caller_of, speaker_for
from protocol.mock.engine.resources import Handler
from protocol.mock.engine.time_and_chance import arrival_of
from protocol.mock.engine.world import Call, World
from protocol.mock.inference.chat import (
    asked_model,
    choice_count,
    cut_at_stop,
    cut_to_length,
    is_usage_continuous,
)
from protocol.mock.inference.chat_rules import stream_options_fault
from protocol.mock.inference.simple_chat import includes_usage
from protocol.openai.answers import json_response, split_words
from protocol.openai.completions import Choice, CompletionHead, text_completion, text_frames
from protocol.openai.scripted_usage import ScriptedUsage
from protocol.wire.json_text import JsonObject, encode_json


class TextCompletions:
    """The behaviour of /completions."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {"POST /completions": self.create}

    def create(self, call: Call) -> typing.Any:
        """Answer POST /v1/completions; ApiError 400 for fewer candidates than choices."""
        body, world = call.body, self._world
        is_strict = world.settings.validate == "strict"
        model = asked_model(body, is_strict=is_strict)
        prompts = _prompts(body.get("prompt"))
        count = choice_count(body)
        if is_strict:
            fault = stream_options_fault(body) or _candidates_fault(body, count)
            if fault is not None:
                raise fault
        time = world.time
        key = b"" if time.is_plain else time.key_of(encode_json(body))
        said_text = time.text(body, key)
        usual = [cut_at_stop(_varied(said_text, number), body.get("stop")) for number in range(count)]
        cut = [cut_to_length(split_words(text), body, "stop") for text in usual]
        speaker = speaker_for(caller_of(call.request), "completions", body)
        asked = body.get("logprobs")
        top = asked if type(asked) is int and asked >= 0 else None

        def work(budget: Budget) -> Response | typing.Awaitable[Response]:
            scripted = None if speaker is None else speaker.reply(lambda: _talk(prompts), (), budget)
            texts, said, usage = _scripted(scripted, body, count) if scripted is not None else (usual, cut, None)
            given = [_pieces(prompt, budget) for prompt in prompts]
            words = sum(map(len, given))
            echoes = given if body.get("echo") else [[]] * len(given)
            word_bytes = (CHUNK_BYTES if body.get("stream") else 0) + (0 if top is None else (2 + top) * LOGPROB_BYTES)
            extents = (
                (sum(map(len, echo)) + len(text), len(echo) + len(pieces))
                for echo in echoes
                for text, (pieces, _) in zip(texts, said)
            )
            charge_answer(budget, extents, word_bytes)
            seed = body.get("seed")
            choices = []
            for prompt, echo in zip(given, echoes):
                # Without an echo the answer still begins behind the prompt.
                offset = 0 if echo else sum(map(len, prompt))
                for pieces, reason in said:
                    shown = [*echo, *pieces]
                    logprobs: list[JsonObject] = []
                    if top is not None:
                        logprobs = text_logprobs(shown, len(echo), top, seed if type(seed) is int else 0, offset)
                    choices.append(Choice(shown, reason, logprobs=logprobs, echoed=len(echo)))
            moment = time.moment(
                key, lambda: [piece.strip() for prompt in given for piece in prompt], words, arrival_of(call.request)
            )
            cached = 0 if moment is None else moment.cached_tokens
            head = CompletionHead(world.new_id("cmpl-"), world.now(), model, words, cached, usage)
            if body.get("stream"):
                frames = text_frames(
                    head, choices, include_usage=includes_usage(body), is_continuous=is_usage_continuous(body)
                )
                return world.stream(frames, moment)
            response = json_response(text_completion(head, choices))
            return world.after_words(response, max(choice.tokens for choice in choices), moment)

        return answered(work)


def _talk(prompts: typing.Sequence[typing.Any]) -> Talk:
    """Return what prompts say, as a script sees it: one text of the user's."""
    return talk_of([Line("user", "\n".join(prompt for prompt in prompts if isinstance(prompt, str)))])


def _scripted(
    scripted: Reply, body: JsonObject, count: int
) -> tuple[list[str], list[tuple[list[str], str]], ScriptedUsage | None]:
    """Return what a script says: the text of each choice, its pieces and how it ends, and the usage that is told."""
    told = scripted.told
    assert told is not None, "a script's reply"
    text = cut_at_stop(scripted.text, body.get("stop"))
    pieces, reason = cut_to_length(split_words(text), body, "stop")
    return [text] * count, [(pieces, told.finish or reason)] * count, told.usage


def _candidates_fault(body: JsonObject, count: int) -> ApiError | None:
    """Return the error for fewer candidates than choices, and for a stream of what is chosen last.

    Source: API reference, `best_of`, which may be 0: the default then.
    """
    best = body.get("best_of")
    if type(best) is not int or best == 0:
        return None
    if best < count:
        return ApiError(
            400, "You requested that the server return more choices than it will generate (HINT: you must set 'n'"
            f" (currently {count}) to be at most 'best_of' (currently {best}), or omit either parameter if you don't"
            " specifically want to use them.)",
        )  # fmt: skip
    if best > count and body.get("stream") is True:
        return ApiError(400, "Results cannot be streamed when 'best_of' is greater than 'n'.", param="best_of")
    return None


def _varied(text: str, number: int) -> str:
    """Return what choice `number` says: no two say the same, as in a chat."""
    return f"{text} ({number + 1})" if number else text


def _prompts(prompt: typing.Any) -> list[typing.Any]:
    """Return the prompts: a string or an array of tokens is one, an array of either is several."""
    if isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, list) or not prompt:
        return [""]
    return (
        [prompt] if isinstance(prompt[0], int) else [each for each in prompt if isinstance(each, (str, list))] or [""]
    )


def _pieces(prompt: str | list[typing.Any], budget: Budget) -> list[str]:
    """Return a prompt's tokens: the words of a text; for the number of a token a word that names it."""
    budget.spend(len(prompt) // 20 + 1)
    if isinstance(prompt, str):
        return split_words(prompt) if prompt else []
    return [f" token{number}" for number in prompt if type(number) is int]
