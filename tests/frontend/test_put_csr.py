"""PUT /api/csr/CLIENT: what is taken, what is refused, and what comes back."""

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from protocol.errors import ErrorCode, Refused
from protocol.fields import MacProof, RenewalProof, Rule
from protocol.messages import CheckReply, CheckRequest, IssueRequest
from tests.frontend.running import Frontend, assert_problem
from tests.frontend.signer_stub import SignerStub, make_csr, signer_stub

KEY, CSR = make_csr("a.example.net", common_name="a.example.net")
PEM = CSR.public_bytes(Encoding.PEM)
DER = CSR.public_bytes(Encoding.DER)
FORM = "application/x-www-form-urlencoded"


def only_request(signer: SignerStub) -> IssueRequest:
    """The one request that the signer was sent."""
    [request] = signer.issue_requests()
    return request


# --- what comes back ----------------------------------------------------------------------------


def test_the_answer_is_the_certificate_its_chain_and_its_dates(frontend: Frontend, signer: SignerStub) -> None:
    response = frontend.put_csr(PEM)
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    answer = response.json()
    assert set(answer) == {"signed_x509_pem", "chain_pem", "serial", "not_before", "not_after"}
    certificate = x509.load_pem_x509_certificate(answer["signed_x509_pem"].encode())
    assert certificate.public_key() == KEY.public_key()
    assert certificate.public_bytes(Encoding.PEM).decode() == answer["signed_x509_pem"]
    chain = x509.load_pem_x509_certificates(answer["chain_pem"].encode())
    assert tuple(c.public_bytes(Encoding.DER) for c in chain) == signer.chain
    assert answer["serial"] == f"{certificate.serial_number:x}".zfill(len(answer["serial"]))
    assert (answer["not_before"], answer["not_after"]) == ("2024-01-01T00:00:00Z", "2034-01-01T00:00:00Z")


def test_the_signer_is_sent_the_csr_and_the_client_and_nothing_that_was_not_asked(
    frontend: Frontend, signer: SignerStub
) -> None:
    frontend.put_csr(PEM, client="Web1")
    assert only_request(signer) == IssueRequest(csr=DER, client="Web1")


@pytest.mark.parametrize(
    "accept",
    [
        "application/pem-certificate-chain",
        "application/json, application/pem-certificate-chain;q=0.5",
        "Application/PEM-certificate-chain",
    ],
)
def test_by_accept_the_chain_comes_as_pem_leaf_first_and_without_the_root(
    frontend: Frontend, signer: SignerStub, accept: str
) -> None:
    response = frontend.put_csr(PEM, Accept=accept)
    assert response.headers["Content-Type"] == "application/pem-certificate-chain"
    leaf, ca = x509.load_pem_x509_certificates(response.body)
    assert leaf.public_key() == KEY.public_key()
    assert ca.public_bytes(Encoding.DER) == signer.chain[0]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/pem-certificate-chain;q=0", "text/html"])
def test_by_any_other_accept_the_answer_is_json(frontend: Frontend, accept: str) -> None:
    assert frontend.put_csr(PEM, Accept=accept).headers["Content-Type"] == "application/json"


def test_curl_gets_a_certificate_both_ways_of_sending_a_file(frontend: Frontend, tmp_path: Path) -> None:
    path = tmp_path / "csr.pem"
    path.write_bytes(PEM)
    url = f"{frontend.url}/api/csr/web1"
    for arguments in (["-T", path], ["-X", "PUT", "--data-binary", f"@{path}"]):
        done = subprocess.run(["curl", "-sSf", *arguments, url], check=True, capture_output=True)
        assert b"BEGIN CERTIFICATE" in done.stdout


@pytest.mark.parametrize("client", ["w", "4711", "web1.example.net", "web-1", "web_1.x", "a..b", "a" * 128])
def test_a_client_id_may_be_a_host_name(frontend: Frontend, signer: SignerStub, client: str) -> None:
    assert frontend.put_csr(PEM, client).status == 200
    assert only_request(signer).client == client


# --- the body -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    ["application/x-pem-file", "application/pkcs10", "text/plain", FORM, "text/plain; charset=utf-8", "TEXT/PLAIN"],
)
def test_a_pem_csr_is_taken_under_each_type(frontend: Frontend, content_type: str) -> None:
    assert frontend.put_csr(PEM, Content_Type=content_type).status == 200


def test_a_pem_csr_is_taken_without_a_type(frontend: Frontend) -> None:
    assert frontend.put_csr(PEM).status == 200


def test_der_is_taken_as_pkcs10(frontend: Frontend, signer: SignerStub) -> None:
    assert frontend.put_csr(DER, Content_Type="application/pkcs10").status == 200
    assert only_request(signer).csr == DER


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "text/plain, text/plain", "pem"])
def test_other_types_are_refused_with_those_that_are_known(frontend: Frontend, content_type: str) -> None:
    response = frontend.put_csr(PEM, Content_Type=content_type)
    assert_problem(response, 415, "bad_request", "application/pkcs10")
    assert "application/x-pem-file" in response.headers["Accept"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "empty"),
        (DER, "no PEM block"),
        (PEM + PEM, "more than one"),
        (b"please sign\n" + PEM, "before or after"),
        (PEM.replace(b"\n", b""), "--data-binary"),
        (PEM.replace(b"\nM", b"\n="), "base64"),
    ],
)
def test_a_body_that_is_not_one_pem_csr_is_refused(
    frontend: Frontend, signer: SignerStub, body: bytes, detail: str
) -> None:
    assert_problem(frontend.put_csr(body), 400, "bad_csr", detail)
    assert not signer.issue_requests()


def test_a_private_key_in_the_body_is_refused_with_a_warning_and_never_logged(
    frontend: Frontend, signer: SignerStub
) -> None:
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for body, content_type in ((PEM + key, FORM), (key, "application/pkcs10"), (key + PEM, "text/plain")):
        response = frontend.put_csr(body, client="careless", Content_Type=content_type)
        assert_problem(response, 400, "bad_csr", "throw it away")
    frontend.wait_for_log("client careless sent a private key", times=3)
    assert not signer.issue_requests()
    for line in (*key.decode().splitlines(), *PEM.decode().splitlines()):
        assert line not in frontend.log


# --- the query ----------------------------------------------------------------------------------


def test_the_profile_is_passed_on(frontend: Frontend, signer: SignerStub) -> None:
    assert frontend.put_csr(PEM, query="?profile=server-2").status == 200
    assert only_request(signer).profile == "server-2"


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("86401s", 86_401), ("1y", 31_536_000)])
def test_the_lifetime_is_passed_on_in_seconds(frontend: Frontend, signer: SignerStub, text: str, seconds: int) -> None:
    assert frontend.put_csr(PEM, query=f"?lifetime={text}").status == 200
    assert only_request(signer).lifetime == seconds


def test_a_signature_of_8_kib_fits_into_the_header(frontend: Frontend, signer: SignerStub) -> None:
    signature = bytes(8192)
    assert frontend.put_csr(PEM, X_CSR_Renew=f"0a:17:{base64.b64encode(signature).decode()}").status == 200
    assert only_request(signer).renewal == RenewalProof(serial=b"\x0a", time=17, signature=signature)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("?profil=server", "'profil'"),
        ("?profile=server&days=9999", "'days'"),
        ("?profile=a&profile=b", "profile is given twice"),
        ("?dry_run=1&dry_run=0", "dry_run is given twice"),
        ("?dry_run=yes", "dry_run is neither"),
        ("?lifetime=30", "lifetime is no duration"),
        ("?lifetime=0d", "lifetime is no duration"),
        ("?lifetime=-1d", "lifetime is no duration"),
        ("?lifetime=30d%20", "lifetime is no duration"),
        ("?lifetime=101y", "lifetime is no duration"),
        ("?lifetime=1d&lifetime=2d", "lifetime is given twice"),
        ("?dry_run", "dry_run is neither"),
        ("?profile=", "profile is no name"),
        ("?profile=a%0a", "profile is no name"),
        (f"?profile={'a' * 65}", "profile is no name"),
        ("?profile=a&", "''"),
        ("?&", "''"),
        ("?%70rofile=a", "'%70rofile'"),
    ],
)
def test_what_is_unknown_repeated_or_malformed_in_the_query_is_refused_by_its_name(
    frontend: Frontend, signer: SignerStub, query: str, detail: str
) -> None:
    assert_problem(frontend.put_csr(PEM, query=query), 400, "bad_request", detail)
    assert not signer.issue_requests()


# --- the headers --------------------------------------------------------------------------------


def test_the_idempotency_key_and_the_proofs_are_passed_on(frontend: Frontend, signer: SignerStub) -> None:
    signature = base64.b64encode(b"signature").decode()
    response = frontend.put_csr(
        PEM, Idempotency_Key="order/4711!", X_CSR_MAC=f"17:{'0aF1' * 16}", X_CSR_Renew=f"00ABc:1790000000:{signature}"
    )
    assert response.status == 200
    assert only_request(signer) == IssueRequest(
        csr=DER,
        client="web1",
        idempotency_key="order/4711!",
        mac=MacProof(time=17, mac=bytes.fromhex("0af1" * 16)),
        renewal=RenewalProof(serial=b"\x0a\xbc", time=1_790_000_000, signature=b"signature"),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "a b"),
        ("Idempotency-Key", "k" * 129),
        ("Idempotency-Key", "k\xe9"),
        ("X-CSR-MAC", ""),
        ("X-CSR-MAC", "0" * 64),  # without a time
        ("X-CSR-MAC", ":" + "0" * 64),
        ("X-CSR-MAC", "-1:" + "0" * 64),
        ("X-CSR-MAC", "017:" + "0" * 64),  # the text that was signed has one spelling
        ("X-CSR-MAC", "1.5:" + "0" * 64),
        ("X-CSR-MAC", "1" * 13 + ":" + "0" * 64),
        ("X-CSR-MAC", "17:" + "0" * 63),
        ("X-CSR-MAC", "17:" + "0" * 66),
        ("X-CSR-MAC", "17:" + "0" * 63 + "g"),
        ("X-CSR-Renew", "0a"),
        ("X-CSR-Renew", "0a:c2ln"),
        ("X-CSR-Renew", "0a:17:"),
        ("X-CSR-Renew", "0a::c2ln"),
        ("X-CSR-Renew", ":17:c2ln"),
        ("X-CSR-Renew", "0:17:c2ln"),
        ("X-CSR-Renew", "0x1:17:c2ln"),
        ("X-CSR-Renew", f"{'f' * 41}:17:c2ln"),
        ("X-CSR-Renew", "0a:17:c2l"),
        ("X-CSR-Renew", "0a:17:c2lnbg==="),
        ("X-CSR-Renew", "0a:17:" + base64.b64encode(bytes(8193)).decode()),
    ],
)
def test_a_malformed_header_is_refused_by_its_name(
    frontend: Frontend, signer: SignerStub, name: str, value: str
) -> None:
    response = frontend.request("PUT", "/api/csr/web1", PEM, {name: value})
    assert_problem(response, 400, "bad_request", name)
    assert not signer.issue_requests()


def test_a_header_that_is_sent_twice_is_refused(frontend: Frontend) -> None:
    for name, value in (("X-CSR-MAC", f"17:{'00' * 32}"), ("Idempotency-Key", "k"), ("X-CSR-Renew", "0a:17:c2ln")):
        head = f"PUT /api/csr/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(PEM)}\r\n"
        answer = frontend.exchange((head + f"{name}: {value}\r\n" * 2 + "\r\n").encode() + PEM)
        assert answer.startswith(b"HTTP/1.1 400 "), answer


# --- the dry run --------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_happen_and_shows_the_certificate(frontend: Frontend, signer: SignerStub) -> None:
    response = frontend.put_csr(PEM, query="?dry_run=1&profile=server")
    assert response.status == 200
    answer = response.json()
    assert set(answer) == {"allowed", "rules", "certificate_text"}
    assert answer["allowed"] is True
    assert answer["rules"] == [{"rule": "names", "ok": True, "detail": "every name is allowed"}]
    assert "Subject: CN=leaf\n" in answer["certificate_text"]
    assert only_request(signer) == CheckRequest(csr=DER, client="web1", profile="server")


def test_a_dry_run_of_what_is_not_allowed_says_so_with_200_and_no_certificate(
    frontend: Frontend, signer: SignerStub
) -> None:
    signer.check_reply = CheckReply(allowed=False, rules=(Rule(rule="names", ok=False, detail="x"),), to_be_signed=None)
    response = frontend.put_csr(PEM, query="?dry_run=1")
    assert response.status == 200
    assert response.json() == {
        "allowed": False,
        "rules": [{"rule": "names", "ok": False, "detail": "x"}],
        "certificate_text": None,
    }


def test_dry_run_0_is_no_dry_run(frontend: Frontend, signer: SignerStub) -> None:
    assert "signed_x509_pem" in frontend.put_csr(PEM, query="?dry_run=0").json()
    assert not isinstance(only_request(signer), CheckRequest)


# --- the signer's refusals ----------------------------------------------------------------------

STATUSES = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.BAD_CSR: 400,
    ErrorCode.WEAK_KEY: 400,
    ErrorCode.UNKNOWN_PROFILE: 400,
    ErrorCode.NOT_AUTHORIZED: 403,
    ErrorCode.POLICY_DENIED: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.CONFLICT: 409,
    ErrorCode.QUOTA_EXCEEDED: 429,
    ErrorCode.FROZEN: 503,
    ErrorCode.BUSY: 503,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.INTERNAL: 500,
}


def test_each_error_code_has_its_status_and_those_that_pass_name_a_time_to_try_again(
    frontend: Frontend, signer: SignerStub
) -> None:
    assert set(STATUSES) == set(ErrorCode)
    for code, status in STATUSES.items():
        signer.refuse_with = Refused(code, f"because of {code}")
        response = frontend.put_csr(PEM)
        assert_problem(response, status, str(code), f"because of {code}")
        assert response.json()["type"] == f"urn:signerd:error:{code}"
        assert (status in {429, 503}) == (int(response.headers.get("Retry-After", 0)) > 0)
        frontend.wait_for_log(rf"PUT /api/csr/web1 {status} .* {code}$(?m:)")


def test_while_the_signer_is_away_clients_are_told_to_try_again_and_it_recovers_by_itself() -> None:
    with signer_stub() as signer, Frontend(signer.path) as frontend:
        assert frontend.put_csr(PEM).status == 200
        signer.close()
        response = frontend.put_csr(PEM)
        assert_problem(response, 503, "unavailable")
        assert int(response.headers["Retry-After"]) > 0
        back = SignerStub(signer.path)
        try:
            assert frontend.put_csr(PEM).status == 200
        finally:
            back.close()
