"""A holder revokes its own certificate, and nobody else does: the proof is by the key in that certificate."""

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.errors import ErrorCode, Refused
from signerd.revocation.service import IN_VAIN_MAX
from tests.authorities import LocalAuthority, local_authority
from tests.csrs import OPENSSL_KEYS, csr_for, dns, make_csr, openssl_csr, private_key, signature_by
from tests.identities import DAY, NOW
from tests.revocations import (
    ask_ocsp,
    ask_revoke_own,
    crl_of,
    issue,
    ocsp_request,
    publish,
    reasons_on,
    revoke,
    serial_of,
    status_of,
)

KEY = private_key("ed25519")  # the key of every CSR by tests.csrs that names no other


@pytest.fixture
def at(tmp_path: Path) -> Iterator[LocalAuthority]:
    with local_authority(tmp_path) as authority:
        yield authority


def lines(certificate: x509.Certificate, reason: str) -> bytes:
    """What the holder signs."""
    return f"signerd revoke 1\n{serial_of(certificate).hex()}\n{reason}\n".encode()


def prove(certificate: x509.Certificate, reason: str = "keyCompromise") -> bytes:
    return signature_by(KEY, lines(certificate, reason))[1]


def code(at: LocalAuthority, certificate: x509.Certificate, reason: str, signature: bytes) -> ErrorCode:
    """Why the revocation is refused; the certificate is as it was."""
    before = status_of(at, certificate)
    with pytest.raises(Refused) as caught:
        ask_revoke_own(at, serial_of(certificate), reason, signature)
    assert status_of(at, certificate) == before
    return caught.value.code


# What docs/clients.md describes; $1 is the key, $2 the serial number, $3 the reason.
_SHELL = r"""
set -e
printf 'signerd revoke 1\n%s\n%s\n' "$2" "$3" > lines
if openssl pkey -in "$1" -noout -text | head -1 | grep -q ED25519
then openssl pkeyutl -sign -rawin -inkey "$1" -in lines -out signature
else openssl dgst -sha256 -sign "$1" -out signature lines
fi
base64 -w 0 signature
"""


@pytest.mark.parametrize("key_type", OPENSSL_KEYS)
def test_the_holder_of_the_key_revokes_with_openssl_and_a_shell(
    at: LocalAuthority, tmp_path: Path, key_type: str
) -> None:
    certificate = at.issue(openssl_csr(tmp_path, key_type, "-addext", "subjectAltName=DNS:web1.example.net"))
    publish(at)
    at.now += 100
    serial = serial_of(certificate).hex()
    done = subprocess.run(
        ["bash", "-c", _SHELL, "bash", f"{key_type}.pem", serial, "superseded"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    revoked_at = ask_revoke_own(at, bytes.fromhex(serial), "superseded", base64.b64decode(done.stdout))
    assert revoked_at == at.now
    assert status_of(at, certificate) == ("revoked", "superseded")
    publish(at)
    assert reasons_on(crl_of(at)) == {certificate.serial_number: "superseded"}


def test_the_signature_of_another_key_revokes_nothing(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    for key_type in ("rsa2048", "p256"):
        _, signature = signature_by(private_key(key_type), lines(one, "keyCompromise"))
        assert code(at, one, "keyCompromise", signature) is ErrorCode.NOT_AUTHORIZED
    # The same subject and names, even the CA's own key: what counts is the key in this certificate.
    other = at.issue(make_csr(key=private_key("p256"), attributes=[]))
    _, signature = signature_by(private_key("p256"), lines(one, "keyCompromise"))
    assert code(at, one, "keyCompromise", signature) is ErrorCode.NOT_AUTHORIZED
    assert status_of(at, other) == ("good", None)


def test_a_proof_is_for_one_certificate_and_one_reason(at: LocalAuthority) -> None:
    one, other = issue(at, 2)  # of one key
    assert code(at, other, "keyCompromise", prove(one)) is ErrorCode.NOT_AUTHORIZED
    assert code(at, one, "superseded", prove(one)) is ErrorCode.NOT_AUTHORIZED
    ask_revoke_own(at, serial_of(one), "keyCompromise", prove(one))
    assert status_of(at, other) == ("good", None)


@pytest.mark.parametrize(
    "signed",
    [
        b"signerd revoke 1\n{serial}\nkeyCompromise",
        b"signerd renew 1\n{serial}\nkeyCompromise\n",
        b"signerd revoke 1\r\n{serial}\r\nkeyCompromise\r\n",
        b"{serial}\nkeyCompromise\n",
        b"signerd revoke 1\n0{serial}\nkeyCompromise\n",
        b"",
    ],
)
def test_a_signature_over_anything_else_is_no_proof(at: LocalAuthority, signed: bytes) -> None:
    [one] = issue(at, 1)
    data = signed.replace(b"{serial}", serial_of(one).hex().encode())
    assert code(at, one, "keyCompromise", signature_by(KEY, data)[1]) is ErrorCode.NOT_AUTHORIZED


def test_a_weaker_hash_and_bytes_that_are_no_signature_are_no_proof(at: LocalAuthority) -> None:
    key = private_key("p256")
    one = at.issue(make_csr(key=key, attributes=[]))
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    sha1 = key.sign(lines(one, "keyCompromise"), ec.ECDSA(hashes.SHA1()))  # noqa: S303 - it is refused
    for signature in (sha1, b"\0", b"0\x06\x02\x01\0\x02\x01\0", bytes(64), bytes(1024)):
        assert code(at, one, "keyCompromise", signature) is ErrorCode.NOT_AUTHORIZED


@pytest.mark.parametrize(
    "reason",
    ["certificateHold", "removeFromCRL", "privilegeWithdrawn", "cACompromise", "aACompromise", "", "keyCompromise\n"],
)
def test_a_reason_that_is_not_the_holders_to_give_is_refused(at: LocalAuthority, reason: str) -> None:
    [one] = issue(at, 1)
    assert code(at, one, reason, prove(one, reason)) is ErrorCode.BAD_REQUEST


def test_a_serial_number_that_was_never_issued_is_not_found(at: LocalAuthority) -> None:
    issue(at, 1)
    for serial in (b"\x01", b"\0", bytes(20), b"\xff" * 20):
        with pytest.raises(Refused) as caught:
            ask_revoke_own(at, serial, "keyCompromise", b"x")
        assert caught.value.code is ErrorCode.NOT_FOUND


def test_what_is_revoked_already_is_answered_by_when_it_was(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    revoke(at, one, reason="superseded")
    at.now += 100
    assert ask_revoke_own(at, serial_of(one), "keyCompromise", prove(one)) == NOW
    assert status_of(at, one) == ("revoked", "superseded")


def test_a_holder_who_repeats_it_costs_the_ledger_nothing_and_no_answer_that_was_kept(at: LocalAuthority) -> None:
    [one, other] = issue(at, 2)
    ask_revoke_own(at, serial_of(one), "keyCompromise", prove(one))
    request = ocsp_request(at.ca, other)
    kept = ask_ocsp(at, request)  # signed anew it would differ: by ECDSA
    before = at.ledger.head
    for _ in range(3):
        ask_revoke_own(at, serial_of(one), "keyCompromise", prove(one))
    assert at.ledger.head == before
    assert ask_ocsp(at, request) == kept


def test_revocations_in_vain_are_looked_at_so_many_times_a_second_and_no_more(at: LocalAuthority) -> None:
    """Each takes as long as a signature does to be checked; a taken-over frontend may send any number of them."""
    [one, other] = issue(at, 2)
    codes = [code(at, one, "keyCompromise", bytes(64)) for _ in range(200)]
    assert codes.count(ErrorCode.NOT_AUTHORIZED) == IN_VAIN_MAX
    assert set(codes[IN_VAIN_MAX:]) == {ErrorCode.BUSY}
    at.now += 1
    ask_revoke_own(at, serial_of(other), "keyCompromise", prove(other))
    assert status_of(at, other) == ("revoked", "keyCompromise")


def test_holders_who_have_something_to_revoke_are_not_counted(at: LocalAuthority) -> None:
    for one in issue(at, IN_VAIN_MAX + 1):
        ask_revoke_own(at, serial_of(one), "superseded", prove(one, "superseded"))


def test_a_hold_does_not_keep_the_holder_from_revoking(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    revoke(at, one, reason="certificateHold")
    at.now += 100
    assert ask_revoke_own(at, serial_of(one), "keyCompromise", prove(one)) == NOW
    assert status_of(at, one) == ("revoked", "keyCompromise")


def test_what_has_expired_is_not_revoked(at: LocalAuthority) -> None:
    [one] = issue(at, 1, lifetime=DAY)
    at.now += DAY
    assert code(at, one, "keyCompromise", prove(one)) is ErrorCode.CONFLICT


def test_a_holder_revokes_while_issuance_is_frozen_and_its_way_is_on_record(at: LocalAuthority) -> None:
    one = at.issue(csr_for(dns("web1.example.net")))
    at.authority.freeze("a drill", at.now)
    ask_revoke_own(at, serial_of(one), "keyCompromise", prove(one))
    [body] = at.bodies("revoked")
    assert body["asker"].startswith("sign ")
