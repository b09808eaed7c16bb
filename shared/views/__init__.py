"""Records of the store as clients see them: the only place where a stored record becomes an object of the protocol.

May import shared.protocol and shared.store; both know nothing of this package.
"""
