"""Work in turns: a synchronous function that takes seconds, done in pieces between which everybody else is answered.

    picture = await in_turns(lambda: draw(width, height))

The function runs in a thread of its own, but never at the same time as the loop: the two hand one baton to and fro.
The function has it until a Budget made with `pauses` has counted a turn's steps (protocol/budget.py), then the loop has
it for one round, and so on. So

- nothing runs at once, and no lock is needed: a pause is to the function what `await` is to a coroutine;
- nothing fights for the interpreter's lock, which would cost the loop 5 ms for every call into the operating system;
- the function may do what it may do in the loop: begin tasks, set timers, change what is remembered;
- the loop's waiting is counted in steps, and a test can count turns.

What never pauses takes the whole time in one turn. One turn is taken in each round of the loop, however much work is
under way, and work beyond `_MOST_AT_ONCE` pieces waits until one is over: threads are bounded, and so is what the loop
waits for. A thread lives as long as its work, for which 100 µs more do not matter. It has a stack of `_STACK_BYTES`.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import inspect
import threading
import typing
import weakref

from protocol.budget import STEPS_A_TURN, Budget, BudgetSpent, is_in_turns, work_with_pauses
from protocol.errors import ApiError

_Result = typing.TypeVar("_Result")

# Pieces of work under way; what each holds is up to its request.
_MOST_AT_ONCE = 4

# The stack of a thread. By itself it would be 128 kB with musl, 512 kB or 1 MB elsewhere, and JSON or a schema as deep
# as is allowed would end the process. Pages of it that are not touched take no memory.
_STACK_BYTES = 8 << 20


def start_thread(target: typing.Callable[[], object], name: str) -> threading.Thread:
    """Begin a thread with a stack for deep recursion, which a process that ends does not wait for.

    RuntimeError where the system has no thread to give.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    usual = threading.stack_size(_STACK_BYTES)
    try:
        thread.start()
    finally:
        threading.stack_size(usual)
    return thread


async def in_turns(work: typing.Callable[[], _Result]) -> _Result:
    """Do work beside the loop, in turns, and return or raise what it does.

    Where the task that waits is cancelled, the work ends at the pause that it is in, and its `finally` holds.
    """
    loop = asyncio.get_running_loop()
    if loop.get_debug():
        return work()  # asyncio's debug mode takes the thread for a stranger
    turns = _turns.get(loop)
    if turns is None:
        turns = _turns[loop] = _Turns()
    return await turns.do(loop, work)


def begun_at_once(
    work: typing.Callable[[Budget], _Result | typing.Awaitable[_Result]], steps: int, name: str
) -> _Result | typing.Awaitable[_Result]:
    """Return what work returns: at once where it costs no more than a turn, else it begins anew, in turns.

    Most requests are small, and a thread for each would cost more than they do. `steps` and `name` are those of the
    Budget that the work gets in turns. It must change nothing before its last step is charged. Of work
    within such work, what is tried at once is charged to that, and begins anew with it.
    """
    if is_in_turns():
        return work(Budget(steps, name, pauses=True))
    if _here.attempt is not None:
        return work(_here.attempt)
    _here.attempt = Budget(STEPS_A_TURN, name)
    try:
        return work(_here.attempt)
    except BudgetSpent:
        return _begin_anew(lambda: work(Budget(steps, name, pauses=True)))
    finally:
        _here.attempt = None


async def _begin_anew(work: typing.Callable[[], _Result | typing.Awaitable[_Result]]) -> _Result:
    result = await in_turns(work)
    return typing.cast(_Result, await result if inspect.isawaitable(result) else result)


class _Here(threading.local):
    """What this thread does: `attempt` is the budget of work that is tried at once."""

    attempt: Budget | None = None


_here = _Here()


class _Turns:
    """All work in turns beside one loop."""

    def __init__(self) -> None:
        self._under_way: collections.deque[_Work[typing.Any]] = collections.deque()  # a callback is due unless empty
        self._places_taken = 0
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()  # for a place

    async def do(self, loop: asyncio.AbstractEventLoop, work: typing.Callable[[], _Result]) -> _Result:
        """Do work once there is a place for it."""
        await self._take_place(loop)
        done = _Work(loop, work)
        del work  # what it holds goes when it is over, not when the answer has left
        try:
            if not self._under_way:
                loop.call_soon(self._give_turn, loop)
            self._under_way.append(done)
            await done.is_over
            return done.outcome()
        finally:
            done.end()
            self._give_place_away()

    async def _take_place(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._places_taken < _MOST_AT_ONCE:
            self._places_taken += 1
            return
        place = loop.create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self._give_place_away()
            raise

    def _give_place_away(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._places_taken -= 1

    def _give_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give a turn to the work whose last one is the longest ago."""
        work = self._under_way.popleft()
        if work.take_turn():
            self._under_way.append(work)
        if self._under_way:
            loop.call_soon(self._give_turn, loop)


def _no_thread() -> ApiError:
    return ApiError(
        503, "The system has no thread for work as long as this; try again soon.", code="no_thread",
        fields=[("retry-after", "1")],
    )  # fmt: skip


class _Ended(BaseException):
    """Nobody waits for the work any more."""


class _Work(typing.Generic[_Result]):
    """One piece of work, and the thread that does it while it has the baton."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: typing.Callable[[], _Result]) -> None:
        self.is_over: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._work: typing.Callable[[], _Result] | None = work  # None once it is over
        self._context = contextvars.copy_context()
        self._results: list[_Result] = []
        self._error: BaseException | None = None
        self._has_begun = False
        self._is_wanted = True
        # Each is held but for the moment in which the baton passes.
        self._to_work, self._to_loop = threading.Lock(), threading.Lock()
        self._to_work.acquire()
        self._to_loop.acquire()

    def take_turn(self) -> bool:
        """Let the work go on until its next pause or its end; return whether there is more to do."""
        if self._work is None:
            return False
        if self._has_begun:
            self._to_work.release()
        else:
            self._has_begun = True
            try:
                start_thread(self._run, "turns")
            except RuntimeError:
                self._work, self._error = None, _no_thread()
                self._to_loop.release()
        self._to_loop.acquire()
        if self._work is not None:
            return True
        if not self.is_over.done():
            self.is_over.set_result(None)
        return False

    def outcome(self) -> _Result:
        """Return or raise what the work did, once."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds this frame, and all that the work held
        return self._results.pop()

    def end(self) -> None:
        """Let the work end at the pause that it is in, if it is not over."""
        self._is_wanted = False
        if not self._has_begun:
            self._work = None
        self.take_turn()

    # ---- in the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio._set_running_loop(self._loop)  # while it has the baton it stands for the loop's own thread
        self._context.run(work_with_pauses, self._pause, self._do)
        self._work = None
        self._to_loop.release()

    def _do(self) -> None:
        assert self._work is not None
        try:
            self._results.append(self._work())
        except _Ended:
            pass
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it is raised where the work is waited for
            self._error = exc

    def _pause(self) -> None:
        if not self._is_wanted:
            return  # a `finally` does not wait
        self._to_loop.release()
        self._to_work.acquire()
        if not self._is_wanted:
            raise _Ended


_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = weakref.WeakKeyDictionary()
