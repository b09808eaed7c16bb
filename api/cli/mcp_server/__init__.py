"""The command `threadhouse mcp-server`: a server's threads as tools for other agents, over the Model Context Protocol.

- `command.py` owns the command, and how the process ends.
- `server.py` owns the connection to the client: it lists the tools and calls them.
- `tools.py` owns the tools: names, arguments and descriptions, and those that only read.
- `tool_turn.py` owns one turn that a tool runs: its progress, its interruption and its result.
- `elicitations.py` turns a request of the server, such as an approval request, into a question to the client's user.

It is a client of the HTTP API and of nothing else, so it sees what its API key may see. The official SDK (`mcp`) speaks
the protocol; it is slow to import, so that only `command.py` is imported before the command runs.
"""
