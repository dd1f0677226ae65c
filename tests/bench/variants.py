"""What a setting costs: our own program twice, with something to do and without it.

Where another oaiserve is to compare with, that one has the same settings instead of going without.
"""

from __future__ import annotations

import contextlib

from behind import TEXT, dashscope_upstream, openai_upstream, settings_for
from peers import Peer, Program, oaiserve
from report import Findings
from throughput import Options, measure_both_kinds, measure_rates, start_rivals
from traffic import USUAL

_CALLERS = 2000
_SECONDS_OF_CALLERS = 4  # at least: so many connections take their time to be opened
_SPARE_FILES = 200  # descriptors of a server that are not connections


def measure_mapping(options: Options) -> Findings:
    """Compare a relay that renames models with one that does not."""
    with openai_upstream(options.cores.upstream, options.folder) as behind:
        settings = settings_for(behind, options.connections)
        renaming = Program(options.program, "relay", (*settings, "relay.models=gpt-4o = gpt-4o-mini"))
        without = Program(options.program, "relay", settings, called="without")
        return measure_both_kinds(options, "relay that renames models", renaming, _server(options, without))


def measure_translator(options: Options) -> Findings:
    """Compare the DashScope translator with the relay, each before an upstream of its own kind."""
    core, folder, kept = options.cores.upstream, options.folder, options.connections
    with openai_upstream(core, folder) as behind, dashscope_upstream(core, folder) as native:
        settings = (*settings_for(native, kept, "dashscope"), "dashscope.models=gpt-4o = qwen-plus")
        translator = Program(options.program, "dashscope", settings)
        relay = Program(options.program, "relay", settings_for(behind, kept), called="our relay")
        return measure_both_kinds(options, "DashScope translator", translator, _server(options, relay))


def measure_everything(options: Options) -> Findings:
    """Compare keys, limits, ledger and log with none of them, in the mock and in the relay."""
    found = Findings([], [])
    with openai_upstream(options.cores.upstream, options.folder) as behind:
        relayed = settings_for(behind, options.connections)
        for backend, settings in (("mock", (f"mock.text={TEXT}",)), ("relay", relayed)):
            on = Program(options.program, backend, settings, keys=1)
            off = Program(options.program, backend, (*settings, "server.log=off"))
            part = measure_both_kinds(options, f"{backend}, everything on", on, _server(options, off))
            found.rows.extend(part.rows)
            found.notes.extend(part.notes)
    return found


def measure_callers(options: Options) -> Findings:
    """Compare many callers at once, each with a key and limits of its own, with as many connections of one."""
    connections, seconds = min(_CALLERS, options.file_limit - _SPARE_FILES), max(_SECONDS_OF_CALLERS, options.seconds)
    options = options._replace(connections=connections, seconds=seconds, traffic=[USUAL])
    program = Program(options.program, "mock", (f"mock.text={TEXT}",), keys=_CALLERS)
    with contextlib.ExitStack() as running:
        server = running.enter_context(_server(options, program))
        one = contextlib.nullcontext(server._replace(name="one caller", keys=1))
        rivals, notes = start_rivals(running, options, server, one)
        work = f"mock, plain answer, {_CALLERS:,} callers on {options.connections:,} connections"
        found = measure_rates(options, work, server, rivals, stream=False)
    return Findings(found.rows, notes + found.notes)


def measure_workers(options: Options) -> Findings:
    """Compare two workers with one, which has the same two cores to choose from; the load needs a third one."""
    cores = options.cores
    if not isinstance(cores.server, int) or cores.upstream is None or cores.upstream == cores.load:
        usable = "cores cannot be chosen here" if cores.server is None else "this process may use two cores alone"
        return Findings([], [f"workers: no core is to spare for a second worker beside the load: {usable}."])
    both = options._replace(cores=cores._replace(server={cores.server, cores.upstream}))
    two = Program(options.program, "mock", (f"mock.text={TEXT}",), called="two workers", workers=2)
    return measure_both_kinds(both, "mock", two, _server(both, two._replace(called="one worker", workers=1)))


def _server(options: Options, program: Program) -> contextlib.AbstractContextManager[Peer]:
    return oaiserve(program, options.cores.server, options.folder)
