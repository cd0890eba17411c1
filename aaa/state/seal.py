"""Secrets at rest: AES-256-GCM under the store's key. Knows no entity."""

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from aaa.errors import StoreError

NONCE_SIZE = 12


class Sealer:
    """Seals octets to base64 text and back, bound to a context such as "service:17"."""

    def __init__(self, key: bytes) -> None:
        """key: the operator's key material, 16 octets or more. Raises StoreError when shorter."""
        if len(key) < 16:
            raise StoreError("the store's key is too short: 16 octets or more are needed")
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"aaa store v1").derive(key)
        self._cipher = AESGCM(derived)

    def seal(self, secret: bytes, context: bytes) -> str:
        nonce = os.urandom(NONCE_SIZE)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, secret, context)).decode()

    def unseal(self, sealed: str, context: bytes) -> bytes:
        """Raises StoreError when the key is not the one it was sealed with, or the text was altered."""
        raw = binascii.a2b_base64(sealed)
        try:
            return self._cipher.decrypt(raw[:NONCE_SIZE], raw[NONCE_SIZE:], context)
        except InvalidTag:
            raise StoreError(f"cannot unseal {context.decode()}: the store was sealed with another key") from None
