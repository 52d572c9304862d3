"""Java: its own PKIX, with CRLs and OCSP responses."""

from tests.interop.cases import HERE, Case, ask, assert_agrees


def test_java_verifies_everything(cases: list[Case]) -> None:
    assert_agrees(cases, ask(["java", HERE / "java" / "Verify.java"], cases))
