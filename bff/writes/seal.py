"""The key that checkpoints of the audit trail are signed with, as settings and people write it.

A private key is its seed, a public one is itself: 32 bytes each (RFC 8032, 5.1.5), in base64url without padding. The
private one is the server's alone. The public one is kept apart from the ledger by whoever wants to check it: one that
is read from beside what it proves, proves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bff.wire.jose import from_base64url, to_base64url

if TYPE_CHECKING:
    from bff.config import Secret


def private_key(seed: Secret) -> Ed25519PrivateKey:
    """The key of a seed. Raises `ValueError` for what is none."""
    return Ed25519PrivateKey.from_private_bytes(from_base64url(seed.value.encode()))


def public_key(words: str) -> Ed25519PublicKey:
    """The key that is written so. Raises `ValueError` for what is none."""
    return Ed25519PublicKey.from_public_bytes(from_base64url(words.rstrip("=").encode()))


def words(key: Ed25519PublicKey) -> str:
    """How a public key is written: 43 characters."""
    return to_base64url(key.public_bytes_raw())
