"""docs/hooks.md: its examples, taken from the text as they stand, before a real signer."""

import re
import textwrap

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from frontend.hooks import CertificateDraft, SigningHooksBase
from frontend.settings import FrontendSettings
from tests.frontend.running import Frontend, assert_problem
from tests.frontend.signer_stub import make_csr
from tests.running import ROOT, Signer

TEXT = (ROOT / "docs/hooks.md").read_text(encoding="utf-8")
MODULE = "sapi_custom_ca.api"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_it_names_how_many_requests_are_served_at_a_time() -> None:
    assert f"one of the `threads` ({FrontendSettings().threads})" in TEXT


def pem_for(*names: str, common_name: str | None = None) -> bytes:
    return make_csr(*names, common_name=common_name)[1].public_bytes(Encoding.PEM)


def certificate_of(body: dict[str, str]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(body["signed_x509_pem"].encode())


def test_the_number_of_threads_is_the_setting_s_default() -> None:
    assert re.findall(r"`threads` \((\d+)\)", TEXT) == [str(FrontendSettings().threads)]


def test_the_example_of_a_membership_check_signs_for_members_and_their_names_alone() -> None:
    members_example, _ = blocks("python")
    [members] = [block for block in re.findall(r"(?:^    .*\n)+", TEXT, re.MULTILINE) if "# client  names" in block]
    with Signer() as signer:
        frontend = Frontend(signer.sign_path)
        path = frontend.write_module(MODULE, members_example)
        path.with_name("members.txt").write_text(textwrap.dedent(members))
        with frontend:
            response = frontend.put_csr(pem_for("web1.example.net", "www.example.net"), "web1")
            assert response.status == 200
            certificate = certificate_of(response.json())
            lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
            assert lifetime.days in {29, 30}
            for client, csr in (
                ("stranger", pem_for("web1.example.net")),
                ("web1", pem_for("mail.example.net")),
                ("web1", pem_for("web1.example.net", "mail.example.net")),
                ("web1", pem_for("web1.example.net", common_name="mail.example.net")),
                ("mail", pem_for("web1.example.net")),
            ):
                assert_problem(frontend.put_csr(csr, client), 403, "not_authorized")
            assert signer.recorded() == 1
            frontend.wait_for_log("authorize refused client stranger: not a member")
            with path.with_name("members.txt").open("a") as file:
                file.write("stranger web1.example.net\n")
            assert frontend.put_csr(pem_for("web1.example.net"), "stranger").status == 200


@pytest.mark.parametrize("allowed", [True, False])
def test_the_example_of_an_extension_added_in_presign_adds_it_if_the_profile_allows_it(allowed: bool) -> None:
    _, extension_example = blocks("python")
    [policy] = blocks("toml")
    with Signer(policy=policy if allowed else "") as signer:
        frontend = Frontend(signer.sign_path)
        frontend.write_module(MODULE, extension_example)
        with frontend:
            response = frontend.put_csr(pem_for("web1.example.net"), "web1")
            other = certificate_of(frontend.put_csr(pem_for("db1.example.net"), "db1").json())
            with pytest.raises(x509.ExtensionNotFound):
                other.extensions.get_extension_for_class(x509.TLSFeature)
            if allowed:
                feature = certificate_of(response.json()).extensions.get_extension_for_class(x509.TLSFeature)
                assert list(feature.value) == [x509.TLSFeatureType.status_request]
            else:
                assert_problem(response, 403, "policy_denied", "1.3.6.1.5.5.7.1.24")


def test_the_document_names_every_method_and_property_of_the_classes() -> None:
    for owner in (SigningHooksBase, CertificateDraft):
        for name in vars(owner):
            if not name.startswith("_"):
                assert f"`{name}" in TEXT or f"`self.{name}`" in TEXT, f"{owner.__name__}.{name}"
