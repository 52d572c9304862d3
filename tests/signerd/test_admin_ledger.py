"""ca_admin on the ledger as a whole: verify, checkpoint, backup, rebuild."""

import contextlib
import json
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from protocol.messages import IssueRequest
from signerd.commands.admin.verification import Checkpoint, Place, Stretch, verify_ledger
from tests.commands import Operator
from tests.csrs import csr_for, dns
from tests.running import Signer

CERTIFICATES = 30


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with Signer() as signer:
        issue(signer, CERTIFICATES)
        yield signer


@pytest.fixture
def operator(signer: Signer, tmp_path: Path) -> Operator:
    return Operator(signer.admin_path, tmp_path)


@pytest.fixture
def ca(signer: Signer) -> Path:
    return signer.identity / "ca.crt.pem"


def issue(signer: Signer, number: int) -> None:
    with contextlib.closing(signer.sign()) as client:
        for n in range(number):
            client.ask_issue(IssueRequest(csr=csr_for(dns(f"web{n}.example.net")), client="web1"))


def change(ledger: Path, sql: str) -> None:
    """Changes a ledger behind the signer's back."""
    with contextlib.closing(sqlite3.connect(ledger)) as db:
        db.execute("PRAGMA secure_delete = OFF")
        db.executescript(sql)


def problems(operator: Operator, *arguments: str | Path) -> list[str]:
    """What verify finds wrong: it ends with 1 if it is anything, and tells people the same."""
    done = operator.tries("--json", "verify", *arguments)
    verified = json.loads(done.stdout)
    found: list[str] = verified["problems"]
    assert (done.returncode, verified["ok"]) == ((1, False) if found else (0, True))
    told = operator.tries("verify", *arguments)
    assert told.returncode == done.returncode
    assert told.stdout.splitlines()[:-1] == found
    return found


# --- verify, of a running signer --------------------------------------------------------------------


def test_verify_of_a_sound_ledger_ends_with_0_and_names_its_head(signer: Signer, operator: Operator) -> None:
    verified, ledger = operator.gets("verify"), operator.gets("status")["ledger"]
    assert verified == {
        "ok": True, "entries": ledger["entries"], "head": ledger["head"], "problems": [], "checkpoints": 0,
        "certificate": verified["certificate"],
    }  # fmt: skip
    certificate = x509.load_pem_x509_certificate((signer.identity / "ca.crt.pem").read_bytes())
    assert verified["certificate"] == certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    line = f"{ledger['entries']} entries, head {ledger['head']}: nothing is wrong\n"
    assert operator.does("verify") == line


def test_verify_compares_with_every_checkpoint_that_a_file_holds(signer: Signer, operator: Operator) -> None:
    kept = operator.directory / "kept"
    statements = []
    for _ in range(3):
        statements.append(operator.does("checkpoint"))
        issue(signer, 1)
    kept.write_text("".join(statements))
    operator.does("checkpoint", "-o", "another")
    assert operator.gets("verify", "--checkpoint", kept, "--checkpoint", "another")["checkpoints"] == 4
    assert "nothing is wrong, by 4 checkpoints too" in operator.does(
        "verify", "--checkpoint", kept, "--checkpoint", "another"
    )


def test_verify_finds_an_entry_that_was_changed_under_a_running_signer(tmp_path: Path) -> None:
    with Signer() as signer:
        issue(signer, 3)
        operator = Operator(signer.admin_path, tmp_path)
        assert problems(operator) == []
        change(signer.ledger_path, "UPDATE entries SET body = x'80' WHERE seq = 4")
        assert any("entry 4 " in problem for problem in problems(operator))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "kept holds no checkpoint"),
        ("hello\n", "kept: this is no checkpoint of signerd"),
        ("signerd checkpoint 1\nissuer 00\n", "kept: this is no checkpoint of signerd"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_an_error(operator: Operator, content: str, complaint: str) -> None:
    (operator.directory / "kept").write_text(content)
    assert complaint in operator.fails("verify", "--checkpoint", "kept")


def test_a_checkpoint_that_was_tampered_with_is_an_error(operator: Operator) -> None:
    statement = operator.does("checkpoint")
    entry = next(line for line in statement.splitlines() if line.startswith("entry "))
    (operator.directory / "kept").write_text(statement.replace(entry, "entry 2"))
    assert "the checkpoint's signature is not by this CA's key" in operator.fails("verify", "--checkpoint", "kept")


# --- verify, of a file ------------------------------------------------------------------------------


def test_a_backup_verifies_without_a_signer(signer: Signer, operator: Operator, ca: Path) -> None:
    operator.does("checkpoint", "-o", "kept")
    operator.does("backup", "copy.db")
    alone = Operator("/nonexistent", operator.directory)
    assert problems(alone, "--ledger", "copy.db", "--checkpoint", "kept", "--certificate", ca) == []
    assert [path.name for path in operator.directory.glob("copy.db*")] == ["copy.db"]


SWAP = """
UPDATE entries SET seq = -9 WHERE seq = 9;
UPDATE entries SET seq = 9 WHERE seq = 10;
UPDATE entries SET seq = 10 WHERE seq = -9;
"""


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("UPDATE entries SET body = x'80' WHERE seq = 9", "entry 9 "),
        ("UPDATE entries SET time = time - 1 WHERE seq = 9", "entry 9 "),
        ("UPDATE entries SET kind = CAST(x'ff' AS TEXT) WHERE seq = 9", "entry 9 "),
        ("DELETE FROM entries WHERE seq = 9", "entry 9 is missing"),
        (SWAP, "entry 9 "),
        ("UPDATE certificates SET revoked_at = 1 WHERE seq = (SELECT max(seq) FROM certificates)", "certificate"),
    ],
)
def test_verify_finds_what_was_changed_in_a_file(operator: Operator, sql: str, found: str) -> None:
    operator.does("backup", "copy.db")
    change(operator.directory / "copy.db", sql)
    assert any(found in problem for problem in problems(operator, "--ledger", "copy.db"))


def test_a_cut_off_tail_is_found_by_a_checkpoint_that_was_kept(operator: Operator, ca: Path) -> None:
    statement = json.loads(operator.does("--json", "checkpoint"))
    (operator.directory / "kept").write_text(statement["checkpoint"])
    operator.does("backup", "copy.db")
    last = statement["entry"] - 1
    change(operator.directory / "copy.db", f"DELETE FROM entries WHERE seq > {last:d}")  # noqa: S608 - a number
    found = problems(operator, "--ledger", "copy.db", "--checkpoint", "kept", "--certificate", ca)
    assert any(f"kept: there was an entry {last + 1}, and the ledger ends at entry {last}" in one for one in found)


def test_an_older_ledger_in_the_place_of_the_last_is_found_by_a_checkpoint(
    signer: Signer, operator: Operator, ca: Path
) -> None:
    operator.does("backup", "old.db")
    issue(signer, 2)
    operator.does("checkpoint", "-o", "kept")
    assert problems(operator, "--ledger", "old.db") == []
    (found,) = problems(operator, "--ledger", "old.db", "--checkpoint", "kept", "--certificate", ca)
    assert "an older ledger put in its place" in found


def test_the_ledger_of_another_ca_is_found_by_a_checkpoint(operator: Operator, ca: Path, tmp_path: Path) -> None:
    operator.does("checkpoint", "-o", "kept")
    with Signer() as other:
        issue(other, CERTIFICATES * 2)
        Operator(other.admin_path, tmp_path).does("backup", "other.db")
    found = problems(operator, "--ledger", "other.db", "--checkpoint", "kept", "--certificate", ca)
    assert any("had another hash" in problem for problem in found)


def test_the_ledger_of_a_signer_that_was_killed_verifies_with_its_write_ahead_log(tmp_path: Path) -> None:
    with Signer() as signer:
        issue(signer, 5)
        signer.kill()
        files = {path.name for path in signer.state.glob("ledger.db*")}
        assert "ledger.db-wal" in files
        verified = Operator("/nonexistent", tmp_path).gets("verify", "--ledger", signer.ledger_path)
        assert verified["ok"] is True
        assert verified["entries"] > 10


@pytest.mark.parametrize("content", [b"", b"hello\n" * 1000, None])
def test_a_file_that_is_no_ledger_is_an_error(operator: Operator, content: bytes | None) -> None:
    path = operator.directory / "x.db"
    if content is None:
        change(path, "CREATE TABLE something (other)")
    else:
        path.write_bytes(content)
    done = operator.tries("verify", "--ledger", path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_ledger_or_a_certificate_that_is_not_there_is_named(operator: Operator, ca: Path) -> None:
    assert "missing.db: No such file" in operator.fails("verify", "--ledger", "missing.db")
    operator.does("backup", "copy.db")
    arguments = ("verify", "--ledger", "copy.db", "--checkpoint", "missing", "--certificate")
    assert "missing: No such file" in operator.fails(*arguments, ca)
    assert "copy.db: " in operator.fails(*arguments, "copy.db")


# --- the walk along the chain, with any ledger ------------------------------------------------------


def walk(length: int, *checkpoints: Place, missing: frozenset[int] = frozenset()) -> tuple[list[int], list[str]]:
    """The ends of the stretches of a ledger whose entry N has the hash N, and what was found."""
    entries = [seq for seq in range(1, length + 1) if seq not in missing]
    ends: list[int] = []

    def check_stretch(before: Place, limit: int) -> Stretch:
        assert limit > 0
        rows = [seq for seq in entries if seq > before.seq][:limit]
        end = rows[-1] if rows else before.seq
        ends.append(end)
        return Stretch(place(end), length, ())

    outcome = verify_ledger(check_stretch, [Checkpoint("kept", one) for one in checkpoints], lambda done, total: None)
    return ends, outcome.problems


def place(seq: int) -> Place:
    return Place(seq, seq.to_bytes(32))


def test_stretches_end_at_each_checkpoint() -> None:
    assert walk(2500, place(1700), place(3), place(3)) == ([3, 1003, 1700, 2500], [])
    assert walk(0) == ([0], [])
    assert walk(1000) == ([1000], [])


def test_a_checkpoint_s_entry_that_is_missing_is_found() -> None:
    assert walk(10, place(5), missing=frozenset({5}))[1] == ["kept: entry 5 is missing"]


def test_a_checkpoint_with_another_hash_is_found() -> None:
    (problem,) = walk(10, Place(5, bytes(32)))[1]
    assert problem.startswith("kept: entry 5 had another hash")


def test_entries_that_the_signer_recorded_and_the_file_has_lost_are_found() -> None:
    assert walk(10, missing=frozenset({9, 10}))[1] == ["the last entry is 8, but the signer has recorded 10"]


# --- checkpoint -------------------------------------------------------------------------------------


def test_a_checkpoint_states_the_head_and_is_written_whole(operator: Operator) -> None:
    head = operator.gets("status")["ledger"]
    stated = operator.gets("checkpoint")
    assert (stated["entry"], stated["hash"]) == (head["entries"], head["head"])
    assert stated["checkpoint"].startswith("signerd checkpoint 1\n")
    assert operator.does("checkpoint", "-o", "kept") == ""
    assert stat.S_IMODE((operator.directory / "kept").stat().st_mode) == 0o644


def test_a_checkpoint_is_not_replaced_unasked(operator: Operator) -> None:
    kept = operator.directory / "kept"
    kept.write_text("the one before\n")
    assert "kept exists, and was left as it is: say --yes" in operator.fails("checkpoint", "-o", "kept")
    with operator.sits_at("checkpoint", "-o", "kept") as terminal:
        terminal.answer("kept exists. Replace it? [y/N]: ", "n")
        assert terminal.status() == 1
    assert kept.read_text() == "the one before\n"
    operator.does("checkpoint", "-o", "kept", "--yes")
    assert kept.read_text().startswith("signerd checkpoint 1\n")


# --- backup -----------------------------------------------------------------------------------------


def test_a_backup_is_private_and_whole(operator: Operator) -> None:
    size = operator.gets("backup", "copy.db")["bytes"]
    copy = operator.directory / "copy.db"
    assert copy.stat().st_size == size
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [path.name for path in operator.directory.iterdir()] == ["copy.db"]


def test_a_backup_is_not_replaced_unasked(operator: Operator) -> None:
    copy = operator.directory / "copy.db"
    copy.write_bytes(b"the one before")
    assert "copy.db exists, and was left as it is: say --yes" in operator.fails("backup", "copy.db")
    with operator.sits_at("backup", "copy.db") as terminal:
        terminal.answer("copy.db exists. Replace it? [y/N]: ", "n")
        assert terminal.status() == 1
    assert copy.read_bytes() == b"the one before"
    assert operator.does("backup", "copy.db", "--yes").startswith("wrote copy.db, ")
    assert copy.read_bytes().startswith(b"SQLite format 3\0")


def test_a_backup_that_can_t_be_written_leaves_nothing(operator: Operator) -> None:
    assert "No such file or directory" in operator.fails("backup", "missing/copy.db")
    assert "is no regular file" in operator.fails("backup", ".")
    assert list(operator.directory.iterdir()) == []


def test_a_ledger_restored_from_a_backup_taken_under_load_goes_on(tmp_path: Path) -> None:
    with Signer() as signer:
        operator = Operator(signer.admin_path, tmp_path)
        issue(signer, 200)
        load = threading.Thread(target=issue, args=(signer, 300))
        load.start()
        operator.does("backup", "copy.db")
        load.join()
        in_copy = serials(tmp_path / "copy.db")
        assert 200 <= len(in_copy) <= 500
        assert problems(operator, "--ledger", "copy.db") == []
        assert signer.stop() == 0
        for path in filter(Path.is_file, signer.state.glob("ledger.db*")):
            path.unlink()
        shutil.copy(tmp_path / "copy.db", signer.ledger_path)
        signer.start()
        issue(signer, 50)
        assert problems(operator) == []
        issued = [row["serial"] for row in operator.gets("list")]
        assert set(in_copy) < set(issued)
        assert len(issued) == len(set(issued)) == len(in_copy) + 50


def serials(ledger: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro&immutable=1", uri=True)) as db:
        return [serial.hex() for (serial,) in db.execute("SELECT serial FROM certificates")]


# --- rebuild ----------------------------------------------------------------------------------------


@pytest.fixture
def copy(operator: Operator, tmp_path: Path) -> Path:
    operator.does("backup", "copy.db")
    return tmp_path / "copy.db"


def test_an_index_that_was_changed_is_made_anew(operator: Operator, copy: Path) -> None:
    change(copy, "UPDATE certificates SET not_after = not_after + 1")
    assert problems(operator, "--ledger", copy)
    entries = operator.gets("rebuild", copy, "anew.db")["entries"]
    assert operator.gets("verify", "--ledger", "anew.db")["entries"] == entries > CERTIFICATES
    assert problems(operator, "--ledger", "anew.db") == []
    assert stat.S_IMODE(copy.with_name("anew.db").stat().st_mode) == 0o600


def test_what_can_not_be_made_anew_is_said_and_nothing_is_written(operator: Operator, copy: Path) -> None:
    (copy.parent / "precious").write_text("precious")
    (copy.parent / "text").write_text("no ledger" * 1000)
    change(copy.parent / "other.db", "CREATE TABLE precious (x)")
    change(copy, "UPDATE entries SET body = x'80' WHERE seq = 3")
    before = sorted(copy.parent.iterdir())
    for arguments, why in (
        (
            (copy, "anew.db"),
            "copy.db: entry 3 is not what was recorded, or does not follow entry 2; nothing was written",
        ),
        (("text", "anew.db"), "text: file is not a database; nothing was written"),
        (("other.db", "anew.db"), "other.db: it is no ledger of this version of signerd; nothing was written"),
        (("missing", "anew.db"), "No such file"),
        ((copy, "precious"), "precious exists, and was left as it is"),
        ((copy, "missing/anew.db"), "No such file"),
    ):
        done = operator.tries("rebuild", *arguments)
        assert done.returncode == 1
        assert why in done.stderr
    assert sorted(copy.parent.iterdir()) == before
    assert (copy.parent / "precious").read_text() == "precious"


def test_the_ledger_of_a_signer_that_runs_is_not_made_anew(signer: Signer, operator: Operator, tmp_path: Path) -> None:
    done = operator.tries("rebuild", signer.ledger_path, "anew.db")
    assert (done.returncode, "is in use by a signer" in done.stderr) == (1, True)
    assert not (tmp_path / "anew.db").exists()


# --- passphrase ---------------------------------------------------------------------------------------


def test_a_new_passphrase_that_nobody_can_be_asked_for_is_missed_by_its_own_option(
    signer: Signer, operator: Operator
) -> None:
    arguments = ("--config", signer.config, "--passphrase-file", signer.passphrase_path)
    said = operator.fails("passphrase", *arguments, status=2)
    assert "say --new-passphrase-file, as there is no terminal to ask on" in " ".join(said.split())
