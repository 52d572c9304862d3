"""ca_sign_certificate: what ssl_api's users typed still works, by way of the running signer."""

import contextlib
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol import pem
from protocol.messages import ListRequest
from tests.certs import assert_is_leaf, assert_verifies_with_openssl, lifetime_of, load, openssl_verify
from tests.commands import run
from tests.csrs import csr_for, dns
from tests.identities import ca_certificate, p256, write_identity
from tests.running import Signer

DAY, YEAR = 86_400, 365 * 86_400


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with Signer(policy="[profile.server]\nlifetime_max = '5y'\n[profile.other]\n") as signer:
        yield signer


@pytest.fixture
def csr(tmp_path: Path) -> Path:
    path = tmp_path / "web1.csr"
    path.write_text(pem.encode(csr_for(dns("web1.example.net")), pem.CSR_LABELS[0]))
    return path


def sign(signer: Signer, *arguments: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[str]:
    return run("ca_sign_certificate", *arguments, given=given, environ={"CA_ADMIN_SOCKET": signer.admin_path})


def certificates(text: str) -> list[bytes]:
    blocks = re.findall("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL)
    return [pem.decode_one(block.encode(), (pem.CERTIFICATE_LABEL,)) for block in blocks]


def test_the_command_of_the_old_manual_works(signer: Signer, csr: Path, tmp_path: Path) -> None:
    out = tmp_path / "web1.pem"
    done = sign(signer, "-f", csr, "-o", out, "1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (der,) = certificates(out.read_text())
    certificate = load(der)
    assert_is_leaf(certificate)
    assert_verifies_with_openssl(certificate, load(signer.sign().ask_describe().chain[0]))
    assert lifetime_of(certificate) == YEAR
    assert stat.S_IMODE(out.stat().st_mode) == 0o644


def test_it_reads_stdin_and_writes_stdout_by_default(signer: Signer, csr: Path) -> None:
    done = sign(signer, "90d", given=csr.read_bytes())
    assert (done.returncode, done.stderr) == (0, "")
    (der,) = certificates(done.stdout)
    assert lifetime_of(load(der)) == 90 * DAY


@pytest.mark.parametrize(
    ("validity", "seconds"), [("3600s", 3600), ("2d", 2 * DAY), ("3y", 3 * YEAR), ("2", 2 * YEAR), ("2D", 2 * DAY)]
)
def test_validity_has_the_suffixes_of_the_old_tool(signer: Signer, csr: Path, validity: str, seconds: int) -> None:
    (der,) = certificates(sign(signer, "-f", csr, validity).stdout)
    assert lifetime_of(load(der)) == seconds


@pytest.mark.parametrize("validity", ["6m", "2w", "1h", "0", "-1", "1.5y", "year", ""])
def test_another_validity_is_wrong_usage(signer: Signer, csr: Path, validity: str) -> None:
    done = sign(signer, "-f", csr, "--", validity)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Invalid value for 'VALIDITY'" in done.stderr


def test_without_a_validity_it_is_wrong_usage(signer: Signer, csr: Path) -> None:
    assert sign(signer, "-f", csr).returncode == 2


def test_the_ledger_has_it_as_the_operator_s_or_as_who_was_named(signer: Signer, csr: Path) -> None:
    before = signer.recorded()
    sign(signer, "-f", csr, "1d")
    sign(signer, "-f", csr, "1d", "--client", "named", "--profile", "other")
    with contextlib.closing(signer.admin()) as admin:
        (last,) = admin.ask_list(ListRequest(client="named")).certificates
        assert last.profile == "other"
        assert admin.ask_list(ListRequest(client="operator")).certificates[-1].profile == "server"
    assert signer.recorded() == before + 2


def test_policy_counts_and_a_refusal_leaves_what_was_there(signer: Signer, csr: Path, tmp_path: Path) -> None:
    out = tmp_path / "web1.pem"
    out.write_text("the one before\n")
    done = sign(signer, "-f", csr, "-o", out, "6y")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ca_sign_certificate: policy_denied: lifetime: ")
    assert out.read_text() == "the one before\n"
    assert sign(signer, "-f", csr, "-o", out, "1d").returncode == 0
    assert len(certificates(out.read_text())) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"web1.pem", "web1.csr"}


def test_a_link_leads_to_the_file_that_is_written(signer: Signer, csr: Path, tmp_path: Path) -> None:
    (tmp_path / "link.pem").symlink_to("target.pem")
    assert sign(signer, "-f", csr, "-o", tmp_path / "link.pem", "1d").returncode == 0
    assert (tmp_path / "link.pem").is_symlink()
    assert len(certificates((tmp_path / "target.pem").read_text())) == 1


def test_a_device_is_written_to_and_stays_one(signer: Signer, csr: Path) -> None:
    done = sign(signer, "-f", csr, "-o", "/dev/stdout", "1d")
    assert len(certificates(done.stdout)) == 1
    assert Path("/dev/stdout").is_symlink()


def test_a_chain_has_the_ca_s_certificates_less_the_root(csr: Path) -> None:
    now = int(time.time())
    root_key, key = p256(), p256()
    root = ca_certificate(root_key, name="Root", not_before=now - DAY, not_after=now + YEAR)
    issuing = ca_certificate(
        key, name="Issuing", issuer="Root", issuer_key=root_key, not_before=now - DAY, not_after=now + YEAR
    )
    signer = Signer()
    shutil.rmtree(signer.identity)
    write_identity(signer.identity, [issuing, root], key)
    with signer:
        leaf, *chain = map(load, certificates(sign(signer, "-f", csr, "--chain", "1d").stdout))
    assert chain == [issuing]
    assert openssl_verify([leaf], issuing, "-partial_chain").returncode == 0


def test_without_a_signer_it_says_what_to_do(csr: Path) -> None:
    done = run("ca_sign_certificate", "--socket", "/nonexistent/admin.sock", "-f", csr, "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no socket at /nonexistent/admin.sock: start the signer" in done.stderr


def test_help_has_examples() -> None:
    done = run("ca_sign_certificate", "--help")
    assert done.returncode == 0
    assert "Examples:\n    ca_sign_certificate -f web1.csr -o web1.pem 90d\n" in done.stdout
    assert run("ca_sign_certificate", "--version").stdout == "ca_sign_certificate 1.0.0\n"
