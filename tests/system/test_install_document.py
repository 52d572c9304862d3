"""docs/install.md: its commands, as they stand there, on a machine that has never seen signerd."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.documents import commands, matches, run_command
from tests.system.machine import CA_NAME, Done, Machine, booted

COMMANDS_MAX = 10


COMMANDS = commands("install.md")


@pytest.fixture(scope="module")
def followed(package: Path) -> Iterator[tuple[Machine, list[Done]]]:
    """A machine on which somebody has followed the document, and what each command came to."""
    with booted(package) as machine:
        machine.run("! command -v ca_signerd ca_admin && ! getent passwd ca ca-web && ! ls -d /etc/ca /opt/signerd")
        # What the document asks for: the name in DNS, and nginx as Debian installs it, without a site of ours.
        machine.run(f"echo 127.0.0.1 {CA_NAME} >>/etc/hosts; systemctl start nginx; cp {package}/*.deb /root/")
        yield machine, [run_command(machine, command) for command in COMMANDS]


def test_it_takes_ten_commands_at_most() -> None:
    assert 0 < len(COMMANDS) <= COMMANDS_MAX


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=lambda number: f"command {number + 1}")
def test_each_command_succeeds_and_prints_what_the_document_says(
    followed: tuple[Machine, list[Done]], number: int
) -> None:
    command, done = COMMANDS[number], followed[1][number]
    assert done.status == 0, f"{command.line}\n{done.stdout}"
    assert matches(command, done.stdout), f"{command.line}\n{done.stdout}"


def test_it_ends_in_a_certificate_that_came_by_tls_through_nginx(followed: tuple[Machine, list[Done]]) -> None:
    machine, _ = followed
    text = machine.run("openssl x509 -in /root/web1.pem -noout -subject -issuer -ext subjectAltName")
    assert "CN = web1.example.net" in text
    assert "CN = Example Net CA" in text
    assert "DNS:web1.example.net" in text
    assert "PUT /api/csr/web1 HTTP" in machine.run("cat /var/log/nginx/access.log")
    assert machine.run("ca_admin list --client web1 | tail -n +2 | wc -l") == "1"
