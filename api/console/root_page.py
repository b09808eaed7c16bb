"""What `/` says to a client that is no browser, and to a browser of a server without the console's built files."""

from __future__ import annotations

from shared.config import SCRIPTED, SCRIPTED_WORDS, Config

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Threadhouse</title>
<h1>Threadhouse</h1>
<p>A server for coding-agent threads. It speaks the Codex app-server protocol (v2).</p>
<pre>
codex -C . -s workspace-write --remote ws://{host}
curl -N -H 'Accept: text/event-stream' -H 'Content-Type: application/json' \\
     -d '{{}}' http://{host}/v2/thread/start
</pre>
<p>The agent works in the folder of <code>-C</code>, on the server's machine. Without it, and on a server with users, it
works in a new folder of the thread. The client shows which.</p>
<p>{model}</p>
<p><a href="/docs">All methods</a></p>
</html>
"""


def root_page(config: Config, host: str) -> str:
    """Return the page. host: name and port under which the client knows this server"""
    return PAGE.format(host=_escaped(host), model=_about_model(config))


def _about_model(config: Config) -> str:
    if config.model_provider != SCRIPTED:
        return ""
    words = "".join(f"<li><code>{word}</code>: {meaning}" for word, meaning in SCRIPTED_WORDS.items())
    return (
        "A built-in script answers, no language model: no model is configured. It runs the command behind "
        f"<code>$ </code>, as in <code>$ ls</code>, and a message that is one of these words shows<ul>{words}</ul>"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
