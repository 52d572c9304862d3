"""signerd.toml: each mistake is one line that names its path, and what is accepted means what it says."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from frontend import dev
from protocol.errors import ConfigurationError, ErrorCode
from protocol.fields import ExtensionWish
from signerd.policy.describe import describe_policy
from signerd.policy.policy import Policy, load_policy
from tests import certs
from tests.authorities import FRONTEND, OPERATOR, local_authority
from tests.commands import ROOT
from tests.csrs import csr_for, dns, make_csr, private_key, rdn

MAC_KEY = b"0123456789abcdef0123456789abcdef\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "signerd.toml"


def policy_of(path: Path, text: str) -> Policy:
    path.write_text(text)
    return load_policy(path)


def mistake(path: Path, text: str) -> str:
    """The line that these settings are refused with, without the file's name, which it begins with."""
    with pytest.raises(ConfigurationError) as refused:
        policy_of(path, text)
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


# --- mistakes -------------------------------------------------------------------------------------

PROFILE, NAMES, CLIENT = "[profile.server]\n", "[profile.server.names]\n", "[client.web1]\n"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("unknown = 1", "unknown"),
        ("[signer]\nledgr = 'x'", "signer.ledgr"),
        (f"{PROFILE}basic_constraints = 'CA:TRUE'", "profile.server.basic_constraints"),
        (f"{PROFILE}key_usage = ['keyCertSign']", "profile.server.key_usage"),
        (f"{PROFILE}ca = true", "profile.server.ca"),
        (f"{PROFILE}path_length = 0", "profile.server.path_length"),
        (f"{NAMES}dsn = ['a']", "profile.server.names.dsn"),
        (f"{CLIENT}wildcards = true", "client.web1.wildcards"),
        ("[quota]\nper_clients = '1/day'", "quota.per_clients"),
    ],
)
def test_an_unknown_key_at_any_level_is_named_with_its_path(path: Path, text: str, key: str) -> None:
    assert mistake(path, text).startswith(f"unknown key {key} ")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("signer = 1", "signer"),
        ("profile = 'server'", "profile"),
        ("profile.server = 1", "profile.server"),
        ("[signer]\nledger = 1", "signer.ledger"),
        ("[signer]\nsign_users = 'ca-web'", "signer.sign_users"),
        ("[signer]\nsign_users = [1]", "signer.sign_users"),
        (f"{PROFILE}lifetime = 90", "profile.server.lifetime"),
        (f"{PROFILE}key_types = 'p256'", "profile.server.key_types"),
        (f"{PROFILE}names = ['a']", "profile.server.names"),
        (f"{NAMES}dns = 'example.net'", "profile.server.names.dns"),
        (f"{NAMES}wildcards = 'yes'", "profile.server.names.wildcards"),
        (f"{CLIENT}renew_with_key = 1", "client.web1.renew_with_key"),
        (f"{CLIENT}quota = 20", "client.web1.quota"),
        ("[quota]\ntotal = 20", "quota.total"),
    ],
)
def test_a_value_of_another_type_is_named_with_its_path(path: Path, text: str, key: str) -> None:
    assert mistake(path, text).startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        (
            f"{PROFILE}lifetime = '90'",
            "profile.server.lifetime",
            "'90' is no duration: write a whole number and one of",
        ),
        ("[signer]\ncrl_lifetime = '7'", "signer.crl_lifetime", "'7' is no duration"),
        (f"{PROFILE}lifetime = '90x'", "profile.server.lifetime", "'90x' is no duration"),
        (f"{PROFILE}lifetime = '0d'", "profile.server.lifetime", "longer than nothing"),
        (f"{PROFILE}lifetime = '-1d'", "profile.server.lifetime", "no duration"),
        (f"{PROFILE}lifetime = '119s'", "profile.server.lifetime", "not between 120 s and 365 d"),
        (f"{PROFILE}lifetime = '366d'", "profile.server.lifetime", "not between 120 s and 365 d"),
        (f"{PROFILE}lifetime_max = '60s'", "profile.server.lifetime_max", "not between"),
        (f"{PROFILE}lifetime_max = '101y'", "profile.server.lifetime_max", "not between"),
        (f"{PROFILE}quota = '20 a day'", "profile.server.quota", "'20 a day' is no quota"),
        (f"{CLIENT}quota = '/day'", "client.web1.quota", "is no quota"),
        ("[quota]\nper_client = '-1/hour'", "quota.per_client", "is no quota"),
        ("[quota]\ntotal = '1/month'", "quota.total", "is no quota"),
        ("[quota]\nbytes = '20/day'", "quota.bytes", "'20' is no size"),
        ("[quota]\nbytes = '1GiB'", "quota.bytes", "is no quota of bytes"),
        ("[quota]\nbytes = '1.5GiB/day'", "quota.bytes", "is no size"),
        (f"{PROFILE}bytes_max = '8192'", "profile.server.bytes_max", "is no size"),
        (f"{PROFILE}bytes_max = '1MiB'", "profile.server.bytes_max", "not between 1KiB and 64KiB"),
        (f"{PROFILE}bytes_max = '0KiB'", "profile.server.bytes_max", "not between 1KiB and 64KiB"),
        ("[quota]\nfreeze_above = '٣/day'", "quota.freeze_above", "is no quota"),
        (f"{PROFILE}key_types = ['rsa1024']", "profile.server.key_types", "'rsa1024' is none of"),
        (f"{PROFILE}key_types = []", "profile.server.key_types", "empty"),
        (f"{PROFILE}subject = ['CN', 'X']", "profile.server.subject", "'X' is none of"),
        (f"{PROFILE}extended_key_usage = []", "profile.server.extended_key_usage", "empty would mean any usage"),
        (f"{PROFILE}extended_key_usage = ['serverauth']", "profile.server.extended_key_usage", "no OID"),
        (
            f"{PROFILE}extended_key_usage = ['serverAuth', '1.3.6.1.5.5.7.3.1']",
            "profile.server.extended_key_usage",
            "twice",
        ),
        (
            f"{PROFILE}extended_key_usage = ['1.3.6.1.5.5.7.3.8', 'codeSigning']",
            "profile.server.extended_key_usage",
            "timeStamping stands alone",
        ),
        ("[profile.'a b']", "profile.a b", "a profile's name"),
        ("[client.web-]", "client.web-", "a client id"),
        ("[client.'.web']", "client..web", "a client id"),
        ("[client.web1.example.net]\ndns = ['a.example.net']", "client.web1.example.net", "stands in quotes"),
        ("[client.web1.dns]\n", "client.web1.dns", '[client."web1.dns"]'),
        (f"[client.{'a' * 129}]", f"client.{'a' * 129}", "a client id"),
        (f"{CLIENT}profiles = ['other']", "client.web1.profiles", "no profile 'other'"),
        (f"{CLIENT}profiles = []", "client.web1.profiles", "empty would allow none"),
        (f"{CLIENT}dns = []", "client.web1", "allows no name at all"),
        (f"{CLIENT}dns = ['a..b']", "client.web1.dns", "'a..b' is not a DNS name"),
        (NAMES, "profile.server.names", "allows no name at all"),
        (f"{NAMES}deny_dns = ['a.example.net']", "profile.server.names", "allows no name at all"),
        (f"{NAMES}dns = ['*.example.net']", "profile.server.names.dns", "can't be a pattern"),
        (f"{NAMES}ip = ['10.0.0.1/8']", "profile.server.names.ip", "not a network"),
        (f"{NAMES}dns = ['a']\ndeny_email = ['@']", "profile.server.names.deny_email", "not an e-mail address"),
        (f"{NAMES}uri = ['example.net']", "profile.server.names.uri", "not an absolute URI"),
        ("[signer]\nsign_users = []", "signer.sign_users", "empty would let nobody ask"),
    ],
)
def test_a_bad_value_is_named_with_its_path(path: Path, text: str, key: str, what: str) -> None:
    line = mistake(path, text)
    assert line.startswith(f"{key}: ")
    assert what in line


def test_what_is_no_toml_or_no_text_or_not_there_is_one_line(path: Path) -> None:
    assert "at line 2" in mistake(path, "[signer]\nledger = x\n")
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_policy(path)
    path.unlink()
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        load_policy(path)


# --- no CA ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "oid",
    [
        *("2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.33", "2.5.29.35"),
        *("2.5.29.36", "2.5.29.37", "2.5.29.54", "1.3.6.1.5.5.7.1.1", "1.3.6.1.5.5.7.1.11", "1.3.6.1.5.5.7.1.14"),
        *("1.3.6.1.5.5.7.48.1.5", "2.16.840.1.113730.1.1", "1.3.6.1.4.1.311.21.10", "1.3.6.1.4.1.311.25.2"),
    ],
)
def test_no_profile_lets_in_an_extension_that_makes_more_than_a_leaf_or_is_the_signers_own(
    path: Path, oid: str
) -> None:
    line = mistake(path, f"{PROFILE}extra_extensions = ['1.3.6.1.5.5.7.1.24', '{oid}']")
    assert line.startswith(f"profile.server.extra_extensions: {oid} ")


@pytest.mark.parametrize(
    "oid", ["1.45.29.19", "0.85.29.19", "1.40", "2.05.29.19", "2.5.29.19.", "2", "basicConstraints"]
)
def test_no_second_spelling_of_an_oid_passes_for_another_one(path: Path, oid: str) -> None:
    """The DER of 1.45.29.19, were there such a thing, is that of 2.5.29.19: basicConstraints."""
    for key in ("extra_extensions", "extended_key_usage"):
        line = mistake(path, f"{PROFILE}{key} = ['{oid}']")
        assert line.startswith(f"profile.server.{key}: '{oid}' is no OID")


@pytest.mark.parametrize("usage", ["OCSPSigning", "1.3.6.1.5.5.7.3.9", "anyExtendedKeyUsage", "2.5.29.37.0"])
def test_no_profile_lets_a_leaf_sign_ocsp_answers_or_do_anything(path: Path, usage: str) -> None:
    line = mistake(path, f"{PROFILE}extended_key_usage = ['serverAuth', '{usage}']")
    assert line.startswith("profile.server.extended_key_usage: no leaf may have ")


def test_an_oid_that_no_reader_could_read_back_is_refused(path: Path) -> None:
    long = ".".join(["1.2", *["4294967295"] * 28])
    assert "is no OID" in mistake(path, f"{PROFILE}extra_extensions = ['{long}']")


def test_with_all_that_a_profile_can_say_a_certificate_is_still_a_leaf(tmp_path: Path) -> None:
    policy = f"""{PROFILE}
        lifetime = '100y'
        lifetime_max = '100y'
        extended_key_usage = ['serverAuth', 'codeSigning', 'emailProtection', 'ipsecIKE', '1.2.3.4']
        extra_extensions = ['1.3.6.1.5.5.7.1.24', '2.5.29.32', '1.2.3.4']
        subject = ['CN', 'O', 'OU', 'C', 'ST', 'L', 'serialNumber', 'emailAddress', 'DC', 'UID']
    """
    wishes = (ExtensionWish("1.2.3.4", b"\x30\x03\x01\x01\xff", critical=False),)  # CA:TRUE, had it another OID
    with local_authority(tmp_path, policy) as authority:
        certificate = authority.issue(csr_for(dns("a.example.net")), extensions=wishes)
    certs.assert_is_leaf(certificate)
    certs.assert_verifies_with_openssl(certificate, authority.ca, at=authority.now)


# --- base_url -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *("http://ca.example.net", "http://ca.example.net:8080", "http://ca.example.net/a/b", "http://10.1.2.3:80/x"),
        "http://[2001:db8::1]:8080/pki",
    ],
)
def test_a_base_url_is_plain_http_and_stands_as_it_is_in_the_certificate(tmp_path: Path, url: str) -> None:
    with local_authority(tmp_path, signer=f"base_url = '{url}'") as authority:
        certificate = authority.issue(csr_for(dns("a.example.net")))
    [point] = certs.extension(certificate, x509.CRLDistributionPoints).value
    assert point.full_name == [x509.UniformResourceIdentifier(f"{url}/crl/0.crl")]
    access = certs.extension(certificate, x509.AuthorityInformationAccess).value
    assert [str(found.access_location.value) for found in access] == [f"{url}/ocsp", f"{url}/ca.der"]
    certs.assert_verifies_with_openssl(certificate, authority.ca, at=authority.now)


@pytest.mark.parametrize(
    "url",
    [
        *("", "ca.example.net", "https://ca.example.net", "ftp://ca.example.net", "http://", "http:///x", "http:x"),
        *("http://ca.example.net/", "http://ca.example.net/a/", "http://ca.example.net?x", "http://ca.example.net#x"),
        *("http://who@ca.example.net", "http://ca.example.net:99999", "http://ca.example.net:0", "http://a..b"),
        *("http://ca.example.net/a b", "http://ca.example.net/../x", "http://café.example.net", "http://a\\nb"),
    ],
)
def test_any_other_base_url_is_refused(path: Path, url: str) -> None:
    assert mistake(path, f'[signer]\nbase_url = "{url}"').startswith("signer.base_url: ")


# --- MAC keys -------------------------------------------------------------------------------------


def test_a_mac_key_is_the_files_content_without_the_line_end_and_never_shown(path: Path, tmp_path: Path) -> None:
    key = tmp_path / "web1.key"
    key.write_bytes(MAC_KEY)
    key.chmod(0o600)
    policy = policy_of(path, f"{CLIENT}mac_key_file = '{key}'")
    assert policy.clients["web1"].mac_key == MAC_KEY.rstrip(b"\n")
    assert MAC_KEY.decode().strip() not in repr(policy) + describe_policy(policy)


@pytest.mark.parametrize(
    ("content", "mode", "what"),
    [
        (MAC_KEY, 0o644, "may be read by others"),
        (MAC_KEY, 0o660, "may be written by its group"),
        (b"x" * 15 + b"\n", 0o600, "a key has 16 to 4096 bytes"),
        (b"x" * 4097, 0o600, "a key has 16 to 4096 bytes"),
        (b"", 0o600, "a key has 16 to 4096 bytes"),
        (None, 0, "No such file"),
    ],
)
def test_a_mac_key_file_that_cant_serve_is_named(
    path: Path, tmp_path: Path, content: bytes | None, mode: int, what: str
) -> None:
    key = tmp_path / "web1.key"
    if content is not None:
        key.write_bytes(content)
        key.chmod(mode)
    line = mistake(path, f"{CLIENT}mac_key_file = '{key}'")
    assert line.startswith(f"client.web1.mac_key_file: {key}")
    assert what in line


# --- the hash -------------------------------------------------------------------------------------

BASE = """
[signer]
ledger = '/var/lib/ca/ledger.db'
[profile.server]
lifetime = '1d'
key_types = ['p256', 'p384']
[profile.other]
[client.web1]
dns = ['a.example.net', '.b.example.net']
[quota]
total = '10/hour'
"""
SAME = [
    BASE.replace("'1d'", "'24h'"),
    BASE.replace("'1d'", "'1440m'"),
    BASE + "# a comment",
    BASE.replace("lifetime =", "lifetime_max = '365d'\nlifetime ="),
    BASE.replace("['p256', 'p384']", "['p384', 'p256']"),
    BASE.replace("'a.example.net', '.b.example.net'", "'.b.example.net', 'a.example.net'"),
    BASE.replace("[profile.other]\n", "") + "[profile.other]\n",
    BASE.replace("lifetime =", "extended_key_usage = ['1.3.6.1.5.5.7.3.1', 'clientAuth']\nlifetime ="),
]
DIFFERENT = [
    BASE.replace("'1d'", "'2d'"),
    BASE.replace("lifetime =", "lifetime_max = '364d'\nlifetime ="),
    BASE.replace("'p256', 'p384'", "'p256'"),
    BASE.replace(".b.example.net", "b.example.net"),
    BASE.replace("[profile.other]", "[profile.others]"),
    BASE.replace("[profile.other]\n", ""),
    BASE.replace("dns = ", "ip = ['10.0.0.0/8']\ndns = "),
    BASE.replace("dns = ", "renew_with_key = true\ndns = "),
    BASE.replace("dns = ", "quota = '1/day'\ndns = "),
    BASE.replace("[client.web1]", "[client.web2]"),
    BASE.replace("total", "per_client"),
    BASE.replace("total", "freeze_above"),
    BASE.replace("total", "bytes = '1GiB/day'\ntotal"),
    BASE.replace("[profile.other]", "[profile.other]\nbytes_max = '4KiB'"),
    BASE.replace("10/hour", "10/day"),
    BASE.replace("[profile.other]", "[profile.other]\nquota = '1/day'"),
    BASE.replace("[profile.other]", "[profile.other]\nsubject = ['CN']"),
    BASE.replace("[profile.other]", "[profile.other]\nextra_extensions = ['1.2.3']"),
    BASE.replace("[profile.other]", "[profile.other]\nextended_key_usage = ['clientAuth', 'serverAuth']"),
    BASE.replace("[profile.other]", "[profile.other.names]\ndns = ['a']"),
    BASE.replace("[profile.other]", "[profile.other.names]\ndns = ['a']\nwildcards = true"),
    BASE.replace("[profile.other]", "[profile.other.names]\ndns = ['a']\ndeny_dns = ['b']"),
    BASE.replace("[signer]", "[signer]\nbase_url = 'http://ca.example.net'"),
    BASE.replace("[signer]", "[signer]\nsign_users = ['nobody']"),
]


@pytest.mark.parametrize("text", SAME)
def test_the_hash_stays_when_the_same_is_said_in_other_words(path: Path, text: str) -> None:
    assert policy_of(path, text).hash == policy_of(path, BASE).hash


def test_the_hash_changes_with_everything_that_changes_the_meaning(path: Path) -> None:
    assert len({policy_of(path, text).hash for text in [BASE, *DIFFERENT]}) == len(DIFFERENT) + 1


def test_the_hash_changes_when_another_profile_becomes_the_default(path: Path) -> None:
    one, other = "[profile.a]\n[profile.b]\nlifetime = '1d'\n", "[profile.b]\nlifetime = '1d'\n[profile.a]\n"
    first, second = policy_of(path, one), policy_of(path, other)
    assert (next(iter(first.profiles)), next(iter(second.profiles))) == ("a", "b")
    assert first.hash != second.hash


def test_the_hash_changes_with_a_clients_mac_key_file_and_tells_nothing_of_the_key(path: Path, tmp_path: Path) -> None:
    hashes = []
    for name, content in (("one", MAC_KEY), ("one", MAC_KEY[::-1].strip()), ("two", MAC_KEY)):
        key = tmp_path / name
        key.write_bytes(content)
        key.chmod(0o600)
        hashes.append(policy_of(path, f"{CLIENT}mac_key_file = '{key}'").hash)
    assert hashes[0] == hashes[1] != hashes[2]


# --- what it means --------------------------------------------------------------------------------


def test_a_file_without_a_profile_has_the_default_one(path: Path) -> None:
    [profile] = policy_of(path, "").profiles.values()
    assert (profile.name, profile.lifetime, profile.lifetime_max) == ("server", 90 * 86_400, 365 * 86_400)
    assert profile.extended_key_usage == ("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2")
    assert profile.subject == {"CN", "O", "OU"}


def test_the_profile_named_server_is_the_default_wherever_it_stands_else_the_first(path: Path) -> None:
    assert next(iter(policy_of(path, "[profile.a]\n[profile.server]\n").profiles)) == "server"
    assert next(iter(policy_of(path, "[profile.b]\n[profile.a]\n").profiles)) == "b"


@pytest.mark.parametrize(
    ("profile", "client", "warns"),
    [
        ("extra_extensions = ['1.2.3']", "renew_with_key = true", True),
        ("extra_extensions = ['1.2.3']", "renew_with_key = false", False),
        ("extra_extensions = ['1.2.3']", "renew_with_key = true\nprofiles = ['plain']", False),
        ("", "renew_with_key = true", False),
    ],
)
def test_the_check_of_the_settings_warns_where_the_frontend_may_add_to_what_a_client_proved(
    path: Path, profile: str, client: str, warns: bool
) -> None:
    text = f"{PROFILE}{profile}\n[profile.plain]\n{CLIENT}{client}\n"
    assert ("the frontend may add some that no proof binds" in describe_policy(policy_of(path, text))) is warns


def test_the_check_of_the_settings_says_what_they_mean(path: Path) -> None:
    text = describe_policy(policy_of(path, BASE + "[profile.server.names]\ndns=['.example.net']\ndeny_dns=['x.net']\n"))
    for line in (
        "profile server (the default):",
        "  lives 1 day, at most 365 days",
        "  for serverAuth, clientAuth",
        "  keys: p256, p384",
        "  names: dns .example.net; no wildcards; never dns x.net",
        "client web1:",
        "  names: dns .b.example.net, a.example.net; wildcards",
        "  proves itself to the signer by: nothing (the frontend vouches)",
        "quota per client: none; in total: 10/hour",
        "the ledger grows by at most: any number of bytes",
        "  key, names, subject and extensions: 8KiB at most",
        "issuance freezes by itself above: never",
    ):
        assert line in text.splitlines()


def test_the_check_says_that_a_quota_per_client_binds_nobody_where_any_client_id_may_ask(path: Path) -> None:
    quota = "[quota]\nper_client = '10/hour'\n"
    assert "binds nobody" in describe_policy(policy_of(path, quota))
    assert "binds nobody" not in describe_policy(policy_of(path, f"[client.web1]\n{quota}"))
    assert "binds nobody" not in describe_policy(policy_of(path, quota.replace("per_client", "total")))


# --- per client -----------------------------------------------------------------------------------

NARROWED = """
[profile.server.names]
dns = [".example.net"]
ip = ["10.0.0.0/8"]
wildcards = true
deny_dns = ["vault.example.net"]
[profile.mail]
extended_key_usage = ["emailProtection"]
[client.web1]
profiles = ["server"]
dns = ["web1.example.net", ".w.example.net", "vault.example.net", "elsewhere.org"]
[client.web2]
profiles = ["mail", "server"]
[client.web3]
"""


@pytest.mark.parametrize(
    ("client", "name", "allowed"),
    [
        ("web1", "web1.example.net", True),
        ("web1", "a.w.example.net", True),
        ("web1", "*.w.example.net", True),
        ("web1", "web2.example.net", False),  # the profile would
        ("web1", "elsewhere.org", False),  # the client's table can't widen the profile
        ("web1", "vault.example.net", False),  # nor lift a denial
        ("web3", "web1.example.net", True),
        ("web3", "elsewhere.org", False),
    ],
)
def test_a_clients_table_narrows_the_profiles_names_and_never_widens_them(
    tmp_path: Path, client: str, name: str, allowed: bool
) -> None:
    with local_authority(tmp_path, NARROWED) as authority:
        code = authority.code(csr_for(dns(name)), client)
    assert code == (None if allowed else ErrorCode.POLICY_DENIED)


def test_a_kind_of_name_that_a_clients_table_leaves_out_is_not_the_clients(tmp_path: Path) -> None:
    csr = csr_for(dns("web1.example.net"), b"\x87\x04\x0a\x01\x02\x03")
    with local_authority(tmp_path, NARROWED) as authority:
        assert authority.code(csr, "web3") is None
        assert "ip:10.1.2.3 is not among the names allowed (client)" in authority.refusal(csr, "web1").detail


def test_a_clients_first_profile_is_its_default_and_others_than_its_own_are_refused(tmp_path: Path) -> None:
    csr = csr_for(dns("a.example.net"))
    with local_authority(tmp_path, NARROWED) as authority:
        certificate = authority.issue(csr, "web2")
        refusal = authority.refusal(csr, "web1", profile="mail")
        unknown = authority.refusal(csr, "web2", profile="none")
    assert list(certs.extension(certificate, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    assert (refusal.code, unknown.code) == (ErrorCode.UNKNOWN_PROFILE, ErrorCode.UNKNOWN_PROFILE)
    assert "profile 'mail' is not allowed to this client" in refusal.detail


def test_with_any_client_configured_others_are_refused_whoever_asks(tmp_path: Path) -> None:
    csr = csr_for(dns("a.example.net"))
    with local_authority(tmp_path, NARROWED) as authority:
        for asker in (FRONTEND, OPERATOR):
            assert authority.code(csr, "web9", asker=asker) is ErrorCode.NOT_AUTHORIZED


@pytest.mark.parametrize(
    ("total", "freeze_above", "acts"),
    [
        ("10/hour", "9/hour", True),
        ("10/hour", "10/hour", False),  # the request that would trip it is one too many for the total
        ("10000/hour", "50000/hour", False),
        ("10/hour", "10/minute", False),
        ("10/hour", "9/minute", True),
        ("10/hour", "239/day", True),
        ("10/hour", "240/day", False),
        ("7/day", "8/week", True),
    ],
)
def test_a_circuit_breaker_that_the_total_keeps_from_acting_is_refused(
    path: Path, total: str, freeze_above: str, acts: bool
) -> None:
    text = f"[quota]\ntotal = '{total}'\nfreeze_above = '{freeze_above}'\n"
    if acts:
        path.write_text(text)
        assert load_policy(path).freeze_above is not None
    else:
        assert mistake(path, text).startswith(f"quota.freeze_above: {freeze_above} can't act: quota.total, {total},")


@pytest.mark.parametrize(("freeze_above", "count"), [("2/hour", 2), ("2/minute", 2), ("5/day", 5)])
def test_a_circuit_breaker_that_is_accepted_beside_a_total_acts(tmp_path: Path, freeze_above: str, count: int) -> None:
    with local_authority(tmp_path, f"[quota]\ntotal = '3/hour'\nfreeze_above = '{freeze_above}'\n") as authority:
        codes = []
        for _ in range(count + 1):
            codes.append(authority.code(csr_for(dns("a.example.net"))))
            authority.now += 0 if count == 2 else 1201
        assert codes == [*[None] * count, ErrorCode.FROZEN]


def test_the_settings_that_are_shipped_have_a_circuit_breaker_that_acts(tmp_path: Path) -> None:
    (tmp_path / "identity").mkdir()  # is there, and so none is made
    dev.prepare(tmp_path, "127.0.0.1:1")
    for shipped in (ROOT / "packaging/etc/signerd.toml", tmp_path / "signerd.toml"):
        policy = load_policy(shipped)
        assert policy.freeze_above is not None
        assert policy.quota_total is not None
        assert policy.freeze_above.count < policy.quota_total.count


def test_only_the_subject_attributes_of_the_profile_are_taken_over(tmp_path: Path) -> None:
    subject = [rdn(oid, value) for oid, value in (("2.5.4.10", "Example"), ("2.5.4.7", "Here"), ("2.5.4.11", "Web"))]
    with local_authority(tmp_path, f"{PROFILE}subject = ['O', 'L']") as authority:
        certificate = authority.issue(csr_for(dns("a.example.net"), subject=subject))
    assert certificate.subject.rfc4514_string() == "L=Here,O=Example"


def test_a_mailbox_in_the_subject_is_one_of_the_names_and_so_under_their_rules(tmp_path: Path) -> None:
    policy = f"{PROFILE}subject = ['CN', 'emailAddress']\n{NAMES}dns = ['.example.net']\nemail = ['example.net']\n"

    def csr_of(mailbox: str, *names: bytes) -> bytes:
        subject = [rdn("1.2.840.113549.1.9.1", mailbox, tag=0x16)]
        return csr_for(dns("a.example.net"), *names, subject=subject)

    def email(mailbox: str) -> bytes:
        return b"\x81" + bytes([len(mailbox)]) + mailbox.encode()

    with local_authority(tmp_path, policy) as authority:
        certificate = authority.issue(csr_of("who@Example.NET", email("who@example.net")))
        assert certificate.subject.rfc4514_string() == "1.2.840.113549.1.9.1=who@Example.NET"
        for csr in (
            csr_of("boss@bank.example"),
            csr_of("boss@bank.example", email("who@example.net")),
            csr_of("no mailbox", email("who@example.net")),
        ):
            refusal = authority.refusal(csr)
            assert refusal.code is ErrorCode.POLICY_DENIED
            assert "is not among the names" in refusal.detail
        assert (
            "is not among the names allowed"
            in authority.refusal(csr_of("boss@bank.example", email("boss@bank.example"))).detail
        )
        # What the profile does not take over says nothing in the certificate.
        authority.configure(policy.replace(", 'emailAddress'", ""))
        authority.authority.reload(authority.now)
        assert list(authority.issue(csr_of("boss@bank.example")).subject) == []


@pytest.mark.parametrize("allowed", [["rsa2048"], ["p256", "ed25519"], ["p384"]])
def test_only_the_key_types_of_the_profile_are_certified(tmp_path: Path, allowed: list[str]) -> None:
    with local_authority(tmp_path, f"{PROFILE}key_types = {allowed}") as authority:
        granted = [
            key_type
            for key_type in ("rsa2048", "p256", "p384", "ed25519")
            if authority.code(make_csr(key=private_key(key_type))) is None
        ]
    assert granted == allowed
