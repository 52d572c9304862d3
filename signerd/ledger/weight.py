"""How many bytes a certificate adds to the ledger's file, as they follow from its entry: for the quota of bytes."""

from collections.abc import Mapping
from typing import Any

# Its two entries, its rows, and the entry by which its holder may revoke it once.
_FIXED = 1280
# Texts that stand in the entry and in the index: in rows of a table and of its indexes, which are not full.
_COPIES = 4


def weight(body: Mapping[str, Any]) -> int:
    """Bytes, of the intent with this body and all that follows from it: measured, and no fewer than that."""
    texts = (body["client"], body["subject"], body["idempotency_key"] or "", *body["names"])
    return _FIXED + len(body["to_be_signed"]) + _COPIES * sum(map(len, texts))
