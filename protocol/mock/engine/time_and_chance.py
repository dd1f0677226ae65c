"""The mock's time, its chance, and the pace of its words: what even the shortest answer needs.

Whatever else the parts of the mock share is in world.py, which a mock that only chats never loads.

`freeze = yes` makes two runs of the same scenario equal to the byte: the time that answers tell stands still, and ids
come from a seed, or, where nothing is kept of a request, from the request (protocol/mock/repeating.py). Life cycles go
on all the same, by a clock of their own that `speed` makes faster.
"""

from __future__ import annotations

import asyncio
import random
import typing

from protocol.decided import by_request, decided_pace, drawn_bits, seconds_moved_on
from protocol.exchange import Paced, Request, Response
from protocol.mock.pace.moment import Moment, Pace
from protocol.mock.settings import MockSettings, PaceSettings
from protocol.on_demand import load
from protocol.openai.answers import EVENT_STREAM_FIELDS
from protocol.pacer import Pacer
from protocol.wire.gathering import joined
from protocol.wire.json_text import JsonObject

#: The time that is told when time stands still: 2024-01-01 00:00 UTC.
FROZEN_SECONDS = 1704067200

_ID_BITS = 96

_Thing = typing.TypeVar("_Thing")
Plan = typing.List[typing.Tuple[float, typing.Callable[[_Thing], object]]]


class _Keys(typing.Protocol):
    def next(self, body: bytes) -> bytes: ...


class _Lengths(typing.Protocol):
    def text(self, body: JsonObject, key: bytes) -> str: ...


class TimeAndChance:
    """Tells the time, makes ids, and paces answers, as `settings` say.

    `clock` gives seconds since the epoch, `random_bits(n)` an integer of n random bits, `sleep` waits for seconds.
    `seed` stands for the one of the settings where it is given.
    `find_pace` returns the settings of a [pace NAME], UsageError for one that is not there.
    """

    def __init__(
        self,
        settings: MockSettings,
        *,
        seed: str = "",
        clock: typing.Callable[[], float],
        random_bits: typing.Callable[[int], int],
        sleep: typing.Callable[[float], typing.Awaitable[object]],
        find_pace: typing.Callable[[str], PaceSettings] | None = None,
    ) -> None:
        self.settings = settings
        #: Whether words take time.
        self.is_paced = bool(settings.delay or settings.first_delay)
        own_bits = random_bits
        seed = seed or settings.seed
        if seed or settings.freeze:
            own_bits = random.Random(seed or "oaiserve").getrandbits
        self._own_bits = own_bits
        self.random_bits = by_request(own_bits)
        self.sleep = sleep
        self._clock = clock
        # When the change of a plan was due that is being made, in the seconds of `clock`; None between changes.
        self._moment: float | None = None
        #: What all that is drawn comes from, "" for chance.
        self.seed = seed or ("oaiserve" if settings.freeze else "")
        self._keys: _Keys | None = None
        self._lengths: _Lengths | None = None
        self._pacer: Pacer | None = None
        self._find_pace = find_pace
        #: Whether the configured text is what most answers say, at the delays that the settings have.
        self.is_plain = not settings.pace and settings.length == "text"
        self._pace = self._make_pace(settings.pace) if settings.pace else None
        # Those of a script's rules, by name.
        self._paces: dict[str, Pace] = {}
        #: Whether the configured text is what most answers say, and their usage is as it was.
        self.says_text = settings.length == "text" and (self._pace is None or not self._pace.knows_prompts)

    # ---- time and chance ----------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return the time to tell, in seconds since the epoch. While a change is made, that is when it was due."""
        if self.settings.freeze:
            return FROZEN_SECONDS
        moment = self._moment
        return int(self._clock() if moment is None or not self.settings.speed else moment / self.settings.speed)

    def clock(self) -> float:
        """Return the seconds by which life cycles go: real ones times the setting `speed`."""
        moment = self._moment
        return self._clock() * self.settings.speed if moment is None else moment

    def make_due_changes(self, plan: Plan[_Thing], thing: _Thing) -> None:
        """Take the changes that are due off a plan and make them, each in the time at which it was due.

        A plan is pairs of the seconds of `clock` and a change of the thing, in the order of time.
        """
        now, before = self.clock(), self._moment
        try:
            while plan and plan[0][0] <= now:
                self._moment, change = plan.pop(0)
                change(thing)
        finally:
            self._moment = before

    def new_id(self, prefix: str) -> str:
        """Return an id that nothing else has."""
        # As ":024x" gives them, in 0.13 instead of 0.31 µs (CPython 3.11).
        return prefix + (drawn_bits.get() or self._own_bits)(_ID_BITS).to_bytes(_ID_BITS // 8, "big").hex()

    async def pass_time(self, seconds: float) -> None:
        """Wait for so many seconds of `clock`: for ever where `speed` is 0."""
        if not self.settings.speed:
            await asyncio.get_running_loop().create_future()
        await self.sleep(seconds / self.settings.speed)

    # ---- the pace of answers ------------------------------------------------------------------------------------

    def stream(self, frames: typing.Sequence[bytes], moment: Moment | None = None) -> Response:
        """Return a stream of events; each frame is sent when its word is due."""
        settings = self.settings
        pace = self._current_pace()
        if pace is not None:
            moment = moment or pace.moment(self.key_of(b"%d" % len(frames)), (), 0)
            return Response(200, EVENT_STREAM_FIELDS, moment.pace.stream(frames, moment))
        if not self.is_paced:
            frames = [joined(list(frames))]  # once: some make each frame when it is asked for
        return Response(200, EVENT_STREAM_FIELDS, Paced(frames, first_delay=settings.first_delay, delay=settings.delay))

    def after_words(
        self, answer: _Thing, words: int, moment: Moment | None = None
    ) -> _Thing | typing.Awaitable[_Thing]:
        """Return an answer, or one that waits as long as a stream of so many words would take."""
        pace = self._current_pace()
        if pace is not None:
            moment = moment or pace.moment(self.key_of(b"%d" % words), (), 0)
            return moment.pace.after(answer, words, moment)
        if not self.is_paced:
            return answer
        settings = self.settings
        return self._later(answer, settings.first_delay + settings.delay * max(0, words - 1))

    def waits(self) -> typing.Iterator[float]:
        """Yield how many seconds to wait before each word of an answer whose words are made one by one.

        At a pace they are due at times that are fixed: who came late to a word does not wait as long for the next.
        """
        pace = self._current_pace()
        if pace is None:
            yield self.settings.first_delay
            while True:
                yield self.settings.delay
        due = self._clock()
        for gap in pace.gaps(pace.moment(self.key_of(b"one by one"), (), 0)):
            due += gap
            yield max(0.0, due - self._clock())

    async def _later(self, answer: _Thing, seconds: float) -> _Thing:
        await self.sleep(max(0.0, seconds - seconds_moved_on()))
        return answer

    @property
    def takes_time(self) -> bool:
        """Whether the words of the answer under way take time."""
        return self.is_paced or self._current_pace() is not None

    # ---- paces and lengths ----------------------------------------------------------------------------------------

    def key_of(self, said: bytes) -> bytes:
        """Return the key by which all is drawn for a request that says this; it counts, unless `freeze`, how often."""
        if self._keys is None:
            (request_keys,) = load("mock draws")
            seed = self.seed.encode() or self.random_bits(128).to_bytes(16, "little")
            self._keys = typing.cast(_Keys, request_keys(seed, repeats=self.settings.freeze))
        return self._keys.next(said)

    def moment(
        self, key: bytes, read_words: typing.Callable[[], typing.Sequence[str]], tokens: int, came_at: float
    ) -> Moment | None:
        """Return how the answer to a prompt of so many tokens is timed, whose request came then; None at no pace."""
        pace = self._current_pace()
        if pace is None:
            return None
        words = read_words() if pace.knows_prompts else ()
        return pace.moment(key or self.key_of(b"%d" % tokens), words, tokens, came_at)

    def text(self, body: JsonObject, key: bytes) -> str:
        """Return what the answer to a request says, which is as long as the settings and the request want it."""
        settings = self.settings
        if settings.length == "text" and "ignore_eos" not in body and "min_tokens" not in body:
            return settings.text
        if self._lengths is None:
            (lengths,) = load("mock lengths")
            self._lengths = typing.cast(_Lengths, lengths(settings.length, settings.text))
        return self._lengths.text(body, key)

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once for words on their way (Follower)."""
        if self._pacer is not None:
            self._pacer.advance(seconds)

    def pacer(self) -> Pacer:
        """Return the timers of the running loop."""
        if self._pacer is None:
            self._pacer = Pacer(asyncio.get_running_loop())
        return self._pacer

    def _current_pace(self) -> Pace | None:
        """Return the pace at which the request under way is answered, None without one."""
        name = decided_pace.get()
        if not name:
            return self._pace
        pace = self._paces.get(name)
        if pace is None:
            pace = self._paces[name] = self._make_pace(name)
        return pace

    def _make_pace(self, name: str) -> Pace:
        (pace,) = load("mock pace")
        assert self._find_pace is not None, "whoever names a pace says where they are"
        return typing.cast(Pace, pace(name, self._find_pace(name), self.pacer))


def arrival_of(request: Request | None) -> float:
    """Return when a request came, 0 for one that came as a line of a file."""
    return 0.0 if request is None else request.came_at
