"""Certificates that share an fsync, which may take long."""

import contextlib
import hmac
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from protocol.errors import ErrorCode, Refused
from protocol.fields import MacProof
from protocol.messages import IssueReply, IssueRequest
from signerd import group_commit
from signerd.group_commit import TOGETHER_MAX, Asked, GroupCommit
from signerd.ledger import Kind
from signerd.proofs import mac_text
from tests import certs
from tests.authorities import FRONTEND, LocalAuthority, local_authority
from tests.csrs import csr_for, dns
from tests.identities import NOW

CSR = csr_for(dns("a.example.net"))


class Disk:
    """The ledger's: an fsync ends when it is ``released``. Its answers are what clients got, in order."""

    def __init__(self, at: LocalAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = at
        self._release = threading.Semaphore(0)
        self._woken = threading.Semaphore(0)
        self.failure: sqlite3.Error | None = None
        self.answers: list[IssueReply | Refused] = []
        commit = at.ledger._commit_now  # noqa: SLF001

        def slow_commit() -> float:
            self._release.acquire()
            if self.failure is not None:
                raise self.failure
            return commit()

        monkeypatch.setattr(at.ledger, "_commit_now", slow_commit)
        self.certificates = GroupCommit(at.authority, self._woken.release)

    def ask(self, *requests: IssueRequest) -> None:
        """What the loop does with what it reads in one round."""
        asked = [Asked(request, FRONTEND, self.answers.append) for request in requests]
        self.certificates.add(asked, NOW)
        self.certificates.advance(NOW)

    def release(self) -> None:
        """Ends the fsync that is under way, and the next round of the loop comes."""
        self._release.release()
        assert self._woken.acquire(timeout=10)
        self.certificates.advance(NOW)

    def let_go(self) -> None:
        """No fsync takes long any more."""
        self._release.release(1000)

    def recorded(self) -> int:
        """The intents that survive if the machine ends now."""
        with contextlib.closing(sqlite3.connect(f"file:{self.at.ledger_path}?mode=ro", uri=True)) as db:
            [(number,)] = db.execute("SELECT count(*) FROM entries WHERE kind = 'intent' AND seq > 2")
            return int(number)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    monkeypatch.setattr(group_commit, "SLOW_SECONDS", -1.0)
    with local_authority(tmp_path) as at:
        at.ledger.commit()
        one = Disk(at, monkeypatch)
        yield one
        one.let_go()


def request(number: int, key: str | None = None) -> IssueRequest:
    return IssueRequest(csr_for(dns(f"h{number}.example.net")), "web1", idempotency_key=key)


def names(answers: list[IssueReply | Refused]) -> list[str]:
    return [certs.names_of(certs.load(one.certificate))[0] for one in answers if isinstance(one, IssueReply)]


def test_on_a_quick_disk_a_round_s_requests_are_answered_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "SLOW_SECONDS", float("inf"))
    with local_authority(tmp_path) as at:
        answers: list[IssueReply | Refused] = []
        certificates = GroupCommit(at.authority, lambda: None)
        certificates.add([Asked(request(n), FRONTEND, answers.append) for n in range(3)], NOW)
        certificates.advance(NOW)
        assert names(answers) == [f"h{n}.example.net" for n in range(3)]


def test_nothing_is_answered_before_its_record_is_durable(disk: Disk) -> None:
    disk.ask(request(1))
    disk.ask(request(2), request(3))
    assert (disk.answers, disk.recorded()) == ([], 0)
    disk.release()
    assert names(disk.answers) == ["h1.example.net"]
    assert disk.recorded() == 1
    disk.release()
    assert names(disk.answers) == [f"h{n}.example.net" for n in (1, 2, 3)]
    assert disk.recorded() == 3


def test_what_comes_while_an_fsync_is_under_way_shares_the_next_one(disk: Disk) -> None:
    disk.ask(request(0))
    for number in range(1, 6):
        disk.ask(request(number))
    disk.release()
    disk.release()
    assert names(disk.answers) == [f"h{n}.example.net" for n in range(6)]


def test_the_room_for_requests_is_what_may_wait_for_one_fsync(disk: Disk) -> None:
    disk.ask(request(0))
    assert disk.certificates.room == TOGETHER_MAX
    disk.ask(*[request(1)] * TOGETHER_MAX)
    assert disk.certificates.room == 0
    disk.release()
    assert disk.certificates.room == TOGETHER_MAX


def test_an_fsync_that_fails_is_final_for_all_that_wait(disk: Disk) -> None:
    disk.ask(request(1))
    disk.ask(request(2))
    disk.failure = sqlite3.OperationalError("disk I/O error")
    disk.release()
    disk.certificates.complete(NOW)
    disk.ask(request(3))
    disk.certificates.complete(NOW)
    assert [answer.code for answer in disk.answers if isinstance(answer, Refused)] == [ErrorCode.UNAVAILABLE] * 3
    assert disk.recorded() == 0
    assert disk.at.authority.state(NOW) == "unavailable"


def test_an_idempotency_key_is_in_use_until_its_request_is_answered(disk: Disk) -> None:
    disk.ask(request(1, "key"))
    disk.ask(request(1, "key"))
    disk.release()
    disk.let_go()
    disk.certificates.complete(NOW)
    first, second = disk.answers
    assert isinstance(first, IssueReply)
    assert isinstance(second, Refused)
    assert second.code is ErrorCode.BUSY
    disk.ask(request(1, "key"))
    disk.certificates.complete(NOW)
    assert disk.answers[2] == first


def test_a_key_that_is_not_blocked_waits_for_no_fsync_though_others_are(disk: Disk) -> None:
    keys = disk.at.authority.revocation.compromised
    disk.at.ledger.append(NOW, Kind.BLOCKED, {"keys": [bytes(32)], "asker": "admin 0"})
    keys.note(bytes(32))
    assert keys.has(bytes(32))
    disk.ask(request(1))
    disk.ask(request(2))  # comes back, though nothing is durable yet
    assert disk.answers == []


PROVEN = "[client.web1]\nmac_key_file = '{}'\n"


def proven(directory: Path) -> IssueRequest:
    """With a MAC by the key that the policy has for web1."""
    bare = request(1, "key")
    mac = hmac.digest((directory / "mac").read_bytes(), mac_text(bare, NOW), "sha256")
    return msgspec.structs.replace(bare, mac=MacProof(NOW, mac))


@pytest.fixture
def proving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """A slow disk, and a client that proves itself."""
    monkeypatch.setattr(group_commit, "SLOW_SECONDS", -1.0)
    (tmp_path / "mac").write_bytes(b"a key of more than sixteen bytes")
    (tmp_path / "mac").chmod(0o600)
    with local_authority(tmp_path, PROVEN.format(tmp_path / "mac")) as at:
        at.ledger.commit()
        one = Disk(at, monkeypatch)
        yield one
        one.let_go()


def test_who_sends_a_proof_again_while_it_is_under_way_gets_the_certificate_too(proving: Disk, tmp_path: Path) -> None:
    asked = proven(tmp_path)
    proving.ask(asked)
    proving.ask(asked, asked)
    assert proving.answers == []
    proving.release()
    proving.ask(asked)
    proving.let_go()
    proving.certificates.complete(NOW)
    first, *others = proving.answers
    assert isinstance(first, IssueReply)
    assert others == [first] * 3
    assert proving.recorded() == 1


def test_those_that_share_a_proof_share_what_goes_wrong(proving: Disk, tmp_path: Path) -> None:
    asked = proven(tmp_path)
    proving.ask(asked)
    proving.ask(asked, asked)
    proving.failure = sqlite3.OperationalError("disk I/O error")
    proving.release()
    proving.certificates.complete(NOW)
    assert [answer.code for answer in proving.answers if isinstance(answer, Refused)] == [ErrorCode.UNAVAILABLE] * 3


def test_who_reads_the_ledger_meanwhile_waits_and_sees_it_all(disk: Disk) -> None:
    disk.ask(request(1))
    disk.ask(request(2))
    disk.let_go()
    assert disk.at.ledger.query("SELECT count(*) FROM certificates").fetchone() == (1,)
    disk.certificates.complete(NOW)
    assert disk.at.ledger.query("SELECT count(*) FROM certificates").fetchone() == (2,)


def test_when_all_is_to_be_complete_it_is_answered_however_long_that_takes(disk: Disk) -> None:
    disk.ask(request(1))
    disk.ask(request(2))
    disk.let_go()
    disk.certificates.complete(NOW)
    assert names(disk.answers) == ["h1.example.net", "h2.example.net"]


def test_quotas_count_what_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "SLOW_SECONDS", -1.0)
    policy = '[quota]\nper_client = "3/day"'
    with local_authority(tmp_path, policy) as at:
        disk = Disk(at, monkeypatch)
        disk.let_go()
        for number in range(3):
            disk.ask(request(number), request(10 + number))
        disk.certificates.complete(NOW)
        assert len(names(disk.answers)) == 3
        assert [one.code for one in disk.answers if isinstance(one, Refused)] == [ErrorCode.QUOTA_EXCEEDED] * 3
