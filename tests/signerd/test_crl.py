"""CRLs: their bytes, what they list and for how long, when they are made anew, and that they only go forward."""

import contextlib
import datetime
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ErrorCode, Refused
from protocol.wire import FRAME_BYTES_MAX
from signerd import authority
from signerd.certificate import CRL_SHARD_CERTIFICATES, Issuer
from signerd.key import Intent, signature_hash
from signerd.ledger.index import ALL_SHARDS
from signerd.ledger.revocations import Revoked
from signerd.revocation import crl, crls
from tests.authorities import CA_KEY_TYPES, LocalAuthority, ca_of, local_authority
from tests.certs import seconds
from tests.csrs import signature_by
from tests.identities import DAY, NOW
from tests.revocations import (
    all_crls,
    ask_revoke,
    crl_of,
    crl_reply,
    distribution_point_of,
    issue,
    number_of,
    publish,
    reasons_on,
    revoke,
    shard_of,
)

BASE_URL = "http://ca.example.net"
WEEK = 7 * DAY


@pytest.fixture
def at(tmp_path: Path) -> Iterator[LocalAuthority]:
    with local_authority(tmp_path, signer=f'base_url = "{BASE_URL}"') as one:
        yield one


# --- the bytes ----------------------------------------------------------------------------------

_TIMES = st.integers(0, 2**34)  # seconds since the epoch; beyond 2049 the type changes
_REVOKED = st.builds(
    Revoked,
    st.integers(1, 2**159 - 1).map(lambda number: number.to_bytes((number.bit_length() + 7) // 8, "big")),
    _TIMES,
    st.sampled_from(
        (
            *("unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded"),
            *("cessationOfOperation", "certificateHold", "privilegeWithdrawn", "aACompromise"),
        )
    ),
    st.none() | _TIMES,
)


def by_the_library(ca: str, edition: crl.Edition, revoked: list[Revoked], urls: list[str] | None) -> bytes:
    """The same TBSCertList by the library's builder: of all certificates, of the shard with these URLs, or, for
    an empty list, of CA certificates."""
    certificate, key = ca_of(ca)
    identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(certificate.subject)
        .last_update(_moment(edition.this_update))
        .next_update(_moment(edition.next_update))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.CRLNumber(edition.number), critical=False)
    )
    if urls is not None:
        point = x509.IssuingDistributionPoint(
            full_name=[x509.UniformResourceIdentifier(url) for url in urls] or None,
            relative_name=None,
            only_contains_user_certs=bool(urls),
            only_contains_ca_certs=not urls,
            only_some_reasons=None,
            indirect_crl=False,
            only_contains_attribute_certs=False,
        )
        builder = builder.add_extension(point, critical=True)
    for one in revoked:
        builder = builder.add_revoked_certificate(_entry(one))
    return builder.sign(key, signature_hash(key.public_key())).tbs_certlist_bytes


def _entry(one: Revoked) -> x509.RevokedCertificate:
    number = int.from_bytes(one.serial, "big")
    builder = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(_moment(one.at))
    if one.reason != "unspecified":
        builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags(one.reason)), critical=False)
    if one.invalidity_date is not None:
        builder = builder.add_extension(x509.InvalidityDate(_moment(one.invalidity_date)), critical=False)
    return builder.build()


def _moment(second: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(second, datetime.UTC)


@given(
    ca=st.sampled_from(CA_KEY_TYPES),
    revoked=st.lists(_REVOKED, max_size=8, unique_by=lambda one: one.serial),
    number=st.integers(0, 2**63),
    this_update=_TIMES,
    life=st.integers(1, 2**25),
    urls=st.none()
    | st.lists(st.sampled_from([f"{BASE_URL}/crl/0.crl", "http://old.example.net/crl/0.crl"]), unique=True),
)
def test_a_crl_is_that_of_the_librarys_builder_byte_for_byte(  # noqa: PLR0917 - hypothesis' arguments
    ca: str, revoked: list[Revoked], number: int, this_update: int, life: int, urls: list[str] | None
) -> None:
    edition = crl.Edition(number, this_update, this_update + life)
    scope = b"" if urls is None else crl.only_of_shard(urls) if urls else crl.only_of_cas()
    ours = crl.to_be_signed(Issuer(ca_of(ca)[0], None), edition, revoked, scope)
    assert ours == by_the_library(ca, edition, revoked, urls)


def test_a_crl_of_thousands_is_that_of_the_librarys_builder() -> None:
    reasons = ("superseded", "keyCompromise", "unspecified")
    revoked = [
        Revoked((2**150 + 7919 * n).to_bytes(19, "big"), NOW + n, reasons[n % 3], NOW if n % 2 else None)
        for n in range(CRL_SHARD_CERTIFICATES)
    ]
    edition = crl.Edition(1, NOW, NOW + WEEK)
    ours = crl.to_be_signed(Issuer(ca_of("p256")[0], None), edition, revoked)
    assert ours == by_the_library("p256", edition, revoked, None)


@pytest.mark.parametrize("ca", CA_KEY_TYPES)
def test_a_full_crl_fits_into_a_frame(ca: str) -> None:
    longest = [Revoked(b"\xff" * 20, 2**34, "superseded", 2**34)] * CRL_SHARD_CERTIFICATES
    urls = [f"http://{'x' * 60}.{'y' * 60}.example.net/crl/{n}.crl" for n in range(4)]
    certificate, key = ca_of(ca)
    edition = crl.Edition(2**63, 2**34, 2**34 + 1)
    to_be_signed = crl.to_be_signed(Issuer(certificate, None), edition, longest, crl.only_of_shard(urls))
    algorithm, signature = signature_by(key, to_be_signed)
    whole = len(to_be_signed) + len(algorithm) + len(signature) + 1000  # of names and framing
    assert whole < FRAME_BYTES_MAX


# --- what is listed, and for how long -------------------------------------------------------------


def test_a_crl_is_there_before_the_first_certificate(at: LocalAuthority) -> None:
    publish(at)
    assert reasons_on(crl_of(at)) == {}
    assert distribution_point_of(crl_of(at)) is None


def test_before_the_first_crl_the_asker_is_to_come_back(at: LocalAuthority) -> None:
    assert refusal(at).code is ErrorCode.BUSY


def test_a_shard_that_has_no_certificate_has_no_crl(at: LocalAuthority) -> None:
    publish(at)
    assert refusal(at, 1).code is ErrorCode.NOT_FOUND


def refusal(at: LocalAuthority, shard: int = 0) -> Refused:
    with pytest.raises(Refused) as caught:
        crl_reply(at, shard)
    return caught.value


def test_an_expired_certificate_leaves_after_one_crl_beyond_its_validity(at: LocalAuthority) -> None:
    [short] = issue(at, 1, lifetime=2 * DAY)
    [long] = issue(at, 1, lifetime=300 * DAY)
    revoke(at, short, long)
    publish(at)
    at.now = seconds(short.not_valid_after_utc) + 61  # no CRL was made since: it was not time to
    assert not at.authority.revocation.work(at.now)
    publish(at, after=2 * DAY)
    beyond = crl_of(at)
    assert seconds(beyond.last_update_utc) > seconds(short.not_valid_after_utc)
    assert set(reasons_on(beyond)) == {short.serial_number, long.serial_number}
    publish(at, after=4 * DAY)
    assert set(reasons_on(crl_of(at))) == {long.serial_number}


def test_a_live_revocation_never_leaves_however_many_crls_there_are(at: LocalAuthority) -> None:
    [one] = issue(at, 1, lifetime=60 * DAY)
    revoke(at, one)
    for _ in range(15):
        publish(at, after=4 * DAY - 60)
        assert set(reasons_on(crl_of(at))) == {one.serial_number}


def test_a_clock_that_ran_ahead_and_came_back_takes_no_live_revocation_off_the_crl(at: LocalAuthority) -> None:
    [one] = issue(at, 1, lifetime=30 * DAY)
    revoke(at, one)
    publish(at)
    publish(at, after=60 * DAY)
    publish(at, after=4 * DAY)
    assert reasons_on(crl_of(at)) == {}
    publish(at, after=-64 * DAY)
    crl = crl_of(at)  # not of the future, for nobody would take that
    assert set(reasons_on(crl)) == {one.serial_number}


def test_no_entry_is_later_than_the_crl_that_has_it(at: LocalAuthority) -> None:
    certificates = issue(at, 3)
    for number, one in enumerate(certificates):
        publish(at, after=50 * number)
        revoke(at, one)
        publish(at)
        crl = crl_of(at)
        newest = max(entry.revocation_date_utc for entry in crl)
        assert newest <= crl.last_update_utc
        assert seconds(crl.last_update_utc) == at.now - 3  # of the revocation: no later than need be
    publish(at, after=4 * DAY)
    assert seconds(crl_of(at).last_update_utc) == at.now - 60


def test_the_clock_may_be_set_back_between_a_revocation_and_its_crl(at: LocalAuthority) -> None:
    [one] = issue(at, 1)
    revoke(at, one)
    publish(at, after=-100)
    assert set(reasons_on(crl_of(at))) == {one.serial_number}  # crl_of looked: not of the future


# --- when it is made anew -------------------------------------------------------------------------


def test_a_crl_follows_a_revocation_within_five_seconds_and_several_share_one(at: LocalAuthority) -> None:
    certificates = issue(at, 20)
    publish(at)
    made = number_of(crl_of(at))
    behind = 0
    numbers = set()
    for one in certificates:
        revoke(at, one)
        at.now += 1
        while at.authority.revocation.work(at.now):
            pass
        crl = crl_of(at)
        numbers.add(number_of(crl))
        behind = max(behind, len(certificates[: certificates.index(one) + 1]) - len(reasons_on(crl)))
    assert behind <= 3  # one revocation a second: no more than so many seconds behind
    assert made <= min(numbers)
    assert len(numbers) <= 8
    publish(at)
    assert len(reasons_on(crl_of(at))) == 20


def test_a_crl_is_renewed_at_half_its_life_and_not_before(at: LocalAuthority) -> None:
    publish(at)
    first = crl_of(at)
    assert seconds(first.next_update_utc) - at.now == WEEK  # type: ignore[arg-type] # crl_of looked
    publish(at, after=WEEK // 2 - 60)
    assert crl_of(at) == first
    publish(at, after=60)
    second = crl_of(at)
    assert number_of(second) > number_of(first)
    assert second.last_update_utc > first.last_update_utc


def test_the_lifetime_is_a_setting_and_a_reload_puts_it_in_force(tmp_path: Path) -> None:
    with local_authority(tmp_path, signer='crl_lifetime = "2d"') as at:
        publish(at)
        assert crl_reply(at).next_update == at.now + 2 * DAY
        at.config.write_text(at.config.read_text().replace("2d", "1h"))
        at.authority.reload(at.now)
        publish(at, after=1801)
        assert crl_reply(at).next_update == at.now + 3600


def test_a_crl_that_has_run_out_is_not_given_away(at: LocalAuthority) -> None:
    publish(at)
    at.now += WEEK + 1
    assert refusal(at).code is ErrorCode.UNAVAILABLE


def test_no_crl_outlives_the_ca(at: LocalAuthority) -> None:
    end = seconds(at.ca.not_valid_after_utc)
    at.now = end - DAY
    publish(at)
    assert crl_reply(at).next_update == end
    publish(at, after=2 * DAY)
    assert refusal(at).code is ErrorCode.UNAVAILABLE


def test_a_restart_signs_nothing_anew_and_answers_with_the_same_bytes(at: LocalAuthority) -> None:
    revoke(at, *issue(at, 3))
    publish(at)
    before = crl_reply(at)
    at.restart()
    assert crl_reply(at) == before  # before anything is signed
    publish(at)
    assert crl_reply(at) == before
    assert [body["what"] for body in at.bodies("intent")].count("crl") == 1


def test_a_revocation_just_before_the_end_is_on_the_crl_after_the_restart(at: LocalAuthority) -> None:
    certificates = issue(at, 3)
    publish(at)
    revoke(at, *certificates)
    at.restart()
    publish(at)
    assert len(reasons_on(crl_of(at))) == 3


def test_what_was_signed_is_on_the_ledger_before_it_was_signed(at: LocalAuthority) -> None:
    revoke(at, *issue(at, 1))
    publish(at)
    [body] = [body for body in at.bodies("intent") if body["what"] == "crl"]
    assert body["sha256"] == hashlib.sha256(crl_of(at).tbs_certlist_bytes).digest()


def test_a_crl_costs_the_ledger_a_hash_and_its_bytes_lie_in_one_file_beside_it(at: LocalAuthority) -> None:
    revoke(at, *issue(at, 100))
    publish(at)
    revoke(at, *issue(at, 100))
    publish(at)
    assert len(crl_reply(at).crl) > 5_000
    for (size,) in at.ledger.query("SELECT length(body) FROM entries WHERE kind IN ('intent', 'issued')"):
        assert size < 1_500  # a certificate's intent, hence no CRL's
    [file] = files_of(at)
    assert file.read_bytes() == crl_reply(at).crl
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def files_of(at: LocalAuthority) -> list[Path]:
    return list(at.ledger_path.with_name("ledger.db.crls").iterdir())


def _flipped(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("ca", CA_KEY_TYPES)
@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes() + b"\0"),
        lambda file: _flipped(file, 60),
        lambda file: _flipped(file, -1),
    ],
    ids=["missing", "empty", "cut off", "with more at its end", "another one", "with another signature"],
)
def test_a_file_that_is_not_what_was_recorded_is_never_served_and_costs_a_new_crl(
    tmp_path: Path, ca: str, damage: Callable[[Path], None]
) -> None:
    with local_authority(tmp_path, ca=ca) as at:
        [one] = issue(at, 1)
        revoke(at, one)
        publish(at)
        before = number_of(crl_of(at))
        at.close()
        [file] = files_of(at)
        damage(file)
        at.open()
        with contextlib.suppress(Refused):  # until it is looked at
            crl_of(at)
            raise AssertionError("it was served")
        publish(at, after=1)
        assert number_of(crl_of(at)) > before
        assert set(reasons_on(crl_of(at))) == {one.serial_number}
        assert [file.read_bytes() for file in files_of(at)] == [crl_reply(at).crl]


def test_an_older_crl_in_the_place_of_the_last_is_not_served(at: LocalAuthority) -> None:
    """Whoever can write the file has no revocation undone."""
    publish(at)
    [older] = files_of(at)
    content = older.read_bytes()
    [one] = issue(at, 1)
    revoke(at, one)
    publish(at)
    at.close()
    [file] = files_of(at)
    file.write_bytes(content)
    at.open()
    assert refusal(at).code is ErrorCode.BUSY
    publish(at, after=1)
    assert set(reasons_on(crl_of(at))) == {one.serial_number}


def test_a_crl_that_a_crash_left_unsigned_is_superseded_and_never_signed(at: LocalAuthority) -> None:
    publish(at)
    before = number_of(crl_of(at))
    facts = {"scope": ALL_SHARDS, "number": before + 1, "this_update": at.now - 60, "next_update": at.now + WEEK}
    at.authority.key.record([Intent(b"0\x00", "crl", facts, by_hash=True)], at.now)
    seq = at.ledger.head.seq
    at.restart()
    assert seq not in {body["intent"] for body in at.bodies("issued")}
    assert refusal(at).code is ErrorCode.BUSY
    publish(at)
    assert number_of(crl_of(at)) > before + 1


def test_where_no_file_can_be_written_the_crl_is_served_from_memory(at: LocalAuthority) -> None:
    directory = at.ledger_path.with_name("ledger.db.crls")
    directory.rmdir()
    directory.touch()
    revoke(at, *issue(at, 2))
    publish(at)
    assert len(reasons_on(crl_of(at))) == 2
    at.restart()
    publish(at)
    assert len(reasons_on(crl_of(at))) == 2


def test_what_a_crash_left_half_written_and_the_crls_of_shards_that_are_gone_are_removed(at: LocalAuthority) -> None:
    publish(at)
    directory = at.ledger_path.with_name("ledger.db.crls")
    for name in (".0.5.crl.0123.tmp", "17.4.crl"):
        (directory / name).touch()
    at.restart()
    assert [file.name.partition(".")[0] for file in files_of(at)] == ["all"]


# --- numbers --------------------------------------------------------------------------------------


def test_numbers_only_rise_also_after_a_restore_from_a_backup(at: LocalAuthority, tmp_path: Path) -> None:
    numbers = []

    def note() -> None:
        publish(at)
        numbers.append(number_of(crl_of(at)))

    one, other, third = issue(at, 3)
    note()
    at.close()
    shutil.copy(at.ledger_path, tmp_path / "backup.db")
    at.open()
    for certificate in (one, other):
        revoke(at, certificate)
        note()
    at.close()
    for ending in ("-wal", "-shm"):
        Path(f"{at.ledger_path}{ending}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.db", at.ledger_path)
    at.now += 1
    at.open()
    at.authority.accept("the backup is all that is left", "admin 0")
    revoke(at, third)
    note()
    assert reasons_on(crl_of(at)) == {third.serial_number: "superseded"}
    assert numbers == sorted(set(numbers))


def test_numbers_rise_while_the_clock_is_set_back(at: LocalAuthority) -> None:
    one, other = issue(at, 2)
    revoke(at, one)
    publish(at)
    before = number_of(crl_of(at))
    at.set_clock(-10 * DAY)
    at.now = at.clock.now()
    revoke(at, other)
    publish(at)
    assert number_of(crl_of(at)) > before


# --- shards ---------------------------------------------------------------------------------------


@pytest.fixture
def small(at: LocalAuthority, monkeypatch: pytest.MonkeyPatch) -> LocalAuthority:
    """Four certificates to a shard, and no more than four on a CRL."""
    monkeypatch.setattr(authority, "CRL_SHARD_CERTIFICATES", 4)
    monkeypatch.setattr(crls, "ENTRIES_MAX", 4)
    return at


def listed_in_their_shards(at: LocalAuthority, certificates: list[x509.Certificate]) -> list[bool]:
    """Of each certificate, whether the CRL at its distribution point lists it; that this covers it is checked."""
    found = []
    for one in certificates:
        crl = crl_of(at, shard_of(one))
        names = distribution_point_of(crl)
        [point] = one.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert names is None or point.full_name[0].value in names
        found.append(one.serial_number in reasons_on(crl))
    return found


def test_one_crl_is_for_all_shards_while_few_are_revoked(small: LocalAuthority) -> None:
    certificates = issue(small, 10)
    assert list(map(shard_of, certificates)) == [0] * 4 + [1] * 4 + [2] * 2
    revoke(small, certificates[0], certificates[5], certificates[9])
    publish(small)
    assert {crl_reply(small, shard).crl for shard in range(3)} == {crl_reply(small).crl}
    assert distribution_point_of(crl_of(small)) is None
    assert listed_in_their_shards(small, certificates) == [n in {0, 5, 9} for n in range(10)]


def test_beyond_that_each_shard_has_its_own_and_says_so(small: LocalAuthority) -> None:
    certificates = issue(small, 10)
    revoke(small, *certificates[:7])
    publish(small)
    for shard in range(3):
        assert distribution_point_of(crl_of(small, shard)) == [f"{BASE_URL}/crl/{shard}.crl"]
    assert [len(reasons_on(crl_of(small, shard))) for shard in range(3)] == [4, 3, 0]
    assert listed_in_their_shards(small, certificates) == [True] * 7 + [False] * 3
    later = issue(small, 5)  # which begin a new shard
    assert shard_of(later[-1]) == 3
    publish(small)
    revoke(small, later[-1])
    publish(small)
    assert listed_in_their_shards(small, later) == [False] * 4 + [True]


def test_there_is_one_crl_again_when_most_of_it_has_expired_and_none_goes_back_in_time(small: LocalAuthority) -> None:
    short, long = issue(small, 5, lifetime=DAY), issue(small, 5, lifetime=300 * DAY)
    revoke(small, *short, *long[:2])
    publish(small)
    assert distribution_point_of(crl_of(small)) is not None
    numbers = [number_of(crl_of(small, shard)) for shard in range(3)]
    for _ in range(3):
        publish(small, after=4 * DAY)
        assert listed_in_their_shards(small, long) == [True, True, False, False, False]
    assert distribution_point_of(crl_of(small)) is None
    assert number_of(crl_of(small)) > max(numbers)
    revoke(small, *long)  # five live ones: shards again, and their old CRLs are not taken out again
    publish(small)
    assert distribution_point_of(crl_of(small, 2)) is not None
    assert listed_in_their_shards(small, long) == [True] * 5


def test_a_shards_crl_names_every_url_that_its_certificates_may_name(small: LocalAuthority) -> None:
    before = issue(small, 3)
    other = BASE_URL.replace("ca", "pki")
    small.config.write_text(small.config.read_text().replace(BASE_URL, other))
    small.authority.reload(small.now)
    after = issue(small, 3)
    revoke(small, *before, *after)
    publish(small)
    assert distribution_point_of(crl_of(small)) == [f"{BASE_URL}/crl/0.crl", f"{other}/crl/0.crl"]
    assert listed_in_their_shards(small, [*before, *after]) == [True] * 6
    third = BASE_URL.replace("ca", "crl")
    small.config.write_text(small.config.read_text().replace(other, third))
    small.authority.reload(small.now)
    publish(small)  # at once: certificates that name it may be out
    assert len(distribution_point_of(crl_of(small)) or ()) == 3


def test_who_asks_for_every_crl_gets_one_or_those_of_the_shards_and_of_ca_certificates(small: LocalAuthority) -> None:
    certificates = issue(small, 10)
    revoke(small, *certificates[:4])
    publish(small)
    assert [distribution_point_of(one) for one in all_crls(small)] == [None]
    revoke(small, *certificates[4:6])
    publish(small)
    found = all_crls(small)
    names = [[f"{BASE_URL}/crl/{shard}.crl"] for shard in range(3)]
    assert [distribution_point_of(one) for one in found] == [[], *names]
    assert [len(reasons_on(one)) for one in found] == [0, 4, 2, 0]
    publish(small, after=WEEK // 2 + 60)  # the one for CA certificates is renewed as the others are
    assert all(
        after.last_update_utc > before.last_update_utc for before, after in zip(found, all_crls(small), strict=True)
    )


def test_a_shard_of_which_all_was_pruned_has_no_crl_any_more(small: LocalAuthority) -> None:
    issue(small, 4, lifetime=DAY)
    long = issue(small, 4, lifetime=300 * DAY)
    publish(small, after=40 * DAY)
    small.authority.tend(small.now)
    small.ledger.commit()
    publish(small)
    assert refusal(small, 0).code is ErrorCode.NOT_FOUND
    revoke(small, *long)
    publish(small)
    assert listed_in_their_shards(small, long) == [True] * 4


def test_without_a_base_url_one_crl_is_all_there_is_and_beyond_that_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crls, "ENTRIES_MAX", 4)
    with local_authority(tmp_path) as at:
        certificates = issue(at, 6)
        revoke(at, *certificates[:4])
        publish(at)
        assert len(reasons_on(crl_of(at))) == 4
        revoke(at, *certificates)
        publish(at)
        refused = refusal(at)
        assert (refused.code, "base_url" in refused.detail) == (ErrorCode.UNAVAILABLE, True)


def test_a_mass_revocation_is_on_the_crls_of_its_shards(small: LocalAuthority) -> None:
    certificates = issue(small, 50)
    assert ask_revoke(small, "keyCompromise", issued_since=0).revoked == 50
    publish(small)
    assert listed_in_their_shards(small, certificates) == [True] * 50
