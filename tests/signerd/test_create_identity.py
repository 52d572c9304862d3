import os
import pwd
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

import signerd.commands.create_identity as create_identity_command
from signerd.commands.create_identity import with_missing_values
from signerd.files import Owner
from signerd.identity import load_identity
from tests.identities import DAY, PASSPHRASE, make_identity
from tests.terminal import Terminal

REPOSITORY = Path(__file__).parents[2]
NAMES = {"ca.crt.pem", "ca.csr.pem", "ca.private_key.pem", "ca.public_key.pem"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "ca"


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def command(*arguments: str | Path) -> list[str]:
    # Where a user ca exists root's files would become its, and the tests, as root, refuse to load those.
    owner = ["--owner", "root"] if os.geteuid() == 0 and "--owner" not in arguments else []
    module = "signerd.commands.create_identity"
    return [sys.executable, "-W", "error", "-m", module, *owner, *map(str, arguments)]


def run(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        env=clean_environment() | dict(environment or {}),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # hence without a terminal to ask on, wherever the tests run
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in {"SAPI_CA_PATH", "CA_PASSPHRASE"}}


WITH_PASSPHRASE = {"CA_PASSPHRASE": PASSPHRASE.decode()}


def test_the_command_of_the_old_manual_works(directory: Path) -> None:
    done = run(
        *("-f", "C", "US", "-f", "CN", "ca.net", "-f", "L", "Palm Beach", "-f", "O", "Random Authority, Inc."),
        *("-f", "ST", "Florida", "-f", "emailAddress", "ca@openpeak.com", "-v", "10", "--key", "rsa2048"),
        environment=WITH_PASSPHRASE | {"SAPI_CA_PATH": str(directory)},
    )
    assert done.returncode == 0, done.stderr
    certificate = load_identity(directory, lambda: PASSPHRASE, int(time.time())).certificate
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime.total_seconds() == 10 * 365 * DAY - 1
    for name in NAMES:
        assert f"wrote {directory / name}\n" in done.stdout
    assert certificate.fingerprint(hashes.SHA256()).hex(":").upper() in done.stdout
    assert certificate.not_valid_after_utc.strftime("%Y-%m-%d %H:%M:%S UTC") in done.stdout
    assert "emailAddress=ca@openpeak.com" in done.stdout
    assert PASSPHRASE.decode() not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("3600s", 3600), ("30d", 30 * DAY), ("30D", 30 * DAY), ("2y", 730 * DAY), ("2", 730 * DAY)],
)
def test_the_validity_takes_the_old_suffixes(directory: Path, given: str, seconds: int) -> None:
    done = run("-f", "CN", "x", "-v", given, "--path", directory, environment=WITH_PASSPHRASE)
    assert done.returncode == 0, done.stderr
    certificate = x509.load_pem_x509_certificate((directory / "ca.crt.pem").read_bytes())
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime.total_seconds() == seconds - 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the CA needs a name: a CN or an O"),
        (["-f", "XX", "y"], "'XX' is no field that is known; these are: C, ST, L, street, postalCode, O, OU, CN,"),
        (["-f", "CN", "x", "-f", "C", "USA"], "C takes the two capital letters"),
        (["-f", "CN", "x", "-v", "5m"], "the validity '5m' doesn't end in s, d or y"),
        (["-f", "CN", "x", "-v", "never"], "the validity 'never' doesn't end in s, d or y"),
        (["-f", "CN", "x", "-v", ""], "'' is no duration"),
        (["-f", "CN", "x", "-v", "9000y"], "past the year 9999"),
        (["-f", "CN", "x", "-v", "1s"], "would be over at once"),
        (["-f", "CN", "x", "--key", "dsa"], "'dsa' is not one of"),
        (["-f", "CN", "x", "--no-such-option"], "No such option"),
        (["-f", "CN"], "-f CN has no value, and there is no terminal to ask for it on"),
        (["-f"], "requires 2 arguments"),
    ],
)
def test_wrong_usage_ends_with_2_and_touches_nothing(directory: Path, arguments: list[str], complaint: str) -> None:
    done = run("--path", directory, *arguments, environment=WITH_PASSPHRASE)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert not directory.exists()


def test_no_passphrase_is_bad_configuration_in_one_line(directory: Path) -> None:
    done = run("-f", "CN", "x", "--path", directory)
    assert done.returncode == 78
    assert re.fullmatch(r"\S+: no passphrase for the CA's key: [^\n]*\n", done.stderr)
    assert not directory.exists()


def test_the_passphrase_file_is_used(directory: Path, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("from the file\n")
    file.chmod(0o600)
    done = run("-f", "CN", "x", "--path", directory, "--passphrase-file", file, environment=WITH_PASSPHRASE)
    assert (done.returncode, done.stderr) == (0, "")
    load_identity(directory, lambda: b"from the file", int(time.time()))


def test_what_the_system_refuses_is_one_line_and_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("-f", "CN", "x", "--path", tmp_path / "file" / "ca", environment=WITH_PASSPHRASE)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f"{tmp_path / 'file' / 'ca'}: Not a directory")
    assert "Traceback" not in done.stderr


def test_without_a_terminal_an_existing_identity_stays_as_it_is(directory: Path) -> None:
    make_identity(directory)
    before = contents(directory)
    done = run("-f", "CN", "x", "--path", directory, environment=WITH_PASSPHRASE)
    assert done.returncode == 1
    assert re.fullmatch(
        r"\S+: \S+ holds an identity already \([^\n]*\); nothing was changed: say --yes [^\n]*\n", done.stderr
    )
    assert contents(directory) == before


@pytest.mark.parametrize("option", ["--yes", "-y", "--force"])
def test_yes_replaces_an_existing_identity_and_says_where_the_old_one_is(directory: Path, option: str) -> None:
    make_identity(directory)
    before = contents(directory)
    done = run("-f", "CN", "x", "--path", directory, option, environment=WITH_PASSPHRASE)
    assert done.returncode == 0
    suffix = re.search(r"kept aside in \S+, under names that end in (\S+)\n", done.stderr)
    assert suffix
    after = contents(directory)
    assert {name: after[name + suffix[1]] for name in NAMES} == before


def test_the_files_that_root_makes_belong_to_the_signers_user_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(create_identity_command, "SIGNER_USER", "nobody")
    nobody = pwd.getpwnam("nobody")
    assert create_identity_command.file_owner(None) == Owner(nobody.pw_uid, nobody.pw_gid)
    monkeypatch.setattr(create_identity_command, "SIGNER_USER", "no-such-user")
    assert create_identity_command.file_owner(None) is None


def test_only_root_may_name_an_owner(directory: Path) -> None:
    done = run("-f", "CN", "x", "--path", directory, "--owner", "root", environment=WITH_PASSPHRASE)
    if os.geteuid() == 0:
        assert done.returncode == 0
        assert "The files belong to root, as whom the signer doesn't run" in done.stdout
    else:
        assert done.returncode == 2
        assert "only root can give the files to another user" in done.stderr


def test_an_owner_that_does_not_exist_is_refused(directory: Path) -> None:
    done = run("-f", "CN", "x", "--path", directory, "--owner", "no-such-user", environment=WITH_PASSPHRASE)
    assert done.returncode == (78 if os.geteuid() == 0 else 2)
    assert not directory.exists()


def test_help_shows_examples_and_version_the_version() -> None:
    shown = run("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Examples:\n    ca_create_identity -f CN " in shown.stdout
    version = run("--version")
    assert version.returncode == 0
    assert re.fullmatch(r".* \d+\.\d+\.\d+\n", version.stdout)


def on_terminal(*arguments: str | Path) -> Terminal:
    return Terminal(command(*arguments), cwd=REPOSITORY, environment=clean_environment())


def test_a_person_is_asked_for_values_and_twice_for_the_passphrase(directory: Path) -> None:
    with on_terminal("-f", "CN", "-f", "O", "--path", directory, "-f", "C", "US") as terminal:
        terminal.answer("CN: ", "ca.example.net")
        terminal.answer("O: ", "Example, Inc.")
        terminal.answer("Passphrase of the CA's key: ", "swordfish")
        terminal.answer("The same again: ", "swordfish")
        assert terminal.status() == 0
    identity = load_identity(directory, lambda: b"swordfish", int(time.time()))
    assert identity.certificate.subject.rfc4514_string() == r"C=US,O=Example\, Inc.,CN=ca.example.net"


@pytest.mark.parametrize("answer", ["n", "", "no"])
def test_a_person_who_does_not_say_yes_keeps_the_identity(directory: Path, answer: str) -> None:
    make_identity(directory)
    before = contents(directory)
    with on_terminal("-f", "CN", "x", "--path", directory) as terminal:
        terminal.answer("The old files are kept aside. [y/N]: ", answer)
        assert "given up" in terminal.rest()
        assert terminal.status() == 1
    assert contents(directory) == before


def test_a_person_who_says_yes_gets_a_new_identity(directory: Path) -> None:
    make_identity(directory)
    with on_terminal("-f", "CN", "x", "--path", directory) as terminal:
        terminal.answer("[y/N]: ", "y")
        terminal.answer("Passphrase of the CA's key: ", "swordfish")
        terminal.answer("The same again: ", "swordfish")
        assert terminal.status() == 0
    load_identity(directory, lambda: b"swordfish", int(time.time()))


def test_ctrl_c_at_a_question_ends_with_1_and_without_a_traceback(directory: Path) -> None:
    with on_terminal("-f", "CN", "x", "--path", directory) as terminal:
        terminal.answer("Passphrase of the CA's key: ", "\x03")
        assert terminal.status() == 1
        assert "Traceback" not in terminal.rest()
    assert not directory.exists()


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        (["-f", "CN", "x"], ["-f", "CN", "x"]),
        (["-f", "CN"], ["-f", "CN", "\0"]),
        (["-f", "CN", "-v", "1"], ["-f", "CN", "\0", "-v", "1"]),
        (["--field", "CN", "-f", "O", "y"], ["--field", "CN", "\0", "-f", "O", "y"]),
        (["-f"], ["-f"]),
        (["-f", "CN", ""], ["-f", "CN", ""]),
        ([], []),
    ],
)
def test_a_field_without_a_value_is_marked_as_one_to_ask_for(given: list[str], completed: list[str]) -> None:
    assert with_missing_values(given) == completed
