"""What issuance may add to the ledger: so much for a certificate, and so much in a day, under whatever client ids."""

import re
from pathlib import Path

import pytest

from protocol.errors import ErrorCode
from protocol.messages import IssueReply, IssueRequest
from protocol.wire import pack
from signerd.ledger.prune import prune
from signerd.policy.quota import ByteQuota, size_text
from tests.authorities import LocalAuthority, local_authority
from tests.csrs import csr_for, dns, extension_request, make_csr, private_key, san, tlv
from tests.identities import DAY
from tests.running import ROOT

KIB = 1024
ONE = csr_for(dns("web1.example.net"))
LONGEST = ".".join(["x" * 50] * 4)


def names(number: int, length: int) -> list[bytes]:
    """So many names of so many characters."""
    return [dns(f"{n:03}-{LONGEST}"[: length - 12] + ".example.net") for n in range(number)]


def uri(text: str) -> bytes:
    return tlv(0x86, text.encode())


HUGE = {
    "100 names of the longest": csr_for(*names(100, 180)),
    "30 URIs of a kilobyte": csr_for(*(uri(f"https://a{n}.example.net/{'x' * 1000}") for n in range(30))),
}


def size_on_disk(local: LocalAuthority) -> int:
    """Bytes of the ledger's file, with all that was recorded in it."""
    local.restart()
    local.ledger.settle()
    local.ledger.query("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return local.ledger_path.stat().st_size


@pytest.mark.parametrize("what", HUGE)
def test_a_certificate_beyond_its_size_is_refused_in_words(tmp_path: Path, what: str) -> None:
    with local_authority(tmp_path) as local:
        refusal = local.refusal(HUGE[what])
        assert refusal.code is ErrorCode.POLICY_DENIED
        assert "size: its key, names, subject and extensions take" in refusal.detail
        assert "at most 8192 are allowed" in refusal.detail
        assert [rule.rule for rule in local.check(HUGE[what]).rules if not rule.ok] == ["size"]
        assert "intent" not in local.kinds()


def test_a_hundred_ordinary_names_are_granted_with_the_largest_key(tmp_path: Path) -> None:
    csr = make_csr(key=private_key("rsa4096"), subject=[], attributes=[extension_request(san(*names(100, 70)))])
    with local_authority(tmp_path) as local:
        local.issue(csr)


def test_the_size_is_a_profiles_setting(tmp_path: Path) -> None:
    policy = "[profile.small]\nbytes_max = '1KiB'\n[profile.large]\nbytes_max = '32KiB'\n"
    with local_authority(tmp_path, policy) as local:
        assert local.code(ONE, profile="small") is None
        assert local.code(csr_for(*names(20, 60)), profile="small") is ErrorCode.POLICY_DENIED
        assert local.code(HUGE["100 names of the longest"], profile="large") is None


@pytest.mark.parametrize("csr", [ONE, csr_for(*names(100, 40)), csr_for(*names(45, 180))], ids=["1", "100", "large"])
def test_what_is_counted_is_what_the_file_grows_by_and_no_certificate_costs_more_than_45(
    tmp_path: Path, csr: bytes
) -> None:
    with local_authority(tmp_path, signer='base_url = "http://ca.example.net"') as local:
        before = size_on_disk(local)
        for number in range(20):
            asked = [
                IssueRequest(csr=csr, client=f"web{number}x{n}", idempotency_key=f"{number} {n}") for n in range(16)
            ]
            assert all(isinstance(answer, IssueReply) for answer in local.answers(*asked))
        grown = (size_on_disk(local) - before) / 320
        [(counted,)] = local.ledger.query("SELECT avg(bytes) FROM certificates")
        assert grown <= counted <= 1.5 * grown
        assert counted < 45 * KIB


# --- the quota ------------------------------------------------------------------------------------


def recorded(local: LocalAuthority) -> int:
    """Bytes, as they are counted."""
    [(number,)] = local.ledger.query("SELECT ifnull(sum(bytes), 0) FROM certificates")
    return int(number)


def fill(local: LocalAuthority, csr: bytes = ONE) -> int:
    """How many certificates there are until one is refused, each for another client."""
    for number in range(1000):
        if local.code(csr, f"c{local.now}x{number}") is ErrorCode.QUOTA_EXCEEDED:
            return number
    raise AssertionError("no quota ends it")


def test_client_ids_made_up_for_each_request_get_no_more_bytes_than_the_quota_has(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '1/hour'\nbytes = '200KiB/day'\n") as local:
        assert fill(local, csr_for(*names(100, 40))) < 12
        assert 200 * KIB <= recorded(local) < 240 * KIB
        assert local.refusal(ONE, "another").detail == "quota: ledger has had 200KiB/day"
        assert not local.check(ONE, "another").allowed


def test_a_batch_gets_no_more(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nbytes = '8KiB/day'\n") as local:
        answers = local.answers(*(IssueRequest(csr=ONE, client=f"c{number}") for number in range(16)))
        assert sum(isinstance(answer, IssueReply) for answer in answers) < 8
        assert 8 * KIB <= recorded(local) < 11 * KIB


def test_the_window_slides_and_neither_restart_nor_reload_nor_pruning_makes_it_forget(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nbytes = '16KiB/day'\n") as local:
        first = fill(local)
        local.restart()
        local.authority.reload(local.now)
        assert fill(local) == 0
        local.now += DAY
        assert fill(local) == first
        local.now += DAY - 1
        assert fill(local) == 0
        local.now += 400 * DAY
        local.issue(ONE)
        prune(local.ledger, local.now, local.now)  # all that there was before this one
        local.ledger.commit()
        local.restart()
        assert fill(local) == first - 1


def test_status_says_how_much_of_it_is_used_up(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nbytes = '1GiB/day'\n") as local:
        for number in range(100):
            local.issue(ONE, f"c{number}")
        [line] = local.authority.usage.describe(local.now)
        assert line == f"ledger: {size_text(recorded(local))} of 1GiB/day"


def test_refusals_by_quota_take_no_more_than_fifty_megabytes_in_a_day(tmp_path: Path) -> None:
    """Whoever asks, and under however many ids of whatever length."""
    policy = (
        "[profile.server]\nquota = '0/hour'\n[quota]\nper_client = '0/hour'\ntotal = '0/hour'\nbytes = '0KiB/day'\n"
    )
    with local_authority(tmp_path, policy) as local:
        for number in range(200):
            local.refusal(ONE, f"{number:0128}")
        entries = local.bodies("refused")
        assert sum(100 + len(pack(body)) for body in entries) * 1440 < 50_000_000


@pytest.mark.parametrize(
    ("text", "size", "shown"), [("1GiB/day", 2**30, "1GiB/day"), ("1536 KiB/hour", 1536 * KIB, "1.5MiB/hour")]
)
def test_a_quota_of_bytes_is_read_and_shown(text: str, size: int, shown: str) -> None:
    quota = ByteQuota.parse(text)
    assert (quota.count, str(quota)) == (size, shown)


@pytest.mark.parametrize("file", ["packaging/etc/signerd.toml", "frontend/dev.py"])
def test_what_is_shipped_bounds_the_bytes_of_a_day(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    [quota] = re.findall(r'^\[quota\]\n(?:.+\n)*?bytes = "([^"]+)"', text, re.MULTILINE)
    assert ByteQuota.parse(quota) == ByteQuota(2**30, DAY)
