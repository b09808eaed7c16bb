"""The routes that are no methods of the protocol, as OpenAPI describes them, and the shape of errors over HTTP."""

from __future__ import annotations

from collections.abc import Mapping

from api.requests.examples import THREAD_ID

ARCHIVE = "01a20433-5d2e-7c11-8a90-3b7f2e6d4c58"

PROBLEM = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "The kind of error, such as NotFound."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What is wrong, and what to do."},
        "code": {"type": "integer", "description": "The code of the error in JSON-RPC."},
        "retryAfterMs": {"type": "integer", "description": "When to try again, in milliseconds."},
        "codexErrorInfo": {"description": "The kind of an error, for clients of the original."},
    },
    "required": ["type", "title", "status", "code"],
}
_PROBLEM_BODY = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_THREAD_ID = {
    "name": "threadId",
    "in": "query",
    "required": True,
    "schema": {"type": "string"},
    "example": THREAD_ID,
}
_BYTES = {"schema": {"type": "string", "format": "binary"}}


def _object(example: Mapping[str, object], **properties: Mapping[str, str]) -> Mapping[str, object]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"application/json": {"schema": schema, "example": example}}


ROUTES: Mapping[str, Mapping[str, object]] = {
    "/v2/serverRequest/respond": {
        "post": {
            "operationId": "serverRequest/respond",
            "summary": "Answer a server request, such as an approval request, over HTTP.",
            "description": "The server asks its clients with requests of its own, for instance "
            "`item/commandExecution/requestApproval`. On a WebSocket a client replies with a JSON-RPC response. A "
            "client that reads events over HTTP answers here. The first answer counts, from whichever client it comes.",
            "requestBody": {
                "required": True,
                "content": _object(
                    {"requestId": 17, "result": {"decision": "accept"}},
                    requestId={"type": "integer", "description": "The `id` of the server request."},
                    result={"type": "object", "description": "The answer, as the server request demands it."},
                ),
            },
            "responses": {
                "200": {"description": "The answer is stored.", "content": _object({})},
                "default": {
                    "description": "InvalidParams; Conflict (the server request was answered already, or its turn "
                    "has ended)",
                    "content": _PROBLEM_BODY,
                },
            },
        }
    },
    "/v2/thread/events": {
        "get": {
            "operationId": "thread/events",
            "summary": "Follow a thread over HTTP as a stream of server-sent events.",
            "description": "Each event has the name of a notification or a server request, its JSON as data, and an "
            "id. A client that connects again sends the last id as `Last-Event-ID` and misses nothing. "
            "`threadhouse/cursorExpired` says that this id is too old: read the thread with thread/read.",
            "parameters": [
                _THREAD_ID,
                {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}},
                {
                    "name": "lastEventId",
                    "in": "query",
                    "description": "The same, for clients that cannot set headers.",
                    "schema": {"type": "string"},
                },
            ],
            "responses": {
                "200": {
                    "description": "The stream. It ends when the client closes it.",
                    "content": {
                        "text/event-stream": {
                            "schema": {"type": "string"},
                            "example": 'id: 1764324000000-0\nevent: turn/started\ndata: {"method": "turn/started", '
                            '"params": {…}, "eventId": "1764324000000-0"}\n\n',
                        }
                    },
                },
                "default": {"description": "NotFound; Overloaded (too many connections)", "content": _PROBLEM_BODY},
            },
        }
    },
    "/v2/thread/shared": {
        "get": {
            "operationId": "thread/shared",
            "summary": "Read the thread of a share link, with a page of its turns, newest first.",
            "description": "Needs no account: the secret of thread/share/create is sent as `Authorization: Share "
            "SECRET`. Opens nothing else.",
            "security": [],
            "parameters": [{"name": "cursor", "in": "query", "schema": {"type": "string"}}],
            "responses": {
                "200": {
                    "description": "The thread. Paths of the owner's workspaces begin with /workspaces.",
                    "content": _object(
                        {
                            "thread": {"id": THREAD_ID, "name": None, "preview": "List the files here."},
                            "turns": [],
                            "nextCursor": None,
                            "expiresAt": 1764410400,
                        },
                        thread={"type": "object"},
                        turns={"type": "array"},
                        nextCursor={"type": "string"},
                        expiresAt={"type": "integer", "description": "Of the link, in Unix seconds."},
                    ),
                },
                "default": {
                    "description": "NotFound (the link is wrong, has expired or was revoked); Overloaded",
                    "content": _PROBLEM_BODY,
                },
            },
        }
    },
    "/v2/thread/shared/events": {
        "get": {
            "operationId": "thread/shared/events",
            "summary": "Follow the thread of a share link as a stream of server-sent events.",
            "description": "As thread/events, without requests to the owner, settings, warnings and token usage.",
            "security": [],
            "parameters": [{"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}}],
            "responses": {
                "200": {
                    "description": "The stream. It ends within 10 s after the link was revoked or has expired.",
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                },
                "default": {
                    "description": "NotFound (the link is wrong, has expired or was revoked); Overloaded",
                    "content": _PROBLEM_BODY,
                },
            },
        }
    },
    "/v2/user/events": {
        "get": {
            "operationId": "user/events",
            "summary": "Follow what happens to all threads of the caller as a stream of server-sent events.",
            "description": "Each event has the name of a notification, such as `thread/started` or "
            "`thread/status/changed`, and its JSON as data. The events have no ids: after a new connection, list the "
            "threads again with thread/list.",
            "responses": {
                "200": {
                    "description": "The stream. It ends when the client closes it.",
                    "content": {
                        "text/event-stream": {
                            "schema": {"type": "string"},
                            "example": 'event: thread/status/changed\ndata: {"method": "thread/status/changed", '
                            '"params": {…}}\n\n',
                        }
                    },
                },
                "default": {"description": "Overloaded (too many connections)", "content": _PROBLEM_BODY},
            },
        }
    },
    "/v2/workspace/archive": {
        "post": {
            "operationId": "workspace/archive",
            "summary": "Upload an archive from which thread/start can make a workspace.",
            "description": "The body is the archive: a zip, tar or tar.gz. Give the result's `archive` to thread/start "
            'as `config.workspace`: {"archive": id}.',
            "requestBody": {"required": True, "content": {"application/octet-stream": _BYTES}},
            "responses": {
                "201": {
                    "description": "The archive is stored.",
                    "content": _object(
                        {
                            "archive": ARCHIVE,
                            "sizeBytes": 20480,
                            "expiresAt": 1764410400,
                        },
                        archive={"type": "string"},
                        sizeBytes={"type": "integer"},
                        expiresAt={"type": "integer", "description": "Unix seconds; then it is deleted."},
                    ),
                },
                "default": {
                    "description": "InvalidRequest (the archive is too large, or the upload was cut off); "
                    "InvalidParams (the body is empty); Overloaded (too much is stored)",
                    "content": _PROBLEM_BODY,
                },
            },
        }
    },
    "/v2/thread/workspace": {
        "get": {
            "operationId": "thread/workspace",
            "summary": "Download how a thread's workspace has changed since its start.",
            "description": "The same as thread/workspace/read, as a stream without a limit of size.",
            "parameters": [
                _THREAD_ID,
                {
                    "name": "format",
                    "in": "query",
                    "description": "A patch for `git apply`, commits for `git fetch`, or all files.",
                    "schema": {"type": "string", "enum": ["diff", "bundle", "tar"], "default": "diff"},
                },
            ],
            "responses": {
                "200": {
                    "description": "The download. An error after its first byte closes the connection.",
                    "content": {
                        "text/x-diff": _BYTES,
                        "application/x-git-bundle": _BYTES,
                        "application/x-tar": _BYTES,
                    },
                },
                "default": {
                    "description": "NotFound; Conflict (the workspace is not made yet); InvalidParams (the format); "
                    "InvalidRequest (the thread works in a folder that is not its own); Unavailable (no worker is "
                    "free); CallLost (the worker was lost)",
                    "content": _PROBLEM_BODY,
                },
            },
        }
    },
}
