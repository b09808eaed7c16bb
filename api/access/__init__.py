"""Decide who sends a request, and whether they may send it now.

caller: who sends a request, and how they proved it
auth:   bearer token → Caller, Origin and Host
tokens: signed bearer tokens (JWT)
oidc_provider, oidc_tokens: the identity provider where users sign in, and its tokens
limits: how much one user may do at once and how often
capacity: what one process has for all users together
read_rate: how many bytes one user may send per second

Imports shared only.
"""
