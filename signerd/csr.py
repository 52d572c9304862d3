"""The one parser of certificate signing requests (PKCS #10, RFC 2986).

A CSR is bytes from a stranger. It is taken apart here once, completely, and what comes out is plain values
that can no longer raise: the library's own object decodes its parts lazily, ignores a second extensionRequest
attribute, and accepts keys, string types and names that must not reach a certificate. Whatever is wrong or
doubtful is ``Refused`` with ``bad_csr`` or ``weak_key``.

The kind and size of the key are known before anything is computed with it, and the signature, which costs
most, comes last.
"""

import hashlib
from collections.abc import Callable, Container
from typing import NamedTuple, TypeVar, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from protocol.errors import ErrorCode, Refused
from protocol.fields import CSR_BYTES_MAX, NAMES_MAX
from signerd import der as asn1
from signerd.csr_extensions import read_wishes
from signerd.csr_subject import SubjectAttribute, read_subject, with_common_name
from signerd.policy.keys import PublicKey, check_key
from signerd.policy.names import Name
from signerd.signatures import is_signed_by

__all__ = ["Csr", "SubjectAttribute", "parse_csr"]

T = TypeVar("T")


class Csr(NamedTuple):
    """A CSR that is well-formed, is signed by its own key, and has a key that is not known to be weak.

    ``subject`` is flat, in order. ``names`` are the subject alternative names, canonical, in order, without
    duplicates, then the CN if it is a DNS name or an IP address that is not among them; such a CN has the
    same spelling in ``subject``. ``sha256`` is the hash of ``der``, ``spki`` the DER SubjectPublicKeyInfo.
    ``key_usage`` has the names of RFC 5280, 4.2.1.3; ``extended_key_usage`` is OIDs, and so are
    ``other_extensions``, all that is asked for besides those two, subjectAltName, basicConstraints and
    subjectKeyIdentifier.
    """

    der: bytes
    sha256: bytes
    subject: tuple[SubjectAttribute, ...]
    names: tuple[Name, ...]
    public_key: PublicKey
    key_type: str
    spki: bytes
    wants_ca: bool
    key_usage: frozenset[str]
    extended_key_usage: tuple[str, ...]
    other_extensions: tuple[str, ...]


class UnprovenCsr(NamedTuple):
    """A CSR that was read, and whose signature was not looked at: nothing is to be made of it but by ``proven``."""

    unproven: Csr
    signed: bytes
    signature: bytes
    algorithm: hashes.HashAlgorithm | None

    @property
    def is_quick(self) -> bool:
        """Whether to check it takes some 20 µs, as with RSA; with the others it is 60 and more."""
        return self.unproven.key_type.startswith("rsa")

    def proven(self) -> Csr:
        """The CSR, which its own key has signed. Raises Refused ``bad_csr``."""
        # By the key at hand: the library's is_signature_valid would load it once more, a fifth of the whole cost.
        if not is_signed_by(self.unproven.public_key, self.signature, self.signed, self.algorithm):
            raise Refused(ErrorCode.BAD_CSR, "the CSR's signature was not made by the key in it")
        return self.unproven


def parse_csr(der: bytes, *, blocked: Container[bytes] = frozenset()) -> Csr:
    """The CSR in ``der``; ``blocked`` are SubjectPublicKeyInfos that are not certified.

    Raises Refused ``bad_csr`` or ``weak_key``, whatever the bytes are, and nothing else.
    """
    return read_csr(der, blocked=blocked).proven()


def read_csr(der: bytes, *, blocked: Container[bytes] = frozenset()) -> UnprovenCsr:
    """The same up to the signature, the check of which takes longer than all else."""
    try:
        return _read(der, blocked)
    except ValueError as error:
        raise Refused(ErrorCode.BAD_CSR, str(error)) from error


def _read(der: bytes, blocked: Container[bytes]) -> UnprovenCsr:
    """The CSR in ``der``. Raises Refused ``weak_key``, and ValueError with a sentence for all else."""
    frame = _take_apart(der)
    key_type = check_key(frame.spki, blocked)
    request = _guarded("it is not strict DER", lambda: x509.load_der_x509_csr(der))
    _check_attributes(frame.attributes)
    wishes = read_wishes(_guarded("its extensions can't be read", lambda: request.extensions))
    subject, names = with_common_name(tuple(read_subject(frame.subject)), wishes.names)
    if not 1 <= len(names) <= NAMES_MAX:
        raise ValueError(f"the CSR asks for {len(names) or 'no'} names; 1 to {NAMES_MAX} are accepted")
    public_key = cast("PublicKey", _guarded("its key can't be read", request.public_key))
    algorithm = _signature_algorithm(frame.signature_algorithm, key_type)
    csr = Csr(
        der=der,
        sha256=hashlib.sha256(der).digest(),
        subject=subject,
        names=names,
        public_key=public_key,
        key_type=key_type,
        spki=frame.spki,
        wants_ca=wishes.ca,
        key_usage=wishes.key_usage,
        extended_key_usage=wishes.extended_key_usage,
        other_extensions=wishes.other_extensions,
    )
    return UnprovenCsr(csr, frame.signed, frame.signature, algorithm)


def _signature_algorithm(identifier: bytes, key_type: str) -> hashes.HashAlgorithm | None:
    try:
        kinds, algorithm = _SIGNATURE_ALGORITHMS[identifier]
    except KeyError:
        raise ValueError(f"the CSR is not signed with one of the accepted algorithms: {_ACCEPTED_SIGNATURES}") from None
    if not key_type.startswith(kinds):
        raise ValueError("the CSR's signature was not made by the key in it")
    return algorithm


def _guarded(otherwise: str, load: Callable[[], T]) -> T:
    """What ``load`` returns. For bytes that it can't take the library raises half a dozen unrelated types
    (ValueError, InvalidVersion, UnsupportedAlgorithm, DuplicateExtension …); here they all mean one thing."""
    try:
        return load()
    except Exception as error:
        raise ValueError(f"the CSR is refused: {otherwise}") from error


# --- frame ------------------------------------------------------------------------------------------

_OID, _CONTEXT_0 = 0x06, 0xA0


class _Frame(NamedTuple):
    """The pieces of a CertificationRequest (RFC 2986, 4.2)."""

    subject: bytes  # the value of the Name
    spki: bytes
    attributes: bytes  # the value of the SET
    signed: bytes  # what the signature is over
    signature_algorithm: bytes
    signature: bytes


def _take_apart(der: bytes) -> _Frame:
    if len(der) > CSR_BYTES_MAX:
        raise ValueError(f"the CSR is longer than {CSR_BYTES_MAX} bytes")
    (request,) = _parts(der, asn1.SEQUENCE)
    info, algorithm, signature = _parts(request.value, asn1.SEQUENCE, asn1.SEQUENCE, asn1.BIT_STRING)
    version, subject, spki, attributes = _parts(info.value, asn1.INTEGER, asn1.SEQUENCE, asn1.SEQUENCE, _CONTEXT_0)
    if version.value != b"\0":
        raise ValueError("the CSR's version is not 1 (RFC 2986, 4.1)")
    if signature.value[:1] != b"\0":
        raise ValueError("the CSR's signature is not a whole number of octets")
    return _Frame(subject.value, spki.whole, attributes.value, info.whole, algorithm.whole, signature.value[1:])


def _parts(data: bytes, *tags: int) -> list[asn1.Part]:
    """The TLVs that ``data`` is made of, which must have exactly these ``tags``."""
    try:
        parts = asn1.parts(data)
    except ValueError as error:
        raise ValueError(f"the CSR is not DER: {error}") from None
    if tuple([part.tag for part in parts]) != tags:
        raise ValueError("the CSR does not have the structure of RFC 2986, or has bytes after its end")
    return parts


_ACCEPTED_SIGNATURES = "SHA-256, SHA-384 or SHA-512 with RSA (PKCS #1 v1.5) or with ECDSA, and Ed25519"
_RSA, _EC, _ED25519 = "rsa", "p", "ed25519"  # what the names of their key types begin with
_SIGNATURE_ALGORITHMS: dict[bytes, tuple[str, hashes.HashAlgorithm | None]] = {
    bytes.fromhex(identifier): (kind, algorithm)
    for identifier, kind, algorithm in (
        ("300d06092a864886f70d01010b0500", _RSA, hashes.SHA256()),  # RFC 4055, 5: parameters NULL, or absent
        ("300b06092a864886f70d01010b", _RSA, hashes.SHA256()),
        ("300d06092a864886f70d01010c0500", _RSA, hashes.SHA384()),
        ("300b06092a864886f70d01010c", _RSA, hashes.SHA384()),
        ("300d06092a864886f70d01010d0500", _RSA, hashes.SHA512()),
        ("300b06092a864886f70d01010d", _RSA, hashes.SHA512()),
        ("300a06082a8648ce3d040302", _EC, hashes.SHA256()),  # RFC 5758, 3.2: no parameters
        ("300a06082a8648ce3d040303", _EC, hashes.SHA384()),
        ("300a06082a8648ce3d040304", _EC, hashes.SHA512()),
        ("300506032b6570", _ED25519, None),  # RFC 8410, 3
    )
}

# --- attributes -------------------------------------------------------------------------------------

_EXTENSION_REQUEST = asn1.oid("1.2.840.113549.1.9.14")[2:]  # RFC 2985, 5.4.2
_MICROSOFT_EXTENSION_REQUEST = asn1.oid("1.3.6.1.4.1.311.2.1.14")[2:]


def _check_attributes(content: bytes) -> None:
    """Refuses attributes that can be read in two ways: the library takes the first and drops the rest."""
    seen = set()
    for attribute in asn1.parts(content):
        oid, values = _parts(attribute.value, _OID, asn1.SET)
        if oid.value in seen:
            raise ValueError("the CSR has the same attribute twice")
        seen.add(oid.value)
        if oid.value == _EXTENSION_REQUEST and len(asn1.parts(values.value)) != 1:
            raise ValueError("the CSR's extensionRequest attribute does not have exactly one value")
        if oid.value == _MICROSOFT_EXTENSION_REQUEST:
            raise ValueError("the CSR has extensions in Microsoft's attribute; extensionRequest is the one that counts")
