"""A client that has done nothing: it asks for /health and a chat, one after the other, and notes the longest wait.

It runs as a process of its own, so that the attacker's work is none of its waits: `python victim.py PORT`. It ends when
its standard input does, and prints what it saw as one line of JSON.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time

# Answered by the server itself, whatever the attack is for.
_CHAT = json.dumps({"model": "victim", "messages": [{"role": "user", "content": "Hello"}]})
_PAUSE_SECONDS = 0.003
_LONGEST_SECONDS = 600


def main() -> None:
    port = int(sys.argv[1])
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LONGEST_SECONDS)
    waits: list[float] = []
    failures: list[str] = []
    for method, path, body in (("GET", "/health", None), ("POST", "/v1/chat/completions", _CHAT)):
        _ask(connection, method, path, body)  # what is loaded at the first request is no wait of ours
    print("ready", flush=True)
    while not ended.is_set():
        for method, path, body in (("GET", "/health", None), ("POST", "/v1/chat/completions", _CHAT)):
            began = time.perf_counter()
            try:
                status = _ask(connection, method, path, body)
                if status != 200:
                    failures.append(f"{path}: {status}")
            except (OSError, http.client.HTTPException) as exc:
                failures.append(f"{path}: {exc!r}")
                connection.close()
            waits.append(time.perf_counter() - began)
            time.sleep(_PAUSE_SECONDS)
    print(json.dumps({"worst": max(waits, default=0.0), "asked": len(waits), "failures": failures[:3]}), flush=True)


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: str | None) -> int:
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    answer.read()
    return answer.status


if __name__ == "__main__":
    main()
