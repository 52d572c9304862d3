"""Checkpoints: signed statements of where the ledger's chain stood, to be kept off the host.

A chain alone can't show that its end was cut off, or that the file was replaced by an older one: what is
left is whole. Against a statement that says "entry 4711 had this hash" both are found.
"""

import base64
import binascii
import datetime
import re

from cryptography import x509

from protocol.times import rfc3339
from signerd.certificate import key_identifier_of
from signerd.key import CaPublicKey, Intent, RecordedKey, signature_hash
from signerd.ledger import Head
from signerd.signatures import is_signed_by

# The signed bytes begin with a letter: no DER structure does, so that a checkpoint's signature can't be
# taken for that of a certificate or a CRL.
_FORM = re.compile(
    r"signerd checkpoint 1\n"
    r"issuer ([0-9a-f]{40})\n"
    r"entry ([0-9]{1,19})\n"
    r"hash ([0-9a-f]{64})\n"
    r"time ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)\n"
)
_SIGNATURE = "signature "


def make_checkpoint(key: RecordedKey, certificate: x509.Certificate, head: Head, now: int) -> str:
    """A statement of ``head``, signed by the CA's key and recorded like all that it signs."""
    text = (
        f"signerd checkpoint 1\nissuer {key_identifier_of(certificate).hex()}\n"
        f"entry {head.seq}\nhash {head.hash.hex()}\ntime {rfc3339(now)}\n"
    )
    (signature,) = key.sign([Intent(text.encode(), "checkpoint", {})], now)
    return f"{text}{_SIGNATURE}{base64.b64encode(signature).decode()}\n"


def read_checkpoint(statement: str, certificate: x509.Certificate) -> Head:
    """What a statement states. Raises ``ValueError`` if it is not one, or not of this CA's key."""
    text, separator, encoded = statement.rpartition(_SIGNATURE)
    found = _FORM.fullmatch(text)
    if not separator or found is None:
        raise ValueError("this is no checkpoint of signerd")
    issuer, entry, digest, moment = found.groups()
    if issuer != key_identifier_of(certificate).hex():
        raise ValueError("the checkpoint is another CA's")
    try:
        signature = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        raise ValueError("the checkpoint's signature is not base64") from None
    key = certificate.public_key()
    if not isinstance(key, CaPublicKey) or not is_signed_by(key, signature, text.encode(), signature_hash(key)):
        raise ValueError("the checkpoint's signature is not by this CA's key")
    time = datetime.datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.UTC)
    return Head(int(entry), int(time.timestamp()), bytes.fromhex(digest))
