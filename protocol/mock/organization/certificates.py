"""The certificates of an organization, and when an X.509 certificate is valid.

Source: OpenAI API reference, "Certificates"; RFC 5280 §4.1.2.5.
"""

from __future__ import annotations

import base64
import binascii
import re
import time

from protocol.errors import ApiError
from protocol.mock.engine.resources import Handler, create_record, delete_object, list_objects, page_of
from protocol.mock.engine.world import Call, World
from protocol.wire.json_text import JsonObject

_CERTIFICATES = "/organization/certificates"

# The validity in an X.509 certificate: two times, each UTCTime or GeneralizedTime. RFC 5280 §4.1.2.5
_VALIDITY = re.compile(rb"\x30[\x1e-\x22]([\x17\x18][\x0d\x0f]\d{12,14}Z)([\x17\x18][\x0d\x0f]\d{12,14}Z)")
# Days from 0001-01-01 to 1970-01-01, counted as tm_yday counts.
_DAYS_BEFORE_EPOCH = 719163
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


class Certificates:
    """The operations on certificates."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        handlers: dict[str, Handler] = {
            "POST /organization/certificates": self.upload,
            "GET /organization/certificates/{certificate_id}": self.certificate,
            "DELETE /organization/certificates/{certificate_id}": self.delete,
        }
        for owner in ("/organization", "/organization/projects/{project_id}"):
            handlers[f"POST {owner}/certificates/activate"] = self.activate
            handlers[f"POST {owner}/certificates/deactivate"] = self.deactivate
            handlers[f"GET {owner}/certificates"] = self.certificates
        return handlers

    def upload(self, call: Call) -> JsonObject:
        """Keep a certificate. It is not active before it is activated."""
        pem = call.body["certificate"]
        details = certificate_validity(pem)
        record = create_record(call, {"certificate_details": details, "active": False}, pem.encode("utf-8", "replace"))
        return record.object

    def certificates(self, call: Call) -> JsonObject:
        """Answer the certificates. Each is shown without its text."""
        page = list_objects(call)
        page["data"] = [self._world.complete(call.operation.result, certificate) for certificate in page["data"]]
        return page

    def certificate(self, call: Call) -> JsonObject:
        """Answer a certificate, with its text where that is asked for."""
        record = call.record()
        details = record.object.get("certificate_details") or {}
        if "content" in (call.query.get("include") or []):
            details = {**details, "content": record.content.decode()}
        return self._world.complete(call.operation.result, {**record.object, "certificate_details": details})

    def delete(self, call: Call) -> JsonObject:
        """Remove a certificate; ApiError 400 for one that is active."""
        if call.record().object.get("active"):
            raise ApiError(400, "An active certificate cannot be deleted: deactivate it first.", param="certificate_id")
        return delete_object(call)

    def activate(self, call: Call) -> JsonObject:
        """Make certificates active, for the organization or for a project."""
        return self._switch(call, True)

    def deactivate(self, call: Call) -> JsonObject:
        """Make certificates inactive, for the organization or for a project."""
        return self._switch(call, False)

    def _switch(self, call: Call, active: bool) -> JsonObject:
        world = self._world
        project_id = call.names.get("project_id")
        word = "activation" if active else "deactivation"
        switched = []
        for id in call.body["certificate_ids"]:
            record = world.find(_CERTIFICATES, id, param="certificate_ids")
            shown = world.complete(call.operation.result, {**record.object, "active": active})
            if project_id is None:
                record.object["active"] = active
            else:
                world.store.add(f"/organization/projects/{project_id}/certificates", id, shown)
            switched.append(shown)
        of = "organization.project" if project_id else "organization"
        return {**page_of(switched, {"order": "asc"}, "whole"), "object": f"{of}.certificate.{word}"}


def certificate_validity(pem: str) -> JsonObject:
    """Return when a certificate begins and ceases to be valid, `valid_at` and `expires_at`; {} for any other text."""
    match = _PEM.search(pem)
    if match is None:
        return {}
    try:
        der = base64.b64decode("".join(match[1].split()), validate=True)
    except binascii.Error:
        return {}
    found = _VALIDITY.search(der)
    if found is None:
        return {}
    try:
        return {"valid_at": _seconds_of(found[1]), "expires_at": _seconds_of(found[2])}
    except ValueError:
        return {}


def _seconds_of(encoded: bytes) -> int:
    text = encoded[2:].decode()
    # RFC 5280 §4.1.2.5.1: a year of two digits is 19YY from 50 on, and 20YY below.
    if encoded[0] == 0x17:
        text = ("19" if text >= "50" else "20") + text
    at = time.strptime(text, "%Y%m%d%H%M%SZ")
    past = at.tm_year - 1
    days = past * 365 + past // 4 - past // 100 + past // 400 + at.tm_yday - _DAYS_BEFORE_EPOCH
    return ((days * 24 + at.tm_hour) * 60 + at.tm_min) * 60 + at.tm_sec
