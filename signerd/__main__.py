"""ca_signerd: the privileged half. Runs as user ca; holds the CA's private key, the policy and the ledger.

It may touch: the identity directory (to read, but for the ledger's key, which it makes there with the ledger), the
ledger's directory (to write), its two unix sockets.
It has no network, speaks no HTTP, runs no hooks, and starts no other program. Start-up is the checklist
in ``serve``, in that order.
"""

import logging
import os
from pathlib import Path

import click

from protocol.errors import ConfigurationError, Refused
from protocol.logs import LogHandler, configure_logging
from signerd.authority import Authority
from signerd.clock import Clock, boot_now, read_machine
from signerd.commands import CONTEXT_SETTINGS, run, version_option
from signerd.commands.reading import read_as, read_as_signer
from signerd.confine import confine
from signerd.custom import load_custom, run_boot
from signerd.identity import load_identity
from signerd.ledger import Ledger
from signerd.ledger_key_file import open_ledger_key
from signerd.listeners import listeners
from signerd.passphrase import prompt_on_terminal, read_passphrase, take_from_environment
from signerd.peers import Admission
from signerd.policy.describe import describe_policy
from signerd.policy.policy import load_policy
from signerd.server import Server

_log = logging.getLogger("signerd.main")  # also when it is started by python -m


def serve(config: Path, passphrase_file: Path | None, log: LogHandler, *, allow_root: bool) -> None:
    """The signer's life. Raises ``ConfigurationError`` for what keeps it from serving."""
    environ = dict(os.environ)
    take_from_environment(os.environ)  # before anything else looks, and before the operator's own code runs
    policy = load_policy(config)
    confine(allow_root=allow_root, log=_log)
    custom = load_custom(Path(policy.signer.custom))
    run_boot(custom)
    admission = Admission.of(policy.signer.sign_users, policy.signer.admin_group)
    sockets = listeners(policy.signer, admission)
    directory = Path(policy.signer.identity or os.environ.get("SAPI_CA_PATH", "/var/lib/ca"))
    clock = Clock(read_machine)
    identity = load_identity(
        directory, lambda: read_passphrase(passphrase_file, environ, prompt_on_terminal()), clock.now()
    )
    ledger_path = Path(policy.signer.ledger)
    ledger = Ledger(ledger_path, open_ledger_key(directory, identity.passphrase, ledger_path), boot_now)
    try:
        authority = Authority(identity, ledger, config, clock, make_serial=custom.make_serial)
    except Refused as refusal:  # its own start can't be recorded: the disk is full, say
        raise ConfigurationError(f"{policy.signer.ledger}: {refusal.detail}") from None
    ledger.space.restore()
    del identity  # from here on the private key is the recorded key's alone
    environ.clear()
    _log.info("ready to sign as %s", authority.issuer.certificate.subject.rfc4514_string())
    try:
        Server(authority, sockets, admission, clock.now, log).run()
    finally:
        authority.close()
        ledger.close()


@click.command(
    context_settings=CONTEXT_SETTINGS,
    epilog="""\b
Examples:
  ca_signerd --check-config
  ca_signerd --config ./ca-dev/signerd.toml --passphrase-file ./ca-dev/passphrase
""",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),  # what can't be read is bad configuration, not wrong usage
    default=Path("/etc/ca/signerd.toml"),
    show_default=True,
    help="The signer's settings and policy.",
)
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, readable=False),
    help="A file with the passphrase of the CA's key.",
)
@click.option(
    "--check-config",
    is_flag=True,
    help="Read the settings, say what they mean, and end; for root, as the user whom the signer runs as.",
)
@click.option("--allow-root", is_flag=True, help="Run as root all the same: for trying things out.")
@version_option
def command(config: Path, passphrase_file: Path | None, check_config: bool, allow_root: bool) -> None:
    """The signer daemon: holds the CA's key and issues certificates within its policy.

    It speaks on unix sockets only: those that systemd hands over, or else its own. SIGHUP reads the
    policy anew; SIGTERM ends it when what was asked is answered.
    """
    log = configure_logging()
    if check_config:
        policy, user = read_as_signer(config)
        click.echo(f"{describe_policy(policy)}\n{read_as(user)}")
    else:
        serve(config, passphrase_file, log, allow_root=allow_root)


def main() -> None:
    """The entry point of ca_signerd."""
    run(command)


if __name__ == "__main__":
    main()
