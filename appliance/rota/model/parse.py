"""From what an operator wrote to the normalised model, with every problem found in one run."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rota.model import deep, lint, lint_management
from rota.model.problems import Problem, from_validation
from rota.model.profiles import with_defaults
from rota.model.schema import Service, Settings, Site

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Result:
    """What came of parsing. `site` is None when there is an error, or when the document has no `site` part."""

    site: Site | None
    services: dict[str, Service]
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings do not count."""
        return not any(not p.warning for p in self.problems)


def parse(document: Any, *, need_site: bool = True) -> Result:
    """Read `{"site": …, "services": …}` as YAML or JSON gives it (RFC 8259 types).

    Never raises for what the document holds. With `need_site=False` a document of services alone is judged as far as
    that goes.
    """
    if not isinstance(document, dict):
        return Result(None, {}, [Problem("document", "is not a mapping with the keys site and services")])
    problems: list[Problem] = []
    settings = _settings(document.get("site"), problems, need_site)
    services = _services(document.get("services"), settings, problems)
    problems += [
        Problem(str(key), "unknown key: a site has only site and services")
        for key in document
        if key not in ("site", "services")
    ]
    told = {problem.path for problem in problems}
    contradictions = lint.services(services) + (lint.site(settings, services) if settings else [])
    problems += [problem for problem in contradictions if problem.path not in told]
    result = Result(None, services, _in_order(problems, document))
    if settings is None or not result.ok:
        return result
    return Result(Site(site=settings, services=services), services, result.problems)


def _settings(raw: Any, problems: list[Problem], needed: bool) -> Settings | None:
    if raw is None:
        if needed:
            problems.append(Problem("site", "is missing"))
        return None
    if not isinstance(raw, dict):
        problems.append(Problem("site", f"{raw!r} is not a mapping of keys to values"))
        return None
    raw = dict(raw)
    if isinstance(raw.get("nodes"), dict):
        raw["nodes"] = {name: _plural(node, "address", "addresses") for name, node in raw["nodes"].items()}
    if isinstance(raw.get("networks"), dict):
        raw["networks"] = {name: _plural(network, "prefix", "prefixes") for name, network in raw["networks"].items()}
    if raw.get("management") == []:  # as written: a list whose only entry was refused is no second mistake
        problems.append(Problem("site.management", lint_management.EMPTY))
    vrrp = raw.get("vrrp", {})
    if isinstance(vrrp, dict) and not vrrp.get("groups") and isinstance(raw.get("nodes"), dict):
        raw["vrrp"] = {**vrrp, "groups": {"main": {"id": 51, "nodes": list(raw["nodes"])}}}
    return _validated(Settings, raw, "site", problems)


def _services(raw: Any, settings: Settings | None, problems: list[Problem]) -> dict[str, Service]:
    if raw is None:
        problems.append(Problem("services", "is missing"))
        return {}
    if not isinstance(raw, dict):
        problems.append(Problem("services", f"{raw!r} is not a mapping of service names to services"))
        return {}
    groups = list(settings.vrrp.groups) if settings else []
    services = {}
    for name, written in raw.items():
        path = f"services.{name}"
        try:
            lint.check_name(name)
            spelled = _spelled_out(written, groups, settings)
        except ValueError as error:
            problems.append(Problem(path, str(error)))
            continue
        service = _validated(Service, spelled, path, problems)
        if service is not None:
            services[name] = service
    return services


def _validated(model: type[M], raw: dict[str, Any], path: str, problems: list[Problem]) -> M | None:
    """`raw` as a `model`. What is wrong goes to `problems`, and is cut out, so that the rest can still be judged."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        found = from_validation(error, model, path)
        unknown_profile = any(problem.path == f"{path}.profile" for problem in found)
        # an unknown profile could not fill in its ports: that is no second mistake
        problems += [p for p in found if not (unknown_profile and p.path == f"{path}.ports")]
        rest = copy.deepcopy(raw)
        for detail in sorted(error.errors(include_url=False), key=lambda d: str(d["loc"]), reverse=True):
            _cut(rest, detail["loc"])
    try:
        return model.model_validate(rest)
    except ValidationError:
        return None


def _cut(raw: Any, location: tuple[int | str, ...]) -> None:
    """Remove what `location` points at from `raw`, if it is there."""
    *above, last = (part for part in location if part != "[key]")
    for part in above:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(raw, dict):
        raw.pop(last, None)
    elif isinstance(raw, list) and isinstance(last, int) and last < len(raw):
        del raw[last]


def _spelled_out(written: Any, groups: list[str], settings: Settings | None) -> dict[str, Any]:
    """A service as written, with short forms spelled out and the defaults of its profile and site filled in."""
    if not isinstance(written, dict):
        raise ValueError(f"{written!r} is not a mapping of keys to values")
    raw = _plural(_plural(written, "address", "addresses"), "port", "ports")
    if isinstance(raw.get("persistence"), str):
        raw["persistence"] = {"kind": raw["persistence"]}
    if isinstance(raw.get("check"), str):
        raw["check"] = {"kind": raw["check"]}
    if isinstance(raw.get("tls"), str):
        raw["tls"] = {"mode": raw["tls"]}
    raw = with_defaults(raw)
    if not raw.get("group") and len(groups) == 1:
        raw["group"] = groups[0]
    if "deep" in raw:
        raw["deep"] = deep.spelled_out(raw["deep"], settings.ae_title if settings else None)
    check = raw.get("check")
    if isinstance(check, dict) and check.get("kind") == "dicom" and settings and not check.get("calling_ae"):
        raw["check"] = {**check, "calling_ae": settings.ae_title}
    return raw


def _plural(raw: Any, one: str, many: str) -> Any:
    """`raw` with the short form `one` spelled out as a list of one under `many`; both at once stay, and are refused."""
    if not isinstance(raw, dict) or one not in raw or many in raw:
        return dict(raw) if isinstance(raw, dict) else raw
    return {many if key == one else key: [value] if key == one else value for key, value in raw.items()}


def _in_order(problems: list[Problem], document: dict[str, Any]) -> list[Problem]:
    """Problems in the order of the document's own services, each once."""
    names = list(document.get("services") or {}) if isinstance(document.get("services"), dict) else []
    place = {f"services.{name}": index for index, name in enumerate(names)}

    def key(problem: Problem) -> tuple[int, int]:
        top = ".".join(problem.path.split(".")[:2])
        return (0, 0) if problem.path.startswith("site") else (1, place.get(top, -1))

    return sorted(dict.fromkeys(problems), key=key)
