"""python tests/fuzz [PARSER …] [--minutes M]: feed each parser what nearly is what it expects.

A failure is printed with what repeats it: PARSER:SEED:NUMBER. Needs the standard library alone; it is no part of the
suite, which has its own mutations, and h11 to compare HTTP/1.1 with.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from parsers import PARSERS, mutated

_MOST_FAILURES = 5


def _parse(arguments: list[str]) -> argparse.Namespace:
    about = (__doc__ or "").split(": ", 1)[1].split("\n")[0]
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=about)
    option = parser.add_argument
    option("parsers", nargs="*", metavar="PARSER", help=f"of {', '.join(PARSERS)}; all of them when none is named")
    option("--minutes", type=float, default=1.0, help="for all of them together (default %(default)s)")
    option("--seed", type=int, default=1, help="of the chance (default %(default)s)")
    option("--repeat", metavar="PARSER:SEED:NUMBER", help="one input alone, with its traceback")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.parsers if name not in PARSERS]
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}; expected some of {', '.join(PARSERS)}")
    return chosen


def _try(name: str, seed: int, number: int) -> bool:
    """Feed one input; return whether the parser took it."""
    draw = random.Random(f"{name}:{seed}:{number}")
    parser = PARSERS[name]
    return parser.check(mutated(parser, draw), draw)


def _fuzz(name: str, seed: int, seconds: float) -> int:
    """Feed inputs for so long, print a line about it, and return how many failed."""
    until = time.monotonic() + seconds
    number = taken = failed = 0
    while time.monotonic() < until and failed < _MOST_FAILURES:
        try:
            taken += _try(name, seed, number)
        except Exception as exc:  # noqa: BLE001 - whatever it is, a parser must not raise it
            failed += 1
            print(f"{name}:{seed}:{number} {type(exc).__name__}: {str(exc)[:200]}", flush=True)
        number += 1
    print(f"{name:16} {number:9} inputs, {taken:9} taken, {failed} failed", flush=True)
    return failed


def main() -> int:
    chosen = _parse(sys.argv[1:])
    if chosen.repeat:
        name, seed, number = chosen.repeat.split(":")
        draw = random.Random(chosen.repeat)
        print(repr(mutated(PARSERS[name], draw)))
        try:
            print("taken" if _try(name, int(seed), int(number)) else "refused")
        except Exception:  # noqa: BLE001 - it is what was asked for
            traceback.print_exc()
            return 1
        return 0
    names = chosen.parsers or list(PARSERS)
    return 1 if sum([_fuzz(name, chosen.seed, chosen.minutes * 60 / len(names)) for name in names]) else 0


if __name__ == "__main__":
    sys.exit(main())
