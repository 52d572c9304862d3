"""Which public keys may be certified.

The kind and size of a key are read off the bytes of its SubjectPublicKeyInfo, before any library computes
with it: the six kinds that are accepted have one DER encoding each, so a comparison with that encoding
settles the algorithm, the curve and that it is named, the size, the public exponent and strict DER at once.

Everything here is a pure function of its arguments.
"""

import hashlib
from collections.abc import Container
from math import gcd, isqrt, prod

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from protocol.errors import ErrorCode, Refused
from signerd import der

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

ACCEPTED = (
    "accepted are RSA with 2048, 3072 or 4096 bits and the public exponent 65537, "
    "ECDSA on the named curves P-256 or P-384 (uncompressed point), and Ed25519"
)


_RSA_ENCRYPTION = bytes.fromhex("300d06092a864886f70d0101010500")  # RFC 3279, 2.3.1: NULL parameters
_EXPONENT_65537 = bytes.fromhex("0203010001")


def _rsa_shape(bits: int) -> tuple[int, bytes]:
    """The length of an RSA key's SubjectPublicKeyInfo, and what stands before its modulus' value."""
    key = der.tlv(der.SEQUENCE, der.integer(1 << (bits - 1)), _EXPONENT_65537)
    spki = der.tlv(der.SEQUENCE, _RSA_ENCRYPTION, der.bit_string(key))
    return len(spki), spki[: -bits // 8 - len(_EXPONENT_65537)]


_RSA_SHAPES = {bits: _rsa_shape(bits) for bits in (2048, 3072, 4096)}

# RFC 5480, 2.1.1 and 2.2 (named curve, 0x04: uncompressed point) and RFC 8410, 4.
_EC_SHAPES = {
    "p256": (91, bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")),
    "p384": (120, bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004")),
    "ed25519": (44, bytes.fromhex("302a300506032b6570032100")),
}


# SHA-256 of the SubjectPublicKeyInfo of keys whose private half is published: the test keys of RFC 9500,
# 2.1 and 2.3, of the kinds that would be accepted (testRSA2048, testRSA4096, testECCP256, testECCP384).
PUBLISHED_KEYS = frozenset(
    bytes.fromhex(digest)
    for digest in (
        "8fb6bad671cfe698393c453357da61b56d757ab8c0f3fb9c87f2849e63131878",
        "96465ea5dc9bb2da7b351d808a7196e5761f2412a5040131c68d719aaba28fb9",
        "b2b04340cfaee616ec9c2c62d261b208e54bb197498df52e8cadede23ac0ba5e",
        "c4c10105a0be0ed4dd3354428dc38a9bfee64da141ce16e75c94eda272f9dd3a",
    )
)


def key_type_of_spki(spki: bytes) -> str:
    """The key type ("rsa2048" … "ed25519") of a DER SubjectPublicKeyInfo. Raises Refused ``weak_key``.

    Only bytes are compared: what it costs does not depend on the key.
    """
    for name, (length, head) in _EC_SHAPES.items():
        if len(spki) == length and spki.startswith(head):
            return name
    for bits, (length, head) in _RSA_SHAPES.items():
        if len(spki) == length and spki.startswith(head) and spki.endswith(_EXPONENT_65537) and spki[len(head)] & 0x80:
            return f"rsa{bits}"
    raise Refused(ErrorCode.WEAK_KEY, f"the key is of a kind or size that is not accepted; {ACCEPTED}")


def number_of_key(spki: bytes) -> bytes:
    """The number that a key is, big-endian, without leading zeros: an RSA key's modulus, a point's x-coordinate, the
    octets of an Ed25519 key. Raises Refused ``weak_key`` as ``key_type_of_spki`` does."""
    key_type = key_type_of_spki(spki)
    if key_type.startswith("rsa"):
        end = len(spki) - len(_EXPONENT_65537)
        return spki[end - int(key_type[3:]) // 8 : end]
    _, head = _EC_SHAPES[key_type]
    octets = spki[len(head) :]
    return (octets if key_type == "ed25519" else octets[: len(octets) // 2]).lstrip(b"\0")


def check_key(spki: bytes, blocked: Container[bytes] = frozenset()) -> str:
    """The key type of the key whose SubjectPublicKeyInfo is ``spki``. Raises Refused ``weak_key``.

    Refused are kinds and sizes that are not accepted, keys in ``blocked`` (by their ``spki``), keys that were
    published, and RSA moduli that are known to be easy to factor.
    """
    key_type = key_type_of_spki(spki)
    if hashlib.sha256(spki).digest() in PUBLISHED_KEYS:
        raise Refused(ErrorCode.WEAK_KEY, "the key is a published test key: anyone has its private half")
    if spki in blocked:
        raise Refused(ErrorCode.WEAK_KEY, "the key is one of those that this CA knows to be compromised")
    weakness = None
    if key_type.startswith("rsa"):
        weakness = rsa_weakness(int.from_bytes(number_of_key(spki), "big"))
    elif key_type == "ed25519":
        weakness = ed25519_weakness(spki[-32:])
    if weakness is not None:
        raise Refused(ErrorCode.WEAK_KEY, f"the {key_type} key is weak: {weakness}; make a new one")
    return key_type


_ED25519_PRIME = 2**255 - 19
_ED25519_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_ED25519_SMALL_ORDER = frozenset(  # the y-coordinates of the eight points whose order divides 8
    {0, 1, _ED25519_PRIME - 1, _ED25519_ORDER_8, _ED25519_PRIME - _ED25519_ORDER_8}
)


def ed25519_weakness(point: bytes) -> str | None:
    """What is wrong with an Ed25519 public key, as a clause; None: nothing that is known here.

    With a point of small order anyone makes signatures that the library, which leaves this check of RFC 8032, 7
    to its callers, takes for valid: a CSR with such a key proves nothing.
    """
    y = int.from_bytes(point, "little") & (2**255 - 1)  # the top bit is the sign of x (RFC 8032, 5.1.2)
    if y >= _ED25519_PRIME:
        return "its point is not in canonical form"
    return "its point has a small order" if y in _ED25519_SMALL_ORDER else None


def rsa_weakness(modulus: int) -> str | None:
    """What is wrong with an RSA modulus, as a clause; None: nothing that is known here."""
    if modulus % 2 == 0:
        return "its modulus is even"
    if gcd(modulus, _SMALL_PRIMES) != 1:
        return "its modulus has a small factor"
    if _is_roca(modulus):
        return "its primes are of the ROCA form (CVE-2017-15361)"
    if _has_close_primes(modulus):
        return "its primes are too close to each other"
    return None


def _primes_below(limit: int) -> list[int]:
    return [n for n in range(3, limit, 2) if all(n % d for d in range(3, isqrt(n) + 1, 2))]


_SMALL_PRIMES = prod(_primes_below(752))  # the bound that NIST SP 800-89, 5.3.3 and the Baseline Requirements use


def _powers_of_65537(prime: int) -> frozenset[int]:
    return frozenset(pow(65537, k, prime) for k in range(prime))


# ROCA (Nemec and others, 2017): the primes are k·M + (65537^a mod M) with M a product of small primes, so the
# modulus is a power of 65537 modulo each of these. A sound modulus passes all of them one time in 2^27.
_ROCA_RESIDUES = [
    (prime, residues) for prime in _primes_below(168) if len(residues := _powers_of_65537(prime)) < prime - 1
]


def _is_roca(modulus: int) -> bool:
    return all(modulus % prime in residues for prime, residues in _ROCA_RESIDUES)


FERMAT_ROUNDS = 100  # as the Baseline Requirements, 6.1.1.3 ask
_SIEVE = 16 * 9 * 5 * 7 * 11
_SQUARES = {k * k % _SIEVE for k in range(_SIEVE)}  # two in a hundred
_MAY_BE_SQUARE = bytes(n in _SQUARES for n in range(_SIEVE))
_ROUNDS = [(k, k * k) for k in range(FERMAT_ROUNDS)]


def _has_close_primes(modulus: int) -> bool:
    """Whether Fermat's method factors ``modulus`` within FERMAT_ROUNDS: some a² - modulus is a square.

    Nearly all candidates are ruled out by what a square can be modulo a small number, without a look at a large one.
    """
    root = isqrt(modulus - 1) + 1
    rest = root * root - modulus
    small_rest, small_step = rest % _SIEVE, 2 * root % _SIEVE
    candidates = [
        rest + k * (2 * root + k)  # (root + k)² - modulus
        for k, square in _ROUNDS
        if _MAY_BE_SQUARE[(small_rest + k * small_step + square) % _SIEVE]
    ]
    return any(isqrt(candidate) ** 2 == candidate for candidate in candidates)
