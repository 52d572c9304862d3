"""A disk that is full to its last byte: nothing is issued, in words, and whatever stops harm goes on working."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest
from cryptography import x509

from bench.ledger_million import build
from protocol.client import SignerClient
from protocol.errors import ErrorCode, Refused
from protocol.messages import CrlRequest, FreezeRequest, IssueRequest, RevokeRequest, ThawRequest
from signerd.ledger.space import Space
from tests.csrs import csr_for, dns
from tests.disks import FILE_SYSTEMS, MIB, clear, fill, free, small_disk
from tests.running import Signer, eventually, needs_root

pytestmark = needs_root
REQUEST = IssueRequest(csr=csr_for(dns("a.example.net")), client="web1")
LARGE = IssueRequest(csr=csr_for(*(dns(f"{n}.{'x' * 60}.example.net") for n in range(100))), client="web1")
BALLAST = 8 * MIB  # on a disk of 128 MiB, of which the file system takes some for itself


@contextlib.contextmanager
def signer_on_a_small_disk(kind: str, size: int = 128 * MIB, certificates: int = 0) -> Iterator[Signer]:
    """A signer whose ledger lies on a file system of its own, and has so many certificates from before."""
    signer = Signer()
    with small_disk(signer.state / "disk", kind, size) as disk:
        signer.ledger_path = disk / "ledger.db"
        signer.configure(ledger=str(signer.ledger_path))
        if certificates:
            build(signer.ledger_path, certificates, signer.identity)
        try:
            signer.start()
            yield signer
            assert signer.stop() == 0
        finally:
            signer.close()


@pytest.fixture(params=FILE_SYSTEMS)
def signer(request: pytest.FixtureRequest) -> Iterator[Signer]:
    """A signer with its ledger on a small disk, where the ballast is whole."""
    with signer_on_a_small_disk(request.param) as signer:
        assert is_whole(signer)
        yield signer


def disk_of(signer: Signer) -> Path:
    return signer.ledger_path.parent


def is_whole(signer: Signer) -> bool:
    path = signer.ledger_path.with_name("ledger.db.ballast")
    return path.exists() and path.stat().st_blocks * 512 > BALLAST * 3 // 4


def issue(signer: Signer, request: IssueRequest = REQUEST) -> bytes:
    return signer.sign().ask_issue(request).serial


def assert_refused_in_words(signer: Signer) -> None:
    with pytest.raises(Refused) as caught:
        issue(signer)
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert "disk is nearly full" in caught.value.detail
    assert str(signer.state) not in caught.value.detail
    status = signer.admin().ask_status()
    assert status.state == "unavailable"
    assert "disk is nearly full" in (status.detail or "")


def assert_harm_is_stopped(signer: Signer, serial: bytes) -> None:
    """Revoking, the CRL that says so, freezing and thawing."""
    admin, client = signer.admin(), signer.sign()
    assert admin.ask_revoke(RevokeRequest(reason="superseded", serials=(serial,))).revoked == 1
    admin.ask_freeze(FreezeRequest(why="seen"))
    number = int.from_bytes(serial, "big")
    eventually(lambda: number in listed(client), "a CRL that lists it")
    admin.ask_thaw(ThawRequest(why="gone"))


def listed(client: SignerClient) -> set[int]:
    try:
        return {one.serial_number for one in x509.load_der_x509_crl(client.ask_crl(CrlRequest(shard=0)).crl)}
    except Refused:
        return set()


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGKILL])
def test_on_a_disk_that_others_have_filled_revoking_freezing_and_starting_work_and_issuing_waits(
    signer: Signer, ended_by: signal.Signals
) -> None:
    disk = disk_of(signer)
    serials = [issue(signer) for _ in range(3)]
    fill(disk)
    assert free(disk) < MIB  # what was about to be written has had its piece of the ballast, maybe
    assert_refused_in_words(signer)
    assert_harm_is_stopped(signer, serials[0])
    fill(disk)
    signer.send_signal(ended_by)
    signer.wait()
    fill(disk)
    assert free(disk) == 0
    signer.start()
    assert_refused_in_words(signer)
    assert_harm_is_stopped(signer, serials[1])
    clear(disk)
    issue(signer)
    eventually(lambda: is_whole(signer), "the ballast is whole again")
    signer.restart()
    assert_harm_is_stopped(signer, serials[2])
    assert {int.from_bytes(serial, "big") for serial in serials} <= listed(signer.sign())


def issue_for_ever(signer: Signer) -> None:
    client = signer.sign()
    for _ in range(1000):
        client.ask_issue(LARGE)


def test_issuing_stops_before_it_has_filled_the_disk(signer: Signer) -> None:
    disk = disk_of(signer)
    serial = issue(signer)
    fill(disk, leave=BALLAST + 2 * MIB)
    with pytest.raises(Refused) as caught:
        issue_for_ever(signer)
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert "disk is nearly full" in caught.value.detail
    assert free(disk) > MIB
    assert_harm_is_stopped(signer, serial)
    clear(disk)
    issue(signer, LARGE)


@contextlib.contextmanager
def filling(disk: Path) -> Iterator[None]:
    """Somebody who takes each byte of the disk as soon as it is free."""
    ended = threading.Event()

    def take_all(file: FileIO) -> None:
        while not ended.is_set():
            for size in (MIB, 4096):
                with contextlib.suppress(OSError):
                    file.write(bytes(size))
            time.sleep(0.0005)

    with (disk / "filler").open("ab", buffering=0) as file:
        filler = threading.Thread(target=take_all, args=(file,))
        filler.start()
        try:
            eventually(lambda: free(disk) < 4096, "the disk is full")
            yield
        finally:
            ended.set()
            filler.join()


def test_while_somebody_takes_each_byte_that_gets_free_a_running_signer_revokes_and_freezes(signer: Signer) -> None:
    disk = disk_of(signer)
    serials = [issue(signer) for _ in range(30)]
    eventually(lambda: signer.indexed() == 30, "all of it is recorded")
    with filling(disk):
        assert_refused_in_words(signer)
        admin = signer.admin()
        for serial in serials[1:]:
            assert admin.ask_revoke(RevokeRequest(reason="superseded", serials=(serial,))).revoked == 1
        assert_harm_is_stopped(signer, serials[0])
    clear(disk)
    issue(signer)


def test_on_a_full_disk_all_that_was_issued_can_be_revoked(tmp_path: Path) -> None:
    with signer_on_a_small_disk("ext4", certificates=10_000) as signer:
        fill(disk_of(signer))
        revoked = signer.admin().ask_revoke(RevokeRequest(reason="superseded", issued_since=0)).revoked
        assert revoked > 5_000
        left = "SELECT count(*) FROM certificates WHERE revoked_at IS NULL AND not_after >= ?"
        assert signer.query(left, int(time.time())) == [(0,)]


@pytest.mark.parametrize("size", [BALLAST, 16 * BALLAST])
def test_a_ballast_that_was_copied_and_holds_nothing_is_made_anew(tmp_path: Path, size: int) -> None:
    with small_disk(tmp_path / "disk", "tmpfs") as disk:
        sparse = disk / "ledger.db.ballast"
        with sparse.open("wb") as file:
            file.truncate(size)
        space = Space(disk / "ledger.db")
        space.restore()
        assert sparse.stat().st_blocks * 512 == sparse.stat().st_size == BALLAST


def test_the_ballast_is_given_up_in_pieces_and_no_further_than_is_needed(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "tmpfs") as disk:
        space = Space(disk / "ledger.db")
        space.restore()
        assert (disk / "ledger.db.ballast").stat().st_mode & 0o077 == 0
        given_up = []
        for _ in range(33):
            fill(disk)
            before = free(disk)
            space.make_room()
            space.make_room()
            space.restore()  # there is no room for that
            given_up.append(free(disk) - before)
        assert given_up == [BALLAST // 32] * 32 + [0]
        clear(disk)
        fill(disk, leave=2 * MIB)
        space.restore()
        assert (disk / "ledger.db.ballast").stat().st_size == 2 * MIB - BALLAST // 32
        clear(disk)
        space.restore()
        assert (disk / "ledger.db.ballast").stat().st_size == BALLAST


def test_a_ballast_from_a_larger_disk_is_cut_down(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "tmpfs") as disk:
        (disk / "ledger.db.ballast").write_bytes(bytes(5 * BALLAST))
        Space(disk / "ledger.db").restore()
        assert (disk / "ledger.db.ballast").stat().st_size == BALLAST


def test_where_no_room_can_be_held_issuing_goes_on_without_a_ballast(tmp_path: Path) -> None:
    (tmp_path / "ledger.db.ballast").mkdir()
    space = Space(tmp_path / "ledger.db")
    space.restore()
    space.make_room()
    assert space.look() is None
