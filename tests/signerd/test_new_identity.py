import os
import re
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.errors import ConfigurationError
from signerd import new_identity
from signerd.files import Owner, write_private_file
from signerd.identity import load_identity
from signerd.new_identity import KEY_MAKERS, create_identity, subject_name, validity
from tests.identities import DAY, NOW, PASSPHRASE, ca_certificate, make_identity, openssl, p256

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
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, None)
    text = openssl("x509", "-in", directory / "ca.crt.pem", "-noout", "-ext", "keyUsage").decode()
    assert text.split("\n")[:2] == ["X509v3 Key Usage: critical", "    Certificate Sign, CRL Sign"]
    subject_key = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    authority_key = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert subject_key.value.digest == authority_key.value.key_identifier
    assert (authority_key.value.authority_cert_issuer, len(certificate.extensions)) == (None, 4)


def test_a_new_root_can_stand_above_an_issuing_ca_and_that_issues_leaves_only(directory: Path) -> None:
    root = make_identity(directory / "root", subject=[("CN", "root")])
    issuing = make_identity(directory / "issuing", subject=[("CN", "issuing")])
    request = x509.load_pem_x509_csr((directory / "issuing" / "ca.csr.pem").read_bytes())
    asked = request.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (asked.ca, asked.path_length) == (True, 0)
    below = ca_certificate(
        issuing.private_key, name="issuing", issuer="root", issuer_key=root.private_key, constraints=asked
    )
    leaf = ca_certificate(
        p256(), name="leaf", issuer="issuing", issuer_key=issuing.private_key, constraints=None, usage=None
    )
    for name, certificate in ("below", below), ("leaf", leaf):
        (directory / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    files = ("-CAfile", directory / "root" / "ca.crt.pem", "-untrusted", directory / "below.pem")
    assert openssl("verify", "-attime", str(NOW), *files, directory / "leaf.pem").endswith(b": OK\n")


def test_a_mailbox_in_the_subject_is_among_the_names_of_root_and_request(directory: Path) -> None:
    root = make_identity(directory, subject=[("CN", "ca"), ("emailAddress", "CA@Example.net")]).certificate
    request = x509.load_pem_x509_csr((directory / "ca.csr.pem").read_bytes())
    for extensions in root.extensions, request.extensions:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert (names.critical, list(names.value)) == (False, [x509.RFC822Name("CA@example.net")])


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
        ([("CN", "a"), ("emailAddress", "postmaster")], "emailAddress: 'postmaster' is not an e-mail address"),
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
