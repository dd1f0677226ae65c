"""The tools that a request of the Responses API offers, and the choice between them that it leaves."""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.mock.answer.reply import OfferedTool
from protocol.mock.unchecked import objects_of, strings_of
from protocol.wire.json_text import JsonObject

# OpenAI's own tools by type: the name under which one is called, and what prompts that ask for it speak of.
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
#: Tools whose calls the server makes itself; the answer goes on after them.
SERVED_TOOLS = frozenset(["file_search", "web_search", "code_interpreter", "image_generation", "mcp"])

# The kind of a tool whose input is a text: the prompt's own words.
_FREE_TEXT = "custom"
#: The parameters of every tool of an MCP server: the mock does not ask the server for the true ones.
MCP_TOOL_PARAMETERS = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}


class Offer(typing.NamedTuple):
    """A tool that a request offers.

    `kind` is "function", "custom", "mcp", or the name of one of OpenAI's own tools. `spec` is the tool as the request
    describes it.
    """

    tool: OfferedTool
    kind: str
    spec: JsonObject
    namespace: str = ""


class Toolbox:
    """The tools that a request offers; `choice` and `named` say which of them to call, as in a Question."""

    def __init__(self, tools: typing.Any, choice: typing.Any) -> None:
        self._offers = [offer for spec in objects_of(tools) for offer in _offers_of(spec)]
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

    def find(self, name: str) -> Offer | None:
        """Return the tool of that name, None when it is not offered."""
        return self._by_name.get(name)

    def called(self, name: str) -> Offer:
        """Return the tool of that name, which is offered."""
        return self._by_name[name]

    def _choose(self, choice: typing.Any) -> None:
        if isinstance(choice, str):
            self.choice = choice
        elif isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            allowed = [_wanted(tool) for tool in objects_of(choice.get("tools"))]
            self._offers = [offer for offer in self._offers if any(_is_chosen(offer, kind) for kind in allowed)]
            self.choice = choice.get("mode") or "auto"
        elif isinstance(choice, dict):
            self.named = self._name_of(_wanted(choice))

    def _name_of(self, wanted: JsonObject) -> str:
        """Return the name of the first tool that fits a choice; ApiError 400 where none does."""
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


def _is_chosen(offer: Offer, wanted: JsonObject) -> bool:
    return (
        offer.kind == wanted["kind"]
        and wanted["name"] in (None, offer.tool.name)
        and (offer.kind != "mcp" or wanted["server"] == offer.spec.get("server_label"))
    )


def _offers_of(spec: JsonObject) -> list[Offer]:
    kind, name = spec.get("type"), spec.get("name")
    if kind == "namespace":
        inner = [offer for tool in objects_of(spec.get("tools")) for offer in _offers_of(tool)]
        return [offer._replace(namespace=str(name or "")) for offer in inner]
    if kind in ("function", "custom") and isinstance(name, str):
        tool = OfferedTool(name, spec.get("description") or "", spec.get("parameters"), kind)
        return [Offer(tool, kind, spec)]
    if kind == "mcp":
        described = str(spec.get("server_description") or spec.get("server_label") or "")
        return [Offer(OfferedTool(one, described, MCP_TOOL_PARAMETERS), "mcp", spec) for one in mcp_tool_names(spec)]
    if isinstance(kind, str) and kind in _HOSTED_TOOLS:
        name, described = _HOSTED_TOOLS[kind]
        return [Offer(OfferedTool(name, described, None, _FREE_TEXT), name, spec)]
    return []


def mcp_tool_names(spec: JsonObject) -> list[str]:
    """Return the names of an MCP server's tools: those that the request allows, or one that most servers have."""
    allowed = spec.get("allowed_tools")
    if isinstance(allowed, dict):
        allowed = allowed.get("tool_names")
    return strings_of(allowed) or ["search"]
