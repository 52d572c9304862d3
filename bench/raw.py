"""The limit: what one core can do of the bare cryptography that a certificate needs.

By the library itself, which is what signerd calls; and by `openssl speed` beside it, which is the system's own
OpenSSL: often an older one, so that the library may be faster than it.
"""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bench.results import Raw
from signerd.key import signature_hash
from signerd.signatures import is_signed_by

_SECONDS = 0.3
_OPENSSL_NAMES = {
    "rsa2048": "rsa2048",
    "rsa3072": "rsa3072",
    "rsa4096": "rsa4096",
    "p256": "ecdsap256",
    "p384": "ecdsap384",
    "ed25519": "ed25519",
}


def measure(ca: Path, key: str, csr_pem: str, csr_key: str) -> Raw:
    """One signature by the CA's key and one check of the CSR's, each for 0.3 s of CPU; and openssl's figures."""
    signing_key = load_pem_private_key((ca / "plain.key.pem").read_bytes(), None)
    csr = x509.load_pem_x509_csr(csr_pem.encode())
    public, signature, signed = csr.public_key(), csr.signature, csr.tbs_certrequest_bytes
    verify = _microseconds(lambda: is_signed_by(public, signature, signed, csr.signature_hash_algorithm))
    openssl_sign, _ = _openssl_speed(key)
    _, openssl_verify = _openssl_speed(csr_key)
    return Raw(csr_key, _microseconds(_signing(signing_key)), verify, openssl_sign, openssl_verify)


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


def _openssl_speed(key: str) -> tuple[float | None, float | None]:
    """Microseconds of a signature and of a check by `openssl speed`, one second each; None: it can't say."""
    command = ["openssl", "speed", "-mr", "-seconds", "1", _OPENSSL_NAMES[key]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None, None
    # -mr, for machines: +F2:0:2048:signatures a second:checks a second, with F4 for ECDSA, F6 for EdDSA.
    for line in done.stdout.splitlines():
        if line.startswith(("+F2:", "+F4:", "+F6:")):
            signatures, checks = line.split(":")[-2:]
            return 1e6 / float(signatures), 1e6 / float(checks)
    return None, None
