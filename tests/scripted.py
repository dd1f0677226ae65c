"""A client of a scripted server, over raw HTTP."""

from __future__ import annotations

import http.client
import json
import re

CHAT = "/v1/chat/completions"


class Answer:
    """What came back: `text`, and in a stream its `events`."""

    def __init__(self, answer):
        self.status = answer.status
        self.headers = answer.headers
        self.text = answer.read().decode()

    def json(self):
        return json.loads(self.text)

    @property
    def events(self):
        lines = [line.removeprefix("data: ") for line in self.text.split("\n") if line.startswith("data: ")]
        return [json.loads(line) for line in lines if line != "[DONE]"]


class Client:
    """Speaks to one session of a server."""

    def __init__(self, server, session):
        self.server = server
        self.session = session

    def ask(self, method, path, body=None, **fields):
        """Return the answer to a request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        try:
            connection.request(method, self.session + path, data, {"content-type": "application/json", **headers})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def script(self, *rules, **members):
        """Let the session's script be this; return what the control path answers."""
        answer = self.ask("PUT", "/_oaiserve/script", {"rules": list(rules), **members})
        assert answer.status == 200, answer.text
        return answer.json()

    def chat(self, *messages, **members):
        """Ask a chat; a string is a message of the user's."""
        told = [{"role": "user", "content": one} if isinstance(one, str) else one for one in messages]
        return self.ask("POST", CHAT, {"model": "gpt-4o", "messages": told, **members})


def client_of(server, request):
    """Return a client with a session of its own for a test."""
    return Client(server, f"/s/{re.sub('[^a-z0-9_]', '.', request.node.name)[:60]}")


def deltas(answer, member="content"):
    """Return what the deltas of a chat's stream have under a name, joined."""
    found = [event["choices"][0]["delta"].get(member) for event in answer.events if event["choices"]]
    return "".join(one for one in found if one)


ALL = {
    "reasoning": "Let me think.",
    "parts": ["Look now: ", {"name": "f", "arguments": {"a": "b c"}, "id": "call_7"}, "Done."],
    "usage": {"prompt_tokens": 50, "cached_tokens": 20},
}  # fmt: skip
