"""Make a response: read what a context of items asks, and say it in items.

Theory of operation. What a model would say is decided by protocol/mock/answer/reply.py. Calls that the server makes itself
follow each other, each with its result in the next question; then comes a message, or calls for the client, which end
the response. The reply takes each result off what the prompt asks for, so that this ends.
"""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.mock.answer.reply import Question, Reply, reply
from protocol.mock.engine.world import World
from protocol.mock.responses.items import (
    Asked,
    ItemChain,
    asked_by,
    is_reasoning_model,
    item_text,
    item_type,
    items_tokens,
    message_item,
    reasoning_item,
    sealed,
    shown_item,
    tool_of,
    written_words,
)
from protocol.mock.responses.tools import SERVED_TOOLS, Toolbox, ToolCaller
from protocol.openai.answers import split_words
from protocol.wire.json_text import JsonObject

_DEFAULT_MODEL = "gpt-4o"
# Tokens of thought by effort: a stand-in, of which only the order means something.
_EFFORT_TOKENS = {"none": 0, "minimal": 8, "low": 32, "medium": 64, "high": 128, "xhigh": 256, "max": 512}
_LIKELY_SCORE = 0.1  # of a search, from which on a prompt is about what was found
_MOST_CALL_ROUNDS = 8  # of calls that the server makes in one response

# What a response echoes as it was asked, and what it says where nothing was asked.
_ECHOES: tuple[tuple[str, typing.Any], ...] = (
    ("instructions", None), ("max_output_tokens", None), ("max_tool_calls", None), ("parallel_tool_calls", True),
    ("previous_response_id", None), ("prompt", None), ("prompt_cache_key", None), ("prompt_cache_retention", None),
    ("safety_identifier", None), ("store", True), ("temperature", 1.0), ("tool_choice", "auto"), ("top_logprobs", 0),
    ("top_p", 1.0), ("truncation", "disabled"), ("user", None),
)  # fmt: skip


class MadeResponse(typing.NamedTuple):
    """A response that is finished: as answers show it, its output whole, and its context with its own input."""

    object: JsonObject
    output: list[JsonObject]
    context: ItemChain
    conversation: str


class ResponseMaker:
    """Makes responses; it remembers none."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._caller = ToolCaller(world)

    def made(self, body: JsonObject, context: ItemChain, conversation: str, *, is_silent: bool = False) -> MadeResponse:
        """Return the response to a body whose context, its own input included, is given; a silent one says nothing.

        ApiError 400 for a schema that nothing fits, and for a tool that is chosen and not offered; 404 for a vector
        store that is searched and not there.
        """
        items = context.all()
        object = self._begun(body, conversation)
        asked = asked_by(items, body.get("instructions"))
        output: list[JsonObject] = []
        reasoning_tokens = 0
        if not is_silent:
            thought = self._thought(object, asked)
            output = [*self._compacted(body, items), *thought, *self._said(body, items, asked)]
            reasoning_tokens = _EFFORT_TOKENS.get(object["reasoning"]["effort"], 0) if thought else 0
        limit = body.get("max_output_tokens")
        if limit is not None:
            reasoning_tokens = min(reasoning_tokens, limit // 2)
            output, is_cut = _cut_output(output, limit - reasoning_tokens)
            if is_cut:
                object.update(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
        if object["status"] == "completed":
            object["completed_at"] = self._world.now()
        include = body.get("include") or ()
        object["output"] = [shown_item(item, include, object["top_logprobs"]) for item in output]
        written = sum(written_words(item) for item in output)
        object["usage"] = usage_of(
            items_tokens(items, body.get("instructions")), written + reasoning_tokens, reasoning_tokens
        )
        return MadeResponse(object, output, context, conversation)

    def _begun(self, body: JsonObject, conversation: str) -> JsonObject:
        """Return a response with all that its request says of it."""
        model = body.get("model") or _DEFAULT_MODEL
        tier = body.get("service_tier")
        object: JsonObject = {
            "id": self._world.new_id("resp_"), "object": "response", "created_at": self._world.now(),
            "status": "completed", "background": bool(body.get("background")), "completed_at": None, "error": None,
            "incomplete_details": None, "model": model, "output": [], "reasoning": _reasoning(model, body),
            "service_tier": "default" if tier in (None, "auto") else tier, "text": _text_form(body),
            "tools": [_shown_tool(tool) for tool in body.get("tools") or []], "usage": None,
            "metadata": body.get("metadata") or {},
        }  # fmt: skip
        for name, default in _ECHOES:
            value = body.get(name)
            object[name] = default if value is None else value
        if conversation:
            object["conversation"] = {"id": conversation}
        if body.get("moderation"):
            shape = "{input ModerationInputModerationResult, output ModerationInputModerationResult}"
            object["moderation"] = self._world.make(shape, {})
        return object

    def _thought(self, object: JsonObject, asked: Asked) -> list[JsonObject]:
        reasoning = object["reasoning"]
        if reasoning["effort"] in (None, "none"):
            return []
        wants_summary = reasoning.get("summary") or reasoning.get("generate_summary")
        return [reasoning_item(self._world.new_id("rs_"), _summary_of(asked) if wants_summary else "")]

    def _compacted(self, body: JsonObject, items: list[JsonObject]) -> list[JsonObject]:
        """Return the compaction that a context calls for which is longer than the request wants it."""
        for management in body.get("context_management") or ():
            threshold = management.get("compact_threshold")
            if management.get("type") == "compaction" and threshold and items_tokens(items) >= threshold:
                return [self.compaction()]
        return []

    def compaction(self) -> JsonObject:
        """Return the item that stands for a context made shorter."""
        id = self._world.new_id("cmp_")
        return {"id": id, "type": "compaction", "encrypted_content": sealed(id)}

    def _said(self, body: JsonObject, items: list[JsonObject], asked: Asked) -> list[JsonObject]:
        """Return what the model says: calls that the server makes, and then a message or calls for the client."""
        toolbox = Toolbox(body.get("tools"), body.get("tool_choice"))
        said = self._listed(toolbox, items) + self._approved(items)
        question = self._question(body, toolbox, asked, said)
        most = body.get("max_tool_calls")
        served = 0
        for _ in range(_MOST_CALL_ROUNDS):
            answer = _reply(question, self._world.settings.text)
            if not answer.calls:
                break
            made = [self._caller.item(toolbox.offer(call.name), call) for call in answer.calls]
            if most is not None:
                room = max(0, most - served)
                made = [item for at, item in enumerate(made) if at < room or not _is_served(item)]
            said += made
            served += len(made)
            if not made or any(not _is_served(item) for item in made):
                return said or [self._message(question, said)]
            question = self._question(body, toolbox, asked, said)
        return [*said, self._message(question, said)]

    def _question(self, body: JsonObject, toolbox: Toolbox, asked: Asked, said: list[JsonObject]) -> Question:
        results = [*asked.results, *asked_by(said).results]
        called = any(_is_served(item) for item in said)
        form = (body.get("text") or {}).get("format") or {}
        question = Question(
            asked.prompt, toolbox.offered,
            # What had to be called has been called.
            choice="auto" if called and toolbox.choice == "required" else toolbox.choice,
            named="" if called else toolbox.named,
            parallel=body.get("parallel_tool_calls") is not False,
            results=results, format=form.get("type") or "text", schema=form.get("schema"),
            schema_name=form.get("name") or "", instructions=asked.instructions,
        )  # fmt: skip
        return question if question.named or question.choice != "auto" else self._with_search(question, toolbox, said)

    def _with_search(self, question: Question, toolbox: Toolbox, said: list[JsonObject]) -> Question:
        """Name the file search when nothing else is asked for and the stores know something of the prompt."""
        offer = toolbox.offer("file_search")
        if offer is None or any(result.name == "file_search" for result in question.results):
            return question
        if _reply(question, "").calls:
            return question
        found = self._caller.found(offer.spec, question.prompt)
        is_likely = bool(found) and found[0]["score"] >= _LIKELY_SCORE
        return question._replace(named="file_search") if is_likely else question

    def _message(self, question: Question, said: list[JsonObject]) -> JsonObject:
        text = _reply(question._replace(tools=(), choice="auto", named=""), self._world.settings.text).text
        item = message_item(self._world.new_id("msg_"), text)
        if question.format == "text":
            item["content"][0]["annotations"] = [citation for one in said for citation in _citations(one, text)]
        return item

    # ---- MCP ----------------------------------------------------------------------------------------------------

    def _listed(self, toolbox: Toolbox, items: list[JsonObject]) -> list[JsonObject]:
        """Return the lists of tools of the MCP servers whose lists are not in the context yet."""
        known = {item.get("server_label") for item in items if item_type(item) == "mcp_list_tools"}
        return [self._caller.listed(server) for server in toolbox.servers if server.get("server_label") not in known]

    def _approved(self, items: list[JsonObject]) -> list[JsonObject]:
        """Return the calls that the last items of a context approve."""
        requests = {item.get("id"): item for item in items if item_type(item) == "mcp_approval_request"}
        done = {item.get("approval_request_id") for item in items if item_type(item) == "mcp_call"}
        called = []
        for item in items:
            id = item.get("approval_request_id")
            if item_type(item) == "mcp_approval_response" and item.get("approve") and id in requests and id not in done:
                called.append(self._caller.approved(requests[id], id))
        return called


# ---- parts of a response ----------------------------------------------------------------------------------------


def _reply(question: Question, text: str) -> Reply:
    """Return the reply to a question; errors name the parameters as this API does."""
    try:
        return reply(question, text)
    except ApiError as exc:
        if exc.param == "response_format":
            exc.param = "text.format.schema"
        raise


def _reasoning(model: str, body: JsonObject) -> JsonObject:
    asked = {name: value for name, value in (body.get("reasoning") or {}).items() if value is not None}
    default = "medium" if is_reasoning_model(model) else None
    return {"effort": default, "summary": None, **asked}


def _text_form(body: JsonObject) -> JsonObject:
    text = body.get("text") or {}
    form = text.get("format") or {"type": "text"}
    if form.get("type") == "json_schema":
        form = {"type": "json_schema", "description": None, "strict": True, **form}
    return {"format": form, "verbosity": text.get("verbosity") or "medium"}


# What a tool is where its request does not say so.
_TOOL_DEFAULTS: dict[str, JsonObject] = {
    "function": {"description": None, "strict": True},
    "file_search": {
        "filters": None,
        "max_num_results": 20,
        "ranking_options": {"ranker": "auto", "score_threshold": 0.0},
    },
    "web_search": {"filters": None, "search_context_size": "medium", "user_location": None},
    "web_search_preview": {"search_context_size": "medium", "user_location": None},
    "mcp": {"allowed_tools": None, "require_approval": "always"},
}


def _shown_tool(tool: JsonObject) -> JsonObject:
    """Return a tool as a response shows it: what may be secret is left out."""
    given = {
        name: value for name, value in tool.items() if value is not None and name not in ("headers", "authorization")
    }
    return {"type": tool.get("type"), **_TOOL_DEFAULTS.get(tool.get("type"), {}), **given}


def _summary_of(asked: Asked) -> str:
    words = asked.prompt.split()
    about = " ".join(words[:12]) + ("…" if len(words) > 12 else "")
    return f"**Considering the request**\n\nThe user asks: {about}" if about else "**Considering the request**"


def _is_served(item: JsonObject) -> bool:
    """Whether a call is the server's, and over."""
    return tool_of(item) in SERVED_TOOLS or item["type"] == "mcp_call"


def _citations(item: JsonObject, text: str) -> list[JsonObject]:
    """Return the annotations of a text that rests on what a call found."""
    if item["type"] == "file_search_call" and item["results"] and item["results"][0]["score"] > 0:
        best = item["results"][0]
        where = {"file_id": best["file_id"], "filename": best["filename"]}
        return [{"type": "file_citation", "index": max(0, len(text) - 1), **where}]
    if item["type"] == "web_search_call":
        url = item["action"]["sources"][0]["url"]
        title = item["action"]["query"][:100]
        return [{"type": "url_citation", "start_index": 0, "end_index": len(text), "title": title, "url": url}]
    return []


def _cut_output(output: list[JsonObject], limit: int) -> tuple[list[JsonObject], bool]:
    """Cut what the model writes to so many words; the item that is cut is incomplete, and the last one."""
    kept = []
    for item in output:
        words = written_words(item)
        if words > limit:
            return [*kept, _cut_item(item, limit)], True
        limit -= words
        kept.append(item)
    return kept, False


def _cut_item(item: JsonObject, limit: int) -> JsonObject:
    if item["type"] == "message":
        part = item["content"][0]
        text = "".join(split_words(part["text"])[:limit])
        return {**item, "status": "incomplete", "content": [{**part, "text": text, "annotations": []}]}
    name = {"function_call": "arguments", "custom_tool_call": "input"}.get(item["type"], "code")
    return {**item, "status": "incomplete", name: "".join(split_words(item_text(item))[:limit])}


def usage_of(read: int, written: int, reasoning: int) -> JsonObject:
    """Return the usage of a response that read and wrote so many tokens, some of them thoughts."""
    return {
        "input_tokens": read, "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
        "output_tokens": written, "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": read + written,
    }  # fmt: skip
