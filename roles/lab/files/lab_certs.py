"""Keep a certificate authority for the lab and one certificate per name.

`ensure` takes name → list of DNS names and addresses. Its folder gets ca.crt, ca.key and for each name
NAME.crt, NAME.key and NAME.pem (both, as HAProxy and Orthanc want them). What is there and fits stays.
"""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=825)
RENEW_BEFORE = datetime.timedelta(days=30)


def _name(common_name: str) -> x509.Name:
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Rota lab"),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ])  # fmt: skip


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _write(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    crt = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # Readable by the servers' own users: the folder above is closed to everybody else on this host.
    for suffix, data in ((".key", private), (".crt", crt), (".pem", crt + private)):
        (folder / f"{name}{suffix}").write_bytes(data)


def _builder(subject: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Return the lab's authority, made at first use."""
    if not (folder / "ca.pem").exists():
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = (
            _builder("Rota lab authority", _name("Rota lab authority"), key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(folder, "ca", certificate, key)
    stored = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    if not isinstance(stored, ec.EllipticCurvePrivateKey):
        raise SystemExit(f"lab: {folder}/ca.key is not the key that the lab made")
    return x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes()), stored


def fits(path: Path, names: list[x509.GeneralName], ca: x509.Certificate) -> bool:
    """Tell whether the certificate at `path` is from `ca`, for `names`, and not about to expire."""
    if not path.exists():
        return False
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    try:
        certificate.verify_directly_issued_by(ca)
    except Exception:  # every way to not be issued by this authority is a no
        return False
    alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    lasting = certificate.not_valid_after_utc > datetime.datetime.now(datetime.UTC) + RENEW_BEFORE
    return lasting and list(alternatives) == names


def issue(folder: Path, name: str, names: list[x509.GeneralName]) -> None:
    """Write a certificate for both ends of a connection: DICOM TLS peers are client and server."""
    ca, ca_key = authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    certificate = (
        _builder(name, ca.subject, key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(identifier, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _write(folder, name, certificate, key)


def ensure(folder: Path, wanted: dict[str, list[str]]) -> list[str]:
    """Make what is missing or no longer fits; return the names that were made new."""
    folder.mkdir(parents=True, exist_ok=True)
    ca, _ = authority(folder)
    made = []
    for name, texts in wanted.items():
        names = [_general_name(text) for text in texts]
        if not fits(folder / f"{name}.crt", names, ca):
            issue(folder, name, names)
            made.append(name)
    return made
