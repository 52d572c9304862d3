"""What a client proves to the signer itself, made as a client makes it: by the openssl command and a shell."""

import hashlib
import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.errors import ErrorCode, Refused
from protocol.fields import HookWishes, MacProof, RenewalProof
from protocol.messages import IssueReply, IssueRequest
from tests import certs
from tests.authorities import OPERATOR, LocalAuthority, local_authority
from tests.csrs import OPENSSL_KEYS, openssl_csr, openssl_key
from tests.edited_ledgers import prune_all, revoke, serial_of
from tests.identities import DAY, NOW

KEY, OTHER_KEY = "b7e2-a long and random-looking-key", "5a1c-another long and random-looking"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # FIPS 186-4, D.1.2.3
HELD_KEY_TYPES = tuple(OPENSSL_KEYS)

# As in the documentation for clients: of CSR, KEY, CLIENT, PROFILE, LIFETIME, TIME, and SERIAL.
MAC = """{ printf 'signerd mac 2\\n%s\\n%s\\n%s\\n%s\\n' "$3" "$4" "$5" "$6"; cat "$1"; } |
openssl dgst -sha256 -hmac "$(cat "$2")" -r | cut -d ' ' -f 1"""
RENEW = """{ printf 'signerd renew 2\\n%s\\n%s\\n%s\\n%s\\n%s\\n' "$3" "$7" "$4" "$5" "$6"; cat "$1"; } > "$1.signed"
"""
SIGN = 'openssl dgst -sha256 -sign "$2" "$1.signed" | base64 -w 0'
SIGN_ED25519 = 'openssl pkeyutl -sign -rawin -inkey "$2" -in "$1.signed" | base64 -w 0'


def shell(script: str, *arguments: object) -> str:
    """What the script prints."""
    done = subprocess.run(
        ["sh", "-euc", script, "sh", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def mac_by_openssl(
    directory: Path,
    csr: bytes,
    client: str = "web1",
    *,
    key: str = KEY,
    profile: str = "",
    lifetime: str = "",
    time: int = NOW,
) -> MacProof:
    """X-CSR-MAC for this request."""
    csr_path, key_path = directory / "csr.der", directory / "mac.key"
    csr_path.write_bytes(csr)
    key_path.write_text(key + "\n")
    return MacProof(time, bytes.fromhex(shell(MAC, csr_path, key_path, client, profile, lifetime, time)))


def renewal_by_openssl(
    directory: Path,
    csr: bytes,
    key_type: str,
    held: x509.Certificate,
    client: str = "ren1",
    *,
    profile: str = "",
    lifetime: str = "",
    time: int = NOW,
) -> RenewalProof:
    """X-CSR-Renew for this request, by the key of the certificate that is held."""
    csr_path, key_path, held_path = directory / "new.der", directory / "held.key", directory / "held.pem"
    csr_path.write_bytes(csr)
    key_path.write_bytes(openssl_key(key_type))
    held_path.write_bytes(held.public_bytes(Encoding.PEM))
    serial = shell('openssl x509 -in "$1" -noout -serial | cut -d = -f 2 | tr A-F a-f', held_path)
    script = RENEW + (SIGN_ED25519 if key_type == "ed25519" else SIGN)
    signature = shell(script, csr_path, key_path, client, profile, lifetime, time, serial)
    decoded = subprocess.run(["base64", "-d"], input=signature.encode(), capture_output=True, check=True).stdout
    return RenewalProof(bytes.fromhex(serial), time, decoded)


def csr_of(directory: Path, key_type: str, *names: str) -> bytes:
    names_extension = ",".join(f"DNS:{name}" for name in names)
    return openssl_csr(directory, key_type, "-addext", f"subjectAltName={names_extension}", subject="/O=Example")


def mac_policy(directory: Path) -> str:
    """web1 proves itself by a MAC, and may have either of two profiles."""
    path = directory / "one.mac"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    return f"[profile.server]\n[profile.strong]\n[client.web1]\nmac_key_file = '{path}'\n"


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[LocalAuthority]:
    """web1, web2 and web3 prove themselves by MACs, ren1 and ren2 by renewals, any1 by either; free1 does not."""
    for name, key in (("one", KEY), ("two", OTHER_KEY)):
        path = tmp_path / f"{name}.mac"
        path.write_text(key + "\n")
        path.chmod(0o600)
    policy = f"""
        [client.web1]
        mac_key_file = '{tmp_path}/one.mac'
        [client.web2]
        mac_key_file = '{tmp_path}/two.mac'
        [client.web3]
        mac_key_file = '{tmp_path}/one.mac'
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
    mac = mac_by_openssl(tmp_path, csr)
    rules = {rule.rule: rule for rule in authority.check(csr, "web1", mac=mac).rules}
    assert (rules["proof"].ok, rules["proof"].detail) == (True, "mac")
    certs.assert_is_leaf(authority.issue(csr, "web1", mac=mac))


def test_without_a_mac_with_a_forged_one_or_with_another_clients_nothing_is_issued(
    authority: LocalAuthority, tmp_path: Path
) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    other = mac_by_openssl(tmp_path, csr, key=OTHER_KEY).mac
    good = mac_by_openssl(tmp_path, csr).mac
    flipped = [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(32)]
    assert authority.refusal(csr, "web1").detail == "proof: there is no X-CSR-MAC"
    for mac in (bytes(32), b"\xff" * 32, other, good[::-1], *flipped):
        refusal = authority.refusal(csr, "web1", mac=MacProof(NOW, mac))
        assert refusal.code is ErrorCode.NOT_AUTHORIZED
        assert refusal.detail == "proof: X-CSR-MAC is not this client's MAC of this request"
    assert "intent" not in authority.kinds()


def test_a_mac_belongs_to_its_csr_and_to_its_client(authority: LocalAuthority, tmp_path: Path) -> None:
    csr, other = (csr_of(tmp_path, "p256", name) for name in ("a.example.net", "b.example.net"))
    mac = mac_by_openssl(tmp_path, csr)
    assert authority.code(other, "web1", mac=mac) is ErrorCode.NOT_AUTHORIZED
    for client in ("web2", "web3"):  # the second of them has the same key
        assert authority.code(csr, client, mac=mac) is ErrorCode.NOT_AUTHORIZED
    assert authority.code(csr, "web1", mac=mac) is None


def test_a_mac_belongs_to_its_profile_its_lifetime_and_its_time(tmp_path: Path) -> None:
    with local_authority(tmp_path, mac_policy(tmp_path)) as authority:
        csr = csr_of(tmp_path, "p256", "a.example.net")
        asked: dict[str, Any] = {"profile": "server", "lifetime": 30 * DAY}
        mac = mac_by_openssl(tmp_path, csr, profile="server", lifetime=str(30 * DAY))
        for other in (
            asked | {"lifetime": 365 * DAY},
            asked | {"lifetime": None},
            asked | {"profile": "strong"},
            asked | {"profile": None},  # which means the same profile, and not the same text
        ):
            assert authority.code(csr, "web1", mac=mac, **other) is ErrorCode.NOT_AUTHORIZED
        assert authority.code(csr, "web1", mac=MacProof(NOW + 1, mac.mac), **asked) is ErrorCode.NOT_AUTHORIZED
        certificate = authority.issue(csr, "web1", mac=mac, **asked)
        assert certs.lifetime_of(certificate) == 30 * DAY
        assert authority.code(csr, "web1", mac=mac, **asked | {"lifetime": 365 * DAY}) is ErrorCode.NOT_AUTHORIZED


def test_a_mac_without_the_purpose_before_the_rest_is_none(authority: LocalAuthority, tmp_path: Path) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    for purpose in ("", "signerd renew 2\\n", "signerd mac 1\\n", "signerd mac 2"):
        script = MAC.replace("signerd mac 2\\n", purpose)
        (tmp_path / "c").write_bytes(csr)
        (tmp_path / "k").write_text(KEY)
        mac = bytes.fromhex(shell(script, tmp_path / "c", tmp_path / "k", "web1", "", "", NOW))
        assert authority.code(csr, "web1", mac=MacProof(NOW, mac)) is ErrorCode.NOT_AUTHORIZED


def test_a_frontend_that_forges_client_ids_gets_nothing_for_those_that_prove_themselves(
    authority: LocalAuthority, tmp_path: Path
) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    clients = ("web1", "web2", "web3", "ren1", "ren2", "any1", "free1", "new1")
    codes = {client: authority.code(csr, client) for client in clients}
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
        proof = renewal_by_openssl(tmp_path, csr, "p256", held, profile="strong")
        refusal = authority.refusal(csr, "ren1", renewal=proof, profile="strong")
        assert (refusal.code, refusal.detail) == (
            ErrorCode.NOT_AUTHORIZED,
            "proof: X-CSR-Renew is for profile 'server'",
        )
        proof = renewal_by_openssl(tmp_path, csr, "p256", held, profile="server")
        assert authority.code(csr, "ren1", renewal=proof, profile="server") is None


def test_a_renewal_that_names_no_profile_is_for_that_of_the_certificate_renewed(tmp_path: Path) -> None:
    policy = """[profile.server]\n[profile.strong]\nlifetime = '7d'\n[client.ren1]\nrenew_with_key = true\n"""
    with local_authority(tmp_path, policy) as authority:
        held = authority.issue(csr_of(tmp_path, "p256", "a.example.net"), "ren1", asker=OPERATOR, profile="strong")
        csr = csr_of(tmp_path, "p384", "a.example.net")
        renewed = authority.issue(csr, "ren1", renewal=renewal_by_openssl(tmp_path, csr, "p256", held))
        assert certs.lifetime_of(renewed) == 7 * DAY
        assert [body["profile"] for body in authority.bodies("intent")] == ["strong", "strong"]


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
    assert refusal.detail == "proof: the signature in X-CSR-Renew is not by that certificate's key over this request"
    assert authority.code(csr, "ren1", renewal=proof) is None


def test_a_renewal_signed_by_another_key_is_refused(authority: LocalAuthority, tmp_path: Path) -> None:
    held = first_certificate(authority, tmp_path, "p256")
    csr = csr_of(tmp_path, "p384", "a.example.net")
    for key_type in ("p384", "rsa2048", "ed25519"):  # the new key, say: whoever has that needs nothing else
        proof = renewal_by_openssl(tmp_path, csr, key_type, held)
        assert "is not by that certificate's key" in authority.refusal(csr, "ren1", renewal=proof).detail
    for signature in (b"\0", b"\x30\x06\x02\x01\x01\x02\x01\x01", bytes(8192)):
        proof = RenewalProof(proof.serial, NOW, signature)
        assert "is not by that certificate's key" in authority.refusal(csr, "ren1", renewal=proof).detail


def test_a_signature_for_another_purpose_is_no_renewal(
    authority: LocalAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = first_certificate(authority, tmp_path)
    csr = csr_of(tmp_path, "p384", "a.example.net")
    for purpose in ("", "signerd mac 2\\n", "signerd renew 1\\n", "signerd revoke 1\\n"):
        monkeypatch.setitem(globals(), "RENEW", RENEW.replace("signerd renew 2\\n", purpose))
        proof = renewal_by_openssl(tmp_path, csr, "p256", held)
        assert authority.code(csr, "ren1", renewal=proof) is ErrorCode.NOT_AUTHORIZED


def test_no_other_clients_certificate_renews_and_none_that_never_was(authority: LocalAuthority, tmp_path: Path) -> None:
    held = first_certificate(authority, tmp_path, client="ren2")
    csr = csr_of(tmp_path, "p384", "a.example.net")
    proof = renewal_by_openssl(tmp_path, csr, "p256", held, "ren2")
    for wrong in (proof, RenewalProof(b"\x01", NOW, proof.signature)):
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
    revoke(authority, [serial], reason)
    refusal = authority.refusal(csr, "ren1", renewal=proof)
    assert refusal.code is ErrorCode.NOT_AUTHORIZED
    assert refusal.detail == f"proof: the certificate that X-CSR-Renew names is {state}"


def test_an_expired_certificate_renews_nothing(authority: LocalAuthority, tmp_path: Path) -> None:
    held = first_certificate(authority, tmp_path)
    csr = csr_of(tmp_path, "p384", "a.example.net")
    authority.now = NOW - 60 + 90 * DAY - 1  # its last second
    proof = renewal_by_openssl(tmp_path, csr, "p256", held, time=authority.now)
    assert authority.code(csr, "ren1", renewal=proof) is None
    authority.now += 1
    proof = renewal_by_openssl(tmp_path, csr, "p256", held, time=authority.now)
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
            assert authority.code(csr, "ren1", renewal=RenewalProof(serial, NOW, proof.signature)) is None
        assert authority.code(csr, "ren1", renewal=RenewalProof(bytes(20), NOW, proof.signature)) is not None


# --- either ---------------------------------------------------------------------------------------


def test_where_either_proof_will_do_one_is_enough_and_a_refusal_names_what_was_wrong_with_both(
    authority: LocalAuthority, tmp_path: Path
) -> None:
    csr = csr_of(tmp_path, "p384", "a.example.net")
    assert authority.refusal(csr, "any1").detail == "proof: there is no X-CSR-MAC, and there is no X-CSR-Renew"
    held = authority.issue(csr_of(tmp_path, "p256", "a.example.net"), "any1", asker=OPERATOR)
    proof = renewal_by_openssl(tmp_path, csr, "p256", held, "any1")
    no_mac = MacProof(NOW, bytes(32))
    assert authority.code(csr, "any1", mac=mac_by_openssl(tmp_path, csr, "any1")) is None
    assert authority.code(csr, "any1", mac=no_mac, renewal=proof) is None
    old = mac_by_openssl(tmp_path, csr, "any1", time=NOW - 301)
    again = renewal_by_openssl(tmp_path, csr, "p256", held, "any1", time=NOW + 1)
    assert authority.code(csr, "any1", mac=old, renewal=again) is None
    refusal = authority.refusal(csr, "any1", mac=no_mac, renewal=RenewalProof(b"\x01", NOW, b"\x01"))
    assert refusal.detail == (
        "proof: X-CSR-MAC is not this client's MAC of this request, and X-CSR-Renew names no certificate of this client"
    )


def test_a_client_that_is_asked_for_no_proof_needs_none_and_a_wrong_one_does_no_harm(
    authority: LocalAuthority, tmp_path: Path
) -> None:
    csr = csr_of(tmp_path, "p384", "a.example.net")
    assert authority.code(csr, "free1") is None
    assert authority.code(csr, "free1", mac=MacProof(NOW, bytes(32))) is None


# --- a proof and its certificate --------------------------------------------------------------------


def serials_of(answers: list[IssueReply | Refused]) -> set[bytes]:
    assert all(isinstance(answer, IssueReply) for answer in answers), answers
    return {answer.serial for answer in answers if isinstance(answer, IssueReply)}


def test_a_mac_that_is_replayed_gets_the_same_certificate_however_often_and_late(
    authority: LocalAuthority, tmp_path: Path
) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    mac = mac_by_openssl(tmp_path, csr)
    first = authority.ask(csr, "web1", mac=mac)
    for number in range(97):
        authority.now += 1000  # the proof itself is too old from the first one on
        assert authority.ask(csr, "web1", mac=mac, idempotency_key=f"key {number}") == first
    authority.restart()
    assert authority.ask(csr, "web1", mac=mac) == first
    assert authority.kinds().count("intent") == 1


def test_the_renewal_of_a_one_day_certificate_is_not_replayed_for_a_year(
    authority: LocalAuthority, tmp_path: Path
) -> None:
    held = authority.issue(csr_of(tmp_path, "p256", "a.example.net"), "ren1", asker=OPERATOR, lifetime=DAY)
    csr = csr_of(tmp_path, "p384", "a.example.net")
    proof = renewal_by_openssl(tmp_path, csr, "p256", held, lifetime=str(DAY))
    first = authority.ask(csr, "ren1", renewal=proof, lifetime=DAY)
    assert serials_of([first])
    assert authority.code(csr, "ren1", renewal=proof, lifetime=365 * DAY) is ErrorCode.NOT_AUTHORIZED
    authority.now += DAY // 2
    assert authority.ask(csr, "ren1", renewal=proof, lifetime=DAY) == first
    for _ in range(50):
        authority.now += 7 * DAY
        assert authority.code(csr, "ren1", renewal=proof, lifetime=DAY) in {
            ErrorCode.CONFLICT,  # its certificate has ended
            ErrorCode.NOT_AUTHORIZED,  # and was pruned
        }
        prune_all(authority)
    assert authority.kinds().count("intent") == 2


@pytest.mark.parametrize("off", [-301, -300, 300, 301])
def test_a_proof_counts_for_five_minutes_before_and_after_its_time(
    authority: LocalAuthority, tmp_path: Path, off: int
) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    held = first_certificate(authority, tmp_path)
    mac = mac_by_openssl(tmp_path, csr, time=NOW + off)
    renewal = renewal_by_openssl(tmp_path, csr, "p256", held, time=NOW + off)
    if abs(off) <= 300:
        assert authority.code(csr, "web1", mac=mac) is None
        assert authority.code(csr, "ren1", renewal=renewal) is None
    else:
        for header, refusal in (
            ("X-CSR-MAC", authority.refusal(csr, "web1", mac=mac)),
            ("X-CSR-Renew", authority.refusal(csr, "ren1", renewal=renewal)),
        ):
            assert refusal.code is ErrorCode.NOT_AUTHORIZED
            assert refusal.detail == f"proof: {header} is 301 s off the signer's clock, by more than 300"


def test_the_second_signature_that_ecdsa_has_for_each_is_the_same_proof(
    authority: LocalAuthority, tmp_path: Path
) -> None:
    held = first_certificate(authority, tmp_path, "p256")
    csr = csr_of(tmp_path, "p384", "a.example.net")
    proof = renewal_by_openssl(tmp_path, csr, "p256", held)
    r, s = decode_dss_signature(proof.signature)
    other = RenewalProof(proof.serial, proof.time, encode_dss_signature(r, P256_ORDER - s))
    first = authority.ask(csr, "ren1", renewal=proof)
    assert authority.ask(csr, "ren1", renewal=other) == first
    anew = renewal_by_openssl(tmp_path, csr, "p256", held)  # by another random number
    assert anew.signature != proof.signature
    assert authority.ask(csr, "ren1", renewal=anew) == first
    assert authority.kinds().count("intent") == 2


def test_two_requests_with_one_proof_in_a_batch_get_one_certificate(authority: LocalAuthority, tmp_path: Path) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    asked = IssueRequest(csr, "web1", mac=mac_by_openssl(tmp_path, csr), idempotency_key="k")
    assert len(serials_of(authority.answers(asked, asked, asked))) == 1
    assert authority.kinds().count("intent") == 1


def test_a_refusal_does_not_use_a_proof_up(authority: LocalAuthority, tmp_path: Path) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    mac = mac_by_openssl(tmp_path, csr)
    authority.authority.freeze("a drill", NOW)
    assert authority.code(csr, "web1", mac=mac) is ErrorCode.FROZEN
    authority.authority.thaw("", NOW)
    first = authority.ask(csr, "web1", mac=mac)
    authority.authority.freeze("a drill", NOW)
    assert authority.ask(csr, "web1", mac=mac) == first


@pytest.mark.parametrize(("reason", "state"), [("superseded", "revoked"), ("certificateHold", "hold")])
def test_a_proof_whose_certificate_was_revoked_since_is_a_conflict(
    authority: LocalAuthority, tmp_path: Path, reason: str, state: str
) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    mac = mac_by_openssl(tmp_path, csr)
    serial = serial_of(authority.issue(csr, "web1", mac=mac))
    revoke(authority, [serial], reason)
    refusal = authority.refusal(csr, "web1", mac=mac)
    assert (refusal.code, refusal.detail) == (ErrorCode.CONFLICT, f"the certificate that this proof got is {state}")
    again = mac_by_openssl(tmp_path, csr, time=NOW + 1)
    assert authority.code(csr, "web1", mac=again) is None


def test_only_who_makes_a_proof_gets_what_it_got(authority: LocalAuthority, tmp_path: Path) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    mac = mac_by_openssl(tmp_path, csr)
    authority.issue(csr, "web1", mac=mac)
    assert authority.code(csr, "web1", mac=MacProof(mac.time, bytes(32))) is ErrorCode.NOT_AUTHORIZED


def test_a_dry_run_says_that_a_proof_was_used(authority: LocalAuthority, tmp_path: Path) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    mac = mac_by_openssl(tmp_path, csr)
    authority.issue(csr, "web1", mac=mac)
    authority.now += 1000
    [rule] = [rule for rule in authority.check(csr, "web1", mac=mac).rules if rule.rule == "proof"]
    assert (rule.ok, rule.detail) == (True, "mac: it was used, and gets the same certificate again")


# --- what the record says -----------------------------------------------------------------------------


def test_the_record_says_by_which_proof_a_certificate_came(authority: LocalAuthority, tmp_path: Path) -> None:
    csr = csr_of(tmp_path, "p256", "a.example.net")
    held = authority.issue(csr, "any1", asker=OPERATOR)
    authority.issue(csr, "free1")
    authority.issue(csr, "web1", mac=mac_by_openssl(tmp_path, csr))
    authority.issue(csr, "any1", renewal=renewal_by_openssl(tmp_path, csr, "p256", held, "any1"))
    bodies = authority.bodies("intent")
    serial = serial_of(held)
    assert [(body["proof"], body["grounds"], body["renews"]) for body in bodies] == [
        ("operator", "the operator's word", None),
        ("none", "the frontend's word", None),
        ("mac", "the client's key in its mac_key_file", None),
        ("renewal", f"the client's key of the certificate {serial.hex()}", serial),
    ]
    text = b"signerd mac 2\nweb1\n\n\n%d\n" % NOW + csr
    renewed = b"signerd renew 2\nany1\n%s\n\n\n%d\n" % (serial.hex().encode(), NOW) + csr
    ids = [None, None, hashlib.sha256(text).digest(), hashlib.sha256(renewed).digest()]
    assert [body["proof_id"] for body in bodies] == ids
    assert [row[0] for row in authority.ledger.query("SELECT proof_id FROM certificates ORDER BY seq")] == ids


def test_a_certificate_that_the_frontend_got_by_itself_renews_nothing(tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        csr = csr_of(tmp_path, "p256", "a.example.net")
        held = authority.issue(csr, "ren1")  # at that time any frontend's word was enough
        authority.configure("[client.ren1]\nrenew_with_key = true\n")
        authority.authority.reload(NOW)
        refusal = authority.refusal(csr, "ren1", renewal=renewal_by_openssl(tmp_path, csr, "p256", held))
        assert refusal.code is ErrorCode.NOT_AUTHORIZED
        assert refusal.detail.startswith("proof: the certificate that X-CSR-Renew names came by no proof")


# --- hooks and a proof --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "by_hook", "days"),
    [(30, None, 30), (30, 7, 7), (30, 200, 30), (None, 7, 7), (None, 200, 90), (None, None, 90)],
)
def test_a_hook_shortens_what_a_client_proved_that_it_wants_and_never_lengthens_it(
    tmp_path: Path, own: int | None, by_hook: int | None, days: int
) -> None:
    with local_authority(tmp_path, mac_policy(tmp_path)) as authority:
        csr = csr_of(tmp_path, "p256", "a.example.net")
        lifetime, hooks = (None if one is None else one * DAY for one in (own, by_hook))
        mac = mac_by_openssl(tmp_path, csr, lifetime=str(lifetime or ""))
        got = authority.issue(csr, "web1", mac=mac, lifetime=lifetime, hooks=HookWishes(lifetime=hooks))
        assert certs.lifetime_of(got) == days * DAY


@pytest.mark.parametrize(("own", "by_hook", "days"), [(30, 7, 7), (30, 200, 30), (None, 200, 200), (None, None, 90)])
def test_without_a_proof_a_hook_may_choose_the_lifetime_where_the_client_does_not(
    tmp_path: Path, own: int | None, by_hook: int | None, days: int
) -> None:
    with local_authority(tmp_path) as authority:
        lifetime, hooks = (None if one is None else one * DAY for one in (own, by_hook))
        csr = csr_of(tmp_path, "p256", "a.example.net")
        assert (
            certs.lifetime_of(authority.issue(csr, lifetime=lifetime, hooks=HookWishes(lifetime=hooks))) == days * DAY
        )


def test_a_hook_does_not_exchange_the_profile_that_a_client_proved_that_it_wants(tmp_path: Path) -> None:
    with local_authority(tmp_path, mac_policy(tmp_path)) as authority:
        csr = csr_of(tmp_path, "p256", "a.example.net")
        for own, by_hook, allowed in (
            (None, "strong", False),
            ("server", "strong", False),
            ("strong", None, False),
            (None, "server", True),
            ("server", None, True),
            ("strong", "strong", True),
        ):
            mac = mac_by_openssl(tmp_path, csr, profile=own or "")
            asked: dict[str, Any] = {"mac": mac, "profile": own, "hooks": HookWishes(profile=by_hook)}
            checked = authority.check(csr, "web1", **asked)
            assert checked.allowed is allowed, (own, by_hook)
            if not allowed:
                detail = f"profile: the client's proof is for {own or 'server'!r}, and a hook wishes for another"
                assert authority.refusal(csr, "web1", **asked).detail == detail


def test_without_a_proof_a_hook_chooses_the_profile(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[profile.server]\n[profile.strong]\n") as authority:
        csr = csr_of(tmp_path, "p256", "a.example.net")
        for own, by_hook, profile in (
            (None, "strong", "strong"),
            ("server", "strong", "strong"),
            ("strong", None, "server"),
        ):
            authority.issue(csr, profile=own, hooks=HookWishes(profile=by_hook))
            assert authority.bodies("intent")[-1]["profile"] == profile
