"""Start and stop the processes that are measured, on a core of their own, and say how much memory they hold."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Union

from traffic import KEY

Core = Union[int, Collection[int], None]  # that one, one of those, or any
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")
_START_SECONDS = 15.0
_STOP_SECONDS = 5.0


class CannotMeasure(Exception):
    """A measurement cannot be made; the sentence says why and what to do about it."""


class Cores(NamedTuple):
    """Where things run; None where that cannot be chosen.

    Every server that is measured has `server`, every load comes from `load`, and what stands behind a relay has
    `upstream`, which is `load` again where there are only two cores.
    """

    server: Core
    load: int | None
    upstream: int | None

    @classmethod
    def choose(cls) -> Cores:
        """Take two of the cores that this process may use, or three."""
        usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
        if len(usable) < 2:
            return cls(None, None, None)
        return cls(usable[0], usable[1], usable[2] if len(usable) > 2 else usable[1])


@contextlib.contextmanager
def on_core(core: Core) -> Iterator[None]:
    """Let children that are started inside begin on that core, or one of those, with no moment on another one."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} if isinstance(core, int) else core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def python_environment(folder: pathlib.Path, cached: bool = True) -> dict[str, str]:
    """Return the environment for a Python that keeps its compiled modules: below `folder`, not beside the source.

    Without `cached` it keeps none, and finds those of the standard library alone.
    """
    environment = dict(os.environ)
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"):
        environment.pop(name, None)
    return {**environment, **({"PYTHONPYCACHEPREFIX": str(folder / "bytecode")} if cached else _KEEPS_NO_BYTECODE)}


_KEEPS_NO_BYTECODE = {"PYTHONDONTWRITEBYTECODE": "1"}


class ServerProcess:
    """One server: started here, ended by its own process id, in a session of its own so that no worker is left."""

    def __init__(
        self, name: str, command: Sequence[str], core: Core, folder: pathlib.Path, cached: bool = True
    ) -> None:
        self.name = name
        self.started = time.perf_counter()
        with on_core(core):
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=python_environment(folder, cached),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.output: collections.deque[str] = collections.deque(maxlen=20)
        self._address: int | None = None
        self._address_known = threading.Event()
        # Read all the time: a server that fills the pipe would stop in the middle of a measurement.
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()
            self.output.append(text)
            address = None if self._address_known.is_set() else _ADDRESS.search(text)
            if address:
                self._address = int(address[1])
                self._address_known.set()
        self._address_known.set()

    def printed_port(self) -> int:
        """Wait for the first address that the server prints and return its port."""
        self._address_known.wait(_START_SECONDS)
        if self._address is None:
            raise CannotMeasure(f"{self.name} printed no http://127.0.0.1:PORT; its output: {self.tail()}")
        return self._address

    def wait_for_port(self, port: int) -> None:
        """Wait until the port takes connections (for a server that prints nothing)."""
        limit = time.perf_counter() + _START_SECONDS
        while time.perf_counter() < limit and self._process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            time.sleep(0.01)
        raise CannotMeasure(f"{self.name} does not listen on port {port}; its output: {self.tail()}")

    def tail(self) -> str:
        return " / ".join(self.output) or "(none)"

    def stop(self) -> None:
        """End the process and whatever is left of its session; returns once it is gone."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._reader.join(_STOP_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextlib.contextmanager
def running(process: ServerProcess) -> Iterator[ServerProcess]:
    """Stop the server at the end of the block, whatever happens in it."""
    try:
        yield process
    finally:
        process.stop()


class Program(NamedTuple):
    """An oaiserve: its file, what it is started as, and with which `section.key=value` settings.

    With `keys` its callers need one of so many, each with limits and a budget, and a ledger notes their calls.
    """

    file: pathlib.Path
    backend: str
    settings: tuple[str, ...] = ()
    keys: int = 0
    called: str = "oaiserve"
    workers: int = 1

    @property
    def name(self) -> str:
        """What the table calls it: it names what is switched on and has to do with each request."""
        log = () if "server.log=off" in self.settings else ("log",)
        parts = (*log, "CORS", "metrics", *(("keys", "limits", "ledger") if self.keys else ()))
        return f"{self.called} ({', '.join(parts)} on)"


class Peer(NamedTuple):
    """A server under load: its name in the table, where it listens, and the path of its chat completions.

    `program` says how it was started, where it is an oaiserve; the load on it has so many `keys` in turn.
    """

    name: str
    port: int
    path: str
    process: ServerProcess
    program: Program | None = None
    keys: int = 1


CHAT_PATH = "/v1/chat/completions"


def compile_ahead(program: pathlib.Path, folder: pathlib.Path) -> None:
    """Let the server's modules be compiled before anything is measured.

    A process that has just compiled them has another heap, where glibc may map memory anew for each read of a socket.
    """
    if not program.exists():
        raise CannotMeasure(f"there is no {program}: give an oaiserve.py with --server FILE or --compare FILE")
    environment = python_environment(folder)
    for backend in ("mock", "relay", "dashscope"):
        command = [sys.executable, str(program), backend, "--check"]  # loads all that its start does
        run = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        if run.returncode or "[server]" not in run.stdout:
            last = run.stderr.strip().splitlines()[-1:] or ["it shows no settings"]
            raise CannotMeasure(f"{program} is no oaiserve.py that starts: {backend} --check: {last[0]}")


def build_forms(program: pathlib.Path, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Build the single file and the zipapp of a source tree, and return them by name, each alone in a folder."""
    built = folder / "built"
    command = [sys.executable, str(program), "bundle", str(built)]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    if run.returncode:
        raise CannotMeasure(f"{program} bundle failed: {run.stderr.strip()[-300:]}")
    forms = {}
    for name, file in (("single file", "oaiserve.py"), ("zipapp", "oaiserve.pyz")):
        alone = folder / name.replace(" ", "-")
        alone.mkdir(exist_ok=True)
        forms[name] = alone / file
        (built / file).replace(forms[name])
    return forms


@contextlib.contextmanager
def oaiserve(
    program: Program, core: Core, folder: pathlib.Path, cached: bool = True, profile: pathlib.Path | None = None
) -> Iterator[Peer]:
    """Run a backend, `cached` as above; where `profile` is a file, cProfile's figures are in it after.

    Only the log is not where a user has it by default: it goes to a file instead of a terminal.
    """
    python = [sys.executable, *(("-m", "cProfile", "-o", str(profile)) if profile else ())]
    with tempfile.TemporaryDirectory(dir=folder) as home:
        settings = [f"server.log_file={home}/log", *program.settings]
        if program.keys:
            (pathlib.Path(home) / "keys.ini").write_text(_keys_file(program.keys))
            settings += [f"server.keys_file={home}/keys.ini", f"ledger.file={home}/ledger.db"]
        command = [*python, str(program.file), program.backend, "--port", "0", "--workers", str(program.workers)]
        for setting in settings:
            command += ["--set", setting]
        with running(ServerProcess(program.name, command, core, folder, cached)) as process:
            yield Peer(program.name, process.printed_port(), CHAT_PATH, process, program, max(1, program.keys))


def _keys_file(count: int) -> str:
    """Return the keys of the traffic, each with every limit that there is, none of which is reached."""
    limits = "requests = 1000000000/min\ntokens = 1000000000k/min\nat_once = 100000\nbudget = 9000000 USD/month\n"
    hashes = (hashlib.sha256((KEY % number).encode()).hexdigest() for number in range(1, count + 1))
    keys = (f"[key caller{number}]\nhash = sha256:{digest}\n{limits}" for number, digest in enumerate(hashes, 1))
    return "".join(keys) + "[prices]\n* = 1 in, 2 out\n"


@contextlib.contextmanager
def bare(answer: bytes, core: Core, folder: pathlib.Path) -> Iterator[Peer]:
    """Run the peer that only writes `answer`."""
    file = folder / "answer.bin"
    file.write_bytes(answer)
    command = [sys.executable, str(pathlib.Path(__file__).with_name("bare.py")), str(file)]
    with running(ServerProcess("bare asyncio", command, core, folder)) as process:
        yield Peer("bare asyncio", process.printed_port(), CHAT_PATH, process)


@contextlib.contextmanager
def upstream(plain: bytes, pieces: Sequence[bytes], delay: float, core: Core, folder: pathlib.Path) -> Iterator[Peer]:
    """Run the peer that a relay can stand in front of: a plain answer, or a stream piece by piece, `delay` s apart."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="upstream-", dir=folder))
    files = [home / f"{number}.bin" for number in range(1 + len(pieces))]
    for file, content in zip(files, [plain, *pieces]):
        file.write_bytes(content)
    script = str(pathlib.Path(__file__).with_name("bare.py"))
    command = [sys.executable, script, "--delay", str(delay), *map(str, files)]
    with running(ServerProcess("the upstream directly", command, core, folder)) as process:
        yield Peer("the upstream directly", process.printed_port(), CHAT_PATH, process)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def raise_file_limit() -> int:
    """Lift the soft limit of open files to the hard one, for this process and its children; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def resident_kilobytes(pid: int) -> float:
    """Return the memory that a process has in use (its resident set), in kB."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup")
    if rollup.exists():
        found = re.search(r"^Rss:\s+(\d+) kB", rollup.read_text(), re.MULTILINE)
        if found:
            return float(found[1])
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=True)
    return float(shown.stdout)


def cpu_seconds(pid: int) -> float:
    """Return how long all threads of a process and of all that it started have run on a core.

    Linux tells nanoseconds, ps elsewhere hundredths of a second. A thread that has ended counts no more.
    """
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        shown = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True, check=True)
        return seconds_of_ps(shown.stdout.strip())
    family = _family(str(pid))
    threads = (thread for one in family for thread in pathlib.Path(f"/proc/{one}/task").iterdir())
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def _family(pid: str) -> list[str]:
    """Return this process and all that come from it."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(child))]


def seconds_of_ps(shown: str) -> float:
    """Return the seconds of a time as ps shows it: [[days-]hours:]minutes:seconds, with hundredths on macOS."""
    days, _, clock = shown.rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds + 86400 * int(days or 0)
