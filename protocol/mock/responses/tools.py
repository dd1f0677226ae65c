"""The tools of the Responses API: which of them a request offers, and the items that calls of them become.

Functions and custom tools are the client's to run. Others are OpenAI's own: what they would have done is done here as
far as the mock can (it searches its vector stores, it draws, it reckons), and is plausible where it cannot.
"""

from __future__ import annotations

import ast
import base64
import json
import operator
import re
import typing

from protocol.errors import ApiError
from protocol.mock.answer.reply import OfferedTool, ToolCall
from protocol.mock.engine.world import World
from protocol.mock.media.picture import PICTURE_FORMATS, picture_file
from protocol.wire.json_text import JsonObject

# OpenAI's own tools by type: the name that a call of one goes by, and what prompts that ask for it speak of.
_HOSTED_TOOLS = {
    "file_search": ("file_search", "Search the uploaded files and documents"),
    "web_search": ("web_search", "Search the web, the internet, for news and current information"),
    "web_search_2025_08_26": ("web_search", "Search the web, the internet, for news and current information"),
    "web_search_preview": ("web_search", "Search the web, the internet, for news and current information"),
    "web_search_preview_2025_03_11": ("web_search", "Search the web, the internet, for news and current information"),
    "code_interpreter": ("code_interpreter", "Run Python code to calculate, analyze data or plot a chart"),
    "image_generation": ("image_generation", "Generate, draw or edit an image or picture"),
    "computer": ("computer", "Use the computer: click, type, scroll or take a screenshot"),
    "computer_use": ("computer", "Use the computer: click, type, scroll or take a screenshot"),
    "computer_use_preview": ("computer", "Use the computer: click, type, scroll or take a screenshot"),
    "shell": ("shell", "Run a command in the shell"),
    "local_shell": ("local_shell", "Run a command in the local shell"),
    "apply_patch": ("apply_patch", "Apply a patch that creates, edits or deletes a file"),
}
#: Tools whose calls the mock makes itself, so that the answer goes on behind them.
SERVED_TOOLS = frozenset(["file_search", "web_search", "code_interpreter", "image_generation", "mcp"])

_FREE_TEXT = "custom"  # the kind of a tool whose input is the prompt's own words
_MCP_DEFAULT_TOOL = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
_MOST_FOUND = 50


class _OfferedByRequest(typing.NamedTuple):
    tool: OfferedTool
    kind: str  # function, custom, mcp, or the name of one of OpenAI's own
    spec: JsonObject  # the tool as the request describes it
    namespace: str = ""


class Toolbox:
    """The tools that a request offers, and the choice that it leaves: `choice` and `named` as a Question has them."""

    def __init__(self, tools: typing.Any, choice: typing.Any) -> None:
        specs = [tool for tool in tools or [] if isinstance(tool, dict)]
        self._offers = [offer for spec in specs for offer in _offers_of(spec)]
        self.choice, self.named = "auto", ""
        self._choose(choice)
        self._by_name = {offer.tool.name: offer for offer in self._offers}

    @property
    def offered(self) -> list[OfferedTool]:
        """The tools that may be called."""
        return [offer.tool for offer in self._offers]

    @property
    def servers(self) -> list[JsonObject]:
        """The MCP servers whose tools may be called."""
        servers = {offer.spec.get("server_label"): offer.spec for offer in self._offers if offer.kind == "mcp"}
        return list(servers.values())

    def offer(self, name: str) -> _OfferedByRequest | None:
        """Return the offer of that name, None when there is none."""
        return self._by_name.get(name)

    def _choose(self, choice: typing.Any) -> None:
        if isinstance(choice, str):
            self.choice = choice
        elif isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            allowed = [_wanted(tool) for tool in choice.get("tools") or [] if isinstance(tool, dict)]
            self._offers = [offer for offer in self._offers if any(_is_chosen(offer, kind) for kind in allowed)]
            self.choice = choice.get("mode") or "auto"
        elif isinstance(choice, dict):
            self.named = self._name_of(_wanted(choice))

    def _name_of(self, wanted: JsonObject) -> str:
        """Return the name of the first tool that a choice fits; ApiError 400 where there is none."""
        for offer in self._offers:
            if _is_chosen(offer, wanted):
                return offer.tool.name
        if wanted["kind"] == "programmatic_tool_calling":
            return ""
        shown = wanted["name"] or wanted["kind"]
        message = f"Tool choice '{str(shown)[:100]}' not found in 'tools' parameter."
        raise ApiError(400, message, param="tool_choice", code="invalid_value")


def _wanted(choice: JsonObject) -> JsonObject:
    kind = choice.get("type")
    hosted = _HOSTED_TOOLS.get(kind) if isinstance(kind, str) else None
    return {"kind": hosted[0] if hosted else kind, "name": choice.get("name"), "server": choice.get("server_label")}


def _is_chosen(offer: _OfferedByRequest, wanted: JsonObject) -> bool:
    return (
        offer.kind == wanted["kind"]
        and wanted["name"] in (None, offer.tool.name)
        and (offer.kind != "mcp" or wanted["server"] == offer.spec.get("server_label"))
    )


def _offers_of(spec: JsonObject) -> list[_OfferedByRequest]:
    kind, name = spec.get("type"), spec.get("name")
    if kind == "namespace":
        inner = [tool for tool in spec.get("tools") or [] if isinstance(tool, dict)]
        return [offer._replace(namespace=str(name or "")) for tool in inner for offer in _offers_of(tool)]
    if kind in ("function", "custom") and isinstance(name, str):
        tool = OfferedTool(name, spec.get("description") or "", spec.get("parameters"), kind)
        return [_OfferedByRequest(tool, kind, spec)]
    if kind == "mcp":
        described = str(spec.get("server_description") or spec.get("server_label") or "")
        return [
            _OfferedByRequest(OfferedTool(one, described, _MCP_DEFAULT_TOOL), "mcp", spec) for one in _mcp_names(spec)
        ]
    if isinstance(kind, str) and kind in _HOSTED_TOOLS:
        name, described = _HOSTED_TOOLS[kind]
        return [_OfferedByRequest(OfferedTool(name, described, None, _FREE_TEXT), name, spec)]
    return []


def _mcp_names(spec: JsonObject) -> list[str]:
    """Return the names of a server's tools: those that the request allows, or one that nearly any server has."""
    allowed = spec.get("allowed_tools")
    if isinstance(allowed, dict):
        allowed = allowed.get("tool_names")
    names = [name for name in allowed or [] if isinstance(name, str)]
    return names or ["search"]


# ---- calls become items -----------------------------------------------------------------------------------------


class ToolCaller:
    """Makes the items of calls, with the world's memory behind them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._makers: dict[str, typing.Callable[[_OfferedByRequest, ToolCall], JsonObject]] = {
            "function": self._function,
            "custom": self._custom,
            "mcp": self._mcp,
            "file_search": self._file_search,
            "web_search": self._web_search,
            "code_interpreter": self._code,
            "image_generation": self._image,
            "computer": self._computer,
            "shell": self._shell,
            "local_shell": self._local_shell,
            "apply_patch": self._patch,
        }

    def item(self, offer: _OfferedByRequest, call: ToolCall) -> JsonObject:
        """Return the item of a call."""
        return self._makers[offer.kind](offer, call)

    def _function(self, offer: _OfferedByRequest, call: ToolCall) -> JsonObject:
        item = {
            "id": self._world.new_id("fc_"), "type": "function_call", "status": "completed",
            "arguments": call.arguments, "call_id": self._world.new_id("call_"), "name": call.name,
        }  # fmt: skip
        return {**item, "namespace": offer.namespace} if offer.namespace else item

    def _custom(self, offer: _OfferedByRequest, call: ToolCall) -> JsonObject:
        item = {
            "id": self._world.new_id("ctc_"), "type": "custom_tool_call", "status": "completed",
            "call_id": self._world.new_id("call_"), "input": call.arguments, "name": call.name,
        }  # fmt: skip
        return {**item, "namespace": offer.namespace} if offer.namespace else item

    # ---- searching ----------------------------------------------------------------------------------------------

    def _file_search(self, offer: _OfferedByRequest, call: ToolCall) -> JsonObject:
        return {
            "id": self._world.new_id("fs_"), "type": "file_search_call", "status": "completed",
            "queries": [call.arguments], "results": self.found(offer.spec, call.arguments),
        }  # fmt: skip

    def found(self, spec: JsonObject, query: str) -> list[JsonObject]:
        """Return what a search of a tool's vector stores finds, the best first."""
        most = spec.get("max_num_results")
        most = most if type(most) is int and 1 <= most <= _MOST_FOUND else 20
        ranking = spec.get("ranking_options") or {}
        asked: JsonObject = {"query": query, "max_num_results": most}
        if spec.get("filters"):
            asked["filters"] = spec["filters"]
        if ranking.get("score_threshold") is not None:
            asked["ranking_options"] = {"score_threshold": ranking["score_threshold"]}
        results: list[JsonObject] = []
        for store_id in spec.get("vector_store_ids") or []:
            self._world.find("/vector_stores", str(store_id), param="tools")
            page = self._world.ask("POST", f"/vector_stores/{store_id}/search", asked)
            results += [_search_result(entry) for entry in page.get("data") or []] if isinstance(page, dict) else []
        results.sort(key=lambda result: -result["score"])
        return results[:most]

    def _web_search(self, offer: _OfferedByRequest, call: ToolCall) -> JsonObject:
        slug = "-".join(re.findall(r"\w+", call.arguments.lower())[:8]) or "search"
        action = {
            "type": "search", "query": call.arguments, "queries": [call.arguments],
            "sources": [{"type": "url", "url": f"https://example.com/{slug}"}],
        }  # fmt: skip
        return {"id": self._world.new_id("ws_"), "type": "web_search_call", "status": "completed", "action": action}

    # ---- making -------------------------------------------------------------------------------------------------

    def _code(self, offer: _OfferedByRequest, call: ToolCall) -> JsonObject:
        code, printed = program_for(call.arguments)
        return {
            "id": self._world.new_id("ci_"), "type": "code_interpreter_call", "status": "completed", "code": code,
            "container_id": self._container(offer.spec.get("container")),
            "outputs": [{"type": "logs", "logs": f"{printed}\n"}],
        }  # fmt: skip

    def _container(self, container: typing.Any) -> str:
        """Return the container that code runs in: the one that is named, or a new one."""
        if isinstance(container, str):
            return container
        id = self._world.new_id("cntr_")
        made = self._world.make("Container", {"id": id, "name": "auto", "status": "running"})
        self._world.store.add("/containers", id, made)
        return id

    def _image(self, offer: _OfferedByRequest, call: ToolCall) -> JsonObject:
        asked = offer.spec
        size = asked.get("size") if re.fullmatch(r"\d{1,4}x\d{1,4}", str(asked.get("size"))) else "1024x1024"
        form = asked.get("output_format") if asked.get("output_format") in PICTURE_FORMATS else "png"
        width, height = (int(side) for side in size.split("x"))
        picture = picture_file(call.arguments, width, height, picture_format=form)
        return {
            "id": self._world.new_id("ig_"), "type": "image_generation_call", "status": "completed",
            "action": "generate", "background": _picked(asked.get("background"), "opaque"), "output_format": form,
            "quality": _picked(asked.get("quality"), "high"), "revised_prompt": call.arguments, "size": size,
            "result": base64.b64encode(picture).decode(),
        }  # fmt: skip

    # ---- what the client's machine does -------------------------------------------------------------------------

    def _computer(self, offer: _OfferedByRequest, call: ToolCall) -> JsonObject:
        item: JsonObject = {
            "id": self._world.new_id("cu_"), "type": "computer_call", "status": "completed",
            "call_id": self._world.new_id("call_"), "pending_safety_checks": [],
        }  # fmt: skip
        action = {"type": "screenshot"}
        # The tool's later form takes several actions at once.
        return {**item, "actions": [action]} if offer.spec.get("type") == "computer" else {**item, "action": action}

    def _shell(self, offer: _OfferedByRequest, call: ToolCall) -> JsonObject:
        return {
            "id": self._world.new_id("sh_"), "type": "shell_call", "status": "completed",
            "call_id": self._world.new_id("call_"),
            "action": {"commands": [_shell_command(call.arguments)], "timeout_ms": None, "max_output_length": None},
            "environment": None,
        }  # fmt: skip

    def _local_shell(self, offer: _OfferedByRequest, call: ToolCall) -> JsonObject:
        action = {"type": "exec", "command": ["bash", "-lc", _shell_command(call.arguments)], "env": {}}
        return {
            "id": self._world.new_id("lsh_"), "type": "local_shell_call", "status": "completed",
            "call_id": self._world.new_id("call_"), "action": action,
        }  # fmt: skip

    def _patch(self, offer: _OfferedByRequest, call: ToolCall) -> JsonObject:
        named = re.search(r"[\w./-]+\.\w+", call.arguments)
        written = self._world.settings.text
        return {
            "id": self._world.new_id("apc_"), "type": "apply_patch_call", "status": "completed",
            "call_id": self._world.new_id("call_"),
            "operation": {
                "type": "create_file", "path": named[0] if named else "answer.txt", "diff": f"@@\n+{written}\n",
            },
        }  # fmt: skip

    # ---- MCP ----------------------------------------------------------------------------------------------------

    def listed(self, server: JsonObject) -> JsonObject:
        """Return the item in which an MCP server tells its tools."""
        tools = [
            {"name": name, "description": None, "annotations": None, "input_schema": _MCP_DEFAULT_TOOL}
            for name in _mcp_names(server)
        ]
        label = server.get("server_label")
        return {"id": self._world.new_id("mcpl_"), "type": "mcp_list_tools", "server_label": label, "tools": tools}

    def _mcp(self, offer: _OfferedByRequest, call: ToolCall) -> JsonObject:
        label = offer.spec.get("server_label")
        if _needs_approval(offer.spec.get("require_approval"), call.name):
            return {
                "id": self._world.new_id("mcpr_"), "type": "mcp_approval_request", "arguments": call.arguments,
                "name": call.name, "server_label": label,
            }  # fmt: skip
        return self.approved({"arguments": call.arguments, "name": call.name, "server_label": label}, None)

    def approved(self, request: JsonObject, request_id: str | None) -> JsonObject:
        """Return the call of an MCP server's tool that a client approved, or had approved beforehand."""
        return {
            "id": self._world.new_id("mcp_"), "type": "mcp_call", "status": "completed",
            "approval_request_id": request_id, "arguments": request["arguments"], "error": None,
            "name": request["name"], "output": self._world.settings.text, "server_label": request["server_label"],
        }  # fmt: skip


def _picked(value: typing.Any, default: str) -> str:
    return default if value in (None, "auto") else value


def _search_result(entry: JsonObject) -> JsonObject:
    """Return an entry of a vector store's search as a file search's results have it."""
    texts = [part.get("text", "") for part in entry.get("content") or []]
    return {
        "attributes": entry.get("attributes") or {}, "file_id": entry.get("file_id"),
        "filename": entry.get("filename"), "score": entry.get("score") or 0.0, "text": "\n".join(texts),
    }  # fmt: skip


def _shell_command(asked: str) -> str:
    """Return the command that a prompt spells in quotes or after "run", or else one that harms nobody."""
    spelt = re.search(r"`([^`\n]+)`", asked) or re.search(r"(?i)\b(?:run|execute)\s+(\S.*?)\s+(?:in|on|with)\b", asked)
    return spelt[1] if spelt else asked if re.fullmatch(r"[\w./-]+(?: -\S+)*", asked) else "ls"


def _needs_approval(required: typing.Any, name: str) -> bool:
    """Whether a call has to be approved first, which is so unless the request says otherwise (API reference, MCP)."""
    if isinstance(required, dict):
        never = (required.get("never") or {}).get("tool_names") or []
        return name not in never
    return required != "never"


# ---- code -------------------------------------------------------------------------------------------------------

_PLAIN_SUM = re.compile(r"(?:\d|\()[\d\s.+\-*/()]{0,100}[+\-*/][\d\s.+\-*/()]{0,100}[\d)]")
_RECKONED = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def program_for(asked: str) -> tuple[str, str]:
    """Return Python code for what is asked, and what it prints: a sum's value, or else the words themselves."""
    match = _PLAIN_SUM.search(asked)
    if match:
        try:
            return f"print({match[0]})", str(_value_of(ast.parse(match[0], mode="eval").body))
        except (ArithmeticError, SyntaxError, ValueError):
            pass
    return f"print({json.dumps(asked)})", asked


def _value_of(node: ast.AST) -> float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value_of(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _RECKONED:
        return _RECKONED[type(node.op)](_value_of(node.left), _value_of(node.right))
    raise ValueError("not a sum")
