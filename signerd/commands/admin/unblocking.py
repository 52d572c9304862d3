"""ca_admin unblock."""

import re

import click

from protocol.fields import PAGE_MAX
from protocol.messages import UnblockRequest
from signerd.commands import EXIT_FAILED
from signerd.commands.admin.session import Session, subcommand
from signerd.commands.arguments import TEXT, parse_serial, typed
from signerd.commands.output import counted

_HASH = re.compile("[0-9a-f]{64}")


def _serial_or_hash(text: str) -> bytes:
    """A serial number, or 32 bytes: no serial number has so many. Raises ValueError."""
    digits = text.strip().lower().replace(":", "")
    try:
        return bytes.fromhex(digits) if _HASH.fullmatch(digits) else parse_serial(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a serial number nor a SHA-256 hash in hexadecimal") from None


@click.command()
@click.argument("keys", metavar="SERIAL|HASH...", type=typed(_serial_or_hash), nargs=-1, required=True)
@click.option("--why", type=TEXT, metavar="TEXT", default="", help="For the ledger.")
@subcommand
def unblock(session: Session, keys: tuple[bytes, ...], why: str) -> int:
    """Let keys have certificates again that were blocked by mistake.

    A revocation for keyCompromise, an operator's or a holder's, blocks the certificate's key. A key is named
    by the serial number of a certificate that has it, or by the SHA-256 of its SubjectPublicKeyInfo. What was
    revoked stays so. A key on the list that signer.blocked_keys names stays blocked. If nothing was blocked,
    the exit status is 1.

    \b
    Examples:
      ca_admin unblock 2f:8a:91:5c:30:d4 --why "the wrong one of two"
      ca_admin unblock 96465ea5dc9bb2da7b351d808a7196e5761f2412a5040131c68d719aaba28fb9
    """
    if len(keys) > PAGE_MAX:
        raise click.UsageError(f"more than {PAGE_MAX} keys")
    hashes = tuple(key for key in dict.fromkeys(keys) if len(key) == 32)
    serials = tuple(key for key in dict.fromkeys(keys) if len(key) < 32)
    with session.signer() as signer:
        reply = signer.ask_unblock(UnblockRequest(serials=serials, keys=hashes, why=why))
    unchanged = f"{counted(reply.unchanged, 'key')} not blocked"
    if not reply.unblocked and not session.json:
        raise click.ClickException(f"nothing was unblocked: {unchanged}")
    sentence = f"{counted(reply.unblocked, 'key')} unblocked" + (f", {unchanged}" if reply.unchanged else "")
    session.report({"unblocked": reply.unblocked, "unchanged": reply.unchanged}, sentence)
    return 0 if reply.unblocked else EXIT_FAILED
