"""Finding the operator's hooks module. Whatever is wrong with it keeps the frontend from starting."""

import importlib
import importlib.util
import traceback
from collections.abc import Callable
from types import ModuleType

from frontend.hooks import CsrTuple, SigningHooksBase, hash_public_key
from protocol.errors import ConfigurationError

DEFAULT_MODULE = "sapi_custom_ca.api"  # ssl_api's
FACTORY = "API_CSR_HOOKS_FACTORY"

MakeHooks = Callable[[str, CsrTuple], SigningHooksBase]


def load_hooks(name: str | None) -> MakeHooks | None:
    """How to make the hooks of a request from client id and CSR; None if there are none.

    ``name`` is the operator's module; None stands for ``sapi_custom_ca.api``, which need not exist.
    Raises ``ConfigurationError``: for a module that was named and is not there, and for one that is
    there and can't be used, since to go on without it would be to sign unauthorized.
    """
    module = _import(name or DEFAULT_MODULE, required=name is not None)
    if module is None:
        return None
    factory = getattr(module, FACTORY, None)
    if factory is None:
        raise ConfigurationError(f"hooks: {module.__name__} ({module.__file__}) has no {FACTORY}")
    if isinstance(factory, type) and not issubclass(factory, SigningHooksBase):
        raise ConfigurationError(f"hooks: {module.__name__}.{FACTORY} does not inherit from SigningHooksBase")
    if not callable(factory):
        raise ConfigurationError(f"hooks: {module.__name__}.{FACTORY} is neither a class nor a function")
    return _maker(factory)


def _maker(factory: Callable[[str, str | None, CsrTuple], object]) -> MakeHooks:
    # Only our own constructor knows what to do with a hash that is computed once it is asked for.
    lazy = getattr(factory, "__init__", None) is SigningHooksBase.__init__

    def make(client: str, csr_tuple: CsrTuple) -> SigningHooksBase:
        hooks = factory(client, None if lazy else hash_public_key(csr_tuple), csr_tuple)
        if not isinstance(hooks, SigningHooksBase):
            raise TypeError(f"{FACTORY} made a {type(hooks).__name__}, which is no SigningHooksBase")
        return hooks

    return make


def _import(name: str, *, required: bool) -> ModuleType | None:
    try:
        if not required and _is_absent(name):
            return None
        return importlib.import_module(name)
    except BaseException as error:  # whatever the operator's code does at import, sys.exit() included
        raise ConfigurationError(f"hooks: can't import {name}: {_describe(error)}") from None


def _is_absent(name: str) -> bool:
    package = name.rpartition(".")[0]
    return importlib.util.find_spec(package) is None or importlib.util.find_spec(name) is None


def _describe(error: BaseException) -> str:
    """The error and the operator's line that it comes from."""
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__
        and not frame.filename.startswith("<frozen ")
        and "/importlib/" not in frame.filename
    ]
    return f"{message} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else message
