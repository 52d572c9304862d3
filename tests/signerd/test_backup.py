"""Backups are whole ledgers, one at a time, and leave nothing behind; a restored one goes on where it was."""

import itertools
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.client import SignerClient
from protocol.errors import ErrorCode, Refused
from protocol.messages import BackupRequest, IssueReply, IssueRequest, VerifyRequest
from signerd.checkpoint import read_checkpoint
from signerd.identity import load_identity
from signerd.ledger import backup
from signerd.ledger.backup import IDLE_SECONDS, PART_BYTES
from signerd.ledger.chain import GENESIS
from signerd.ledger.file import LOG_BYTES
from tests.authorities import LocalAuthority, local_authority
from tests.csrs import csr_for, dns
from tests.edited_ledgers import editing, issue, problems_of
from tests.identities import PASSPHRASE
from tests.running import Signer, eventually

RECORD = {"asker": "admin 0"}


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalAuthority]:
    with local_authority(tmp_path) as authority:
        for number in range(5):
            issue(authority, f"host{number}")
        yield authority
        authority.authority.close()
        assert "ledger.db.backup" not in files(authority)


def files(local: LocalAuthority) -> set[str]:
    return {path.name for path in local.ledger_path.parent.iterdir()}


def part(local: LocalAuthority, asker: object, offset: int = 0) -> tuple[int, bytes]:
    """A part, once the snapshot is made."""
    answers: list[tuple[int | None, bytes]] = []

    def made() -> bool:
        answers.append(local.authority.backups.part(asker, offset, RECORD, local.now))
        return answers[-1][0] is not None

    eventually(made, "a snapshot")
    total, data = answers[-1]
    assert total is not None
    return total, data


def fetched(local: LocalAuthority, asker: object) -> bytes:
    """A whole snapshot."""
    total, content = part(local, asker)
    while len(content) < total:
        content += part(local, asker, len(content))[1]
    return content


def refusal(local: LocalAuthority, asker: object, offset: int = 0) -> ErrorCode:
    with pytest.raises(Refused) as refused:
        part(local, asker, offset)
    return refused.value.code


# --- a snapshot -----------------------------------------------------------------------------------


def test_a_backup_is_a_ledger_that_says_that_it_was_taken(local: LocalAuthority, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(fetched(local, object()))
    assert problems_of(copy) == []
    with editing(copy) as db:
        assert db.execute("SELECT kind FROM entries ORDER BY seq DESC LIMIT 1").fetchone() == ("backup",)
        assert db.execute("SELECT count(*) FROM certificates").fetchone() == (5,)
    assert local.bodies("backup") == [RECORD]
    copy.unlink()


def test_parts_are_bounded_and_may_be_read_again(local: LocalAuthority) -> None:
    for number in range(200):
        issue(local, f"more{number}")
    asker = object()
    total, first = part(local, asker)
    assert total > len(first) == PART_BYTES
    assert part(local, asker, 100)[1][: PART_BYTES - 100] == first[100:]
    assert part(local, asker, PART_BYTES)[0] == total


def test_what_is_issued_after_the_beginning_is_not_in_the_snapshot(local: LocalAuthority, tmp_path: Path) -> None:
    asker = object()
    _, content = part(local, asker)
    for number in range(50):
        issue(local, f"later{number}")
    local.ledger.commit()
    copy = tmp_path / "copy.db"
    copy.write_bytes(content)
    assert problems_of(copy) == []
    with editing(copy) as db:
        assert db.execute("SELECT count(*) FROM certificates").fetchone() == (5,)
    copy.unlink()


def test_nobody_else_can_read_the_copy_and_it_has_no_name_once_it_is_made(
    local: LocalAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_STEP_PAGES", 1)
    monkeypatch.setattr(backup, "_STEP_PAUSE", 0.5)
    asker = object()
    assert local.authority.backups.part(asker, 0, RECORD, local.now) == (None, b"")
    assert local.ledger_path.with_name("ledger.db.backup").stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(backup, "_STEP_PAUSE", 0)
    part(local, asker)
    assert not any("backup" in name for name in files(local))


@pytest.mark.parametrize("offset", [1, PART_BYTES, 2**63, 2**64 - 1])
def test_a_part_of_no_snapshot_is_not_found(local: LocalAuthority, offset: int) -> None:
    assert refusal(local, object(), offset) is ErrorCode.NOT_FOUND
    assert local.bodies("backup") == []


@pytest.mark.parametrize("offset", [2**40, 2**64 - 1])
def test_a_part_beyond_the_end_is_empty(local: LocalAuthority, offset: int) -> None:
    asker = object()
    part(local, asker)
    for number in range(200):
        issue(local, f"more{number}")
    part(local, asker)
    assert part(local, asker, offset)[1] == b""


# --- one at a time --------------------------------------------------------------------------------


def test_a_second_operator_is_told_to_wait_and_gets_no_part_of_the_firsts(local: LocalAuthority) -> None:
    for number in range(200):
        issue(local, f"more{number}")
    one, other = object(), object()
    total, content = part(local, one)
    assert refusal(local, other) is ErrorCode.BUSY
    assert refusal(local, other, PART_BYTES) is ErrorCode.BUSY
    while len(content) < total:
        content += part(local, one, len(content))[1]
    assert len(fetched(local, other)) >= total


def test_a_backup_that_nobody_goes_on_with_is_given_up_and_its_owner_told(local: LocalAuthority) -> None:
    for number in range(200):
        issue(local, f"more{number}")
    one, other = object(), object()
    part(local, one)
    local.now += IDLE_SECONDS - 1
    assert refusal(local, other) is ErrorCode.BUSY
    local.now += 1
    part(local, other)
    assert refusal(local, one, PART_BYTES) is ErrorCode.BUSY  # and never a part of the other's
    local.now += IDLE_SECONDS
    local.authority.tend(local.now)
    assert refusal(local, other, PART_BYTES) is ErrorCode.NOT_FOUND


def test_who_begins_again_gets_a_new_snapshot(local: LocalAuthority) -> None:
    for number in range(200):
        issue(local, f"more{number}")
    asker = object()
    part(local, asker)
    issue(local, "later")
    part(local, asker)
    assert len(local.bodies("backup")) == 2


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_copy_that_an_earlier_process_left_is_removed_at_the_start(local: LocalAuthority) -> None:
    left = local.ledger_path.with_name("ledger.db.backup")
    left.write_bytes(b"half")
    local.restart()
    assert not left.exists()


def test_the_end_of_the_signer_does_not_wait_for_a_backup(
    local: LocalAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_STEP_PAGES", 1)
    monkeypatch.setattr(backup, "_STEP_PAUSE", 60)  # hours for all of it
    assert local.authority.backups.part(object(), 0, RECORD, local.now) == (None, b"")
    began = time.monotonic()
    local.authority.close()
    assert time.monotonic() - began < 20
    assert not any("backup" in name for name in files(local))


def test_a_disk_with_too_little_room_for_copy_and_ledger_is_not_begun_on(
    local: LocalAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_RESERVE_BYTES", 2**60)
    assert refusal(local, object()) is ErrorCode.UNAVAILABLE
    assert local.bodies("backup") == []
    monkeypatch.undo()
    fetched(local, object())


def test_a_ledger_that_takes_no_more_entries_gives_no_backup(local: LocalAuthority) -> None:
    local.ledger.query("PRAGMA query_only = ON")
    assert refusal(local, object()) is ErrorCode.UNAVAILABLE
    assert not any("backup" in name for name in files(local))


def test_what_the_log_grew_by_while_a_snapshot_was_made_is_given_back(local: LocalAuthority) -> None:
    log = local.ledger_path.with_name("ledger.db-wal")
    with editing(local.ledger_path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM entries LIMIT 1").fetchone()  # as a snapshot holds on to what it copies
        for _ in range(24):
            local.authority.freeze("x" * 1_000_000, local.now)
        assert log.stat().st_size > 24_000_000
    local.authority.thaw("", local.now)
    local.authority.freeze("", local.now)
    assert log.stat().st_size <= LOG_BYTES


# --- a real signer --------------------------------------------------------------------------------


def take(client: SignerClient, path: Path) -> Path:
    """As `ca_admin backup` does."""
    with path.open("wb") as file:
        while True:
            reply = client.ask_backup(BackupRequest(offset=file.tell()))
            file.write(reply.data)
            if reply.total is not None and file.tell() >= reply.total:
                return path


def test_a_disk_that_fills_up_while_the_copy_is_made_fails_the_backup_and_nothing_else(tmp_path: Path) -> None:
    with Signer() as signer:
        client, admin = signer.sign(), signer.admin()
        for number in range(150):
            client.ask_issue(IssueRequest(csr=csr_for(dns(f"h{number}.example.net")), client="web1"))
        signer.restart()
        # No file of the signer's may grow beyond this; what the ledger itself writes goes to its short log.
        unlimited = resource.prlimit(signer.pid, resource.RLIMIT_FSIZE)
        limit = signer.ledger_path.stat().st_size * 2 // 3
        resource.prlimit(signer.pid, resource.RLIMIT_FSIZE, (limit, unlimited[1]))
        with pytest.raises(Refused) as refused:
            take(admin, tmp_path / "failed.db")
        assert refused.value.code is ErrorCode.UNAVAILABLE
        assert "no snapshot could be made" in refused.value.detail
        assert str(signer.state) not in refused.value.detail
        assert not list(signer.state.glob("*.backup*"))
        resource.prlimit(signer.pid, resource.RLIMIT_FSIZE, unlimited)
        client.ask_issue(IssueRequest(csr=csr_for(dns("after.example.net")), client="web1"))
        assert problems_of(take(admin, tmp_path / "after.db")) == []


def test_a_killed_signer_leaves_no_copy_that_was_made(tmp_path: Path) -> None:
    with Signer() as signer:
        admin = signer.admin()
        eventually(lambda: admin.ask_backup(BackupRequest()).total is not None, "a snapshot")
        signer.kill()
        assert not list(signer.state.glob("*.backup*"))


class Load:
    """Clients that ask for certificates until they are told to stop."""

    def __init__(self, signer: Signer, clients: int) -> None:
        self._signer = signer
        self._stop = threading.Event()
        self.serials: list[bytes] = []
        self._threads = [threading.Thread(target=self._ask, args=(f"load{n}",)) for n in range(clients)]

    def _ask(self, client: str) -> None:
        asker = self._signer.sign()
        for number in itertools.count():
            if self._stop.is_set():
                return
            csr = csr_for(dns(f"n{number % 7}.{client}.example.net"))
            self.serials.append(asker.ask_issue(IssueRequest(csr=csr, client=client)).serial)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        eventually(lambda: len(self.serials) > 50, "certificates")
        return self

    def __exit__(self, *_: object) -> None:
        before = len(self.serials)
        eventually(lambda: len(self.serials) > before + 50, "more certificates")
        self._stop.set()
        for thread in self._threads:
            thread.join()


def verified(signer: Signer) -> int:
    """Has the running signer verify its ledger; returns the number of entries."""
    admin, seq, digest = signer.admin(), GENESIS.seq, GENESIS.hash
    while True:
        reply = admin.ask_verify(VerifyRequest(seq=seq, hash=digest))
        assert reply.problems == ()
        if reply.seq in {seq, reply.entries}:
            return reply.entries
        seq, digest = reply.seq, reply.hash


def put_in_place(signer: Signer, copy: Path) -> None:
    """What docs/operate.md says to do, by hand."""
    assert signer.stop() == 0
    aside = signer.state / "before-restore"
    aside.mkdir()
    for path in signer.state.glob("ledger.db*"):
        path.rename(aside / path.name)
    shutil.copy(copy, signer.ledger_path)
    signer.ledger_path.chmod(0o600)
    signer.start()


def test_a_backup_taken_under_load_is_restored_and_no_serial_number_is_issued_twice(tmp_path: Path) -> None:
    policy = "[client.load0]\n[client.load1]\n[client.load2]\n[client.web1]\nquota = '5/day'\n"
    with Signer(policy=policy) as signer:
        client, admin = signer.sign(), signer.admin()

        def ask(name: str) -> IssueReply:
            return client.ask_issue(IssueRequest(csr=csr_for(dns(name)), client="web1", idempotency_key=name))

        before = [ask(f"before{n}.example.net") for n in range(3)]
        with Load(signer, 3) as load:
            copy = take(admin, tmp_path / "copy.db")
        after = [ask(f"after{n}.example.net") for n in range(2)]
        statement = admin.ask_checkpoint().statement
        issued = [*(reply.serial for reply in (*before, *after)), *load.serials]
        with pytest.raises(Refused, match="client web1 has had 5/day"):
            ask("onemore.example.net")

        assert problems_of(copy) == []
        with editing(copy) as db:
            on_copy = {serial for (serial,) in db.execute("SELECT serial FROM certificates")}
        assert {reply.serial for reply in before} <= on_copy < set(issued)

        put_in_place(signer, copy)
        entries = verified(signer)
        # What was counted by then counts, and what was issued since the backup is not known any more.
        assert ask("before0.example.net") == before[0]
        again = [ask(f"again{n}.example.net") for n in range(2)]
        with pytest.raises(Refused, match="client web1 has had 5/day"):
            ask("onemore.example.net")
        with Load(signer, 3) as more:
            pass
        issued += [*(reply.serial for reply in again), *more.serials]
        assert len(set(issued)) == len(issued)
        assert verified(signer) > entries

        # A checkpoint from between backup and restore shows that the ledger is not the one it was.
        certificate = load_identity(signer.identity, lambda: PASSPHRASE, int(signer.state.stat().st_mtime)).certificate
        stated = read_checkpoint(statement, certificate)
        assert (stated.seq, stated.hash) not in signer.query("SELECT seq, hash FROM entries")
