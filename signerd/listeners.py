"""The signer's two sockets: systemd's, or its own where there is no systemd.

Who may speak is decided at accept, by the uid and groups that the kernel vouches for (``peers``). The permission bits
of a socket of our own say the same, so that nobody else gets as far as that, where this process can give it the group
that those share.
"""

import logging
import os
import pwd
import socket

from protocol.daemon import inherited_sockets, listen_unix
from protocol.errors import ConfigurationError
from protocol.messages import Socket
from signerd.files import group_name, user_name
from signerd.peers import Admission
from signerd.policy.model import SignerTable

_log = logging.getLogger(__name__)

_OURS, _GROUP, _ANYBODY = 0o600, 0o660, 0o666


def listeners(settings: SignerTable, admission: Admission) -> dict[Socket, socket.socket]:
    """The listening sockets. Raises ``ConfigurationError``."""
    inherited = inherited_sockets()
    if inherited:
        try:
            return {where: inherited[where.value] for where in Socket}
        except KeyError as missing:
            raise ConfigurationError(f"systemd hands over no socket named {missing}") from None
    sign_users = admission.sign_uids - {0, os.geteuid()}  # root may connect whatever the bits are
    sign = _listen(settings.sign_socket, _group_of(sign_users), others=bool(sign_users))
    admin = _listen(settings.admin_socket, admission.admin_gid, others=admission.admin_gid is not None)
    return {Socket.SIGN: sign, Socket.ADMIN: admin}


def _listen(path: str, group: int | None, *, others: bool) -> socket.socket:
    """A socket for this user, and, with ``others``, for those who are in ``group``."""
    if not others:
        return listen_unix(path, _OURS)
    if group is not None and (os.geteuid() == 0 or group in {os.getegid(), *os.getgroups()}):
        return listen_unix(path, _GROUP, group)
    wanted = "a group that signer.sign_users share" if group is None else f"group {group_name(group)}"
    _log.warning(
        "%s can be reached by every local user (who may speak is asked of the kernel all the same): "
        "%s is not in %s, hence can't give the socket to it",
        path, user_name(os.geteuid()), wanted,
    )  # fmt: skip
    return listen_unix(path, _ANYBODY)


def _group_of(uids: frozenset[int]) -> int | None:
    """The primary group that all these users have, if it is one."""
    try:
        groups = {pwd.getpwuid(uid).pw_gid for uid in uids}
    except KeyError:  # a uid without a name has no group on record
        return None
    return groups.pop() if len(groups) == 1 else None
