"""The views of revocation: CRLs, OCSP, and a holder's own revocation.

All is signed or decided by the signer; here it gets its types and caching headers. Nothing may be cached
past its nextUpdate, and never long: a cache would hide a revocation for as long as it answers.
"""

import base64
import binascii
import hashlib
import re
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

import bottle
import msgspec

from frontend import http_request
from frontend.views import JSON, PEM, Services, answer
from protocol import pem
from protocol.errors import ErrorCode, Refused
from protocol.messages import OCSP_BYTES_MAX, CrlRequest, OcspReply, OcspRequest, RevokeOwnRequest
from protocol.times import rfc3339

CRL = "application/pkix-crl"  # RFC 2585, 4.2
OCSP_REQUEST = "application/ocsp-request"  # RFC 6960, appendix A.1
OCSP_RESPONSE = "application/ocsp-response"
SHARD_MAX = 65535  # as messages.CrlRequest has it
_CACHED_SECONDS_MAX = 60
_SERIAL = re.compile("(?!00)([0-9a-f]{2}){1,20}")


def get_crl(services: Services, shard: str) -> bytes:
    if (number := int(shard)) > SHARD_MAX:
        raise Refused(ErrorCode.NOT_FOUND, "there is no such CRL")
    reply = services.signer.ask_crl(CrlRequest(shard=number))
    return _cacheable(services, CRL, reply.crl, reply.this_update, reply.next_update)


def get_all_crls(services: Services) -> bytes:
    """Every CRL that is current, and one that covers the CA's own certificate: a file for those who look up a
    whole chain (nginx's ssl_crl, curl's --crlfile)."""
    replies = [services.signer.ask_crl(CrlRequest(shard=None))]
    while (following := replies[-1].following) is not None:
        replies.append(services.signer.ask_crl(CrlRequest(shard=following)))
    text = "".join(pem.encode(crl, pem.CRL_LABEL) for crl in dict.fromkeys(reply.crl for reply in replies))
    this_update, next_update = max(one.this_update for one in replies), min(one.next_update for one in replies)
    return _cacheable(services, PEM, text.encode(), this_update, next_update)


def post_ocsp(services: Services) -> bytes:
    body = http_request.read_body(bottle.request.environ, (OCSP_REQUEST,))
    # RFC 9110, 9.3.3: an answer to POST is cached only if it says so; RFC 5019 uses GET where caching is wanted.
    return answer(OCSP_RESPONSE, _ask_ocsp(services, body).response)


def get_ocsp(services: Services, request: str) -> bytes:
    """RFC 6960, appendix A.1: the path ends in the base64 of the request, some of it as %2B, %2F and %3D."""
    try:
        der = base64.b64decode(unquote_to_bytes(request), validate=True)
    except binascii.Error:
        raise Refused(ErrorCode.BAD_REQUEST, "the path does not end in the base64 of an OCSP request") from None
    reply = _ask_ocsp(services, der)
    if reply.this_update is None or reply.next_update is None:
        return answer(OCSP_RESPONSE, reply.response)
    return _cacheable(services, OCSP_RESPONSE, reply.response, reply.this_update, reply.next_update)


def _ask_ocsp(services: Services, request: bytes) -> OcspReply:
    if len(request) > OCSP_BYTES_MAX:
        raise http_request.too_large()
    return services.signer.ask_ocsp(OcspRequest(request=request))


def _cacheable(services: Services, content_type: str, body: bytes, this_update: int, next_update: int) -> bytes:
    """The body with the headers of RFC 5019, 6.2; a 304 without it for a client that has it already."""
    remaining = int(next_update - services.now())
    if remaining <= 0:
        return answer(content_type, body)
    entity_tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    answer(content_type, b"")
    headers = bottle.response
    headers["Cache-Control"] = f"max-age={min(remaining, _CACHED_SECONDS_MAX)}, public, no-transform, must-revalidate"
    headers["Last-Modified"] = formatdate(this_update, usegmt=True)
    headers["Expires"] = formatdate(next_update, usegmt=True)
    headers["ETag"] = entity_tag
    known = bottle.request.environ.get("HTTP_IF_NONE_MATCH", "")
    if entity_tag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
        headers.status = HTTPStatus.NOT_MODIFIED.value
        return b""
    return body


class _Revocation(msgspec.Struct, forbid_unknown_fields=True):
    serial: str
    reason: str
    signature: str


def post_revoke(services: Services) -> bytes:
    body = http_request.read_body(bottle.request.environ, (JSON, "application/x-www-form-urlencoded", "text/plain", ""))
    try:
        wish = msgspec.json.decode(body, type=_Revocation)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Refused(ErrorCode.BAD_REQUEST, f"not the JSON of a revocation: {error}") from None
    if not _SERIAL.fullmatch(wish.serial):
        raise Refused(
            ErrorCode.BAD_REQUEST, "serial is not a serial number in lower-case hexadecimal, as it was signed"
        )
    reply = services.signer.ask_revoke_own(
        RevokeOwnRequest(
            serial=bytes.fromhex(wish.serial),
            reason=http_request.limited_text(wish.reason, "reason"),
            signature=http_request.decode_signature(wish.signature, "signature"),
        )
    )
    return answer(JSON, msgspec.json.encode({"serial": wish.serial, "revoked_at": rfc3339(reply.revoked_at)}))
