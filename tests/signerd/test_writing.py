"""The files that commands write: whole or not at all, and never where a stranger would have them."""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from signerd.commands.writing import PRIVATE, PUBLIC, new_file
from tests.commands import run
from tests.csrs import csr_for, dns
from tests.identities import OTHER_UID
from tests.running import Signer, needs_root


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """A directory like /tmp."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    directory.chmod(0o1777)
    return directory


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that only root should write."""
    path = tmp_path / "shadow"
    path.write_text("root's\n")
    return path


def write(path: Path, mode: int = PUBLIC) -> None:
    with new_file(path, mode) as file:
        file.write(b"new\n")


def write_half(path: Path) -> None:
    with new_file(path, PRIVATE) as file:
        file.write(b"half")
        raise RuntimeError


def strangers(link: Path, leads_to: Path | str) -> Path:
    link.symlink_to(leads_to)
    os.lchown(link, OTHER_UID, OTHER_UID)
    return link


@needs_root
@pytest.mark.parametrize("mode", [PUBLIC, PRIVATE])
def test_a_stranger_s_link_is_not_followed_and_stays_as_it_was(public: Path, target: Path, mode: int) -> None:
    for leads_to in (target, "../shadow", public / "not-yet"):
        link = strangers(public / "out.pem", leads_to)
        with pytest.raises(PermissionError, match=r"symbolic link of uid \d+, who could have it lead anywhere"):
            write(link, mode)
        assert link.is_symlink()
        assert target.read_text() == "root's\n"
        link.unlink()
    assert not list(public.iterdir())


@needs_root
def test_a_stranger_s_link_on_the_way_is_not_followed_either(public: Path, tmp_path: Path) -> None:
    strangers(public / "directory", tmp_path)
    own = public / "own"
    own.symlink_to("directory")
    for way in (public / "directory", own, tmp_path / "tmp" / ".." / "tmp" / "directory"):
        with pytest.raises(PermissionError, match="symbolic link of"):
            write(way / "out.pem")
    assert not (tmp_path / "out.pem").exists()


@needs_root
def test_a_command_names_the_path_and_the_link_s_owner(public: Path, target: Path) -> None:
    csr = public / "web1.csr"
    csr.write_bytes(csr_for(dns("web1.example.net")))
    link = strangers(public / "web1.pem", target)
    with Signer() as signer:
        done = run("ca_sign_certificate", "--socket", signer.admin_path, "-f", csr, "-o", link, "1d")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{link}: it is a symbolic link of uid {OTHER_UID}" in done.stderr
    assert target.read_text() == "root's\n"


@needs_root
def test_a_stranger_s_named_pipe_is_not_written_to(public: Path) -> None:
    pipe = public / "out.pem"
    os.mkfifo(pipe)
    os.chown(pipe, OTHER_UID, OTHER_UID)
    with pytest.raises(PermissionError, match="named pipe of"):
        write(pipe, PRIVATE)


def test_an_own_named_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write(tmp_path / "pipe")
    reader.join(10)
    assert read == [b"new\n"]


@pytest.mark.parametrize(
    "lay",
    [
        lambda top: (top / "out").symlink_to("there/file"),
        lambda top: (top / "out").symlink_to(top / "there" / "file"),
        lambda top: [(top / "way").symlink_to("there"), (top / "out").symlink_to("way/../there/file")],
    ],
)
def test_own_links_are_followed_as_a_shell_does(tmp_path: Path, lay: Callable[[Path], object]) -> None:
    (tmp_path / "there").mkdir()
    lay(tmp_path)
    write(tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "there" / "file").read_text() == "new\n"


def test_links_in_a_circle_and_directories_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        write(tmp_path / "a")
    for path in (tmp_path, tmp_path / "..", Path("/"), Path()):
        with pytest.raises(IsADirectoryError):
            write(path)
    with pytest.raises(FileNotFoundError) as missing:
        write(tmp_path / "none" / "out")
    assert missing.value.filename == str(tmp_path / "none" / "out")


def test_what_a_process_has_open_is_written_to_by_its_name_in_proc(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    write(Path(f"/dev/fd/{writing}"))
    assert os.read(reading, 100) == b"new\n"
    for descriptor in (reading, writing):
        os.close(descriptor)
    with (tmp_path / "file").open("wb") as file:
        write(Path(f"/proc/self/fd/{file.fileno()}"))
    assert (tmp_path / "file").read_text() == "new\n"


def test_the_file_is_there_whole_or_not_at_all_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("the one before\n")
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_text() == "the one before\n"
    write(path, PRIVATE)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new\n", PRIVATE)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == PUBLIC
    assert list(tmp_path.iterdir()) == [path]
