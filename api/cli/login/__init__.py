"""Logins of this machine's user at servers: `threadhouse login`, `logout` and `token`.

device:  logging in with a code that the user enters in a browser anywhere (RFC 8628)
logins:  the file of tokens, and the token that a command sends
"""
