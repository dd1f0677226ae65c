"""Running the program under test as its user does, and talking to it over plain sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import urllib.parse

ANY_CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


class Program:
    """A running server process; `url` is read from its banner."""

    def __init__(self, process, banner):
        self.process = process
        self.banner = banner
        self.url = re.search(r"https?://\S+:\d+", banner).group()
        self.port = urllib.parse.urlsplit(self.url).port

    def until_logged(self, words):
        """Wait for a line of the log that has these words."""
        while words not in (line := self.process.stderr.readline()):
            assert line, "the log has ended"

    def stop(self, number=signal.SIGTERM, timeout=100):
        """Send a signal and return (exit status, what it wrote to standard error)."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, errors


@contextlib.contextmanager
def running(command, *options, **environ):
    """Run the program on a free port until the block is left."""
    process = subprocess.Popen(
        [*command, *options, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **environ},
    )  # fmt: skip
    try:
        banner = [process.stdout.readline()]
        if not banner[0]:
            raise AssertionError(f"no banner; standard error: {process.communicate(timeout=100)[1]}")
        while "stop it" not in banner[-1]:
            banner.append(process.stdout.readline())
        yield Program(process, "".join(banner))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def run(command, *arguments, timeout=100, **environ):
    """Run the program to its end; return (exit status, standard output, standard error)."""
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=timeout, env={**os.environ, **environ}
    )
    return done.returncode, done.stdout, done.stderr


def ask(port, method, path, body=None, **fields):
    """Make one request with the standard library's client; return (status, fields, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    try:
        text = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        connection.request(method, path, text, {name.replace("_", "-"): value for name, value in fields.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def exchange(port, data):
    """Send bytes, end the sending side, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=100) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while True:
            part = sock.recv(65536)
            if not part:
                return received
            received += part
