"""The transport of a server that is an address: streamable HTTP, or its forerunner HTTP+SSE, to public addresses only
unless the operator allows others.

A name is resolved once per connection and checked by shared.addresses, and the connection goes to an address that was
checked. No proxy, no cookie and no credential of the server's environment is used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.sse import sse_client
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client
from mcp_types import CONNECTION_CLOSED

from shared.addresses import check_address
from shared.config.mcp_servers import McpServer
from shared.config.urls import PORTS
from shared.errors import AddressRefused, Unavailable
from workers.mcp.lines import LINES_AT_ONCE, MAX_LINE_BYTES, Ending, Pauses

CONNECT_SECONDS = 30.0
STREAM_IDLE_SECONDS = 300.0  # for which a stream of events may be silent; a call has its own limit
logging.getLogger("httpx2").setLevel(logging.WARNING)  # its lines have whole addresses, which may contain secrets

LOGIN_NEEDED = -32001  # code of an error in place of the body of a 401
CLOSED_MESSAGE = "Connection closed"  # of the SDK's error, whose code is CONNECTION_CLOSED
LEGACY_END = "/sse"  # of the path of a server that speaks HTTP+SSE
EVENTS = "text/event-stream"
LINES_OF_A_REQUEST = LINES_AT_ONCE // 10  # a server can have the SDK connect again without a pause
_RESOLVERS = ThreadPoolExecutor(16, "mcp-dns")  # of their own: what a slow name server delays is only addresses
UNPACKED = "identity"  # a few packed bytes can become more than this process has memory for


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to addresses that were checked.

    allowed: hosts that may have a private or loopback address
    """

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = allowed
        self._inner = httpx2.AsyncHTTPTransport(trust_env=False)
        self._pauses = Pauses()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Errors: httpx2.ConnectError, also for an address that is refused."""
        url = request.url
        port = url.port or PORTS[url.scheme]
        await self._pauses.after(LINES_OF_A_REQUEST)
        try:
            addresses = await asyncio.get_running_loop().run_in_executor(
                _RESOLVERS, check_address, url.host, port, self._allowed
            )
        except (AddressRefused, Unavailable) as error:
            raise httpx2.ConnectError(str(error), request=request) from None
        extensions = {**request.extensions, "sni_hostname": url.host}
        headers = request.headers.copy()
        headers["Accept-Encoding"] = UNPACKED
        for address in addresses:
            # The Host header was set from the name; TLS checks the certificate of that name.
            pinned = httpx2.Request(
                request.method,
                url.copy_with(host=address),
                headers=headers,
                stream=request.stream,
                extensions=extensions,
            )
            try:
                response = await self._inner.handle_async_request(pinned)
                break
            except httpx2.ConnectError:
                if address == addresses[-1]:
                    raise
        if response.headers.get("Content-Encoding", UNPACKED).strip().lower() != UNPACKED:
            await response.aclose()
            raise httpx2.ReadError("the server packs its answers, which was not asked for", request=request)
        response.stream = (_PacedEvents if _has_events(request, response) else _Bounded)(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def _has_events(request: httpx2.Request, response: httpx2.Response) -> bool:
    """Return whether a body is read event by event. All others are read as a whole, so they are bounded."""
    asked = request.method != "DELETE" and EVENTS in request.headers.get("accept", "")
    return asked and response.is_success and response.headers.get("content-type", "").lower().startswith(EVENTS)


class _Bounded(httpx2.AsyncByteStream):
    """A body of at most MAX_LINE_BYTES. A longer one is cut, so that it is no JSON and its request fails: an error here
    would end the whole session.
    """

    def __init__(self, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream) -> None:
        assert isinstance(stream, httpx2.AsyncByteStream)
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_LINE_BYTES:
                return
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _PacedEvents(_Bounded):
    """A stream of events, with pauses. The SDK bounds each event."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pauses = Pauses()
        async for chunk in self._stream:
            yield chunk
            await pauses.after(max(chunk.count(b"\n"), chunk.count(b"\r")), len(chunk))


class _SaysWhy(httpx2.AsyncBaseTransport):
    """Says in a 401 what the user can do, and in a 404 that the session is over, as errors that the SDK passes on."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, message: str, ending: Ending) -> None:
        self._inner = inner
        self._message = message
        self._ending = ending

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if response.status_code == 401:
            error = {"code": LOGIN_NEEDED, "message": self._message}
        elif (request.method, response.status_code) == ("POST", 404) and MCP_SESSION_ID in request.headers:
            error = {"code": CONNECTION_CLOSED, "message": CLOSED_MESSAGE}
            self._ending.set()  # the server was restarted, or has forgotten the session
        else:
            return response
        await response.aclose()
        return httpx2.Response(response.status_code, json={"jsonrpc": "2.0", "id": None, "error": error})

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def http_server(server: McpServer, auth: httpx2.Auth | None, ending: Ending) -> AsyncIterator[TransportStreams]:
    """Yield the streams of a server's address. auth: puts the token of the user's login into requests."""
    assert server.url is not None
    client = httpx2.AsyncClient(
        transport=_SaysWhy(guarded(server.url, allow_private=server.allow_private), _what_to_do(server, auth), ending),
        auth=auth,
        headers=dict(server.headers),
        timeout=httpx2.Timeout(CONNECT_SECONDS, read=STREAM_IDLE_SECONDS),
        trust_env=False,
    )
    if httpx2.URL(server.url).path.endswith(LEGACY_END):

        def guarded_client(
            headers: dict[str, str] | None = None,
            timeout: httpx2.Timeout | None = None,
            auth: httpx2.Auth | None = None,
        ) -> httpx2.AsyncClient:
            return client

        async with sse_client(server.url, httpx_client_factory=guarded_client) as it:
            yield it
        return
    async with client, streamable_http_client(server.url, http_client=client, max_sse_event_size=MAX_LINE_BYTES) as it:
        yield it


def guarded(server_url: str, *, allow_private: bool) -> GuardedTransport:
    """Return the transport to a server. allow_private: whether the host of its address may be private."""
    return GuardedTransport((httpx2.URL(server_url).host,) if allow_private else ())


def _what_to_do(server: McpServer, auth: httpx2.Auth | None) -> str:
    if auth is not None:
        return f"the server wants you to log in: use your client's login, or `threadhouse mcp login {server.name}`"
    if server.headers:
        return "the server does not accept the token in its configuration: correct it"
    return "the server wants a login, and this deployment keeps none: ask its operator to set THREADHOUSE_SECRETS_KEY"
