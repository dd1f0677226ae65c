"""DashScope's native chat answers as OpenAI's chat completions.

An answer has one of three forms: `output.choices[].message`, which is asked for; `output.text`, with which older models
answer all the same; and `output.choices[].messages`, of an old plugin mode. Any field may be null. Sources: DashScope
API reference, "Text generation", response; OpenAI API reference, "The chat completion object".
"""

from __future__ import annotations

import json
import re
import typing

from protocol.wire.json_text import JsonObject

#: How DashScope says that a choice goes on: by JSON null, or by the word.
UNFINISHED = (None, "", "null")
_FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter")

#: What a usage has that tells no details.
SUMS_OF_USAGE = frozenset(("input_tokens", "output_tokens", "total_tokens"))
_PROMPT_MODALITIES = ("audio_tokens", "image_tokens", "video_tokens", "text_tokens")
# What the explicit cache tells of itself; OpenAI has no field for it.
_CACHE_DETAILS = ("cache_creation_input_tokens", "cache_creation", "cache_type")
_COMPLETION_MODALITIES = ("audio_tokens", "text_tokens")

# Answers with a web search cite their sources as [1] or [ref_1].
_CITATION_MARK = re.compile(r"\[(?:ref_)?(\d{1,4})\]")

# Beside the choices DashScope tells of these. OpenAI has no field for them, so they keep their names.
_EXTENSIONS = frozenset(("search_info", "tool_info"))


class CompletionFacts(typing.NamedTuple):
    """What a chat completion says and its native answer does not.

    `model` is the name that the client used, `created` is in Unix seconds, `make_id` returns fresh hex digits for ids
    that DashScope left out, `forced_tool` says that one function was named in `tool_choice`, `stand_ins` has the
    functions' names that were sent in place of others (sent → asked).
    """

    model: str
    created: int
    make_id: typing.Callable[[], str]
    forced_tool: bool = False
    stand_ins: typing.Mapping[str, str] = {}


class NativeChoice:
    """One choice of a native answer or of one event of a stream; text and reasoning are "" where there is none."""

    __slots__ = ("finish_reason", "index", "logprobs", "reasoning", "text", "tool_calls")

    def __init__(self, index: int, message: JsonObject, holder: JsonObject) -> None:
        self.index = index
        get = message.get
        content, reasoning, calls = get("content"), get("reasoning_content"), get("tool_calls")
        self.text = content if type(content) is str else joined_content(content)
        self.reasoning = reasoning if type(reasoning) is str else ""
        self.tool_calls = [call for call in as_list(calls) if isinstance(call, dict)] if calls else []
        self.finish_reason = holder.get("finish_reason")
        logprobs = holder.get("logprobs")
        self.logprobs = _logprobs(logprobs) if logprobs else None

    def calls_as_asked(self, stand_ins: typing.Mapping[str, str]) -> list[JsonObject]:
        """Return the tool calls with the functions' names that the client knows (sent → asked)."""
        if not stand_ins:
            return self.tool_calls
        calls = []
        for call in self.tool_calls:
            function = as_object(call.get("function"))
            name = function.get("name")
            asked = stand_ins.get(name) if isinstance(name, str) else None
            calls.append({**call, "function": {**function, "name": asked}} if asked else call)
        return calls

    @property
    def finished(self) -> bool:
        """Whether DashScope gave a reason for the choice's end."""
        return self.finish_reason not in UNFINISHED


def chat_completion(answer: typing.Mapping[str, typing.Any], facts: CompletionFacts) -> JsonObject:
    """Return the chat completion for a native answer."""
    completion: JsonObject = {
        "id": completion_id(answer, facts.make_id),
        "object": "chat.completion",
        "created": facts.created,
        "model": facts.model,
        "system_fingerprint": None,
        "choices": [],
        "usage": openai_usage(answer.get("usage")),
    }
    extensions = answer_extensions(answer)
    for choice in native_choices(answer):
        calls = [_tool_call(call, facts.make_id) for call in choice.calls_as_asked(facts.stand_ins)]
        completion["choices"].append(
            completion_choice(
                choice.index,
                text=choice.text,
                reasoning=choice.reasoning,
                tool_calls=calls,
                logprobs=choice.logprobs,
                finish_reason=openai_finish_reason(choice.finish_reason, bool(calls), facts.forced_tool),
                search_info=extensions.get("search_info"),
            )
        )
    completion.update(extensions)
    return completion


def completion_choice(
    index: int,
    *,
    text: str,
    reasoning: str,
    tool_calls: list[JsonObject],
    logprobs: JsonObject | None,
    finish_reason: str,
    search_info: object = None,
) -> JsonObject:
    """Return one element of `choices` of a chat completion; content is null where there are only tool calls."""
    message: JsonObject = {
        "role": "assistant",
        "content": None if tool_calls and not text else text,
        "refusal": None,
    }
    if reasoning:
        message["reasoning_content"] = reasoning
    if tool_calls:
        message["tool_calls"] = tool_calls
    annotations = _citations(text, search_info) if search_info else None
    if annotations:
        message["annotations"] = annotations
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish_reason}


def merge_completions(completions: typing.Sequence[JsonObject]) -> JsonObject:
    """Return one chat completion for several of one choice each: all choices, and the sum of the usages."""
    merged = dict(completions[0])
    merged["choices"] = [
        {**choice, "index": index} for index, completion in enumerate(completions) for choice in completion["choices"]
    ]
    merged["usage"] = sum_usages([completion["usage"] for completion in completions])
    return merged


def native_choices(answer: typing.Mapping[str, typing.Any]) -> list[NativeChoice]:
    """Return the choices of a native answer or event, none where `output` is null.

    A choice without an index has that of its position.
    """
    output = as_object(answer.get("output"))
    choices = []
    for position, holder in enumerate(as_list(output.get("choices"))):
        if isinstance(holder, dict):
            index = holder.get("index")
            choices.append(NativeChoice(index if isinstance(index, int) else position, _message(holder), holder))
    if not choices and isinstance(output.get("text"), str):
        choices.append(NativeChoice(0, {"content": output["text"]}, output))
    return choices


def completion_id(answer: typing.Mapping[str, typing.Any], make_id: typing.Callable[[], str]) -> str:
    """Return the id of a completion: DashScope's request id, or a fresh one where it sent none."""
    request_id = answer.get("request_id")
    return "chatcmpl-" + (request_id if isinstance(request_id, str) and request_id else make_id())


def answer_extensions(answer: typing.Mapping[str, typing.Any]) -> JsonObject:
    """Return what an answer tells of searches and tools that DashScope itself ran, if anything."""
    output = as_object(answer.get("output"))
    if _EXTENSIONS.isdisjoint(output):
        return {}
    found = {name: output[name] for name in sorted(_EXTENSIONS) if output.get(name)}
    if not any(as_object(found.get("search_info")).values()):
        found.pop("search_info", None)  # in later events of a stream its lists are empty
    return found


def openai_finish_reason(reason: object, has_tool_calls: bool, forced_tool: bool) -> str:
    """Return the finish reason in OpenAI's words for a choice that has ended.

    Without a native reason the choice was cut, as DashScope does after about 300 s: "length". "stop" beside tool calls
    becomes "tool_calls", except where one function was forced: then OpenAI, too, says "stop".
    """
    if reason in UNFINISHED:
        return "length"
    if reason == "stop" and has_tool_calls and not forced_tool:
        return "tool_calls"
    return reason if isinstance(reason, str) and reason in _FINISH_REASONS else "stop"


def openai_usage(native: object) -> JsonObject:
    """Return a native usage in OpenAI's form; a missing count is 0, a missing total is the sum.

    In both APIs the input tokens include those of media, and the output tokens those of reasoning.
    """
    usage = as_object(native)
    prompt = token_count(usage, "input_tokens")
    completion = token_count(usage, "output_tokens")
    prompt_details: JsonObject = {"cached_tokens": 0}
    completion_details = {"reasoning_tokens": 0}
    if not usage.keys() <= SUMS_OF_USAGE:
        prompt_details, completion_details = _usage_details(usage)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": token_count(usage, "total_tokens") or prompt + completion,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": completion_details,
    }


def _usage_details(usage: JsonObject) -> tuple[JsonObject, dict[str, int]]:
    """Return the details of prompt and completion that a native usage tells beside its sums."""
    cached = as_object(usage.get("prompt_tokens_details"))
    prompt_details: JsonObject = {"cached_tokens": token_count(cached, "cached_tokens")}
    if not cached:
        prompt_details["cached_tokens"] = token_count(usage, "cached_tokens")  # as some multimodal models have it
    for name in _CACHE_DETAILS:
        if cached.get(name) is not None:
            prompt_details[name] = cached[name]
    input_details = as_object(usage.get("input_tokens_details"))
    for name in _PROMPT_MODALITIES:
        # Older models give these beside the sums, newer ones within the details.
        count = token_count(input_details, name) or token_count(usage, name)
        if count:
            prompt_details[name] = count
    output_details = as_object(usage.get("output_tokens_details"))
    completion_details = {"reasoning_tokens": token_count(output_details, "reasoning_tokens")}
    for name in _COMPLETION_MODALITIES:
        if token_count(output_details, name):
            completion_details[name] = token_count(output_details, name)
    return prompt_details, completion_details


def sum_usages(usages: typing.Sequence[JsonObject]) -> JsonObject:
    """Return the sum of several usages in OpenAI's form, details included; of what is no number, the first."""
    total: JsonObject = {}
    for usage in usages:
        for name, value in usage.items():
            if isinstance(value, dict):
                total[name] = sum_usages([total.get(name, {}), value])
            elif isinstance(value, int):
                total[name] = total.get(name, 0) + value
            else:
                total.setdefault(name, value)
    return total


def joined_content(content: object) -> str:
    """Return the text of a native `content`: a string, or a list of parts of which only the texts count."""
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in as_list(content) if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def tool_arguments(arguments: object) -> str:
    """Return the arguments of a tool call as the JSON text that OpenAI has there; "" where there are none."""
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def token_count(usage: typing.Mapping[str, typing.Any], name: str) -> int:
    """Return a count of a native usage, 0 where it is missing or no integer."""
    value = usage.get(name)
    return value if isinstance(value, int) else 0


def as_object(value: object) -> JsonObject:
    """Return a JSON object, an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[typing.Any]:
    """Return a JSON list, an empty one in place of anything else."""
    return value if isinstance(value, list) else []


def _message(holder: JsonObject) -> JsonObject:
    if isinstance(holder.get("message"), dict):
        return holder["message"]
    for message in reversed(as_list(holder.get("messages"))):
        if isinstance(message, dict) and message.get("role") == "assistant":
            return message
    return {}


def _tool_call(call: JsonObject, make_id: typing.Callable[[], str]) -> JsonObject:
    function = as_object(call.get("function"))
    return {
        "id": call.get("id") or "call_" + make_id(),
        "type": "function",
        "function": {
            "name": function.get("name") or "",
            "arguments": tool_arguments(function.get("arguments")) or "{}",
        },
    }


def _logprobs(native: object) -> JsonObject | None:
    content = as_object(native).get("content")
    return {"content": content, "refusal": None} if isinstance(content, list) and content else None


def _citations(text: str, search_info: object) -> list[JsonObject]:
    """Return a url_citation for each mark in the text. A source without a mark has no place in it, and gets none."""
    sources = {}
    for source in as_list(as_object(search_info).get("search_results")):
        if isinstance(source, dict) and isinstance(source.get("url"), str):
            sources[str(source.get("index"))] = source
    annotations = []
    for mark in _CITATION_MARK.finditer(text) if sources else ():
        source = sources.get(mark.group(1))
        if source is not None:
            place = {"start_index": mark.start(), "end_index": mark.end()}
            cited = {"url": source["url"], "title": source.get("title") or "", **place}
            annotations.append({"type": "url_citation", "url_citation": cited})
    return annotations
