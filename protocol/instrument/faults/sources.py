"""Where the fault of a request comes from, and whether it happens now.

In this order, of which the first that names one decides, whether or not it happens now:

    the header x-oaiserve-fault of the request
    the rule of the script that fits it
    the session's faults, by the pattern of the model
    [faults] of the configuration, by the pattern of the model
    the model's own name: error-429-insufficient_quota

All that is counted is counted for the session that this belongs to.
"""

from __future__ import annotations

import re
import typing

from protocol.instrument.counts import Counts
from protocol.instrument.faults.codes import status_of_code
from protocol.instrument.faults.draws import Draw, Occasions
from protocol.instrument.faults.language import Fault, fault_named, parse_fault
from protocol.openai.asked_model import name_pattern

# Patterns of one session.
_MOST_PATTERNS = 1_000


class Chosen(typing.NamedTuple):
    """A fault that happens to a request, and its chance."""

    fault: Fault
    draw: Draw


class _Patterned(typing.NamedTuple):
    pattern: re.Pattern[str]
    rule: str
    fault: Fault


#: Patterns of models with their faults; the first that fits decides.
Patterns = typing.Sequence[_Patterned]


def read_patterns(texts: typing.Mapping[str, typing.Any], origin: str) -> Patterns:
    """Read faults by the pattern of a model (`*` and `?`); ValueError that names the one that is wrong.

    `origin` names where they stand, in counters and messages.
    """
    if len(texts) > _MOST_PATTERNS:
        raise ValueError(f"there may be at most {_MOST_PATTERNS} faults")
    read = []
    for pattern, text in texts.items():
        if type(text) is not str:
            raise ValueError(f"the fault of {pattern!r} must be a text")
        try:
            read.append(_Patterned(name_pattern(pattern), f"{origin} {pattern}", parse_fault(text)))
        except ValueError as exc:
            raise ValueError(f"{pattern}: {exc}") from exc
    return read


class SessionFaults:
    """The faults of one session. `configured` are those of [faults], `now` is the session's time in seconds.

    `counts` are those of all sessions.
    """

    def __init__(self, session: str, configured: Patterns, now: typing.Callable[[], float], counts: Counts) -> None:
        self._configured = configured
        self._own: Patterns = ()
        self._texts: dict[str, str] = {}
        self._now = now
        self._began = now()
        self._occasions = Occasions(session, counts)

    @property
    def is_on(self) -> bool:
        """Whether requests must be looked at."""
        return bool(self._own or self._configured)

    @property
    def texts(self) -> dict[str, str]:
        """The session's own faults by the pattern of the model."""
        return self._texts

    def put(self, texts: typing.Mapping[str, typing.Any]) -> None:
        """Put these faults in the place of the session's own, and count anew; ValueError as `read_patterns`."""
        self._own = read_patterns(texts, "session")
        self._texts = dict(texts)
        self.count_anew()

    def reset(self) -> None:
        """Have no faults of its own any more, and count anew."""
        self.put({})

    def count_anew(self) -> None:
        """Forget what was counted; the session's time begins now."""
        self._occasions.reset()
        self._began = self._now()

    def chosen(
        self, header: Fault | None, rule: tuple[str, Fault] | None, model: str, key: str, seed: str
    ) -> Chosen | None:
        """Return the fault that happens to a request, None for none.

        `header` is the one that its header asks for, `rule` the script's rule that fits it, with its name. `key` is the
        request's canonical key, `seed` the session's; without one, chance repeats all the same.
        """
        source = ("header", header) if header is not None else rule or self._by_model(model)
        if source is None or source[1] is None:
            return None
        name, fault = source
        draw = self._occasions.happens(name, fault, key, self._now() - self._began, seed)
        return None if draw is None else Chosen(fault, draw)

    def _by_model(self, model: str) -> tuple[str, Fault] | None:
        for pattern, rule, fault in (*self._own, *self._configured):
            if pattern.fullmatch(model):
                return rule, fault
        named = fault_named(model, status_of_code)
        return None if named is None else ("model", named)
