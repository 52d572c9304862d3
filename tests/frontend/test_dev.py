"""ca_start_dev, as a newcomer types it: a second one, a port in use, a directory that is none, Ctrl-C."""

import contextlib
import re
import shlex
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import command_line, environment, run
from tests.identities import OTHER_UID
from tests.running import DEADLINE, ROOT, eventually, needs_root, short_directory
from tests.terminal import Terminal

README = (ROOT / "README.md").read_text(encoding="utf-8")


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def in_general(text: str) -> str:
    """The text with every serial number and every time alike."""
    return re.sub(r"\b[0-9a-f]{38,40}\b", "SERIAL", re.sub(r"\b20[0-9-]{8}T[0-9:]{8}Z", "TIME", text))


@pytest.fixture
def directory() -> Iterator[Path]:
    path = short_directory()
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Path]:
    """One that is ready, with its state in this directory; what it prints goes to the file that is yielded."""
    command = command_line("ca_start_dev", "--state", directory / "ca", "--listen", free_port())
    log = directory / "log"
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file, env=environment()) as process:
        eventually(lambda: "Ctrl-C ends it" in log.read_text() or process.poll() is not None, "that it is ready")
        yield log
        process.terminate()
        process.wait(DEADLINE)


@pytest.fixture
def first(directory: Path) -> Iterator[Path]:
    """The directory of one that runs already."""
    with running(directory):
        yield directory / "ca"


def test_where_nothing_is_issued_it_says_why_and_what_helps(directory: Path) -> None:
    with running(directory) as log:
        assert "note: nothing is issued" not in log.read_text()
    mark = directory / "ca" / "ledger.db.mark"
    *words, time, digest, boot, seconds = mark.read_text().split()
    three_days_before = str(int(time) - 3 * 86_400)  # as if the machine had counted so much less since
    mark.write_text(" ".join([*words, three_days_before, digest, boot, seconds]).ljust(256, "\n"))
    with running(directory) as log:
        eventually(lambda: "note: nothing is issued" in log.read_text(), "a note")
        assert "259200 s more than the time since" in log.read_text()
        assert "ca_admin accept" in log.read_text()


def refused(*arguments: str | Path) -> str:
    """The one line with which ca_start_dev ends at once."""
    done = run("ca_start_dev", *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_a_second_one_in_the_same_directory_is_refused_and_says_how_to_have_another(first: Path) -> None:
    said = refused("--state", first, "--listen", free_port())
    assert f"another ca_start_dev runs in {first}" in said
    assert "make run ARGS='--state DIR --listen 127.0.0.1:9000'" in said


def test_beside_a_signer_that_was_started_by_hand_it_does_not_call_itself_ready(first: Path) -> None:
    taken = first.with_name("again")
    shutil.copytree(first, taken, ignore=shutil.ignore_patterns("*.sock"))  # whose settings name the first's sockets
    (taken / "frontend.toml").unlink()
    done = run("ca_start_dev", "--state", taken, "--listen", free_port())
    assert done.returncode == 1
    assert "is ready" not in done.stdout
    assert "in use by another process" in done.stderr


def test_a_port_in_use_is_refused_with_the_way_out_and_gets_into_no_settings(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refused("--state", directory / "ca", "--listen", busy)
    assert f"can't listen at {busy}: Address already in use; say where else" in said
    assert "make run ARGS='--listen 127.0.0.1:9000'" in said
    listen = free_port()
    with Terminal(
        command_line("ca_start_dev", "--state", directory / "ca", "--listen", listen), cwd=directory
    ) as person:
        person.wait_for("Ctrl-C ends it.")
    settings = tomllib.loads((directory / "ca/signerd.toml").read_text())
    assert settings["signer"]["base_url"] == f"http://{listen}"


@pytest.mark.parametrize("listen", ["8080", "localhost:8080", "127.0.0.1:99999", "unix:/tmp/x"])
def test_an_address_that_is_none_is_refused_in_one_line(directory: Path, listen: str) -> None:
    assert f"listen: '{listen}' is no" in refused("--state", directory / "ca", "--listen", listen)


def test_a_file_in_the_directorys_place_is_named_in_one_line(directory: Path) -> None:
    (directory / "file").touch()
    assert f"{directory}/file: File exists" in refused("--state", directory / "file")


@needs_root
def test_a_directory_that_cannot_be_made_is_named_in_one_line(directory: Path) -> None:
    as_other = ("setpriv", f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", "--clear-groups")
    done = run("ca_start_dev", "--state", "/proc/ca", before=as_other)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("Error: /proc/ca: ")
    assert "Traceback" not in done.stderr


def test_settings_with_a_slip_of_the_pen_are_named_in_one_line(directory: Path) -> None:
    state = directory / "ca"
    state.mkdir(mode=0o700)
    (state / "frontend.toml").write_text("listen = ")
    assert f"{state}/frontend.toml: Invalid value" in refused("--state", state)


def test_ctrl_c_ends_it_without_a_traceback_and_in_good_order(directory: Path) -> None:
    command = command_line("ca_start_dev", "--state", directory / "ca", "--listen", free_port())
    with Terminal(command, cwd=directory) as person:
        person.wait_for("Ctrl-C ends it.")
        person.press_ctrl_c()
        assert "Traceback" not in person.rest()
        assert person.status() == 0


def test_ctrl_c_while_the_identity_is_made_shows_no_traceback_and_the_next_start_goes_on(directory: Path) -> None:
    command = command_line("ca_start_dev", "--state", directory / "ca", "--listen", free_port())
    with Terminal(command, cwd=directory) as person:
        eventually((directory / "ca/passphrase").exists, "the passphrase of the identity")
        person.press_ctrl_c()
        assert person.rest().strip() in {"", "^C"}
        assert person.status() == 0
    with Terminal(command, cwd=directory) as person:
        person.wait_for("Ctrl-C ends it.")


def test_what_the_readme_says_can_be_typed_and_done(directory: Path) -> None:
    listen = free_port()
    [typed] = [
        block for block in re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL) if "curl" in block
    ]
    [answer] = re.findall(r"The last one says `(.*?)`", README)
    with Terminal(command_line("ca_start_dev", "--listen", listen), cwd=directory) as person:
        person.wait_for("Ctrl-C ends it.")
        commands = ["bash", "-euc", typed.replace("127.0.0.1:8080", listen)]
        done = subprocess.run(commands, cwd=directory, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, f"{answer}\n"), done.stderr
        listing = command_line("ca_admin", "--socket", "ca-dev/admin.sock", "list")
        with Terminal(listing, cwd=directory, environment=environment({"TERM": "dumb"})) as operator:
            shown = operator.rest()
    [sample] = re.findall(r"^\$ .*/ca_admin .* list\n(.*?)^\$ ", README, re.MULTILINE | re.DOTALL)
    assert in_general(shown) == in_general(sample)


@pytest.mark.parametrize("name", ["ca", "a new ca"])
def test_what_it_prints_can_be_copied_and_done(directory: Path, name: str) -> None:
    command = command_line("ca_start_dev", "--state", directory / name, "--listen", free_port())
    with Terminal(command, cwd=directory) as person:
        shown = person.wait_for("Ctrl-C ends it.")
        commands = "\n".join(line for line in shown.splitlines() if line.startswith("  "))
        done = subprocess.run(["bash", "-euc", commands], cwd=directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "web1.pem: OK\n"
        [by_operator] = [line for line in shown.splitlines() if line.startswith("The operator's side: ")]
        done = subprocess.run(shlex.split(by_operator.split(": ", 1)[1]), capture_output=True, text=True, check=False)
        assert "dns:web1.example.net" in done.stdout
