"""The whole description, in the order of the API reference."""

from __future__ import annotations

from protocol.openai.reference.agents import AGENTS_REFERENCE
from protocol.openai.reference.assistants import ASSISTANTS_REFERENCE
from protocol.openai.reference.chat import CHAT_REFERENCE
from protocol.openai.reference.common import COMMON_REFERENCE
from protocol.openai.reference.files import FILES_REFERENCE
from protocol.openai.reference.media import MEDIA_REFERENCE
from protocol.openai.reference.organization import ORGANIZATION_REFERENCE
from protocol.openai.reference.realtime import REALTIME_REFERENCE
from protocol.openai.reference.responses import RESPONSES_REFERENCE
from protocol.openai.reference.training import TRAINING_REFERENCE
from protocol.openai.reference.vectors import VECTORS_REFERENCE

#: The whole API, described.
API_REFERENCE = (
    COMMON_REFERENCE,
    CHAT_REFERENCE,
    RESPONSES_REFERENCE,
    MEDIA_REFERENCE,
    VECTORS_REFERENCE,
    FILES_REFERENCE,
    TRAINING_REFERENCE,
    REALTIME_REFERENCE,
    ASSISTANTS_REFERENCE,
    AGENTS_REFERENCE,
    ORGANIZATION_REFERENCE,
)
