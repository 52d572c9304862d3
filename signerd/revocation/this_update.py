"""The thisUpdate of what is said about revocations, in CRLs and OCSP answers."""

from collections.abc import Iterable

from signerd.certificate import BACKDATING
from signerd.ledger.revocations import Revoked


def this_update(now: int, told: Iterable[Revoked]) -> int:
    """A minute back, for clocks that run behind, but not before the newest of the revocations that are told: no
    list can know what is still to come (RFC 5280, 5.1.2.4). Never later than ``now``: nobody would take that."""
    return max(now - BACKDATING, min(now, max((revoked.at for revoked in told), default=0)))
