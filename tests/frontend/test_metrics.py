"""GET /metrics: the sums of all workers, whichever is asked."""

import os
import re
import signal
import threading

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client.parser import text_string_to_metric_families

from frontend.metrics import Board
from tests.frontend.conftest import StartFrontend
from tests.frontend.running import Frontend, ask, children
from tests.frontend.signer_stub import SignerStub, make_csr

PEM = make_csr("a.example.net")[1].public_bytes(Encoding.PEM)


def scrape(frontend: Frontend) -> dict[str, float]:
    """Each sample by its name and labels."""
    response = frontend.request("GET", "/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(response.body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}"] = sample.value
    return samples


def count(samples: dict[str, float], route: str, status: int) -> float:
    return samples.get(f"signerd_frontend_requests_total{{route={route},status={status}}}", 0)


def test_requests_are_counted_by_route_and_status(frontend: Frontend) -> None:
    before = scrape(frontend)
    frontend.put_csr(PEM)
    frontend.put_csr(b"nonsense")
    frontend.put_csr(b"nonsense")
    frontend.request("GET", "/nowhere/at/all")
    frontend.exchange(b"GET /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
    after = scrape(frontend)
    grown = {key: after[key] - before.get(key, 0) for key in after if key.startswith("signerd_frontend_requests_total")}
    assert {key: value for key, value in grown.items() if value} == {
        "signerd_frontend_requests_total{route=put_csr,status=200}": 1,
        "signerd_frontend_requests_total{route=put_csr,status=400}": 2,
        "signerd_frontend_requests_total{route=other,status=404}": 1,
        "signerd_frontend_requests_total{route=other,status=413}": 1,
        "signerd_frontend_requests_total{route=get_metrics,status=200}": 1,
    }


def test_no_client_and_no_path_becomes_a_label(frontend: Frontend) -> None:
    frontend.put_csr(PEM, client="labelme")
    frontend.request("GET", "/labelme")
    assert b"labelme" not in frontend.request("GET", "/metrics").body


def test_the_durations_are_a_histogram_that_sums_up(frontend: Frontend) -> None:
    frontend.put_csr(PEM)
    samples = scrape(frontend)
    buckets = [
        (float(le[1]), value)
        for key, value in samples.items()
        if "seconds_bucket" in key and "route=put_csr" in key and (le := re.search(r"le=([^,}]+)", key))
    ]
    counts = [value for _, value in sorted(buckets)]
    assert counts == sorted(counts)
    assert counts[-1] == samples["signerd_frontend_request_seconds_count{route=put_csr}"] > 0
    assert samples["signerd_frontend_request_seconds_sum{route=put_csr}"] > 0


@pytest.mark.parametrize("state", ["ready", "frozen", "unavailable"])
def test_the_signers_state_is_shown(frontend: Frontend, signer: SignerStub, state: str) -> None:
    signer.state = state
    samples = scrape(frontend)
    states = {key: value for key, value in samples.items() if key.startswith("signerd_signer_state")}
    assert len(states) == 3
    assert [key for key, value in states.items() if value] == [f"signerd_signer_state{{state={state}}}"]


def test_a_signer_that_is_away_is_shown_as_unavailable() -> None:
    with Frontend("/nonexistent/sign.sock") as frontend:
        assert scrape(frontend)["signerd_signer_state{state=unavailable}"] == 1


def test_every_worker_shows_the_sum_of_all_also_after_one_was_replaced(start_frontend: StartFrontend) -> None:
    frontend = start_frontend(workers=3)

    def put() -> None:
        for _ in range(5):
            assert frontend.put_csr(PEM).status == 200

    threads = [threading.Thread(target=put) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.kill(children(frontend)[0], signal.SIGKILL)
    frontend.wait_for_log("ended with status -9")
    for _ in range(6):  # by connections of their own: several workers are asked
        assert count(scrape(frontend), "put_csr", 200) == 20


def test_with_metrics_listen_the_page_is_there_and_nowhere_else(start_frontend: StartFrontend) -> None:
    frontend = start_frontend(metrics_listen="127.0.0.1:0", workers=2)
    found = re.search(r"listening at \S+ and (\S+)", frontend.log)
    assert found is not None
    assert frontend.request("GET", "/metrics").status == 404
    frontend.put_csr(PEM)
    with frontend.session(found[1]) as session:
        assert b'requests_total{route="put_csr",status="200"} 1.0' in ask(session, "GET", "/metrics").body
        assert ask(session, "GET", "/ping").status == 404
        assert ask(session, "PUT", "/api/csr/web1", PEM).status == 404
    assert frontend.stop() == 0


def test_counts_by_many_threads_of_one_worker_are_not_lost() -> None:
    board = Board(["a"], workers=2)

    def add() -> None:
        for _ in range(2000):
            board.count(1, "a", 200, 0.5)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [requests, durations, _] = board.collect()
    assert [sample.value for sample in requests.samples] == [16_000]
    total = {s.name: s.value for s in durations.samples if s.labels == {"route": "a"}}
    assert total["signerd_frontend_request_seconds_count"] == 16_000
    assert total["signerd_frontend_request_seconds_sum"] == 8_000.0
