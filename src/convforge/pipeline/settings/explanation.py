"""A wrong config in words: the full key, the value, what is allowed, the nearest valid name."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from convforge.geometry import ArgumentError
from convforge.pipeline.settings.nearest import nearest

# Letters of a value that a message repeats.
_MOST_SHOWN = 200


def explain(error: Any, config: Mapping[str, Any], schema: type[BaseModel]) -> str:
    """One line for one of pydantic's errors: key, value, what is allowed, nearest name."""
    path, value = _locate(error["loc"], config)
    # A rule about the whole config has no place in it; it names its key itself.
    key, last = _dotted(path), str(error["loc"][-1]) if error["loc"] else ""
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            known = known_keys(path[:-1], config, schema)
            return f"{key} is not a key{nearest(last, known, _dotted(path[:-1]))}"
        case "missing" | "missing_argument" | "missing_keyword_only_argument":
            return f"{_dotted((*path, last))} is missing"
        case "union_tag_not_found":
            return f"{_dotted((*path, _tag_key(context)))} is missing"
        case "union_tag_invalid":
            known = [name.strip(" '") for name in context["expected_tags"].split(",")]
            tag = context["tag"]
            hint = nearest(tag, known)
            return f"{_dotted((*path, _tag_key(context)))}={tag!r} is not known{hint}"
        case "literal_error":
            known = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            hint = nearest(str(value), known)
            return f"{key}={value!r} is not allowed{hint}"
        case "value_error" if isinstance(context["error"], ArgumentError):
            cause = context["error"]
            # A rule about one key stands there, one about several at the group.
            if path[-1:] != (cause.argument,):
                key = _dotted((*path, cause.argument))
            return f"{key}={_written(cause.value)} is not allowed: give {cause.allowed}"
    return f"{key}={_written(value)}: {error['msg'].removeprefix('Input ')}"


def _written(value: Any) -> str:
    """`value` as one writes it in a config."""
    # A range is a tuple in the settings and a list in the config.
    plain = list(value) if isinstance(value, tuple) else value
    text = json.dumps(plain) if plain is None or isinstance(plain, bool) else repr(plain)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _tag_key(context: Mapping[str, str]) -> str:
    return context["discriminator"].strip("'")


def _locate(location: tuple[Any, ...], config: Any) -> tuple[tuple[Any, ...], Any]:
    """The part of pydantic's location that is a path in `config`, and the value there.

    Pydantic puts the names of union members between the keys; those are not in the config.
    """
    path: list[Any] = []
    value: Any = config
    for step in location:
        in_mapping = isinstance(value, Mapping) and step in value
        in_list = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if in_mapping or in_list:
            path.append(step)
            value = value[step]
    return tuple(path), value


def known_keys(path: tuple[Any, ...], config: Any, schema: type[BaseModel]) -> list[str]:
    """The keys that `schema` allows at `path`."""
    current: Any = schema
    value: Any = config
    for step in path:
        value = value[step]
        if get_origin(current) is dict:
            current = get_args(current)[1]
        else:
            current = _field_types(current)[step]
        current = _member(current, value)
    # A mapping by name, such as a model's layers: its own keys are all there are.
    return list(value) if get_origin(current) is dict else list(_field_types(current))


def _field_types(model: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(model):
        hints = get_type_hints(model)
        return {field.name: hints[field.name] for field in dataclasses.fields(model)}
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _member(annotation: Any, value: Any) -> Any:
    """The type in a union of groups that `value` says it is, by its `type`, `format` or `name`."""
    if get_origin(annotation) is Annotated:
        return _member(get_args(annotation)[0], value)
    members = [_unwrap(member) for member in _union_members(annotation)]
    for member in members:
        if isinstance(member, type) and (
            dataclasses.is_dataclass(member) or issubclass(member, BaseModel)
        ):
            fields = _field_types(member)
            keys = [key for key in ("type", "format", "name") if key in fields]
            tag = value.get(keys[0]) if keys and isinstance(value, Mapping) else None
            if len(members) == 1 or not keys or tag in get_args(fields[keys[0]]):
                return member
    return members[0]


def _unwrap(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _union_members(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        nested = [_union_members(_unwrap(member)) for member in get_args(annotation)]
        return [member for members in nested for member in members if member is not type(None)]
    return [annotation]


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(str(step) for step in path)
