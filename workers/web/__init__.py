"""Requests to foreign HTTP servers: each goes to an address that has been checked, and to no other.

guarded_http.py   one request: checked addresses, a deadline, a limit of bytes; no proxy, no redirect
pages.py          pages of the web as text: redirects, encodings, HTML
searx.py          searches in the operator's SearXNG
access.py         what a thread may search and fetch, and how often

Imports shared and workers.control.
"""
