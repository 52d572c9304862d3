"""pkilint finds no error in anything that the CA's key or its responder's signs."""

import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from signerd.revocation import crls
from tests.authorities import CA_KEY_TYPES, ca_of, local_authority
from tests.csrs import CN, csr_for, dns, openssl_csr, rdn
from tests.identities import DAY, NOW
from tests.revocations import (
    ask_ocsp,
    check_signature,
    crl_reply,
    distribution_point_of,
    issue,
    ocsp_request,
    publish,
    revoke,
    serial_of,
)

BIN = Path(sys.executable).parent
REASONS = (
    *("unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation"),
    *("certificateHold", "privilegeWithdrawn", "aACompromise"),
)


def errors(linter: str, document: bytes, directory: Path, *options: str) -> list[str]:
    """What the linter finds that is an error or worse."""
    path = directory / "document.der"
    path.write_bytes(document)
    command = [str(BIN / linter), "lint", *options, "-s", "ERROR", "-f", "JSON", "--document-format", "DER", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip(), done.stderr
    found = json.loads(done.stdout)
    return [finding["code"] for result in found["results"] for finding in result["finding_descriptions"]]


@pytest.mark.parametrize("ca", CA_KEY_TYPES)
def test_certificates_have_no_error(tmp_path: Path, ca: str) -> None:
    with local_authority(tmp_path, ca=ca, signer='base_url = "http://ca.example.net"') as at:
        names = "subjectAltName=DNS:web1.example.net,IP:192.0.2.7,IP:2001:db8::7,email:a@example.net,URI:https://example.net/a"
        found = [at.issue(openssl_csr(tmp_path, "rsa2048", "-addext", names))]
        found.append(at.issue(csr_for(dns("web1.example.net"))))  # no subject: critical names
        found.append(at.issue(csr_for(dns("web1.example.net"), subject=[rdn(CN, "web1.example.net")])))
        request = ocsp_request(at.ca, found[0])
        found.append(check_signature(at.ca, ocsp.load_der_ocsp_response(ask_ocsp(at, request).response)))
        for certificate in found:
            assert errors("lint_pkix_cert", certificate.public_bytes(Encoding.DER), tmp_path) == []


@pytest.mark.parametrize("ca", CA_KEY_TYPES)
def test_crls_have_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: str) -> None:
    with local_authority(tmp_path, ca=ca, signer='base_url = "http://ca.example.net"') as at:
        publish(at)
        found = [crl_reply(at).crl]  # empty
        for number, reason in enumerate(REASONS):
            date = at.now - DAY if number % 2 else None
            revoke(at, *issue(at, 1), reason=reason, invalidity_date=date)
        publish(at)
        found.append(crl_reply(at).crl)
        monkeypatch.setattr(crls, "ENTRIES_MAX", 1)
        revoke(at, *issue(at, 1))
        publish(at)
        found.append(crl_reply(at).crl)  # of a shard
        assert distribution_point_of(x509.load_der_x509_crl(found[-1])) is not None
        for crl in found:
            assert errors("lint_crl", crl, tmp_path, "-t", "CRL", "-p", "PKIX") == []


@pytest.mark.parametrize("ca", CA_KEY_TYPES)
def test_ocsp_answers_have_no_error(tmp_path: Path, ca: str) -> None:
    with local_authority(tmp_path, ca=ca) as at:
        good, *others = issue(at, 1 + len(REASONS))
        found = [ask_ocsp(at, ocsp_request(at.ca, good)).response]
        found.append(ask_ocsp(at, ocsp_request(at.ca, good, nonce=bytes(32))).response)
        for certificate, reason in zip(others, REASONS, strict=True):
            revoke(at, certificate, reason=reason, invalidity_date=at.now - DAY)
        found += [ask_ocsp(at, ocsp_request(at.ca, one)).response for one in (others[0], others[1], others[6])]
        at.ledger.query("DELETE FROM certificates WHERE serial = ?", serial_of(good))
        found.append(ask_ocsp(at, ocsp_request(at.ca, good, nonce=b"n")).response)
        assert ocsp.load_der_ocsp_response(found[-1]).certificate_status is ocsp.OCSPCertStatus.UNKNOWN
        found.append(ask_ocsp(at, b"").response)
        for response in found:
            assert errors("lint_ocsp_response", response, tmp_path) == []


def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    certificate, key = ca_of("p256")
    begin = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    end = begin + datetime.timedelta(days=1)
    bare = x509.CertificateRevocationListBuilder(certificate.subject, begin, end).sign(key, hashes.SHA256())
    found = errors("lint_crl", bare.public_bytes(Encoding.DER), tmp_path, "-t", "CRL", "-p", "PKIX")
    assert found == ["pkix.crl_number_missing", "pkix.authority_key_identifier_missing"]
