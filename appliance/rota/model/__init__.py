"""The service model: parsed once on the controller, read the same way by Ansible, by the nodes and by the documents."""

from rota.model.export import json_schema
from rota.model.layer4 import Mark, marks
from rota.model.load import load
from rota.model.parse import Result, parse
from rota.model.problems import Problem
from rota.model.schema import Service, Site

__all__ = ["Mark", "Problem", "Result", "Service", "Site", "dump", "json_schema", "load", "marks", "parse"]


def dump(site: Site) -> dict[str, object]:
    """The normalised model as JSON types: what `/etc/rota/site.json` holds, and what `parse` accepts again."""
    return site.model_dump(mode="json", exclude_none=True)
