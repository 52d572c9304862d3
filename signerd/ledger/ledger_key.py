"""The ledger key: an Ed25519 key (RFC 8032) that signs the head of each commit, and nothing else but statements
about this CA's own records.

A chain of hashes shows that nothing in it was changed, but whoever can write the file can make a chain: what is
read from it is believed, and signed by ``recover``, only where the ledger key signed the commit. It is not the CA's
key, which may lie in an HSM and does not sign twice per batch; a statement by the CA's key, the first two entries
of the ledger, says which key it is. So the CA's certificate alone is enough to check a ledger, anywhere.
"""

import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from signerd.ledger.chain import Head

# Each kind of text that the key signs begins with a line of its own: none can be taken for another.
_HEAD = struct.Struct(">22sQ32s")
_HEAD_LINE = b"signerd ledger head 1\n"
_BACKUP_LINE = b"signerd backup manifest 1\n"


class LedgerKey:
    """The private key. ``public`` is the raw public key, 32 bytes."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self.__sign = private.sign  # by no attribute does anybody else get at the key
        self.public = private.public_key().public_bytes_raw()

    def sign_head(self, head: Head) -> bytes:
        """The signature over the head of a commit, 64 bytes."""
        return self.__sign(_text(head))

    def sign_backup(self, manifest: bytes) -> bytes:
        """The signature over a backup's manifest, 64 bytes. The daemon never asks for one, only root's ca_admin."""
        return self.__sign(_BACKUP_LINE + manifest)


def is_head_signed(public: bytes, head: Head, signature: object) -> bool:
    """Whether ``signature`` is by the ledger key ``public`` over this head."""
    return isinstance(signature, bytes) and _is_signed(public, _text(head), signature)


def is_backup_signed(public: bytes, manifest: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is by the ledger key ``public`` over this manifest."""
    return _is_signed(public, _BACKUP_LINE + manifest, signature)


def _is_signed(public: bytes, text: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def _text(head: Head) -> bytes:
    return _HEAD.pack(_HEAD_LINE, head.seq, head.hash)
