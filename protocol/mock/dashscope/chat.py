"""What the mock says on DashScope's generation endpoints: what is said, in one answer or in the events of a stream.

`speeches_for` decides what is said to a question; the rest puts it into the forms of the API. Source: DashScope API
reference, "Text generation", "Multimodal generation".
"""

from __future__ import annotations

import contextlib
import json
import re
import typing

from protocol.budget import Budget, spend_turn
from protocol.errors import ApiError
from protocol.instrument.script.asked import Line, talk_of
from protocol.mock.answer.cost import CHUNK_BYTES, LOGPROB_BYTES, charge_answer
from protocol.mock.answer.hints import read_hints
from protocol.mock.answer.instance import instance
from protocol.mock.answer.logprobs import token_logprobs
from protocol.mock.answer.reply import OfferedTool, ToolCall
from protocol.mock.answer.spoken import Speaker
from protocol.mock.dashscope.question import Question, message_text, offered_functions
from protocol.mock.dashscope.refusals import bad_parameter, object_member
from protocol.mock.dashscope.words import (
    functions_to_call,
    offered_in_words,
    schema_in,
    system_text,
    wants_json,
    wants_some_call,
)
from protocol.mock.json_schema.document import SchemaError
from protocol.openai.answers import split_words
from protocol.openai.scripted_usage import ScriptedUsage, with_scripted
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.sse import encode_native_event

_REASONING = "Whatever is asked, the answer stays the same."

_CHARACTERS_FOUND_A_STEP = 1_000
_CHARACTERS_MATCHED_A_STEP = 50

NativeGroups = typing.List[typing.List[JsonObject]]

# ---- what is said -----------------------------------------------------------------------------------------------


class SpokenCall(typing.NamedTuple):
    """A function call; `pieces` are its arguments as a stream sends them."""

    id: str
    name: str
    pieces: typing.Sequence[str]


class Speech(typing.NamedTuple):
    """What one choice says: reasoning, then text or calls. A piece of each counts for one token."""

    reasoning: typing.Sequence[str]
    pieces: typing.Sequence[str]
    calls: typing.Sequence[SpokenCall]
    finish_reason: str
    #: For each piece of the text, where the request asks for them.
    logprobs: typing.Sequence[JsonObject] = ()
    #: What a script tells of the tokens.
    usage: ScriptedUsage | None = None

    @property
    def steps(self) -> int:
        """How many pieces there are in all."""
        return len(self.reasoning) + len(self.pieces) + sum(len(call.pieces) for call in self.calls)


def speeches_for(
    question: Question,
    text: str,
    random_bits: typing.Callable[[int], int],
    budget: Budget,
    speaker: Speaker | None = None,
) -> list[Speech]:
    """Decide what the choices of an answer say: `text`, JSON in the form asked for, or calls of functions.

    `speaker` asks the script first, None for no script.
    """
    parameters = question.parameters
    whole = None if speaker is None else _scripted(question, speaker, random_bits, budget)
    if whole is None:
        reasoning = split_words(_REASONING)[: parameters.get("thinking_budget")] if question.thinking else []
        calls, reason = _calls(question, random_bits, budget)
        said = "" if calls else _cut_at_stop(_formatted(question, text, budget), parameters.get("stop"))
        spend_turn(len(said) // 20)
        whole = _cut(Speech(reasoning, split_words(said), calls, reason), parameters)
    calls = list(whole.calls)
    count = parameters.get("n") or 1
    characters = sum(map(len, whole.pieces)) + sum(len(piece) for call in calls for piece in call.pieces)
    top = 1 + (parameters.get("top_logprobs") or 0) if parameters.get("logprobs") is True else 0
    word_bytes = top * LOGPROB_BYTES + (CHUNK_BYTES if question.stream else 0)
    charge_answer(budget, [(characters, whole.steps)] * count, word_bytes)
    if top:
        whole = whole._replace(logprobs=token_logprobs(whole.pieces, top - 1, parameters.get("seed") or 0))
    return [whole] * count


def _scripted(
    question: Question, speaker: Speaker, random_bits: typing.Callable[[int], int], budget: Budget
) -> Speech | None:
    """Return what the script says, None where it says nothing."""
    tools = [OfferedTool(tool["name"]) for tool in offered_functions(question.parameters)]
    scripted = speaker.reply(lambda: talk_of(_lines(question.messages)), tools, budget)
    told = None if scripted is None else scripted.told
    if scripted is None or told is None:
        return None
    if scripted.calls and isinstance(next(iter(told.parts)), ToolCall) and scripted.text:
        speaker.note("here a text comes before calls, whatever the order of the parts")
    spend_turn(len(scripted.text) // 20)
    calls = [
        SpokenCall(call.id or f"call_{random_bits(96):024x}", call.name, split_words(call.arguments))
        for call in scripted.calls
    ]
    text = _cut_at_stop(scripted.text, question.parameters.get("stop"))
    reason = "tool_calls" if calls else "stop"
    whole = _cut(Speech(split_words(told.reasoning), split_words(text), calls, reason), question.parameters)
    return whole._replace(finish_reason=told.finish or whole.finish_reason, usage=told.usage)


def _lines(messages: typing.Sequence[JsonObject]) -> typing.Iterator[Line]:
    """Yield what messages say, as a script sees it."""
    names: dict[str, str] = {}
    for message in messages:
        role, text = message.get("role"), message_text(message)
        for call in message.get("tool_calls") or []:
            names[call.get("id") or ""] = object_member(call, "function").get("name") or ""
        if role == "tool":
            yield Line("tool", text, names.get(message.get("tool_call_id") or "", ""))
        else:
            yield Line(role if role in ("user", "assistant") else "system", text)


def _calls(
    question: Question, random_bits: typing.Callable[[int], int], budget: Budget
) -> tuple[list[SpokenCall], str]:
    """Return the calls to make and the finish reason.

    A call is made of the function that `tool_choice` names, or of those that the user's last message names or a system
    message says to call. Where that says to call some function, it is the first one that was not called yet. As at
    DashScope the reason is "stop" in the first case, and "tool_calls" in the others.
    """
    tools, choice = offered_functions(question.parameters), question.parameters.get("tool_choice") or "auto"
    prompt = message_text(question.messages[-1])
    if type(choice) is dict:
        chosen, reason = [tool for tool in tools if tool["name"] == choice["function"]["name"]][:1], "stop"
    elif tools and choice == "auto":
        chosen, reason = _told_to_call(question, tools, prompt, budget), "tool_calls"
    else:
        chosen, reason = [], "stop"
    calls = [
        SpokenCall(f"call_{random_bits(96):024x}", tool["name"], split_words(_arguments(tool, prompt, budget)))
        for tool in chosen
    ]
    return calls, reason if calls else "stop"


def _told_to_call(question: Question, tools: list[JsonObject], prompt: str, budget: Budget) -> list[JsonObject]:
    """Return the functions that the messages say to call."""
    ordered, chosen = system_text(question), []
    if question.messages[-1].get("role") == "user":
        names = functions_to_call(ordered) | {tool["name"] for tool in _named(tools, prompt, budget)}
        chosen = [tool for tool in tools if tool["name"] in names]
    if not chosen and wants_some_call(ordered):
        calls = [call for message in question.messages for call in message.get("tool_calls") or ()]
        called = {str(object_member(call, "function").get("name")) for call in calls}
        chosen = [next((tool for tool in tools if tool["name"] not in called), tools[0])]
    return chosen if question.parameters.get("parallel_tool_calls") else chosen[:1]


def _named(tools: list[JsonObject], prompt: str, budget: Budget) -> list[JsonObject]:
    """Return the functions whose name is in a prompt; BudgetSpent where there are too many for so long a one."""
    return [tool for tool in tools if _has_word(prompt, tool["name"], budget)]


def _has_word(text: str, word: str, budget: Budget) -> bool:
    budget.spend(1 + len(text) // _CHARACTERS_FOUND_A_STEP)
    if word not in text:
        return False
    budget.spend(len(text) // _CHARACTERS_MATCHED_A_STEP)
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def _arguments(tool: JsonObject, prompt: str, budget: Budget) -> str:
    schema = tool.get("parameters") or {"type": "object", "properties": {}}
    return _json(schema, prompt, f"parameters.tools.function '{tool['name']}'", budget)


def _formatted(question: Question, text: str, budget: Budget) -> str:
    """Return the text, or JSON where a parameter or words ask for it."""
    wanted, prompt = object_member(question.parameters, "response_format"), message_text(question.messages[-1])
    written = [
        {"name": tool["name"], "arguments": json.loads(_arguments(tool, prompt, budget))}
        for tool in _named(offered_in_words(system_text(question), budget), prompt, budget)
    ]
    if written:
        return "\n".join(f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>" for call in written)
    if wanted.get("type") == "json_schema":
        schema = object_member(wanted, "json_schema").get("schema") or {}
        return _json(schema, prompt, "parameters.response_format", budget)
    in_json = wanted.get("type") == "json_object"
    words = system_text(question) + (f"\n{prompt}" if in_json else "")
    told_schema = schema_in(words, budget)
    if told_schema is not None:
        # No schema after all, such as an example: words are no mistake, they just do not say it.
        with contextlib.suppress(ApiError):
            return _json(told_schema, prompt, "the messages", budget)
    return encode_json({"text": text}).decode() if in_json or wants_json(words) else text


def _json(schema: JsonObject, prompt: str, where: str, budget: Budget) -> str:
    """Return JSON that satisfies a schema. It has spaces after its separators, where a stream cuts it into pieces."""
    try:
        made = instance(schema, hints=read_hints(prompt, budget), budget=budget)
        return json.dumps(made, ensure_ascii=False)
    except SchemaError as exc:
        raise bad_parameter(f"Invalid schema in {where}: {exc}") from exc


def _cut_at_stop(text: str, stop: typing.Any) -> str:
    """Cut a text before the first of the stop sequences. Token ids among them are passed over."""
    sequences = [stop] if type(stop) is str else stop if type(stop) is list else []
    found = [text.find(sequence) for sequence in sequences if type(sequence) is str and sequence and sequence in text]
    return text[: min(found)] if found else text


def _cut(speech: Speech, parameters: JsonObject) -> Speech:
    """Cut what is said to its limits: `max_completion_tokens` counts the reasoning too, `max_tokens` does not."""
    limits = []
    if parameters.get("max_completion_tokens") is not None:
        limits.append(parameters["max_completion_tokens"] - len(speech.reasoning))
    if parameters.get("max_tokens") is not None:
        limits.append(parameters["max_tokens"])
    if not limits or len(speech.pieces) <= min(limits):
        return speech
    most = min(limits)
    return Speech(speech.reasoning[: len(speech.reasoning) + min(0, most)], speech.pieces[: max(0, most)], [], "length")


# ---- the answer -------------------------------------------------------------------------------------------------


def whole_answer(question: Question, speeches: typing.Sequence[Speech], request_id: str) -> JsonObject:
    """Return the answer to a request that is not streamed."""
    return _frame(question, list(enumerate(speeches)), [speech.steps for speech in speeches], speeches, request_id)


def answer_events(question: Question, speeches: typing.Sequence[Speech], request_id: str) -> NativeGroups:
    """Return a stream's events in groups that are sent at one moment: a piece of each choice, and at last their ends.

    An incremental stream tells each piece once. Any other repeats all that was said before.
    """
    groups: NativeGroups = []
    told = [0] * len(speeches)
    for step in range(max(speech.steps for speech in speeches)):
        groups.append([])
        for index, speech in enumerate(speeches):
            if step < speech.steps:
                told[index] += 1
                part = _piece(speech, step) if question.incremental else _so_far(speech, step + 1)
                groups[-1].append(_frame(question, [(index, part)], told, speeches, request_id))
    groups = groups or [[]]
    for index, speech in enumerate(speeches):
        last = Speech([], [], [], speech.finish_reason) if question.incremental else speech
        groups[-1].append(_frame(question, [(index, last)], told, speeches, request_id))
    return groups


def encode_native_events(groups: NativeGroups, error: tuple[int, JsonObject] | None = None) -> list[bytes]:
    """Return the frames of a stream; `error`, a status and a body, comes as its last event, under HTTP 200."""
    frames, number = [], 0
    for group in groups:
        frame = b""
        for event in group:
            number += 1
            frame += encode_native_event(number, b"result", b"HTTP_STATUS/200", encode_json(event))
        frames.append(frame)
    if error is not None:
        status, body = error
        frames.append(encode_native_event(number + 1, b"error", b"HTTP_STATUS/%d" % status, encode_json(body)))
    return frames


def _piece(speech: Speech, step: int) -> Speech:
    """Return piece number `step` alone. Only the first piece of a call has its id and name."""
    if step < len(speech.reasoning):
        return Speech(speech.reasoning[step : step + 1], [], [], "null")
    step -= len(speech.reasoning)
    if step < len(speech.pieces):
        return Speech([], speech.pieces[step : step + 1], [], "null", speech.logprobs[step : step + 1])
    step -= len(speech.pieces)
    calls = []
    for call in speech.calls:
        here = call.pieces[step : step + 1] if step >= 0 else []
        calls.append(SpokenCall("" if step else call.id, "" if step else call.name, here))
        step -= len(call.pieces)
    return Speech([], [], calls, "null")


def _so_far(speech: Speech, steps: int) -> Speech:
    """Return the first `steps` pieces together."""
    reasoning = speech.reasoning[:steps]
    steps -= len(reasoning)
    pieces = speech.pieces[:steps]
    steps -= len(pieces)
    calls = []
    for call in speech.calls:
        calls.append(SpokenCall(call.id, call.name, call.pieces[: max(0, steps)]))
        steps -= len(call.pieces)
    logprobs = speech.logprobs[: len(pieces)]
    return Speech(reasoning, pieces, [call for call in calls if call.pieces], "null", logprobs)


def _frame(
    question: Question,
    parts: typing.Sequence[tuple[int, Speech]],
    told: typing.Sequence[int],
    speeches: typing.Sequence[Speech],
    request_id: str,
) -> JsonObject:
    """Return an answer or an event: parts of some choices, and the usage; `told` counts each choice's pieces so far."""
    output: JsonObject
    if question.as_message:
        output = {"choices": [_choice(question, index, part, len(speeches)) for index, part in parts]}
    else:
        output = {"finish_reason": parts[0][1].finish_reason, "text": "".join(parts[0][1].pieces)}
    return {"output": output, "usage": _usage(question, told, speeches), "request_id": request_id}


def _choice(question: Question, index: int, part: Speech, choices: int) -> JsonObject:
    text = "".join(part.pieces)
    message: JsonObject = {"role": "assistant", "content": text}
    if question.multimodal:
        message["content"] = [{"text": text}] if text else []
    if question.heard_seconds:
        options = object_member(question.parameters, "asr_options")
        note = {"type": "audio_info", "language": options.get("language") or "en", "emotion": "neutral"}
        message["annotations"] = [note]
    if question.thinking or part.reasoning:
        message["reasoning_content"] = "".join(part.reasoning)
    calls = [_call(number, call) for number, call in enumerate(part.calls) if call.pieces]
    if calls:
        message["tool_calls"] = calls
    choice: JsonObject = {"finish_reason": part.finish_reason, "message": message}
    if part.logprobs:
        choice["logprobs"] = {"content": part.logprobs}
    if choices > 1:
        choice["index"] = index
    return choice


def _call(number: int, call: SpokenCall) -> JsonObject:
    function = {"arguments": "".join(call.pieces)}
    if call.name:
        function["name"] = call.name
    return {"index": number, "id": call.id, "type": "function", "function": function}


def _usage(question: Question, told: typing.Sequence[int], speeches: typing.Sequence[Speech]) -> JsonObject:
    """Return the usage so far, or what a script tells of it."""
    return with_scripted(_counted_usage(question, told, speeches), speeches[0].usage)


def _counted_usage(question: Question, told: typing.Sequence[int], speeches: typing.Sequence[Speech]) -> JsonObject:
    """Return the usage so far: text and media add up to the input, reasoning and text to the output."""
    prompt, spent = question.prompt_tokens, sum(question.prompt_tokens.values())
    said = sum(told)
    thought = sum(min(steps, len(speech.reasoning)) for steps, speech in zip(told, speeches))
    if question.heard_seconds:
        return {
            "input_tokens_details": {"text_tokens": prompt["text"]},
            "output_tokens_details": {"text_tokens": said},
            "seconds": question.heard_seconds,
        }
    usage: JsonObject = {
        "input_tokens": spent,
        "output_tokens": said,
        "total_tokens": spent + said,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    if question.cached_tokens:
        created = {"cache_creation_input_tokens": question.cached_tokens, "cache_type": "ephemeral"}
        usage["prompt_tokens_details"].update(created)
    if question.thinking:
        usage["output_tokens_details"] = {"reasoning_tokens": thought, "text_tokens": said - thought}
    if question.multimodal:
        usage["input_tokens_details"] = {f"{kind}_tokens": count for kind, count in prompt.items()}
        usage.update({f"{kind}_tokens": count for kind, count in prompt.items() if kind != "text"})
    return usage
