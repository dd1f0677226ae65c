"""The page that a browser gets at GET /: what the service is, how to use it, and a button that tries it."""

from __future__ import annotations

import html

from protocol.wire.json_text import JsonObject


def info_page(info: JsonObject, version: str) -> str:
    """Return the page for what `GET /` says as JSON."""
    rows = "".join(
        f"<tr><td><code>{html.escape(door)}</code></td><td>{html.escape(text)}</td></tr>"
        for door, text in info["endpoints"].items()
    )
    routes = "".join(
        f"<tr><td><code>{html.escape(pattern)}</code></td><td>{html.escape(', '.join(names))}</td></tr>"
        for pattern, names in info["routes"].items()
    )
    return _PAGE.format(
        version=html.escape(version),
        description=html.escape(info["description"]),
        base_url=html.escape(info["base_url"]),
        usage=html.escape(info["usage"]),
        rows=rows,
        routes=routes,
    )


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>oaiserve</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }}
  pre {{ background: #f4f4f4; padding: 1rem; overflow-x: auto; white-space: pre-wrap; }}
  td {{ padding: .2rem 1rem .2rem 0; vertical-align: top; }}
  @media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #ddd; }} pre {{ background: #222; }} }}
</style>
<h1>oaiserve <small>{version}</small></h1>
<p>{description}</p>
<p>Base URL for OpenAI clients: <code>{base_url}</code></p>
<pre>{usage}</pre>
<button id="ask">Ask it now</button>
<pre id="answer" hidden></pre>
<h2>Doors</h2>
<table>{rows}</table>
<h2>Routes: model, then backends</h2>
<table>{routes}</table>
<script>
document.getElementById("ask").onclick = async () => {{
  const answer = document.getElementById("answer");
  answer.hidden = false;
  answer.textContent = "";
  const response = await fetch("./", {{
    method: "POST",
    headers: {{ "Content-Type": "application/json" }},
    body: JSON.stringify({{ stream: true, messages: [{{ role: "user", content: "Hello" }}] }}),
  }});
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) answer.textContent += part.value;
}};
</script>
</html>
"""
