import os
import stat
from pathlib import Path

import pytest

from protocol.errors import ConfigurationError
from signerd.files import Owner, refuse_unless_guarded, write_private_file


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_a_private_file_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_private_file(tmp_path / "secret", b"x")
        write_private_file(tmp_path / "public", b"x", mode=0o644)
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "secret") == 0o600
    assert mode_of(tmp_path / "public") == 0o644


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private_file(path, b"a long first version")
    with path.open("rb") as old:
        write_private_file(path, b"second")
        assert old.read() == b"a long first version"
    assert path.read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    write_private_file(path, b"first")

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_private_file(path, b"second")
    assert path.read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_symbolic_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "secret"
    target.write_bytes(b"untouched")
    path.symlink_to(target)
    write_private_file(path, b"new")
    assert target.read_bytes() == b"untouched"
    assert not path.is_symlink()


def test_the_file_and_its_name_are_made_durable_in_that_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []

    def record(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.is_dir(), (tmp_path / "secret").exists()))

    monkeypatch.setattr(os, "fsync", record)
    write_private_file(tmp_path / "secret", b"x")
    assert synced == [(False, False), (True, True)]


def test_the_file_belongs_to_the_owner_asked_for(tmp_path: Path) -> None:
    # Only root can give files away; another user can still name itself.
    owner = Owner(54_321, 54_322) if os.geteuid() == 0 else Owner(os.geteuid(), os.getegid())
    write_private_file(tmp_path / "secret", b"x", owner=owner)
    status = (tmp_path / "secret").stat()
    assert (status.st_uid, status.st_gid) == owner


UID, GID = os.geteuid(), os.getegid()


def status(mode: int, uid: int = UID, gid: int = GID) -> os.stat_result:
    return os.stat_result((mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("found", "secret", "readable"),
    [
        (status(0o600), True, True),
        (status(0o400), True, True),
        (status(0o640), True, True),
        (status(0o600, uid=0), True, True),
        (status(0o640, uid=0), True, True),
        (status(0o644), False, True),
        (status(0o640, gid=GID + 1), False, True),
        (status(0o600, gid=GID + 1), True, True),
        (status(0o640, gid=GID + 1), True, False),
        (status(0o610, gid=GID + 1), True, False),
        (status(0o644), True, False),
        (status(0o604), True, False),
        (status(0o601), True, False),
        (status(0o660), True, False),
        (status(0o620), False, False),
        (status(0o602), False, False),
        (status(0o600, uid=UID + 1), True, False),
        (status(0o644, uid=UID + 1), False, False),
    ],
)
def test_what_others_may_write_or_a_secret_that_others_may_read_is_refused(
    found: os.stat_result, secret: bool, readable: bool
) -> None:
    if readable:
        refuse_unless_guarded(Path("file"), found, secret=secret)
        return
    with pytest.raises(ConfigurationError, match=r"^file [^\n]*$"):
        refuse_unless_guarded(Path("file"), found, secret=secret)
