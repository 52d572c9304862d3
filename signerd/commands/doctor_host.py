"""ca_admin doctor: users, files, code, clock and disk of the machine."""

import grp
import os
import pwd
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from signerd.commands.finding import Finding, Level, text_of

SIGNER, FRONTEND, OPERATORS = "ca", "ca-web", "ca-admin"
_MAKE_USERS = "systemd-sysusers"

# Whoever can write here has code run: in the frontend, in the signer.
_CODE = {Path("/etc/ca/hooks"): "the frontend", Path("/etc/ca/custom"): "the signer", Path(sys.prefix): "both daemons"}

_DISK_PROBLEM_BYTES = 64 * 2**20  # some 40,000 certificates
_DISK_WARNING_BYTES = 1024 * 2**20


def check_users() -> Iterator[Finding]:
    """The two users are there, and neither has more rights than its own."""
    missing = [f"user {name}" for name in (SIGNER, FRONTEND) if _user(name) is None]
    missing += [f"group {name}" for name in (SIGNER, OPERATORS) if _group(name) is None]
    if missing:
        yield Finding("users", Level.PROBLEM, f"missing: {', '.join(missing)}", _MAKE_USERS)
        return
    groups = grp.getgrall()
    found = {(FRONTEND, group.gr_name) for group in groups if FRONTEND in group.gr_mem and group.gr_name != FRONTEND}
    found |= {(member, SIGNER) for member in grp.getgrnam(SIGNER).gr_mem if member != SIGNER}
    for member, name in sorted(found):
        yield Finding("users", Level.PROBLEM, f"{member} is in the group {name}", f"gpasswd --delete {member} {name}")
    if not found:
        operators = ", ".join(grp.getgrnam(OPERATORS).gr_mem) or "nobody but root"
        yield Finding("users", Level.OK, f"{SIGNER} and {FRONTEND} are there; operators: {operators}")


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


def _not_roots_alone(path: Path) -> str | None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return None
    if status.st_uid != 0:
        return f"belongs to uid {status.st_uid}"
    return "can be written by others than its owner" if status.st_mode & 0o022 else None


def check_state(identity: Path, ledger: Path) -> Iterator[Finding]:
    """The identity and the ledger are the signer's, and nobody else reads or writes them."""
    signer = _user(SIGNER)
    bad = False
    for path in (identity, *sorted(identity.glob("ca.*.pem")), *ledger.parent.glob(f"{ledger.name}*")):
        status = path.stat()
        secret = path == identity or "private_key" in path.name or path.name.startswith(ledger.name)
        group_reads = status.st_mode & 0o040 and (signer is None or status.st_gid != signer.pw_gid)
        if signer is not None and status.st_uid not in (0, signer.pw_uid):
            detail, advice = f"belongs to uid {status.st_uid}", f"chown {SIGNER}:{SIGNER} {path}"
        elif status.st_mode & 0o022:
            detail, advice = f"can be written by others (mode {stat.S_IMODE(status.st_mode):o})", f"chmod go-w {path}"
        elif secret and (status.st_mode & 0o007 or group_reads):
            detail, advice = f"can be read by others (mode {stat.S_IMODE(status.st_mode):o})", f"chmod go-rwx {path}"
        else:
            continue
        bad = True
        yield Finding("state", Level.PROBLEM, f"{path} {detail}", advice)
    if not ledger.exists():
        yield Finding("state", Level.WARNING, f"{ledger} isn't there", "the signer makes it when it first starts")
    elif not bad:
        yield Finding("state", Level.OK, f"{identity} and {ledger} are the signer's alone")


def check_clock() -> Iterator[Finding]:
    """The clock is kept: one that goes back stops issuance."""
    answer = text_of("timedatectl", "show", "--property", "NTPSynchronized", "--value")
    if answer is None:
        yield Finding("clock", Level.UNKNOWN, "timedatectl doesn't answer", "see to it that something keeps the clock")
    elif answer == "yes":
        yield Finding("clock", Level.OK, "the clock is synchronized")
    else:
        detail = "the clock isn't synchronized: one behind the ledger's last entry stops issuance"
        yield Finding("clock", Level.WARNING, detail, "apt install systemd-timesyncd (or chrony)")


def check_disk(ledger: Path) -> Iterator[Finding]:
    """There is room: a full disk ends issuance until the signer is started again."""
    directory = ledger.parent
    if not directory.exists():
        yield Finding("disk", Level.PROBLEM, f"{directory} isn't there", "systemd-tmpfiles --create")
        return
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    detail = f"{free // 2**20} MiB are free for {ledger}"
    advice = f"make room on the file system of {directory}: on a full disk nothing is issued"
    if free < _DISK_PROBLEM_BYTES or (found.f_files and found.f_favail < 100):
        yield Finding("disk", Level.PROBLEM, detail, advice)
    elif free < _DISK_WARNING_BYTES:
        yield Finding("disk", Level.WARNING, detail, advice)
    else:
        yield Finding("disk", Level.OK, detail)


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _group(name: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name)
    except KeyError:
        return None
