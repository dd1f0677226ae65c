"""What it may cost to decide what one request's answer says, how large the answer may be, and searches at a price.

Work that decides on an answer changes nothing before its last step is charged: it may begin anew (begun_at_once).
"""

from __future__ import annotations

import re
import typing

from protocol.budget import Budget, spend_turn
from protocol.errors import ApiError
from protocol.turns import begun_at_once

#: Steps (protocol/budget.py) for all that a request's choices say together: some seconds, in turns with everybody else.
ANSWER_STEPS = 3_000_000
# Where others wait for it.
_STEPS_AT_ONCE = 50_000

#: About how many bytes one answer may have. A full answer of gpt-4o with all logprobs, which is 16,384 tokens with 20
#: alternatives each (OpenAI, "Models" and API reference, `top_logprobs`), has 40 million.
MOST_ANSWER_BYTES = 64 * 1024 * 1024
#: About how many bytes an entry of logprobs has, and what stands around a word of a stream.
LOGPROB_BYTES = 110
CHUNK_BYTES = 300
_CHOICE_BYTES = 150
_WORD_BYTES = 50  # in memory, while the answer is made
_ENCODED_BYTES_A_STEP = 20

# A text of so many characters is searched at once, which takes some milliseconds at the most.
_SEARCHED_AT_ONCE = 1_000

_Answer = typing.TypeVar("_Answer")


def answer_budget() -> Budget:
    """Return the budget of one request for what its answer says. Such work is done in turns: it may be long."""
    return Budget(ANSWER_STEPS, "The answer", pauses=True)


def budget_at_once() -> Budget:
    """Return the budget of what an answer says where others have to wait for it."""
    return Budget(_STEPS_AT_ONCE, "The answer")


def answered(
    work: typing.Callable[[Budget], _Answer | typing.Awaitable[_Answer]],
) -> _Answer | typing.Awaitable[_Answer]:
    """Return what work answers: at once where it costs no more than a turn, else it begins anew, in turns."""
    return begun_at_once(work, ANSWER_STEPS, "The answer")


def charge_answer(
    budget: Budget, texts: typing.Iterable[tuple[int, int]], word_bytes: int = 0, *, is_made: bool = True
) -> None:
    """Charge for an answer before it is made; ApiError 400 where it would have more than MOST_ANSWER_BYTES.

    `texts` are the characters and the words of each choice, `word_bytes` what each word takes besides its characters.
    An answer that is not made yet is only looked at.
    """
    size = 0
    for characters, words in texts:
        size += _CHOICE_BYTES + characters + words * (_WORD_BYTES + word_bytes)
        if size > MOST_ANSWER_BYTES:
            raise ApiError(
                400, f"The answer would have more than {MOST_ANSWER_BYTES} bytes, which no answer has: ask for fewer"
                " choices, fewer tokens or fewer logprobs.", code="answer_too_large",
            )  # fmt: skip
    if is_made:
        budget.spend(size // _ENCODED_BYTES_A_STEP)


def matches(rule: str, text: str, budget: Budget) -> typing.Iterator[re.Match[str]]:
    """Yield what re.finditer yields. A long text is searched from place to place, as no call of `re` is interrupted."""
    budget.spend(5 + len(text))
    if len(text) <= _SEARCHED_AT_ONCE:
        yield from re.finditer(rule, text)
        return
    match_at = re.compile(rule).match
    at = 0
    while at <= len(text):
        spend_turn(5)
        found = match_at(text, at)
        if found is not None:
            yield found
        at = at + 1 if found is None else max(at + 1, found.end())


def first_match(rule: str, text: str, budget: Budget) -> re.Match[str] | None:
    """Return what re.search returns, at the price of `matches`."""
    return next(matches(rule, text, budget), None)
