"""An upstream in a thread that answers each request as its script says, for tests of the whole program."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading


class ScriptedUpstream:
    """What came in, newest last, and where it listens. `script(request)` gives (status, fields, body or pieces)."""

    def __init__(self, url):
        self.url = url
        self.requests = []


class Came:
    """A request as it arrived; `fields` by name in lower case, `json` the body where it is JSON."""

    def __init__(self, method, path, fields, body):
        self.method, self.path, self.fields, self.body = method, path, fields, body

    @property
    def json(self):
        return json.loads(self.body)


@contextlib.contextmanager
def scripted(script):
    """Run an upstream until the block is left."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def _answer(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            came = Came(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            upstream.requests.append(came)
            status, fields, answer = script(came)
            self.send_response(status)
            for name, value in fields.items():
                self.send_header(name, value)
            if isinstance(answer, bytes):
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                return
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in answer:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_DELETE = do_PUT = _answer  # http.server's names

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args):
            """Say nothing of a client that has gone."""

    server = Server(("127.0.0.1", 0), Handler)
    upstream = ScriptedUpstream(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
