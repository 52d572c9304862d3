"""The names that a certificate can carry, and the rules that say which of them are allowed.

What is compared has one spelling each (``spelling``). Allowing compares exactly; denying also ignores case and
the port, since it is a name that slips past a denial which does the harm.

Everything here is a pure function of its arguments. A malformed name or pattern is a ValueError whose message
is a sentence that quotes it.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from signerd.policy import spelling
from signerd.policy.spelling import Uri, quoted


class Name(NamedTuple):
    """One subject alternative name: a kind (``dns``, ``ip``, ``email``, ``uri``) and a canonical value."""

    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


def is_wildcard(name: Name) -> bool:
    """Whether ``name`` stands for every host one label below its base (RFC 6125, 6.4.3)."""
    return name.kind == "dns" and name.value.startswith("*.")


def dns_name(text: str) -> Name:
    """The DNS name ``text``; its whole left-most label may be ``*``. Raises ValueError."""
    if text.startswith("*.") and len(text) <= spelling.HOST_MAX:
        return Name("dns", f"*.{spelling.host(text[2:])}")
    return Name("dns", spelling.host(text))


def ip_name(text: str) -> Name:
    """The IPv4 or IPv6 address ``text``. Raises ValueError."""
    return Name("ip", spelling.address(text))


def email_name(text: str) -> Name:
    """The mailbox ``text``. Raises ValueError."""
    return Name("email", spelling.mailbox(text))


def uri_name(text: str) -> Name:
    """The absolute URI ``text``. Raises ValueError."""
    return Name("uri", str(spelling.uri(text)))


def _parents(host: str) -> Iterator[str]:
    """Each domain that ``host`` lies below; for ``*.base`` that begins with its base."""
    at = host.find(".")
    while at >= 0:
        yield host[at + 1 :]
        at = host.find(".", at + 1)


@dataclass(frozen=True, slots=True)
class _Patterns:
    """One side of the rules, allow or deny, ready to compare."""

    dns: frozenset[str]
    dns_below: frozenset[str]
    dns_parents: frozenset[str]  # the domains that an exact pattern lies directly in
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    mailboxes: frozenset[str]
    mail_hosts: frozenset[str]
    mail_hosts_below: frozenset[str]
    uris: tuple[Uri, ...]

    def allow(self, name: Name) -> bool:
        """Whether ``name``, or every name that a wildcard stands for, is within these patterns."""
        kind, value = name
        if kind == "dns":
            # A wildcard is never among the exact ones, and "*.base" lies below base and its parents.
            return value in self.dns or not self.dns_below.isdisjoint(_parents(value))
        if kind == "ip":
            address = ipaddress.ip_address(value)
            return any(address in network for network in self.networks)
        if kind == "email":
            return value in self.mailboxes or self._mail_host(value)
        uri = spelling.uri(value)
        return any(_uri_within(uri, pattern) for pattern in self.uris)

    def deny(self, name: Name) -> bool:
        """Whether ``name``, or any name that a wildcard stands for, is hit by one of these patterns."""
        kind, value = name
        if kind == "dns" and is_wildcard(name):
            return value[2:] in self.dns_parents or self.allow(name)
        if kind == "email":
            return value.lower() in self.mailboxes or self._mail_host(value)
        if kind == "uri":
            uri = spelling.uri(value.lower())
            return any(_uri_within(uri if pattern.port else uri._replace(port=""), pattern) for pattern in self.uris)
        return self.allow(name)

    def __str__(self) -> str:
        kinds = {
            "dns": [*self.dns, *(f".{host}" for host in self.dns_below)],
            "ip": map(str, self.networks),
            "email": [*self.mailboxes, *self.mail_hosts, *(f".{host}" for host in self.mail_hosts_below)],
            "uri": map(str, self.uris),
        }
        spelled = {kind: ", ".join(sorted(patterns)) for kind, patterns in kinds.items()}
        return "; ".join(f"{kind} {patterns}" for kind, patterns in spelled.items() if patterns)

    def _mail_host(self, mailbox: str) -> bool:
        host = mailbox.rpartition("@")[2]
        return host in self.mail_hosts or not self.mail_hosts_below.isdisjoint(_parents(host))


def _uri_within(uri: Uri, pattern: Uri) -> bool:
    """Scheme, host and port are the pattern's, and the path is its path or lies below it, in segments."""
    if not pattern.host:
        return uri == pattern
    below = f"{pattern.path.removesuffix('/')}/"
    return uri[:3] == pattern[:3] and (
        uri.path.startswith(below) or uri.path == pattern.path or (below == "/" and not uri.path)
    )


@dataclass(frozen=True, slots=True)
class NameRules:
    """Which names are allowed: those within ``allowed``, but for those that ``denied`` hits."""

    allowed: _Patterns
    denied: _Patterns
    wildcards: bool

    def __str__(self) -> str:
        wildcards = "wildcards" if self.wildcards else "no wildcards"
        denied = f"; never {self.denied}" if str(self.denied) else ""
        return f"{str(self.allowed) or 'none'}; {wildcards}{denied}"

    @classmethod
    def compile(  # noqa: PLR0913 - one keyword for each key of a [profile.*.names] table
        cls,
        *,
        dns: Sequence[str] = (),
        ip: Sequence[str] = (),
        email: Sequence[str] = (),
        uri: Sequence[str] = (),
        wildcards: bool = False,
        deny_dns: Sequence[str] = (),
        deny_ip: Sequence[str] = (),
        deny_email: Sequence[str] = (),
        deny_uri: Sequence[str] = (),
    ) -> Self:
        """The rules that lists of patterns spell out. Raises ValueError, naming the pattern that is wrong.

        ``dns``: ``example.net`` is that name, ``.example.net`` any depth below it. ``ip``: CIDR. ``email``:
        a mailbox, ``example.net`` any mailbox there, ``.example.net`` at any host below (RFC 5280, 4.2.1.10).
        ``uri``: scheme, host and port as they are, and the path as a prefix of whole segments.
        A kind without patterns is not allowed. ``wildcards`` allows ``*.base`` where all below base is.
        """
        allowed = _compile(dns, ip, email, uri)
        return cls(allowed, _compile(deny_dns, deny_ip, deny_email, deny_uri, fold=True), wildcards)


def _compile(
    dns: Iterable[str], ip: Iterable[str], email: Iterable[str], uri: Iterable[str], *, fold: bool = False
) -> _Patterns:
    """One side of the rules; with ``fold`` as denials compare: in lower case."""
    email = [_no_asterisk(text) for text in email]
    exact, below = _hosts(dns)
    mail_hosts, mail_hosts_below = _hosts(text for text in email if "@" not in text)
    mailboxes = (spelling.mailbox(text) for text in email if "@" in text)
    uris = map(_uri_pattern, uri)
    return _Patterns(
        dns=exact,
        dns_below=below,
        dns_parents=frozenset(host.partition(".")[2] for host in exact),
        networks=tuple(_network(text) for text in ip),
        mailboxes=frozenset(mailbox.lower() if fold else mailbox for mailbox in mailboxes),
        mail_hosts=mail_hosts,
        mail_hosts_below=mail_hosts_below,
        uris=tuple(_folded(pattern) if fold else pattern for pattern in uris),
    )


def _no_asterisk(text: str) -> str:
    if "*" in text:
        raise ValueError(
            f"{quoted(text)} can't be a pattern; all below a domain is written '.example.net', "
            f"and wildcard names are allowed with wildcards = true"
        )
    return text


def _hosts(patterns: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The patterns that are one host, and (without their dot) those that are all below a domain."""
    exact, below = set(), set()
    for text in map(_no_asterisk, patterns):
        if text.startswith("."):
            below.add(spelling.host(text[1:]))
        else:
            exact.add(spelling.host(text))
    return frozenset(exact), frozenset(below)


_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{quoted(text)} is not a network in CIDR form: {error}") from None
    if "%" in text or (isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED)):
        raise ValueError(f"{quoted(text)} has a zone or is IPv4-mapped; write the plain network")
    return network


def _uri_pattern(text: str) -> Uri:
    pattern = spelling.uri(text)
    if pattern.query is not None:
        raise ValueError(f"{quoted(text)} can't be a pattern: a query is not compared")
    return pattern


def _folded(pattern: Uri) -> Uri:
    """``pattern`` in lower case, and hitting its path with and without a slash at the end."""
    folded = spelling.uri(str(pattern).lower())
    return folded._replace(path=folded.path.removesuffix("/")) if folded.host else folded


def problems(names: Iterable[Name], rules: NameRules | None, *, wildcards_without_rules: bool = False) -> list[str]:
    """One sentence for each of ``names`` that ``rules`` don't allow, over the whole set.

    Without rules any name is allowed, wildcards only with ``wildcards_without_rules``. Each name is judged by
    itself, wherever it stands (Let's Encrypt, 2020: of N names one was checked N times).
    """
    verdicts = ((name, _verdict(name, rules, wildcards_without_rules)) for name in names)
    return [f"{name} {verdict}" for name, verdict in verdicts if verdict is not None]


def _verdict(name: Name, rules: NameRules | None, wildcards_without_rules: bool) -> str | None:
    wildcards = wildcards_without_rules if rules is None else rules.wildcards
    if is_wildcard(name) and not wildcards:
        return "is a wildcard, and wildcards are not allowed"
    if rules is None:
        return None
    if rules.denied.deny(name):
        return "is denied"
    if not rules.allowed.allow(name):
        return "is not among the names allowed"
    return None
