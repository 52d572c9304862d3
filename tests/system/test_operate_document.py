"""docs/operate.md: its commands, in its order, on a machine that serves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.documents import commands, matches, run_command
from tests.system.machine import Done, Machine, booted
from tests.system.serving import serve

COMMANDS = commands("operate.md")


@pytest.fixture(scope="module")
def operated(installed: Path) -> Iterator[tuple[Machine, list[Done]]]:
    """A machine on which somebody has followed the document, and what each command came to."""
    with booted(installed) as machine:
        machine.run(f"cp -a {installed}/* /; systemd-sysusers; systemd-tmpfiles --create; systemctl daemon-reload")
        serve(machine)
        yield machine, [run_command(machine, command) for command in COMMANDS]


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=[" ".join(one.line.split()[:3]) for one in COMMANDS])
def test_each_command_succeeds_and_prints_what_the_document_says(
    operated: tuple[Machine, list[Done]], number: int
) -> None:
    command, done = COMMANDS[number], operated[1][number]
    assert done.status == 0, f"{command.line}\n{done.stdout}"
    assert matches(command, done.stdout), f"{command.line}\n{done.stdout}"


def test_after_all_of_it_the_authority_issues_and_is_well(operated: tuple[Machine, list[Done]]) -> None:
    machine, _ = operated
    put = "curl -sSf --cacert /var/lib/ca/ca.crt.pem -T /srv/client/web1.csr https://ca.example.net/api/csr/web1"
    assert "BEGIN CERTIFICATE" in machine.run(put)
    machine.run("ca_admin verify; ca_admin doctor")
