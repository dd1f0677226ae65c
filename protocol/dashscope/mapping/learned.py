"""What DashScope's refusals teach of a model, within one request and from one to the next.

The tables in models.py say what is published of a model's family. What a refusal says of the model itself is truer: a
plan is made again with it, and who asks the same model next is not refused first.
"""

from __future__ import annotations

import collections
import typing

from protocol.dashscope.mapping.forcing import Manner
from protocol.dashscope.mapping.models import traits_of

_MOST_REMEMBERED = 256


class Learned(typing.NamedTuple):
    """What refusals have taught of a model.

    `endpoint`: which one to ask. `endpoint_refused`: within this request, another one has refused the model.
    `must_stream`: it answers as a stream only. `forcing`: how to force what requests force, by what that is
    (forcing.py: `forced_kind`), of which there are few.
    """

    endpoint: str | None = None
    endpoint_refused: bool = False
    must_stream: bool = False
    forcing: typing.Mapping[str, Manner] = {}


NOTHING_LEARNED = Learned()


class LearnedMemory:
    """What was learned, by model. Beyond `most_models` the model that was not asked for longest is forgotten."""

    def __init__(self, most_models: int = _MOST_REMEMBERED) -> None:
        self._most_models = most_models
        self._learned: collections.OrderedDict[str, Learned] = collections.OrderedDict()

    def recall(self, model: str) -> Learned:
        """Return what is known of `model`, which may be nothing."""
        key = traits_of(model).key
        if key not in self._learned:
            return NOTHING_LEARNED
        self._learned.move_to_end(key)
        return self._learned[key]

    def remember(self, model: str, learned: Learned) -> None:
        """Note with what `model` has answered. An endpoint counts only where another one was refused before it."""
        key = traits_of(model).key
        endpoint = learned.endpoint if learned.endpoint_refused else self.recall(model).endpoint
        self._learned[key] = learned._replace(endpoint=endpoint, endpoint_refused=False)
        self._learned.move_to_end(key)
        if len(self._learned) > self._most_models:
            self._learned.popitem(last=False)
