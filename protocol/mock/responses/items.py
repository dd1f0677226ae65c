"""Items of the Responses API: what a request puts in, what a reply puts out, and what answers show of both.

All of it is pure. An item is remembered whole; `shown_item` leaves out what answers have only if `include` names it.
"""

from __future__ import annotations

import base64
import hashlib
import re
import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.mock.answer.logprobs import token_logprobs
from protocol.mock.answer.own_words import own_words
from protocol.mock.answer.reply import ToolResult, count_tokens
from protocol.mock.unchecked import without_nulls
from protocol.openai.answers import split_words
from protocol.wire.json_text import JsonObject

#: How the ids of items begin, by the item's type.
ITEM_PREFIXES = {
    "message": "msg_", "reasoning": "rs_", "compaction": "cmp_", "configuration_update": "cfg_",
    "function_call": "fc_", "function_call_output": "fco_",
    "custom_tool_call": "ctc_", "custom_tool_call_output": "ctco_",
    "file_search_call": "fs_", "web_search_call": "ws_", "code_interpreter_call": "ci_", "image_generation_call": "ig_",
    "computer_call": "cu_", "computer_call_output": "cuo_",
    "mcp_list_tools": "mcpl_", "mcp_call": "mcp_", "mcp_approval_request": "mcpr_", "mcp_approval_response": "mcpa_",
    "local_shell_call": "lsh_", "local_shell_call_output": "lsho_", "shell_call": "sh_", "shell_call_output": "sho_",
    "apply_patch_call": "apc_", "apply_patch_call_output": "apco_",
    "tool_search_call": "tsc_", "tool_search_output": "tso_", "additional_tools": "at_",
    "program": "prog_", "program_output": "progo_",
}  # fmt: skip

#: What it costs to complete an item (protocol/budget.py).
COMPLETION_STEPS = 5
# And to count its tokens.
_COUNTING_STEPS = 3

# The types of items that have a status in answers.
_STATUS_ITEMS = frozenset(
    "message function_call function_call_output custom_tool_call custom_tool_call_output computer_call"
    " computer_call_output shell_call shell_call_output local_shell_call local_shell_call_output tool_search_call"
    " tool_search_output".split()
)
# By the type of an output: the type of the call that it answers, and what errors call that.
_ANSWERED_CALLS = {
    "function_call_output": ("function_call", "function call"),
    "custom_tool_call_output": ("custom_tool_call", "custom tool call"),
    "computer_call_output": ("computer_call", "computer call"),
    "shell_call_output": ("shell_call", "shell call"),
    "apply_patch_call_output": ("apply_patch_call", "apply patch call"),
    "local_shell_call_output": ("local_shell_call", "local shell call"),
}
_CALLS_TO_ANSWER = dict(_ANSWERED_CALLS.values())
# By the type of a call that does not name its tool: the tool.
_TOOLS_OF_CALLS = {
    "file_search_call": "file_search", "web_search_call": "web_search", "code_interpreter_call": "code_interpreter",
    "image_generation_call": "image_generation", "computer_call": "computer", "shell_call": "shell",
    "local_shell_call": "local_shell", "apply_patch_call": "apply_patch", "tool_search_call": "tool_search",
}  # fmt: skip
# Calls that the server makes itself: their items hold the result too.
_SERVED_CALLS = frozenset(
    "file_search_call web_search_call code_interpreter_call image_generation_call mcp_call tool_search_call".split()
)
# By the type of an item whose id may stand for all of it: the member that says what it is, if it is not stored here.
_CONTENT_MEMBERS = {
    "reasoning": "summary", "file_search_call": "queries", "image_generation_call": "result",
    "code_interpreter_call": "code",
}  # fmt: skip
# By an item's type: the members that answers have, and requests may leave out.
_BLANKS: dict[str, JsonObject] = {
    "reasoning": {"summary": []},
    "file_search_call": {"status": "completed", "queries": [], "results": None},
    "web_search_call": {"status": "completed", "action": {"type": "search", "query": "", "queries": []}},
    "image_generation_call": {"status": "completed", "result": None},
    "code_interpreter_call": {"status": "completed", "code": None, "container_id": "", "outputs": None},
    "computer_call": {"pending_safety_checks": []},
    "program_output": {"status": "completed"},
}
_REASONING_MODEL = re.compile(r"(?:o\d|gpt-(?:[5-9]|\d\d)(?!.*-chat)|codex|computer-use)")


def is_reasoning_model(model: str) -> bool:
    """Whether a model thinks before it answers: the o series does, and gpt-5 and later but for the chat models."""
    return bool(_REASONING_MODEL.match(model))


# How many tokens a model reads at most, by the beginning of its name. The first row that fits counts.
_CONTEXT_WINDOWS = (("gpt-4.1", 1_047_576), ("gpt-4", 128_000), ("gpt-3", 16_385), ("o", 200_000), ("gpt-5", 400_000))
_WIDEST_WINDOW = 1_050_000


def context_window(model: str) -> int:
    """Return how many tokens a model reads at most (OpenAI, "Models")."""
    return next((tokens for name, tokens in _CONTEXT_WINDOWS if model.startswith(name)), _WIDEST_WINDOW)


class ItemChain:
    """What one response adds to a context, behind the chain of items before it, which all later responses share."""

    __slots__ = ("before", "items")

    def __init__(self, before: ItemChain | None, items: list[JsonObject]) -> None:
        self.before = before
        self.items = items

    def all(self) -> list[JsonObject]:
        """Return the items of the whole context, the oldest first."""
        links = []
        link: ItemChain | None = self
        while link is not None:
            links.append(link.items)
            link = link.before
        return [item for items in reversed(links) for item in items]


# ---- what comes in ----------------------------------------------------------------------------------------------


def input_items(value: typing.Any, new_id: typing.Callable[[str], str]) -> list[JsonObject]:
    """Return the items of a request as they are remembered: with ids, parts and status.

    A text is a message of the user's. What stands for a stored item (`is_reference`) stays as it is.
    """
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    return [_input_item(item, new_id) for item in value or [] if isinstance(item, dict)]


def _input_item(item: JsonObject, new_id: typing.Callable[[str], str]) -> JsonObject:
    if is_reference(item):
        spend_turn(1)
        return dict(item)
    return completed_item(item, new_id)


def completed_item(item: JsonObject, new_id: typing.Callable[[str], str]) -> JsonObject:
    """Return an item of a request with all that answers have of it."""
    spend_turn(COMPLETION_STEPS)  # a request may have as many items as its bytes have room for
    kind = item_type(item)
    made: JsonObject = {"id": item.get("id") or new_id(ITEM_PREFIXES.get(kind, "item_")), "type": kind}
    if kind in _STATUS_ITEMS:
        made["status"] = "completed"
    made.update(_BLANKS.get(kind, ()))
    made.update((name, value) for name, value in item.items() if value is not None and name not in ("id", "type"))
    if kind == "message":
        made["content"] = _parts(item.get("content"), item.get("role"))
    elif kind == "local_shell_call":
        made["action"] = {"env": {}, **without_nulls(item.get("action"))}
    elif kind == "local_shell_call_output":
        # The reference calls the call's id `id`, the guide `call_id` (openai/openai-agents-python#732).
        made.setdefault("call_id", made["id"])
    elif isinstance(made.get("output"), list):
        made["output"] = [_completed_part(part) if isinstance(part, dict) else part for part in made["output"]]
    elif kind == "computer_call_output" and isinstance(made.get("output"), dict):
        made["output"] = {**made["output"], "type": "computer_screenshot"}
    return made


def is_reference(item: JsonObject) -> bool:
    """Whether an item's id stands for a stored one: nothing says what it is, or would say it if it were not stored."""
    kind = item_type(item)
    return kind == "item_reference" or (kind in _CONTENT_MEMBERS and item.get(_CONTENT_MEMBERS[kind]) is None)


def missing_content(item: JsonObject) -> str:
    """Return the member without which an item that names no stored one says nothing, "" where it has all it needs."""
    return "" if item.get("id") else _CONTENT_MEMBERS.get(item_type(item), "id")


def item_type(item: JsonObject) -> str:
    """Return an item's type. Without one it is a message when it has a role, and else a reference."""
    kind = item.get("type")
    return kind if isinstance(kind, str) else "message" if "role" in item else "item_reference"


def _parts(content: typing.Any, role: typing.Any) -> list[typing.Any]:
    if isinstance(content, list):
        return [_completed_part(part) if isinstance(part, dict) else part for part in content]
    text = content if isinstance(content, str) else ""
    return [output_text(text) if role == "assistant" else {"type": "input_text", "text": text}]


def _completed_part(part: JsonObject) -> JsonObject:
    """Return a part of a message, or of a tool's output, with the members that answers have."""
    if part.get("type") == "input_image":
        return {**part, "detail": part.get("detail") or "auto"}
    if part.get("type") == "output_text":
        return {"annotations": [], **without_nulls(part)}
    return part


def check_calls_answered(items: typing.Sequence[JsonObject]) -> None:
    """Check that each tool call has its output and each output its call; ApiError 400 in OpenAI's words."""
    called = set()
    for item in items:
        spend_turn(1)
        called.add((item_type(item), item.get("call_id")))
    for item in items:
        spend_turn(1)
        kind, call_id = item_type(item), item.get("call_id")
        if kind in _ANSWERED_CALLS and isinstance(call_id, str):
            call, words = _ANSWERED_CALLS[kind]
            if (call, call_id) not in called:
                message = f"No tool call found for {words} output with call_id {call_id[:100]}."
                raise ApiError(400, message, param="input")
        if kind in _CALLS_TO_ANSWER and (f"{kind}_output", call_id) not in called:
            message = f"No tool output found for {_CALLS_TO_ANSWER[kind]} {str(call_id)[:100]}."
            raise ApiError(400, message, param="input")


# ---- what items say ---------------------------------------------------------------------------------------------


def item_text(item: JsonObject) -> str:
    """Return the text of an item, "" where it has none."""
    kind = item_type(item)
    if kind == "message":
        return _joined_text(item.get("content"))
    if kind == "reasoning":
        return _joined_text(item.get("summary"))
    for name in ("arguments", "input", "output", "code", "result"):
        value = item.get(name)
        if isinstance(value, (str, list)) and kind != "image_generation_call":
            return _joined_text(value)
    return ""


def _joined_text(content: typing.Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def items_tokens(items: typing.Sequence[JsonObject], instructions: typing.Any = None) -> int:
    """Count the tokens of what a model reads: its words, and at least one for each item."""
    spoken = count_tokens(instructions) if isinstance(instructions, str) else 0
    for item in items:
        spend_turn(_COUNTING_STEPS)
        spoken += count_tokens(item_text(item)) or 1
    return spoken


class Asked(typing.NamedTuple):
    """What a context asks: its last prompt, its instructions, and the results of tools since the prompt."""

    prompt: str
    instructions: str
    results: list[ToolResult]


def asked_by(items: typing.Sequence[JsonObject], instructions: typing.Any = None) -> Asked:
    """Return what a context asks; `items` are all of it, the oldest first."""
    prompt = ""
    results: list[ToolResult] = []
    told = [instructions] if isinstance(instructions, str) else []
    tools: dict[typing.Any, str] = {}
    for item in items:
        spend_turn(3)
        kind, role = item_type(item), item.get("role")
        if kind == "message" and role == "user":
            text = item_text(item)
            said = own_words(text)
            if said or not text:
                prompt, results = said, []
        elif kind == "message" and role in ("system", "developer"):
            told.append(item_text(item))
        elif kind in _SERVED_CALLS:
            results.append(ToolResult(tool_of(item), item_text(item)))
        elif kind in _ANSWERED_CALLS:
            results.append(ToolResult(tools.get(item.get("call_id"), ""), item_text(item)))
        elif kind in _CALLS_TO_ANSWER:
            tools[item.get("call_id")] = tool_of(item)
    return Asked(prompt, "\n".join(told), results)


def is_call(item: JsonObject) -> bool:
    """Whether an item calls a tool, of the client's or of the server's."""
    return item_type(item) in _CALLS_TO_ANSWER or item_type(item) in _SERVED_CALLS


def is_answer_to_call(item: JsonObject) -> bool:
    """Whether an item is what a tool gave back."""
    return item_type(item) in _ANSWERED_CALLS


def tool_of(item: JsonObject) -> str:
    """Return the name of the tool that an item calls."""
    name = _TOOLS_OF_CALLS.get(item_type(item)) or item.get("name")
    return name if isinstance(name, str) else ""


# ---- what goes out ----------------------------------------------------------------------------------------------


def output_text(text: str) -> JsonObject:
    """Return the part of a message that holds the model's words."""
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def message_item(id: str, text: str, *, status: str = "completed") -> JsonObject:
    """Return a message of the model's."""
    return {"id": id, "type": "message", "status": status, "content": [output_text(text)], "role": "assistant"}


def refusal_item(id: str, refusal: str) -> JsonObject:
    """Return a message in which the model refuses."""
    content = [{"type": "refusal", "refusal": refusal}]
    return {"id": id, "type": "message", "status": "completed", "content": content, "role": "assistant"}


def reasoning_item(id: str, summary: str) -> JsonObject:
    """Return the item of what a model thought; answers show a summary of it or nothing."""
    parts = [{"type": "summary_text", "text": summary}] if summary else []
    return {"id": id, "type": "reasoning", "summary": parts, "encrypted_content": sealed(id)}


def sealed(id: str) -> str:
    """Return a stand-in for encrypted content: opaque, and always the same for an item's id."""
    digest = hashlib.blake2b(id.encode("utf-8", "backslashreplace"), digest_size=64).digest()
    return base64.urlsafe_b64encode(b"\x80\x00\x00\x00\x00" + digest).decode()


def shown_item(item: JsonObject, include: typing.Collection[str], top_logprobs: int = 0) -> JsonObject:
    """Return an output item as an answer shows it: without what only `include` brings."""
    kind = item["type"]
    if kind == "message" and "message.output_text.logprobs" in include and item.get("role") == "assistant":
        return {**item, "content": [_with_logprobs(part, top_logprobs) for part in item["content"]]}
    if kind == "reasoning" and "reasoning.encrypted_content" not in include:
        return {name: value for name, value in item.items() if name != "encrypted_content"}
    if kind == "file_search_call" and "file_search_call.results" not in include:
        return {**item, "results": None}
    if kind == "code_interpreter_call" and "code_interpreter_call.outputs" not in include:
        return {**item, "outputs": None}
    action = item.get("action")
    if kind == "web_search_call" and isinstance(action, dict) and "web_search_call.action.sources" not in include:
        return {**item, "action": {name: value for name, value in action.items() if name != "sources"}}
    return item


def _with_logprobs(part: JsonObject, top_logprobs: int) -> JsonObject:
    if part.get("type") != "output_text":
        return part
    return {**part, "logprobs": token_logprobs(split_words(part["text"]), top_logprobs, 0)}


def written_words(item: JsonObject) -> int:
    """Count the tokens that the model wrote in an item; a word is one."""
    kind = item["type"]
    if kind == "message":
        return sum(len(split_words(part.get("text") or part.get("refusal") or "")) for part in item["content"])
    return (
        len(split_words(item_text(item)))
        if kind in ("function_call", "custom_tool_call", "code_interpreter_call")
        else 0
    )
