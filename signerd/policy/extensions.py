"""Extensions that the frontend's presign asks for: which a profile may let in, and what one has to look like.

Their values are the frontend's own bytes, and stand in the certificate as they came. So the whole of a value is DER,
and one whose type the library knows is of that type: what a verifier makes of half a structure nobody can say.
"""

from collections.abc import Collection, Iterator, Sequence

from cryptography import x509

from protocol.fields import ExtensionWish, Rule
from signerd import der, strict_der

# Extensions that the signer makes itself, or that would make more of a certificate than a leaf, or somebody else's: no
# policy can let them in from outside.
NEVER = {
    "2.5.29.14": "subjectKeyIdentifier",
    "2.5.29.15": "keyUsage",
    "2.5.29.17": "subjectAltName",
    "2.5.29.19": "basicConstraints",
    "2.5.29.30": "nameConstraints",
    "2.5.29.31": "cRLDistributionPoints",
    "2.5.29.33": "policyMappings",
    "2.5.29.35": "authorityKeyIdentifier",
    "2.5.29.36": "policyConstraints",
    "2.5.29.37": "extKeyUsage",
    "2.5.29.54": "inhibitAnyPolicy",
    "1.3.6.1.5.5.7.1.1": "authorityInfoAccess",
    "1.3.6.1.5.5.7.1.11": "subjectInfoAccess",
    "1.3.6.1.5.5.7.1.14": "proxyCertInfo",
    "1.3.6.1.5.5.7.48.1.5": "ocspNoCheck",
    "2.16.840.1.113730.1.1": "nsCertType",
    # To Windows the first is a second extKeyUsage, and the other says whose account may log on (MS-WCCE, 2.2.2.7.7.4).
    "1.3.6.1.4.1.311.21.10": "Microsoft's application policies",
    "1.3.6.1.4.1.311.25.2": "Microsoft's security identifier of an account",
}


_NONE = Rule("extensions", True, "none")


def extensions_rule(allowed: Collection[str], wishes: Sequence[ExtensionWish]) -> Rule:
    """Whether all of the wishes may be granted. ``allowed``: OIDs."""
    if not wishes:
        return _NONE
    found = [f"{wish.oid} {problem}" for wish, problem in _problems(allowed, wishes)]
    return Rule("extensions", not found, "; ".join(found) or ", ".join(wish.oid for wish in wishes))


def _problems(allowed: Collection[str], wishes: Sequence[ExtensionWish]) -> Iterator[tuple[ExtensionWish, str]]:
    for index, wish in enumerate(wishes):
        if wish.oid not in allowed:
            yield wish, "is not among the profile's extra_extensions"
        elif any(wish.oid == other.oid for other in wishes[:index]):
            yield wish, "is there twice"
        elif (problem := _problem_of_value(wish)) is not None:
            yield wish, problem


def _problem_of_value(wish: ExtensionWish) -> str | None:
    try:
        strict_der.check(wish.value)
    except ValueError as error:
        return f"has a value that is not DER: {error}"
    try:
        # The library reads an extension only as a part of something: of the least certificate that it takes.
        _ = x509.load_der_x509_certificate(_certificate_with(wish)).extensions
    except Exception:  # several unrelated types for what it can't parse
        return "has a value that is not of its type"
    return None


_ED25519 = bytes.fromhex("300506032b6570")
_VALIDITY = der.tlv(der.SEQUENCE, der.time(0), der.time(0))
_NO_NAME = der.tlv(der.SEQUENCE)
_SPKI = der.tlv(der.SEQUENCE, _ED25519, der.bit_string(bytes(32)))
_BEFORE_EXTENSIONS = b"".join(
    (der.tlv(0xA0, der.integer(2)), der.integer(1), _ED25519, _NO_NAME, _VALIDITY, _NO_NAME, _SPKI)
)


def _certificate_with(wish: ExtensionWish) -> bytes:
    """A certificate with this extension, signed by nobody."""
    extension = der.extension(der.oid(wish.oid), wish.critical, wish.value)
    to_be_signed = der.tlv(der.SEQUENCE, _BEFORE_EXTENSIONS, der.tlv(0xA3, der.tlv(der.SEQUENCE, extension)))
    return der.signed(to_be_signed, bytes(64), _ED25519)
