"""What a policy means, in words: for `ca_signerd --check-config`."""

from collections.abc import Iterator

from protocol.durations import duration_text
from signerd.policy.names import NameRules
from signerd.policy.policy import Client, Policy, Profile
from signerd.policy.quota import size_text
from signerd.policy.usages import EXTENDED_KEY_USAGES

_USAGES = {oid: name for name, oid in EXTENDED_KEY_USAGES.items()}


def describe_policy(policy: Policy) -> str:
    """The whole policy as lines of text."""
    return "\n".join(_lines(policy))


def _lines(policy: Policy) -> Iterator[str]:
    yield f"policy {policy.hash.hex()}"
    yield f"identity {policy.signer.identity or 'as SAPI_CA_PATH says, else /var/lib/ca'}"
    yield f"ledger {policy.signer.ledger}"
    yield f"certificates say where to ask: {policy.signer.base_url or 'no (signer.base_url is not set)'}"
    crl, ocsp = duration_text(policy.crl_lifetime), duration_text(policy.ocsp_lifetime)
    yield f"a CRL is valid for {crl}, an OCSP answer for {ocsp}"
    yield f"certificates leave the search index {duration_text(policy.prune_after)} after their end"
    yield f"keys that get no certificate: {len(policy.blocked_keys)} (signer.blocked_keys)"
    for number, profile in enumerate(policy.profiles.values()):
        yield f"profile {profile.name}{' (the default)' if number == 0 else ''}:"
        yield from (f"  {line}" for line in _profile(profile))
    if not policy.clients:
        yield "clients: any client id"
    for name, client in policy.clients.items():
        yield f"client {name}:"
        yield from (f"  {line}" for line in _client(client, policy))
    yield f"quota per client: {policy.quota_per_client or 'none'}; in total: {policy.quota_total or 'none'}"
    if policy.quota_per_client is not None and not policy.clients:
        yield "  the one per client binds nobody: without any [client.*] whoever asks may do so under any client id"
    yield f"the ledger grows by at most: {policy.quota_bytes or 'any number of bytes'}"
    yield f"issuance freezes by itself above: {policy.freeze_above or 'never'}"


def _profile(profile: Profile) -> Iterator[str]:
    yield f"lives {duration_text(profile.lifetime)}, at most {duration_text(profile.lifetime_max)}"
    yield f"for {', '.join(_USAGES.get(oid, oid) for oid in profile.extended_key_usage)}"
    yield f"keys: {', '.join(sorted(profile.key_types))}"
    yield f"from the CSR's subject: {', '.join(sorted(profile.subject)) or 'nothing'}"
    yield f"presign may add: {', '.join(sorted(profile.extra_extensions)) or 'nothing'}"
    yield f"names: {_names(profile.names)}"
    yield f"key, names, subject and extensions: {size_text(profile.bytes_max)} at most"
    yield f"quota: {profile.quota or 'none'}"


def _client(client: Client, policy: Policy) -> Iterator[str]:
    yield f"profiles: {', '.join(client.profiles or policy.profiles)}"
    yield f"names: {_names(client.names) if client.names else 'as the profile says'}"
    yield f"quota: {client.quota or policy.quota_per_client or 'none'}"
    proofs = [
        proof
        for proof, asked in (("a MAC", client.mac_key), ("a renewal by its old key", client.renew_with_key))
        if asked
    ]
    yield f"proves itself to the signer by: {' or '.join(proofs) or 'nothing (the frontend vouches)'}"
    extensible = [name for name in client.profiles or policy.profiles if policy.profiles[name].extra_extensions]
    if proofs and extensible:
        yield f"  but for extensions: in profile {', '.join(extensible)} the frontend may add some that no proof binds"


def _names(rules: NameRules | None) -> str:
    return "any, but no wildcard" if rules is None else str(rules)
