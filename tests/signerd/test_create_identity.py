import os
import pwd
import re
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import signerd.commands.create_identity as create_identity_command
from protocol.errors import ConfigurationError
from signerd import new_identity
from signerd.commands.create_identity import with_missing_values
from signerd.files import Owner, write_private_file
from signerd.identity import load_identity
from signerd.new_identity import KEY_MAKERS, create_identity, subject_name, validity
from tests.identities import DAY, NOW, PASSPHRASE, make_identity, openssl
from tests.terminal import Terminal

REPOSITORY = Path(__file__).parents[2]
NAMES = {"ca.crt.pem", "ca.csr.pem", "ca.private_key.pem", "ca.public_key.pem"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "ca"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# The identity that is made


@pytest.mark.parametrize("key", sorted(KEY_MAKERS))
def test_a_new_root_passes_openssl_in_its_strictest_mode(directory: Path, key: str) -> None:
    make_identity(directory, key=key)
    root = directory / "ca.crt.pem"
    arguments = ("verify", "-x509_strict", "-check_ss_sig", "-attime", str(NOW), "-CAfile", root, root)
    assert openssl(*arguments).endswith(b": OK\n")
    assert openssl("req", "-verify", "-noout", "-in", directory / "ca.csr.pem") == b""


def test_a_new_root_says_what_rfc_5280_asks_of_it_and_no_more(directory: Path) -> None:
    certificate = make_identity(directory).certificate
    assert certificate.version is x509.Version.v3
    assert certificate.issuer == certificate.subject
    assert 0 < certificate.serial_number < 2**159
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    text = openssl("x509", "-in", directory / "ca.crt.pem", "-noout", "-ext", "keyUsage").decode()
    assert text.split("\n")[:2] == ["X509v3 Key Usage: critical", "    Certificate Sign, CRL Sign"]
    subject_key = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    authority_key = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert subject_key.value.digest == authority_key.value.key_identifier
    assert (authority_key.value.authority_cert_issuer, len(certificate.extensions)) == (None, 4)


def test_serial_numbers_are_random_and_of_159_bits(directory: Path) -> None:
    serials = {make_identity(directory / str(number)).certificate.serial_number for number in range(4)}
    assert len(serials) == 4
    assert max(serials).bit_length() > 130


def test_the_validity_starts_a_minute_back_and_lasts_to_the_second(directory: Path) -> None:
    certificate = make_identity(directory, lifetime_seconds=DAY).certificate
    assert certificate.not_valid_before_utc.timestamp() == NOW - 60
    assert certificate.not_valid_after_utc.timestamp() == NOW - 60 + DAY - 1


def test_the_validity_ends_within_the_year_9999() -> None:
    last = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
    assert validity(last - NOW + 61, NOW)[1].timestamp() == last
    with pytest.raises(ValueError, match="past the year 9999"):
        validity(last - NOW + 62, NOW)
    with pytest.raises(ValueError, match="past the year 9999"):
        validity(10**15, NOW)
    with pytest.raises(ValueError, match="would be over at once"):
        validity(60, NOW)


def test_a_root_that_is_valid_past_2049_passes_openssl(directory: Path) -> None:
    make_identity(directory, lifetime_seconds=100 * 365 * DAY)
    root = directory / "ca.crt.pem"
    at = str(NOW + 99 * 365 * DAY)
    assert openssl("verify", "-x509_strict", "-attime", at, "-CAfile", root, root).endswith(b": OK\n")


def test_the_files_are_private_and_belong_together(directory: Path) -> None:
    before = os.umask(0)
    try:
        identity = make_identity(directory)
    finally:
        os.umask(before)
    assert {path.name: mode_of(path) for path in directory.iterdir()} == {
        "ca.crt.pem": 0o644,
        "ca.csr.pem": 0o644,
        "ca.private_key.pem": 0o600,
        "ca.public_key.pem": 0o644,
    }
    assert mode_of(directory) == 0o700
    public = identity.private_key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert (directory / "ca.public_key.pem").read_bytes() == pem
    request = x509.load_pem_x509_csr((directory / "ca.csr.pem").read_bytes())
    assert request.public_key() == public
    assert request.subject == identity.certificate.subject


def test_the_key_is_encrypted_with_scrypt_and_openssl_reads_it(directory: Path) -> None:
    make_identity(directory)
    key = directory / "ca.private_key.pem"
    assert key.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    structure = openssl("asn1parse", "-in", key).decode()
    for part in (":PBES2", ":scrypt", ":aes-256-cbc", "INTEGER           :4000", "INTEGER           :08"):
        assert part in structure
    password = f"pass:{PASSPHRASE.decode()}"
    public = openssl("pkey", "-in", key, "-passin", password, "-pubout")
    assert public == (directory / "ca.public_key.pem").read_bytes()
    with pytest.raises(AssertionError, match="Could not read key"):
        openssl("pkey", "-in", key, "-passin", "pass:wrong")


def test_a_subject_keeps_the_order_of_its_fields_and_their_types(directory: Path) -> None:
    fields = [
        ("C", "US"),
        ("DC", "net"),
        ("DC", "example"),
        ("O", "Größe, Inc."),
        ("serialNumber", "A-1"),
        ("CN", "ca"),
        ("emailAddress", "ca@example.net"),
    ]
    make_identity(directory, subject=fields)
    shown = openssl(
        *("x509", "-in", directory / "ca.crt.pem", "-noout", "-subject"),
        *("-nameopt", "show_type,utf8,sep_comma_plus_space"),
    )
    assert shown.decode().strip() == (
        "subject=C=PRINTABLESTRING:US, DC=IA5STRING:net, DC=IA5STRING:example, O=UTF8STRING:Größe, Inc., "
        "serialNumber=PRINTABLESTRING:A-1, CN=UTF8STRING:ca, emailAddress=IA5STRING:ca@example.net"
    )


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ([("C", "US")], "a CN or an O"),
        ([("XX", "y"), ("CN", "ca")], "'XX' is no field that is known; these are: C, ST, L,"),
        ([("cn", "ca")], "'cn' is no field that is known"),
        ([("CN", "")], "the value of CN is empty"),
        ([("CN", "  ")], "the value of CN is empty"),
        ([("CN", "a\nb")], "characters that can't be printed"),
        ([("CN", "a\0b")], "characters that can't be printed"),
        ([("CN", "a\u202eb")], "characters that can't be printed"),
        ([("CN", "x" * 65)], "CN: "),
        ([("CN", "a"), ("CN", "b")], "CN is given more than once"),
        ([("CN", "a"), ("C", "USA")], "C takes the two capital letters"),
        ([("CN", "a"), ("C", "us")], "C takes the two capital letters"),
        ([("CN", "a"), ("C", "1A")], "C takes the two capital letters"),
        ([("CN", "a"), ("emailAddress", "ü@b")], "emailAddress can't hold all characters"),
        ([("CN", "a"), ("serialNumber", "a_b")], "serialNumber can't hold all characters"),
    ],
)
def test_a_subject_that_cannot_be_is_refused(fields: list[tuple[str, str]], complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)) as refused:
        subject_name(fields)
    assert "\n" not in str(refused.value)


# An identity that is there already


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def remake(directory: Path, *, replace: bool, now: int = NOW) -> None:
    create_identity(directory, [("CN", "New")], DAY, "p256", PASSPHRASE, now, replace=replace)


def test_an_existing_identity_is_not_touched_unless_that_is_asked(directory: Path) -> None:
    make_identity(directory)
    before = contents(directory)
    with pytest.raises(ConfigurationError, match="holds an identity already"):
        remake(directory, replace=False)
    assert contents(directory) == before


def test_a_single_old_file_counts_as_an_identity(directory: Path) -> None:
    directory.mkdir(0o700)
    (directory / "ca.cert.pem").write_bytes(b"old")
    with pytest.raises(ConfigurationError, match=r"holds an identity already \(ca.cert.pem\)"):
        remake(directory, replace=False)


def test_the_files_of_a_replaced_identity_are_kept_aside_each_time(directory: Path) -> None:
    make_identity(directory)
    first = contents(directory)
    (directory / "ca.cert.pem").write_bytes(first["ca.crt.pem"])
    remake(directory, replace=True)
    second = contents(directory)
    remake(directory, replace=True)  # within the same second
    third = contents(directory)
    for name in NAMES:
        assert third[f"{name}.20260102T030405Z"] == first[name]
        assert third[f"{name}.20260102T030405Z+"] == second[name]
    assert "ca.cert.pem" not in third
    assert third["ca.cert.pem.20260102T030405Z"] == first["ca.crt.pem"]
    assert load_identity(directory, lambda: PASSPHRASE, NOW).certificate.subject == subject_name([("CN", "New")])


@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_a_failure_midway_leaves_no_identity_that_is_half_and_loses_no_key(
    directory: Path, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_identity(directory)
    first = contents(directory)
    calls: list[Path] = []

    def fail_at_last(path: Path, content: bytes, *, mode: int, owner: Owner | None) -> None:
        if len(calls) == written:
            raise OSError(28, "No space left on device", str(path))
        calls.append(path)
        write_private_file(path, content, mode=mode, owner=owner)

    monkeypatch.setattr(new_identity, "write_private_file", fail_at_last)
    with pytest.raises(OSError, match="No space left"):
        remake(directory, replace=True)
    aside = {name.partition(".2026")[0]: data for name, data in contents(directory).items() if ".2026" in name}
    assert aside == first
    with pytest.raises(ConfigurationError, match="holds neither"):
        load_identity(directory, lambda: PASSPHRASE, NOW)


# The directory


def test_a_directory_made_by_mkdir_is_made_private(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o755)
    make_identity(directory)
    assert mode_of(directory) == 0o700


def test_a_directory_with_other_things_in_it_is_not_closed_to_others(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)
    (directory / "somebody's").touch()
    with pytest.raises(ConfigurationError, match=r"holds other files \(somebody's\)"):
        make_identity(directory)
    assert mode_of(directory) == 0o777
    directory.chmod(0o700)
    make_identity(directory)


def test_the_files_and_the_directory_belong_to_the_owner_asked_for(directory: Path) -> None:
    owner = Owner(54_321, 54_322) if os.geteuid() == 0 else Owner(os.geteuid(), os.getegid())
    create_identity(directory, [("CN", "x")], DAY, "p256", PASSPHRASE, NOW, owner=owner)
    for path in (directory, *directory.iterdir()):
        assert (path.stat().st_uid, path.stat().st_gid) == owner


# The command


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
