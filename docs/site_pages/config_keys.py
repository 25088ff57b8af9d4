"""Every key of the config: what it may be, its default and its meaning, for the reference.

Keys and ranges come from the typed settings, defaults and meanings from conf/*.yaml and its
comments; what the files leave unsaid is in docs/reference/meanings.yaml.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from convforge.pipeline.settings.run import Settings
from convforge.pipeline.settings.search import SearchSettings

#: Keys whose variants are told apart by one of these.
_TAGS = ("type", "format", "name")
_LAYERS = "model.layers.NAME"


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: dotted, such as "trainer.batch_size".
        variants: which kinds of its group have it, such as "cosine"; none where all have.
        allowed: in words and Markdown.
        default: as YAML; None where there is none.
        meaning: in words and Markdown.
    """

    name: str
    variants: tuple[str, ...]
    allowed: str
    default: str | None
    meaning: str


@cache
def config_keys(root: Path) -> list[Key]:
    """All keys that a config may have, group by group in the order of the settings."""
    keys: dict[tuple[Any, ...], Key] = {}
    for prefix, model in (("", Settings), ("hydra.sweeper", SearchSettings)):
        for name, annotation in _fields(model):
            for key in _keys(root, f"{prefix}.{name}".lstrip("."), annotation, model, ""):
                # What several kinds have alike is said once.
                told = (key.name, key.allowed, key.default, key.meaning)
                before = keys.get(told, replace(key, variants=()))
                keys[told] = replace(key, variants=(*before.variants, *key.variants))
    # All of a key together, in the order of their first.
    order = {
        name: number for number, name in enumerate(dict.fromkeys(k.name for k in keys.values()))
    }
    return sorted(keys.values(), key=lambda key: order[key.name])


def _keys(
    root: Path,
    name: str,
    annotation: Any,
    owner: type,
    variant: str,
) -> Iterator[Key]:
    members = [each for each in _members(annotation) if _is_group(each)]
    if name == "model.layers":
        members = [each for each in _members(_layer_annotation(annotation)) if _is_group(each)]
        yield _key(root, name, annotation, owner, variant)
        name = _LAYERS
    if not members:
        yield _key(root, name, annotation, owner, variant)
        return
    for member in members:
        kind = _tag(member) if len(members) > 1 else variant
        for field, inner in _fields(member):
            full = f"{name}.{field}"
            of_all = len(members) > 1 and all(_same(each, field, inner) for each in members)
            if not of_all or member is members[0]:
                yield from _keys(root, full, inner, member, "" if of_all else kind)


def _layer_annotation(annotation: Any) -> Any:
    return get_args(annotation)[1]


def _same(member: Any, field: str, annotation: Any) -> bool:
    found = dict(_fields(member)).get(field)
    return found is not None and (field in _TAGS or _words(found) == _words(annotation))


def _key(root: Path, name: str, annotation: Any, owner: type, variant: str) -> Key:
    allowed = _words(annotation)
    refused = _refusals(owner).get(name.rpartition(".")[2])
    if refused and not re.search(r"[≥≤<>`]", allowed):
        # "a number in [0, 1)" says it all, "each column once" only what besides.
        whole = not allowed or re.match(r"an? |degrees|\[", refused)
        allowed = refused if whole else f"{allowed}, {refused}"
    tags = name.rpartition(".")[2] in _TAGS and get_origin(annotation) is Literal
    if tags and name.rpartition(".")[0] in _variants():
        allowed = ", ".join(f"`{each}`" for each in _variants()[name.rpartition(".")[0]])
    given = _given(root, name, variant)
    meaning = given.get("meaning") or _meaning(root, name, variant, owner)
    default = _default(root, name, variant, owner)
    return Key(name, (variant,) if variant else (), given.get("allowed", allowed), default, meaning)


@cache
def _variants() -> dict[str, list[str]]:
    """The values of the key that tells the kinds of a group apart, by the group's name."""
    found = {}
    for prefix, model in (("", Settings), ("hydra.sweeper.", SearchSettings)):
        for name, annotation in _fields(model):
            members = [each for each in _members(annotation) if _is_group(each)]
            if len(members) > 1:
                found[f"{prefix}{name}"] = [_tag(each) for each in members]
            for inner, inner_annotation in _fields(members[0]) if len(members) == 1 else ():
                if inner == "layers":
                    kinds = _members(_layer_annotation(inner_annotation))
                    found[_LAYERS] = [_tag(each) for each in kinds if _is_group(each)]
    return found


# Types in words.


def _words(annotation: Any, *bounds: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0], *arguments[1:], *bounds)
    if origin in (Union, types.UnionType):
        words = [_words(each) for each in arguments if each is not type(None)]
        null = ["`null`"] if type(None) in arguments else []
        return ", or ".join([*dict.fromkeys(words), *null])
    if origin is Literal:
        return ", ".join(f"`{_yaml(each)}`" for each in arguments)
    if origin in (list, tuple):
        inner = dict.fromkeys(_words(each) for each in arguments if each is not ...)
        return f"a list: {', '.join(inner)}{_bounds(bounds, 'entries')}"
    if origin is dict:
        return f"a mapping to {_words(arguments[1])}"
    if _is_group(annotation):
        return "a group"
    plain = {int: "whole number", float: "number", bool: "`true`, `false`", str: "text"}
    return plain.get(annotation, "") + _bounds(bounds, "letters")


def _bounds(metadata: tuple[Any, ...], counted: str) -> str:
    """What pydantic's constraints say."""
    flat = [
        each
        for item in metadata
        for each in (item.metadata if isinstance(item, FieldInfo) else [item])
    ]
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    words = []
    for each in flat:
        for attribute, sign in signs.items():
            if (bound := getattr(each, attribute, None)) is not None:
                words.append(f"{sign} {bound:,}")
        if isinstance(each, annotated_types.MinLen):
            words.append(f"at least {each.min_length} {counted}")
        if isinstance(each, annotated_types.MaxLen):
            words.append(f"at most {each.max_length:,} {counted}")
        if (pattern := getattr(each, "pattern", None)) is not None:
            words.append(f"of the pattern `{pattern}`")
    return f" {', '.join(words)}" if words else ""


@cache
def _refusals(owner: type) -> dict[str, str]:
    """What a class' own checks say is allowed, by the argument: read from its source."""
    found: dict[str, str] = {}
    for each in reversed(owner.__mro__):
        if not each.__module__.startswith("convforge"):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            if call.func.id == "check_probability":
                found["probability"] = "a number from 0 to 1"
            wanted = {"ArgumentError": 2, "check": 3}.get(call.func.id)
            if wanted is None or len(call.args) <= wanted:
                continue
            argument, allowed = call.args[0], call.args[wanted]
            if isinstance(argument, ast.Constant) and isinstance(allowed, ast.Constant):
                found[str(argument.value)] = str(allowed.value)
    return found


# Groups of settings.


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and (
        dataclasses.is_dataclass(annotation) or issubclass(annotation, BaseModel)
    )


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        nested = [_members(each) for each in get_args(annotation)]
        return [each for members in nested for each in members if each is not type(None)]
    return [annotation]


@cache
def _fields(group: Any) -> list[tuple[str, Any]]:
    hints = get_type_hints(group, include_extras=True)
    if dataclasses.is_dataclass(group):
        return [(field.name, hints[field.name]) for field in dataclasses.fields(group)]
    return [(info.alias or name, hints[name]) for name, info in group.model_fields.items()]


def _tag(member: Any) -> str:
    fields = dict(_fields(member))
    tag = next(each for each in _TAGS if each in fields and get_origin(fields[each]) is Literal)
    return str(get_args(fields[tag])[0])


# Defaults and meanings.


@dataclass(frozen=True)
class _Line:
    """A key of a YAML file."""

    name: str
    value: Any
    comment: str


def _folder(name: str) -> tuple[str, str]:
    """The folder of conf/ that has a key's files, and the key's name in them."""
    for prefix in ("hydra.sweeper.sampler", "hydra.sweeper.pruner", "hydra.sweeper"):
        if name.startswith(f"{prefix}."):
            files = prefix.replace(".", "/")
            return ("hydra/sweeper" if prefix == "hydra.sweeper" else files), name[
                len(prefix) + 1 :
            ]
    group, dot, rest = name.partition(".")
    return (group, rest) if dot else ("", name)


@cache
def _default_run(root: Path) -> dict[str, str]:
    """The file that the default run takes of each group."""
    chosen: dict[str, str] = {}
    for folder, file in (("", "config.yaml"), ("hydra/sweeper/", "hydra/sweeper/optuna.yaml")):
        values = yaml.safe_load((root / "conf" / file).read_text(encoding="utf-8"))
        for each in values["defaults"]:
            if isinstance(each, dict):
                chosen |= {f"{folder}{group}": str(name) for group, name in each.items()}
    return chosen


@cache
def _file_lines(file: Path) -> dict[str, _Line]:
    """The keys of a file, with the comments before them."""
    text = file.read_text(encoding="utf-8")
    values, found = yaml.safe_load(text) or {}, {}
    stack: list[tuple[int, str]] = []
    comment: list[str] = []
    comments: dict[str, str] = {}
    head = True
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped[1:].strip())
            continue
        # The comment at the file's head is the file's.
        if head:
            comment, head = [], False
        match = re.match(r"( *)([\w-]+):", line)
        if not stripped or not match:
            comment = []
            continue
        indent, key = len(match[1]), match[2]
        while stack and stack[-1][0] >= indent:
            stack.pop()
        stack.append((indent, key))
        name = ".".join(each for _, each in stack)
        # What is said of a group is said of its keys, where these have no words of their own.
        comments[name] = " ".join(comment) or comments.get(name.rpartition(".")[0], "")
        found[name] = _Line(name, _at(values, name), comments[name])
        comment = []
    return found


def _at(values: Any, name: str) -> Any:
    for step in name.split("."):
        values = values.get(step) if isinstance(values, dict) else None
    return values


@cache
def _meanings(root: Path) -> dict[str, dict[str, str]]:
    text = (root / "docs/reference/meanings.yaml").read_text(encoding="utf-8")
    meanings: dict[str, Any] = yaml.safe_load(text)
    return {name: {"meaning": it} if isinstance(it, str) else it for name, it in meanings.items()}


def _given(root: Path, name: str, variant: str) -> dict[str, str]:
    """What docs/reference/meanings.yaml says of a key, of this kind or of all."""
    given = _meanings(root)
    return given.get(f"{name} ({variant})") or given.get(name) or {}


@cache
def _files(root: Path, folder: str, variant: str) -> list[Path]:
    """The group's files: of the variant first, then the default run's, then those that say most."""
    if folder in ("", "hydra/sweeper"):
        return [root / "conf" / (f"{folder}/optuna.yaml" if folder else "config.yaml")]
    default = _default_run(root).get(folder)

    def order(file: Path) -> tuple[bool, bool, int]:
        lines = _file_lines(file)
        tags = [str(lines[tag].value) for tag in _TAGS if tag in lines]
        comments = sum(bool(line.comment) for line in lines.values())
        return bool(variant) and variant not in tags, file.stem != default, -comments

    return sorted((root / "conf" / folder).glob("*.yaml"), key=order)


def _default(root: Path, name: str, variant: str, owner: type) -> str | None:
    if name.startswith(f"{_LAYERS}."):
        field = {each.name: each for each in dataclasses.fields(owner)}[name.rpartition(".")[2]]
        told = field.default is dataclasses.MISSING or field.name == "type"
        return None if told else _yaml(field.default)
    folder, inner = _folder(name)
    if inner == "layers":
        return None
    for file in _files(root, folder, variant):
        lines = _file_lines(file)
        if inner in lines:
            # What the composition puts in its place is the version of the schema.
            return "1" if name == "schema" else _yaml(lines[inner].value)
    return None


def _meaning(root: Path, name: str, variant: str, owner: type) -> str:
    folder, inner = _folder(name)
    if not name.startswith(_LAYERS):
        for file in _files(root, folder, variant):
            lines = _file_lines(file)
            if inner in lines and lines[inner].comment:
                return _markdown(lines[inner].comment)
    words = _documented(owner).get(name.rpartition(".")[2], "")
    return words[:1].upper() + words[1:]


@cache
def _documented(owner: type) -> dict[str, str]:
    """What a class says of its fields, in `#:` comments or under Attributes."""
    found: dict[str, str] = {}
    for each in reversed(owner.__mro__):
        if not each.__module__.startswith("convforge"):
            continue
        comment: list[str] = []
        for line in inspect.getsource(each).splitlines():
            stripped = line.strip()
            if stripped.startswith("#:"):
                comment.append(stripped[2:].strip())
            elif comment and stripped.startswith("#"):
                comment.append(stripped[1:].strip())
            else:
                match = re.match(r"(\w+): ", stripped)
                if match and comment:
                    found[match[1]] = _markdown(" ".join(comment))
                comment = []
        _, _, attributes = (inspect.getdoc(each) or "").partition("Attributes:\n")
        for match in re.finditer(r"^    (\w+): ((?:.+\n?(?:     +.+\n?)*))", attributes, re.M):
            found[match[1]] = _markdown(" ".join(match[2].split()))
    return found


def _markdown(text: str) -> str:
    """A comment's words as Markdown: what would be markup there is kept as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_<>\[\]{}$|])", r"\\\1", part)
        for part in parts
    )


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...").strip()


# The page.


def config_page(root: Path) -> str:
    """The reference of all keys, in Markdown."""
    parts: list[str] = []
    group = None
    for key in config_keys(root):
        if _group_of(key.name) != group:
            group = _group_of(key.name)
            parts.append(f"## {_heading(group)}\n\n{_described(root, group)}")
        parts.append(_entry(key))
    return "\n\n".join(parts) + "\n"


def _group_of(name: str) -> str:
    for group in (_LAYERS, "hydra.sweeper"):
        if name.startswith(group):
            return group
    group, dot, _ = name.partition(".")
    return group if dot else ""


def _heading(group: str) -> str:
    return f"`{group}`" if group else "The run as a whole"


def _described(root: Path, group: str) -> str:
    if group == _LAYERS:
        return "The keys of a layer, by its `type`. A layer takes any name; `null` removes it."
    if not group:
        return "Keys of [`conf/config.yaml`](../../conf/config.yaml) itself."
    folder = group.replace(".", "/")
    files = sorted((root / "conf" / folder).rglob("*.yaml"))
    links = ", ".join(f"[`{each.stem}`](../../{each.relative_to(root)})" for each in files)
    return f"Its files: {links}."


def _entry(key: Key) -> str:
    parts = [key.allowed]
    if key.default is not None:
        parts.append(f"default `` {key.default} ``")
    if key.variants:
        parts.append(f"of {', '.join(f'`{each}`' for each in key.variants)}")
    anchor = re.sub(r"[^a-z0-9]+", "-", " ".join(("key", *key.variants, key.name)).lower())
    head = f"[`{key.name}`]{{#{anchor} .config-key}}"
    return f"{head}\n: {' · '.join(filter(None, parts))}\n\n  {key.meaning}"
