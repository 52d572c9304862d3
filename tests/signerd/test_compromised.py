"""A key that leaked gets no certificate any more, until an operator says that it was a mistake."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.errors import ErrorCode, Refused
from protocol.fields import RenewalProof
from protocol.messages import (
    IssueRequest,
    RevokeOwnReply,
    RevokeOwnRequest,
    RevokeReply,
    RevokeRequest,
    UnblockReply,
    UnblockRequest,
)
from signerd.proofs import REVOKE_PREFIX, renewal_text
from signerd.revocation import sweep
from tests.authorities import FRONTEND, OPERATOR, LocalAuthority, local_authority
from tests.csrs import dns, extension_request, make_csr, private_key, san, signature_by, spki_of
from tests.edited_ledgers import problems_online, prune_all, serial_of, sign_crls
from tests.identities import DAY, NOW
from tests.revocations import ask_revoke

POLICY = "[client.web1]\n[client.web2]\n[client.ren1]\nrenew_with_key = true\n"


@pytest.fixture
def at(tmp_path: Path) -> Iterator[LocalAuthority]:
    with local_authority(tmp_path, POLICY) as authority:
        yield authority


def csr_by(kind: str, name: str = "a.example.net") -> bytes:
    return make_csr(key=private_key(kind), attributes=[extension_request(san(dns(name)))])


def key_of(kind: str) -> bytes:
    return hashlib.sha256(spki_of(private_key(kind))).digest()


def issue(at: LocalAuthority, kind: str, client: str = "web1", lifetime: int | None = None) -> bytes:
    return serial_of(at.issue(csr_by(kind), client, asker=OPERATOR, lifetime=lifetime))


def is_blocked(at: LocalAuthority, kind: str) -> bool:
    """Whoever asks, and in whose name."""
    codes = {
        at.code(csr_by(kind, "b.example.net"), client, asker=asker)
        for client in ("web1", "web2")
        for asker in (FRONTEND, OPERATOR)
    }
    assert codes in ({None}, {ErrorCode.WEAK_KEY})
    return codes != {None}


def revoke(at: LocalAuthority, *serials: bytes, reason: str = "keyCompromise") -> RevokeReply:
    return ask_revoke(at, reason, serials=serials)


def revoke_own(at: LocalAuthority, kind: str, serial: bytes, reason: str = "keyCompromise") -> RevokeOwnReply:
    """As the holder of the key does."""
    _, signature = signature_by(private_key(kind), REVOKE_PREFIX + f"{serial.hex()}\n{reason}\n".encode())
    return at.authority.revocation.revoke_own(RevokeOwnRequest(serial, reason, signature), "sign 1", at.now)


def unblock(at: LocalAuthority, *serials: bytes, keys: tuple[bytes, ...] = ()) -> UnblockReply:
    return at.authority.revocation.compromised.unblock(UnblockRequest(serials, keys, "a mistake"), "admin 0", at.now)


@pytest.mark.parametrize("by_holder", [False, True])
def test_key_compromise_blocks_the_key_for_good_and_no_other(at: LocalAuthority, by_holder: bool) -> None:
    one, other, different = issue(at, "p256"), issue(at, "p256", "web2"), issue(at, "p384")
    if by_holder:
        own = revoke_own(at, "p256", one)
        assert own.same_key == (other,)
    else:
        assert revoke(at, one) == RevokeReply(revoked=1, unchanged=0, blocked=1, same_key=(other,))
    for _ in range(2):
        assert is_blocked(at, "p256")
        assert not is_blocked(at, "p384")
        assert not at.check(csr_by("p256")).allowed
        at.restart()
    [entry] = at.bodies("blocked")
    assert entry == {"keys": [key_of("p256")], "asker": "sign 1" if by_holder else "admin 0"}
    assert revoke(at, different, reason="superseded") == RevokeReply(revoked=1, unchanged=0, blocked=0, same_key=())
    assert problems_online(at) == []


@pytest.mark.parametrize("reason", ["unspecified", "superseded", "certificateHold", "cACompromise"])
def test_no_other_reason_blocks_a_key(at: LocalAuthority, reason: str) -> None:
    revoke(at, issue(at, "p256"), reason=reason)
    assert not is_blocked(at, "p256")
    assert "blocked" not in at.kinds()


def test_the_key_of_what_was_revoked_expired_or_pruned_before_is_blocked_too(at: LocalAuthority) -> None:
    early, short, shortest = issue(at, "p256"), issue(at, "p384", lifetime=DAY), issue(at, "ed25519", lifetime=3600)
    revoke(at, early, reason="superseded")
    at.now += 20 * DAY
    sign_crls(at)
    for serial, kind in ((early, "p256"), (short, "p384")):
        assert revoke(at, serial) == RevokeReply(revoked=0, unchanged=1, blocked=1, same_key=())
        assert is_blocked(at, kind)
    at.now += 20 * DAY
    prune_all(at)
    assert at.ledger.query("SELECT count(*) FROM pruned").fetchone() == (2,)
    assert revoke(at, shortest) == RevokeReply(revoked=0, unchanged=1, blocked=1, same_key=())
    assert is_blocked(at, "ed25519")


def test_a_holder_of_a_certificate_that_is_revoked_already_has_its_key_blocked(at: LocalAuthority) -> None:
    serial = issue(at, "p256")
    revoke(at, serial, reason="superseded")
    assert revoke_own(at, "p256", serial).revoked_at == at.now
    assert is_blocked(at, "p256")


def test_a_key_that_is_blocked_renews_nothing_though_another_certificate_has_it(at: LocalAuthority) -> None:
    leaked, other = issue(at, "p256"), issue(at, "p256", "ren1")
    csr = csr_by("p384")

    def renewal(time: int) -> RenewalProof:
        text = renewal_text(IssueRequest(csr, "ren1"), other, time)
        return RenewalProof(other, time, signature_by(private_key("p256"), text)[1])

    assert at.code(csr, "ren1", renewal=renewal(NOW)) is None
    revoke(at, leaked)
    refusal = at.refusal(csr, "ren1", renewal=renewal(NOW + 1))
    assert refusal.detail == "proof: the key of the certificate that X-CSR-Renew names is blocked"


def test_what_is_revoked_since_a_time_has_its_keys_blocked_across_a_restart_too(
    at: LocalAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "SLICE", 2)
    before = issue(at, "p256", "web2")
    at.now += 60
    for kind in ("p256", "p384", "ed25519", "rsa2048", "p256"):
        issue(at, kind)
    request = RevokeRequest(reason="keyCompromise", issued_since=at.now, client="web1")
    later = at.authority.revocation.revoke(request, "admin 0", at.now)
    assert not isinstance(later, RevokeReply)
    while at.authority.revocation.work(at.now):
        pass
    assert later() == RevokeReply(revoked=5, unchanged=0, blocked=4, same_key=(before,))
    assert all(is_blocked(at, kind) for kind in ("p256", "p384", "ed25519", "rsa2048"))
    assert problems_online(at) == []


def test_a_sweep_that_a_restart_interrupted_blocks_the_rest_of_the_keys(
    at: LocalAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "SLICE", 2)
    for kind in ("p256", "p384", "ed25519"):
        issue(at, kind)
    at.authority.revocation.revoke(RevokeRequest(reason="keyCompromise", issued_since=0), "admin 0", at.now)
    assert not is_blocked(at, "ed25519")
    at.restart()
    while at.authority.revocation.work(at.now):
        pass
    assert is_blocked(at, "ed25519")


def test_an_operator_takes_a_mistake_back_by_serial_number_or_by_hash_and_it_is_on_record(at: LocalAuthority) -> None:
    one, other = issue(at, "p256"), issue(at, "p384")
    revoke(at, one, other)
    assert unblock(at, b"\0" + one) == UnblockReply(unblocked=1, unchanged=0)
    assert unblock(at, one, keys=(key_of("p384"), key_of("ed25519"))) == UnblockReply(unblocked=1, unchanged=2)
    for _ in range(2):
        assert not is_blocked(at, "p256")
        assert not is_blocked(at, "p384")
        at.restart()
    assert at.bodies("unblocked") == [
        {"keys": [key_of(kind)], "why": "a mistake", "asker": "admin 0"} for kind in ("p256", "p384")
    ]
    with pytest.raises(Refused, match="no certificate has the serial number 77") as refused:
        unblock(at, b"\x77")
    assert refused.value.code is ErrorCode.NOT_FOUND
    assert revoke(at, one).blocked == 1  # and blocked once more
    assert is_blocked(at, "p256")
    assert problems_online(at) == []


def test_a_hundred_others_are_named_and_no_more(at: LocalAuthority) -> None:
    serials = [issue(at, "ed25519") for _ in range(103)]
    assert revoke(at, serials[0]).same_key == tuple(serials[1:101])


def test_what_cannot_be_written_blocks_nothing_after_a_restart(at: LocalAuthority) -> None:
    serial = issue(at, "p256")
    at.ledger.commit()
    at.ledger.query("PRAGMA query_only = ON")
    with pytest.raises(Refused):
        revoke(at, serial)
    at.restart()
    assert not is_blocked(at, "p256")
