"""Which names the rules allow."""

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signerd.policy.names import (
    Name,
    NameRules,
    dns_name,
    email_name,
    ip_name,
    is_wildcard,
    problems,
    uri_name,
)

NOTHING = NameRules.compile()


def allowed(name: Name, rules: NameRules | None) -> bool:
    return problems([name], rules) == []


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("example.net", ["example.net"], ["a.example.net", "net", "xexample.net", "example.net.org"]),
        ("Example.NET", ["example.net"], []),
        (".example.net", ["a.example.net", "a.b.example.net"], ["example.net", "aexample.net", "example.net.a"]),
        (".net", ["example.net"], ["net", "a.nett"]),
    ],
)
def test_a_dns_pattern_is_a_name_or_all_below_a_domain(pattern: str, inside: list[str], outside: list[str]) -> None:
    rules = NameRules.compile(dns=[pattern])
    assert all(allowed(dns_name(text), rules) for text in inside)
    assert not any(allowed(dns_name(text), rules) for text in outside)


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["11.0.0.0", "::a00:1"]),
        ("192.0.2.1", ["192.0.2.1"], ["192.0.2.2"]),
        ("2001:db8::/32", ["2001:db8::1"], ["2001:db9::1", "32.1.13.184"]),
        ("0.0.0.0/0", ["10.0.0.1"], ["::1", "::a00:1"]),
        ("::/0", ["::1", "2001:db8::1"], ["10.0.0.1"]),
    ],
)
def test_an_ip_pattern_is_a_network_of_one_family(network: str, inside: list[str], outside: list[str]) -> None:
    rules = NameRules.compile(ip=[network])
    assert all(allowed(ip_name(text), rules) for text in inside)
    assert not any(allowed(ip_name(text), rules) for text in outside)


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("jane@Example.net", ["jane@example.net"], ["Jane@example.net", "joe@example.net", "jane@a.example.net"]),
        ("example.net", ["jane@example.net", "Joe@EXAMPLE.net"], ["jane@a.example.net", "jane@net"]),
        (".example.net", ["jane@a.example.net", "jane@a.b.example.net"], ["jane@example.net"]),
    ],
)
def test_an_email_pattern_is_as_rfc_5280_has_it(pattern: str, inside: list[str], outside: list[str]) -> None:
    rules = NameRules.compile(email=[pattern])
    assert all(allowed(email_name(text), rules) for text in inside)
    assert not any(allowed(email_name(text), rules) for text in outside)


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        (
            "spiffe://example.net/web",
            ["spiffe://example.net/web", "spiffe://example.net/web/", "spiffe://example.net/web/a/b"],
            [
                "spiffe://example.net/website",
                "spiffe://example.net/Web",
                "spiffe://example.net",
                "spiffe://example.net.evil.net/web",
                "spiffe://a.example.net/web",
                "https://example.net/web",
                "spiffe://example.net:1/web",
            ],
        ),
        ("spiffe://example.net/web/", ["spiffe://example.net/web/a"], ["spiffe://example.net/web"]),
        ("https://example.net", ["https://example.net", "https://example.net/a?b"], ["https://example.net:444/"]),
        ("https://example.net/", ["https://example.net:443/", "https://EXAMPLE.net"], ["http://example.net/"]),
        ("https://example.net:8443/a", ["https://example.net:8443/a"], ["https://example.net/a"]),
        ("urn:uuid:1", ["urn:uuid:1"], ["urn:uuid:12", "urn:uuid:1/2", "urn:uuid:1?a"]),
    ],
)
def test_a_uri_pattern_is_a_scheme_a_host_and_whole_segments_of_a_path(
    pattern: str, inside: list[str], outside: list[str]
) -> None:
    rules = NameRules.compile(uri=[pattern])
    assert all(allowed(uri_name(text), rules) for text in inside)
    assert not any(allowed(uri_name(text), rules) for text in outside)


@pytest.mark.parametrize(
    ("deny", "hit"),
    [
        ({"deny_email": ["Root@example.net"]}, email_name("ROOT@example.net")),
        ({"deny_email": [".example.net"]}, email_name("jane@a.example.net")),
        ({"deny_uri": ["https://a/Secret/"]}, uri_name("https://a/SECRET/x")),
        ({"deny_uri": ["https://a/secret/"]}, uri_name("https://a/secret")),
        ({"deny_uri": ["https://a"]}, uri_name("https://a:8443/x")),
        ({"deny_uri": ["https://a:443/x"]}, uri_name("https://a/x?y")),
        ({"deny_uri": ["urn:Example:1"]}, uri_name("urn:example:1")),
        ({"deny_uri": ["https://a/x"]}, uri_name("https://a/X?b")),
        ({"deny_uri": ["urn:example:1/"]}, uri_name("urn:example:1/")),
        ({"deny_ip": ["10.0.0.0/24"]}, ip_name("10.0.0.7")),
        ({"deny_dns": ["VAULT.a"]}, dns_name("vault.a")),
        ({"deny_dns": [".secret.a"]}, dns_name("b.c.secret.a")),
    ],
)
def test_a_denial_is_not_slipped_past_by_case_port_or_slash(deny: dict[str, list[str]], hit: Name) -> None:
    anything = {
        "dns": [".a", "a"],
        "ip": ["0.0.0.0/0", "::/0"],
        "email": [".net", "a"],
        "uri": ["https://a", "https://a:8443", "urn:example:1", "urn:example:1/"],
    }
    assert allowed(hit, NameRules.compile(**anything))  # type: ignore[arg-type] # all of them are lists
    assert problems([hit], NameRules.compile(**anything, **deny)) == [f"{hit} is denied"]  # type: ignore[arg-type]


def test_a_denied_port_leaves_the_others_alone() -> None:
    rules = NameRules.compile(uri=["https://a", "https://a:8443"], deny_uri=["https://a:8443"])
    assert allowed(uri_name("https://a/"), rules)
    assert not allowed(uri_name("https://a:8443/"), rules)


@pytest.mark.parametrize("name", [dns_name("a"), ip_name("::1"), email_name("a@b"), uri_name("urn:a:b")])
def test_a_kind_without_patterns_is_not_allowed(name: Name) -> None:
    assert problems([name], NOTHING) == [f"{name} is not among the names allowed"]
    assert allowed(name, None)


@pytest.mark.parametrize("rules", [None, NameRules.compile(dns=[".example.net"])])
def test_wildcards_are_for_nobody_by_default(rules: NameRules | None) -> None:
    assert problems([dns_name("*.example.net")], rules) == [
        "dns:*.example.net is a wildcard, and wildcards are not allowed"
    ]


def test_wildcards_without_rules_are_allowed_if_the_caller_says_so() -> None:
    assert problems([dns_name("*.example.net")], None, wildcards_without_rules=True) == []
    rules = NameRules.compile(dns=[".example.net"])
    assert problems([dns_name("*.example.net")], rules, wildcards_without_rules=True)


@pytest.mark.parametrize(
    ("wildcard", "deny", "verdict"),
    [
        ("*.example.net", [], True),
        ("*.a.example.net", [], True),
        ("*.net", [], False),
        ("*.example.net", ["vault.example.net"], False),
        ("*.example.net", ["vault.a.example.net"], True),
        ("*.example.net", ["example.net"], True),
        ("*.secret.example.net", [".secret.example.net"], False),
        ("*.a.secret.example.net", [".secret.example.net"], False),
        ("*.example.net", [".secret.example.net"], True),
        ("*.example.net", [".net"], False),
    ],
)
def test_a_wildcard_is_allowed_only_if_each_name_that_it_stands_for_is(
    wildcard: str, deny: list[str], verdict: bool
) -> None:
    rules = NameRules.compile(dns=[".example.net"], wildcards=True, deny_dns=deny)
    assert allowed(dns_name(wildcard), rules) is verdict


def test_exact_patterns_do_not_add_up_to_a_wildcard() -> None:
    rules = NameRules.compile(dns=["a.example.net", "b.example.net", "example.net"], wildcards=True)
    assert not allowed(dns_name("*.example.net"), rules)


LABELS = ("a", "b")
OTHER_LABEL = "c"  # stands in for all labels that no pattern names
HOSTS = [".".join(labels) for depth in (1, 2, 3) for labels in itertools.product(LABELS, repeat=depth)]
PATTERNS = st.lists(st.sampled_from(HOSTS + [f".{host}" for host in HOSTS]), max_size=4)


def model_matches(host: str, patterns: Sequence[str]) -> bool:
    """The definition, word for word, for a host without a wildcard."""
    return any(
        host.endswith(pattern) and len(host) > len(pattern) if pattern.startswith(".") else host == pattern
        for pattern in patterns
    )


@settings(max_examples=300)
@given(PATTERNS, PATTERNS, st.sampled_from(HOSTS), st.booleans())
def test_the_rules_agree_with_a_model_that_enumerates_what_a_wildcard_stands_for(
    allow: list[str], deny: list[str], host: str, wildcard: bool
) -> None:
    rules = NameRules.compile(dns=allow, wildcards=True, deny_dns=deny)
    meant = [f"{label}.{host}" for label in (*LABELS, OTHER_LABEL)] if wildcard else [host]
    expected = all(model_matches(name, allow) and not model_matches(name, deny) for name in meant)
    assert allowed(dns_name(f"*.{host}" if wildcard else host), rules) is expected


NAMES = st.one_of(
    st.builds(dns_name, st.sampled_from(HOSTS + [f"*.{host}" for host in HOSTS])),
    st.builds(ip_name, st.sampled_from(["10.0.0.1", "10.0.1.1", "::1", "2001:db8::1"])),
    st.builds(email_name, st.builds("{}@{}".format, st.sampled_from(["x", "X"]), st.sampled_from(HOSTS))),
    st.builds(
        uri_name, st.builds("{}://{}{}".format, st.just("s"), st.sampled_from(HOSTS), st.sampled_from(["", "/p"]))
    ),
)
NETWORKS = st.lists(st.sampled_from(["10.0.0.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32"]), max_size=2)
URIS = st.lists(st.builds("s://{}{}".format, st.sampled_from(HOSTS), st.sampled_from(["", "/", "/p"])), max_size=2)
MAILBOXES = st.builds("{}@{}".format, st.sampled_from(["x", "X"]), st.sampled_from(HOSTS))
EMAILS = st.lists(MAILBOXES | st.sampled_from(HOSTS), max_size=2)
ONE_SIDE = st.tuples(PATTERNS, NETWORKS, EMAILS, URIS)
Side = tuple[list[str], list[str], list[str], list[str]]


def rules_of(allow: Side, deny: Side, wildcards: bool = True) -> NameRules:
    return NameRules.compile(
        **dict(zip(("dns", "ip", "email", "uri"), allow, strict=True)),
        **dict(zip(("deny_dns", "deny_ip", "deny_email", "deny_uri"), deny, strict=True)),
        wildcards=wildcards,
    )


EMPTY: Side = ([], [], [], [])


@given(ONE_SIDE, ONE_SIDE, NAMES)
def test_a_name_that_a_deny_rule_matches_is_never_allowed(allow: Side, deny: Side, name: Name) -> None:
    """What would be allowed by the patterns is denied by them, whatever else is allowed."""
    if allowed(name, rules_of(deny, EMPTY)):
        assert not allowed(name, rules_of(allow, deny))


@given(ONE_SIDE, ONE_SIDE, NAMES)
def test_a_further_denial_never_allows_more(allow: Side, deny: Side, name: Name) -> None:
    if not allowed(name, rules_of(allow, EMPTY)):
        assert not allowed(name, rules_of(allow, deny))


@given(ONE_SIDE, ONE_SIDE, NAMES)
def test_a_further_permission_never_refuses_more(allow: Side, more: Side, name: Name) -> None:
    if allowed(name, rules_of(allow, EMPTY)):
        both = tuple(a + b for a, b in zip(allow, more, strict=True))
        assert allowed(name, rules_of(both, EMPTY))  # type: ignore[arg-type] # a tuple of four


@given(st.lists(NAMES, max_size=6), ONE_SIDE, ONE_SIDE, st.booleans(), st.randoms())
def test_the_order_of_the_names_does_not_change_the_verdict(
    names: list[Name], allow: Side, deny: Side, wildcards: bool, random: random.Random
) -> None:
    rules = rules_of(allow, deny, wildcards)
    shuffled = random.sample(names, len(names))
    assert sorted(problems(names, rules)) == sorted(problems(shuffled, rules))


@given(st.lists(NAMES, min_size=1, max_size=6), ONE_SIDE, ONE_SIDE)
def test_each_name_is_judged_by_itself_in_every_position(names: list[Name], allow: Side, deny: Side) -> None:
    rules = rules_of(allow, deny)
    assert problems(names, rules) == [problem for name in names for problem in problems([name], rules)]


@pytest.mark.parametrize("position", [0, 1, 98, 99])
def test_one_bad_name_among_a_hundred_is_found_where_ever_it_stands(position: int) -> None:
    names = [dns_name(f"web{number}.example.net") for number in range(100)]
    names[position] = dns_name("evil.org")
    rules = NameRules.compile(dns=[".example.net"])
    assert problems(names, rules) == ["dns:evil.org is not among the names allowed"]


def test_every_offending_name_is_listed() -> None:
    names = [dns_name("a.org"), dns_name("b.example.net"), ip_name("10.0.0.1"), dns_name("*.example.net")]
    assert len(problems(names, NameRules.compile(dns=[".example.net"]))) == 3


# --- patterns -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "why"),
    [
        ({"dns": ["*.example.net"]}, "'.example.net', and wildcard names are allowed with wildcards = true"),
        ({"deny_dns": ["*.example.net"]}, "can't be a pattern"),
        ({"email": ["jane@*.example.net"]}, "can't be a pattern"),
        ({"email": ["*@example.net"]}, "can't be a pattern"),
        ({"deny_email": ["\u212aim@example.net"]}, "e-mail"),
        ({"dns": [""]}, "'' is not a DNS name"),
        ({"dns": ["."]}, "not a DNS name"),
        ({"dns": ["..net"]}, "not a DNS name"),
        ({"dns": ["a..b"]}, "'a..b' is not a DNS name"),
        ({"dns": ["10.0.0.0/8"]}, "not a DNS name"),
        ({"dns": ["10.0.0.1"]}, "not a DNS name"),
        ({"deny_dns": ["a b"]}, "'a b' is not a DNS name"),
        ({"ip": [""]}, "CIDR"),
        ({"ip": ["10.0.0.1/8"]}, "host bits set"),
        ({"ip": ["10.0.0.0/33"]}, "CIDR"),
        ({"ip": ["example.net"]}, "CIDR"),
        ({"ip": ["::ffff:10.0.0.0/104"]}, "IPv4-mapped"),
        ({"deny_ip": ["::ffff:10.0.0.1"]}, "IPv4-mapped"),
        ({"ip": ["fe80::1%eth0"]}, "zone|CIDR"),
        ({"email": [""]}, "not a DNS name"),
        ({"email": ["@example.net"]}, "e-mail"),
        ({"deny_email": ["a@b@c"]}, "e-mail"),
        ({"uri": [""]}, "absolute URI"),
        ({"uri": ["example.net"]}, "absolute URI"),
        ({"uri": ["https://example.net/?a"]}, "query"),
        ({"uri": ["https://example.net/../a"]}, "normal form"),
        ({"deny_uri": ["https://example.net//"]}, "normal form"),
        ({"deny_uri": ["https://*.example.net/"]}, "DNS name"),
    ],
)
def test_a_pattern_that_makes_no_sense_is_refused_and_named(patterns: dict[str, list[str]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        NameRules.compile(**patterns)  # type: ignore[arg-type] # all of them are lists


def test_rules_say_in_words_what_they_allow() -> None:
    rules = NameRules.compile(dns=["example.net", ".example.net"], ip=["10.0.0.0/8"], deny_dns=["vault.example.net"])
    assert str(rules) == ("dns .example.net, example.net; ip 10.0.0.0/8; no wildcards; never dns vault.example.net")
    assert str(NOTHING) == "none; no wildcards"


def test_a_wildcard_is_a_dns_name_whose_first_label_is_an_asterisk() -> None:
    assert is_wildcard(dns_name("*.example.net"))
    assert not is_wildcard(dns_name("a.example.net"))
    assert not is_wildcard(uri_name("urn:a:*.b"))
