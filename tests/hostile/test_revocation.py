"""Any sequence of issue, revoke, hold, release, expire, prune and restart, against a plain model with a clock of
its own: no live revocation is ever missing from OCSP, nor for more than five seconds from the CRLs.

``SIGNERD_STEPS=100000`` makes a long campaign of it.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from protocol.errors import ErrorCode, Refused
from signerd import authority
from signerd.ledger.index import ALL_SHARDS, CA_CERTIFICATES
from signerd.ledger.prune import prune
from signerd.revocation import crls, sweep
from tests.authorities import LocalAuthority
from tests.certs import seconds
from tests.csrs import private_key, signature_by
from tests.identities import DAY, NOW
from tests.revocations import (
    ask_revoke,
    ask_revoke_own,
    crl_of,
    distribution_point_of,
    issue,
    number_of,
    reasons_on,
    serial_of,
    shard_of,
    status_of,
)

STEPS = int(os.environ.get("SIGNERD_STEPS", "0"))
URLS = ("http://ca.example.net", "http://pki.example.net", "http://127.0.0.1:8080/pki")
HOLD, RELEASE = "certificateHold", "removeFromCRL"
REASONS = ("unspecified", "cACompromise", "superseded", "aACompromise", HOLD)
VISIBLE_SECONDS = 5  # a CRL says so by then
END = NOW + 3000 * DAY  # the CA lives a little longer


@dataclass
class Model:
    """A certificate as it ought to be."""

    certificate: x509.Certificate
    client: str
    recorded_at: int
    number: int
    not_after: int = field(init=False)
    reason: str | None = None  # None: not revoked
    changed_at: int = 0
    listed_beyond: bool = False  # a CRL from beyond its validity listed it
    pruned: bool = False

    def __post_init__(self) -> None:
        self.not_after = seconds(self.certificate.not_valid_after_utc)

    def changes(self, reason: str, now: int) -> bool:
        """RFC 5280, 5.3.1, and what has expired is left alone."""
        if self.not_after < now:
            return False
        if reason == RELEASE:
            return self.reason == HOLD
        return self.reason is None or (self.reason == HOLD and reason != HOLD)

    def change(self, reason: str, now: int) -> None:
        self.reason = None if reason == RELEASE else reason
        self.changed_at = now


class Revocations(RuleBasedStateMachine):
    steps = 0  # of all runs

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="ca-"))
        self.at = LocalAuthority(self.directory, signer=f'base_url = "{URLS[0]}"')
        self.urls = {URLS[0]}
        self.models: list[Model] = []
        self.looked_at = 0  # the seq of the last entry that was looked at
        self.last_number = 0
        self.clock_went_back = False
        self.own_steps = 0
        self.work()

    def teardown(self) -> None:
        try:
            self.wait(VISIBLE_SECONDS + 1)
            self.look_at_ocsp(self.models)
            self.look_at_crls()
        finally:
            self.at.close()
            shutil.rmtree(self.directory)

    # --- what happens -------------------------------------------------------------------------------

    @precondition(lambda self: len(self.models) < 60)
    @rule(
        number=st.integers(1, 4),
        client=st.sampled_from(("web1", "web2")),
        lifetime=st.sampled_from((180, 3600, DAY, 20 * DAY, 300 * DAY)),
    )
    def issues(self, number: int, client: str, lifetime: int) -> None:
        for one in issue(self.at, number, client, lifetime=lifetime):
            self.models.append(Model(one, client, self.recorded_at(one), len(self.models)))
        self.work()  # in the same second: a new shard has begun, maybe
        self.look_at_ocsp(self.models[-number:])

    def recorded_at(self, certificate: x509.Certificate) -> int:
        """Not before the entry before it, where the clock has just been set back a little."""
        sql = "SELECT recorded_at FROM certificates WHERE serial = ?"
        return int(self.at.ledger.query(sql, serial_of(certificate)).fetchone()[0])

    @precondition(lambda self: bool(self.models))
    @rule(data=st.data(), reason=st.sampled_from((*REASONS, RELEASE)))
    def revokes(self, data: st.DataObject, reason: str) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.models), min_size=1, max_size=3, unique_by=_number))
        expected = self.refusal_of(chosen, reason)
        serials = tuple(serial_of(one.certificate) for one in chosen)
        if expected is not None:
            with pytest.raises(Refused) as caught:
                ask_revoke(self.at, reason, serials=serials)
            assert caught.value.code is expected
        else:
            reply = ask_revoke(self.at, reason, serials=serials)
            assert (reply.revoked, reply.revoked + reply.unchanged) == (self.change(chosen, reason), len(chosen))
        self.done(chosen)

    def refusal_of(self, chosen: list[Model], reason: str) -> ErrorCode | None:
        for one in chosen:
            if one.reason not in {None, HOLD} and one.not_after >= self.at.now and reason in {HOLD, RELEASE}:
                return ErrorCode.CONFLICT
        return None

    @precondition(lambda self: bool(self.models))
    @rule(data=st.data(), reason=st.sampled_from((*REASONS, RELEASE)), client=st.sampled_from((None, "web1", "web2")))
    def revokes_all_since(self, data: st.DataObject, reason: str, client: str | None) -> None:
        since = data.draw(st.sampled_from(self.models)).recorded_at + data.draw(st.integers(-1, 1))
        meant = [one for one in self.models if one.recorded_at >= since and client in {None, one.client}]
        meant = [one for one in meant if not one.pruned]
        reply = ask_revoke(self.at, reason, issued_since=since, client=client)
        assert (reply.revoked, reply.revoked + reply.unchanged) == (self.change(meant, reason), len(meant))
        self.done(meant[-5:])

    @precondition(lambda self: bool(self.models))
    @rule(data=st.data(), reason=st.sampled_from(("cessationOfOperation", "superseded")))
    def holder_revokes(self, data: st.DataObject, reason: str) -> None:
        one = data.draw(st.sampled_from(self.models))
        serial = serial_of(one.certificate)
        _, proof = signature_by(private_key("ed25519"), f"signerd revoke 1\n{serial.hex()}\n{reason}\n".encode())
        if one.not_after < self.at.now and one.reason in {None, HOLD}:
            with pytest.raises(Refused) as caught:
                ask_revoke_own(self.at, serial, reason, proof)
            assert caught.value.code is ErrorCode.CONFLICT
        else:
            ask_revoke_own(self.at, serial, reason, proof)
            self.change([one], reason)
        self.done([one])

    def change(self, meant: list[Model], reason: str) -> int:
        changing = [one for one in meant if one.changes(reason, self.at.now)]
        for one in changing:
            one.change(reason, self.at.now)
        return len(changing)

    @rule(number=st.integers(1, 8))
    def wait(self, number: int) -> None:
        for _ in range(number):
            self.at.now += 1
            self.work()

    @precondition(lambda self: self.at.now < END)
    @rule(span=st.sampled_from((60, 181, 1800, 3600, DAY, 4 * DAY, 21 * DAY)))
    def time_goes_by(self, span: int) -> None:
        """Whatever expires meanwhile, the signer stood still: it has no CRL that is not outdated."""
        self.at.now += span
        self.work()

    @precondition(lambda self: not any(one.pruned for one in self.models))  # that can't be taken back
    @rule(span=st.sampled_from((1, 61, 3600, 2 * DAY)))
    def clock_is_set_back(self, span: int) -> None:
        self.at.set_clock(-span)
        self.clock_went_back = True
        self.at.clock.now()
        if self.at.clock.doubt is not None:
            self.at.authority.accept("it was ahead", "admin 0")
        self.work()

    @rule()
    def restarts(self) -> None:
        self.at.restart()
        self.work()

    @rule(url=st.sampled_from(URLS), lifetime=st.sampled_from(("7d", "1h", "30d")))
    def reloads(self, url: str, lifetime: str) -> None:
        text = f"[signer]\nledger = '{self.at.ledger_path}'\nbase_url = '{url}'\ncrl_lifetime = '{lifetime}'\n"
        self.at.config.write_text(text)
        self.at.authority.reload(self.at.now)
        self.urls.add(url)
        self.work()

    @precondition(lambda self: not self.clock_went_back)
    @rule(patience=st.sampled_from((0, DAY, 30 * DAY)))
    def prunes(self, patience: int) -> None:
        """What expired before that leaves the index."""
        prune(self.at.ledger, self.at.now - patience, self.at.now)
        self.at.ledger.commit()
        for one in self.models:
            row = self.at.ledger.query("SELECT 1 FROM pruned WHERE serial = ?", serial_of(one.certificate)).fetchone()
            if row is not None and not one.pruned:
                assert one.not_after < self.at.now - patience
                one.pruned = True
        self.done(self.models)

    # --- what must hold -----------------------------------------------------------------------------

    def work(self) -> None:
        """What the event loop does once a second, to the end; every CRL that this signs is looked at."""
        while self.at.authority.revocation.work(self.at.now):
            self.look_at_new_crls()
        self.done([])

    def done(self, concerned: list[Model]) -> None:
        """A step is over."""
        Revocations.steps += 1
        self.own_steps += 1
        self.look_at_new_crls()
        self.look_at_ocsp([*concerned[-5:], *self.models[self.own_steps % 7 :: 11]])
        if self.own_steps % 5 == 0:
            self.look_at_crls()

    def look_at_ocsp(self, models: list[Model]) -> None:
        for one in models:
            if one.reason is None:
                assert status_of(self.at, one.certificate) == ("good", None)
            else:
                assert status_of(self.at, one.certificate) == ("revoked", one.reason)

    def look_at_new_crls(self) -> None:
        entries = self.at.ledger.query("SELECT seq FROM entries WHERE seq > ? AND kind = 'intent'", self.looked_at)
        bodies = [(seq, self.at.ledger.body(seq)) for (seq,) in entries.fetchall()]
        self.looked_at = self.at.ledger.head.seq
        for seq, body in bodies:
            if body["what"] == "crl":
                [file] = self.directory.glob(f"ledger.db.crls/*.{seq}.crl")
                self.look_at_signed(x509.load_der_x509_crl(file.read_bytes()), body["scope"])

    def look_at_signed(self, crl: x509.CertificateRevocationList, scope: int) -> None:
        """One CRL, as of the moment when it was signed."""
        assert number_of(crl) > self.last_number
        self.last_number = number_of(crl)
        point = distribution_point_of(crl)
        if scope == CA_CERTIFICATES:
            assert (point, reasons_on(crl)) == ([], {})
            return
        names = None if scope == ALL_SHARDS else {f"{url}/crl/{scope}.crl" for url in self.urls}
        assert (None if point is None else set(point)) == names
        covered = [one for one in self.models if scope in {ALL_SHARDS, shard_of(one.certificate)} and not one.pruned]
        listed = reasons_on(crl)
        assert len(listed) <= crls.ENTRIES_MAX
        this_update = seconds(crl.last_update_utc)
        newest = max((seconds(entry.revocation_date_utc) for entry in crl), default=0)
        assert this_update == max(self.at.now - 60, min(newest, self.at.now))
        for one in covered:
            if one.changed_at == self.at.now:  # signed in the middle of what is only just being done
                continue
            found = listed.pop(one.certificate.serial_number, None)
            if one.reason is not None and (
                one.not_after >= self.at.now or not (one.listed_beyond or self.clock_went_back)
            ):
                assert found == one.reason
            assert found in {None, one.reason}
            one.listed_beyond |= found is not None and this_update > one.not_after
        assert set(listed) <= {one.certificate.serial_number for one in covered if one.changed_at == self.at.now}

    def look_at_crls(self) -> None:
        """What a shard's URL brings now."""
        for shard in self.shards():
            crl = crl_of(self.at, shard)
            listed = reasons_on(crl)
            for one in self.models:
                if shard_of(one.certificate) != shard or self.at.now - one.changed_at < VISIBLE_SECONDS:
                    continue
                if one.reason is None:
                    assert one.certificate.serial_number not in listed
                elif one.not_after >= self.at.now:
                    assert listed[one.certificate.serial_number] == one.reason

    def shards(self) -> list[int]:
        return sorted({shard_of(one.certificate) for one in self.models if not one.pruned})


def _number(one: Model) -> int:
    return one.number


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits so low that a handful of certificates reaches all of them."""
    monkeypatch.setattr(authority, "CRL_SHARD_CERTIFICATES", 5)
    monkeypatch.setattr(crls, "ENTRIES_MAX", 5)
    monkeypatch.setattr(crls, "_KEPT", 2)
    monkeypatch.setattr(sweep, "SLICE", 2)


@pytest.mark.usefixtures("small")
@pytest.mark.timeout(120 + STEPS)
def test_no_live_revocation_is_ever_missing_whatever_happens_in_whatever_order() -> None:
    Revocations.steps = 0
    examples, steps = (max(1, STEPS // 60), 100) if STEPS else (15, 40)
    run_state_machine_as_test(
        Revocations,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    assert Revocations.steps >= max(STEPS, 100)
