"""python tests/bench [calls] [plain] [streamed] [paced] [pace] [start] [memory] [relay]: print how fast the server is.

Only ratios mean something on another machine; the raw numbers stand beside them. Nothing here passes or fails, and
nothing of it belongs to the test suite. Needs Linux or macOS and the standard library; uses wrk, and nginx with Lua,
where they are installed.
"""

from __future__ import annotations

import argparse
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from answers import WrongAnswer
from calls import measure_calls
from load import generator
from pace_rows import measure_pace
from peers import CannotMeasure, Cores, compile_ahead, raise_file_limit
from relaying import measure_relay
from report import Findings, as_json, as_table
from rows import Options, measure_memory, measure_paced, measure_plain, measure_start, measure_streamed

_MEASUREMENTS: dict[str, Callable[[Options], Findings]] = {
    "calls": lambda options: measure_calls(options.program),
    "plain": measure_plain,
    "streamed": measure_streamed,
    "paced": measure_paced,
    "pace": measure_pace,
    "start": measure_start,
    "memory": measure_memory,
    "relay": measure_relay,
}
_SERVER = pathlib.Path(__file__).resolve().parents[2] / "oaiserve.py"


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def _counts(text: str) -> list[int]:
    return [_positive(number) for number in text.split(",")]


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/bench", description=__doc__.split("\n\n")[0].split(": ", 1)[1])
    option = parser.add_argument
    option("what", nargs="*", metavar="WHAT", help=f"of {', '.join(_MEASUREMENTS)}; all of them when none is named")
    option("--seconds", type=_positive, default=1, help="length of one load run (default %(default)s)")
    option("--connections", type=_positive, default=64, help="clients of a load run (default %(default)s)")
    option(
        "--rounds", type=_positive, default=7, help="of load; paced 1/3, relay 1/2, start twice (default %(default)s)"
    )
    option("--streams", type=_counts, default="6000,10000", help="paced streams at once (default %(default)s)")
    option("--words", type=_positive, default=20, help="words of a paced stream, 20 a second (default %(default)s)")
    option("--server", type=pathlib.Path, default=_SERVER, help="another oaiserve.py, or oaiserve.pyz, to measure")
    option("--json", action="store_true", help="print JSON with every figure instead of the table")
    chosen = parser.parse_args(arguments)
    unknown = [what for what in chosen.what if what not in _MEASUREMENTS]
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}; expected some of {', '.join(_MEASUREMENTS)}")
    return chosen


def _measure(options: Options, chosen: Sequence[str]) -> tuple[Findings, bool]:
    """Return all findings and whether every measurement could be made; one that could not leaves a note."""
    found, complete = Findings([], [_circumstances(options)]), True
    for what in chosen:
        print(f"measuring {what} …", file=sys.stderr)
        try:
            part = _MEASUREMENTS[what](options)
        except (CannotMeasure, WrongAnswer, OSError, subprocess.SubprocessError) as reason:
            part, complete = Findings([], [f"{what} could not be measured: {reason}"]), False
        found.rows.extend(part.rows)
        found.notes.extend(note for note in part.notes if note not in found.notes)
    return found, complete


def _circumstances(options: Options) -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    pinned = "not pinned to cores" if options.cores.server is None else "server and load on a core each"
    return f"Python {version}, load by {generator()}, {options.connections} connections, {pinned}."


def main(arguments: list[str]) -> int:
    chosen = _parse(arguments)
    # A polite end must pass through every `finally`, or servers would be left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="oaiserve-bench-") as folder:
        options = Options(
            program=chosen.server.resolve(),
            cores=Cores.choose(),
            folder=pathlib.Path(folder),
            file_limit=raise_file_limit(),
            seconds=chosen.seconds,
            connections=chosen.connections,
            rounds=chosen.rounds,
            streams=chosen.streams,
            words=chosen.words,
        )
        try:
            compile_ahead(options.program, options.folder)
        except CannotMeasure as reason:
            print(f"bench: {reason}", file=sys.stderr)
            return 1
        found, complete = _measure(options, chosen.what or list(_MEASUREMENTS))
    found.notes.append(f"Took {time.perf_counter() - began:.0f} s.")
    print(as_json(found.rows, found.notes) if chosen.json else as_table(found.rows, found.notes))
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
