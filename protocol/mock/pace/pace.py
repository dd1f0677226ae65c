"""A pace: when each word of an answer is due.

Theory of operation. A request gets a Moment, which says how its answer is timed: how long until the first word (what is
drawn, and the prompt's tokens that are not cached), and what lies between the further ones. Then its answer enters the
slots. From when it has one, all its times are fixed, and a word that leaves late does not make the next one late. A
stream is a body that sends itself, a plain answer is waited for until its last word would be due. The slot is free
when the last word was due, or at once when the client leaves. Whoever makes words one by one asks for the gaps between
them, and has no slot.
"""

from __future__ import annotations

import array
import asyncio
import itertools
import typing

from protocol.decided import seconds_moved_on
from protocol.errors import UsageError
from protocol.exchange import Pushed
from protocol.mock.drawn import read_drawn
from protocol.mock.pace.draws import Draws, make_draws
from protocol.mock.pace.moment import Moment
from protocol.mock.pace.prefix_cache import PrefixCache
from protocol.mock.pace.slots import Slots
from protocol.mock.settings import PaceSettings
from protocol.pacer import Pacer
from protocol.timed import PacedFrames

# As many draws as one hash gives.
_GAPS_AT_ONCE = 16

_Thing = typing.TypeVar("_Thing")


class Pace:
    """Times answers as [pace NAME] says; UsageError for a file that cannot be used.

    `make_pacer` gives the timers of the running loop. They are made with the first answer.
    """

    def __init__(self, name: str, settings: PaceSettings, make_pacer: typing.Callable[[], Pacer]) -> None:
        self._first = _draws(name, settings, "first")
        self._between = _draws(name, settings, "between")
        self._prefill = settings.prefill
        self._cache = PrefixCache(settings.cache_blocks) if settings.cache_blocks else None
        self.slots = Slots(settings.slots, settings.queue)
        self._make_pacer = make_pacer

    @property
    def knows_prompts(self) -> bool:
        """Whether it matters what stands in a prompt, and not only how long it is."""
        return self._cache is not None

    def moment(self, key: bytes, words: typing.Sequence[str], tokens: int, came_at: float = 0.0) -> Moment:
        """Return how an answer is timed, to a prompt of so many tokens; `words` are those if it `knows_prompts`.

        Its time begins when its request came (`came_at`, in the loop's time; now without it), or before the clock was
        moved on meanwhile: code that the first answer of a kind waits for is part of the time to its first word.
        """
        cached = self._cache.take(words) if self._cache is not None else 0
        first = self._first.one(b"first" + key) + self._prefill * max(0, tokens - cached)
        pacer = self._make_pacer()
        began = pacer.at(came_at) if came_at else pacer.time()
        return Moment(self, key, first, cached, began - seconds_moved_on())

    def times(self, moment: Moment, count: int) -> typing.Sequence[float]:
        """Return when each of so many words is due, in seconds after the start."""
        gaps = self._between.several(b"between" + moment.key, max(0, count - 1))
        # No list: a collector would look through it, for milliseconds where thousands of streams have begun.
        return array.array("d", itertools.accumulate([moment.first, *gaps]))

    def gaps(self, moment: Moment) -> typing.Iterator[float]:
        """Yield the seconds before each word of an answer, for as many words as anybody asks for."""
        yield moment.first
        for batch in itertools.count():
            yield from self._between.several(b"between %d" % batch + moment.key, _GAPS_AT_ONCE)

    def stream(self, frames: typing.Sequence[bytes], moment: Moment) -> Pushed:
        """Return a body whose frames leave when they are due; ApiError 429 where too many wait for a slot."""
        stream = PacedStream(frames, self.times(moment, len(frames)), self.slots, self._make_pacer())
        self.slots.enter(stream, moment.began)
        return stream

    async def after(self, answer: _Thing, words: int, moment: Moment) -> _Thing:
        """Return an answer when its last word is due; ApiError 429 where too many wait for a slot."""
        pacer = self._make_pacer()
        pause = Pause(self.times(moment, max(1, words))[-1], pacer)
        self.slots.enter(pause, moment.began)
        try:
            await pause.over
        except asyncio.CancelledError:
            self.slots.leave(pause, pacer.time())
            raise
        self.slots.leave(pause, pause.ends_at)
        return answer


def _draws(name: str, settings: PaceSettings, option: str) -> Draws:
    text: str = getattr(settings, option)
    try:
        return make_draws(read_drawn(text), option)
    except ValueError as exc:
        raise UsageError(f"[pace {name}] {option} = {text}: {exc}") from exc


class Pause:
    """The time until a plain answer: `over` is done when it has passed."""

    def __init__(self, seconds: float, pacer: Pacer) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ends_at = float("inf")
        self._seconds = seconds
        self._pacer = pacer

    def start(self, when: float) -> None:
        """Have a slot from `when` on (Waiting)."""
        self.ends_at = when + self._seconds
        self._pacer.add(self.ends_at, self)

    def send_due(self, by: float) -> None:
        """Learn that it is over; called by the pacer."""
        if not self.over.done():
            self.over.set_result(None)


class PacedStream(PacedFrames):
    """A stream that is in the slots from the beginning, and starts when it has one."""

    __slots__ = ("_slots",)

    def __init__(
        self, frames: typing.Sequence[bytes], times: typing.Sequence[float], slots: Slots, pacer: Pacer
    ) -> None:
        super().__init__(frames, times, pacer)
        self._slots = slots

    def leave(self, when: float) -> None:
        """Give the slot back."""
        self._slots.leave(self, when)
