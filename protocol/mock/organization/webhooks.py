"""Webhook endpoints.

An endpoint's secret is answered once, when it is made or rotated. The mock calls no endpoint: a test always says that
the event was taken. Source: OpenAI API reference, "Webhooks".
"""

from __future__ import annotations

import base64
import typing

from protocol.mock.engine.resources import Handler, create_record
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.openai.api.notation import ChoiceShape
from protocol.wire.json_text import JsonObject

_SECRET_BYTES = 32


class Webhooks:
    """The family of /webhook_endpoints and /webhook_event_types."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        endpoint = "/webhook_endpoints/{webhook_endpoint_id}"
        return {
            "POST /webhook_endpoints": self.create,
            f"POST {endpoint}/rotate_secret": self.rotate,
            f"POST {endpoint}/test": self.test,
            "GET /webhook_event_types": self.event_types,
        }

    def create(self, call: Call) -> JsonObject:
        """Add an endpoint, and show its secret this once."""
        record = create_record(call)
        del record.object["signing_secret"]
        return self._with_secret(record)

    def rotate(self, call: Call) -> JsonObject:
        """Give an endpoint a new secret, and show it this once."""
        record = call.record()
        record.object["updated_at"] = self._world.now()
        return self._with_secret(record)

    def _with_secret(self, record: Record) -> JsonObject:
        bits = self._world.random_bits(_SECRET_BYTES * 8)
        secret = f"whsec_{base64.b64encode(bits.to_bytes(_SECRET_BYTES, 'big')).decode()}"
        record.object["signing_secret_hint"] = f"whsec_...{secret[-5:]}"
        shape = self._world.reference.operation("POST /webhook_endpoints").result
        return self._world.complete(shape, {**record.object, "signing_secret": secret})

    def test(self, call: Call) -> JsonObject:
        """Say that the endpoint took a test event."""
        record = call.record()
        known = {"webhook_endpoint_id": record.id, "event_type": call.body["event_type"], "status_code": 200}
        return self._world.complete(call.operation.result, known)

    def event_types(self, call: Call) -> JsonObject:
        """Answer the types of events."""
        shape = typing.cast(ChoiceShape, self._world.reference.shapes.named("WebhookEventType"))
        return {"object": "list", "data": list(shape.values)}
