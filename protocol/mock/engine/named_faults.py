"""Faults that a request asks for by its model's name, such as error-429-insufficient_quota: the mock's side of it."""

from __future__ import annotations

import typing

from protocol.exchange import Answer, Request
from protocol.on_demand import load
from protocol.wire.json_text import JsonObject

#: How the names of models begin that ask for a fault.
FAULT_NAMES = "error-"


def answer_sound_or_not(request: Request, body: JsonObject, answer: typing.Callable[[], Answer]) -> Answer:
    """Return the answer, with the fault that the model's name asks for, unless the instrument has seen to that already.

    ApiError where the fault is an error in the place of the answer.
    """
    model = body.get("model")
    if type(model) is not str or not model.startswith(FAULT_NAMES) or request.take is not None:
        return answer()
    (answer_with_named_fault,) = load("fault by name")
    return typing.cast(Answer, answer_with_named_fault(model, request, answer))
