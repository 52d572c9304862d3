"""What can be said on the signer's sockets: a frozen class per request and per reply, and one table.

What is not in ``OPERATIONS`` cannot be said. There is no operation that signs bytes: the signer is
sent a CSR and wishes, and builds every to-be-signed structure itself. CA:TRUE, a serial number, an
issuer or a key to use have no field here.

Certificates and CSRs are DER, times integer seconds since the epoch, durations integer seconds, serial numbers
big-endian bytes. Names are mirrored across the wall: ``CrlRequest``, ``client.ask_crl``, ``operations.answer_crl``
(but ``issue`` is answered by whole batches: ``signerd.batch``).
"""

import enum
from typing import Annotated, NamedTuple

from msgspec import Meta

from protocol.fields import (
    EXTENSIONS_MAX,
    OCSP_BYTES_MAX,
    PAGE_MAX,
    AnswerTimes,
    CertificateSummary,
    ClientId,
    CsrDer,
    Distribution,
    ExtensionWish,
    HookWishes,
    MacProof,
    Message,
    ProfileDescription,
    ProfileName,
    QuotaUse,
    RenewalProof,
    Rule,
    Seconds,
    Serial,
    Sha256,
    Signature,
    Text,
)

PROTOCOL_VERSION = 1


# --- both sockets -----------------------------------------------------------------------------


class HelloRequest(Message, frozen=True):
    version: int


class HelloReply(Message, frozen=True):
    version: int


class DescribeRequest(Message, frozen=True):
    pass


class DescribeReply(Message, frozen=True):
    state: str  # ready, frozen, unavailable
    chain: tuple[bytes, ...]  # the issuing CA first
    profiles: tuple[ProfileDescription, ...]  # the default one first
    base_url: str | None
    csr_bytes_max: int
    names_max: int


class IssueRequest(Message, frozen=True):
    """A CSR, who asks, and wishes. ``client`` is who the frontend says it is, unless proved by ``mac`` or ``renewal``.
    ``profile`` and ``lifetime`` are the client's own words, ``hooks`` and ``extensions`` the frontend's."""

    csr: CsrDer
    client: ClientId
    profile: ProfileName | None = None
    lifetime: Seconds | None = None
    hooks: HookWishes | None = None
    extensions: Annotated[tuple[ExtensionWish, ...], Meta(max_length=EXTENSIONS_MAX)] = ()
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    mac: MacProof | None = None
    renewal: RenewalProof | None = None


class IssueReply(Message, frozen=True):
    certificate: bytes
    chain: tuple[bytes, ...]
    serial: bytes
    not_before: int
    not_after: int


class CheckRequest(IssueRequest, frozen=True):
    """The dry run of ``issue``: the same fields, the same way through the code, up to the key."""


class CheckReply(Message, frozen=True):
    allowed: bool
    rules: tuple[Rule, ...]
    to_be_signed: bytes | None  # what would be signed, with the serial number 1


# --- sign.sock --------------------------------------------------------------------------------


class CrlRequest(Message, frozen=True):
    shard: Annotated[int, Meta(ge=0, le=65535)] | None  # None: the one that covers the CA's own certificate


class CrlReply(Message, frozen=True):
    crl: bytes
    this_update: int
    next_update: int
    following: int | None = None  # the shard to ask for next, for who wants every CRL; None: this was the last


class OcspRequest(Message, frozen=True):
    request: Annotated[bytes, Meta(max_length=OCSP_BYTES_MAX)]


class OcspReply(Message, frozen=True):
    response: bytes
    this_update: int | None  # None: not to be cached (an error, or an answer with the asker's nonce)
    next_update: int | None


class RevokeOwnRequest(Message, frozen=True):
    """A holder's own revocation, proved by a signature over ``signerd revoke 1\\nSERIAL\\nREASON\\n``."""

    serial: Serial
    reason: Text
    signature: Signature


class RevokeOwnReply(Message, frozen=True):
    revoked_at: int
    same_key: tuple[Serial, ...]  # as in RevokeReply


class MetricsRequest(Message, frozen=True):
    pass


class MetricsReply(Message, frozen=True):
    """Counts alone: no name of a client, no reason. The distributions are those since the signer's start."""

    state: str  # as in DescribeReply
    issuer_not_after: int
    certificates: dict[str, int]  # counts by state
    crl_this_update: int | None  # of the current CRL that runs out first; None: there is none
    crl_next_update: int | None
    entries: int  # of the ledger
    ledger_bytes: int
    quotas: tuple[QuotaUse, ...]
    batches: Distribution  # certificates that were recorded together
    commits: Distribution  # microseconds until the ledger's fsync returned
    answers: tuple[AnswerTimes, ...]


# --- admin.sock -------------------------------------------------------------------------------


class StatusRequest(Message, frozen=True):
    pass


class StatusReply(Message, frozen=True):
    state: str  # as in DescribeReply
    detail: str | None  # why it is frozen or unavailable
    issuer: str  # the CA's name, RFC 4514
    issuer_not_after: int
    certificates: dict[str, int]  # counts by state
    entries: int  # of the ledger
    head: bytes  # hash of its last entry
    ledger_bytes: int
    policy: bytes  # hash of the policy in force
    quotas: tuple[str, ...]  # "total: 812 of 10000/hour"


class ListRequest(Message, frozen=True):
    """A search; every filter that is set must fit. Oldest first, page by page."""

    name: Text | None = None  # exact, or a prefix that ends in "*"; with or without its kind ("dns:")
    client: Text | None = None
    profile: Text | None = None
    state: Text | None = None
    expiring_within: Seconds | None = None
    issued_since: Seconds | None = None
    after: Annotated[int, Meta(ge=0)] = 0  # the cursor: `next` of the page before
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = 100
    with_certificates: bool = False


class ListReply(Message, frozen=True):
    certificates: tuple[CertificateSummary, ...]  # fewer than the limit where they would not fit into a frame
    next: int | None  # None: this was the last page


class ShowRequest(Message, frozen=True):
    serial: Serial


class ShowReply(Message, frozen=True):
    certificate: CertificateSummary


class RevokeRequest(Message, frozen=True):
    """Revokes these serials, or all that was issued since a time (to one client), in one transaction."""

    reason: Text  # RFC 5280, 5.3.1, by name; removeFromCRL releases a certificateHold
    serials: Annotated[tuple[Serial, ...], Meta(max_length=PAGE_MAX)] = ()
    issued_since: Seconds | None = None
    client: ClientId | None = None
    invalidity_date: Seconds | None = None  # since when the key is to be distrusted (RFC 5280, 5.3.2)


class RevokeReply(Message, frozen=True):
    revoked: int  # how many changed their state
    unchanged: int  # how many were so already, or had expired
    blocked: int  # keys that get no certificate from now on, by keyCompromise
    same_key: tuple[Serial, ...]  # other certificates, alive, that have keys of these: a hundred at most


class UnblockRequest(Message, frozen=True):
    """Takes back that keys are blocked: of these certificates, and by the hashes of SubjectPublicKeyInfos."""

    serials: Annotated[tuple[Serial, ...], Meta(max_length=PAGE_MAX)] = ()
    keys: Annotated[tuple[Sha256, ...], Meta(max_length=PAGE_MAX)] = ()
    why: Text = ""


class UnblockReply(Message, frozen=True):
    unblocked: int
    unchanged: int  # how many were not blocked


class FreezeRequest(Message, frozen=True):
    why: Text


class FreezeReply(Message, frozen=True):
    state: str


class ThawRequest(Message, frozen=True):
    why: Text


class ThawReply(Message, frozen=True):
    state: str


class AcceptRequest(Message, frozen=True):
    """Takes as they are a ledger whose end went missing, and a clock that is in doubt."""

    why: Text


class AcceptReply(Message, frozen=True):
    accepted: tuple[str, ...]  # what was in doubt, in words
    state: str


class ReloadRequest(Message, frozen=True):
    pass


class ReloadReply(Message, frozen=True):
    policy: bytes  # hash of the policy now in force


class VerifyRequest(Message, frozen=True):
    """Checks a stretch of the chain: the entries after ``seq``, whose hash is ``hash``."""

    seq: Annotated[int, Meta(ge=0)] = 0
    hash: Sha256 = bytes(32)
    limit: Annotated[int, Meta(ge=1, le=5000)] = 1000


class VerifyReply(Message, frozen=True):
    seq: int  # where the next stretch begins
    hash: bytes
    entries: int  # on the ledger, as of now
    problems: tuple[str, ...]


class CheckpointRequest(Message, frozen=True):
    pass


class CheckpointReply(Message, frozen=True):
    statement: str  # lines of text, the last of them the signature over the lines before


class BackupRequest(Message, frozen=True):
    """A part of a snapshot of the ledger. ``offset`` 0 makes a new snapshot."""

    offset: Annotated[int, Meta(ge=0)] = 0


class BackupReply(Message, frozen=True):
    total: int | None  # bytes; None: the snapshot is being made, ask again
    data: bytes


# --- the table --------------------------------------------------------------------------------


class Socket(enum.Enum):
    """The two sockets; the value is the name that systemd hands them over by (FileDescriptorName=)."""

    SIGN = "sign"
    ADMIN = "admin"


class Operation(NamedTuple):
    """One row of the table: what is asked, what is answered, and where it may be asked."""

    request: type[Message]
    reply: type[Message]
    sockets: frozenset[Socket]


_BOTH = frozenset(Socket)
_SIGN = frozenset({Socket.SIGN})
_ADMIN = frozenset({Socket.ADMIN})

OPERATIONS: dict[str, Operation] = {
    "hello": Operation(HelloRequest, HelloReply, _BOTH),
    "describe": Operation(DescribeRequest, DescribeReply, _BOTH),
    "issue": Operation(IssueRequest, IssueReply, _BOTH),
    "check": Operation(CheckRequest, CheckReply, _BOTH),
    "crl": Operation(CrlRequest, CrlReply, _SIGN),
    "ocsp": Operation(OcspRequest, OcspReply, _SIGN),
    "revoke_own": Operation(RevokeOwnRequest, RevokeOwnReply, _SIGN),
    "metrics": Operation(MetricsRequest, MetricsReply, _SIGN),
    "status": Operation(StatusRequest, StatusReply, _ADMIN),
    "list": Operation(ListRequest, ListReply, _ADMIN),
    "show": Operation(ShowRequest, ShowReply, _ADMIN),
    "revoke": Operation(RevokeRequest, RevokeReply, _ADMIN),
    "unblock": Operation(UnblockRequest, UnblockReply, _ADMIN),
    "freeze": Operation(FreezeRequest, FreezeReply, _ADMIN),
    "thaw": Operation(ThawRequest, ThawReply, _ADMIN),
    "accept": Operation(AcceptRequest, AcceptReply, _ADMIN),
    "reload": Operation(ReloadRequest, ReloadReply, _ADMIN),
    "verify": Operation(VerifyRequest, VerifyReply, _ADMIN),
    "checkpoint": Operation(CheckpointRequest, CheckpointReply, _ADMIN),
    "backup": Operation(BackupRequest, BackupReply, _ADMIN),
}
