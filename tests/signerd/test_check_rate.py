"""Dry runs: counted per client and in all, and nothing of it on the ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.errors import ErrorCode, Refused
from protocol.messages import CheckReply, CheckRequest, FreezeRequest, IssueRequest
from signerd.check_rate import PER_CLIENT, TOTAL, CheckRate
from signerd.issuance import Asker
from signerd.operations import ANSWERS
from tests.authorities import FRONTEND, OPERATOR, LocalAuthority, local_authority
from tests.csrs import csr_for, dns
from tests.frontend.running import Frontend, assert_problem
from tests.identities import NOW
from tests.running import Signer

CSR = csr_for(dns("a.example.net"))


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalAuthority]:
    with local_authority(tmp_path) as authority:
        yield authority


def check(local: LocalAuthority, client: str = "web1", asker: Asker = FRONTEND) -> CheckReply:
    answer = ANSWERS["check"](local.authority, CheckRequest(csr=CSR, client=client), asker, local.now)
    assert isinstance(answer, CheckReply)
    return answer


def is_refused(local: LocalAuthority, client: str = "web1") -> bool:
    try:
        check(local, client)
    except Refused as refusal:
        return refusal.code is ErrorCode.QUOTA_EXCEEDED
    return False


def test_a_client_has_so_many_dry_runs_in_a_minute_and_others_don_t_notice(local: LocalAuthority) -> None:
    assert [is_refused(local) for _ in range(PER_CLIENT.count + 2)] == [False] * PER_CLIENT.count + [True] * 2
    assert not is_refused(local, "web2")
    local.now += PER_CLIENT.seconds - 1
    assert is_refused(local)
    local.now += 1
    assert not is_refused(local)


def test_all_clients_together_have_so_many_and_new_ids_are_no_way_around(local: LocalAuthority) -> None:
    refused = [is_refused(local, f"c{number}") for number in range(TOTAL.count + 1)]
    assert refused == [False] * TOTAL.count + [True]


def test_operators_are_not_counted(local: LocalAuthority) -> None:
    for _ in range(TOTAL.count + 1):
        assert check(local, asker=OPERATOR).allowed
    assert not is_refused(local)


def test_refused_dry_runs_leave_no_entry_and_don_t_keep_a_client_from_a_certificate(local: LocalAuthority) -> None:
    before = local.ledger.head
    for _ in range(PER_CLIENT.count + 10):
        is_refused(local)
    assert local.ledger.head == before
    assert local.code(CSR) is None


def test_a_clock_set_back_or_forward_does_not_keep_dry_runs_away() -> None:
    rate = CheckRate()
    for moment in (NOW, NOW - 86_400, NOW + 86_400):
        for _ in range(PER_CLIENT.count):
            rate.take("web1", moment)
        with pytest.raises(Refused, match="60/minute"):
            rate.take("web1", moment)


def test_by_http_it_is_429_with_the_time_to_wait_and_the_reason_of_a_freeze_is_for_operators() -> None:
    with Signer() as signer, Frontend(signer.state / "sign.sock") as frontend:
        head = {"Content-Type": "application/pkcs10"}
        for _ in range(PER_CLIENT.count):
            assert frontend.request("PUT", "/api/csr/web1?dry_run=1", CSR, head).status == 200
        refused = frontend.request("PUT", "/api/csr/web1?dry_run=1", CSR, head)
        assert_problem(refused, 429, "quota_exceeded", "dry runs")
        assert refused.headers["Retry-After"] == "60"
        assert frontend.request("PUT", "/api/csr/web1", CSR, head).status == 200

        signer.admin().ask_freeze(FreezeRequest(why="we suspect Mallory"))
        answers = [
            frontend.request("PUT", "/api/csr/web1", CSR, head),
            frontend.request("PUT", "/api/csr/web2?dry_run=1", CSR, head),
            frontend.request("GET", "/readyz"),
            frontend.request("GET", "/metrics"),
        ]
        assert [answer.status for answer in answers] == [503, 200, 503, 200]
        assert not [answer for answer in answers if b"Mallory" in answer.body]
        assert_problem(answers[0], 503, "frozen", "until an operator")
        assert "frozen" in {rule["rule"] for rule in answers[1].json()["rules"] if not rule["ok"]}
        with pytest.raises(Refused, match="Mallory"):
            signer.admin().ask_issue(IssueRequest(csr=CSR, client="web1"))
