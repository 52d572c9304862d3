"""ca_admin on certificates: check, issue, list, show, revoke, export."""

import contextlib
import csv
import hashlib
import io
import json
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol import pem
from protocol.errors import Refused
from protocol.messages import IssueRequest
from signerd.ledger import Kind, Ledger
from tests.certs import assert_is_leaf, assert_verifies_with_openssl, lifetime_of, load, names_of
from tests.commands import Operator, command_line, environment
from tests.csrs import csr_for, dns, extension_request, make_csr, openssl, private_key, san, spki_of
from tests.running import Signer

# The names of the fields of one certificate never change.
FIELDS = {
    "serial", "state", "client", "profile", "subject", "names", "not_before", "not_after", "revoked_at", "reason",
    "proof",
}  # fmt: skip
DAY = 86_400
POLICY = """
[profile.server]
lifetime_max = "300d"
[profile.server.names]
dns = [".example.net"]
[profile.short]
lifetime = "2d"
[profile.large]
bytes_max = "32KiB"
"""


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with Signer(policy=POLICY) as signer:
        yield signer


@pytest.fixture
def operator(signer: Signer, tmp_path: Path) -> Operator:
    return Operator(signer.admin_path, tmp_path)


def issue(signer: Signer, client: str, *names: str, profile: str | None = None, lifetime: int | None = None) -> str:
    """Has a certificate issued and returns its serial number in hexadecimal."""
    csr = csr_for(*map(dns, names or (f"{client}.example.net",)))
    request = IssueRequest(csr=csr, client=client, profile=profile, lifetime=lifetime)
    with contextlib.closing(signer.admin()) as admin:
        return admin.ask_issue(request).serial.hex()


def csr_file(directory: Path, *names: str, form: str = "pem") -> Path:
    der = csr_for(*map(dns, names or ("web1.example.net",)))
    path = directory / f"web1.{form}"
    path.write_bytes(der if form == "der" else pem.encode(der, pem.CSR_LABELS[0]).encode())
    return path


def states(operator: Operator, client: str) -> list[str]:
    return [found["state"] for found in operator.gets("list", "--client", client)]


def certificates_in(text: str) -> list[bytes]:
    """The DER of each certificate in PEM."""
    blocks = re.findall("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL)
    return [pem.decode_one(block.encode(), (pem.CERTIFICATE_LABEL,)) for block in blocks]


def ca_of(signer: Signer) -> Any:
    return load(signer.admin().ask_describe().chain[0])


# --- check ------------------------------------------------------------------------------------------


def test_check_says_each_rule_and_the_certificate_that_would_be_made(signer: Signer, operator: Operator) -> None:
    before = signer.recorded()
    checked = operator.gets("check", csr_file(operator.directory), "--client", "check1", "--lifetime", "30d")
    assert checked["allowed"] is True
    assert {"client", "profile", "key type", "names", "lifetime", "quota"} <= {
        rule["rule"] for rule in checked["rules"]
    }
    assert all(set(rule) == {"rule", "ok", "detail"} and rule["ok"] for rule in checked["rules"])
    assert "SubjectAlternativeName (critical): web1.example.net\n" in checked["certificate_text"]
    assert "BasicConstraints (critical): CA:FALSE\n" in checked["certificate_text"]
    assert signer.recorded() == before


def test_check_ends_with_1_and_names_every_rule_that_failed(operator: Operator) -> None:
    arguments = (csr_file(operator.directory, "web1.example.com"), "--client", "check2", "--lifetime", "301d")
    done = operator.tries("--json", "check", *arguments)
    checked = json.loads(done.stdout)
    assert (done.returncode, checked["allowed"], checked["certificate_text"]) == (1, False, None)
    failed = {rule["rule"]: rule["detail"] for rule in checked["rules"] if not rule["ok"]}
    assert set(failed) == {"names", "lifetime"}
    assert "web1.example.com" in failed["names"]
    done = operator.tries("check", *arguments)
    assert done.returncode == 1
    assert re.search(r"^names +no +.*web1\.example\.com", done.stdout, re.MULTILINE)
    assert re.search(r"^lifetime +no ", done.stdout, re.MULTILINE)
    assert re.search(r"^key type +ok ", done.stdout, re.MULTILINE)
    assert "Not allowed" in done.stdout


def test_check_reads_pem_and_der_from_files_and_from_stdin(operator: Operator) -> None:
    for form in ("pem", "der"):
        path = csr_file(operator.directory, form=form)
        assert "Allowed: this certificate would be made." in operator.does("check", path)
        assert "Allowed: this certificate would be made." in operator.does("check", "-", given=path.read_bytes())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "x.csr is empty"),
        (b"hello", "x.csr: there is no PEM block"),
        (b"x" * 65_537, "x.csr is larger than 65536 bytes"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "x.csr: it holds a private key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a CERTIFICATE REQUEST"),
    ],
)
def test_what_is_no_csr_is_refused_before_it_is_sent(operator: Operator, content: bytes, complaint: str) -> None:
    (operator.directory / "x.csr").write_bytes(content)
    for name in ("check", "issue"):
        said = operator.fails(name, "x.csr")
        assert said.startswith("ca_admin: bad_csr: ")
        assert complaint in said


def test_a_csr_that_is_not_there_is_named(operator: Operator) -> None:
    assert operator.fails("issue", "missing.csr") == "ca_admin: missing.csr: No such file or directory\n"


# --- issue ------------------------------------------------------------------------------------------


def test_issue_prints_a_certificate_that_is_on_the_ledger_and_verifies(signer: Signer, operator: Operator) -> None:
    done = operator.tries("issue", csr_file(operator.directory), "--client", "issue1", "--lifetime", "30d")
    assert done.returncode == 0
    (der,) = certificates_in(done.stdout)
    certificate = load(der)
    assert_is_leaf(certificate)
    assert_verifies_with_openssl(certificate, ca_of(signer))
    assert lifetime_of(certificate) == 30 * DAY
    (listed,) = operator.gets("list", "--client", "issue1")
    assert done.stderr == f"issued {listed['serial']} to issue1, valid until {listed['not_after']}\n"
    assert int(listed["serial"], 16) == certificate.serial_number


def test_issue_is_for_the_operator_unless_a_client_is_named(operator: Operator) -> None:
    issued = operator.gets("issue", csr_file(operator.directory, "op.example.net"), "--profile", "short")
    assert set(issued) == {"serial", "client", "not_before", "not_after", "pem", "chain_pem"}
    assert issued["client"] == "operator"
    (listed,) = operator.gets("list", "--name", "op.example.net")
    assert (listed["client"], listed["profile"], listed["serial"]) == ("operator", "short", issued["serial"])
    assert names_of(load(certificates_in(issued["pem"])[0])) == ["op.example.net"]


def test_issue_writes_a_file_that_everybody_may_read_and_leaves_nothing_else(operator: Operator) -> None:
    csr_file(operator.directory)
    assert operator.does("issue", "web1.pem", "-o", "out.pem") == ""
    out = operator.directory / "out.pem"
    assert len(certificates_in(out.read_text())) == 1
    assert stat.S_IMODE(out.stat().st_mode) == 0o644
    assert {path.name for path in operator.directory.iterdir()} == {"web1.pem", "out.pem"}


def test_issue_with_a_chain_leaves_the_root_out(operator: Operator) -> None:
    csr = csr_file(operator.directory)
    assert len(certificates_in(operator.does("issue", csr, "--chain"))) == 1


def test_a_refusal_by_policy_is_one_line_and_writes_nothing(operator: Operator) -> None:
    csr = csr_file(operator.directory, "web1.example.com")
    said = operator.fails("issue", csr, "-o", "out.pem")
    assert said.startswith("ca_admin: policy_denied: names: ")
    assert said.count("\n") == 1
    assert not (operator.directory / "out.pem").exists()


# --- list -------------------------------------------------------------------------------------------


def test_list_as_json_has_the_documented_fields(signer: Signer, operator: Operator) -> None:
    serial = issue(signer, "list1", "a.example.net", "b.example.net")
    (found,) = operator.gets("list", "--client", "list1")
    assert set(found) == FIELDS
    assert found["serial"] == serial
    assert (found["state"], found["client"], found["profile"]) == ("valid", "list1", "server")
    assert found["names"] == ["dns:a.example.net", "dns:b.example.net"]
    assert (found["revoked_at"], found["reason"]) == (None, None)
    for moment in ("not_before", "not_after"):
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", found[moment])


def test_list_without_anything_to_show_is_an_empty_array(operator: Operator) -> None:
    assert operator.gets("list", "--client", "nobody") == []
    done = operator.tries("list", "--client", "nobody")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no certificate fits\n")


def test_each_filter_narrows_the_list(signer: Signer, operator: Operator) -> None:
    start = int(time.time())
    short = issue(signer, "list2", "filter1.example.net", profile="short")
    long = issue(signer, "list2", "filter2.example.net", lifetime=200 * DAY)
    operator.does("revoke", long, "--yes")

    def found(*arguments: str) -> list[str]:
        return [row["serial"] for row in operator.gets("list", "--client", "list2", *arguments)]

    assert found() == [short, long]
    assert found("--name", "filter1.example.net") == [short]
    assert found("--name", "dns:filter2.example.net") == [long]
    assert found("--name", "filter*") == [short, long]
    assert found("--name", "other*") == []
    assert found("--profile", "short") == [short]
    assert found("--state", "revoked") == [long]
    assert found("--state", "valid") == [short]
    assert found("--expiring-within", "3d") == [short]
    assert found("--issued-since", "1h") == [short, long]
    assert found("--issued-since", time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(start - 1))) == [short, long]
    assert found("--issued-since", time.strftime("%Y-%m-%d", time.gmtime(start + 2 * DAY))) == []
    assert found("--limit", "1") == [short]
    assert found("--name", "filter*", "--state", "valid", "--profile", "server") == []


def test_list_goes_through_pages_that_come_back_short(signer: Signer, operator: Operator) -> None:
    """A page of certificates with many long names ends where it fits into a message."""
    many = [f"{n:02}{'x' * 40}.{'y' * 60}.{'z' * 60}.{'w' * 60}.example.net" for n in range(100)]
    serials = [issue(signer, "list3", *many, profile="large") for _ in range(9)]
    assert [row["serial"] for row in operator.gets("list", "--client", "list3")] == serials
    assert [row["serial"] for row in operator.gets("list", "--client", "list3", "--limit", "7")] == serials[:7]


def test_list_goes_through_pages_that_come_back_empty(tmp_path: Path) -> None:
    """A search that no index narrows looks at a bounded part of the ledger for one page."""
    with Signer() as signer:
        first = issue(signer, "before", "before.example.net")
        assert signer.stop() == 0
        ledger = Ledger(signer.ledger_path, signer.ledger_key())
        for _ in range(110_000):
            ledger.append(int(time.time()), Kind.BACKUP, {"asker": "admin 0"})
        ledger.close()
        signer.start()
        last = issue(signer, "after", "after.example.net")
        operator = Operator(signer.admin_path, tmp_path)
        assert [row["serial"] for row in operator.gets("list")] == [first, last]
        assert [row["serial"] for row in operator.gets("list", "--state", "valid", "--limit", "2")] == [first, last]
        assert operator.does("export", "--format", "csv").count("\n") == 3
        assert operator.gets("verify")["ok"] is True


def test_a_table_in_a_pipe_is_aligned_and_never_cut(signer: Signer, operator: Operator) -> None:
    name = f"{'x' * 60}.{'y' * 60}.{'z' * 60}.example.net"
    serials = [issue(signer, "list4", name), issue(signer, "list4", "short.example.net")]
    heading, *rows = operator.does("list", "--client", "list4").splitlines()
    assert heading.split() == ["SERIAL", "STATE", "CLIENT", "PROFILE", "NAMES", "NOT", "AFTER"]
    assert [row.split()[0] for row in rows] == serials
    assert f"dns:{name}" in rows[0]
    assert len({row.index("dns:") for row in (*rows, heading.replace("NAMES", "dns:"))}) == 1


def test_a_table_shows_a_hundred_rows_unless_it_is_told_otherwise(signer: Signer, operator: Operator) -> None:
    for _ in range(102):
        issue(signer, "list5")
    done = operator.tries("list", "--client", "list5")
    assert len(done.stdout.splitlines()) == 1 + 100
    assert done.stderr == "There are more than these 100: --all shows them, --limit N so many.\n"
    done = operator.tries("list", "--client", "list5", "--all")
    assert (len(done.stdout.splitlines()), done.stderr) == (1 + 102, "")
    done = operator.tries("list", "--client", "list5", "--limit", "102")
    assert (len(done.stdout.splitlines()), done.stderr) == (1 + 102, "")
    assert len(operator.gets("list", "--client", "list5")) == 102


@pytest.mark.parametrize("term", ["xterm", "dumb", "vt100"])
def test_a_table_fits_a_terminal_of_80_columns_and_loses_nothing(signer: Signer, operator: Operator, term: str) -> None:
    serials = [issue(signer, f"list6{term}"), issue(signer, f"list6{term}", "w" * 40 + ".example.net")]
    with operator.sits_at("list", "--client", f"list6{term}", term=term) as terminal:
        shown = terminal.rest()
        assert terminal.status() == 0
    plain = re.sub("\x1b\\[[0-9;]*m", "", shown)
    assert max(map(len, plain.splitlines())) <= 80
    for fact in (
        *serials,
        "valid",
        f"list6{term}",
        "server",
        f"dns:list6{term}.example.net",
        f"dns:{'w' * 40}.example.net",
    ):
        assert re.search(rf"(^|\s){re.escape(fact)}(\s|$)", plain), (fact, plain)
    for row in operator.gets("list", "--client", f"list6{term}"):
        assert row["not_after"] in plain


def test_what_is_longer_than_a_line_is_shown_in_one_piece(signer: Signer, operator: Operator) -> None:
    name = f"{'x' * 60}.{'y' * 60}.example.net"
    issue(signer, "list7", name)
    with operator.sits_at("list", "--client", "list7") as terminal:
        assert f"dns:{name}" in terminal.rest()


def test_states_are_coloured_on_a_terminal(signer: Signer, operator: Operator) -> None:
    issue(signer, "list8")
    with operator.sits_at("list", "--client", "list8") as terminal:
        assert "\x1b[32mvalid" in terminal.rest()


# --- show -------------------------------------------------------------------------------------------


def test_show_takes_a_serial_number_in_any_spelling(signer: Signer, operator: Operator) -> None:
    serial = issue(signer, "show1")
    colons = ":".join(re.findall("..", serial))
    for spelling in (
        serial,
        serial.upper(),
        colons,
        colons.upper(),
        f"0x{serial}",
        f"0X{serial.upper()}",
        f"00{serial}",
    ):
        assert operator.gets("show", spelling)["serial"] == serial


def test_show_says_what_the_ledger_and_the_certificate_say(signer: Signer, operator: Operator) -> None:
    serial = issue(signer, "show2")
    shown = operator.gets("show", serial)
    assert set(shown) == FIELDS | {"pem"}
    certificate = load(certificates_in(shown["pem"])[0])
    assert f"{certificate.serial_number:040x}".lstrip("0") == serial.lstrip("0")
    text = operator.does("show", serial)
    assert re.search(rf"^serial: +{serial}$", text, re.MULTILINE)
    assert re.search(r"^names: +dns:show2\.example\.net$", text, re.MULTILINE)
    assert "ExtendedKeyUsage: server_auth, client_auth\n" in text
    fingerprint = openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", _file(operator, shown["pem"]))
    assert f"SHA-256: {fingerprint.decode().strip().partition('=')[2]}\n" in text


def _file(operator: Operator, text: str) -> Path:
    path = operator.directory / "shown.pem"
    path.write_text(text)
    return path


def test_show_prints_the_pem_alone(signer: Signer, operator: Operator) -> None:
    serial = issue(signer, "show3")
    assert operator.does("show", serial, "--pem") == operator.gets("show", serial)["pem"]


def test_show_of_an_unknown_serial_number_ends_with_1(operator: Operator) -> None:
    assert operator.fails("show", "1234") == "ca_admin: not_found: no certificate has the serial number 1234\n"


# --- revoke -----------------------------------------------------------------------------------------


def test_revoke_takes_serial_numbers_a_reason_and_an_invalidity_date(signer: Signer, operator: Operator) -> None:
    first, second, third = (issue(signer, "revoke1") for _ in range(3))
    arguments = ("--reason", "aACompromise", "--invalidity-date", "2026-01-31T10:00:00Z", "--yes")
    nothing = {"blocked": 0, "same_key": []}
    assert operator.gets("revoke", first, f"0x{second}", first, *arguments) == {"revoked": 2, "unchanged": 0, **nothing}
    assert operator.gets("revoke", second, third, "--yes") == {"revoked": 1, "unchanged": 1, **nothing}
    found = {row["serial"]: row for row in operator.gets("list", "--client", "revoke1")}
    assert [found[serial]["state"] for serial in (first, second, third)] == ["revoked"] * 3
    assert [found[serial]["reason"] for serial in (first, second, third)] == [*["aACompromise"] * 2, "unspecified"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", found[first]["revoked_at"])


def test_revoke_tells_people_how_many(signer: Signer, operator: Operator) -> None:
    serial = issue(signer, "revoke2")
    assert operator.does("revoke", serial, "--yes") == "1 certificate revoked\n"


def test_to_revoke_nothing_is_no_success(signer: Signer, operator: Operator) -> None:
    serial = issue(signer, "revoke2b")
    operator.does("revoke", serial, "--yes")
    said = operator.fails("revoke", serial, "--yes")
    assert said == "ca_admin: nothing was revoked: 1 certificate stayed as before\n"
    assert (
        operator.fails("revoke", "--client", "nobody", "--yes")
        == "ca_admin: nothing was revoked: no certificate fits\n"
    )
    nothing = {"revoked": 0, "unchanged": 1, "blocked": 0, "same_key": []}
    done = operator.tries("--json", "revoke", serial, "--yes")
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (1, nothing, "")


@pytest.mark.parametrize("spelling", ["cessationofoperation", "cessation-of-operation", "CESSATION_OF_OPERATION"])
def test_a_reason_may_be_written_as_other_programs_write_it(signer: Signer, operator: Operator, spelling: str) -> None:
    serial = issue(signer, "revoke2c")
    operator.does("revoke", serial, "--yes", "--reason", spelling)
    assert operator.gets("show", serial)["reason"] == "cessationOfOperation"


def test_a_reason_that_is_none_is_refused_with_the_choices(operator: Operator) -> None:
    said = operator.fails("revoke", "2f", "--yes", "--reason", "lost", status=2)
    assert "'lost' is none of unspecified, keyCompromise, cACompromise," in said


def test_without_a_terminal_and_without_yes_nothing_is_revoked(signer: Signer, operator: Operator) -> None:
    serial = issue(signer, "revoke3")
    for arguments in ((serial,), ("--client", "revoke3"), ("--issued-since", "1h")):
        said = operator.fails("revoke", *arguments, "--reason", "keyCompromise")
        assert said == "ca_admin: nothing was revoked: say --yes, as there is no terminal to ask on\n"
    assert operator.tries("revoke", serial, given=b"y\n").returncode == 1
    assert states(operator, "revoke3") == ["valid"]


def test_on_a_terminal_revoke_shows_what_it_would_do_and_asks(signer: Signer, operator: Operator) -> None:
    serial = issue(signer, "revoke4")
    with operator.sits_at("revoke", serial, "--reason", "superseded") as terminal:
        terminal.answer("Revoke 1 certificate (superseded)? This can't be undone. [y/N]: ", "n")
        assert terminal.status() == 1
    assert states(operator, "revoke4") == ["valid"]
    with operator.sits_at("revoke", serial, "--reason", "superseded") as terminal:
        terminal.answer(serial, "")  # Return alone is a no
        assert "given up" in terminal.rest()
        assert terminal.status() == 1
    assert states(operator, "revoke4") == ["valid"]
    with operator.sits_at("revoke", serial, "--reason", "superseded") as terminal:
        terminal.answer("This can't be undone. [y/N]: ", "y")
        assert "1 certificate revoked" in terminal.rest()
        assert terminal.status() == 0
    assert states(operator, "revoke4") == ["revoked"]


def test_on_a_terminal_nothing_is_asked_where_there_is_nothing_to_revoke(operator: Operator) -> None:
    with operator.sits_at("revoke", "--client", "nobody") as terminal:
        assert terminal.rest() == "ca_admin: nothing was revoked: no certificate fits\n"
        assert terminal.status() == 1


def test_a_hold_is_set_and_released_without_a_question(signer: Signer, operator: Operator) -> None:
    serial = issue(signer, "revoke5")
    assert operator.does("revoke", serial, "--reason", "certificateHold") == "1 certificate put on hold\n"
    assert states(operator, "revoke5") == ["hold"]
    assert operator.does("revoke", serial, "--reason", "removeFromCRL") == "1 certificate released\n"
    assert states(operator, "revoke5") == ["valid"]


def test_one_client_s_certificates_since_a_time_are_revoked_at_once(signer: Signer, operator: Operator) -> None:
    for _ in range(25):
        issue(signer, "revoke6")
    issue(signer, "revoke7")
    with operator.sits_at("revoke", "--client", "revoke6", "--issued-since", "1h") as terminal:
        terminal.answer("and 5 more", "")
        terminal.status()
    arguments = ("revoke", "--client", "revoke6", "--issued-since", "1h", "--reason", "superseded", "--yes")
    assert operator.gets(*arguments) == {"revoked": 25, "unchanged": 0, "blocked": 0, "same_key": []}
    assert set(states(operator, "revoke6")) == {"revoked"}
    assert states(operator, "revoke7") == ["valid"]


def test_one_unknown_serial_number_keeps_all_from_being_revoked(signer: Signer, operator: Operator) -> None:
    serial = issue(signer, "revoke8")
    assert "not_found" in operator.fails("revoke", serial, "1234", "--yes")
    assert states(operator, "revoke8") == ["valid"]


# --- keys that leaked ---------------------------------------------------------------------------------


def test_a_leaked_key_is_blocked_and_those_that_have_it_too_are_named_until_it_is_unblocked(
    signer: Signer, operator: Operator
) -> None:
    csr = make_csr(key=private_key("p256"), attributes=[extension_request(san(dns("leaky.example.net")))])
    with contextlib.closing(signer.admin()) as admin:
        one, other = (admin.ask_issue(IssueRequest(csr=csr, client="leaky")).serial.hex() for _ in range(2))
        assert operator.does("revoke", one, "--reason", "keyCompromise", "--yes") == (
            "1 certificate revoked\n"
            "1 key blocked: no certificate any more, until ca_admin unblock\n"
            f"the same key is in 1 other certificate; revoke them too:\n  {other}\n"
        )
        with pytest.raises(Refused, match="compromised"):
            admin.ask_issue(IssueRequest(csr=csr, client="leaky"))
        again = operator.gets("revoke", other, one, "--reason", "keyCompromise", "--yes")
        assert again == {"revoked": 1, "unchanged": 1, "blocked": 0, "same_key": []}
        digest = hashlib.sha256(spki_of(private_key("p256"))).hexdigest()
        unblocked = operator.gets("unblock", digest.upper(), one, "--why", "a mistake")
        assert unblocked == {"unblocked": 1, "unchanged": 0}
        admin.ask_issue(IssueRequest(csr=csr, client="leaky"))
    assert operator.fails("unblock", other) == "ca_admin: nothing was unblocked: 1 key not blocked\n"
    assert "'xyz' is neither a serial number nor a SHA-256 hash" in operator.fails("unblock", "xyz", status=2)
    assert "not_found" in operator.fails("unblock", "1234")


def test_the_key_of_a_certificate_that_was_revoked_already_is_blocked_and_that_is_a_success(
    signer: Signer, operator: Operator
) -> None:
    csr = make_csr(key=private_key("p384"), attributes=[extension_request(san(dns("late.example.net")))])
    with contextlib.closing(signer.admin()) as admin:
        serial = admin.ask_issue(IssueRequest(csr=csr, client="late")).serial.hex()
        operator.does("revoke", serial, "--reason", "superseded", "--yes")
        found = operator.gets("revoke", serial, "--reason", "keyCompromise", "--yes")
        assert found == {"revoked": 0, "unchanged": 1, "blocked": 1, "same_key": []}
        with pytest.raises(Refused, match="compromised"):
            admin.ask_issue(IssueRequest(csr=csr, client="late"))


# --- export -----------------------------------------------------------------------------------------


def test_export_as_json_lines_has_an_object_with_pem_for_each_certificate(signer: Signer, operator: Operator) -> None:
    serials = [issue(signer, "export1") for _ in range(3)]
    rows = [json.loads(line) for line in operator.does("export", "--client", "export1").splitlines()]
    assert [row["serial"] for row in rows] == serials
    assert all(set(row) == FIELDS | {"pem"} for row in rows)
    assert rows[0] == operator.gets("show", serials[0])


def test_export_as_csv_says_the_same_without_pem(signer: Signer, operator: Operator) -> None:
    serial = issue(signer, "export2", "a.example.net", "b.example.net")
    operator.does("revoke", serial, "--reason", "superseded", "--yes")
    (row,) = csv.DictReader(io.StringIO(operator.does("export", "--format", "csv", "--client", "export2")))
    (listed,) = operator.gets("list", "--client", "export2")
    assert row == {**listed, "names": "dns:a.example.net dns:b.example.net"}


def test_export_writes_a_file_whole(signer: Signer, operator: Operator) -> None:
    issue(signer, "export3")
    assert operator.does("export", "--client", "export3", "-o", "out.jsonl") == ""
    assert (operator.directory / "out.jsonl").read_text() == operator.does("export", "--client", "export3")
    assert [path.name for path in operator.directory.iterdir()] == ["out.jsonl"]


def test_export_as_a_directory_adds_what_is_new(signer: Signer, operator: Operator) -> None:
    first = issue(signer, "export4")
    arguments = ("export", "--format", "pem-dir", "-o", "certificates", "--client", "export4")
    assert operator.does(*arguments) == "wrote 1 certificate to certificates\n"
    directory = operator.directory / "certificates"
    (directory / f"{first}.pem").write_text("as it was\n")
    second = issue(signer, "export4")
    assert operator.gets(*arguments) == {"written": 1}
    assert {path.name for path in directory.iterdir()} == {f"{first}.pem", f"{second}.pem"}
    assert (directory / f"{first}.pem").read_text() == "as it was\n"
    assert (directory / f"{second}.pem").read_text() == operator.does("show", second, "--pem")


def test_a_reader_that_goes_away_ends_an_export_in_silence(signer: Signer, operator: Operator) -> None:
    for _ in range(150):  # more than a pipe holds
        issue(signer, "export5")
    with subprocess.Popen(
        command_line("ca_admin", "export", "--client", "export5"),
        env=environment(operator.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1
