"""Certificates, good and bad."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)


def write(folder, name, content):
    path = f"{folder}/{name}.pem"
    with open(path, "wb") as file:
        file.write(content)
    return path


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def make(common_name, signer=None, names=(), start=-DAY, end=30 * DAY, is_ca=False):
    """A certificate and its key; signed by itself without a signer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    issuer, issuer_key = (signer[0].subject, signer[1]) if signer else (subject, key)
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + start)
        .not_valid_after(now + end)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()), key


def write_pair(folder, name, pair):
    certificate, key = pair
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return write(folder, name, pem(certificate)), write(folder, f"{name}-key", text)


def make_all(folder):
    """Certificate and key of each server, and those of a client."""
    here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    authority = make("tracer test authority", is_ca=True)
    stranger = make("another authority", is_ca=True)
    write(folder, "ca", pem(authority[0]))
    return {
        "good": write_pair(folder, "good", make("good", authority, here)),
        "expired": write_pair(
            folder, "expired", make("expired", authority, here, start=-3 * DAY, end=-DAY)
        ),
        "wrong_host": write_pair(
            folder, "wrong_host", make("wrong", authority, [x509.DNSName("example.org")])
        ),
        "stranger": write_pair(folder, "stranger", make("stranger", stranger, here)),
        "client": write_pair(folder, "client", make("client", authority, here)),
    }
