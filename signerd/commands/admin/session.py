"""What every subcommand of ca_admin has: the options --socket and --json, the signer, and questions."""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from protocol.client import SignerClient
from signerd.commands.admin_socket import DEFAULT_SOCKET, signer_at
from signerd.commands.output import print_facts, print_json

_AT_ONCE_SECONDS = 10.0  # far above what a busy signer takes, and one that waits for its passphrase takes longer

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Session:
    """How this call of ca_admin was made."""

    socket: str = DEFAULT_SOCKET
    json: bool = False

    def signer(self) -> contextlib.AbstractContextManager[SignerClient]:
        """The signer, for the length of a block."""
        return signer_at(self.socket)

    def signer_now(self) -> contextlib.AbstractContextManager[SignerClient]:
        """The same, for what is answered at once or not at all."""
        return signer_at(self.socket, _AT_ONCE_SECONDS)

    def report(self, fields: dict[str, Any], sentence: str) -> None:
        """Prints the outcome: ``fields`` for programs, ``sentence`` for people."""
        if self.json:
            print_json(fields)
        else:
            click.echo(sentence)

    def report_facts(self, fields: dict[str, Any], facts: list[tuple[str, str]]) -> None:
        """Prints the outcome: ``fields`` for programs, ``facts`` for people."""
        if self.json:
            print_json(fields)
        else:
            print_facts(facts)


def remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """An option's callback: keeps its value in the session, wherever it stood."""
    session = context.ensure_object(Session)
    if value and parameter.name is not None:
        setattr(session, parameter.name, value)


json_option = click.option(
    "--json", is_flag=True, expose_value=False, callback=remember, help="Print JSON, for programs."
)
socket_option = click.option(
    "--socket", metavar="PATH", expose_value=False, callback=remember, help="The signer's admin socket."
)


def subcommand(function: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """Gives a subcommand its session, and the options that may stand before or after its name."""
    return socket_option(json_option(click.pass_obj(function)))


def confirm(question: Callable[[], str], *, yes: bool, undone: str) -> None:
    """Asks the question, unless ``yes`` was said. Raises ``click.ClickException`` where there is nobody to ask,
    telling what was left ``undone``, and ``click.Abort`` for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.ClickException(f"{undone}: say --yes, as there is no terminal to ask on")
    click.confirm(question(), abort=True, err=True)
