"""What the extensions of a CSR ask for, as plain values.

Nothing of it is copied into a certificate: the names are judged by policy, and the rest is only compared with
what the profile grants, so that a wish that can't be met is refused instead of dropped.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from cryptography import x509

from protocol.fields import NAMES_MAX
from signerd.policy.names import Name, dns_name, email_name, ip_name, uri_name
from signerd.policy.spelling import refuse_many_a_labels

EXTENSIONS_MAX = 32

# RFC 5280, 4.2.1.3
_KEY_USAGES = {
    "digital_signature": "digitalSignature",
    "content_commitment": "nonRepudiation",
    "key_encipherment": "keyEncipherment",
    "data_encipherment": "dataEncipherment",
    "key_agreement": "keyAgreement",
    "key_cert_sign": "keyCertSign",
    "crl_sign": "cRLSign",
}


class Wishes(NamedTuple):
    """The wishes that a CSR can express; ``other_extensions`` has the OIDs of what has no field here."""

    names: tuple[Name, ...] = ()
    ca: bool = False
    key_usage: frozenset[str] = frozenset()
    extended_key_usage: tuple[str, ...] = ()
    other_extensions: tuple[str, ...] = ()


def read_wishes(extensions: x509.Extensions) -> Wishes:
    """The wishes in ``extensions``. Raises ValueError with a sentence if a name in them can't be accepted."""
    if len(extensions) > EXTENSIONS_MAX:
        raise ValueError(f"the CSR asks for more than {EXTENSIONS_MAX} extensions")
    names: tuple[Name, ...] = ()
    ca, key_usage, extended_key_usage = False, frozenset[str](), ()
    others = []
    for extension in extensions:
        match extension.value:
            case x509.SubjectAlternativeName() as general_names:
                names = _names(general_names)
            case x509.KeyUsage() as usage:
                key_usage = frozenset(_key_usages(usage))
            case x509.ExtendedKeyUsage() as usages:
                extended_key_usage = tuple(oid.dotted_string for oid in usages)
            case x509.BasicConstraints() as constraints:
                ca = constraints.ca
            case x509.SubjectKeyIdentifier():
                pass  # the certificate's is made from the key
            case _:
                others.append(extension.oid.dotted_string)
    return Wishes(names, ca, key_usage, extended_key_usage, tuple(others))


def _key_usages(usage: x509.KeyUsage) -> Iterator[str]:
    yield from (name for field, name in _KEY_USAGES.items() if getattr(usage, field))
    if usage.key_agreement:  # without it the last two bits are undefined
        yield from ("encipherOnly",) if usage.encipher_only else ()
        yield from ("decipherOnly",) if usage.decipher_only else ()


def _names(extension: x509.SubjectAlternativeName) -> tuple[Name, ...]:
    """The subject alternative names in canonical form, in order, without duplicates."""
    general_names = list(extension)
    if not 1 <= len(general_names) <= NAMES_MAX:
        raise ValueError(f"subjectAltName has {len(general_names)} names; 1 to {NAMES_MAX} are accepted")
    refuse_many_a_labels(str(general_name.value) for general_name in general_names)
    return tuple(dict.fromkeys(_name(general_name) for general_name in general_names))


# By the exact type: to ask an abstract base class, as isinstance does here, takes longer than the name itself.
_READERS: dict[type[x509.GeneralName], Callable[[str], Name]] = {
    x509.DNSName: dns_name,
    x509.IPAddress: ip_name,  # one with a mask, of twice the length, is not an address
    x509.RFC822Name: email_name,
    x509.UniformResourceIdentifier: uri_name,
}


def _name(general_name: x509.GeneralName) -> Name:
    read = _READERS.get(type(general_name))
    if read is None:
        kind = type(general_name).__name__
        raise ValueError(f"subjectAltName has a {kind}; accepted are DNSName, IPAddress, RFC822Name and URI")
    return read(str(general_name.value))
