"""The JSON schema of params.yaml, for editors: which keys may stand where, with which values.

    python -m bop2ndorder.study.config.schema > params.schema.json

It is made of the models that check the file. Mappings are laid over each other, so any place may
hold a part of one: nothing inside the sections is required here. Whether the whole is complete, and
goes together, the program says.
"""

import json
from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import models_json_schema

from .claims import Claims
from .document import Document, Experiment
from .settings import Settings

Schema = dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest that all editors know
NULL = {"type": "null"}


def schema() -> Schema:
    """The schema, as values that JSON can hold."""
    models = [(model, "validation") for model in (Document, Experiment, Settings, Claims)]
    found = models_json_schema(models)[1]["$defs"]
    # A generic model has a name as long as its parameters; it stands wherever it is used.
    models = {name: _part(node, found) for name, node in found.items() if "_" not in name}
    document, sizes = models.pop("Document"), models["Sizes"]["properties"]
    settings, arm = models["Settings"]["properties"], models["Arm"]["properties"]
    experiment, sections = models["Experiment"]["properties"], document["properties"]

    del settings["data_name"]
    settings["data"] = {"type": "string", "description": "One of the names under `data`."}
    models["Grid"] = _grid(models)
    for place in (arm, experiment):
        place["set"] = _ref("Settings")
        place |= {key: _ref("Grid") for key in ("grid", "axes") if key in place}
    models["ExperimentOfScale"] = {
        **models["Experiment"],
        "description": "What a scale lays over an experiment; it does not run an arm set to null.",
        "properties": {**experiment, "arms": _values(experiment["arms"], _ref("Arm"), NULL)},
    }
    sizes["data"] = _values(sections["data"], _ref("DataSettings"))
    sizes["experiments"] = _values(sections["experiments"], _ref("ExperimentOfScale"), NULL)
    sections["data"] = sizes["data"]
    sections["experiments"] = _values(sections["experiments"], _ref("Experiment"))
    for place in (sections, sizes):
        place |= {"defaults": _ref("Settings"), "claims": _ref("Claims")}
    required = found["Document"]["required"]
    return {"$schema": DRAFT, **document, "required": required, "definitions": models}


def _ref(model: str) -> Schema:
    return {"$ref": f"#/definitions/{model}"}


def _values(mapping: Schema, *allowed: Schema) -> Schema:
    """A mapping whose names have the same pattern, with other values."""
    (pattern,) = mapping["patternProperties"]
    inner = allowed[0] if len(allowed) == 1 else {"anyOf": list(allowed)}
    return {**mapping, "patternProperties": {pattern: inner}}


def _part(node: Any, models: Schema) -> Any:
    """A schema of pydantic's that takes any part of what the model takes, but no other keys."""
    if isinstance(node, list):
        return [_part(item, models) for item in node]
    if not isinstance(node, dict):
        return node
    if reference := node.get("$ref"):
        name = reference.rpartition("/")[2]
        return _part(models[name], models) if "_" in name else _ref(name)
    part = {}
    for key, value in node.items():
        if key in ("properties", "patternProperties"):
            part[key] = {name: _part(inner, models) for name, inner in value.items()}
        elif key == "oneOf":  # a part may fit several
            part["anyOf"] = _part(value, models)
        elif key not in ("required", "minProperties", "discriminator", "title", "default"):
            part[key] = _part(value, models)
    if "patternProperties" in part:
        part["additionalProperties"] = False
    return part


def _grid(models: Schema) -> Schema:
    """A mapping of dotted settings to lists of their values."""
    settings: dict[str, list[Schema]] = {}
    patterns = {}
    for path, value in _paths(models["Settings"], models):
        values = settings.setdefault(path, [])
        if value not in values:
            values.append(value)
        if "patternProperties" in value:  # names of the user's own
            patterns[f"^{path}[.]."] = {"type": "array", "minItems": 1}
    lists = {
        path: {"type": "array", "minItems": 1, "items": {"anyOf": values}}
        for path, values in settings.items()
    }
    return {
        "type": "object",
        "description": "Dotted setting -> values.",
        "properties": lists,
        "patternProperties": patterns,
        "additionalProperties": False,
    }


def _paths(node: Schema, models: Schema, above: str = "") -> Iterator[tuple[str, Schema]]:
    """Every setting by its dotted name, with what it may be; more than once in a choice."""
    if reference := node.get("$ref"):
        node = models[reference.rpartition("/")[2]]
    for choice in node.get("anyOf", []):
        yield from _paths(choice, models, above)
    for name, inner in node.get("properties", {}).items():
        yield above + name, inner
        yield from _paths(inner, models, f"{above}{name}.")


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1))
