"""Tests of api/cli/bridge: the whole bridge against a server, its session and the cursor of a thread alone."""
