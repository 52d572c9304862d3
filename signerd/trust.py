"""What the CA's certificate alone makes of a ledger's entries: the ``Trust`` that verifying needs."""

from collections.abc import Mapping
from typing import Any

from cryptography import x509

from signerd.certificate import key_identifier_of
from signerd.certificate_facts import problem_with
from signerd.key import CaPublicKey, signature_hash
from signerd.signatures import is_signed_by
from signerd.statement import read_statement


class CaTrust:
    """By ``certificate``, the CA's own."""

    def __init__(self, certificate: x509.Certificate) -> None:
        self._key = certificate.public_key()
        self._identifier = key_identifier_of(certificate)

    def ledger_key(self, statement: bytes, signature: bytes) -> bytes | None:
        """The public key that a statement names; None unless the CA's key signed it."""
        stated, key = read_statement(statement), self._key
        if stated is None or stated.issuer != self._identifier or not isinstance(key, CaPublicKey):
            return None
        return stated.key if is_signed_by(key, signature, statement, signature_hash(key)) else None

    def certificate_problem(self, to_be_signed: bytes, facts: Mapping[str, Any]) -> str | None:
        """Where a certificate to be signed is not what its entry says beside it. The CA's own certificate may have been
        another one then: its name is not compared."""
        return problem_with(to_be_signed, facts)
