"""A real nginx as an upstream: it decodes a path before it removes dot segments, as few servers of tests do."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from upstreams import closed_port

NGINX = shutil.which("nginx") or next((path for path in ("/usr/sbin/nginx",) if Path(path).exists()), None)

needs_nginx = pytest.mark.skipif(NGINX is None, reason="there is no nginx")

_CONFIG = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    underscores_in_headers on;
{servers}
}}
"""


@contextlib.contextmanager
def running_nginx(folder: Path, servers: str, ports: int = 1) -> Iterator[list[int]]:
    """Run nginx with these `server` blocks, whose `{port0}`, `{port1}`… become free ports, until the block is left."""
    assert NGINX is not None
    chosen = [closed_port() for _ in range(ports)]
    for number, port in enumerate(chosen):
        servers = servers.replace(f"{{port{number}}}", str(port))
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, servers=servers))
    process = subprocess.Popen(
        [NGINX, "-p", str(folder), "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for port in chosen:
            _wait_for(port, process, folder)
        yield chosen
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_for(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        log = folder / "error.log"
        assert process.poll() is None, log.read_text() if log.exists() else "nginx has ended"
        time.sleep(0.02)
    raise AssertionError(f"nginx does not listen on {port}")
