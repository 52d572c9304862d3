"""backup --all and restore: what a backup of an installation holds, and that nothing but it is ever placed.

The installation lies under a directory of the test's; tests/system/test_restore.py has the commands on real machines.
"""

import contextlib
import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.backup.manifest import (
    FILES_NAME,
    MANIFEST_NAME,
    PROOF_NAME,
    File,
    Manifest,
    NotBelieved,
    encode,
    prove,
    read_fingerprint,
)
from signerd.backup.places import SETTINGS, UNITS, Places, is_plain, outside, under
from signerd.backup.restoring import holds_authority, place, staged
from signerd.backup.saving import Authority, Host, copy_of, finish, save
from signerd.backup.sealing import SALT_BYTES, Sealer
from signerd.certificate import key_identifier_of
from signerd.identity import Identity, load_identity
from signerd.ledger_key_file import make_ledger_key
from signerd.statement import Statement
from tests.identities import NOW, PASSPHRASE, make_identity
from tests.running import ROOT

SECRETS = {
    "/etc/ca/mac-keys/web1": b"5ec4e7" * 10,
    "/etc/ca/custom/sapi_custom_ca/ca.py": b"TOKEN = 'a token of the operator'\n",
    "/etc/nginx/signerd/tls.key": b"the key of nginx\n",
}
PUBLIC = {
    SETTINGS: b"[signer]\n[client.web1]\nmac_key_file = '/etc/ca/mac-keys/web1'\n",
    "/etc/ca/frontend.toml": b"workers = 1\n",
    "/etc/ca/hooks/sapi_custom_ca/api.py": b"API_CSR_HOOKS_FACTORY = None\n",
    "/etc/ca/hooks/__pycache__/api.pyc": b"what Python makes anew\n",
    "/etc/nginx/sites-available/signerd": b"server { }\n",
    "/etc/nginx/signerd/tls.pem": b"a certificate\n",
    "/etc/systemd/system/ca-signerd.service.d/passphrase.conf": b"[Service]\n",
    "/etc/passwd": b"what is not of the installation\n",
    "/var/lib/ca/ledger.db": b"the ledger " * 200_000,
}
HOST = Host(units=("ca-signerd.service", "ca-renew-nginx.timer"), credential="encrypted")


@dataclass
class Installation:
    """One under ``root``, and a backup of it."""

    root: Path
    backup: Path
    identity: Identity
    authority: Authority
    manifest: Manifest

    @property
    def fingerprint(self) -> str:
        return self.identity.certificate.fingerprint(hashes.SHA256()).hex()


def authority_of(identity: Identity, directory: Path) -> Authority:
    """With a new ledger key in the identity's directory, and the statement about it that starts a ledger."""
    key = make_ledger_key(directory, PASSPHRASE)
    text = Statement(key_identifier_of(identity.certificate), key.public).text
    assert isinstance(identity.private_key, ec.EllipticCurvePrivateKey)
    signature = identity.private_key.sign(text, ec.ECDSA(hashes.SHA256()))
    return Authority(identity.certificate.public_bytes(Encoding.PEM).decode(), (text, signature), key)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    root, backup = tmp_path / "machine", tmp_path / "backup"
    for path, content in {**PUBLIC, **SECRETS}.items():
        under(root, path).parent.mkdir(parents=True, exist_ok=True)
        under(root, path).write_bytes(content)
        under(root, path).chmod(0o600 if path in SECRETS else 0o644)
    under(root, SETTINGS).chmod(0o640)
    under(root, "/etc/ca/custom/sapi_custom_ca/ca.py").chmod(0o644)
    under(root, "/etc/ca/custom").chmod(0o750)
    under(root, "/etc/nginx/sites-enabled").mkdir()
    under(root, "/etc/nginx/sites-enabled/signerd").symlink_to("../sites-available/signerd")
    under(root, "/var/lib/ca").chmod(0o700)
    identity = make_identity(under(root, "/var/lib/ca"))
    authority = authority_of(identity, under(root, "/var/lib/ca"))
    places = Places.of(PUBLIC[SETTINGS])
    copy_of(backup, places.ledger).parent.mkdir(parents=True)
    shutil.copy(under(root, places.ledger), copy_of(backup, places.ledger))
    manifest = save(root, backup, places, PASSPHRASE, HOST, NOW)
    finish(backup, manifest, authority)
    return Installation(root, backup, identity, authority, manifest)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A machine with the package, and nothing of an operator's."""
    root = tmp_path / "bare"
    for path in ("/etc/ca/mac-keys", "/etc/nginx/signerd", "/etc/nginx/sites-enabled", "/var/lib/ca"):
        under(root, path).mkdir(parents=True)
    under(root, SETTINGS).write_text("# as installed\n")
    return root


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """What lies under ``root``: modes, and the content of files and links."""
    found = {}
    for path in root.rglob("*"):
        content = bytes(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[f"/{path.relative_to(root)}"] = (path.lstat().st_mode, content)
    return found


def restore(
    root: Path, installation: Installation, *, fingerprint: str | None = None, passphrase: bytes = PASSPHRASE
) -> list[Path]:
    with staged(root, installation.backup, fingerprint or installation.fingerprint, passphrase) as backup:
        return place(root, backup, NOW)


def assert_nothing_is_placed(root: Path, installation: Installation, reason: str) -> None:
    before = tree(root)
    with pytest.raises(NotBelieved, match=reason):
        restore(root, installation)
    assert tree(root) == before


# --- What is restored -----------------------------------------------------------------------------


def test_a_bare_machine_gets_every_file_mode_and_link(installation: Installation, bare: Path) -> None:
    kept = restore(bare, installation)
    left_out = {"/etc/passwd", "/etc/ca/hooks/__pycache__", "/etc/ca/hooks/__pycache__/api.pyc"}
    expected = {path: what for path, what in tree(installation.root).items() if path not in left_out}
    aside = {f"/{path.relative_to(bare)}" for path in kept}
    assert {path: what for path, what in tree(bare).items() if path not in aside} == expected
    assert aside == {f"{SETTINGS}.20260102T030405Z"}  # the package's own
    load_identity(under(bare, "/var/lib/ca"), lambda: PASSPHRASE, NOW)


def test_the_ledger_and_identity_may_lie_elsewhere_and_nothing_else_beside_them() -> None:
    places = Places.of(b"[signer]\nidentity = '/srv/ca/identity'\nledger = '/srv/ca/ledger/ca.db'\n")
    assert places.allows("/srv/ca/identity/ca.private_key.pem")
    assert places.allows("/srv/ca/ledger/ca.db")
    assert not places.allows("/srv/ca/identity/other")
    assert not places.allows("/var/lib/ca/ledger.db")
    assert places.allows_directory("/srv/ca/ledger")
    assert not places.allows_directory("/srv/ca")
    with pytest.raises(ValueError, match="plain absolute paths"):
        Places.of(b"[signer]\nledger = '/srv/../etc/cron.d/x'\n")


def test_the_directory_of_a_ledger_elsewhere_is_the_signers_again(installation: Installation, bare: Path) -> None:
    settings = b"[signer]\nledger = '/srv/ledger/ca.db'\n"
    under(installation.root, SETTINGS).write_bytes(settings)
    under(installation.root, "/srv/ledger").mkdir(mode=0o700, parents=True)
    under(installation.root, "/srv/ledger/ca.db").write_bytes(b"the ledger")
    again, places = installation.root.with_name("again"), Places.of(settings)
    copy_of(again, places.ledger).parent.mkdir(parents=True)
    shutil.copy(under(installation.root, places.ledger), copy_of(again, places.ledger))
    finish(again, save(installation.root, again, places, PASSPHRASE, HOST, NOW), installation.authority)
    restore(bare, dataclasses.replace(installation, backup=again))
    assert under(bare, "/srv/ledger/ca.db").read_bytes() == b"the ledger"
    assert under(bare, "/srv/ledger").stat().st_mode & 0o777 == 0o700


def test_a_ca_that_is_there_is_kept_aside_with_all_that_belongs_to_its_ledger(
    installation: Installation, bare: Path
) -> None:
    make_identity(under(bare, "/var/lib/ca"), subject=[("CN", "Another CA")])
    for suffix in ("", "-wal", "-shm", ".mark"):
        under(bare, f"/var/lib/ca/ledger.db{suffix}").write_text("another's")
    assert holds_authority(bare, Places.of(PUBLIC[SETTINGS]))
    before = tree(bare)
    kept = {f"/{path.relative_to(bare)}" for path in restore(bare, installation)}
    after = tree(bare)
    assert {re.sub(r"\.2026\w+Z$", "", path) for path in kept} == {
        SETTINGS,
        *(f"/var/lib/ca/{name}" for name in ("ca.crt.pem", "ca.private_key.pem", "ca.public_key.pem", "ca.csr.pem")),
        *(f"/var/lib/ca/ledger.db{suffix}" for suffix in ("", "-wal", "-shm", ".mark")),
    }
    assert all(after[path] == before[re.sub(r"\.2026\w+Z$", "", path)] for path in kept)
    assert not {"/var/lib/ca/ledger.db-wal", "/var/lib/ca/ledger.db-shm", "/var/lib/ca/ledger.db.mark"} & set(after)


# --- What a backup holds --------------------------------------------------------------------------


def test_no_secret_lies_open_in_a_backup(installation: Installation) -> None:
    content = b"".join(path.read_bytes() for path in installation.backup.rglob("*") if path.is_file())
    for path, secret in SECRETS.items():
        assert secret not in content, path
    # The CA's key is encrypted already; the old form of encryption is worth little, so it is sealed all the same.
    assert b"PRIVATE KEY" not in content
    sealed = {file.path for file in installation.manifest.files if file.sealed}
    identity = {"/var/lib/ca/ca.private_key.pem", "/var/lib/ca/ledger.key.pem"}
    assert sealed >= set(SECRETS) | identity
    assert not sealed & {SETTINGS, "/etc/ca/hooks/sapi_custom_ca/api.py"}


def test_a_sealed_file_opens_as_itself_alone() -> None:
    salt = bytes(SALT_BYTES)
    sealed = Sealer(PASSPHRASE, salt).seal(b"content", "/etc/ca/mac-keys/web1")
    assert Sealer(PASSPHRASE, salt).open(sealed, "/etc/ca/mac-keys/web1") == b"content"
    for passphrase, path, content in (
        (PASSPHRASE, "/etc/ca/mac-keys/web2", sealed),
        (b"another", "/etc/ca/mac-keys/web1", sealed),
        (PASSPHRASE, "/etc/ca/mac-keys/web1", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (PASSPHRASE, "/etc/ca/mac-keys/web1", b""),
    ):
        with pytest.raises(ValueError, match="can't be decrypted"):
            Sealer(passphrase, salt).open(content, path)


@pytest.mark.parametrize("kind", ["link", "link to a directory", "pipe"])
def test_what_is_no_file_is_not_left_out_silently(installation: Installation, tmp_path: Path, kind: str) -> None:
    path = under(installation.root, "/etc/ca/hooks/other")
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/etc/shadow" if kind == "link" else "/etc")
    with pytest.raises(ValueError, match="/etc/ca/hooks/other is no regular file"):
        save(installation.root, tmp_path / "again", Places.of(PUBLIC[SETTINGS]), PASSPHRASE, HOST, NOW)


def test_what_the_settings_name_elsewhere_is_told_of() -> None:
    settings = b"[signer]\nblocked_keys = '/srv/blocked'\n[client.a]\nmac_key_file = '/etc/ca/mac-keys/a'\n"
    assert outside(settings) == ["/srv/blocked"]


def test_the_units_are_those_that_are_installed() -> None:
    text = (ROOT / "packaging/commands.sh").read_text()
    [listed] = re.findall(r"^units=\(\n(.*?)^\)", text, re.MULTILINE | re.DOTALL)
    assert sorted(UNITS) == sorted(listed.split())


# --- What is not believed -------------------------------------------------------------------------


def files_of(backup: Path) -> list[Path]:
    return sorted(path for path in backup.rglob("*") if path.is_file())


def test_one_flipped_bit_in_any_file_and_nothing_is_placed(installation: Installation, bare: Path) -> None:
    paths = files_of(installation.backup)
    assert len(paths) > 12
    for path in paths:
        content = path.read_bytes()
        for at in {0, len(content) // 2, len(content) - 1}:
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            assert_nothing_is_placed(bare, installation, ".")
        path.write_bytes(content)
    restore(bare, installation)


def add_file(backup: Path) -> None:
    (backup / FILES_NAME / "etc/ca/hooks/added.py").write_text("")


def add_hidden_file_beside(backup: Path) -> None:
    (backup / ".added").write_text("")


def add_link(backup: Path) -> None:
    (backup / FILES_NAME / "etc/ca/hooks/added").symlink_to("/etc")


def take_file_away(backup: Path) -> None:
    (backup / FILES_NAME / "etc/ca/frontend.toml").unlink()


def put_link_to_the_same_content(backup: Path) -> None:
    path = backup / FILES_NAME / "etc/ca/frontend.toml"
    elsewhere = path.rename(backup.parent / "elsewhere")
    path.symlink_to(elsewhere)


def put_linked_directory(backup: Path) -> None:
    path = backup / FILES_NAME / "etc/ca/hooks"
    elsewhere = path.rename(backup.parent / "elsewhere")
    path.symlink_to(elsewhere)


def put_pipe(backup: Path) -> None:
    path = backup / FILES_NAME / "etc/ca/frontend.toml"
    path.unlink()
    os.mkfifo(path)


def lengthen(backup: Path) -> None:
    with (backup / FILES_NAME / "var/lib/ca/ledger.db").open("ab") as file:
        file.truncate(2**33)  # sparse: to read all of it would take long, and to copy it much room


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (add_file, "etc/ca/hooks/added.py was added"),
        (add_hidden_file_beside, ".added was added"),
        (add_link, "etc/ca/hooks/added is no regular file"),
        (take_file_away, "frontend.toml is missing"),
        (put_link_to_the_same_content, "frontend.toml is no regular file"),
        (put_linked_directory, "etc/ca/hooks is no regular file"),
        (put_pipe, "frontend.toml is no regular file"),
        (lengthen, "ledger.db is not what it was"),
    ],
)
def test_a_changed_backup_is_not_believed(
    installation: Installation, bare: Path, change: Callable[[Path], None], reason: str
) -> None:
    change(installation.backup)
    assert_nothing_is_placed(bare, installation, reason)


def with_hook(manifest: Manifest, backup: Path) -> Manifest:
    """A manifest in which the hooks are an attacker's; they lie in the backup."""
    path = "/etc/ca/hooks/sapi_custom_ca/api.py"
    copy_of(backup, path).write_bytes(b"import os\n")
    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"import os\n")
    evil = msgspec.structs.replace(
        next(file for file in manifest.files if file.path == path), size=10, sha256=digest.finalize().hex()
    )
    return msgspec.structs.replace(manifest, files=tuple(evil if f.path == path else f for f in manifest.files))


def test_a_manifest_signed_by_another_ledger_key_is_not_believed(
    installation: Installation, bare: Path, tmp_path: Path
) -> None:
    other = make_identity(tmp_path / "other")
    forged = authority_of(other, tmp_path / "other")
    manifest = with_hook(installation.manifest, installation.backup)
    genuine = installation.authority
    for authority, reason in (
        (forged, "another fingerprint"),
        (forged._replace(certificate=genuine.certificate), "not signed by this CA's ledger key"),
        (forged._replace(certificate=genuine.certificate, statement=genuine.statement), "not signed by this CA's"),
    ):
        finish(installation.backup, manifest, authority)
        assert_nothing_is_placed(bare, installation, reason)


def test_another_manifest_under_the_old_signature_is_not_believed(installation: Installation, bare: Path) -> None:
    manifest = with_hook(installation.manifest, installation.backup)
    (installation.backup / MANIFEST_NAME).write_bytes(encode(manifest))
    assert_nothing_is_placed(bare, installation, "not signed by this CA's ledger key")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/ca/../cron.d/added",
        "/etc/ca/hooks/../../cron.d/added",
        "/etc/ca//added",
        "etc/ca/added",
        "/etc/ca/hooks/",
        "/etc/cron.d/added",
        "/etc/systemd/system/added.service",
        "/etc/systemd/system/ca-signerd.service.d/../../x.conf",
        "/var/lib/ca/added",
        "/etc/ca/a\nb",
    ],
)
def test_even_the_ledger_key_signs_no_place_outside_of_the_closed_list(
    installation: Installation, bare: Path, path: str
) -> None:
    content = b"added"
    target = Path(f"{installation.backup / FILES_NAME}/{path}")
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(content)
    added = File(path, "0644", "root", "root", len(content), digest.finalize().hex(), sealed=False)
    manifest = msgspec.structs.replace(installation.manifest, files=(*installation.manifest.files, added))
    finish(installation.backup, manifest, installation.authority)
    assert_nothing_is_placed(bare, installation, "is no place of an installation's")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("units", ["sshd.service"], "units that are not signerd's"),
        ("salt", "00", "salt can't be read"),
        ("version", 2, "can't be read"),
        ("added", 1, "can't be read"),
    ],
)
def test_a_manifest_that_says_what_none_says_is_refused(
    installation: Installation, bare: Path, field: str, value: object, reason: str
) -> None:
    fields = json.loads((installation.backup / MANIFEST_NAME).read_bytes())
    text = json.dumps({**fields, field: value}).encode()
    genuine = installation.authority
    proof = prove(text, genuine.key, genuine.certificate, genuine.statement)
    (installation.backup / MANIFEST_NAME).write_bytes(text)
    (installation.backup / PROOF_NAME).write_bytes(encode(proof))
    assert_nothing_is_placed(bare, installation, reason)


def test_the_operators_fingerprint_and_passphrase_decide(installation: Installation, bare: Path) -> None:
    before = tree(bare)
    for fingerprint, passphrase, reason in (
        ("0" * 64, PASSPHRASE, "another fingerprint"),
        (installation.fingerprint, b"wrong", "the passphrase is not the one"),
    ):
        with pytest.raises(NotBelieved, match=reason):
            restore(bare, installation, fingerprint=fingerprint, passphrase=passphrase)
    assert tree(bare) == before


def test_a_directory_that_is_no_backup_is_called_that(installation: Installation, bare: Path) -> None:
    shutil.rmtree(installation.backup)
    installation.backup.mkdir()
    assert_nothing_is_placed(bare, installation, "no backup of ca_admin backup --all")


def test_a_fingerprint_is_read_as_people_have_it() -> None:
    plain = "0123456789abcdef" * 4
    colons = ":".join(plain[at : at + 2] for at in range(0, 64, 2)).upper()
    assert {read_fingerprint(text) for text in (plain, colons, f"sha256 Fingerprint={colons}\n")} == {plain}
    for wrong in ("", plain[:-2], f"{plain}00", colons.replace("0", "g")):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            read_fingerprint(wrong)


def test_a_path_is_plain_in_one_way_only() -> None:
    assert is_plain("/etc/ca/signerd.toml")
    for path in ("", "/", "//etc/ca", "/etc/./ca", "/etc/ca/", "/etc/ca/..", "etc/ca", "/etc/ca\0"):
        assert not is_plain(path), path
