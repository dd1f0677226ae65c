"""How an answer is timed, as whoever answers sees it: what it takes is loaded with the first answer at a pace."""

from __future__ import annotations

import typing

from protocol.exchange import Pushed, Response

_Thing = typing.TypeVar("_Thing")


class Pace(typing.Protocol):
    """A [pace NAME]: protocol/mock/pace/pace.py."""

    @property
    def knows_prompts(self) -> bool:
        """Whether it matters what stands in a prompt, and not only how long it is."""

    def moment(self, key: bytes, words: typing.Sequence[str], tokens: int, came_at: float = 0.0) -> Moment:
        """Return how an answer is timed, to a prompt of so many tokens; `words` are those if it `knows_prompts`.

        `came_at` is when its request came (Request); without it, that is now.
        """

    def gaps(self, moment: Moment) -> typing.Iterator[float]:
        """Yield the seconds before each word of an answer, for as many words as anybody asks for."""

    def stream(self, frames: typing.Sequence[bytes], moment: Moment) -> Pushed:
        """Return a body whose frames leave when they are due; ApiError 429 where too many wait."""

    def after(self, answer: _Thing, words: int, moment: Moment) -> typing.Awaitable[_Thing]:
        """Return an answer when its last word is due; ApiError 429 where too many wait."""


class Moment(typing.NamedTuple):
    """How an answer is timed, at which pace: seconds to its first word, and the key by which the others are drawn.

    `cached_tokens` are those of the prompt that need not be worked out. The seconds begin at `began`, in the pacer's
    time.
    """

    pace: Pace
    key: bytes
    first: float
    cached_tokens: int
    began: float


class Timing(typing.Protocol):
    """What lets answers take their time: protocol/mock/engine/time_and_chance.py."""

    def stream(self, frames: list[bytes], moment: Moment | None = None) -> Response:
        """Return a stream of events; each frame is sent when its word is due."""

    def after_words(
        self, answer: _Thing, words: int, moment: Moment | None = None
    ) -> _Thing | typing.Awaitable[_Thing]:
        """Return an answer, or one that waits as long as a stream of so many words would take."""
