"""nginx as a peer: writes a configuration and temporary folders of its own and runs it without installing anything.

`locations` is all that differs between uses: the mock written in Lua here; a `proxy_pass` where a relay is measured.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator

from peers import CHAT_PATH, CannotMeasure, Core, Peer, ServerProcess, free_port, running

_CONFIG = """\
%(modules)s
%(user)s
daemon off;
worker_processes 1;
pid %(folder)s/nginx.pid;
error_log %(folder)s/error.log crit;
events {
    worker_connections 20480;
}
http {
    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_buffer_size 64k;
    client_body_temp_path %(folder)s/body;
    proxy_temp_path %(folder)s/proxy;
    fastcgi_temp_path %(folder)s/fastcgi;
    uwsgi_temp_path %(folder)s/uwsgi;
    scgi_temp_path %(folder)s/scgi;
    %(http)s
    server {
        listen 127.0.0.1:%(port)d backlog=4096;
        %(locations)s
    }
}
"""

_LUA_LOCATIONS = """\
        location = /v1/chat/completions {
            content_by_lua_block { require("bench_mock").answer(true) }
        }
        location = /joined/v1/chat/completions {
            content_by_lua_block { require("bench_mock").answer(false) }
        }
"""

# As many connections are kept as the load has: opening new ones would not be the work that is compared.
_PROXY_HTTP = "upstream behind { server 127.0.0.1:%(port)d; keepalive %(kept)d; keepalive_requests 1000000000; }"
_PROXY_LOCATIONS = """\
        location / {
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_set_header Connection "";
            proxy_set_header Authorization "Bearer x";
        }
"""

# What one writes for OpenResty: read, decode, build, encode; a stream flushes each chunk when it is due. With
# flush_each false the chunks of a stream that waits for nothing leave together: the least that nginx can do.
_LUA_MOCK = r"""
local found, cjson = pcall(require, "cjson.safe")
io.stderr:write("JSON by ", found and "lua-cjson" or "patterns", "\n")

local TEXT, DELAY = %(text)s, %(delay)s
local WORDS = {}
for word in TEXT:gmatch("%%S+%%s?") do WORDS[#WORDS + 1] = word end

local function decode(body)
    if found then return cjson.decode(body) end
    return { model = body:match('"model"%%s*:%%s*"([^"]*)"'), stream = body:match('"stream"%%s*:%%s*true') ~= nil }
end

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function encode(value)
    if found then return cjson.encode(value) end
    if value == ngx.null then return "null" end
    local kind = type(value)
    if kind == "string" then return '"' .. value:gsub('["\\%%c]', ESCAPES) .. '"' end
    if kind ~= "table" then return tostring(value) end
    local parts = {}
    if value[1] ~= nil then
        for i = 1, #value do parts[i] = encode(value[i]) end
        return "[" .. table.concat(parts, ",") .. "]"
    end
    for key, part in pairs(value) do parts[#parts + 1] = '"' .. key .. '":' .. encode(part) end
    return "{" .. table.concat(parts, ",") .. "}"
end

local function new_id()
    return string.format("chatcmpl-%%08x%%08x%%08x", math.random(0, 0xffffffff), math.random(0, 0xffffffff), ngx.time())
end

local function plain(model)
    ngx.header["Content-Type"] = "application/json"
    local answer = encode({
        id = new_id(), object = "chat.completion", created = ngx.time(), model = model,
        choices = { { index = 0, message = { role = "assistant", content = TEXT }, finish_reason = "stop" } },
        usage = { prompt_tokens = 13, completion_tokens = #WORDS, total_tokens = 13 + #WORDS },
    })
    ngx.header["Content-Length"] = #answer
    ngx.print(answer)
end

local function streamed(model, flush_each)
    ngx.header["Content-Type"] = "text/event-stream"
    local id, created, waiting = new_id(), ngx.time(), {}
    local function chunk(delta, reason)
        local event = "data: " .. encode({
            id = id, object = "chat.completion.chunk", created = created, model = model,
            choices = { { index = 0, delta = delta, finish_reason = reason or ngx.null } },
        }) .. "\n\n"
        if not flush_each then waiting[#waiting + 1] = event return end
        ngx.print(event)
        ngx.flush(true)
    end
    chunk({ role = "assistant", content = "" })
    for i = 1, #WORDS do
        if DELAY > 0 and i > 1 then ngx.sleep(DELAY) end
        chunk({ content = WORDS[i] })
    end
    chunk({}, "stop")
    waiting[#waiting + 1] = "data: [DONE]\n\n"
    ngx.print(waiting)
end

local function answer(flush_each)
    ngx.req.read_body()
    local request = decode(ngx.req.get_body_data() or "")
    if not request then
        ngx.status = 400
        return ngx.print('{"error":{"message":"not JSON","type":"invalid_request_error"}}')
    end
    if request.stream then return streamed(request.model, flush_each) end
    return plain(request.model)
end

return { answer = answer }
"""


def lua_modules() -> list[pathlib.Path]:
    """Return the modules that nginx must load for Lua, in their order; raises CannotMeasure where they are missing."""
    if not shutil.which("nginx"):
        raise CannotMeasure("no nginx: install nginx and libnginx-mod-http-lua (and lua-cjson) for this peer")
    shown = subprocess.run(["nginx", "-V"], capture_output=True, text=True, timeout=10, check=False).stderr
    folders = re.findall(r"--modules-path=(\S+)", shown) + ["/usr/share/nginx/modules", "/usr/lib/nginx/modules"]
    for folder in map(pathlib.Path, folders):
        files = [folder / "ndk_http_module.so", folder / "ngx_http_lua_module.so"]
        if all(file.exists() for file in files):
            return files
    raise CannotMeasure("nginx has no Lua module: install libnginx-mod-http-lua (and lua-cjson) for this peer")


@contextlib.contextmanager
def nginx(
    core: Core, folder: pathlib.Path, locations: str, modules: list[pathlib.Path], http: str = ""
) -> Iterator[Peer]:
    """Run one nginx worker with these locations in a new folder below `folder`."""
    port = free_port()
    home = folder / f"nginx-{port}"
    home.mkdir()
    config = _CONFIG % {
        "modules": "\n".join(f"load_module {file};" for file in modules),
        "user": "user root;" if os.geteuid() == 0 else "",
        "folder": home,
        "http": http,
        "port": port,
        "locations": locations.strip(),
    }
    (home / "nginx.conf").write_text(config)
    command = ["nginx", "-p", str(home), "-c", str(home / "nginx.conf")]
    with running(ServerProcess("nginx", command, core, home)) as process:
        process.wait_for_port(port)
        yield Peer("nginx", port, CHAT_PATH, process)


@contextlib.contextmanager
def lua_mock(core: Core, folder: pathlib.Path, text: str, delay: float) -> Iterator[Peer]:
    """Run nginx with a mock in Lua that says `text`, waiting `delay` seconds between the words of a stream."""
    modules = lua_modules()
    library = folder / f"lua-{len(list(folder.glob('lua-*')))}"
    library.mkdir()
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    (library / "bench_mock.lua").write_text(_LUA_MOCK % {"text": quoted, "delay": repr(delay)})
    http = f'lua_package_path "{library}/?.lua;;"; init_by_lua_block {{ require("bench_mock") }}'
    with nginx(core, folder, _LUA_LOCATIONS, modules, http) as peer:
        yield peer._replace(name="nginx+lua")


@contextlib.contextmanager
def proxy_pass(core: Core, folder: pathlib.Path, port: int, connections: int) -> Iterator[Peer]:
    """Run nginx in front of an upstream on `port`, unbuffered, with as many kept connections as the load has."""
    if not shutil.which("nginx"):
        raise CannotMeasure("no nginx: install nginx for this peer")
    http = _PROXY_HTTP % {"port": port, "kept": connections}
    with nginx(core, folder, _PROXY_LOCATIONS, [], http) as peer:
        yield peer._replace(name="nginx proxy_pass")


def json_library(peer: Peer) -> str:
    """Say how the mock in Lua reads and writes JSON: it printed that when it was loaded."""
    if "JSON by lua-cjson" in peer.process.output:
        return "JSON by lua-cjson"
    return "JSON by patterns in Lua; install lua-cjson for a faster and fairer peer"
