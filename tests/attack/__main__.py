"""python tests/attack [KIND …] [--minutes M]: attack a server, and print what a client beside the attack noticed of it.

Each kind is fired six times at a fresh server, some from a crowd of connections at once. Beside the fourth a client
asks for /health and a plain chat: its longest wait is the first figure; beside it stands the CPU time of the loop's
longest turn, which a busy machine changes less. What is left is what the server holds after the last three times beyond
what it held after the first three: what grows with repetition, without what the allocators keep for later (watched.py).
With --minutes, seeded mutations of valid requests for every operation follow for that long. Needs Linux and glibc, for
/proc and mallinfo2, and the standard library. The suite has a short form that counts steps (tests/test_attack.py).

On a busy machine the client waits for a processor, too. Let nothing else run, or run this before all else: where
/proc/sys/kernel/sched_autogroup_enabled is 1, `nice` counts within a session alone (sched(7)), so as root begin one of
its own, `setsid sh -c 'echo -15 >/proc/self/autogroup; exec python tests/attack'`.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from house import Found, Program, attack
from kinds import KINDS, MEGABYTE, Shot
from mutations import Mutations

_SERVER = pathlib.Path(__file__).resolve().parents[2] / "oaiserve.py"
_SHOTS_A_ROUND = 200

# What is good enough: the law is 100 ms on a quiet machine, and nothing left over a megabyte.
_WORST_SECONDS = 0.1
_LEFT_BYTES = MEGABYTE


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/attack", description=(__doc__ or "").split("\n\n")[0].split(": ", 1)[1]
    )
    option = parser.add_argument
    option("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; all of them when none is named")
    option("--backend", choices=("mock", "relay", "dashscope"), help="only what is for this backend")
    option("--size", type=float, default=1.0, help="1 is what the limits just let pass (default %(default)s)")
    option("--minutes", type=float, default=0.0, help="of seeded mutations behind the kinds (default %(default)s)")
    option("--seed", type=int, default=1, help="of the mutations (default %(default)s)")
    option("--server", type=pathlib.Path, default=_SERVER, help="another oaiserve.py, or oaiserve.pyz, to attack")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.kinds if name not in KINDS]
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}; expected some of {', '.join(KINDS)}")
    return chosen


class _Houses:
    """A server of each backend, made anew for each attack; relay and dashscope have a mock behind them."""

    def __init__(self, server: pathlib.Path) -> None:
        self._server = server

    def run(self, backend: str, name: str, shots: list[Shot], crowd: int = 1) -> Found:
        """Attack a fresh server."""
        behind = [] if backend == "mock" else [Program(self._server, "mock")]
        options = ["mock"] if backend == "mock" else [
            backend, "--set", f"{backend}.base_url=http://127.0.0.1:{behind[0].port}",
            "--set", f"{backend}.api_key=sk-ours-0123456789",
        ]  # fmt: skip
        if backend == "relay":
            options += ["--set", "relay.models=gpt-4o = gpt-4o-mini"]
        # What is kept is kept; with little room for it, the last time leaves no more than those before.
        options += ["--set", "mock.max_stored=1M", "--set", "routes.victim=mock"]
        programs = [*behind, Program(self._server, *options)]
        try:
            return attack(programs[-1], f"{backend}: {name}", shots, crowd)
        finally:
            for program in programs:
                program.stop()


def _attacks(chosen: argparse.Namespace) -> Iterator[Found]:
    houses = _Houses(chosen.server)
    for one in KINDS.values():
        if chosen.kinds and one.name not in chosen.kinds:
            continue
        for backend in one.backends:
            if chosen.backend in (None, backend):
                yield houses.run(backend, one.name, one.shots(chosen.size), one.crowd)
    mutations = Mutations(chosen.seed)
    until = time.monotonic() + chosen.minutes * 60
    number = 0
    while time.monotonic() < until:
        shots = [mutations.shot(number + index) for index in range(_SHOTS_A_ROUND)]
        yield houses.run("mock", f"mutations {chosen.seed}:{number}", shots)
        number += _SHOTS_A_ROUND


def main() -> int:
    chosen = _parse(sys.argv[1:])
    print(f"{'attack':40} {'worst wait':>10} {'turn':>7} {'CPU':>8} {'peak':>8} {'left':>8}  answered", flush=True)
    is_good = True
    for found in _attacks(chosen):
        counts = ", ".join(f"{status} x{found.statuses.count(status)}" for status in sorted(set(found.statuses)))
        good = found.worst <= _WORST_SECONDS and found.left <= _LEFT_BYTES and not found.failures
        is_good = is_good and good
        times = f"{found.worst * 1000:7.0f} ms {found.turn * 1000:4.0f} ms {found.cpu:6.2f} s"
        sizes = f"{found.peak / MEGABYTE:5.0f} MB {found.left / MEGABYTE:5.1f} MB"
        print(f"{found.name:40} {times} {sizes}  {counts}{'' if good else '  <-'}", flush=True)
        for failure in found.failures:
            print(f"    the client beside it: {failure}", flush=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
