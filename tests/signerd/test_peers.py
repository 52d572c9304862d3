"""Who may speak on which socket, asked of the kernel: the peers are processes of other users and groups."""

import grp
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from protocol.errors import ConfigurationError
from signerd.peers import Admission
from tests.identities import OTHER_UID
from tests.running import ROOT, Signer, needs_root

pytestmark = needs_root

# Says "answered" if the signer at argv[1] answers a hello, else "closed".
ASK = """
import json, os, sys
from protocol.client import SignerClient
from protocol.errors import Refused

path, uid, gid, groups = sys.argv[1:]
os.setgroups(json.loads(groups))
os.setgid(int(gid))
os.setuid(int(uid))
client = SignerClient(path)
try:
    client.ask_describe()
except Refused as refusal:
    print("closed" if refusal.code == "unavailable" else refusal)
else:
    print("answered")
client.close()
"""
OTHER_GID = 54_322


def ask(path: str, uid: int, gid: int, groups: Sequence[int] = ()) -> str:
    """How a process of that user, group and those supplementary groups fares at a socket."""
    child = subprocess.run(
        [sys.executable, "-c", ASK, path, str(uid), str(gid), json.dumps(groups)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return child.stdout.strip()


@pytest.fixture(scope="module")
def group() -> grp.struct_group:
    """A group of the machine to play ca-admin, which need not exist where the tests run."""
    return next(group for group in grp.getgrall() if group.gr_gid not in {0, OTHER_UID, OTHER_GID})


@pytest.fixture(scope="module")
def signer(group: grp.struct_group) -> Iterator[Signer]:
    """One that runs as nobody in particular, as `ca` would: neither root nor any of the peers."""
    with Signer(uid=OTHER_UID + 7, sign_users=[str(OTHER_UID)], admin_group=group.gr_name) as signer:
        yield signer
        assert signer.ended is None, signer.log


def test_the_configured_user_may_speak_on_sign_sock(signer: Signer) -> None:
    assert ask(signer.sign_path, OTHER_UID, OTHER_GID) == "answered"


def test_any_other_uid_is_closed_at_accept_on_both_sockets_and_leaves_an_audit_line(signer: Signer) -> None:
    uid = OTHER_UID + 1
    assert ask(signer.sign_path, uid, OTHER_GID) == "closed"
    assert ask(signer.admin_path, uid, OTHER_GID) == "closed"
    signer.wait_for_log(rf"audit: uid {uid} may not connect to sign\.sock")
    signer.wait_for_log(rf"audit: uid {uid} may not connect to admin\.sock")


def test_the_frontend_s_user_may_not_speak_on_admin_sock(signer: Signer) -> None:
    assert ask(signer.admin_path, OTHER_UID, OTHER_GID) == "closed"


def test_root_may_not_speak_on_sign_sock_unless_it_is_configured(signer: Signer) -> None:
    assert ask(signer.sign_path, 0, 0) == "closed"


def test_root_and_the_signer_s_own_user_may_speak_on_admin_sock(signer: Signer) -> None:
    assert ask(signer.admin_path, 0, 0) == "answered"
    assert ask(signer.admin_path, OTHER_UID + 7, OTHER_GID) == "answered"


def test_the_admin_group_as_primary_group_is_let_in_on_admin_sock_alone(
    signer: Signer, group: grp.struct_group
) -> None:
    assert ask(signer.admin_path, OTHER_UID + 1, group.gr_gid) == "answered"
    assert ask(signer.sign_path, OTHER_UID + 1, group.gr_gid) == "closed"


def test_the_admin_group_as_supplementary_group_is_let_in_on_admin_sock_alone(
    signer: Signer, group: grp.struct_group
) -> None:
    assert ask(signer.admin_path, OTHER_UID + 1, OTHER_GID, [5_001, group.gr_gid, 5_002]) == "answered"
    assert ask(signer.sign_path, OTHER_UID + 1, OTHER_GID, [group.gr_gid]) == "closed"


@pytest.mark.parametrize("number", [256, 257, 5_000])
def test_a_peer_of_very_many_groups_is_judged_like_any_other(
    signer: Signer, group: grp.struct_group, number: int
) -> None:
    # 256 is what socket.getsockopt() has room for.
    many = [100_000 + index for index in range(number - 1)]
    assert ask(signer.admin_path, OTHER_UID + 1, OTHER_GID, [*many, 99_999]) == "closed"
    assert ask(signer.admin_path, OTHER_UID + 1, OTHER_GID, [*many, group.gr_gid]) == "answered"


def test_a_missing_admin_group_lets_nobody_in_and_the_rest_goes_on() -> None:
    with Signer(uid=OTHER_UID + 7, sign_users=[str(OTHER_UID)], admin_group="no-such-group") as signer:
        assert ask(signer.admin_path, OTHER_UID + 1, OTHER_GID, [1, 2, 3]) == "closed"
        assert ask(signer.admin_path, 0, 0) == "answered"


def test_users_are_named_or_numbered_and_one_who_does_not_exist_is_an_error() -> None:
    somebody = next(user for user in pwd.getpwall() if user.pw_uid)
    admission = Admission.of([somebody.pw_name, str(OTHER_UID)], "no-such-group")
    assert admission.sign_uids == {somebody.pw_uid, OTHER_UID}
    assert admission.admin_gid is None
    with pytest.raises(ConfigurationError, match=r"sign_users.*'no-such-user'"):
        Admission.of(["no-such-user"], "no-such-group")


def test_a_signer_whose_sign_users_do_not_exist_does_not_start_and_says_so() -> None:
    signer = Signer(sign_users=["no-such-user"])
    try:
        signer.start(wait=False)
        assert signer.wait() == 78
        assert "no-such-user" in signer.log
        assert "Traceback" not in signer.log
    finally:
        signer.close()
