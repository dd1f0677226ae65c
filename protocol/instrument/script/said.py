"""What a script says: an answer that is filled in, as whoever asked gets it."""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.openai.scripted_usage import ScriptedUsage


class SaidCall(typing.NamedTuple):
    """A call of a tool. `arguments` is as the script has it, JSON or not; `id` is "" where the script has none."""

    name: str
    arguments: str
    id: str = ""


class Said(typing.NamedTuple):
    """What one answer says. `parts` are texts and calls in the order in which they come; `finish` is "" where open."""

    parts: typing.Sequence[str | SaidCall] = ()
    reasoning: str = ""
    refusal: str = ""
    finish: str = ""
    usage: ScriptedUsage | None = None


class WholeAnswer(ApiError):
    """An answer that nothing is made of here: `response` is what goes to the client, as it is.

    Over a WebSocket it is an error: there is no room for an HTTP answer.
    """

    def __init__(self, response: Response) -> None:
        super().__init__(500, "The script has a whole HTTP answer for this, which cannot be told here.")
        self.response = response


class RoutedAnswer(ApiError):
    """An answer that another backend gives: `backend` is its name. Who cannot ask it tells this error."""

    def __init__(self, backend: str) -> None:
        super().__init__(500, f"The script lets the backend '{backend}' answer this, which cannot be asked here.")
        self.backend = backend
