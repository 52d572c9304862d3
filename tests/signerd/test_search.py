"""What an operator asks the index for: found, all of it, nothing else, and never at the event loop's cost."""

import contextlib
import ipaddress
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.fields import PAGE_MAX, CertificateSummary
from protocol.messages import ListReply, ListRequest
from protocol.wire import FRAME_BYTES_MAX, encode_reply
from signerd.ledger import Kind, Ledger, search
from signerd.ledger.certificates import State, find
from signerd.ledger.search import count_by_state
from tests.authorities import LEDGER_KEY, LocalAuthority, local_authority
from tests.csrs import csr_for, dns, tlv
from tests.edited_ledgers import busy_ledger, issue, prune_all, revoke, serial_of
from tests.identities import DAY, NOW


def ip(text: str) -> bytes:
    return tlv(0x87, ipaddress.ip_address(text).packed)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalAuthority]:
    with local_authority(
        tmp_path, "[profile.server]\nbytes_max = '32KiB'\n[profile.short]\nlifetime = '1h'\n"
    ) as authority:
        yield authority


def found(local: LocalAuthority, **filters: Any) -> list[CertificateSummary]:
    """All pages of a search."""
    rows: list[CertificateSummary] = []
    after: int | None = 0
    while after is not None:
        page, following = search.search(local.ledger, ListRequest(after=after, **filters), local.now)
        rows += page
        assert following is None or following > after
        after = following
    return rows


def names(local: LocalAuthority, **filters: Any) -> list[str]:
    """The first name of each certificate that is found, without what all have in common."""
    return [row.names[0].removeprefix("dns:").removesuffix(".example.net") for row in found(local, **filters)]


# --- filters --------------------------------------------------------------------------------------


def test_without_a_filter_all_certificates_are_found_oldest_first(local: LocalAuthority) -> None:
    for name in ("b", "a", "c"):
        issue(local, name)
    assert names(local) == ["b", "a", "c"]


def test_a_summary_says_what_the_certificate_says(local: LocalAuthority) -> None:
    certificate = local.issue(csr_for(dns("a.example.net"), ip("10.0.0.1")), "web7", profile="short")
    [row] = found(local, with_certificates=True)
    assert row == CertificateSummary(
        serial=serial_of(certificate),
        state="valid",
        client="web7",
        profile="short",
        subject="",
        names=("dns:a.example.net", "ip:10.0.0.1"),
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
        revoked_at=None,
        reason=None,
        proof="none",
        certificate=certificate.public_bytes(Encoding.DER),
    )
    assert found(local)[0].certificate is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web1.example.net", ["web1"]),
        ("dns:web1.example.net", ["web1"]),
        ("WEB1.Example.NET", ["web1"]),
        ("dns:WEB1.example.net", ["web1"]),
        ("web1", []),
        ("ip:web1.example.net", []),
        ("web*", ["web1", "web12", "web2"]),
        ("dns:web1*", ["web1", "web12"]),
        ("Web1*", ["web1", "web12"]),
        ("web1*", ["web1", "web12"]),
        ("web1.example.net*", ["web1"]),
        ("*", ["web1", "web12", "web2", "other"]),
        ("dns:*", ["web1", "web12", "web2", "other"]),
        ("ip:*", ["other"]),
        ("10.0.0.1", ["other"]),
        ("ip:10.0.*", ["other"]),
        ("2001:db8::1", ["other"]),
        ("2001:0DB8:0::1", ["other"]),
        ("ip:2001:db8:*", ["other"]),
        ("Admin@example.net", ["other"]),
        ("email:Admin@*", ["other"]),
        ("spiffe://example.net/a", ["other"]),
        ("uri:spiffe:*", ["other"]),
        ("shared.example.net", ["web1", "web12", "web2"]),
        ("", []),
        ("dns:", []),
        (":", []),
        ("%", []),
        ("web_.example.net", []),
        ("' OR 1=1 --", []),
        ("\U0010ffff*", []),
        ("\0*", []),
    ],
)
def test_a_name_is_found_exactly_or_by_its_beginning_with_or_without_its_kind(
    local: LocalAuthority, name: str, expected: list[str]
) -> None:
    for host in ("web1", "web12", "web2"):
        issue(local, host)
    general_names = (
        *(ip("10.0.0.1"), ip("2001:db8::1")),
        *(tlv(0x81, b"Admin@example.net"), tlv(0x86, b"spiffe://example.net/a")),
    )
    local.issue(csr_for(dns("other.example.net"), *general_names))
    assert names(local, name=name) == expected


def test_a_wildcard_certificate_is_found_by_its_name_and_a_star_at_the_end_is_a_prefix(tmp_path: Path) -> None:
    policy = "[profile.server.names]\ndns = ['.example.net', 'example.net']\nwildcards = true\n"
    with local_authority(tmp_path, policy) as local:
        local.issue(csr_for(dns("*.example.net")))
        local.issue(csr_for(dns("a.example.net")))
        assert [row.names for row in found(local, name="*.example.net")] == [("dns:*.example.net",)]
        assert len(found(local, name="dns:**")) == 1


def test_a_certificate_with_many_names_that_fit_is_found_once(local: LocalAuthority) -> None:
    local.issue(csr_for(*(dns(f"a{n}.example.net") for n in range(50))))
    assert len(found(local, name="a*")) == 1


def test_filters_narrow_each_other(local: LocalAuthority) -> None:
    for number in range(12):
        issue(local, f"host{number}", f"web{number % 2}", profile=("server", "short")[number % 3 == 0])
    assert names(local, client="web0") == [f"host{n}" for n in (0, 2, 4, 6, 8, 10)]
    assert names(local, profile="short") == [f"host{n}" for n in (0, 3, 6, 9)]
    assert names(local, client="web0", profile="short") == ["host0", "host6"]
    assert names(local, client="web1", name="host1*") == ["host1", "host11"]
    assert names(local, name="shared.example.net", client="web1", profile="short") == ["host3", "host9"]
    assert names(local, expiring_within=3600) == [f"host{n}" for n in (0, 3, 6, 9)]
    assert names(local, expiring_within=3600, client="web1") == ["host3", "host9"]
    assert names(local, client="nobody") == names(local, profile="none") == []


def test_what_was_issued_since_a_time_is_found_from_that_second_on(local: LocalAuthority) -> None:
    for number in range(5):
        issue(local, f"host{number}")
        local.now += 10
    assert names(local, issued_since=NOW + 20) == ["host2", "host3", "host4"]
    assert names(local, issued_since=NOW + 21) == ["host3", "host4"]
    assert names(local, issued_since=NOW + 20, name="host3*") == ["host3"]
    assert names(local, issued_since=0) == [f"host{n}" for n in range(5)]
    assert names(local, issued_since=2**40) == []


def test_expiring_within_a_time_is_not_yet_expired_and_ends_by_then(local: LocalAuthority) -> None:
    issue(local, "hour", lifetime=3600)
    issue(local, "day", lifetime=86_400)
    local.now += 3600 - 61  # the last second of the first
    assert names(local, expiring_within=0) == ["hour"]
    assert names(local, expiring_within=86_400) == ["hour", "day"]
    local.now += 1
    assert names(local, expiring_within=82_739) == []
    assert names(local, expiring_within=82_800) == ["day"]


def test_each_state_is_found_and_counted(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        assert count_by_state(local.ledger, local.now) == dict.fromkeys(State, 0)
        serials = {name: issue(local, name) for name in ("valid", "gone", "kept", "back", "final")}
        issue(local, "ended", lifetime=120)
        revoke(local, [serials["gone"]], "superseded")
        revoke(local, [serials[name] for name in ("kept", "back", "final")], "certificateHold")
        revoke(local, [serials["back"]], "removeFromCRL")
        revoke(local, [serials["final"]], "keyCompromise")
        local.now += 120
        wanted = {"valid": ["valid", "back"], "revoked": ["gone", "final"], "hold": ["kept"], "expired": ["ended"]}
        for state in State:
            assert names(local, state=state) == wanted.get(state, [])
        assert count_by_state(local.ledger, local.now) == {state: len(wanted.get(state, [])) for state in State}
        assert [row.reason for row in found(local, state="revoked")] == ["superseded", "keyCompromise"]


def test_what_is_revoked_stays_so_when_it_has_expired(local: LocalAuthority) -> None:
    revoke(local, [issue(local, "a", lifetime=120)], "superseded")
    local.now += 3600
    assert names(local, state="revoked") == ["a"]
    assert names(local, state="expired") == []
    assert count_by_state(local.ledger, local.now)["revoked"] == 1


def test_a_certificate_without_its_signature_is_pending(local: LocalAuthority) -> None:
    issue(local, "a")
    local.ledger.settle()
    with contextlib.closing(sqlite3.connect(local.ledger_path, isolation_level=None)) as db:
        db.execute("UPDATE certificates SET issued = NULL")
    assert names(local, state="pending") == ["a"]
    assert names(local, state="valid") == []
    assert found(local, with_certificates=True)[0].certificate is None
    assert count_by_state(local.ledger, local.now)["pending"] == 1


def test_a_state_that_there_is_not_is_refused_and_the_states_are_named(local: LocalAuthority) -> None:
    with pytest.raises(ValueError, match=r"no state 'gone': valid, revoked, hold, expired, pending"):
        found(local, state="gone")


# --- pages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"name": "shared.example.net"},
        {"name": "host*"},
        {"client": "web1"},
        {"profile": "server"},
        {"state": "valid"},
    ],
    ids=str,
)
def test_pages_of_any_length_together_are_the_whole(local: LocalAuthority, limit: int, filters: dict[str, Any]) -> None:
    for number in range(20):
        issue(local, f"host{number}", f"web{number % 2}")
    wanted = [f"host{n}" for n in range(20) if filters.get("client") in {None, f"web{n % 2}"}]
    assert names(local, limit=limit, **filters) == wanted


def test_the_bounds_of_a_page_lose_no_certificate_and_repeat_none(
    local: LocalAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        issue(local, f"host{number}", f"web{number % 3}")
    revoke(local, [row.serial for row in found(local)[::4]], "superseded")
    searches: list[dict[str, Any]] = [
        {"name": "host1*"}, {"name": "host*"}, {"name": "dns:*"}, {"name": "shared.example.net"}, {"client": "web1"},
        {"profile": "server"}, {"state": "revoked"}, {"state": "valid"}, {"expiring_within": 91 * DAY}, {},
        {"name": "host*", "client": "web1", "state": "revoked"}, {"name": "shared.example.net", "state": "revoked"},
        {"client": "web2", "state": "valid"}, {"profile": "server", "state": "revoked", "expiring_within": 91 * DAY},
    ]  # fmt: skip
    whole = [names(local, **filters) for filters in searches]
    assert [len(one) for one in whole[:6]] == [11, 30, 30, 30, 10, 30]
    for bounds in ({"_STRETCH": 3, "_STRETCH_OF_NAMES": 4, "_COLLECTED": 2, "_CANDIDATES": 2}, {"_CANDIDATES": 1}):
        for name, value in bounds.items():
            monkeypatch.setattr(search, name, value)
        assert [names(local, **filters) for filters in searches] == whole


def test_a_page_of_the_largest_certificates_fits_into_a_frame(local: LocalAuthority) -> None:
    label = "x" * 60
    for number in range(12):
        long = [dns(f"{label}.{label}.{label}.n{number}x{n}.example.net") for n in range(100)]
        local.issue(csr_for(*long), "w" * 128, profile="server")
    rows = found(local, with_certificates=True, limit=PAGE_MAX)
    assert len(rows) == 12
    page, following = search.search(local.ledger, ListRequest(with_certificates=True, limit=PAGE_MAX), local.now)
    assert 1 <= len(page) < 12
    assert len(encode_reply(1, ListReply(certificates=tuple(page), next=following))) <= FRAME_BYTES_MAX


def test_a_page_of_the_most_rows_fits_into_a_frame(local: LocalAuthority) -> None:
    for number in range(300):
        issue(local, f"h{number}", "w" * 128)
    page, following = search.search(local.ledger, ListRequest(with_certificates=True, limit=PAGE_MAX), local.now)
    assert len(page) > 50
    assert len(encode_reply(1, ListReply(certificates=tuple(page), next=following))) <= FRAME_BYTES_MAX


@pytest.mark.parametrize("after", [10**6, 2**63 - 1, 2**64 - 1])
def test_a_page_after_the_end_is_empty_and_the_last(local: LocalAuthority, after: int) -> None:
    issue(local, "a")
    assert search.search(local.ledger, ListRequest(after=after), local.now) == ([], None)


@settings(max_examples=60)
@given(
    st.builds(
        ListRequest,
        name=st.none() | st.text(max_size=30) | st.sampled_from(["dns:host1*", "host*", "shared.example.net", "ip:*"]),
        client=st.none() | st.sampled_from(["web0", "web1", "x'y"]),
        profile=st.none() | st.sampled_from(["server", "short", "'"]),
        state=st.none() | st.sampled_from([str(state) for state in State]),
        expiring_within=st.none() | st.integers(0, 2**40),
        issued_since=st.none() | st.integers(0, 2**40),
        after=st.integers(0, 2**64 - 1) | st.integers(0, 100),
        limit=st.integers(1, PAGE_MAX),
        with_certificates=st.booleans(),
    )
)
def test_any_request_is_answered_with_what_each_filter_lets_through(busy: LocalAuthority, request: ListRequest) -> None:
    page, following = search.search(busy.ledger, request, busy.now)
    assert len(page) <= request.limit
    assert following is None or following > request.after
    for row in page:
        assert request.client in {None, row.client}
        assert request.profile in {None, row.profile}
        assert request.state in {None, row.state}
        assert request.expiring_within is None or busy.now <= row.not_after <= busy.now + request.expiring_within


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAuthority]:
    directory = tmp_path_factory.mktemp("busy")
    busy_ledger(directory)
    with local_authority(directory, "[profile.server]\n[profile.short]\n", now=NOW + 41 * DAY) as authority:
        yield authority


# --- what was pruned ------------------------------------------------------------------------------


def test_what_was_pruned_is_not_listed_nor_counted_and_still_shown_by_its_serial_number(local: LocalAuthority) -> None:
    certificate = local.issue(csr_for(dns("old.example.net")), profile="short")
    issue(local, "new")
    local.now += 40 * DAY
    prune_all(local)
    assert names(local) == ["new"]
    assert names(local, name="old.example.net") == []
    assert count_by_state(local.ledger, local.now)["expired"] == 0
    record = find(local.ledger, serial_of(certificate), local.now)
    assert record is not None
    assert search.summary(record, with_certificate=True).certificate == certificate.public_bytes(Encoding.DER)
    assert (record.state, record.names) == (State.EXPIRED, ("dns:old.example.net",))


# --- the cost -------------------------------------------------------------------------------------


def test_no_search_looks_through_a_whole_table(tmp_path: Path) -> None:
    """Each statement narrows what it looks at by an index or a bound: SQLite says which."""
    ledger = Ledger(tmp_path / "ledger.db", LEDGER_KEY)
    ledger.append(NOW, Kind.FREEZE, {"why": ""})
    statements: list[str] = []
    ledger._db.set_trace_callback(statements.append)  # noqa: SLF001 - what is asked of SQLite
    requests: list[dict[str, Any]] = [
        {}, {"name": "a"}, {"name": "a*"}, {"client": "a"}, {"profile": "a"}, {"expiring_within": 5},
        *({"state": str(state)} for state in State), {"name": "a*", "client": "b", "state": "hold"},
    ]  # fmt: skip
    for filters in requests:
        search.search(ledger, ListRequest(**filters), NOW)
    count_by_state(ledger, NOW)
    ledger._db.set_trace_callback(None)  # noqa: SLF001
    plans = {sql: [row[3] for row in ledger.query(f"EXPLAIN QUERY PLAN {sql}")] for sql in set(statements)}
    ledger.close()
    assert len(plans) > 15
    # Of these there are few: candidates, hours, and certificates in a state that is rare.
    few = re.compile(
        r"SCAN (json_each|expiries|\(subquery|certificates USING .*INDEX certificates_(pending|held|listed)$)"
    )
    for sql, plan in plans.items():
        assert all(few.match(step) for step in plan if step.startswith("SCAN")), (sql, plan)
