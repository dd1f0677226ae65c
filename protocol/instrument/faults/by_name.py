"""Faults that a model's name asks for, where the instrument is off: the mock's, which are there from the start."""

from __future__ import annotations

import typing

from protocol.exchange import Answer, Request, Response
from protocol.instrument.faults.codes import status_of_code
from protocol.instrument.faults.draws import Draw
from protocol.instrument.faults.injection import injected, replaces_answer, stand_in
from protocol.instrument.faults.language import Fault, fault_named


class _Nobody:
    """A witness who writes nothing down, and a journal that is not kept."""

    def took(self, data: bytes) -> None:
        """Learn that a piece of the body is leaving."""

    def cut(self) -> None:
        """Learn that the body breaks off."""

    def note(self, text: str) -> None:
        """Take what could not be applied."""


_NOBODY = _Nobody()


def answer_with_named_fault(model: str, request: Request, answer: typing.Callable[[], Answer]) -> Answer:
    """Return an answer with the fault that the model's name asks for, and as it is where it asks for none.

    ApiError where the fault is an error in the place of the answer.
    """
    fault = fault_named(model, status_of_code)
    if fault is None:
        return answer()
    draw = Draw(model)
    if replaces_answer(fault):
        return stand_in(fault, draw, 0.0, _NOBODY.note, _NOBODY)
    return _faulted(fault, draw, answer(), has_body=request.method != "HEAD")


async def _faulted(fault: Fault, draw: Draw, answer: Answer, *, has_body: bool) -> Response:
    response = answer if isinstance(answer, Response) else await answer
    return injected(response, fault, draw, _NOBODY.note, _NOBODY, has_body=has_body)
