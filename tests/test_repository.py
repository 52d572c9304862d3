"""What is so of the repository as a whole: what is committed, what is pinned, and how the set-up behaves."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
MODULE_LINES_MAX = 350  # beyond that a module has more than one subject, and a newcomer can't find a thing in it

# Whoever builds this has a registry, and a home, of their own.
FOREIGN = re.compile(
    r"(pypi|pythonhosted|npmjs|deb\.debian|security\.debian|archive\.ubuntu)\.(org|com)|/(work|home/\w+)/"
)


def committed() -> list[Path]:
    """The files that are committed, or would be by `git add`."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def dependencies() -> list[Requirement]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return [Requirement(line) for line in tomllib.load(file)["project"]["dependencies"]]


def pins() -> list[tuple[Requirement, list[str]]]:
    """What requirements.txt pins, each with its hashes."""
    text = re.sub(r"^#.*\n", "", (ROOT / "requirements.txt").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(Requirement(line.split()[0]), line.split()[1:]) for line in lines]


def test_no_file_names_a_package_registry_or_a_path_of_the_machine_it_was_written_on() -> None:
    found = []
    for path in committed():
        lines = path.read_bytes().decode(errors="replace").splitlines()
        found += [f"{path.relative_to(ROOT)}:{number}" for number, line in enumerate(lines, 1) if FOREIGN.search(line)]
    assert found == []


def anchors(text: str) -> set[str]:
    """The names by which a Markdown file's headings are linked to."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_of_the_documents_leads_somewhere() -> None:
    found = []
    for document in [path for path in committed() if path.suffix == ".md"]:
        prose = re.sub(r"`[^`\n]*`", "", document.read_text(encoding="utf-8"))
        for link in re.findall(r"\]\(([^)\s]+)\)", prose):
            name, _, anchor = link.partition("#")
            target = (document.parent / name).resolve() if name else document
            if "://" in link or not (anchor or name):
                continue
            if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
                found.append(f"{document.relative_to(ROOT)}: {link}")
    assert found == []


def test_no_module_outgrows_its_one_subject() -> None:
    modules = [path for package in ("protocol", "signerd", "frontend") for path in (ROOT / package).rglob("*.py")]
    sizes = {path: len(path.read_bytes().splitlines()) for path in modules}
    assert sizes
    assert [f"{path}: {size}" for path, size in sizes.items() if size > MODULE_LINES_MAX] == []


def test_every_dependency_has_a_floor_and_no_cap() -> None:
    operators = {dependency.name: [one.operator for one in dependency.specifier] for dependency in dependencies()}
    assert operators
    assert {name: found for name, found in operators.items() if found != [">="]} == {}


def test_what_deployments_install_is_pinned_by_version_and_hash() -> None:
    for pin, hashes in pins():
        assert [one.operator for one in pin.specifier] == ["=="], pin
        assert hashes, pin
        assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", one) for one in hashes), pin


def test_the_pins_satisfy_the_floors() -> None:
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin, _ in pins()}
    for dependency in dependencies():
        assert pinned[canonicalize_name(dependency.name)] in dependency.specifier, dependency


def test_make_alone_lists_every_target() -> None:
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert targets
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^make (\S+) +\S", listed, flags=re.MULTILINE) == targets[1].split()


def test_scripts_are_executable_and_parse() -> None:
    scripts = [path for path in committed() if path.read_bytes().startswith(b"#!/usr/bin/env bash\n")]
    assert {ROOT / ".ci/run", ROOT / "tools/packages"} <= set(scripts)
    for script in scripts:
        assert os.access(script, os.X_OK), script
        subprocess.run(["bash", "-n", script], check=True)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A directory to be the PATH of a machine that has what tools/packages itself uses, and openssl."""
    for command in ("bash", "chmod", "dirname", "env", "grep", "id", "mv", "openssl", "rm", "sh"):
        found = shutil.which(command)
        assert found, command
        (tmp_path / command).symlink_to(found)
    return tmp_path


def put_command(directory: Path, name: str, script: str) -> None:
    (directory / name).unlink(missing_ok=True)
    (directory / name).write_text(f"#!/bin/bash\n{script}\n")
    (directory / name).chmod(0o755)


def see_to_packages(machine: Path, *before: str) -> subprocess.CompletedProcess[str]:
    command = [*before, "bash", str(ROOT / "tools/packages"), "run"]
    environment = {"PATH": str(machine)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


APT_MUST_NOT_RUN = "echo apt-get ran; exit 1"

# Over /usr/sbin, so that what is written there is seen by this process and its children alone, and so that
# this machine's own commands there don't count.
AS_ROOT_ELSEWHERE = 'mount -t tmpfs none /usr/sbin && "$@"; status=$?; ls /usr/sbin; exit $status'


def test_a_machine_that_has_all_packages_is_left_alone(machine: Path) -> None:
    put_command(machine, "curl", "")
    put_command(machine, "apt-get", APT_MUST_NOT_RUN)
    done = see_to_packages(machine)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_package_is_named_with_the_command_to_get_it_where_one_is_not_root(machine: Path) -> None:
    put_command(machine, "id", "echo 1000")
    put_command(machine, "apt-get", APT_MUST_NOT_RUN)
    done = see_to_packages(machine)
    assert (done.returncode, done.stdout) == (1, "This machine lacks: curl\n")
    assert "sudo apt-get install --no-install-recommends curl\n" in done.stderr


def test_root_gets_what_is_missing_and_no_service_is_started(machine: Path) -> None:
    install = f'[[ $* == *" curl" ]] || exit 0; >{machine}/curl; chmod +x {machine}/curl'
    put_command(machine, "apt-get", f'{install}; /usr/sbin/policy-rc.d nginx start; echo "start: $?"')
    for name in ("mount", "ls"):
        (machine / name).symlink_to(str(shutil.which(name)))
    unshare = [str(shutil.which("unshare")), "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    done = see_to_packages(machine, *unshare, "bash", "-c", AS_ROOT_ELSEWHERE, "bash")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["This machine lacks: curl", "start: 101"]


def test_other_users_reach_a_tree_below_a_closed_directory_and_the_disk_stays_as_it_is(tmp_path: Path) -> None:
    tree = tmp_path / "closed" / "tree"
    for directory in ("tools", "protocol"):
        shutil.copytree(ROOT / directory, tree / directory)
    (tree / "python").symlink_to(Path(sys.executable).resolve())
    tree.parent.chmod(0o700)
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    look = 'touch here; "$@" sh -c "./python -c \'import protocol\' && pwd"'
    command = [str(tree / "tools/reachable"), "python", "sh", "-c", look, "sh", *drop]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tree}\n", "")
    assert (tree / "here").exists()
    assert stat.S_IMODE(tree.parent.stat().st_mode) == 0o700
