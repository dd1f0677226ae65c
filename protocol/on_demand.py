"""What is imported when: one table, so that a start compiles only what it runs.

Whatever every start needs is imported where it is used, at the top of a module. The rest stands here, by the occasion
on which it is first wanted. It costs that occasion some milliseconds once: 1.7 MB of source take longer to compile than
everything else that a start does, and a relay needs a third of it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import re
import sys
import typing

from protocol.budget import is_in_turns, let_others_go_first

#: By occasion: the modules that are imported then, each with the name that is wanted of it.
ON_DEMAND: dict[str, tuple[tuple[str, str], ...]] = {
    # A command.
    "try": (("protocol.tools.trial", "run_trial"), ("protocol.tools.trial", "ask_hidden")),
    "bundle": (("protocol.tools.bundle", "write_bundle"), ("protocol.tools.bundle", "BundleError")),
    "completion": (
        ("protocol.tools.completion", "write_completion"),
        ("protocol.tools.completion", "Command"),
        ("protocol.tools.completion", "Offer"),
    ),
    "serving": (("protocol.program.serving", "serve_command"),),
    "parent of workers": (("protocol.program.parent", "serve_with_workers"),),
    "workers": (("protocol.server.workers", "run_workers"), ("protocol.server.workers", "WorkersFailed")),
    # A start by systemd or by an older process; the signal to let a newer one take over.
    "handover": (
        ("protocol.server.handover", "take_over"),
        ("protocol.server.handover", "Manager"),
        ("protocol.server.handover", "Successor"),
    ),
    "usage command": (("protocol.team.usage_command", "run_usage"),),
    # A first large body.
    "large blocks": (("protocol.server.allocator", "keep_large_blocks_apart"),),
    # A start where open files have a limit.
    "descriptors": (
        ("protocol.server.descriptors", "affordable_connections"),
        ("protocol.server.descriptors", "allow_connections"),
    ),
    "config file": (("protocol.config_file", "read_entries"),),
    # A mistake in it.
    "near word": (("protocol.nearest", "nearest"),),
    # A log with one line a request, and one that tells what is seen of answers.
    "line of a request": (("protocol.service.log_line", "request_line"),),
    "onlooker": (("protocol.service.seen", "Onlooker"),),
    # A line of the log that tells of a key.
    "key label": (("protocol.service.key_label", "md5_label"),),
    # A start whose backends hold a key.
    "key that is held": (("protocol.wire.masking", "can_be_masked"),),
    # A start with a ledger: in the parent, in those that serve, in the one that writes.
    "ledger place": (
        ("protocol.team.ledger.place", "check_place"),
        ("protocol.team.ledger.place", "network_remark"),
        ("protocol.team.ledger.place", "read_mounts"),
    ),
    "ledger that is there": (("protocol.team.ledger.query", "check_ledger"),),
    "ledger process": (("protocol.team.ledger.process", "WriterProcess"),),
    "held file": (("protocol.team.held_file", "hold"), ("protocol.team.held_file", "hold_when_free")),
    "spool": (("protocol.team.ledger.spool", "Spool"),),
    "ledger writer": (
        ("protocol.team.ledger.writer", "run_writer"),
        ("protocol.team.ledger.writer", "read_lifeline"),
        ("protocol.turns", "start_thread"),
    ),
    # A program that embeds a server.
    "embedding": (
        ("protocol.program.embedding", "start"),
        ("protocol.program.embedding", "serve"),
        ("protocol.program.embedding", "load_settings"),
        ("protocol.program.embedding", "RunningServer"),
        ("protocol.program.embedding", "SessionHandle"),
        ("protocol.program.service", "Service"),
        ("protocol.errors", "ApiError"),
        ("protocol.errors", "UsageError"),
    ),
    # What a tester switches on.
    "instrument": (("protocol.instrument.front", "Front"),),
    # A relay whose answers are recorded; what is done with such a recording besides.
    "cassette": (("protocol.cassette.deck", "Deck"), ("protocol.cassette.tape", "Tape")),
    "cassette command": (("protocol.cassette.command", "run_cassette"),),
    "key command": (("protocol.team.key_command", "run_key"), ("protocol.team.key_command", "Terminal")),
    # A program that asks for a session of the server that it runs; a test that does.
    "session handle": (("protocol.instrument.handle", "SessionHandle"),),
    "pytest plugin": (("protocol.instrument.pytest_plugin", "make_plugin"),),
    "verdict": (
        ("protocol.instrument.verdict.report", "judge"),
        ("protocol.instrument.verdict.report", "as_json"),
        ("protocol.instrument.verdict.report", "as_junit"),
    ),
    "fault by name": (("protocol.instrument.faults.by_name", "answer_with_named_fault"),),
    "fault": (("protocol.instrument.faults.language", "parse_fault"),),
    "script file": (("protocol.instrument.scripts", "read_script_file"),),
    # A browser at GET /.
    "page": (("protocol.service.page.whole", "make_page"),),
    # Who watches there what comes.
    "live": (("protocol.service.live", "Live"),),
    # GET /openapi.json.
    "OpenAPI": (
        ("protocol.openai.api.as_openapi", "openapi"),
        ("protocol.openai.api.operations", "Reference"),
        ("protocol.openai.reference.whole", "API_REFERENCE"),
    ),
    # A request whose model is in a form; one whose model is in JSON, and is looked for, or replaced; an encoded body.
    "form with a model": (("protocol.openai.model_in_form", "ModelRewriter"),),
    "JSON with a model": (("protocol.openai.model_in_json", "find_model"),),
    "JSON to rename a model in": (
        ("protocol.openai.model_in_json", "renamed_plainly"),
        ("protocol.openai.model_in_json", "named_models"),
        ("protocol.openai.model_in_json", "replace_model"),
    ),
    "WebSocket with a model": (("protocol.relay.session_model", "with_renamed_session"),),
    "session with a model": (("protocol.relay.session_model", "with_model_in_session"),),
    "encoded body": (("protocol.wire.content_coding", "decode_content"),),
    # An upstream that answers in a coding that it was not asked for.
    "coded answer": (("protocol.relay.coded", "DecodedBody"),),
    # An upstream that closes a connection on which a request is, under Linux.
    "an upstream that closes a connection": (("protocol.upstream.unread", "unacknowledged_bytes"),),
    # A route that names a backend of the kind.
    "mock": (("protocol.mock.backend", "Mock"),),
    "relay": (("protocol.relay.backend", "Relay"),),
    "dashscope": (("protocol.dashscope.backend", "DashScope"),),
    # A server that asks for keys, limits or notes what is used.
    "team": (
        ("protocol.team.team", "Team"),
        ("protocol.team.team", "load_keys"),
        ("protocol.team.team", "open_store"),
        ("protocol.team.team", "check_store"),
    ),
    # Notes of a start whose keys have budgets.
    "prices": (("protocol.team.money", "price_of"),),
    # A caller who asks what is left of his limits.
    "own use": (("protocol.team.own_use", "tell_own_use"),),
    "windows": (("protocol.limiter", "read_windows"),),
    # Limits of keys, teams and addresses, by where it is kept what they have taken.
    "limits of a process": (("protocol.team.stores.memory", "MemoryStore"),),
    "limits of a host": (("protocol.team.stores.shared", "SharedStore"),),
    "file of limits": (("protocol.team.stores.shared", "check_file"),),
    "limits in Redis": (
        ("protocol.team.stores.redis", "RedisStore"),
        ("protocol.team.stores.redis_address", "read_redis_address"),
    ),
    # The mock's first request that is no chat of the simplest form: all endpoints, and the description of the API.
    "mock api": (("protocol.mock.api", "Api"), ("protocol.mock.api", "Common")),
    "mock reference": (("protocol.openai.reference.whole", "API_REFERENCE"),),
    # The mock's first request below a path: the families that answer there.
    "mock below /agents": (
        ("protocol.mock.agents.agents", "Agents"),
        ("protocol.mock.agents.sessions", "Sessions"),
        ("protocol.mock.agents.environments", "Environments"),
        ("protocol.mock.agents.automations", "Automations"),
    ),
    "mock below /assistants": (("protocol.mock.assistants.assistants", "Assistants"),),
    "mock below /audio": (("protocol.mock.inference.audio", "Audio"),),
    "mock below /batches": (("protocol.mock.storage.batches", "Batches"),),
    "mock below /chat": (("protocol.mock.inference.chat", "ChatCompletions"),),
    "mock below /chatkit": (("protocol.mock.assistants.chatkit", "ChatKit"),),
    "mock below /completions": (("protocol.mock.inference.text_completions", "TextCompletions"),),
    "mock below /containers": (("protocol.mock.storage.containers", "Containers"),),
    "mock below /content_provenance_checks": (("protocol.mock.inference.moderations", "Moderations"),),
    "mock below /conversations": (("protocol.mock.responses.conversations", "Conversations"),),
    "mock below /decisions": (("protocol.mock.inference.decisions", "Decisions"),),
    "mock below /embeddings": (("protocol.mock.inference.embeddings", "Embeddings"),),
    "mock below /evals": (("protocol.mock.training.evals", "Evals"),),
    "mock below /files": (("protocol.mock.storage.files", "Files"),),
    "mock below /fine_tuning": (("protocol.mock.training.fine_tuning", "FineTuning"),),
    "mock below /images": (("protocol.mock.inference.images", "MockImages"),),
    "mock below /live": (("protocol.mock.realtime.endpoints", "Realtime"),),
    "mock below /models": (("protocol.mock.training.fine_tuning", "FineTuning"),),
    "mock below /moderations": (("protocol.mock.inference.moderations", "Moderations"),),
    "mock below /organization": (
        ("protocol.mock.organization.audit", "AuditLog"),
        ("protocol.mock.organization.organization", "Organization"),
        ("protocol.mock.organization.usage", "Usage"),
    ),
    "mock below /projects": (("protocol.mock.organization.organization", "Organization"),),
    "mock below /realtime": (("protocol.mock.realtime.endpoints", "Realtime"),),
    "mock below /responses": (("protocol.mock.responses.responses", "Responses"),),
    "mock below /skills": (("protocol.mock.storage.skills", "Skills"),),
    "mock below /threads": (
        ("protocol.mock.assistants.threads", "Threads"),
        ("protocol.mock.assistants.runs", "Runs"),
    ),
    "mock below /uploads": (("protocol.mock.storage.uploads", "Uploads"),),
    "mock below /vaults": (("protocol.mock.agents.agents", "Agents"),),
    "mock below /vector_stores": (("protocol.mock.storage.vector_stores", "VectorStores"),),
    "mock below /videos": (("protocol.mock.inference.videos", "Videos"),),
    "mock below /webhook_endpoints": (("protocol.mock.organization.webhooks", "Webhooks"),),
    "mock below /webhook_event_types": (("protocol.mock.organization.webhooks", "Webhooks"),),
    # Its first answer that may call tools, its first that is JSON.
    "mock tool calls": (("protocol.mock.answer.calls", "due_calls"),),
    "mock closing code": (("protocol.mock.answer.closing", "closing_code"),),
    "mock JSON": (
        ("protocol.mock.answer.json_answer", "json_by_schema"),
        ("protocol.mock.answer.json_answer", "json_by_description"),
    ),
    # Its first answer at a [pace NAME], of a length of its own, with anything drawn.
    "mock pace": (("protocol.mock.pace.pace", "Pace"),),
    "mock repeating": (("protocol.mock.repeating", "repeating_endpoint"),),
    "mock lengths": (("protocol.mock.pace.lengths", "Lengths"),),
    "mock draws": (("protocol.mock.pace.request_keys", "RequestKeys"),),
    # Its first request in DashScope's own words.
    "mock dashscope": (("protocol.mock.dashscope.api", "NativeMock"), ("protocol.mock.dashscope.newest", "Newest")),
}


@functools.cache  # an import that finds its module takes 4 µs, and answers may need several
def load(occasion: str) -> tuple[typing.Any, ...]:
    """Import what an occasion needs and return it, in the table's order; KeyError for an occasion that has nothing.

    In turns with everybody else, where the work is (protocol/turns.py): a turn compiles and runs one module.
    """
    if is_in_turns():
        for module, _ in ON_DEMAND[occasion]:
            _import_in_turns(module)
    given = tuple(getattr(importlib.import_module(_full_name(module)), name) for module, name in ON_DEMAND[occasion])
    _loaded.add(occasion)
    return given


def names_of(occasion: str) -> tuple[str, ...]:
    """Return the names that `load` gives for an occasion, in its order."""
    return tuple(name for _, name in ON_DEMAND[occasion])


def is_loaded(*occasions: str) -> bool:
    """Tell whether occasions have been loaded, or have nothing to load; else `load` may take 100 ms."""
    return all(occasion in _loaded or occasion not in ON_DEMAND for occasion in occasions)


def load_text(file: str) -> str:
    """Return the text of a file of the program that is no module, by its path in the tree: protocol/…/page.css."""
    spec: typing.Any = importlib.util.find_spec(str(__package__))
    if hasattr(spec.loader, "get_text"):  # the single file and the zipapp carry it (protocol/tools/starter.py)
        data = spec.loader.get_text(file)
    else:
        data = spec.loader.get_data(os.path.join(spec.submodule_search_locations[0], *file.split("/")[1:]))
    return str(data, "utf-8").replace("\r\n", "\n")


_loaded: set[str] = set()


# The form of every import of ours (tests/check arrows).
_OWN_IMPORT = re.compile(r"^from (protocol\.[\w.]+) import", re.MULTILINE)


def _import_in_turns(module: str) -> None:
    """Import a module after all that it imports.

    No import is under way at a pause: another that came to wait for it would wait for ever.
    """
    name = _full_name(module)
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    read_source = getattr(spec.loader, "get_source", None) if spec is not None else None
    for needed in _OWN_IMPORT.findall(read_source(name) or "" if read_source is not None else ""):
        _import_in_turns(needed)
    let_others_go_first()
    importlib.import_module(name)


def _full_name(module: str) -> str:
    # The package has another name in the single file, so that nobody else's `protocol` is disturbed.
    return f"{__package__}.{module.partition('.')[2]}"
