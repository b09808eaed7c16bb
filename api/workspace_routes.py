"""Code in and out over HTTP: an archive up (POST /v2/workspace/archive), a workspace down (GET /v2/thread/workspace).

The API opens no workspace: an archive waits in the database for a worker, a download comes from one.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Generator, Iterator
from typing import Any

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import ClientDisconnected

from api.auth import Auth
from api.caller import Caller
from api.context import Context, Services
from api.methods.thread_workspace_read import NAME as READ
from api.methods.thread_workspace_read import READ_SECONDS
from api.workspace import workspace_params
from shared.calls import Call
from shared.errors import InvalidParams, InvalidRequest
from shared.store.archives import CHUNK_BYTES, KEPT_MS

UPLOAD_SECONDS = 900.0  # that one upload may take
TYPES = {"diff": "text/x-diff", "bundle": "application/x-git-bundle", "tar": "application/x-tar"}


def register(app: Flask, services: Services, auth: Auth) -> None:
    """The routes."""

    def caller() -> Caller:
        auth.check_origin(request)
        found = auth.caller(request, "http")
        services.limits.check_request(found.user_id)
        return found

    def upload() -> Response:
        """The archive as the body. {"archive": id for config.workspace of thread/start, "sizeBytes", "expiresAt": s}"""
        sender = caller()
        services.limits.check_bytes(sender.user_id)
        return Response(orjson.dumps(_upload(services, sender)), 201, content_type="application/json")

    def download() -> Response:
        """?threadId=…&format=diff|bundle|tar, streamed. An error after the first byte breaks the connection off."""
        ctx = Context(services, caller())
        wanted = request.args.get("format", "diff")
        asked = workspace_params(ctx, request.args.get("threadId", ""), wanted)
        call = Call(services.redis, services.queue, services.relay, READ, asked, ctx.user_id)
        call.start()
        pieces = _pieces(call)
        first = next(pieces, b"")  # what is wrong at the start is told as a problem
        response = Response(_joined(first, pieces), content_type=TYPES[wanted])
        response.headers["Content-Disposition"] = f'attachment; filename="workspace.{wanted}"'
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.call_on_close(pieces.close)
        return response

    app.add_url_rule("/v2/workspace/archive", "upload_archive", upload, methods=["POST"])
    app.add_url_rule("/v2/thread/workspace", "download_workspace", download, methods=["GET"])


def _upload(services: Services, sender: Caller) -> dict[str, Any]:
    owner = sender.user_id
    most = services.config.workspaces.archive_bytes
    request.max_content_length = None  # it is counted here
    if (request.content_length or 0) > most:
        raise _too_large(most)
    archives = services.store.archives
    archive_id = archives.begin(owner)
    try:
        size = number = 0
        until = time.monotonic() + UPLOAD_SECONDS
        while data := _read(CHUNK_BYTES):
            size += len(data)
            if size > most:
                raise _too_large(most)
            if time.monotonic() > until:
                raise InvalidRequest(f"the upload took more than {UPLOAD_SECONDS:g} seconds")
            archives.append(archive_id, owner, number, data)
            number += 1
        if size == 0:
            raise InvalidParams("the body is empty; send the archive as the body")
        if request.content_length is not None and size != request.content_length:
            raise InvalidRequest("the upload broke off")
        archives.finish(archive_id, owner, act=sender.act("workspace/archive"))
    except BaseException:
        archives.delete(archive_id, owner)
        raise
    return {"archive": archive_id, "sizeBytes": size, "expiresAt": int(time.time()) + KEPT_MS // 1000}


def _read(most: int) -> bytes:
    """The next piece of the body, as much as there is. Errors: InvalidRequest."""
    data = bytearray()
    try:
        while len(data) < most and (read := request.stream.read(most - len(data))):
            data += read
    except (ClientDisconnected, OSError):
        raise InvalidRequest("the upload broke off") from None
    return bytes(data)


def _too_large(most: int) -> InvalidRequest:
    return InvalidRequest(f"an archive may have {most} bytes on this server ([workspaces] archive_bytes)")


def _pieces(call: Call) -> Generator[bytes, None, None]:
    """The bytes of a call's output; closed early, it cancels the call."""
    outputs = call.outputs(READ_SECONDS)
    try:
        for output in outputs:
            if output["stream"] == "stdout":
                yield base64.b64decode(output["delta_base64"])
    finally:
        outputs.close()


def _joined(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from pieces
