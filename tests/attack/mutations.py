"""Valid requests of every operation of the API's description, and what becomes of them when somebody meddles with them.

All of it follows from one seed, so that what was found once is found again.
"""

from __future__ import annotations

import json
import random
import re
from typing import Any

from kinds import Shot

from protocol.openai.api.checks import Conformity
from protocol.openai.api.made_up import Completer
from protocol.openai.api.operations import Operation, Reference
from protocol.openai.reference.whole import API_REFERENCE

_SCALARS: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 10**30, 1e308, "", "a", "a" * 10_000, "中" * 3_000, "\u0000", "{{", "e\u0301" * 9,
    [], {}, [[]] * 2_000, {"a": {"a": {"a": {}}}}, ["a"] * 5_000, "data:image/png;base64,AAAA", "file-1", "gpt-4o",
)  # fmt: skip


class _Inventor:
    """Ids and times that stand still."""

    def new_id(self, prefix: str) -> str:
        return f"{prefix}attack_1"

    def now(self) -> int:
        return 1_700_000_000


class Mutations:
    """Shots by the number of the draw: the same seed and number give the same shot."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        reference = Reference(lambda: API_REFERENCE)
        self._operations = [reference.operation(key) for key in reference.keys()]
        self._operations = [operation for operation in self._operations if operation.verb != "opens"]
        self._completer = Completer(reference.shapes, Conformity(reference.shapes), _Inventor())

    def shot(self, number: int) -> Shot:
        """Return the shot of this number."""
        draw = random.Random(f"{self._seed}:{number}")
        operation = self._operations[number % len(self._operations)]
        path = "/v1" + re.sub(r"\{\w+\}", lambda _: draw.choice(("x_1", "attack_1", "a%2Fb")), operation.path)
        if operation.body is None:
            return Shot(path + self._query(operation, draw), method=operation.method)
        value = self._completer.complete(operation.body)
        value.setdefault("model", "gpt-4o") if isinstance(value, dict) else None
        for _ in range(draw.randint(0, 4)):
            value = mutated(value, draw)
        body = json.dumps(value).encode()
        if draw.random() < 0.2:
            body = mangled(body, draw)
        if draw.random() < 0.15:
            at = draw.randrange(len(body) + 1)
            body = (
                b'--edge\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n'
                + body[at:]
                + b"\r\n--edge--\r\n"
            )
            return Shot(path, body, "multipart/form-data; boundary=edge", operation.method)
        return Shot(path, body, method=operation.method)

    def _query(self, operation: Operation, draw: random.Random) -> str:
        if operation.query is None or draw.random() < 0.3:
            return ""
        made = self._completer.complete(operation.query)
        pairs = [f"{name}={value}" for name, value in (made or {}).items()]
        pairs += draw.choice(([], ["limit=100"], ["limit=-1"], ["order=asc"], ["after=x_1"], ["include[]=a"] * 1_000))
        return f"?{'&'.join(pairs)}" if pairs else ""


def mutated(value: Any, draw: random.Random) -> Any:
    """Return a value with one place of it changed."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        name = draw.choice(list(value))
        what = draw.random()
        if what < 0.2:
            return {key: member for key, member in value.items() if key != name}
        if what < 0.3:
            return {**value, draw.choice(("", "x", "type", "id", name * 50)): draw.choice(_SCALARS)}
        return {**value, name: mutated(value[name], draw)}
    if isinstance(value, list) and value and draw.random() < 0.8:
        at = draw.randrange(len(value))
        if draw.random() < 0.3:
            return value * draw.choice((2, 100, 2_000))
        return [*value[:at], mutated(value[at], draw), *value[at + 1 :]]
    return draw.choice(_SCALARS)


def mangled(data: bytes, draw: random.Random) -> bytes:
    """Return bytes with some of them changed, left out or repeated."""
    for _ in range(draw.randint(1, 5)):
        at = draw.randrange(len(data) + 1)
        size = draw.choice((0, 1, 4, 100))
        filling = draw.choice((b"", b"\0", b"\xff", b'"', b"\\u", b"[" * 500, b"9" * 6_000, data[at : at + 50] * 100))
        data = data[:at] + filling + data[at + size :]
    return data
