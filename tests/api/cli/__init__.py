"""Tests of api/cli: commands in this process, or as processes with a home of their own."""
