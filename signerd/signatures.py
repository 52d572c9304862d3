"""Checking a signature, whoever's it is: a CSR's, a client's proof, a checkpoint's."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_PKCS1 = padding.PKCS1v15()


def is_signed_by(key: PublicKeyTypes, signature: bytes, data: bytes, algorithm: hashes.HashAlgorithm | None) -> bool:
    """Whether ``signature`` over ``data`` is by the private half of ``key``: RSA PKCS#1 v1.5 or ECDSA with the
    hash ``algorithm``; or Ed25519, for which that is None or of no matter."""
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            key.verify(signature, data, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            key.verify(signature, data, _PKCS1, algorithm)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        else:
            return False
    except InvalidSignature:
        return False
    return True
