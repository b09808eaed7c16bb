"""How secrets that open something are stored: as their SHA-256, so that the database alone opens nothing.

No slow hash is needed: the secrets are random, and long enough.
"""

from __future__ import annotations

import hashlib


def digest(secret: str) -> str:
    """Return the SHA-256 of a secret, in hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()
