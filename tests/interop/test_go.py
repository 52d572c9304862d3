"""Go: crypto/x509 with golang.org/x/crypto/ocsp, and zlint."""

import subprocess
from pathlib import Path

import pytest

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


def _lint(go: Path, *paths: Path) -> list[str]:
    text = "".join(f"{path}\n" for path in paths)
    done = subprocess.run([str(go), "lint"], input=text, capture_output=True, text=True, check=True, timeout=300)
    return done.stdout.splitlines()
