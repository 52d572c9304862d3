"""OCSP requests (RFC 6960, 4.1), parsed strictly. The library's parser takes a single certificate only.

A request's signature and requestorName are passed over: nothing here depends on who asks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.x509.oid import OCSPExtensionOID

from signerd import der

NONCE = der.oid(OCSPExtensionOID.NONCE.dotted_string)
NONCE_OCTETS_MAX = 128  # RFC 9654, 2.1, as is the rule that any other length is malformed
_SERIAL_OCTETS_MAX = 20  # RFC 5280, 4.1.2.2
_OID, _NULL = 0x06, b"\x05\0"


@dataclass(frozen=True, slots=True)
class CertId:
    """Which certificate is meant: by its issuer's hashes, and its serial number."""

    whole: bytes  # the DER of it, as it goes into the answer
    algorithm: bytes  # the OID of the hash, as a whole TLV
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial: bytes  # big-endian, without leading zeros; empty for a number that no certificate has


@dataclass(frozen=True, slots=True)
class OcspQuery:
    """A request: the certificates that it asks about, at least one, and its nonce."""

    ids: tuple[CertId, ...]
    nonce: bytes | None


def parse_query(data: bytes) -> OcspQuery:
    """The request in the DER ``data``. Raises ``ValueError`` for one that is malformed."""
    (outer,) = der.parts(data)
    fields = _Fields(outer, der.SEQUENCE)
    query = _query(fields.take(der.SEQUENCE))
    fields.skip(0xA0)
    fields.end()
    return query


class _Fields:
    """The fields of a constructed TLV, taken one after the other."""

    def __init__(self, part: der.Part, tag: int) -> None:
        if part.tag != tag:
            raise ValueError(f"tag {part.tag:#x}, not {tag:#x}")
        self._fields = iter(der.parts(part.value))
        self._next = next(self._fields, None)

    def take(self, tag: int) -> der.Part:
        """The next field, which has this tag."""
        part = self.skip(tag)
        if part is None:
            raise ValueError(f"no field with tag {tag:#x}")
        return part

    def skip(self, tag: int) -> der.Part | None:
        """The next field if it has this tag."""
        part = self._next
        if part is None or part.tag != tag:
            return None
        self._next = next(self._fields, None)
        return part

    def rest(self) -> Iterator[der.Part]:
        """All fields that are left."""
        while (part := self._next) is not None:
            self._next = next(self._fields, None)
            yield part

    def end(self) -> None:
        """There are no more fields."""
        if self._next is not None:
            raise ValueError("more fields than there are")


def _query(to_be_signed: der.Part) -> OcspQuery:
    fields = _Fields(to_be_signed, der.SEQUENCE)
    version = fields.skip(0xA0)
    if version is not None and version.value != der.integer(0):
        raise ValueError("a version other than 1")
    fields.skip(0xA1)
    ids = tuple(map(_cert_id, _Fields(fields.take(der.SEQUENCE), der.SEQUENCE).rest()))
    extensions = fields.skip(0xA2)
    fields.end()
    if not ids:
        raise ValueError("a request about no certificate")
    return OcspQuery(ids, None if extensions is None else _nonce(extensions))


def _cert_id(request: der.Part) -> CertId:
    fields = _Fields(request, der.SEQUENCE)
    whole = fields.take(der.SEQUENCE)
    extensions = fields.skip(0xA0)
    fields.end()
    if extensions is not None:
        list(_extensions(extensions, known=()))
    fields = _Fields(whole, der.SEQUENCE)
    algorithm = _Fields(fields.take(der.SEQUENCE), der.SEQUENCE)
    oid = algorithm.take(_OID)
    if [parameters.whole for parameters in algorithm.rest()] not in ([], [_NULL]):
        raise ValueError("a hash algorithm with parameters")
    name_hash, key_hash = fields.take(der.OCTET_STRING), fields.take(der.OCTET_STRING)
    serial = fields.take(der.INTEGER).value
    fields.end()
    if not 1 <= len(serial) <= _SERIAL_OCTETS_MAX:
        raise ValueError("a serial number of another length")
    if len(serial) > 1 and (serial[0], serial[1] & 0x80) in {(0, 0), (0xFF, 0x80)}:
        raise ValueError("an INTEGER that is not DER")  # X.690, 8.3.2: the first nine bits are not all the same
    octets = serial.lstrip(b"\0") if serial[0] < 0x80 else b""
    return CertId(whole.whole, oid.whole, name_hash.value, key_hash.value, octets)


def _nonce(extensions: der.Part) -> bytes | None:
    nonces = [value for oid, value in _extensions(extensions, known=(NONCE,)) if oid == NONCE]
    if not nonces:
        return None
    (nonce,) = nonces
    (octets,) = der.parts(nonce)
    if octets.tag != der.OCTET_STRING or not 1 <= len(octets.value) <= NONCE_OCTETS_MAX:
        raise ValueError("a nonce of another length or type")
    return octets.value


def _extensions(explicit: der.Part, known: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    """OID and value of each extension. One that is critical and not ``known`` is an error (RFC 5280, 4.2)."""
    (sequence,) = der.parts(explicit.value)
    for extension in _Fields(sequence, der.SEQUENCE).rest():
        fields = _Fields(extension, der.SEQUENCE)
        oid = fields.take(_OID).whole
        critical = fields.skip(0x01)
        if critical is not None and critical.value != b"\0" and oid not in known:
            raise ValueError("a critical extension that is not known here")
        value = fields.take(der.OCTET_STRING).value
        fields.end()
        yield oid, value
