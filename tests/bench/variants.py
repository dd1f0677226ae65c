"""What a setting costs: our own program twice, with something to do and without it.

Where another oaiserve is to compare with, that one has the same settings instead of going without.
"""

from __future__ import annotations

import contextlib

from peers import Program, oaiserve
from report import Findings
from throughput import Options, check_peer, measure_rates, start_rivals
from traffic import USUAL
from upstreams import KINDS, TEXT, dashscope_upstream, openai_upstream, settings_for

_CALLERS = 2000
_SECONDS_OF_CALLERS = 4  # at least: so many connections take their time to be opened
_SPARE_FILES = 200  # descriptors of a server that are not connections


def measure_mapping(options: Options) -> Findings:
    """Compare a relay that renames models with one that does not."""
    with openai_upstream(options.cores.upstream, options.folder) as behind:
        settings = settings_for(behind, options.connections)
        renaming = Program(options.program, "relay", (*settings, "relay.models=gpt-4o = gpt-4o-mini"))
        without = Program(options.program, "relay", settings, called="without")
        return _both_kinds(options, "relay that renames models", renaming, without)


def measure_translator(options: Options) -> Findings:
    """Compare the DashScope translator with the relay, each before an upstream of its own kind."""
    core, folder, kept = options.cores.upstream, options.folder, options.connections
    with openai_upstream(core, folder) as behind, dashscope_upstream(core, folder) as native:
        settings = (*settings_for(native, kept, "dashscope"), "dashscope.models=gpt-4o = qwen-plus")
        translator = Program(options.program, "dashscope", settings)
        relay = Program(options.program, "relay", settings_for(behind, kept), called="our relay")
        return _both_kinds(options, "DashScope translator", translator, relay)


def measure_everything(options: Options) -> Findings:
    """Compare keys, limits, ledger and log with none of them, in the mock and in the relay."""
    found = Findings([], [])
    with openai_upstream(options.cores.upstream, options.folder) as behind:
        relayed = settings_for(behind, options.connections)
        for backend, settings in (("mock", (f"mock.text={TEXT}",)), ("relay", relayed)):
            on = Program(options.program, backend, settings, keys=1)
            off = Program(options.program, backend, (*settings, "server.log=off"))
            part = _both_kinds(options, f"{backend}, everything on", on, off)
            found.rows.extend(part.rows)
            found.notes.extend(part.notes)
    return found


def measure_callers(options: Options) -> Findings:
    """Compare many callers at once, each with a key and limits of its own, with as many connections of one."""
    connections, seconds = min(_CALLERS, options.file_limit - _SPARE_FILES), max(_SECONDS_OF_CALLERS, options.seconds)
    options = options._replace(connections=connections, seconds=seconds, traffic=[USUAL])
    program = Program(options.program, "mock", (f"mock.text={TEXT}",), keys=_CALLERS)
    with contextlib.ExitStack() as running:
        server = running.enter_context(oaiserve(program, options.cores.server, options.folder))
        one = contextlib.nullcontext(server._replace(name="one caller", keys=1))
        rivals, notes = start_rivals(running, options, server, one)
        work = f"mock, plain answer, {_CALLERS:,} callers on {options.connections:,} connections"
        found = measure_rates(options, work, server, rivals, stream=False)
    return Findings(found.rows, notes + found.notes)


def _both_kinds(options: Options, work: str, ours: Program, without: Program) -> Findings:
    core, folder = options.cores.server, options.folder
    options, found = options._replace(traffic=[USUAL]), Findings([], [])
    with contextlib.ExitStack() as running:
        subject = running.enter_context(oaiserve(ours, core, folder))
        rivals, _ = start_rivals(running, options, subject, oaiserve(without, core, folder))
        for kind, stream in KINDS.items():
            for peer in (subject, *rivals):
                check_peer(peer, TEXT, stream)
            part = measure_rates(options, f"{work}, {kind}", subject, rivals, stream)
            found.rows.extend(part.rows)
            found.notes.extend(part.notes)
    return found
