"""Go: crypto/x509 with golang.org/x/crypto/ocsp, and zlint."""

import datetime
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from tests.identities import ca_certificate, common_name, p256
from tests.interop.cases import Case, ask, assert_agrees

pytestmark = pytest.mark.timeout(600)  # the first time, the driver is built


def test_go_verifies_everything(go: Path, cases: list[Case]) -> None:
    assert_agrees(cases, ask([go, "verify"], cases))


def test_zlint_finds_no_error_by_any_rfc(go: Path, cases: list[Case], directory: Path) -> None:
    assert cases  # written to the directory
    paths = [path for path in directory.rglob("*") if path.suffix in {".der", ".crl", ".ocsp"}]
    paths = [path for path in paths if path.name != "malformed.ocsp"]  # no more than a status
    assert len(paths) > 400
    found = [line.replace(f"{directory}/", "") for line in _lint(go, *paths)]
    assert not found, "\n".join(found)


def test_zlint_finds_what_is_wrong(go: Path, tmp_path: Path) -> None:
    root = p256()
    no_ca = ca_certificate(p256(), name="leaf", issuer="root", issuer_key=root, constraints=None)
    begin = datetime.datetime.now(datetime.UTC)
    bare = x509.CertificateRevocationListBuilder(common_name("root"), begin, begin + datetime.timedelta(days=1))
    (tmp_path / "no_ca.der").write_bytes(no_ca.public_bytes(Encoding.DER))
    (tmp_path / "bare.crl").write_bytes(bare.sign(root, hashes.SHA256()).public_bytes(Encoding.DER))
    certificate, crl = ("".join(_lint(go, tmp_path / name)) for name in ("no_ca.der", "bare.crl"))
    assert "\terror\te_" in certificate
    assert "\terror\te_" in crl


def _lint(go: Path, *paths: Path) -> list[str]:
    text = "".join(f"{path}\n" for path in paths)
    done = subprocess.run([str(go), "lint"], input=text, capture_output=True, text=True, check=True, timeout=300)
    return done.stdout.splitlines()
