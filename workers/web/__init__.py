"""Requests to foreign HTTP servers, each with shared.guarded_http.

pages.py          pages of the web as text: redirects, encodings, HTML
searx.py          searches in the operator's SearXNG
access.py         what a thread may search and fetch, and how often

Imports shared and workers.control.
"""
