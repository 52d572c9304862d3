"""ca_admin ledger-key and passphrase: what root does to the files of the identity, while no signer is asked."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from protocol.errors import ConfigurationError
from signerd.as_user import acting_as
from signerd.commands.admin.session import Session, subcommand
from signerd.commands.reading import read_as_signer
from signerd.files import Owner, open_private_directory, write_private_file
from signerd.identity import PRIVATE_KEY_NAME, is_key_encrypted, only_private_key_block
from signerd.ledger_key_file import LEDGER_KEY_NAME
from signerd.passphrase import prompt_on_terminal, read_passphrase
from signerd.pkcs8 import encrypted_pem
from signerd.renew_ledger_key import renew_ledger_key

_config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("/etc/ca/signerd.toml"),
    show_default=True,
    help="The signer's settings, which say where its identity and its ledger are.",
)


def _passphrase_option(name: str, whose: str) -> Callable[[click.decorators.FC], click.decorators.FC]:
    return click.option(
        name,
        type=click.Path(path_type=Path),
        help=f"A file, readable by nobody else, with the {whose} of the CA's key; else you are asked.",
    )


@click.command("ledger-key")
@click.argument("action", type=click.Choice(["renew"]))
@_config_option
@_passphrase_option("--passphrase-file", "passphrase")
@subcommand
def ledger_key(session: Session, action: str, config: Path, passphrase_file: Path | None) -> None:
    """Make a new key by which the ledger is signed, and record it.

    For when ledger.key.pem is lost, or somebody has read it. The signer is to be stopped. The CA's key signs
    a statement that names the new key, which goes on the ledger; what was signed by the old one stays good.

    \b
    Examples:
      ca_admin ledger-key renew
      ca_admin ledger-key renew --config ca-dev/signerd.toml --passphrase-file ca-dev/passphrase
    """
    policy, user = read_as_signer(config)
    directory, ledger = _identity(policy.signer.identity), Path(policy.signer.ledger)
    with acting_as(user):
        encrypted = is_key_encrypted(directory)
    passphrase = _asking(passphrase_file)() if encrypted else None  # by root, whose file that is
    public = renew_ledger_key(directory, ledger, passphrase, user)
    session.report(
        {"key": public.hex(), "file": str(directory / LEDGER_KEY_NAME)},
        f"wrote {directory / LEDGER_KEY_NAME}; the ledger is signed by {public.hex()} from now on",
    )


@click.command()
@_config_option
@_passphrase_option("--passphrase-file", "old passphrase")
@_passphrase_option("--new-passphrase-file", "new passphrase")
@subcommand
def passphrase(session: Session, config: Path, passphrase_file: Path | None, new_passphrase_file: Path | None) -> None:
    """Encrypt the CA's key and the ledger's key by another passphrase.

    The running signer goes on with what it has; at its next start it needs the new passphrase, so renew the
    credential too (docs/operate.md). Begun and interrupted, it can be called again.

    \b
    Examples:
      ca_admin passphrase
      ca_admin passphrase --passphrase-file old --new-passphrase-file new
    """
    ask_new = prompt_on_terminal(twice=True, which="New passphrase")
    if new_passphrase_file is None and ask_new is None:
        raise click.UsageError("say --new-passphrase-file, as there is no terminal to ask on")
    policy, user = read_as_signer(config)
    directory = _identity(policy.signer.identity)
    with acting_as(user), open_private_directory(directory) as files:
        contents = {name: files.read(name, secret=True) for name in (LEDGER_KEY_NAME, PRIVATE_KEY_NAME)}
    blocks = {
        name: only_private_key_block(content, directory / name)
        for name, content in contents.items()
        if content is not None
    }
    if PRIVATE_KEY_NAME not in blocks:
        raise ConfigurationError(f"{directory} holds no {PRIVATE_KEY_NAME}")
    old = _asking(passphrase_file)() if any(encrypted for _, encrypted in blocks.values()) else None
    new = read_passphrase(new_passphrase_file, {}, ask_new)
    keys = {
        name: _opened(directory / name, block, [old, new] if sealed else [None])
        for name, (block, sealed) in blocks.items()
    }
    for name, key in keys.items():  # the CA's last: until then the old passphrase is the one that opens it
        status = (directory / name).stat()
        write_private_file(
            directory / name,
            encrypted_pem(key, new),
            mode=stat.S_IMODE(status.st_mode),
            owner=Owner(status.st_uid, status.st_gid) if os.geteuid() == 0 else None,
        )
    session.report({"files": [str(directory / name) for name in keys]}, f"encrypted anew: {', '.join(keys)}")


def _identity(configured: str | None) -> Path:
    return Path(configured or os.environ.get("SAPI_CA_PATH", "/var/lib/ca"))


def _asking(passphrase_file: Path | None) -> Callable[[], bytes]:
    return lambda: read_passphrase(passphrase_file, os.environ, prompt_on_terminal())


def _opened(where: Path, block: bytes, passphrases: list[bytes | None]) -> PrivateKeyTypes:
    """The key, by one of these: it may have been encrypted anew already. Raises ``ConfigurationError``."""
    for passphrase in passphrases:
        try:
            return load_pem_private_key(block, passphrase)
        except (ValueError, TypeError):
            continue
    raise ConfigurationError(f"{where} can't be read: the passphrase is wrong, or the file is damaged")
