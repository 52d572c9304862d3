"""The limit: what one core can do of the bare cryptography that a certificate needs, by the library itself."""

import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from signerd.key import signature_hash
from signerd.signatures import is_signed_by

_SECONDS = 0.3


def raw_microseconds(ca: Path, csr_pem: str) -> float:
    """One signature by the CA's key and one check of the CSR's, in microseconds of one core."""
    key = load_pem_private_key((ca / "plain.key.pem").read_bytes(), None)
    csr = x509.load_pem_x509_csr(csr_pem.encode())
    public, signature, signed = csr.public_key(), csr.signature, csr.tbs_certrequest_bytes
    check = _microseconds(lambda: is_signed_by(public, signature, signed, csr.signature_hash_algorithm))
    return check + _microseconds(_signing(key))


def _signing(key: object) -> Callable[[], object]:
    data = bytes(600)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return lambda: key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return lambda: key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101
    algorithm = ec.ECDSA(signature_hash(key.public_key()) or hashes.SHA256(), deterministic_signing=True)
    return lambda: key.sign(data, algorithm)


def _microseconds(function: Callable[[], object]) -> float:
    function()
    count, before = 0, time.process_time()
    while (passed := time.process_time() - before) < _SECONDS:
        function()
        count += 1
    return passed / count * 1e6
