"""pkilint finds no error in anything that the CA's key or its responder's signs."""

import contextlib
import datetime
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from pkilint.bin import lint_crl, lint_ocsp_response, lint_pkix_cert

from signerd.revocation.reasons import REASONS
from tests.authorities import ca_of
from tests.identities import NOW
from tests.matrix import CAS, LEAF_KEYS, USAGES, signed_by

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # pkilint's, of what it reads


def errors(linter: Callable[[list[str]], int], document: bytes, directory: Path, *options: str) -> list[str]:
    """What the linter's command (it takes a second to start, hence its ``main``) finds that is an error or worse."""
    path = directory / "document.der"
    path.write_bytes(document)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        linter(["lint", *options, "-s", "ERROR", "-f", "JSON", "--document-format", "DER", str(path)])
    found = json.loads(printed.getvalue())
    return [finding["code"] for result in found["results"] for finding in result["finding_descriptions"]]


CRL = ("-t", "CRL", "-p", "PKIX")


@pytest.mark.parametrize("ca", CAS)
def test_no_certificate_has_an_error_whatever_its_key_and_usage(tmp_path: Path, ca: str) -> None:
    signed = signed_by(ca)
    leaves = [leaf.certificate for leaf in signed.leaves]
    assert len(leaves) == len(LEAF_KEYS) * (len(USAGES) + 3)
    responder = ocsp.load_der_ocsp_response(signed.answers["good"]).certificates[0]
    for certificate in (*leaves, responder, *signed.chain):
        assert errors(lint_pkix_cert.main, certificate.public_bytes(Encoding.DER), tmp_path) == []


@pytest.mark.parametrize("ca", CAS)
def test_no_crl_has_an_error_empty_full_or_of_a_shard(tmp_path: Path, ca: str) -> None:
    signed = signed_by(ca)
    assert len(x509.load_der_x509_crl(signed.crls["all"])) == len(signed.revoked) == len(REASONS)
    assert {"empty", "all", "cas", "0", "1", "2"} <= set(signed.crls)
    for name, crl in signed.crls.items():
        kind = ("-t", "ARL", "-p", "PKIX") if name == "cas" else CRL
        assert errors(lint_crl.main, crl, tmp_path, *kind) == [], name


@pytest.mark.parametrize("ca", CAS)
def test_no_ocsp_answer_has_an_error_whatever_it_says(tmp_path: Path, ca: str) -> None:
    answers = signed_by(ca).answers
    assert {"good", "nonce", "unknown", "malformed", *REASONS} == set(answers)
    for name, answer in answers.items():
        assert errors(lint_ocsp_response.main, answer, tmp_path) == [], name


def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    certificate, key = ca_of("p256")
    begin = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    end = begin + datetime.timedelta(days=1)
    bare = x509.CertificateRevocationListBuilder(certificate.subject, begin, end).sign(key, hashes.SHA256())
    found = errors(lint_crl.main, bare.public_bytes(Encoding.DER), tmp_path, *CRL)
    assert found == ["pkix.crl_number_missing", "pkix.authority_key_identifier_missing"]
