"""From a request to a certificate or to a refusal, in batches, and the dry run beside it."""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.errors import ConfigurationError, ErrorCode, Refused
from protocol.fields import ExtensionWish
from protocol.messages import IssueReply, IssueRequest
from signerd import der
from signerd.csr import Csr, UnprovenCsr, read_csr
from signerd.ledger.certificates import State, find
from tests import certs
from tests.authorities import FRONTEND, OPERATOR, LocalAuthority, local_authority
from tests.csrs import (
    BASIC_CONSTRAINTS,
    CN,
    KEY_USAGE,
    SHA256_WITH_RSA,
    csr_for,
    dns,
    extension,
    extension_request,
    integer,
    make_csr,
    openssl_csr,
    private_key,
    rdn,
    san,
    sequence,
)
from tests.identities import DAY, NOW, ca_certificate

GOOD = csr_for(dns("a.example.net"))
MUST_STAPLE = ExtensionWish("1.3.6.1.5.5.7.1.24", b"\x30\x03\x02\x01\x05")
STRICT = """
[profile.server]
lifetime_max = "100d"
key_types = ["p256", "ed25519"]
extra_extensions = ["1.3.6.1.5.5.7.1.24"]
[profile.server.names]
dns = [".example.net"]
"""


def asking_for(*extensions: bytes) -> bytes:
    """A CSR for one good name and for these extensions."""
    return make_csr(attributes=[extension_request(san(dns("a.example.net")), *extensions)])


# --- a leaf and nothing else ----------------------------------------------------------------------


def test_a_certificate_is_a_leaf_of_this_ca_for_what_was_asked(tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        certificate = authority.issue(
            csr_for(dns("a.example.net"), dns("B.example.net"), subject=[rdn(CN, "c.example.net")])
        )
        certs.assert_is_leaf(certificate)
        certs.assert_verifies_with_openssl(certificate, authority.ca, at=NOW, purpose="sslserver")
    assert certs.names_of(certificate) == ["a.example.net", "b.example.net", "c.example.net"]
    assert certificate.issuer == authority.ca.subject


TRUE = b"\x01\x01\xff"


@pytest.mark.parametrize(
    ("csr", "what"),
    [
        (asking_for(extension(BASIC_CONSTRAINTS, sequence(TRUE))), "CA:TRUE"),
        (asking_for(extension(BASIC_CONSTRAINTS, sequence(TRUE, integer(0)))), "CA:TRUE"),
        (asking_for(extension(KEY_USAGE, b"\x03\x02\x02\x04")), "keyCertSign"),
        (asking_for(extension(KEY_USAGE, b"\x03\x02\x01\x02")), "cRLSign"),
        (
            asking_for(extension("2.5.29.37", sequence(b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x09"))),
            "1.3.6.1.5.5.7.3.9",
        ),
        (asking_for(extension("2.5.29.37", sequence(b"\x06\x04\x55\x1d\x25\x00"))), "2.5.29.37.0"),
        (asking_for(extension("2.5.29.37", sequence(b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x03"))), "codeSigning"),
        (asking_for(extension("1.3.6.1.5.5.7.1.24", b"\x30\x03\x02\x01\x05")), "extension 1.3.6.1.5.5.7.1.24"),
        (asking_for(extension("1.2.3.4", b"\x05\x00")), "extension 1.2.3.4"),
    ],
)
def test_what_a_csr_asks_for_beyond_the_profile_is_refused_and_not_dropped(
    tmp_path: Path, csr: bytes, what: str
) -> None:
    with local_authority(tmp_path) as authority:
        refusal = authority.refusal(csr)
        assert "intent" not in authority.kinds()
    assert refusal.code is ErrorCode.POLICY_DENIED
    assert refusal.detail == f"requested usage: the CSR asks for {what}"


def test_what_a_csr_asks_for_within_the_profile_is_granted(tmp_path: Path) -> None:
    options: tuple[str, ...] = (
        "-addext",
        "basicConstraints=CA:FALSE",
        "-addext",
        "keyUsage=digitalSignature,keyEncipherment",
    )
    options += ("-addext", "extendedKeyUsage=serverAuth", "-addext", "subjectKeyIdentifier=hash")
    with local_authority(tmp_path) as authority:
        certs.assert_is_leaf(authority.issue(openssl_csr(tmp_path, "p256", *options)))


@pytest.mark.parametrize("position", range(4))
def test_one_bad_name_at_any_position_refuses_the_whole_request(tmp_path: Path, position: int) -> None:
    names = [dns(f"{letter}.example.net") for letter in "abcd"]
    names[position] = dns("elsewhere.org")
    with local_authority(tmp_path, STRICT) as authority:
        refusal = authority.refusal(csr_for(*names))
    assert refusal.detail == "names: dns:elsewhere.org is not among the names allowed"


def test_the_hash_of_a_certificates_key_is_on_its_record(tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        certificate = authority.issue(GOOD)
        [intent] = authority.bodies("intent")
        [(indexed,)] = authority.ledger.query("SELECT spki FROM certificates").fetchall()
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert intent["spki"] == indexed == hashlib.sha256(spki).digest()


def test_the_policy_that_a_certificate_was_made_under_is_on_its_record(tmp_path: Path) -> None:
    with local_authority(tmp_path, STRICT) as authority:
        authority.issue(GOOD)
        before = authority.authority.policy.hash
        authority.configure(STRICT.replace("100d", "200d"))
        authority.authority.reload(authority.now)
        authority.issue(GOOD)
        hashes = [body["policy"] for body in authority.bodies("intent")]
        assert hashes == [before, authority.authority.policy.hash]
        assert hashes == [body["hash"] for body in authority.bodies("policy")]
    assert hashes[0] != hashes[1]


def test_the_record_says_who_asked_and_all_that_the_search_needs(tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        csr = csr_for(dns("a.example.net"), subject=[rdn(CN, "a.example.net"), rdn("2.5.4.10", "Example")])
        certificate = authority.issue(csr, idempotency_key="k")
        authority.issue(GOOD, "web2", asker=OPERATOR)
        first, second = authority.bodies("intent")
        record = find(authority.ledger, first["serial"], NOW)
    assert int.from_bytes(first["serial"], "big") == certificate.serial_number
    assert first["to_be_signed"] == certificate.tbs_certificate_bytes
    assert (first["client"], first["profile"], first["subject"]) == ("web1", "server", "CN=a.example.net,O=Example")
    assert (first["names"], first["asker"], second["asker"]) == (["dns:a.example.net"], "sign 4711", "admin 0")
    assert (first["not_before"], first["not_after"]) == (NOW - 60, certs.seconds(certificate.not_valid_after_utc))
    assert record is not None
    assert (record.state, record.subject) == (State.VALID, "CN=a.example.net,O=Example")


# --- serial numbers -------------------------------------------------------------------------------


def test_serial_numbers_are_positive_of_at_most_20_octets_and_never_the_same(tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        replies = [reply for _ in range(20) for reply in authority.answers(*[request() for _ in range(16)])]
        serials = [certs.load(reply.certificate).serial_number for reply in replies if isinstance(reply, IssueReply)]
    assert len(set(serials)) == len(serials) == 320
    assert all(0 < serial < 2**159 for serial in serials)
    assert sum(serial.bit_length() > 150 for serial in serials) > 300


def test_an_operators_generator_that_repeats_itself_refuses_those_requests_and_no_others(tmp_path: Path) -> None:
    numbers = itertools.chain([5, 5, 6], itertools.repeat(6, 8), [7], itertools.repeat(5, 8), [2**159 - 1])
    with local_authority(tmp_path, make_serial=lambda: next(numbers)) as authority:
        answers = authority.answers(*[request() for _ in range(4)])
        assert [codes_of(answer) for answer in answers] == [None, None, ErrorCode.INTERNAL, None]
        assert authority.code(GOOD) is ErrorCode.INTERNAL
        assert authority.issue(GOOD).serial_number == 2**159 - 1


def codes_of(answer: IssueReply | Refused) -> ErrorCode | None:
    return answer.code if isinstance(answer, Refused) else None


def request(csr: bytes = GOOD, client: str = "web1", **wishes: Any) -> IssueRequest:
    return IssueRequest(csr=csr, client=client, **wishes)


# --- batches --------------------------------------------------------------------------------------


def test_a_request_that_is_refused_or_fails_does_not_spoil_the_others_of_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = csr_for(dns("poison.example.net"))

    def read(octets: bytes, **options: Any) -> UnprovenCsr:
        if octets == poison:
            raise RuntimeError("a bug")
        return read_csr(octets, **options)

    monkeypatch.setattr("signerd.batch.read_csr", read)
    requests = [
        request(),
        request(b"\x30\x00"),
        request(poison),
        request(csr_for(dns("elsewhere.org"))),
        request(make_csr(spki=sequence(SHA256_WITH_RSA, b"\x03\x01\0"))),
        request(profile="none"),
        request(GOOD[:-1] + bytes((GOOD[-1] ^ 1,))),
        request(csr_for(dns("b.example.net"))),
    ]
    with local_authority(tmp_path, STRICT) as authority:
        answers = authority.answers(*requests)
        kinds = authority.kinds()
    assert [codes_of(answer) for answer in answers] == [
        None,
        ErrorCode.BAD_CSR,
        ErrorCode.INTERNAL,
        ErrorCode.POLICY_DENIED,
        ErrorCode.WEAK_KEY,
        ErrorCode.UNKNOWN_PROFILE,
        ErrorCode.BAD_CSR,
        None,
    ]
    issued = [certs.load(answer.certificate) for answer in answers if isinstance(answer, IssueReply)]
    assert [certs.names_of(certificate) for certificate in issued] == [["a.example.net"], ["b.example.net"]]
    for certificate in issued:
        certs.assert_verifies_with_openssl(certificate, authority.ca, at=NOW)
    assert kinds[-4:] == ["intent", "intent", "issued", "issued"]


def test_an_internal_error_tells_nothing_of_what_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes, **_options: Any) -> Csr:
        raise RuntimeError("/var/lib/ca and a secret")

    monkeypatch.setattr("signerd.batch.read_csr", fail)
    with local_authority(tmp_path) as authority:
        assert authority.refusal(GOOD).detail == "an internal error; the signer's log says more"


def test_an_empty_batch_has_no_answers_and_leaves_no_entry(tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        before = authority.ledger.head
        assert authority.answers() == []
        assert authority.ledger.head == before


# --- refusals -------------------------------------------------------------------------------------


def test_a_refusal_names_every_rule_that_failed(tmp_path: Path) -> None:
    csr = make_csr(
        key=private_key("p384"),
        attributes=[
            extension_request(
                san(dns("elsewhere.org"), dns("*.example.net")), extension(BASIC_CONSTRAINTS, sequence(TRUE))
            )
        ],
    )
    wishes = (MUST_STAPLE, MUST_STAPLE, ExtensionWish("1.2.3", b"\x05\0"))
    policy = f"{STRICT}\n[client.web2]\n[quota]\nper_client = '0/day'\n"
    with local_authority(tmp_path, policy) as authority:
        authority.authority.freeze("a drill", NOW)
        refusal = authority.refusal(csr, lifetime=101 * DAY, extensions=wishes)
    assert refusal.code is ErrorCode.FROZEN
    for part in (
        "frozen: issuance is frozen until an operator lets it go on",
        "client: web1 is not configured",
        "key type: p384 is none of ed25519, p256",
        "requested usage: the CSR asks for CA:TRUE",
        "names: dns:elsewhere.org is not among the names allowed; dns:*.example.net is a wildcard",
        "lifetime: 101 days is not between 120 s and 100 days",
        "1.3.6.1.5.5.7.1.24 is there twice; 1.2.3 is not among the profile's extra_extensions",
        "quota: client web1 has had 0/day",
    ):
        assert part in refusal.detail


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (0, ErrorCode.POLICY_DENIED),
        (119, ErrorCode.POLICY_DENIED),
        (120, None),
        (100 * DAY, None),
        (100 * DAY + 1, ErrorCode.POLICY_DENIED),
        (2**40, ErrorCode.POLICY_DENIED),
    ],
)
def test_a_lifetime_is_within_its_bounds_to_the_second(tmp_path: Path, seconds: int, code: ErrorCode | None) -> None:
    with local_authority(tmp_path, STRICT) as authority:
        assert authority.code(GOOD, lifetime=seconds) is code


def test_an_extra_extension_stands_in_the_certificate_as_it_was_wished(tmp_path: Path) -> None:
    with local_authority(tmp_path, STRICT) as authority:
        certificate = authority.issue(GOOD, extensions=(MUST_STAPLE,))
    found = certs.extension(certificate, x509.TLSFeature)
    assert (list(found.value), found.critical) == ([x509.TLSFeatureType.status_request], False)


# --- what stops all issuance ----------------------------------------------------------------------


def test_while_frozen_nothing_is_issued_also_after_a_restart_until_it_is_thawed(tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        authority.authority.freeze("the frontend was taken over", NOW)
        authority.restart()
        assert authority.refusal(GOOD, asker=OPERATOR).detail == "frozen: the frontend was taken over"
        assert authority.refusal(GOOD).detail == "frozen: issuance is frozen until an operator lets it go on"
        assert authority.authority.state(authority.now) == "frozen"
        authority.authority.thaw("", NOW)
        assert authority.code(GOOD) is None
        authority.restart()
        assert authority.code(GOOD) is None


def test_the_circuit_breaker_lets_through_what_it_allows_and_freezes_at_one_more(tmp_path: Path) -> None:
    policy = "[quota]\nfreeze_above = '5/hour'\n"
    with local_authority(tmp_path, policy) as authority:
        answers = authority.answers(*[request(client=f"web{n}") for n in range(8)])
        assert [codes_of(answer) for answer in answers] == [None] * 5 + [ErrorCode.FROZEN] * 3
        assert authority.kinds().count("intent") == 5
        authority.restart()
        assert (
            authority.refusal(GOOD, asker=OPERATOR).detail
            == "frozen: the circuit breaker: more than quota.freeze_above"
        )
        authority.now += 2 * 3600  # time alone does not close it
        assert authority.code(GOOD) is ErrorCode.FROZEN


def test_the_circuit_breaker_counts_across_a_restart_and_anew_from_a_thaw_on(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nfreeze_above = '3/hour'\n") as authority:
        authority.issue(GOOD)
        authority.restart()
        codes = [authority.code(GOOD) for _ in range(3)]
        assert codes == [None, None, ErrorCode.FROZEN]
        authority.authority.thaw("it was a big roll-out", NOW)
        assert [authority.code(GOOD) for _ in range(2)] == [None, None]
        authority.restart()
        assert [authority.code(GOOD) for _ in range(2)] == [None, ErrorCode.FROZEN]


def test_a_clock_that_was_set_back_stops_issuance_says_so_and_costs_no_quota(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '3/hour'\n") as authority:
        authority.issue(GOOD)
        authority.set_clock(-900)
        for _ in range(5):
            refusal = authority.refusal(GOOD)
            assert refusal.code is ErrorCode.UNAVAILABLE
            assert refusal.detail.startswith(
                "clock: the clock says 2026-01-02T02:49:05Z, 900 s less than the time since"
            )
        assert not authority.check(GOOD).allowed
        authority.set_clock(900)
        assert [authority.code(GOOD) for _ in range(3)] == [None, None, ErrorCode.QUOTA_EXCEEDED]


def test_a_ca_whose_own_certificate_is_about_to_end_issues_nothing(tmp_path: Path) -> None:
    end = NOW + 1000
    certificate = ca_certificate(private_key("p256"), not_after=end)
    with local_authority(tmp_path, certificate=certificate) as authority:
        authority.now = end - 59  # two minutes from a minute back: the shortest that there is
        last = authority.issue(GOOD)
        assert certs.lifetime_of(last) == 120
        certs.assert_verifies_with_openssl(last, certificate, at=end - 1)  # openssl counts the last second out
        for authority.now in (end - 58, end, end + 1, end + DAY):
            refusal = authority.refusal(GOOD)
            assert refusal.code is ErrorCode.UNAVAILABLE
            assert refusal.detail == "issuer: the CA's own certificate has ended, or is about to"
            assert not authority.check(GOOD).allowed


# --- idempotency ----------------------------------------------------------------------------------


def test_the_same_idempotency_key_and_csr_give_the_same_certificate_also_after_a_restart(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '2/day'\n") as authority:
        first = authority.ask(GOOD, idempotency_key="k")
        assert isinstance(first, IssueReply)
        authority.now += 100
        assert authority.ask(GOOD, idempotency_key="k") == first
        authority.restart()
        assert authority.ask(GOOD, idempotency_key="k") == first
        assert authority.kinds().count("intent") == 1
        assert authority.issue(GOOD, idempotency_key="another").serial_number != int.from_bytes(first.serial, "big")
        # Over its quota the client still gets what it had.
        assert authority.code(GOOD) is ErrorCode.QUOTA_EXCEEDED
        assert authority.ask(GOOD, idempotency_key="k") == first


def test_a_certificate_that_is_no_longer_valid_is_not_handed_out_again(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[profile.server]\nlifetime = '1d'\n") as authority:
        authority.issue(GOOD, idempotency_key="k")
        authority.now += DAY + 1
        assert authority.refusal(GOOD, idempotency_key="k").detail.endswith("is expired")


def test_an_idempotency_key_belongs_to_a_profile(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[profile.server]\n[profile.other]\n") as authority:
        first = authority.ask(GOOD, idempotency_key="k")
        assert authority.ask(GOOD, idempotency_key="k", profile="server") == first
        assert authority.code(GOOD, idempotency_key="k", profile="other") is ErrorCode.CONFLICT


def test_the_same_idempotency_key_with_another_csr_is_a_conflict_also_after_a_restart(tmp_path: Path) -> None:
    other = csr_for(dns("b.example.net"))
    with local_authority(tmp_path) as authority:
        authority.issue(GOOD, idempotency_key="k")
        assert authority.code(other, idempotency_key="k") is ErrorCode.CONFLICT
        authority.restart()
        assert authority.code(other, idempotency_key="k") is ErrorCode.CONFLICT
        # Keys belong to clients.
        assert authority.code(other, "web2", idempotency_key="k") is None


def test_an_idempotency_key_is_used_once_in_a_batch_and_not_burnt_by_a_refusal(tmp_path: Path) -> None:
    with local_authority(tmp_path, STRICT) as authority:
        assert authority.code(csr_for(dns("elsewhere.org")), idempotency_key="k") is ErrorCode.POLICY_DENIED
        answers = authority.answers(
            request(idempotency_key="k"), request(idempotency_key="k"), request(client="web2", idempotency_key="k")
        )
        assert [codes_of(answer) for answer in answers] == [None, ErrorCode.BUSY, None]
        assert authority.ask(GOOD, idempotency_key="k") == answers[0]


def test_an_idempotency_key_is_any_text(tmp_path: Path) -> None:
    with local_authority(tmp_path) as authority:
        for key in ("'; DROP TABLE entries; --", "ключ\x00\n", "x" * 128):
            first = authority.ask(GOOD, idempotency_key=key)
            assert isinstance(first, IssueReply)
            assert authority.ask(GOOD, idempotency_key=key) == first


# --- the dry run ----------------------------------------------------------------------------------

WISHES: list[tuple[bytes, dict[str, Any]]] = [
    (GOOD, {}),
    (GOOD, {"lifetime": 3 * DAY, "extensions": (MUST_STAPLE,)}),
    (csr_for(dns("a.example.net"), subject=[rdn("2.5.4.10", "Example")]), {"profile": "server"}),
    (csr_for(dns("elsewhere.org")), {}),
    (GOOD, {"lifetime": 1}),
    (GOOD, {"profile": "none"}),
    (GOOD, {"extensions": (ExtensionWish("1.2.3", b"\x05\0"),)}),
    (make_csr(key=private_key("p384"), attributes=[extension_request(san(dns("elsewhere.org")))]), {"lifetime": 1}),
    (b"\x30\x00", {}),
]


@pytest.mark.parametrize(("csr", "wishes"), WISHES)
def test_the_dry_run_says_what_issuing_does(tmp_path: Path, csr: bytes, wishes: dict[str, Any]) -> None:
    with local_authority(tmp_path, STRICT, signer="base_url = 'http://ca.example.net'") as authority:
        preview = authority.check(csr, **wishes)
        answer = authority.ask(csr, **wishes)
    if isinstance(answer, Refused):
        assert (preview.allowed, preview.to_be_signed) == (False, None)
        failed = [rule for rule in preview.rules if not rule.ok]
        assert failed
        assert all(rule.detail in answer.detail for rule in failed)
    else:
        assert preview.allowed
        assert all(rule.ok for rule in preview.rules)
        assert preview.to_be_signed is not None
        made = certs.load(answer.certificate)
        previewed = certs.load(der.signed(preview.to_be_signed, bytes(64)))
        assert previewed.serial_number == 1
        own = der.tlv(der.SEQUENCE, b"\xa0\x03\x02\x01\x02", der.integer(made.serial_number))
        assert without_serial(previewed) == without_serial(made)
        assert own[2:] in made.tbs_certificate_bytes


def without_serial(certificate: x509.Certificate) -> list[bytes]:
    [outer] = der.parts(certificate.tbs_certificate_bytes)
    return [part.whole for part in der.parts(outer.value) if part.tag != der.INTEGER]


def test_the_dry_run_leaves_no_entry_and_costs_no_quota(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '1/day'\n") as authority:
        before = authority.ledger.head
        for _ in range(5):
            assert authority.check(GOOD).allowed
        assert authority.ledger.head == before
        authority.issue(GOOD)
        denied = authority.check(GOOD)
    assert [rule.detail for rule in denied.rules if not rule.ok] == ["client web1 has had 1/day"]


def test_the_dry_run_shows_every_rule_in_order(tmp_path: Path) -> None:
    with local_authority(tmp_path, STRICT) as authority:
        rules = authority.check(GOOD).rules
    assert [rule.rule for rule in rules] == [
        *("ledger", "clock", "disk", "issuer", "frozen", "proof", "client", "profile", "key type", "requested usage"),
        *("names", "size", "lifetime", "extensions", "quota"),
    ]


# --- operators ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("csr", "wishes", "code"),
    [
        (GOOD, {}, None),
        (csr_for(dns("elsewhere.org")), {}, ErrorCode.POLICY_DENIED),
        (make_csr(key=private_key("p384")), {}, ErrorCode.POLICY_DENIED),
        (GOOD, {"lifetime": 101 * DAY}, ErrorCode.POLICY_DENIED),
        (GOOD, {"profile": "none"}, ErrorCode.UNKNOWN_PROFILE),
        (asking_for(extension(BASIC_CONSTRAINTS, sequence(TRUE))), {}, ErrorCode.POLICY_DENIED),
    ],
)
def test_an_operator_vouches_for_the_client_and_is_bound_by_all_other_rules(
    tmp_path: Path, csr: bytes, wishes: dict[str, Any], code: ErrorCode | None
) -> None:
    policy = f"{STRICT}\n[client.web2]\nrenew_with_key = true\n"
    with local_authority(tmp_path, policy) as authority:
        for client in ("operator", "web2"):  # itself; one that has to prove itself
            assert authority.code(csr, client, asker=OPERATOR, **wishes) is code
            assert authority.code(csr, client, asker=FRONTEND, **wishes) is ErrorCode.NOT_AUTHORIZED


def test_a_client_id_that_an_operator_made_up_is_refused_like_anybody_s(tmp_path: Path) -> None:
    with local_authority(tmp_path, f"{STRICT}\n[client.web2]\n") as authority:
        refusal = authority.refusal(GOOD, "web1", asker=OPERATOR)
        assert (refusal.code, refusal.detail) == (ErrorCode.NOT_AUTHORIZED, "client: web1 is not configured")
    (without := tmp_path / "without").mkdir()
    with local_authority(without, STRICT) as authority:
        assert authority.code(GOOD, "web1", asker=OPERATOR) is None


def test_what_an_operator_issues_counts_into_the_clients_quota(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '2/day'\n") as authority:
        authority.issue(GOOD, asker=OPERATOR)
        authority.issue(GOOD, asker=FRONTEND)
        assert authority.code(GOOD, asker=OPERATOR) is ErrorCode.QUOTA_EXCEEDED


# --- reload ---------------------------------------------------------------------------------------


def reload(authority: LocalAuthority, policy: str) -> None:
    authority.configure(policy)
    authority.authority.reload(authority.now)


def test_a_reload_takes_effect_whole_or_not_at_all(tmp_path: Path) -> None:
    with local_authority(tmp_path, STRICT) as authority:
        entries = authority.ledger.head.seq
        with pytest.raises(ConfigurationError, match=r"profile\.server\.lifetime"):
            reload(authority, STRICT.replace("[profile.server]", "[profile.server]\nlifetime = '0d'\nquota = '0/day'"))
        assert authority.ledger.head.seq == entries
        assert authority.code(GOOD) is None
        reload(authority, STRICT.replace("[profile.server]", "[profile.server]\nquota = '0/day'"))
        assert authority.code(GOOD) is ErrorCode.QUOTA_EXCEEDED


@pytest.mark.parametrize("key", ["identity", "sign_socket", "admin_socket", "admin_group", "sign_users", "ledger"])
def test_a_setting_that_a_reload_can_not_change_refuses_the_whole_reload(tmp_path: Path, key: str) -> None:
    with local_authority(tmp_path) as authority:
        value = "['0', '1']" if key == "sign_users" else "'/elsewhere'"
        text = authority.config.read_text().replace("[signer]\n", f"[signer]\n{key} = {value}\n", 1)
        if key == "ledger":
            text = text.replace(f"ledger = '{authority.ledger_path}'\n", "")
        authority.config.write_text(text + "[quota]\ntotal = '0/day'\n")
        with pytest.raises(ConfigurationError, match=rf"signer\.{key} can't change without a restart"):
            authority.authority.reload(NOW)
        assert authority.code(GOOD) is None
