"""A wrong clock breaks nothing for good: what it says is held against the time that the machine accounts for."""

import dataclasses
import time
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ErrorCode, Refused
from protocol.messages import IssueReply, ListRequest, RevokeRequest
from signerd.clock import STEP_MAX, TOLERANCE, Clock, Reading, Step, kernel_is_synchronized, read_machine
from signerd.ledger import Head, Kind
from signerd.ledger.certificates import State, find
from signerd.ledger.mark import Boot, Mark
from signerd.ledger.search import search
from tests.authorities import LocalAuthority, local_authority
from tests.csrs import csr_for, dns
from tests.edited_ledgers import issue, problems_of, problems_online, prune_all, revoke, sign_crls
from tests.identities import DAY, NOW

CSR = csr_for(dns("a.example.net"))
YEAR = 365 * DAY
URL = "base_url = 'http://ca.example.net'"


@dataclasses.dataclass
class Machine:
    """A machine's clocks, as a test sets them."""

    wall: int = NOW
    boot: int = 1000
    boot_id: str = "a" * 32
    synchronized: bool = False

    def read(self) -> Reading:
        return Reading(self.wall, Boot(self.boot_id, self.boot), lambda: self.synchronized)

    def sleep(self, seconds: int) -> None:
        self.wall += seconds
        self.boot += seconds


# --- the clock ------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10 * DAY), max_size=20))
def test_time_that_goes_by_is_in_no_doubt_however_long_it_is(steps: list[int]) -> None:
    machine = Machine()
    clock = Clock(machine.read)
    for seconds in steps:
        machine.sleep(seconds)
        assert (clock.now(), clock.doubt) == (machine.wall, None)


@pytest.mark.parametrize("jump", [2 * YEAR, DAY, TOLERANCE + 1, -TOLERANCE - 1, -DAY, -2 * YEAR])
def test_a_jump_that_the_machine_does_not_account_for_is_in_doubt_and_time_goes_on_without_it(jump: int) -> None:
    machine = Machine()
    clock = Clock(machine.read)
    machine.wall += jump
    machine.sleep(10)
    assert clock.now() == NOW + 10
    assert f"{abs(jump)} s {'more' if jump > 0 else 'less'} than the time since" in str(clock.doubt)
    assert "`ca_admin accept`" in str(clock.doubt)
    machine.wall -= jump  # it is set right again
    assert (clock.now(), clock.doubt) == (NOW + 10, None)


def test_small_steps_add_up_to_a_jump_where_nothing_vouches_for_the_clock() -> None:
    machine = Machine()
    clock = Clock(machine.read)
    for _ in range(TOLERANCE // 60):
        machine.wall += 60
        assert clock.look() is None
        clock.now()
        assert clock.doubt is None
    machine.wall += 60
    clock.now()
    assert clock.doubt is not None


def test_a_clock_that_the_kernel_keeps_right_may_drift_for_ever() -> None:
    machine = Machine(synchronized=True)
    clock = Clock(machine.read)
    for _ in range(100):
        machine.wall += 60
        machine.sleep(60)
        assert clock.look() is None
        assert (clock.now(), clock.doubt) == (machine.wall, None)


@pytest.mark.parametrize("jump", [STEP_MAX, TOLERANCE + 1, -TOLERANCE - 1, -STEP_MAX])
def test_the_kernels_word_ends_the_doubt_about_a_step_of_a_day_at_most(jump: int) -> None:
    machine = Machine()
    clock = Clock(machine.read)
    machine.wall += jump
    clock.now()
    step = clock.look()
    assert step is None
    machine.synchronized = True
    assert clock.look() == Step(NOW, NOW + jump, "the kernel's clock is synchronized")
    assert (clock.now(), clock.doubt) == (NOW + jump, None)


@pytest.mark.parametrize("step", [STEP_MAX - 10, TOLERANCE, 10 - STEP_MAX, -TOLERANCE])
def test_many_steps_that_the_kernel_vouches_for_take_the_clock_no_further_than_one(step: int) -> None:
    machine = Machine(synchronized=True)
    clock = Clock(machine.read)
    for _ in range(730):
        machine.sleep(1)
        machine.wall += step
        clock.look()
        clock.now()
    assert abs(clock.now() - NOW) < STEP_MAX + 2 * 730 + TOLERANCE
    assert clock.doubt is not None
    clock.accept()
    machine.wall += STEP_MAX
    assert clock.look() is not None


@pytest.mark.parametrize("jump", [STEP_MAX + 1, -STEP_MAX - 1])
def test_beyond_a_day_only_an_operator_ends_the_doubt(jump: int) -> None:
    machine = Machine(synchronized=True)
    clock = Clock(machine.read)
    machine.wall += jump
    step = clock.look()
    assert step is None
    assert clock.now() == NOW
    assert clock.doubt is not None
    assert clock.accept().after == NOW + jump
    assert clock.now() == NOW + jump
    assert str(clock.doubt) == "None"


@pytest.mark.parametrize(
    ("stop", "reboot", "doubt"),
    [
        (60, False, False),
        (21 * DAY, False, False),  # the machine ran on, and knows how long it was
        (60, True, False),
        (21 * DAY, True, True),  # nothing knows
        (TOLERANCE + 1, True, True),
        (-2 * YEAR, True, True),
        (-2 * YEAR, False, True),
    ],
)
def test_after_a_stop_time_goes_on_from_the_last_commit(stop: int, reboot: bool, doubt: bool) -> None:
    machine = Machine()
    mark = Mark(Head(7, NOW, bytes(32)), machine.read().boot)
    machine.wall += stop
    machine.boot = 0 if reboot else machine.boot + max(stop, 0)
    machine.boot_id = "b" * 32 if reboot else machine.boot_id
    clock = Clock(machine.read)
    clock.go_on_from(NOW, mark)
    assert (clock.doubt is not None) == doubt
    assert clock.now() == (NOW if doubt else machine.wall)


def test_without_a_mark_a_stop_is_accounted_for_by_nothing() -> None:
    machine = Machine()
    clock = Clock(machine.read)
    clock.go_on_from(NOW - DAY, None)
    assert clock.doubt is not None
    assert clock.now() == NOW - DAY
    machine.sleep(5)
    assert clock.now() == NOW - DAY + 5


def test_this_machine_can_be_read() -> None:
    reading = read_machine()
    assert abs(reading.wall - time.time()) < 5
    assert abs(reading.boot.seconds - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5
    assert reading.boot.id == Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    assert kernel_is_synchronized() in {True, False}


# --- a clock two years ahead, for four seconds -----------------------------------------------------


def test_four_seconds_of_a_clock_two_years_ahead_break_nothing(tmp_path: Path) -> None:
    """As it was: valid certificates were pruned, revoke said unchanged, and nothing was issued for two years."""
    with local_authority(tmp_path, signer=URL) as local:
        serials = [issue(local, f"h{number}") for number in range(3)]
        revoke(local, serials[:1], "cessationOfOperation")
        sign_crls(local)
        local.set_clock(2 * YEAR)
        for _ in range(4):
            local.now += 1
            now = local.clock.now()
            local.authority.tend(now)
            local.authority.revocation.work(now)
            assert local.code(CSR) is ErrorCode.UNAVAILABLE
        local.set_clock(-2 * YEAR)
        local.authority.tend(local.clock.now())
        assert [find(local.ledger, serial, local.now).state for serial in serials] == [  # type: ignore[union-attr]
            *(State.REVOKED, State.VALID, State.VALID),
        ]
        revoke(local, serials[1:2], "superseded")
        assert find(local.ledger, serials[1], local.now).state is State.REVOKED  # type: ignore[union-attr]
        issue(local, "again")
        assert local.bodies("clock") == []
        assert max(time for (time,) in local.ledger.query("SELECT time FROM entries")) <= local.now


def test_meanwhile_revoking_goes_on_dated_by_the_time_that_goes_by(tmp_path: Path) -> None:
    with local_authority(tmp_path, signer=URL) as local:
        serial = issue(local, "one")
        began = local.now
        local.set_clock(2 * YEAR)
        local.now += 60
        now = local.clock.now()
        assert now == began + 60
        local.authority.revocation.revoke(RevokeRequest(reason="keyCompromise", serials=(serial,)), "admin 0", now)
        local.now += 60
        while local.authority.revocation.work(local.clock.now()):
            pass
        reply = local.authority.revocation.crl(0, local.clock.now())
        assert began <= reply.this_update <= began + 120
        assert local.authority.state(local.clock.now()) == "unavailable"


# --- accepted, and right again ----------------------------------------------------------------------


def accept(local: LocalAuthority, why: str = "") -> None:
    local.clock.now()
    local.authority.accept(why, "admin 0")
    local.now = local.clock.now()


def test_a_jump_that_was_accepted_by_mistake_is_taken_back_and_no_answer_has_changed(tmp_path: Path) -> None:
    with local_authority(tmp_path, signer=URL) as local:
        serials = [issue(local, f"h{number}", idempotency_key=f"key {number}") for number in range(4)]
        revoke(local, serials[:1], "cessationOfOperation")
        sign_crls(local)
        before = everything_about(local, serials)
        local.set_clock(2 * YEAR)
        accept(local, "it is 2028")
        local.now += 60
        sign_crls(local)
        local.now += 60
        prune_all(local)
        assert local.ledger.query("SELECT count(*) FROM pruned").fetchone() == (4,)
        issue(local, "later")
        assert problems_online(local) == []
        local.set_clock(-2 * YEAR)
        assert local.code(CSR) is ErrorCode.UNAVAILABLE
        accept(local, "it is 2026 after all")
        assert everything_about(local, serials) == before
        assert local.ledger.query("SELECT count(*) FROM pruned").fetchone() == (0,)
        revoke(local, serials[1:2], "superseded")
        sign_crls(local)
        crl = x509.load_der_x509_crl(local.authority.revocation.crl(0, local.now).crl)
        assert {one.serial_number for one in crl} == {int.from_bytes(serial, "big") for serial in serials[:2]}
        issue(local, "again")
        assert [body["why"] for body in local.bodies("clock")] == ["it is 2028", "it is 2026 after all"]
        assert problems_online(local) == []
        local.restart()
        assert everything_about(local, serials[2:]) == before[2:]
    assert problems_of(local.ledger_path) == []


def everything_about(local: LocalAuthority, serials: list[bytes]) -> list[object]:
    """All that can be asked about certificates."""
    found: list[object] = []
    for serial in serials:
        record = find(local.ledger, serial, local.now)
        assert record is not None
        columns = "client, profile, subject, shard, of_all, of_client, of_profile, bytes, bytes_until, idempotency_key"
        row = local.ledger.query(f"SELECT {columns} FROM certificates WHERE serial = ?", serial).fetchone()  # noqa: S608
        listed, _ = search(local.ledger, ListRequest(name=record.names[0]), local.now)
        found.append((record.state, record.reason, record.revoked_at, record.names, row, listed[:1]))
    return found


def test_a_stop_of_weeks_has_a_way_out_that_is_recorded(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        issue(local, "one")
        local.reboot(21 * DAY)
        assert local.code(CSR) is ErrorCode.UNAVAILABLE
        accept(local, "the machine was off for three weeks")
        issue(local, "two")
        [body] = local.bodies("clock")
        assert (body["why"], body["asker"]) == ("the machine was off for three weeks", "admin 0")
        local.restart()
        issue(local, "three")


def test_a_step_back_to_the_very_time_of_the_last_entry_counts_from_the_step_on(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        local.now += 3600
        local.set_clock(-3600)
        accept(local)
        local.now += 60
        local.restart()
        issue(local, "one")


def test_the_kernels_word_is_recorded_too(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        issue(local, "one")
        local.set_clock(-3600)
        assert local.code(CSR) is ErrorCode.UNAVAILABLE
        local.is_synchronized = True
        local.authority.tend(local.clock.now())
        issue(local, "two")
        [body] = local.bodies("clock")
        assert body["why"] == "the kernel's clock is synchronized"
        assert problems_online(local) == []


def test_with_nothing_in_doubt_there_is_nothing_to_accept(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local, pytest.raises(Refused, match="there is nothing to accept") as refused:
        local.authority.accept("", "admin 0")
    assert refused.value.code is ErrorCode.CONFLICT


# --- epochs -----------------------------------------------------------------------------------------


def test_a_quota_remembers_what_was_issued_before_the_clock_was_set_back(tmp_path: Path) -> None:
    with local_authority(tmp_path, "[quota]\nper_client = '3/day'\n") as local:
        local.now += 3600
        for name in ("a", "b"):
            issue(local, name)
        local.now += 1800
        local.set_clock(-YEAR)
        accept(local)
        local.now += 1800
        assert isinstance(local.ask(CSR), IssueReply)
        assert local.code(CSR) is ErrorCode.QUOTA_EXCEEDED
        local.now += DAY - 3600 - 1  # a second less than a day of lived time after the first two
        assert local.code(CSR) is ErrorCode.QUOTA_EXCEEDED
        local.now += 2
        assert isinstance(local.ask(CSR), IssueReply)


def test_a_search_and_a_revocation_by_time_know_epochs(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        issue(local, "before")
        local.set_clock(2 * YEAR)
        accept(local)
        issue(local, "ahead")
        local.set_clock(-2 * YEAR)
        accept(local)
        local.now += DAY
        middle = local.now
        issue(local, "middle")
        local.now += DAY
        since = local.now
        issue(local, "last")
        names = [name for (name,) in local.ledger.query("SELECT name FROM names WHERE name LIKE 'dns:%' ORDER BY seq")]
        assert len(names) == 8
        found, _ = search(local.ledger, ListRequest(issued_since=since), local.now)
        assert [one.names[0] for one in found] == ["dns:ahead.example.net", "dns:last.example.net"]
        request = RevokeRequest(reason="superseded", issued_since=middle)
        outcome = local.authority.revocation.revoke(request, "admin 0", local.now)
        assert not callable(outcome)
        assert outcome.revoked == 3


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(-500, 500)), min_size=1, max_size=12), st.integers(0, 400))
def test_what_was_recorded_in_the_last_seconds_is_found_whatever_the_clock_was_set_to(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]], window: int
) -> None:
    """Against the time that was really lived through; a clock that was set forth counts as time."""
    with local_authority(tmp_path_factory.mktemp("ledger")) as local:
        ledger, now, lived = local.ledger, NOW + 1000, 0
        when = {}
        for go_by, jump in steps:
            now += go_by
            lived += go_by
            when[ledger.append(now, Kind.BACKUP, {"asker": "x"})] = lived
            if jump:
                before, now = now, now + jump
                lived += max(jump, 0)
                when[ledger.append(now, Kind.CLOCK, {"before": before, "why": "", "asker": None})] = lived
        since = lived - window
        expected = next((seq for seq, moment in sorted(when.items()) if moment > since), ledger.head.seq + 1)
        first = min(when)
        assert max(ledger.times.first_within(window, now), first) == expected
