"""The index is what the entries make of it: made anew after anything that a signer does, it is the same."""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import ConfigurationError, Refused
from protocol.messages import RevokeRequest
from signerd.ledger import Ledger
from signerd.ledger.rebuild import rebuild
from tests.authorities import LEDGER_KEY, OPERATOR, LocalAuthority, local_authority
from tests.csrs import csr_for, dns
from tests.edited_ledgers import (
    busy_ledger,
    checkpoint,
    editing,
    problems_of,
    problems_online,
    prune_all,
    revoke,
    sign_crls,
)
from tests.identities import DAY

POLICY = """
[profile.server]
[profile.short]
lifetime = '1h'
[quota]
per_client = '9/hour'
freeze_above = '40/day'
"""


def tables(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    with editing(path) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: sorted(db.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}  # noqa: S608


# --- whatever a signer did ------------------------------------------------------------------------

Step = Callable[[LocalAuthority], object]
SERIALS = "SELECT serial FROM certificates ORDER BY seq DESC LIMIT ?"


def issued(number: int, client: str, profile: str, key: str | None) -> Step:
    def step(local: LocalAuthority) -> None:
        for count in range(number):
            csr = csr_for(dns(f"h{count}.example.net"), dns(f"{client}.example.net"))
            local.ask(csr, client, profile=profile, idempotency_key=key if count == 0 else None)

    return step


def revoked(number: int, reason: str) -> Step:
    def step(local: LocalAuthority) -> None:
        serials = [serial for (serial,) in local.ledger.query(SERIALS, number)]
        if serials:
            with contextlib.suppress(Refused):  # what is revoked for good can't be released
                revoke(local, serials, reason)

    return step


def swept(seconds: int, reason: str, client: str | None) -> Step:
    def step(local: LocalAuthority) -> None:
        request = RevokeRequest(reason=reason, issued_since=local.now - seconds, client=client)
        local.authority.revocation.revoke(request, "admin 0", local.now)
        sign_crls(local)

    return step


def later(seconds: int) -> Step:
    def step(local: LocalAuthority) -> None:
        local.now += seconds

    return step


def reloaded(url: str) -> Step:
    def step(local: LocalAuthority) -> None:
        local.configure(f"base_url = '{url}'\n{POLICY}")
        local.authority.reload(local.now)

    return step


clients, profiles = st.sampled_from(["web1", "web2", "web3"]), st.sampled_from(["server", "short"])
reasons = st.sampled_from(["superseded", "keyCompromise", "certificateHold", "removeFromCRL"])
steps = st.one_of(
    st.builds(issued, st.integers(1, 5), clients, profiles, st.sampled_from([None, "a", "b"])),
    st.builds(issued, st.integers(1, 5), clients, profiles, st.none()),
    st.builds(revoked, st.integers(1, 4), reasons),
    st.builds(swept, st.integers(0, 7200), reasons, st.none() | clients),
    st.builds(later, st.sampled_from([1, 600, 3600, DAY, 20 * DAY, 40 * DAY])),
    st.builds(reloaded, st.sampled_from(["http://ca.example.net", "http://other.example.net"])),
    st.just(sign_crls),
    st.just(prune_all),
    st.just(checkpoint),
    st.just(lambda local: local.authority.freeze("", local.now)),
    st.just(lambda local: local.authority.thaw("", local.now)),
    st.just(lambda local: local.restart()),
)


@settings(max_examples=40)
@given(st.lists(steps, min_size=3, max_size=20))
def test_the_index_made_anew_is_the_live_one_whatever_was_done(done: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as directory, local_authority(Path(directory), POLICY) as local:
        for step in done:
            step(local)
        assert problems_online(local) == []
        local.close()
        try:
            target = Path(directory) / "anew.db"
            assert rebuild(local.ledger_path, target) == local.ledger.head.seq
            assert tables(target) == tables(local.ledger_path)
            assert problems_of(local.ledger_path) == []
        finally:
            local.open()


# --- whatever became of the index -----------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busy_ledger(tmp_path_factory.mktemp("ledger"))


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path / "ledger.db"))


@pytest.mark.parametrize(
    "damage",
    [
        ["DELETE FROM certificates", "DELETE FROM names", "DELETE FROM state"],
        ["DROP TABLE certificates", "DROP TABLE crls"],
        ["CREATE TRIGGER mercy AFTER UPDATE ON certificates BEGIN UPDATE certificates SET revoked_at = NULL; END"],
        ["UPDATE certificates SET not_after = not_after + 1", "INSERT INTO names VALUES ('dns:bank.example', 5)"],
    ],
)
def test_a_damaged_index_is_made_anew_from_the_entries(original: Path, path: Path, damage: list[str]) -> None:
    with editing(path) as db:
        for sql in damage:
            db.execute(sql)
    assert problems_of(path)
    target = path.with_name("anew.db")
    rebuild(path, target)
    assert problems_of(target) == []
    assert tables(target) == tables(original)


def test_a_signer_goes_on_with_what_was_made_anew(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '2/day'\n") as local:
        first = local.issue(csr_for(dns("a.example.net")))
        local.close()
        target = tmp_path / "anew.db"
        rebuild(local.ledger_path, target)
        target.replace(local.ledger_path)
        local.open()
        assert local.issue(csr_for(dns("a.example.net"))) != first
        assert "2/day" in local.refusal(csr_for(dns("a.example.net")), asker=OPERATOR).detail
        assert problems_online(local) == []


def test_no_index_is_made_of_entries_that_are_not_what_was_recorded(path: Path) -> None:
    with editing(path) as db:
        db.execute("UPDATE entries SET body = x'80' WHERE seq = 30")
    with pytest.raises(ValueError, match="entry 30 is not what was recorded"):
        rebuild(path, path.with_name("anew.db"))


def test_another_database_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db", isolation_level=None)) as db:
        db.execute("CREATE TABLE precious (x)")
    with pytest.raises(ValueError, match="it is no ledger"):
        rebuild(tmp_path / "other.db", tmp_path / "anew.db")
    assert not (tmp_path / "anew.db").exists()


def test_the_source_is_left_as_it_was(path: Path) -> None:
    before = path.read_bytes()
    rebuild(path, path.with_name("anew.db"))
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["anew.db", "ledger.db"]


def test_the_signer_says_that_a_damaged_schema_is_no_ledger_rather_than_serve_it(path: Path) -> None:
    with editing(path) as db:
        db.execute("DROP INDEX certificates_revoked")
    with pytest.raises(ConfigurationError, match="is no ledger as signerd makes it: certificates_revoked"):
        Ledger(path, LEDGER_KEY)
