"""Acting as the user whom the signer runs as, where root types a command that is about the signer's files.

Root can read and write everything, so that what root can do says nothing about the signer; and what root writes
beside the ledger belongs to root, whom the signer is not. The rules of ``signerd.files`` go by the process's
effective user, so they then judge as they will when the signer starts.
"""

import contextlib
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from signerd.files import Owner

# Whom the signer runs as where it is installed: systemd/signerd.sysusers.conf.
SIGNER_USER = "ca"


def signer_user(ledger: Path) -> Owner:
    """Whom a signer with this ledger runs as: the owner of the directory that the ledger lies in.

    SQLite makes files beside the ledger, so nobody else's signer could use it; systemd gives the directory to the
    unit's User= at each start (StateDirectory=). Where there is no such directory yet: the user ``ca``, if there is
    one. Only root can be somebody else: for any other user it is that user.
    """
    if os.geteuid() != 0:
        return Owner(os.geteuid(), os.getegid())
    try:
        uid = ledger.absolute().parent.stat().st_uid
    except FileNotFoundError:
        uid = _uid_of(SIGNER_USER)
    try:
        return Owner(uid, pwd.getpwuid(uid).pw_gid)
    except KeyError:  # a number alone, as in a container
        return Owner(uid, uid)


@contextlib.contextmanager
def acting_as(user: Owner) -> Iterator[None]:
    """The block runs with ``user`` as its effective user, group and groups, in all threads.

    Does nothing where that is so already. Not a way to drop rights for good: root comes back after the block.
    Raises PermissionError for another user than the process's own, if that isn't root.
    """
    if user.uid == os.geteuid():
        yield
        return
    gid, groups = os.getegid(), os.getgroups()
    os.setgroups(_groups(user))
    os.setegid(user.gid)
    os.seteuid(user.uid)  # last, and first to come back: only root may change the groups
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def _uid_of(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return 0


def _groups(user: Owner) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(user.uid).pw_name, user.gid)
    except KeyError:
        return [user.gid]
