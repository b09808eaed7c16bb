"""The bridge behind `threadhouse app-server`: stdin and stdout on one side, a WebSocket to the server on the other.

- `bridge.py` owns the two threads: it reads the client's lines, reads the connection, and reconnects.
- `session.py` owns what outlives a connection: requests without a reply, open server requests, followed threads.
- `followed_thread.py` owns the cursor of one thread and recognises events that the client already has.
- `server_connection.py` owns one WebSocket to the server.
- `messages.py` owns the shapes of messages and builds the ones that the bridge itself writes.

It imports from `shared` only the clock, ids, errors and the JSON decoder, so that the process starts fast.
"""
