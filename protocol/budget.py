"""What one request may cost: work counted where it loops, refused when it is too much, interrupted when it is long.

A server with one loop answers nobody else while it works for one. So a loop that a client's bytes drive charges a
Budget for each round, and the work ends when the budget is spent, whatever the bytes say. A step stands for about a
microsecond of one processor. Steps are counted and no clock is read: the same request costs the same everywhere. While
all others wait for it, a request should not cost more than 50,000 steps.

Work that may rightly take longer is done in turns (protocol/turns.py): it stops for a while every few thousand steps,
and all others are answered meanwhile. The same Budget sees to that, where it is made with `pauses`. The server does so
with every request whose body is long; other long work is given to `in_turns`.

All loops of one work share its turns. Only a Budget that `pauses` ends them, or `let_others_go_first`, or `spend_turn`.

How to charge: a round of a small loop is one step; a call into C over many bytes is one step for as many bytes as it
takes in a microsecond (a thousand where it copies or searches, fifty where it parses). No call into C can be
interrupted. So what it is given has a bound of its own, or comes in pieces.
"""

from __future__ import annotations

import threading
import typing

from protocol.errors import ApiError

#: What work in turns does before it lets the others have theirs: about 5 ms.
STEPS_A_TURN = 5_000

# How often a budget that pauses looks whether the turn is over. All budgets of one work share the turn.
_STEPS_A_LOOK = 500


class BudgetSpent(ApiError):
    """The work costs more than it may: a 400 for the client, or the sign to be content with a shorter answer."""


class Budget:
    """So many steps for one piece of work.

    `work` names it for the client, as a noun that begins a sentence: "The schema of 'response_format'". `param` is the
    parameter at fault (ApiError).

    `pauses` says that others may be answered in the middle of the work. Work that changes what others see, or goes
    through a collection that they change, must not pause. Where the work is not done in turns, `pauses` does nothing.
    """

    __slots__ = ("_left", "_next_look", "_param", "_pauses", "_steps", "_work")

    def __init__(self, steps: int, work: str, *, param: str | None = None, pauses: bool = False) -> None:
        self._steps = self._left = steps
        self._work = work
        self._param = param
        self._pauses = pauses
        self._next_look = 0
        if pauses:
            # Also for what it will have spent since its last look when nobody needs it any more.
            spend_turn(_STEPS_A_LOOK // 2)
            self._next_look = max(0, steps - _STEPS_A_LOOK)

    @property
    def left(self) -> int:
        """How many steps are left; 0 once they are spent."""
        return max(0, self._left)

    def spend(self, steps: int = 1) -> None:
        """Charge so many steps; BudgetSpent when there are not as many left, then and from then on."""
        self._left = left = self._left - steps
        if left < self._next_look:
            self._look(steps)

    def _look(self, steps: int) -> None:
        """See whether the budget is spent or the turn is over; `steps` were charged last."""
        if self._left < 0:
            raise BudgetSpent(
                400,
                f"{self._work} asks for more work than one request may cost, which is {self._steps} steps of about a "
                "microsecond: make it smaller or simpler.",
                param=self._param,
                code="too_much_work",
            )
        if self._pauses:
            self._next_look = max(0, self._left - _STEPS_A_LOOK)
            spend_turn(max(steps, _STEPS_A_LOOK))


class _Here(threading.local):
    """What this thread does: `pause` lets others have their turn, and is None where the work is not done in turns."""

    pause: typing.Callable[[], None] | None = None
    turn_left: int = STEPS_A_TURN


_here = _Here()


def spend_turn(steps: int) -> None:
    """Charge the turn alone, if this work is done in turns: for work whose amount is bounded in another way."""
    if _here.pause is not None:
        _here.turn_left -= steps
        if _here.turn_left <= 0:
            let_others_go_first()


def is_in_turns() -> bool:
    """Tell whether this work is done in turns."""
    return _here.pause is not None


def let_others_go_first() -> None:
    """Let others have their turn now, if this work is done in turns."""
    if _here.pause is not None:
        _here.turn_left = STEPS_A_TURN
        _here.pause()


def work_with_pauses(pause: typing.Callable[[], None], work: typing.Callable[[], None]) -> None:
    """Do work in this thread, calling `pause` where its budgets say so; protocol/turns.py alone needs it."""
    _here.pause, _here.turn_left = pause, STEPS_A_TURN
    try:
        work()
    finally:
        _here.pause = None
