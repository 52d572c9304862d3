"""The first minute: make's own set-up on a machine whose Python is too old, without a network, and after Ctrl-C."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminal import Terminal

ROOT = Path(__file__).parents[1]
BASE = os.path.realpath(sys.executable)

# A Python that calls itself 3.10, whatever it is: the script that it is given is the last argument.
OLD_PYTHON = f"""#!/bin/bash
exec {BASE} -I -c "import sys; sys.version_info = (3, 10, 12, 'final', 0); exec(sys.argv[-1])" "${{@: -1}}"
"""


@pytest.fixture
def old_machine(tmp_path: Path) -> Path:
    """A directory to be the PATH of a machine whose only Python is an old one."""
    for command in ("bash", "cat", "cut", "dirname", "env", "grep", "head", "id", "sh", "sort", "tail"):
        (tmp_path / command).symlink_to(str(shutil.which(command)))
    (tmp_path / "python3").write_text(OLD_PYTHON)
    (tmp_path / "python3").chmod(0o755)
    return tmp_path


def on(machine: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(machine), **environ}
    return subprocess.run(["bash", *command], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


def test_where_the_only_python_is_too_old_that_is_said_with_its_version(old_machine: Path) -> None:
    done = on(old_machine, "tools/python")
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs Python 3.11 or later" in done.stderr
    assert f"{old_machine}/python3: 3.10.12 is too old" in done.stderr


def test_a_python_that_was_named_and_is_too_old_is_refused_by_its_version(old_machine: Path) -> None:
    done = on(old_machine, "tools/python", PYTHON=f"{old_machine}/python3")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"PYTHON={old_machine}/python3: 3.10.12 is too old; signerd needs Python 3.11 or later\n"


def test_somebody_who_may_install_nothing_hears_it_too(old_machine: Path, tmp_path: Path) -> None:
    (old_machine / "id").unlink()
    (old_machine / "id").write_text("#!/bin/bash\necho 1000\n")
    (old_machine / "id").chmod(0o755)
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "tools", tree / "tools")  # without a .venv, which would do
    done = on(old_machine, f"{tree}/tools/packages", "python")
    assert done.returncode == 1
    assert "3.10.12 is too old" in done.stderr


@pytest.mark.parametrize("module", ["signerd.__main__", "signerd.commands.admin", "frontend.dev", "frontend.serve"])
def test_a_module_that_an_old_python_runs_says_what_it_needs_before_anything_else(module: str) -> None:
    script = f"import sys; sys.version_info = (3, 10, 12, 'final', 0); import {module}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"signerd needs Python 3.11 or later; {sys.executable} is 3.10.12\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What make needs of this tree for its set-up, and an index of packages that never answers."""
    for name in ("tools", "protocol", "signerd", "frontend"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


NOWHERE = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_FIND_LINKS": "",
    "PIP_RETRIES": "0",
    "PIP_NO_CACHE_DIR": "1",
}


def test_without_a_network_make_run_says_so_in_a_line_and_shows_no_traceback(tree: Path) -> None:
    environment = {**os.environ, **NOWHERE}
    done = subprocess.run(["make", "run"], cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(said) <= 2, done.stderr
    assert "is the network there?" in said[-1]


def test_ctrl_c_while_packages_are_fetched_ends_in_a_line_and_leaves_nothing_running(tree: Path) -> None:
    never = {"PIP_INDEX_URL": "http://192.0.2.1/simple", "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}  # RFC 5737
    environment = {**os.environ, **NOWHERE, **never, "PIP_RETRIES": "100"}
    with Terminal(["make", "run"], cwd=tree, environment=environment) as person:
        person.wait_for("installing the newest of the dependencies")
        person.press_ctrl_c()
        shown = person.rest()
    assert "Traceback" not in shown
    assert "given up; the next make goes on from here" in shown
    running = subprocess.run(["pgrep", "--full", re.escape(str(tree))], capture_output=True, text=True, check=False)
    assert running.stdout == ""


def test_what_the_readmes_commands_make_is_ignored_by_git() -> None:
    made = set(re.findall(r"web1\.\w{3}\b", (ROOT / "README.md").read_text()))
    assert made == {"web1.key", "web1.csr", "web1.pem"}
    command = ["git", "-c", "safe.directory=*", "check-ignore", *sorted(made)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == made
