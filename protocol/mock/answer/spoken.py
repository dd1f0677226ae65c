"""What a script says to a request, for every family that makes words: the seam between them and the instrument."""

from __future__ import annotations

import typing

from protocol.budget import Budget, is_in_turns
from protocol.exchange import Request
from protocol.instrument.script.asked import Asked, Talk
from protocol.instrument.script.said import Said, SaidCall
from protocol.mock.answer.cost import answer_budget, budget_at_once
from protocol.mock.answer.reply import OfferedTool, Reply, Told, ToolCall
from protocol.wire.json_text import JsonObject


class _Take(typing.Protocol):
    """What the instrument knows of a request (protocol/instrument/take.py)."""

    @property
    def is_scripted(self) -> bool:
        """Whether there is a script."""

    def answer_for(self, asked: Asked, budget: Budget) -> Said | None:
        """Return what the script says, None where it says nothing; ApiError where it says so."""

    def note(self, text: str) -> None:
        """Write something into the journal."""


class Caller(typing.NamedTuple):
    """Who asks for answers, also long after his request has been answered: of the request no more is kept than this."""

    take: _Take
    header: typing.Callable[[str], str]
    key: str


def caller_of(request: Request | None) -> Caller | None:
    """Return who has sent a request, None where no instrument knows of it."""
    if request is None or request.take is None:
        return None
    return Caller(typing.cast(_Take, request.take), request.fields.get, request.key)


class Speaker:
    """Asks the script for one answer, once: work that begins anew gets the same again.

    `endpoint` is the place's name (protocol/instrument/script/places.py), `body` what the request says in JSON.
    """

    __slots__ = ("_asked", "_reply", "_take")

    def __init__(
        self, caller: Caller, endpoint: str, body: JsonObject, *, model: str = "", is_socket: bool = False
    ) -> None:
        self._take = caller.take
        named = model or body.get("model")
        self._asked: Asked | None = Asked(
            endpoint, model=named if isinstance(named, str) else "", header=caller.header, key=caller.key,
            stream=body.get("stream") is True, body=body, is_socket=is_socket,
        )  # fmt: skip
        self._reply: Reply | None = None

    def reply(
        self, talk: typing.Callable[[], Talk], tools: typing.Sequence[OfferedTool], budget: Budget
    ) -> Reply | None:
        """Return what the script says, None where it says nothing.

        ApiError for what it has instead of an answer, and BudgetSpent where it costs too much to find out.
        """
        asked = self._asked
        if asked is not None:
            offered = [tool.name for tool in tools]
            said = self._take.answer_for(asked._replace(talk=talk(), tools=offered), budget)
            self._asked = None
            self._reply = None if said is None else _reply(said, tools)
        return self._reply

    def note(self, text: str) -> None:
        """Write into the journal what could not be said."""
        self._take.note(text)


def speaker_for(
    caller: Caller | None, endpoint: str, body: JsonObject, *, model: str = "", is_socket: bool = False
) -> Speaker | None:
    """Return who asks the script for an answer, None where there is no script."""
    if caller is None or not caller.take.is_scripted:
        return None
    return Speaker(caller, endpoint, body, model=model, is_socket=is_socket)


def scripted_text(request: Request | None, endpoint: str, body: JsonObject, asked: typing.Any) -> str | None:
    """Return the text that the script has for a request that is no talk, None where it has none.

    `asked` is what the request says in words: a text, or texts. ApiError for what the script has instead of an answer.
    """
    texts = [asked] if isinstance(asked, str) else asked if isinstance(asked, list) else []
    told = {name: value for name, value in body.items() if isinstance(value, (str, int, float, list, dict))}
    speaker = speaker_for(caller_of(request), endpoint, told)
    if speaker is None:
        return None
    user = "\n".join(text for text in texts if isinstance(text, str))
    budget = answer_budget() if is_in_turns() else budget_at_once()
    made = speaker.reply(lambda: Talk(user, texts=[user]), (), budget)
    return None if made is None else made.text


def _reply(said: Said, tools: typing.Sequence[OfferedTool]) -> Reply:
    kinds = {tool.name: tool.kind for tool in tools}
    parts: list[str | ToolCall] = [
        ToolCall(part.name, part.arguments, kinds.get(part.name, "function"), part.id)
        if isinstance(part, SaidCall)
        else part
        for part in said.parts
    ]
    text = "".join(part for part in parts if isinstance(part, str))
    calls = [part for part in parts if isinstance(part, ToolCall)]
    return Reply(text, calls, Told(parts, said.reasoning, said.refusal, said.finish, said.usage))
