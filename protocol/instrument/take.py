"""A take: what is known of one request from when it comes until its answer is over."""

from __future__ import annotations

from protocol.instrument.faults.language import Fault
from protocol.instrument.journal import Entry
from protocol.instrument.limits import Admission
from protocol.instrument.session import Session


class Take:
    """What is known of one request; `entry` is how the session's journal tells of it.

    `rule_fault` is the fault of the script's rule that fits it, with the rule's name. `admission` is how it was let in
    where there are limits, None where there are none, or it was refused.
    """

    __slots__ = ("admission", "entry", "rule_fault", "session")

    def __init__(self, session: Session, entry: Entry) -> None:
        self.session = session
        self.entry = entry
        self.rule_fault: tuple[str, Fault] | None = None
        self.admission: Admission | None = None

    def note(self, text: str) -> None:
        """Write something into the journal that whoever reads it should know."""
        self.entry.notes.append(text)

    def skipped(self, fault: str, reason: str) -> None:
        """Write down that a fault could not be applied, and why."""
        self.note(f"fault_skipped: {fault}: {reason}")

    def took(self, data: bytes) -> None:
        """Learn that a piece of the answer's body is leaving."""
        if self.admission is not None:
            self.admission.took(data)
        self.session.journal.note_data(self.entry, data, self.session.now())

    def end(self, status: int) -> None:
        """Learn that the request is over; status 499 says that the client had gone."""
        if self.admission is not None:
            self.admission.end(failed=status >= 400 and status != 499)
        if not self.entry.ended:
            self.session.journal.note_end(self.entry, "left" if status == 499 else "done", self.session.now())

    def cut(self) -> None:
        """Learn that the answer broke off."""
        if not self.entry.ended:
            self.session.journal.note_end(self.entry, "cut", self.session.now())
