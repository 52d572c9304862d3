"""An HTTP request as a request to the signer: path, query, headers and body, each parsed strictly.

Everything that can't be understood is refused here, since the signer closes a connection over a
malformed message. What is meant is for the signer to judge.
"""

import base64
import re
from http import HTTPStatus
from typing import Any

import msgspec

from frontend.problems import HttpRefused
from protocol import pem
from protocol.durations import parse_duration
from protocol.errors import ErrorCode, Refused
from protocol.fields import CSR_BYTES_MAX, SIGNATURE_BYTES_MAX, TEXT_MAX, MacProof, ProfileName, RenewalProof
from protocol.messages import CheckRequest, IssueRequest

Environ = dict[str, Any]

PKCS10 = "application/pkcs10"
# The form type is what curl says of --data-binary unless told otherwise; "" is no Content-Type at all.
CSR_TYPES = ("application/x-pem-file", PKCS10, "text/plain", "application/x-www-form-urlencoded", "")

_VISIBLE = re.compile(r"[!-~]{1,128}")
_TIME = "(?P<time>0|[1-9][0-9]{0,11})"  # as the signer will spell it in the text that was signed
_MAC = re.compile(rf"{_TIME}:(?P<mac>[0-9A-Fa-f]{{64}})")
_RENEWAL = re.compile(rf"(?P<serial>[0-9A-Fa-f]{{1,40}}):{_TIME}:(?P<signature>[A-Za-z0-9+/=]+)")
_LIFETIME_MAX = 36_500 * 86_400  # seconds: what is longer is a mistake; the profile allows far less


def raw_path(environ: Environ) -> str:
    """The path as it stood in the request line, nothing decoded: what is not plain ASCII matches no route.

    Raises ``HttpRefused`` (400) for control characters and bytes beyond ASCII.
    """
    path: str = environ["REQUEST_URI"].partition("?")[0]  # waitress's, the raw request-target
    if not (path.isascii() and path.isprintable()):
        raise HttpRefused(HTTPStatus.BAD_REQUEST, "the path holds control characters or bytes beyond ASCII")
    return path


def parse(environ: Environ, client: str) -> IssueRequest:
    """The request to issue, or with ``dry_run=1`` to check (a ``CheckRequest``).

    Raises ``Refused`` for what is malformed, ``pem.PrivateKeyFound`` for a private key in the body.
    """
    query = _parse_query(environ["QUERY_STRING"])
    csr = _read_csr(environ)
    request_type = CheckRequest if _is_dry_run(query) else IssueRequest
    return request_type(
        csr=csr,
        client=client,
        profile=_parse_profile(query),
        lifetime=_parse_lifetime(query),
        idempotency_key=_parse_idempotency_key(environ),
        mac=_parse_mac(environ),
        renewal=_parse_renewal(environ),
    )


def _bad(detail: str) -> Refused:
    return Refused(ErrorCode.BAD_REQUEST, detail)


def _parse_query(text: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        if name not in {"profile", "lifetime", "dry_run"}:
            raise _bad(f"unknown query parameter {name[:64]!a} (known here: dry_run, lifetime, profile)")
        if name in query:
            raise _bad(f"the query parameter {name} is given twice")
        query[name] = value
    return query


def _is_dry_run(query: dict[str, str]) -> bool:
    value = query.get("dry_run", "0")
    if value not in {"0", "1"}:
        raise _bad("dry_run is neither 0 nor 1")
    return value == "1"


def _parse_profile(query: dict[str, str]) -> str | None:
    if (name := query.get("profile")) is None:
        return None
    try:
        return msgspec.convert(name, ProfileName)
    except msgspec.ValidationError:
        raise _bad("profile is no name of a profile: letters, digits, - and _, at most 64") from None


def _parse_lifetime(query: dict[str, str]) -> int | None:
    if (text := query.get("lifetime")) is None:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= _LIFETIME_MAX:
        raise _bad("lifetime is no duration: a whole number and one of s, m, h, d, w, y")
    return seconds


def media_type(environ: Environ) -> str:
    """The body's type without its parameters, in lower case; "" if none is named."""
    return environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()  # type: ignore[no-any-return]


def read_body(environ: Environ) -> bytes:
    """The body. Raises ``HttpRefused`` (413)."""
    body: bytes = environ["wsgi.input"].read(CSR_BYTES_MAX + 1)
    if len(body) > CSR_BYTES_MAX:
        raise too_large()
    return body


def _read_csr(environ: Environ) -> bytes:
    body = read_body(environ)
    if not body:
        raise Refused(ErrorCode.BAD_CSR, "the body is empty")
    if media_type(environ) == PKCS10 and not body.startswith(b"-----"):
        return body
    try:
        return pem.decode_csr(body)
    except pem.PrivateKeyFound:
        raise
    except pem.PemError as error:
        raise Refused(ErrorCode.BAD_CSR, str(error)) from None


def too_large() -> HttpRefused:
    """What is said of a body above the limit, wherever that is noticed."""
    return HttpRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {CSR_BYTES_MAX} bytes")


def _parse_idempotency_key(environ: Environ) -> str | None:
    key: str | None = environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not _VISIBLE.fullmatch(key):
        raise _bad("Idempotency-Key is not 1 to 128 visible ASCII characters")
    return key


def _parse_mac(environ: Environ) -> MacProof | None:
    text: str | None = environ.get("HTTP_X_CSR_MAC")
    if text is None:
        return None
    if not (match := _MAC.fullmatch(text)):
        raise _bad("X-CSR-MAC is not TIME:HEX, seconds since the epoch and 64 hexadecimal digits")
    return MacProof(time=int(match["time"]), mac=bytes.fromhex(match["mac"]))


def _parse_renewal(environ: Environ) -> RenewalProof | None:
    text: str | None = environ.get("HTTP_X_CSR_RENEW")
    if text is None:
        return None
    if (match := _RENEWAL.fullmatch(text)) and (serial := int(match["serial"], 16)):
        return RenewalProof(
            serial=serial.to_bytes((serial.bit_length() + 7) // 8),
            time=int(match["time"]),
            signature=decode_signature(match["signature"], "X-CSR-Renew"),
        )
    raise _bad(
        "X-CSR-Renew is not SERIAL:TIME:BASE64, a hexadecimal serial number, seconds since the epoch and a signature"
    )


def decode_signature(text: str, where: str) -> bytes:
    """The signature in base64. Raises ``Refused``, naming ``where`` it stood."""
    try:
        signature = base64.b64decode(text, validate=True)
    except ValueError:
        signature = b""
    if not 0 < len(signature) <= SIGNATURE_BYTES_MAX:
        raise _bad(f"{where} holds no signature in base64, of {SIGNATURE_BYTES_MAX} bytes at most")
    return signature


def limited_text(text: str, where: str) -> str:
    """The text, if it is not too long for a message. Raises ``Refused``, naming ``where`` it stood."""
    if len(text) > TEXT_MAX:
        raise _bad(f"{where} is longer than {TEXT_MAX} characters")
    return text


def wants_pem_chain(environ: Environ) -> bool:
    """Whether Accept names application/pem-certificate-chain, and not to rule it out (q=0)."""
    accept: str = environ.get("HTTP_ACCEPT", "").lower()
    if "pem-certificate-chain" not in accept:
        return False
    for item in accept.split(","):
        media_type, _, parameters = item.partition(";")
        if media_type.strip() == "application/pem-certificate-chain":
            return not re.fullmatch(r"q=0(\.0*)?", parameters.strip())
    return False
