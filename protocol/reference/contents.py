"""The parts of the description, in the order in which the API reference has them."""

from __future__ import annotations

from protocol.reference.agents import AGENTS_REFERENCE
from protocol.reference.assistants import ASSISTANTS_REFERENCE
from protocol.reference.chat import CHAT_REFERENCE
from protocol.reference.common import COMMON_REFERENCE
from protocol.reference.files import FILES_REFERENCE
from protocol.reference.media import MEDIA_REFERENCE
from protocol.reference.organization import ORGANIZATION_REFERENCE
from protocol.reference.realtime import REALTIME_REFERENCE
from protocol.reference.responses import RESPONSES_REFERENCE
from protocol.reference.training import TRAINING_REFERENCE
from protocol.reference.vectors import VECTORS_REFERENCE

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
