"""The durable, hash-chained record of all that the signer did, and its search index.

``store``: the SQLite file, its transactions, and the rule that the first failed write is final.
``chain``: what an entry is, and how each is bound to the one before it.
``index``: tables for search, derived from the entries and rebuilt from them at need.
"""

from signerd.ledger.chain import Entry, Head, Kind
from signerd.ledger.store import Ledger

__all__ = ["Entry", "Head", "Kind", "Ledger"]
