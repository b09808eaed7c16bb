"""A scripted MCP server over standard input and output; it imports nothing but the standard library.

    python mcp_program.py [SWITCH …]     (`NAME` or `NAME=VALUE`)

    log=FILE        append every message to FILE, as {"from": "client" | "server", "message"}, and {"pid": N} first
    silent          never answer anything
    deaf            never read anything
    dies            end at once
    dies=TEXT       write TEXT to standard error, and end
    slow-start=S    wait for S seconds before the answer to `initialize`
    tools=FILE      names of more tools, one a line, that are read for each tools/list
    instructions=T  the `instructions` of the server
    refuses=TEXT    answer `initialize` with an error
    resources=JSON  what resources/list has as its list
    sleeps=S        `child` starts a process that sleeps for S seconds
    says=NAME       `echo` adds the environment variable NAME to what it says

Tools: echo, write, plain, wait (until FILE exists), boom, rpcerr, ask (form of `schema`, url or empty), die, rich,
big (N bytes), huge-line (N bytes in one line), flood (N notifications first), child (leaves a process behind), image,
odd.name-x, once (appends to FILE; idempotent), append (the same without hints).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

INTERPRETER = os.path.realpath(sys.executable)  # outside of a virtual environment, which may be in a folder of /tmp
SWITCHES = {word.partition("=")[0]: word.partition("=")[2] for word in sys.argv[1:]}
TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string", "description": "What to say"}},
    "required": ["text"],
    "additionalProperties": False,
}
NOTHING = {"type": "object", "properties": {}}
FILE = {"type": "object", "properties": {"file": {"type": "string"}}}
SIZE = {"type": "object", "properties": {"bytes": {"type": "integer", "minimum": 0}}}
READS = {"readOnlyHint": True}
TOOLS = [
    {"name": "echo", "title": "Echo tool", "description": "Says it back.", "inputSchema": TEXT, "annotations": READS},
    {
        "name": "write",
        "description": "Writes it.",
        "inputSchema": TEXT,
        "annotations": {"destructiveHint": True, "readOnlyHint": False, "title": "Write it"},
    },
    {"name": "plain", "description": "No annotations.", "inputSchema": NOTHING},
    {"name": "wait", "description": "Waits for a file.", "inputSchema": FILE, "annotations": READS},
    {"name": "hang", "description": "Waits, and changes things.", "inputSchema": FILE},
    {"name": "boom", "description": "Returns isError.", "inputSchema": NOTHING, "annotations": READS},
    {"name": "rpcerr", "description": "JSON-RPC error.", "inputSchema": NOTHING, "annotations": READS},
    {
        "name": "ask",
        "description": "Asks the user.",
        "inputSchema": {"type": "object", "properties": {"kind": {"type": "string", "enum": ["form", "url", "empty"]}}},
        "annotations": READS,
    },
    {"name": "die", "description": "Dies in mid-call.", "inputSchema": NOTHING, "annotations": READS},
    {
        "name": "rich",
        "description": "Image, structured, link, meta.",
        "inputSchema": NOTHING,
        "outputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}},
        "annotations": READS,
        "_meta": {"x": 1},
    },
    {"name": "image", "description": "An image.", "inputSchema": NOTHING, "annotations": READS},
    {"name": "big", "description": "A long text.", "inputSchema": SIZE, "annotations": READS},
    {"name": "flood", "description": "Many notifications.", "inputSchema": SIZE, "annotations": READS},
    {"name": "child", "description": "Starts a process.", "inputSchema": NOTHING, "annotations": READS},
    {"name": "see", "description": "Tries to read.", "inputSchema": FILE, "annotations": READS},
    {"name": "append", "description": "Appends a line.", "inputSchema": FILE},
    {"name": "once", "description": "Appends a line.", "inputSchema": FILE, "annotations": {"idempotentHint": True}},
    {
        "name": "odd.name-x",
        "description": "Odd name, schema with anyOf and integer.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "a": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
                "b": {"type": "array", "items": {"$ref": "#/$defs/T"}},
            },
            "$defs": {"T": {"type": "string", "format": "uri"}},
            "$schema": "http://json-schema.org/draft-07/schema#",
        },
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
]
FORM = {
    "type": "object",
    "properties": {"name": {"type": "string", "title": "Name"}, "n": {"type": "integer", "minimum": 1}},
    "required": ["name"],
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_lock = threading.Lock()
_answers: dict[object, dict] = {}
_answered = threading.Condition()


def log(entry: dict) -> None:
    if "log" in SWITCHES:
        with open(SWITCHES["log"], "a") as file:
            file.write(json.dumps(entry) + "\n")


def send(message: dict) -> None:
    message = {"jsonrpc": "2.0", **message}
    with _lock:
        if len(str(message)) < 10_000:
            log({"from": "server", "message": message})
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def text(said: str) -> dict:
    return {"content": [{"type": "text", "text": said}]}


def wait_for(file: str) -> None:
    while not os.path.exists(file):
        time.sleep(0.01)


def ask(kind: str = "form", schema: dict | None = None) -> dict:
    request_id = f"ask-{time.monotonic_ns()}"
    params = {"message": "Your name?", "requestedSchema": schema or FORM}
    if kind == "url":
        params = {"mode": "url", "message": "Please open", "url": "https://example.com/auth", "elicitationId": "el-1"}
    elif kind == "long":
        params["message"] = "x" * 100_000
    elif kind == "empty":
        params["requestedSchema"] = NOTHING
    send({"id": request_id, "method": "elicitation/create", "params": params})
    with _answered:
        _answered.wait_for(lambda: request_id in _answers)
    return text(json.dumps(_answers[request_id].get("result")))


def call(name: str, arguments: dict) -> dict:
    if name == "echo":
        said = SWITCHES.get("says")
        return text(f"echo: {arguments.get('text')}" + (f" {os.environ.get(said)}" if said else ""))
    if name == "write":
        return text(f"write: {arguments.get('text')}")
    if name in ("wait", "hang"):
        open(arguments["file"] + ".begun", "w").close()
        wait_for(arguments["file"])
        return text("waited")
    if name == "boom":
        return {**text("it went boom"), "isError": True}
    if name == "ask":
        given = {name: arguments[name] for name in ("kind", "schema") if name in arguments}
        return [ask(**given) for _ in range(arguments.get("times", 1))][-1]
    if name == "die":
        os._exit(3)
    if name == "rich":
        link = {"type": "resource_link", "uri": "demo://one", "name": "one"}
        return {**text("rich"), "structuredContent": {"n": 7}, "_meta": {"m": 1}, "content": [link]}
    if name == "image":
        return {"content": [{"type": "image", "data": PIXEL, "mimeType": "image/png"}, *text("a pixel")["content"]]}
    if name == "big":
        return text("x" * arguments["bytes"])
    if name == "flood":
        for i in range(arguments["bytes"]):
            send({"method": "notifications/message", "params": {"level": "info", "data": f"{i} " + "y" * 1000}})
        return text("flooded")
    if name == "child":
        child = subprocess.Popen(["sleep", SWITCHES.get("sleeps", "100000")], start_new_session=True)
        return text(str(child.pid))
    if name == "see":
        try:
            with open(arguments["file"]) as file:
                return text(file.read())
        except OSError as error:
            return text(f"refused: {error.strerror}")
    if name in ("append", "once"):
        with open(arguments["file"], "a") as file:
            file.write("ran\n")
        wait_for(arguments["file"] + ".go")
        return text("appended")
    if name == "odd.name-x":
        return {**text("odd"), "structuredContent": {"a": None, "got": arguments}}
    if name == "strange":
        return {**text("a\0b"), "structuredContent": {"wei": 10**20, "text": "c\0d"}}
    if name == "deep":
        return {**text("deep"), "structuredContent": json.loads('{"a":' * 150 + "1" + "}" * 150)}
    return text(f"{name} done")


def tools() -> list[dict]:
    more = []
    if os.path.exists(SWITCHES.get("tools", "")):
        with open(SWITCHES["tools"]) as file:
            more = [{"name": line.strip(), "inputSchema": NOTHING, "annotations": READS} for line in file]
    return [*TOOLS, *more]


def answer(method: str, params: dict) -> dict:
    """Return {"result"} or {"error"}."""
    if method == "initialize" and "refuses" in SWITCHES:
        return {"error": {"code": -32000, "message": SWITCHES["refuses"]}}
    if method == "initialize":
        time.sleep(float(SWITCHES.get("slow-start", 0)))
        about = {"name": "demo-server", "title": "Demo", "version": "1.2.3"}
        offered = {"tools": {"listChanged": True}, "resources": {"subscribe": False}}
        said = SWITCHES.get("instructions", "Use the demo tools.")
        version = params["protocolVersion"]
        return {
            "result": {"protocolVersion": version, "capabilities": offered, "serverInfo": about, "instructions": said}
        }
    if method == "tools/list":
        return {"result": {"tools": tools()}}
    if method == "tools/call" and params["name"] == "rpcerr":
        return {"error": {"code": -32011, "message": "server says no", "data": {"why": "x"}}}
    if method == "tools/call":
        if params["name"] not in {tool["name"] for tool in tools()}:
            return {"error": {"code": -32602, "message": f"unknown tool {params['name']}"}}
        return {"result": call(params["name"], params.get("arguments") or {})}
    if method == "resources/list" and "resources" in SWITCHES:
        return {"result": {"resources": json.loads(SWITCHES["resources"])}}
    if method == "resources/list":
        one = {
            "uri": "demo://one",
            "name": "one",
            "title": "First",
            "description": "The first",
            "mimeType": "text/plain",
        }
        return {"result": {"resources": [one]}}
    if method == "resources/templates/list":
        return {"result": {"resourceTemplates": [{"uriTemplate": "demo://{id}", "name": "any"}]}}
    if method == "resources/read" and params["uri"] == "demo://one":
        return {"result": {"contents": [{"uri": "demo://one", "mimeType": "text/plain", "text": "the first one"}]}}
    if method == "resources/read":
        return {"error": {"code": -32002, "message": "Resource not found"}}
    if method == "ping":
        return {"result": {}}
    return {"error": {"code": -32601, "message": "Method not found"}}


def handle(message: dict) -> None:
    if "method" not in message:
        with _answered:
            _answers[message["id"]] = message
            _answered.notify_all()
    elif "id" in message:
        send({"id": message["id"], **answer(message["method"], message.get("params") or {})})


def main() -> None:
    log({"pid": os.getpid()})
    if "dies" in SWITCHES:
        sys.exit(SWITCHES["dies"] or 4)  # a text goes to standard error
    if "deaf" in SWITCHES:
        threading.Event().wait()
    for line in sys.stdin:
        message = json.loads(line)
        log({"from": "client", "message": message})
        if "silent" not in SWITCHES:
            threading.Thread(target=handle, args=(message,), daemon=True).start()


def arguments(*switches: str) -> list[str]:
    """Return the arguments of INTERPRETER that run this program. They hold its text: a sandbox has a /tmp of its own,
    in which it does not find a checkout that is in /tmp."""
    with open(__file__) as file:
        return ["-IS", "-c", file.read(), *switches]


if __name__ == "__main__":
    main()
