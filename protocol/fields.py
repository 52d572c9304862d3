"""What may stand in a field of a message: the types that have limits, the limits, and the maps within maps."""

from typing import Annotated

from msgspec import Meta, Struct

# Each limit bounds what one message can cost; the frame itself is capped in wire.py.
CSR_BYTES_MAX = 64 * 1024  # the HTTP body's limit: a CSR with 100 names and RSA-4096 takes 5 KiB
OCSP_BYTES_MAX = 4096  # 16 CertIDs with SHA-512 hashes and a nonce take less than 3 KiB
NAMES_MAX = 100  # names in one certificate, as public CAs allow
TEXT_MAX = 1024  # what a person typed: a reason, a filter, an idempotency key
EXTENSIONS_MAX = 16
EXTENSION_BYTES_MAX = 4096
SIGNATURE_BYTES_MAX = 8192  # a client's: RSA-4096 takes 512, ML-DSA-87 (FIPS 204) 4,627
PAGE_MAX = 1000  # rows in one reply: a page of the largest rows stays below the frame's cap

# Host names are what people type. No path, no option and no hidden file begins or ends like one.
CLIENT_ID = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?"
CLIENT_ID_IN_WORDS = "1 to 128 letters, digits and, inside, -, . and _"
OPERATOR = "operator"  # the client of what an operator asks for, unless another is named
ClientId = Annotated[str, Meta(pattern=rf"^{CLIENT_ID}\Z")]
ProfileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
Text = Annotated[str, Meta(max_length=TEXT_MAX)]
Serial = Annotated[bytes, Meta(min_length=1, max_length=20)]  # RFC 5280, 4.1.2.2
CsrDer = Annotated[bytes, Meta(min_length=1, max_length=CSR_BYTES_MAX)]
Seconds = Annotated[int, Meta(ge=0, le=2**40)]
Signature = Annotated[bytes, Meta(min_length=1, max_length=SIGNATURE_BYTES_MAX)]
Sha256 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Oid = Annotated[str, Meta(pattern=r"^[0-2](\.(0|[1-9][0-9]{0,9})){1,30}\Z")]


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    """The base of all that crosses a socket."""


class ExtensionWish(Message, frozen=True):
    """One extension that presign asks for; the profile's ``extra_extensions`` decides."""

    oid: Oid
    value: Annotated[bytes, Meta(max_length=EXTENSION_BYTES_MAX)]
    critical: bool = False


class HookWishes(Message, frozen=True):
    """What the hooks came to, beside what the client itself asks for. None: the default profile; the lifetime as it is
    without hooks."""

    profile: ProfileName | None = None
    lifetime: Seconds | None = None


class MacProof(Message, frozen=True):
    """The HMAC-SHA-256 of what ``signerd.proofs.mac_text`` says, by the client's own key, made at ``time``."""

    time: Seconds
    mac: Sha256


class RenewalProof(Message, frozen=True):
    """A signature over what ``signerd.proofs.renewal_text`` says, by the key of the certificate ``serial``, made at
    ``time``."""

    serial: Serial
    time: Seconds
    signature: Signature


class Rule(Message, frozen=True):
    """One rule of the policy and how a request fared under it."""

    rule: str
    ok: bool
    detail: str


class ProfileDescription(Message, frozen=True):
    name: str
    lifetime: Seconds
    lifetime_max: Seconds
    key_types: tuple[str, ...]


class QuotaUse(Message, frozen=True):
    """How far a quota that holds for more than one client is used up."""

    quota: str  # "total", "profile server", "ledger" (its bytes), "breaker"
    used: int
    limit: int
    seconds: int  # of its window


class Distribution(Message, frozen=True):
    """How many values were at most as large as each bound, and above the bound before."""

    bounds: tuple[int, ...]
    counts: tuple[int, ...]  # one more than there are bounds: the last is of what is above all of them
    total: int  # the sum of the values


class AnswerTimes(Message, frozen=True):
    """How long requests for an operation took, from the whole frame to its reply."""

    op: str
    microseconds: Distribution


class CertificateSummary(Message, frozen=True):
    """One certificate on the ledger."""

    serial: Serial
    state: str  # valid, revoked, hold, expired, pending
    client: str
    profile: str
    subject: str
    names: tuple[str, ...]  # "dns:web1.example.net"
    not_before: int
    not_after: int
    revoked_at: int | None
    reason: str | None
    proof: str  # who said that the client is the one: none (the frontend alone), mac, renewal, operator
    certificate: bytes | None  # DER, where it was asked for
