"""Whether a certificate that is about to be signed is what the ledger's entry says beside it.

What is read from a file is input. Before the key sees recorded bytes again (``signerd.key``), and when a ledger is
verified, they are taken apart and held against the entry's facts: serial number, issuer, validity, subject, names,
key; that they are a leaf's; and that they have no extension but those which the signer makes itself and those that
are recorded. The comparison is with what the signer would encode, byte for byte, wherever it can be.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from signerd import der
from signerd.certificate import names_extension, subject_text
from signerd.csr_subject import read_subject
from signerd.policy.names import Name

_TAGS = [0xA0, der.INTEGER, *[der.SEQUENCE] * 5, 0xA3]  # of a TBSCertificate (RFC 5280, 4.1)


def _oid(kind: x509.ObjectIdentifier) -> bytes:
    return der.oid(kind.dotted_string)


_BASIC_CONSTRAINTS = _oid(ExtensionOID.BASIC_CONSTRAINTS)
_KEY_USAGE = _oid(ExtensionOID.KEY_USAGE)
_EXTENDED_KEY_USAGE = _oid(ExtensionOID.EXTENDED_KEY_USAGE)
_SUBJECT_KEY = _oid(ExtensionOID.SUBJECT_KEY_IDENTIFIER)
_ISSUER_KEY = _oid(ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
_NAMES = _oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
_CRL = _oid(ExtensionOID.CRL_DISTRIBUTION_POINTS)
_INFORMATION = _oid(ExtensionOID.AUTHORITY_INFORMATION_ACCESS)
_ALWAYS = {_BASIC_CONSTRAINTS, _KEY_USAGE, _EXTENDED_KEY_USAGE, _SUBJECT_KEY, _ISSUER_KEY, _NAMES}
_AT_CHOICE = {_CRL, _INFORMATION}  # with a base URL
_NO_CA = der.extension(_BASIC_CONSTRAINTS, True, der.tlv(der.SEQUENCE))
_KEY_CERT_SIGN, _CRL_SIGN = 0x04, 0x02  # of the first octet of a KeyUsage (RFC 5280, 4.2.1.3)
_NEVER = {_oid(ExtendedKeyUsageOID.OCSP_SIGNING), _oid(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)}


def problem_with(to_be_signed: bytes, facts: Mapping[str, Any], issuer: bytes | None = None) -> str | None:
    """The first fact that the DER of a TBSCertificate contradicts, in words; None where it fits them all.

    ``issuer``: the DER of the issuer's name, where that is known.
    """
    try:
        return next(_problems(to_be_signed, facts, issuer), None)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        return f"it can't be read: {error}"


def _problems(to_be_signed: bytes, facts: Mapping[str, Any], issuer: bytes | None) -> Iterator[str]:
    (outer,) = der.parts(to_be_signed)
    fields = der.parts(outer.value)
    if outer.tag != der.SEQUENCE or [field.tag for field in fields] != _TAGS:
        yield "it is no certificate of version 3"
    _, serial, _, name, validity, subject, spki, extensions = fields
    if serial.whole != der.integer(int.from_bytes(facts["serial"], "big")):
        yield "another serial number"
    if issuer is not None and name.whole != issuer:
        yield "another issuer"
    if validity.value != der.time(facts["not_before"]) + der.time(facts["not_after"]):
        yield "another validity"
    if subject_text(tuple(read_subject(subject.value))) != facts["subject"]:
        yield "another subject"
    if hashlib.sha256(spki.whole).digest() != facts["spki"]:
        yield "another key"
    (listed,) = der.parts(extensions.value)
    yield from _extension_problems(
        [extension.whole for extension in der.parts(listed.value)], facts, is_nameless=not subject.value
    )


def _extension_problems(extensions: list[bytes], facts: Mapping[str, Any], *, is_nameless: bool) -> Iterator[str]:
    """``is_nameless``: the subject is empty, so the names are critical (RFC 5280, 4.2.1.6)."""
    found = {}
    for whole in extensions:
        (sequence,) = der.parts(whole)
        oid, *_, value = der.parts(sequence.value)
        found[oid.whole] = whole, value.value
    if len(found) != len(extensions) or not found.keys() >= _ALWAYS:
        yield "an extension is missing, or there twice"
    if found.keys() - _ALWAYS - _AT_CHOICE != {der.oid(oid) for oid in facts["extensions"]}:
        yield "an extension that is not recorded"
    if found[_BASIC_CONSTRAINTS][0] != _NO_CA:
        yield "it is no leaf's: basicConstraints"
    if der.parts(found[_KEY_USAGE][1])[0].value[1] & (_KEY_CERT_SIGN | _CRL_SIGN):
        yield "it is no leaf's: keyUsage"
    if any(usage.whole in _NEVER for usage in der.parts(der.parts(found[_EXTENDED_KEY_USAGE][1])[0].value)):
        yield "it is no leaf's: extendedKeyUsage"
    names = [Name(*text.split(":", 1)) for text in facts["names"]]
    if found[_NAMES][0] != names_extension(names, critical=is_nameless):
        yield "other names"
    if found[_ISSUER_KEY][1] != der.tlv(der.SEQUENCE, der.tlv(0x80, facts["issuer"])):
        yield "another issuer's key"
    if _CRL in found and not found[_CRL][1].endswith(f"/crl/{facts['shard']}.crl".encode()):
        yield "another CRL shard"
