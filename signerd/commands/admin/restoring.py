"""ca_admin restore."""

import os
import sys
import time
from pathlib import Path

import click

from protocol.times import rfc3339
from signerd.backup.manifest import NotBelieved, read_fingerprint
from signerd.backup.restoring import Staged, holds_authority, place, staged
from signerd.commands.admin.host import active_unit, enable, hand_over
from signerd.commands.admin.session import Session, confirm, subcommand
from signerd.commands.arguments import typed
from signerd.passphrase import prompt_on_terminal, read_passphrase

_ROOT = Path("/")
_STOP = "systemctl stop ca-sign.socket ca-admin.socket ca-signerd.service"


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--fingerprint",
    metavar="SHA256",
    type=typed(read_fingerprint),
    help="The fingerprint of the CA's certificate, as ca_create_identity printed it; else you are asked for it.",
)
@click.option(
    "--passphrase-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file with the passphrase of the CA's key; else CA_PASSPHRASE in the environment, or you are asked.",
)
@click.option("-y", "--yes", is_flag=True, help="Replace the CA that is on this machine without asking.")
@subcommand
def restore(
    session: Session, directory: Path, fingerprint: str | None, passphrase_file: Path | None, yes: bool
) -> None:
    """Put back an installation that backup --all saved.

    For root, on a machine with signerd installed and its signer stopped. DIRECTORY is believed only if the CA
    with that fingerprint made it, and if nothing in it was changed, added or taken away: else nothing is
    placed. Take the fingerprint from where you noted it, not from the backup. What is replaced on this machine
    is kept aside, under names that end in the time. No daemon is started; what to start is printed.

    \b
    Examples:
      ca_admin restore /mnt/elsewhere/ca-2026-01-31
      ca_admin restore ca-2026-01-31 --fingerprint 9A:C2:6C:… --passphrase-file /root/ca-passphrase
    """
    if os.geteuid() != 0:
        raise click.ClickException("only root can restore an installation")
    if active := active_unit():
        raise click.ClickException(f"{active} is active: {_STOP}")
    expected = fingerprint or _ask_fingerprint()
    passphrase = read_passphrase(passphrase_file, os.environ, prompt_on_terminal())
    try:
        with staged(_ROOT, directory, expected, passphrase) as backup:
            if holds_authority(_ROOT, backup.places):
                confirm(
                    lambda: f"Replace the CA in {backup.places.identity} by that of {rfc3339(backup.manifest.time)}?",
                    yes=yes,
                    undone="there is a CA on this machine, and it was left as it is",
                )
            _place(session, backup, passphrase)
    except NotBelieved as error:
        raise click.ClickException(f"{error}; nothing was placed") from None


def _place(session: Session, backup: Staged, passphrase: bytes) -> None:
    manifest = backup.manifest
    aside = place(_ROOT, backup, int(time.time()))
    credential = hand_over(passphrase, manifest)
    enable(manifest.units)
    placed = [file.path for file in manifest.files] + ([str(credential)] if credential else [])
    if session.json:
        fields = {"time": rfc3339(manifest.time), "placed": placed, "aside": [str(path) for path in aside]}
        session.report({**fields, "enabled": list(manifest.units)}, "")
        return
    click.echo("\n".join([f"restored {path}" for path in placed] + [f"kept aside {path}" for path in aside]))
    services = [unit for unit in manifest.units if unit.endswith((".service", ".timer"))]
    if manifest.site:
        services.append("nginx")
    click.echo(
        f"This is the CA as of {rfc3339(manifest.time)}. Start it, and see what it says of itself:\n"
        f"  systemctl restart {' '.join(services or ['ca-signerd', 'ca-frontend'])}\n"
        "  ca_admin status\n"
        "  ca_admin verify && ca_admin doctor\n"
        "Where status says that the clock is in doubt, as time went by since the last entry: if date is right,\n"
        '  ca_admin accept --why "restored a backup"'
    )


def _ask_fingerprint() -> str:
    if not sys.stdin.isatty():
        raise click.UsageError("--fingerprint is needed, as there is no terminal to ask on")
    return str(click.prompt("SHA-256 fingerprint of the CA's certificate", value_proc=read_fingerprint, err=True))
