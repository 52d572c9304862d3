"""The operator's side: what admin.sock answers, whatever it is asked, and what of it outlives the signer."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import messages
from protocol.errors import ConfigurationError, ErrorCode, Refused
from protocol.fields import Message
from protocol.messages import OPERATIONS, IssueRequest, ListRequest, ShowRequest, Socket, VerifyRequest
from protocol.wire import encode_reply
from signerd.checkpoint import read_checkpoint
from signerd.operations import ANSWERS
from tests.authorities import FRONTEND, OPERATOR, LocalAuthority, local_authority
from tests.csrs import csr_for, dns, make_csr, private_key, spki_of
from tests.edited_ledgers import busy_ledger, editing, issue, revoke, serial_of
from tests.identities import DAY, NOW
from tests.protocol.strategies import messages_of
from tests.running import Signer

CSR = csr_for(dns("a.example.net"))
FREEZE, THAW = messages.FreezeRequest(why="a drill"), messages.ThawRequest(why="over")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalAuthority]:
    with local_authority(tmp_path, "[profile.server]\n[quota]\nper_client = '7/day'\n") as authority:
        yield authority


def ask(local: LocalAuthority, op: str, request: Message) -> Message:
    answer = ANSWERS[op](local.authority, request, OPERATOR, local.now)
    assert isinstance(answer, Message)
    return answer


# --- status, list, show ---------------------------------------------------------------------------


def test_status_says_how_the_signer_stands(local: LocalAuthority) -> None:
    revoke(local, [issue(local, name) for name in ("a", "b", "c")][:1], "superseded")
    status = ask(local, "status", messages.StatusRequest())
    assert status == messages.StatusReply(
        state="ready",
        detail=None,
        issuer=local.ca.subject.rfc4514_string(),
        issuer_not_after=int(local.ca.not_valid_after_utc.timestamp()),
        certificates={"valid": 2, "revoked": 1, "hold": 0, "expired": 0, "pending": 0},
        entries=local.ledger.head.seq,
        head=local.ledger.head.hash,
        ledger_bytes=local.ledger.size,
        policy=local.authority.policy.hash,
        quotas=("client web1: 3 of 7/day",),
    )


def test_status_says_why_issuance_is_frozen_or_can_not_be_had(local: LocalAuthority) -> None:
    ask(local, "freeze", FREEZE)
    frozen = ask(local, "status", messages.StatusRequest())
    local.ledger.query("PRAGMA query_only = ON")
    with pytest.raises(Refused):
        ask(local, "thaw", THAW)
    failed = ask(local, "status", messages.StatusRequest())
    assert isinstance(frozen, messages.StatusReply)
    assert isinstance(failed, messages.StatusReply)
    assert (frozen.state, frozen.detail) == ("frozen", "a drill")
    assert failed.state == "unavailable"
    assert failed.detail is not None
    assert "the ledger can't be written" in failed.detail


@pytest.mark.parametrize(
    ("moment", "why"),
    [
        (lambda local: [local.set_clock(-900), local.now][1], "900 s less than the time since"),
        (lambda local: int(local.ca.not_valid_after_utc.timestamp()), "the CA's own certificate has ended"),
    ],
)
def test_what_can_not_issue_does_not_say_that_it_is_ready(
    local: LocalAuthority, moment: Callable[[LocalAuthority], int], why: str
) -> None:
    ask(local, "freeze", FREEZE)
    ask(local, "thaw", THAW)
    local.now = moment(local)
    local.clock.now()
    status = ask(local, "status", messages.StatusRequest())
    described = ask(local, "describe", messages.DescribeRequest())
    assert isinstance(status, messages.StatusReply)
    assert isinstance(described, messages.DescribeReply)
    assert status.state == described.state == "unavailable"
    assert why in str(status.detail)


def test_show_has_the_certificate_and_says_what_it_is(local: LocalAuthority) -> None:
    certificate = local.issue(CSR)
    shown = ask(local, "show", ShowRequest(serial=serial_of(certificate)))
    assert isinstance(shown, messages.ShowReply)
    assert shown.certificate.certificate is not None
    assert serial_of(certificate) == shown.certificate.serial
    with pytest.raises(Refused) as refused:
        ask(local, "show", ShowRequest(serial=b"\x01\x02"))
    assert (refused.value.code, "0102" in refused.value.detail) == (ErrorCode.NOT_FOUND, True)


def test_a_serial_number_may_begin_with_zeros_as_an_integer_of_der_does(tmp_path: Path) -> None:
    with local_authority(tmp_path, make_serial=lambda: 0x80) as local:
        issue(local, "a")
        shown = ask(local, "show", ShowRequest(serial=b"\0\0\x80"))
        assert isinstance(shown, messages.ShowReply)
        assert shown.certificate.serial == b"\x80"


# --- whatever is asked ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAuthority]:
    directory = tmp_path_factory.mktemp("busy")
    busy_ledger(directory)
    with local_authority(directory, "[profile.server]\n[profile.short]\n", now=NOW + 41 * DAY) as authority:
        yield authority
        authority.authority.close()


ADMIN_OPS = st.sampled_from(sorted(op for op in ANSWERS if Socket.ADMIN in OPERATIONS[op].sockets))


@settings(max_examples=400)
@given(ADMIN_OPS.flatmap(lambda op: st.tuples(st.just(op), messages_of(OPERATIONS[op].request))))
def test_whatever_an_operator_asks_is_answered_or_refused_and_fits_into_a_frame(
    busy: LocalAuthority, asked: tuple[str, Message]
) -> None:
    op, request = asked
    answer = outcome(busy, op, request)
    if isinstance(answer, Refused):
        assert answer.code is not ErrorCode.INTERNAL
        assert len(answer.detail) < 2000
    elif isinstance(answer, Message):
        encode_reply(1, answer)


def outcome(local: LocalAuthority, op: str, request: Message) -> object:
    """The answer, the refusal, or what will bring either later."""
    try:
        return ANSWERS[op](local.authority, request, OPERATOR, local.now)
    except Refused as refusal:
        return refusal


@pytest.mark.parametrize("number", [0, 2**31, 2**63 - 1, 2**63, 2**64 - 1])
def test_numbers_beyond_what_sqlite_knows_are_no_error_of_the_signers(busy: LocalAuthority, number: int) -> None:
    for request in (ListRequest(after=number), VerifyRequest(seq=number), messages.BackupRequest(offset=number)):
        answer = outcome(busy, type(request).__name__.removesuffix("Request").lower(), request)
        assert isinstance(answer, Message) or (isinstance(answer, Refused) and answer.code is ErrorCode.NOT_FOUND)


# --- freeze and thaw ------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [Signer.kill, Signer.stop])
def test_a_freeze_outlives_the_signer_however_it_ends_and_so_does_a_thaw(end: object) -> None:
    assert callable(end)
    with Signer() as signer:
        assert signer.admin().ask_freeze(FREEZE).state == "frozen"
        end(signer)
        signer.start()
        with pytest.raises(Refused) as refused:
            signer.sign().ask_issue(IssueRequest(csr=CSR, client="web1"))
        assert refused.value.code is ErrorCode.FROZEN
        assert "drill" not in refused.value.detail
        assert signer.admin().ask_status().detail == "a drill"
        assert signer.admin().ask_thaw(THAW).state == "ready"
        end(signer)
        signer.start()
        signer.sign().ask_issue(IssueRequest(csr=CSR, client="web1"))


def test_a_freeze_without_a_reason_is_one_by_an_operator(local: LocalAuthority) -> None:
    ask(local, "freeze", messages.FreezeRequest(why=""))
    assert local.authority.frozen == "by an operator"
    local.restart()
    assert local.authority.frozen == "by an operator"


def test_frozen_twice_is_thawed_once(local: LocalAuthority) -> None:
    asked = ("freeze", FREEZE), ("freeze", messages.FreezeRequest(why="again")), ("thaw", THAW), ("thaw", THAW)
    seen = []
    for op, request in asked:
        ask(local, op, request)
        seen.append(local.authority.frozen)
    assert seen == ["a drill", "again", None, None]


def test_operators_too_get_nothing_while_issuance_is_frozen(local: LocalAuthority) -> None:
    ask(local, "freeze", FREEZE)
    assert local.code(CSR, asker=OPERATOR) is ErrorCode.FROZEN


# --- reload ---------------------------------------------------------------------------------------

GOOD = "[profile.server]\nlifetime = '10d'\n[quota]\nper_client = '3/day'\n"


@pytest.mark.parametrize(
    "bad",
    [
        "[profile.server]\nlifetime = '10d'\n[quota]\nper_client = 'many'\n",
        "[profile.server]\nlifetime = '1000d'\n[quota]\nper_client = '9/day'\n",
        "[quota]\nper_client = '9/day'\n[client.web1]\nmac_key_file = '/nonexistent'\n",
        "blocked_keys = '/nonexistent'\n[quota]\nper_client = '9/day'\n",
        "custom = '/elsewhere'\n[quota]\nper_client = '9/day'\n",
        "admin_group = 'others'\n[quota]\nper_client = '9/day'\n",
        "this is no TOML",
        "[quota]\nper_client = '9/day'\nnonsense = 1\n",
    ],
)
def test_a_policy_that_is_refused_changes_nothing_at_all(tmp_path: Path, bad: str) -> None:
    with local_authority(tmp_path, GOOD) as local:
        before = local.authority.policy, local.authority.usage, local.authority.issuer, local.ledger.head
        local.configure(bad)
        with pytest.raises(Refused) as refused:
            ask(local, "reload", messages.ReloadRequest())
        assert refused.value.code is ErrorCode.BAD_REQUEST
        assert refused.value.detail.startswith("the policy before stays in force: ")
        assert before == (local.authority.policy, local.authority.usage, local.authority.issuer, local.ledger.head)


def test_a_policy_that_can_not_be_recorded_does_not_come_into_force(local: LocalAuthority) -> None:
    before = local.authority.policy
    local.configure(GOOD)
    local.ledger.query("PRAGMA query_only = ON")
    with pytest.raises(Refused) as refused:
        ask(local, "reload", messages.ReloadRequest())
    assert refused.value.code is ErrorCode.UNAVAILABLE
    assert local.authority.policy is before


def test_a_reload_is_recorded_and_takes_effect_for_the_next_request(local: LocalAuthority) -> None:
    local.configure(GOOD)
    reply = ask(local, "reload", messages.ReloadRequest())
    assert reply == messages.ReloadReply(policy=local.authority.policy.hash)
    assert local.bodies("policy")[-1]["hash"] == local.authority.policy.hash
    issue(local, "a")
    assert local.bodies("intent")[-1]["policy"] == local.authority.policy.hash
    assert local.bodies("intent")[-1]["not_after"] == NOW - 60 + 10 * DAY - 1


def test_a_running_signer_that_is_told_by_signal_or_by_operator_keeps_its_policy_or_has_the_new_one() -> None:
    with Signer(policy=GOOD) as signer:
        admin, client = signer.admin(), signer.sign()
        before = admin.ask_status().policy
        signer.configure("[quota]\nper_client = 'many'\n")
        signer.reload()
        with pytest.raises(Refused, match=r"quota\.per_client"):
            admin.ask_reload()
        assert admin.ask_status().policy == before
        signer.configure("[quota]\nper_client = '1/day'\n")
        assert admin.ask_reload().policy == admin.ask_status().policy != before
        client.ask_issue(IssueRequest(csr=CSR, client="web1"))
        with pytest.raises(Refused, match="client web1 has had 1/day"):
            client.ask_issue(IssueRequest(csr=CSR, client="web1"))


# --- checkpoint and verify ------------------------------------------------------------------------


def test_an_operator_gets_a_checkpoint_of_the_ledger_as_it_is_also_while_frozen(local: LocalAuthority) -> None:
    issue(local, "a")
    ask(local, "freeze", FREEZE)
    head = local.ledger.head
    reply = ask(local, "checkpoint", messages.CheckpointRequest())
    assert isinstance(reply, messages.CheckpointReply)
    stated = read_checkpoint(reply.statement, local.ca)
    assert (stated.seq, stated.hash) == (head.seq, head.hash)


def test_the_reply_to_verify_says_where_to_go_on(local: LocalAuthority) -> None:
    for number in range(5):
        issue(local, f"h{number}")
    seq, digest, seen = 0, bytes(32), []
    while seq != local.ledger.head.seq:
        reply = ask(local, "verify", VerifyRequest(seq=seq, hash=digest, limit=3))
        assert isinstance(reply, messages.VerifyReply)
        assert (reply.problems, reply.entries) == ((), local.ledger.head.seq)
        seq, digest = reply.seq, reply.hash
        seen.append(seq)
    assert seen == [*range(3, local.ledger.head.seq, 3), local.ledger.head.seq]


def test_a_stretch_from_a_hash_that_never_was_is_a_problem(local: LocalAuthority) -> None:
    reply = ask(local, "verify", VerifyRequest(seq=1, hash=b"x" * 32))
    assert isinstance(reply, messages.VerifyReply)
    assert reply.problems == ("entry 2 is not what was recorded, or does not follow entry 1",)


# --- keys that are blocked ------------------------------------------------------------------------


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A list with the keys of P-256 and RSA-2048."""
    path = tmp_path / "blocked_keys"
    one, other = (hashlib.sha256(spki_of(private_key(kind))).hexdigest() for kind in ("p256", "rsa2048"))
    path.write_text(f"# leaked in 2026\n{one}\n\n  {other.upper()}  # and this one\n")
    return path


def test_a_key_on_the_list_gets_no_certificate_whoever_asks_and_others_do(tmp_path: Path, blocked: Path) -> None:
    with local_authority(tmp_path, f"blocked_keys = '{blocked}'\n") as local:
        for kind, wanted in (("p256", True), ("rsa2048", True), ("ed25519", False), ("p384", False)):
            csr = make_csr(key=private_key(kind))
            for asker in (FRONTEND, OPERATOR):
                assert (local.code(csr, asker=asker) is ErrorCode.WEAK_KEY) is wanted
        assert not local.check(make_csr(key=private_key("p256"))).allowed
        refusal = local.refusal(make_csr(key=private_key("p256")))
        assert refusal.detail == "the key is one of those that this CA knows to be compromised"


def test_the_list_is_read_anew_at_a_reload_and_is_part_of_the_policys_hash(tmp_path: Path, blocked: Path) -> None:
    with local_authority(tmp_path, f"blocked_keys = '{blocked}'\n") as local:
        before = local.authority.policy.hash
        blocked.write_text("# nothing is blocked any more\n")
        assert local.code(make_csr(key=private_key("p256"))) is ErrorCode.WEAK_KEY
        ask(local, "reload", messages.ReloadRequest())
        assert local.code(make_csr(key=private_key("p256"))) is None
        assert local.authority.policy.hash != before


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"abc\n", "line 1: neither a SHA-256 hash in hex nor a # comment"),
        (b"# fine\n" + b"g" * 64, "line 2: neither"),
        (b"a" * 63, "line 1: neither"),
        (b"a" * 65, "line 1: neither"),
        (b"a" * 64 + b" " + b"b" * 64, "line 1: neither"),
        (b"a" * 64 + b"\0", "line 1: neither"),
        (b"\xff" * 64, "line 1: neither"),
        (b"sha256:" + b"a" * 64, "line 1: neither"),
        (b"\n".join(b"%064x" % number for number in range(100_001)), "has more than 100000 keys"),
        (b"#" * (16 * 1024 * 1024 + 1), "is larger than 16 MiB"),
    ],
    ids=range(10),
)
def test_a_list_that_can_not_be_understood_keeps_the_policy_from_coming_into_force(
    tmp_path: Path, blocked: Path, content: bytes, why: str
) -> None:
    with local_authority(tmp_path, f"blocked_keys = '{blocked}'\n") as local:
        blocked.write_bytes(content)
        with pytest.raises(Refused, match=why) as refused:
            ask(local, "reload", messages.ReloadRequest())
        assert "signer.blocked_keys: " in refused.value.detail
        assert local.code(make_csr(key=private_key("p256"))) is ErrorCode.WEAK_KEY


def test_a_list_that_others_may_write_or_that_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    path, fifo, directory = tmp_path / "writable", tmp_path / "fifo", tmp_path / "directory"
    path.touch()
    path.chmod(0o666)
    os.mkfifo(fifo)
    directory.mkdir()
    for wrong, why in (
        (path, "may be written by others"),
        (fifo, "is no regular file"),
        (directory, "Is a directory"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(ConfigurationError, match=why), local_authority(tmp_path, f"blocked_keys = '{wrong}'\n"):
            pass


def test_a_list_of_the_greatest_length_is_read_and_looked_at_in_a_moment(tmp_path: Path, blocked: Path) -> None:
    with blocked.open("a") as file:
        file.writelines(f"{number:064x}\n" for number in range(99_998))
    with local_authority(tmp_path, f"blocked_keys = '{blocked}'\n") as local:
        assert len(local.authority.policy.blocked_keys) == 100_000
        assert spki_of(private_key("p256")) in local.authority.policy.blocked_keys
        began = time.process_time()
        assert local.code(make_csr(key=private_key("p256"))) is ErrorCode.WEAK_KEY
        assert local.code(make_csr(key=private_key("p384"))) is None
        assert time.process_time() - began < 0.5


# --- the index is damaged while the signer runs ---------------------------------------------------


def test_a_table_that_somebody_drops_under_the_running_signer_does_not_end_it() -> None:
    with Signer() as signer:
        admin = signer.admin()
        signer.sign().ask_issue(IssueRequest(csr=CSR, client="web1"))
        with editing(signer.ledger_path) as db:
            db.execute("DROP TABLE names")
        signer.sign().ask_issue(IssueRequest(csr=CSR, client="web1"))  # it is recorded; the index follows
        problems = admin.ask_verify(VerifyRequest()).problems
        assert any("names" in problem for problem in problems), problems
        assert admin.ask_describe().state == "unavailable"
        assert signer.ended is None
