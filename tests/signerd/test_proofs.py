"""What a client proves to the signer itself, made as a client makes it: by the openssl command and a shell."""

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.errors import ErrorCode
from protocol.messages import RenewalProof, RevokeRequest
from signerd.revocation.revoke import revoke_named
from tests import certs
from tests.authorities import OPERATOR, LocalAuthority, local_authority
from tests.csrs import OPENSSL_KEYS, openssl_csr, openssl_key
from tests.identities import DAY, NOW

KEY, OTHER_KEY = "b7e2-a long and random-looking-key", "5a1c-another long and random-looking"
HELD_KEY_TYPES = tuple(OPENSSL_KEYS)

# As in the documentation for clients.
MAC = """{ printf 'signerd mac 1\\n'; cat "$1"; } | openssl dgst -sha256 -hmac "$(cat "$2")" -r | cut -d ' ' -f 1"""
RENEW = """{ printf 'signerd renew 1\\n'; cat "$1"; } | openssl dgst -sha256 -sign "$2" | base64 -w 0"""
RENEW_ED25519 = """
{ printf 'signerd renew 1\\n'; cat "$1"; } > "$1.signed"
openssl pkeyutl -sign -rawin -inkey "$2" -in "$1.signed" | base64 -w 0
"""


def shell(script: str, *arguments: Path) -> str:
    """What the script prints."""
    done = subprocess.run(
        ["sh", "-euc", script, "sh", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def mac_by_openssl(directory: Path, csr: bytes, key: str = KEY) -> bytes:
    """The value of X-CSR-MAC for this CSR."""
    csr_path, key_path = directory / "csr.der", directory / "mac.key"
    csr_path.write_bytes(csr)
    key_path.write_text(key + "\n")
    return bytes.fromhex(shell(MAC, csr_path, key_path))


def renewal_by_openssl(directory: Path, csr: bytes, key_type: str, held: x509.Certificate) -> RenewalProof:
    """X-CSR-Renew for this CSR, by the key of the certificate that is held."""
    csr_path, key_path, held_path = directory / "new.der", directory / "held.key", directory / "held.pem"
    csr_path.write_bytes(csr)
    key_path.write_bytes(openssl_key(key_type))
    held_path.write_bytes(held.public_bytes(Encoding.PEM))
    signature = shell(RENEW_ED25519 if key_type == "ed25519" else RENEW, csr_path, key_path)
    serial = shell('openssl x509 -in "$1" -noout -serial | cut -d = -f 2', held_path)
    decoded = subprocess.run(["base64", "-d"], input=signature.encode(), capture_output=True, check=True).stdout
    return RenewalProof(bytes.fromhex(serial), decoded)


def csr_of(directory: Path, key_type: str, *names: str) -> bytes:
    names_extension = ",".join(f"DNS:{name}" for name in names)
    return openssl_csr(directory, key_type, "-addext", f"subjectAltName={names_extension}", subject="/O=Example")


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[LocalAuthority]:
    """web1 and web2 prove themselves by MACs, ren1 and ren2 by renewals, any1 by either; free1 does not."""
    for name, key in (("one", KEY), ("two", OTHER_KEY)):
        path = tmp_path / f"{name}.mac"
        path.write_text(key + "\n")
        path.chmod(0o600)
    policy = f"""
        [client.web1]
        mac_key_file = '{tmp_path}/one.mac'
        [client.web2]
        mac_key_file = '{tmp_path}/two.mac'
        [client.ren1]
        renew_with_key = true
        [client.ren2]
        renew_with_key = true
        [client.any1]
        mac_key_file = '{tmp_path}/one.mac'
        renew_with_key = true
        [client.free1]
    """
    with local_authority(tmp_path, policy) as opened:
        yield opened


# --- MACs -----------------------------------------------------------------------------------------


def test_a_mac_made_by_openssl_proves_the_client(authority: LocalAuthority, tmp_path: Path) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    certificate = authority.issue(csr, "web1", mac=mac_by_openssl(tmp_path, csr))
    certs.assert_is_leaf(certificate)
    rules = {rule.rule: rule for rule in authority.check(csr, "web1", mac=mac_by_openssl(tmp_path, csr)).rules}
    assert (rules["proof"].ok, rules["proof"].detail) == (True, "mac")


def test_without_a_mac_with_a_forged_one_or_with_another_clients_nothing_is_issued(
    authority: LocalAuthority, tmp_path: Path
) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    other = mac_by_openssl(tmp_path, csr, OTHER_KEY)
    good = mac_by_openssl(tmp_path, csr)
    flipped = [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(32)]
    assert authority.refusal(csr, "web1").detail == "proof: there is no X-CSR-MAC"
    for mac in (bytes(32), b"\xff" * 32, other, good[::-1], *flipped):
        refusal = authority.refusal(csr, "web1", mac=mac)
        assert refusal.code is ErrorCode.NOT_AUTHORIZED
        assert refusal.detail == "proof: X-CSR-MAC is not this client's MAC of this CSR"
    assert "intent" not in authority.kinds()


def test_a_mac_belongs_to_its_csr_and_to_its_client(authority: LocalAuthority, tmp_path: Path) -> None:
    csr, other = (csr_of(tmp_path, "p256", name) for name in ("a.example.net", "b.example.net"))
    mac = mac_by_openssl(tmp_path, csr)
    assert authority.code(other, "web1", mac=mac) is ErrorCode.NOT_AUTHORIZED
    assert authority.code(csr, "web2", mac=mac) is ErrorCode.NOT_AUTHORIZED
    assert authority.code(csr, "web1", mac=mac) is None


def test_a_mac_without_the_purpose_before_the_csr_is_none(authority: LocalAuthority, tmp_path: Path) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    for purpose in ("", "signerd renew 1\\n", "signerd mac 1"):
        script = MAC.replace("signerd mac 1\\n", purpose)
        (tmp_path / "c").write_bytes(csr)
        (tmp_path / "k").write_text(KEY)
        mac = bytes.fromhex(shell(script, tmp_path / "c", tmp_path / "k"))
        assert authority.code(csr, "web1", mac=mac) is ErrorCode.NOT_AUTHORIZED


def test_a_frontend_that_forges_client_ids_gets_nothing_for_those_that_prove_themselves(
    authority: LocalAuthority, tmp_path: Path
) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    codes = {
        client: authority.code(csr, client) for client in ("web1", "web2", "ren1", "ren2", "any1", "free1", "new1")
    }
    assert codes.pop("free1") is None
    assert set(codes.values()) == {ErrorCode.NOT_AUTHORIZED}


# --- renewals -------------------------------------------------------------------------------------


def first_certificate(
    authority: LocalAuthority, directory: Path, key_type: str = "p256", client: str = "ren1"
) -> x509.Certificate:
    """A certificate for two names, which an operator vouched for."""
    csr = csr_of(directory, key_type, "a.example.net", "b.example.net")
    return authority.issue(csr, client, asker=OPERATOR)


@pytest.mark.parametrize("key_type", HELD_KEY_TYPES)
def test_a_renewal_signed_by_openssl_with_a_held_key_of_each_type_proves_the_client(
    authority: LocalAuthority, tmp_path: Path, key_type: str
) -> None:
    held = first_certificate(authority, tmp_path, key_type)
    csr = csr_of(tmp_path, "ed25519" if key_type == "p256" else "p256", "a.example.net", "b.example.net")
    renewed = authority.issue(csr, "ren1", renewal=renewal_by_openssl(tmp_path, csr, key_type, held))
    assert certs.names_of(renewed) == certs.names_of(held)
    assert renewed.public_key() != held.public_key()


def test_a_renewed_certificate_renews_in_turn(authority: LocalAuthority, tmp_path: Path) -> None:
    held, held_type = first_certificate(authority, tmp_path), "p256"
    for new_type in ("p384", "rsa2048", "ed25519"):
        csr = csr_of(tmp_path, new_type, "a.example.net")
        held = authority.issue(csr, "ren1", renewal=renewal_by_openssl(tmp_path, csr, held_type, held))
        held_type = new_type
    csr = csr_of(tmp_path, "p256", "b.example.net")
    refusal = authority.refusal(csr, "ren1", renewal=renewal_by_openssl(tmp_path, csr, held_type, held))
    assert "not dns:b.example.net" in refusal.detail  # what was once given up is not had again


def test_a_renewal_may_have_fewer_names_and_none_more(authority: LocalAuthority, tmp_path: Path) -> None:
    held = first_certificate(authority, tmp_path)
    fewer = csr_of(tmp_path, "p384", "b.example.net")
    assert authority.code(fewer, "ren1", renewal=renewal_by_openssl(tmp_path, fewer, "p256", held)) is None
    more = csr_of(tmp_path, "p384", "a.example.net", "z.example.net", "y.example.net")
    refusal = authority.refusal(more, "ren1", renewal=renewal_by_openssl(tmp_path, more, "p256", held))
    assert refusal.code is ErrorCode.NOT_AUTHORIZED
    assert refusal.detail == "proof: X-CSR-Renew covers fewer names: not dns:y.example.net, dns:z.example.net"


def test_a_renewal_is_of_the_same_profile(tmp_path: Path) -> None:
    policy = """[profile.server]\n[profile.strong]\n[client.ren1]\nrenew_with_key = true\n"""
    with local_authority(tmp_path, policy) as authority:
        held = first_certificate(authority, tmp_path)
        csr = csr_of(tmp_path, "p256", "a.example.net")
        proof = renewal_by_openssl(tmp_path, csr, "p256", held)
        refusal = authority.refusal(csr, "ren1", renewal=proof, profile="strong")
        assert (refusal.code, refusal.detail) == (
            ErrorCode.NOT_AUTHORIZED,
            "proof: X-CSR-Renew is for profile 'server'",
        )
        assert authority.code(csr, "ren1", renewal=proof, profile="server") is None


def test_a_renewal_may_have_less_of_the_subject_and_none_more(authority: LocalAuthority, tmp_path: Path) -> None:
    held = first_certificate(authority, tmp_path)
    for subject, allowed in (
        ("/O=Example", True),
        ("/CN=a.example.net", True),
        ("/O=masters", False),
        ("/OU=x", False),
    ):
        csr = openssl_csr(tmp_path, "p256", "-addext", "subjectAltName=DNS:a.example.net", subject=subject)
        proof = renewal_by_openssl(tmp_path, csr, "p256", held)
        assert (authority.code(csr, "ren1", renewal=proof) is None) is allowed, subject


def test_a_renewal_belongs_to_its_csr(authority: LocalAuthority, tmp_path: Path) -> None:
    held = first_certificate(authority, tmp_path)
    csr, other = (csr_of(tmp_path, "p384", name) for name in ("a.example.net", "b.example.net"))
    proof = renewal_by_openssl(tmp_path, csr, "p256", held)
    refusal = authority.refusal(other, "ren1", renewal=proof)
    assert refusal.detail == "proof: the signature in X-CSR-Renew is not by that certificate's key over this CSR"
    assert authority.code(csr, "ren1", renewal=proof) is None


def test_a_renewal_signed_by_another_key_is_refused(authority: LocalAuthority, tmp_path: Path) -> None:
    held = first_certificate(authority, tmp_path, "p256")
    csr = csr_of(tmp_path, "p384", "a.example.net")
    for key_type in ("p384", "rsa2048", "ed25519"):  # the new key, say: whoever has that needs nothing else
        proof = renewal_by_openssl(tmp_path, csr, key_type, held)
        assert "is not by that certificate's key" in authority.refusal(csr, "ren1", renewal=proof).detail
    for signature in (b"\0", b"\x30\x06\x02\x01\x01\x02\x01\x01", bytes(1024)):
        proof = RenewalProof(proof.serial, signature)
        assert "is not by that certificate's key" in authority.refusal(csr, "ren1", renewal=proof).detail


def test_a_signature_for_another_purpose_is_no_renewal(
    authority: LocalAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = first_certificate(authority, tmp_path)
    csr = csr_of(tmp_path, "p384", "a.example.net")
    for purpose in ("", "signerd mac 1\\n", "signerd revoke 1\\n"):
        monkeypatch.setitem(globals(), "RENEW", RENEW.replace("signerd renew 1\\n", purpose))
        proof = renewal_by_openssl(tmp_path, csr, "p256", held)
        assert authority.code(csr, "ren1", renewal=proof) is ErrorCode.NOT_AUTHORIZED


def test_no_other_clients_certificate_renews_and_none_that_never_was(authority: LocalAuthority, tmp_path: Path) -> None:
    held = first_certificate(authority, tmp_path, client="ren2")
    csr = csr_of(tmp_path, "p384", "a.example.net")
    proof = renewal_by_openssl(tmp_path, csr, "p256", held)
    for wrong in (proof, RenewalProof(b"\x01", proof.signature)):
        refusal = authority.refusal(csr, "ren1", renewal=wrong)
        assert refusal.detail == "proof: X-CSR-Renew names no certificate of this client"
    assert authority.code(csr, "ren2", renewal=proof) is None


@pytest.mark.parametrize(("reason", "state"), [("keyCompromise", "revoked"), ("certificateHold", "hold")])
def test_a_revoked_certificate_renews_nothing(
    authority: LocalAuthority, tmp_path: Path, reason: str, state: str
) -> None:
    held = first_certificate(authority, tmp_path)
    csr = csr_of(tmp_path, "p384", "a.example.net")
    proof = renewal_by_openssl(tmp_path, csr, "p256", held)
    assert authority.check(csr, "ren1", renewal=proof).allowed
    serial = held.serial_number.to_bytes(20, "big").lstrip(b"\0")
    revoke_named(authority.ledger, RevokeRequest(reason=reason, serials=(serial,)), "admin 0", NOW)
    refusal = authority.refusal(csr, "ren1", renewal=proof)
    assert refusal.code is ErrorCode.NOT_AUTHORIZED
    assert refusal.detail == f"proof: the certificate that X-CSR-Renew names is {state}"


def test_an_expired_certificate_renews_nothing(authority: LocalAuthority, tmp_path: Path) -> None:
    held = first_certificate(authority, tmp_path)
    csr = csr_of(tmp_path, "p384", "a.example.net")
    proof = renewal_by_openssl(tmp_path, csr, "p256", held)
    authority.now = NOW - 60 + 90 * DAY - 1  # its last second
    assert authority.code(csr, "ren1", renewal=proof) is None
    authority.now += 1
    assert authority.refusal(csr, "ren1", renewal=proof).detail.endswith("names is expired")


def test_a_serial_number_with_a_leading_zero_octet_is_the_same_number(tmp_path: Path) -> None:
    numbers = itertools.count(0x80ABCDEF)
    policy = "[client.ren1]\nrenew_with_key = true\n"
    with local_authority(tmp_path, policy, make_serial=lambda: next(numbers)) as authority:
        held = first_certificate(authority, tmp_path)
        csr = csr_of(tmp_path, "p384", "a.example.net")
        proof = renewal_by_openssl(tmp_path, csr, "p256", held)
        assert proof.serial == bytes.fromhex("80abcdef")
        for serial in (b"\0" + proof.serial, proof.serial.rjust(20, b"\0")):  # as DER has it; as long as can be
            assert authority.code(csr, "ren1", renewal=RenewalProof(serial, proof.signature)) is None
        assert authority.code(csr, "ren1", renewal=RenewalProof(bytes(20), proof.signature)) is not None


# --- either ---------------------------------------------------------------------------------------


def test_where_either_proof_will_do_one_is_enough_and_a_refusal_names_what_was_wrong_with_both(
    authority: LocalAuthority, tmp_path: Path
) -> None:
    csr = csr_of(tmp_path, "p384", "a.example.net")
    assert authority.refusal(csr, "any1").detail == "proof: there is no X-CSR-MAC, and there is no X-CSR-Renew"
    held = authority.issue(csr_of(tmp_path, "p256", "a.example.net"), "any1", asker=OPERATOR)
    proof = renewal_by_openssl(tmp_path, csr, "p256", held)
    assert authority.code(csr, "any1", renewal=proof) is None
    assert authority.code(csr, "any1", mac=mac_by_openssl(tmp_path, csr)) is None
    assert authority.code(csr, "any1", mac=bytes(32), renewal=proof) is None
    refusal = authority.refusal(csr, "any1", mac=bytes(32), renewal=RenewalProof(b"\x01", b"\x01"))
    assert refusal.detail == (
        "proof: X-CSR-MAC is not this client's MAC of this CSR, and X-CSR-Renew names no certificate of this client"
    )


def test_a_client_that_is_asked_for_no_proof_needs_none_and_a_wrong_one_does_no_harm(
    authority: LocalAuthority, tmp_path: Path
) -> None:
    csr = csr_of(tmp_path, "p384", "a.example.net")
    assert authority.code(csr, "free1") is None
    assert authority.code(csr, "free1", mac=bytes(32)) is None
