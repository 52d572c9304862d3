import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.identities import (
    load,
    refusal,
    run_unprivileged,
    valid_identity,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "ca"


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that an unprivileged process can reach, which pytest's own can't be."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


# As the daemon's own user would: the process has no privilege, and its files may belong to root.
LOAD = """
import sys; from pathlib import Path
from protocol.errors import ConfigurationError; from signerd.identity import load_identity
try:
    load_identity(Path(sys.argv[1]), lambda: b"", 1767323045)
except ConfigurationError as error:
    print(error)
else:
    print("loaded")
"""


# Who else may read or write it


@pytest.mark.parametrize(
    ("mode", "complaint"),
    [
        (0o701, "may be read by others (mode 0701): chmod o-rwx it"),
        (0o755, "may be read by others (mode 0755): chmod o-rwx it"),
        (0o770, "may be written by its group (mode 0770): chmod go-w it"),
        (0o707, "may be written by others (mode 0707): chmod go-w it"),
    ],
)
def test_a_directory_that_others_may_use_is_refused(directory: Path, mode: int, complaint: str) -> None:
    valid_identity(directory).chmod(mode)
    assert refusal(directory) == f"{directory} {complaint}"


@pytest.mark.parametrize(
    ("mode", "complaint"),
    [
        (0o604, "may be read by others (mode 0604): chmod o-rwx it"),
        (0o660, "may be written by its group (mode 0660): chmod go-w it"),
        (0o602, "may be written by others (mode 0602): chmod go-w it"),
    ],
)
def test_a_private_key_that_others_may_use_is_refused(directory: Path, mode: int, complaint: str) -> None:
    key = valid_identity(directory) / "ca.private_key.pem"
    key.chmod(mode)
    assert refusal(directory) == f"{key} {complaint}"


def test_a_certificate_may_be_read_by_all_but_not_written(directory: Path) -> None:
    certificate = valid_identity(directory) / "ca.crt.pem"
    certificate.chmod(0o444)
    load(directory)
    certificate.chmod(0o664)
    assert "ca.crt.pem may be written by its group (mode 0664)" in refusal(directory)


def test_a_group_that_is_not_the_process_own_may_not_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = valid_identity(directory) / "ca.private_key.pem"
    key.chmod(0o640)
    directory.chmod(0o750)
    load(directory)
    group = os.getegid()
    monkeypatch.setattr(os, "getegid", lambda: group + 1)
    assert "which is not this process's own (mode 0750): chmod g-rwx it" in refusal(directory)
    directory.chmod(0o700)
    assert "ca.private_key.pem may be read by the group" in refusal(directory)


@pytest.mark.parametrize("name", [".", "ca.private_key.pem", "ca.crt.pem"])
def test_what_belongs_to_another_user_is_refused(directory: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = valid_identity(directory) / name
    if os.geteuid() == 0:
        os.chown(path, 54_321, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    assert "; it must belong to root or to" in refusal(directory)


def test_the_old_layout_loads_for_the_group_that_it_was_made_for(open_directory: Path) -> None:
    directory = valid_identity(open_directory / "ca")
    for path, mode in ((directory, 0o750), *((file, 0o640) for file in directory.iterdir())):
        path.chmod(mode)
        if os.geteuid() == 0:  # root:ca, as its README had it
            os.chown(path, 0, 54_321)
    assert run_unprivileged(LOAD, directory).stdout == "loaded\n"
    (directory / "ca.private_key.pem").chmod(0o644)
    assert "may be read by others" in run_unprivileged(LOAD, directory).stdout


def test_a_directory_that_the_process_may_not_open_is_refused(open_directory: Path) -> None:
    locked = open_directory / "locked"
    locked.mkdir(mode=0o000)
    result = run_unprivileged(LOAD, locked)
    assert result.stdout == f"the directory {locked} can't be opened: Permission denied\n", result.stderr


# Links, and what is no file


def test_a_symbolic_link_is_followed_and_what_it_leads_to_is_checked(directory: Path, tmp_path: Path) -> None:
    key = valid_identity(directory) / "ca.private_key.pem"
    elsewhere = key.rename(tmp_path / "key.pem")
    key.symlink_to(elsewhere)
    load(directory)
    elsewhere.chmod(0o644)
    assert "ca.private_key.pem may be read by others (mode 0644)" in refusal(directory)


def test_a_fifo_in_place_of_a_file_is_refused_at_once(directory: Path) -> None:
    key = valid_identity(directory) / "ca.private_key.pem"
    key.unlink()
    os.mkfifo(key, 0o600)
    assert refusal(directory) == f"{key} is no regular file"


def test_a_directory_in_place_of_a_file_is_refused(directory: Path) -> None:
    key = valid_identity(directory) / "ca.private_key.pem"
    key.unlink()
    key.mkdir(0o700)
    assert refusal(directory) == f"{key} is no regular file"


def test_what_is_read_is_what_was_checked_even_if_the_file_is_swapped_in_between(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load(valid_identity(directory)).private_key.public_key()
    fstat: Callable[[int], os.stat_result] = os.fstat
    swapped: list[Path] = []

    def swap_behind_the_check(descriptor: int) -> os.stat_result:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.name == "ca.private_key.pem" and not swapped:
            swapped.append(path.rename(path.with_name("checked.pem")))
            path.write_bytes(b"not what was checked")
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", swap_behind_the_check)
    assert load(directory).private_key.public_key() == expected
    assert swapped
