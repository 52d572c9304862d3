"""CRLs, OCSP and a holder's own revocation: types, caching headers, strict parsing. What they say is the signer's."""

import base64
import json
import re
from email.utils import parsedate_to_datetime

import pytest

from protocol.errors import ErrorCode, Refused
from protocol.messages import CrlRequest, OcspReply, OcspRequest, RevokeOwnRequest
from tests.frontend.running import Frontend, Response, assert_problem
from tests.frontend.signer_stub import NEXT_UPDATE, THIS_UPDATE, SignerStub

OCSP = bytes(range(251, 256)) + bytes(range(250))  # its base64 holds + and /


def assert_cacheable_until_next_update(response: Response) -> None:
    directives = response.headers["Cache-Control"]
    max_age = re.search(r"max-age=(\d+)", directives)
    assert max_age is not None
    assert 0 < int(max_age[1]) <= 60
    assert "no-store" not in directives
    assert parsedate_to_datetime(response.headers["Last-Modified"]).timestamp() == THIS_UPDATE
    assert parsedate_to_datetime(response.headers["Expires"]).timestamp() == NEXT_UPDATE


def test_a_crl_has_its_type_and_may_be_cached_for_a_while(frontend: Frontend, signer: SignerStub) -> None:
    response = frontend.request("GET", "/crl/7.crl")
    assert (response.status, response.body) == (200, b"crl")
    assert response.headers["Content-Type"] == "application/pkix-crl"
    assert_cacheable_until_next_update(response)
    assert signer.asked == [CrlRequest(shard=7)]


def test_a_client_that_has_the_crl_already_is_told_so(frontend: Frontend) -> None:
    entity_tag = frontend.request("GET", "/crl/0.crl").headers["ETag"]
    for known in (entity_tag, f'"other", W/{entity_tag}'):
        response = frontend.request("GET", "/crl/0.crl", headers={"If-None-Match": known})
        assert (response.status, response.body) == (304, b"")
        assert response.headers["ETag"] == entity_tag
    assert frontend.request("GET", "/crl/0.crl", headers={"If-None-Match": '"other"'}).status == 200


@pytest.mark.parametrize("shard", ["00", "-1", "65536", "99999", "100000", "0x1", "1e3", "", "a"])
def test_a_shard_that_cannot_be_is_a_404(frontend: Frontend, signer: SignerStub, shard: str) -> None:
    assert_problem(frontend.request("GET", f"/crl/{shard}.crl"), 404, "not_found")
    assert not signer.asked


def test_ocsp_by_post_is_answered_and_not_cached(frontend: Frontend, signer: SignerStub) -> None:
    response = frontend.request("POST", "/ocsp", OCSP, {"Content-Type": "application/ocsp-request"})
    assert (response.status, response.body) == (200, b"ocsp")
    assert response.headers["Content-Type"] == "application/ocsp-response"
    assert response.headers["Cache-Control"] == "no-store"
    assert signer.asked == [OcspRequest(request=OCSP)]


def test_ocsp_by_post_of_another_type_is_refused(frontend: Frontend) -> None:
    assert_problem(frontend.request("POST", "/ocsp", OCSP), 415, "bad_request", "application/ocsp-request")


def test_ocsp_by_get_is_answered_however_the_base64_is_escaped_and_may_be_cached(
    frontend: Frontend, signer: SignerStub
) -> None:
    plain = base64.b64encode(OCSP).decode()
    assert {"+", "/", "="} & set(plain) == {"+", "/"}
    escaped = plain.replace("+", "%2B").replace("/", "%2f")
    for path in (plain, escaped):
        response = frontend.request("GET", f"/ocsp/{path}")
        assert (response.status, response.body) == (200, b"ocsp")
        assert_cacheable_until_next_update(response)
    assert signer.asked == [OcspRequest(request=OCSP)] * 2


@pytest.mark.parametrize("path", ["A", "AA", "A%", "A%3", "%00AAA", "AAA%0a", "AA==AA", "%"])
def test_what_is_no_base64_is_refused(frontend: Frontend, signer: SignerStub, path: str) -> None:
    assert_problem(frontend.request("GET", f"/ocsp/{path}"), 400, "bad_request", "base64")
    assert not signer.asked


@pytest.mark.parametrize(
    "reply",
    [
        OcspReply(response=b"with a nonce", this_update=None, next_update=None),
        OcspReply(response=b"over", this_update=THIS_UPDATE - 7200, next_update=THIS_UPDATE - 3600),
    ],
)
def test_an_answer_for_one_asker_or_past_its_next_update_is_not_cached(
    frontend: Frontend, signer: SignerStub, reply: OcspReply
) -> None:
    signer.ocsp_reply = reply
    response = frontend.request("GET", "/ocsp/AAAA")
    assert (response.status, response.body) == (200, reply.response)
    assert response.headers["Cache-Control"] == "no-store"
    assert "ETag" not in response.headers


# --- a holder's own revocation ------------------------------------------------------------------

REVOCATION = {"serial": "0a1b", "reason": "superseded", "signature": base64.b64encode(b"signature").decode()}


def test_a_holders_revocation_is_passed_on_with_its_proof(frontend: Frontend, signer: SignerStub) -> None:
    for content_type in ("application/json", "application/x-www-form-urlencoded"):
        response = frontend.request(
            "POST", "/api/revoke", json.dumps(REVOCATION).encode(), {"Content-Type": content_type}
        )
        assert response.status == 200
        assert set(response.json()) == {"serial", "revoked_at", "same_key"}
        assert response.json()["same_key"] == ["0abc"]
        assert response.json()["serial"] == "0a1b"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", response.json()["revoked_at"])
    expected = RevokeOwnRequest(serial=b"\x0a\x1b", reason="superseded", signature=b"signature")
    assert signer.asked == [expected] * 2


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"serial": "0A1B"}, "lower-case"),
        ({"serial": "a1b"}, "lower-case"),
        ({"serial": "000a"}, "lower-case"),
        ({"serial": ""}, "lower-case"),
        ({"serial": "ab" * 21}, "lower-case"),
        ({"serial": "0a1b\n"}, "lower-case"),
        ({"serial": 7}, "serial"),
        ({"reason": "x" * 1025}, "reason"),
        ({"reason": None}, "reason"),
        ({"signature": "c2ln!"}, "signature"),
        ({"signature": ""}, "signature"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_malformed_revocation_is_refused_by_its_field(
    frontend: Frontend, signer: SignerStub, change: dict[str, object], detail: str
) -> None:
    body = json.dumps({**REVOCATION, **change}).encode()
    assert_problem(frontend.request("POST", "/api/revoke", body), 400, "bad_request", detail)
    assert not signer.asked


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b'{"serial": "\\ud800"}', b"[" * 10_000, json.dumps(REVOCATION).encode() + b"x"]
)
def test_what_is_no_json_of_a_revocation_is_refused(frontend: Frontend, signer: SignerStub, body: bytes) -> None:
    assert_problem(frontend.request("POST", "/api/revoke", body), 400, "bad_request")
    assert not signer.asked


def test_a_reason_with_a_lone_surrogate_never_reaches_the_socket(frontend: Frontend, signer: SignerStub) -> None:
    body = json.dumps({**REVOCATION, "reason": "\ud800"}).encode()
    assert_problem(frontend.request("POST", "/api/revoke", body), 400, "bad_request")
    assert not signer.asked


def test_the_signers_refusal_is_passed_back(frontend: Frontend, signer: SignerStub) -> None:
    signer.refuse_with = Refused(ErrorCode.NOT_AUTHORIZED, "the signature is not by that certificate's key")
    response = frontend.request("POST", "/api/revoke", json.dumps(REVOCATION).encode())
    assert_problem(response, 403, "not_authorized", "that certificate's key")
