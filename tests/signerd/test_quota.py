"""Quotas: exact at the border of their window, over the ledger's own numbers."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import ErrorCode
from protocol.messages import IssueReply, IssueRequest
from signerd import usage
from signerd.policy.quota import Quota
from tests.authorities import local_authority
from tests.csrs import csr_for, dns
from tests.identities import NOW

GOOD = csr_for(dns("a.example.net"))
SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}


@pytest.mark.parametrize(("unit", "seconds"), SECONDS.items())
def test_a_quota_is_a_number_in_a_unit_of_time(unit: str, seconds: int) -> None:
    quota = Quota.parse(f"20/{unit}")
    assert (quota.count, quota.seconds, str(quota)) == (20, seconds, f"20/{unit}")


@pytest.mark.parametrize(
    "text", ["", "20", "20/", "/day", "20/days", "20/month", "-1/day", "1.5/day", " 1/day", "1/day\n", "1e3/day"]
)
def test_any_other_text_is_no_quota(text: str) -> None:
    with pytest.raises(ValueError, match="is no quota"):
        Quota.parse(text)


def test_a_quota_is_exact_at_both_ends_of_its_window(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '3/minute'\n") as authority:
        for authority.now in (NOW, NOW, NOW + 10):
            authority.issue(GOOD)
        for authority.now in (NOW + 10, NOW + 59):
            refusal = authority.refusal(GOOD)
            assert refusal.code is ErrorCode.QUOTA_EXCEEDED
            assert refusal.detail == "quota: client web1 has had 3/minute"
        authority.now = NOW + 60  # the two of NOW have left
        assert [authority.code(GOOD) for _ in range(3)] == [None, None, ErrorCode.QUOTA_EXCEEDED]
        authority.now = NOW + 69
        assert authority.code(GOOD) is ErrorCode.QUOTA_EXCEEDED
        authority.now = NOW + 70
        assert [authority.code(GOOD) for _ in range(2)] == [None, ErrorCode.QUOTA_EXCEEDED]


def test_a_quota_is_exact_within_a_batch(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '3/day'\ntotal = '5/day'\n") as authority:
        asked = [IssueRequest(csr=GOOD, client=client) for client in ["web1"] * 5 + ["web2"] * 5]
        given_out = [isinstance(answer, IssueReply) for answer in authority.answers(*asked)]
        assert given_out == [True] * 3 + [False] * 2 + [True] * 2 + [False] * 3
        assert authority.kinds().count("intent") == 5


def test_a_request_that_is_refused_for_another_reason_costs_no_quota(tmp_path: Path) -> None:
    policy = "[profile.server.names]\ndns = ['.example.net']\n[quota]\nper_client = '1/day'\n"
    with local_authority(tmp_path, policy) as authority:
        for _ in range(5):
            assert authority.code(csr_for(dns("elsewhere.org"))) is ErrorCode.POLICY_DENIED
        assert authority.code(GOOD) is None


def test_a_clients_own_quota_stands_in_place_of_the_common_one(tmp_path: Path) -> None:
    policy = "[client.web1]\nquota = '2/day'\n[client.web2]\n[quota]\nper_client = '1/day'\n"
    with local_authority(tmp_path, policy) as authority:
        assert [authority.code(GOOD, "web1") for _ in range(3)] == [None, None, ErrorCode.QUOTA_EXCEEDED]
        assert [authority.code(GOOD, "web2") for _ in range(2)] == [None, ErrorCode.QUOTA_EXCEEDED]


def test_a_quota_of_none_lets_none_through(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[client.web1]\nquota = '0/day'\n[client.web2]\n") as authority:
        assert authority.code(GOOD, "web1") is ErrorCode.QUOTA_EXCEEDED
        assert authority.code(GOOD, "web2") is None


def test_a_refusal_names_every_quota_that_is_used_up(tmp_path: Path) -> None:
    policy = "[profile.server]\nquota = '1/day'\n[quota]\nper_client = '1/hour'\ntotal = '1/week'\n"
    with local_authority(tmp_path, policy) as authority:
        authority.issue(GOOD)
        detail = authority.refusal(GOOD).detail
    assert detail == "quota: client web1 has had 1/hour; profile server has had 1/day; total has had 1/week"


POLICY = """
[profile.server]
[profile.few]
quota = "3/minute"
[client.web1]
quota = "2/minute"
[client.web2]
[client.web3]
[quota]
per_client = "4/minute"
total = "6/minute"
"""
LIMITS = {"web1": 2, "web2": 4, "web3": 4}
step = st.tuples(
    st.sampled_from(["issue", "issue", "issue", "issue", "restart", "reload"]),
    st.sampled_from([0, 0, 0, 1, 7, 30, 59, 60]),
    st.sampled_from(sorted(LIMITS)),
    st.sampled_from(["server", "few"]),
)


@settings(max_examples=60)
@given(steps=st.lists(step, max_size=40))
def test_over_any_history_with_restarts_and_reloads_exactly_what_the_quotas_allow_is_issued(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, str, str]]
) -> None:
    issued: list[tuple[int, str, str]] = []
    with local_authority(tmp_path_factory.mktemp("quota"), POLICY) as authority:
        for what, wait, client, profile in steps:
            authority.now += wait
            if what == "restart":
                authority.restart()
            elif what == "reload":
                authority.authority.reload(authority.now)
            else:
                lately = [(who, where) for time, who, where in issued if time > authority.now - 60]
                allowed = (
                    len(lately) < 6
                    and sum(who == client for who, _ in lately) < LIMITS[client]
                    and (profile != "few" or sum(where == "few" for _, where in lately) < 3)
                )
                code = authority.code(GOOD, client, profile=profile)
                assert code is (None if allowed else ErrorCode.QUOTA_EXCEEDED)
                if allowed:
                    issued.append((authority.now, client, profile))


def test_refusals_by_quota_are_on_record_at_most_one_a_minute_for_each_client(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '0/hour'\n") as authority:
        for authority.now in (NOW, NOW, NOW + 59, NOW + 60, NOW + 61):
            authority.refusal(GOOD, "web1")
        authority.refusal(GOOD, "web2")
        assert authority.bodies("refused") == [
            {"client": client, "detail": f"quota: client {client} has had 0/hour"}
            for client in ("web1", "web1", "web2")
        ]


def test_many_client_ids_cost_bounded_memory_and_none_of_them_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where any client id may ask, ids come from outside."""
    monkeypatch.setattr(usage, "_KEPT", 20)
    with local_authority(tmp_path, "[quota]\nper_client = '1/minute'\n") as authority:
        for number in range(100):
            authority.issue(GOOD, f"web{number}")
        for number in range(0, 100, 7):
            assert authority.code(GOOD, f"web{number}") is ErrorCode.QUOTA_EXCEEDED
        kept = vars(authority.authority.usage).values()
        assert all(len(held) <= 40 for held in kept if isinstance(held, dict))
        authority.now += 60
        assert authority.code(GOOD, "web0") is None
