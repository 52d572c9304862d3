"""The names that a certificate can carry, each in one canonical spelling, and the rules over them.

A name reaches the rules only through a constructor of this module, so that what is compared has exactly one
spelling: lower-case hosts, A-labels, the shortest form of an address, paths without ``..``. Allowing compares
exactly; denying also ignores case and ports, since a name that slips past a denial does the harm.

Everything here is a pure function of its arguments. A malformed name or pattern is a ``ValueError`` whose
message is a sentence that names it.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

DNS_MAX = 253  # RFC 1035, 2.3.4: 255 octets on the wire
LABEL_MAX = 63
EMAIL_MAX = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
LOCAL_PART_MAX = 64
URI_MAX = 2048
QUOTED_MAX = 80

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # LDH: RFC 5890, 2.3.1
_HOST = re.compile(rf"(?:{_LABEL.pattern}\.)*{_LABEL.pattern}")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"  # RFC 5322, 3.2.3
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?]*))?([^?]*)(?:\?(.*))?")  # RFC 3986, appendix B
_URI_TAIL = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")  # RFC 3986, 3.3 and 3.4
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_DEFAULT_PORTS = {"http": "80", "https": "443"}

# What may stand in a path as it is has no second, percent-encoded spelling here; encoded separators,
# percent signs and control characters mean different things to different readers.
_NEVER_ENCODED = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/\\%\x7f"
) | frozenset(range(0x20))

# Letters, marks and digits: what RFC 5892, 2.1 takes as the base of PVALID.
_LABEL_CATEGORIES = frozenset({"Ll", "Lo", "Lm", "Mn", "Mc", "Nd"})


class Name(NamedTuple):
    """One subject alternative name: a kind (``dns``, ``ip``, ``email``, ``uri``) and a canonical value."""

    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


def quoted(text: str) -> str:
    """``text`` in quotes, fit for a log and a reply: printable ASCII, and cut where it is long."""
    return ascii(text) if len(text) <= QUOTED_MAX else f"{text[:QUOTED_MAX]!a} (cut)"


def is_wildcard(name: Name) -> bool:
    """Whether ``name`` stands for every host one label below its base (RFC 6125, 6.4.3)."""
    return name.kind == "dns" and name.value.startswith("*.")


def dns_name(text: str) -> Name:
    """The DNS name ``text``, lower-case; its left-most label may be ``*``.

    Raises ValueError for anything but LDH labels and A-labels within the limits of RFC 1035, 2.3.4.
    """
    host = text.lower() if text.isascii() else ""
    return Name("dns", f"*.{_host(host[2:], text)}" if host.startswith("*.") else _host(host, text))


def ip_name(text: str) -> Name:
    """The IPv4 or IPv6 address ``text`` in its canonical form (RFC 5952). Raises ValueError.

    An IPv4-mapped IPv6 address is refused: it means an IPv4 address, and would pass by the rules for those.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IP address") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"{quoted(text)} has a zone, which means something on one host alone")
        if address.ipv4_mapped is not None:
            raise ValueError(f"{quoted(text)} is an IPv4-mapped IPv6 address; ask for {address.ipv4_mapped}")
    return Name("ip", str(address))


def email_name(text: str) -> Name:
    """The mailbox ``text`` (RFC 5280, 4.2.1.6): a dot-atom, ``@``, a host. Raises ValueError.

    The host becomes lower-case; the local part keeps its case (RFC 5280, 7.5).
    """
    local, at, host = text.rpartition("@")
    if not at or len(text) > EMAIL_MAX or len(local) > LOCAL_PART_MAX or not _LOCAL_PART.fullmatch(local):
        raise ValueError(f"{quoted(text)} is not an e-mail address of the form name@host")
    return Name("email", f"{local}@{_host(host.lower() if host.isascii() else '', text)}")


def uri_name(text: str) -> Name:
    """The absolute URI ``text`` (RFC 5280, 4.2.1.6), scheme and host in lower case. Raises ValueError.

    Refused: user information, fragments, an empty host, and each second spelling of a path (``.``, ``..``,
    ``//`` and percent-encoded characters that need no encoding).
    """
    return Name("uri", str(_parse_uri(text)))


def _host(host: str, text: str) -> str:
    """``host`` if it is a lower-case DNS name without a wildcard; errors quote ``text``, its source."""
    if len(text) > DNS_MAX and len(host) > DNS_MAX:
        raise ValueError(f"{quoted(text)} is longer than a DNS name's {DNS_MAX} characters")
    if not _HOST.fullmatch(host):
        why = "an empty label" if ".." in f".{host}." else "a label that is not letters, digits and hyphens"
        raise ValueError(f"{quoted(text)} is not a DNS name: it has {why}")
    if host[host.rfind(".") + 1 :].isdigit():
        # RFC 1123, 2.1: the last label is alphabetic, which is what tells a name from an address.
        raise ValueError(f"{quoted(text)} is not a DNS name: its last label is a number")
    if "--" in host:
        for label in host.split("."):
            if label[2:4] == "--" and not _is_a_label(label):
                raise ValueError(f"{quoted(text)} is not a DNS name: {quoted(label)} is not a valid A-label")
    return host


def _is_a_label(label: str) -> bool:
    """Whether ``label`` is the one A-label of a Unicode label (RFC 5891, 5.4), without contextual rules."""
    if not label.startswith("xn--"):
        return False
    try:
        unicode = label[4:].encode().decode("punycode")
        back = unicode.encode("punycode").decode()
    except (UnicodeError, OverflowError):
        return False
    return (
        back == label[4:]
        and not unicode.isascii()
        and unicodedata.normalize("NFKC", unicode.lower()) == unicode
        and unicode[0] != "-"
        and unicode[-1] != "-"
        and not unicodedata.category(unicode[0]).startswith("M")
        and all(c == "-" or unicodedata.category(c) in _LABEL_CATEGORIES for c in unicode)
    )


class _Uri(NamedTuple):
    """A URI's parts; ``host`` and ``port`` are empty where it has none."""

    scheme: str
    host: str
    port: str
    path: str
    query: str | None

    def __str__(self) -> str:
        authority = f"//{self.host}" if self.host else ""
        port = f":{self.port}" if self.port else ""
        query = "" if self.query is None else f"?{self.query}"
        return f"{self.scheme}:{authority}{port}{self.path}{query}"


def _parse_uri(text: str) -> _Uri:
    match = _URI.fullmatch(text) if len(text) <= URI_MAX else None
    if match is None:
        raise ValueError(f"{quoted(text)} is not an absolute URI")
    scheme, authority, path, query = match[1].lower(), match[2], match[3], match[4]
    if not _URI_TAIL.fullmatch(path) or not _URI_TAIL.fullmatch(query or ""):
        raise ValueError(f"{quoted(text)} has a character that a certificate's URI can't have")
    if any(bytes.fromhex(pair)[0] in _NEVER_ENCODED for pair in re.findall("%(..)", f"{path}{query or ''}")):
        raise ValueError(f"{quoted(text)} has a percent-encoded character that must not be encoded")
    segments = path.removeprefix("/").split("/")
    if not {".", ".."}.isdisjoint(segments) or "" in segments[:-1]:
        raise ValueError(f"{quoted(text)} has a path that is not in normal form")
    host, port = _parse_authority(scheme, authority, text) if authority is not None else ("", "")
    if not host and (scheme in _DEFAULT_PORTS or not path):
        raise ValueError(f"{quoted(text)} has no host")
    upper = re.compile("%..")
    path, query = (part and upper.sub(lambda m: m[0].upper(), part) for part in (path, query))
    return _Uri(scheme, host, port, path or "", query)


def _parse_authority(scheme: str, authority: str, text: str) -> tuple[str, str]:
    if "@" in authority:
        raise ValueError(f"{quoted(text)} has user information before its host")
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, colon, port = authority, "", ""
    if colon and not (_PORT.fullmatch(port) and int(port) < 65536):
        raise ValueError(f"{quoted(text)} has a port that is not a number from 1 to 65535")
    if host.startswith("[") and host.endswith("]") and ":" in host:
        host = f"[{ip_name(host[1:-1]).value}]"
    elif host.rpartition(".")[2].isdigit():
        host = ip_name(host).value
    else:
        host = _host(host.lower() if host.isascii() else "", text)
    return host, "" if port == _DEFAULT_PORTS.get(scheme) else port


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
    uris: tuple[_Uri, ...]

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
        uri = _parse_uri(value)
        return any(_uri_within(uri, pattern) for pattern in self.uris)

    def deny(self, name: Name) -> bool:
        """Whether ``name``, or any name that a wildcard stands for, is hit by one of these patterns."""
        kind, value = name
        if kind == "dns" and is_wildcard(name):
            return value[2:] in self.dns_parents or self.allow(name)
        if kind == "email":
            return value.lower() in self.mailboxes or self._mail_host(value)
        if kind == "uri":
            uri = _parse_uri(value.lower())
            return any(
                _uri_within(uri if pattern.port else uri._replace(port=""), pattern) for pattern in self.uris
            )
        return self.allow(name)

    def _mail_host(self, mailbox: str) -> bool:
        host = mailbox.rpartition("@")[2]
        return host in self.mail_hosts or not self.mail_hosts_below.isdisjoint(_parents(host))


def _uri_within(uri: _Uri, pattern: _Uri) -> bool:
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
        denied = _compile(
            deny_dns,
            deny_ip,
            [text.lower() for text in deny_email],
            [text.lower().rstrip("/") for text in deny_uri],
        )
        return cls(_compile(dns, ip, email, uri), denied, wildcards)


def _compile(dns: Iterable[str], ip: Iterable[str], email: Iterable[str], uri: Iterable[str]) -> _Patterns:
    exact, below = _hosts(dns)
    email = list(email)
    mail_hosts, mail_hosts_below = _hosts(text for text in email if "@" not in text)
    return _Patterns(
        dns=exact,
        dns_below=below,
        dns_parents=frozenset(host.partition(".")[2] for host in exact),
        networks=tuple(_network(text) for text in ip),
        mailboxes=frozenset(email_name(text).value for text in email if "@" in text),
        mail_hosts=mail_hosts,
        mail_hosts_below=mail_hosts_below,
        uris=tuple(_parse_uri(text) for text in uri),
    )


def _hosts(patterns: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The patterns that are one host, and (without their dot) those that are all below a domain."""
    exact, below = set(), set()
    for text in patterns:
        if "*" in text:
            raise ValueError(
                f"{quoted(text)} can't be a pattern; all below a domain is written '.example.net', "
                f"and wildcard names are allowed with wildcards = true"
            )
        if text.startswith("."):
            below.add(dns_name(text[1:]).value)
        else:
            exact.add(dns_name(text).value)
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


def problems(
    names: Iterable[Name], rules: NameRules | None, *, wildcards_without_rules: bool = False
) -> list[str]:
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
