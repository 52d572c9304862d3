"""authorize → presign → issue → postsign: one request on its way through the hooks and the signer.

The hooks before the signature fail closed: whatever goes wrong in them, nothing is issued. After it the
certificate exists, on record, and the client gets it whatever postsign does.
"""

import datetime
import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec
from cryptography import x509

from frontend.hook_loader import MakeHooks
from frontend.hooks import CertificateDraft, CsrNotAuthedError, CsrTuple, SigningHooksBase, SubjectAltNames
from protocol.errors import ErrorCode, Refused
from protocol.fields import ExtensionWish, HookWishes, ProfileName
from protocol.messages import CheckReply, CheckRequest, IssueReply, IssueRequest

_logger = logging.getLogger(__name__)
_SECOND = datetime.timedelta(seconds=1)
_LIFETIME_MAX = datetime.timedelta(days=36_500)  # what is longer is a mistake; the profile allows far less
R = TypeVar("R")
Request = TypeVar("Request", bound=IssueRequest)


class Signer(Protocol):
    """The part of ``SignerClient`` that is used here."""

    def ask_issue(self, request: IssueRequest) -> IssueReply: ...
    def ask_check(self, request: CheckRequest) -> CheckReply: ...


def issue(signer: Signer, make_hooks: MakeHooks | None, request: IssueRequest) -> IssueReply:
    """The certificate for ``request``. Raises ``Refused``: a hook's refusal or failure, or the signer's."""
    if make_hooks is None:
        return signer.ask_issue(request)
    hooks, request = _ask_hooks(make_hooks, request)
    reply = signer.ask_issue(request)
    _postsign(hooks, reply)
    return reply


def check(signer: Signer, make_hooks: MakeHooks | None, request: CheckRequest) -> CheckReply:
    """What ``issue`` would do, through the same hooks but for postsign. Raises ``Refused`` likewise."""
    if make_hooks is not None:
        _, request = _ask_hooks(make_hooks, request)
    return signer.ask_check(request)


def _ask_hooks(make_hooks: MakeHooks, request: Request) -> tuple[SigningHooksBase, Request]:
    """The hooks of this request, and the request with their wishes."""
    client, csr_tuple = request.client, CsrTuple(request.csr)
    hooks = _call("API_CSR_HOOKS_FACTORY", client, make_hooks, client, csr_tuple)
    lifetime = _call("authorize", client, _authorize, hooks, csr_tuple)
    if lifetime is None and request.lifetime is not None:
        lifetime = datetime.timedelta(seconds=request.lifetime)
    wishes, extensions = _call("presign", client, _presign, hooks, CertificateDraft(lifetime, request.profile))
    as_asked = HookWishes(profile=request.profile, lifetime=request.lifetime)
    # The client's own words stay as they are: a proof binds them.
    return hooks, msgspec.structs.replace(request, hooks=None if wishes == as_asked else wishes, extensions=extensions)


def _authorize(hooks: SigningHooksBase, csr_tuple: CsrTuple) -> datetime.timedelta | None:
    lifetime = hooks.authorize(SubjectAltNames(csr_tuple))
    _seconds(lifetime)
    return lifetime


def _presign(hooks: SigningHooksBase, draft: CertificateDraft) -> tuple[HookWishes, tuple[ExtensionWish, ...]]:
    """What the hooks have come to, once presign has adjusted the draft."""
    hooks.presign(draft)
    profile = msgspec.convert(draft.profile, ProfileName | None)
    return HookWishes(profile=profile, lifetime=_seconds(draft.lifetime)), draft.extensions


def _seconds(lifetime: datetime.timedelta | None) -> int | None:
    """The wished lifetime in whole seconds. Raises TypeError or ValueError for what a hook got wrong."""
    if lifetime is None:
        return None
    if not isinstance(lifetime, datetime.timedelta):
        raise TypeError(f"the lifetime is a {type(lifetime).__name__}, not a timedelta")
    if not _SECOND <= lifetime <= _LIFETIME_MAX:
        raise ValueError(f"the lifetime {lifetime} is not between a second and a hundred years")
    return lifetime // _SECOND


def _call(hook: str, client: str, function: Callable[..., R], *arguments: object) -> R:
    """The result of a hook. Raises ``Refused`` for whatever it raises."""
    try:
        return function(*arguments)
    except CsrNotAuthedError as error:
        _logger.warning("%s refused client %s: %s", hook, client, error)
        raise Refused(ErrorCode.NOT_AUTHORIZED, "signing is not authorized") from None
    except Refused:  # by CsrTuple, which could not parse the CSR
        raise
    except BaseException:  # SystemExit too: it would end this thread, and the client never hear of it
        _logger.exception("%s failed for client %s: nothing is issued", hook, client)
        raise Refused(ErrorCode.INTERNAL, f"{hook} failed; nothing was issued") from None


def _postsign(hooks: SigningHooksBase, reply: IssueReply) -> None:
    if getattr(hooks.postsign, "__func__", None) is SigningHooksBase.postsign:
        return  # not overridden: the certificate need not be parsed
    try:
        hooks.postsign(x509.load_der_x509_certificate(reply.certificate))
    except BaseException:  # as above; the certificate exists and is on its way to the client
        _logger.exception("postsign failed for the certificate with the serial number %s", reply.serial.hex())
