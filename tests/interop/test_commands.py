"""OpenSSL and GnuTLS by their commands."""

import dataclasses
import subprocess
from pathlib import Path

from signerd.policy.usages import EXTENDED_KEY_USAGES
from tests.interop.cases import GOOD, REVOKED, Case, assert_agrees, pem_of

_OPENSSL_PURPOSES = {  # openssl-verification-options(1); none is for code or IKE before 3.2
    "serverAuth": "sslserver",
    "clientAuth": "sslclient",
    "emailProtection": "smimesign",
    "timeStamping": "timestampsign",
}


def test_openssl_verifies_everything(cases: list[Case]) -> None:
    def instead(case: Case) -> str | None:
        return GOOD if case.what == "another-usage" and case.usage not in _OPENSSL_PURPOSES else None

    assert_agrees(cases, {case.name: _openssl(case) for case in cases}, instead)


def test_gnutls_verifies_everything(cases: list[Case]) -> None:
    def instead(case: Case) -> str | None:
        # It passes over the issuing distribution point, and takes any CRL of the issuer.
        return GOOD if case.what in {"crl-of-another-shard", "crl-of-cas"} else None

    assert_agrees(cases, {case.name: _gnutls(case) for case in cases}, instead)


def test_gnutls_finds_the_revoked_among_the_crls_of_all_shards(cases: list[Case]) -> None:
    asked = [case for case in cases if case.ca == "p256" and "crl-of-its-shard" in case.what]
    crls = [pem_of(path) for path in asked[0].root.parent.glob("[0-9].crl")]
    assert len(crls) > 2
    for position, order in enumerate((crls, crls[::-1])):
        together = asked[0].root.with_name(f"together{position}")
        pem_of(together).write_text("".join(path.read_text() for path in order))
        assert_agrees(asked, {case.name: _gnutls(dataclasses.replace(case, crl=together)) for case in asked})


def _openssl(case: Case) -> str:
    if case.crl is None:
        ask = (
            "ocsp",
            "-respin",
            case.ocsp or "",
            "-no_nonce",
            "-issuer",
            pem_of(case.issuer),
            "-cert",
            pem_of(case.leaf),
        )
        said = _says("openssl", *ask, "-CAfile", pem_of(case.root))
        return _verdict(said, f"{pem_of(case.leaf)}: good", f"{pem_of(case.leaf)}: revoked", "Response verify OK")
    others = [option for one in case.intermediates for option in ("-untrusted", pem_of(one))]
    purpose = _OPENSSL_PURPOSES.get(case.usage)
    options = ("-x509_strict", "-crl_check", *(("-purpose", purpose) if purpose else ()))
    files = ("-CRLfile", pem_of(case.crl), "-CAfile", pem_of(case.root), *others, pem_of(case.leaf))
    return _verdict(_says("openssl", "verify", *options, *files), ": OK\n", "certificate revoked")


def _gnutls(case: Case) -> str:
    if case.ocsp is not None:
        # It looks up no chain in an answer: GnuTLS hands it the issuer that it has verified already.
        said = _says("ocsptool", "-e", "--load-trust", pem_of(case.issuer), "--load-response", case.ocsp)
        return _verdict(said, "Certificate Status: good", "Certificate Status: revoked", "Response: Success")
    chain = case.leaf.with_suffix(".chain")
    chain.write_text("".join(pem_of(one).read_text() for one in (case.leaf, *case.intermediates)))
    crl = ("--load-crl", pem_of(case.crl)) if case.crl else ()
    options = ("--verify-purpose", EXTENDED_KEY_USAGES[case.usage], "--load-ca-certificate", pem_of(case.root))
    said = _says("certtool", "--verify", *options, *crl, "--infile", chain)
    _, _, last = said.rpartition("Chain verification output: ")
    return _verdict(last, "Verified. The certificate is trusted.", "chain is revoked")


def _verdict(said: str, good: str, revoked: str, besides: str = "") -> str:
    """``besides`` must stand there either way."""
    if besides not in said:
        return said
    return GOOD if good in said else REVOKED if revoked in said else said


def _says(*command: str | Path) -> str:
    """All that a command prints."""
    done = subprocess.run(
        list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr
