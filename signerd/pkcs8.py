"""A private key as encrypted PKCS#8 (RFC 5958): PBES2 with scrypt and AES-256-CBC (RFC 8018, RFC 7914).

cryptography's BestAvailableEncryption is PBES2 too, but with PBKDF2-HMAC-SHA256 at 2,048 rounds and no way
to ask for more: whoever steals a backup guesses at its passphrase thousands of times faster than against
the parameters here. openssl (1.1.0 and later) and cryptography read what is written here.
"""

import os

from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ObjectIdentifier

from protocol.pem import encode

# 16 MiB, five passes: what OWASP asks of scrypt at this size. openssl refuses to use more than 32 MiB.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**14, 8, 5
KEY_BYTES = 32

PBES2 = ObjectIdentifier("1.2.840.113549.1.5.13")
SCRYPT = ObjectIdentifier("1.3.6.1.4.1.11591.4.11")
AES_256_CBC = ObjectIdentifier("2.16.840.1.101.3.4.1.42")


@asn1.sequence
class _ScryptParameters:  # RFC 7914, section 7.1; keyLength is left out, since the cipher says it
    salt: bytes
    cost_parameter: int
    block_size: int
    parallelization_parameter: int


@asn1.sequence
class _KeyDerivation:
    algorithm: ObjectIdentifier
    parameters: _ScryptParameters


@asn1.sequence
class _EncryptionScheme:
    algorithm: ObjectIdentifier
    initialization_vector: bytes


@asn1.sequence
class _Pbes2Parameters:  # RFC 8018, appendix A.4
    key_derivation: _KeyDerivation
    encryption_scheme: _EncryptionScheme


@asn1.sequence
class _EncryptionAlgorithm:
    algorithm: ObjectIdentifier
    parameters: _Pbes2Parameters


@asn1.sequence
class _EncryptedPrivateKeyInfo:  # RFC 5958, section 3
    encryption_algorithm: _EncryptionAlgorithm
    encrypted_data: bytes


def derive_key(passphrase: bytes, salt: bytes) -> bytes:
    """A key for AES-256 out of a passphrase, by scrypt."""
    return Scrypt(salt=salt, length=KEY_BYTES, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P).derive(passphrase)


def encrypted_pem(key: PrivateKeyTypes, passphrase: bytes) -> bytes:
    """``key`` as a PEM block "ENCRYPTED PRIVATE KEY" that ``passphrase`` opens."""
    salt, initialization_vector = os.urandom(16), os.urandom(16)
    derived = derive_key(passphrase, salt)
    padder = PKCS7(algorithms.AES.block_size).padder()
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(initialization_vector)).encryptor()
    encrypted = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    scrypt = _ScryptParameters(
        salt=salt, cost_parameter=SCRYPT_N, block_size=SCRYPT_R, parallelization_parameter=SCRYPT_P
    )
    parameters = _Pbes2Parameters(
        key_derivation=_KeyDerivation(algorithm=SCRYPT, parameters=scrypt),
        encryption_scheme=_EncryptionScheme(algorithm=AES_256_CBC, initialization_vector=initialization_vector),
    )
    info = _EncryptedPrivateKeyInfo(
        encryption_algorithm=_EncryptionAlgorithm(algorithm=PBES2, parameters=parameters),
        encrypted_data=encrypted,
    )
    return encode(asn1.encode_der(info), "ENCRYPTED PRIVATE KEY").encode("ascii")
