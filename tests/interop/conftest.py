"""Verifiers and linters that Python has not: `make interop`. `make test` doesn't come here (pyproject.toml)."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.interop.cases import BUILD, HERE, Case, all_cases


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all that was signed lies, a directory for each CA."""
    return tmp_path_factory.mktemp("signed")


@pytest.fixture(scope="session")
def cases(directory: Path) -> list[Case]:
    """All of them."""
    return all_cases(directory)


@pytest.fixture(scope="session")
def go() -> Path:
    """The driver in Go."""
    return _built(["go", "build", "-o", BUILD / "interop-go", "."], HERE / "go", BUILD / "interop-go")


@pytest.fixture(scope="session")
def rust() -> Path:
    """The driver in Rust."""
    command: list[str | Path] = ["cargo", "build", "--quiet", "--release", "--target-dir", BUILD / "rust"]
    return _built(command, HERE / "rust", BUILD / "rust" / "release" / "interop")


def _built(command: list[str | Path], where: Path, result: Path) -> Path:
    """Builds a driver; what it needs comes from where the language's own tool gets it."""
    done = subprocess.run(
        list(map(str, command)), cwd=where, env=os.environ, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return result
