"""`make install` and `make uninstall`, and what they leave where."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.system.machine import ROOT, Machine, booted
from tests.system.serving import serve

COMMANDS = ("ca_admin", "ca_create_identity", "ca_frontend", "ca_sign_certificate", "ca_signerd", "ca_start_dev")


def page(name: str) -> str:
    section = 1 if name == "ca_start_dev" else 8
    return f"/usr/local/share/man/man{section}/{name}.{section}"


def test_each_command_is_on_the_path_and_runs(machine: Machine) -> None:
    for name in COMMANDS:
        assert machine.run(f"cd /; env -i PATH=/usr/local/bin:/usr/bin {name} --version").startswith(f"{name} 1.")


@pytest.mark.parametrize("user", ["ca", "ca-web", "nobody"])
def test_each_user_can_run_what_is_installed_and_write_none_of_it(machine: Machine, user: str) -> None:
    as_user = f"setpriv --reuid {user} --regid $(id -g {user}) --clear-groups"
    machine.run(f"{as_user} ca_create_identity --version")
    assert (
        machine.run(f"{as_user} find /opt/signerd /usr/local /etc/ca -xdev -writable ! -type l 2>/dev/null || :") == ""
    )


def test_nothing_that_is_installed_names_where_it_was_made(installed: Path) -> None:
    # Links, and what git or a distribution would call a build path: in scripts, settings and byte code.
    found = subprocess.run(
        ["grep", "--recursive", "--files-with-matches", "--fixed-strings", str(installed), str(installed)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (1, "")
    assert [path for path in installed.rglob("*") if path.is_symlink() and str(installed) in str(path.readlink())] == []


def test_nothing_secret_is_installed(installed: Path) -> None:
    assert not (installed / "var").exists()
    assert sorted(str(path.relative_to(installed)) for path in (installed / "etc").rglob("*") if path.is_file()) == [
        "etc/ca/frontend.toml",
        "etc/ca/signerd.toml",
        "etc/nginx/sites-available/signerd",
    ]


def test_the_readmes_links_lead_to_documents_that_are_installed(installed: Path) -> None:
    readme = installed / "usr/local/share/doc/signerd/README.md"
    links = re.findall(r"\]\(([^):#]+)\)", readme.read_text())
    assert links
    assert [link for link in links if not (readme.parent / link).is_file()] == []


def test_no_installer_of_packages_is_installed(installed: Path) -> None:
    environment = installed / "opt/signerd"
    assert [path.name for path in environment.rglob("*") if path.name in {"pip", "setuptools", "activate"}] == []


def test_the_settings_that_are_installed_are_valid(machine: Machine) -> None:
    assert "profile server (the default)" in machine.run("ca_signerd --check-config")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_manual_page_that_man_reads_without_a_warning(machine: Machine, name: str) -> None:
    done = machine.attempt(f"LC_ALL=C.UTF-8 MANWIDTH=100 man --warnings=all --local-file {page(name)} | col -b")
    assert (done.status, done.stderr) == (0, "")
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"):
        assert f"\n{heading}\n" in done.stdout
    assert "--version" in done.stdout


def test_the_page_of_ca_admin_has_each_of_its_commands(machine: Machine) -> None:
    listed = machine.run("ca_admin --help | sed -n '/^Commands:/,$p' | tail -n +2 | awk '{ print $1 }'").split()
    assert len(listed) > 5
    text = machine.run(f"MANWIDTH=100 man --local-file {page('ca_admin')} | col -b")
    assert [name for name in listed if f"\n   {name} " not in text] == []


def test_bash_completes_commands_and_options(machine: Machine) -> None:
    script = """
    set +eu
    source /usr/local/share/bash-completion/completions/{name}
    COMP_WORDS=({words}) COMP_CWORD={last}
    _{name}_completion {name}
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert "status" in machine.run(script.format(name="ca_admin", words="ca_admin st", last=1)).split()
    assert "--config" in machine.run(script.format(name="ca_signerd", words="ca_signerd --co", last=1)).split()


@pytest.mark.long
def test_an_upgrade_keeps_settings_and_an_uninstall_leaves_them_alone(tmp_path: Path) -> None:
    subprocess.run(["make", "install", f"DESTDIR={tmp_path}"], cwd=ROOT, check=True)
    settings = tmp_path / "etc/ca/signerd.toml"
    settings.write_text("# ours\n")
    (tmp_path / "opt/signerd/left-over").touch()
    subprocess.run(["make", "install", f"DESTDIR={tmp_path}"], cwd=ROOT, check=True)
    assert settings.read_text() == "# ours\n"
    assert not (tmp_path / "opt/signerd/left-over").exists()
    subprocess.run(["make", "uninstall", f"DESTDIR={tmp_path}"], cwd=ROOT, check=True)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "etc/ca/frontend.toml",
        "etc/ca/signerd.toml",
        "etc/nginx/sites-available/signerd",
    ]


@pytest.mark.long
def test_installed_here_it_serves_an_upgrade_restarts_it_and_an_uninstall_leaves_the_authority(installed: Path) -> None:
    # The fixture has fetched what is pinned: this machine has no network to do so.
    with booted() as machine:
        machine.run(f"touch /srv/before; make -C {ROOT} install", seconds=120)
        serve(machine)
        before = [machine.show(unit, "MainPID") for unit in ("ca-signerd", "ca-frontend")]
        machine.run(f"make -C {ROOT} install", seconds=120)
        assert set(before).isdisjoint(machine.show(unit, "MainPID") for unit in ("ca-signerd", "ca-frontend"))
        put = "curl -sSf --cacert /var/lib/ca/ca.crt.pem -T /srv/client/web1.csr https://ca.example.net/api/csr/web1"
        assert "BEGIN CERTIFICATE" in machine.run(put)
        machine.run(f"make -C {ROOT} uninstall")
        assert machine.run("systemctl list-units --plain --no-legend 'ca-*'") == ""
        machine.run("test ! -L /etc/nginx/sites-enabled/signerd; systemctl restart nginx")
        assert machine.run("find /opt /usr/local /etc/systemd -newercc /srv/before ! -type d") == ""
        machine.run(
            "test -s /var/lib/ca/ca.private_key.pem; test -s /var/lib/ca/ledger.db; test -s /etc/ca/signerd.toml"
        )
