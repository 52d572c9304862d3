import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.errors import ConfigurationError
from signerd.passphrase import VARIABLE, read_passphrase, take_from_environment
from tests.terminal import Terminal

SECRET = "pässphrase with blanks"
REPOSITORY = Path(__file__).parents[2]


def passphrase_file(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def prompt() -> str:
    return "prompted"


def never_asked() -> str:
    raise AssertionError("the prompt was shown")


# The order of the sources


def test_the_sources_are_taken_in_their_order(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    credential = passphrase_file(credentials / "ca_passphrase", b"credential\n", 0o440)
    file = passphrase_file(tmp_path / "file", b"file\n")

    def environment() -> dict[str, str]:
        return {"CREDENTIALS_DIRECTORY": str(credentials), VARIABLE: "environment"}

    assert read_passphrase(file, environment(), never_asked) == b"credential"
    credential.unlink()
    assert read_passphrase(file, environment(), never_asked) == b"file"
    assert read_passphrase(None, environment(), never_asked) == b"environment"
    assert read_passphrase(None, {}, prompt) == b"prompted"
    with pytest.raises(ConfigurationError) as refused:
        read_passphrase(None, {}, None)
    for way in ("systemd credential ca_passphrase", "--passphrase-file", "CA_PASSPHRASE", "terminal"):
        assert way in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_variable_is_removed_whichever_source_won(tmp_path: Path) -> None:
    (tmp_path / "ca_passphrase").write_bytes(b"credential")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), VARIABLE: "environment", "OTHER": "1"}
    assert read_passphrase(None, environment, None) == b"credential"
    assert environment == {"CREDENTIALS_DIRECTORY": str(tmp_path), "OTHER": "1"}


def test_the_variable_is_removed_also_when_a_source_is_broken(tmp_path: Path) -> None:
    environment = {VARIABLE: "environment"}
    with pytest.raises(ConfigurationError):
        read_passphrase(tmp_path / "missing", environment, None)
    assert not environment


def test_a_passphrase_from_the_environment_is_warned_of_but_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert read_passphrase(None, {VARIABLE: SECRET}, None) == SECRET.encode()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert SECRET not in caplog.text


# What the sources may hold


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b"secret\n\n", b"secret\n"),
        (b" secret \n", b" secret "),
        (b"\xff\x00\n", b"\xff\x00"),
        (b"x" * 1024 + b"\r\n", b"x" * 1024),
    ],
)
def test_one_newline_at_the_end_of_a_file_is_not_part_of_the_passphrase(
    tmp_path: Path, content: bytes, expected: bytes
) -> None:
    (tmp_path / "ca_passphrase").write_bytes(content)
    assert read_passphrase(passphrase_file(tmp_path / "file", content), {}, None) == expected
    assert read_passphrase(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}, None) == expected


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_an_empty_passphrase_is_refused_and_the_next_source_is_not_taken(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ca_passphrase").write_bytes(content)
    with pytest.raises(ConfigurationError, match="the credential ca_passphrase is empty"):
        read_passphrase(None, {"CREDENTIALS_DIRECTORY": str(tmp_path), VARIABLE: "x"}, prompt)
    with pytest.raises(ConfigurationError, match="file is empty"):
        read_passphrase(passphrase_file(tmp_path / "file", content), {VARIABLE: "x"}, prompt)
    with pytest.raises(ConfigurationError, match="CA_PASSPHRASE is empty"):
        read_passphrase(None, {VARIABLE: ""}, prompt)
    with pytest.raises(ConfigurationError, match="the passphrase is empty"):
        read_passphrase(None, {}, lambda: "")


def test_a_file_that_is_too_long_to_be_a_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is longer than 1024 bytes"):
        read_passphrase(passphrase_file(tmp_path / "file", b"x" * 1025), {}, None)


def test_a_passphrase_file_that_is_missing_or_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="missing can't be read: No such file or directory"):
        read_passphrase(tmp_path / "missing", {}, prompt)
    with pytest.raises(ConfigurationError, match="can't be read: Is a directory"):
        read_passphrase(tmp_path, {}, prompt)
    (tmp_path / "ca_passphrase").mkdir()
    with pytest.raises(ConfigurationError, match="the credential ca_passphrase can't be read"):
        read_passphrase(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}, prompt)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602])
def test_a_passphrase_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match=f"mode {mode:04o}"):
        read_passphrase(passphrase_file(tmp_path / "file", b"secret", mode), {}, None)


def test_a_passphrase_may_come_through_a_pipe() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"secret\n")
    os.close(writer)
    try:
        assert read_passphrase(Path(f"/dev/fd/{reader}"), {}, None) == b"secret"
    finally:
        os.close(reader)


# What is left in the process


def python(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


# The process prints what another one sees of it, before and after.
SEEN_FROM_OUTSIDE = """
import os, subprocess
from pathlib import Path
from signerd.passphrase import read_passphrase
def seen():
    environment = subprocess.run(["cat", f"/proc/{os.getpid()}/environ"], capture_output=True, check=True).stdout
    return b"swordfish" in environment, b"BEFORE=1" in environment, b"LATER=1" in environment
print(seen())
print(read_passphrase(FILE, os.environ, None))
print(seen())
print(subprocess.run(["env"], capture_output=True, text=True, check=True).stdout.count("swordfish"))
"""


@pytest.mark.parametrize("file", [False, True])
def test_the_passphrase_is_gone_from_proc_environ_and_the_other_variables_stay(tmp_path: Path, file: bool) -> None:
    path = passphrase_file(tmp_path / "file", b"from the file")
    code = SEEN_FROM_OUTSIDE.replace("FILE", f"Path({str(path)!r})" if file else "None")
    output = python(code, BEFORE="1", CA_PASSPHRASE="swordfish", LATER="1")
    expected = b"from the file" if file else b"swordfish"
    assert output.splitlines() == ["(True, True, True)", repr(expected), "(False, True, True)", "0"]


def test_the_passphrase_is_gone_from_proc_environ_of_a_process_that_is_not_dumpable() -> None:
    # Its /proc files belong to root then; it must still find its own.
    code = """
import ctypes, logging, os
from pathlib import Path
from signerd.confine import confine
from signerd.passphrase import take_from_environment
confine(allow_root=True, log=logging.getLogger())
print(take_from_environment(os.environ))
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # to be able to look
print(b"swordfish" in Path("/proc/self/environ").read_bytes())
"""
    assert python(code, CA_PASSPHRASE="swordfish").splitlines() == ["b'swordfish'", "False"]


def test_taking_from_an_environment_twice_gives_nothing_the_second_time() -> None:
    environment = {VARIABLE: SECRET}
    assert take_from_environment(environment) == SECRET.encode()
    assert take_from_environment(environment) is None


# The terminal

ASK = """
from signerd.passphrase import prompt_on_terminal, read_passphrase
from protocol.errors import ConfigurationError
try:
    print(read_passphrase(None, {}, prompt_on_terminal(twice=TWICE)))
except ConfigurationError as error:
    print(error)
"""


def ask(twice: bool) -> list[str]:
    return [sys.executable, "-W", "error", "-c", ASK.replace("TWICE", str(twice))]


def test_the_passphrase_is_asked_for_on_the_terminal_and_not_shown() -> None:
    with Terminal(ask(twice=False), cwd=REPOSITORY) as terminal:
        terminal.answer("Passphrase of the CA's key: ", "swordfish")
        assert terminal.rest().splitlines() == ["", "b'swordfish'"]


def test_a_new_passphrase_is_asked_for_until_it_was_typed_twice_the_same() -> None:
    with Terminal(ask(twice=True), cwd=REPOSITORY) as terminal:
        terminal.answer("Passphrase of the CA's key: ", "swordfish")
        terminal.answer("The same again: ", "sailfish")
        terminal.answer("The two differ. Once more, the passphrase of the CA's key: ", "swordfish")
        terminal.answer("The same again: ", "swordfish")
        assert "b'swordfish'" in terminal.rest()


def test_an_empty_or_no_answer_is_refused() -> None:
    for typed, refusal in (("", "the passphrase is empty"), ("\x04", "no passphrase was entered")):
        with Terminal(ask(twice=True), cwd=REPOSITORY) as terminal:
            terminal.answer("Passphrase of the CA's key: ", typed)
            assert refusal in terminal.rest()


def test_without_a_terminal_there_is_no_prompt() -> None:
    code = "from signerd.passphrase import prompt_on_terminal; print(prompt_on_terminal())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout == "None\n"
