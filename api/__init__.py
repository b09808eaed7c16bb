"""The network interfaces and the command line: hold connections, answer requests, deliver events.

app:            builds what one API process holds
transport:      WebSocket, HTTP and the dispatch of requests
access:         who may send a request now
requests:       what a method handler may touch, and what several handlers share
methods:        one file per protocol method
delivery:       frames to connected clients
documentation:  /docs and /openapi.json
cli:            the `threadhouse` command

Imports shared, never workers; only the command line starts workers, because it is the composition root of both.
"""
