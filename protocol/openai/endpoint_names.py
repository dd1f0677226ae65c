"""What endpoints of the API are called by those who count: OpenAI's words for them, without anybody's ids."""

from __future__ import annotations

from protocol.openai.answers import api_path

#: Whatever a client asks for, it is one of these. What stands below one and has no name of its own counts as that one.
ENDPOINT_NAMES = frozenset(
    """
    agents agents.automations agents.environments agents.sessions assistants audio.speech audio.transcriptions
    audio.translations audio.voice_consents audio.voices batches chat.completions chatkit.sessions chatkit.threads
    completions containers containers.files content_provenance_checks conversations conversations.items decisions
    embeddings evals evals.runs files fine_tuning.alpha.graders fine_tuning.checkpoints fine_tuning.jobs
    images.edits images.generations images.variations live models moderations organization projects realtime
    realtime.calls realtime.client_secrets realtime.sessions realtime.transcription_sessions realtime.translations
    rerank reranks responses responses.compact responses.input_items responses.input_tokens safety.alerts
    safety.cases skills skills.versions threads threads.messages threads.runs uploads uploads.parts vaults
    vector_stores vector_stores.file_batches vector_stores.files vector_stores.search videos videos.characters
    webhook_endpoints webhook_event_types
    """.split()
)

#: The name of all that the API has no endpoint for.
OTHER_ENDPOINT = "other"

_PARTS = ENDPOINT_NAMES.union(
    name.rsplit(".", count)[0] for name in ENDPOINT_NAMES for count in range(1, name.count(".") + 1)
)
# No name has more parts, with an id between them.
_MOST_SEGMENTS = 6


def endpoint_name(path: str) -> str | None:
    """Return what a path's endpoint is called, `chat.completions` for example; None for a path that is no API's."""
    inner = path
    if path.startswith("/s/"):  # a session's
        inner = "/" + path[3:].partition("/")[2]
    found = api_path(inner)
    if found is None:
        return None
    name = ""
    for segment in found[1:].split("/", _MOST_SEGMENTS)[:_MOST_SEGMENTS]:
        longer = f"{name}.{segment}" if name else segment
        if longer in _PARTS:
            name = longer
    return name if name in ENDPOINT_NAMES else OTHER_ENDPOINT
