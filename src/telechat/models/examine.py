"""What a checkpoint folder holds, told without loading its weights: whether it will load, and what is odd about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM

from telechat.core.errors import UserError, one_line
from telechat.core.files import read_json
from telechat.models.configuration import context_of
from telechat.models.first_generation import is_telechat1
from telechat.models.hub import find
from telechat.models.loading import BROKEN, read_object, why
from telechat.models.telechat2 import FUSED, RENAMED
from telechat.models.tokenization import disagreements

LFS_POINTER = b"version https://git-lfs"
NAMES = {
    "telechat": "TeleChat2 or TeleChat2.5",
    "telechat3": "TeleChat3 or TeleChat3-Coder",
    "deepseek_v3": "DeepSeek-V3 architecture (as TeleChat3-105B-A4.7B)",
}


@dataclass
class Weights:
    """The tensors of a folder, from the headers of its shards: name → shape."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: set[str] = field(default_factory=set)
    bytes: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class Examination:
    """What `telechat doctor FOLDER` tells."""

    folder: str
    what: str
    model_type: str | None
    architecture: str
    loads: bool
    problems: list[str]
    parameters: int
    tensors: int
    shards: int
    bytes: int
    dtypes: list[str]
    vocabulary: int | None
    context: int | None
    rope: dict[str, Any]
    odd: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def examine(folder: str | Path) -> Examination:
    """Look at a checkpoint folder; raises `UserError` when it is none at all."""
    path = find(folder)
    raw = read_object(path / "config.json")
    weights = read_headers(path)
    config, problems = _config(path, raw)
    problems += [*weights.problems, *_unreadable(path)]
    extra: list[str] = []
    if config is not None and not problems:
        problems, extra = _against_model(config, weights.shapes)
    rope = dict(getattr(config, "rope_parameters", None) or {})
    architectures = raw.get("architectures")
    shards = sorted(path.glob("*.safetensors"))
    return Examination(
        folder=str(path),
        what=_what(raw, config),
        model_type=raw.get("model_type"),
        architecture=str(architectures[0]) if isinstance(architectures, list) and architectures else "?",
        loads=not problems,
        problems=problems,
        parameters=sum(_size(shape) for shape in weights.shapes.values()),
        tensors=len(weights.shapes),
        shards=len(shards),
        bytes=weights.bytes,
        dtypes=sorted(weights.dtypes),
        vocabulary=getattr(config, "vocab_size", None),
        context=None if config is None else context_of(config),
        rope=rope,
        odd=[*_odd_config(raw, rope), *_odd_files(path, raw), *extra],
    )


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def _what(raw: dict[str, Any], config: Any) -> str:
    if is_telechat1(raw):
        return "TeleChat1"
    known = NAMES.get(str(raw.get("model_type")))
    return known or (f"{raw.get('model_type')} (transformers)" if config is not None else "unknown")


def read_headers(path: Path) -> Weights:
    """Shapes and types from the headers of every shard; what is missing or broken is in `problems`."""
    found = Weights()
    shards = sorted(path.glob("*.safetensors"))
    index = path / "model.safetensors.index.json"
    wanted = _weight_map(index, found.problems) if index.is_file() else {}
    missing = sorted(set(wanted.values()) - {shard.name for shard in shards})
    if missing:
        found.problems.append(f"shards that the index names are missing: {', '.join(missing[:5])}")
    for shard in shards:
        if shard.stat().st_size < 1024 and shard.read_bytes().startswith(LFS_POINTER):
            found.problems.append(f"{shard.name} is a pointer of Git LFS, not the weights: run `git lfs pull`")
            continue
        try:
            with safe_open(shard, "pt") as file:
                for name in file.keys():  # noqa: SIM118
                    part = file.get_slice(name)
                    found.shapes[name] = tuple(part.get_shape())
                    found.dtypes.add(str(part.get_dtype()))
        except (SafetensorError, OSError) as error:
            found.problems.append(f"{shard.name} cannot be read ({one_line(error)[:120]}): download it again")
        found.bytes += shard.stat().st_size
    lost = sorted(set(wanted) - set(found.shapes))
    if lost and not found.problems:
        found.problems.append(f"{len(lost)} tensors of the index are in no shard, the first {lost[0]}")
    return found


def _weight_map(index: Path, problems: list[str]) -> dict[str, str]:
    """tensor → shard of an index; what is wrong with it goes to `problems`."""
    found = read_json(index)
    names = found.get("weight_map") if isinstance(found, dict) else None
    if isinstance(names, dict) and all(isinstance(shard, str) for shard in names.values()):
        return names
    problems.append(f"{index.name}: weight_map is no object of tensor and file names")
    return {}


def _unreadable(path: Path) -> list[str]:
    """Which of the smaller files cannot be used, and why."""
    out = []
    for name in ("tokenizer_config.json", "generation_config.json"):
        if (path / name).is_file():
            try:
                read_object(path / name)
            except UserError as error:
                out.append(str(error))
    return out


def _config(path: Path, raw: dict[str, Any]) -> tuple[Any, list[str]]:
    """The configuration as transformers reads it, or why it does not."""
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        context_of(config)
        return config, []
    except BROKEN as error:
        return None, [f"config.json cannot be used (model_type {raw.get('model_type')!r}): {why(error)}"]


def _against_model(config: Any, found: dict[str, tuple[int, ...]]) -> tuple[list[str], list[str]]:
    """What the model that the configuration describes lacks in the tensors that are there, and what is there besides."""
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except BROKEN as error:
        return [why(error)], []
    if config.model_type == "deepseek_v3" or getattr(model, "_checkpoint_conversion_mapping", None):
        return [], []  # experts are stored one by one and fused on loading: names differ on purpose
    wanted = {name: tuple(p.shape) for name, p in model.named_parameters()}
    if config.model_type == "telechat" and any(name.startswith("transformer.") for name in found):
        wanted = published_shapes(wanted)
    missing = sorted(set(wanted) - set(found))
    wrong = sorted(name for name in set(wanted) & set(found) if wanted[name] != found[name])
    out = []
    if missing:
        out.append(f"{len(missing)} tensors of the model are missing, the first {missing[0]}")
    if wrong:
        name = wrong[0]
        out.append(f"{len(wrong)} tensors have another shape, the first {name}: {found[name]} in place of {wanted[name]}")
    tied = set(getattr(model, "_tied_weights_keys", None) or ())
    extra = sorted(set(found) - set(wanted) - tied - {name for name, _ in model.named_buffers()})
    more = [f"{len(extra)} tensors have no place in the model and are not read, the first {extra[0]}"] if extra else []
    return out, more


def published_shapes(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The shapes of a TeleChat2 in this package's names as those of the published layout."""
    fused, (key, value) = FUSED
    out: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if name.endswith(value):
            continue
        if name.endswith(key):
            name, shape = name.removesuffix(key) + fused, (2 * shape[0], *shape[1:])
        for source, target in RENAMED.items():
            name = name.replace(target, source)
        out[name] = shape
    return out


def _odd_config(raw: dict[str, Any], rope: dict[str, Any]) -> list[str]:
    """What is unusual in config.json, and what it means."""
    out = []
    if raw.get("model_type") == "telechat" and raw.get("layer_norm_epsilon") == 1e-8:
        out.append("layer_norm_epsilon is 1e-08; another copy of the same model says 1e-05; the checkpoint's own value is used")
    if raw.get("auto_map"):
        out.append("auto_map names remote code; it is not run")
    scaling = raw.get("rope_scaling") or raw.get("rope_parameters") or {}
    scaling = scaling if isinstance(scaling, dict) else {}
    original, factor = scaling.get("original_max_position_embeddings"), scaling.get("factor")
    context = raw.get("max_position_embeddings")
    reach = original * factor if isinstance(original, (int, float)) and isinstance(factor, (int, float)) else None
    if reach and isinstance(context, int) and context > reach:
        out.append(
            f"max_position_embeddings {context} is longer than the rotary scaling reaches "
            f"({original} x {factor:g} = {reach:g}); answers beyond that are not what it was trained for"
        )
    if scaling.get("rope_type", scaling.get("type")) == "telechat3-yarn":
        out.append(
            f"rotary scaling telechat3-yarn: YaRN with an attention factor of {rope.get('attention_factor') or 0:.5f} "
            f"(0.07 in place of 0.1); programs that take it for plain YaRN answer a little wrong"
        )
    return out


def _odd_files(path: Path, raw: dict[str, Any]) -> list[str]:
    """What is unusual among the files."""
    out = []
    pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in path.glob(pattern))
    if pickles:
        out.append(f"pickled files are never read: {', '.join(pickles[:5])}")
    code = raw.get("auto_map")
    named = {str(value).split("--")[-1].split(".")[0] + ".py" for value in (code.values() if isinstance(code, dict) else ())}
    absent = sorted(name for name in named if not (path / name).is_file())
    if absent:
        out.append(f"auto_map names files that are not here: {', '.join(absent)}")
    try:
        settings = read_object(path / "tokenizer_config.json") if (path / "tokenizer_config.json").is_file() else {}
        out += disagreements(path)
    except UserError:  # told among the problems, or when the tokenizer is loaded
        return out
    if settings.get("unk_token") == "<_end>":
        out.append("tokenizer_config.json calls <_end> the unknown token, a known slip of the published file")
    if not settings.get("tokenizer_class"):
        out.append("tokenizer_config.json names no tokenizer class; telechat takes the family's, other programs may not")
    return out
