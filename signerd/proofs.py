"""What a client proves to the signer itself, so that a taken-over frontend can't speak in its name.

Each proof is bound to the CSR's DER, and each can be made with openssl and a shell.
"""

import hmac

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from protocol.messages import IssueRequest, RenewalProof, Rule
from signerd.csr import Csr
from signerd.ledger import Ledger
from signerd.ledger.certificates import Record, State, find
from signerd.policy.policy import Client
from signerd.signatures import is_signed_by

MAC_PREFIX = b"signerd mac 1\n"
RENEW_PREFIX = b"signerd renew 1\n"
REVOKE_PREFIX = b"signerd revoke 1\n"


def proof_rule(client: Client | None, request: IssueRequest, csr: Csr, ledger: Ledger, now: int) -> Rule:
    """Whether one of the proofs that the client's table asks for is there, and right."""
    if client is None or (client.mac_key is None and not client.renew_with_key):
        return Rule("proof", True, "none is asked for")
    missing = []
    if client.mac_key is not None:
        if (problem := _mac_problem(client.mac_key, request.mac, csr)) is None:
            return Rule("proof", True, "mac")
        missing.append(problem)
    if client.renew_with_key:
        if (problem := _renewal_problem(request.client, request.renewal, csr, ledger, now)) is None:
            return Rule("proof", True, "renewal")
        missing.append(problem)
    return Rule("proof", False, ", and ".join(missing))


def _mac_problem(key: bytes, mac: bytes | None, csr: Csr) -> str | None:
    if mac is None:
        return "there is no X-CSR-MAC"
    expected = hmac.digest(key, MAC_PREFIX + csr.der, "sha256")
    return None if hmac.compare_digest(expected, mac) else "X-CSR-MAC is not this client's MAC of this CSR"


def _renewal_problem(client: str, proof: RenewalProof | None, csr: Csr, ledger: Ledger, now: int) -> str | None:
    if proof is None:
        return "there is no X-CSR-Renew"
    record = find(ledger, proof.serial.lstrip(b"\0"), now)  # openssl and hex have room for a leading zero
    if record is None or record.client != client:
        return "X-CSR-Renew names no certificate of this client"
    if record.state is not State.VALID:
        return f"the certificate that X-CSR-Renew names is {record.state}"
    if not signed_by(record, proof.signature, RENEW_PREFIX + csr.der):
        return "the signature in X-CSR-Renew is not by that certificate's key over this CSR"
    if more := sorted({str(name) for name in csr.names} - set(record.names)):
        return f"X-CSR-Renew covers fewer names: not {', '.join(more)}"
    return None


def signed_by(record: Record, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` over ``data`` is by the key of the certificate on record: SHA-256 with RSA PKCS#1 v1.5
    or ECDSA; Ed25519 as it is."""
    key = x509.load_der_x509_certificate(record.der).public_key()
    return is_signed_by(key, signature, data, hashes.SHA256())
