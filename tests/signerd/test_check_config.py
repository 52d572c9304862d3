"""ca_signerd --check-config, as root types it before a reload: what it says of the signer's own files."""

import os
from pathlib import Path

import pytest

from signerd.as_user import acting_as, signer_user
from signerd.files import Owner
from tests.commands import run
from tests.identities import OTHER_UID
from tests.running import needs_root

SIGNER = 65_500  # a number without a name, which is nobody's here


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A signer's directory, with a client's MAC key in it that is its own; the settings beside it are root's."""
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o711)  # pytest's own are root's alone
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "web1").write_text("0123456789abcdef" * 4)
    config = tmp_path / "signerd.toml"
    config.write_text(f'[signer]\nledger = "{state}/ledger.db"\n[client.web1]\nmac_key_file = "{state}/web1"\n')
    for path in (state, state / "web1"):
        os.chown(path, SIGNER, SIGNER)
    (state / "web1").chmod(0o600)
    return state


@needs_root
def test_root_is_told_what_the_signer_will_find_and_as_whom_it_was_looked_at(state: Path) -> None:
    done = run("ca_signerd", "--check-config", "--config", state.parent / "signerd.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"\nread as uid {SIGNER}, whom the signer runs as\n")
    assert "by: a MAC" in done.stdout


@needs_root
def test_what_root_alone_can_read_is_refused_as_the_signer_will_refuse_it(state: Path) -> None:
    os.chown(state / "web1", 0, 0)
    done = run("ca_signerd", "--check-config", "--config", state.parent / "signerd.toml")
    assert (done.returncode, done.stdout) == (78, "")
    assert "mac_key_file" in done.stderr
    assert "Permission denied" in done.stderr
    assert f"uid {SIGNER}" in done.stderr


@needs_root
def test_settings_that_the_signer_may_not_read_are_refused(state: Path) -> None:
    config = state.parent / "signerd.toml"
    config.chmod(0o600)
    done = run("ca_signerd", "--check-config", "--config", config)
    assert done.returncode == 78
    assert f"{config}: can't be read: Permission denied" in done.stderr


@needs_root
def test_whoever_may_not_read_the_settings_hears_that_and_no_usage(state: Path) -> None:
    config = state.parent / "signerd.toml"
    config.chmod(0o600)
    as_other = ("setpriv", f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", "--clear-groups")
    done = run("ca_signerd", "--check-config", "--config", config, before=as_other)
    assert (done.returncode, done.stderr) == (78, f"ca_signerd: {config}: can't be read: Permission denied\n")


@needs_root
def test_somebody_elses_file_beside_the_signers_is_refused(state: Path) -> None:
    os.chown(state / "web1", OTHER_UID, OTHER_UID)
    (state / "web1").chmod(0o604)
    done = run("ca_signerd", "--check-config", "--config", state.parent / "signerd.toml")
    assert done.returncode == 78
    assert f"it must belong to root or to uid {SIGNER}" in done.stderr


@needs_root
def test_root_is_root_again_afterwards_with_its_groups(state: Path) -> None:
    groups = os.getgroups()
    user = signer_user(state / "ledger.db")
    with acting_as(user):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (SIGNER, SIGNER, [SIGNER])
        with pytest.raises(PermissionError):
            Path("/etc/shadow").read_bytes()
        (state / "written").touch()
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, 0, groups)
    assert (state / "written").stat().st_uid == SIGNER


@needs_root
def test_root_is_root_again_after_an_error(state: Path) -> None:
    with pytest.raises(ZeroDivisionError), acting_as(Owner(SIGNER, SIGNER)):
        1 / 0  # noqa: B018
    assert os.geteuid() == 0


def test_nobody_but_root_is_ever_somebody_else(tmp_path: Path) -> None:
    own = signer_user(tmp_path / "ledger.db")
    assert own == Owner(os.geteuid(), os.getegid())
    with acting_as(own):
        assert os.geteuid() == own.uid
