"""GET /metrics before a real signer: what it says of itself, and that docs/operate.md knows each of it."""

import re
import time
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client.parser import text_string_to_metric_families

from protocol.messages import FreezeRequest, RevokeRequest
from signerd.histogram import Histogram
from signerd.measures import Measures
from tests.frontend.running import Frontend
from tests.frontend.signer_stub import make_csr
from tests.frontend.test_metrics import scrape
from tests.running import ROOT, Signer, eventually

DOCUMENT = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
POLICY = """\
[profile.server]
quota = "50/hour"
[quota]
per_client = "20/hour"
total = "40/hour"
bytes = "1GiB/day"
freeze_above = "30/hour"
"""


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with Signer(policy=POLICY) as signer:
        yield signer


@pytest.fixture(scope="module")
def frontend(signer: Signer) -> Iterator[Frontend]:
    """One that has had three certificates, one of them revoked."""
    with Frontend(signer.sign_path) as frontend:
        serials = [put(frontend, name) for name in ("a", "b", "c")]
        signer.admin().ask_revoke(RevokeRequest(reason="superseded", serials=(bytes.fromhex(serials[0]),)))
        eventually(lambda: signer.sign().ask_metrics().crl_this_update is not None, "a CRL")
        yield frontend


def put(frontend: Frontend, name: str) -> str:
    answer = frontend.put_csr(make_csr(f"{name}.example.net")[1].public_bytes(Encoding.PEM), "labelme")
    assert answer.status == 200, answer
    return str(answer.json()["serial"])


def samples_of(frontend: Frontend, prefix: str) -> dict[str, float]:
    return {key.removeprefix(prefix): value for key, value in scrape(frontend).items() if key.startswith(prefix)}


def test_certificates_are_counted_by_state(frontend: Frontend) -> None:
    assert samples_of(frontend, "signerd_certificates") == {
        f"{{state={state}}}": number
        for state, number in {"valid": 2, "revoked": 1, "hold": 0, "expired": 0, "pending": 0}.items()
    }


def test_the_ends_of_the_ca_and_of_the_crl_are_told(signer: Signer, frontend: Frontend) -> None:
    samples = scrape(frontend)
    chain = signer.sign().ask_describe().chain
    end = x509.load_der_x509_certificate(chain[0]).not_valid_after_utc.timestamp()
    assert samples["signerd_ca_not_after_timestamp_seconds{}"] == end
    this_update = samples["signerd_crl_this_update_timestamp_seconds{}"]
    assert abs(time.time() - this_update) < 300
    assert samples["signerd_crl_next_update_timestamp_seconds{}"] > this_update + 86_400


def test_the_ledger_and_the_quotas_of_all_clients_are_told(signer: Signer, frontend: Frontend) -> None:
    samples = scrape(frontend)
    status = signer.admin().ask_status()
    assert samples["signerd_ledger_entries{}"] == status.entries
    assert samples["signerd_ledger_bytes{}"] == status.ledger_bytes
    used, limit, window = (
        samples_of(frontend, f"signerd_quota_{what}{{quota=") for what in ("used", "limit", "window_seconds")
    )
    assert {key: used[key] for key in used if key != "ledger}"} == {"total}": 3, "profile server}": 3, "breaker}": 3}
    assert 3000 < used["ledger}"] < 30_000
    assert limit == {"total}": 40, "profile server}": 50, "breaker}": 30, "ledger}": 2**30}
    assert window == {"total}": 3600, "profile server}": 3600, "breaker}": 3600, "ledger}": 86_400}


def test_how_long_the_signer_takes_is_told_as_it_sees_it_and_as_the_frontend_does(frontend: Frontend) -> None:
    samples = scrape(frontend)
    own = samples["signerd_answer_seconds_sum{operation=issue}"]
    seen = samples["signerd_frontend_signer_seconds_sum{operation=issue}"]
    assert 0 < own <= seen
    for metric in ("signerd_answer_seconds_count", "signerd_frontend_signer_seconds_count"):
        assert samples[f"{metric}{{operation=issue}}"] == 3
    assert samples["signerd_batch_certificates_count{}"] == samples["signerd_batch_certificates_sum{}"] == 3
    assert samples["signerd_commit_seconds_count{}"] >= 3
    assert samples["signerd_commit_seconds_sum{}"] > 0


def test_every_metric_is_in_the_document_and_every_one_there_is_a_metric(frontend: Frontend) -> None:
    page = frontend.request("GET", "/metrics").body.decode()
    shown = set()
    for family in text_string_to_metric_families(page):
        [labels] = {tuple(sorted(set(sample.labels) - {"le"})) for sample in family.samples}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown.add((name, labels))
    table = re.findall(r"^\| `(signerd_\w+)` \|([^|]*)\|", DOCUMENT, re.MULTILINE)
    assert {(name, tuple(sorted(re.findall(r"`(\w+)`", labels)))) for name, labels in table} == shown


def test_the_document_s_alerts_are_about_samples_that_there_are(frontend: Frontend) -> None:
    shown = {key.partition("{")[0] for key in scrape(frontend)}
    [rules] = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert rules.count("alert:") >= 5
    assert set(re.findall(r"\bsignerd_\w+", rules)) <= shown


def test_no_client_no_name_and_no_reason_is_told(signer: Signer, frontend: Frontend) -> None:
    signer.admin().ask_freeze(FreezeRequest(why="we suspect Mallory"))
    body = frontend.request("GET", "/metrics").body
    assert b'signerd_signer_state{state="frozen"} 1.0' in body
    for secret in (b"labelme", b"example.net", b"Mallory"):
        assert secret not in body


def test_while_the_signer_is_away_its_state_alone_is_told() -> None:
    with Frontend("/nonexistent/sign.sock") as frontend:
        names = {key.partition("{")[0] for key in scrape(frontend)}
    assert {name for name in names if not name.startswith("signerd_frontend_")} == {"signerd_signer_state"}


def test_a_histogram_counts_each_value_once_by_the_first_bound_that_it_is_not_above() -> None:
    histogram = Histogram((1, 10))
    for value in (0, 1, 2, 10, 11, 1000):
        histogram.observe(value)
    told = histogram.distribution()
    assert (told.bounds, told.counts, told.total) == ((1, 10), (2, 2, 2), 1024)


def test_certificates_are_counted_once_a_second_however_often_that_is_asked() -> None:
    measures, counted = Measures(), []

    def count() -> dict[str, int]:
        counted.append(1)
        return {"valid": len(counted)}

    assert [measures.certificates(now, count)["valid"] for now in (5, 5, 5, 6, 6)] == [1, 1, 1, 2, 2]
