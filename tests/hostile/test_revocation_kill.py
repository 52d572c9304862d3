"""SIGKILL in the middle of a mass revocation: what the operator asked for is done all the same."""

import threading
import time

import pytest

from bench.ledger_million import build
from protocol.errors import ErrorCode, Refused
from protocol.messages import RevokeRequest
from tests.running import Signer, eventually

CERTIFICATES = 30_000  # thirty slices


def left(signer: Signer) -> int:
    """How many certificates are neither expired nor revoked."""
    query = "SELECT count(*) FROM certificates WHERE revoked_at IS NULL AND not_after >= ?"
    [(number,)] = signer.query(query, int(time.time()))
    return int(number)


def test_a_mass_revocation_that_was_begun_is_finished_after_a_sigkill() -> None:
    signer = Signer(base_url="http://ca.example.net")
    build(signer.ledger_path, CERTIFICATES, signer.identity)
    refused: list[Refused] = []

    def revoke() -> None:
        try:
            signer.admin().ask_revoke(RevokeRequest(reason="keyCompromise", issued_since=0))
        except Refused as refusal:
            refused.append(refusal)

    with signer:
        before = left(signer)
        operator = threading.Thread(target=revoke)
        operator.start()
        eventually(lambda: left(signer) < before, "the first slice is revoked")
        signer.kill()
        operator.join()
        assert [one.code for one in refused] == [ErrorCode.UNAVAILABLE]  # the operator does not know how it went
        assert left(signer) > 0
        signer.start()
        eventually(lambda: left(signer) == 0, "the rest is revoked")
        assert signer.query("SELECT 1 FROM state WHERE name = 'sweep'") == []


@pytest.mark.parametrize("delay", [0.0, 0.5, 1.0, 2.0])
def test_a_revocation_that_was_answered_is_on_record_and_published_after_a_sigkill(delay: float) -> None:
    signer = Signer(base_url="http://ca.example.net")
    build(signer.ledger_path, 100, signer.identity)
    with signer:
        before = left(signer)
        revoked = signer.admin().ask_revoke(RevokeRequest(reason="keyCompromise", issued_since=0)).revoked
        assert revoked == before
        time.sleep(delay)  # until about when its CRL is signed
        signer.kill()
        signer.start()
        assert left(signer) == 0
        listed = "SELECT 1 FROM crls WHERE changed < seq AND issued IS NOT NULL"
        eventually(lambda: signer.query(listed) == [(1,)], "a CRL that says so")
