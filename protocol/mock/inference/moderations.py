"""Moderations, and the provenance of files: what can be told of content without a model.

A category is flagged when certain words stand together in a text; all other scores are small.
Sources: OpenAI API reference, "Moderations" and "Content provenance checks".
"""

from __future__ import annotations

import re
import typing
import zlib

from protocol.budget import Budget, spend_turn
from protocol.mock.answer.cost import answered
from protocol.mock.engine.resources import Handler
from protocol.mock.engine.world import Call, World
from protocol.wire.json_text import JsonObject

_MODELS = {
    "omni-moderation-latest": "omni-moderation-2024-09-26",
    "text-moderation-latest": "text-moderation-007",
    "text-moderation-stable": "text-moderation-007",
}
_FLAGGED_SCORE = 0.5

_SOMEBODY = r"(?:you|him|her|them|me|us|somebody|someone|everyone|everybody|people|that (?:man|woman|guy|girl|boy|kid))"
_HURT = r"(?:kill|murder|stab|shoot|strangle|behead|slaughter|beat up|hurt|attack|punch)"
_PEOPLE = r"(?:jews|muslims|christians|blacks|whites|asians|immigrants|foreigners|gays|lesbians|women|men)"
_WEAPON = r"(?:bomb|explosives?|grenade|gun|molotov|nerve agent|chemical weapon)"
_CRIME = r"(?:shoplift|launder|hack into|forge|counterfeit|steal|break into|pick a lock|cook meth|make meth)"
_SELF_HARM = r"(?:kill|hurt|harm|cut|hang)(?:ing)? (?:my|your)self"
_SEX = r"(?:sex|porn|nudes?|naked|orgasm|erotic|masturbat\w*|fuck\w*)"
_CHILD = r"(?:child|children|minor|minors|underage|schoolgirl|schoolboy|\b1[0-7][- ]year[- ]old)"

# A category, the words that flag it in a text in small letters, and the categories that are flagged with it.
_RULES = (
    (
        "harassment/threatening",
        rf"\b(?:i(?:'ll| will|'m going to| am going to| want to| wanna)|let's) {_HURT}"
        rf" {_SOMEBODY}\b",
        ("harassment", "violence"),
    ),
    ("harassment", r"\byou(?:'re| are) (?:\w+ ){0,3}(?:idiot|moron|stupid|worthless|pathetic|disgusting|scum)\b", ()),
    ("harassment", r"\b(?:shut up|nobody likes you|go to hell|piece of (?:shit|trash))\b", ()),
    (
        "hate/threatening",
        rf"\b{_HURT} (?:all |the |every )*{_PEOPLE}\b",
        ("hate", "violence", "harassment"),
    ),
    ("hate", rf"\b(?:hate|despise|exterminate|get rid of) (?:all |the |every |those )*{_PEOPLE}\b", ()),
    (
        "hate",
        rf"\b{_PEOPLE} are (?:\w+ ){{0,2}}(?:inferior|vermin|subhuman|animals|scum|parasites)\b",
        ("harassment",),
    ),
    (
        "illicit/violent",
        rf"\b(?:how (?:do i|can i|to)|instructions (?:to|for)|teach me to) (?:\w+ ){{0,3}}{_WEAPON}\b",
        ("illicit",),
    ),
    (
        "illicit",
        rf"\b(?:how (?:do i|can i|to)|instructions (?:to|for)|teach me to) (?:\w+ ){{0,3}}{_CRIME}\b",
        (),
    ),
    (
        "self-harm/intent",
        rf"\bi (?:\w+ ){{0,3}}(?:want|going|plan|intend|wish) (?:to )?(?:{_SELF_HARM}|die|end my life)",
        ("self-harm",),
    ),
    ("self-harm/instructions", rf"\bhow (?:do i|can i|to) (?:{_SELF_HARM}|commit suicide)", ("self-harm",)),
    ("self-harm", rf"\b(?:{_SELF_HARM}|suicide|self-harm|suicidal)\b", ()),
    (
        "sexual/minors",
        rf"\b{_CHILD}\b[^.!?]{{0,80}}\b{_SEX}\b"
        rf"|\b{_SEX}\b[^.!?]{{0,80}}\b{_CHILD}\b",
        ("sexual",),
    ),
    ("sexual", rf"\b{_SEX}\b", ()),
    (
        "violence",
        rf"\b{_HURT}(?:s|ed|ing)? (?:all |the |every )*(?:{_SOMEBODY}|{_PEOPLE})\b",
        (),
    ),
    (
        "violence/graphic",
        r"\b(?:blood (?:everywhere|gushing|spurt\w*)|guts|severed|dismember\w*|disembowel\w*|mutilat\w*|gore|gory)\b",
        ("violence",),
    ),
)

_CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
# The categories that a model also looks for in pictures.
_OF_PICTURES = frozenset(
    ["self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "violence", "violence/graphic"]
)
_MOST_CHARACTERS = 100_000  # of a text that are read
_RESULT_STEPS = 100  # of a budget, besides those for the characters

# A manifest of C2PA is a JUMBF box with one of these labels, in any kind of file (C2PA specification 2.1, 11.1).
_C2PA_MARKS = (b"jumbc2pa", b"c2pa.claim", b"jumdc2pa")


class Moderations:
    """The behaviour of /moderations and /content_provenance_checks."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            "POST /moderations": self.moderate,
            "POST /content_provenance_checks": self.check_provenance,
        }

    def moderate(self, call: Call) -> JsonObject | typing.Awaitable[JsonObject]:
        """Answer with one result for each text; texts and pictures that are parts of one content share a result."""
        asked = call.body.get("model") or "omni-moderation-latest"
        contents = _contents(call.body.get("input"))

        def work(budget: Budget) -> JsonObject:
            results = []
            for text, kinds in contents:
                budget.spend(_RESULT_STEPS + min(len(text), _MOST_CHARACTERS) // 2)
                results.append(_result(text, kinds))
            return {"id": self._world.new_id("modr-"), "model": _MODELS.get(asked, asked), "results": results}

        return answered(work)

    def check_provenance(self, call: Call) -> JsonObject:
        """Answer whether a file has a C2PA manifest. A watermark of SynthID cannot be detected without its key."""
        data = getattr(call.body.get("file"), "data", b"")
        has_manifest = any(mark in data for mark in _C2PA_MARKS)
        results: list[JsonObject] = [
            {
                "type": "c2pa",
                "outcome": "detected" if has_manifest else "not_detected",
                # Its signature was not verified.
                "validation_state": "valid" if has_manifest else "not_present",
            },
            {"type": "synthid", "outcome": "not_detected"},
        ]
        return {"object": "content_provenance_check", "created_at": self._world.now(), "results": results}


def _contents(input: typing.Any) -> list[tuple[str, list[str]]]:
    """Return the contents to rate, each with its text and its kinds ("text", "image")."""
    if not isinstance(input, list):
        return [(str(input or ""), ["text"])]
    if input and isinstance(input[0], dict):
        parts = [part for part in input if isinstance(part, dict)]
        texts = [str(part.get("text") or "") for part in parts if part.get("type") == "text"]
        kinds = ["text"] if texts else []
        return [("\n".join(texts), kinds + ["image"] * any(part.get("type") == "image_url" for part in parts))]
    return [(str(text), ["text"]) for text in input]


def moderation_scores(text: str) -> dict[str, float]:
    """Return the score of each category for a text, from 0 to 1; 0.5 and more is flagged."""
    text = text[:_MOST_CHARACTERS].casefold().replace("\u2019", "'")
    raised: set[str] = set()
    for category, pattern, also in _RULES:
        spend_turn(len(text) // 20)
        if re.search(pattern, text):
            raised.update([category, *also])
    return {category: _score(text, category, category in raised) for category in _CATEGORIES}


def _score(text: str, category: str, is_raised: bool) -> float:
    """Return a score that is always the same for a text: 0.8 and more when the category is raised, else below 0.01."""
    share = zlib.crc32(f"{category}\n{text}".encode("utf-8", "backslashreplace")) % 10_000 / 10_000
    return round(0.8 + 0.199 * share if is_raised else 0.00001 + 0.009 * share**3, 7)


def _result(text: str, kinds: list[str]) -> JsonObject:
    scores = moderation_scores(text)
    categories = {category: score >= _FLAGGED_SCORE for category, score in scores.items()}
    inputs = {
        category: [kind for kind in kinds if kind == "text" or category in _OF_PICTURES] for category in _CATEGORIES
    }
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": inputs,
    }
