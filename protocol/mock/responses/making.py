"""Make a response: read what a context of items asks, and say it in items.

Theory of operation. What the model says to a question is decided by protocol/mock/answer/reply.py. When it calls a tool
that the server runs itself, the result goes into a further question. The response ends with the first reply that is a
message, or that calls a tool of the client's. A reply asks for nothing whose result is there already, so this ends.
"""

from __future__ import annotations

import typing

from protocol.budget import Budget, spend_turn
from protocol.errors import ApiError
from protocol.instrument.script.asked import talk_of
from protocol.mock.answer.cost import CHUNK_BYTES, LOGPROB_BYTES, charge_answer
from protocol.mock.answer.reply import Question, Reply, Told, reply
from protocol.mock.answer.spoken import Speaker
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
from protocol.mock.responses.scripted import INCOMPLETE_REASONS, item_lines, scripted_items
from protocol.mock.responses.tool_calls import ToolCaller
from protocol.mock.responses.toolbox import SERVED_TOOLS, Toolbox
from protocol.mock.unchecked import without_nulls
from protocol.openai.answers import split_words
from protocol.openai.scripted_usage import ScriptedUsage, with_scripted
from protocol.wire.json_text import JsonObject

_DEFAULT_MODEL = "gpt-4o"
# Tokens of thought by effort. The figures are made up; only their order means something.
_EFFORT_TOKENS = {"none": 0, "minimal": 8, "low": 32, "medium": 64, "high": 128, "xhigh": 256, "max": 512}
# The score of a search from which on the prompt counts as a question about the file that was found.
_LIKELY_SCORE = 0.1
# Steps of a budget that an item of the context takes: it is gone through several times.
_ITEM_STEPS = 5
_TOOL_STEPS = 5
# How many times a response may ask again with the results of the server's own tools.
_MOST_ROUNDS = 8

# Members that a response repeats from its request, each with its value where the request does not say.
_ECHOES: tuple[tuple[str, typing.Any], ...] = (
    ("instructions", None), ("max_output_tokens", None), ("max_tool_calls", None), ("parallel_tool_calls", True),
    ("previous_response_id", None), ("prompt", None), ("prompt_cache_key", None), ("prompt_cache_retention", None),
    ("safety_identifier", None), ("store", True), ("temperature", 1.0), ("tool_choice", "auto"), ("top_logprobs", 0),
    ("top_p", 1.0), ("truncation", "disabled"), ("user", None),
)  # fmt: skip


class MadeResponse(typing.NamedTuple):
    """A finished response: as answers show it, with its output whole, its context, and its conversation's id or "".

    `told_usage` is what a script says of its usage, None where it says nothing.
    """

    object: JsonObject
    output: list[JsonObject]
    context: ItemChain
    conversation: str
    told_usage: ScriptedUsage | None = None


class ResponseMaker:
    """Makes responses; it remembers none."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._caller = ToolCaller(world)

    def make(
        self,
        body: JsonObject,
        context: ItemChain,
        conversation: str,
        budget: Budget,
        *,
        text: str,
        speaker: Speaker | None = None,
        is_silent: bool = False,
    ) -> MadeResponse:
        """Return the response to a body, which says `text` where nothing else is asked for; a silent one says nothing.

        `speaker` asks the script, None for no script.

        `context` includes the body's own input.

        ApiError 400 for a schema that nothing fits, for a tool that is chosen and not offered, and for an answer that
        would be too large; 404 for a vector store that is searched and not there.
        """
        items = context.all()
        budget.spend(_ITEM_STEPS * len(items))
        object = self._begun(body, conversation)
        asked = asked_by(items, body.get("instructions"))
        output: list[JsonObject] = []
        reasoning_tokens = 0
        told = None
        if not is_silent and speaker is not None:
            told = self._told(speaker, body, items, budget)
        if told is not None:
            toolbox = Toolbox(body.get("tools"), body.get("tool_choice"))
            output = [*self._compacted(body, items), *scripted_items(self._world, self._caller, toolbox, told)]
            reasoning_tokens = len(split_words(told.reasoning))
        elif not is_silent:
            thought = self._thought(object, asked)
            output = [*self._compacted(body, items), *thought, *self._said(body, items, asked, text, budget)]
            reasoning_tokens = _EFFORT_TOKENS.get(object["reasoning"]["effort"], 0) if thought else 0
        limit = body.get("max_output_tokens")
        if limit is not None:
            reasoning_tokens = min(reasoning_tokens, limit // 2)
            output, is_cut = _cut_output(output, limit - reasoning_tokens)
            if is_cut:
                object.update(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
        if told is not None and told.finish in INCOMPLETE_REASONS:
            object.update(status="incomplete", incomplete_details={"reason": INCOMPLETE_REASONS[told.finish]})
        if object["status"] == "completed":
            object["completed_at"] = self._world.now()
        charge_answer(budget, map(_extent, output), _word_bytes(body))
        include = body.get("include") or ()
        object["output"] = [shown_item(item, include, object["top_logprobs"]) for item in output]
        written = sum(written_words(item) for item in output)
        usage = usage_of(items_tokens(items, body.get("instructions")), written + reasoning_tokens, reasoning_tokens)
        told_usage = None if told is None else told.usage
        object["usage"] = with_scripted(usage, told_usage)
        return MadeResponse(object, output, context, conversation, told_usage)

    def _told(self, speaker: Speaker, body: JsonObject, items: list[JsonObject], budget: Budget) -> Told | None:
        """Return what the script says, None where it says nothing."""
        offered = Toolbox(body.get("tools"), body.get("tool_choice")).offered
        lines = item_lines(items, body.get("instructions"))
        scripted = speaker.reply(lambda: talk_of(lines, joins_turns=True), offered, budget)
        return None if scripted is None else scripted.told

    def _begun(self, body: JsonObject, conversation: str) -> JsonObject:
        """Return a response before there is any output, with all that its request says of it."""
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
        """Return a compaction where the context is longer than the request wants it to be."""
        for management in body.get("context_management") or ():
            threshold = management.get("compact_threshold")
            if management.get("type") == "compaction" and threshold and items_tokens(items) >= threshold:
                return [self.compaction()]
        return []

    def compaction(self) -> JsonObject:
        """Return the item that stands for a whole context."""
        id = self._world.new_id("cmp_")
        return {"id": id, "type": "compaction", "encrypted_content": sealed(id)}

    def _said(
        self, body: JsonObject, items: list[JsonObject], asked: Asked, text: str, budget: Budget
    ) -> list[JsonObject]:
        """Return what the model says: calls of the server's tools, and then a message or calls of the client's."""
        toolbox = Toolbox(body.get("tools"), body.get("tool_choice"))
        said = self._listed(toolbox, items) + self._approved(items)
        question = self._question(body, toolbox, asked, said, budget)
        most = body.get("max_tool_calls")
        served = 0
        for _ in range(_MOST_ROUNDS):
            answer = _reply(question, text, budget)
            if not answer.calls:
                break
            made = [self._caller.item(toolbox.called(call.name), call) for call in answer.calls]
            if most is not None:
                room = max(0, most - served)
                made = [item for at, item in enumerate(made) if at < room or not _is_served(item)]
            said += made
            served += len(made)
            if not made or any(not _is_served(item) for item in made):
                return said or [self._message(question, said, text, budget)]
            question = self._question(body, toolbox, asked, said, budget)
        return [*said, self._message(question, said, text, budget)]

    def _question(
        self, body: JsonObject, toolbox: Toolbox, asked: Asked, said: list[JsonObject], budget: Budget
    ) -> Question:
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
        if question.named or question.choice != "auto":
            return question
        return self._with_search(question, toolbox, budget)

    def _with_search(self, question: Question, toolbox: Toolbox, budget: Budget) -> Question:
        """Call for the file search when nothing else is called for and the stores know something of the prompt."""
        offer = toolbox.find("file_search")
        if offer is None or any(result.name == "file_search" for result in question.results):
            return question
        if _reply(question, "", budget).calls:
            return question
        found = self._caller.found(offer.spec, question.prompt)
        is_likely = bool(found) and found[0]["score"] >= _LIKELY_SCORE
        return question._replace(named="file_search") if is_likely else question

    def _message(self, question: Question, said: list[JsonObject], text: str, budget: Budget) -> JsonObject:
        text = _reply(question._replace(tools=(), choice="auto", named=""), text, budget).text
        item = message_item(self._world.new_id("msg_"), text)
        if question.format == "text":
            item["content"][0]["annotations"] = [citation for one in said for citation in _citations(one, text)]
        return item

    # ---- MCP ----------------------------------------------------------------------------------------------------

    def _listed(self, toolbox: Toolbox, items: list[JsonObject]) -> list[JsonObject]:
        """Return the items that list the tools of MCP servers; a list that is in the context is not repeated."""
        known = set()
        for item in items:
            spend_turn(1)
            if item_type(item) == "mcp_list_tools":
                known.add(item.get("server_label"))
        return [self._caller.listed(server) for server in toolbox.servers if server.get("server_label") not in known]

    def _approved(self, items: list[JsonObject]) -> list[JsonObject]:
        """Return the calls that the client has approved and that have not been made yet."""
        requests: dict[object, JsonObject] = {}
        done: set[object] = set()
        approvals = []
        for item in items:
            spend_turn(2)
            kind = item_type(item)
            if kind == "mcp_approval_request":
                requests[item.get("id")] = item
            elif kind == "mcp_call":
                done.add(item.get("approval_request_id"))
            elif kind == "mcp_approval_response" and item.get("approve"):
                approvals.append(item.get("approval_request_id"))
        return [self._caller.approved(requests[id], id) for id in approvals if id in requests and id not in done]


# ---- parts of a response ----------------------------------------------------------------------------------------


def _extent(item: JsonObject) -> tuple[int, int]:
    """Return how many characters and words the model wrote in an item."""
    text = item_text(item)
    spend_turn(len(text) // 20)
    return len(text), written_words(item)


def _word_bytes(body: JsonObject) -> int:
    """Return about how many bytes a word takes in an answer, besides its characters."""
    wants = "message.output_text.logprobs" in (body.get("include") or ())
    logprobs = 1 + (body.get("top_logprobs") or 0) if wants else 0
    return logprobs * LOGPROB_BYTES + (CHUNK_BYTES if body.get("stream") or body.get("background") else 0)


def _reply(question: Question, text: str, budget: Budget) -> Reply:
    """Return the reply to a question. Errors name parameters as this API does, and not as chat completions do."""
    try:
        return reply(question, text, budget)
    except ApiError as exc:
        if exc.param == "response_format":
            exc.param = "text.format.schema"
        raise


def _reasoning(model: str, body: JsonObject) -> JsonObject:
    asked = without_nulls(body.get("reasoning"))
    default = "medium" if is_reasoning_model(model) else None
    return {"effort": default, "summary": None, **asked}


def _text_form(body: JsonObject) -> JsonObject:
    text = body.get("text") or {}
    form = text.get("format") or {"type": "text"}
    if form.get("type") == "json_schema":
        form = {"type": "json_schema", "description": None, "strict": True, **form}
    return {"format": form, "verbosity": text.get("verbosity") or "medium"}


# The members of a tool where the request does not say them.
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
    """Return a tool as a response shows it: without members that may be secret."""
    spend_turn(_TOOL_STEPS)
    kind = tool.get("type")
    given = {name: value for name, value in without_nulls(tool).items() if name not in ("headers", "authorization")}
    return {"type": kind, **(_TOOL_DEFAULTS.get(kind, {}) if type(kind) is str else {}), **given}


def _summary_of(asked: Asked) -> str:
    words = asked.prompt.split()
    about = " ".join(words[:12]) + ("…" if len(words) > 12 else "")
    return f"**Considering the request**\n\nThe user asks: {about}" if about else "**Considering the request**"


def _is_served(item: JsonObject) -> bool:
    """Whether an item is a call of a tool that the server runs itself, and not a call for the client."""
    return tool_of(item) in SERVED_TOOLS or item["type"] == "mcp_call"


def _citations(item: JsonObject, text: str) -> list[JsonObject]:
    """Return the annotations of a text that name what a call found."""
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
    """Cut what the model writes to so many words. The item that is cut is incomplete and ends the output."""
    kept: list[JsonObject] = []
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
        if part["type"] == "refusal":
            refusal = "".join(split_words(part["refusal"])[:limit])
            return {**item, "status": "incomplete", "content": [{**part, "refusal": refusal}]}
        text = "".join(split_words(part["text"])[:limit])
        return {**item, "status": "incomplete", "content": [{**part, "text": text, "annotations": []}]}
    name = {"function_call": "arguments", "custom_tool_call": "input"}.get(item["type"], "code")
    return {**item, "status": "incomplete", name: "".join(split_words(item_text(item))[:limit])}


def usage_of(read: int, written: int, reasoning: int) -> JsonObject:
    """Return the usage of a response, in tokens; `reasoning` ones are among the `written`."""
    return {
        "input_tokens": read, "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
        "output_tokens": written, "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": read + written,
    }  # fmt: skip
