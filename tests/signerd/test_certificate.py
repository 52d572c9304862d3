"""The to-be-signed bytes against the library's builder, byte for byte, and the certificates against other readers."""

import contextlib
import hashlib
import ipaddress
import time
import warnings
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.fields import ExtensionWish
from signerd import der
from signerd.certificate import CRL_SHARD_CERTIFICATES, Issuer, Validity
from signerd.csr import Csr, SubjectAttribute
from signerd.key import Intent, RecordedKey
from signerd.ledger import Ledger
from signerd.policy.decide import Grant
from signerd.policy.names import Name
from signerd.policy.policy import Profile
from tests import certs
from tests.authorities import CA_KEY_TYPES, LEDGER_KEY, ca_of, local_authority
from tests.csrs import CN, OPENSSL_KEYS, SET, csr_for, dns, make_csr, openssl_csr, private_key, rdn, spki_of, tlv
from tests.identities import DAY, NOW, ca_certificate, p256

BASE_URL = "http://ca.example.net:8080/pki"
LEAF_KEY_TYPES = tuple(OPENSSL_KEYS)
HASHES = {"rsa2048": hashes.SHA256(), "p256": hashes.SHA256(), "p384": hashes.SHA384(), "ed25519": None}
SERVER_AND_CLIENT = ("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2")
CODE_SIGNING, EMAIL_PROTECTION, TIME_STAMPING = "1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.8"
END_OF_2049 = int(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


# --- what the policy may grant --------------------------------------------------------------------


def grant_of(
    key_type: str = "p256",
    subject: tuple[SubjectAttribute, ...] = (SubjectAttribute("CN", "2.5.4.3", "web1.example.net"),),
    names: tuple[Name, ...] = (Name("dns", "web1.example.net"),),
    extensions: tuple[ExtensionWish, ...] = (),
    usage: tuple[str, ...] = SERVER_AND_CLIENT,
) -> Grant:
    """A grant for the test key of this type."""
    key = private_key(key_type).public_key()
    profile = Profile("server", DAY, DAY, usage, frozenset(), frozenset(), frozenset(), 8192, None, None)
    csr = Csr(
        der=b"",
        sha256=b"",
        subject=subject,
        names=names,
        public_key=key,
        key_type=key_type,
        spki=spki_of(private_key(key_type)),
        wants_ca=False,
        key_usage=frozenset(),
        extended_key_usage=(),
        other_extensions=(),
    )
    return Grant(csr, "web1", profile, subject, names, DAY, extensions)


@st.composite
def subjects(draw: st.DrawFn) -> tuple[SubjectAttribute, ...]:
    """Subjects as the CSR parser lets them through: empty ones too, and attributes that come twice."""
    printable = st.text(st.sampled_from("abcXYZ019 '()+,-./:=?"), min_size=1, max_size=64)
    ia5 = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=63)
    unicode = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=64)
    values = {
        ("CN", "2.5.4.3"): unicode,
        ("O", "2.5.4.10"): unicode,
        ("OU", "2.5.4.11"): unicode,
        ("C", "2.5.4.6"): st.sampled_from(["DE", "us"]),
        ("ST", "2.5.4.8"): unicode,
        ("L", "2.5.4.7"): unicode,
        ("serialNumber", "2.5.4.5"): printable,
        ("emailAddress", "1.2.840.113549.1.9.1"): ia5,
        ("DC", "0.9.2342.19200300.100.1.25"): ia5,
        ("UID", "0.9.2342.19200300.100.1.1"): unicode,
    }
    kinds = draw(st.lists(st.sampled_from(list(values)), max_size=10))
    return tuple(SubjectAttribute(name, oid, draw(values[name, oid])) for name, oid in kinds)


ipv4 = st.integers(0, 2**32 - 1).map(lambda number: str(ipaddress.IPv4Address(number)))
ipv6 = st.integers(0, 2**128 - 1).map(lambda number: str(ipaddress.IPv6Address(number)))
label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
host = st.lists(label, min_size=1, max_size=4).map(".".join).filter(lambda text: len(text) < 254)
one_name = st.one_of(
    host.map(lambda text: Name("dns", text)),
    host.map(lambda text: Name("dns", f"*.{text}")),
    ipv4.map(lambda text: Name("ip", text)),
    ipv6.map(lambda text: Name("ip", text)),
    host.map(lambda text: Name("email", f"who+else@{text}")),
    host.map(lambda text: Name("uri", f"spiffe://{text}/ns/a%20b?q=1")),
)
all_names = st.lists(one_name, min_size=1, max_size=100, unique=True).map(tuple)

serials = st.one_of(st.integers(1, 2**159 - 1), st.integers(0, 158).map(lambda bit: 1 << bit), st.integers(1, 0x1FF))
validities = st.tuples(st.integers(0, 2**33), st.integers(120, 40 * 365 * DAY)).map(
    lambda pair: Validity(pair[0], pair[0] + pair[1] - 1)
)
wishes = st.lists(
    st.builds(
        ExtensionWish,
        oid=st.sampled_from(["1.3.6.1.5.5.7.1.24", "2.5.29.32", "2.999.3.4294967296", "1.39.5"]),
        value=st.binary(max_size=300),
        critical=st.booleans(),
    ),
    max_size=3,
    unique_by=lambda wish: wish.oid,
).map(tuple)
usages = st.one_of(
    st.just((TIME_STAMPING,)),
    st.lists(
        st.sampled_from([*SERVER_AND_CLIENT, CODE_SIGNING, EMAIL_PROTECTION, "1.3.6.1.4.1.311.10.3.4"]),
        min_size=1,
        unique=True,
    ).map(tuple),
)


# --- the builder ----------------------------------------------------------------------------------


@cache
def issuer_of(ca: str, base_url: str | None) -> Issuer:
    return Issuer(ca_of(ca)[0], base_url)


class Case(NamedTuple):
    """All that a certificate follows from."""

    grant: Grant
    serial: int = 7
    validity: Validity = Validity(NOW - 60, NOW + DAY)
    shard: int = 0
    ca: str = "p256"
    base_url: str | None = None


def splice(case: Case) -> bytes:
    """The to-be-signed bytes as the signer makes them."""
    issuer = issuer_of(case.ca, case.base_url)
    return issuer.to_be_signed(case.grant, case.serial, case.validity, case.shard)


def built_by_the_library(case: Case) -> x509.Certificate:
    """The same certificate by the library's builder, extension by extension."""
    certificate, key = ca_of(case.ca)
    grant, base_url = case.grant, case.base_url
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([_attribute(attribute) for attribute in grant.subject]))
        .issuer_name(certificate.subject)
        .public_key(grant.csr.public_key)
        .serial_number(case.serial)
        .not_valid_before(datetime.fromtimestamp(case.validity.not_before, UTC))
        .not_valid_after(datetime.fromtimestamp(case.validity.not_after, UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(grant.csr.public_key, grant.profile.extended_key_usage), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in grant.profile.extended_key_usage]),
            critical=grant.profile.extended_key_usage == (TIME_STAMPING,),
        )
        .add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in grant.names]), critical=not grant.subject
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(grant.csr.public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    if base_url:
        builder = builder.add_extension(_points(f"{base_url}/crl/{case.shard}.crl"), critical=False)
        builder = builder.add_extension(_access(f"{base_url}/ocsp", f"{base_url}/ca.der"), critical=False)
    for wish in grant.extensions:
        extra = x509.UnrecognizedExtension(x509.ObjectIdentifier(wish.oid), wish.value)
        builder = builder.add_extension(extra, critical=wish.critical)
    deterministic = True if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return builder.sign(key, HASHES[case.ca], ecdsa_deterministic=deterministic)


def _attribute(attribute: SubjectAttribute) -> x509.NameAttribute[str]:
    # The library's own choice of string type. Its limits count octets, where RFC 5280 counts characters.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return x509.NameAttribute(x509.ObjectIdentifier(attribute.oid), attribute.value, _validate=False)


def _general_name(name: Name) -> x509.GeneralName:
    match name.kind:
        case "dns":
            return x509.DNSName(name.value)
        case "ip":
            return x509.IPAddress(ipaddress.ip_address(name.value))
        case "email":
            return x509.RFC822Name(name.value)
        case _:
            return x509.UniformResourceIdentifier(name.value)


def _key_usage(key: object, purposes: tuple[str, ...]) -> x509.KeyUsage:
    signs_only = {SERVER_AND_CLIENT[1], CODE_SIGNING, TIME_STAMPING} >= set(purposes)
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=isinstance(key, rsa.RSAPublicKey) and not signs_only,
        data_encipherment=False,
        key_agreement=isinstance(key, ec.EllipticCurvePublicKey) and EMAIL_PROTECTION in purposes,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _points(url: str) -> x509.CRLDistributionPoints:
    return x509.CRLDistributionPoints([x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)])


def _access(ocsp: str, ca_issuers: str) -> x509.AuthorityInformationAccess:
    return x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(ocsp)),
            x509.AccessDescription(
                AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(ca_issuers)
            ),
        ]
    )


# --- byte for byte --------------------------------------------------------------------------------


@pytest.mark.parametrize("base_url", [None, BASE_URL])
@pytest.mark.parametrize("ca", CA_KEY_TYPES)
@settings(max_examples=60)
@given(
    key_type=st.sampled_from(LEAF_KEY_TYPES),
    subject=subjects(),
    names=all_names,
    extensions=wishes,
    usage=usages,
    serial=serials,
    validity=validities,
    shard=st.integers(0, 65535),
)
def test_the_to_be_signed_bytes_are_those_of_the_librarys_builder(
    ca: str, base_url: str | None, serial: int, validity: Validity, shard: int, **granted: Any
) -> None:
    case = Case(grant_of(**granted), serial, validity, shard, ca, base_url)
    assert splice(case) == built_by_the_library(case).tbs_certificate_bytes


@pytest.mark.parametrize("serial", [1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, (1 << 152) - 1, 1 << 158, (1 << 159) - 1])
def test_a_serial_number_is_a_positive_integer_whatever_its_leading_bit(serial: int) -> None:
    case = Case(grant_of(), serial)
    assert splice(case) == built_by_the_library(case).tbs_certificate_bytes
    assert certs.load(der.signed(splice(case), bytes(64))).serial_number == serial


@pytest.mark.parametrize(
    ("not_before", "not_after"),
    [
        (END_OF_2049 - DAY, END_OF_2049),
        (END_OF_2049 - DAY, END_OF_2049 + 1),
        (END_OF_2049, END_OF_2049 + DAY),
        (END_OF_2049 + 1, END_OF_2049 + DAY),
    ],
)
def test_a_time_is_written_in_two_digits_of_the_year_through_2049_and_in_four_from_2050(
    not_before: int, not_after: int
) -> None:
    case = Case(grant_of(), validity=Validity(not_before, not_after))
    assert splice(case) == built_by_the_library(case).tbs_certificate_bytes


@pytest.mark.parametrize("key_type", LEAF_KEY_TYPES)
@pytest.mark.parametrize("ca", CA_KEY_TYPES)
def test_the_whole_certificate_is_that_of_the_librarys_builder(ca: str, key_type: str, tmp_path: Path) -> None:
    case = Case(grant_of(key_type), 0x80 << 150, shard=3, ca=ca, base_url=BASE_URL)
    to_be_signed = splice(case)
    # "crl" asks for no fact but the bytes
    with contextlib.closing(Ledger(tmp_path / "ledger.db", LEDGER_KEY)) as ledger:
        [signature] = RecordedKey(ca_of(ca)[1], ledger).sign([Intent(to_be_signed, "crl", {})], NOW)
    assert der.signed(to_be_signed, signature) == built_by_the_library(case).public_bytes(Encoding.DER)


@example(subject=())
@given(subject=subjects())
@settings(max_examples=20)
@pytest.mark.filterwarnings("ignore:Attribute.s length:UserWarning")
def test_the_names_are_critical_where_the_subject_is_empty_and_only_there(
    subject: tuple[SubjectAttribute, ...],
) -> None:
    certificate = certs.load(der.signed(splice(Case(grant_of(subject=subject))), bytes(64)))
    assert certs.extension(certificate, x509.SubjectAlternativeName).critical is (subject == ())


# --- key identifiers ------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", LEAF_KEY_TYPES)
def test_the_subject_key_identifier_is_the_sha1_of_the_public_keys_bits(key_type: str, tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        certificate = authority.issue(openssl_csr(tmp_path, key_type))
    expected = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    found = certs.extension(certificate, x509.SubjectKeyIdentifier)
    assert found.value == expected
    assert not found.critical


def test_the_authority_key_identifier_is_the_cas_own_subject_key_identifier_whatever_that_is() -> None:
    key = p256()
    own = x509.SubjectKeyIdentifier(hashlib.sha256(b"an identifier of another method").digest())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(NOW, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + DAY, UTC))
        .add_extension(own, critical=False)
        .sign(key, hashes.SHA256())
    )
    to_be_signed = Issuer(certificate, None).to_be_signed(grant_of(), 1, Validity(NOW, NOW + 200), 0)
    leaf = certs.load(der.signed(to_be_signed, bytes(64)))
    found = certs.extension(leaf, x509.AuthorityKeyIdentifier).value
    assert found.key_identifier == own.digest
    assert found.authority_cert_issuer is None
    assert found.authority_cert_serial_number is None


def test_where_the_ca_has_no_identifier_the_authority_key_identifier_is_made_from_its_key() -> None:
    key = p256()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test CA")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime.fromtimestamp(NOW, UTC))
    certificate = builder.not_valid_after(datetime.fromtimestamp(NOW + DAY, UTC)).sign(key, hashes.SHA256())
    to_be_signed = Issuer(certificate, None).to_be_signed(grant_of(), 1, Validity(NOW, NOW + 200), 0)
    leaf = certs.load(der.signed(to_be_signed, bytes(64)))
    expected = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    assert certs.extension(leaf, x509.AuthorityKeyIdentifier).value == expected


# --- validity -------------------------------------------------------------------------------------


@given(lifetime=st.integers(120, 20 * 365 * DAY), now=st.integers(NOW, NOW + 3000 * DAY))
def test_a_certificate_lives_exactly_its_lifetime_both_ends_included_and_never_outlives_its_issuer(
    lifetime: int, now: int
) -> None:
    issuer = issuer_of("p256", None)
    validity = issuer.validity(lifetime, now)
    assert validity.not_before == now - 60
    lasts = validity.not_after - validity.not_before + 1
    end = certs.seconds(issuer.certificate.not_valid_after_utc)
    assert lasts == lifetime or (lasts < lifetime and validity.not_after == end)
    assert validity.not_after <= end


def test_the_lifetime_is_exact_to_the_second_in_the_certificate(tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        certificate = authority.issue(csr_for(dns("a.example.net")), lifetime=86_401)
    assert certs.seconds(certificate.not_valid_before_utc) == NOW - 60
    assert certs.lifetime_of(certificate) == 86_401


def test_the_certificate_ends_with_its_issuer_when_the_lifetime_reaches_further(tmp_path: Path) -> None:
    ca = ca_certificate(private_key("p256"), not_after=NOW + 10 * DAY)
    with local_authority(tmp_path, certificate=ca) as authority:
        certificate = authority.issue(csr_for(dns("a.example.net")))
    assert certificate.not_valid_after_utc == ca.not_valid_after_utc


def test_a_certificate_across_2050_is_taken_by_openssl_on_both_sides_of_it(tmp_path: Path) -> None:
    ca = ca_certificate(private_key("p256"), not_after=END_OF_2049 + 365 * DAY)
    with local_authority(tmp_path, certificate=ca, now=END_OF_2049 - DAY) as authority:
        certificate = authority.issue(csr_for(dns("a.example.net")))
    for moment in (END_OF_2049 - DAY, END_OF_2049, END_OF_2049 + 1, END_OF_2049 + 80 * DAY):
        certs.assert_verifies_with_openssl(certificate, ca, at=moment)


# --- other readers --------------------------------------------------------------------------------


@pytest.mark.parametrize("ca", CA_KEY_TYPES)
def test_openssl_accepts_a_leaf_of_each_key_type_under_each_ca(ca: str, tmp_path: Path) -> None:
    with local_authority(tmp_path, ca=ca, signer=f"base_url = '{BASE_URL}'") as authority:
        leaves = [authority.issue(openssl_csr(tmp_path, key_type)) for key_type in LEAF_KEY_TYPES]
        for purpose in ("sslserver", "sslclient"):
            done = certs.openssl_verify(leaves, authority.ca, "-attime", str(NOW), "-purpose", purpose)
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout.count(": OK\n") == len(LEAF_KEY_TYPES)
    certs.assert_is_ca(authority.ca)
    for leaf in leaves:
        certs.assert_is_leaf(leaf)


def test_openssl_refuses_a_certificate_whose_signature_is_another_ones(tmp_path: Path) -> None:
    """That the check above can fail."""
    with local_authority(tmp_path) as authority:
        one, other = (authority.issue(csr_for(dns(name))) for name in ("a.example.net", "b.example.net"))
    forged = certs.load(der.signed(one.tbs_certificate_bytes, other.signature))
    assert certs.openssl_verify([forged], authority.ca, "-attime", str(NOW)).returncode != 0


@pytest.mark.parametrize("key_type", LEAF_KEY_TYPES)
@pytest.mark.parametrize("ca", CA_KEY_TYPES)
def test_gnutls_accepts_a_leaf_of_each_key_type_under_each_ca(ca: str, key_type: str, tmp_path: Path) -> None:
    now = int(time.time())  # certtool knows no other time
    certificate = ca_certificate(private_key(ca), not_before=now - DAY, not_after=now + 100 * DAY)
    with local_authority(tmp_path, ca=ca, certificate=certificate, now=now) as authority:
        certs.assert_verifies_with_certtool(authority.issue(openssl_csr(tmp_path, key_type)), certificate)


def test_openssl_shows_what_the_profile_promises(tmp_path: Path) -> None:
    options = ("-addext", "subjectAltName=DNS:b.example.net,IP:10.1.2.3,IP:2001:db8::1,email:who@example.net")
    with local_authority(tmp_path, signer=f"base_url = '{BASE_URL}'") as authority:
        csr = openssl_csr(tmp_path, "rsa2048", "-utf8", *options, subject="/O=Café/CN=a.example.net")
        text = certs.openssl_text(authority.issue(csr))
    for line in (
        "Version: 3 (0x2)",
        "Issuer: CN=Test CA",
        "Subject: CN=a.example.net,O=Café",
        "Signature Algorithm: ecdsa-with-SHA256",
        "X509v3 Basic Constraints: critical\n                CA:FALSE\n",
        "X509v3 Key Usage: critical\n                Digital Signature, Key Encipherment\n",
        "X509v3 Extended Key Usage: \n                TLS Web Server Authentication, TLS Web Client Authentication\n",
        "DNS:b.example.net, IP Address:10.1.2.3, IP Address:2001:DB8:0:0:0:0:0:1, email:who@example.net",
        ", DNS:a.example.net\n",
        f"URI:{BASE_URL}/crl/0.crl\n",
        f"OCSP - URI:{BASE_URL}/ocsp\n",
        f"CA Issuers - URI:{BASE_URL}/ca.der\n",
    ):
        assert line in text


def test_gnutls_shows_the_same(tmp_path: Path) -> None:
    with local_authority(tmp_path, ca="p384", signer=f"base_url = '{BASE_URL}'") as authority:
        certificate = authority.issue(openssl_csr(tmp_path, "ed25519", subject="/O=Example/CN=a.example.net"))
    text = certs.certtool_text(certificate)
    for line in (
        "Version: 3\n",
        f"Serial Number (hex): {certificate.serial_number:040x}"[:30],
        "Subject: CN=a.example.net,O=Example\n",
        "Certificate Authority (CA): FALSE\n",
        "Key Usage (critical):\n\t\t\tDigital signature.\n",
        "DNSname: a.example.net\n",
        f"URI: {BASE_URL}/crl/0.crl\n",
        "Signature Algorithm: ECDSA-SHA384\n",
    ):
        assert line in text, text


def test_only_rsa_keys_may_encipher_keys(tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        for key_type in LEAF_KEY_TYPES:
            certificate = authority.issue(openssl_csr(tmp_path, key_type))
            usage = certs.extension(certificate, x509.KeyUsage).value
            assert usage.key_encipherment is key_type.startswith("rsa")


def test_without_a_base_url_a_certificate_names_no_address(tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        found = {extension.oid for extension in authority.issue(csr_for(dns("a.example.net"))).extensions}
    assert found.isdisjoint({x509.CRLDistributionPoints.oid, x509.AuthorityInformationAccess.oid})


def test_the_default_profile_is_for_both_ends_of_tls(tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        purposes = certs.extension(authority.issue(csr_for(dns("a.example.net"))), x509.ExtendedKeyUsage)
    assert list(purposes.value) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_shard_is_full_after_its_number_of_certificates_also_across_a_restart(tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        for _ in range(CRL_SHARD_CERTIFICATES - 1):
            assert authority.authority.next_shard() == 0
        assert (authority.authority.next_shard(), authority.authority.next_shard()) == (0, 1)
        authority.issue(csr_for(dns("a.example.net")))
        [body] = authority.bodies("intent")
        assert body["shard"] == 1
        authority.restart()
        assert authority.authority.next_shard() == 1


def test_a_multi_valued_rdn_comes_out_as_one_attribute_each(tmp_path: Path) -> None:
    both = rdn("2.5.4.10", "Example")[2:] + rdn(CN, "a.example.net")[2:]
    with local_authority(tmp_path) as authority:
        certificate = authority.issue(make_csr(subject=[tlv(SET, both)]))
    assert [len(list(part)) for part in certificate.subject.rdns] == [1, 1]
