"""What a client proves to the signer itself, so that a taken-over frontend can't speak in its name.

A proof is a MAC of, or a signature over, a text that has all that it grants: client, profile, lifetime, its time and
the CSR's DER. The SHA-256 of that text is its identity: a signature's own bytes identify nothing, since for each ECDSA
signature (r, s) there is a second one, (r, n - s).

It is verified first, then looked up on the ledger, and then held against the clock: a proof that was used gives the
certificate that it got, however late, and never another. Each can be made with openssl and a shell.
"""

import hashlib
import hmac
from collections.abc import Container, Iterator
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.fields import Rule
from protocol.messages import IssueRequest
from signerd.csr import Csr
from signerd.ledger import Ledger
from signerd.ledger.certificates import Record, State, find
from signerd.policy.policy import Client, Profile
from signerd.signatures import is_signed_by

REVOKE_PREFIX = b"signerd revoke 1\n"
CLOCK_OFF_MAX = 300  # seconds between a proof's time and the signer's clock, either way


class Proof(NamedTuple):
    """A proof that is right. ``renews``: the certificate whose key made it."""

    by: str  # "mac" or "renewal"
    id: bytes
    time: int
    renews: Record | None = None

    @property
    def header(self) -> str:
        """Where the client put it."""
        return "X-CSR-MAC" if self.by == "mac" else "X-CSR-Renew"


class Claim(NamedTuple):
    """What a request brings to show who asks: proofs, and what is wrong with those that are none."""

    proofs: tuple[Proof, ...] = ()
    problems: tuple[str, ...] = ()


_NOTHING = Claim()


class Evidence(NamedTuple):
    """On whose word a certificate is issued, as its record has it.

    ``by``: "none" (the frontend vouches for the client), "mac", "renewal" or "operator". ``id``: the proof's identity.
    ``used_for``: the certificate that it has got, by the seq of its intent. ``problem``: why it proves nothing.
    """

    by: str
    grounds: str
    id: bytes | None = None
    renews: Record | None = None
    used_for: int | None = None
    problem: str | None = None

    @property
    def is_the_clients(self) -> bool:
        """Whether the client itself has said what it wants."""
        return self.id is not None


FRONTENDS_WORD = Evidence("none", "the frontend's word")
OPERATORS_WORD = Evidence("operator", "the operator's word")


def mac_text(request: IssueRequest, time: int) -> bytes:
    """What a MAC is of."""
    return _text(request, "signerd mac 2", request.client, *_wishes(request), str(time))


def renewal_text(request: IssueRequest, serial: bytes, time: int) -> bytes:
    """What a renewal's signature is over. ``serial`` without leading zeros: it stands there in lower-case hex, two
    digits to the byte."""
    return _text(request, "signerd renew 2", request.client, serial.hex(), *_wishes(request), str(time))


def _wishes(request: IssueRequest) -> tuple[str, str]:
    """Profile and lifetime as the client asked for them; empty where it did not."""
    return request.profile or "", "" if request.lifetime is None else str(request.lifetime)


def _text(request: IssueRequest, *lines: str) -> bytes:
    # No field can have a newline, so each text has one reading only.
    return "".join(f"{line}\n" for line in lines).encode() + request.csr


def verify(client: Client | None, request: IssueRequest, ledger: Ledger, now: int) -> Claim:
    """The proofs in a request that are of the kinds that the client's table asks for."""
    if client is None:
        return _NOTHING
    found: list[Proof | str] = []
    if client.mac_key is not None:
        found.append(_verify_mac(client.mac_key, request))
    if client.renew_with_key:
        found.append(_verify_renewal(request, ledger, now))
    return Claim(
        tuple(one for one in found if isinstance(one, Proof)), tuple(one for one in found if isinstance(one, str))
    )


def _verify_mac(key: bytes, request: IssueRequest) -> Proof | str:
    if request.mac is None:
        return "there is no X-CSR-MAC"
    text = mac_text(request, request.mac.time)
    if not hmac.compare_digest(hmac.digest(key, text, "sha256"), request.mac.mac):
        return "X-CSR-MAC is not this client's MAC of this request"
    return Proof("mac", hashlib.sha256(text).digest(), request.mac.time)


def _verify_renewal(request: IssueRequest, ledger: Ledger, now: int) -> Proof | str:
    if request.renewal is None:
        return "there is no X-CSR-Renew"
    serial = request.renewal.serial.lstrip(b"\0")
    held = find(ledger, serial, now)
    if held is None or held.client != request.client or held.issued is None:
        return "X-CSR-Renew names no certificate of this client"
    text = renewal_text(request, serial, request.renewal.time)
    if not signed_by(held, request.renewal.signature, text):
        return "the signature in X-CSR-Renew is not by that certificate's key over this request"
    return Proof("renewal", hashlib.sha256(text).digest(), request.renewal.time, held)


def weigh(claim: Claim, client: str, ledger: Ledger, blocked: Container[bytes], now: int) -> Evidence:
    """What the claim of a client comes to. ``blocked``: the SubjectPublicKeyInfos of keys that prove nothing."""
    if claim is _NOTHING:
        return FRONTENDS_WORD
    for proof in claim.proofs:
        sql = "SELECT seq FROM certificates WHERE client = ? AND proof_id = ?"
        if (row := ledger.query(sql, client, proof.id).fetchone()) is not None:
            return _evidence(proof, used_for=row[0])
    problems = list(claim.problems)
    for proof in claim.proofs:
        problem = next(_problems(proof, ledger, blocked, now), None)
        if problem is None:
            return _evidence(proof)
        problems.append(problem)
    return FRONTENDS_WORD._replace(problem=", and ".join(problems)) if problems else FRONTENDS_WORD


def _evidence(proof: Proof, *, used_for: int | None = None) -> Evidence:
    key = "key in its mac_key_file" if proof.renews is None else f"key of the certificate {proof.renews.serial.hex()}"
    return Evidence(proof.by, f"the client's {key}", proof.id, proof.renews, used_for)


def _problems(proof: Proof, ledger: Ledger, blocked: Container[bytes], now: int) -> Iterator[str]:
    """Why a proof that is right doesn't count, or no more."""
    if (off := abs(now - proof.time)) > CLOCK_OFF_MAX:
        yield f"{proof.header} is {off} s off the signer's clock, by more than {CLOCK_OFF_MAX}"
    if (held := proof.renews) is None:
        return
    if held.state is not State.VALID:
        yield f"the certificate that X-CSR-Renew names is {held.state}"
    if ledger.body(held.seq)["proof"] == FRONTENDS_WORD.by:
        yield "the certificate that X-CSR-Renew names came by no proof: a MAC or an operator is to get the first one"
    key = x509.load_der_x509_certificate(held.der).public_key()
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) in blocked:
        yield "the key of the certificate that X-CSR-Renew names is blocked"


def proof_rule(evidence: Evidence, csr: Csr, profile: Profile | None) -> Rule:
    """Whether one of the proofs that the client's table asks for is there, and is enough. ``profile``: the one that the
    certificate would be of."""
    problem = evidence.problem
    if problem is None and evidence.used_for is None and evidence.renews is not None and profile is not None:
        problem = _problem_of_more(evidence.renews, csr, profile)
    if problem is not None:
        return Rule("proof", False, problem)
    if evidence.used_for is not None:
        return Rule("proof", True, f"{evidence.by}: it was used, and gets the same certificate again")
    return Rule("proof", True, evidence.by if evidence.is_the_clients else "none is asked for")


def _problem_of_more(held: Record, csr: Csr, profile: Profile) -> str | None:
    """What a renewal asks for beyond the certificate that it renews: it may have the same or less."""
    if more := sorted({str(name) for name in csr.names} - set(held.names)):
        return f"X-CSR-Renew covers fewer names: not {', '.join(more)}"
    if profile.name != held.profile:
        return f"X-CSR-Renew is for profile {held.profile!r}"
    subject = {(a.oid.dotted_string, a.value) for a in x509.load_der_x509_certificate(held.der).subject}
    granted = [a for a in csr.subject if a.name in profile.subject and a.name != "CN"]  # a CN is one of the names
    if more := [f"{a.name}={a.value}" for a in granted if (a.oid, a.value) not in subject]:
        return f"X-CSR-Renew covers another subject: without {', '.join(more)}"
    return None


def signed_by(record: Record, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` over ``data`` is by the key of the certificate on record: SHA-256 with RSA PKCS#1 v1.5
    or ECDSA; Ed25519 as it is."""
    key = x509.load_der_x509_certificate(record.der).public_key()
    return is_signed_by(key, signature, data, hashes.SHA256())
