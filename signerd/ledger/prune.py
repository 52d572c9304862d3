"""Pruning: certificates that expired long ago leave the index, so that what is searched does not grow for ever.

The entries stay, every one of them, and so does the chain; so do the serial numbers, for none is ever to be
issued again. What was pruned can still be shown by its serial number.
"""

import itertools

from signerd.ledger.chain import Kind
from signerd.ledger.index import ALL_SHARDS
from signerd.ledger.store import Ledger

ROWS = 200  # in one go: 5 ms of the event loop

# A revoked certificate has to have been on a CRL that was made after its end (RFC 5280, 3.3).
_EXPIRED = f"""
SELECT not_after, seq, revoked_at IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM crls WHERE scope IN ({ALL_SHARDS}, shard) AND issued IS NOT NULL AND this_update > not_after)
FROM certificates INDEXED BY certificates_expiry WHERE not_after < ? ORDER BY not_after, seq LIMIT ?
"""  # noqa: S608 - a constant


def prune(ledger: Ledger, expired_before: int, now: int) -> int:
    """Prunes some of the certificates whose notAfter lies before ``expired_before``, those first that ended first,
    up to one that has to stay. Returns how many; durable with the next commit. Raises ``Refused``."""
    rows = ledger.query(_EXPIRED, expired_before, ROWS).fetchall()
    expired = [(not_after, seq) for not_after, seq, _ in itertools.takewhile(lambda row: not row[2], rows)]
    if expired:
        not_after, last = expired[-1]
        ledger.append(now, Kind.PRUNED, {"not_after": not_after, "seq": last, "certificates": len(expired)})
    return len(expired)
