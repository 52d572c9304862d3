import subprocess
import sys
from pathlib import Path

import click
import pytest

from protocol.errors import ConfigurationError, ErrorCode, Refused
from signerd.commands import run


def ends_with(error: BaseException | None, *, status: int | None = None) -> int:
    """The exit status of a command that raises ``error``, or returns ``status``."""

    @click.command()
    def command() -> int | None:
        if error is not None:
            raise error
        return status

    with pytest.raises(SystemExit) as ended:
        run(command, [])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ConfigurationError("/etc/ca/signerd.toml: bad"), 78, "/etc/ca/signerd.toml: bad"),
        (Refused(ErrorCode.FROZEN, "issuance is frozen"), 1, "frozen: issuance is frozen"),
        (click.ClickException("nothing was changed"), 1, "nothing was changed"),
        (FileNotFoundError(2, "No such file or directory", "/no/such"), 1, "/no/such: No such file or directory"),
        (ConnectionRefusedError(111, "Connection refused"), 1, "[Errno 111] Connection refused"),
        (KeyboardInterrupt(), 1, "given up"),
        (click.Abort(), 1, "given up"),
    ],
)
def test_what_ends_a_command_is_one_line_and_a_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ca_admin"])
    assert ends_with(error) == status
    output = capsys.readouterr()
    # After ^C the terminal's line is not at its beginning, so click begins a new one.
    assert output.err.lstrip("\n") == f"ca_admin: {line}\n"
    assert output.out == ""


def test_wrong_usage_ends_with_2_and_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(click.UsageError("no")) == 2
    error = capsys.readouterr().err
    assert error.startswith("Usage: ")
    assert error.endswith("\nError: no\n")


def test_a_command_may_choose_its_status() -> None:
    assert ends_with(None) == 0
    assert ends_with(None, status=3) == 3


def test_an_error_in_the_program_itself_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run(click.Command("broken", callback=lambda: 1 // 0), [])


def test_a_reader_that_goes_away_ends_a_command_in_silence() -> None:
    code = (
        "import click; from signerd.commands import run\n"
        "@click.command()\n"
        "def command():\n"
        "    while True:\n"
        "        click.echo('x' * 1000)\n"
        "run(command, [])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == b""
