"""Who may import whom: the real tree keeps the law, and a breach of any part of it would be found.

import-linter reads the source, so it also finds an import that no test happens to run. What it can't see,
an import made at run time by name, is looked for in fresh processes.
"""

import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import frontend
import protocol
import signerd

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

# A line that breaks the law, the file that it is added to, and the contract that it breaks.
BREACHES = [
    ("import signerd", "protocol/messages.py", "protocol imports neither side"),
    ("import frontend", "protocol/client.py", "protocol imports neither side"),
    ("from signerd import key", "frontend/hooks.py", "signerd and frontend never import each other"),
    ("import frontend.hooks", "signerd/csr.py", "signerd and frontend never import each other"),
    ("import bottle", "signerd/server.py", "the signer speaks no HTTP and no TLS"),
    ("from waitress import serve", "signerd/policy/names.py", "the signer speaks no HTTP and no TLS"),
    ("import http.server", "signerd/ledger/store.py", "the signer speaks no HTTP and no TLS"),
    ("from http.client import HTTPConnection", "protocol/wire.py", "the signer speaks no HTTP and no TLS"),
    ("import ssl", "signerd/commands/__init__.py", "the signer speaks no HTTP and no TLS"),
    ("import sqlite3", "frontend/pipeline.py", "the frontend keeps no ledger"),
    ("from signerd.key import RecordedKey", "signerd/policy/names.py", "policy decides without the key"),
    ("from signerd.ledger import Ledger", "signerd/policy/decide.py", "policy decides without the key"),
    ("import msgpack", "protocol/client.py", "msgpack is imported in one file"),
    ("    import msgpack", "signerd/server.py", "msgpack is imported in one file"),
]


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter on the packages below ``tree``, under the contracts of its pyproject.toml."""
    done = subprocess.run([str(LINT_IMPORTS), "--no-cache"], cwd=tree, capture_output=True, text=True, check=False)
    done.stdout = re.sub(r"\x1b\[\d+m", "", done.stdout)  # some of its versions always write in colour
    return done


def contracts() -> list[dict[str, Any]]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        read: list[dict[str, Any]] = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return read


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages and the contracts, to break."""
    for package in ("protocol", "signerd", "frontend"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_tree_keeps_the_import_law() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(contracts())} kept, 0 broken." in done.stdout


@pytest.mark.parametrize(("line", "file", "contract"), BREACHES)
def test_a_breach_of_the_import_law_is_found(line: str, file: str, contract: str, tree: Path) -> None:
    with (tree / file).open("a") as source:
        source.write(f"\n\ndef _late() -> None:\n{line}\n" if line[0] == " " else f"\n{line}\n")
    done = lint_imports(tree)
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [row for row in done.stdout.splitlines() if " BROKEN" in row]
    assert any(row.startswith(contract) for row in broken), done.stdout


def test_every_contract_is_among_those_that_are_broken_above() -> None:
    names = [contract["name"] for contract in contracts()]
    untried = [name for name in names if not any(name.startswith(breach[2]) for breach in BREACHES)]
    assert untried == []


@pytest.mark.parametrize("line", ["from urllib import request", "import msgspec.msgpack", "from . import key"])
def test_a_breach_that_only_ruff_can_see_is_found(line: str, tree: Path) -> None:
    (tree / "signerd/breach.py").write_text(f"{line}\n")
    command = [str(Path(sys.executable).with_name("ruff")), "check", "--no-cache", "--select", "TID", "."]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("breach.py:1:") == 1
    assert "Found 1 error." in done.stdout


def modules_of(package: Any) -> list[str]:
    """The dotted names of all modules below a package."""
    return [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]


def packages_loaded_by(modules: list[str]) -> set[str]:
    """The top-level names in sys.modules of a fresh process that has imported ``modules``."""
    code = f"import {', '.join(modules)}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_frontend_loads_nothing_of_the_signer() -> None:
    loaded = packages_loaded_by(modules_of(frontend))
    assert "bottle" in loaded
    assert loaded & {"signerd", "sqlite3"} == set()


def test_the_signer_loads_nothing_of_the_frontend_and_no_http() -> None:
    loaded = packages_loaded_by(modules_of(signerd))
    assert {"signerd", "sqlite3", "msgpack"} <= loaded
    assert loaded & {"frontend", "bottle", "waitress", "prometheus_client", "http", "ssl", "asyncio"} == set()


def test_the_protocol_loads_neither_side() -> None:
    assert packages_loaded_by(modules_of(protocol)) & {"signerd", "frontend"} == set()
