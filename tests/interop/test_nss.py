"""NSS, which Firefox and Thunderbird verify by: certutil, crlutil and vfychain.

Debian 12's knows no Ed25519 in certificates that it is to verify by, no issuing distribution point, and no usage for
time stamps.
"""

from pathlib import Path

import pytest

from tests.interop.cases import GOOD, REFUSED, REVOKED, Case, assert_agrees
from tests.revocation.deployment import Deployment, attempt, sh, soon

_USAGES = {"clientAuth": 0, "serverAuth": 1, "emailProtection": 4, "codeSigning": 6, "ipsecIKE": 12}
_EMAIL_RECIPIENT = 5
_IS_REVOKED = "ERROR -8180"


class Nss:
    """A directory with a database for each root and CRL."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: dict[tuple[Path, ...], tuple[Path, str]] = {}

    def says(self, case: Case, usage: int) -> str:
        """What it says of a certificate, or before of its CA or CRL."""
        database, complaint = self._database(case)
        if complaint:
            return complaint
        said = attempt(f"vfychain -d sql:{database} -u {usage} {case.leaf} 2>&1").stdout
        return GOOD if said == "Chain is good!\n" else REVOKED if _IS_REVOKED in said else said

    def _database(self, case: Case) -> tuple[Path, str]:
        assert case.crl is not None
        files = (case.root, *case.intermediates, case.crl)
        if files not in self._made:
            database = self._directory / str(len(self._made))
            make_database(database)
            certificates = [f"-n {path} -t {'CT,C,C' if path == case.root else ',,'} -i {path}" for path in files[:-1]]
            steps = [f"certutil -A -d sql:{database} {one}" for one in certificates]
            steps.append(f"crlutil -I -d sql:{database} -i {case.crl}")
            complaint = attempt(f"{{ {' && '.join(steps)}; }} 2>&1").stdout
            self._made[files] = database, complaint
        return self._made[files]


def make_database(path: Path) -> None:
    """An empty one."""
    path.mkdir()
    sh(f"certutil -N -d sql:{path} --empty-password")


@pytest.fixture
def nss(tmp_path: Path) -> Nss:
    return Nss(tmp_path)


def _instead(case: Case) -> str | None:
    if case.expected == REFUSED:
        return None
    if case.ca == "ed25519":
        return "SEC_ERROR_ADDING_CERT|SEC_ERROR_UNKNOWN_ISSUER"
    if case.key_type == "ed25519" and case.usage == "serverAuth":
        return "key usage inadequate"
    if "shard" in case.what:
        return "SEC_ERROR_CRL_UNKNOWN_CRITICAL_EXTENSION"
    if case.ca == "below" and case.usage == "codeSigning":
        return "Issuer certificate is invalid"  # for that it wants Netscape's own extension in an intermediate
    return None


def test_nss_verifies_everything_by_crl(cases: list[Case], nss: Nss) -> None:
    asked = [case for case in cases if case.crl is not None and case.usage in _USAGES]
    assert {case.usage for case in cases} - {case.usage for case in asked} == {"timeStamping"}
    assert_agrees(asked, {case.name: nss.says(case, _USAGES[case.usage]) for case in asked}, _instead)


def test_nss_has_mail_encrypted_to_rsa_and_ec_keys(cases: list[Case], nss: Nss) -> None:
    def instead(case: Case) -> str | None:
        signs_only = case.key_type == "ed25519" and case.ca != "ed25519"
        return "key usage inadequate" if signs_only else _instead(case)

    asked = [case for case in cases if case.usage == "emailProtection"]
    assert_agrees(asked, {case.name: nss.says(case, _EMAIL_RECIPIENT) for case in asked}, instead)


def test_nss_asks_by_ocsp(tmp_path: Path) -> None:
    make_database(tmp_path / "nss")
    with Deployment() as deployment:
        certificate = deployment.issue(tmp_path)
        sh(f"certutil -A -d sql:{tmp_path}/nss -n root -t CT,C,C -a -i {deployment.ca}")
        ask = f"vfychain -d sql:{tmp_path}/nss -pp -g leaf -m ocsp -s failIfNoInfo -u 1 -a {certificate.path} 2>&1"
        assert sh(ask) == "Chain is good!\n"
        deployment.revoke(certificate)
        soon(lambda: _IS_REVOKED in attempt(ask).stdout, "revoked")
        deployment.stop()
        assert "Chain is good!" not in attempt(ask).stdout  # it did ask
