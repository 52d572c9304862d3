"""What hooks are given, and how their module is found or refused."""

import datetime
import hashlib
import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from frontend.hook_loader import load_hooks
from frontend.hooks import CertificateDraft, CsrTuple, SigningHooksBase, SubjectAltNames
from protocol.errors import ConfigurationError, ErrorCode, Refused
from protocol.fields import EXTENSIONS_MAX, ExtensionWish
from tests import csrs
from tests.frontend.signer_stub import make_csr, spki

TLS_FEATURE = x509.TLSFeature([x509.TLSFeatureType.status_request])


def csr_tuple(*names: str, common_name: str | None = None) -> CsrTuple:
    return CsrTuple(make_csr(*names, common_name=common_name)[1].public_bytes(Encoding.DER))


# --- the CSR ------------------------------------------------------------------------------------


def test_the_csr_comes_as_pem_and_parsed_and_unpacks() -> None:
    _, csr = make_csr("a.example.net")
    pem, parsed = CsrTuple(csr.public_bytes(Encoding.DER))
    assert pem == csr.public_bytes(Encoding.PEM).decode()
    assert parsed == csr


def test_nothing_is_parsed_before_it_is_touched() -> None:
    hooks = SigningHooksBase("web1", None, CsrTuple(b"garbage"))
    names = SubjectAltNames(hooks.csr_tuple)
    assert hooks.client_hash == "web1"
    assert hooks.csr_tuple.csr_pem.startswith("-----BEGIN CERTIFICATE REQUEST-----\n")
    for touch in (lambda: hooks.csr_tuple.csr, lambda: hooks.public_key_hash, lambda: len(names)):
        with pytest.raises(Refused, match="can't be parsed") as caught:
            touch()
        assert caught.value.code is ErrorCode.BAD_CSR


def test_a_csr_whose_extensions_raise_when_they_are_read_is_refused_when_it_is_touched() -> None:
    name = csrs.san(csrs.dns("a.example.net"))
    der = csrs.make_csr(attributes=[csrs.extension_request(name, name)])
    with pytest.raises(x509.DuplicateExtension):
        _ = x509.load_der_x509_csr(der).extensions
    with pytest.raises(Refused, match="can't be parsed"):
        _ = CsrTuple(der).csr


def test_the_public_key_hash_is_the_sha1_of_the_subject_public_key_info() -> None:
    _, csr = make_csr("a.example.net")
    hooks = SigningHooksBase("web1", None, CsrTuple(csr.public_bytes(Encoding.DER)))
    assert hooks.public_key_hash == hashlib.sha1(spki(csr), usedforsecurity=False).hexdigest()


# --- subject_alt_name_exts ----------------------------------------------------------------------


def test_names_come_in_ssl_apis_shape_a_list_of_names_per_extension() -> None:
    names: list[x509.GeneralName] = [
        x509.DNSName("a.example.net"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.RFC822Name("ops@example.net"),
        x509.UniformResourceIdentifier("https://a.example.net/x:y"),
    ]
    _, csr = make_csr(extensions=(x509.SubjectAlternativeName(names),))
    seen = SubjectAltNames(CsrTuple(csr.public_bytes(Encoding.DER)))
    expected = [
        [
            ["DNS", "a.example.net"],
            ["IP Address", "192.0.2.1"],
            ["email", "ops@example.net"],
            ["URI", "https://a.example.net/x:y"],
        ]
    ]
    assert seen == expected
    assert list(seen) == expected
    assert repr(seen) == repr(expected)
    assert seen[0][0] == ["DNS", "a.example.net"]


def test_names_of_kinds_that_no_policy_allows_are_shown_too() -> None:
    odd: list[x509.GeneralName] = [
        x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x0c\x01x"),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3.5")),
        x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])),
    ]
    _, csr = make_csr(extensions=(x509.SubjectAlternativeName(odd),))
    seen = SubjectAltNames(CsrTuple(csr.public_bytes(Encoding.DER)))
    assert seen == [[["othername", "<unsupported>"], ["Registered ID", "1.2.3.5"], ["DirName", "CN=x"]]]


@pytest.mark.parametrize(
    ("names", "common_name", "seen"),
    [
        ((), None, []),
        ((), "b.example.net", [[["DNS", "b.example.net"]]]),
        ((), "192.0.2.1", [[["IP Address", "192.0.2.1"]]]),
        (("a.example.net",), "b.example.net", [[["DNS", "a.example.net"], ["DNS", "b.example.net"]]]),
        (("a.example.net",), "A.example.net", [[["DNS", "a.example.net"]]]),
    ],
)
def test_a_common_name_is_among_the_names_since_the_certificate_will_carry_it(
    names: tuple[str, ...], common_name: str | None, seen: list[list[list[str]]]
) -> None:
    assert SubjectAltNames(csr_tuple(*names, common_name=common_name)) == seen


# --- the draft ----------------------------------------------------------------------------------


def test_extensions_are_added_as_cryptography_types_or_as_oid_and_der() -> None:
    draft = CertificateDraft(datetime.timedelta(days=1), "server")
    draft.add_extension(TLS_FEATURE, critical=True)
    draft.add_extension(("1.2.3.4", b"\x05\x00"))
    draft.add_extension((x509.ObjectIdentifier("1.2.3.5"), b"\x05\x00"))
    assert draft.extensions == (
        ExtensionWish(oid="1.3.6.1.5.5.7.1.24", value=TLS_FEATURE.public_bytes(), critical=True),
        ExtensionWish(oid="1.2.3.4", value=b"\x05\x00"),
        ExtensionWish(oid="1.2.3.5", value=b"\x05\x00"),
    )


def test_an_extension_that_no_message_can_carry_is_refused_where_it_is_added() -> None:
    draft = CertificateDraft(None, None)
    draft.add_extension(TLS_FEATURE)
    with pytest.raises(ValueError, match="there already"):
        draft.add_extension(TLS_FEATURE)
    with pytest.raises(ValueError, match="asn1"):
        draft.add_extension(("not an oid", b""))
    with pytest.raises(ValueError, match="Expected `str` matching"):
        draft.add_extension(("2.25.305821105408246119474742976030998643995", b""))
    with pytest.raises(ValueError, match="4096"):
        draft.add_extension(("1.2.3.4", bytes(4097)))
    for number in range(1, EXTENSIONS_MAX):
        draft.add_extension((f"1.2.3.{number}", b""))
    with pytest.raises(ValueError, match="more than 16"):
        draft.add_extension(("1.2.4", b""))


# --- the module ---------------------------------------------------------------------------------


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on the import path; what was imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(directory: Path, text: str, name: str = "sapi_custom_ca/api.py") -> None:
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    (path.parent / "__init__.py").touch()
    path.write_text("from frontend.hooks import SigningHooksBase\n" + text)


def assert_not_loaded(name: str | None, *what: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_hooks(name)
    for words in what:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_default_module_there_are_no_hooks(modules: Path) -> None:
    assert load_hooks(None) is None


def test_a_package_without_the_api_module_has_no_hooks(modules: Path) -> None:
    write(modules, "", "sapi_custom_ca/ca.py")  # ssl_api's other module, which is the signer's
    assert load_hooks(None) is None


def test_the_default_module_is_found(modules: Path) -> None:
    write(modules, "class Hooks(SigningHooksBase): pass\nAPI_CSR_HOOKS_FACTORY = Hooks\n")
    make = load_hooks(None)
    assert make is not None
    hooks = make("web1", csr_tuple("a.example.net"))
    assert type(hooks).__name__ == "Hooks"
    assert hooks.client_hash == "web1"


def test_a_factory_that_is_a_function_gets_all_three_arguments_ready(modules: Path) -> None:
    write(
        modules,
        "SEEN = []\n"
        "def API_CSR_HOOKS_FACTORY(client_hash, public_key_hash, csr_tuple):\n"
        "    SEEN.append((client_hash, public_key_hash))\n"
        "    return SigningHooksBase(client_hash, public_key_hash, csr_tuple)\n",
        "own/hooks.py",
    )
    make = load_hooks("own.hooks")
    assert make is not None
    hooks = make("web1", csr_tuple("a.example.net"))
    seen = sys.modules["own.hooks"].SEEN
    assert seen == [("web1", hooks.public_key_hash)]
    assert len(hooks.public_key_hash) == 40


def test_a_class_with_its_own_constructor_gets_the_hash_as_a_string(modules: Path) -> None:
    write(
        modules,
        "class API_CSR_HOOKS_FACTORY(SigningHooksBase):\n"
        "    def __init__(self, client_hash, public_key_hash, csr_tuple):\n"
        "        super().__init__(client_hash, public_key_hash, csr_tuple)\n"
        "        self.seen = public_key_hash\n",
    )
    make = load_hooks(None)
    assert make is not None
    hooks = make("web1", csr_tuple("a.example.net"))
    assert hooks.seen == hooks.public_key_hash  # type: ignore[attr-defined]


def test_a_factory_that_makes_something_else_is_an_error_of_the_hooks(modules: Path) -> None:
    write(modules, "API_CSR_HOOKS_FACTORY = lambda *arguments: object()\n")
    make = load_hooks(None)
    assert make is not None
    with pytest.raises(TypeError, match="no SigningHooksBase"):
        make("web1", csr_tuple("a.example.net"))


def test_a_named_module_that_is_absent_is_refused(modules: Path) -> None:
    assert_not_loaded("no.such.hooks", "no.such.hooks", "ModuleNotFoundError")


def test_a_module_that_fails_to_import_is_refused_with_file_and_line(modules: Path) -> None:
    write(modules, "import no_such_library\n")
    assert_not_loaded(None, "no_such_library", str(modules / "sapi_custom_ca/api.py"), "line 2")


def test_a_package_that_fails_to_import_is_refused_and_not_taken_for_absent(modules: Path) -> None:
    write(modules, "")
    (modules / "sapi_custom_ca/__init__.py").write_text("import no_such_library\n")
    assert_not_loaded(None, "no_such_library", "__init__.py", "line 1")


def test_a_module_with_a_syntax_error_is_refused_with_file_and_line(modules: Path) -> None:
    write(modules, "\nclass Hooks(\n")
    assert_not_loaded(None, "SyntaxError", str(modules / "sapi_custom_ca/api.py"), "line 3")


def test_a_module_that_exits_at_import_is_refused(modules: Path) -> None:
    write(modules, "raise SystemExit(0)\n")
    assert_not_loaded(None, "SystemExit", "line 2")


def test_a_module_without_the_factory_is_refused_since_its_hooks_would_be_skipped(modules: Path) -> None:
    write(modules, "class Hooks(SigningHooksBase): pass\n")
    assert_not_loaded(None, "has no API_CSR_HOOKS_FACTORY", str(modules / "sapi_custom_ca/api.py"))


@pytest.mark.parametrize("factory", ["class API_CSR_HOOKS_FACTORY: pass", "API_CSR_HOOKS_FACTORY = 'Hooks'"])
def test_a_factory_that_is_no_hooks_class_and_no_function_is_refused(modules: Path, factory: str) -> None:
    write(modules, factory + "\n")
    assert_not_loaded(None, "API_CSR_HOOKS_FACTORY")
