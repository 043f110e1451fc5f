"""Seeds of random number generators."""

from __future__ import annotations

import hashlib


def seed_of(*keys: object) -> int:
    """A 32-bit seed from any keys, the same on every machine."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, keys)).encode()).digest()[:4], "little")
