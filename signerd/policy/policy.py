"""The policy in force: signerd.toml, checked and compiled. Immutable, so that a request keeps the one
that it started under, and a reload is whole or not at all."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from protocol.durations import parse_duration
from protocol.errors import ConfigurationError
from protocol.settings import read_toml
from signerd.files import refuse_unless_guarded
from signerd.policy.model import KEY_TYPES, ClientTable, NamesTable, PolicyFile, ProfileTable, SignerTable
from signerd.policy.names import NameRules
from signerd.policy.quota import Quota

T = TypeVar("T")

DEFAULT_PROFILE = "server"
LIFETIME_MIN = 120  # seconds: notBefore lies a minute back, and a minute must be left
_MAC_KEY_BYTES_MIN = 16

EXTENDED_KEY_USAGES = {  # RFC 5280, 4.2.1.12
    "serverAuth": "1.3.6.1.5.5.7.3.1",
    "clientAuth": "1.3.6.1.5.5.7.3.2",
    "codeSigning": "1.3.6.1.5.5.7.3.3",
    "emailProtection": "1.3.6.1.5.5.7.3.4",
    "timeStamping": "1.3.6.1.5.5.7.3.8",
    "ipsecIKE": "1.3.6.1.5.5.7.3.17",
}
# A leaf that may sign OCSP answers, or do anything, would be an authority of its own.
_FORBIDDEN_USAGES = {"1.3.6.1.5.5.7.3.9": "OCSPSigning", "2.5.29.37.0": "anyExtendedKeyUsage"}
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,9})){1,30}")
# Extensions that the signer makes itself, or that would make more of a certificate than a leaf: no
# policy can let them in from outside.
_OWN_EXTENSIONS = {
    "2.5.29.14": "subjectKeyIdentifier",
    "2.5.29.15": "keyUsage",
    "2.5.29.17": "subjectAltName",
    "2.5.29.19": "basicConstraints",
    "2.5.29.30": "nameConstraints",
    "2.5.29.31": "cRLDistributionPoints",
    "2.5.29.33": "policyMappings",
    "2.5.29.35": "authorityKeyIdentifier",
    "2.5.29.36": "policyConstraints",
    "2.5.29.37": "extKeyUsage",
    "2.5.29.54": "inhibitAnyPolicy",
    "1.3.6.1.5.5.7.1.1": "authorityInfoAccess",
    "1.3.6.1.5.5.7.1.11": "subjectInfoAccess",
    "1.3.6.1.5.5.7.1.14": "proxyCertInfo",
    "1.3.6.1.5.5.7.48.1.5": "ocspNoCheck",
    "2.16.840.1.113730.1.1": "nsCertType",
}
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
    names: NameRules | None  # None: any name but a wildcard
    quota: Quota | None


@dataclass(frozen=True, slots=True)
class Client:
    """What one client may have, and what proof the signer wants of it."""

    profiles: tuple[str, ...]  # empty: any
    names: NameRules | None
    quota: Quota | None
    mac_key: bytes | None
    renew_with_key: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it."""

    signer: SignerTable
    profiles: Mapping[str, Profile]  # the default one first
    clients: Mapping[str, Client]  # empty: any client id
    quota_per_client: Quota | None
    quota_total: Quota | None
    freeze_above: Quota | None
    hash: bytes  # SHA-256 over the tables as they were read, defaults and all


def load_policy(path: Path) -> Policy:
    """The policy in the file; a missing file is an error. Raises ``ConfigurationError``."""
    return compile_policy(read_toml(path, PolicyFile), source=str(path))


def compile_policy(file: PolicyFile, *, source: str) -> Policy:
    """Checks what the tables mean. Raises ``ConfigurationError`` that names the path of what is wrong."""
    tables = file.profile or {DEFAULT_PROFILE: ProfileTable()}
    default = DEFAULT_PROFILE if DEFAULT_PROFILE in tables else next(iter(tables))
    in_order = {default: tables[default], **tables}
    try:
        profiles = {name: _named(f"profile.{name}", _compile_profile, name, table) for name, table in in_order.items()}
        clients = {
            name: _named(f"client.{name}", _compile_client, name, table, profiles)
            for name, table in file.client.items()
        }
        per_client, total, freeze_above = (
            _named(f"quota.{key}", _quota, getattr(file.quota, key)) for key in ("per_client", "total", "freeze_above")
        )
        _named("signer.base_url", _check_base_url, file.signer.base_url)
    except ValueError as error:
        raise ConfigurationError(f"{source}: {error}") from None
    digest = hashlib.sha256(msgspec.json.encode(file, order="sorted")).digest()
    return Policy(file.signer, profiles, clients, per_client, total, freeze_above, digest)


def _named(path: str, compile_: Callable[..., T], *arguments: object) -> T:
    try:
        return compile_(*arguments)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _compile_profile(name: str, table: ProfileTable) -> Profile:
    if not re.fullmatch("[A-Za-z0-9_-]{1,64}", name):
        raise ValueError("a profile's name is 1 to 64 of A-Z, a-z, 0-9, _ and -")
    lifetime, longest = (parse_duration(text, "d") for text in (table.lifetime, table.lifetime_max))
    if not LIFETIME_MIN <= lifetime <= longest:
        raise ValueError(f"lifetime {table.lifetime} is not between {LIFETIME_MIN} s and lifetime_max")
    for key_type in table.key_types:
        if key_type not in KEY_TYPES:
            raise ValueError(f"key_types: {key_type!r} is none of {', '.join(KEY_TYPES)}")
    for attribute in table.subject:
        if attribute not in SUBJECT_ATTRIBUTES:
            raise ValueError(f"subject: {attribute!r} is none of {', '.join(SUBJECT_ATTRIBUTES)}")
    for oid in table.extra_extensions:
        _check_extra_extension(oid)
    if not table.extended_key_usage:
        raise ValueError("extended_key_usage: empty would mean any usage (RFC 5280, 4.2.1.12)")
    return Profile(
        name,
        lifetime,
        longest,
        tuple(_extended_key_usage(text) for text in table.extended_key_usage),
        frozenset(table.key_types),
        frozenset(table.extra_extensions),
        frozenset(table.subject),
        None if table.names is None else _name_rules(table.names),
        _quota(table.quota),
    )


def _extended_key_usage(text: str) -> str:
    oid = EXTENDED_KEY_USAGES.get(text, text)
    if oid in _FORBIDDEN_USAGES or text in _FORBIDDEN_USAGES.values():
        raise ValueError(f"extended_key_usage: no leaf may have {_FORBIDDEN_USAGES.get(oid, text)}")
    if not _OID.fullmatch(oid):
        raise ValueError(f"extended_key_usage: {text!r} is no OID and none of {', '.join(EXTENDED_KEY_USAGES)}")
    return oid


def _check_extra_extension(oid: str) -> None:
    if not _OID.fullmatch(oid):
        raise ValueError(f"extra_extensions: {oid!r} is no OID")
    if oid in _OWN_EXTENSIONS:
        raise ValueError(f"extra_extensions: {oid} ({_OWN_EXTENSIONS[oid]}) is the signer's own to make")


def _name_rules(table: NamesTable) -> NameRules:
    return NameRules.compile(**{key: getattr(table, key) for key in table.__struct_fields__})


def _compile_client(name: str, table: ClientTable, profiles: Mapping[str, Profile]) -> Client:
    if not re.fullmatch("[A-Za-z0-9]{1,128}", name):
        raise ValueError("a client id is 1 to 128 of A-Z, a-z and 0-9")
    for profile in table.profiles or ():
        if profile not in profiles:
            raise ValueError(f"profiles: there is no profile {profile!r}")
    if table.profiles == ():
        raise ValueError("profiles: empty would allow none")
    kinds = {kind: getattr(table, kind) for kind in ("dns", "ip", "email", "uri")}
    narrowed = {kind: patterns for kind, patterns in kinds.items() if patterns is not None}
    return Client(
        table.profiles or (),
        NameRules.compile(**narrowed, wildcards=True) if narrowed else None,  # the profile decides on those
        _quota(table.quota),
        None if table.mac_key_file is None else _mac_key(Path(table.mac_key_file)),
        table.renew_with_key,
    )


def _mac_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            refuse_unless_guarded(path, os.fstat(file.fileno()), secret=True)
            key = file.read(4096).rstrip(b"\r\n")
    except OSError as error:
        raise ValueError(f"mac_key_file: {path}: {error.strerror}") from None
    if len(key) < _MAC_KEY_BYTES_MIN:
        raise ValueError(f"mac_key_file: {path}: a key has at least {_MAC_KEY_BYTES_MIN} bytes")
    return key


def _quota(text: str | None) -> Quota | None:
    return None if text is None else Quota.parse(text)


def _check_base_url(url: str | None) -> None:
    # Plain HTTP: fetching a CRL over TLS would need a certificate check, hence a CRL (RFC 5280, 8).
    if url is not None and not re.fullmatch(
        r"http://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?", url
    ):
        raise ValueError(f"{url!r} is not http://HOST[:PORT][/PATH], without a slash at the end")
