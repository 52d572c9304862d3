"""Extensions that presign asks for: the whole of a value is DER, and of its type where that is known."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from protocol.fields import ExtensionWish
from signerd import der, strict_der
from signerd.policy.extensions import extensions_rule
from tests import certs
from tests.authorities import ca_of, local_authority
from tests.csrs import csr_for, dns

CSR = csr_for(dns("a.example.net"))
MUST_STAPLE, POLICIES, OWN = "1.3.6.1.5.5.7.1.24", "2.5.29.32", "1.2.3.4"
PROFILE = f"[profile.server]\nextra_extensions = ['{MUST_STAPLE}', '{POLICIES}', '{OWN}']\n"


def problem(oid: str, value: bytes) -> str | None:
    rule = extensions_rule({oid}, [ExtensionWish(oid, value)])
    return None if rule.ok else rule.detail.removeprefix(f"{oid} ")


def test_extensions_that_the_library_makes_stand_in_the_certificate_as_they_are(tmp_path: Path) -> None:
    staple = x509.TLSFeature([x509.TLSFeatureType.status_request])
    policies = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), ["http://x.example"])])
    wishes = [ExtensionWish(one.oid.dotted_string, one.public_bytes()) for one in (staple, policies)]
    with local_authority(tmp_path, PROFILE) as authority:
        certificate = authority.issue(CSR, extensions=(*wishes, ExtensionWish(OWN, b"\x05\0", critical=True)))
    assert certs.extension(certificate, x509.TLSFeature).value == staple
    assert certs.extension(certificate, x509.CertificatePolicies).value == policies


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x30",
        b"\x30\x03\x02\x01\x05\x00",  # bytes after the end
        b"\x30\x80\x00\x00",  # an indefinite length
        b"\x30\x03\x02\x02\x05",  # within it a length that goes beyond it
        b"\x30\x04\x02\x02\x00\x05",  # an INTEGER with a zero too many
        b"\x30\x04\x02\x02\xff\xff",
        b"\x30\x02\x02\x00",
        b"\x30\x03\x01\x01\x01",  # TRUE is 0xFF
        b"\x30\x03\x05\x01\x00",
        b"\x10\x00",  # a SEQUENCE that is primitive
        b"\x24\x03\x04\x01a",  # an OCTET STRING that is constructed
        b"\x03\x00",
        b"\x03\x01\x01",
        b"\x03\x02\x01\xff",  # unused bits that are set
        b"\x03\x02\x08\x00",
        b"\x06\x00",
        b"\x06\x02\x80\x01",
        b"\x06\x02\x2a\x80",
        b"\x0c\x01\xff",
        b"\x13\x01@",
        b"\x16\x01\x80",
        b"\x17\x0b2601010000Z",  # a UTCTime without seconds
        b"\x18\x1120260101000000.0Z",
        b"\x31\x06\x02\x01\x02\x02\x01\x01",  # a SET OF out of order
        b"\x31\x05\x0a\x01\x01\x05\x00",  # and a SET
        b"\xa0\x02\x02\x01",  # within a context's own tag
        b"\x1f\x01\x00",
        b"\x00\x00",
        b"\x30\x02" * 2000 + b"\x30\x00",
    ],
)
def test_a_value_that_is_not_der_all_the_way_down_is_refused(value: bytes) -> None:
    found = problem(OWN, value)
    assert found is not None
    assert "not DER" in found


def test_what_is_nested_deeper_than_anything_in_use_is_refused_and_nothing_overflows() -> None:
    value = b""
    for _ in range(900):
        value = der.tlv(der.SEQUENCE, value)
    assert problem(OWN, value) == "has a value that is not DER: nested too deep"


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        (MUST_STAPLE, b"\x05\x00"),
        (MUST_STAPLE, b"\x30\x03\x01\x01\xff"),
        (POLICIES, b"\x30\x05\x30\x03\x02\x01\x05"),
        ("2.5.29.18", b"\x30\x03\x02\x01\x05"),  # issuerAltName
        ("2.5.29.46", b"\x30\x03\x02\x01\x05"),  # freshestCRL
        ("1.3.6.1.4.1.11129.2.4.2", b"\x04\x02\x00\x05"),  # a list of SCTs
    ],
)
def test_a_value_that_is_der_and_not_of_its_known_type_is_refused(oid: str, value: bytes) -> None:
    strict_der.check(value)
    assert problem(oid, value) == "has a value that is not of its type"
    assert problem(OWN, value) is None


def test_every_extension_of_a_certificate_passes_and_with_one_bit_changed_it_is_read_or_refused() -> None:
    for extension in ca_of("p256")[0].extensions:
        value = extension.value.public_bytes()
        strict_der.check(value)
        for place in range(len(value) * 8):
            octets = bytearray(value)
            octets[place // 8] ^= 1 << place % 8
            problem(extension.oid.dotted_string, bytes(octets))  # does not raise


@given(st.binary(max_size=60))
def test_garbage_is_der_or_is_a_value_error(data: bytes) -> None:
    try:
        strict_der.check(data)
    except ValueError:
        return
    assert len(der.parts(data)) == 1


@given(
    st.recursive(
        st.one_of(
            st.integers(0, 2**70).map(der.integer),
            st.binary(max_size=9).map(lambda value: der.tlv(der.OCTET_STRING, value)),
            st.text(max_size=9).map(lambda text: der.tlv(0x0C, text.encode())),
            st.just(der.TRUE),
            st.just(b"\x05\0"),
            st.just(der.oid("1.2.840.113549.1.1.11")),
        ),
        lambda inner: st.lists(inner, max_size=4).map(lambda values: der.tlv(der.SEQUENCE, *values)),
    )
)
def test_what_is_put_together_as_der_passes(data: bytes) -> None:
    strict_der.check(data)


def test_whole_certificates_pass() -> None:
    for key_type in ("rsa2048", "p256", "ed25519"):
        strict_der.check(ca_of(key_type)[0].public_bytes(Encoding.DER))
