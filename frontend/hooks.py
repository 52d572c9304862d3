"""What an operator's hooks are made of. How their module is found: ``frontend.hook_loader``.

A module names ``API_CSR_HOOKS_FACTORY``: a subclass of ``SigningHooksBase``, or a function that makes
one. Per request one object is made, and its methods are called in the order authorize, presign,
postsign; see docs/hooks.md. Hooks run in the web process, in several threads at once, and reach no key.
"""

import datetime
import hashlib
import ipaddress
from collections.abc import Iterator, Sequence
from typing import overload

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol import pem
from protocol.errors import ErrorCode, Refused
from protocol.fields import EXTENSION_BYTES_MAX, EXTENSIONS_MAX, ExtensionWish, Oid

# As OpenSSL prints them, and hence as ssl_api handed them to authorize.
_LABELS: dict[type[x509.GeneralName], str] = {
    x509.DNSName: "DNS",
    x509.IPAddress: "IP Address",
    x509.RFC822Name: "email",
    x509.UniformResourceIdentifier: "URI",
    x509.DirectoryName: "DirName",
    x509.RegisteredID: "Registered ID",
}


class CsrNotAuthedError(Exception):
    """Raised by the factory, ``authorize`` or ``presign`` to refuse. The client is told 403 and no more; the
    message goes to the log."""


class CsrTuple:
    """The CSR of a request: ``csr_pem``, text, and ``csr``, parsed. Unpacks in that order.

    Neither is made before it is touched. What can't be parsed is refused there, and the client told.
    """

    __slots__ = ("_csr", "_der")

    def __init__(self, der: bytes) -> None:
        self._der = der
        self._csr: x509.CertificateSigningRequest | None = None

    @property
    def csr_pem(self) -> str:
        """The CSR as one PEM block."""
        return pem.encode(self._der, pem.CSR_LABELS[0])

    @property
    def csr(self) -> x509.CertificateSigningRequest:
        """The CSR; subject, extensions and public key can be read, its signature is not verified."""
        if self._csr is None:
            self._csr = _parse(self._der)
        return self._csr

    def __iter__(self) -> Iterator[object]:
        yield self.csr_pem
        yield self.csr


def _parse(der: bytes) -> x509.CertificateSigningRequest:
    try:
        csr = x509.load_der_x509_csr(der)
        # These raise only when they are read; read here, no hook need expect that of them.
        _ = csr.subject, csr.extensions, csr.public_key()
    except Exception:  # the library raises several unrelated types for what it can't parse
        raise Refused(ErrorCode.BAD_CSR, "the CSR can't be parsed") from None
    return csr


class SubjectAltNames(Sequence[list[list[str]]]):
    """The names asked for, as ssl_api's authorize got them: a list of names per subjectAltName extension.

    A name is ``[label, value]`` with OpenSSL's labels: ``["DNS", "www.example.net"]``, ``["IP Address",
    "192.0.2.1"]``, ``["email", …]``, ``["URI", …]``. A common name that is not among them stands at the
    end, for the certificate will carry it as a name. Nothing is parsed before it is touched.
    """

    def __init__(self, csr_tuple: CsrTuple) -> None:
        self._csr_tuple = csr_tuple
        self._names: list[list[list[str]]] | None = None

    def _all(self) -> list[list[list[str]]]:
        if self._names is None:
            self._names = _subject_alt_names(self._csr_tuple.csr)
        return self._names

    @overload
    def __getitem__(self, index: int) -> list[list[str]]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[list[str]]]: ...
    def __getitem__(self, index: int | slice) -> list[list[str]] | list[list[list[str]]]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())

    def __eq__(self, other: object) -> bool:
        return self._all() == (other._all() if isinstance(other, SubjectAltNames) else other)

    __hash__ = None  # type: ignore[assignment] # like the list that it stands for

    def __repr__(self) -> str:
        return repr(self._all())


def _subject_alt_names(csr: x509.CertificateSigningRequest) -> list[list[list[str]]]:
    extensions = [
        [[_LABELS.get(type(name), "othername"), _value(name)] for name in extension.value]
        for extension in csr.extensions
        if isinstance(extension.value, x509.SubjectAlternativeName)
    ]
    known = {value.lower() for names in extensions for _, value in names}
    common_names = [str(a.value) for a in csr.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if unnamed := [[_label(name), name] for name in common_names if name.lower() not in known]:
        if not extensions:
            extensions.append([])
        extensions[-1].extend(unnamed)
    return extensions


def _label(common_name: str) -> str:
    try:
        ipaddress.ip_address(common_name)
    except ValueError:
        return _LABELS[x509.DNSName]
    return _LABELS[x509.IPAddress]


def _value(name: x509.GeneralName) -> str:
    if isinstance(name, x509.OtherName):
        return "<unsupported>"
    if isinstance(name, x509.DirectoryName):
        return name.value.rfc4514_string()
    if isinstance(name, x509.RegisteredID):
        return name.value.dotted_string
    return str(name.value)


class CertificateDraft:
    """What ``presign`` may wish for, adjusted in place; the signer's profile decides whether it is granted.

    ``lifetime``: a timedelta, or None for the profile's default. ``profile``: its name, or None for the
    default one. Extensions are added by ``add_extension``.
    """

    __slots__ = ("_extensions", "lifetime", "profile")

    def __init__(self, lifetime: datetime.timedelta | None, profile: str | None) -> None:
        self.lifetime = lifetime
        self.profile = profile
        self._extensions: list[ExtensionWish] = []

    @property
    def extensions(self) -> tuple[ExtensionWish, ...]:
        """The extensions added so far."""
        return tuple(self._extensions)

    def add_extension(
        self, extension: x509.ExtensionType | tuple[str | x509.ObjectIdentifier, bytes], critical: bool = False
    ) -> None:
        """Adds an extension: one of ``cryptography.x509``, or a pair of OID and DER value.

        Raises ValueError for a malformed or repeated OID, or beyond 16 extensions or 4096 bytes.
        """
        if isinstance(extension, tuple):
            oid, value = extension
        else:
            oid, value = extension.oid, extension.public_bytes()
        if isinstance(oid, str):
            oid = x509.ObjectIdentifier(oid)
        dotted = msgspec.convert(oid.dotted_string, Oid)
        wish = ExtensionWish(oid=dotted, value=bytes(value), critical=bool(critical))
        if any(other.oid == wish.oid for other in self._extensions):  # RFC 5280, 4.2: one of each
            raise ValueError(f"the extension {wish.oid} is there already")
        if len(self._extensions) == EXTENSIONS_MAX or len(wish.value) > EXTENSION_BYTES_MAX:
            raise ValueError(f"more than {EXTENSIONS_MAX} extensions, or one of over {EXTENSION_BYTES_MAX} bytes")
        self._extensions.append(wish)


class SigningHooksBase:
    """The hooks of one request, doing nothing. Inherit and override what you need."""

    def __init__(self, client_hash: str, public_key_hash: str | None, csr_tuple: CsrTuple) -> None:
        self._client_hash = client_hash
        self._public_key_hash = public_key_hash
        self._csr_tuple = csr_tuple

    def authorize(self, subject_alt_name_exts: Sequence[list[list[str]]]) -> datetime.timedelta | None:
        """Decides whether to sign: returns the wished lifetime, or None for the profile's default, or
        raises ``CsrNotAuthedError``."""
        return None

    def presign(self, certificate: CertificateDraft) -> None:
        """Adjusts the draft in place."""

    def postsign(self, certificate: x509.Certificate) -> None:
        """Sees the certificate that was issued, whatever happens here."""

    @property
    def client_hash(self) -> str:
        """The client id in the request's path."""
        return self._client_hash

    @property
    def public_key_hash(self) -> str:
        """The lower-case hex SHA-1 of the CSR's SubjectPublicKeyInfo."""
        if self._public_key_hash is None:
            self._public_key_hash = hash_public_key(self._csr_tuple)
        return self._public_key_hash

    @property
    def csr_tuple(self) -> CsrTuple:
        """The CSR, as text and parsed."""
        return self._csr_tuple


def hash_public_key(csr_tuple: CsrTuple) -> str:
    """The lower-case hex SHA-1 of the CSR's SubjectPublicKeyInfo: a name for the key, as in ssl_api."""
    spki = csr_tuple.csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha1(spki, usedforsecurity=False).hexdigest()
