"""The transport of a server that is an address: streamable HTTP, to public addresses only unless the operator says so.

A name is resolved once per connection and checked by shared.addresses, and the connection goes to an address that was
checked. No proxy, no cookie and no credential of the server's environment is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client

from shared.addresses import check_address
from shared.config.mcp_servers import McpServer
from shared.errors import AddressRefused, Unavailable
from workers.mcp.lines import MAX_LINE_BYTES, Ending

CONNECT_SECONDS = 30.0
STREAM_IDLE_SECONDS = 300.0  # for which a stream of events may be silent; a call has its own limit
PORTS = {"http": 80, "https": 443}


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to addresses that were checked.

    allowed: hosts that may have a private or loopback address
    """

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = allowed
        self._inner = httpx2.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Errors: httpx2.ConnectError, also for an address that is refused."""
        url = request.url
        port = url.port or PORTS[url.scheme]
        try:
            addresses = await asyncio.to_thread(check_address, url.host, port, self._allowed)
        except (AddressRefused, Unavailable) as error:
            raise httpx2.ConnectError(str(error), request=request) from None
        extensions = {**request.extensions, "sni_hostname": url.host}
        for address in addresses:
            # The Host header was set from the name; TLS checks the certificate of that name.
            pinned = httpx2.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions=extensions,
            )
            try:
                response = await self._inner.handle_async_request(pinned)
                break
            except httpx2.ConnectError:
                if address == addresses[-1]:
                    raise
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.stream = _Bounded(response.stream)  # the SDK bounds each event of the other kind
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """A body of at most MAX_LINE_BYTES."""

    def __init__(self, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream) -> None:
        assert isinstance(stream, httpx2.AsyncByteStream)
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_LINE_BYTES:
                raise httpx2.ReadError(f"the server's answer has more than {MAX_LINE_BYTES >> 20} MiB")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def http_server(server: McpServer, _ending: Ending) -> AsyncIterator[TransportStreams]:
    """Yield the streams of a server's address."""
    assert server.url is not None
    host = httpx2.URL(server.url).host
    client = httpx2.AsyncClient(
        transport=GuardedTransport((host,) if server.allow_private else ()),
        headers=dict(server.headers),
        timeout=httpx2.Timeout(CONNECT_SECONDS, read=STREAM_IDLE_SECONDS),
        trust_env=False,
    )
    async with client, streamable_http_client(server.url, http_client=client, max_sse_event_size=MAX_LINE_BYTES) as it:
        yield it
