"""A backup as it is made: copies of the installation's files, what is secret among them sealed, and the manifest.

Root reads here what others may write (the signer's own directory): no symbolic link is followed at a file.
"""

import grp
import hashlib
import os
import posixpath
import pwd
import shutil
import stat
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from signerd.backup.manifest import FILES_NAME, MANIFEST_NAME, PROOF_NAME, Directory, File, Manifest, encode, prove
from signerd.backup.places import SETTINGS, SITE_LINK, Places, under
from signerd.backup.sealing import SALT_BYTES, Sealer
from signerd.files import write_private_file
from signerd.ledger.ledger_key import LedgerKey

_OTHERS_READ, _OTHERS_ENTER = 0o004, 0o001


class Host(NamedTuple):
    """What systemd knows of an installation: the ``units`` that it has enabled, and how it keeps the passphrase."""

    units: tuple[str, ...]
    credential: Literal["encrypted", "plain", "none"]


class Authority(NamedTuple):
    """By whom a backup is believed: the CA's certificate as PEM, the statement that names its ledger key with the
    statement's signature, and that key."""

    certificate: str
    statement: tuple[bytes, bytes]
    key: LedgerKey


def copy_of(directory: Path, path: str) -> Path:
    """Where the backup in ``directory`` holds an installation's file."""
    return under(directory / FILES_NAME, path)


def save(  # noqa: PLR0913, PLR0917 - what is there, and what the host and the caller know of it
    root: Path, directory: Path, places: Places, passphrase: bytes, host: Host, now: int
) -> Manifest:
    """Copies the installation under ``root`` to ``directory``, which holds the ledger's snapshot already.

    Raises ValueError for what can't be in a backup, OSError.
    """
    salt = os.urandom(SALT_BYTES)
    sealer = Sealer(passphrase, salt)
    files = [_copy(root, directory, path, sealer) for path in places.files(root)]
    files.append(_snapshot(root, directory, places.ledger))
    return Manifest(
        version=1,
        time=now,
        salt=salt.hex(),
        check=sealer.check().hex(),
        credential=host.credential,
        units=host.units,
        site=under(root, SITE_LINK).exists(),
        directories=tuple(_directory(root, path) for path in places.directories(root)),
        files=tuple(sorted(files, key=lambda file: file.path)),
    )


def finish(directory: Path, manifest: Manifest, authority: Authority) -> None:
    """Writes the manifest and what it is believed by; then the backup is whole. Raises OSError."""
    text = encode(manifest)
    proof = prove(text, authority.key, authority.certificate, authority.statement)
    write_private_file(directory / MANIFEST_NAME, text)
    write_private_file(directory / PROOF_NAME, encode(proof))


def open_regular(path: Path) -> BinaryIO:
    """The regular file at ``path``, which is no symbolic link. Raises OSError, ValueError for another kind of file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} is no regular file")
    return os.fdopen(descriptor, "rb")


def _copy(root: Path, directory: Path, path: str, sealer: Sealer) -> File:
    target = copy_of(directory, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    sealed = path != SETTINGS and not _is_public(root, path)  # the settings say where identity and ledger belong
    with open_regular(under(root, path)) as source, target.open("xb") as file:
        status = os.fstat(source.fileno())
        if sealed:
            file.write(sealer.seal(source.read(), path))
        else:
            shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())
    return _file(path, target, status, sealed=sealed)


def _snapshot(root: Path, directory: Path, path: str) -> File:
    """The ledger's: with the owner of the ledger. It holds no key, and ``ca_admin verify --ledger`` reads it."""
    return _file(path, copy_of(directory, path), under(root, path).stat(), sealed=False)


def _file(path: str, copy: Path, status: os.stat_result, *, sealed: bool) -> File:
    with copy.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return File(path, *_whose(status), size=copy.stat().st_size, sha256=digest, sealed=sealed)


def _directory(root: Path, path: str) -> Directory:
    return Directory(path, *_whose(under(root, path).stat()))


def _whose(status: os.stat_result) -> tuple[str, str, str]:
    """Mode, owner and group, by name: numbers are another's on another machine. Raises ValueError."""
    try:
        return (
            f"{status.st_mode & 0o777:04o}",
            pwd.getpwuid(status.st_uid).pw_name,
            grp.getgrgid(status.st_gid).gr_name,
        )
    except KeyError:
        raise ValueError(f"a file belongs to uid {status.st_uid}, gid {status.st_gid}, which have no names") from None


def _is_public(root: Path, path: str) -> bool:
    """Whether others may read the file, and enter the directories above it."""
    if not under(root, path).stat().st_mode & _OTHERS_READ:
        return False
    while (path := posixpath.dirname(path)) != "/":
        if not under(root, path).stat().st_mode & _OTHERS_ENTER:
            return False
    return True
