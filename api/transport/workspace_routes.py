"""Workspaces over HTTP: upload an archive (POST /v2/workspace/archive), download one (GET /v2/thread/workspace).

The API opens no workspace: an upload is stored in the database for a worker, a download is streamed from one.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Generator, Iterable, Iterator
from typing import TypedDict

import orjson
from flask import Flask, Response, request

from api.access.auth import Auth
from api.access.caller import Caller
from api.methods.thread_workspace_read import NAME as READ
from api.methods.thread_workspace_read import READ_SECONDS
from api.requests.context import Context
from api.requests.services import Services
from api.requests.workspace_paths import workspace_params
from api.transport.request_body import read_pieces
from shared.errors import BodyTooLarge, InvalidParams
from shared.events.worker_calls import WorkerCall
from shared.store.archives import CHUNK_BYTES, KEPT_MS

UPLOAD_SECONDS = 900.0  # time limit of one upload
TYPES = {"diff": "text/x-diff", "bundle": "application/x-git-bundle", "tar": "application/x-tar"}


def register(app: Flask, services: Services, auth: Auth) -> None:
    """Add the routes to the application."""

    def caller() -> Caller:
        auth.check_origin(request)
        sender = auth.authenticate(request, "http")
        services.limits.check_request(sender.user_id)
        return sender

    def upload() -> Response:
        """Store the body as an archive.

        Result: {"archive": id for config.workspace of thread/start, "sizeBytes": int, "expiresAt": Unix seconds}
        """
        sender = caller()
        services.limits.check_bytes(sender.user_id)
        return Response(orjson.dumps(_upload(services, sender)), 201, content_type="application/json")

    def download() -> Response:
        """Stream the workspace of ?threadId=…&format=diff|bundle|tar. A late error ends the connection."""
        ctx = Context(services, caller())
        wanted = request.args.get("format", "diff")
        asked = workspace_params(ctx, request.args.get("threadId", ""), wanted)
        call = WorkerCall(services.redis, services.queue, services.relay, READ, asked, ctx.user_id)
        call.start()
        pieces = _pieces(call)
        first = next(pieces, b"")  # an error before the first byte becomes a problem response
        response = Response(_joined(first, pieces), content_type=TYPES[wanted])
        response.headers["Content-Disposition"] = f'attachment; filename="workspace.{wanted}"'
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.call_on_close(pieces.close)
        return response

    app.add_url_rule("/v2/workspace/archive", "upload_archive", upload, methods=["POST"])
    app.add_url_rule("/v2/thread/workspace", "download_workspace", download, methods=["GET"])


class Upload(TypedDict):
    """A stored archive. archive: its id. expiresAt: Unix seconds."""

    archive: str
    sizeBytes: int
    expiresAt: int


def _upload(services: Services, sender: Caller) -> Upload:
    owner = sender.user_id
    most = services.config.workspaces.archive_bytes
    too_large = f"the archive is larger than {most} bytes, the limit of this server ([workspaces] archive_bytes)"
    if (request.content_length or 0) > most:
        raise BodyTooLarge(too_large)
    archives = services.store.archives
    archive_id = archives.create(owner)
    try:
        size = 0
        with services.limits.bodies.reserve(owner) as reserved:
            reserved.grow_to(CHUNK_BYTES)
            pieces = read_pieces(reserved, most, UPLOAD_SECONDS, too_large=too_large)
            for number, data in enumerate(_chunks(pieces)):
                archives.append(archive_id, owner, number, data)
                size += len(data)
        if size == 0:
            raise InvalidParams("the body is empty; send the archive as the body")
        archives.finish(archive_id, owner, audit_entry=sender.audit_entry("workspace/archive"))
    except BaseException:
        archives.delete(archive_id, owner)
        raise
    return {"archive": archive_id, "sizeBytes": size, "expiresAt": int(time.time()) + KEPT_MS // 1000}


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in chunks of CHUNK_BYTES, the last one shorter."""
    chunk = bytearray()
    for piece in pieces:
        chunk += piece
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk[:CHUNK_BYTES])
            del chunk[:CHUNK_BYTES]
    if chunk:
        yield bytes(chunk)


def _pieces(call: WorkerCall) -> Generator[bytes, None, None]:
    """Yield the bytes of a call's output. Closing the generator early cancels the call."""
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
