"""The matrix as files, and the questions about it that every verifier is asked.

Drivers in other languages read a case as a line: name, usage (an OID), root, intermediates, leaf, CRL and OCSP
response, separated by tabs; files are DER, "-" is none, and there may be several intermediates, separated by
commas. They print a line for each: its name, a tab, and "good", "revoked" or a complaint.
"""

import dataclasses
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from protocol import pem
from signerd.policy.usages import EXTENDED_KEY_USAGES
from tests.matrix import CAS, ROOTS, Leaf, signed_by

GOOD, REVOKED, REFUSED = "good", "revoked", "refused"
HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "interop"


@dataclass(frozen=True)
class Case:
    """A certificate to verify. Each DER file has the same as PEM beside it."""

    ca: str  # of matrix.CAS
    what: str
    key_type: str  # of the leaf
    usage: str  # by name
    root: Path
    intermediates: tuple[Path, ...]
    leaf: Path
    crl: Path | None
    ocsp: Path | None
    expected: str

    @property
    def name(self) -> str:
        return f"{self.ca}/{self.what}"

    @property
    def issuer(self) -> Path:
        return self.intermediates[0] if self.intermediates else self.root

    @property
    def line(self) -> str:
        """What a driver reads."""
        others = ",".join(map(str, self.intermediates)) or "-"
        files = (self.root, others, self.leaf, self.crl or "-", self.ocsp or "-")
        return "\t".join(map(str, (self.name, EXTENDED_KEY_USAGES[self.usage], *files)))


def pem_of(path: Path) -> Path:
    """The same as PEM."""
    return path.with_name(f"{path.name}.pem")


class Files:
    """Writes what one CA signed, and makes its cases."""

    def __init__(self, ca: str, directory: Path) -> None:
        self.ca, self.signed = ca, signed_by(ca)
        self._directory = directory / ca
        self._directory.mkdir()
        *others, root = (self._certificate(f"ca{number}", one) for number, one in enumerate(self.signed.chain))
        self.root, self.intermediates = root, tuple(others)
        self.crls = {name: self._write(f"{name}.crl", der, pem.CRL_LABEL) for name, der in self.signed.crls.items()}
        self.answers = {name: self._write(f"{name}.ocsp", der) for name, der in self.signed.answers.items()}
        self.leaves = {leaf: self._certificate(f"leaf{n}", leaf.certificate) for n, leaf in enumerate(self._all())}

    def _all(self) -> tuple[Leaf, ...]:
        return (*self.signed.leaves, *self.signed.revoked.values())

    def _certificate(self, name: str, certificate: x509.Certificate) -> Path:
        return self._write(f"{name}.der", certificate.public_bytes(Encoding.DER), pem.CERTIFICATE_LABEL)

    def _write(self, name: str, der: bytes, label: str = "") -> Path:
        path = self._directory / name
        path.write_bytes(der)
        if label:
            pem_of(path).write_text(pem.encode(der, label))
        return path

    def cases(self) -> Iterator[Case]:
        """Every leaf by the CRL for all; some by other CRLs, and by OCSP."""
        for number, leaf in enumerate(self.signed.leaves):
            yield self._case(f"{leaf.profile}-{leaf.key_type}-{number}", leaf, crl="all")
        first = self.signed.leaves[0]
        yield self._case("empty-crl", first, crl="empty")
        yield self._case("crl-of-its-shard", first, crl=self.signed.shard(first))
        yield self._case("crl-of-another-shard", first, crl="1", expected=REFUSED)
        yield self._case("crl-of-cas", first, crl="cas", expected=REFUSED)
        yield self._case("ocsp", first, ocsp="good")
        yield self._case("another-usage", first._replace(profile="codeSigning"), first, crl="all", expected=REFUSED)
        for reason, leaf in self.signed.revoked.items():
            yield self._case(f"{reason}-by-crl", leaf, crl="all", expected=REVOKED)
            yield self._case(f"{reason}-by-crl-of-its-shard", leaf, crl=self.signed.shard(leaf), expected=REVOKED)
            yield self._case(f"{reason}-by-ocsp", leaf, ocsp=reason, expected=REVOKED)

    def _case(
        self, what: str, leaf: Leaf, of: Leaf | None = None, *, crl: str = "", ocsp: str = "", expected: str = GOOD
    ) -> Case:
        usage = leaf.profile if leaf.profile in EXTENDED_KEY_USAGES else "serverAuth"
        files = (self.root, self.intermediates, self.leaves[of or leaf], self.crls.get(crl), self.answers.get(ocsp))
        return Case(self.ca, what, leaf.key_type, usage, *files, expected)


def all_cases(directory: Path) -> list[Case]:
    """Those of all CAs. The roots have one name and keys of their own: none stands for another."""
    files = {ca: Files(ca, directory) for ca in CAS}
    found = [case for one in files.values() for case in one.cases()]
    for ca, other in zip(ROOTS, (*ROOTS[1:], ROOTS[0]), strict=True):
        first = next(case for case in found if case.ca == ca)
        found.append(dataclasses.replace(first, what="another-root", root=files[other].root, expected=REFUSED))
    return found


def ask(driver: Sequence[str | Path], cases: Iterable[Case]) -> dict[str, str]:
    """What a driver in another language says of each case, by name."""
    lines = "".join(f"{case.line}\n" for case in cases)
    done = subprocess.run(list(map(str, driver)), input=lines, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(line.split("\t", 1) for line in done.stdout.splitlines())


def assert_agrees(
    cases: Iterable[Case], verdicts: Mapping[str, str], instead: Callable[[Case], str | None] = lambda _: None
) -> None:
    """The verdicts are those expected. ``instead``: where the verifier can't say so, a pattern of what it says."""
    wrong = []
    for case in cases:
        said, pattern = verdicts[case.name], instead(case)
        if pattern is not None:
            agrees = re.search(pattern, said) is not None
        elif case.expected == REFUSED:
            agrees = said not in {GOOD, REVOKED}
        else:
            agrees = said == case.expected
        if not agrees:
            wrong.append(f"{case.name}: {said}")
    assert not wrong, "\n".join(wrong)
