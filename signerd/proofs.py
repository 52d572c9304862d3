"""What a client proves to the signer itself, so that a taken-over frontend can't speak in its name.

Each proof is bound to the CSR's DER, and each can be made with openssl and a shell.
"""

import hmac

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from protocol.messages import IssueRequest, Rule
from signerd.csr import Csr
from signerd.ledger import Ledger
from signerd.ledger.certificates import Record, State, find
from signerd.policy.policy import Client, Profile
from signerd.signatures import is_signed_by

MAC_PREFIX = b"signerd mac 1\n"
RENEW_PREFIX = b"signerd renew 1\n"
REVOKE_PREFIX = b"signerd revoke 1\n"


def proof_rule(  # noqa: PLR0913, PLR0917 - all that a proof is bound to stands here
    client: Client | None, request: IssueRequest, csr: Csr, profile: Profile | None, ledger: Ledger, now: int
) -> Rule:
    """Whether one of the proofs that the client's table asks for is there, and right. ``profile``: the one that the
    certificate would be of."""
    if client is None or (client.mac_key is None and not client.renew_with_key):
        return Rule("proof", True, "none is asked for")
    missing = []
    if client.mac_key is not None:
        if (problem := _mac_problem(client.mac_key, request.mac, csr)) is None:
            return Rule("proof", True, "mac")
        missing.append(problem)
    if client.renew_with_key:
        held = None if request.renewal is None else find(ledger, request.renewal.serial.lstrip(b"\0"), now)
        problem = _renewal_problem(held, request, csr)
        if problem is None and held is not None:
            problem = _problem_of_more(held, csr, profile)
        if problem is None:
            return Rule("proof", True, "renewal")
        missing.append(problem)
    return Rule("proof", False, ", and ".join(missing))


def _mac_problem(key: bytes, mac: bytes | None, csr: Csr) -> str | None:
    if mac is None:
        return "there is no X-CSR-MAC"
    expected = hmac.digest(key, MAC_PREFIX + csr.der, "sha256")
    return None if hmac.compare_digest(expected, mac) else "X-CSR-MAC is not this client's MAC of this CSR"


def _renewal_problem(held: Record | None, request: IssueRequest, csr: Csr) -> str | None:
    """What is wrong with the proof that the certificate ``held`` is this client's, and its key at hand."""
    if request.renewal is None:
        return "there is no X-CSR-Renew"
    if held is None or held.client != request.client:
        return "X-CSR-Renew names no certificate of this client"
    if held.state is not State.VALID:
        return f"the certificate that X-CSR-Renew names is {held.state}"
    if not signed_by(held, request.renewal.signature, RENEW_PREFIX + csr.der):
        return "the signature in X-CSR-Renew is not by that certificate's key over this CSR"
    return None


def _problem_of_more(held: Record, csr: Csr, profile: Profile | None) -> str | None:
    """What a renewal asks for beyond the certificate that it renews: it may have the same or less."""
    if more := sorted({str(name) for name in csr.names} - set(held.names)):
        return f"X-CSR-Renew covers fewer names: not {', '.join(more)}"
    if profile is None:
        return None  # which is refused by another rule
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
