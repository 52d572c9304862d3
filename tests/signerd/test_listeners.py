"""The signer's own sockets, without systemd: their owner's, and the group's whose members may speak."""

import grp
import os
import pwd
import stat
import subprocess
from pathlib import Path

import pytest

from tests.identities import OTHER_UID
from tests.running import Signer, needs_root
from tests.signerd.test_peers import ask

CA = OTHER_UID + 7


def access(path: str) -> tuple[int, int, int]:
    """Permission bits, owner and group."""
    status = Path(path).lstat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


@pytest.fixture(scope="module")
def web() -> pwd.struct_passwd:
    """A user of the machine to play ca-web, whose primary group is not root's."""
    return next(user for user in pwd.getpwall() if user.pw_uid and user.pw_gid)


@pytest.fixture(scope="module")
def operators(web: pwd.struct_passwd) -> grp.struct_group:
    """A group to play ca-admin."""
    return next(group for group in grp.getgrall() if group.gr_gid not in {0, web.pw_gid})


class SignerInGroups(Signer):
    """One whose user is in these groups besides its own."""

    groups: tuple[int, ...] = ()

    def spawn(self, log: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.command(),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=self.uid,
            group=self.uid,
            extra_groups=self.groups,
        )


def test_where_nobody_else_may_speak_nobody_else_may_connect() -> None:
    with Signer(sign_users=[str(os.geteuid()), "0"], admin_group="no-such-group") as signer:
        for path in (signer.sign_path, signer.admin_path):
            assert access(path) == (0o600, os.geteuid(), os.getegid())
        assert signer.sign().ask_describe().state == "ready"


@needs_root
def test_each_socket_has_the_group_of_those_who_may_speak_there(
    web: pwd.struct_passwd, operators: grp.struct_group
) -> None:
    SignerInGroups.groups = (web.pw_gid, operators.gr_gid)
    with SignerInGroups(uid=CA, sign_users=[web.pw_name], admin_group=operators.gr_name) as signer:
        assert access(signer.sign_path) == (0o660, CA, web.pw_gid)
        assert access(signer.admin_path) == (0o660, CA, operators.gr_gid)
        assert ask(signer.sign_path, web.pw_uid, web.pw_gid) == "answered"
        assert ask(signer.admin_path, OTHER_UID, operators.gr_gid) == "answered"
        for path in (signer.sign_path, signer.admin_path):
            assert ask(path, OTHER_UID, OTHER_UID) == "closed"
        assert "audit:" not in signer.log  # nobody got as far as that
        assert "every local user" not in signer.log


@needs_root
def test_a_signer_that_runs_as_root_gives_them_their_groups_too(
    web: pwd.struct_passwd, operators: grp.struct_group
) -> None:
    with Signer(sign_users=[str(web.pw_uid), "0"], admin_group=operators.gr_name) as signer:
        assert access(signer.sign_path) == (0o660, 0, web.pw_gid)
        assert access(signer.admin_path) == (0o660, 0, operators.gr_gid)


@needs_root
def test_where_the_group_can_not_be_given_all_may_connect_and_the_log_says_what_to_do(
    web: pwd.struct_passwd, operators: grp.struct_group
) -> None:
    with Signer(uid=CA, sign_users=[web.pw_name, str(OTHER_UID)], admin_group=operators.gr_name) as signer:
        assert access(signer.sign_path) == (0o666, CA, CA)
        assert access(signer.admin_path) == (0o666, CA, CA)
        for what in ("a group that signer.sign_users share", f"group {operators.gr_name}"):
            signer.wait_for_log(f"every local user .*: uid {CA} is not in {what}")
        assert ask(signer.sign_path, OTHER_UID, OTHER_UID) == "answered"
        assert ask(signer.sign_path, OTHER_UID + 1, OTHER_UID) == "closed"
