"""A backup is checked whole, and then put in place.

In this order, so that nothing which somebody else wrote is ever placed, or lies there half: the manifest is believed;
its places are those of the closed list; the backup holds what it names and nothing else; each file is copied to where
root alone can write, and its hash is taken of that copy; what is sealed is opened; all owners exist. Only then is it
placed.
"""

import contextlib
import filecmp
import grp
import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from signerd.backup.manifest import (
    FILES_NAME,
    MANIFEST_NAME,
    PROOF_NAME,
    Directory,
    File,
    Manifest,
    NotBelieved,
    believe,
    check,
)
from signerd.backup.places import SETTINGS, SITE_LINK, SITE_LINK_TARGET, Places, under
from signerd.backup.saving import copy_of, open_regular
from signerd.backup.sealing import Sealer
from signerd.files import Owner, private_file
from signerd.new_identity import IDENTITY_NAMES, aside_suffix

_MANIFEST_BYTES_MAX = 64 * 1024 * 1024
_CHUNK = 1024 * 1024
# Beside a ledger, and of that one alone: SQLite's log, and the mark of how far it went.
_LEDGER_SUFFIXES = ("", "-wal", "-shm", ".mark")


class Staged(NamedTuple):
    """A backup that was checked, its files where root alone can write, as they are to be placed."""

    manifest: Manifest
    places: Places
    files: Path
    owners: dict[str, Owner]


@contextlib.contextmanager
def staged(root: Path, directory: Path, fingerprint: str, passphrase: bytes) -> Iterator[Staged]:
    """The backup in ``directory``, checked, for the length of a block. Raises NotBelieved, OSError."""
    manifest = believe(_read(directory / MANIFEST_NAME), _read(directory / PROOF_NAME), fingerprint)
    settings = next((file for file in manifest.files if file.path == SETTINGS and not file.sealed), None)
    if settings is None:
        raise NotBelieved(f"the backup has no {SETTINGS}")
    staging = under(root, "/var/lib")  # of root, and on the file system that is to hold the ledger
    with tempfile.TemporaryDirectory(prefix=".signerd-restore-", dir=staging) as name:  # mode 0700
        files = Path(name)
        _stage(directory, settings, files)
        try:
            places = Places.of(under(files, SETTINGS).read_bytes())
        except ValueError as error:
            raise NotBelieved(f"{SETTINGS}: {error}") from None
        check(manifest, places)
        _refuse_others(directory, manifest)
        for file in manifest.files:
            if file is not settings:
                _stage(directory, file, files)
        sealer = _sealer(manifest, passphrase)
        for path in [file.path for file in manifest.files if file.sealed]:
            _unseal(under(files, path), path, sealer)
        owners = {entry.path: _owner(entry) for entry in (*manifest.directories, *manifest.files)}
        yield Staged(manifest, places, files, owners)


def place(root: Path, backup: Staged, now: int) -> list[Path]:
    """Puts everything where it belongs. What is there already, and is another, is kept aside under a name that ends in
    the time; those files are returned. Raises OSError."""
    for directory in backup.manifest.directories:  # sorted: those above come first
        _make_directory(under(root, directory.path), directory, backup.owners[directory.path])
    set_aside = _set_aside(root, backup, now)
    # The ledger last: without one a signer makes a new ledger, with one it wants all the rest.
    for file in sorted(backup.manifest.files, key=lambda file: file.path == backup.places.ledger):
        target = under(root, file.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        owner = backup.owners[file.path]
        with (
            under(backup.files, file.path).open("rb") as source,
            private_file(target, mode=int(file.mode, 8), owner=owner) as written,
        ):
            shutil.copyfileobj(source, written)
    link = under(root, SITE_LINK)
    if backup.manifest.site and not os.path.lexists(link) and link.parent.is_dir():
        link.symlink_to(SITE_LINK_TARGET)
    return set_aside


def holds_authority(root: Path, places: Places) -> bool:
    """Whether there is a CA on this machine already."""
    return any(os.path.lexists(path) for path in _of_the_authority(root, places))


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(_MANIFEST_BYTES_MAX)
    except (OSError, ValueError) as error:
        raise NotBelieved(f"this is no backup of ca_admin backup --all: {error}") from None


def _refuse_others(directory: Path, manifest: Manifest) -> None:
    """Raises NotBelieved if there is anything but the files of the manifest."""
    expected = {MANIFEST_NAME, PROOF_NAME, *(f"{FILES_NAME}{file.path}" for file in manifest.files)}
    found = set()
    for path in directory.rglob("*"):  # which follows no symbolic link
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode):
            found.add(str(path.relative_to(directory)))
            if not stat.S_ISREG(mode):
                raise NotBelieved(f"{path.relative_to(directory)} is no regular file: it was put into the backup")
    if added := sorted(found - expected):
        raise NotBelieved(f"{added[0]} was added to the backup")
    if missing := sorted(expected - found):
        raise NotBelieved(f"{missing[0]} is missing from the backup")


def _stage(directory: Path, file: File, files: Path) -> None:
    """Copies a file of the backup; what is copied is what the manifest says. Raises NotBelieved, OSError."""
    target = under(files, file.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), file.size
    try:
        with open_regular(copy_of(directory, file.path)) as source, target.open("xb") as copy:
            while chunk := source.read(min(_CHUNK, left + 1)):
                digest.update(chunk)
                copy.write(chunk)
                left -= len(chunk)
                if left < 0:
                    break
    except ValueError as error:
        raise NotBelieved(str(error)) from None
    if left or digest.hexdigest() != file.sha256:
        raise NotBelieved(f"{file.path} is not what it was when the backup was made")


def _sealer(manifest: Manifest, passphrase: bytes) -> Sealer:
    sealer = Sealer(passphrase, bytes.fromhex(manifest.salt))
    if not sealer.opens(bytes.fromhex(manifest.check)):
        raise NotBelieved("the passphrase is not the one that the CA's key had when the backup was made")
    return sealer


def _unseal(copy: Path, path: str, sealer: Sealer) -> None:
    try:
        copy.write_bytes(sealer.open(copy.read_bytes(), path))
    except ValueError as error:
        raise NotBelieved(str(error)) from None


def _owner(entry: Directory) -> Owner:
    try:
        return Owner(pwd.getpwnam(entry.owner).pw_uid, grp.getgrnam(entry.group).gr_gid)
    except KeyError:
        raise NotBelieved(
            f"{entry.path} is to belong to {entry.owner}:{entry.group}, and this machine has no such user or group:"
            " install signerd first"
        ) from None


def _make_directory(path: Path, directory: Directory, owner: Owner) -> None:
    path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, owner.uid, owner.gid)
        os.fchmod(descriptor, int(directory.mode, 8))
    finally:
        os.close(descriptor)


def _set_aside(root: Path, backup: Staged, now: int) -> list[Path]:
    """Renames what would be written over, or would be taken for a part of what is restored."""
    paths = [under(root, file.path) for file in backup.manifest.files]
    paths = [path for path in paths if path.is_file() and not _is_same(path, backup, root)]
    paths += [path for path in _of_the_authority(root, backup.places) if os.path.lexists(path) and path not in paths]
    suffix = aside_suffix(paths, now)
    for path in paths:
        path.rename(f"{path}{suffix}")
    return [Path(f"{path}{suffix}") for path in paths]


def _is_same(path: Path, backup: Staged, root: Path) -> bool:
    copy = under(backup.files, f"/{path.relative_to(root)}")
    return filecmp.cmp(path, copy, shallow=False)


def _of_the_authority(root: Path, places: Places) -> list[Path]:
    """The files of an identity and of a ledger, whether they are there or not."""
    identity, ledger = under(root, places.identity), under(root, places.ledger)
    files = [identity / name for name in (*IDENTITY_NAMES, "ledger.key.pem")]
    return files + [ledger.with_name(f"{ledger.name}{suffix}") for suffix in _LEDGER_SUFFIXES]
