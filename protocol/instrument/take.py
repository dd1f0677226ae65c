"""A take: what is known of one request from when it comes until its answer is over."""

from __future__ import annotations

import functools

from protocol.budget import Budget
from protocol.decided import decided_pace
from protocol.exchange import Response
from protocol.instrument.faults.injection import replaces_answer, stand_in
from protocol.instrument.faults.language import Fault
from protocol.instrument.faults.sources import Chosen
from protocol.instrument.journal import Entry
from protocol.instrument.limits import Admission
from protocol.instrument.script.asked import Asked
from protocol.instrument.script.said import Said, WholeAnswer
from protocol.instrument.script.script import Missed, no_rule_fits
from protocol.instrument.session import Session
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject

# Where an answer is as slow as its rule says; elsewhere that is noted.
_PACED_PLACES = ("chat", "completions", "responses")


class Take:
    """What is known of one request; `entry` is how the session's journal tells of it.

    `due` is the fault that is done to its answer, once that is decided. `has_left` says that the head has gone out.
    `admission` is how it was let in where there are limits, None where there are none, or it was refused.
    """

    __slots__ = ("admission", "due", "entry", "has_header_fault", "has_left", "is_decided", "session")

    def __init__(self, session: Session, entry: Entry) -> None:
        self.session = session
        self.entry = entry
        self.admission: Admission | None = None
        self.due: Chosen | None = None
        self.has_header_fault = False
        self.has_left = False
        self.is_decided = False

    @property
    def is_scripted(self) -> bool:
        """Whether the session has a script."""
        return self.session.script is not None

    def answer_for(self, asked: Asked, budget: Budget) -> Said | None:
        """Return what the session's script says, None where it says nothing.

        ApiError for what the rule has instead of an answer, for its fault where that stands in the answer's place, and
        404 where the script is strict and no rule fits.
        """
        script = self.session.script
        if script is None:
            return None
        chosen = script.choose(asked, self.session.script_state, budget)
        if isinstance(chosen, Missed):
            self.entry.missed = chosen.nearest
            if script.is_strict:
                raise no_rule_fits(chosen)
            return None
        self.entry.rule = chosen.rule.name
        for text in chosen.notes:
            self.note(text)
        if chosen.rule.pace:
            self._take_pace(chosen.rule.pace, asked)
        if chosen.rule.fault is not None and not self.has_header_fault:
            self._let_rules_fault_happen(chosen.rule.name, chosen.rule.fault)
        if chosen.error is not None:
            raise chosen.error
        return chosen.said

    def _take_pace(self, name: str, asked: Asked) -> None:
        if asked.endpoint in _PACED_PLACES and not asked.is_socket:
            decided_pace.set(name)
        else:
            self.note(f"pace_skipped: '{name}' is for {', '.join(_PACED_PLACES)}")

    def _let_rules_fault_happen(self, rule: str, fault: Fault) -> None:
        if self.has_left and not replaces_answer(fault):
            self.skipped(fault.text, "the answer to the request that opened this has left")
            return
        stand_in = self.let_fault_happen(rule=(rule, fault))
        if stand_in is not None:
            raise WholeAnswer(stand_in)

    def let_fault_happen(self, header: Fault | None = None, rule: tuple[str, Fault] | None = None) -> Response | None:
        """Decide which fault happens: that of the request's header, of the script's rule, or of the session.

        Return what stands in the answer's place, ApiError where that is an error; None, and `due`, for what is done to
        the answer.
        """
        session, entry = self.session, self.entry
        self.is_decided = True
        chosen = session.faults.chosen(header, rule, entry.model, entry.key, session.seed)
        if chosen is None:
            return None
        entry.fault = chosen.fault.text
        if replaces_answer(chosen.fault):
            skip = functools.partial(self.skipped, chosen.fault.text)
            return stand_in(chosen.fault, chosen.draw, session.now(), skip, self)
        self.due = chosen
        return None

    def note(self, text: str) -> None:
        """Write something into the journal that whoever reads it should know."""
        self.session.journal.note(self.entry, text)

    def skipped(self, fault: str, reason: str) -> None:
        """Write down that a fault could not be applied, and why: the answer has none then."""
        self.entry.fault = ""
        self.note(f"fault_skipped: {fault}: {reason}")

    def took(self, data: bytes) -> None:
        """Learn that a piece of the answer's body is leaving."""
        if self.admission is not None:
            self.admission.took(data)
        self.session.journal.note_data(self.entry, data, self.session.now())

    def early_fields(self) -> bytes:
        """Return field lines for a head that goes out before its answer is there: what is left of the limits."""
        return b"" if self.admission is None else encode_fields(self.admission.fields)

    def end(self, status: int) -> None:
        """Learn that the request is over; status 499 says that the client had gone."""
        if self.admission is not None:
            self.admission.end(failed=status >= 400 and status != 499)
        if not self.entry.ended:
            self.session.journal.note_end(self.entry, "left" if status == 499 else "done", self.session.now())

    def told(self) -> JsonObject:
        """Return what the live view tells of it (exchange.Take): `call` is its number in the journal of `session`."""
        entry = self.entry
        return {
            "asked": entry.model, "rule": entry.rule, "fault": entry.fault, "session": self.session.name,
            "call": entry.number, "came": entry.came,
        }  # fmt: skip

    def whole(self) -> None:
        """Learn that the answer's body has come to its end; that it has left, `end` says."""

    def cut(self, error: Exception | None = None) -> None:
        """Learn that the answer broke off."""
        if not self.entry.ended:
            self.session.journal.note_end(self.entry, "cut", self.session.now())
