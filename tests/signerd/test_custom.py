"""The operator's own code in the signer."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.errors import ConfigurationError, Refused
from signerd.custom import load_custom, run_boot

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files that are root's")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose parents are all root's alone, unlike pytest's own below a sticky /tmp."""
    path = Path("/var/lib") / f"signerd-test-custom-{os.getpid()}"
    (path / "sapi_custom_ca").mkdir(mode=0o755, parents=True)
    yield path
    shutil.rmtree(path)


def _write(directory: Path, text: str) -> Path:
    path = directory / "sapi_custom_ca" / "ca.py"
    path.write_text(text)
    path.chmod(0o644)
    return path


def test_without_a_module_there_is_nothing_to_run(tmp_path: Path) -> None:
    custom = load_custom(tmp_path)
    assert (custom.boot, custom.make_serial) == (None, None)
    run_boot(custom)


@needs_root
def test_the_callbacks_of_ssl_api_are_found_by_their_names(directory: Path) -> None:
    _write(
        directory, "booted = []\nCUSTOM_BOOT_CB = lambda: booted.append(1)\nSERIAL_NUMBER_GENERATOR_CB = lambda: 42\n"
    )
    custom = load_custom(directory)
    run_boot(custom)
    assert custom.boot is not None
    assert custom.boot.__globals__["booted"] == [1]
    assert custom.make_serial is not None
    assert custom.make_serial() == 42


@needs_root
def test_the_hex_digits_that_ssl_api_wanted_are_cut_to_159_bits(directory: Path) -> None:
    _write(directory, "SERIAL_NUMBER_GENERATOR_CB = lambda: 'ff' * 20\n")
    make_serial = load_custom(directory).make_serial
    assert make_serial is not None
    assert make_serial() == 2**159 - 1


@needs_root
@pytest.mark.parametrize("made", ["0", "-1", "None", "'nonsense'", "1.5", "True", "1 << 159"])
def test_a_generator_that_makes_no_positive_number_of_159_bits_issues_nothing(directory: Path, made: str) -> None:
    _write(directory, f"SERIAL_NUMBER_GENERATOR_CB = lambda: {made}\n")
    make_serial = load_custom(directory).make_serial
    assert make_serial is not None
    with pytest.raises(Refused, match="no positive number"):
        make_serial()


@needs_root
@pytest.mark.parametrize("writable", ["file", "package", "directory"])
def test_what_others_than_root_can_write_is_not_run(directory: Path, writable: str) -> None:
    path = _write(directory, "raise SystemExit('it ran')\n")
    {"file": path, "package": path.parent, "directory": directory}[writable].chmod(0o777)
    with pytest.raises(ConfigurationError, match="can be written by others than root"):
        load_custom(directory)


@needs_root
def test_what_belongs_to_another_user_is_not_run(directory: Path) -> None:
    os.chown(_write(directory, "raise SystemExit('it ran')\n"), 65534, 65534)
    with pytest.raises(ConfigurationError, match="can be written by others than root"):
        load_custom(directory)


@needs_root
def test_a_module_that_fails_keeps_the_signer_from_starting_and_says_where(directory: Path) -> None:
    path = _write(directory, "import no_such_module\n")
    with pytest.raises(ConfigurationError, match=rf"{path} can't be imported: ModuleNotFoundError"):
        load_custom(directory)
    _write(directory, "def CUSTOM_BOOT_CB():\n    raise RuntimeError('no licence')\n")
    with pytest.raises(ConfigurationError, match="CUSTOM_BOOT_CB raised RuntimeError: no licence"):
        run_boot(load_custom(directory))
