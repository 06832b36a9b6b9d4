"""Sites to measure with, as the documents that an operator would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from rota import model

Document = dict[str, Any]

_WEB = ("xds-registry", "xds-repository", "dicomweb", "viewer", "rest")


def pair(
    services: Document, *, prefix: str = "198.18.0.0/15", nodes: tuple[str, str] = ("198.18.0.1", "198.18.0.3")
) -> Document:
    """A pair of nodes with `services`."""
    return {
        "site": {
            "name": "bench",
            "nodes": {f"lb{number}": {"address": address} for number, address in enumerate(nodes, 1)},
            "networks": {"lan": {"prefix": prefix, "interface": "front"}},
        },
        "services": services,
    }


def parsed(document: Document) -> model.Site:
    """The model of `document`; RuntimeError with its problems when it has any."""
    result = model.parse(document)
    if result.site is None:
        raise RuntimeError("\n".join(map(str, result.problems)))
    return result.site


def large(services: int, members: int) -> Document:
    """A big hospital: `services` of every kind, half of them DICOM, `members` behind each, one VRRP group."""
    made: Document = {}
    for number in range(services):
        high, low = divmod(number, 200)
        address = f"198.18.{10 + high}.{low + 1}"
        profile = ("dicom", "hl7", "dicom", _WEB[number // 4 % len(_WEB)])[number % 4]
        made[f"{profile}-{number:03}"] = {
            "profile": profile,
            "description": f"Service {number} of the measurement",
            "department": "Radiology",
            "address": address,
            "members": {
                f"m{number:03}-{one}": {
                    "address": f"198.19.{number % 250}.{number // 250 * 10 + one + 1}",
                    "port": {"dicom": 11112, "hl7": 2575, "viewer": 443}.get(profile, 8080),
                    **({"called_ae": f"PACS_{number:03}_{one}", "max_associations": 50} if profile == "dicom" else {}),
                }
                for one in range(members)
            },
            **(
                {
                    "routes": {
                        f"STORE_{number:03}": [f"m{number:03}-0", f"m{number:03}-1"],
                        f"QUERY_{number:03}": [f"m{number:03}-2"],
                    }
                }
                if profile == "dicom" and members > 2
                else {}
            ),
        }
    return pair(made)


def write_inventory(folder: Path, document: Document) -> Path:
    """Write `document` to `folder` as an inventory directory, and return it."""
    variables = folder / "group_vars/all"
    variables.mkdir(parents=True)
    for key, value in document.items():
        (variables / f"{key}.yml").write_text(yaml.safe_dump({key: value}, sort_keys=False))
    hosts = {name: {"ansible_host": node["address"]} for name, node in document["site"]["nodes"].items()}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": {"rota_nodes": {"hosts": hosts}}}}))
    return folder
