"""How many bytes entries add to the ledger's file: for the quota of bytes, and for the room that writing takes."""

from collections.abc import Mapping
from typing import Any

from protocol.wire import WireError, unpack

# Its two entries, its rows, and the entry by which its holder may revoke it once.
_FIXED = 1280
_ROW = 512  # a row of the index, or its part of an entry, and no less
_PAGE = 4096
# Texts that stand in the entry and in the index: in rows of a table and of its indexes, which are not full.
_COPIES = 4


def weight(to_be_signed: bytes, facts: Mapping[str, Any]) -> int:
    """Bytes, of the intent with these facts and all that follows from it: measured, and no fewer than that."""
    texts = (facts["client"], facts["subject"], facts["idempotency_key"] or "", *facts["names"])
    return _FIXED + len(to_be_signed) + _COPIES * sum(map(len, texts))


def rows(body: Mapping[str, Any]) -> int:
    """How many rows of tables and their indexes an entry makes or changes, and no fewer."""
    names, certificates = body.get("names", ()), body.get("certificates", ())
    concerned = len(certificates) if isinstance(certificates, list) else 0  # an entry about pruning counts them
    return 8 + 2 * len(names) + 2 * concerned


def packed_rows(body: bytes) -> int:
    """The same, of a body as it stands in the file: none where it can't be read."""
    try:
        return rows(unpack(body))
    except WireError:
        return 0


def written(number: int, size: int) -> int:
    """Bytes that a transaction writes which makes or changes so many rows: of a file of this size no more than each
    page once."""
    return min(number * _PAGE, size) + number * _ROW
