"""The operator's own code in the signer: ssl_api's ``sapi_custom_ca.ca``, from where only root can write.

It runs with the signer's rights, beside the key. So it is not searched for on a path: it is one file,
DIRECTORY/sapi_custom_ca/ca.py, and it and every directory above it must be root's alone to write.
"""

import importlib.util
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from protocol.errors import ConfigurationError, ErrorCode, Refused

_log = logging.getLogger(__name__)
_SERIAL_BITS = 159  # positive, and at most 20 octets (RFC 5280, 4.1.2.2)


@dataclass(frozen=True, slots=True)
class Custom:
    """What the module defines; None for what it doesn't."""

    boot: Callable[[], object] | None = None
    make_serial: Callable[[], int] | None = None


def load_custom(directory: Path) -> Custom:
    """The module in the directory, if there is one. Raises ``ConfigurationError``."""
    path = directory / "sapi_custom_ca" / "ca.py"
    if not path.exists():
        return Custom()
    _refuse_unless_roots(path)
    try:
        module = _import(path)
    except Exception as error:
        raise ConfigurationError(f"{path} can't be imported: {type(error).__name__}: {error}") from error
    _log.info("the signer runs %s", path)
    generate = getattr(module, "SERIAL_NUMBER_GENERATOR_CB", None)
    return Custom(
        boot=getattr(module, "CUSTOM_BOOT_CB", None),
        make_serial=None if generate is None else lambda: _serial(generate()),
    )


def run_boot(custom: Custom) -> None:
    """Calls CUSTOM_BOOT_CB. Raises ``ConfigurationError`` if it raises: the signer does not start."""
    if custom.boot is not None:
        try:
            custom.boot()
        except Exception as error:
            raise ConfigurationError(f"CUSTOM_BOOT_CB raised {type(error).__name__}: {error}") from error


def _refuse_unless_roots(path: Path) -> None:
    for part in (path.resolve(), *path.resolve().parents):
        status = os.stat(part)  # noqa: PTH116 - one call for mode and owner
        if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigurationError(f"{path} is not run: {part} can be written by others than root")


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("sapi_custom_ca.ca", path)
    if spec is None or spec.loader is None:
        raise ImportError("no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _serial(made: object) -> int:
    """A serial number from what the callback made: a number, or hex digits as ssl_api's had, cut to 159 bits."""
    try:
        number = int(made, 16) if isinstance(made, str) else made
    except ValueError:
        number = None
    if type(number) is not int or (serial := number & ((1 << _SERIAL_BITS) - 1)) <= 0 or number < 0:
        _log.error("SERIAL_NUMBER_GENERATOR_CB made no positive number")
        raise Refused(ErrorCode.INTERNAL, "the operator's serial number generator made no positive number")
    return serial
