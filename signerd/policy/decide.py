"""Every rule over one request. Pure: the same policy, CSR and wishes give the same outcome.

All the rules are evaluated, and the outcomes are data: a refusal names every rule that failed, and the
dry run shows them all. What can't be granted is refused, not dropped, when it would change what the
certificate may do.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from protocol.durations import duration_text
from protocol.errors import ErrorCode, Refused
from protocol.fields import OPERATOR, ExtensionWish, Rule
from protocol.messages import IssueRequest
from signerd.csr import Csr, SubjectAttribute
from signerd.policy.extensions import extensions_rule
from signerd.policy.names import Name, email_name, problems
from signerd.policy.policy import LIFETIME_MIN, Client, Policy, Profile
from signerd.policy.spelling import quoted
from signerd.policy.usages import EXTENDED_KEY_USAGES, key_usages

# Which code a refusal has: that of the first of these rules that failed, in this order.
_CODES = {
    "ledger": ErrorCode.UNAVAILABLE,
    "clock": ErrorCode.UNAVAILABLE,
    "disk": ErrorCode.UNAVAILABLE,
    "issuer": ErrorCode.UNAVAILABLE,
    "frozen": ErrorCode.FROZEN,
    "client": ErrorCode.NOT_AUTHORIZED,
    "proof": ErrorCode.NOT_AUTHORIZED,
    "profile": ErrorCode.UNKNOWN_PROFILE,
    "key type": ErrorCode.POLICY_DENIED,
    "requested usage": ErrorCode.POLICY_DENIED,
    "names": ErrorCode.POLICY_DENIED,
    "size": ErrorCode.POLICY_DENIED,
    "lifetime": ErrorCode.POLICY_DENIED,
    "extensions": ErrorCode.POLICY_DENIED,
    "quota": ErrorCode.QUOTA_EXCEEDED,
}
# Asked for by habit, with EC keys and to sign code too, where it is of no use: its absence takes nothing.
_HARMLESS_USAGE = frozenset({"keyEncipherment"})
_USAGE_NAMES = {oid: name for name, oid in EXTENDED_KEY_USAGES.items()}


_NOTHING_BEYOND = Rule("requested usage", True, "nothing beyond the profile")


class Grant(NamedTuple):
    """What the policy grants: all that a certificate is made from."""

    csr: Csr
    client: str
    profile: Profile
    subject: tuple[SubjectAttribute, ...]
    names: tuple[Name, ...]
    lifetime: int  # seconds
    extensions: tuple[ExtensionWish, ...]


class Decision(NamedTuple):
    """The outcome of each rule, and the grant if all of them allow it."""

    rules: tuple[Rule, ...]
    grant: Grant | None

    def granted(self) -> Grant:
        """The grant. Raises ``Refused``, naming every rule that failed."""
        if self.grant is not None:
            return self.grant
        failed = [rule for rule in self.rules if not rule.ok]
        code = next(code for name, code in _CODES.items() if any(rule.rule == name for rule in failed))
        raise Refused(code, "; ".join(f"{rule.rule}: {rule.detail}" for rule in failed))


def decide(  # noqa: PLR0913 - all that a decision may depend on stands here
    policy: Policy,
    csr: Csr,
    request: IssueRequest,
    *,
    vouched: bool,
    proven: bool,
    renewed: str | None,
    circumstances: Sequence[Rule],
    proof_rule: Callable[[Profile | None], Rule],
    quota_rule: Callable[[str], Rule],
) -> Decision:
    """Evaluates every rule.

    ``vouched``: an operator asks, who vouches for the client. ``proven``: the client itself has said, by a proof, what
    it wants; ``renewed``: the profile of the certificate that it renews. ``circumstances``: the rules that the caller
    has looked up (ledger, clock, issuer, frozen). ``proof_rule`` and ``quota_rule``: those that depend on the profile.
    """
    client = policy.clients.get(request.client)
    profile, rule = _profile(policy, client, request, proven=proven, renewed=renewed)
    rules = [*circumstances, proof_rule(profile), _client_rule(policy, request.client, vouched=vouched), rule]
    if profile is None:
        return Decision(tuple(rules), None)
    lifetime = _lifetime(profile, request, proven=proven)
    subject = tuple([attribute for attribute in csr.subject if attribute.name in profile.subject])
    rules += (
        _key_rule(profile, csr),
        _usage_rule(profile, csr),
        _names_rule(profile, client, csr.names, subject),
        _size_rule(profile, csr, subject, request.extensions),
        _lifetime_rule(profile, lifetime),
        extensions_rule(profile.extra_extensions, request.extensions),
        quota_rule(profile.name),
    )
    grant = Grant(csr, request.client, profile, subject, csr.names, lifetime, request.extensions)
    return Decision(tuple(rules), None if [rule for rule in rules if not rule.ok] else grant)


def _client_rule(policy: Policy, client_id: str, *, vouched: bool) -> Rule:
    """An operator vouches for a client that there is, and may ask in its own name: an id that it made up would have
    none of the rules that its client is to be under."""
    if not policy.clients:
        return Rule("client", True, "any client")
    if vouched and client_id == OPERATOR:
        return Rule("client", True, "the operator itself")
    known = client_id in policy.clients
    return Rule("client", known, f"{client_id} is {'' if known else 'not '}configured")


def _profile(
    policy: Policy, client: Client | None, request: IssueRequest, *, proven: bool, renewed: str | None
) -> tuple[Profile | None, Rule]:
    """The profile that a request is for; None with the rule that says why there is none.

    What a client has proved that it wants no hook can exchange.
    """
    own = _choose_profile(policy, client, request.profile or renewed)
    if request.hooks is None or request.hooks.profile == request.profile:
        return own
    by_hook = _choose_profile(policy, client, request.hooks.profile)
    if not proven or own[0] is None or by_hook[0] is own[0]:
        return own if proven else by_hook
    return None, Rule("profile", False, f"the client's proof is for {own[0].name!r}, and a hook wishes for another")


def _choose_profile(policy: Policy, client: Client | None, wanted: str | None) -> tuple[Profile | None, Rule]:
    """The profile that is wanted, or the client's first."""
    allowed = client.profiles if client is not None and client.profiles else tuple(policy.profiles)
    name = allowed[0] if wanted is None else wanted
    if name not in policy.profiles:
        return None, Rule("profile", False, f"there is no profile {name!r}")
    if name not in allowed:
        return None, Rule("profile", False, f"profile {name!r} is not allowed to this client")
    return policy.profiles[name], Rule("profile", True, name)


def _lifetime(profile: Profile, request: IssueRequest, *, proven: bool) -> int:
    """The lifetime that a request comes to, in seconds: the smaller of the client's wish and its hooks'.

    Where the client has none, a hook's takes the place of the profile's; but what a client has proved that it wants,
    be it the default, a hook can only shorten.
    """
    by_hook = None if request.hooks is None else request.hooks.lifetime
    own = request.lifetime
    if own is None:
        own = profile.lifetime if proven or by_hook is None else by_hook
    return own if by_hook is None else min(own, by_hook)


def _key_rule(profile: Profile, csr: Csr) -> Rule:
    if csr.key_type in profile.key_types:
        return Rule("key type", True, csr.key_type)
    return Rule("key type", False, f"{csr.key_type} is none of {', '.join(sorted(profile.key_types))}")


def _usage_rule(profile: Profile, csr: Csr) -> Rule:
    """The CSR's wishes for what the certificate may do: nothing beyond the profile (RFC 5280, 4.2.1)."""
    beyond = ["CA:TRUE"] if csr.wants_ca else []
    if csr.key_usage:
        beyond += sorted(csr.key_usage - _HARMLESS_USAGE - key_usages(csr.key_type, profile.extended_key_usage))
    beyond += [_USAGE_NAMES.get(oid, oid) for oid in csr.extended_key_usage if oid not in profile.extended_key_usage]
    beyond += [f"extension {oid}" for oid in csr.other_extensions]
    return Rule("requested usage", False, f"the CSR asks for {', '.join(beyond)}") if beyond else _NOTHING_BEYOND


def _names_rule(
    profile: Profile, client: Client | None, names: Sequence[Name], subject: Sequence[SubjectAttribute]
) -> Rule:
    found = problems(names, profile.names)
    if client is not None and client.names is not None:
        found += [f"{problem} (client)" for problem in problems(names, client.names)]
    # A mailbox in the subject is believed like one among the names (RFC 5280, 4.1.2.6): then it must be one.
    # Likewise the CN, which the parser has seen to.
    found += [
        f"the subject's emailAddress {quoted(attribute.value)} is not among the names"
        for attribute in subject
        if attribute.name == "emailAddress" and not _is_mailbox_of(attribute.value, names)
    ]
    return Rule("names", not found, "; ".join(found) or ", ".join(map(str, names)))


def _is_mailbox_of(text: str, names: Sequence[Name]) -> bool:
    try:
        return email_name(text) in names
    except ValueError:
        return False


def _size_rule(
    profile: Profile, csr: Csr, subject: Sequence[SubjectAttribute], extensions: Sequence[ExtensionWish]
) -> Rule:
    """All that a client has a say in: a hundred names of the longest would take a hundred times an ordinary record."""
    size = (
        len(csr.spki)
        + sum([len(value) for _, value in csr.names])
        + sum([len(attribute.value) for attribute in subject])
        + sum([len(wish.value) for wish in extensions])
    )
    if size <= profile.bytes_max:
        return Rule("size", True, f"{size} bytes")
    detail = f"its key, names, subject and extensions take {size} bytes; at most {profile.bytes_max} are allowed"
    return Rule("size", False, f"{detail} (bytes_max)")


def _lifetime_rule(profile: Profile, lifetime: int) -> Rule:
    ok = LIFETIME_MIN <= lifetime <= profile.lifetime_max
    detail = duration_text(lifetime)
    if not ok:
        detail += f" is not between {duration_text(LIFETIME_MIN)} and {duration_text(profile.lifetime_max)}"
    return Rule("lifetime", ok, detail)
