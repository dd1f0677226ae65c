"""python tests/bench [WHAT ...]: print how fast the server is, beside its peers or beside another oaiserve.

Only ratios mean something on another machine; the raw numbers stand beside them. Nothing here passes or fails, and
nothing of it belongs to the test suite. Needs Linux or macOS and the standard library; uses wrk, nginx with Lua,
and other servers where they are installed. `--compare FILE` measures another oaiserve.py in their place; where
`--json` wrote the file, it shows how the ratios of this run differ from those in it.
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
from changes import as_changes, read_run
from circumstances import circumstances, in_words
from other_mocks import measure_mocks
from pace_rows import measure_pace
from peers import CannotMeasure, Cores, compile_ahead, raise_file_limit
from proxies import measure_proxies
from relaying import measure_relay
from report import Findings, as_json, as_table
from rows import measure_memory, measure_paced, measure_plain, measure_start, measure_streamed
from sizes import measure_sizes
from throughput import Options, measure_calls
from traffic import TRAFFIC
from variants import measure_callers, measure_everything, measure_mapping, measure_translator, measure_workers

_MEASUREMENTS: dict[str, Callable[[Options], Findings]] = {
    "calls": measure_calls,
    "plain": measure_plain,
    "streamed": measure_streamed,
    "mocks": measure_mocks,
    "relay": measure_relay,
    "proxies": measure_proxies,
    "mapping": measure_mapping,
    "translator": measure_translator,
    "everything": measure_everything,
    "callers": measure_callers,
    "workers": measure_workers,
    "sizes": measure_sizes,
    "paced": measure_paced,
    "pace": measure_pace,
    "start": measure_start,
    "memory": measure_memory,
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
    option("--rounds", type=_positive, default=7, help="of load; paced 1/3, start twice (default %(default)s)")
    option("--traffic", choices=TRAFFIC, help="the one traffic of the load rows, instead of all")
    option("--streams", type=_counts, default="6000,10000", help="paced streams at once (default %(default)s)")
    option("--words", type=_positive, default=20, help="words of a paced stream, 20 a second (default %(default)s)")
    option("--server", type=pathlib.Path, default=_SERVER, help="another oaiserve.py, or oaiserve.pyz, to measure")
    comparing = "measure against this oaiserve.py instead of the peers; or what --json wrote: show how ratios changed"
    option("--compare", type=pathlib.Path, metavar="FILE", help=comparing)
    option("--json", type=pathlib.Path, metavar="FILE", help="write every figure to this file, too")
    chosen = parser.parse_args(arguments)
    unknown = [what for what in chosen.what if what not in _MEASUREMENTS]
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}; expected some of {', '.join(_MEASUREMENTS)}")
    return chosen


def _measure(options: Options, chosen: Sequence[str]) -> tuple[Findings, bool]:
    """Return all findings and whether every measurement could be made; one that could not leaves a note."""
    found, complete = Findings([], []), True
    for what in chosen:
        print(f"measuring {what} …", file=sys.stderr)
        try:
            part = _MEASUREMENTS[what](options)
        except (CannotMeasure, WrongAnswer, OSError, subprocess.SubprocessError) as reason:
            part, complete = Findings([], [f"{what} could not be measured: {reason}"]), False
        found.rows.extend(part.rows)
        found.notes.extend(note for note in part.notes if note not in found.notes)
    return found, complete


def _options(chosen: argparse.Namespace, folder: pathlib.Path, is_compared: bool) -> Options:
    return Options(
        program=chosen.server.resolve(),
        compared=chosen.compare.resolve() if is_compared else None,
        cores=Cores.choose(),
        folder=folder,
        file_limit=raise_file_limit(),
        seconds=chosen.seconds,
        connections=chosen.connections,
        rounds=chosen.rounds,
        traffic=[TRAFFIC[chosen.traffic]] if chosen.traffic else list(TRAFFIC.values()),
        streams=chosen.streams,
        words=chosen.words,
    )


def main(arguments: list[str]) -> int:
    chosen = _parse(arguments)
    # A polite end must pass through every `finally`, or servers would be left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="oaiserve-bench-") as folder:
        try:
            before = read_run(chosen.compare) if chosen.compare else None
            options = _options(chosen, pathlib.Path(folder), is_compared=chosen.compare is not None and before is None)
            for program in filter(None, (options.program, options.compared)):
                compile_ahead(program, options.folder)
        except CannotMeasure as reason:
            print(f"bench: {reason}", file=sys.stderr)
            return 1
        found, complete = _measure(options, chosen.what or list(_MEASUREMENTS))
        here = circumstances(options, found.rows)
    found.notes[:0] = [in_words(here)]
    found.notes.append(f"Took {time.perf_counter() - began:.0f} s.")
    print(as_table(found.rows, found.notes))
    if before:
        print("", as_changes(found.rows, here, before), sep="\n")
    if chosen.json:
        chosen.json.write_text(as_json(found.rows, found.notes, here))
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
