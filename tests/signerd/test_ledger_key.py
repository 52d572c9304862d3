"""What stands in the ledger's file is believed where the ledger key signed it: all else is neither signed nor gone on
with, and an end that went missing is noticed."""

import datetime
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509 import ocsp

from protocol.errors import ConfigurationError, ErrorCode, Refused
from protocol.messages import IssueRequest, OcspRequest, RevokeRequest
from protocol.wire import pack, unpack
from signerd.certificate_facts import problem_with
from signerd.files import Owner
from signerd.key import RecordedKey
from signerd.ledger import Ledger
from signerd.ledger.chain import Entry, link
from signerd.ledger.ledger_key import LedgerKey
from signerd.ledger.schema import ENTRIES
from signerd.ledger.verify import LedgerFile
from signerd.ledger_key_file import LEDGER_KEY_NAME, read_ledger_key
from signerd.renew_ledger_key import renew_ledger_key
from signerd.trust import CaTrust
from tests.authorities import LEDGER_KEY, local_authority
from tests.commands import Operator
from tests.csrs import csr_for, dns, private_key, rdn
from tests.edited_ledgers import editing, issue, problems_of, problems_online, revoke
from tests.identities import PASSPHRASE
from tests.running import Signer

CSR = csr_for(dns("a.example.net"))
WEB1 = IssueRequest(csr=CSR, client="web1")


def entries(path: Path) -> list[Entry]:
    with editing(path) as db:
        return [Entry(*row) for row in db.execute(f"{ENTRIES} ORDER BY seq").fetchall()]


def last_certificate(path: Path) -> dict[str, Any]:
    """The body of the last certificate's intent."""
    bodies = [unpack(entry.body) for entry in entries(path) if entry.kind == "intent"]
    return [body for body in bodies if body["what"] == "certificate"][-1]


def append(path: Path, kind: str, body: Mapping[str, Any], key: LedgerKey | None = None) -> int:
    """Appends an entry to the file of a ledger at rest, as whoever can write it can; ``key``: and has that key."""
    last = entries(path)[-1]
    entry = link(last.head, last.time, kind, pack(dict(body)))
    signature = None if key is None else key.sign_head(entry.head)
    with editing(path) as db:
        db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", (*entry[:5], signature))
    return entry.seq


def a_ca_certificate(local_ca: x509.Certificate, body: Mapping[str, Any]) -> bytes:
    """The to-be-signed bytes of a CA certificate, by the CA's name, which the facts of ``body`` otherwise fit."""
    issued = x509.load_der_x509_csr(CSR).public_key()
    builder = x509.CertificateBuilder(local_ca.subject, x509.Name([]), issued, int.from_bytes(body["serial"], "big"))
    builder = builder.not_valid_before(moment(body["not_before"])).not_valid_after(moment(body["not_after"]))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    key = Ed25519PrivateKey.generate()
    return builder.sign(key, None).tbs_certificate_bytes


def moment(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def forged(path: Path, ca: x509.Certificate) -> dict[str, Any]:
    """The intent of a CA certificate, under the names of an innocent one."""
    body = {**last_certificate(path), "serial": b"\x66" * 16, "idempotency_key": None, "proof_id": None}
    return {**body, "to_be_signed": a_ca_certificate(ca, body)}


# --- what somebody wrote into the file ------------------------------------------------------------

# What a backup may have been edited to say, though every entry and signature in it is as it was.
EDITS = {
    "unrevoked": "UPDATE certificates SET revoked_at = NULL, reason = NULL, changed = NULL",
    "revoked later": "UPDATE certificates SET revoked_at = revoked_at + 3600",
    "thawed": "DELETE FROM state WHERE name = 'frozen'",
    "unblocked": "DELETE FROM blocked_keys",
    "no quota": "UPDATE certificates SET of_all = 1, of_client = 1, bytes_until = 1",
    "a proof that was used": "UPDATE certificates SET proof_id = NULL, idempotency_key = NULL",
    "never issued": "DELETE FROM certificates",
    "signed again": "UPDATE certificates SET issued = NULL",
    "no statement": "INSERT INTO ledger_keys SELECT max(seq), zeroblob(32), NULL FROM entries",
    "another's": "UPDATE entries SET body = CAST(replace(body, 'web1', 'web2') AS BLOB) WHERE kind = 'intent'",
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_backup_whose_index_or_early_entries_were_edited_is_not_gone_on_with(tmp_path: Path, edit: str) -> None:
    with local_authority(tmp_path, "[profile.server]\n") as local:
        serial = issue(local, "one", idempotency_key="key")
        revoke(local, [serial], "keyCompromise")
        local.authority.freeze("a thief", local.now)
        for _ in range(300):  # further back than the chain is followed at each start
            local.authority.reload(local.now)
        local.ledger.settle()
        local.close()
        whole = local.ledger_path.read_bytes()
        Path(f"{local.ledger_path}.mark").unlink()
        with editing(local.ledger_path) as db:
            assert db.execute(EDITS[edit]).rowcount > 0
        with pytest.raises(ConfigurationError, match=r"the ledger is damaged: .*; see `ca_admin verify`"):
            local.open()
        local.ledger_path.write_bytes(whole)
        local.open()
        assert local.authority.frozen == "a thief"


def test_a_backup_is_looked_at_as_a_whole_though_nothing_was_recorded_since(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        revoke(local, [issue(local, "one")], "keyCompromise")
        local.authority.backups.part(object(), 0, {"asker": "admin 0"}, local.now)
        local.authority.close()
        local.close()
        with editing(local.ledger_path) as db:
            db.execute(EDITS["unrevoked"])
        with pytest.raises(ConfigurationError, match="the index is wrong about certificates"):
            local.open()
        with editing(local.ledger_path) as db:
            db.execute("UPDATE certificates SET revoked_at = ?, reason = 'keyCompromise', changed = 7", (local.now,))
        local.open()


def test_an_intent_that_somebody_appended_is_not_signed_and_the_signer_does_not_go_on(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        issue(local, "one")
        local.close()
        seq = append(local.ledger_path, "intent", forged(local.ledger_path, local.ca))
        with pytest.raises(ConfigurationError, match=rf"the last entry, {seq}, is not signed by this CA's ledger key"):
            local.open()
        assert entries(local.ledger_path)[-1].seq == seq
        assert f"entry {seq}, the last, is not signed by the ledger key" in problems_of(local.ledger_path)
        with editing(local.ledger_path) as db:
            db.execute("DELETE FROM entries WHERE seq = ?", (seq,))
        local.open()


def test_a_backup_with_an_intent_more_ends_the_start_with_78_and_signs_nothing() -> None:
    with Signer() as signer:
        signer.sign().ask_issue(WEB1)
        operator = Operator(signer.admin_path, signer.state)
        operator.does("backup", "backup.db")
        assert signer.stop() == 0
        ca = x509.load_pem_x509_certificate((signer.identity / "ca.crt.pem").read_bytes())
        append(signer.state / "backup.db", "intent", forged(signer.state / "backup.db", ca))
        for ending in ("", "-wal", "-shm", ".mark"):
            Path(f"{signer.ledger_path}{ending}").unlink(missing_ok=True)
        shutil.copy(signer.state / "backup.db", signer.ledger_path)
        before = signer.query("SELECT count(*) FROM entries")
        signer.start(wait=False)
        assert signer.wait() == 78
        assert "is not signed by this CA's ledger key" in signer.log
        assert "Traceback" not in signer.log
        assert signer.query("SELECT count(*) FROM entries") == before


@pytest.mark.parametrize("fact", ["serial", "names", "subject", "spki", "not_after", "issuer", "extensions", "shard"])
def test_what_does_not_fit_its_facts_is_never_signed_even_if_the_ledger_key_signed_the_record(
    tmp_path: Path, fact: str, caplog: pytest.LogCaptureFixture
) -> None:
    with local_authority(tmp_path, signer="base_url = 'http://ca.example.net'") as local:
        issue(local, "one")
        local.close()
        body = {**last_certificate(local.ledger_path), "idempotency_key": None}
        serial = body["serial"]
        body = {**body, "serial": serial[:1] + b"\x66" * (len(serial) - 1)}
        body["to_be_signed"] = body["to_be_signed"].replace(serial, body["serial"])
        assert problem_with(body["to_be_signed"], body) is None
        body[fact] = OTHERWISE[fact](body[fact])
        seq = append(local.ledger_path, "intent", body, LEDGER_KEY)
        if fact == "issuer":
            assert "another issuer's key" in str(problem_with(body["to_be_signed"], body))
        local.open()
        assert f"entry {seq} of the ledger is never signed" in caplog.text
        assert seq in local.ledger.pending_intents()
        assert all(one["intent"] != seq for one in local.bodies("issued"))
        assert any(f"the certificate of entry {seq} is not what the entry says" in p for p in problems_online(local))


OTHERWISE: dict[str, Callable[[Any], Any]] = {
    "serial": lambda serial: bytes([serial[0] ^ 1]) + serial[1:],
    "names": lambda names: [*names, "dns:bank.example"],
    "subject": lambda subject: f"{subject}CN=bank.example",
    "spki": lambda digest: bytes([digest[0] ^ 1]) + digest[1:],
    "not_after": lambda end: end + 1,
    "issuer": lambda issuer: bytes([issuer[0] ^ 1]) + issuer[1:],
    "extensions": lambda oids: [*oids, "1.2.3.4"],
    "shard": lambda shard: shard + 1,
}


def test_a_ca_certificate_in_an_innocent_ones_record_is_never_signed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with local_authority(tmp_path) as local:
        issue(local, "one")
        local.close()
        seq = append(local.ledger_path, "intent", forged(local.ledger_path, local.ca), LEDGER_KEY)
        local.open()
        assert f"entry {seq} of the ledger is never signed" in caplog.text
        assert seq in local.ledger.pending_intents()


def test_all_that_is_issued_fits_its_facts(tmp_path: Path) -> None:
    policy = "[profile.server]\nextra_extensions = ['1.3.6.1.5.5.7.1.24']\nsubject = ['CN', 'O', 'emailAddress']\n"
    with local_authority(tmp_path, policy, signer="base_url = 'http://ca.example.net'") as local:
        for name in ("a", "b"):
            issue(local, name)
        local.ask(csr_for(dns("c.example.net"), subject=[rdn("2.5.4.10", "Example, Inc.")]))
        for body in local.bodies("intent"):
            if body["what"] == "certificate":
                assert problem_with(body["to_be_signed"], body, local.authority.issuer.name) is None


def test_an_entry_of_a_kind_that_is_not_known_stops_the_signer(tmp_path: Path) -> None:
    """A later version may have recorded what matters."""
    with local_authority(tmp_path) as local:
        issue(local, "one")
    seq = append(local.ledger_path, "pardoned", {}, LEDGER_KEY)
    with pytest.raises(
        ConfigurationError, match=f"entry {seq} is of a kind that this version of signerd does not know"
    ):
        local_authority(tmp_path).__enter__()


# --- the statement --------------------------------------------------------------------------------


def test_the_ledger_begins_with_the_cas_statement_of_the_key_and_its_signature(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        issue(local, "one")
    first, second, *_ = entries(local.ledger_path)
    stated, signed = unpack(first.body), unpack(second.body)
    assert (first.kind, stated["what"], second.kind, signed["intent"]) == ("intent", "ledger_key", "issued", 1)
    assert stated["to_be_signed"].startswith(b"signerd ledger key 1\nissuer ")
    assert CaTrust(local.ca).ledger_key(stated["to_be_signed"], signed["signature"]) == LEDGER_KEY.public
    stranger = private_key("p384")
    assert CaTrust(_self_signed(stranger)).ledger_key(stated["to_be_signed"], signed["signature"]) is None


def _self_signed(key: Any) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Another CA")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, moment(0), moment(2**31))
    return builder.sign(key, hashes.SHA384())


class Crash(Exception):
    """Stands for a crash after the first commit."""


def crash(*_: object) -> bytes:
    raise Crash


def test_a_crash_between_statement_and_signature_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(RecordedKey, "_complete", crash)
        with pytest.raises(Crash):
            local_authority(tmp_path).__enter__()
    with local_authority(tmp_path) as local:
        issue(local, "one")
    assert [entry.kind for entry in entries(local.ledger_path)[:3]] == ["intent", "issued", "start"]
    assert problems_of(local.ledger_path) == []


def test_a_statement_about_another_key_than_the_one_here_is_not_signed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = LedgerKey(Ed25519PrivateKey.generate())
    with local_authority(tmp_path) as local:
        issue(local, "one")
        local.close()
        text = unpack(entries(local.ledger_path)[0].body)["to_be_signed"]
        body = {"what": "ledger_key", "key": other.public}
        body["to_be_signed"] = text.replace(LEDGER_KEY.public.hex().encode(), other.public.hex().encode())
        seq = append(local.ledger_path, "intent", body, LEDGER_KEY)
        local.open()
        assert f"entry {seq} of the ledger is never signed" in caplog.text
        assert all(one["intent"] != seq for one in local.bodies("issued"))


def test_a_ledger_that_names_another_key_is_not_gone_on_with(tmp_path: Path) -> None:
    """Whoever makes a whole ledger anew by a key of his own needs the CA's statement for that too."""
    with local_authority(tmp_path) as local:
        issue(local, "one")
    with editing(local.ledger_path) as db:
        last = entries(local.ledger_path)[-1]
        other = LedgerKey(Ed25519PrivateKey.generate())
        db.execute("UPDATE entries SET signature = ? WHERE seq = ?", (other.sign_head(last.head), last.seq))
    with pytest.raises(ConfigurationError, match="the ledger names another key than the one here"):
        local_authority(tmp_path, ledger_key=other).__enter__()


def test_a_later_key_of_the_ca_states_the_ledger_key_too_and_either_certificate_is_enough_to_verify(
    tmp_path: Path,
) -> None:
    with local_authority(tmp_path, ca="p256") as first:
        issue(first, "one")
    with local_authority(tmp_path, ca="rsa2048") as second:
        issue(second, "two")
    for ca in (first.ca, second.ca):
        file = LedgerFile(second.ledger_path, CaTrust(ca))
        try:
            assert file.check_next(1000).problems == ()
        finally:
            file.close()


# --- the file of the key --------------------------------------------------------------------------


def test_the_key_is_made_with_the_ledger_encrypted_as_the_cas_key_is_and_readable_by_nobody_else() -> None:
    with Signer() as signer:
        path = signer.identity / LEDGER_KEY_NAME
        assert path.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        assert path.stat().st_mode & 0o777 == 0o600
        key = read_ledger_key(signer.identity, PASSPHRASE)
        assert key is not None
        assert key.public == unpack(entries(signer.ledger_path)[0].body)["key"]


def test_without_its_key_a_ledger_is_not_gone_on_with_until_root_records_a_new_one() -> None:
    with Signer() as signer:
        serial = signer.sign().ask_issue(WEB1).serial
        operator = Operator(signer.admin_path, signer.state)
        arguments = ("--config", signer.config, "--passphrase-file", signer.passphrase_path)
        refused = operator.tries("ledger-key", "renew", *arguments)
        assert (refused.returncode, "in use by a signer" in refused.stderr) == (78, True)
        assert signer.stop() == 0
        (signer.identity / LEDGER_KEY_NAME).unlink()
        signer.start(wait=False)
        assert signer.wait() == 78
        assert f"{LEDGER_KEY_NAME} is missing" in signer.log
        assert "ca_admin ledger-key renew" in signer.log
        renewed = operator.gets("ledger-key", "renew", *arguments)
        assert set(renewed) == {"key", "file"}
        signer.start()
        signer.sign().ask_issue(WEB1)
        assert operator.gets("show", serial.hex())["state"] == "valid"
        assert operator.gets("verify")["problems"] == []
        assert signer.stop() == 0
        certificate = ("--certificate", signer.identity / "ca.crt.pem")
        assert operator.gets("verify", "--ledger", signer.ledger_path, *certificate)["problems"] == []


@pytest.mark.parametrize("step", ["commit", "sign_recorded"])
def test_a_renewal_that_was_interrupted_at_its_statement_can_be_called_again(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with Signer() as signer:
        signer.sign().ask_issue(WEB1)
        assert signer.stop() == 0
        owner = Owner(os.geteuid(), os.getegid())

        def interrupted(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Ledger if step == "commit" else RecordedKey, step, interrupted)
            patched.setattr(Ledger, "close", lambda ledger: os.close(ledger._lock))  # as a kill leaves it  # noqa: SLF001
            with pytest.raises(KeyboardInterrupt):
                renew_ledger_key(signer.identity, signer.ledger_path, PASSPHRASE, owner)
        public = renew_ledger_key(signer.identity, signer.ledger_path, PASSPHRASE, owner)
        assert signer.ledger_key().public == public
        signer.start()
        signer.sign().ask_issue(WEB1)
        assert signer.stop() == 0
        assert problems_of(signer.ledger_path) == []


def test_a_key_that_is_not_encrypted_beside_an_encrypted_key_of_the_ca_is_refused() -> None:
    with Signer() as signer:
        assert signer.stop() == 0
        path = signer.identity / LEDGER_KEY_NAME
        plain = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(plain)
        signer.start(wait=False)
        assert signer.wait() == 78
        assert f"{path} is not encrypted, and the CA's key is" in signer.log


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_passphrase_command_encrypts_both_keys_anew_also_after_it_was_interrupted(interrupted: bool) -> None:
    with Signer() as signer:
        assert signer.stop() == 0
        operator = Operator(signer.admin_path, signer.state)
        new = signer.state / "new"
        new.touch(mode=0o600)
        new.write_text("another passphrase\n")
        before = {name: (signer.identity / name).read_bytes() for name in (LEDGER_KEY_NAME, "ca.private_key.pem")}
        arguments = ("--config", signer.config, "--passphrase-file", signer.passphrase_path)
        done = operator.gets("passphrase", *arguments, "--new-passphrase-file", new)
        assert done == {"files": [str(signer.identity / name) for name in before]}
        if interrupted:
            (signer.identity / "ca.private_key.pem").write_bytes(before["ca.private_key.pem"])
            operator.gets("passphrase", *arguments, "--new-passphrase-file", new)
        signer.start(wait=False)
        assert signer.wait() == 78
        signer.passphrase_path.write_bytes(new.read_bytes())
        signer.start()
        signer.sign().ask_issue(WEB1)


# --- the mark -------------------------------------------------------------------------------------


def cut_off(path: Path, seq: int) -> None:
    """Puts a state of the file in its place that ended earlier; the mark beside it stays."""
    with editing(path) as db:
        db.execute("DELETE FROM entries WHERE seq > ?", (seq,))
        for table in ("certificates", "names", "crls", "state", "base_urls", "ledger_keys", "expiries", "pruned"):
            db.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
        db.execute("DELETE FROM progress")


def test_an_end_that_went_missing_stops_all_signing_until_an_operator_accepts_it() -> None:
    with Signer(base_url="http://ca.example.net") as signer:
        serial = signer.sign().ask_issue(WEB1).serial
        operator = Operator(signer.admin_path, signer.state)
        operator.does("backup", "backup.db")
        lost = signer.sign().ask_issue(WEB1).serial
        assert signer.stop() == 0
        for ending in ("", "-wal", "-shm"):
            Path(f"{signer.ledger_path}{ending}").unlink(missing_ok=True)
        shutil.copy(signer.state / "backup.db", signer.ledger_path)
        signer.start()
        status = operator.gets("status")
        assert status["state"] == "unavailable"
        assert "the end went missing, or an older ledger was put in its place" in status["detail"]
        for asked in (
            lambda: signer.sign().ask_issue(WEB1),
            lambda: signer.admin().ask_revoke(RevokeRequest(reason="superseded", serials=(serial,))),
        ):
            with pytest.raises(Refused) as refused:
                asked()
            assert refused.value.code is ErrorCode.UNAVAILABLE
        assert ocsp_status(signer, serial) is ocsp.OCSPResponseStatus.TRY_LATER
        entries_before = status["ledger"]["entries"]
        signer.restart()  # which records nothing either
        assert operator.gets("status")["ledger"]["entries"] == entries_before
        accepted = operator.gets("accept", "--why", "the disk was replaced")
        assert accepted["state"] == "ready"
        assert len(accepted["accepted"]) == 1
        signer.sign().ask_issue(WEB1)
        assert ocsp_status(signer, serial) is ocsp.OCSPResponseStatus.SUCCESSFUL
        assert operator.tries("show", lost.hex()).returncode == 1
        signer.restart()
        assert operator.gets("status")["state"] == "ready"
        [(body,)] = signer.query("SELECT body FROM entries WHERE kind = 'accepted'")
        assert unpack(body)["operator"] == "the disk was replaced"
        assert operator.gets("verify")["problems"] == []
        refused_again = operator.tries("accept")
        assert (refused_again.returncode, "nothing to accept" in refused_again.stderr) == (1, True)


def ocsp_status(signer: Signer, serial: bytes) -> ocsp.OCSPResponseStatus:
    ca = x509.load_pem_x509_certificate((signer.identity / "ca.crt.pem").read_bytes())
    key = ca.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    digest = [hashes.Hash(hashes.SHA1()), hashes.Hash(hashes.SHA1())]  # noqa: S303 - what OCSP clients ask by
    for one, data in zip(digest, (ca.subject.public_bytes(), key), strict=True):
        one.update(data)
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        digest[0].finalize(),
        digest[1].finalize(),
        int.from_bytes(serial, "big"),
        hashes.SHA1(),  # noqa: S303
    )
    reply = signer.sign().ask_ocsp(OcspRequest(request=builder.build().public_bytes(Encoding.DER)))
    return ocsp.load_der_ocsp_response(reply.response).response_status


def test_another_ledger_in_the_place_of_the_last_is_noticed(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir(mode=0o700)
    with local_authority(tmp_path / "one") as one, local_authority(tmp_path / "other") as other:
        for number in range(5):
            issue(one, f"h{number}")
            issue(other, f"o{number}")
            issue(other, f"p{number}")
    shutil.copy(other.ledger_path, one.ledger_path)
    with local_authority(tmp_path / "one") as again:
        assert "is not the one that was recorded here" in str(again.authority.problem(again.now))


ALL_NINES = b"signerd mark 1 %b %b %b - 0\n" % (b"9" * 19, b"9" * 19, b"0" * 64)


@pytest.mark.parametrize("mark", [b"", b"x" * 256, b"signerd mark 1 99", ALL_NINES, None])
def test_a_mark_that_cant_be_read_or_is_missing_counts_as_none(tmp_path: Path, mark: bytes | None) -> None:
    with local_authority(tmp_path) as local:
        issue(local, "one")
        local.close()
        file = Path(f"{local.ledger_path}.mark")
        file.unlink() if mark is None else file.write_bytes(mark)
        local.open()
        issue(local, "two")


def test_a_fifo_in_the_place_of_the_mark_counts_as_none(tmp_path: Path) -> None:
    with local_authority(tmp_path) as local:
        local.close()
        Path(f"{local.ledger_path}.mark").unlink()
        os.mkfifo(f"{local.ledger_path}.mark", 0o600)
        local.open()
        issue(local, "one")


def test_a_kill_leaves_no_mark_ahead_of_the_ledger() -> None:
    with Signer() as signer:
        for _ in range(3):
            for _ in range(20):
                signer.sign().ask_issue(WEB1)
            signer.send_signal(signal.SIGKILL)
            signer.wait()
            signer.start()
            assert signer.admin().ask_status().state == "ready"


# --- who may write it -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "mode", "words"),
    [
        ("", 0o777, "may be written by others"),
        ("ledger.db", 0o666, "may be written by others"),
        ("ledger.db", 0o660, "may be written by its group"),
    ],
)
def test_a_ledger_that_others_can_write_is_not_gone_on_with(tmp_path: Path, what: str, mode: int, words: str) -> None:
    directory = tmp_path / "ledger"
    directory.mkdir(mode=0o700)
    with local_authority(directory) as local:
        issue(local, "one")
        local.close()
        (directory / what).chmod(mode)
        with pytest.raises(ConfigurationError, match=words):
            local.open()
        (directory / what).chmod(0o700)
        local.open()


def test_a_new_ledger_is_readable_by_nobody_else_where_others_may_enter_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "ledger"
    directory.mkdir()
    directory.chmod(0o755)
    with local_authority(directory) as local:
        issue(local, "one")
        modes = {path.name: path.stat().st_mode & 0o077 for path in directory.glob("ledger.db*")}
    assert set(modes.values()) == {0}, modes
    (directory / "ledger.db").chmod(0o644)
    with pytest.raises(ConfigurationError, match="may be read by others"):
        local_authority(directory).__enter__()
