"""The views of revocation: CRLs, OCSP, and a holder's own revocation.

All is signed or decided by the signer; here it gets its types and caching headers. Nothing may be cached
past its nextUpdate, and never long: a cache would hide a revocation for as long as it answers.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from email.utils import formatdate
from urllib.parse import unquote_to_bytes

import msgspec

from frontend import http_request
from frontend.answers import Answer, answer, not_modified
from frontend.http_request import Environ
from frontend.views import JSON, PEM, Services
from protocol import pem
from protocol.errors import ErrorCode, Refused
from protocol.fields import OCSP_BYTES_MAX
from protocol.messages import CrlReply, CrlRequest, OcspReply, OcspRequest, RevokeOwnRequest
from protocol.times import rfc3339

CRL = "application/pkix-crl"  # RFC 2585, 4.2
OCSP_REQUEST = "application/ocsp-request"  # RFC 6960, appendix A.1
OCSP_RESPONSE = "application/ocsp-response"
WISH_TYPES = (JSON, "application/x-www-form-urlencoded", "text/plain", "")  # what is curl's own among them
SHARD_MAX = 65535  # as messages.CrlRequest has it
_CACHED_SECONDS_MAX = 60
_SERIAL = re.compile("(?!00)([0-9a-f]{2}){1,20}")


def get_crl(services: Services, environ: Environ, shard: str) -> Answer:
    if (number := int(shard)) > SHARD_MAX:
        raise Refused(ErrorCode.NOT_FOUND, "there is no such CRL")
    reply = services.signer.ask_crl(CrlRequest(shard=number))
    return _cacheable(services, environ, CRL, reply.crl, (reply.this_update, reply.next_update))


def get_all_crls(services: Services, environ: Environ) -> Answer:
    """Every CRL that is current, one or many: a file for those who can't follow a certificate's address.

    The one for CA certificates is left out. It has an issuing distribution point without a name, for a root names
    none that could match (RFC 5280, 6.3.3); rustls refuses a whole file for it.
    """
    replies = _all_crls(services)
    return _crls_pem(services, environ, replies[1:] or replies)


def get_chain_crls(services: Services, environ: Environ) -> Answer:
    """The same, and one that covers the CA's own certificate: for those who look up a whole chain, the root too
    (nginx's ssl_crl, curl's --crlfile)."""
    return _crls_pem(services, environ, _all_crls(services))


def _all_crls(services: Services) -> list[CrlReply]:
    """The CRL for all certificates; or that for CA certificates and then those of the shards."""
    replies = [services.signer.ask_crl(CrlRequest(shard=None))]
    while (following := replies[-1].following) is not None:
        replies.append(services.signer.ask_crl(CrlRequest(shard=following)))
    return replies


def _crls_pem(services: Services, environ: Environ, replies: Sequence[CrlReply]) -> Answer:
    text = "".join(pem.encode(crl, pem.CRL_LABEL) for crl in dict.fromkeys(reply.crl for reply in replies))
    validity = max(one.this_update for one in replies), min(one.next_update for one in replies)
    return _cacheable(services, environ, PEM, text.encode(), validity)


def post_ocsp(services: Services, environ: Environ) -> Answer:
    body = http_request.read_body(environ)
    # RFC 9110, 9.3.3: an answer to POST is cached only if it says so; RFC 5019 uses GET where caching is wanted.
    return answer(OCSP_RESPONSE, _ask_ocsp(services, body).response)


def get_ocsp(services: Services, environ: Environ, request: str) -> Answer:
    """RFC 6960, appendix A.1: the path ends in the base64 of the request, some of it as %2B, %2F and %3D."""
    try:
        der = base64.b64decode(unquote_to_bytes(request), validate=True)
    except binascii.Error:
        raise Refused(ErrorCode.BAD_REQUEST, "the path does not end in the base64 of an OCSP request") from None
    reply = _ask_ocsp(services, der)
    if reply.this_update is None or reply.next_update is None:
        return answer(OCSP_RESPONSE, reply.response)
    return _cacheable(services, environ, OCSP_RESPONSE, reply.response, (reply.this_update, reply.next_update))


def _ask_ocsp(services: Services, request: bytes) -> OcspReply:
    if len(request) > OCSP_BYTES_MAX:
        raise http_request.too_large()
    return services.signer.ask_ocsp(OcspRequest(request=request))


def _cacheable(
    services: Services, environ: Environ, content_type: str, body: bytes, validity: tuple[int, int]
) -> Answer:
    """The body with the headers of RFC 5019, 6.2; a 304 without it for a client that has it already.
    ``validity``: thisUpdate and nextUpdate."""
    this_update, next_update = validity
    remaining = int(next_update - services.now())
    if remaining <= 0:
        return answer(content_type, body)
    cache_control = f"max-age={min(remaining, _CACHED_SECONDS_MAX)}, public, no-transform, must-revalidate"
    expires = ("Expires", formatdate(next_update, usegmt=True))
    entity_tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    known = environ.get("HTTP_IF_NONE_MATCH", "")
    if entity_tag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
        return not_modified(("Cache-Control", cache_control), expires, ("ETag", entity_tag))
    last_modified = ("Last-Modified", formatdate(this_update, usegmt=True))
    return answer(content_type, body, last_modified, expires, ("ETag", entity_tag), cache_control=cache_control)


class _Revocation(msgspec.Struct, forbid_unknown_fields=True):
    serial: str
    reason: str
    signature: str


def post_revoke(services: Services, environ: Environ) -> Answer:
    body = http_request.read_body(environ)
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
    return answer(
        JSON,
        msgspec.json.encode(
            {
                "serial": wish.serial,
                "revoked_at": rfc3339(reply.revoked_at),
                "same_key": [serial.hex() for serial in reply.same_key],
            }
        ),
    )
