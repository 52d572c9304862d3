"""A frontend that somebody has taken over gets what policy allows, within quota, all of it on record, and nothing else.

The attack is a process of its own, as the frontend's user, with the real socket of a real signer. Here it sends
some thousands of messages; with SIGNERD_MESSAGES=100000 in the environment as many as that.
"""

import collections
import contextlib
import hmac
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from protocol.errors import Refused
from protocol.fields import HookWishes, MacProof
from protocol.messages import IssueRequest
from protocol.wire import unpack
from signerd.ledger.certificates import State
from signerd.proofs import mac_text
from tests.certs import assert_is_leaf, extension, lifetime_of, load, names_of
from tests.csrs import csr_for, dns
from tests.edited_ledgers import problems_of, serial_of
from tests.identities import OTHER_UID
from tests.running import ROOT, Signer, needs_root

FRONTEND_UID, SIGNER_UID = OTHER_UID, OTHER_UID + 1
MESSAGES = int(os.environ.get("SIGNERD_MESSAGES", "4000"))
QUOTAS = {"web1": 15, "web2": 10, "guarded": 0, "root": 0}
POLICY = """
[profile.server]
lifetime = "90d"
lifetime_max = "100d"
extended_key_usage = ["serverAuth"]
key_types = ["ed25519", "p256"]
extra_extensions = ["1.3.6.1.5.5.7.1.24"]
[profile.server.names]
dns = [".web.example.net"]
deny_dns = ["vault.web.example.net"]
[client.web1]
quota = "15/week"
[client.web2]
quota = "10/week"
[client.guarded]
mac_key_file = "{mac}"
[client.victim]
[quota]
total = "1000/week"
"""


def attack(signer: Signer, victim: bytes) -> dict[str, Any]:
    """Runs the attack as the frontend's user, and returns what came of it."""
    drop = ["setpriv", f"--reuid={FRONTEND_UID}", f"--regid={FRONTEND_UID}", "--clear-groups", "--"]
    script = Path(__file__).with_name("frontend_attack.py")
    arguments = [signer.sign_path, signer.admin_path, victim.hex(), str(MESSAGES), "5"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [*drop, sys.executable, str(script), *arguments]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, cwd="/")
    assert done.returncode == 0, done.stderr.decode()
    return dict(json.loads(done.stdout))


def assert_within_policy(certificate: x509.Certificate) -> None:
    """By the certificate alone, and by none of the signer's code."""
    assert_is_leaf(certificate)
    assert all(name.endswith(".web.example.net") for name in names_of(certificate))
    assert not any("*" in name or name.startswith("vault.") for name in names_of(certificate))
    assert list(extension(certificate, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert lifetime_of(certificate) <= 100 * 86_400
    common = {attribute.value for attribute in certificate.subject if attribute.oid == x509.NameOID.COMMON_NAME}
    assert common <= set(names_of(certificate))
    known = {
        *("2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.35", "2.5.29.37"),
        "1.3.6.1.5.5.7.1.24",
    }
    assert {one.oid.dotted_string for one in certificate.extensions} <= known


@needs_root
@pytest.mark.timeout(60 + MESSAGES / 100)
def test_a_taken_over_frontend_gets_what_policy_allows_within_quota_on_record_and_nothing_else() -> None:
    with Signer(uid=SIGNER_UID, sign_users=[str(FRONTEND_UID)]) as signer:
        mac = signer.state / "mac.key"
        mac.write_bytes(b"a key that the frontend has not")
        mac.chmod(0o600)
        os.chown(mac, SIGNER_UID, SIGNER_UID)
        signer.configure(POLICY.format(mac=mac))
        signer.restart()
        certificate = signer.admin().ask_issue(IssueRequest(csr=csr_for(dns("v.web.example.net")), client="victim"))
        victim = load(certificate.certificate)
        ca = x509.load_der_x509_certificate(certificate.chain[0])
        result = attack(signer, serial_of(victim))

        # It did try: each kind of outcome is there, and it got what it was allowed.
        outcomes = result["outcomes"]
        assert sum(outcomes.values()) == MESSAGES
        assert {"closed", "hung up", "answered: issue", "answered: describe", "refused: policy_denied"} <= set(outcomes)
        assert {"refused: bad_csr", "refused: not_authorized", "refused: quota_exceeded"} <= set(outcomes), outcomes
        # No admin operation, on no socket.
        assert result["admin"] is False
        admin_only = {"status", "list", "show", "revoke", "freeze", "thaw", "reload", "verify", "checkpoint", "backup"}
        assert not {f"answered: {op}" for op in (*admin_only, "sign", "", "__init__")} & set(outcomes)

        # The signer is alive, and does its work.
        assert signer.ended is None
        status = signer.admin().ask_status()
        assert status.state == "ready"
        assert "Traceback" not in signer.log
        assert status.certificates[State.REVOKED] == status.certificates[State.HOLD] == 0
        with pytest.raises(Refused, match="client web1 has had 15/week"):
            signer.admin().ask_issue(IssueRequest(csr=csr_for(dns("a.web.example.net")), client="web1"))

        # What it got: within policy, signed by the CA, and on record for the client that it was asked for.
        recorded = {body["serial"]: body["client"] for body in signer.intents().values()}
        assert result["certificates"]
        for one in result["certificates"]:
            got = load(bytes.fromhex(one["certificate"]))
            got.verify_directly_issued_by(ca)
            assert_within_policy(got)
            assert recorded[serial_of(got)] == one["client"]
        # And all that is on record, whether or not its answer was waited for: within policy, and within quota.
        counts = collections.Counter(client for client in recorded.values() if client != "victim")
        assert all(number <= QUOTAS[client] for client, number in counts.items()), counts
        assert counts == {"web1": 15, "web2": 10}
        bodies = [(kind, unpack(body)) for kind, body in signer.query("SELECT kind, body FROM entries ORDER BY seq")]
        names = [name for _, body in bodies for name in body.get("names", ())]
        assert len(names) >= len(recorded)
        assert all(name.startswith("dns:") and name.endswith(".web.example.net") for name in names)
        assert {kind for kind, _ in bodies} <= {"start", "policy", "intent", "issued", "refused"}
        signed = {body["what"] for kind, body in bodies if kind == "intent"}
        assert signed <= {"ledger_key", "certificate", "crl", "responder"}

        assert signer.stop() == 0
        assert problems_of(signer.ledger_path) == []
        signer.start()


def test_a_proof_that_a_taken_over_frontend_has_seen_gets_it_what_the_client_asked_for_and_nothing_else() -> None:
    with Signer() as signer:
        mac_key = signer.state / "mac.key"
        mac_key.write_bytes(b"a key that the frontend has not")
        mac_key.chmod(0o600)
        policy = POLICY.format(mac=mac_key).replace("[profile.server.names]", "[profile.other]\n[profile.server.names]")
        signer.configure(policy)
        signer.restart()
        bare = IssueRequest(csr=csr_for(dns("g.web.example.net")), client="guarded", lifetime=30 * 86_400)
        moment = int(time.time())
        mac = MacProof(moment, hmac.digest(mac_key.read_bytes(), mac_text(bare, moment), "sha256"))
        seen = msgspec.structs.replace(bare, mac=mac)
        with contextlib.closing(signer.sign()) as sign:
            first = sign.ask_issue(seen)
            for number in range(97):
                hooks = HookWishes(lifetime=(number + 1) * 86_400)
                again = msgspec.structs.replace(seen, hooks=hooks, idempotency_key=f"key {number}")
                assert sign.ask_issue(again) == first
            for change in ({"lifetime": 100 * 86_400}, {"lifetime": None}, {"profile": "other"}):
                with pytest.raises(Refused, match="not this client's MAC of this request"):
                    sign.ask_issue(msgspec.structs.replace(seen, **change))
        assert lifetime_of(load(first.certificate)) == 30 * 86_400
        assert [body["client"] for body in signer.intents().values()] == ["guarded"]
