"""What a CA of each kind of key signs: a certificate for every kind of leaf key and every usage, CRLs, OCSP answers.

All of it is by the real signer, from its own roots on, and dated now: for linters (tests/revocation) and for those
who verify (tests/interop).
"""

import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from signerd import authority
from signerd.identity import Identity
from signerd.policy.usages import EXTENDED_KEY_USAGES
from signerd.revocation import crls
from signerd.revocation.reasons import REASONS
from tests.authorities import LocalAuthority, local_authority
from tests.csrs import OPENSSL_KEYS, openssl_csr
from tests.identities import DAY, ca_certificate, make_identity
from tests.revocations import all_crls, ask_ocsp, crl_reply, ocsp_request, publish, revoke, shard_of

ROOTS = tuple(OPENSSL_KEYS)
BELOW_A_ROOT = "below"  # a CA with a P-256 key, by a root with one of P-384
CAS = (*ROOTS, BELOW_A_ROOT)
LEAF_KEYS = tuple(OPENSSL_KEYS)
USAGES = tuple(EXTENDED_KEY_USAGES)

_BASE_URL = "http://127.0.0.1:1"  # where nobody answers whoever asks all the same
_SHARD = 16  # certificates: what is issued here takes several
_AGE = 600  # seconds that have gone by since: nothing is of the future
_YEAR = 365 * DAY
# No wildcard, which RFC 5280, 4.2.1.6, leaves to others, and a scheme that linters know.
_NAMES = "subjectAltName=DNS:web1.example.net,IP:192.0.2.7,IP:2001:db8::7,email:a@example.net,URI:https://example.net/a"
_SUBJECT = (
    "/DC=net/DC=example/C=DE/ST=Baden-Württemberg/L=Ulm/O=Example, Inc./OU=Tests/serialNumber=A-1/UID=web1"
    "/CN=web1.example.net/emailAddress=a@example.net"
)
_ROOT = (("C", "DE"), ("O", "Größe, Inc."), ("CN", "Test CA"), ("emailAddress", "ca@example.net"))
_PROFILE = """
[profile.{}]
{}
subject = ["CN", "O", "OU", "C", "ST", "L", "serialNumber", "emailAddress", "DC", "UID"]
"""


class Leaf(NamedTuple):
    """A certificate, by the kind of its key and its profile: a usage, "server" (the default one) or "long"."""

    key_type: str
    profile: str
    certificate: x509.Certificate


@dataclass(frozen=True)
class Signed:
    """What one CA signed. CRLs and OCSP responses are DER."""

    chain: tuple[x509.Certificate, ...]  # the CA's own first, the root last
    leaves: tuple[Leaf, ...]  # none is revoked; the first is for TLS and has a P-256 key
    revoked: Mapping[str, Leaf]  # by reason
    crls: Mapping[str, bytes]  # "empty", "all" and, when there is one for each shard, "cas" and the shards' numbers
    answers: Mapping[str, bytes]  # "good" (about the first leaf), "nonce", "unknown", "malformed", and each reason

    def shard(self, leaf: Leaf) -> str:
        """Which of the CRLs a certificate names, when there is one for each shard."""
        return str(shard_of(leaf.certificate))


@cache
def signed_by(ca: str) -> Signed:
    """All that one of CAS signed."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(authority, "CRL_SHARD_CERTIFICATES", _SHARD)
        directory, now = Path(name), int(time.time()) - _AGE
        options: dict[str, Any] = {"signer": f"base_url = '{_BASE_URL}'", "now": now}
        with local_authority(directory, _policy(), identity=_identity(directory, ca, now), **options) as at:
            return _sign_everything(at, directory)


def _identity(directory: Path, ca: str, now: int) -> Identity:
    """A root that create_identity makes, or a CA below one."""
    since: dict[str, Any] = {"now": now - DAY, "lifetime_seconds": 40 * _YEAR}
    if ca != BELOW_A_ROOT:
        return make_identity(directory / "ca", key=ca, subject=_ROOT, **since)
    root = make_identity(directory / "root", key="p384", subject=[("CN", "Test root")], **since)
    key = make_identity(directory / "ca", **since).private_key
    own = ca_certificate(
        key,
        name="Test issuing CA",
        issuer="Test root",
        issuer_key=root.private_key,
        constraints=x509.BasicConstraints(ca=True, path_length=0),
        not_before=now - DAY,
        not_after=now + 35 * _YEAR,
    )
    return Identity(own, (own, root.certificate), key)


def _policy() -> str:
    """A profile for each usage alone, the default one, and one whose certificates are valid past 2049."""
    special = {usage: f"extended_key_usage = ['{usage}']" for usage in USAGES}
    special |= {"server": "", "long": "lifetime = '30y'\nlifetime_max = '30y'"}
    return "".join(_PROFILE.format(name, more) for name, more in special.items())


def _sign_everything(at: LocalAuthority, directory: Path) -> Signed:
    publish(at)
    signed = {"empty": crl_reply(at).crl}
    leaves = tuple(_leaves(at, directory))
    csr = openssl_csr(directory, "p256")
    dates = [None, at.now - DAY] * len(REASONS)
    # All of one key, hence before one of them says that it is compromised.
    issued, one_more = {reason: at.issue(csr) for reason in REASONS}, at.issue(csr)
    for (reason, certificate), date in zip(issued.items(), dates, strict=False):
        revoke(at, certificate, reason=reason, invalidity_date=date)
    revoked = {reason: Leaf("p256", "server", certificate) for reason, certificate in issued.items()}
    publish(at)
    signed["all"] = crl_reply(at).crl
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crls, "ENTRIES_MAX", 1)
        revoke(at, one_more)
        publish(at)
        signed["cas"] = crl_reply(at, None).crl
        signed |= {str(shard): crl_reply(at, shard).crl for shard in range(len(all_crls(at)) - 1)}
    chain = tuple(map(x509.load_der_x509_certificate, at.authority.chain))
    return Signed(chain, leaves, revoked, signed, _answers(at, leaves[0].certificate, revoked))


def _leaves(at: LocalAuthority, directory: Path) -> Iterator[Leaf]:
    """The first is the default one."""
    for key_type in ("p256", *(other for other in LEAF_KEYS if other != "p256")):
        csr = openssl_csr(directory, key_type, "-utf8", "-addext", _NAMES, subject=_SUBJECT)
        for profile in ("server", "long", *USAGES):
            yield Leaf(key_type, profile, at.issue(csr, profile=profile))
        without_subject = openssl_csr(directory, key_type, "-addext", _NAMES, subject="/")
        yield Leaf(key_type, "server", at.issue(without_subject))


def _answers(at: LocalAuthority, good: x509.Certificate, revoked: Mapping[str, Leaf]) -> dict[str, bytes]:
    requests = {reason: ocsp_request(at.ca, leaf.certificate) for reason, leaf in revoked.items()}
    requests |= {
        "good": ocsp_request(at.ca, good),
        "nonce": ocsp_request(at.ca, good, nonce=bytes(32)),
        "unknown": _request_about_nothing(at.ca),
        "malformed": b"",
    }
    return {name: ask_ocsp(at, request).response for name, request in requests.items()}


def _request_about_nothing(ca: x509.Certificate) -> bytes:
    """About a serial number that no certificate has."""
    name_hash = hashlib.sha1(ca.subject.public_bytes(), usedforsecurity=False).digest()
    key_hash = x509.SubjectKeyIdentifier.from_public_key(ca.public_key()).digest
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name_hash, key_hash, 4711, hashes.SHA1())  # noqa: S303 - as clients do
    return builder.build().public_bytes(Encoding.DER)
