"""The ledger's file: chained, locked, durable at commit, and closed for good at the first failed write."""

import contextlib
import hashlib
import itertools
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ConfigurationError, Refused
from signerd.ledger import Kind, Ledger
from tests.authorities import LEDGER_KEY
from tests.identities import NOW

ROOT = Path(__file__).parents[2]
TAIL = 256


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@contextlib.contextmanager
def ledger_at(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path, LEDGER_KEY)
    try:
        yield ledger
    finally:
        ledger.close()


def filled(path: Path, entries: int) -> Path:
    """A ledger of so many entries, one a second."""
    with ledger_at(path) as ledger:
        for number in range(entries):
            ledger.append(NOW + number, (Kind.FREEZE, Kind.THAW)[number % 2], {"why": f"reason {number}"})
    return path


def rows(path: Path) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT seq, time, kind, body, hash FROM entries ORDER BY seq").fetchall()


def change(path: Path, *statements: tuple[str, tuple[Any, ...]]) -> None:
    """Changes the file behind the ledger's back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for sql, parameters in statements:
            db.execute(sql, parameters)


def damage(path: Path) -> str:
    """What opening complains of; fails if it opens."""
    with pytest.raises(ConfigurationError) as refused, ledger_at(path):
        pass
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- the chain ------------------------------------------------------------------------------------


def test_each_entry_is_bound_to_the_one_before_it(path: Path) -> None:
    before = bytes(32)
    found = rows(filled(path, 20))
    assert [row[0] for row in found] == list(range(1, 21))
    for seq, time, kind, body, digest in found:
        # Written out by hand: the form of the chain is for good.
        data = before + seq.to_bytes(8, "big") + time.to_bytes(8, "big") + bytes([len(kind)]) + kind.encode() + body
        assert hashlib.sha256(data).digest() == digest
        before = digest


def test_a_reopened_ledger_goes_on_where_it_was(path: Path) -> None:
    filled(path, 3)
    with ledger_at(path) as ledger:
        assert ledger.head.seq == 3
        assert ledger.append(NOW + 9, Kind.THAW, {"why": ""}) == 4
    assert [row[0] for row in rows(path)] == [1, 2, 3, 4]


def test_entries_can_be_read_before_they_are_durable_and_unknown_ones_are_key_errors(path: Path) -> None:
    with ledger_at(path) as ledger:
        seq = ledger.append(NOW, Kind.FREEZE, {"why": "x"})
        assert ledger.body(seq) == {"why": "x"}
        assert ledger.entry(seq).kind == "freeze"
        with pytest.raises(KeyError):
            ledger.entry(seq + 1)


# --- one writer -----------------------------------------------------------------------------------


def test_a_second_ledger_on_the_same_file_is_refused_and_the_first_goes_on(path: Path) -> None:
    with ledger_at(path) as ledger:
        assert damage(path) == f"{path} is in use by another ca_signerd"
        code = (
            "import sys; from pathlib import Path; from signerd.ledger import Ledger;"
            " from tests.authorities import LEDGER_KEY; Ledger(Path(sys.argv[1]), LEDGER_KEY)"
        )
        done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=False)
        assert f"{path} is in use by another ca_signerd" in done.stderr
        ledger.append(NOW, Kind.FREEZE, {"why": ""})
        ledger.commit()
    with ledger_at(path) as ledger:
        assert ledger.head.seq == 1


def test_a_ledger_that_could_not_be_opened_leaves_no_lock_behind(path: Path) -> None:
    path.write_bytes(b"garbage" * 1000)
    damage(path)
    path.unlink()
    filled(path, 5)
    change(path, ("UPDATE entries SET body = x'80' WHERE seq = 5", ()))
    damage(path)
    path.unlink()
    with ledger_at(path) as ledger:
        assert ledger.head.seq == 0


# --- damage ---------------------------------------------------------------------------------------


def test_every_deleted_entry_is_found_at_the_start_but_for_a_cut_end(path: Path, tmp_path: Path) -> None:
    filled(path, 12)
    for seq in range(1, 12):
        copy = Path(shutil.copy(path, tmp_path / "copy.db"))
        change(copy, ("DELETE FROM entries WHERE seq = ?", (seq,)))
        assert "the ledger is damaged" in damage(copy), seq


def test_every_two_swapped_entries_are_found_at_the_start(path: Path, tmp_path: Path) -> None:
    filled(path, 9)
    for one, other in itertools.combinations(range(1, 10), 2):
        copy = Path(shutil.copy(path, tmp_path / "copy.db"))
        move = "UPDATE entries SET seq = ? WHERE seq = ?"
        change(copy, (move, (99, one)), (move, (one, other)), (move, (other, 99)))
        assert "the ledger is damaged" in damage(copy), (one, other)


def test_a_single_flipped_bit_in_any_field_is_found_at_the_start(path: Path, tmp_path: Path) -> None:
    filled(path, 8)
    chance = random.Random(5)  # noqa: S311 - which bits is no secret
    flips = 0
    for row in rows(path):
        for field, value in zip(("seq", "time", "kind", "body", "hash"), row, strict=True):
            for _ in range(6):
                flipped = flip(value, chance)
                copy = Path(shutil.copy(path, tmp_path / "copy.db"))
                change(copy, (f"UPDATE entries SET {field} = ? WHERE seq = ?", (flipped, row[0])))  # noqa: S608
                damage(copy)
                flips += 1
    assert flips == 8 * 5 * 6


def flip(value: Any, chance: random.Random) -> Any:
    """The value with one bit changed; for the seq one that is taken by no other entry."""
    if isinstance(value, int):
        return value ^ 1 << chance.randrange(20, 62)
    octets = bytearray(value.encode() if isinstance(value, str) else value)
    octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(7)
    return octets.decode() if isinstance(value, str) else bytes(octets)


def test_an_entry_that_somebody_added_is_found_at_the_start(path: Path) -> None:
    filled(path, 3)
    change(path, ("INSERT INTO entries VALUES (4, ?, 'thaw', x'80', zeroblob(32), NULL)", (NOW + 9,)))
    assert "entry 4 is not what was recorded" in damage(path)


def test_the_start_looks_at_the_last_entries_and_no_further_where_the_signer_left_it_so(
    path: Path, tmp_path: Path
) -> None:
    filled(path, TAIL + 44)
    shutil.copy(f"{path}.mark", tmp_path / "copy.db.mark")
    for seq, found in ((44, False), (45, True), (TAIL + 44, True)):
        copy = Path(shutil.copy(path, tmp_path / "copy.db"))
        change(copy, ("UPDATE entries SET body = x'80' WHERE seq = ?", (seq,)))
        if found:
            assert f"entry {seq} is not what was recorded" in damage(copy)
        else:
            with ledger_at(copy) as ledger:
                assert ledger.head.seq == TAIL + 44


def test_a_damaged_page_is_one_clear_line(path: Path) -> None:
    filled(path, 300)
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xff" * 8192)
        size = path.stat().st_size
        file.seek(size - 4096)
        file.write(b"\xff" * 4096)
    assert str(path) in damage(path)


# --- what is no ledger ----------------------------------------------------------------------------


def another_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE precious (x)")
        db.commit()


def a_newer_format(path: Path) -> None:
    filled(path, 1)
    change(path, ("PRAGMA user_version = 99", ()))


def without_our_mark(path: Path) -> None:
    filled(path, 1)
    change(path, ("PRAGMA application_id = 0", ()))


@pytest.mark.parametrize("make", [another_database, a_newer_format, without_our_mark])
def test_another_database_or_a_newer_ledger_is_refused_and_left_as_it_is(
    path: Path, make: Callable[[Path], None]
) -> None:
    make(path)
    before = path.read_bytes()
    assert damage(path) == f"{path} is no ledger of this version of signerd"
    assert path.read_bytes() == before


def test_garbage_is_refused_and_left_as_it_is(path: Path) -> None:
    for content in (b"xy", b"SQLite format 3\0", b"\0" * 4096, random.Random(1).randbytes(10_000)):  # noqa: S311
        path.write_bytes(content)
        assert str(path) in damage(path)
        assert path.read_bytes() == content


def test_a_path_that_cant_hold_a_ledger_is_one_clear_line(tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    assert "Is a directory" in damage(directory)
    assert "No such file or directory" in damage(tmp_path / "missing" / "ledger.db")
    (tmp_path / "linked.lock").symlink_to(tmp_path / "elsewhere")
    assert "linked.lock" in damage(tmp_path / "linked")


def test_an_empty_file_becomes_a_new_ledger(path: Path) -> None:
    path.touch()
    with ledger_at(path) as ledger:
        assert ledger.head.seq == 0


# --- durable --------------------------------------------------------------------------------------


def killed(code: str, path: Path) -> None:
    """Runs ``code`` with ``ledger`` in a process that ends by SIGKILL at its last line."""
    lines = ["import os, resource, signal, sys", "from pathlib import Path"]
    lines += ["from signerd.ledger import Kind, Ledger", "from tests.authorities import LEDGER_KEY"]
    lines += ["ledger = Ledger(Path(sys.argv[1]), LEDGER_KEY)"]
    lines += [code, "os.kill(os.getpid(), signal.SIGKILL)"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_what_was_committed_survives_sigkill_and_what_was_not_is_gone(path: Path) -> None:
    code = f"""
for number in range(50):
    ledger.append({NOW}, Kind.FREEZE, {{"why": str(number)}})
    if number % 10 == 9 and number < 45:
        ledger.commit()
"""
    killed(code, path)
    with ledger_at(path) as ledger:
        assert ledger.head.seq == 40
        assert ledger.body(40) == {"why": "39"}
        assert ledger.state("frozen") == "39"  # the index is of the same transaction


def test_an_orderly_end_makes_durable_what_waits(path: Path) -> None:
    with ledger_at(path) as ledger:
        ledger.append(NOW, Kind.FREEZE, {"why": "x"})
    assert len(rows(path)) == 1


def test_each_commit_asks_the_disk_to_keep_it(path: Path) -> None:
    with ledger_at(path) as ledger:
        assert ledger.query("PRAGMA journal_mode").fetchone() == ("wal",)
        assert ledger.query("PRAGMA synchronous").fetchone() == (2,)  # FULL: an fsync of the log per commit


# --- time -----------------------------------------------------------------------------------------


def test_the_time_never_falls(path: Path) -> None:
    with ledger_at(path) as ledger:
        for now in (NOW, NOW + 5, NOW - 100, NOW + 4, NOW + 6):
            ledger.append(now, Kind.FREEZE, {"why": ""})
    assert [row[1] for row in rows(path)] == [NOW, NOW + 5, NOW + 5, NOW + 5, NOW + 6]


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(-2, 130))
def test_the_first_entry_after_a_time_is_found(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], after: int
) -> None:
    times = [NOW + total for total in itertools.accumulate(steps)]
    with ledger_at(tmp_path_factory.mktemp("ledger") / "ledger.db") as ledger:
        for time in times:
            ledger.append(time, Kind.THAW, {"why": ""})
        expected = next((seq for seq, time in enumerate(times, 1) if time > NOW + after), len(times) + 1)
        assert ledger.times.first_after(NOW + after) == expected


def test_a_gap_before_the_checked_end_does_not_keep_a_time_from_being_found(path: Path) -> None:
    filled(path, TAIL + 100)
    change(path, ("DELETE FROM entries WHERE seq BETWEEN 20 AND 60", ()))
    with ledger_at(path) as ledger:
        assert ledger.times.first_after(NOW + 99) == 101
        assert 20 <= ledger.times.first_after(NOW + 30) <= 61


# --- the first failure is final -------------------------------------------------------------------

FILL_UP = f"""
used = max(Path(sys.argv[1] + suffix).stat().st_size for suffix in ("", "-wal"))
resource.setrlimit(resource.RLIMIT_FSIZE, (used + 200_000, resource.RLIM_INFINITY))
from protocol.errors import ErrorCode, Refused
durable = 0
def try_one(size):
    ledger.append({NOW}, Kind.FREEZE, {{"why": "x" * size}})
    ledger.commit()
try:
    while durable < 200:
        try_one(2000)
        durable += 1
except Refused as refused:
    refusal = refused
    assert refusal.code is ErrorCode.UNAVAILABLE, refusal
    assert "the ledger can't be written" in refusal.detail, refusal
else:
    raise SystemExit("it never failed")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for size in (1, 2000):
    try:
        try_one(size)
    except Refused as again:
        assert again.detail == refusal.detail
    else:
        raise SystemExit("it was written over a failure")
assert ledger.problem == refusal.detail
Path(sys.argv[1] + ".durable").write_text(str(durable))
"""


def test_the_first_write_that_the_system_refuses_is_final_until_a_restart(path: Path) -> None:
    """By a real limit on the size of files, which makes write(2) fail with EFBIG as a full disk does with ENOSPC."""
    killed(FILL_UP, path)
    durable = int(Path(f"{path}.durable").read_text())
    assert durable > 3
    with ledger_at(path) as ledger:
        assert ledger.head.seq == durable
        ledger.append(NOW, Kind.THAW, {"why": ""})
        ledger.commit()


def test_a_second_certificate_with_the_same_serial_number_is_refused_by_the_ledger(path: Path) -> None:
    body = {"what": "certificate", "serial": b"\x01", "client": "web1", "profile": "server", "subject": "", "shard": 0}
    body |= {"names": [], "not_before": NOW, "not_after": NOW, "spki": bytes(32), "idempotency_key": None}
    body |= {"proof_id": None, "to_be_signed": b""}
    with ledger_at(path) as ledger:
        ledger.append(NOW, Kind.INTENT, body)
        ledger.commit()
        ledger.append(NOW, Kind.INTENT, body)
        with pytest.raises(Refused, match="another certificate has the serial number"):
            ledger.commit()
        with pytest.raises(Refused):  # a generator that repeats itself is broken: nothing more is recorded
            ledger.append(NOW, Kind.THAW, {"why": ""})
    assert len(rows(path)) == 1
