"""Files that are too large for a call: put into DashScope's temporary store, which keeps them for 48 hours.

DashScope says where to, and signs a form for it; then the file goes there, and calls name it by an oss:// URL. The
client's key is not shown there. The host is guarded as download.py has it. Source: Alibaba Cloud Model Studio, "Upload
a file to get a temporary URL"; Alibaba Cloud OSS, "PostObject".
"""

from __future__ import annotations

import re
import typing
import urllib.parse

from protocol.dashscope.calls import Caller, NativeClient
from protocol.dashscope.download import Downloader
from protocol.dashscope.mapping.answer import as_object
from protocol.dashscope.mapping.errors import upstream_bad_response
from protocol.turns import in_turns
from protocol.wire.gathering import joined
from protocol.wire.json_text import JsonObject

# The form's fields, by what the policy calls them. OSS reads nothing behind the file.
_SIGNED = {
    "OSSAccessKeyId": "oss_access_key_id",
    "Signature": "signature",
    "policy": "policy",
    "x-oss-object-acl": "x_oss_object_acl",
    "x-oss-forbid-overwrite": "x_oss_forbid_overwrite",
}
_PLAIN = r"[ -~]{0,4096}"
_DIRECTORY = r"[A-Za-z0-9._/-]{1,1024}"
_ENDING = r".*\.([A-Za-z0-9]{1,5})"


class Uploader:
    """Puts files into the temporary store; `make_id` gives fresh hex digits."""

    def __init__(self, client: NativeClient, downloader: Downloader, make_id: typing.Callable[[], str]) -> None:
        self._client = client
        self._downloader = downloader
        self._make_id = make_id

    async def store(self, filename: str, data: bytes, model: str, caller: Caller) -> str:
        """Return the oss:// URL of a file, once it is there, for calls of `model`; DashScopeError."""
        query = urllib.parse.urlencode({"action": "getPolicy", "model": model})
        answer = await self._client.ask_task("GET", f"/uploads?{query}", caller, caller.deadline)
        policy = as_object(answer.get("data"))
        ending = re.fullmatch(_ENDING, filename)
        if not isinstance(policy.get("upload_dir"), str) or not re.fullmatch(_DIRECTORY, policy["upload_dir"]):
            raise upstream_bad_response("the upload's policy names no folder")
        key = f"{policy['upload_dir']}/file.{ending[1].lower() if ending else 'bin'}"
        boundary = self._make_id()  # no file has it by chance, and none can on purpose
        form = await in_turns(lambda: _form(policy, key, data, boundary))
        await self._downloader.post(str(policy.get("upload_host")), form, boundary, caller.deadline)
        return "oss://" + key


def _form(policy: JsonObject, key: str, data: bytes, boundary: str) -> bytes:
    fields = {name: str(policy.get(known, "")) for name, known in _SIGNED.items()}
    fields.update({"key": key, "success_action_status": "200"})
    if not all(re.fullmatch(_PLAIN, value) for value in fields.values()):
        raise upstream_bad_response("the upload's policy has something that no form takes")
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    file = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
    parts.append(file.encode() + b"Content-Type: application/octet-stream\r\n\r\n")
    return joined([*parts, data, f"\r\n--{boundary}--\r\n".encode()])
