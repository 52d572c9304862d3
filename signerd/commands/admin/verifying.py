"""ca_admin verify."""

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from protocol import pem
from protocol.client import SignerClient
from protocol.messages import VerifyRequest
from signerd.checkpoint import read_checkpoint
from signerd.commands import EXIT_FAILED
from signerd.commands.admin.session import Session, subcommand
from signerd.commands.admin.verification import Checkpoint, Outcome, Place, Stretch, verify_ledger
from signerd.commands.output import counted, print_json
from signerd.commands.progress import Progress
from signerd.ledger.verify import LedgerFile, named_certificate
from signerd.trust import CaTrust

_STATEMENT = re.compile(r"^(?=signerd checkpoint )", re.MULTILINE)
CheckStretch = Callable[[Place, int], Stretch]


@click.command()
@click.option(
    "--checkpoint",
    "checkpoints",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A file of checkpoints that was kept elsewhere. May be given more than once.",
)
@click.option(
    "--ledger",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Verify this file, a backup or the ledger of a stopped signer, without asking a signer.",
)
@click.option(
    "--certificate",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The CA's certificate, by which the ledger and its checkpoints are believed; else the running signer's.",
)
@subcommand
def verify(session: Session, checkpoints: tuple[Path, ...], ledger: Path | None, certificate: Path | None) -> int:
    """Verify the ledger, against checkpoints too.

    Checks the chain of hashes, the signature of each commit, that each certificate is what the ledger says
    of it, and the index that search and revocation use: finds what was changed, deleted, added or put in
    another order. That the ledger's end was cut off, or that an older ledger was put in its place, only a
    checkpoint shows that was kept on another machine. Exit status 0 if nothing is wrong, 1 if something is.

    \b
    Examples:
      ca_admin verify
      ca_admin verify --checkpoint /mnt/elsewhere/ca.checkpoints
      ca_admin verify --ledger backup.db --certificate ca.crt.pem
      ca_admin verify --ledger backup.db --checkpoint ca.checkpoints --certificate ca.crt.pem
    """
    if ledger is not None and checkpoints and certificate is None:
        raise click.UsageError("without a signer to ask, --checkpoint needs --certificate")
    own = None if certificate is None else _read_certificate(certificate)
    with contextlib.ExitStack() as stack:
        if ledger is not None:
            check_stretch, issuer = stack.enter_context(_reading(ledger, own))
        else:
            signer = stack.enter_context(session.signer())
            check_stretch = _asking(signer)
            issuer = own or x509.load_der_x509_certificate(signer.ask_describe().chain[0])
        known = _read_checkpoints(checkpoints, issuer)
        progress = stack.enter_context(Progress("verifying"))
        outcome = verify_ledger(check_stretch, known, progress.at)
    if ledger is not None and own is None and not session.json:
        click.echo(
            "It is believed by the CA certificate that it names itself; where it may have been replaced as a whole, say"
            f" --certificate, or compare the SHA-256 fingerprint:\n{_fingerprint(issuer)}",
            err=True,
        )
    _report(session, outcome, len(known), issuer)
    return 0 if outcome.ok else EXIT_FAILED


def _report(session: Session, outcome: Outcome, checkpoints: int, issuer: x509.Certificate) -> None:
    if session.json:
        fields = {"ok": outcome.ok, "entries": outcome.entries, "head": outcome.head.hex()}
        fields |= {"problems": outcome.problems, "checkpoints": checkpoints, "certificate": _fingerprint(issuer)}
        print_json(fields)
        return
    for problem in outcome.problems:
        click.echo(problem)
    against = f", by {counted(checkpoints, 'checkpoint')} too" if checkpoints else ""
    verdict = f"nothing is wrong{against}" if outcome.ok else counted(len(outcome.problems), "problem")
    click.echo(f"{outcome.entries} entries, head {outcome.head.hex()}: {verdict}")


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _asking(signer: SignerClient) -> CheckStretch:
    def check_stretch(before: Place, limit: int) -> Stretch:
        reply = signer.ask_verify(VerifyRequest(seq=before.seq, hash=before.hash, limit=limit))
        return Stretch(Place(reply.seq, reply.hash), reply.entries, reply.problems)

    return check_stretch


@contextlib.contextmanager
def _reading(path: Path, certificate: x509.Certificate | None) -> Iterator[tuple[CheckStretch, x509.Certificate]]:
    """Reads the ledger at ``path``, and changes nothing; by ``certificate``, or by the one that it names itself.
    Raises OSError or ``click.ClickException``."""
    try:
        certificate = certificate or x509.load_der_x509_certificate(named_certificate(path))
        file = LedgerFile(path, CaTrust(certificate))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise click.ClickException(f"{path}: the CA's certificate is not to be found in it: {error}") from None
    except sqlite3.Error as error:
        raise click.ClickException(f"{path} is no ledger: {error}") from None

    def check_stretch(_before: Place, limit: int) -> Stretch:
        end, problems = file.check_next(limit)
        return Stretch(Place(end.seq, end.hash), file.entries, problems)

    with contextlib.closing(file):
        yield check_stretch, certificate


def _read_certificate(path: Path) -> x509.Certificate:
    """The CA's certificate in PEM. Raises OSError or ``click.ClickException``."""
    try:
        return x509.load_der_x509_certificate(pem.decode_one(path.read_bytes(), (pem.CERTIFICATE_LABEL,)))
    except ValueError as error:
        raise click.ClickException(f"{path}: {error}") from None


def _read_checkpoints(paths: Sequence[Path], certificate: x509.Certificate) -> list[Checkpoint]:
    """The checkpoints in files, each of which may hold several. Raises OSError or ``click.ClickException``."""
    found = []
    for path in paths:
        for statement in _STATEMENT.split(path.read_text(encoding="ascii", errors="replace")):
            if not statement.strip():
                continue
            try:
                head = read_checkpoint(statement, certificate)
            except ValueError as error:
                raise click.ClickException(f"{path}: {error}") from None
            found.append(Checkpoint(str(path), Place(head.seq, head.hash)))
    if paths and not found:
        raise click.ClickException(f"{paths[0]} holds no checkpoint")
    return found
