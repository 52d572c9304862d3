"""ca_admin doctor: users and clock of the machine."""

import grp
import pwd
from collections.abc import Iterator

from signerd.as_user import SIGNER_USER
from signerd.commands.finding import Finding, Level, text_of
from signerd.files import Owner

SIGNER, FRONTEND, OPERATORS = SIGNER_USER, "ca-web", "ca-admin"
_MAKE_USERS = "systemd-sysusers"


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


def check_clock() -> Iterator[Finding]:
    """The clock is kept: one that goes back stops issuance."""
    answer = text_of("timedatectl", "show", "--property", "NTPSynchronized", "--value")
    if answer is None:
        yield Finding("clock", Level.UNKNOWN, "timedatectl doesn't answer", "see to it that something keeps the clock")
    elif answer == "yes":
        yield Finding("clock", Level.OK, "the clock is synchronized")
    else:
        detail = "the clock isn't synchronized: one that jumps, or is behind the ledger's last entry, stops issuance"
        yield Finding("clock", Level.WARNING, detail, "apt install systemd-timesyncd (or chrony)")


def owner_of(name: str) -> Owner | None:
    """The user of this name and its group, if there is one."""
    user = _user(name)
    return None if user is None else Owner(user.pw_uid, user.pw_gid)


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
