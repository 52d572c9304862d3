"""docs/ca_admin.md says what the commands say of themselves, and its JSON is what they print."""

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from protocol import pem
from signerd.commands.admin import command as ca_admin
from signerd.commands.sign_certificate import command as ca_sign_certificate
from tests.commands import ROOT, Operator
from tests.csrs import csr_for, dns
from tests.running import Signer

DOCUMENT = (ROOT / "docs/ca_admin.md").read_text(encoding="utf-8")
WIDTH = 120
EVERYWHERE = {"--socket", "--json", "--help"}  # described once, for all subcommands


def subcommands() -> dict[str, click.Command]:
    context = click.Context(ca_admin, info_name="ca_admin")
    found = {name: ca_admin.get_command(context, name) for name in ca_admin.list_commands(context)}
    return {f"ca_admin {name}": one for name, one in found.items() if one is not None}


COMMANDS = subcommands() | {"ca_sign_certificate": ca_sign_certificate}


def reference(title: str, command: click.Command) -> str:
    """What the document has to say of a command: its own help, in Markdown."""
    arguments = [argument(one) for one in command.params if isinstance(one, click.Argument)]
    lines = [f"### {' '.join([title, *arguments])}", ""]
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b\nExamples:\n"):
            lines += ["```sh", inspect.cleandoc(paragraph.partition("Examples:\n")[2]), "```", ""]
        else:
            lines += [textwrap.fill(paragraph.removeprefix("\b"), WIDTH, break_on_hyphens=False), ""]
    options = [one for one in command.params if isinstance(one, click.Option) and not set(one.opts) & EVERYWHERE]
    if options:
        lines += ["| option | |", "|---|---|", *map(row, options), ""]
    return "\n".join(lines)


def argument(one: click.Argument) -> str:
    return one.metavar or (one.name or "").upper()


def row(option: click.Option) -> str:
    names = ", ".join(option.opts)
    values = f" {option.metavar}" if option.metavar else ""
    if isinstance(option.type, click.Choice):
        values = f" {'|'.join(map(str, option.type.choices))}".replace("|", r"\|")
    default = f" Default: `{option.default}`." if option.show_default else ""
    return f"| `{names}{values}` | {option.help}{default} |"


@pytest.mark.parametrize("title", COMMANDS)
def test_the_reference_of_each_command_is_its_own_help(title: str) -> None:
    assert reference(title, COMMANDS[title]) in DOCUMENT


def test_the_reference_has_every_command_and_no_other() -> None:
    headings = re.findall(r"^### (ca_[a-z_]+(?: [a-z-]+)?)", DOCUMENT, re.MULTILINE)
    assert headings == list(COMMANDS)


# --- JSON -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with Signer() as signer:
        yield signer


def documented() -> dict[str, list[str]]:
    """The fields that the document names for each subcommand's JSON."""
    table = re.findall(r"^\| `([a-z][a-z -]*)` \| (.*?) \|$", DOCUMENT, re.MULTILINE)
    return {name: re.findall(r"`([a-z_]+)`", fields) for name, fields in table}


def test_the_json_of_each_subcommand_has_the_documented_fields(signer: Signer, tmp_path: Path) -> None:
    operator = Operator(signer.admin_path, tmp_path)
    (tmp_path / "web1.csr").write_text(pem.encode(csr_for(dns("web1.example.net")), pem.CSR_LABELS[0]))
    issued = operator.gets("issue", "web1.csr")
    serial = issued["serial"]
    found: dict[str, Any] = {
        "issue": issued,
        "check": (check := operator.gets("check", "web1.csr")),
        "check rules": check["rules"][0],
        "status": (status := operator.gets("status")),
        "status ledger": status["ledger"],
        "status certificates": status["certificates"],
        "list": operator.gets("list")[0],
        "show": operator.gets("show", serial),
        "export": json.loads(operator.does("export").splitlines()[0]),
        "revoke": operator.gets("revoke", serial, "--reason", "keyCompromise", "--yes"),
        "unblock": operator.gets("unblock", serial),
        "freeze": operator.gets("freeze"),
        "thaw": operator.gets("thaw"),
        "reload": operator.gets("reload"),
        "verify": operator.gets("verify"),
        "checkpoint": operator.gets("checkpoint"),
        "backup": operator.gets("backup", "copy.db"),
        "rebuild": operator.gets("rebuild", "copy.db", "anew.db"),
        "doctor": json.loads(operator.tries("--json", "doctor").stdout)[0],
    }
    elsewhere = {"accept", "ledger-key", "passphrase"}  # tests/signerd/test_ledger_key.py
    described = {name: fields for name, fields in documented().items() if name not in elsewhere}
    assert {name: list(value) for name, value in found.items()} == described
