"""The routes besides the PUT of a CSR: what each answers, in every state of the signer."""

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.messages import DescribeRequest
from tests.frontend.running import Frontend, ask, assert_problem
from tests.frontend.signer_stub import SignerStub, signer_stub


def test_ping_is_200_and_empty(frontend: Frontend) -> None:
    response = frontend.request("GET", "/ping")
    assert (response.status, response.body) == (200, b"")


def test_the_index_is_forbidden(frontend: Frontend) -> None:
    assert_problem(frontend.request("GET", "/"), 403, "not_authorized")


def test_healthz_needs_no_signer(frontend: Frontend, signer: SignerStub) -> None:
    assert frontend.request("GET", "/healthz").status == 200
    assert not signer.asked


@pytest.mark.parametrize("state", ["frozen", "unavailable"])
def test_readyz_says_why_the_signer_is_not_ready(frontend: Frontend, signer: SignerStub, state: str) -> None:
    assert frontend.request("GET", "/readyz").status == 200
    signer.state = state
    response = frontend.request("GET", "/readyz")
    assert_problem(response, 503, state, f"the signer is {state}")
    assert int(response.headers["Retry-After"]) > 0


def test_the_cas_certificate_comes_as_pem_and_der_and_its_chain_as_pem(frontend: Frontend, signer: SignerStub) -> None:
    response = frontend.request("GET", "/ca.der")
    assert response.headers["Content-Type"] == "application/pkix-cert"
    assert response.body == signer.chain[0]
    [ca] = x509.load_pem_x509_certificates(frontend.request("GET", "/ca.pem").body)
    assert ca.public_bytes(Encoding.DER) == signer.chain[0]
    chain = x509.load_pem_x509_certificates(frontend.request("GET", "/chain.pem").body)
    assert tuple(c.public_bytes(Encoding.DER) for c in chain) == signer.chain
    assert "max-age" in response.headers["Cache-Control"]


def test_the_cas_certificate_is_served_from_memory_while_the_signer_is_away() -> None:
    with signer_stub() as signer, Frontend(signer.path) as frontend:
        expected = frontend.request("GET", "/ca.der").body
        frontend.request("GET", "/ca.der")
        assert [type(request) for request in signer.asked] == [DescribeRequest]
        signer.close()
        assert frontend.request("GET", "/ca.der").body == expected
        assert_problem(frontend.request("GET", "/readyz"), 503, "unavailable")
        assert frontend.request("GET", "/healthz").status == 200


def test_without_any_signer_the_cas_certificate_is_unavailable() -> None:
    with Frontend("/nonexistent/sign.sock") as frontend:
        assert_problem(frontend.request("GET", "/ca.pem"), 503, "unavailable")


@pytest.mark.parametrize("path", ["/ping", "/healthz", "/ca.der", "/chain.pem", "/metrics", "/", "/nowhere"])
def test_head_answers_as_get_but_for_the_body(frontend: Frontend, path: str) -> None:
    with frontend.session() as connection:
        got, head = ask(connection, "GET", path), ask(connection, "HEAD", path)
        assert (head.status, head.body) == (got.status, b"")
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
        if path != "/metrics":  # whose length the GET before has changed
            assert head.headers["Content-Length"] == str(len(got.body))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/ping", "GET, HEAD"),
        ("DELETE", "/api/csr/web1", "PUT"),
        ("GET", "/api/csr/web1", "PUT"),
        ("OPTIONS", "/ca.pem", "GET, HEAD"),
        ("TRACE", "/", "GET, HEAD"),
        ("PUT", "/ocsp", "POST"),
        ("GET", "/api/revoke", "POST"),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_ones(
    frontend: Frontend, method: str, path: str, allowed: str
) -> None:
    response = frontend.request(method, path)
    assert_problem(response, 405, "bad_request", allowed)
    assert response.headers["Allow"] == allowed
    assert response.json()["title"] == "Method Not Allowed"


@pytest.mark.parametrize("path", ["/nowhere", "/api/csr", "/api/csr/", "/api/csr/web1/", "/ping/", "//ping", "/crl/x"])
def test_an_unknown_path_is_a_404(frontend: Frontend, path: str) -> None:
    for method in ("GET", "PUT", "BREW"):
        assert_problem(frontend.request(method, path), 404, "not_found")


def test_no_answer_names_the_software(frontend: Frontend) -> None:
    assert "Server" not in frontend.request("GET", "/ping").headers
    assert b"waitress" not in frontend.exchange(b"nonsense\r\n\r\n").lower()


def test_curl_follows_expect_100_continue(frontend: Frontend) -> None:
    arguments = ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Expect: 100-continue", "-d", "x"]
    done = subprocess.run(["curl", *arguments, f"{frontend.url}/ocsp"], check=True, capture_output=True)
    assert done.stdout == b"415"


# --- the log ------------------------------------------------------------------------------------


def test_each_request_leaves_one_line_and_a_refusal_its_code(frontend: Frontend) -> None:
    frontend.request("GET", "/ping?from=test_each_request")
    frontend.wait_for_log(r"GET /ping\?from=test_each_request 200 \d+\.\d ms 127\.0\.0\.1$(?m:)")
    frontend.request("GET", "/readyz/test_each_request")
    frontend.wait_for_log(r"GET /readyz/test_each_request 404 \d+\.\d ms 127\.0\.0\.1 not_found$(?m:)")
    assert frontend.log.count("test_each_request") == 2
