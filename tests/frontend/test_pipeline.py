"""authorize → presign → issue → postsign, in a real frontend whose hooks do what the client's name says."""

import hashlib
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from protocol import pem
from protocol.fields import ExtensionWish, HookWishes
from protocol.messages import CheckRequest, IssueRequest
from tests import csrs
from tests.frontend.conftest import StartFrontend
from tests.frontend.running import Frontend, assert_problem
from tests.frontend.signer_stub import SignerStub, make_csr, spki

_, CSR = make_csr("a.example.net")
PEM = CSR.public_bytes(Encoding.PEM)
DER = CSR.public_bytes(Encoding.DER)

HOOKS = """
import sys

days = datetime.timedelta

AUTHORIZE = {
    "week": lambda hooks, names: days(7),
    "half": lambda hooks, names: datetime.timedelta(seconds=90.5),
    "none": lambda hooks, names: None,
    "number": lambda hooks, names: 7,
    "true": lambda hooks, names: True,
    "zero": lambda hooks, names: days(0),
    "negative": lambda hooks, names: days(-1),
    "forever": lambda hooks, names: datetime.timedelta.max,
    "raises": lambda hooks, names: {}["secret-of-the-hook"],
    "exits": lambda hooks, names: sys.exit(0),
    "recurses": lambda hooks, names: hooks.authorize(names),
    "members": lambda hooks, names: members(names),
    "parses": lambda hooks, names: print(hooks.csr_tuple.csr.subject, hooks.public_key_hash, names),
}

def members(names):
    raise CsrNotAuthedError("not\\x1b[2J on\\nthe list: " + repr(names))

def presign_all(hooks, draft):
    assert (draft.lifetime, draft.profile, draft.extensions) == (None, "asked", ())
    draft.lifetime = days(3)
    draft.profile = "server"
    draft.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]))
    draft.add_extension(("1.2.3.4", b"\\x05\\x00"), critical=True)

PRESIGN = {
    "halves": lambda hooks, draft: setattr(draft, "lifetime", draft.lifetime / 2),
    "adjusts": presign_all,
    "presignraises": lambda hooks, draft: 1 / 0,
    "presignrefuses": lambda hooks, draft: members([]),
    "badlifetime": lambda hooks, draft: setattr(draft, "lifetime", 7),
    "badprofile": lambda hooks, draft: setattr(draft, "profile", "a\\n"),
    "oddprofile": lambda hooks, draft: setattr(draft, "profile", 7),
    "badextension": lambda hooks, draft: draft.add_extension(("2.25.305821105408246119474742976030998643995", b"")),
}

POSTSIGN = {
    "postraises": lambda hooks, certificate: 1 / 0,
    "postexits": lambda hooks, certificate: sys.exit(1),
    "sees": lambda hooks, certificate: print("SEEN", certificate.serial_number, hooks.public_key_hash),
}

class Hooks(SigningHooksBase):
    def authorize(self, names):
        return AUTHORIZE.get(self.client_hash, lambda hooks, names: None)(self, names)
    def presign(self, certificate):
        PRESIGN.get(self.client_hash, lambda hooks, draft: None)(self, certificate)
    def postsign(self, certificate):
        POSTSIGN.get(self.client_hash, lambda hooks, certificate: None)(self, certificate)

def API_CSR_HOOKS_FACTORY(client_hash, public_key_hash, csr_tuple):
    if client_hash == "factoryraises":
        raise RuntimeError("no hooks today")
    if client_hash == "oddfactory":
        return object()
    return Hooks(client_hash, public_key_hash, csr_tuple)
"""


@pytest.fixture(scope="module")
def _hooked(_stub: SignerStub) -> Iterator[Frontend]:
    with Frontend(_stub.path, hooks=HOOKS, threads=4, environ={"PYTHONUNBUFFERED": "1"}) as frontend:
        yield frontend


@pytest.fixture
def hooked(_hooked: Frontend, signer: SignerStub) -> Iterator[Frontend]:
    """A frontend with these hooks. Whatever a test did to it, the next requests are unharmed, in each thread."""
    yield _hooked
    signer.reset()
    for _ in range(8):
        assert _hooked.put_csr(PEM).status == 200


def only_request(signer: SignerStub) -> IssueRequest:
    [request] = signer.issue_requests()
    return request


# --- authorize ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("client", "seconds"), [("week", 604_800), ("half", 90), ("none", None), ("other", None)])
def test_the_lifetime_that_authorize_returns_is_wished_for(
    hooked: Frontend, signer: SignerStub, client: str, seconds: int | None
) -> None:
    assert hooked.put_csr(PEM, client).status == 200
    hooks = None if seconds is None else HookWishes(lifetime=seconds)
    assert only_request(signer) == IssueRequest(csr=DER, client=client, hooks=hooks)


def test_what_the_client_asks_for_and_what_its_hooks_come_to_are_told_apart(
    hooked: Frontend, signer: SignerStub
) -> None:
    assert hooked.put_csr(PEM, "week", "?lifetime=30d&profile=asked").status == 200
    assert only_request(signer) == IssueRequest(
        csr=DER,
        client="week",
        profile="asked",
        lifetime=30 * 86_400,
        hooks=HookWishes(profile="asked", lifetime=7 * 86_400),
    )


def test_presign_sees_the_lifetime_that_the_client_asks_for(hooked: Frontend, signer: SignerStub) -> None:
    assert hooked.put_csr(PEM, "halves", "?lifetime=30d").status == 200
    assert only_request(signer).hooks == HookWishes(lifetime=15 * 86_400)


def test_a_refusal_by_authorize_is_a_403_whose_reason_is_in_the_log_alone(hooked: Frontend, signer: SignerStub) -> None:
    response = hooked.put_csr(PEM, "members")
    assert_problem(response, 403, "not_authorized")
    assert b"list" not in response.body
    hooked.wait_for_log(
        r"authorize refused client members: not\\x1b\[2J on\\x0athe list: \[\[\['DNS', 'a.example.net'\]\]\]"
    )
    assert not signer.issue_requests()


FAILING = ["number", "true", "zero", "negative", "forever", "raises", "exits", "recurses"]
FAILING_LATER = ["presignraises", "badlifetime", "badprofile", "oddprofile", "badextension"]


@pytest.mark.parametrize("client", [*FAILING, *FAILING_LATER, "factoryraises", "oddfactory"])
def test_a_hook_that_fails_or_returns_nonsense_fails_closed(hooked: Frontend, signer: SignerStub, client: str) -> None:
    for query in ("", "?dry_run=1"):
        response = hooked.put_csr(PEM, client, query)
        assert_problem(response, 500, "internal", "nothing was issued")
        assert b"secret-of-the-hook" not in response.body
    assert not signer.issue_requests()
    hooked.wait_for_log(f"failed for client {client}: nothing is issued", times=2)
    assert "Traceback" in hooked.log


def test_a_csr_that_a_hook_cannot_read_is_the_clients_fault(hooked: Frontend, signer: SignerStub) -> None:
    name = csrs.san(csrs.dns("a.example.net"))
    twice = csrs.make_csr(attributes=[csrs.extension_request(name, name)])
    for der in (b"garbage", twice):
        response = hooked.put_csr(pem.encode(der, "CERTIFICATE REQUEST").encode(), "parses")
        assert_problem(response, 400, "bad_csr", "can't be parsed")
    assert not signer.issue_requests()


# --- presign ------------------------------------------------------------------------------------


def test_what_presign_adjusts_becomes_wishes_of_the_request(hooked: Frontend, signer: SignerStub) -> None:
    assert hooked.put_csr(PEM, "adjusts", "?profile=asked").status == 200
    assert only_request(signer) == IssueRequest(
        csr=DER,
        client="adjusts",
        profile="asked",
        hooks=HookWishes(profile="server", lifetime=3 * 86_400),
        extensions=(
            ExtensionWish(oid="1.3.6.1.5.5.7.1.24", value=b"\x30\x03\x02\x01\x05"),
            ExtensionWish(oid="1.2.3.4", value=b"\x05\x00", critical=True),
        ),
    )


def test_presign_may_refuse_too(hooked: Frontend, signer: SignerStub) -> None:
    assert_problem(hooked.put_csr(PEM, "presignrefuses"), 403, "not_authorized")
    assert not signer.issue_requests()


def test_a_dry_run_goes_through_the_hooks_but_for_postsign(hooked: Frontend, signer: SignerStub) -> None:
    assert hooked.put_csr(PEM, "postraises", "?dry_run=1").status == 200
    assert hooked.put_csr(PEM, "adjusts", "?profile=asked&dry_run=1").status == 200
    first, second = signer.issue_requests()
    assert isinstance(first, CheckRequest)
    assert isinstance(second, CheckRequest)
    assert second.hooks == HookWishes(profile="server", lifetime=3 * 86_400)
    assert_problem(hooked.put_csr(PEM, "members", "?dry_run=1"), 403, "not_authorized")
    assert "postsign failed for the certificate" not in hooked.log


# --- postsign -----------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["postraises", "postexits"])
def test_a_failed_postsign_never_hides_the_certificate_and_is_logged_with_its_serial_number(
    hooked: Frontend, client: str
) -> None:
    _, csr = make_csr(f"{client}.example.net")
    response = hooked.put_csr(csr.public_bytes(Encoding.PEM), client)
    assert response.status == 200
    serial = response.json()["serial"]
    hooked.wait_for_log(f"postsign failed for the certificate with the serial number {serial}")


def test_postsign_sees_the_certificate_and_the_hash_of_the_key(hooked: Frontend) -> None:
    response = hooked.put_csr(PEM, "sees")
    certificate = x509.load_pem_x509_certificate(response.json()["signed_x509_pem"].encode())
    key_hash = hashlib.sha1(spki(CSR), usedforsecurity=False).hexdigest()
    hooked.wait_for_log(f"SEEN {certificate.serial_number} {key_hash}")


# --- none, or not usable ------------------------------------------------------------------------


def test_hooks_of_the_base_class_alone_change_nothing(start_frontend: StartFrontend, signer: SignerStub) -> None:
    frontend = start_frontend(hooks="API_CSR_HOOKS_FACTORY = SigningHooksBase\n")
    garbage = pem.encode(b"not parsed here", "CERTIFICATE REQUEST").encode()
    frontend.put_csr(garbage)
    assert only_request(signer) == IssueRequest(csr=b"not parsed here", client="web1")
    assert frontend.put_csr(PEM).status == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_hooks_that_fail_to_import_keep_the_frontend_from_starting(signer: SignerStub, workers: int) -> None:
    frontend = Frontend(signer.path, hooks="import no_such_library\n", workers=workers)
    try:
        frontend.start(wait=False)
        assert frontend.wait() == 78
        path = frontend.modules / "sapi_custom_ca/api.py"
        assert f"no_such_library' ({path}, line 4)" in frontend.log
        assert "Traceback" not in frontend.log
    finally:
        frontend.close()


def test_the_settings_may_name_another_module(signer: SignerStub) -> None:
    frontend = Frontend(signer.path, hooks="raise RuntimeError('the default one is not read')\n")
    frontend.settings["hooks"] = "own.ca"
    frontend.write_module(
        "own.ca",
        "from frontend.hooks import *\n"
        "class API_CSR_HOOKS_FACTORY(SigningHooksBase):\n"
        "    def authorize(self, names): raise CsrNotAuthedError('by own.ca')\n",
    )
    with frontend:
        assert_problem(frontend.put_csr(PEM), 403, "not_authorized")
        frontend.wait_for_log("by own.ca")
