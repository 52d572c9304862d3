"""Revoking, holding, releasing: what is recorded, and that CRL and OCSP say the same. Nothing half done."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from protocol.errors import ErrorCode, Refused
from protocol.messages import RevokeReply, RevokeRequest
from signerd.ledger.chain import GENESIS
from signerd.ledger.revocations import unfinished_sweep
from signerd.revocation import sweep
from signerd.revocation.service import Outcome
from tests.authorities import LocalAuthority, local_authority
from tests.certs import seconds
from tests.identities import DAY, NOW
from tests.revocations import (
    ask_ocsp,
    ask_revoke,
    crl_of,
    issue,
    ocsp_request,
    publish,
    reasons_on,
    revoke,
    serial_of,
    status_of,
)

REASONS = (
    *("unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation"),
    *("certificateHold", "privilegeWithdrawn", "aACompromise"),
)


@pytest.fixture
def at(tmp_path: Path) -> Iterator[LocalAuthority]:
    with local_authority(tmp_path, signer='base_url = "http://ca.example.net"') as authority:
        yield authority


def refusal(at: LocalAuthority, reason: str, **what: Any) -> Refused:
    """Why it is refused; nothing was recorded."""
    before = at.ledger.head
    with pytest.raises(Refused) as caught:
        ask_revoke(at, reason, **what)
    assert at.ledger.head == before
    return caught.value


def entry_of(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> x509.RevokedCertificate:
    found = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    assert found is not None
    return found


# --- reasons ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", REASONS)
def test_a_certificate_is_revoked_for_each_reason_and_crl_and_ocsp_say_so(at: LocalAuthority, reason: str) -> None:
    one, other = issue(at, 2)
    publish(at)
    assert revoke(at, one, reason=reason) == (1, 0)
    assert status_of(at, one) == ("revoked", reason)
    assert status_of(at, other) == ("good", None)
    publish(at)
    assert reasons_on(crl_of(at)) == {one.serial_number: reason}


def test_a_reason_that_is_unspecified_is_left_out(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    revoke(at, one, reason="unspecified")
    publish(at)
    assert list(entry_of(crl_of(at), one).extensions) == []
    assert ocsp.load_der_ocsp_response(ask_ocsp(at, ocsp_request(at.ca, one)).response).revocation_reason is None


@pytest.mark.parametrize("reason", ["", "unused", "KeyCompromise", "keycompromise", "1", "remove", "keyCompromise\n"])
def test_another_reason_is_refused_and_told_which_there_are(at: LocalAuthority, reason: str) -> None:
    [one] = issue(at, 1)
    refused = refusal(at, reason, serials=(serial_of(one),))
    assert refused.code is ErrorCode.BAD_REQUEST
    assert all(known in refused.detail for known in (*REASONS, "removeFromCRL"))


def test_a_date_of_invalidity_in_the_past_stands_in_crl_and_ocsp(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    since = at.now - 400 * DAY
    revoke(at, one, reason="keyCompromise", invalidity_date=since)
    publish(at)
    entry = entry_of(crl_of(at), one)
    assert seconds(entry.extensions.get_extension_for_class(x509.InvalidityDate).value.invalidity_date_utc) == since
    assert seconds(entry.revocation_date_utc) == NOW
    response = ocsp.load_der_ocsp_response(ask_ocsp(at, ocsp_request(at.ca, one)).response)
    [single] = response.responses
    assert single.revocation_time_utc is not None
    assert seconds(single.revocation_time_utc) == NOW
    assert b"20241128030405Z" in response.tbs_response_bytes  # a single extension, RFC 6960, 4.4.5


def test_a_date_of_invalidity_in_the_future_or_with_a_release_is_refused(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    revoke(at, one, reason="certificateHold")
    for reason, date in (("keyCompromise", at.now + 1), ("removeFromCRL", at.now - 1)):
        refused = refusal(at, reason, serials=(serial_of(one),), invalidity_date=date)
        assert (refused.code, "invalidity_date" in refused.detail) == (ErrorCode.BAD_REQUEST, True)


# --- whole or not at all ------------------------------------------------------------------------


def test_with_one_unknown_serial_number_nothing_is_revoked_and_it_is_named(at: LocalAuthority) -> None:
    one, other = issue(at, 2)
    refused = refusal(at, "superseded", serials=(serial_of(one), b"\x01\x02", serial_of(other)))
    assert (refused.code, "0102" in refused.detail) == (ErrorCode.NOT_FOUND, True)
    assert status_of(at, one) == status_of(at, other) == ("good", None)


def test_a_serial_number_counts_once_however_often_and_with_however_many_zeros_it_is_given(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    serial = serial_of(one)
    reply = ask_revoke(at, "superseded", serials=(serial, serial, serial.rjust(20, b"\0")))
    assert (reply.revoked, reply.unchanged) == (1, 0)


def test_it_is_said_either_by_serial_numbers_or_by_time_and_client(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    for what in (
        {},
        {"serials": (serial_of(one),), "issued_since": 0},
        {"serials": (serial_of(one),), "client": "web1"},
    ):
        assert refusal(at, "superseded", **what).code is ErrorCode.BAD_REQUEST


def test_what_is_revoked_stays_revoked_since_when_and_why_it_was(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    revoke(at, one, reason="superseded")
    at.now += 100
    assert revoke(at, one, reason="keyCompromise") == (0, 1)
    publish(at)
    crl = crl_of(at)
    assert reasons_on(crl) == {one.serial_number: "superseded"}
    assert seconds(entry_of(crl, one).revocation_date_utc) == NOW


def test_what_has_expired_is_left_as_it_is(at: LocalAuthority) -> None:
    held, short = issue(at, 2, lifetime=DAY)
    [long] = issue(at, 1, lifetime=10 * DAY)
    revoke(at, held, reason="certificateHold")
    at.now = seconds(short.not_valid_after_utc)
    assert revoke(at, short) == (1, 0)  # the last second counts: notAfter is inclusive
    at.now += 1
    assert revoke(at, short, held, long) == (1, 2)
    assert revoke(at, held, reason="removeFromCRL") == (0, 1)


def test_revocation_goes_on_while_issuance_is_frozen(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    at.authority.freeze("the frontend was taken over", at.now)
    assert revoke(at, one) == (1, 0)
    publish(at)
    assert reasons_on(crl_of(at)) == {one.serial_number: "superseded"}
    assert status_of(at, one) == ("revoked", "superseded")


def test_a_ledger_that_takes_nothing_more_revokes_nothing_and_goes_on_answering(at: LocalAuthority) -> None:
    one, other = issue(at, 2)
    revoke(at, one)
    publish(at)
    at.ledger.settle()
    at.ledger.query("PRAGMA query_only = ON")
    with pytest.raises(Refused) as caught:
        revoke(at, other)
    assert caught.value.code is ErrorCode.UNAVAILABLE
    publish(at)
    assert reasons_on(crl_of(at)) == {one.serial_number: "superseded"}
    assert status_of(at, one) == ("revoked", "superseded")
    assert status_of(at, other) == ("good", None)


def test_a_clock_that_was_set_back_holds_up_no_revocation(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    publish(at)
    at.now -= DAY
    assert revoke(at, one) == (1, 0)
    assert status_of(at, one) == ("revoked", "superseded")
    publish(at)
    assert reasons_on(crl_of(at)) == {one.serial_number: "superseded"}  # and it is not of the future


# --- holds --------------------------------------------------------------------------------------


def test_a_hold_can_be_released_and_leaves_no_trace_on_crl_and_ocsp(at: LocalAuthority) -> None:
    one, other = issue(at, 2)
    revoke(at, one, other, reason="certificateHold")
    publish(at)
    assert revoke(at, one, reason="removeFromCRL") == (1, 0)
    assert status_of(at, one) == ("good", None)
    publish(at)
    assert reasons_on(crl_of(at)) == {other.serial_number: "certificateHold"}
    assert revoke(at, one, reason="keyCompromise") == (1, 0)
    assert status_of(at, one) == ("revoked", "keyCompromise")


def test_a_hold_that_becomes_final_counts_from_the_hold_on(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    revoke(at, one, reason="certificateHold")
    at.now += 1000
    assert revoke(at, one, reason="certificateHold") == (0, 1)
    assert revoke(at, one, reason="keyCompromise") == (1, 0)
    publish(at)
    crl = crl_of(at)
    assert reasons_on(crl) == {one.serial_number: "keyCompromise"}
    assert seconds(entry_of(crl, one).revocation_date_utc) == NOW


@pytest.mark.parametrize("reason", ["removeFromCRL", "certificateHold"])
def test_what_is_revoked_for_good_is_neither_released_nor_put_on_hold(at: LocalAuthority, reason: str) -> None:
    good, final, held = issue(at, 3)
    revoke(at, final, reason="privilegeWithdrawn")
    revoke(at, held, reason="certificateHold")
    refused = refusal(at, reason, serials=tuple(map(serial_of, (good, held, final))))
    assert (refused.code, serial_of(final).hex() in refused.detail) == (ErrorCode.CONFLICT, True)
    assert status_of(at, held) == ("revoked", "certificateHold")


# --- all that was issued since ------------------------------------------------------------------


def test_all_that_was_issued_since_a_time_is_revoked_and_nothing_before(at: LocalAuthority) -> None:
    [before] = issue(at, 1)
    at.now += 10
    since = at.now
    ours, others = issue(at, 2), issue(at, 2, "web2")
    reply = ask_revoke(at, "keyCompromise", issued_since=since, client="web2")
    assert (reply.revoked, reply.unchanged) == (2, 0)
    assert {status_of(at, one) for one in others} == {("revoked", "keyCompromise")}
    assert {status_of(at, one) for one in (before, *ours)} == {("good", None)}
    reply = ask_revoke(at, "superseded", issued_since=since)
    assert (reply.revoked, reply.unchanged) == (2, 2)
    assert status_of(at, before) == ("good", None)
    assert status_of(at, others[0]) == ("revoked", "keyCompromise")


def test_all_that_a_client_ever_had_is_revoked_by_its_name_alone(at: LocalAuthority) -> None:
    issue(at, 2)
    at.now += DAY
    issue(at, 1)
    [other] = issue(at, 1, "web2")
    assert ask_revoke(at, "cessationOfOperation", client="web1").revoked == 3
    assert status_of(at, other) == ("good", None)
    assert ask_revoke(at, "superseded", client="nobody").revoked == 0


def test_a_hold_on_all_is_released_for_all_but_what_was_revoked_for_good(at: LocalAuthority) -> None:
    one, final, other = issue(at, 3)
    revoke(at, final)
    assert ask_revoke(at, "certificateHold", issued_since=0).revoked == 2
    reply = ask_revoke(at, "removeFromCRL", issued_since=0)
    assert (reply.revoked, reply.unchanged) == (2, 1)
    assert [status_of(at, each)[0] for each in (one, final, other)] == ["good", "revoked", "good"]


@pytest.fixture
def slices_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "SLICE", 3)


def begin(at: LocalAuthority) -> Outcome:
    """Begins to revoke all that there is: the function that will have the answer."""
    later = at.authority.revocation.revoke(RevokeRequest(reason="cACompromise", issued_since=0), "admin 0", at.now)
    assert not isinstance(later, RevokeReply)
    assert later() is None
    return later


@pytest.mark.usefixtures("slices_of_three")
def test_much_is_revoked_slice_by_slice_and_answered_when_all_is_done(at: LocalAuthority) -> None:
    certificates = issue(at, 8)
    later = begin(at)
    assert [status_of(at, one)[0] for one in certificates].count("revoked") == 3
    rounds = 0
    while later() is None:
        assert at.authority.revocation.work(at.now)
        rounds += 1
    assert rounds <= 5
    assert later() == RevokeReply(revoked=8, unchanged=0, blocked=0, same_key=())
    assert {status_of(at, one)[0] for one in certificates} == {"revoked"}
    publish(at)
    assert len(reasons_on(crl_of(at))) == 8


@pytest.mark.usefixtures("slices_of_three")
@pytest.mark.parametrize("number", [3, 4, 6, 7])
def test_what_was_begun_before_a_restart_is_finished_after_it(at: LocalAuthority, number: int) -> None:
    certificates = issue(at, number)
    begin(at)
    at.restart()
    [younger] = issue(at, 1)
    publish(at)
    assert {status_of(at, one) for one in certificates} == {("revoked", "cACompromise")}
    assert status_of(at, younger) == ("good", None)  # it did not exist when all was to be revoked
    at.restart()
    assert unfinished_sweep(at.ledger) is None
    assert_ledger_agrees(at)


@pytest.mark.usefixtures("slices_of_three")
def test_while_much_is_revoked_single_certificates_are_too_but_nothing_else_that_takes_long(
    at: LocalAuthority,
) -> None:
    certificates = issue(at, 9)
    later = begin(at)
    assert revoke(at, certificates[-1], reason="superseded") == (1, 0)
    assert refusal(at, "superseded", client="web1").code is ErrorCode.BUSY
    at.authority.freeze("meanwhile", at.now)
    publish(at)
    assert later() == RevokeReply(revoked=8, unchanged=1, blocked=0, same_key=())
    assert status_of(at, certificates[-1]) == ("revoked", "superseded")
    assert ask_revoke(at, "superseded", client="web1").revoked == 0
    assert_ledger_agrees(at)


@pytest.mark.usefixtures("slices_of_three")
def test_a_ledger_that_fails_in_the_middle_is_told_to_who_waits(at: LocalAuthority) -> None:
    issue(at, 9)
    later = begin(at)
    at.ledger.query("PRAGMA query_only = ON")
    publish(at)
    outcome = later()
    assert isinstance(outcome, Refused)
    assert outcome.code is ErrorCode.UNAVAILABLE


def assert_ledger_agrees(at: LocalAuthority) -> None:
    """`verify` finds nothing: chain and index are what was recorded."""
    before = GENESIS
    while before.seq < at.ledger.head.seq:
        stretch = at.ledger.verify_stretch(before, 1000, at.authority.trust)
        assert stretch.problems == ()
        before = stretch.head


def test_who_revoked_is_on_record(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    revoke(at, one)
    [body] = at.bodies("revoked")
    assert body["asker"] == "admin 0"
