"""No record, no signature: in which order the recorded key works, and what a kill at each point leaves behind."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from protocol.errors import ConfigurationError, ErrorCode, Refused
from signerd.key import CaPrivateKey, Intent, RecordedKey
from signerd.ledger import Kind, Ledger
from tests import certs
from tests.authorities import CA_KEY_TYPES, LEDGER_KEY, local_authority
from tests.csrs import csr_for, dns, openssl_key, private_key
from tests.identities import NOW, ca_certificate, p256

ROOT = Path(__file__).parents[2]
TO_BE_SIGNED = [b"\x30\x03one", b"\x30\x03two", b"\x30\x05three"]
INTENTS = [Intent(data, "crl", {}) for data in TO_BE_SIGNED]  # a kind that asks for no more facts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@contextlib.contextmanager
def ledger_at(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path, LEDGER_KEY)
    try:
        yield ledger
    finally:
        ledger.close()


# --- order ----------------------------------------------------------------------------------------


def no_problem(_seq: int, _body: Mapping[str, Any]) -> None:
    """What is signed again here is no certificate, and fits whatever it is."""


class WatchedLedger(Ledger):
    """A real ledger that notes what is asked of it, and may fail at a commit."""

    def __init__(self, path: Path, events: list[str]) -> None:
        super().__init__(path, LEDGER_KEY)
        self.events = events
        self.fails = False

    def append(self, now: int, kind: Kind, body: dict[str, Any]) -> int:
        self.events.append(f"append {kind}")
        return super().append(now, kind, body)

    def commit(self, *, then: Callable[[], None] | None = None) -> None:
        if self.fails:
            raise Refused(ErrorCode.UNAVAILABLE, "the disk is gone")
        super().commit(then=then)
        self.events.append("commit")


def watched_key(events: list[str]) -> ed25519.Ed25519PrivateKey:
    """A real key that notes when it signs."""
    key = ed25519.Ed25519PrivateKey.generate()

    def sign(_: object, data: bytes) -> bytes:
        events.append("sign")
        return key.sign(data)

    def passing_on(name: str) -> Any:
        return lambda _, *arguments: getattr(key, name)(*arguments)

    methods = {name: passing_on(name) for name in ed25519.Ed25519PrivateKey.__abstractmethods__}
    watched = type("WatchedKey", (ed25519.Ed25519PrivateKey,), {**methods, "sign": sign})()
    assert isinstance(watched, ed25519.Ed25519PrivateKey)
    return watched


def test_nothing_is_signed_before_the_commit_of_all_that_is_to_be_signed_has_returned(path: Path) -> None:
    events: list[str] = []
    with contextlib.closing(WatchedLedger(path, events)) as ledger:
        RecordedKey(watched_key(events), ledger).sign(INTENTS, NOW)
    assert events == [
        *["append intent"] * 3,
        "commit",
        *["sign"] * 3,
        *["append issued"] * 3,
        "commit",  # of close()
    ]


def test_nothing_is_signed_when_the_commit_fails(path: Path) -> None:
    events: list[str] = []
    with contextlib.closing(WatchedLedger(path, events)) as ledger:
        key = RecordedKey(watched_key(events), ledger)
        ledger.fails = True
        with pytest.raises(Refused, match="the disk is gone"):
            key.sign(INTENTS, NOW)
    assert events == ["append intent"] * 3


# --- signatures -----------------------------------------------------------------------------------


def verify(key: CaPrivateKey, signature: bytes, data: bytes) -> None:
    """Raises InvalidSignature."""
    match key.public_key():
        case rsa.RSAPublicKey() as public:
            public.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePublicKey() as public:
            algorithm = hashes.SHA384() if public.curve.name == "secp384r1" else hashes.SHA256()
            public.verify(signature, data, ec.ECDSA(algorithm))
        case public:
            public.verify(signature, data)


@pytest.mark.parametrize("key_type", CA_KEY_TYPES)
def test_signing_the_same_intent_twice_gives_the_same_bytes(key_type: str, tmp_path: Path) -> None:
    key = private_key(key_type)
    signatures = []
    for name in ("one.db", "two.db"):
        with ledger_at(tmp_path / name) as ledger:
            signatures.append(RecordedKey(key, ledger).sign(INTENTS, NOW))
    assert signatures[0] == signatures[1]
    assert len(set(signatures[0])) == len(INTENTS)
    for signature, data in zip(signatures[0], TO_BE_SIGNED, strict=True):
        verify(key, signature, data)


def test_each_signature_is_recorded_with_the_intent_that_it_belongs_to(path: Path) -> None:
    with ledger_at(path) as ledger:
        signatures = RecordedKey(private_key("p256"), ledger).sign(INTENTS, NOW)
        assert ledger.pending_intents() == []
        assert [ledger.body(seq)["to_be_signed"] for seq in (1, 2, 3)] == TO_BE_SIGNED
        assert [ledger.body(seq) for seq in (4, 5, 6)] == [
            {"intent": number, "signature": signature} for number, signature in enumerate(signatures, 1)
        ]


# --- a kill at each point -------------------------------------------------------------------------

KILLED_AT = """
import os, signal, sys
from pathlib import Path
from signerd import key as module
from signerd.key import Intent, RecordedKey
from signerd.ledger import Ledger
from tests.authorities import LEDGER_KEY
from cryptography.hazmat.primitives.serialization import load_pem_private_key

path, pem, point, nth = sys.argv[1:]
key = load_pem_private_key(Path(pem).read_bytes(), None)
left = int(nth)

def reached(name):
    global left
    if name == point:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

class Doomed(Ledger):
    def append(self, now, kind, body, **options):
        reached(f"before append {kind}")
        seq = super().append(now, kind, body, **options)
        reached(f"after append {kind}")
        return seq
    def commit(self, **options):
        reached("before commit")
        super().commit(**options)
        reached("after commit")

real = module._signing_function
def doomed_function(key):
    sign = real(key)
    def doomed(data):
        signature = sign(data)
        reached("after sign")
        return signature
    return doomed
module._signing_function = doomed_function

ledger = Doomed(Path(path), LEDGER_KEY)
for batch in (b"one", b"two"):
    intents = [Intent(b"0\\x04" + batch + bytes([48 + n]), "ledger_key", {"key": bytes(32)}) for n in range(3)]
    RecordedKey(key, ledger).sign(intents, 1767323045)
ledger.close()
raise SystemExit("the point was never reached")
"""


@pytest.mark.parametrize(
    ("point", "nth", "durable"),
    [
        ("before append intent", 2, 0),
        ("after append intent", 3, 0),
        ("before commit", 1, 0),
        ("after commit", 1, 3),  # the intents of the first batch, none of its signatures
        ("after sign", 1, 3),
        ("before append issued", 2, 3),
        ("after append issued", 3, 3),
        ("after append intent", 4, 3),  # the signatures of the first batch wait for the second one's commit
        ("before commit", 2, 3),
        ("after commit", 2, 9),
        ("after sign", 5, 9),
        ("after append issued", 6, 9),
        ("after commit", 3, 12),
    ],
)
@pytest.mark.parametrize("key_type", ["p256", "rsa2048"])
def test_after_a_kill_at_any_point_each_durable_intent_gets_the_signature_that_it_would_have_had(
    tmp_path: Path, key_type: str, point: str, nth: int, durable: int
) -> None:
    pem, path = tmp_path / "key.pem", tmp_path / "ledger.db"
    pem.write_bytes(openssl_key(key_type))
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT, path, pem, point, str(nth)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    with ledger_at(path) as ledger, ledger_at(tmp_path / "other.db") as other:
        assert ledger.head.seq == durable
        key = RecordedKey(private_key(key_type), ledger)
        pending = ledger.pending_intents()
        assert key.recover(NOW, no_problem) == len(pending)
        assert ledger.pending_intents() == []
        assert key.recover(NOW, no_problem) == 0
        kinds = dict(ledger.query("SELECT seq, kind FROM entries").fetchall())
        intents = {seq: ledger.body(seq)["to_be_signed"] for seq, kind in kinds.items() if kind == "intent"}
        signed = [ledger.body(seq) for seq, kind in kinds.items() if kind == "issued"]
        assert sorted(body["intent"] for body in signed) == sorted(intents)
        assert len(intents) == {0: 0, 3: 3, 9: 6, 12: 6}[durable]
        would_have_been = RecordedKey(private_key(key_type), other)
        for body in signed:
            data = intents[body["intent"]]
            assert would_have_been.sign([Intent(data, "crl", {})], NOW) == [body["signature"]]


# --- recovery of certificates ---------------------------------------------------------------------


class LostSignatures(Exception):
    """Stands for a crash between the commit and the answers."""


def test_recovery_completes_the_very_certificate_that_would_have_been_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> bytes:
        raise LostSignatures

    with local_authority(tmp_path, ca="rsa2048") as authority:
        with monkeypatch.context() as patched:
            patched.setattr(RecordedKey, "_complete", crash)
            with pytest.raises(LostSignatures):
                authority.issue(csr_for(dns("a.example.net")))
        assert authority.ledger.query("SELECT count(*) FROM certificates WHERE issued IS NULL").fetchone() == (1,)
        authority.restart()
        assert authority.ledger.pending_intents() == []
        [intent], [issued] = authority.bodies("intent"), authority.bodies("issued")
    key = private_key("rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    assert issued["signature"] == key.sign(intent["to_be_signed"], padding.PKCS1v15(), hashes.SHA256())


def test_pending_intents_of_another_ca_key_are_not_signed_by_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their to-be-signed bytes name the other issuer: what came of it would be no certificate of anyone."""

    def crash(*_: object) -> bytes:
        raise LostSignatures

    with local_authority(tmp_path, ca="p256") as authority:
        with monkeypatch.context() as patched:
            patched.setattr(RecordedKey, "_complete", crash)
            with pytest.raises(LostSignatures):
                authority.issue(csr_for(dns("a.example.net")))
        authority.close()
        with pytest.raises(ConfigurationError, match="certificates that another key of the CA is to sign"):
            local_authority(tmp_path, ca="p384").__enter__()
        # With the first key again they are completed, and then the other one may take over.
        authority.open()
        assert len(authority.bodies("issued")) == 1
        authority.close()
        with local_authority(tmp_path, ca="p384") as other:
            certs.assert_verifies_with_openssl(other.issue(csr_for(dns("a.example.net"))), other.ca, at=NOW)
        authority.open()


def test_a_renewed_certificate_of_the_same_key_takes_over_pending_intents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_authority(tmp_path) as authority:
        with monkeypatch.context() as patched:
            patched.setattr(RecordedKey, "_complete", lambda *_: b"")
            authority.ask(csr_for(dns("a.example.net")))
        authority.ca = with_another_identifier(ca_certificate(private_key("p256"), name="Renamed CA"))
        authority.restart()
        assert authority.ledger.pending_intents() == []


def with_another_identifier(certificate: x509.Certificate) -> x509.Certificate:
    """The same with another subject key identifier, by which new certificates name the key from then on."""
    key = private_key("p256")
    builder = x509.CertificateBuilder().subject_name(certificate.subject).issuer_name(certificate.issuer)
    builder = builder.public_key(key.public_key()).serial_number(2)
    builder = builder.not_valid_before(certificate.not_valid_before_utc)
    builder = builder.not_valid_after(certificate.not_valid_after_utc)
    return builder.add_extension(x509.SubjectKeyIdentifier(b"another"), critical=False).sign(key, hashes.SHA256())


# --- the key is nobody else's ---------------------------------------------------------------------


def reachable(root: object) -> Iterator[object]:
    """Everything that attributes and items lead to from ``root``, but for name-mangled ones and closures."""
    seen: set[int] = set()
    waiting: list[object] = [root]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(
            found, type | ModuleType | FunctionType | MethodType | BuiltinFunctionType | str | bytes | int
        ):
            continue
        seen.add(id(found))
        yield found
        slots = [slot for kind in type(found).__mro__ for slot in getattr(kind, "__slots__", ())]
        names = [name for name in (*getattr(found, "__dict__", ()), *slots) if not re.match(r"_\w+?__\w", name)]
        waiting += [getattr(found, name, None) for name in names]
        if isinstance(found, dict):
            waiting += [*found.keys(), *found.values()]
        elif isinstance(found, list | tuple | set | frozenset):
            waiting += found


@pytest.mark.parametrize("key_type", CA_KEY_TYPES)
def test_the_private_key_is_reachable_from_the_authority_by_no_attribute(tmp_path: Path, key_type: str) -> None:
    with local_authority(tmp_path, ca=key_type) as authority:
        authority.issue(csr_for(dns("a.example.net")))
        found = list(reachable(authority.authority))
    assert any(isinstance(thing, RecordedKey) for thing in found)
    assert any(isinstance(thing, Ledger) for thing in found)
    assert not any(isinstance(thing, CaPrivateKey) for thing in found)


def test_that_search_would_find_a_key() -> None:
    class Holder:
        def __init__(self) -> None:
            self.things = {"a": [(p256(),)]}

    assert any(isinstance(thing, CaPrivateKey) for thing in reachable(Holder()))


def test_the_recorded_key_offers_nothing_but_to_record_and_sign(path: Path) -> None:
    with ledger_at(path) as ledger:
        key = RecordedKey(private_key("p256"), ledger)
        assert {name for name in dir(key) if not name.startswith("_")} == {"sign", "record", "sign_recorded", "recover"}


def test_what_was_recorded_is_signed_once_and_nothing_else_is(path: Path) -> None:
    with ledger_at(path) as ledger:
        key = RecordedKey(private_key("p256"), ledger)
        ticket = key.record(INTENTS, NOW)
        assert len(key.sign_recorded(ticket, NOW)) == len(INTENTS)
        for other in ticket, ticket + 1, 0:
            with pytest.raises(KeyError):
                key.sign_recorded(other, NOW)
