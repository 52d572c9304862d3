"""The subject of a CSR, read strictly.

Values are taken from the DER itself and not from the library's Name, which loads every string type and does
not tell them apart. What passes can be encoded in the string type that RFC 5280, appendix A.1 gives it.

Whatever is wrong is a ValueError whose message is a sentence for people.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from signerd import der
from signerd.policy.names import Name, dns_name, ip_name
from signerd.policy.spelling import quoted

ATTRIBUTES_MAX = 32
VALUE_MAX = 255  # characters of a value for which RFC 5280 names no bound, or a much larger one

_UTF8, _PRINTABLE, _IA5 = 0x0C, 0x13, 0x16


class SubjectAttribute(NamedTuple):
    """One attribute of the subject: its short name (dotted OID if it has none), its OID, its value."""

    name: str
    oid: str
    value: str


class _AttributeType(NamedTuple):
    """What RFC 5280, appendix A.1 says of an attribute: name, bound in characters, string type."""

    name: str
    oid: str
    longest: int = VALUE_MAX
    string_type: int = _UTF8  # the narrowest that holds all its values


_ATTRIBUTE_TYPES = {
    der.oid(kind.oid)[2:]: kind
    for kind in (
        _AttributeType("CN", "2.5.4.3", 64),
        _AttributeType("O", "2.5.4.10", 64),
        _AttributeType("OU", "2.5.4.11", 64),
        _AttributeType("C", "2.5.4.6", 2, _PRINTABLE),
        _AttributeType("ST", "2.5.4.8", 128),
        _AttributeType("L", "2.5.4.7", 128),
        _AttributeType("serialNumber", "2.5.4.5", 64, _PRINTABLE),
        _AttributeType("emailAddress", "1.2.840.113549.1.9.1", 255, _IA5),
        _AttributeType("DC", "0.9.2342.19200300.100.1.25", 63, _IA5),
        _AttributeType("UID", "0.9.2342.19200300.100.1.1"),
        _AttributeType("title", "2.5.4.12", 64),
        _AttributeType("givenName", "2.5.4.42"),
        _AttributeType("surname", "2.5.4.4"),
        _AttributeType("pseudonym", "2.5.4.65", 128),
        _AttributeType("street", "2.5.4.9"),
        _AttributeType("postalCode", "2.5.4.17"),
    )
}
_REPERTOIRES = {
    _UTF8: re.compile(r".*"),
    _PRINTABLE: re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*"),  # X.680, 41.4
    _IA5: re.compile(r"[ -~]*"),
}


def read_subject(name: bytes) -> Iterator[SubjectAttribute]:
    """The attributes of a Name (RFC 5280, 4.1.2.4); those of a multi-valued RDN follow each other."""
    rdns = der.parts(name)
    if not all(rdn.value for rdn in rdns):
        raise ValueError("the subject has an RDN without an attribute (RFC 5280, 4.1.2.4)")
    attributes = [attribute for rdn in rdns for attribute in der.parts(rdn.value)]
    if len(attributes) > ATTRIBUTES_MAX:
        raise ValueError(f"the subject has more than {ATTRIBUTES_MAX} attributes")
    for attribute in attributes:
        match list(der.parts(attribute.value)):
            case [der.Part(tag=0x06, value=oid), value]:  # OBJECT IDENTIFIER
                kind = _ATTRIBUTE_TYPES.get(oid)
                if kind is None:
                    kind = _AttributeType(_dotted(oid), _dotted(oid))
                yield SubjectAttribute(kind.name, kind.oid, _text(kind, value))
            case _:
                raise ValueError("the subject does not have the structure of a Name (RFC 5280, 4.1.2.4)")


def _text(kind: _AttributeType, value: der.Part) -> str:
    """The text of a subject value: of a string type that RFC 5280, 4.1.2.4 lets a CA use, and printable."""
    what = f"the subject's {kind.name}"
    if value.tag not in (_UTF8, _PRINTABLE, kind.string_type):
        raise ValueError(f"{what} is not a UTF8String or PrintableString")
    try:
        text = value.value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{what} is not UTF-8") from None
    if not text.strip():
        raise ValueError(f"{what} is empty")
    if len(text) > kind.longest:
        raise ValueError(f"{what} {quoted(text)} is longer than {kind.longest} characters (RFC 5280, A.1)")
    # Not printable: control characters, line breaks, and what hides or turns text (U+200B, U+202E).
    if not text.isprintable():
        raise ValueError(f"{what} {quoted(text)} has a character that can't be printed")
    if not (_REPERTOIRES[value.tag].fullmatch(text) and _REPERTOIRES[kind.string_type].fullmatch(text)):
        raise ValueError(f"{what} {quoted(text)} has a character that its string type can't have")
    if kind.name == "C" and not (len(text) == 2 and text.isalpha()):
        raise ValueError(f"{what} {quoted(text)} is not a country's two letters")
    return text


def _dotted(encoded: bytes) -> str:
    """The dotted form of an OBJECT IDENTIFIER's value (X.690, 8.19), which the library has checked."""
    arcs, arc = [], 0
    for octet in encoded:
        arc = arc << 7 | octet & 0x7F
        if octet < 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def with_common_name(
    subject: tuple[SubjectAttribute, ...], names: tuple[Name, ...]
) -> tuple[tuple[SubjectAttribute, ...], tuple[Name, ...]]:
    """Subject and names, once the CN is one of the subject alternative names or has become one."""
    common_names = [at for at, attribute in enumerate(subject) if attribute.name == "CN"]
    if len(common_names) > 1:
        raise ValueError("the subject has more than one CN")
    for at in common_names:
        text = subject[at].value
        name = next((name for name in names if name.value == text), None) or _host_name(text)
        if name is None:
            raise ValueError(
                f"the CN {quoted(text)} is neither a subject alternative name nor a DNS name or IP address"
            )
        if name.value != text:
            subject = (*subject[:at], subject[at]._replace(value=name.value), *subject[at + 1 :])
        names = names if name in names else (*names, name)
    return subject, names


def _host_name(text: str) -> Name | None:
    for construct in (dns_name, ip_name):
        try:
            return construct(text)
        except ValueError:
            continue
    return None
