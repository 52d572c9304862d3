"""ca_admin doctor, on a signer that was started by hand, as ca_start_dev starts it."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import run
from tests.identities import PASSPHRASE, make_identity
from tests.running import Signer, needs_root


@pytest.fixture
def signer() -> Iterator[Signer]:
    with Signer() as signer:
        (signer.state / "frontend.toml").write_text(f'sign_socket = "{signer.sign_path}"\n')
        yield signer


def findings(signer: Signer, **environ: str) -> dict[str, tuple[str, str]]:
    """Level and detail by check; of several of one check the worst."""
    done = run("ca_admin", "doctor", "--json", "--socket", signer.admin_path, environ=environ)
    assert "Traceback" not in done.stderr
    found = {}
    for one in sorted(
        json.loads(done.stdout), key=lambda one: ["ok", "unknown", "warning", "problem"].index(one["level"])
    ):
        found[one["check"]] = (one["level"], one["detail"])
        assert one["level"] == "ok" or one["advice"]
    assert done.returncode == any(level == "problem" for level, _ in found.values())
    return found


def test_it_looks_at_the_files_beside_the_socket_and_at_no_unit(signer: Signer) -> None:
    found = findings(signer)
    assert {check for check, (level, _) in found.items() if level == "problem"} == set()
    assert found["state"][0] == "ok"
    assert f"{signer.identity} and {signer.ledger_path} are the signer's alone" in found["state"][1]
    assert found["passphrase"] == ("ok", f"the one in {signer.passphrase_path} opens the key")
    assert found["frontend"] == ("ok", f"{signer.state}/frontend.toml is valid")
    assert found["signer"][0] == "ok"
    assert not found.keys() & {"units", "sockets", "sandbox", "users", "tls"}


def test_where_nothing_is_installed_it_says_so_and_whose_socket_to_name() -> None:
    if Path("/etc/ca").exists():
        pytest.skip("signerd is installed here")
    done = run("ca_admin", "doctor")
    assert done.returncode == 1
    finding, advice = done.stdout.splitlines()
    assert finding.startswith("problem  installation: nothing is installed here")
    assert "ca_admin --socket ca-dev/admin.sock doctor" in advice


def test_the_passphrase_is_taken_from_the_environment_where_no_file_has_it(signer: Signer) -> None:
    signer.passphrase_path.rename(signer.state / "elsewhere")
    assert findings(signer)["passphrase"] == ("unknown", "it isn't here to be tried")
    assert findings(signer, CA_PASSPHRASE=PASSPHRASE.decode())["passphrase"][0] == "ok"
    level, detail = findings(signer, CA_PASSPHRASE="another")["passphrase"]
    assert (level, detail.split("/")[0]) == ("problem", "the one in CA_PASSPHRASE doesn't open ")


def test_a_key_of_another_certificate_is_found(signer: Signer, tmp_path: Path) -> None:
    make_identity(tmp_path / "other")
    shutil.copy(tmp_path / "other/ca.private_key.pem", signer.identity)
    level, detail = findings(signer)["identity"]
    assert level == "problem"
    assert "the keys differ" in detail


def test_settings_that_others_can_write_are_found(signer: Signer) -> None:
    signer.config.chmod(0o666)
    level, detail = findings(signer)["settings"]
    assert level == "problem"
    assert detail.startswith(f"{signer.config} can be written by others than its owner")


def test_what_is_wrong_in_the_frontends_settings_is_found(signer: Signer) -> None:
    (signer.state / "frontend.toml").write_text("thread = 1")
    level, detail = findings(signer)["frontend"]
    assert level == "problem"
    assert "unknown key thread" in detail


def test_a_key_of_the_ledger_that_is_missing_or_lies_open_is_found(signer: Signer) -> None:
    key = signer.identity / "ledger.key.pem"
    assert findings(signer)["ledger key"] == ("ok", f"{key} opens as the CA's key does")
    run_openssl = [
        "openssl",
        "pkey",
        "-in",
        str(key),
        "-passin",
        f"file:{signer.passphrase_path}",
        "-out",
        f"{key}.open",
    ]
    subprocess.run(run_openssl, check=True)
    key.with_name("ledger.key.pem.open").rename(key)
    level, detail = findings(signer)["ledger key"]
    assert (level, "is not encrypted, and the CA's key is" in detail) == ("problem", True)
    key.unlink()
    assert findings(signer)["ledger key"] == ("problem", f"{key} is missing")


def test_a_key_of_the_ledger_that_others_can_read_is_found(signer: Signer) -> None:
    (signer.identity / "ledger.key.pem").chmod(0o644)
    level, detail = findings(signer)["state"]
    assert (level, "ledger.key.pem can be read by others" in detail) == ("problem", True)


@needs_root
def test_a_ledger_that_the_signer_cannot_write_is_found(signer: Signer) -> None:
    os.chown(signer.ledger_path, 65_500, 65_500)
    level, detail = findings(signer)["state"]
    assert (level, detail) == ("problem", f"{signer.ledger_path} belongs to uid 65500, and the signer runs as root")
