"""What is secret in a backup is encrypted by the passphrase of the CA's key: AES-256-GCM (NIST SP 800-38D) under a key
that scrypt (RFC 7914) makes of it, with the parameters of the CA's key file.

The path is authenticated with the content: no sealed file can stand in for another.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from signerd.pkcs8 import derive_key

SALT_BYTES = 16
_NONCE_BYTES = 12
_CHECK = "the passphrase"  # no path: those begin with a slash


class Sealer:
    """Seals and opens the files of one backup, whose ``salt`` is its own."""

    def __init__(self, passphrase: bytes, salt: bytes) -> None:
        self._cipher = AESGCM(derive_key(passphrase, salt))

    def seal(self, content: bytes, path: str) -> bytes:
        """``content`` so that only the passphrase opens it, and only as that of ``path``."""
        nonce = os.urandom(_NONCE_BYTES)  # a backup has some dozens of files: no two are the same
        return nonce + self._cipher.encrypt(nonce, content, path.encode())

    def open(self, sealed: bytes, path: str) -> bytes:
        """What ``seal`` was given. Raises ValueError."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], path.encode())
        except (InvalidTag, ValueError):
            raise ValueError(
                f"{path} can't be decrypted: the passphrase is another one, or the backup is damaged"
            ) from None

    def check(self) -> bytes:
        """Something sealed, by which a wrong passphrase is found before anything is opened."""
        return self.seal(b"", _CHECK)

    def opens(self, check: bytes) -> bool:
        """Whether this is the passphrase that ``check`` was made with."""
        try:
            return self.open(check, _CHECK) == b""
        except ValueError:
            return False
