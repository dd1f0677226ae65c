"""Calls of tools in the Responses API: the items that they become.

Functions and custom tools are the client's to run. The others are OpenAI's own. Their results are real as far as the
mock can make them (it searches its vector stores, it draws, it computes sums), and made up where it cannot.
"""

from __future__ import annotations

import base64
import re
import typing

from protocol.mock.answer.command import told_command
from protocol.mock.answer.reply import ToolCall
from protocol.mock.engine.world import World
from protocol.mock.media.picture import PICTURE_FORMATS, picture_file
from protocol.mock.responses.program import program_for
from protocol.mock.responses.toolbox import MCP_TOOL_PARAMETERS, Offer, mcp_tool_names
from protocol.wire.json_text import JsonObject

_MOST_FOUND = 50


class ToolCaller:
    """Makes the items of calls. Searches and containers are those that the world remembers."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._makers: dict[str, typing.Callable[[Offer, ToolCall], JsonObject]] = {
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

    def item(self, offer: Offer, call: ToolCall) -> JsonObject:
        """Return the item of a call."""
        return self._makers[offer.kind](offer, call)

    def _function(self, offer: Offer, call: ToolCall) -> JsonObject:
        item = {
            "id": self._world.new_id("fc_"), "type": "function_call", "status": "completed",
            "arguments": call.arguments, "call_id": self._world.new_id("call_"), "name": call.name,
        }  # fmt: skip
        return {**item, "namespace": offer.namespace} if offer.namespace else item

    def _custom(self, offer: Offer, call: ToolCall) -> JsonObject:
        item = {
            "id": self._world.new_id("ctc_"), "type": "custom_tool_call", "status": "completed",
            "call_id": self._world.new_id("call_"), "input": call.arguments, "name": call.name,
        }  # fmt: skip
        return {**item, "namespace": offer.namespace} if offer.namespace else item

    # ---- searching ----------------------------------------------------------------------------------------------

    def _file_search(self, offer: Offer, call: ToolCall) -> JsonObject:
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

    def _web_search(self, offer: Offer, call: ToolCall) -> JsonObject:
        slug = "-".join(re.findall(r"\w+", call.arguments.lower())[:8]) or "search"
        action = {
            "type": "search", "query": call.arguments, "queries": [call.arguments],
            "sources": [{"type": "url", "url": f"https://example.com/{slug}"}],
        }  # fmt: skip
        return {"id": self._world.new_id("ws_"), "type": "web_search_call", "status": "completed", "action": action}

    # ---- making -------------------------------------------------------------------------------------------------

    def _code(self, offer: Offer, call: ToolCall) -> JsonObject:
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

    def _image(self, offer: Offer, call: ToolCall) -> JsonObject:
        asked = offer.spec
        sides = re.fullmatch(r"(\d{1,4})x(\d{1,4})", str(asked.get("size")))
        width, height = (int(sides[1]), int(sides[2])) if sides else (1024, 1024)
        size = sides[0] if sides else "1024x1024"
        form = str(asked.get("output_format"))
        form = form if form in PICTURE_FORMATS else "png"
        picture = picture_file(call.arguments, width, height, picture_format=form)
        return {
            "id": self._world.new_id("ig_"), "type": "image_generation_call", "status": "completed",
            "action": "generate", "background": _picked(asked.get("background"), "opaque"), "output_format": form,
            "quality": _picked(asked.get("quality"), "high"), "revised_prompt": call.arguments, "size": size,
            "result": base64.b64encode(picture).decode(),
        }  # fmt: skip

    # ---- on the client's machine --------------------------------------------------------------------------------

    def _computer(self, offer: Offer, call: ToolCall) -> JsonObject:
        item: JsonObject = {
            "id": self._world.new_id("cu_"), "type": "computer_call", "status": "completed",
            "call_id": self._world.new_id("call_"), "pending_safety_checks": [],
        }  # fmt: skip
        action = {"type": "screenshot"}
        # A call of the tool's newer form has a list of actions.
        return {**item, "actions": [action]} if offer.spec.get("type") == "computer" else {**item, "action": action}

    def _shell(self, offer: Offer, call: ToolCall) -> JsonObject:
        return {
            "id": self._world.new_id("sh_"), "type": "shell_call", "status": "completed",
            "call_id": self._world.new_id("call_"),
            "action": {"commands": [_shell_command(call.arguments)], "timeout_ms": None, "max_output_length": None},
            "environment": None,
        }  # fmt: skip

    def _local_shell(self, offer: Offer, call: ToolCall) -> JsonObject:
        action = {"type": "exec", "command": ["bash", "-lc", _shell_command(call.arguments)], "env": {}}
        return {
            "id": self._world.new_id("lsh_"), "type": "local_shell_call", "status": "completed",
            "call_id": self._world.new_id("call_"), "action": action,
        }  # fmt: skip

    def _patch(self, offer: Offer, call: ToolCall) -> JsonObject:
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
        """Return the item that lists the tools of an MCP server."""
        tools = [
            {"name": name, "description": None, "annotations": None, "input_schema": MCP_TOOL_PARAMETERS}
            for name in mcp_tool_names(server)
        ]
        label = server.get("server_label")
        return {"id": self._world.new_id("mcpl_"), "type": "mcp_list_tools", "server_label": label, "tools": tools}

    def _mcp(self, offer: Offer, call: ToolCall) -> JsonObject:
        label = offer.spec.get("server_label")
        if _needs_approval(offer.spec.get("require_approval"), call.name):
            return {
                "id": self._world.new_id("mcpr_"), "type": "mcp_approval_request", "arguments": call.arguments,
                "name": call.name, "server_label": label,
            }  # fmt: skip
        return self.approved({"arguments": call.arguments, "name": call.name, "server_label": label}, None)

    def approved(self, request: JsonObject, request_id: str | None) -> JsonObject:
        """Return the call of an MCP server's tool that the client approved, or that needs no approval."""
        return {
            "id": self._world.new_id("mcp_"), "type": "mcp_call", "status": "completed",
            "approval_request_id": request_id, "arguments": request["arguments"], "error": None,
            "name": request["name"], "output": self._world.settings.text, "server_label": request["server_label"],
        }  # fmt: skip


def _picked(value: typing.Any, default: str) -> str:
    return default if value in (None, "auto") else value


def _search_result(entry: JsonObject) -> JsonObject:
    """Return a result of a vector store's search in the form of a file search."""
    texts = [part.get("text", "") for part in entry.get("content") or []]
    return {
        "attributes": entry.get("attributes") or {}, "file_id": entry.get("file_id"),
        "filename": entry.get("filename"), "score": entry.get("score") or 0.0, "text": "\n".join(texts),
    }  # fmt: skip


def _shell_command(asked: str) -> str:
    """Return the command in a prompt; else the prompt if it looks like one, or ls."""
    return told_command(asked) or (asked if re.fullmatch(r"[\w./-]+(?: -\S+)*", asked) else "ls")


def _needs_approval(required: typing.Any, name: str) -> bool:
    """Whether the client must approve a call first, as it must by default (API reference, "MCP")."""
    if isinstance(required, dict):
        never = (required.get("never") or {}).get("tool_names") or []
        return name not in never
    return required != "never"
