"""The policy in force: signerd.toml, checked and compiled. Immutable, so that a request keeps the one
that it started under, and a reload is whole or not at all."""

import contextlib
import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography import x509

from protocol.durations import parse_duration
from protocol.errors import ConfigurationError
from protocol.fields import CLIENT_ID, CLIENT_ID_IN_WORDS
from protocol.settings import read_toml
from signerd.files import refuse_unless_guarded
from signerd.policy.blocked import BlockedKeys, read_blocked_keys
from signerd.policy.extensions import NEVER
from signerd.policy.model import KEY_TYPES, ClientTable, NamesTable, PolicyFile, ProfileTable, SignerTable
from signerd.policy.names import NameRules
from signerd.policy.quota import ByteQuota, Quota, parse_size, size_text
from signerd.policy.spelling import uri
from signerd.policy.usages import EXTENDED_KEY_USAGES, FORBIDDEN_USAGES, TIME_STAMPING

T = TypeVar("T")

DEFAULT_PROFILE = "server"
LIFETIME_MIN = 120  # seconds: notBefore lies a minute back, and a minute must be left
LIFETIME_MAX = 100 * 365 * 86_400  # seconds: more is a slip of the pen
REVOCATION_LIFETIME_MIN = 600  # seconds, of CRLs and OCSP answers: renewed at half, with room for an outage
REVOCATION_LIFETIME_MAX = 365 * 86_400  # seconds
PRUNE_AFTER_MIN = 8 * 86_400  # seconds: quotas are counted in the index, up to a week back
CERTIFICATE_BYTES_MIN, CERTIFICATE_BYTES_MAX = 1024, 64 * 1024  # an RSA-4096 key takes 550; a CSR has no more
_MAC_KEY_BYTES_MIN, _MAC_KEY_BYTES_MAX = 16, 4096
_KINDS = ("dns", "ip", "email", "uri")

_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,9})){1,30}")
SUBJECT_ATTRIBUTES = ("CN", "O", "OU", "C", "ST", "L", "serialNumber", "emailAddress", "DC", "UID")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a certificate of this profile may contain. There is no field for a CA."""

    name: str
    lifetime: int  # seconds, when nobody names one
    lifetime_max: int  # seconds
    extended_key_usage: tuple[str, ...]  # OIDs
    key_types: frozenset[str]
    extra_extensions: frozenset[str]  # OIDs
    subject: frozenset[str]  # short names of attributes
    bytes_max: int  # of what a client makes a certificate of
    names: NameRules | None  # None: any name but a wildcard
    quota: Quota | None


@dataclass(frozen=True, slots=True)
class Client:
    """What one client may have, and what proof the signer wants of it."""

    profiles: tuple[str, ...]  # empty: any
    names: NameRules | None
    quota: Quota | None
    mac_key: bytes | None = field(repr=False)
    mac_key_file: str | None
    renew_with_key: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it."""

    signer: SignerTable
    profiles: Mapping[str, Profile]  # the default one first
    clients: Mapping[str, Client]  # empty: any client id
    quota_per_client: Quota | None
    quota_total: Quota | None
    quota_bytes: ByteQuota | None
    freeze_above: Quota | None
    crl_lifetime: int  # seconds
    ocsp_lifetime: int  # seconds
    prune_after: int  # seconds
    blocked_keys: BlockedKeys
    hash: bytes  # SHA-256 over all that stands above


def load_policy(path: Path) -> Policy:
    """The policy in the file; a missing file is an error. Raises ``ConfigurationError``."""
    return compile_policy(read_toml(path, PolicyFile), source=str(path))


def compile_policy(file: PolicyFile, *, source: str) -> Policy:
    """Checks what the tables mean. Raises ``ConfigurationError`` that names the path of what is wrong."""
    tables = file.profile or {DEFAULT_PROFILE: ProfileTable()}
    default = DEFAULT_PROFILE if DEFAULT_PROFILE in tables else next(iter(tables))
    in_order = {default: tables[default], **tables}
    try:
        profiles = {name: _at(f"profile.{name}", _compile_profile, name, table) for name, table in in_order.items()}
        clients = {
            name: _at(f"client.{name}", _compile_client, name, table, profiles) for name, table in file.client.items()
        }
        per_client, total, freeze_above = (
            _at(f"quota.{key}", _quota, getattr(file.quota, key)) for key in ("per_client", "total", "freeze_above")
        )
        byte_quota = _at("quota.bytes", _byte_quota, file.quota.bytes)
        _at("quota.freeze_above", _check_breaker, freeze_above, total)
        crl_lifetime, ocsp_lifetime = (
            _at(f"signer.{key}", _revocation_lifetime, getattr(file.signer, key))
            for key in ("crl_lifetime", "ocsp_lifetime")
        )
        prune_after = _at("signer.prune_after", _prune_after, file.signer.prune_after, crl_lifetime)
        blocked_keys = _at("signer.blocked_keys", _blocked_keys, file.signer.blocked_keys)
        _at("signer.base_url", _check_base_url, file.signer.base_url)
        _at("signer.sign_users", _check_not_empty, file.signer.sign_users, "would let nobody ask")
    except _Mistake as mistake:
        raise ConfigurationError(f"{source}: {mistake}") from None
    policy = Policy(
        file.signer, profiles, clients, per_client, total, byte_quota, freeze_above,
        crl_lifetime, ocsp_lifetime, prune_after, blocked_keys, b"",
    )  # fmt: skip
    return dataclasses.replace(policy, hash=_hash(policy))


class _Mistake(ValueError):
    """What is wrong, and the path of the key that is wrong."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what


def _at(path: str, compile_: Callable[..., T], *arguments: object) -> T:
    """What ``compile_`` makes. Its mistakes lie at ``path``, or where they say, from there on."""
    try:
        return compile_(*arguments)
    except _Mistake as mistake:
        raise _Mistake(f"{path}.{mistake.path}", mistake.what) from None
    except ValueError as error:
        raise _Mistake(path, str(error)) from None


def _hash(policy: Policy) -> bytes:
    """SHA-256 over what the policy means, whatever words and order the file has for it."""
    # A MAC key counts by its file's path: a hash that many may see would let a weak key be guessed.
    clients = {name: dataclasses.replace(client, mac_key=None) for name, client in policy.clients.items()}
    meaning = dataclasses.replace(policy, clients=clients), next(iter(policy.profiles))
    return hashlib.sha256(msgspec.json.encode(meaning, order="deterministic", enc_hook=str)).digest()


def _compile_profile(name: str, table: ProfileTable) -> Profile:
    if not re.fullmatch("[A-Za-z0-9_-]{1,64}", name):
        raise ValueError("a profile's name is 1 to 64 of A-Z, a-z, 0-9, _ and -")
    longest = _at("lifetime_max", _lifetime, table.lifetime_max, LIFETIME_MAX)
    return Profile(
        name,
        _at("lifetime", _lifetime, table.lifetime, longest),
        longest,
        _at("extended_key_usage", _extended_key_usage, table.extended_key_usage),
        _at("key_types", _key_types, table.key_types),
        _at("extra_extensions", _extra_extensions, table.extra_extensions),
        _at("subject", _each_of, table.subject, SUBJECT_ATTRIBUTES),
        _at("bytes_max", _bytes_max, table.bytes_max),
        None if table.names is None else _at("names", _name_rules, table.names),
        _at("quota", _quota, table.quota),
    )


def _lifetime(text: str, longest: int, shortest: int = LIFETIME_MIN) -> int:
    seconds = parse_duration(text)
    if not shortest <= seconds <= longest:
        raise ValueError(f"{text} is not between {shortest} s and {longest // 86_400} d ({longest} s)")
    return seconds


def _revocation_lifetime(text: str) -> int:
    return _lifetime(text, REVOCATION_LIFETIME_MAX, REVOCATION_LIFETIME_MIN)


def _prune_after(text: str, crl_lifetime: int) -> int:
    seconds = _lifetime(text, LIFETIME_MAX, PRUNE_AFTER_MIN)
    if seconds < crl_lifetime:
        raise ValueError(f"{text} is less than signer.crl_lifetime")
    return seconds


def _blocked_keys(paths: str | tuple[str, ...] | None) -> BlockedKeys:
    return read_blocked_keys([Path(path) for path in ((paths,) if isinstance(paths, str) else paths or ())])


def _check_not_empty(values: Sequence[str], consequence: str) -> None:
    if not values:
        raise ValueError(f"empty {consequence}")


def _each_of(values: Sequence[str], known: Sequence[str]) -> frozenset[str]:
    for value in values:
        if value not in known:
            raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return frozenset(values)


def _key_types(values: Sequence[str]) -> frozenset[str]:
    _check_not_empty(values, "would allow no key")
    return _each_of(values, KEY_TYPES)


def _extended_key_usage(values: Sequence[str]) -> tuple[str, ...]:
    _check_not_empty(values, "would mean any usage (RFC 5280, 4.2.1.12)")
    oids = tuple(EXTENDED_KEY_USAGES.get(text, text) for text in values)
    for oid in oids:
        if oid in FORBIDDEN_USAGES or oid in FORBIDDEN_USAGES.values():
            raise ValueError(f"no leaf may have {FORBIDDEN_USAGES.get(oid, oid)}")
        _check_oid(oid, f" and none of {', '.join(EXTENDED_KEY_USAGES)}")
    if len(set(oids)) < len(oids):
        raise ValueError("the same usage is there twice")
    if TIME_STAMPING in oids and len(oids) > 1:
        raise ValueError("timeStamping stands alone (RFC 3161, 2.3): give it a profile of its own")
    return oids


def _extra_extensions(oids: Sequence[str]) -> frozenset[str]:
    for oid in oids:
        _check_oid(oid)
        if oid in NEVER:
            raise ValueError(f"{oid} ({NEVER[oid]}) is the signer's own to make, or nobody's")
    return frozenset(oids)


def _check_oid(text: str, and_none_of: str = "") -> None:
    # The library knows the range of the first two arcs: 1.45.29.19 would be encoded as 2.5.29.19.
    with contextlib.suppress(ValueError):
        if _OID.fullmatch(text) and x509.ObjectIdentifier(text).dotted_string == text:
            return
    raise ValueError(f"{text!r} is no OID{and_none_of}")


def _name_rules(table: NamesTable) -> NameRules:
    patterns = {key: getattr(table, key) for key in table.__struct_fields__ if key != "wildcards"}
    _check_patterns(patterns, [patterns[kind] for kind in _KINDS])
    return NameRules.compile(**patterns, wildcards=table.wildcards)


def _check_patterns(patterns: Mapping[str, Sequence[str]], allowing: Sequence[Sequence[str]]) -> None:
    for key, values in patterns.items():
        _at(key, functools.partial(NameRules.compile, **{key: values}))  # type: ignore[arg-type] # never wildcards
    if not any(allowing):
        raise ValueError("allows no name at all: with such a table only what its patterns name is allowed")


def _compile_client(name: str, table: ClientTable, profiles: Mapping[str, Profile]) -> Client:
    if not re.fullmatch(CLIENT_ID, name):
        raise ValueError(f"a client id is {CLIENT_ID_IN_WORDS}")
    return Client(
        () if table.profiles is None else _at("profiles", _profile_names, table.profiles, profiles),
        _client_names({kind: getattr(table, kind) for kind in _KINDS}),
        _at("quota", _quota, table.quota),
        None if table.mac_key_file is None else _at("mac_key_file", _mac_key, Path(table.mac_key_file)),
        table.mac_key_file,
        table.renew_with_key,
    )


def _profile_names(names: tuple[str, ...], profiles: Mapping[str, Profile]) -> tuple[str, ...]:
    _check_not_empty(names, "would allow none")
    for name in names:
        if name not in profiles:
            raise ValueError(f"there is no profile {name!r}")
    return names


def _client_names(patterns: Mapping[str, Sequence[str] | None]) -> NameRules | None:
    narrowed = {kind: values for kind, values in patterns.items() if values is not None}
    if not narrowed:
        return None
    _check_patterns(narrowed, list(narrowed.values()))
    return NameRules.compile(**narrowed, wildcards=True)  # the profile decides on wildcards


def _mac_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            refuse_unless_guarded(path, os.fstat(file.fileno()), secret=True)
            key = file.read(_MAC_KEY_BYTES_MAX + 1).rstrip(b"\r\n")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    if not _MAC_KEY_BYTES_MIN <= len(key) <= _MAC_KEY_BYTES_MAX:
        raise ValueError(f"{path}: a key has {_MAC_KEY_BYTES_MIN} to {_MAC_KEY_BYTES_MAX} bytes")
    return key


def _quota(text: str | None) -> Quota | None:
    return None if text is None else Quota.parse(text)


def _byte_quota(text: str | None) -> ByteQuota | None:
    return None if text is None else ByteQuota.parse(text)


def _bytes_max(text: str) -> int:
    size = parse_size(text)
    if not CERTIFICATE_BYTES_MIN <= size <= CERTIFICATE_BYTES_MAX:
        raise ValueError(f"{text} is not between 1KiB and {size_text(CERTIFICATE_BYTES_MAX)}")
    return size


def _check_breaker(freeze_above: Quota | None, total: Quota | None) -> None:
    """Refuses a circuit breaker behind a wall: what is more than ``total`` is refused before it counts."""
    if freeze_above is not None and total is not None and freeze_above.count >= (most := total.most_in(freeze_above)):
        raise ValueError(f"{freeze_above} can't act: quota.total, {total}, stops issuance at {most} in that time")


def _check_base_url(url: str | None) -> None:
    # Plain HTTP: fetching a CRL over TLS would need a certificate check, hence a CRL (RFC 5280, 8).
    if url is not None and (url.endswith("/") or "?" in url or uri(url).scheme != "http"):
        raise ValueError(f"{url!r} is not http://HOST[:PORT][/PATH], without a slash at the end")
