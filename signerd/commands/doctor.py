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
from signerd.commands import EXIT_FAILED, doctor_ca, doctor_host, doctor_units
from signerd.commands.admin.session import Session, subcommand
from signerd.commands.finding import Finding, Level
from signerd.commands.output import print_json, printable
from signerd.policy.policy import Policy, load_policy

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red", Level.UNKNOWN: "cyan"}
_INDENT = 9


@click.command("doctor")
@click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    default=Path("/etc/ca/signerd.toml"),
    show_default=True,
    help="The signer's settings.",
)
@subcommand
def doctor(session: Session, config: Path) -> None:
    """Check this machine's installation, and say what to do about each finding.

    Looks at users, the modes of files, units and their sandboxes, sockets, the passphrase's credential, the
    identity and its expiry, the clock, free space, the ledger, and what nginx serves. Run it as root: the
    rest is "unknown" to others.

    \b
    Exit status: 0 no problem (warnings are none), 1 a problem.

    \b
    Examples:
      sudo ca_admin doctor
      sudo ca_admin doctor --json
    """
    findings = examine(session, config, int(time.time()))
    if session.json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            _print(finding)
    if any(finding.level is Level.PROBLEM for finding in findings):
        click.get_current_context().exit(EXIT_FAILED)


def examine(session: Session, config: Path, now: int) -> list[Finding]:
    """All findings, good ones too. ``now`` is in seconds since the epoch."""
    if os.geteuid() != 0:
        root = [Finding("root", Level.UNKNOWN, "not all can be seen", "run it as root: sudo ca_admin doctor")]
    else:
        root = []
    checks: list[Callable[[], Iterator[Finding]]] = [
        doctor_host.check_users,
        doctor_host.check_code,
        doctor_host.check_clock,
        doctor_units.check_units,
        doctor_units.check_sandboxes,
        doctor_units.check_sockets,
        doctor_units.check_memory,
        lambda: _check_signer(session),
    ]
    try:
        policy = load_policy(config)
    except ConfigurationError as error:
        advice = "correct it, then: ca_signerd --check-config"
        return [*root, Finding("settings", Level.PROBLEM, str(error), advice), *_all(checks)]
    return [*root, *_check_settings(config, policy), *_all([*checks, *_checks_by_policy(policy, now)])]


def _checks_by_policy(policy: Policy, now: int) -> list[Callable[[], Iterator[Finding]]]:
    identity = Path(policy.signer.identity or os.environ.get("SAPI_CA_PATH", "/var/lib/ca"))
    longest = max(profile.lifetime_max for profile in policy.profiles.values())
    return [
        lambda: doctor_host.check_state(identity, Path(policy.signer.ledger)),
        lambda: doctor_host.check_disk(Path(policy.signer.ledger)),
        lambda: doctor_ca.check_identity(identity, longest, now),
        lambda: doctor_ca.check_credential(identity),
        lambda: doctor_units.check_http(policy.signer.base_url, identity),
    ]


def _all(checks: Sequence[Callable[[], Iterator[Finding]]]) -> Iterator[Finding]:
    for check in checks:
        try:
            yield from check()
        except PermissionError as error:
            yield Finding("permission", Level.UNKNOWN, f"{error.filename} can't be seen", "run it as root")


def _check_settings(config: Path, policy: Policy) -> Iterator[Finding]:
    if policy.signer.base_url is None:
        yield Finding(
            "settings",
            Level.WARNING,
            f"{config}: signer.base_url is not set: certificates don't say where to ask whether they are revoked",
            'set it, say base_url = "http://ca.example.net", then: systemctl reload ca-signerd',
        )
    else:
        yield Finding("settings", Level.OK, f"{config} is valid; certificates name {policy.signer.base_url}")


def _check_signer(session: Session) -> Iterator[Finding]:
    try:
        with session.signer() as signer:
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
        advice = "remove the cause, then: systemctl restart ca-signerd"
        yield Finding("signer", Level.PROBLEM, f"it is {status.state}: {status.detail}", advice)


def _print(finding: Finding) -> None:
    level = click.style(f"{finding.level.value:<{_INDENT}}", fg=_COLOURS[finding.level])
    click.echo(f"{level}{finding.check}: {printable(finding.detail)}")
    if finding.advice:
        click.echo(" " * _INDENT + f"-> {printable(finding.advice)}")
