"""A new CA: its key, its self-signed root certificate, and the files that they go into."""

import contextlib
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from protocol.errors import ConfigurationError
from signerd.files import Owner, sync_directory, write_private_file
from signerd.identity import CERTIFICATE_NAMES, CSR_NAME, PRIVATE_KEY_NAME, PUBLIC_KEY_NAME, Identity
from signerd.key import CaPrivateKey, CaPublicKey, signature_hash
from signerd.pkcs8 import encrypted_pem
from signerd.policy.spelling import mailbox

_log = logging.getLogger(__name__)

IDENTITY_NAMES = (*CERTIFICATE_NAMES, PRIVATE_KEY_NAME, PUBLIC_KEY_NAME, CSR_NAME)

KEY_MAKERS: dict[str, Callable[[], CaPrivateKey]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa4096": lambda: rsa.generate_private_key(65537, 4096),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}

# openssl's short names, as ssl_api took them.
SUBJECT_FIELDS = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "street": NameOID.STREET_ADDRESS,
    "postalCode": NameOID.POSTAL_CODE,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "DC": NameOID.DOMAIN_COMPONENT,
    "emailAddress": NameOID.EMAIL_ADDRESS,
}
_REPEATABLE = {"OU", "DC", "street"}
_IA5 = re.compile(r"[ -~]+")
_PRINTABLE_STRING = re.compile(r"[A-Za-z0-9 '()+,./:=?-]+")  # X.680, 41.4
_ALLOWED = {"C": re.compile("[A-Z]{2}"), "serialNumber": _PRINTABLE_STRING, "DC": _IA5, "emailAddress": _IA5}

# A CA signs nothing but certificates and CRLs.
_CA_KEY_USAGE = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)

# A client's clock may run behind ours by this much.
_BACKDATE_SECONDS = 60
_END_OF_TIME = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # the last GeneralizedTime (RFC 5280, 4.1.2.5.2)


def create_identity(  # noqa: PLR0913, PLR0917 - one argument per thing to decide
    directory: Path,
    subject: Sequence[tuple[str, str]],
    lifetime_seconds: int,
    key: str,
    passphrase: bytes,
    now: int,
    *,
    replace: bool = False,
    owner: Owner | None = None,
) -> Identity:
    """Make a key (one of KEY_MAKERS) and a root certificate for it, and write them to ``directory``.

    ``subject`` is pairs of a field (SUBJECT_FIELDS) and its value; ``now`` is in seconds since the epoch.
    The directory is made if it is missing. The files belong to ``owner`` (None: to whoever runs this). Where
    an identity exists already, ``replace`` moves its files aside, under names that end in the time.
    Raises ValueError for a subject, lifetime or key that can't be, ConfigurationError for a directory that
    can't be used, OSError for what the system refuses.
    """
    name = subject_name(subject)
    dates = validity(lifetime_seconds, now)
    if key not in KEY_MAKERS:
        raise ValueError(f"{key!r} is no kind of key; these are: {', '.join(KEY_MAKERS)}")
    existing = existing_files(directory)
    if existing and not replace:
        raise ConfigurationError(f"{directory} holds an identity already ({existing[0].name})")
    prepare_directory(directory, owner)
    private_key = KEY_MAKERS[key]()
    certificate = self_signed(private_key, name, dates, root_extensions(private_key.public_key(), name))
    public_pem = private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    contents = {
        PRIVATE_KEY_NAME: (encrypted_pem(private_key, passphrase), 0o600),
        PUBLIC_KEY_NAME: (public_pem, 0o644),
        CSR_NAME: (_request(private_key, name).public_bytes(Encoding.PEM), 0o644),
        # The certificate comes last: without it there is no identity, and a crash leaves none that is half.
        CERTIFICATE_NAMES[0]: (certificate.public_bytes(Encoding.PEM), 0o644),
    }
    _set_aside(existing, now)
    for file_name, (content, mode) in contents.items():
        write_private_file(directory / file_name, content, mode=mode, owner=owner)
    return Identity(certificate, (certificate,), private_key)


def existing_files(directory: Path) -> list[Path]:
    """The files of an identity that are in ``directory``. Raises OSError."""
    return [path for name in IDENTITY_NAMES if os.path.lexists(path := directory / name)]


def prepare_directory(directory: Path, owner: Owner | None) -> None:
    """Make ``directory`` private to ``owner``: mode 0700. Raises OSError, ConfigurationError.

    An existing one is changed only if it holds nothing but an identity: --path /tmp must not close /tmp.
    """
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700, parents=True)
    status = directory.stat()
    wanted_uid = os.geteuid() if owner is None else owner.uid
    if stat.S_IMODE(status.st_mode) & 0o077 == 0 and status.st_uid == wanted_uid:
        return
    foreign = sorted({path.name for path in directory.iterdir() if not path.name.startswith(IDENTITY_NAMES)})
    if foreign:
        raise ConfigurationError(
            f"{directory} is not private (mode 0700, owned by uid {wanted_uid}) and holds other files "
            f"({foreign[0]}): choose or make a directory for the identity alone"
        )
    if owner is not None:
        os.chown(directory, owner.uid, owner.gid)
    directory.chmod(0o700)


def _set_aside(paths: Sequence[Path], now: int) -> None:
    """Rename; never delete: a CA's key can't be had again, and what it signed may still be in use."""
    if not paths:
        return
    suffix = aside_suffix(paths, now)
    for path in paths:
        path.rename(f"{path}{suffix}")
    _log.warning("the earlier identity is kept aside in %s, under names that end in %s", paths[0].parent, suffix)
    sync_directory(paths[0].parent)


def aside_suffix(paths: Sequence[Path], now: int) -> str:
    """What follows the names of ``paths`` where they are kept aside: the time, and no file has such a name yet."""
    suffix = datetime.fromtimestamp(now, UTC).strftime(".%Y%m%dT%H%M%SZ")
    while any(os.path.lexists(f"{path}{suffix}") for path in paths):
        suffix += "+"
    return suffix


def subject_name(fields: Sequence[tuple[str, str]]) -> x509.Name:
    """The subject that ``fields`` (openssl's short names, and values) make, in their order.

    Raises ValueError, saying which field is wrong and how.
    """
    name = x509.Name([_attribute(field, value) for field, value in fields])
    given = [field for field, _ in fields]
    if not {"CN", "O"} & set(given):
        raise ValueError("the CA needs a name: a CN or an O")
    for field in given:
        if given.count(field) > 1 and field not in _REPEATABLE:
            raise ValueError(f"{field} is given more than once")
    return name


def _attribute(field: str, value: str) -> x509.NameAttribute[str]:
    if field not in SUBJECT_FIELDS:
        raise ValueError(f"{field!r} is no field that is known; these are: {', '.join(SUBJECT_FIELDS)}")
    if not value.strip() or not value.isprintable():
        raise ValueError(f"the value of {field} is empty, or holds characters that can't be printed")
    if field == "C" and not _ALLOWED["C"].fullmatch(value):
        raise ValueError(f"C takes the two capital letters of a country (ISO 3166), not {value!r}")
    if field in _ALLOWED and not _ALLOWED[field].fullmatch(value):
        raise ValueError(f"{field} can't hold all characters of {value!r}")
    try:
        if field == "emailAddress":
            mailbox(value)
        return x509.NameAttribute(SUBJECT_FIELDS[field], value)
    except ValueError as error:  # too long (RFC 5280, appendix A.1), or no mailbox
        raise ValueError(f"{field}: {error}") from error


def validity(lifetime_seconds: int, now: int) -> tuple[datetime, datetime]:
    """notBefore and notAfter of a root certificate made at ``now``; ValueError if there is none such.

    Both ends belong to the validity (RFC 5280, 4.1.2.5), hence notAfter is a second less than one would add.
    """
    if lifetime_seconds <= _BACKDATE_SECONDS:
        raise ValueError(f"a lifetime of {lifetime_seconds} s would be over at once")
    not_before = now - _BACKDATE_SECONDS
    not_after = not_before + lifetime_seconds - 1
    if not_after > _END_OF_TIME.timestamp():
        raise ValueError("the certificate would be valid past the year 9999, and can't be (RFC 5280, 4.1.2.5)")
    return datetime.fromtimestamp(not_before, UTC), datetime.fromtimestamp(not_after, UTC)


def root_extensions(public_key: CaPublicKey, name: x509.Name) -> list[tuple[x509.ExtensionType, bool]]:
    """What a root certificate of this name has, each with whether it is critical.

    Without a pathlen: what it issues are leaves, but one day it may stand above an issuing CA, or be replaced by
    a new root that it signs (RFC 5280, 4.2.1.9).
    """
    key_identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_identifier)
    return [(key_identifier, False), (authority, False), *_ca_extensions(name, path_length=None)]


def self_signed(
    private_key: CaPrivateKey,
    name: x509.Name,
    dates: tuple[datetime, datetime],
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    """A root certificate with a serial number of its own; ``dates`` are notBefore and notAfter."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(secrets.randbits(159) or 1)
        .not_valid_before(dates[0])
        .not_valid_after(dates[1])
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(private_key, signature_hash(private_key.public_key()))


def _request(private_key: CaPrivateKey, name: x509.Name) -> x509.CertificateSigningRequest:
    """For an authority above this one, should it ever have one. Under that it issues leaves only."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    for extension, critical in _ca_extensions(name, path_length=0):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(private_key, signature_hash(private_key.public_key()))


def _ca_extensions(name: x509.Name, path_length: int | None) -> Iterator[tuple[x509.ExtensionType, bool]]:
    """What follows from being a CA of this name, and whether it is critical."""
    yield x509.BasicConstraints(ca=True, path_length=path_length), True
    yield _CA_KEY_USAGE, True
    # A mailbox in the subject belongs among the names too (RFC 5280, 4.1.2.6).
    if mailboxes := [str(one.value) for one in name.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)]:
        yield x509.SubjectAlternativeName([x509.RFC822Name(mailbox(one)) for one in mailboxes]), False
