"""Which keys are accepted, and which are refused as weak."""

import time
from math import isqrt, prod

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ErrorCode, Refused
from signerd.policy.keys import (
    _ED25519_SMALL_ORDER,
    FERMAT_ROUNDS,
    PUBLISHED_KEYS,
    check_key,
    ed25519_weakness,
    key_type_of_spki,
    rsa_weakness,
)
from signerd.policy.model import KEY_TYPES
from tests.csrs import (
    OPENSSL_KEYS,
    bit_string,
    next_prime,
    oid,
    openssl,
    openssl_key,
    private_key,
    rsa_spki,
    sequence,
    spki_of,
)

EC_PUBLIC_KEY = "1.2.840.10045.2.1"
P256 = "1.2.840.10045.3.1.7"

# RFC 9500, 2.3: testECCP256 and testECCP384; 2.1: the moduli of testRSA2048 and testRSA4096.
TEST_ECC_P256 = 0xE6CB5BDD80AA45AE9C95E8C15476679FFEC953C16851E711E743939589C64FC1
TEST_ECC_P384 = 0xE2563328DFABF68188606B91324281C1D58A4456431B09D510B35FECC9F307CA1822846FA2671371A9A81BAC0E35749D

TEST_RSA_2048 = (
    "b0f9e81943a7ae9892aade17ca7c40f8744fed2f8148e6c8eaa27b7d001548fb5192ab28b56c5060b118ccd131e59487"
    "4c6ca989b56c27296f09fb93a034df32e97c6ff0998cfd8e6f42dda58acd1fa97986f144f3d154d67650175e6854b3a9"
    "52003bc06887b8455ac2b19f7b2f76504ebc98ec945571b07892150ddc6a74ca0fbcd35497ce81534daf9418844b13ae"
    "a31f9d5a6b9557bbdf619efd4e887f2d42b8dd8bc987eae1bf89cab85ee21e356305df6c07a8838e3ef41c595dcce43d"
    "afc49123ef4d8abba93d3905e4028d7ba91484a27596e07b4b6ed992f077b524d3dcfe7ddd5549be7cce8da035cfa0b3"
    "fb8f9e46f732b2a86b460165c08f5313"
)
TEST_RSA_4096 = (
    "b38b4960e63be6a8dba89a82978ef1f63244e5577d8cf58616d5ca5759d49cc8d936c338aa3cb9b111c1497e5b51af69"
    "2f2611e689f7675480c0b0f4c3654f43af85fe8c8ad734e042a8ada05fd76508e00ba0f756c3443bbe833ea7d100d4fb"
    "367eebd60bdb648677fc7deb94244dad1af8eed1c65812c03e7c73f7f358e941bc66458ff7bb97a49a98a11807e02c1a"
    "3b9ad33a573ae180e1ff432ae5580cc9cabfab602f325bcda097e87bc7a6d74e34a87d608a43feb2e4fff1f4b8e7686a"
    "98475db51a6ebd08172a57417749248b2155c8b906e0d540e8cb28f4c00adc9fe4758a1ac364ab39e4e1552898544415"
    "3feec6ad4c5348b2e38ff550f5fa583397933730c80881bf11eee8fe386d5b512849a9839943abf3d972207697b8ec24"
    "11a2619d55ca04233c5a2cedc6f286d829d0e837207b76529aa2448721268dc0150bb7b07e73313a713e5895baaf3adf"
    "fa603958c567f85cf25b1d80a27756a30d1a50a1e4698eda9a122bb0aa7a60f7cd226cb1165cfcf9ca830a606cc0fb14"
    "87f249e5e0c71c88626c57128081de76c12384b6d448b67f0e7123aeef74a885960374755483f290a7de66465e227b2b"
    "17318f8a49052b0145fba283772bc29a5b5812accee3ab62817019e54807f2889712b7b8f303ba5fe147f9c2f3434ab7"
    "03c1d946734382a0a353f4e0cbbea26a4bbf21ce9eb5e79d4757d7de027f20e5"
)


def assert_weak(spki: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why) as refused:
        key_type_of_spki(spki)
    assert refused.value.code is ErrorCode.WEAK_KEY


def test_the_key_types_are_those_that_openssl_makes() -> None:
    assert set(KEY_TYPES) == set(OPENSSL_KEYS)


@pytest.mark.parametrize("key_type", OPENSSL_KEYS)
def test_a_key_made_by_openssl_is_accepted(key_type: str) -> None:
    spki = spki_of(private_key(key_type))
    assert key_type_of_spki(spki) == check_key(spki) == key_type


@pytest.mark.parametrize("key_type", OPENSSL_KEYS)
@given(data=st.data())
def test_a_spki_that_is_cut_or_longer_has_no_key_type(key_type: str, data: st.DataObject) -> None:
    spki = spki_of(private_key(key_type))
    cut = data.draw(st.integers(0, len(spki) - 1))
    more = data.draw(st.binary(min_size=1, max_size=8))
    assert_weak(spki[:cut], "accepted are")
    assert_weak(spki + more, "accepted are")


@pytest.mark.parametrize("bits", [1024, 2047, 2049, 2056, 3071, 4095, 4104, 8192])
def test_an_rsa_key_of_another_size_is_refused(bits: int) -> None:
    assert_weak(rsa_spki((1 << (bits - 1)) + 1), "2048, 3072 or 4096 bits")


@pytest.mark.parametrize("exponent", [1, 3, 17, 65535, 65539, 2**32 + 1, -65537])
def test_an_rsa_key_with_another_exponent_is_refused(exponent: int) -> None:
    assert_weak(rsa_spki((1 << 2047) + 1, exponent), "exponent 65537")


def test_a_negative_rsa_modulus_is_refused() -> None:
    assert_weak(rsa_spki(-(1 << 2047)), "accepted are")


def test_a_modulus_with_a_superfluous_leading_zero_is_refused() -> None:
    spki = rsa_spki(1 << 2046)  # 256 octets, so that the header below is that of a 2048-bit modulus
    good = rsa_spki(1 << 2047)
    modulus = good.index(b"\x02\x82\x01\x01\0\x80")
    padded = good[: modulus + 4] + b"\0\x40" + good[modulus + 6 :]
    assert len(padded) == len(good) == len(spki) + 1
    assert_weak(padded, "accepted are")


def test_an_rsa_key_without_the_null_parameters_is_refused() -> None:
    key = sequence(oid("1.2.840.113549.1.1.1"))
    assert_weak(rsa_spki((1 << 2047) + 1).replace(sequence(oid("1.2.840.113549.1.1.1"), b"\x05\0"), key), "RSA")


def test_an_rsa_pss_key_is_refused() -> None:
    pss = openssl("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-outform", "PEM")
    key = serialization.load_pem_private_key(pss, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    algorithm = sequence(oid("1.2.840.113549.1.1.10"))
    spki = spki_of(key).replace(sequence(oid("1.2.840.113549.1.1.1"), b"\x05\0"), algorithm)
    assert_weak(spki, "accepted are")


@pytest.mark.parametrize(
    "curve", [ec.SECP256K1(), ec.BrainpoolP256R1(), ec.SECP224R1(), ec.SECP521R1(), ec.BrainpoolP384R1()]
)
def test_a_key_on_another_curve_is_refused(curve: ec.EllipticCurve) -> None:
    assert_weak(spki_of(ec.generate_private_key(curve)), "P-256 or P-384")


def test_a_compressed_point_is_refused() -> None:
    key = private_key("p256")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    assert_weak(sequence(sequence(oid(EC_PUBLIC_KEY), oid(P256)), bit_string(point)), "uncompressed point")


def test_explicit_curve_parameters_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    key = tmp_path_factory.mktemp("explicit") / "key.pem"
    key.write_bytes(openssl_key("p256"))
    spki = openssl("pkey", "-in", key, "-pubout", "-ec_param_enc", "explicit", "-outform", "DER")
    assert len(spki) > len(spki_of(private_key("p256")))
    assert_weak(spki, "named curves")


@pytest.mark.parametrize("arguments", [("DSA",), ("X25519",), ("ED448",)])
def test_a_key_of_another_kind_is_refused(arguments: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> None:
    key = tmp_path_factory.mktemp("kind") / "key.pem"
    if arguments == ("DSA",):
        parameters = key.with_name("parameters.pem")
        openssl("dsaparam", "-out", parameters, "1024")
        openssl("gendsa", "-out", key, parameters)
    else:
        openssl("genpkey", "-algorithm", *arguments, "-out", key)
    assert_weak(openssl("pkey", "-in", key, "-pubout", "-outform", "DER"), "accepted are")


def test_a_key_of_131072_bits_is_refused_before_anything_is_computed_with_it() -> None:
    spki = rsa_spki((1 << 131071) + 1)
    start = time.process_time()
    assert_weak(spki, "accepted are")
    assert time.process_time() - start < 0.05


# --- weak numbers -------------------------------------------------------------------------------


def rsa_primes() -> tuple[int, int]:
    key = private_key("rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    return numbers.p, numbers.q


def test_an_honest_modulus_has_no_weakness() -> None:
    for key_type in ("rsa2048", "rsa3072", "rsa4096"):
        key = private_key(key_type)
        assert isinstance(key, rsa.RSAPrivateKey)
        assert rsa_weakness(key.private_numbers().public_numbers.n) is None


def test_an_even_modulus_is_weak() -> None:
    assert rsa_weakness(2 * rsa_primes()[0]) == "its modulus is even"


@pytest.mark.parametrize("factor", [3, 65537 % 100 + 4, 743, 751])
def test_a_modulus_with_a_small_factor_is_weak(factor: int) -> None:
    assert rsa_weakness(factor * rsa_primes()[0]) == "its modulus has a small factor"


def test_the_square_of_a_prime_is_weak() -> None:
    assert rsa_weakness(rsa_primes()[0] ** 2) == "its primes are too close to each other"


def test_neighbouring_primes_are_weak() -> None:
    p = rsa_primes()[0]
    assert rsa_weakness(p * next_prime(p + 2)) == "its primes are too close to each other"


def fermat_round(p: int, q: int) -> int:
    """In which round, counted from 0, Fermat's method finds the factors p and q."""
    return (p + q) // 2 - (isqrt(p * q - 1) + 1)


def primes_that_far_apart(rounds: int) -> tuple[int, int]:
    """Two primes that Fermat's method finds in about that round: half their difference, squared, is 2·p·rounds."""
    p = rsa_primes()[0]
    return p, next_prime(p + 2 * isqrt(2 * p * rounds))


@pytest.mark.parametrize("rounds", [10, FERMAT_ROUNDS - 5])
def test_primes_that_fermat_finds_within_his_rounds_are_weak(rounds: int) -> None:
    p, q = primes_that_far_apart(rounds)
    assert 0 < fermat_round(p, q) < FERMAT_ROUNDS
    assert rsa_weakness(p * q) == "its primes are too close to each other"


def test_primes_beyond_the_rounds_are_accepted() -> None:
    p, q = primes_that_far_apart(FERMAT_ROUNDS + 5)
    assert fermat_round(p, q) >= FERMAT_ROUNDS
    assert rsa_weakness(p * q) is None


@given(st.integers(0, 99), st.integers(2**900, 2**1000))
def test_whatever_fermat_finds_in_a_hundred_rounds_the_sieve_finds_too(rounds: int, p: int) -> None:
    """Also for factors that are no primes, as long as no other rule refuses them first."""
    p |= 1
    q = p + 2 * isqrt(2 * p * rounds)
    if fermat_round(p, q) < FERMAT_ROUNDS:
        assert rsa_weakness(p * q) is not None


def roca_prime(seed: int) -> int:
    """A prime k·M + (65537^a mod M) as the faulty library made them for 2048-bit keys, with M of 71 primes."""
    primes = [n for n in range(2, 354) if all(n % d for d in range(2, n))]
    assert len(primes) == 71
    product = prod(primes)
    k = (1 << 1023) // product + seed
    while pow(2, (number := k * product + pow(65537, k, product)) - 1, number) != 1:
        k += 1
    return number


def test_a_modulus_with_the_roca_fingerprint_is_weak() -> None:
    assert rsa_weakness(roca_prime(2**40) * roca_prime(3**33)) == ("its primes are of the ROCA form (CVE-2017-15361)")


def test_one_roca_prime_alone_does_not_make_the_fingerprint() -> None:
    assert rsa_weakness(roca_prime(2**40) * rsa_primes()[0]) is None


def double(y: int) -> int:
    """The y-coordinate of 2P from that of P, on -x² + y² = 1 + d·x²·y² (RFC 8032, 5.1)."""
    p = 2**255 - 19
    d = -121665 * pow(121666, -1, p)
    x2 = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
    return (y * y + x2) * pow(2 + x2 - y * y, -1, p) % p


def test_the_ed25519_points_of_small_order_are_those_that_three_doublings_end_at_zero() -> None:
    assert len(_ED25519_SMALL_ORDER) == 5
    assert all(double(double(double(y))) == 1 for y in _ED25519_SMALL_ORDER)


@pytest.mark.parametrize("sign", [0, 1])
def test_an_ed25519_point_of_small_order_is_weak(sign: int) -> None:
    for y in _ED25519_SMALL_ORDER:
        point = (y | sign << 255).to_bytes(32, "little")
        assert ed25519_weakness(point) == "its point has a small order"


def test_an_ed25519_point_in_a_second_spelling_is_weak() -> None:
    for y in range(2**255 - 19, 2**255):
        assert ed25519_weakness(y.to_bytes(32, "little")) == "its point is not in canonical form"


def test_an_honest_ed25519_key_has_no_weakness() -> None:
    assert ed25519_weakness(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()) is None


# --- known keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("curve", "secret"), [(ec.SECP256R1(), TEST_ECC_P256), (ec.SECP384R1(), TEST_ECC_P384)])
def test_the_ec_test_keys_of_rfc_9500_are_refused(curve: ec.EllipticCurve, secret: int) -> None:
    key = ec.derive_private_key(secret, curve)
    with pytest.raises(Refused, match="published test key") as refused:
        check_key(spki_of(key))
    assert refused.value.code is ErrorCode.WEAK_KEY


@pytest.mark.parametrize("modulus", [TEST_RSA_2048, TEST_RSA_4096])
def test_the_rsa_test_keys_of_rfc_9500_are_refused(modulus: str) -> None:
    with pytest.raises(Refused, match="published test key"):
        check_key(rsa_spki(int(modulus, 16)))


def test_a_key_on_the_operators_list_is_refused() -> None:
    key = private_key("p256")
    spki = spki_of(key)
    blocked = frozenset({spki})
    with pytest.raises(Refused, match="compromised") as refused:
        check_key(spki, blocked)
    assert refused.value.code is ErrorCode.WEAK_KEY
    assert check_key(spki_of(private_key("p384")), blocked) == "p384"


def test_the_published_keys_are_given_by_whole_hashes() -> None:
    assert {len(digest) for digest in PUBLISHED_KEYS} == {32}
