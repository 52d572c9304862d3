"""The units: what systemd itself says of them, and what their processes can really do."""

import re

import pytest

from tests.system.machine import ROOT, Machine

UNITS = "/usr/local/lib/systemd/system"
EXPOSURE_MAX = 1.0  # of 10, by systemd-analyze security
SERVICES = {"ca-signerd": "ca", "ca-frontend": "ca-web"}

# As a process of the unit sees it: all that its user may write, on every file system that is mounted there.
# /proc is left out: what can be written there is the process's own, and gone with it.
WRITABLE = """
pid=$(systemctl show --value --property MainPID {unit})
as_user="setpriv --reuid {user} --regid {user} --clear-groups --bounding-set=-all"
nsenter --target $pid --mount --pid -- $as_user bash -c '
  while read -r _ _ _ _ mount _; do
    case $mount in /proc*) ;; *) find "$mount" -xdev -writable \\( -type d -o -type f \\) 2>/dev/null ;; esac
  done </proc/self/mountinfo | sort -u'
"""


def headings(unit: str) -> list[str]:
    """The commented headings of a unit in the repository."""
    return re.findall(r"^# --- (.*?) -+$", (ROOT / "systemd" / unit).read_text(), flags=re.MULTILINE)


def test_both_units_have_the_same_headings_in_the_same_order() -> None:
    assert len(headings("ca-signerd.service")) > 5
    assert headings("ca-signerd.service") == headings("ca-frontend.service")


def test_systemd_finds_nothing_wrong_with_any_unit(machine: Machine) -> None:
    done = machine.attempt(f"systemd-analyze verify --man=no {UNITS}/ca-*")
    assert (done.status, done.stdout, done.stderr) == (0, "", "")


def test_every_manual_page_that_a_unit_names_is_installed(machine: Machine) -> None:
    machine.run(
        f"""
        pages=$(sed -n 's/^Documentation=//p' {UNITS}/ca-* | tr ' ' '\\n' | grep ^man:ca_ | sort -u)
        test -n "$pages"
        for page in $pages; do
          name=${{page#man:}}; section=${{name#*(}}
          test -s "/usr/local/share/man/man${{section%)}}/${{name%(*}}.${{section%)}}"
        done
        """
    )


@pytest.mark.parametrize("unit", SERVICES)
def test_systemd_calls_each_unit_safe(machine: Machine, unit: str) -> None:
    verdict = machine.run(f"systemd-analyze security --no-pager {unit}.service").splitlines()[-1]
    found = re.search(r"exposure level for .*: ([0-9.]+)", verdict)
    assert found, verdict
    assert float(found[1]) <= EXPOSURE_MAX


@pytest.mark.parametrize("drop_in", ["plain-passphrase", "ask-passphrase", "hsm"])
def test_the_signers_drop_ins_are_valid(machine: Machine, drop_in: str) -> None:
    check_drop_in(machine, "ca-signerd.service", drop_in)


@pytest.mark.parametrize("drop_in", ["hooks-files", "hooks-network"])
def test_the_frontends_drop_ins_are_valid(machine: Machine, drop_in: str) -> None:
    check_drop_in(machine, "ca-frontend.service", drop_in)


def check_drop_in(machine: Machine, unit: str, name: str) -> None:
    source = f"/usr/local/share/doc/signerd/drop-ins/{name}.conf"
    try:
        # What is commented out has to be valid too, once somebody needs it.
        machine.run(f"mkdir -p /etc/systemd/system/{unit}.d; cp {source} /etc/systemd/system/{unit}.d/")
        machine.run(f"sed -i -E 's/^#([A-Z][A-Za-z]+=)/\\1/' /etc/systemd/system/{unit}.d/{name}.conf")
        done = machine.attempt(f"systemd-analyze verify --man=no {UNITS}/{unit}")
        assert (done.status, done.stderr) == (0, "")
    finally:
        machine.run(f"rm -r /etc/systemd/system/{unit}.d; systemctl daemon-reload")


def test_each_socket_belongs_to_whom_it_is_for_and_nobody_else_may_connect(machine: Machine) -> None:
    sockets = machine.run("stat --format '%n %U:%G %a' /run/ca/*.sock /run/ca-frontend/*.sock").splitlines()
    assert sockets == [
        "/run/ca/admin.sock ca:ca-admin 660",
        "/run/ca/sign.sock ca:ca-web 660",
        "/run/ca-frontend/http.sock ca-web:www-data 660",
    ]


def test_the_signer_can_write_its_state_and_nothing_else(machine: Machine) -> None:
    writable = machine.run(WRITABLE.format(unit="ca-signerd", user="ca")).splitlines()
    assert writable[0] == "/var/lib/ca"
    others = {path for path in writable[1:] if not path.startswith("/var/lib/ca/ledger.db")}
    assert others <= {
        "/var/lib/ca/ledger.key.pem"
    }  # which it has made at this start; from the next one on it is read-only


def test_the_frontend_can_write_nothing(machine: Machine) -> None:
    assert machine.run(WRITABLE.format(unit="ca-frontend", user="ca-web")) == ""


def test_what_the_signer_writes_cannot_be_run(machine: Machine) -> None:
    done = machine.attempt(
        """
        pid=$(systemctl show --value --property MainPID ca-signerd)
        cp /bin/true /var/lib/ca/program
        trap 'rm /var/lib/ca/program' EXIT
        nsenter --target $pid --mount -- /var/lib/ca/program
        """
    )
    assert done.status != 0
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize("unit", SERVICES)
def test_each_process_runs_as_its_user_without_any_privilege_or_way_to_one(machine: Machine, unit: str) -> None:
    status = machine.run(f"cat /proc/$(systemctl show --value --property MainPID {unit})/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    uid = machine.run(f"id -u {SERVICES[unit]}")
    gid = machine.run(f"id -g {SERVICES[unit]}")
    assert fields["Uid"].split() == [uid] * 4
    assert (fields["Gid"].split(), fields["Groups"].split()) == ([gid] * 4, [gid])
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    assert [int(fields[name], 16) for name in sets] == [0] * len(sets)
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


@pytest.mark.parametrize("unit", SERVICES)
def test_neither_process_has_a_network(machine: Machine, unit: str) -> None:
    enter = f"nsenter --net --target $(systemctl show --value --property MainPID {unit}) --"
    assert machine.run(f"{enter} cat /proc/net/dev | tail -n +3 | cut -d : -f 1").split() == ["lo"]
    kinds = "/proc/net/{tcp,tcp6,udp,udp6,raw,raw6,packet}"
    assert machine.run(f"{enter} bash -c 'tail -qn +2 {kinds}'") == ""


def test_a_reload_puts_the_new_policy_in_force_without_a_restart(machine: Machine) -> None:
    put = (
        "curl -s -o /dev/null -w '%{http_code}' --unix-socket /run/ca-frontend/http.sock -T /srv/client/web1.csr "
        "http://localhost/api/csr/web1"
    )
    before = machine.show("ca-signerd", "MainPID")
    assert machine.run(put) == "200"
    try:
        machine.run(
            "cp -p /etc/ca/signerd.toml /root/; sed -i 's/^dns = .*/dns = [\"other.net\"]/' /etc/ca/signerd.toml"
        )
        machine.run("systemctl reload ca-signerd")
        assert machine.run(put) == "403"
    finally:
        machine.run("cp -p /root/signerd.toml /etc/ca/; systemctl reload ca-signerd")
    assert machine.run(put) == "200"
    assert machine.show("ca-signerd", "MainPID") == before


def test_a_reload_of_a_policy_that_is_refused_fails_says_why_and_leaves_the_signer_as_it_is(machine: Machine) -> None:
    before = machine.show("ca-signerd", "MainPID")
    machine.run("cp -p /etc/ca/signerd.toml /root/; echo 'x = 1' >>/etc/ca/signerd.toml")
    try:
        done = machine.attempt("systemctl reload ca-signerd")
        assert done.status == 1
        assert "unknown key" in machine.run("systemctl status ca-signerd --no-pager")
        assert machine.run("ca_admin status | sed -n 1p").split() == ["state:", "ready"]
    finally:
        machine.run("cp -p /root/signerd.toml /etc/ca/; systemctl reload ca-signerd")
    assert machine.show("ca-signerd", "MainPID") == before
