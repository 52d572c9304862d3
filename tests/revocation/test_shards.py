"""CRLs of shards, before those who rely on them: a shard's own is taken, another's is not."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signerd import authority
from signerd.revocation import crls
from tests.authorities import LocalAuthority, local_authority
from tests.revocation.deployment import attempt
from tests.revocations import all_crls, crl_of, issue, publish, revoke, shard_of


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAuthority]:
    monkeypatch.setattr(authority, "CRL_SHARD_CERTIFICATES", 3)
    monkeypatch.setattr(crls, "ENTRIES_MAX", 3)
    with local_authority(tmp_path, signer='base_url = "http://ca.example.net"', now=int(time.time()) - 10) as one:
        yield one


Crls = list[x509.CertificateRevocationList]


def says(
    at: LocalAuthority, directory: Path, certificate: x509.Certificate, crls: Crls, check: str = "-crl_check"
) -> str:
    """What openssl says of a certificate by these CRLs."""
    (directory / "ca.pem").write_bytes(at.ca.public_bytes(Encoding.PEM))
    (directory / "leaf.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / "crl.pem").write_bytes(b"".join(crl.public_bytes(Encoding.PEM) for crl in crls))
    done = attempt(f"cd {directory}; openssl verify {check} -CRLfile crl.pem -CAfile ca.pem leaf.pem 2>&1")
    return "good" if done.returncode == 0 else done.stdout


def verdict(at: LocalAuthority, directory: Path, certificate: x509.Certificate, shard: int) -> str:
    """The same by the CRL of a shard."""
    return says(at, directory, certificate, [crl_of(at, shard)])


def some_revoked(at: LocalAuthority) -> tuple[list[x509.Certificate], list[x509.Certificate]]:
    """The certificates of two shards, and two of each that are revoked, with CRLs of all that."""
    certificates = issue(at, 6)
    revoked = certificates[:2] + certificates[3:5]
    revoke(at, *revoked)
    publish(at)
    return certificates, revoked


def test_openssl_takes_a_shards_crl_for_that_shards_certificates_alone(at: LocalAuthority, tmp_path: Path) -> None:
    certificates, revoked = some_revoked(at)
    for one in certificates:
        own = verdict(at, tmp_path, one, shard_of(one))
        assert ("certificate revoked" in own) == (one in revoked)
        assert (own == "good") == (one not in revoked)
        assert "different CRL scope" in verdict(at, tmp_path, one, 1 - shard_of(one))


def test_openssl_checks_a_whole_chain_with_the_file_of_all_crls(at: LocalAuthority, tmp_path: Path) -> None:
    certificates, revoked = some_revoked(at)
    for one in certificates:
        whole = says(at, tmp_path, one, all_crls(at), "-crl_check_all")
        assert ("certificate revoked" in whole) == (one in revoked)
        assert (whole == "good") == (one not in revoked), whole


def test_gnutls_takes_a_shards_crl_as_signed_by_the_ca(at: LocalAuthority, tmp_path: Path) -> None:
    certificates = issue(at, 6)
    revoke(at, *certificates[:4])
    publish(at)
    verdict(at, tmp_path, certificates[0], 0)
    verified = attempt(f"cd {tmp_path}; certtool --verify-crl --load-ca-certificate ca.pem --infile crl.pem")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "Verified." in verified.stdout
