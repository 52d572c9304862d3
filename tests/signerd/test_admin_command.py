"""ca_admin as a whole, and how an operator looks at a signer and steers it."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from protocol.errors import ErrorCode, Refused
from protocol.messages import IssueRequest
from signerd.commands.admin import command
from tests.commands import ROOT, Operator, environment, run
from tests.csrs import csr_for, dns
from tests.running import Signer, needs_root
from tests.terminal import Terminal

SUBCOMMANDS = (
    "status", "list", "show", "revoke", "unblock", "freeze", "thaw", "accept", "reload", "check", "issue", "verify",
    "rebuild", "checkpoint", "backup", "restore", "export", "ledger-key", "passphrase", "doctor", "completion",
)  # fmt: skip
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with Signer(policy="[quota]\ntotal = '1000/hour'\n") as signer:
        yield signer


@pytest.fixture
def operator(signer: Signer, tmp_path: Path) -> Operator:
    return Operator(signer.admin_path, tmp_path)


# --- the command ------------------------------------------------------------------------------------


def test_help_lists_the_subcommands_and_examples() -> None:
    done = run("ca_admin", "--help")
    assert done.returncode == 0
    assert re.findall(r"^  ([a-z-]+)  ", done.stdout.partition("Commands:")[2], re.MULTILINE) == list(SUBCOMMANDS)
    assert "Examples:\n" in done.stdout


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_each_subcommand_has_help_with_examples(name: str) -> None:
    done = CliRunner().invoke(command, [name, "-h"])
    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: ca_admin {name}")
    assert re.search(r"Examples:\n    (sudo )?ca_", done.output)


def test_version_is_that_of_the_distribution() -> None:
    assert run("ca_admin", "--version").stdout == "ca_admin 1.0.0\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "Usage: ca_admin"),
        (("nonsense",), "No such command 'nonsense'"),
        (("list", "--state", "gone"), "'gone' is not one of"),
        (("list", "--limit", "0"), "'--limit'"),
        (("list", "--limit", "5", "--all"), "--limit and --all exclude each other"),
        (("list", "--expiring-within", "soon"), "'soon' is no duration"),
        (("list", "--issued-since", "yesterday"), "'yesterday' is no time"),
        (("list", "--issued-since", "2026-01-31T10:00:00"), "has no time zone"),
        (("list", "--name", "x" * 1025), "longer than 1024 characters"),
        (("list", "--client", "web/1"), "'web/1' is no client id"),
        (("list", "--profile", "a b"), "'a b' is no profile's name"),
        (("show",), "Missing argument 'SERIAL'"),
        (("show", "web1"), "'web1' is no serial number"),
        (("show", "00"), "'00' is no serial number"),
        (("show", "1" * 41), "is no serial number"),
        (("revoke",), "name serial numbers, or say --issued-since or --client"),
        (("revoke", "1234", "--client", "web1"), "but not both"),
        (("revoke", "1234", "--reason", "boredom"), "'boredom' is none of unspecified, keyCompromise"),
        (("revoke", *map(str, range(1, 1002))), "more than 1000 serial numbers"),
        (("check",), "Missing argument 'CSR'"),
        (("list", "--expiring-within", "30"), "'30' is no duration: write a whole number and one of s, m, h, d, w, y"),
        (("issue", "x.csr", "--lifetime", "90"), "'90' is no duration"),
        (("check", "x.csr", "--lifetime", "0d"), "it must be longer than nothing"),
        (("issue", "x.csr", "--client", ""), "'' is no client id"),
        (("freeze", "--why", "x" * 1025), "longer than 1024 characters"),
        (("export", "--format", "xml"), "'xml' is not one of"),
        (("export", "--format", "pem-dir"), "--format pem-dir needs -o DIRECTORY"),
        (("verify", "--ledger", "x.db", "--checkpoint", "y"), "--checkpoint needs --certificate"),
        (("backup",), "Missing argument 'OUTPUT'"),
        (("completion", "csh"), "'csh' is not one of"),
    ],
)
def test_wrong_usage_ends_with_2_and_asks_no_signer(arguments: tuple[str, ...], complaint: str) -> None:
    done = CliRunner().invoke(command, ["--socket", "/nonexistent/admin.sock", *arguments])
    assert done.exit_code == 2
    assert complaint in " ".join(done.output.split())


def test_json_may_stand_before_and_after_the_subcommand(operator: Operator) -> None:
    before, after = operator.does("--json", "status"), operator.does("status", "--json")
    assert json.loads(before).keys() == json.loads(after).keys()


@pytest.mark.parametrize(
    ("arguments", "status", "error", "detail"),
    [
        (("show", "0badcafe"), 1, "not_found", "0badcafe"),
        (("list", "--state", "gone"), 2, "usage", "'gone' is not one of"),
        (("nonsense",), 2, "usage", "No such command"),
        (("revoke", "--client", "web1"), 1, "failed", "say --yes"),
        (("check", "/nonexistent.csr"), 1, "failed", "/nonexistent.csr: No such file or directory"),
        (("--socket", "/nonexistent/admin.sock", "status"), 1, "unavailable", "there is no socket at"),
        (("doctor", "--config", "/nonexistent"), 1, None, ""),  # whose findings are its answer
    ],
)
def test_with_json_an_error_is_json_too_on_stderr(
    operator: Operator, arguments: tuple[str, ...], status: int, error: str | None, detail: str
) -> None:
    for order in (("--json", *arguments), (*arguments, "--json")):
        done = operator.tries(*order)
        assert done.returncode == status
        if error is None:
            assert json.loads(done.stdout)
            continue
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        said = json.loads(done.stderr)
        assert (set(said), said["error"]) == ({"error", "detail"}, error)
        assert detail in said["detail"]


def test_the_socket_may_be_named_before_and_after_the_subcommand_and_by_the_environment(signer: Signer) -> None:
    for arguments, environ in (
        (("--socket", signer.admin_path, "status"), {}),
        (("status", "--socket", signer.admin_path), {}),
        (("status", "--socket", signer.admin_path), {"CA_ADMIN_SOCKET": "/nonexistent"}),
        (("status",), {"CA_ADMIN_SOCKET": signer.admin_path}),
    ):
        assert run("ca_admin", *arguments, environ=environ).returncode == 0


WHAT_IT_LOADED = (
    "import atexit, sys; from signerd.commands.admin import main\n"
    "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    "main()\n"
)


def test_status_is_not_kept_waiting_by_libraries_that_it_does_not_need(signer: Signer) -> None:
    looking = [sys.executable, "-c", WHAT_IT_LOADED, "--socket", signer.admin_path, "status"]
    done = subprocess.run(looking, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "signerd.commands.admin.operating" in loaded
    assert not loaded & {"cryptography", "rich", "sqlite3", "signerd.ledger", "asyncio", "http"}


# --- when the signer can't be reached ---------------------------------------------------------------


def complaint(*arguments: str, before: tuple[str, ...] = ()) -> str:
    """The one line that ca_admin ends with."""
    done = run("ca_admin", *arguments, before=before)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("ca_admin: unavailable: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_without_a_socket_it_says_to_start_the_signer_or_to_name_its_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    said = complaint("--socket", path, "status")
    assert f"there is no socket at {path}: start the signer (systemctl start ca-signerd)" in said
    assert "--socket or CA_ADMIN_SOCKET" in said


def test_beside_what_ca_start_dev_runs_it_names_that_socket(signer: Signer, tmp_path: Path) -> None:
    done = run("ca_admin", "status", cwd=tmp_path)
    assert "ca-dev/admin.sock" not in done.stderr
    (tmp_path / "ca-dev").symlink_to(signer.state)
    done = run("ca_admin", "status", cwd=tmp_path)
    assert done.stderr.endswith("; here: --socket ca-dev/admin.sock\n")


def test_the_default_socket_is_that_of_the_installed_signer() -> None:
    if not Path("/run/ca/admin.sock").exists():
        assert "there is no socket at /run/ca/admin.sock" in complaint("status")
    assert "default: /run/ca/admin.sock" in re.sub(r"\s+", " ", run("ca_admin", "--help").stdout)


def test_a_socket_that_nobody_listens_at_says_to_start_the_signer(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "start the signer" in complaint("--socket", str(tmp_path / "file"), "status")


def test_a_path_too_long_for_a_socket_is_one_line_too() -> None:
    assert "too long" in complaint("--socket", "/tmp/" + "x" * 200, "status")


@needs_root
def test_whoever_may_not_open_the_socket_hears_who_may(signer: Signer) -> None:
    signer.state.chmod(0o700)
    said = complaint("--socket", signer.admin_path, "status", before=NOBODY)
    assert "ermission denied: only root and the members of the group ca-admin may use it" in said


@needs_root
def test_whoever_the_signer_turns_away_hears_who_may(signer: Signer) -> None:
    signer.state.chmod(0o711)
    Path(signer.admin_path).chmod(0o777)
    said = complaint("--socket", signer.admin_path, "status", before=NOBODY)
    assert "turned you away: only root and the members of the group ca-admin may use it" in said


# --- status, freeze, thaw, reload -------------------------------------------------------------------


def test_status_as_json_has_the_documented_fields(signer: Signer, operator: Operator) -> None:
    signer.admin().ask_issue(IssueRequest(csr=csr_for(dns("status.example.net")), client="status"))
    status = operator.gets("status")
    assert status["state"] == "ready"
    assert status["detail"] is None
    assert status["issuer"] == "O=Tests,CN=Test CA"
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", status["issuer_not_after"])
    assert set(status["certificates"]) == {"valid", "revoked", "hold", "expired", "pending"}
    assert status["certificates"]["valid"] >= 1
    ledger = status["ledger"]
    reply = signer.admin().ask_status()
    assert (ledger["entries"], ledger["head"]) == (reply.entries, reply.head.hex())
    assert status["policy"] == reply.policy.hex()
    assert status["quotas"] == list(reply.quotas)


def test_status_for_people_says_the_same_in_lines(operator: Operator) -> None:
    status, lines = operator.gets("status"), dict(re.findall(r"(.+?): +(.*)", operator.does("status")))
    assert lines["state"] == "ready"
    assert lines["issuer"] == status["issuer"]
    assert lines["issuer valid until"].startswith(status["issuer_not_after"])
    assert lines["head"] == status["ledger"]["head"]
    assert lines["ledger"].startswith(f"{status['ledger']['entries']} entries, ")
    assert lines["certificates"].startswith(f"{status['certificates']['valid']} valid, ")


def test_a_terminal_gets_colours_and_a_pipe_gets_none(operator: Operator) -> None:
    with operator.sits_at("status") as terminal:
        shown = terminal.rest()
        assert terminal.status() == 0
    assert "\x1b[32mready\x1b[0m" in shown
    assert "\x1b" not in operator.does("status")


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_a_terminal_without_colours_gets_none_and_the_same_words(operator: Operator, command: str) -> None:
    with operator.sits_at(command, term="dumb") as terminal:
        shown = terminal.rest()
    assert "\x1b" not in shown
    assert ("state", "ready") in [tuple(line.split()[:2]) for line in shown.splitlines()] or command == "doctor"


def test_what_somebody_wrote_does_not_steer_the_terminal(operator: Operator) -> None:
    operator.does("freeze", "--why", "\x1b[2Jall is well\u202e\nstate: ready")
    try:
        said = operator.does("status")
        assert "detail:             \\u001b[2Jall is well\\u202e\\u000astate: ready\n" in said
        with operator.sits_at("status") as terminal:
            assert "\x1b[2J" not in terminal.rest()
    finally:
        operator.does("thaw")


def test_a_frozen_signer_issues_nothing_until_it_is_thawed(signer: Signer, operator: Operator) -> None:
    request = IssueRequest(csr=csr_for(dns("frozen.example.net")), client="frozen")
    assert operator.gets("freeze", "--why", "the frontend was taken over") == {"state": "frozen"}
    try:
        status = operator.gets("status")
        assert (status["state"], status["detail"]) == ("frozen", "the frontend was taken over")
        with pytest.raises(Refused) as refused:
            signer.sign().ask_issue(request)
        assert refused.value.code is ErrorCode.FROZEN
    finally:
        assert operator.gets("thaw", "--why", "all is well") == {"state": "ready"}
    assert signer.sign().ask_issue(request).certificate


def test_freeze_and_thaw_tell_people_the_state(operator: Operator) -> None:
    assert operator.does("freeze") == "issuance is frozen; the signer is frozen\n"
    assert operator.does("thaw") == "issuance goes on; the signer is ready\n"


def test_reload_takes_a_policy_whole_or_not_at_all(signer: Signer, operator: Operator) -> None:
    before = operator.gets("status")["policy"]
    signer.configure("[profile.server]\nlifetime = '30d'\n[quota]\ntotal = '1000/hour'\n")
    after = operator.gets("reload")["policy"]
    assert after == operator.gets("status")["policy"] != before
    signer.configure("[profile.server]\nlifetime = '30d'\nlifetme_max = '1d'\n")
    said = operator.fails("reload")
    assert "the policy before stays in force" in said
    assert "lifetme_max" in said
    assert operator.gets("status")["policy"] == after
    signer.configure("[quota]\ntotal = '1000/hour'\n")
    assert operator.does("reload") == f"policy {before} is in force\n"


# --- completion, progress ---------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str) -> None:
    done = run("ca_admin", "completion", shell)
    assert done.returncode == 0
    assert f"_CA_ADMIN_COMPLETE={shell}_complete" in done.stdout


def test_bash_completes_subcommands_options_and_their_values() -> None:
    def completed(words: str) -> set[str]:
        environ = {"_CA_ADMIN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return set(re.findall(r"plain,(.*)", run("ca_admin", environ=environ).stdout))

    assert completed("ca_admin ch") == {"check", "checkpoint"}
    assert completed("ca_admin list --st") == {"--state"}
    assert completed("ca_admin list --state re") == {"revoked"}


WORKING = (
    "import sys; from signerd.commands.progress import Progress\n"
    "with Progress('verifying') as progress:\n"
    "    progress.at(3, 10)\n"
    "    if sys.argv[1] == 'long':\n"
    "        input()\n"
    "        print('meanwhile')\n"
    "print('done')\n"
)


def working(how: str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", WORKING, how]


def test_what_takes_longer_than_a_second_shows_people_how_far_it_is() -> None:
    with Terminal(working("long"), cwd=ROOT, environment=environment({"TERM": "xterm"})) as terminal:
        terminal.answer("3/10", "")
        assert "done" in terminal.rest()
        assert terminal.status() == 0


def test_progress_does_not_mix_with_what_goes_to_a_file(tmp_path: Path) -> None:
    to_a_file = ["sh", "-c", 'exec "$@" > "$0"', str(tmp_path / "out"), *working("long")]
    with Terminal(to_a_file, cwd=ROOT, environment=environment({"TERM": "xterm"})) as terminal:
        terminal.answer("3/10", "")
        assert "done" not in terminal.rest()
        assert terminal.status() == 0
    assert (tmp_path / "out").read_text() == "meanwhile\ndone\n"


def test_what_is_done_at_once_shows_no_progress() -> None:
    with Terminal(working("short"), cwd=ROOT, environment=environment({"TERM": "xterm"})) as terminal:
        assert terminal.rest() == "done\n"


def test_progress_is_shown_to_nobody_where_there_is_no_terminal() -> None:
    with subprocess.Popen(
        working("long"),
        cwd=ROOT,
        env=environment(),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        time.sleep(1.5)  # a bar would be there by now
        assert process.communicate("\n", timeout=60) == ("meanwhile\ndone\n", "")
