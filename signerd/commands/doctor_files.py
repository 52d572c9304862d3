"""ca_admin doctor: whose the files of an installation are, who else can read or write them, and the disk."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from signerd.commands.finding import Finding, Level, error_of
from signerd.commands.installation import Installation
from signerd.files import Owner, user_name
from signerd.identity import PRIVATE_KEY_NAME
from signerd.ledger_key_file import LEDGER_KEY_NAME

# Whoever can write here has code run: in the frontend, in the signer.
_CODE = {Path("/etc/ca/hooks"): "the frontend", Path("/etc/ca/custom"): "the signer", Path(sys.prefix): "both daemons"}

_DISK_PROBLEM_BYTES = 64 * 2**20  # some 40,000 certificates
_DISK_WARNING_BYTES = 1024 * 2**20


def check_code() -> Iterator[Finding]:
    """Root alone can write what the daemons run."""
    bad = False
    for directory, whose in _CODE.items():
        for path in _tree(directory):
            if why := _not_roots_alone(path):
                bad = True
                detail = f"{path} {why}: who can write it has code run by {whose}"
                yield Finding("code", Level.PROBLEM, detail, _advice(path, directory))
                break
    if not bad:
        yield Finding("code", Level.OK, "root alone can write what the daemons run")


def _tree(directory: Path) -> Iterator[Path]:
    """The directory, what leads there, and what is in it; of a virtual environment not each file."""
    yield from [directory, *directory.parents] if directory.exists() else []
    for pattern in ("*", "*/*", "*/*/*/*"):
        yield from directory.glob(pattern)


def _advice(path: Path, directory: Path) -> str:
    """What to do about ``path``, which is ``directory``, in it, or above it: there others have their files."""
    if path not in directory.parents:
        return f"chown --recursive root: {path}; chmod -R go-w {path}"
    if path.stat().st_mode & stat.S_ISVTX or path.stat().st_uid != 0:
        return f"move {directory} to where root alone can write"
    return f"chmod go-w {path}"


def _not_roots_alone(path: Path, owners: tuple[int, ...] = (0,)) -> str | None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return None
    if status.st_uid not in owners:
        return f"belongs to {user_name(status.st_uid)}"
    return "can be written by others than its owner" if status.st_mode & 0o022 else None


def check_settings_files(installation: Installation, signer: Owner) -> Iterator[Finding]:
    """Root alone (of what was started by hand: its owner) can write the settings, which say who gets what."""
    owners = (0,) if installation.by_systemd else (0, signer.uid)
    for path in (installation.config, installation.frontend_config, installation.config.parent):
        if path.exists() and (why := _not_roots_alone(path.resolve(), owners)):
            detail = f"{path} {why}: who can write it decides who gets which certificate"
            yield Finding("settings", Level.PROBLEM, detail, f"chown {user_name(owners[-1])} {path}; chmod go-w {path}")


def check_frontend_settings(installation: Installation, frontend: Owner | None) -> Iterator[Finding]:
    """The frontend can read its settings, and takes them. ``frontend``: as whom it is asked; None: as oneself."""
    config = installation.frontend_config
    command = (str(Path(sys.executable).with_name("ca_frontend")), "--check-config", "--config", str(config))
    if not config.exists():
        detail = f"{config} isn't there"
        yield Finding("frontend", Level.PROBLEM, detail, "bring it back from a backup, or install signerd again")
    elif error := error_of(*command, user=frontend):
        advice = f"correct it, then: {'systemctl restart ca-frontend' if installation.by_systemd else 'start it again'}"
        yield Finding("frontend", Level.PROBLEM, error, advice)
    else:
        yield Finding("frontend", Level.OK, f"{config} is valid")


def check_state(identity: Path, ledger: Path, signer: Owner) -> Iterator[Finding]:
    """The identity and the ledger are the signer's, and nobody else reads or writes them.

    The identity, which is only read, may be root's too; what the signer writes has to be its own.
    """
    written = sorted(ledger.parent.glob(f"{ledger.name}*"))
    keys = [identity / PRIVATE_KEY_NAME, identity / LEDGER_KEY_NAME]
    only_read = [identity, *keys, *(path for path in sorted(identity.glob("ca.*.pem")) if path not in keys)]
    secret = {identity, ledger.parent, *written, *keys}
    bad = False
    for path in dict.fromkeys([ledger.parent, *written, *only_read]):
        if not path.exists():
            continue  # which check_disk and check_identity say
        own = path == ledger.parent or path in written
        if found := _wrong_with(path, signer, own=own, secret=path in secret):
            bad = True
            yield found
    if not ledger.exists():
        yield Finding("state", Level.WARNING, f"{ledger} isn't there", "the signer makes it when it first starts")
    elif not bad:
        yield Finding("state", Level.OK, f"{identity} and {ledger} are the signer's alone ({user_name(signer.uid)})")


def _wrong_with(path: Path, signer: Owner, *, own: bool, secret: bool) -> Finding | None:
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != signer.uid and (own or status.st_uid != 0):
        whose = user_name(signer.uid)
        detail = f"belongs to {user_name(status.st_uid)}, and the signer runs as {whose}"
        advice = f"chown {whose}:{signer.gid if whose.startswith('uid ') else whose} {path}"
    elif mode & 0o022:
        detail, advice = f"can be written by others (mode {mode:o})", f"chmod go-w {path}"
    elif secret and (mode & 0o007 or (mode & 0o040 and status.st_gid != signer.gid)):
        detail, advice = f"can be read by others (mode {mode:o})", f"chmod go-rwx {path}"
    else:
        return None
    return Finding("state", Level.PROBLEM, f"{path} {detail}", advice)


def check_disk(ledger: Path) -> Iterator[Finding]:
    """There is room: without the signer's reserve nothing is issued."""
    directory = ledger.parent
    if not directory.exists():
        yield Finding("disk", Level.PROBLEM, f"{directory} isn't there", "systemd-tmpfiles --create")
        return
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    detail = f"{free // 2**20} MiB are free for {ledger}"
    advice = f"make room on the file system of {directory}: while it is nearly full nothing is issued"
    if free < _DISK_PROBLEM_BYTES or (found.f_files and found.f_favail < 100):
        yield Finding("disk", Level.PROBLEM, detail, advice)
    elif free < _DISK_WARNING_BYTES:
        yield Finding("disk", Level.WARNING, detail, advice)
    else:
        yield Finding("disk", Level.OK, detail)
