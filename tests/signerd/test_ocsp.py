"""OCSP: what is said of which certificate, in which bytes, by whom; and that no request does any harm."""

import datetime
import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from protocol.messages import OcspReply
from signerd import der
from signerd.certificate import Issuer
from signerd.identity import Identity
from signerd.key import signature_hash
from signerd.ledger.revocations import Revoked
from signerd.revocation import responder, responder_certificate
from signerd.revocation.ocsp_request import parse_query
from signerd.revocation.ocsp_response import Plain, response_data, single_response
from tests.authorities import CA_KEY_TYPES, LocalAuthority, ca_of, local_authority
from tests.certs import extension, lifetime_of, openssl_verify, seconds
from tests.csrs import integer, openssl, sequence, tlv
from tests.csrs import oid as der_oid
from tests.identities import DAY, NOW, ca_certificate, p256
from tests.revocations import ask_ocsp, check_signature, issue, ocsp_request, publish, revoke, serial_of, status_of

NONCE = "1.3.6.1.5.5.7.48.1.2"
SHA1 = sequence(der_oid("1.3.14.3.2.26"), b"\x05\0")
OCTET_STRING = 0x04


@pytest.fixture
def at(tmp_path: Path) -> Iterator[LocalAuthority]:
    with local_authority(tmp_path, signer='base_url = "http://ca.example.net"') as one:
        yield one


def answer(at: LocalAuthority, request: bytes) -> ocsp.OCSPResponse:
    return ocsp.load_der_ocsp_response(ask_ocsp(at, request).response)


def failure(at: LocalAuthority, request: bytes) -> str:
    """The status of an answer that is not signed."""
    reply = ask_ocsp(at, request)
    assert (reply.this_update, reply.next_update) == (None, None)
    response = ocsp.load_der_ocsp_response(reply.response)
    assert response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL
    assert reply.response == bytes((0x30, 3, 0x0A, 1, response.response_status.value))
    return response.response_status.name


def cert_id(ca: x509.Certificate, serial: int, *, algorithm: bytes = SHA1, name: str = "sha1") -> bytes:
    """A CertID, made by hand."""
    key = ca.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    bits = x509.SubjectKeyIdentifier.from_public_key(ca.public_key()).digest if name == "sha1" else None
    if bits is None:
        bits = hashlib.new(name, key[key.index(b"\x03\x42\0\x04") + 3 :]).digest()  # of a P-256 key
    name_hash = hashlib.new(name, ca.subject.public_bytes(), usedforsecurity=False).digest()
    return sequence(algorithm, tlv(OCTET_STRING, name_hash), tlv(OCTET_STRING, bits), integer(serial))


def cert_id_with_serial(octets: bytes) -> bytes:
    """One whose serial number is these octets, whether or not that is an INTEGER."""
    return sequence(*[part.whole for part in der.parts(cert_id(ca_of("p256")[0], 7)[2:])][:3], tlv(2, octets))


def request_of(*ids: bytes, extensions: bytes = b"", version: bytes = b"") -> bytes:
    """An OCSPRequest, made by hand."""
    requests = sequence(*(sequence(one) for one in ids))
    return sequence(sequence(version, requests, tlv(0xA2, sequence(extensions)) if extensions else b""))


def nonce_of(value: bytes) -> bytes:
    return sequence(der_oid(NONCE), tlv(OCTET_STRING, value))


# --- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ca", CA_KEY_TYPES)
def test_openssl_takes_the_answer_as_good_and_after_the_revocation_as_revoked(tmp_path: Path, ca: str) -> None:
    with local_authority(tmp_path, ca=ca, now=int(time.time())) as at:  # as openssl has no other time
        good, revoked = issue(at, 2)
        revoke(at, revoked, reason="keyCompromise")
        for name, certificate in (("good", good), ("revoked", revoked), ("ca", at.ca)):
            (tmp_path / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        for name, certificate in (("good", good), ("revoked", revoked)):
            (tmp_path / "response").write_bytes(ask_ocsp(at, ocsp_request(at.ca, certificate)).response)
            done = subprocess.run(
                [
                    *("openssl", "ocsp", "-respin", "response", "-no_nonce"),
                    *("-issuer", "ca.pem", "-cert", f"{name}.pem", "-CAfile", "ca.pem"),
                ],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=True,
            )
            assert "Response verify OK" in done.stderr
            assert f"{name}.pem: {name}" in done.stdout


def test_who_trusts_the_root_alone_finds_the_certificates_below_it_in_the_answer(tmp_path: Path) -> None:
    now, root_key, upper_key = int(time.time()), p256(), p256()
    dates: dict[str, Any] = {"not_before": now - DAY, "not_after": now + 100 * DAY}
    root = ca_certificate(root_key, name="Root", **dates)
    upper = ca_certificate(upper_key, name="Upper", issuer="Root", issuer_key=root_key, **dates)
    own = ca_certificate(ca_of("p256")[1], name="Own", issuer="Upper", issuer_key=upper_key, **dates)
    with local_authority(tmp_path, identity=Identity(own, (own, upper, root), ca_of("p256")[1]), now=now) as at:
        [leaf] = issue(at, 1)
        reply = ask_ocsp(at, ocsp_request(own, leaf))
    for name, certificate in {"leaf": leaf, "own": own, "root": root}.items():
        (tmp_path / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (tmp_path / "response").write_bytes(reply.response)
    ask = ("ocsp", "-respin", tmp_path / "response", "-no_nonce", "-issuer", tmp_path / "own.pem")
    openssl(*ask, "-cert", tmp_path / "leaf.pem", "-CAfile", tmp_path / "root.pem")
    responder, *others = ocsp.load_der_ocsp_response(reply.response).certificates
    responder.verify_directly_issued_by(own)
    assert others == [own, upper]


def test_a_serial_number_that_was_never_issued_is_unknown(at: LocalAuthority) -> None:
    issue(at, 1)
    for serial in (1, 2**158, 0, -5, 2**159 - 1, -(2**158)):
        reply = ask_ocsp(at, request_of(cert_id(at.ca, serial)))
        response = ocsp.load_der_ocsp_response(reply.response)
        assert response.certificate_status is ocsp.OCSPCertStatus.UNKNOWN
        check_signature(at.ca, response)
        assert reply.next_update is None  # it may be issued any moment: nobody keeps that answer


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha384", "sha512"])
def test_each_hash_that_may_name_the_issuer_is_understood(at: LocalAuthority, name: str) -> None:
    [one] = issue(at, 1)
    algorithm = {
        "sha1": SHA1,
        "sha256": sequence(der_oid("2.16.840.1.101.3.4.2.1")),  # and without the NULL
        "sha384": sequence(der_oid("2.16.840.1.101.3.4.2.2"), b"\x05\0"),
        "sha512": sequence(der_oid("2.16.840.1.101.3.4.2.3"), b"\x05\0"),
    }[name]
    asked = cert_id(at.ca, one.serial_number, algorithm=algorithm, name=name)
    reply = ask_ocsp(at, request_of(asked))
    assert asked in reply.response  # the CertID as it was asked
    assert ocsp.load_der_ocsp_response(reply.response).certificate_status is ocsp.OCSPCertStatus.GOOD


def test_another_cas_certificate_is_not_ours_to_speak_of(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    same_name, same_key = ca_certificate(p256()), ca_certificate(ca_of("p256")[1], name="Another CA")
    for other in (same_name, same_key):
        assert failure(at, request_of(cert_id(other, one.serial_number))) == "UNAUTHORIZED"
    md5 = sequence(der_oid("1.2.840.113549.2.5"), b"\x05\0")
    assert failure(at, request_of(cert_id(at.ca, one.serial_number, algorithm=md5))) == "UNAUTHORIZED"


def test_several_certificates_are_answered_in_one_response_each_as_it_is(at: LocalAuthority) -> None:
    good, revoked = issue(at, 2)
    revoke(at, revoked, reason="certificateHold")
    foreign = cert_id(ca_certificate(p256()), 7)
    ids = [cert_id(at.ca, one.serial_number) for one in (good, revoked)] + [cert_id(at.ca, 99), foreign]
    response = answer(at, request_of(*ids))
    singles = list(response.responses)
    assert [one.certificate_status.name for one in singles] == ["GOOD", "REVOKED", "UNKNOWN", "UNKNOWN"]
    assert singles[1].revocation_reason is x509.ReasonFlags.certificate_hold
    assert [one.serial_number for one in singles] == [good.serial_number, revoked.serial_number, 99, 7]


def test_more_certificates_than_a_request_may_be_about_are_refused(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    asked = cert_id(at.ca, one.serial_number)
    full = request_of(*[asked] * responder.CERTIFICATES_MAX)
    assert len(list(answer(at, full).responses)) == responder.CERTIFICATES_MAX
    assert failure(at, request_of(*[asked] * (responder.CERTIFICATES_MAX + 1))) == "UNAUTHORIZED"


# --- nonces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 16, 32, 128])
def test_a_nonce_comes_back_and_its_answer_is_for_nobody_else(at: LocalAuthority, length: int) -> None:
    [one] = issue(at, 1)
    reply = ask_ocsp(at, ocsp_request(at.ca, one, nonce=bytes(range(length))))
    response = ocsp.load_der_ocsp_response(reply.response)
    assert response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == bytes(range(length))
    assert (reply.this_update, reply.next_update) == (None, None)


@pytest.mark.parametrize(
    "extensions",
    [
        nonce_of(tlv(OCTET_STRING)),
        nonce_of(tlv(OCTET_STRING, bytes(129))),
        nonce_of(b"0123456789abcdef"),  # without an OCTET STRING of its own
        nonce_of(b""),
        nonce_of(tlv(OCTET_STRING, b"one")) + nonce_of(tlv(OCTET_STRING, b"two")),
        nonce_of(tlv(OCTET_STRING, b"one") + b"\0"),
    ],
)
def test_a_nonce_of_another_length_or_form_is_malformed(at: LocalAuthority, extensions: bytes) -> None:
    [one] = issue(at, 1)
    assert failure(at, request_of(cert_id(at.ca, one.serial_number), extensions=extensions)) == "MALFORMED_REQUEST"


def test_an_extension_that_is_not_known_counts_only_if_it_is_critical(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    asked = cert_id(at.ca, one.serial_number)
    for critical, status in ((b"", "SUCCESSFUL"), (b"\x01\x01\xff", "MALFORMED_REQUEST")):
        strange = sequence(der_oid("1.2.3.4"), critical, tlv(OCTET_STRING, b"x"))
        assert answer(at, request_of(asked, extensions=strange)).response_status.name == status
        single = sequence(sequence(sequence(sequence(asked, tlv(0xA0, sequence(strange))))))
        assert answer(at, single).response_status.name == status


# --- no request does any harm -----------------------------------------------------------------------


@given(data=st.binary(max_size=300))
def test_garbage_is_a_request_or_a_value_error(data: bytes) -> None:
    try:
        parse_query(data)
    except ValueError:
        return


_REQUEST = request_of(cert_id(ca_of("p256")[0], 7), cert_id(ca_of("p256")[0], 8), extensions=nonce_of(b"\x04\x01n"))


@given(at=st.integers(0, len(_REQUEST) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_a_request_with_one_byte_changed_or_cut_off_is_a_request_or_a_value_error(
    at: int, byte: int, cut: bool
) -> None:
    data = _REQUEST[:at] if cut else _REQUEST[:at] + bytes([byte]) + _REQUEST[at + 1 :]
    try:
        query = parse_query(data)
    except ValueError:
        return
    assert not cut
    assert all(one.whole in data for one in query.ids)


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\0",
        sequence(),
        request_of(),
        _REQUEST + b"\0",
        b"\x30\x80" + _REQUEST[2:] + b"\0\0",  # an indefinite length is no DER
        request_of(cert_id(ca_of("p256")[0], 7), version=tlv(0xA0, integer(1))),
        request_of(sequence(SHA1, tlv(OCTET_STRING), tlv(OCTET_STRING))),
        request_of(sequence(SHA1, tlv(OCTET_STRING), tlv(OCTET_STRING), b"\x02\0")),
        request_of(sequence(SHA1, tlv(OCTET_STRING), tlv(OCTET_STRING), b"\x02\x02\0\x01")),
        request_of(cert_id_with_serial(b"\0\x01")),
        request_of(cert_id_with_serial(b"\xff\x80")),
        request_of(cert_id_with_serial(b"\0" + b"\xff" * 20)),
        request_of(cert_id_with_serial(b"\x01" * 21)),
        request_of(cert_id_with_serial(b"\x01" * 1000)),
        request_of(cert_id(ca_of("p256")[0], 7) + b"\x05\0"),
        request_of(cert_id(ca_of("p256")[0], 7, algorithm=sequence(der_oid("1.3.14.3.2.26"), b"\x05\0" * 2))),
        b"\x30\x84\xff\xff\xff\xff" + bytes(100),
        b"\x30\x03" * 20_000,
    ],
)
def test_what_is_no_request_is_told_so_and_not_signed(at: LocalAuthority, request_: bytes) -> None:
    assert failure(at, request_) == "MALFORMED_REQUEST"


def test_a_signed_request_and_one_with_a_name_are_answered_like_any_other(at: LocalAuthority, tmp_path: Path) -> None:
    [one] = issue(at, 1)
    (tmp_path / "ca.pem").write_bytes(at.ca.public_bytes(Encoding.PEM))
    (tmp_path / "leaf.pem").write_bytes(one.public_bytes(Encoding.PEM))
    key, own = tmp_path / "own.key", tmp_path / "own.pem"
    openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", key, "-out", own, "-subj", "/CN=somebody")
    openssl(
        *("ocsp", "-issuer", tmp_path / "ca.pem", "-cert", tmp_path / "leaf.pem", "-signer", own, "-signkey", key),
        *("-reqout", tmp_path / "signed", "-no_nonce"),
    )
    assert answer(at, (tmp_path / "signed").read_bytes()).certificate_status is ocsp.OCSPCertStatus.GOOD


# --- the bytes --------------------------------------------------------------------------------------


@given(
    state=st.sampled_from(("good", "unknown", "unspecified", "keyCompromise", "certificateHold", "aACompromise")),
    nonce=st.none() | st.binary(min_size=1, max_size=128),
    serial=st.integers(1, 2**159 - 1),
    time=st.integers(0, 2**33),
)
def test_an_answer_is_that_of_the_librarys_builder_byte_for_byte(
    state: str, nonce: bytes | None, serial: int, time: int
) -> None:
    ca, key = ca_of("p256")
    asked = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        hashlib.sha1(ca.subject.public_bytes(), usedforsecurity=False).digest(),
        x509.SubjectKeyIdentifier.from_public_key(ca.public_key()).digest,
        serial,
        hashes.SHA1(),  # noqa: S303 - as clients do
    )
    [one] = parse_query(asked.build().public_bytes(Encoding.DER)).ids
    revoked = state not in {"good", "unknown"}
    builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
        one.issuer_name_hash,
        one.issuer_key_hash,
        serial,
        hashes.SHA1(),  # noqa: S303 - as clients do
        ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus[state.upper()],
        _moment(time),
        _moment(time + DAY),
        _moment(time + 1) if revoked else None,
        x509.ReasonFlags(state) if revoked and state != "unspecified" else None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, ca)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    theirs = builder.sign(key, hashes.SHA256())
    status = Revoked(one.serial, time + 1, state, None) if revoked else Plain[state.upper()]
    single = single_response(one.whole, status, time, time + DAY)
    assert theirs.responder_key_hash is not None
    ours = response_data(theirs.responder_key_hash, seconds(theirs.produced_at_utc), [single], nonce)
    assert ours == theirs.tbs_response_bytes


def _moment(second: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(second, datetime.UTC)


# --- the responder ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ca", CA_KEY_TYPES)
def test_the_responders_certificate_is_that_of_the_librarys_builder_byte_for_byte(ca: str) -> None:
    certificate, key = ca_of(ca)
    own = p256().public_key()
    identifier = extension(certificate, x509.SubjectKeyIdentifier).value
    usages = (
        *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "OCSP responder")]))
        .issuer_name(certificate.subject)
        .public_key(own)
        .serial_number(2**158)
        .not_valid_before(_moment(NOW))
        .not_valid_after(_moment(NOW + DAY))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **dict.fromkeys(usages, False)), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
        .add_extension(x509.OCSPNoCheck(), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    theirs = builder.sign(key, signature_hash(key.public_key()))
    spki = own.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ours = responder_certificate.to_be_signed(Issuer(certificate, None), spki, 2**158, NOW, NOW + DAY)
    assert ours == theirs.tbs_certificate_bytes


def responder_of(at: LocalAuthority, certificate: x509.Certificate) -> x509.Certificate:
    return check_signature(at.ca, answer(at, ocsp_request(at.ca, certificate, nonce=b"n")))


def test_the_responders_certificate_is_for_that_alone_short_lived_and_on_record(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    certificate = responder_of(at, one)
    assert list(extension(certificate, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    assert not extension(certificate, x509.OCSPNoCheck).critical
    assert not extension(certificate, x509.BasicConstraints).value.ca
    assert not extension(certificate, x509.KeyUsage).value.key_cert_sign
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert lifetime_of(certificate) <= 2 * DAY + 61
    verified = openssl_verify([certificate], at.ca, "-purpose", "ocsphelper", "-attime", str(at.now))
    assert verified.returncode == 0, verified.stderr
    [body] = [body for body in at.bodies("intent") if body["what"] == "responder"]
    assert body["to_be_signed"] == certificate.tbs_certificate_bytes


def test_the_cas_key_signs_no_answer(at: LocalAuthority) -> None:
    certificates = issue(at, 20)
    publish(at)
    before = at.ledger.head
    for one in certificates:
        assert status_of(at, one) == ("good", None)
    assert at.ledger.head == before


def test_no_answer_outlives_its_responders_certificate_which_is_renewed_in_time(at: LocalAuthority) -> None:
    [one] = issue(at, 1, lifetime=30 * DAY)
    seen = set()
    for _ in range(20):
        at.now += DAY // 4
        reply = ask_ocsp(at, ocsp_request(at.ca, one))
        certificate = check_signature(at.ca, ocsp.load_der_ocsp_response(reply.response))
        assert reply.next_update is not None
        assert at.now + DAY // 2 <= reply.next_update <= seconds(certificate.not_valid_after_utc)
        seen.add(certificate.serial_number)
    assert 4 <= len(seen) <= 7


def test_a_restart_makes_a_new_key(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    before = responder_of(at, one)
    at.restart()
    after = responder_of(at, one)
    assert before.public_key() != after.public_key()


def test_without_a_certificate_of_its_own_it_asks_to_come_back_later(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    at.ledger.query("PRAGMA query_only = ON")
    assert failure(at, ocsp_request(at.ca, one)) == "TRY_LATER"


def test_a_fault_in_the_signer_is_an_internal_error_and_not_cached(
    at: LocalAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    [one] = issue(at, 1)
    monkeypatch.setattr(responder, "status", lambda *_: 1 / 0)
    assert failure(at, ocsp_request(at.ca, one)) == "INTERNAL_ERROR"


# --- answers that were given before -------------------------------------------------------------------


def test_an_answer_is_given_again_until_a_revocation(at: LocalAuthority) -> None:
    one, other = issue(at, 2)
    request = ocsp_request(at.ca, one)
    first = ask_ocsp(at, request)
    at.now += 1000
    assert ask_ocsp(at, request) == first
    revoke(at, other)
    second = ask_ocsp(at, request)
    assert second != first
    assert second.this_update == at.now - 60
    revoke(at, one)
    assert status_of(at, one) == ("revoked", "superseded")


def test_no_answer_is_older_than_the_revocation_that_it_tells(at: LocalAuthority) -> None:
    good, revoked = issue(at, 2)
    revoke(at, revoked)
    at.now += 7
    request = ocsp_request(at.ca, revoked)
    answer = ocsp.load_der_ocsp_response(ask_ocsp(at, request).response)
    assert (
        answer.revocation_time_utc
        == answer.this_update_utc
        == datetime.datetime.fromtimestamp(at.now - 7, datetime.UTC)
    )
    assert ask_ocsp(at, request).this_update == at.now - 7
    assert ask_ocsp(at, ocsp_request(at.ca, good)).this_update == at.now - 60


def test_an_answer_is_given_again_for_half_its_life_only(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    request = ocsp_request(at.ca, one)
    first = ask_ocsp(at, request)
    assert first == OcspReply(first.response, at.now - 60, at.now + DAY)
    at.now += DAY // 2 - 1
    assert ask_ocsp(at, request) == first
    at.now += 1
    assert ask_ocsp(at, request) != first


def test_an_answer_of_before_the_clock_was_set_back_is_not_given_again(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    request = ocsp_request(at.ca, one)
    ask_ocsp(at, request)
    at.now -= 10 * DAY
    reply = ask_ocsp(at, request)
    assert reply.this_update == at.now - 60
    certificate = check_signature(at.ca, ocsp.load_der_ocsp_response(reply.response))
    assert seconds(certificate.not_valid_before_utc) <= at.now


def test_what_is_kept_is_bounded_and_the_unknown_is_not_kept(
    at: LocalAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responder, "_KEPT", 3)
    certificates = issue(at, 5)
    requests = [ocsp_request(at.ca, one) for one in certificates]
    first = [ask_ocsp(at, request) for request in requests]
    for serial in range(1, 9):
        ask_ocsp(at, request_of(cert_id(at.ca, serial)))
    at.now += 1
    again = [ask_ocsp(at, request) == before for request, before in zip(requests[::-1], first[::-1], strict=True)]
    assert again == [True] * 3 + [False] * 2


def test_the_lifetime_is_a_setting(tmp_path: Path) -> None:
    with local_authority(tmp_path, signer='ocsp_lifetime = "1h"') as at:
        [one] = issue(at, 1)
        assert ask_ocsp(at, ocsp_request(at.ca, one)).next_update == at.now + 3600
        assert serial_of(one) in ask_ocsp(at, ocsp_request(at.ca, one)).response
