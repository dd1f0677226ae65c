"""The options of the mock: section [mock], and [pace NAME] for each pace that it can have."""

from __future__ import annotations

import typing

from protocol.config import (
    Section,
    option,
    parse_choice,
    parse_factor,
    parse_integer,
    parse_seconds,
    parse_size,
    parse_switch,
    parse_text,
)
from protocol.mock.drawn import parse_drawn, parse_length


class MockSettings(Section):
    """Section [mock]."""

    text: str = option("powered by openai", parse_text, "what every answer says")
    script: str = option("", parse_text, "file (JSON) with what to answer to what")
    delay: float = option("0", parse_seconds, "seconds between words; a plain answer takes as long as its words would")
    first_delay: float = option("0", parse_seconds, "seconds before the first word")
    pace: str = option("", parse_text, "the [pace NAME] that words have, instead of the delays")
    length: str = option(
        "text", parse_length, "how many words: text, request (as its limit allows), normal(MEAN,DEVIATION)"
    )
    unknown_ids: str = option(
        "refuse", parse_choice("refuse", "invent"), "an id that nobody created: refuse (404) | invent"
    )
    validate: str = option("strict", parse_choice("strict", "warn", "off"), "check requests: strict (400) | warn | off")
    speed: float = option(
        "1", parse_factor, "how many times faster jobs go through their life cycles; 0: they stand still"
    )
    seed: str = option("", parse_text, "the same seed gives the same ids and choices; empty: ever new ones")
    freeze: bool = option("no", parse_switch, "yes: time stands still and ids repeat, so that two runs are equal")
    max_objects: int = option("10000", parse_integer(1, 10_000_000), "objects remembered; the oldest go first")
    max_stored: int = option("256M", parse_size, "bytes of files and objects remembered; the oldest go first")

    @classmethod
    def completed(cls, values: dict[str, typing.Any], environ: typing.Mapping[str, str]) -> dict[str, typing.Any]:
        """Return the values; ValueError for a pace and delays besides it."""
        if values.get("pace") and (values.get("delay") or values.get("first_delay")):
            raise ValueError("pace: it stands instead of delay and first_delay; leave these at 0")
        return values


class PaceSettings(Section):
    """Section [pace NAME]: how an engine takes its time."""

    first: str = option(
        "0", parse_drawn, "seconds to the first word, e.g. 0.3 normal 20%, 0.3 gamma 0.5, file:trace.csv"
    )
    between: str = option("0", parse_drawn, "seconds between words, e.g. 0.02, 0.02 lognormal 0.4")
    prefill: float = option(
        "0", parse_seconds, "more seconds to the first word, for each of the prompt's that is not cached"
    )
    cache_blocks: int = option("0", parse_integer(0, 10_000_000), "blocks of 16 words that are cached; 0 is no cache")
    slots: int = option("0", parse_integer(0, 1_000_000), "answers that are made at once; 0 is any number")
    queue: int = option("1000", parse_integer(0, 1_000_000), "requests that may wait for a slot; more are 429")
