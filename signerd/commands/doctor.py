"""ca_admin doctor: looks at an installation from outside, and says for each finding what to do.

It runs beside the signer, on its machine, and best as root: what only root can see is "unknown" otherwise.
It changes nothing, and prints no secret.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from protocol.errors import ConfigurationError, Refused
from signerd.as_user import SIGNER_USER
from signerd.commands import EXIT_FAILED, doctor_ca, doctor_files, doctor_host, doctor_http, doctor_units
from signerd.commands.admin.session import Session, subcommand
from signerd.commands.admin_socket import DEVELOPMENT_SOCKET
from signerd.commands.doctor_passphrase import Source, source_by_hand, units_source
from signerd.commands.finding import Finding, Level
from signerd.commands.installation import Installation
from signerd.commands.output import print_json, print_line, printable
from signerd.commands.reading import read_as, read_as_signer
from signerd.files import Owner
from signerd.passphrase import take_from_environment
from signerd.policy.policy import Policy

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red", Level.UNKNOWN: "cyan"}
_INDENT = 9
_NOT_HERE = f"docs/install.md installs it; what ca_start_dev runs: ca_admin --socket {DEVELOPMENT_SOCKET} doctor"
Check = Callable[[], Iterator[Finding]]


@click.command("doctor")
@click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="The signer's settings; else /etc/ca/signerd.toml, or what lies beside another --socket.",
)
@subcommand
def doctor(session: Session, config: Path | None) -> None:
    """Check this machine's installation, and say what to do about each finding.

    Looks at users, the modes of files, units and their sandboxes, sockets, the passphrase's credential, the
    identity and its expiry, the clock, free space, the ledger, and what nginx serves. Settings are read as
    the user whom the signer runs as. Run it as root: the rest is "unknown" to others.

    With the --socket of a signer that was started by hand, by ca_start_dev say, it looks at that one's
    files instead, and at no unit.

    \b
    Exit status: 0 no problem (warnings are none), 1 a problem.

    \b
    Examples:
      sudo ca_admin doctor
      sudo ca_admin doctor --json
      ca_admin --socket ca-dev/admin.sock doctor
    """
    passphrase = take_from_environment(os.environ)  # before a program that we start inherits it
    findings = examine(session, Installation.at(session.socket, config), passphrase, int(time.time()))
    if session.json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            _print(finding)
    if any(finding.level is Level.PROBLEM for finding in findings):
        click.get_current_context().exit(EXIT_FAILED)


def examine(session: Session, installation: Installation, passphrase: bytes | None, now: int) -> list[Finding]:
    """All findings, good ones too. ``passphrase``: what CA_PASSPHRASE was; ``now``: seconds since the epoch."""
    if installation.by_systemd and not installation.config.parent.exists() and not doctor_host.owner_of(SIGNER_USER):
        detail = f"nothing is installed here: there is neither {installation.config.parent} nor a user {SIGNER_USER}"
        return [Finding("installation", Level.PROBLEM, detail, _NOT_HERE)]
    root = []
    if os.geteuid() != 0 and installation.by_systemd:
        root = [Finding("root", Level.UNKNOWN, "not all can be seen", "run it as root: sudo ca_admin doctor")]
    checks = _checks_of_machine(session, installation)
    try:
        policy, reader = read_as_signer(installation.config)
    except ConfigurationError as error:
        advice = "correct it, then: ca_signerd --check-config"
        return [*root, Finding("settings", Level.PROBLEM, str(error), advice), *_all(checks)]
    signer = (doctor_host.owner_of(SIGNER_USER) if installation.by_systemd else None) or reader
    checks += _checks_by_policy(policy, installation, signer, passphrase, now)
    return [*root, *_check_settings(installation.config, policy, reader), *_all(checks)]


def _checks_of_machine(session: Session, installation: Installation) -> list[Check]:
    """What there is to look at whatever the settings say."""
    if not installation.by_systemd:
        return [lambda: doctor_files.check_frontend_settings(installation, None), lambda: _check_signer(session)]
    frontend = doctor_host.owner_of(doctor_host.FRONTEND) if os.geteuid() == 0 else None
    return [
        doctor_host.check_users,
        doctor_files.check_code,
        doctor_host.check_clock,
        doctor_units.check_units,
        doctor_units.check_sandboxes,
        doctor_units.check_sockets,
        doctor_units.check_memory,
        lambda: doctor_files.check_frontend_settings(installation, frontend),
        lambda: _check_signer(session),
    ]


def _checks_by_policy(
    policy: Policy, installation: Installation, signer: Owner, passphrase: bytes | None, now: int
) -> list[Check]:
    identity = Path(policy.signer.identity or os.environ.get("SAPI_CA_PATH", "/var/lib/ca"))
    ledger, base_url = Path(policy.signer.ledger), policy.signer.base_url
    longest = max(profile.lifetime_max for profile in policy.profiles.values())
    checks: list[Check] = [
        lambda: doctor_files.check_settings_files(installation, signer),
        lambda: doctor_files.check_state(identity, ledger, signer),
        lambda: doctor_files.check_disk(ledger),
        lambda: doctor_ca.check_identity(identity, longest, now),
        lambda: doctor_ca.check_keys(identity, ledger, _passphrase_source(installation, passphrase), signer),
        lambda: doctor_http.check_http(base_url, identity, by_systemd=installation.by_systemd),
    ]
    return [*checks, lambda: doctor_http.check_tls(base_url, now)] if installation.by_systemd else checks


def _passphrase_source(installation: Installation, passphrase: bytes | None) -> Source:
    return units_source(passphrase) if installation.by_systemd else source_by_hand(installation.config, passphrase)


def _all(checks: Sequence[Check]) -> Iterator[Finding]:
    for check in checks:
        try:
            yield from check()
        except PermissionError as error:
            yield Finding("permission", Level.UNKNOWN, f"{error.filename} can't be seen", "run it as root")


def _check_settings(config: Path, policy: Policy, reader: Owner) -> Iterator[Finding]:
    if policy.signer.base_url is None:
        yield Finding(
            "settings",
            Level.WARNING,
            f"{config}: signer.base_url is not set: certificates don't say where to ask whether they are revoked",
            'set it, say base_url = "http://ca.example.net", then: systemctl reload ca-signerd',
        )
    else:
        detail = f"{config} is valid, {read_as(reader)}; certificates name {policy.signer.base_url}"
        yield Finding("settings", Level.OK, detail)


def _check_signer(session: Session) -> Iterator[Finding]:
    try:
        with session.signer_now() as signer:
            status = signer.ask_status()
    except Refused as refusal:
        yield Finding("signer", Level.PROBLEM, refusal.detail, "systemctl status ca-signerd says why")
        return
    if status.state == "frozen":
        yield Finding(
            "signer", Level.WARNING, f"issuance is frozen: {status.detail}", "ca_admin thaw, once it may go on"
        )
    elif status.state == "ready":
        yield Finding("signer", Level.OK, f"ready to sign as {status.issuer}; {status.entries} entries on the ledger")
    else:
        advice = "do what that says; where the disk or a file was the cause: systemctl restart ca-signerd"
        yield Finding("signer", Level.PROBLEM, f"it is {status.state}: {status.detail}", advice)


def _print(finding: Finding) -> None:
    level = click.style(f"{finding.level.value:<{_INDENT}}", fg=_COLOURS[finding.level])
    print_line(f"{level}{finding.check}: {printable(finding.detail)}")
    if finding.advice:
        click.echo(" " * _INDENT + f"-> {printable(finding.advice)}")
