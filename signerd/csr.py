"""The one parser of certificate signing requests (PKCS #10, RFC 2986).

A CSR is bytes from a stranger. It is taken apart here once, completely, and what comes out is plain values
that can no longer raise: cryptography's own object decodes its parts lazily, ignores a second extensionRequest
attribute, and accepts keys, string types and names that must not reach a certificate. Whatever is wrong or
doubtful is ``Refused`` with ``bad_csr`` or ``weak_key``.

The order is by cost, and the key's kind and size are known before anything is computed with the key:
frame, key shape, library's strict DER, subject, names, then the key's arithmetic and the signature.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar, cast

from cryptography import x509
from cryptography.x509.oid import NameOID

from protocol.errors import ErrorCode, Refused
from protocol.messages import CSR_BYTES_MAX, NAMES_MAX
from signerd.der import oid as encode_oid
from signerd.policy.keys import PublicKey, check_key, key_type_of_spki
from signerd.policy.names import Name, dns_name, email_name, ip_name, quoted, uri_name

T = TypeVar("T")

SUBJECT_ATTRIBUTES_MAX = 32
EXTENSIONS_MAX = 32


class SubjectAttribute(NamedTuple):
    """One attribute of the subject: its short name (dotted OID if it has none), its OID, its value."""

    name: str
    oid: str
    value: str


@dataclass(frozen=True, slots=True)
class Csr:
    """A CSR that is well-formed, signed by its own key, and whose key is not known to be weak.

    ``subject`` is flat, in order. ``names`` are the subject alternative names, canonical, in order, without
    duplicates, then the CN if it is a DNS name or an IP address that is not among them; a CN that is one of
    the names is spelled as that name in ``subject`` too. ``other_extensions`` are the OIDs that were asked
    for besides subjectAltName, basicConstraints, keyUsage, extendedKeyUsage and subjectKeyIdentifier.
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


def parse_csr(der: bytes, *, blocked: frozenset[bytes] = frozenset()) -> Csr:
    """The CSR in ``der``; ``blocked`` are SHA-256 hashes of SubjectPublicKeyInfos that are not certified.

    Raises Refused ``bad_csr`` or ``weak_key``, whatever the bytes are, and nothing else.
    """
    if len(der) > CSR_BYTES_MAX:
        raise _bad(f"the CSR is longer than {CSR_BYTES_MAX} bytes")
    parts = _take_apart(der)
    key_type_of_spki(parts.spki)
    request = _guarded("the CSR", lambda: x509.load_der_x509_csr(der))
    subject = tuple(_subject(parts.subject))
    _check_attributes(parts.attributes)
    wishes = _Wishes(_guarded("an extension", lambda: request.extensions))
    subject, names = _with_common_name(subject, wishes.names)
    public_key = cast("PublicKey", _guarded("the key", request.public_key))
    key_type = check_key(public_key, parts.spki, blocked)
    if parts.algorithm not in _SIGNATURE_ALGORITHMS:
        raise _bad(_describe_signature_algorithm(request))
    if not _guarded("the CSR's signature", lambda: request.is_signature_valid):
        raise _bad("the CSR's signature is not by the key in it")
    return Csr(
        der=der,
        sha256=hashlib.sha256(der).digest(),
        subject=subject,
        names=names,
        public_key=public_key,
        key_type=key_type,
        spki=parts.spki,
        wants_ca=wishes.ca,
        key_usage=wishes.key_usage,
        extended_key_usage=wishes.extended_key_usage,
        other_extensions=wishes.others,
    )


def _bad(detail: str) -> Refused:
    return Refused(ErrorCode.BAD_CSR, detail)


def _guarded(what: str, load: Callable[[], T]) -> T:
    """What ``load`` returns. The library raises half a dozen unrelated types for bytes that it can't take
    (ValueError, InvalidVersion, UnsupportedAlgorithm, DuplicateExtension …); here they all mean one thing."""
    try:
        return load()
    except Exception as error:
        raise _bad(f"{what} can't be read: {type(error).__name__}") from error


# --- DER ----------------------------------------------------------------------------------------

_INTEGER, _BIT_STRING, _OID = 0x02, 0x03, 0x06
_UTF8, _PRINTABLE, _IA5 = 0x0C, 0x13, 0x16
_SEQUENCE, _SET, _CONTEXT_0 = 0x30, 0x31, 0xA0


class _Element(NamedTuple):
    tag: int
    encoded: bytes
    content: bytes


def _elements(content: bytes) -> Iterator[_Element]:
    """The DER elements that ``content`` consists of (X.690, 8.1 and 10.1). Raises Refused if it is not DER."""
    at, end = 0, len(content)
    while at < end:
        start = at
        tag, size = content[at], content[at + 1] if at + 1 < end else 0xFF
        at += 2
        if size >= 0x80:
            octets = size & 0x7F
            size = int.from_bytes(content[at : at + octets], "big") if octets <= 4 else end
            if octets == 0 or size < 0x80 or size >> (8 * (octets - 1)) == 0:
                raise _bad("the CSR is not DER: a length is not in its shortest form")
            at += octets
        if tag & 0x1F == 0x1F or at + size > end:
            raise _bad("the CSR is not DER: an element is cut off or has a tag that no CSR has")
        yield _Element(tag, content[start : at + size], content[at : at + size])
        at += size


def _expect(content: bytes, what: str, *tags: int) -> list[_Element]:
    """The elements of ``content``, which must have exactly these ``tags``."""
    found = list(_elements(content))
    if tuple(element.tag for element in found) != tags:
        raise _bad(f"the CSR is not DER of a PKCS #10 request: {what} does not have the parts it should have")
    return found


class _Parts(NamedTuple):
    """The pieces of a CertificationRequest (RFC 2986, 4): contents, but for ``spki`` and ``algorithm``."""

    subject: bytes
    spki: bytes
    attributes: bytes
    algorithm: bytes


def _take_apart(der: bytes) -> _Parts:
    (request,) = _expect(der, "the whole", _SEQUENCE)
    info, algorithm, _ = _expect(request.content, "the request", _SEQUENCE, _SEQUENCE, _BIT_STRING)
    version, subject, spki, attributes = _expect(
        info.content, "the part that is signed", _INTEGER, _SEQUENCE, _SEQUENCE, _CONTEXT_0
    )
    if version.content != b"\0":
        raise _bad("the CSR's version is not 1 (RFC 2986, 4.1)")
    return _Parts(subject.content, spki.encoded, attributes.content, algorithm.encoded)


# --- signature ----------------------------------------------------------------------------------

_SIGNATURE_ALGORITHMS = frozenset(
    bytes.fromhex(identifier)
    for identifier in (
        "300d06092a864886f70d01010b0500",  # sha256WithRSAEncryption; RFC 4055, 5: NULL, or absent
        "300b06092a864886f70d01010b",
        "300d06092a864886f70d01010c0500",  # sha384WithRSAEncryption
        "300b06092a864886f70d01010c",
        "300d06092a864886f70d01010d0500",  # sha512WithRSAEncryption
        "300b06092a864886f70d01010d",
        "300a06082a8648ce3d040302",  # ecdsa-with-SHA256 (RFC 5758, 3.2)
        "300a06082a8648ce3d040303",  # ecdsa-with-SHA384
        "300a06082a8648ce3d040304",  # ecdsa-with-SHA512
        "300506032b6570",  # Ed25519 (RFC 8410, 3)
    )
)


def _describe_signature_algorithm(request: x509.CertificateSigningRequest) -> str:
    oid = _guarded("the signature's algorithm", lambda: request.signature_algorithm_oid.dotted_string)
    return (
        f"the CSR is signed with the algorithm {oid}; accepted are SHA-256, SHA-384 or SHA-512 with RSA "
        f"(PKCS #1 v1.5) or ECDSA, and Ed25519"
    )


# --- subject ------------------------------------------------------------------------------------

# Short names as in RFC 4514, 3, RFC 4519 and RFC 5280, appendix A.
SUBJECT_NAMES = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.USER_ID: "UID",
    NameOID.STREET_ADDRESS: "street",
    NameOID.POSTAL_CODE: "postalCode",
    NameOID.TITLE: "title",
    NameOID.GIVEN_NAME: "givenName",
    NameOID.SURNAME: "surname",
    NameOID.INITIALS: "initials",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.BUSINESS_CATEGORY: "businessCategory",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
}

# Upper bounds in characters: RFC 5280, appendix A.1. What has none there gets 255.
_VALUE_MAX = {
    NameOID.COMMON_NAME: 64,
    NameOID.STATE_OR_PROVINCE_NAME: 128,
    NameOID.LOCALITY_NAME: 128,
    NameOID.ORGANIZATION_NAME: 64,
    NameOID.ORGANIZATIONAL_UNIT_NAME: 64,
    NameOID.SERIAL_NUMBER: 64,
    NameOID.TITLE: 64,
    NameOID.PSEUDONYM: 128,
}
_VALUE_MAX_DEFAULT = 255
_IA5_ATTRIBUTES = frozenset({NameOID.EMAIL_ADDRESS, NameOID.DOMAIN_COMPONENT})  # RFC 5280, appendix A.1
_PRINTABLE_VALUE = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*")  # X.680, 41.4
_COUNTRY = re.compile(r"[A-Za-z]{2}")


def _subject(content: bytes) -> Iterator[SubjectAttribute]:
    """The attributes of a Name (RFC 5280, 4.1.2.4), those of a multi-valued RDN one after the other."""
    count = 0
    for rdn in _elements(content):
        for attribute in _elements(rdn.content):
            count += 1
            if count > SUBJECT_ATTRIBUTES_MAX:
                raise _bad(f"the subject has more than {SUBJECT_ATTRIBUTES_MAX} attributes")
            oid, value = _elements(attribute.content)
            yield _subject_attribute(oid.content, value)


def _subject_attribute(encoded_oid: bytes, value: _Element) -> SubjectAttribute:
    oid = _SUBJECT_OIDS.get(encoded_oid)
    if oid is None:
        oid = x509.ObjectIdentifier(_dotted(encoded_oid))
    name = SUBJECT_NAMES.get(oid, oid.dotted_string)
    text = _text(name, value, ia5=oid in _IA5_ATTRIBUTES)
    limit = _VALUE_MAX.get(oid, _VALUE_MAX_DEFAULT)
    if len(text) > limit:
        raise _bad(f"the subject's {name} {quoted(text)} is longer than {limit} characters")
    if oid == NameOID.COUNTRY_NAME and not _COUNTRY.fullmatch(text):
        raise _bad(f"the subject's C {quoted(text)} is not a country code of two letters")
    return SubjectAttribute(name, oid.dotted_string, text)


def _text(name: str, value: _Element, *, ia5: bool) -> str:
    """The text of one subject value: a string type that RFC 5280, 4.1.2.4 lets a CA use, and printable."""
    if value.tag not in (_UTF8, _PRINTABLE) and not (ia5 and value.tag == _IA5):
        raise _bad(f"the subject's {name} is neither a UTF8String nor a PrintableString")
    try:
        text = value.content.decode("utf-8" if value.tag == _UTF8 else "ascii")
    except UnicodeDecodeError:
        raise _bad(f"the subject's {name} has bytes that its string type does not allow") from None
    if not text.strip():
        raise _bad(f"the subject's {name} is empty")
    # Control characters, line breaks, and what turns or hides text (U+202E, U+200B) is not printable.
    if not text.isprintable():
        raise _bad(f"the subject's {name} {quoted(text)} has a character that can't be printed")
    if value.tag == _PRINTABLE and not _PRINTABLE_VALUE.fullmatch(text):
        raise _bad(f"the subject's {name} {quoted(text)} has a character that a PrintableString can't have")
    return text


def _dotted(encoded: bytes) -> str:
    """The dotted form of an OBJECT IDENTIFIER's content (X.690, 8.19), which the library has checked."""
    arcs, arc = [], 0
    for octet in encoded:
        arc = arc << 7 | octet & 0x7F
        if octet < 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


_SUBJECT_OIDS = {encode_oid(oid.dotted_string)[2:]: oid for oid in SUBJECT_NAMES}


def _with_common_name(
    subject: tuple[SubjectAttribute, ...], names: tuple[Name, ...]
) -> tuple[tuple[SubjectAttribute, ...], tuple[Name, ...]]:
    """Subject and names, once the CN is one of the subject alternative names or has become one."""
    common_names = [at for at, attribute in enumerate(subject) if attribute.name == "CN"]
    if len(common_names) > 1:
        raise _bad("the subject has more than one CN")
    for at in common_names:
        text = subject[at].value
        if any(text == name.value for name in names):
            continue
        name = _host_name(text)
        if name is None:
            raise _bad(
                f"the CN {quoted(text)} is neither a subject alternative name nor a DNS name or IP address"
            )
        subject = (*subject[:at], subject[at]._replace(value=name.value), *subject[at + 1 :])
        names = names if name in names else (*names, name)
    if not names:
        raise _bad("no name: the CSR has neither a subject alternative name nor a CN")
    if len(names) > NAMES_MAX:
        raise _bad(f"the CSR asks for more than {NAMES_MAX} names")
    return subject, names


def _host_name(text: str) -> Name | None:
    for construct in (ip_name, dns_name):
        try:
            return construct(text)
        except ValueError:
            continue
    return None


# --- attributes and extensions ------------------------------------------------------------------

_EXTENSION_REQUEST = encode_oid("1.2.840.113549.1.9.14")[2:]  # RFC 2985, 5.4.2
_MICROSOFT_EXTENSION_REQUEST = encode_oid("1.3.6.1.4.1.311.2.1.14")[2:]


def _check_attributes(content: bytes) -> None:
    """Refuses attributes that can be read in two ways: the library takes the first and drops the rest."""
    seen = set()
    for attribute in _elements(content):
        oid, values = (part.content for part in _elements(attribute.content))
        if oid in seen:
            raise _bad("the CSR has the same attribute twice")
        seen.add(oid)
        if oid == _EXTENSION_REQUEST and len(list(_elements(values))) != 1:
            raise _bad("the CSR's extensionRequest attribute does not have one value (RFC 2985, 5.4.2)")
        if oid == _MICROSOFT_EXTENSION_REQUEST:
            raise _bad(
                "the CSR has Microsoft's attribute for extensions; use extensionRequest (RFC 2985, 5.4.2)"
            )


_KEY_USAGES = {
    "digital_signature": "digitalSignature",
    "content_commitment": "nonRepudiation",
    "key_encipherment": "keyEncipherment",
    "data_encipherment": "dataEncipherment",
    "key_agreement": "keyAgreement",
    "key_cert_sign": "keyCertSign",
    "crl_sign": "cRLSign",
}


class _Wishes:
    """What the extensions of a CSR ask for, as values of the fields of Csr."""

    def __init__(self, extensions: x509.Extensions) -> None:
        self.names: tuple[Name, ...] = ()
        self.ca = False
        self.key_usage: frozenset[str] = frozenset()
        self.extended_key_usage: tuple[str, ...] = ()
        others = []
        if len(extensions) > EXTENSIONS_MAX:
            raise _bad(f"the CSR asks for more than {EXTENSIONS_MAX} extensions")
        for extension in extensions:
            match extension.value:
                case x509.SubjectAlternativeName() as names:
                    self.names = tuple(_alternative_names(names))
                case x509.BasicConstraints(ca=ca):
                    self.ca = ca
                case x509.KeyUsage() as usage:
                    self.key_usage = frozenset(_key_usage(usage))
                case x509.ExtendedKeyUsage() as usages:
                    self.extended_key_usage = tuple(oid.dotted_string for oid in usages)
                case x509.SubjectKeyIdentifier():
                    pass  # the certificate's is made from the key
                case _:
                    others.append(extension.oid.dotted_string)
        self.others = tuple(others)


def _key_usage(usage: x509.KeyUsage) -> Iterator[str]:
    """The names of RFC 5280, 4.2.1.3; the last two bits have a meaning with keyAgreement only."""
    yield from (name for field, name in _KEY_USAGES.items() if getattr(usage, field))
    if usage.key_agreement and usage.encipher_only:
        yield "encipherOnly"
    if usage.key_agreement and usage.decipher_only:
        yield "decipherOnly"


def _alternative_names(extension: x509.SubjectAlternativeName) -> dict[Name, None]:
    """The names in canonical form, in order, without duplicates."""
    if not 1 <= len(extension) <= NAMES_MAX:
        raise _bad(f"subjectAltName has {len(extension)} names; 1 to {NAMES_MAX} are accepted")
    try:
        return dict.fromkeys(_alternative_name(general_name) for general_name in extension)
    except ValueError as error:
        raise _bad(f"subjectAltName: {error}") from error


def _alternative_name(general_name: x509.GeneralName) -> Name:
    match general_name:
        case x509.DNSName(value=text):
            return dns_name(text)
        case x509.IPAddress(value=address):
            return ip_name(str(address))  # a network, which has twice the bytes, is no address: ValueError
        case x509.RFC822Name(value=text):
            return email_name(text)
        case x509.UniformResourceIdentifier(value=text):
            return uri_name(text)
    kind = type(general_name).__name__
    raise ValueError(
        f"a name of the type {kind} is not accepted; DNS names, IP addresses, e-mail addresses and URIs are"
    )
