"""Carry requests, replies and events over WebSocket and HTTP.

websocket:        one WebSocket's life
frame_rate:       how fast a WebSocket may send
received_message: how large a message of a WebSocket may be, and how long it may take
request_body:     bodies of HTTP requests, with their limits and deadlines
http:             the same methods over HTTP: requests, event streams, health
workspace_routes: archives up, workspaces down
dispatch:         a request in, a reply out
answers:          a client's answer to a server request
error_codes:      errors → what a client sees of them
credential_watch: connections end with the credential that opened them

Imports api.access, api.delivery, api.requests, api.methods and shared. Nothing but api.app imports it.
"""
