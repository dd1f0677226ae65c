"""Two replicas, as deploy/kubernetes.yaml sets them, behind nginx, as deploy/nginx.conf does, with their Redis.

They are restarted one after the other while clients ask; the test is the kubelet: it asks the probes, has the pause of
preStop, sends SIGTERM. What it is not: nobody tells nginx that a replica goes, as a cluster does. So nginx finds out.
With ROLLING_REQUESTS=10000 in the environment there are so many, and the pause is as long as it is written.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import pytest
from manifests import block, documents, found_in
from nginx import needs_nginx, running_nginx
from programs import ask, running
from redis_server import needs_redis, running_redis
from team_programs import at_once, hash_of
from upstreams import closed_port

pytestmark = [needs_nginx, needs_redis]

REQUESTS = int(os.environ.get("ROLLING_REQUESTS", "1000"))
IS_FULL = "ROLLING_REQUESTS" in os.environ
CLIENTS = 16
LIMIT_OF_BOB = 40
ALICE, BOB = "sk-oai-alice-0123456789abcdef", "sk-oai-bob-0123456789abcdef"
NGINX_CONF = pathlib.Path(__file__).parent.parent / "deploy" / "nginx.conf"


class Replica:
    """A pod: its process, on an address that stays the same."""

    def __init__(self, command: list[str], folder: pathlib.Path, environ: dict[str, str]) -> None:
        self.port = closed_port()
        self._command = [*command, "--config", str(folder / "config.ini"), "--port", str(self.port)]
        self._environ = {**os.environ, **environ}
        self._log = folder / f"{self.port}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when the startup and the readiness probe would have it take requests."""
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environ)
        for path in ("/health", "/ready"):
            while not self._probe(path):
                assert self.process.poll() is None, self._log.read_text()
                time.sleep(0.05)

    def _probe(self, path: str) -> bool:
        try:
            return ask(self.port, "GET", path)[0] == 200
        except OSError:
            return False

    def stop(self, pause: float, grace: float) -> None:
        """Have the pause of preStop, send SIGTERM, and wait as long as the pod may take."""
        assert self.process is not None
        time.sleep(pause)
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(grace - pause) == 0

    def answered(self) -> int:
        """Return how many requests stand in its log with 200."""
        return len(re.findall(r'"status": ?200', self._log.read_text()))


@contextlib.contextmanager
def cluster(command, folder):
    """Run Redis, an upstream, two replicas and nginx; give the replicas and nginx's port."""
    found = documents()
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(running_redis(folder))
        upstream = stack.enter_context(running(command, "mock", "--set", "server.log=off"))
        config = block(found["ConfigMap", "oaiserve"], "config.ini")
        config = config.replace("/etc/oaiserve/keys", str(folder)).replace("redis://oaiserve-redis:6379/0", redis.url)
        config = config.replace("https://api.openai.com/v1", f"{upstream.url}/v1\napi_key = ${{OPENAI_API_KEY}}")
        (folder / "config.ini").write_text(config)
        (folder / "keys.ini").write_text(
            f"[key alice]\nhash = {hash_of(ALICE)}\nrequests = 1M/min\n"
            f"[key bob]\nhash = {hash_of(BOB)}\nrequests = {LIMIT_OF_BOB}/day\n"
        )
        environ = {"OPENAI_API_KEY": "sk-upstream-0123456789"}
        replicas = [Replica(command, folder, environ) for _ in range(2)]
        for replica in replicas:
            replica.start()
            stack.callback(lambda ended=replica: ended.process.kill() or ended.process.wait())
        servers = NGINX_CONF.read_text(encoding="utf-8").replace("listen 80;", "listen 127.0.0.1:{port0};")
        servers = servers.replace("    listen [::]:80;\n", "")
        both = "".join(f"    server 127.0.0.1:{replica.port} max_fails=0;\n" for replica in replicas)
        servers = servers.replace("    server 127.0.0.1:8080;\n", both)
        (port,) = stack.enter_context(running_nginx(folder, servers))
        yield replicas, port


def said(answer: http.client.HTTPResponse, is_stream: bool) -> str:
    """Return what an answer is, "200" where it is whole."""
    data = answer.read()
    if answer.status != 200:
        return f"{answer.status} {data.decode()}"
    whole = data.endswith(b"data: [DONE]\n\n") if is_stream else b"powered by openai" in data
    return "200" if whole else f"cut: {data.decode()}"


class Clients:
    """What asks nginx, in any thread; each keeps its connection for every other request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kept = threading.local()
        self._made: list[http.client.HTTPConnection] = []

    def request(self, number: int, key: str) -> str:
        """Return what comes of a chat, "200" where the answer is whole; every third one is a stream."""
        connection = getattr(self._kept, "connection", None) or self._connect()
        is_stream = number % 3 == 0
        body = {"model": "gpt-4o", "stream": is_stream, "messages": [{"role": "user", "content": "Hello"}]}
        fields = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        self._kept.connection = None
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), fields)
            told = said(connection.getresponse(), is_stream)
        except (OSError, http.client.HTTPException) as exc:
            return repr(exc)
        if number % 2:
            self._kept.connection = connection
        else:
            connection.close()
        return told

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=100)
        self._made.append(connection)
        return connection

    def close(self) -> None:
        for connection in self._made:
            connection.close()


@pytest.mark.limit(300)
def test_restarts_lose_no_request_and_limits_are_exact_over_both(command, tmp_path):
    pod = documents()["Deployment", "oaiserve"]
    pause = float(found_in(pod, r'\["sleep", "(\d+)"\]')) if IS_FULL else 0.3
    grace = float(found_in(pod, r"terminationGracePeriodSeconds: (\d+)"))
    begun, of_bob = threading.Semaphore(0), []

    def work(number):
        begun.release()
        if number % (REQUESTS // (2 * LIMIT_OF_BOB)) == 0:
            of_bob.append(clients.request(number, BOB)[:3])
        return clients.request(number, ALICE)

    with cluster(command, tmp_path) as (replicas, port), contextlib.closing(Clients(port)) as clients:
        of_alice = {}
        asking = threading.Thread(target=lambda: of_alice.update(at_once(CLIENTS, work, range(REQUESTS))))
        asking.start()
        for replica in replicas:
            for _ in range(REQUESTS // 4):
                begun.acquire()
            replica.stop(pause, grace)
            replica.start()
        asking.join()
        assert {number: told for number, told in of_alice.items() if told != "200"} == {}
        assert len(of_alice) == REQUESTS
        assert of_bob.count("200") == LIMIT_OF_BOB and of_bob.count("429") == len(of_bob) - LIMIT_OF_BOB > 0
        assert sum(replica.answered() for replica in replicas) == REQUESTS + LIMIT_OF_BOB
        assert all(replica.answered() for replica in replicas)
