"""Deliver events and replies to connected clients.

frames:        the JSON objects that are sent
close_codes:   why a connection ends
outgoing:      the bounded queue of one connection
following:     how far one connection has read one thread's log
active_calls:  worker calls that end with their connection
connection:    one client: queue, followed threads and calls under one lock
channels:      the process's one Redis pub/sub connection
relay:         published events → the connections that want them

Imports api.access and shared, never api.requests or api.transport.
"""
