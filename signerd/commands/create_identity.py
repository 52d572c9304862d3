"""ca_create_identity: makes the key and the certificate of a new CA."""

import functools
import os
import pwd
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click
from click.core import ParameterSource
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from protocol.durations import parse_duration
from protocol.errors import ConfigurationError
from signerd.as_user import SIGNER_USER
from signerd.commands import CONTEXT_SETTINGS, run, version_option
from signerd.files import Owner
from signerd.identity import Identity
from signerd.new_identity import (
    KEY_MAKERS,
    SUBJECT_FIELDS,
    create_identity,
    existing_files,
    subject_name,
    validity,
)
from signerd.passphrase import prompt_on_terminal, read_passphrase
from signerd.renew_identity import renew_identity

# Stands for a value to ask for. No argument of a process can be it.
_ASK = "\0"


def main() -> None:
    """The command, on sys.argv; ends the process."""
    run(command, with_missing_values(sys.argv[1:]))


def with_missing_values(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with a mark for the value of each -f FIELD that has none; click's -f takes always two."""
    rest, completed = list(arguments), []
    while rest:
        argument = rest.pop(0)
        completed.append(argument)
        if argument in {"-f", "--field"} and rest:
            completed.append(rest.pop(0))
            completed.append(_ASK if not rest or rest[0].startswith("-") else rest.pop(0))
    return completed


@click.command("ca_create_identity", context_settings=CONTEXT_SETTINGS)
@click.option(
    "-f",
    "--field",
    "fields",
    type=(str, str),
    multiple=True,
    metavar="FIELD [VALUE]",
    help=f"A field of the CA's name: one of {', '.join(SUBJECT_FIELDS)}. Without a value you are asked for "
    "it. A CN or an O must be among them.",
)
@click.option(
    "-v",
    "--validity",
    "lifetime",
    default="10",
    show_default=True,
    metavar="DURATION",
    help="How long the certificate is valid: a number and s, d or y (seconds, days, years of 365 days); "
    "years if there is no suffix.",
)
@click.option("--key", type=click.Choice(list(KEY_MAKERS)), default="p256", show_default=True, help="The kind of key.")
@click.option(
    "--path",
    type=click.Path(path_type=Path, file_okay=False),
    default="/var/lib/ca",
    envvar="SAPI_CA_PATH",
    show_default=True,
    show_envvar=True,
    help="The directory that the files go to.",
)
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, readable=False),
    help="A file, readable by nobody else, that holds the passphrase of the new key. Otherwise CA_PASSPHRASE "
    "in the environment is taken, or you are asked.",
)
@click.option(
    "--owner",
    metavar="USER",
    help=f"To whom the files shall belong. Only root can say; the default is {SIGNER_USER}, if it exists.",
)
@click.option("-y", "--yes", "--force", "yes", is_flag=True, help="Replace an existing identity without asking.")
@click.option(
    "--renew",
    is_flag=True,
    help="Make a new certificate for the identity that is there, for the same key and name; the old one is kept aside.",
)
@version_option
def command(  # noqa: PLR0913, PLR0917 - one per option
    fields: tuple[tuple[str, str], ...],
    lifetime: str,
    key: str,
    path: Path,
    passphrase_file: Path | None,
    owner: str | None,
    yes: bool,
    renew: bool,
) -> None:
    """Make a certificate authority's identity: a private key and its self-signed certificate.

    \b
    Writes ca.crt.pem, ca.private_key.pem (encrypted), ca.public_key.pem and
    ca.csr.pem. The files of an identity that is there already are kept aside,
    under names that end in the time, after you have said yes.

    With --renew it is the certificate alone that is made anew, also if it has
    expired. What the CA has issued stays valid under the new one.

    \b
    Examples:
      ca_create_identity -f CN ca.example.net -f O "Example, Inc."
      ca_create_identity -f CN ca.net -f C US -v 5y --key rsa3072 --path ./ca
      ca_create_identity -f CN -f O           (asks for both)
      ca_create_identity --renew -v 10y
    """
    now = int(time.time())
    if renew:
        _renew(path, lifetime, now, passphrase_file, owner)
        return
    subject = [(field, _asked_for(field) if value == _ASK else value) for field, value in fields]
    try:
        subject_name(subject)
        seconds = _lifetime_seconds(lifetime)
        validity(seconds, now)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    files_owner = file_owner(owner)
    existing = existing_files(path)
    if existing and not yes:
        _confirm(existing)
    passphrase = read_passphrase(passphrase_file, os.environ, prompt_on_terminal(twice=True))
    identity = create_identity(path, subject, seconds, key, passphrase, now, replace=bool(existing), owner=files_owner)
    _report(path, identity)


def _renew(path: Path, lifetime: str, now: int, passphrase_file: Path | None, owner: str | None) -> None:
    given = click.get_current_context().get_parameter_source
    for option in ("fields", "key"):
        if given(option) is not ParameterSource.DEFAULT:
            raise click.UsageError("--renew keeps the key and the name: -f and --key can't be given with it")
    ask = functools.partial(read_passphrase, passphrase_file, os.environ, prompt_on_terminal())
    reader = file_owner(owner) or Owner(os.geteuid(), os.getegid())
    try:
        identity, file = renew_identity(path, _lifetime_seconds(lifetime), ask, now, reader)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"wrote {file}")
    _report_certificate(identity)


def _asked_for(field: str) -> str:
    if not sys.stdin.isatty():
        raise click.UsageError(f"-f {field} has no value, and there is no terminal to ask for it on")
    return str(click.prompt(field))


def _lifetime_seconds(text: str) -> int:
    if text[-1:].isalpha() and text[-1:].lower() not in {"s", "d", "y"}:
        raise ValueError(f"the validity {text!r} doesn't end in s, d or y")
    return parse_duration(text.lower(), "y")


def file_owner(name: str | None) -> Owner | None:
    """Whose the files shall be, ``name`` being what --owner says; None: whoever's runs this."""
    if os.geteuid() != 0:
        if name is not None:
            raise click.UsageError("only root can give the files to another user (--owner)")
        return None
    try:
        user = pwd.getpwnam(name or SIGNER_USER)
    except KeyError:
        if name is not None:
            raise ConfigurationError(f"there is no user {name} (--owner)") from None
        return None
    return Owner(user.pw_uid, user.pw_gid)


def _confirm(existing: Sequence[Path]) -> None:
    message = f"{existing[0].parent} holds an identity already ({', '.join(path.name for path in existing)})"
    if not sys.stdin.isatty():
        raise click.ClickException(
            f"{message}; nothing was changed: say --yes to replace it, as there is no terminal to ask on"
        )
    click.echo(f"{message}.", err=True)
    click.confirm("Put a new one in its place? The old files are kept aside.", abort=True, err=True)


def _report(path: Path, identity: Identity) -> None:
    for file in existing_files(path):
        click.echo(f"wrote {file}")
    _report_certificate(identity)
    if os.geteuid() == 0:
        click.echo(_whose(path.stat().st_uid))


def _report_certificate(identity: Identity) -> None:
    certificate = identity.certificate
    click.echo(f"subject:     {certificate.subject.rfc4514_string({x509.NameOID.EMAIL_ADDRESS: 'emailAddress'})}")
    click.echo(f"valid:       {_text(certificate.not_valid_before_utc)} to {_text(certificate.not_valid_after_utc)}")
    click.echo(f"SHA-256:     {certificate.fingerprint(hashes.SHA256()).hex(':').upper()}")


def _whose(uid: int) -> str:
    if uid == 0:
        return "The files belong to root, as whom the signer doesn't run; --owner USER gives them to another."
    return f"The files belong to {pwd.getpwuid(uid).pw_name}."


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")


if __name__ == "__main__":
    main()
