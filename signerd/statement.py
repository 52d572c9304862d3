"""The statement by which the CA's key says which key signs its ledger's commits."""

import re
from typing import NamedTuple

from protocol.errors import ConfigurationError
from signerd.key import Intent, RecordedKey
from signerd.ledger import Ledger
from signerd.ledger.chain import GENESIS
from signerd.ledger.verify import Trust

# The signed bytes begin with a letter, as a checkpoint's do: no DER structure does.
_FORM = re.compile(rb"signerd ledger key 1\nissuer ([0-9a-f]{40})\nkey ([0-9a-f]{64})\n")
WHAT = "ledger_key"  # the intent's


class Statement(NamedTuple):
    """``issuer``: the key identifier of the CA's key; ``key``: the ledger's raw public key."""

    issuer: bytes
    key: bytes

    @property
    def text(self) -> bytes:
        """What the CA's key signs."""
        return f"signerd ledger key 1\nissuer {self.issuer.hex()}\nkey {self.key.hex()}\n".encode()


def read_statement(text: bytes) -> Statement | None:
    """What a text states, or None for any other text."""
    found = _FORM.fullmatch(text)
    return None if found is None else Statement(bytes.fromhex(found[1].decode()), bytes.fromhex(found[2].decode()))


def check_ledger_key(ledger: Ledger) -> None:
    """Raises ``ConfigurationError`` where the ledger names other keys than the one that is to sign its commits."""
    if ledger.head != GENESIS and not _statements(ledger):
        raise ConfigurationError(
            f"{ledger.path}: the ledger names another key than the one here: put back its ledger.key.pem, or have root"
            " record this one by `ca_admin ledger-key renew`"
        )


def state_ledger_key(ledger: Ledger, key: RecordedKey, trust: Trust, issuer: bytes, now: int) -> None:
    """Sees to it that there is a statement of the CA's key ``issuer`` about the key that signs the ledger's commits.
    A new ledger begins with it. Raises ``Refused`` where the ledger can't be written."""
    own = Statement(issuer, ledger.key.public)
    for seq, issued in _statements(ledger):
        if issued is not None:
            text, signature = ledger.body(seq)["to_be_signed"], ledger.body(issued)["signature"]
            if trust.ledger_key(text, signature) == own.key:
                return
    key.sign([Intent(own.text, WHAT, {"key": own.key})], now)
    ledger.commit()


def _statements(ledger: Ledger) -> list[tuple[int, int | None]]:
    """The intent and the signature of each statement about this ledger's key."""
    sql = "SELECT seq, issued FROM ledger_keys WHERE key = ? ORDER BY seq"
    return ledger.query(sql, ledger.key.public).fetchall()
