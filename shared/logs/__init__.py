"""Log lines: redacted when they are made, and kept in Redis for a day by thread and turn.

May import the leaves of shared.
"""
