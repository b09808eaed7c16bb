"""The commands `threadhouse mcp`: the operator's MCP servers, and logins at them.

- `commands.py` owns the commands, and what they print.
- `config_file.py` changes `[mcp_servers.NAME]` of config.toml, and leaves all else of the file as it is.
- `login.py` logs a user in over a running server.
"""
