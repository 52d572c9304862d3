"""What tests ask of an authority about revocation, by the operations that its sockets have."""

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from protocol.errors import Refused
from protocol.fields import Message
from protocol.messages import (
    CrlReply,
    CrlRequest,
    OcspReply,
    OcspRequest,
    RevokeOwnReply,
    RevokeOwnRequest,
    RevokeReply,
    RevokeRequest,
)
from signerd.operations import ANSWERS, Later
from tests.authorities import FRONTEND, OPERATOR, LocalAuthority
from tests.csrs import csr_for, dns

CSR = csr_for(dns("web1.example.net"))
GATHER_SECONDS = 3  # a CRL follows within 5 s; two of one scope are this far apart


def serial_of(certificate: x509.Certificate) -> bytes:
    """Its serial number, as it goes over the sockets."""
    number = certificate.serial_number
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def issue(at: LocalAuthority, number: int, client: str = "web1", **wishes: Any) -> list[x509.Certificate]:
    """So many certificates."""
    return [at.issue(CSR, client, **wishes) for _ in range(number)]


def ask_revoke(at: LocalAuthority, reason: str, **what: Any) -> RevokeReply:
    """The operator's ``revoke``, gone through with to its end. Raises ``Refused``."""
    asked = RevokeRequest(reason=reason, **what)
    answer: Message | Refused | Later = ANSWERS["revoke"](at.authority, asked, OPERATOR, at.now)
    while not isinstance(answer, Message | Refused):
        at.authority.revocation.work(at.now)
        answer = answer() or answer
    if isinstance(answer, Refused):
        raise answer
    assert isinstance(answer, RevokeReply)
    return answer


def revoke(
    at: LocalAuthority, *certificates: x509.Certificate, reason: str = "superseded", **more: Any
) -> tuple[int, int]:
    """Revokes these, and says how many changed and how many did not."""
    reply = ask_revoke(at, reason, serials=tuple(map(serial_of, certificates)), **more)
    return reply.revoked, reply.unchanged


def ask_revoke_own(at: LocalAuthority, serial: bytes, reason: str, signature: bytes) -> int:
    """A holder's revocation: since when it is revoked. Raises ``Refused``."""
    request = RevokeOwnRequest(serial=serial, reason=reason, signature=signature)
    answer = ANSWERS["revoke_own"](at.authority, request, FRONTEND, at.now)
    assert isinstance(answer, RevokeOwnReply)
    return answer.revoked_at


def publish(at: LocalAuthority, *, after: int = GATHER_SECONDS) -> None:
    """Lets ``after`` seconds go by and all be signed that is due then."""
    at.now += after
    while at.authority.revocation.work(at.now):
        pass


def crl_reply(at: LocalAuthority, shard: int | None = 0) -> CrlReply:
    """The answer to ``crl``. Raises ``Refused``."""
    answer = ANSWERS["crl"](at.authority, CrlRequest(shard=shard), FRONTEND, at.now)
    assert isinstance(answer, CrlReply)
    return answer


def crl_of(at: LocalAuthority, shard: int | None = 0) -> x509.CertificateRevocationList:
    """The CRL of a shard, or for CA certificates; its signature and its times checked."""
    reply = crl_reply(at, shard)
    crl = x509.load_der_x509_crl(reply.crl)
    assert crl.is_signature_valid(at.ca.public_key())  # type: ignore[arg-type] # one of the CA's kinds
    assert crl.issuer == at.ca.subject
    assert crl.next_update_utc is not None
    assert (reply.this_update, reply.next_update) == (
        int(crl.last_update_utc.timestamp()),
        int(crl.next_update_utc.timestamp()),
    )
    assert reply.this_update <= at.now < reply.next_update
    return crl


def reasons_on(crl: x509.CertificateRevocationList) -> dict[int, str]:
    """The serial numbers on a CRL, and why: "unspecified" where it doesn't say."""
    return {entry.serial_number: _reason_of(entry) for entry in crl}


def _reason_of(entry: x509.RevokedCertificate) -> str:
    try:
        return str(entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value)
    except x509.ExtensionNotFound:
        return x509.ReasonFlags.unspecified.value


def number_of(crl: x509.CertificateRevocationList) -> int:
    """The CRL number."""
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def distribution_point_of(crl: x509.CertificateRevocationList) -> list[str] | None:
    """The names in the issuing distribution point, which must be critical; None: the CRL is for all certificates;
    empty: for CA certificates alone."""
    try:
        extension = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    except x509.ExtensionNotFound:
        return None
    assert extension.critical
    names = [str(name.value) for name in extension.value.full_name or ()]
    assert extension.value.only_contains_user_certs is bool(names)
    assert extension.value.only_contains_ca_certs is not bool(names)
    return names


def all_crls(at: LocalAuthority) -> list[x509.CertificateRevocationList]:
    """Every CRL, as who wants them all asks for them."""
    found, reply = [crl_of(at, None)], crl_reply(at, None)
    while reply.following is not None:
        found.append(crl_of(at, reply.following))
        reply = crl_reply(at, reply.following)
    return found


def shard_of(certificate: x509.Certificate) -> int:
    """The shard that its CRL distribution point names."""
    [point] = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name is not None
    [name] = point.full_name
    return int(str(name.value).rpartition("/")[2].removesuffix(".crl"))


def ocsp_request(
    ca: x509.Certificate,
    certificate: x509.Certificate,
    *,
    nonce: bytes | None = None,
    algorithm: hashes.HashAlgorithm | None = None,
) -> bytes:
    """A request about one certificate, as the library makes it."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, ca, algorithm or hashes.SHA1())  # noqa: S303 - as clients do
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def ask_ocsp(at: LocalAuthority, request: bytes) -> OcspReply:
    """The answer to ``ocsp``."""
    answer = ANSWERS["ocsp"](at.authority, OcspRequest(request=request), FRONTEND, at.now)
    assert isinstance(answer, OcspReply)
    return answer


def status_of(at: LocalAuthority, certificate: x509.Certificate) -> tuple[str, str | None]:
    """What OCSP says of a certificate: good, revoked or unknown, and why; the answer's signature is checked."""
    response = ocsp.load_der_ocsp_response(ask_ocsp(at, ocsp_request(at.ca, certificate)).response)
    check_signature(at.ca, response)
    if response.certificate_status is not ocsp.OCSPCertStatus.REVOKED:
        return response.certificate_status.name.lower(), None
    reason = response.revocation_reason or x509.ReasonFlags.unspecified
    return "revoked", reason.value


def check_signature(ca: x509.Certificate, response: ocsp.OCSPResponse) -> x509.Certificate:
    """Checks that a certificate by the CA comes along, for this use, and that its key signed; returns it."""
    [responder] = response.certificates
    responder.verify_directly_issued_by(ca)
    assert list(responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.OCSP_SIGNING
    ]
    key: Any = responder.public_key()
    algorithm = response.signature_hash_algorithm
    assert algorithm is not None
    key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(algorithm))
    return responder
