"""Whatever is done to the ledger's file, its verification says so, and raises nothing."""

import contextlib
import itertools
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.errors import ConfigurationError
from protocol.wire import pack
from signerd.checkpoint import read_checkpoint
from signerd.ledger import Entry, Head, Ledger
from signerd.ledger.chain import GENESIS, link
from signerd.ledger.ledger_key import LedgerKey
from signerd.ledger.verify import STRETCH_ENTRIES_MAX, LedgerFile, verify_stretch
from signerd.trust import CaTrust
from tests.authorities import LEDGER_KEY, ca_of, local_authority
from tests.edited_ledgers import (
    BUSY_POLICY,
    busy_ledger,
    checkpoint,
    editing,
    flipped,
    issue,
    problems_of,
    problems_online,
    trust_of,
)
from tests.identities import NOW

Damage = Callable[[sqlite3.Connection, random.Random], None]
ENTRIES = "SELECT seq, time, kind, body, hash, signature FROM entries ORDER BY seq"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger in which everything occurs; not to be changed."""
    return busy_ledger(tmp_path_factory.mktemp("ledger"))


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(original, tmp_path / "ledger.db"))


def change(path: Path, sql: str, *parameters: Any) -> None:
    """Changes the file; fails if nothing changed."""
    with editing(path) as db:
        assert db.execute(sql, parameters).rowcount > 0, sql


def found_in(db: sqlite3.Connection, stretch: int = 1000) -> list[str]:
    """What the running signer's check finds."""
    head, before, last = GENESIS, None, 0
    with contextlib.suppress(sqlite3.Error):
        (last,) = db.execute("SELECT max(seq) FROM entries").fetchone()
    found: list[str] = []
    while head != before:
        before = head
        end = verify_stretch(db, Head(head.seq, 0, head.hash), stretch, CaTrust(ca_of("p256")[0]), last)
        found += end.problems
        head = end.head
    return found


def both(path: Path) -> tuple[list[str], list[str]]:
    """What the check of a file finds, and what that of the running signer finds."""
    with editing(path) as db:
        return problems_of(path), found_in(db)


# --- nothing wrong --------------------------------------------------------------------------------


def test_a_ledger_in_which_everything_occurs_is_found_in_order(path: Path) -> None:
    assert both(path) == ([], [])


@pytest.mark.parametrize("stretch", [1, 7, 1000])
def test_stretches_of_any_length_find_the_same(path: Path, stretch: int) -> None:
    change(path, "UPDATE certificates SET revoked_at = NULL, reason = NULL WHERE reason = 'keyCompromise'")
    change(path, "UPDATE entries SET body = x'80' WHERE seq = 3")
    offline = problems_of(path, stretch)
    assert len(offline) == 4, offline
    with editing(path) as db:
        online = found_in(db, stretch)
    assert len(online) == 4, online


def test_an_empty_ledger_is_found_in_order(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.db", LEDGER_KEY).close()
    assert both(tmp_path / "ledger.db") == ([], [])


def test_a_stretch_of_the_running_signer_is_bounded_whatever_is_asked_for(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        for number in range(STRETCH_ENTRIES_MAX):
            local.authority.freeze(f"{number}", local.now)
        assert local.ledger.verify_stretch(GENESIS, 5000, local.authority.trust).head.seq == STRETCH_ENTRIES_MAX
        assert problems_online(local) == []


# --- entries --------------------------------------------------------------------------------------


def test_each_of_1000_random_flips_deletions_swaps_and_insertions_of_entries_is_found(path: Path) -> None:
    chance = random.Random(3)  # noqa: S311 - which entries is no secret
    with editing(path) as db:
        (last,) = db.execute("SELECT max(seq) FROM entries").fetchone()
        rows = db.execute(ENTRIES).fetchall()
        for _ in range(1000):
            db.execute("BEGIN")
            what = chance.choice((flip, flip, delete, swap, insert))(db, rows, chance)
            assert found_in(db), what
            db.execute("ROLLBACK")
        assert found_in(db) == []
    assert last == len(rows)


def flip(db: sqlite3.Connection, rows: list[tuple[Any, ...]], chance: random.Random) -> str:
    field = chance.randrange(6)
    column = ("seq", "time", "kind", "body", "hash", "signature")[field]
    row = chance.choice([row for row in rows if row[field] is not None])
    value = flipped(row[field], chance)
    if isinstance(value, str):  # a flipped bit need not leave UTF-8
        db.execute(
            "UPDATE entries SET kind = CAST(? AS TEXT) WHERE seq = ?", (value.encode(errors="surrogateescape"), row[0])
        )
    else:
        taken = column == "seq" and any(value == other[0] for other in rows)
        value = -1 - value if taken else value  # one more bit
        db.execute(f"UPDATE entries SET {column} = ? WHERE seq = ?", (value, row[0]))  # noqa: S608
    return f"{column} of entry {row[0]} is {value!r}"


def delete(db: sqlite3.Connection, rows: list[tuple[Any, ...]], chance: random.Random) -> str:
    row = chance.choice(rows[:-1])  # that the last is gone shows only against a checkpoint
    db.execute("DELETE FROM entries WHERE seq = ?", (row[0],))
    return f"entry {row[0]} is gone"


def swap(db: sqlite3.Connection, rows: list[tuple[Any, ...]], chance: random.Random) -> str:
    one, other = chance.sample(rows, 2)
    move = "UPDATE entries SET time = ?, kind = ?, body = ?, hash = ?, signature = ? WHERE seq = ?"
    db.executemany(move, [(*one[1:], other[0]), (*other[1:], one[0])])
    return f"entries {one[0]} and {other[0]} are swapped"


def insert(db: sqlite3.Connection, rows: list[tuple[Any, ...]], chance: random.Random) -> str:
    seq = chance.choice((0, -1, len(rows) + 1, len(rows) + 2, -(2**63), 2**63 - 1))
    db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", (seq, *chance.choice(rows)[1:]))
    return f"there is an entry {seq}"


@pytest.mark.parametrize("seq", ["first", "middle"])
def test_a_deleted_entry_is_named(path: Path, seq: str) -> None:
    number = {"first": 1, "middle": 30}[seq]
    change(path, "DELETE FROM entries WHERE seq = ?", number)
    for found in both(path):
        assert f"entry {number} is missing: {number + 1} follows {number - 1}" in found


def test_every_break_is_found_and_not_only_the_first(path: Path) -> None:
    for seq in (2, 20, 40):
        change(path, "UPDATE entries SET time = time + 1 WHERE seq = ?", seq)
    wanted = [f"entry {seq} is not what was recorded, or does not follow entry {seq - 1}" for seq in (2, 20, 40)]
    for found in both(path):
        assert [problem for problem in found if "not what was recorded" in problem] == wanted


# --- entries whose hashes somebody made anew ------------------------------------------------------


def rechained(path: Path, seq: int, *, key: LedgerKey | None = LEDGER_KEY, **changed: Any) -> None:
    """Puts other values into an entry, and makes all hashes from there on anew: the chain is whole again. So are the
    signatures, by whoever has the ``key``."""
    with editing(path) as db:
        head = GENESIS
        for row in db.execute(ENTRIES).fetchall():
            entry = Entry(*row)
            wanted = entry._replace(**changed) if entry.seq == seq else entry
            linked = link(head, wanted.time, wanted.kind, wanted.body)
            signature = entry.signature and key and key.sign_head(linked.head)
            values = (*linked[1:5], signature or entry.signature, row[0])
            db.execute("UPDATE entries SET time = ?, kind = ?, body = ?, hash = ?, signature = ? WHERE seq = ?", values)
            head = linked.head


UNDERIVED = {"start", "refused", "backup", "thaw"}  # from what these say nothing is derived
HOSTILE_BODIES: list[bytes] = [
    b"",
    b"\xc1",
    b"\x90",
    b"\x01",
    b"\xc0",
    pack({}),
    pack({"what": "certificate"}),
    pack({"what": None, "scope": []}),
    pack({"what": "crl", "scope": 2**64 - 1, "number": -1, "this_update": None, "next_update": b""}),
    pack({"what": "certificate", "not_after": "tomorrow", "names": 7, "serial": [1]}),
    pack({"intent": 2**64 - 1, "signature": None}),
    pack({"intent": {"a": 1}}),
    pack({"certificates": [2**63, None, "x", -1], "shards": [{}], "reason": 5, "then": "never"}),
    pack({"certificates": 5, "shards": None}),
    pack({"why": ["no"]}),
    pack({"why": 2**64 - 1}),
    pack({"not_after": 2**64 - 1, "seq": 2**64 - 1}),
    pack({"not_after": None, "seq": b"\xff"}),
    pack({"hash": 1, "base_url": {"x": 1}}),
    b"\x82\xa1a\x01\xa1a\x02",  # the same key twice
    b"\x81\xa1a" + b"\x91" * 100_000,
    b"\xdf\xff\xff\xff\xff",
    b"\x81\xa4what\xc7\x01\x05x",
    b"\x81\xa4what\xd6\xff\x00\x00\x00\x00",  # a timestamp
    b"\x81\xc4\x04what\x01",
]


@pytest.mark.parametrize("body", HOSTILE_BODIES, ids=range(len(HOSTILE_BODIES)))
def test_an_entry_that_says_nonsense_raises_nothing_and_is_found(original: Path, tmp_path: Path, body: bytes) -> None:
    with editing(original) as db:
        kinds = dict(db.execute("SELECT kind, max(seq) FROM entries GROUP BY kind"))
    for kind, seq in kinds.items():
        copy = Path(shutil.copy(original, tmp_path / "copy.db"))
        rechained(copy, seq, body=body)
        offline, online = both(copy)
        assert bool(offline) == bool(online), (kind, offline, online)
        assert offline or kind in UNDERIVED, (kind, body)


def test_an_entry_of_an_unknown_kind_or_an_absurd_time_raises_nothing(original: Path, tmp_path: Path) -> None:
    for changed in ({"kind": "no such"}, {"kind": ""}, {"kind": "ü" * 100}, {"time": 2**63 - 1}, {"time": 0}):
        copy = Path(shutil.copy(original, tmp_path / "copy.db"))
        rechained(copy, 17, **changed)
        offline, online = both(copy)
        assert offline
        assert online


def test_a_history_that_somebody_without_the_ledger_key_rewrote_is_found(path: Path) -> None:
    rechained(path, 17, key=None, time=NOW + 1)
    for found in both(path):
        assert any("is not by the ledger key" in problem for problem in found), found


def test_a_history_signed_by_another_key_than_the_ca_states_is_found(path: Path) -> None:
    rechained(path, 17, key=LedgerKey(Ed25519PrivateKey.generate()), time=NOW + 1)
    for found in both(path):
        assert any("the signature at entry 1 is not by the ledger key" in problem for problem in found), found


def test_an_end_that_is_not_signed_is_found(path: Path) -> None:
    with editing(path) as db:
        *_, last = (Entry(*row) for row in db.execute(ENTRIES).fetchall())
        added = link(last.head, last.time, "freeze", pack({"why": "because"}))
        db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", added)
    for found in both(path):
        assert f"entry {added.seq}, the last, is not signed by the ledger key" in found


def test_a_rewritten_history_whose_hashes_are_right_is_found_against_a_checkpoint(tmp_path: Path) -> None:
    ca, _ = ca_of("p256")
    with local_authority(tmp_path) as local:
        issue(local, "one")
        statement = checkpoint(local)
        issue(local, "two")
    rechained(local.ledger_path, 3, time=NOW - 1, kind="clock")
    assert problems_of(local.ledger_path) == []
    stated = read_checkpoint(statement, ca)
    with contextlib.closing(LedgerFile(local.ledger_path, local.authority.trust)) as file:
        assert file.check_next(stated.seq).head.hash != stated.hash


# --- columns and files of another kind ------------------------------------------------------------


def test_values_of_another_type_raise_nothing_and_are_found(original: Path, tmp_path: Path) -> None:
    values: tuple[Any, ...] = (
        None,
        -1,
        2**63 - 1,
        1.5,
        float("inf"),
        "text",
        "\ud800".encode(errors="surrogatepass"),
        b"",
        b"x" * 100_000,
    )
    for column, value in itertools.product(("time", "kind", "body", "hash"), values):
        copy = Path(shutil.copy(original, tmp_path / "copy.db"))
        with editing(copy) as db:
            loosen(db)
            db.execute(f"UPDATE entries SET {column} = ? WHERE seq = 20", (value,))  # noqa: S608
        offline, online = both(copy)
        assert offline
        assert online


def loosen(db: sqlite3.Connection) -> None:
    """Takes the checks of types off the entries, as somebody who edits the file can."""
    db.execute("PRAGMA writable_schema = ON")
    db.execute(
        "UPDATE sqlite_schema SET sql = replace(replace(sql, 'STRICT', ''), 'NOT NULL', '') WHERE name = 'entries'"
    )
    db.execute("PRAGMA writable_schema = RESET")


def test_text_that_is_no_utf_8_raises_nothing_and_is_found(original: Path, tmp_path: Path) -> None:
    for table, column in (
        *(("entries", "kind"), ("certificates", "client"), ("certificates", "subject"), ("certificates", "reason")),
        *(("names", "name"), ("state", "value"), ("state", "name"), ("base_urls", "url")),
    ):
        copy = Path(shutil.copy(original, tmp_path / "copy.db"))
        spoil = f"UPDATE {table} SET {column} = CAST(x'ff' || {column} AS TEXT)"  # noqa: S608
        change(copy, f"{spoil} WHERE seq IN (SELECT seq FROM {table} WHERE {column} IS NOT NULL LIMIT 1)")  # noqa: S608
        offline, online = both(copy)
        assert offline, (table, column)
        assert online, (table, column)


SCHEMA_CHANGES = [
    "CREATE TRIGGER mercy AFTER UPDATE ON certificates BEGIN UPDATE certificates SET revoked_at = NULL; END",
    "CREATE TABLE more (x)",
    "CREATE VIEW seen AS SELECT * FROM certificates",
    "DROP INDEX certificates_revoked",
    "DROP TABLE names",
    "ALTER TABLE certificates ADD COLUMN more TEXT",
    "PRAGMA user_version = 99",
    "DROP TABLE entries",
]


@pytest.mark.parametrize("sql", SCHEMA_CHANGES)
def test_a_file_with_other_tables_indexes_or_triggers_is_found(path: Path, sql: str) -> None:
    with editing(path) as db:
        db.execute(sql)
    offline, online = both(path)
    assert any("the file is no ledger" in problem for problem in offline), offline
    assert any("the file is no ledger" in problem for problem in online), online


def test_statistics_that_somebody_had_sqlite_make_are_no_problem(path: Path) -> None:
    with editing(path) as db:
        db.execute("ANALYZE")
    assert problems_of(path) == []


def test_flipped_bits_anywhere_in_the_file_raise_nothing_and_no_changed_entry_is_missed(
    original: Path, tmp_path: Path
) -> None:
    chance = random.Random(11)  # noqa: S311
    content, missed = original.read_bytes(), 0
    with editing(original) as db:
        before = everything(db)
    for number in range(150):
        copy = tmp_path / f"{number}.db"
        octets = bytearray(content)
        for _ in range(chance.choice((1, 1, 8))):
            octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
        copy.write_bytes(octets)
        try:
            found = problems_of(copy)
        except sqlite3.DatabaseError:  # not even a database any more: said at the opening
            continue
        if not found:
            missed += 1
            with editing(copy) as db:
                assert everything(db) == before
        copy.unlink()
    assert missed < 110  # more than half of the file's pages is unused


def everything(db: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    tables = [
        name
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite*'")
    ]
    return {table: sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in tables}  # noqa: S608


def test_a_schema_whose_error_python_can_not_even_decode_is_said_in_words(path: Path) -> None:
    with editing(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET name = CAST(x'ff6e' AS TEXT), sql = 'CREATE' WHERE name = 'names'")
    with pytest.raises(sqlite3.DatabaseError, match="its schema is damaged"):
        LedgerFile(path, trust_of(path))
    with pytest.raises(ConfigurationError, match="not a usable ledger"):
        Ledger(path, LEDGER_KEY)


def test_a_table_whose_name_is_no_text_is_said_in_words(path: Path) -> None:
    with editing(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET name = CAST(name AS BLOB), sql = NULL WHERE name = 'names_seq'")
    with contextlib.suppress(sqlite3.DatabaseError):
        assert any("is no ledger" in problem for problem in problems_of(path))
    with pytest.raises(ConfigurationError):
        Ledger(path, LEDGER_KEY)


def test_a_file_that_is_cut_in_the_middle_raises_nothing_and_is_found(original: Path, tmp_path: Path) -> None:
    content = original.read_bytes()
    for pages in range(1, len(content) // 4096):
        copy = tmp_path / f"{pages}.db"
        copy.write_bytes(content[: pages * 4096])
        with contextlib.suppress(sqlite3.DatabaseError):
            assert problems_of(copy), pages


def test_what_can_not_be_opened_or_is_no_database_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LedgerFile(tmp_path / "none.db", trust_of(tmp_path / "none.db"))
    (tmp_path / "text.db").write_bytes(b"hello, world\n" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        LedgerFile(tmp_path / "text.db", trust_of(tmp_path / "text.db"))
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db", isolation_level=None)) as db:
        db.execute("CREATE TABLE precious (x)")
    assert problems_of(tmp_path / "other.db") == ["the file is no ledger of this version of signerd"]


def test_verifying_a_file_changes_nothing_and_leaves_nothing_beside_it(path: Path) -> None:
    before = path.read_bytes()
    problems_of(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["ledger.db"]


def test_what_is_still_in_the_write_ahead_log_of_a_stopped_ledger_is_verified_too(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        issue(local, "one")
        local.ledger.settle()
        entries = local.ledger.head.seq
        copies = [Path(shutil.copy(f"{local.ledger_path}{end}", tmp_path / f"copy.db{end}")) for end in ("", "-wal")]
    with contextlib.closing(LedgerFile(copies[0], trust_of(copies[0]))) as file:
        assert file.entries == entries
    assert problems_of(copies[0]) == []


# --- the index ------------------------------------------------------------------------------------

UNREVOKE = "UPDATE certificates SET revoked_at = NULL, reason = NULL"
REVOKE = "UPDATE certificates SET revoked_at = recorded_at, reason = 'superseded'"
RELEASE = "(SELECT seq FROM entries WHERE kind = 'released')"
ATTACKS = {
    "a revocation taken back": f"{UNREVOKE} WHERE reason = 'keyCompromise'",
    "a revocation whose entry is forgotten too": f"{UNREVOKE}, changed = NULL WHERE reason = 'keyCompromise'",
    "a revocation that says it was released": f"{UNREVOKE}, changed = {RELEASE} WHERE reason = 'keyCompromise'",
    "another reason": "UPDATE certificates SET reason = 'certificateHold' WHERE reason = 'keyCompromise'",
    "a later revocation": "UPDATE certificates SET revoked_at = revoked_at + 999 WHERE reason = 'keyCompromise'",
    "a hold taken back": f"{UNREVOKE} WHERE reason = 'certificateHold'",
    "a certificate revoked by nobody": f"{REVOKE} WHERE revoked_at IS NULL",
    "a released certificate revoked": f"{REVOKE} WHERE changed = {RELEASE}",
    "a blocked key forgotten": "DELETE FROM blocked_keys WHERE blocked",
    "an unblocking forgotten": "DELETE FROM blocked_keys WHERE NOT blocked",
    "a blocked key that no longer is": "UPDATE blocked_keys SET blocked = 0",
    "a key that nobody blocked": "UPDATE blocked_keys SET spki = zeroblob(32) WHERE blocked",
    "a key blocked by another entry": "INSERT INTO blocked_keys VALUES (zeroblob(32), 1, 3)",
    "a row dropped": "DELETE FROM certificates WHERE client = 'web1'",
    "a row without an entry": "UPDATE certificates SET seq = 999 WHERE client = 'greedy' AND of_client = 12",
    "a row of an entry of another kind": "UPDATE certificates SET seq = 1 WHERE client = 'greedy' AND of_client = 12",
    "a row before the first entry": "UPDATE certificates SET seq = -5 WHERE client = 'greedy' AND of_client = 12",
    "another serial number": "UPDATE certificates SET serial = x'0102030405' WHERE client = 'web2' AND of_client = 1",
    "a later end": "UPDATE certificates SET not_after = not_after + 86400 * 365 WHERE client = 'web0'",
    "another client": "UPDATE certificates SET client = 'mallory' WHERE client = 'web0' AND of_client = 1",
    "another key": "UPDATE certificates SET spki = zeroblob(32) WHERE client = 'web1'",
    "another time": "UPDATE certificates SET recorded_at = recorded_at - 86400",
    "a used idempotency key forgotten": "UPDATE certificates SET idempotency_key = NULL",
    "a proof that was not used": "UPDATE certificates SET proof_id = x'00' WHERE client = 'web2' AND of_client = 1",
    "numbers that a quota counts fewer by": "UPDATE certificates SET of_client = 1 WHERE client = 'greedy'",
    "bytes that a quota counts fewer by": "UPDATE certificates SET bytes_until = 1 WHERE client = 'greedy'",
    "a certificate that takes no bytes": "UPDATE certificates SET bytes = 0 WHERE client = 'greedy'",
    "one number fewer": "UPDATE certificates SET of_all = of_all - 1 WHERE client = 'greedy' AND of_client > 5",
    "a signature forgotten": "UPDATE certificates SET issued = NULL WHERE client = 'web1'",
    "another's signature": "UPDATE certificates SET issued = issued + 2 WHERE client = 'web1'",
    "a name dropped": "DELETE FROM names WHERE name = 'dns:host5.example.net'",
    "a name added": "INSERT INTO names SELECT 'dns:bank.example', max(seq) FROM certificates",
    "a name changed": "UPDATE names SET name = 'dns:other.example.net' WHERE name = 'dns:host5.example.net'",
    "a name of no certificate": "INSERT INTO names VALUES ('dns:bank.example', 2)",
    "a pruned certificate dropped": "DELETE FROM pruned WHERE changed IS NULL",
    "a pruned certificate's serial number": "UPDATE pruned SET serial = x'77' WHERE changed IS NOT NULL",
    "a pruned certificate's revocation": "UPDATE pruned SET changed = NULL WHERE changed IS NOT NULL",
    "more pruned than was": "UPDATE state SET value = '9999999999 9999' WHERE name = 'pruned'",
    "pruning forgotten": "DELETE FROM state WHERE name = 'pruned'",
    "thawed by nobody": "DELETE FROM state WHERE name = 'frozen'",
    "frozen for another reason": "UPDATE state SET value = 'a joke' WHERE name = 'frozen'",
    "a thaw forgotten": "DELETE FROM state WHERE name = 'thawed'",
    "another CRL": "UPDATE crls SET number = number + 1",
    "a CRL that lasts for ever": "UPDATE crls SET next_update = next_update + 999999999",
    "a CRL forgotten": "DELETE FROM crls",
    "an unsigned CRL": "UPDATE crls SET issued = NULL",
    "a base URL forgotten": "DELETE FROM base_urls",
    "a base URL of nobody's": "INSERT INTO base_urls VALUES ('http://evil.example', 2)",
    "a certificate that was signed": "UPDATE certificates SET issued = NULL WHERE issued > 0",
    "another ledger key": "UPDATE ledger_keys SET key = zeroblob(32)",
    "a ledger key's statement that was signed": "UPDATE ledger_keys SET issued = NULL",
    "a ledger key forgotten": "DELETE FROM ledger_keys",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_index_that_somebody_edited_is_found_by_the_running_signer_and_in_the_file(path: Path, attack: str) -> None:
    change(path, ATTACKS[attack])
    offline, online = both(path)
    assert offline
    assert online


def test_a_table_whose_own_index_was_damaged_is_found_in_the_file(path: Path) -> None:
    with editing(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        sql = "CREATE INDEX certificates_revoked ON certificates (shard, seq) WHERE revoked_at IS NOT NULL"
        narrowed = sql.replace("NOT NULL", "NOT NULL AND reason = 'superseded'")
        db.execute("DELETE FROM sqlite_schema WHERE name = 'certificates_revoked'")
        db.execute("PRAGMA writable_schema = RESET")
        db.execute(narrowed)
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'certificates_revoked'", (sql,))
        db.execute("PRAGMA writable_schema = RESET")
    assert any("missing from index certificates_revoked" in problem for problem in problems_of(path))


def test_each_of_300_random_changes_to_the_index_is_found_in_the_file(original: Path, tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311
    with editing(original) as db:
        before = everything(db)
    before.pop("entries")
    tables = [table for table, rows in before.items() if rows]
    for number in range(300):
        copy = Path(shutil.copy(original, tmp_path / "copy.db"))
        with editing(copy) as db:
            what = random_change(db, chance.choice(tables), chance)
            after = everything(db)
        after.pop("entries")
        assert (after == before) == (problems_of(copy) == []), (number, what)


def random_change(db: sqlite3.Connection, table: str, chance: random.Random) -> str:
    """Changes, drops or adds a row, if the table takes it."""
    columns = [(name, kind) for _, name, kind, *_ in db.execute(f"PRAGMA table_info({table})")]
    rows = db.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
    row = chance.choice(rows)
    this = " AND ".join(f"{name} IS ?" for name, _ in columns)
    if (what := chance.choice(("change", "change", "change", "drop", "add"))) == "drop":
        db.execute(f"DELETE FROM {table} WHERE {this}", row)  # noqa: S608
        return f"{table}: {row} dropped"
    place = chance.randrange(len(columns))
    values: list[Any] = [flipped(row[place], chance) if row[place] else None, None, chance.choice(rows)[place]]
    values += [{"INTEGER": 5, "TEXT": "text", "BLOB": b"blob"}[columns[place][1]]]
    value = chance.choice(values)
    if isinstance(value, str):
        value = value.encode(errors="surrogateescape").decode(errors="replace")
    changed = (*row[:place], value, *row[place + 1 :])
    with contextlib.suppress(sqlite3.IntegrityError):
        if what == "add":
            db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", changed)  # noqa: S608
        else:
            db.execute(f"UPDATE {table} SET {columns[place][0]} = ? WHERE {this}", (value, *row))  # noqa: S608
    return f"{table}: {row} {what} {columns[place][0]} = {value!r}"


# --- the running signer ---------------------------------------------------------------------------


def test_what_is_not_yet_committed_is_verified_too(tmp_path: Path) -> None:
    with local_authority(tmp_path, BUSY_POLICY) as local:
        issue(local, "one")
        assert local.ledger.query("SELECT max(seq) FROM entries").fetchone() == (local.ledger.head.seq,)
        assert problems_online(local) == []


def test_an_end_that_is_cut_off_under_the_running_signer_is_found(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        issue(local, "one")
        local.ledger.commit()
        with editing(local.ledger_path) as db:
            db.execute("DELETE FROM entries WHERE seq = (SELECT max(seq) FROM entries)")
        problem = problems_online(local)[-1]
        assert problem == f"the end is not what it was: the signer has recorded entry {local.ledger.head.seq}"


@pytest.mark.parametrize("seq", [10**6, 2**63 - 1])
def test_a_stretch_beyond_the_end_says_where_the_ledger_ends(tmp_path: Path, seq: int) -> None:
    with local_authority(tmp_path) as local:
        end = local.ledger.verify_stretch(Head(seq, 0, bytes(32)), 10, local.authority.trust)
        assert end.head.seq == seq
        assert any("the end is not what it was" in problem for problem in end.problems)


def test_however_much_is_wrong_a_stretch_says_so_in_few_words(path: Path) -> None:
    change(path, "UPDATE certificates SET client = ?", "x" * 100_000)
    change(path, "UPDATE entries SET hash = x'00'")
    for found in both(path):
        assert len(found) <= 150  # in two stretches
        assert all(len(problem) <= 410 for problem in found)


@pytest.fixture(autouse=True)
def no_temporary_files_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.glob("*.backup*"))
