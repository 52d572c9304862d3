"""Quotas and the circuit breaker: exact to the certificate and the second, and nothing makes them forget."""

import collections
import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import ConfigurationError, ErrorCode, Refused
from protocol.messages import IssueReply, IssueRequest
from signerd import usage
from tests.authorities import FRONTEND, OPERATOR, LocalAuthority, local_authority
from tests.csrs import csr_for, dns
from tests.edited_ledgers import editing
from tests.identities import DAY
from tests.running import Signer

CSR = csr_for(dns("a.example.net"))
TWO_PROFILES = "[profile.server]\nquota = '4/hour'\n[profile.other]\n"


def issued(local: LocalAuthority, client: str = "web1", times: int = 20, **wishes: str) -> int:
    """How many of so many requests, one after the other, got a certificate."""
    return sum(isinstance(local.ask(CSR, client, **wishes), IssueReply) for _ in range(times))  # type: ignore[arg-type]


def issued_together(local: LocalAuthority, *clients: str) -> int:
    """The same of a batch."""
    answers = local.answers(*(IssueRequest(csr=CSR, client=client) for client in clients))
    return sum(isinstance(answer, IssueReply) for answer in answers)


@pytest.mark.parametrize("quota", [0, 1, 5])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("key", ["quota.per_client", "quota.total", "profile.server.quota", "client.web1.quota"])
def test_each_scope_gets_what_its_quota_says_one_by_one_and_in_a_batch(
    tmp_path: Path, key: str, together: bool, quota: int
) -> None:
    table, _, name = key.rpartition(".")
    with local_authority(tmp_path, f"[{table}]\n{name} = '{quota}/hour'\n") as local:
        assert (issued_together(local, *["web1"] * 16) if together else issued(local)) == quota
        assert local.code(CSR) is ErrorCode.QUOTA_EXCEEDED


def test_a_clients_own_quota_stands_in_place_of_the_general_one(tmp_path: Path) -> None:
    policy = "[client.web1]\nquota = '3/hour'\n[client.web2]\n[quota]\nper_client = '1/hour'\n"
    with local_authority(tmp_path, policy) as local:
        assert (issued(local, "web1"), issued(local, "web2")) == (3, 1)


def test_clients_and_profiles_do_not_use_up_each_others_quota_and_all_use_up_the_total(tmp_path: Path) -> None:
    policy = f"{TWO_PROFILES}[quota]\nper_client = '3/hour'\ntotal = '8/hour'\n"
    with local_authority(tmp_path, policy) as local:
        assert issued(local, "web1", profile="server") == 3
        assert issued(local, "web2", profile="server") == 1
        assert "profile server has had 4/hour" in local.refusal(CSR, "web2").detail
        assert issued(local, "web2", profile="other") == 2
        assert issued(local, "web3", profile="other") == 2
        refusal = local.refusal(CSR, "web3", profile="other")
        assert refusal.detail == "quota: total has had 8/hour"


def test_a_refusal_names_every_quota_that_is_used_up(tmp_path: Path) -> None:
    policy = "[profile.server]\nquota = '1/hour'\n[quota]\nper_client = '1/hour'\ntotal = '1/hour'\n"
    with local_authority(tmp_path, policy) as local:
        assert issued(local) == 1
        expected = "quota: client web1 has had 1/hour; profile server has had 1/hour; total has had 1/hour"
        assert local.refusal(CSR).detail == expected


def test_a_window_slides_to_the_second(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '2/minute'\n") as local:
        assert issued(local, times=1) == 1
        local.now += 30
        assert issued(local) == 1
        local.now += 29
        assert issued(local) == 0
        local.now += 1
        assert issued(local) == 1
        local.now += 29
        assert issued(local) == 0
        local.now += 1
        assert issued(local) == 1


def test_what_is_refused_or_only_checked_uses_up_nothing(tmp_path: Path) -> None:
    policy = "[profile.server]\n[profile.server.names]\ndns = ['a.example.net']\n[quota]\nper_client = '2/hour'\n"
    with local_authority(tmp_path, policy) as local:
        for _ in range(5):
            local.refusal(csr_for(dns("b.example.net")))
            assert local.check(CSR).allowed
        assert issued(local) == 2
        assert not local.check(CSR).allowed


def test_a_batch_whose_record_fails_uses_up_nothing(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '2/hour'\n") as local:
        local.ledger.query("PRAGMA query_only = ON")
        assert local.code(CSR) is ErrorCode.UNAVAILABLE
        local.restart()
        assert issued(local) == 2


def test_a_request_whose_serial_number_can_not_be_had_uses_up_nothing(tmp_path: Path) -> None:
    numbers = iter([1, *[1] * 8, 2, 3])
    with local_authority(tmp_path, "[quota]\nper_client = '2/hour'\n", make_serial=lambda: next(numbers)) as local:
        assert issued(local, times=1) == 1
        assert local.code(CSR) is ErrorCode.INTERNAL
        assert issued(local, times=1) == 1
        assert local.code(CSR) is ErrorCode.QUOTA_EXCEEDED


def test_the_same_certificate_again_by_its_idempotency_key_uses_up_nothing(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '1/hour'\n") as local:
        assert issued(local, idempotency_key="key") == 20
        assert issued(local) == 0


@pytest.mark.parametrize("again", [LocalAuthority.restart, lambda local: local.authority.reload(local.now)])
@pytest.mark.parametrize(
    "policy",
    [
        "[quota]\nper_client = '4/hour'\n",
        "[quota]\ntotal = '4/hour'\n",
        "[profile.server]\nquota = '4/hour'\n",
        "[client.web1]\nquota = '4/hour'\n",
    ],
)
def test_a_restart_and_a_reload_forget_nothing(tmp_path: Path, policy: str, again: object) -> None:
    assert callable(again)
    with local_authority(tmp_path, policy) as local:
        assert issued(local, times=3) == 3
        again(local)
        assert issued(local) == 1
        again(local)
        assert issued(local) == 0


def test_a_quota_that_a_reload_brings_counts_what_was_issued_before(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        assert issued(local, times=5) == 5
        local.now += 3 * DAY
        assert issued(local, times=5) == 5
        local.configure("[quota]\nper_client = '11/week'\ntotal = '7/day'\n")
        local.authority.reload(local.now)
        assert issued(local) == 1
        local.configure("[quota]\nper_client = '100/week'\ntotal = '7/day'\n")
        local.authority.reload(local.now)
        assert issued(local) == 1


def test_a_reload_that_is_refused_leaves_the_quotas_as_they_were(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '3/hour'\n") as local:
        assert issued(local, times=2) == 2
        local.configure("[quota]\nper_client = '100/hour'\ntotal = 'many'\n")
        with pytest.raises(ConfigurationError, match=r"quota\.total"):
            local.authority.reload(local.now)
        assert issued(local) == 1


Asked = tuple[str, str, int]  # by which client, for which profile, how many seconds after the one before
clients, profiles = st.sampled_from(["web1", "web2"]), st.sampled_from(["server", "other"])


@settings(max_examples=60)
@given(st.lists(st.tuples(clients, profiles, st.integers(0, 40)), max_size=40), st.sets(st.integers(0, 39)))
def test_whatever_is_asked_no_window_ever_holds_more_than_its_quota_and_none_is_refused_without_need(
    asked: list[Asked], restarts: set[int]
) -> None:
    policy = "[profile.server]\nquota = '4/minute'\n[profile.other]\n"
    policy += "[quota]\nper_client = '3/minute'\ntotal = '5/minute'\n"
    limits = {"web1": 3, "web2": 3, "server": 4, "other": 1000, "total": 5}
    times: dict[str, collections.deque[int]] = collections.defaultdict(collections.deque)
    with tempfile.TemporaryDirectory() as directory, local_authority(Path(directory), policy) as local:
        for number, (client, profile, seconds) in enumerate(asked):
            local.now += seconds
            if number in restarts:
                local.restart()
            scopes = (client, profile, "total")
            full = any(sum(time > local.now - 60 for time in times[scope]) >= limits[scope] for scope in scopes)
            code = local.code(CSR, client, profile=profile)
            assert code == (ErrorCode.QUOTA_EXCEEDED if full else None)
            for scope in () if full else scopes:
                times[scope].append(local.now)


# --- memory, and the record of refusals -----------------------------------------------------------


def test_client_ids_from_outside_cost_a_bounded_amount_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "_KEPT", 10)
    monkeypatch.setattr(usage, "_REFUSALS_MAX", 10)
    with local_authority(tmp_path, "[quota]\nper_client = '2/hour'\n") as local:
        for number in range(40):
            assert issued(local, f"c{number}") == 2
        for number in range(40):
            assert issued(local, f"c{number}") == 0
        kept = vars(local.authority.usage)
        assert all(len(value) <= 10 for value in kept.values() if isinstance(value, dict))


def test_refusals_by_quota_are_recorded_once_a_minute_for_each_client(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '0/hour'\n") as local:
        for _ in range(3):
            for client in ("web1", "web2"):
                assert issued(local, client, times=30) == 0
            local.now += 30
        assert [body["client"] for body in local.bodies("refused")] == ["web1", "web2"] * 2


def test_client_ids_that_are_made_up_cost_the_ledger_a_bounded_number_of_entries(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\ntotal = '0/hour'\n") as local:
        for number in range(200):
            assert issued(local, f"c{number}", times=1) == 0
        assert len(local.bodies("refused")) == 60


# --- the circuit breaker --------------------------------------------------------------------------


def test_the_breaker_freezes_at_one_more_than_it_allows_and_in_the_midst_of_a_batch(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nfreeze_above = '7/hour'\n") as local:
        assert issued_together(local, *["web1"] * 16) == 7
        assert local.authority.frozen is not None
        assert local.kinds().count("freeze") == 1
        assert local.code(CSR) is ErrorCode.FROZEN
        local.now += 2 * DAY  # it does not thaw by itself
        assert local.code(CSR) is ErrorCode.FROZEN
        local.restart()
        assert local.code(CSR) is ErrorCode.FROZEN


def test_the_breaker_counts_what_operators_issue_too(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nfreeze_above = '2/hour'\n") as local:
        codes = [local.code(CSR, asker=asker) for asker in (OPERATOR, FRONTEND, OPERATOR)]
        assert codes == [None, None, ErrorCode.FROZEN]


def test_after_a_thaw_the_breaker_counts_from_nothing_also_across_restarts_and_reloads(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nfreeze_above = '3/hour'\n") as local:
        assert issued(local) == 3
        local.authority.thaw("seen", local.now)
        assert issued(local, times=2) == 2
        local.restart()
        local.authority.reload(local.now)
        assert issued(local) == 1
        assert local.authority.frozen is not None


def test_the_breaker_counts_in_a_window_too(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nfreeze_above = '3/minute'\n") as local:
        for _ in range(10):
            assert issued(local, times=1) == 1
            local.now += 20
        assert local.authority.frozen is None


# --- what status says -----------------------------------------------------------------------------


def test_status_says_what_is_used_up_most_first_and_knows_it_after_a_restart(tmp_path: Path) -> None:
    policy = f"{TWO_PROFILES}[quota]\nper_client = '3/hour'\ntotal = '100/hour'\nfreeze_above = '1000/day'\n"
    with local_authority(tmp_path, policy) as local:
        issued(local, "web1", times=3)
        issued(local, "web2", times=1)
        wanted = [
            "client web1: 3 of 3/hour",
            "profile server: 4 of 4/hour",
            "client web2: 1 of 3/hour",
            "total: 4 of 100/hour",
            "breaker: 4 of 1000/day",
        ]
        assert sorted(local.authority.usage.describe(local.now)) == sorted(wanted)
        local.restart()
        assert sorted(local.authority.usage.describe(local.now)) == sorted(wanted)
        assert local.authority.usage.describe(local.now)[2:] == wanted[2:]


def test_status_names_a_bounded_number_of_quotas(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '3/hour'\n") as local:
        for number in range(50):
            issued(local, f"c{number}", times=1 + (number == 7))
        said = local.authority.usage.describe(local.now)
        assert len(said) == 20
        assert said[0] == "client c7: 2 of 3/hour"


def test_without_quotas_status_says_nothing_of_them(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        issued(local)
        assert local.authority.usage.describe(local.now) == []


# --- a real signer --------------------------------------------------------------------------------


def test_a_client_does_not_get_more_by_killing_the_signer() -> None:
    with Signer(policy="[quota]\nper_client = '6/day'\n") as signer:
        got = 0
        for _ in range(4):
            client = signer.sign()
            for _ in range(2):
                with contextlib.suppress(Refused):
                    client.ask_issue(IssueRequest(csr=CSR, client="web1"))
                    got += 1
            signer.kill()
            signer.start()
        assert got == 6
        with editing(signer.ledger_path) as db:
            assert db.execute("SELECT max(of_client), count(*) FROM certificates").fetchone() == (6, 6)
