"""Who may connect: by the uid and groups that the kernel vouches for, never by a pid or a path."""

import ctypes
import errno
import grp
import os
import pwd
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from protocol.errors import ConfigurationError
from protocol.messages import Socket

_UCRED = struct.Struct("@iII")  # unix(7), SO_PEERCRED: pid, uid, gid
_SO_PEERGROUPS = 59  # socket(7); Linux 4.13. Python has no name for it
_GID = ctypes.c_uint32
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may speak on which socket."""

    sign_uids: frozenset[int]
    admin_uids: frozenset[int]
    admin_gid: int | None

    @classmethod
    def of(cls, sign_users: Sequence[str], admin_group: str) -> "Admission":
        """From names or numbers. A user who does not exist is an error, a missing group is nobody."""
        try:
            admin_gid = grp.getgrnam(admin_group).gr_gid
        except KeyError:
            admin_gid = None
        return cls(frozenset(_uid(user) for user in sign_users), frozenset({0, os.geteuid()}), admin_gid)

    def allows(self, where: Socket, peer: socket.socket) -> bool:
        """Whether the process at the other end of a connection may speak there."""
        uid = credentials(peer).uid
        if where is Socket.SIGN:
            return uid in self.sign_uids
        return uid in self.admin_uids or (self.admin_gid is not None and self.admin_gid in _groups(peer))


class Credentials(NamedTuple):
    """Of the process at the other end of a connection, as of when it connected."""

    pid: int  # says which connections have one process behind them, and nothing else: pids are used again
    uid: int
    gid: int


def credentials(peer: socket.socket) -> Credentials:
    """What the kernel says of the process at the other end."""
    return Credentials(*_UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


def _groups(peer: socket.socket) -> set[int]:
    """The group and the supplementary groups of that process, as of when it connected. Raises ``OSError``.

    By libc, for socket.getsockopt() makes room for 256 groups, and a process may have 65,536.
    """
    gid = credentials(peer).gid
    size = ctypes.c_uint32(0)  # in bytes; where it is too little, the kernel says how much it takes
    while True:
        groups = (_GID * (size.value // ctypes.sizeof(_GID)))()
        option = (socket.SOL_SOCKET, _SO_PEERGROUPS, groups, ctypes.byref(size))
        if _libc.getsockopt(peer.fileno(), *option) == 0:
            return {gid, *groups}
        if (number := ctypes.get_errno()) != errno.ERANGE:
            raise OSError(number, os.strerror(number))


def _uid(user: str) -> int:
    if user.isdecimal():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigurationError(f"signer.sign_users: there is no user {user!r}") from None
