"""Rust: rustls-webpki, which rustls verifies by. OCSP is not among what it does."""

from pathlib import Path

import pytest

from tests.interop.cases import Case, ask, assert_agrees

pytestmark = pytest.mark.timeout(600)  # the first time, the driver is built


def test_rustls_verifies_everything_by_crl(rust: Path, cases: list[Case]) -> None:
    by_crl = [case for case in cases if case.crl is not None]
    assert_agrees(by_crl, ask([rust], by_crl), _instead)


def _instead(case: Case) -> str | None:
    # Hence /crl/all.pem leaves it out: rustls would take none of the file.
    return "UnsupportedCrlIssuingDistributionPoint" if case.what == "crl-of-cas" else None
