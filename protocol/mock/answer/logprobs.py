"""Made-up log probabilities of tokens (OpenAI API reference, `logprobs`): equal for equal token, place and seed."""

from __future__ import annotations

import hashlib
import math
import typing

from protocol.budget import spend_turn
from protocol.wire.json_text import JsonObject

_MOST_RANKED = 5

# The tokens that stand as alternatives to any other.
_ALTERNATIVES = tuple(f" {word}" for word in "the a and to of in is it that for on with as by or an".split())
_ALTERNATIVES += (" be", " at", " this", " from", ".", ",", "\n", " not")


def token_logprobs(pieces: typing.Sequence[str], top: int, seed: int) -> list[JsonObject]:
    """Return the entries of `logprobs.content` for an answer's pieces, each with the `top` (0 to 20) likeliest tokens.

    The token that was said is the likeliest, and comes first. The probabilities of an entry add up to less than 1.
    """
    return [_token_entry(piece, position, top, seed) for position, piece in enumerate(pieces)]


def _token_entry(piece: str, position: int, top: int, seed: int) -> JsonObject:
    spend_turn(5 + 2 * top)
    digest = hashlib.blake2b(f"{seed} {position} {piece}".encode("utf-8", "backslashreplace"), digest_size=8).digest()
    chosen = 0.7 + 0.29 * digest[0] / 256
    entry = _token(piece, chosen)
    # Each alternative has less than half of what is left, and so less than the one before.
    left, alternatives = 1 - chosen, []
    turn = int.from_bytes(digest[1:5], "big")
    spare = [other for other in _alternatives(turn) if other != piece]
    for step in range(top - 1):
        share = left * (0.3 + 0.19 * digest[5 + step % 3] / 256) if step else left * 0.49
        alternatives.append(_token(spare[step], share))
        left = min(left - share, share)
    return {**entry, "top_logprobs": [_token(piece, chosen), *alternatives] if top else []}


def text_logprobs(pieces: typing.Sequence[str], prompt: int, top: int, seed: int, offset: int) -> list[JsonObject]:
    """Return the `logprobs` of legacy completions (API reference, "Completion object"), an object for each piece.

    The first `prompt` pieces are the prompt's own. The very first has nothing before it that would make it likely or
    not, so null stands there (stanford-crfm/helm#54, where some `top` is asked for; with none the reference's number).
    The others are often not the likeliest. Each piece has the `top` (0 to 5) likeliest
    tokens, and itself: that may be one more. `offset` is the first piece's place in the text, in characters.
    """
    entries = []
    for position, piece in enumerate(pieces):
        logprob: float | None = None
        ranked: dict[str, float] | None = None
        if position or not prompt or not top:
            logprob, ranked = _ranked(piece, position, top, seed, is_given=position < prompt)
        entries.append(
            {"tokens": [piece], "token_logprobs": [logprob], "top_logprobs": [ranked], "text_offset": [offset]}
        )
        offset += len(piece)
    return entries


def _ranked(piece: str, position: int, top: int, seed: int, *, is_given: bool) -> tuple[float, dict[str, float]]:
    """Return a token's log probability, and those of the likeliest tokens and its own. It does not depend on `top`."""
    likely = _token_entry(piece, position, _MOST_RANKED, seed)
    digest = hashlib.blake2b(
        f"{seed} {position} {piece} given".encode("utf-8", "backslashreplace"), digest_size=2
    ).digest()
    if is_given and digest[0] & 1:
        # Another token is the likeliest here.
        word = next(other for other in _alternatives(digest[1]) if other != piece)
        likely = _token_entry(word, position, _MOST_RANKED, seed)
    ranked = {token["token"]: token["logprob"] for token in likely["top_logprobs"]}
    logprob = ranked.get(piece)
    if logprob is None:
        logprob = round(min(ranked.values()) - 0.5 - digest[1] / 64, 8)
    shown = dict(list(ranked.items())[:top])
    return logprob, {**shown, piece: logprob}


def _alternatives(turn: int) -> list[str]:
    start = turn % len(_ALTERNATIVES)
    return [*_ALTERNATIVES[start:], *_ALTERNATIVES[:start]]


def _token(text: str, probability: float) -> JsonObject:
    # A lone surrogate has no UTF-8: its bytes are those of its escape, as in the JSON around it.
    encoded = list(text.encode("utf-8", "backslashreplace"))
    return {"token": text, "logprob": round(math.log(probability), 8), "bytes": encoded}
