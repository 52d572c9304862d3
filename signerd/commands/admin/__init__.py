"""ca_admin: what operators type. Each subcommand is a module's function, which is loaded when it is called for."""

import importlib

import click

from signerd.commands import CONTEXT_SETTINGS, run, version_option
from signerd.commands.admin.session import json_option, remember
from signerd.commands.admin_socket import DEFAULT_SOCKET, SOCKET_VARIABLE

# In the order of --help. Some need cryptography or SQLite; `ca_admin status` shall not wait for those.
_SUBCOMMANDS = {
    "status": "signerd.commands.admin.operating:status",
    "list": "signerd.commands.admin.listing:list_certificates",
    "show": "signerd.commands.admin.showing:show",
    "revoke": "signerd.commands.admin.revoking:revoke",
    "unblock": "signerd.commands.admin.unblocking:unblock",
    "freeze": "signerd.commands.admin.operating:freeze",
    "thaw": "signerd.commands.admin.operating:thaw",
    "accept": "signerd.commands.admin.operating:accept",
    "reload": "signerd.commands.admin.operating:reload",
    "check": "signerd.commands.admin.issuing:check",
    "issue": "signerd.commands.admin.issuing:issue",
    "verify": "signerd.commands.admin.verifying:verify",
    "rebuild": "signerd.commands.admin.rebuilding:rebuild",
    "checkpoint": "signerd.commands.admin.keeping:checkpoint",
    "backup": "signerd.commands.admin.keeping:backup",
    "restore": "signerd.commands.admin.restoring:restore",
    "export": "signerd.commands.admin.exporting:export",
    "ledger-key": "signerd.commands.admin.keys:ledger_key",
    "passphrase": "signerd.commands.admin.keys:passphrase",
    "doctor": "signerd.commands.doctor:doctor",
    "completion": "signerd.commands.admin.completing:completion",
}


class _Subcommands(click.Group):
    """A group whose commands are loaded one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _SUBCOMMANDS:
            return None
        module, _, name = _SUBCOMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)  # noqa: S101 - for the type checker
        return command


@click.command("ca_admin", cls=_Subcommands, context_settings=CONTEXT_SETTINGS)
@click.option(
    "--socket",
    metavar="PATH",
    default=DEFAULT_SOCKET,
    envvar=SOCKET_VARIABLE,
    show_default=True,
    show_envvar=True,
    expose_value=False,
    callback=remember,
    help="The signer's admin socket.",
)
@json_option
@version_option
def command() -> None:
    """Operate a certificate authority.

    Everything goes through the running signer, which admits root and the members of the group ca-admin to
    its admin socket, and puts on its ledger what was done. --json and --socket may stand before or after
    the subcommand.

    \b
    Exit status: 0 done, 1 refused or failed, 2 wrong usage.

    \b
    Examples:
      ca_admin status
      ca_admin list --expiring-within 30d --state valid
      ca_admin show 2f:8a:91:5c:30:d4
      ca_admin revoke 2f8a915c30d4 --reason keyCompromise
      ca_admin COMMAND --help
    """


def main() -> None:
    """The command, on sys.argv; ends the process."""
    run(command)
