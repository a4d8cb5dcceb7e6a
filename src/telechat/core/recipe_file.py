"""Recipes on disk: YAML with line numbers, `--set key=value`, and errors that a person can act on."""

from __future__ import annotations

import contextlib
import difflib
import math
import typing
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from telechat.core.errors import UserError, one_line
from telechat.core.files import write_text
from telechat.core.recipe import STAGE_KINDS, Recipe, Stage

LARGEST = 100_000  # values in a recipe


def builtin_recipes() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = resources.files("telechat") / "recipes"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def _source(recipe: str) -> tuple[str, str]:
    """(label, text) of a recipe given as a file or a built-in name."""
    path = Path(recipe)
    if path.is_dir() and recipe not in builtin_recipes():
        raise UserError(f"{recipe}: is a folder; name a recipe file or one of: {', '.join(builtin_recipes())}")
    if path.is_file():
        try:
            return recipe, path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{recipe}: cannot be read as UTF-8 text: {one_line(error)}") from None
    if recipe in builtin_recipes():
        return f"{recipe}.yaml", (resources.files("telechat") / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8")
    near = difflib.get_close_matches(recipe, builtin_recipes(), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"built-in recipes: {', '.join(builtin_recipes())}"
    raise UserError(f"{recipe}: no such recipe file; {hint}")


def read_recipe(recipe: str, overrides: list[str] | None = None, size: str | None = None) -> Recipe:
    """Read a recipe file or a built-in recipe, apply one of its `sizes` and `key=value` overrides, and validate.

    Raises `UserError` naming the file, the line and the nearest valid key.
    """
    label, text = _source(recipe)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{label}:{line}: not valid YAML: {one_line(error.problem or error)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{label}: not valid YAML: {one_line(error)}") from None
    if _size(node) > LARGEST:
        raise UserError(f"{label}: has more than {LARGEST:,} values when its aliases are written out")
    _refuse_twice(label, node)
    if not isinstance(data, dict):
        raise UserError(f"{label}: a recipe is a mapping of keys (name, kinds, stages …), not {type(data).__name__}")
    data = _apart(data)
    sizes = data.pop("sizes", None) or {}
    if not isinstance(sizes, dict) or not all(isinstance(values, dict) for values in sizes.values()):
        raise UserError(f"{label}: sizes: write name: {{key: value}} for each size")
    plain = _apart(data)
    if size is not None and size not in sizes:
        raise UserError(f"{label}: has no size {size!r}; there are: {', '.join(sizes) or 'none'}")
    for key, value in sizes[size].items() if size else ():
        _set(data, key, value, f"{label}: sizes.{size}")
    for override in overrides or []:
        _override(data, override)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        if size or overrides:  # a file that is right by itself is not to blame
            with contextlib.suppress(ValidationError):
                Recipe.model_validate(plain)
                changed = " ".join([f"size {size}"] * bool(size) + [f"--set {override}" for override in overrides or []])
                raise UserError(_explain(one_line(changed)[:200], None, error)) from None
        raise UserError(_explain(label, node, error)) from None


def _size(node: yaml.Node | None, known: dict[int, float] | None = None) -> float:
    """How many values a document has with every alias written out; infinite when one holds itself."""
    known = {} if known is None else known
    if node is None or id(node) in known:
        return known.get(id(node), 0)
    known[id(node)] = math.inf  # until all that it holds is counted
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    inner = [each for pair in pairs for each in pair] if pairs else node.value if isinstance(node, yaml.SequenceNode) else []
    known[id(node)] = 1 + sum(_size(each, known) for each in inner)
    return known[id(node)]


def _apart(value: Any) -> Any:
    """A copy in which nothing is shared: what an alias repeats can then be set in one place alone."""
    if isinstance(value, dict):
        return {key: _apart(each) for key, each in value.items()}
    return [_apart(each) for each in value] if isinstance(value, list) else value


def _refuse_twice(label: str, node: yaml.Node | None) -> None:
    """`UserError` for a key that stands twice in one mapping: YAML would take the last without a word."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if isinstance(key, yaml.ScalarNode) and key.value in lines:
                    raise UserError(
                        f"{label}:{line}: {key.value!r} stands here and in line {lines[key.value]}; keep one of them"
                    )
                if isinstance(key, yaml.ScalarNode):
                    lines[key.value] = line
                waiting.append(value)


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write `recipe` with every default spelled out."""
    write_text(path, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def _override(data: dict[str, Any], override: str) -> None:
    """Apply `a.b=value` to the raw data; stages are addressed by name: `stages.sft.steps=100`."""
    key, separator, raw = override.partition("=")
    if not separator or not all(key.strip().split(".")):
        raise UserError(f"--set {override}: write key=value, for example --set stages.sft.steps=100")
    try:
        value = yaml.safe_load(raw)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(f"--set {override}: the value is not valid YAML") from None
    _set(data, key.strip(), value, "--set")


def _set(data: dict[str, Any], key: str, value: Any, who: str) -> None:
    """Put `value` at the dotted `key`; entries of a list are addressed by their `name`."""
    parts = key.split(".")
    target: Any = data
    for depth, part in enumerate(parts):
        where = ".".join(parts[: depth + 1])
        index: Any = part
        if isinstance(target, list):
            names = [str(item.get("name")) if isinstance(item, dict) else str(i) for i, item in enumerate(target)]
            if part not in names:
                near = difflib.get_close_matches(part, names, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}"
                raise UserError(f"{who} {where}: no such entry; {hint}")
            index = names.index(part)
        elif not isinstance(target, dict):
            raise UserError(f"{who} {where}: {'.'.join(parts[:depth])} is a single value and has no keys")
        if depth == len(parts) - 1:
            target[index] = value
        else:
            if isinstance(target, dict) and target.get(index) is None:
                target[index] = {}
            target = target[index]


def _line(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """The line (from 1) of the deepest node that `location` reaches."""
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, node = key.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Valid keys beside the unknown key at the end of `location`."""
    annotation: Any = Recipe
    for part in location[:-1]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(part))
            annotation = field.annotation if field else None
            if annotation == list[Stage]:
                annotation = Stage
        elif isinstance(part, str) and part in STAGE_KINDS:
            union = typing.get_args(Stage)[0]
            annotation = next(m for m in typing.get_args(union) if m.model_fields["kind"].default == part)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(annotation.model_fields)
    return []


def _explain(label: str, node: yaml.Node | None, error: ValidationError) -> str:
    """One line for the first validation error."""
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])  # a typo also makes a key "missing"
    location = tuple(first["loc"])
    shown = ".".join(str(part) for part in location if part not in STAGE_KINDS)
    where = f"{label}:{_line(node, location)}: " if node is not None else f"{label}: "
    if first["type"] == "extra_forbidden":
        fields = _fields_at(location)
        near = difflib.get_close_matches(str(location[-1]), fields, 1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(fields)}"
        return f"{where}unknown key {location[-1]!r} ({shown}); {hint}"
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        given = first["input"].get("kind") if isinstance(first["input"], dict) else first["input"]
        given = given if isinstance(given, (str, int, float)) or given is None else type(given).__name__
        near = difflib.get_close_matches(str(given), STAGE_KINDS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"stage kinds: {', '.join(STAGE_KINDS)}"
        return f"{where}unknown stage kind {given!r} ({shown}); {hint}"
    message = first["msg"].removeprefix("Value error, ")
    plain = isinstance(first["input"], (str, float, bool)) or (isinstance(first["input"], int) and abs(first["input"]) < 10**40)
    given = f", not {first['input']!r}" if plain and first["type"] != "value_error" else ""
    return one_line(f"{where}{shown + ': ' if shown else ''}{message}{given}")
