"""A checkpoint kept elsewhere shows what no look at the ledger itself can show; and nobody else can make one."""

import base64
import contextlib
import random
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ErrorCode, Refused
from signerd.checkpoint import make_checkpoint, read_checkpoint
from signerd.commands.admin.verification import Checkpoint, Outcome, Place, Stretch, verify_ledger
from signerd.ledger import Head
from signerd.ledger.verify import LedgerFile
from tests.authorities import CA_KEY_TYPES, LEDGER_KEY, LocalAuthority, ca_of, local_authority
from tests.csrs import openssl
from tests.edited_ledgers import checkpoint, editing, issue, trust_of
from tests.identities import NOW


def verified(path: Path, *statements: str) -> Outcome:
    """As `ca_admin verify --ledger FILE --checkpoint …` has it."""
    ca, _ = ca_of("p256")
    known = [
        Checkpoint(f"checkpoint {number}", Place(head.seq, head.hash))
        for number, head in enumerate((read_checkpoint(statement, ca) for statement in statements), 1)
    ]
    with contextlib.closing(LedgerFile(path, trust_of(path))) as file:

        def check(_before: Place, limit: int) -> Stretch:
            head, problems = file.check_next(limit)
            return Stretch(Place(head.seq, head.hash), file.entries, problems)

        return verify_ledger(check, known, lambda done, total: None)


def cut(path: Path, entries: int) -> None:
    """Takes the last entries off the end, and all that the index has of them; by somebody with the ledger key."""
    with editing(path) as db:
        (last,) = db.execute("SELECT max(seq) FROM entries").fetchone()
        db.execute("DELETE FROM entries WHERE seq > ?", (last - entries,))
        (seq, digest) = db.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        signature = LEDGER_KEY.sign_head(Head(seq, 0, digest))
        db.execute("UPDATE entries SET signature = ? WHERE seq = ?", (signature, seq))
        for table in ("certificates", "names", "ledger_keys", "crls", "state", "base_urls"):
            db.execute(f"DELETE FROM {table} WHERE seq > ?", (last - entries,))  # noqa: S608
        db.execute("UPDATE certificates SET issued = NULL WHERE issued > ?", (last - entries,))
        db.execute("UPDATE progress SET seq = ?", (last - entries,))
        db.execute("DELETE FROM expiries")
        db.execute("INSERT INTO expiries SELECT not_after / 3600, count(*) FROM certificates GROUP BY 1")


@pytest.mark.parametrize("key_type", CA_KEY_TYPES)
def test_a_checkpoint_states_the_last_entry_and_the_time_by_each_type_of_key(tmp_path: Path, key_type: str) -> None:
    with local_authority(tmp_path, ca=key_type) as local:
        issue(local, "one")
        head, local.now = local.ledger.head, local.now + 5
        assert read_checkpoint(checkpoint(local), local.ca) == Head(head.seq, NOW + 5, head.hash)


def test_a_checkpoint_is_recorded_like_all_that_the_key_signs(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        statement = checkpoint(local)
        intent = local.bodies("intent")[-1]
        assert intent["what"] == "checkpoint"
        assert statement.startswith(intent["to_be_signed"].decode())


def test_what_a_checkpoint_states_is_durable_before_it_is_signed(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        issue(local, "one")  # its signature waits for the next commit
        stated = read_checkpoint(checkpoint(local), local.ca)
        with editing(local.ledger_path) as db:  # another connection sees what was committed
            row = db.execute("SELECT hash FROM entries WHERE seq = ?", (stated.seq,)).fetchone()
        assert row == (stated.hash,)


def test_a_ledger_that_takes_no_entries_states_nothing(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        local.ledger.query("PRAGMA query_only = ON")
        with pytest.raises(Refused) as refused:
            checkpoint(local)
        assert refused.value.code is ErrorCode.UNAVAILABLE


def test_openssl_finds_the_signature_right(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        text, _, signature = checkpoint(local).rpartition("signature ")
        key = local.ca.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "text").write_text(text)
    (tmp_path / "signature").write_bytes(base64.b64decode(signature))
    (tmp_path / "key").write_bytes(key)
    said = openssl(
        "dgst", "-sha256", "-verify", tmp_path / "key", "-signature", tmp_path / "signature", tmp_path / "text"
    )
    assert said == b"Verified OK\n"


# --- forgeries ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def statement(tmp_path_factory: pytest.TempPathFactory) -> str:
    with local_authority(tmp_path_factory.mktemp("ledger")) as local:
        return checkpoint(local)


def test_another_cas_checkpoint_is_refused(statement: str) -> None:
    with pytest.raises(ValueError, match="another CA's"):
        read_checkpoint(statement, ca_of("ed25519")[0])


def test_a_statement_with_another_cas_signature_is_refused(tmp_path: Path, statement: str) -> None:
    with local_authority(tmp_path, ca="rsa2048") as other:
        signature = checkpoint(other).rpartition("signature ")[2]
    text = statement.rpartition("signature ")[0]
    with pytest.raises(ValueError, match="not by this CA's key"):
        read_checkpoint(f"{text}signature {signature}", ca_of("p256")[0])


def test_what_the_key_signed_for_another_purpose_is_no_checkpoint(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        issue(local, "one")
        [intent, issued] = local.bodies("intent")[-1], local.bodies("issued")[-1]
        signature = base64.b64encode(issued["signature"]).decode()
        with pytest.raises(ValueError, match="no checkpoint"):
            read_checkpoint(f"{intent['to_be_signed'].decode('latin-1')}signature {signature}\n", local.ca)


def test_no_character_of_a_checkpoint_can_be_changed(statement: str) -> None:
    ca, _ = ca_of("p256")
    stated = read_checkpoint(statement, ca)
    chance = random.Random(2)  # noqa: S311
    refused = 0
    for index in range(len(statement)):
        for _ in range(3):
            character = chr(ord(statement[index]) ^ 1 << chance.randrange(7))
            try:  # the last characters of base64 and the white space around it have more than one spelling
                assert read_checkpoint(statement[:index] + character + statement[index + 1 :], ca) == stated
                assert index > statement.rindex("=") - 4, index
            except ValueError:
                refused += 1
    assert refused > 3 * len(statement) - 20


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-40],
        lambda text: text * 2,
        lambda text: "\n" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.rpartition("signature ")[0],
        lambda text: text.replace("checkpoint 1", "checkpoint 2"),
        lambda text: text.replace("entry ", "entry 0"),
        lambda text: text.replace("entry ", "entry +"),
        lambda text: text.replace("signature ", "signature A"),
        lambda text: text.replace("signature ", "signature é"),
        lambda text: text + "entry 5\n",
    ],
)
def test_what_is_not_a_whole_checkpoint_is_refused(statement: str, change: object) -> None:
    assert callable(change)
    with pytest.raises(ValueError, match=r"checkpoint|signature|base64|ASCII"):
        read_checkpoint(change(statement), ca_of("p256")[0])


@given(st.text() | st.builds(lambda text: f"signerd checkpoint 1\n{text}", st.text()))
def test_any_text_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_checkpoint(text, ca_of("p256")[0])


# --- what only a checkpoint shows -----------------------------------------------------------------


def some_ledger(local: LocalAuthority) -> list[str]:
    """Certificates, and a checkpoint after each."""
    statements = []
    for number in range(4):
        issue(local, f"host{number}")
        statements.append(checkpoint(local))
    return statements


def test_checkpoints_agree_with_the_ledger_that_they_were_made_of_however_it_grew(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        statements = some_ledger(local)
        local.authority.freeze("later", local.now)
    assert verified(local.ledger_path, *statements).problems == []


@pytest.mark.parametrize("entries", [1, 2, 3, 5, 9])
def test_an_end_that_was_cut_off_shows_against_a_checkpoint_and_only_there(tmp_path: Path, entries: int) -> None:
    with local_authority(tmp_path) as local:
        some_ledger(local)
        statement = make_checkpoint(local.authority.key, local.ca, local.ledger.head, local.now)
        stated = read_checkpoint(statement, local.ca)
        local.ledger.commit()
    with editing(local.ledger_path) as db:  # the checkpoint's own entries come after what it states
        (last,) = db.execute("SELECT max(seq) FROM entries").fetchone()
    cut(local.ledger_path, last - stated.seq)
    assert verified(local.ledger_path, statement).problems == []
    cut(local.ledger_path, entries)
    problems = verified(local.ledger_path).problems
    assert not any("entry" in problem and "missing" in problem for problem in problems)
    [problem] = [one for one in verified(local.ledger_path, statement).problems if one not in problems]
    assert f"there was an entry {stated.seq}, and the ledger ends at entry {stated.seq - entries}" in problem


def test_an_older_ledger_in_its_place_shows_against_a_checkpoint(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        issue(local, "one")
        local.restart()
        older = Path(shutil.copy(local.ledger_path, tmp_path / "older.db"))
        statements = some_ledger(local)
    assert verified(older).problems == []
    assert len(verified(older, *statements).problems) == 4


def test_an_older_ledger_that_was_gone_on_with_shows_against_a_checkpoint(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        issue(local, "one")
        earlier = checkpoint(local)
        local.close()
        older = Path(shutil.copy(local.ledger_path, tmp_path / "older.db"))
        local.open()
        statements = some_ledger(local)
        local.close()
        shutil.copy(older, local.ledger_path)
        local.open()
        local.authority.accept("the older one is all that is left", "admin 0")
        some_ledger(local)
    assert verified(local.ledger_path, earlier).problems == []
    problems = verified(local.ledger_path, earlier, *statements).problems
    assert len(problems) == 4
    assert all("had another hash: the ledger was rewritten, or is another one" in problem for problem in problems)
