"""The options of the mock: section [mock]."""

from __future__ import annotations

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


class MockSettings(Section):
    """Section [mock]."""

    text: str = option("powered by openai", parse_text, "what every answer says")
    delay: float = option("0", parse_seconds, "seconds between words; a plain answer takes as long as its words would")
    first_delay: float = option("0", parse_seconds, "seconds before the first word")
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
