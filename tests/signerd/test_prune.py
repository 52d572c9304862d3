"""What expired long ago leaves the index, and nothing that anybody still needs goes with it."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.errors import ConfigurationError, ErrorCode, Refused
from protocol.messages import AcceptRequest, IssueRequest
from signerd.identity import load_identity
from signerd.ledger.certificates import State, find
from signerd.ledger.prune import ROWS, prune
from tests.authorities import LocalAuthority, local_authority
from tests.csrs import csr_for, dns
from tests.edited_ledgers import (
    issue,
    problems_of,
    problems_online,
    prune_all,
    revoke,
    serial_of,
    sign_crls,
)
from tests.identities import DAY, NOW, PASSPHRASE
from tests.running import Signer, eventually

TABLES = ("certificates", "names")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalAuthority]:
    with local_authority(tmp_path) as authority:
        yield authority


def count(local: LocalAuthority, table: str = "certificates") -> int:
    (number,) = local.ledger.query(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    return int(number)


def test_a_certificate_leaves_the_index_when_its_time_after_the_end_is_over_to_the_second(
    local: LocalAuthority,
) -> None:
    certificate = local.issue(csr_for(dns("a.example.net")), lifetime=3600)
    local.now = int(certificate.not_valid_after_utc.timestamp()) + 30 * DAY
    prune_all(local)
    assert count(local) == 1
    local.now += 1
    prune_all(local)
    assert [count(local, table) for table in (*TABLES, "pruned")] == [0, 0, 1]


def test_a_certificate_that_is_valid_stays_whatever_its_age(local: LocalAuthority) -> None:
    issue(local, "long", lifetime=365 * DAY)
    issue(local, "short", lifetime=3600)
    local.now += 300 * DAY
    prune_all(local)
    assert [row[0] for row in local.ledger.query("SELECT DISTINCT name FROM names WHERE name LIKE '%long%'")] == [
        "dns:long.example.net"
    ]
    assert count(local) == 1


def test_the_record_stays_and_the_chain_is_whole(local: LocalAuthority) -> None:
    serials = [issue(local, f"h{n}", lifetime=3600) for n in range(5)]
    last = local.ledger.head.seq - 1  # the entry after it holds its signature
    local.now += 40 * DAY
    prune_all(local)
    assert local.bodies("pruned") == [{"not_after": NOW + 3600 - 61, "seq": last, "certificates": 5}]
    assert [body["serial"] for body in local.bodies("intent")] == serials
    assert problems_online(local) == []
    local.close()
    assert problems_of(local.ledger_path) == []
    local.open()


def test_one_go_prunes_a_bounded_number_those_that_ended_first_first(local: LocalAuthority) -> None:
    for number in range(ROWS + 20):
        issue(local, f"h{number}", lifetime=3600 + 60 * (number % 7))
    local.now += 40 * DAY
    before = [row[0] for row in local.ledger.query("SELECT seq FROM certificates ORDER BY not_after, seq")]
    assert prune(local.ledger, local.now - 30 * DAY, local.now) == ROWS
    after = [row[0] for row in local.ledger.query("SELECT seq FROM certificates ORDER BY not_after, seq")]
    assert after == before[ROWS:]
    assert prune(local.ledger, local.now - 30 * DAY, local.now) == 20
    assert prune(local.ledger, local.now - 30 * DAY, local.now) == 0
    assert problems_online(local) == []


def test_nothing_to_prune_leaves_no_entry(local: LocalAuthority) -> None:
    issue(local, "a")
    head = local.ledger.head
    prune_all(local)
    assert local.ledger.head == head


def test_a_revoked_certificate_stays_until_a_crl_after_its_end_has_listed_it(local: LocalAuthority) -> None:
    revoke(local, [issue(local, "gone", lifetime=3600)], "superseded")
    issue(local, "later", lifetime=7200)
    sign_crls(local)  # before its end
    local.now += 60 * DAY
    prune_all(local)
    assert count(local) == 2  # those that ended after it wait too
    sign_crls(local)
    prune_all(local)
    assert count(local) == 0
    assert problems_online(local) == []


def test_what_was_revoked_is_still_known_to_have_been(local: LocalAuthority) -> None:
    serial = issue(local, "gone", lifetime=3600)
    revoke(local, [serial], "keyCompromise")
    local.now += 60 * DAY
    sign_crls(local)
    prune_all(local)
    record = find(local.ledger, serial, local.now)
    assert record is not None
    assert (record.state, record.reason, record.revoked_at) == (State.REVOKED, "keyCompromise", NOW)


def test_a_serial_number_is_not_issued_again_after_its_certificate_was_pruned(tmp_path: Path) -> None:
    numbers = iter([5, 5, 6])
    with local_authority(tmp_path, make_serial=lambda: next(numbers)) as local:
        assert serial_of(local.issue(csr_for(dns("a.example.net")), lifetime=3600)) == b"\x05"
        local.now += 40 * DAY
        prune_all(local)
        local.restart()  # which forgets what it had in memory
        assert serial_of(local.issue(csr_for(dns("b.example.net")))) == b"\x06"


def test_an_idempotency_key_is_free_again_when_its_certificate_was_pruned(local: LocalAuthority) -> None:
    first = issue(local, "a", lifetime=3600, idempotency_key="key")
    local.now += 31 * DAY
    again = local.ask(csr_for(dns("a.example.net"), dns("shared.example.net")), lifetime=3600, idempotency_key="key")
    assert isinstance(again, Refused)
    assert again.code is ErrorCode.CONFLICT  # for it has expired
    prune_all(local)
    assert issue(local, "a", lifetime=3600, idempotency_key="key") != first


def test_quotas_count_the_same_before_and_after_pruning(tmp_path: Path) -> None:
    policy = "prune_after = '8d'\n[quota]\nper_client = '5/week'\ntotal = '9/week'\n"
    with local_authority(tmp_path, policy) as local:
        for number in range(4):
            issue(local, f"old{number}", lifetime=120)
        issue(local, "long", lifetime=90 * DAY)
        local.now += 8 * DAY + 200
        for number in range(4):
            issue(local, f"new{number}")
        assert local.authority.usage.describe(local.now) == ["client web1: 4 of 5/week", "total: 4 of 9/week"]
        prune_all(local)
        assert count(local) == 5
        assert local.authority.usage.describe(local.now) == ["client web1: 4 of 5/week", "total: 4 of 9/week"]
        issue(local, "last")
        assert "client web1 has had 5/week" in local.refusal(csr_for(dns("x.example.net"))).detail


def test_a_ledger_that_is_all_pruned_goes_on(local: LocalAuthority) -> None:
    issue(local, "a", lifetime=120)
    local.now += 60 * DAY
    prune_all(local)
    local.restart()
    issue(local, "b")
    assert problems_online(local) == []


def test_a_ledger_that_takes_no_more_entries_is_not_pruned_and_serves_on(local: LocalAuthority) -> None:
    issue(local, "a", lifetime=120)
    local.ledger.settle()
    local.ledger.query("PRAGMA query_only = ON")
    with contextlib.suppress(Refused):
        local.authority.freeze("", local.now)
    local.now += 60 * DAY
    local.authority.tend(local.now)
    assert count(local) == 1


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("prune_after = '7d'", "7d is not between 691200 s and"),
        ("prune_after = '0d'", "it must be longer than nothing"),
        ("prune_after = 'never'", "prune_after"),
        ("prune_after = '20d'\ncrl_lifetime = '21d'", "20d is less than signer.crl_lifetime"),
    ],
)
def test_a_time_that_quotas_or_crls_would_miss_is_refused(tmp_path: Path, setting: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why), local_authority(tmp_path, setting):
        pass


def test_the_running_signer_prunes_by_itself_and_goes_on_issuing(tmp_path: Path) -> None:
    signer, now = Signer(), int(time.time())
    identity = load_identity(signer.identity, lambda: PASSPHRASE, now)
    with local_authority(tmp_path, now=now - 60 * DAY, identity=identity, ledger_key=signer.ledger_key()) as old:
        for number in range(ROWS + 50):
            issue(old, f"h{number}", lifetime=3600)
    shutil.copy(old.ledger_path, signer.ledger_path)
    with signer:
        signer.admin().ask_accept(AcceptRequest(why="it was off for two months"))
        eventually(lambda: signer.indexed() == 0, "an empty index")
        signer.sign().ask_issue(IssueRequest(csr=csr_for(dns("a.example.net")), client="web1"))
        eventually(lambda: signer.indexed() == 1, "the new one")
        assert signer.stop() == 0
        assert problems_of(signer.ledger_path) == []
        signer.start()
