"""What the README's programs use of OpenAI's SDK, where that is not installed: a chat, whole or in pieces."""

from __future__ import annotations

import json
import types
import urllib.request


class _Model(types.SimpleNamespace):
    def __getattr__(self, name):  # what an answer leaves out is None
        return None


def _read(text):
    return json.loads(text, object_hook=lambda members: _Model(**members))


class OpenAI:
    """A client whose `chat.completions.create` asks a server."""

    def __init__(self, base_url, api_key):
        self._base_url, self._api_key = base_url, api_key
        self.chat = types.SimpleNamespace(completions=types.SimpleNamespace(create=self._create))

    def _create(self, **asked):
        fields = {"authorization": f"Bearer {self._api_key}", "content-type": "application/json"}
        request = urllib.request.Request(f"{self._base_url}/chat/completions", json.dumps(asked).encode(), fields)
        with urllib.request.urlopen(request) as answer:
            text = answer.read().decode()
        if not asked.get("stream"):
            return _read(text)
        assert text.endswith("data: [DONE]\n\n")
        return iter([_read(line[6:]) for line in text.splitlines() if line.startswith("data: {")])
