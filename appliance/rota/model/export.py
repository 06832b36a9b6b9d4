"""The JSON Schema (draft 2020-12) of what an operator may write, for editors and documents."""

from __future__ import annotations

from typing import Any

from rota.model.schema import Site

# Short forms that `parse` spells out: key, the plural it stands for, and where.
_SHORT = {
    "Service": [("address", "addresses"), ("port", "ports")],
    "Node": [("address", "addresses")],
    "NodeNetwork": [("prefix", "prefixes")],
}
_WORDS = {"Service": {"persistence": "PersistenceKind", "check": "CheckKind", "tls": "TlsMode"}}
# What a profile or the site fills in, so that an operator need not write it.
_FILLED = {"Service": {"addresses", "ports"}, "Node": {"addresses"}, "NodeNetwork": {"prefixes"}}


def json_schema() -> dict[str, Any]:
    """Schema of a document with `site` and `services`; either may stand in a file of its own, so neither is required."""
    schema = Site.model_json_schema()
    schema.update({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Rota site", "required": []})
    definitions = schema["$defs"]
    for model, pairs in _SHORT.items():
        properties = definitions[model]["properties"]
        for one, many in pairs:
            properties[one] = {
                **properties[many]["items"],
                "description": f"Short for {many} with one entry.",
            }
    for model, words in _WORDS.items():
        for key, enum in words.items():
            whole = definitions[model]["properties"][key]
            definitions[model]["properties"][key] = {"anyOf": [{"$ref": f"#/$defs/{enum}"}, whole]}
    deep = definitions["Service"]["properties"]["deep"]
    deep["items"] = {"anyOf": [{"$ref": "#/$defs/DeepKind"}, deep["items"]]}
    for model, filled in _FILLED.items():
        definitions[model]["required"] = [key for key in definitions[model]["required"] if key not in filled]
    return schema
