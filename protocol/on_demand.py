"""What is imported when: one table, so that a start compiles only what it runs.

Whatever every start needs is imported where it is used, at the top of a module. The rest stands here, by the occasion
on which it is first wanted. It costs that occasion some milliseconds once: 1.7 MB of source take longer to compile than
everything else that a start does, and a relay needs a third of it.
"""

from __future__ import annotations

import functools
import importlib
import typing

#: By occasion: the modules that are imported then, each with the name that is wanted of it.
ON_DEMAND: dict[str, tuple[tuple[str, str], ...]] = {
    # A command.
    "try": (("protocol.tools.trial", "run_trial"),),
    "bundle": (("protocol.tools.bundle", "write_bundle"), ("protocol.tools.bundle", "BundleError")),
    "workers": (("protocol.server.workers", "run_workers"), ("protocol.server.workers", "WorkersFailed")),
    "config file": (("protocol.config_file", "read_ini"),),
    # A browser at GET /.
    "info page": (("protocol.service.page", "info_page"),),
    # A request whose model is in a form, and one whose model is to be replaced in JSON.
    "form with a model": (("protocol.openai.model_in_form", "ModelRewriter"),),
    "JSON with a model": (
        ("protocol.openai.model_in_json", "find_model"),
        ("protocol.openai.model_in_json", "replace_model"),
    ),
    # A route that names a backend of the kind.
    "mock": (("protocol.mock.backend", "Mock"),),
    "relay": (("protocol.relay.backend", "Relay"),),
    "dashscope": (("protocol.dashscope.backend", "DashScope"),),
    # The mock's first request that is no chat of the simplest form: all endpoints, and the description of the API.
    "mock api": (("protocol.mock.api", "Api"),),
    "mock reference": (("protocol.openai.reference.whole", "API_REFERENCE"),),
    # The mock's first request below a path: the families that answer there.
    "mock /agents": (
        ("protocol.mock.agents.agents", "Agents"),
        ("protocol.mock.agents.sessions", "Sessions"),
        ("protocol.mock.agents.environments", "Environments"),
        ("protocol.mock.agents.automations", "Automations"),
    ),
    "mock /assistants": (("protocol.mock.assistants.assistants", "Assistants"),),
    "mock /audio": (("protocol.mock.inference.audio", "Audio"),),
    "mock /batches": (("protocol.mock.storage.batches", "Batches"),),
    "mock /chat": (("protocol.mock.inference.chat", "ChatCompletions"),),
    "mock /chatkit": (("protocol.mock.assistants.chatkit", "ChatKit"),),
    "mock /completions": (("protocol.mock.inference.text_completions", "TextCompletions"),),
    "mock /containers": (("protocol.mock.storage.containers", "Containers"),),
    "mock /content_provenance_checks": (("protocol.mock.inference.moderations", "Moderations"),),
    "mock /conversations": (("protocol.mock.responses.conversations", "Conversations"),),
    "mock /decisions": (("protocol.mock.inference.decisions", "Decisions"),),
    "mock /embeddings": (("protocol.mock.inference.embeddings", "Embeddings"),),
    "mock /evals": (("protocol.mock.training.evals", "Evals"),),
    "mock /files": (("protocol.mock.storage.files", "Files"),),
    "mock /fine_tuning": (("protocol.mock.training.fine_tuning", "FineTuning"),),
    "mock /images": (("protocol.mock.inference.images", "MockImages"),),
    "mock /live": (("protocol.mock.realtime.endpoints", "Realtime"),),
    "mock /models": (("protocol.mock.training.fine_tuning", "FineTuning"),),
    "mock /moderations": (("protocol.mock.inference.moderations", "Moderations"),),
    "mock /organization": (
        ("protocol.mock.organization.audit", "AuditLog"),
        ("protocol.mock.organization.organization", "Organization"),
        ("protocol.mock.organization.usage", "Usage"),
    ),
    "mock /projects": (("protocol.mock.organization.organization", "Organization"),),
    "mock /realtime": (("protocol.mock.realtime.endpoints", "Realtime"),),
    "mock /responses": (("protocol.mock.responses.responses", "Responses"),),
    "mock /skills": (("protocol.mock.storage.skills", "Skills"),),
    "mock /threads": (
        ("protocol.mock.assistants.threads", "Threads"),
        ("protocol.mock.assistants.runs", "Runs"),
    ),
    "mock /uploads": (("protocol.mock.storage.uploads", "Uploads"),),
    "mock /vaults": (("protocol.mock.agents.agents", "Agents"),),
    "mock /vector_stores": (("protocol.mock.storage.vector_stores", "VectorStores"),),
    "mock /videos": (("protocol.mock.inference.videos", "Videos"),),
    "mock /webhook_endpoints": (("protocol.mock.organization.webhooks", "Webhooks"),),
    "mock /webhook_event_types": (("protocol.mock.organization.webhooks", "Webhooks"),),
    # Its first answer that may call tools, its first that is JSON.
    "mock tool calls": (("protocol.mock.answer.calls", "due_calls"),),
    "mock JSON": (
        ("protocol.mock.answer.json_answer", "json_by_schema"),
        ("protocol.mock.answer.json_answer", "json_by_description"),
    ),
    # Its first request in DashScope's own words.
    "mock dashscope": (("protocol.mock.dashscope.api", "NativeMock"),),
}


@functools.lru_cache(maxsize=None)  # an import that finds its module takes 4 µs, and answers may need several
def load(occasion: str) -> tuple[typing.Any, ...]:
    """Import what an occasion needs and return it, in the table's order; KeyError for an occasion that has nothing."""
    # The package has another name in the single file, so that nobody else's `protocol` is disturbed.
    return tuple(
        getattr(importlib.import_module(f"{__package__}.{module.partition('.')[2]}"), name)
        for module, name in ON_DEMAND[occasion]
    )
