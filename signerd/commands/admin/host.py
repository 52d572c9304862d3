"""What ca_admin backup --all and restore ask of systemd, and have it do: units, and the passphrase's credential."""

import subprocess
from pathlib import Path

import click

from signerd.backup.manifest import Manifest
from signerd.backup.places import UNITS
from signerd.backup.saving import Host
from signerd.commands.finding import text_of
from signerd.files import write_private_file
from signerd.passphrase import CREDENTIAL

_ENCRYPTED = Path("/etc/credstore.encrypted") / CREDENTIAL
_SIGNERS = ("ca-sign.socket", "ca-admin.socket", "ca-signerd.service")
_PLAIN = Path("/etc/credstore") / CREDENTIAL


def describe_host() -> Host:
    """Which units are enabled, and where the signer's passphrase comes from."""
    units = [unit for unit in UNITS if text_of("systemctl", "is-enabled", unit) == "enabled"]
    return Host(tuple(units), "encrypted" if _ENCRYPTED.exists() else "plain" if _PLAIN.exists() else "none")


def active_unit() -> str | None:
    """One of the signer's units that runs, or waits for a request that would start the signer."""
    return next((unit for unit in _SIGNERS if text_of("systemctl", "is-active", unit) == "active"), None)


def hand_over(passphrase: bytes, manifest: Manifest) -> Path | None:
    """Makes the passphrase's credential as the other machine had it. Raises ``click.ClickException``, OSError."""
    if manifest.credential == "none":
        return None
    path = _ENCRYPTED if manifest.credential == "encrypted" else _PLAIN
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path == _PLAIN:
        write_private_file(path, passphrase)
        return path
    # It goes in by stdin: a command line can be read by others.
    _run("systemd-creds", "encrypt", f"--name={CREDENTIAL}", "-", str(path), stdin=passphrase)
    return path


def enable(units: tuple[str, ...]) -> None:
    """Has systemd read what was placed, and start the units at the next boot. Raises ``click.ClickException``."""
    _run("systemctl", "daemon-reload")
    if units:
        _run("systemctl", "--quiet", "enable", *units)


def _run(*command: str, stdin: bytes = b"") -> None:
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    except OSError as error:
        raise click.ClickException(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        raise click.ClickException(f"{' '.join(command[:2])}: {done.stderr.decode(errors='replace').strip()}")
