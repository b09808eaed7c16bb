"""The web console: the page at `/`, its built files, and the sessions of browsers.

The page is an application of its own that speaks the protocol over HTTP, as any other client does. Its sources are in
`src/`; `dist/` has what `make console` builds of them, so that a server needs no Node. docs/CONSOLE.md describes it.
`oidc_routes` and `oidc_flow` sign users in at an identity provider.
"""
