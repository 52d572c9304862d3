"""PEM armour (RFC 7468) to DER and back, strictly: one block, and nothing beside it but white space.

Lenient readers take the first of two blocks and skip what surrounds it. Then two readers of one text
see two different CSRs, and a private key pasted along goes unnoticed.
"""

import binascii
import re
from collections.abc import Iterable

# RFC 7468, 7: the label of a CSR, and the one that older generators write.
CSR_LABELS = ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
CERTIFICATE_LABEL = "CERTIFICATE"
CRL_LABEL = "X509 CRL"  # RFC 7468, 6

_WHITE_SPACE = b" \t\r\n"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_BEGIN = b"-----BEGIN "
_BEGIN_LINE = re.compile(rb"-----BEGIN (?P<label>[A-Z0-9 ]{1,64})-----[ \t]*\r?\n")
_LINE_BYTES = 48  # RFC 7468, 2: lines of 64 base64 characters, hence of 48 bytes


class PemError(ValueError):
    """The text is not one PEM block of a wanted kind. The message is for people and quotes nothing."""


class PrivateKeyFound(PemError):
    """The text holds a private key, which has no business where certificates and CSRs travel."""


def decode_one(text: bytes, labels: tuple[str, ...]) -> bytes:
    """The DER in ``text``, which must be one PEM block with one of ``labels`` and nothing else.

    Lines may be of any length and end in LF or CRLF. The DER itself is not looked at. Raises
    ``PrivateKeyFound`` if the words stand anywhere in the text, else ``PemError`` for what is wrong.
    """
    if b"PRIVATE KEY" in text:
        raise PrivateKeyFound("it holds a private key")
    label, base64 = _label_and_base64(text)
    if label not in labels:
        raise PemError(f"the PEM block is a {label}, not a {labels[0]}")
    try:
        der = binascii.a2b_base64(base64)
    except binascii.Error:
        der = b""
    # Padding too much, too little or with bits set decodes too, also in a2b_base64's strict mode.
    if not der or binascii.b2a_base64(der, newline=False) != base64:
        raise PemError("the PEM block holds bad base64")
    return der


def decode_csr(text: bytes) -> bytes:
    """The DER of the one CSR in ``text``; see ``decode_one``."""
    return decode_one(text, CSR_LABELS)


def encode(der: bytes, label: str) -> str:
    """The PEM block of ``der``: 64 characters a line, ended by a newline."""
    lines = [binascii.b2a_base64(der[i : i + _LINE_BYTES]) for i in range(0, len(der), _LINE_BYTES)]
    return f"-----BEGIN {label}-----\n{b''.join(lines).decode()}-----END {label}-----\n"


def encode_certificates(ders: Iterable[bytes]) -> str:
    """The PEM blocks of certificates, one after the other."""
    return "".join([encode(der, CERTIFICATE_LABEL) for der in ders])


def _label_and_base64(text: bytes) -> tuple[str, bytes]:
    """The label of the one block, and what stands in it, less its white space. Raises ``PemError``.

    The block is found from both ends of the text: each byte is looked at a fixed number of times, whatever it is. An
    expression for the whole that gives up and tries again at each place is quadratic in what a stranger sends.
    """
    stripped = text.strip(_WHITE_SPACE)
    if (begin := _BEGIN_LINE.match(stripped)) is None:
        raise PemError(_what_is_wrong(text))
    end = b"-----END %b-----" % begin["label"]
    base64 = stripped[begin.end() : -len(end)].translate(None, _WHITE_SPACE)
    if not stripped.endswith(end) or not base64 or base64.translate(None, _BASE64):
        raise PemError(_what_is_wrong(text))
    return begin["label"].decode(), base64


def _what_is_wrong(text: bytes) -> str:
    blocks = text.count(_BEGIN)
    if blocks == 0:
        return "there is no PEM block"
    if blocks > 1:
        return "there is more than one PEM block"
    stripped = text.strip(_WHITE_SPACE)
    last_line = stripped.replace(b"\r", b"\n").rpartition(b"\n")[2]
    if not stripped.startswith(_BEGIN) or b"-----END " not in last_line or not last_line.endswith(b"-----"):
        return "there is something before or after the PEM block, or its end is missing"
    if b"\n" not in stripped:
        return "the PEM block has lost its line breaks (curl keeps them with --data-binary @FILE)"
    return "the PEM block is malformed: its BEGIN and END lines differ, or there are headers or bad base64"
