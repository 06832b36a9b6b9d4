"""Keep a site's own certificate authority on the controller, and a certificate from it for each node."""

from __future__ import annotations

import datetime
import ipaddress
import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    CRYPTOGRAPHY = False
else:
    CRYPTOGRAPHY = True

DOCUMENTATION = """
module: rota_ca
short_description: Keep a certificate authority on the controller
description:
  - The folder gets C(ca.crt), C(ca.key) and for each name C(NAME.crt) and C(NAME.key), the keys for their owner only.
  - What is there and fits stays. A certificate is made anew, with a new key, O(renew_days) before it ends, or when it is
    not from this authority or not for this name. An authority is never replaced, since every node would have to follow.
options:
  folder: {description: Where it all lies., type: path, required: true}
  site: {description: Name of the site, shown in the authority's name., type: str, required: true}
  names: {description: Nodes that need a certificate., type: list, elements: str, required: true}
  days: {description: How long a new certificate of a node is good for., type: int, default: 730}
  purpose: {description: What the authority is for, shown in its name., type: str, default: control}
  alternatives:
    description:
      - Name → the names and addresses that its certificate has to be good for, where they are not the name itself. Such a
        certificate is for a server only.
    type: dict
    default: {}
  renew_days: {description: How long before its end a certificate is made anew., type: int, default: 90}
author: ["Rota"]
"""

EXAMPLES = """
- name: control | Keep the authority
  rota_ca: {folder: /srv/rota/ca, site: example, names: [lb1, lb2]}
  delegate_to: localhost
"""

RETURN = """
made: {description: Names that got a new certificate or, under C(--check), would get one., type: list, returned: always}
"""

AUTHORITY_LIFE = datetime.timedelta(days=7300)


class Unusable(Exception):
    """What is in the folder cannot be used, and is not ours to replace."""


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _name(common_name: str) -> x509.Name:
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Rota"),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]),
    ])  # fmt: skip


def _general(text: str) -> x509.GeneralName:
    """An address or a name, as a certificate holds it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, life: datetime.timedelta) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # the clocks of nodes that have just booted may be behind
        .not_valid_before(_now() - datetime.timedelta(days=1))
        .not_valid_after(_now() + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)


def _write(path: Path, data: bytes, mode: int) -> None:
    handle, waiting = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as out:
        os.fchmod(out.fileno(), mode)
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    os.rename(waiting, path)


def _keep(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    _write(folder / f"{name}.key", key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain), 0o600)
    _write(folder / f"{name}.crt", certificate.public_bytes(pem), 0o644)


class Authority:
    """The authority in a folder."""

    def __init__(self, folder: Path, title: str, alternatives: dict[str, list[str]] | None = None) -> None:
        self.folder = folder
        self._title = title
        self._alternatives = alternatives or {}
        self.certificate: x509.Certificate | None = None
        self._key: Any = None

    def load(self) -> bool:
        """Read it; tells whether there is one. Half of one, or one that has ended, is Unusable."""
        crt, key = self.folder / "ca.crt", self.folder / "ca.key"
        if not crt.exists() and not key.exists():
            return False
        try:
            self.certificate = x509.load_pem_x509_certificate(crt.read_bytes())
            self._key = serialization.load_pem_private_key(key.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise Unusable(f"{self.folder}: ca.crt and ca.key cannot be used together: {error}") from None
        if self._key.public_key() != self.certificate.public_key():
            raise Unusable(f"{self.folder}: ca.key is not the key of ca.crt")
        if self.certificate.not_valid_after_utc <= _now():
            raise Unusable(f"{self.folder}: ca.crt has ended; move the folder away to begin anew on all nodes")
        return True

    def make(self) -> None:
        """Make one."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key, name = ec.generate_private_key(ec.SECP256R1()), _name(self._title)
        self.certificate = (
            _builder(name, name, self._key, AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        _keep(self.folder, "ca", self.certificate, self._key)

    def fits(self, name: str, renew: datetime.timedelta) -> bool:
        """Whether the certificate of `name` is from this authority, for that name, with its key, and good for a while."""
        if self.certificate is None:
            return False
        try:
            found = x509.load_pem_x509_certificate((self.folder / f"{name}.crt").read_bytes())
            key = serialization.load_pem_private_key((self.folder / f"{name}.key").read_bytes(), None)
            found.verify_directly_issued_by(self.certificate)
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except Exception:
            # whatever is wrong with it: a new one is made
            return False
        ours = found.public_key() == key.public_key() and names == self._subject(name)
        return ours and found.not_valid_after_utc - renew > _now()

    def _subject(self, name: str) -> x509.SubjectAlternativeName:
        return x509.SubjectAlternativeName([_general(one) for one in self._alternatives.get(name, [name])])

    def issue(self, name: str, life: datetime.timedelta) -> None:
        """Make the certificate of `name`."""
        assert self.certificate is not None  # noqa: S101 (loaded or made)
        key = ec.generate_private_key(ec.SECP256R1())
        client = [] if name in self._alternatives else [ExtendedKeyUsageOID.CLIENT_AUTH]
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, *client])
        certificate = (
            _builder(_name(name), self.certificate.subject, key, life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(self._subject(name), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        _keep(self.folder, name, certificate, key)


def main() -> None:
    """Run the module."""
    options = {
        "folder": {"type": "path", "required": True},
        "site": {"type": "str", "required": True},
        "names": {"type": "list", "elements": "str", "required": True},
        "days": {"type": "int", "default": 730},
        "purpose": {"type": "str", "default": "control"},
        "alternatives": {"type": "dict", "default": {}},
        "renew_days": {"type": "int", "default": 90},
    }
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    if not CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography"))
    title = f"Rota {module.params['purpose']} of {module.params['site']}"
    authority = Authority(Path(module.params["folder"]), title, module.params["alternatives"])
    try:
        there = authority.load()
        renew = datetime.timedelta(days=module.params["renew_days"])
        made = [name for name in module.params["names"] if not authority.fits(name, renew)]
        if not module.check_mode:
            if not there:
                authority.make()
            for name in made:
                authority.issue(name, datetime.timedelta(days=module.params["days"]))
    except (Unusable, OSError) as problem:
        module.fail_json(msg=f"the site's authority: {problem}")
    module.exit_json(changed=bool(made) or not there, made=made)


if __name__ == "__main__":
    main()
