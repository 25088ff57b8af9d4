"""Write the schemas by which an editor completes and checks the files of `conf/`.

    make schema     # or: python docs/config_schema.py

One JSON Schema for each group, in `docs/schema/`: from the typed settings, and from the comments
that stand above the keys. `.vscode/settings.json` says which files are checked by which.

A file of a group need not hold all of it: `defaults` brings the rest, an interpolation such as
`${model.activation}` stands for a value, and `???` for one that an override must give. What only
Python can say (that `groups` divides `filters`, say) is left to `convforge compose`.
"""

from __future__ import annotations

import copy
import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_type_hints

import yaml
from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf
from pydantic import BaseModel, Field, create_model

from convforge.models.specs import INITIALIZERS
from convforge.pipeline.claims.claim import Claim, Scale
from convforge.pipeline.settings.group import Group
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.settings.search import TARGET, SearchSettings
from hydra_plugins.convforge_claim_sweeper import ClaimSweeper
from hydra_plugins.convforge_ray_launcher import RayLauncher
from hydra_plugins.convforge_together_launcher import TogetherLauncher

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("docs") / "schema"
EDITOR = Path(".vscode") / "settings.json"

Schema: TypeAlias = dict[str, Any]
#: What stands above a key in a file, by the way to the key.
Comments: TypeAlias = Mapping[tuple[str, ...], str]

# The draft that editors' YAML servers know best.
_DIALECT = "http://json-schema.org/draft-07/schema#"
_DEFINITIONS = "#/definitions/"
_INTERPOLATED = r"^(\$\{.+\}|\?\?\?)$"
_LONGEST_LINE = 80
#: What the schemas of a group share.
_SHARED: Mapping[str, Schema] = {
    "interpolation": {
        "type": "string",
        "pattern": _INTERPOLATED,
        "description": "Another key's value, ${…}, or ??? for what an override must give.",
    },
    "defaults": {
        "type": "array",
        "description": "The files that this one is laid over: Hydra's defaults list.",
        "items": {"type": ["string", "object"], "minProperties": 1, "maxProperties": 1},
    },
}
_INTERPOLATION, _DEFAULTS = ({"$ref": f"{_DEFINITIONS}{name}"} for name in _SHARED)


def _pair(minimum: int) -> Schema:
    side = {"type": "integer", "minimum": minimum}
    return {"anyOf": [side, {"type": "array", "items": side, "minItems": 2, "maxItems": 2}]}


def _scale(name: str) -> Schema:
    above_zero = {"type": "number", "exclusiveMinimum": 0}
    return {
        "type": "object",
        "properties": {name: above_zero},
        "required": [name],
        "additionalProperties": False,
    }


# The keys whose type is Any, since `convforge.geometry` and the specs decide what they may be; and
# null, where that is the default.
_DECIDED_IN_CODE: Mapping[str, Schema] = {
    "kernel_size": _pair(1),
    "pool_size": _pair(1),
    "strides": _pair(1),
    "padding": {
        "anyOf": [
            {"enum": ["same", "valid"]},
            {"type": "integer", "minimum": 0},
            {"type": "array", "items": _pair(0), "minItems": 2, "maxItems": 2},
        ]
    },
    "kernel_initializer": {
        "anyOf": [{"enum": list(INITIALIZERS)}, _scale("normal"), _scale("uniform")]
    },
}


def _plugin(target: str, arguments: Mapping[str, Any], base: type[Group] = Group) -> Any:
    """The file of one of Hydra's plugins: what it is made of, and its arguments by their types."""
    fields: dict[str, Any] = {name: (hint, ...) for name, hint in arguments.items()}
    fields["target"] = (Literal[target], Field(alias="_target_"))
    return create_model(target.rpartition(".")[2], __base__=base, **fields)


def _own_plugin(plugin: type[Any]) -> Any:
    hints = get_type_hints(plugin.__init__)
    arguments = {name: hints[name] for name in inspect.signature(plugin).parameters}
    return _plugin(f"{plugin.__module__}.{plugin.__qualname__}", arguments)


def _slurm_launcher() -> Any:
    hints = {name: hint for name, hint in get_type_hints(SlurmQueueConf).items() if name[0] != "_"}
    return _plugin(SlurmQueueConf._target_, hints)


_SWEEPERS = (_plugin(TARGET, {}, SearchSettings), _own_plugin(ClaimSweeper))
_LAUNCHERS = (_own_plugin(RayLauncher), _own_plugin(TogetherLauncher), _slurm_launcher())
#: The groups of Hydra's own that this project has files for.
_HYDRA = create_model(
    "Hydra",
    __base__=Group,
    sweeper=(reduce(or_, _SWEEPERS), Field(discriminator="target")),
    launcher=(reduce(or_, _LAUNCHERS), Field(discriminator="target")),
)


def schemas(root: Path = ROOT) -> dict[str, tuple[list[str], Schema]]:
    """The files that each schema is for, as patterns, and the schema; by its name."""
    run, hydra, search = map(_pydantic, (Settings, _HYDRA, SearchSettings))
    anywhere = ["conf/config.yaml", "conf/debug/*.yaml", "conf/experiment/*.yaml"]
    found = {
        "config": (anywhere, _config(run, root)),
        "claim": (["conf/claim/*.yaml"], _whole(Claim)),
        "claim-scale": (["conf/claim/scale/*.yaml"], _whole(Scale)),
    }
    scalars = ("seed", "evaluate", "pictures", "schema")
    groups = [
        *((run, name, name) for name in run["properties"] if name not in scalars),
        *((hydra, name, f"hydra/{name}") for name in hydra["properties"]),
        *((search, name, f"hydra/sweeper/{name}") for name in ("sampler", "pruner")),
    ]
    for whole, name, folder in groups:
        schema = _group(whole, name, root / "conf" / folder)
        found[folder.replace("/", "-")] = ([f"conf/{folder}/*.yaml"], schema)
    return found


def _pydantic(model: type[BaseModel]) -> Schema:
    """What pydantic makes of `model`, with the keys described by the docstrings."""
    schema = model.model_json_schema(ref_template=f"{_DEFINITIONS}{{model}}")
    for part in (schema, *schema.get("$defs", {}).values()):
        _take_arguments(part)
    return schema


def _take_arguments(part: Schema) -> None:
    """Move the descriptions of arguments from a docstring to the keys."""
    text, *sections = re.split(r"\n(\w+):\n", part.get("description", ""))
    for heading, body in zip(sections[::2], sections[1::2], strict=True):
        if heading in ("Args", "Attributes"):
            for name, meaning in re.findall(r"^ {4}(\w+): ((?:.+\n?(?: {8}.*\n?)*))", body, re.M):
                part["properties"][name]["description"] = " ".join(meaning.split())
    if text:
        part["description"] = " ".join(text.split())


def _whole(model: type[BaseModel]) -> Schema:
    """Of files that nothing is laid over: all that is required must be there."""
    schema = _pydantic(model)
    definitions = {name: _plain(part) for name, part in schema.pop("$defs", {}).items()}
    return _closed(_plain(schema), definitions)


def _config(run: Schema, root: Path) -> Schema:
    """Of a file at the root of the config: any part of it."""
    definitions = _relaxed_definitions(run)
    schema = _relaxed({key: value for key, value in run.items() if key != "$defs"})
    schema["properties"] |= {"defaults": {**_DEFAULTS}, "hydra": {"type": "object"}}
    _describe(schema, definitions, _comments(root / "conf" / "config.yaml"))
    return _closed(schema, definitions)


def _group(whole: Schema, name: str, folder: Path) -> Schema:
    """Of a group's files: all of its keys, or `defaults` and some."""
    definitions = _relaxed_definitions(whole)
    required = {key: part.get("required", []) for key, part in whole["$defs"].items()}
    node = _relaxed(whole["properties"][name])
    files = sorted(folder.glob("*.yaml"))
    comments = {file: _comments(file) for file in files}

    def member(ref: str, value: str | None = None) -> Schema:
        """One kind, by the comments of its own files before those of others."""
        key = ref.removeprefix(_DEFINITIONS)
        part = copy.deepcopy(definitions[key])
        part["properties"] = {"defaults": {**_DEFAULTS}, **part["properties"]}
        for file in sorted(files, key=lambda file: value in _values(file)):
            _describe(part, definitions, comments[file])
        if required.get(key):
            part |= _unless("defaults", {"required": required[key]})
        return part

    if "$ref" in node:
        return _closed(member(node["$ref"]), definitions)
    tag = next(iter(node["properties"]))
    *kinds, untagged = node["allOf"]
    for kind in kinds:
        value = kind["if"]["properties"][tag]["const"]
        kind["then"] = member(kind["then"]["$ref"], value)
    untagged["then"] = member(untagged["then"]["$ref"])
    node["anyOf"] = [{"required": [tag]}, {"required": ["defaults"]}]
    return _closed(node, definitions)


def _values(file: Path) -> list[Any]:
    return list(yaml.safe_load(file.read_text(encoding="utf-8")).values())


def _relaxed_definitions(whole: Schema) -> dict[str, Schema]:
    """The parts of a schema as a file may have them, and its unions without their tag."""
    parts = whole["$defs"]
    definitions = {name: _relaxed(part) for name, part in parts.items()}
    for node in _nodes(whole):
        if "discriminator" in node:
            tag, kinds = _kinds(node)
            members = [definitions[ref.removeprefix(_DEFINITIONS)] for ref in kinds.values()]
            definitions[_untagged(node)] = _any_of(members, without=tag)
    return {**definitions, **_SHARED}


def _kinds(node: Schema) -> tuple[str, Mapping[str, str]]:
    """The key that tells the members of a union apart, and the member of each of its values."""
    return node["discriminator"]["propertyName"], node["discriminator"]["mapping"]


def _untagged(node: Schema) -> str:
    """The name for a union's member of which a file does not say which it is."""
    first = next(iter(_kinds(node)[1].values()))
    return f"{first.removeprefix(_DEFINITIONS)}-or-another"


def _any_of(members: Iterable[Schema], without: str) -> Schema:
    """An object with the keys of all members, each as one of them has it."""
    properties: dict[str, list[Schema]] = {}
    for member in members:
        for name, value in member["properties"].items():
            there = properties.setdefault(name, [])
            if name != without and value not in there:
                there.append(value)
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: values[0] if len(values) == 1 else {"anyOf": values}
            for name, values in properties.items()
            if values
        },
    }


def _plain(node: Any) -> Any:
    """`node` in the dialect of editors, without the titles that pydantic makes of names."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    # Below `properties` a key is a name, and may be "title".
    kept = {
        key: {name: _plain(value) for name, value in item.items()}
        if key == "properties"
        else _plain(item)
        for key, item in node.items()
        if key not in ("title", "default", "discriminator")
    }
    if sides := kept.pop("prefixItems", None):
        assert all(side == sides[0] for side in sides), "items of different types"
        kept["items"] = sides[0]
    return kept


def _relaxed(node: Schema) -> Schema:
    """`node` as a file may have it: some of the keys, and interpolations for their values."""
    if "discriminator" in node:
        return _by_tag(node)
    kept = {key: value for key, value in node.items() if key not in ("required", "$defs")}
    if "properties" in node:
        kept["properties"] = {
            name: _or_interpolated(_relaxed(_decided(name, value)))
            for name, value in node["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            kept[key] = _or_interpolated(_relaxed(node[key]))
    for key in ("anyOf", "oneOf"):
        if key in node:
            kept[key] = [_relaxed(item) for item in node[key]]
    return _plain(kept)


def _decided(name: str, value: Schema) -> Schema:
    if value.keys() - {"title", "default", "description"}:
        return value
    members = _DECIDED_IN_CODE[name]["anyOf"]
    null = [{"type": "null"}] if value.get("default", 0) is None else []
    return {**value, "anyOf": [*members, *null]}


def _or_interpolated(node: Schema) -> Schema:
    described = {key: node[key] for key in ("description",) if key in node}
    rest = {key: value for key, value in node.items() if key not in described}
    members = rest.get("anyOf", [rest])
    if not any(map(_is_value, members)) or any(map(_is_any_text, members)):
        return node
    values = [member for member in members if member != {"type": "null"}]
    if len(values) == 1 and _is_range(values[0]):
        # A pattern is of text alone, and a range of numbers: no union is needed.
        null = ["null"] if len(members) > 1 else []
        types = [values[0]["type"], *null, "string"]
        return {**described, **values[0], "type": types, "pattern": _INTERPOLATED}
    return {**described, "anyOf": [*members, _INTERPOLATION]}


def _is_value(node: Schema) -> bool:
    """Whether it is a number, a word or a list; the one word that tells a group's kind is not."""
    kinds = ("integer", "number", "boolean", "array", "string")
    return "enum" in node or (node.get("type") in kinds and not isinstance(node.get("const"), str))


def _is_range(node: Schema) -> bool:
    kinds = ("integer", "number", "boolean", "array")
    return node.get("type") in kinds and not {"const", "enum"} & node.keys()


def _is_any_text(node: Schema) -> bool:
    narrower = ("enum", "pattern")
    return node.get("type") == "string" and not any(key in node for key in narrower)


def _by_tag(node: Schema) -> Schema:
    """One of several kinds, which the key that tells them apart chooses; without it any of them."""
    tag, kinds = _kinds(node)
    chosen = [
        {"if": {"properties": {tag: {"const": value}}, "required": [tag]}, "then": {"$ref": ref}}
        for value, ref in kinds.items()
    ]
    untagged = _unless(tag, {"$ref": f"{_DEFINITIONS}{_untagged(node)}"})
    return {
        "type": "object",
        "properties": {tag: {"enum": list(kinds)}},
        "allOf": [*chosen, untagged],
    }


def _unless(key: str, then: Schema) -> Schema:
    return {"if": {"not": {"required": [key]}}, "then": then}


def _comments(file: Path) -> Comments:
    """What stands above the keys of a file; its head belongs to none."""
    found: dict[tuple[str, ...], str] = {}
    path: tuple[str, ...] = ()
    block: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("#"):
            block.append(line.strip(" #"))
            continue
        if key := re.match(r"( *)(\w+):", line):
            first = not path
            path = (*path[: len(key[1]) // 2], key[2])
            if block and not first:
                found[path] = " ".join(block)
        block = []
    return found


def _describe(node: Schema, definitions: Mapping[str, Schema], comments: Comments) -> None:
    """Let a file's comments describe its keys, as far as it is a schema of them."""
    for path, text in comments.items():
        place: Any = node
        for step in path:
            if "$ref" in place:
                place = definitions[place["$ref"].removeprefix(_DEFINITIONS)]
            place = place.get("properties", {}).get(step, {})
        if place:
            place["description"] = text


def _closed(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """A schema with those of the definitions that it leads to."""
    needed: dict[str, Schema] = {}
    left = [node]
    while left:
        for ref in _refs(left.pop()):
            if ref not in needed:
                needed[ref] = definitions[ref]
                left.append(definitions[ref])
    return {"$schema": _DIALECT, **node, "definitions": dict(sorted(needed.items()))}


def _refs(node: Any) -> Iterator[str]:
    return (each["$ref"].removeprefix(_DEFINITIONS) for each in _nodes(node) if "$ref" in each)


def _nodes(node: Any) -> Iterator[Schema]:
    """All objects within `node`, itself among them."""
    if isinstance(node, dict):
        yield node
    if isinstance(node, dict | list):
        for item in node.values() if isinstance(node, dict) else node:
            yield from _nodes(item)


def files(root: Path = ROOT) -> dict[Path, str]:
    """Everything that this script writes: paths from the project's folder, and texts."""
    made = schemas(root)
    texts = {FOLDER / f"{name}.json": _text(schema) for name, (_, schema) in made.items()}
    editor = json.loads((root / EDITOR).read_text(encoding="utf-8"))
    editor["yaml.schemas"] = {
        f"./{FOLDER.as_posix()}/{name}.json": patterns for name, (patterns, _) in made.items()
    }
    return {**texts, EDITOR: _text(editor)}


def _text(content: Schema) -> str:
    """As JSON, the innermost lists and objects on one line where they fit."""

    def in_one_line(found: re.Match[str]) -> str:
        line = re.sub(r"\n *", " ", found[0])
        return line if len(line) <= _LONGEST_LINE else found[0]

    text = json.dumps(content, indent=2, ensure_ascii=False)
    return re.sub(r"[\[{]\n[^\[\]{}]*[\]}]", in_one_line, text) + "\n"


def main() -> None:
    """Write them all."""
    for path, text in files().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
