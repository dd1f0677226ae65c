"""The conversation of a realtime session: its items in order, their sound, and what they ask of an answer.

An item is kept as events show it. Its sound lies beside it, as only `conversation.item.retrieve` shows that. Like a
model's context the conversation is bounded: when there is too much, the oldest items go, and no event tells of that.

Source: OpenAI API reference, "Realtime", "Client events" and "Server events"; the messages of errors as users report
them.
"""

from __future__ import annotations

import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.instrument.script.asked import Line
from protocol.mock.answer.reply import OfferedTool, Question, ToolResult, count_tokens
from protocol.mock.engine.store import memory_size
from protocol.mock.realtime.audio import REALTIME_BYTES_A_MS, decode_sound, encode_sound
from protocol.wire.json_text import JsonObject

#: How many items a conversation has at most, and how many bytes of memory they and their sound take.
MOST_REALTIME_ITEMS = 1000
MOST_REALTIME_BYTES = 32 * 1024 * 1024

# Guide "Managing realtime costs": a token is 100 ms of the user's sound, and 50 ms of the assistant's.
_USER_TOKEN_MS = 100
_ASSISTANT_TOKEN_MS = 50

# Steps (protocol/budget.py): to count the tokens of an item, besides what its words take; and to take a tool.
_ITEM_STEPS = 5
_TOOL_STEPS = 3


class RealtimeUsage(typing.NamedTuple):
    """Tokens of text and of sound."""

    text: int
    audio: int


class RealtimeItems:
    """The items of a conversation, in order."""

    def __init__(self) -> None:
        self._items: list[JsonObject] = []
        self._by_id: dict[str, JsonObject] = {}
        self._sizes: dict[str, int] = {}
        # By the id of an item and the number of a part: its sound and the format of that.
        self._sounds: dict[tuple[str, int], tuple[bytes, str]] = {}
        self._bytes = 0

    def __iter__(self) -> typing.Iterator[JsonObject]:
        return iter(self._items)

    @property
    def held_bytes(self) -> int:
        """How many bytes all of them take, with their sound."""
        return self._bytes

    def size(self, id: str) -> int:
        """Return how many bytes an item takes with its sound, 0 where there is none of that id."""
        return self._sizes.get(id, 0)

    def find(self, id: str) -> JsonObject | None:
        """Return an item, None when there is none of that id."""
        return self._by_id.get(id)

    def previous_id(self, id: str) -> str | None:
        """Return the id of the item before one, None for the first."""
        ids = [item["id"] for item in self._items]
        return ids[ids.index(id) - 1] if id in ids[1:] else None

    def add(self, item: JsonObject, previous_id: str | None = None) -> str | None:
        """Add an item behind that of `previous_id`, by default at the end; "root" stands for the beginning.

        Return the id of the item before it. ApiError 400 when there is no such item, or one of the new id already.
        """
        if item["id"] in self._sizes:
            raise ApiError(
                400, f"Error adding item: an item with id '{item['id']:.100}' already exists.", param="item.id",
                code="item_create_duplicate_id",
            )  # fmt: skip
        at = len(self._items)
        if previous_id == "root":
            at = 0
        elif previous_id is not None:
            if self.find(previous_id) is None:
                raise ApiError(
                    400, f"Error adding item: the previous item with id '{previous_id:.100}' does not exist.",
                    param="previous_item_id", code="item_create_invalid_previous_item_id",
                )  # fmt: skip
            at = [other["id"] for other in self._items].index(previous_id) + 1
        size = memory_size(item)
        self._items.insert(at, item)
        self._by_id[item["id"]] = item
        self._note_size(item["id"], size)
        return self._items[at - 1]["id"] if at else None

    def add_sound(self, item: JsonObject, part: int, sound: bytes, audio_format: str) -> None:
        """Remember the sound of an item's part."""
        self._sounds[item["id"], part] = sound, audio_format
        if item["id"] in self._sizes:
            self._note_size(item["id"], len(sound))

    def _note_size(self, id: str, size: int) -> None:
        self._sizes[id] = self._sizes.get(id, 0) + size
        self._bytes += size
        while len(self._items) > MOST_REALTIME_ITEMS or (self._bytes > MOST_REALTIME_BYTES and len(self._items) > 1):
            self.remove(self._items[0]["id"])

    def remove(self, id: str) -> bool:
        """Forget an item; False when there was none."""
        item = self.find(id)
        if item is None:
            return False
        self._items.remove(item)
        del self._by_id[id]
        self._bytes -= self._sizes.pop(id)
        for part in range(len(item.get("content") or [])):
            self._sounds.pop((id, part), None)
        return True

    def with_sound(self, item: JsonObject) -> JsonObject:
        """Return an item with the sound of its parts, as base64."""
        if not item.get("content"):
            return item
        parts = [
            {**part, "audio": encode_sound(self._sounds[item["id"], number][0])}
            if (item["id"], number) in self._sounds
            else part
            for number, part in enumerate(item["content"])
        ]
        return {**item, "content": parts}

    def sound_ms(self, item: JsonObject, part: int) -> int:
        """Return the length of a part's sound in milliseconds, 0 where it has none."""
        sound, audio_format = self._sounds.get((item["id"], part), (b"", "audio/pcm"))
        return len(sound) // REALTIME_BYTES_A_MS[audio_format]

    def truncate(self, item: JsonObject, part: int, end_ms: int) -> None:
        """Cut the sound of a part, and forget its transcript: which of its words were heard is not known."""
        sound, audio_format = self._sounds[item["id"], part]
        self._sounds[item["id"], part] = sound[: end_ms * REALTIME_BYTES_A_MS[audio_format]], audio_format
        item["content"][part]["transcript"] = ""

    def tokens(self, items: typing.Iterable[JsonObject]) -> RealtimeUsage:
        """Count the tokens of items."""
        text = audio = 0
        for item in items:
            spend_turn(_ITEM_STEPS)
            text += count_tokens(item_words(item))
            token_ms = _ASSISTANT_TOKEN_MS if item.get("role") == "assistant" else _USER_TOKEN_MS
            for number in range(len(item.get("content") or [])):
                audio += -(-self.sound_ms(item, number) // token_ms)
        return RealtimeUsage(text, audio)


def take_item(item: JsonObject, id: str, audio_format: str) -> tuple[JsonObject, dict[int, bytes]]:
    """Return a client's item as it is kept, and the sound of its parts; ApiError 400 for sound that is not base64."""
    kept = {
        "id": item.get("id") or id,
        "object": "realtime.item",
        **{name: item[name] for name in item if name != "id"},
    }
    kept["status"] = item.get("status") or "completed"
    sounds: dict[int, bytes] = {}
    if type(item.get("content")) is list:
        kept["content"] = [dict(part) for part in item["content"]]
        for number, part in enumerate(kept["content"]):
            audio = part.pop("audio", None)
            if audio:
                sounds[number] = decode_sound(audio)
            if part.get("type") in ("input_audio", "output_audio"):
                part.setdefault("transcript", None)
    if item.get("type") == "function_call":
        kept["call_id"] = item.get("call_id") or id.replace("item_", "call_")
    return kept, sounds


def item_words(item: JsonObject) -> str:
    """Return all words of an item."""
    content = item.get("content") or []
    words = [part.get("text") or part.get("transcript") or "" for part in content]
    words += [item.get(name) or "" for name in ("name", "arguments", "output")]
    return " ".join(word for word in words if word)


def realtime_question(items: typing.Sequence[JsonObject], asked: JsonObject, seed: int) -> Question:
    """Return what items ask of an answer; `asked` has the session's `tools`, `tool_choice` and `instructions`."""
    last = max((at for at, item in enumerate(items) if item.get("role") == "user"), default=-1)
    names = {item.get("call_id"): item.get("name") or "" for item in items if item.get("type") == "function_call"}
    results = [
        ToolResult(names.get(item.get("call_id"), ""), item.get("output") or "")
        for item in items[last + 1 :]
        if item.get("type") == "function_call_output"
    ]
    choice, named = _realtime_choice(asked.get("tool_choice"))
    return Question(
        item_words(items[last]) if last >= 0 else "", _realtime_tools(asked.get("tools")), choice, named,
        asked.get("parallel_tool_calls") is not False, results, seed=seed, instructions=asked.get("instructions") or "",
    )  # fmt: skip


def realtime_lines(items: typing.Sequence[JsonObject], instructions: str) -> typing.Iterator[Line]:
    """Yield what a conversation says, as a script sees it. All items of one response are one turn of the model's."""
    if instructions:
        yield Line("system", instructions)
    names: dict[typing.Any, str] = {}
    for item in items:
        kind, role = item.get("type"), item.get("role")
        if kind == "function_call":
            names[item.get("call_id")] = item.get("name") or ""
            yield Line("assistant", "")
        elif kind == "function_call_output":
            yield Line("tool", item.get("output") or "", names.get(item.get("call_id"), ""))
        else:
            yield Line(role if role in ("user", "assistant") else "system", item_words(item))


def _realtime_tools(tools: typing.Any) -> list[OfferedTool]:
    """Return the functions among tools. The tools of MCP servers are left out: the mock does not connect to them."""
    offered = []
    for tool in tools or []:
        spend_turn(_TOOL_STEPS)
        if tool.get("name") and tool.get("type") in (None, "function"):
            offered.append(OfferedTool(tool["name"], tool.get("description") or "", tool.get("parameters"), "function"))
    return offered


def _realtime_choice(choice: typing.Any) -> tuple[str, str]:
    if type(choice) is dict:
        return ("required", choice.get("name") or "") if choice.get("type") == "function" else ("auto", "")
    # In the older form of the API a function's name stands by itself.
    return (choice, "") if choice in ("none", "auto", "required") else ("required", choice) if choice else ("auto", "")
