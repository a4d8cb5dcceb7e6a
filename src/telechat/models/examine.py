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
from telechat.models.first_generation import TELECHAT1_VOCABULARY
from telechat.models.hub import find
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
    context: int | None
    rope: dict[str, Any]
    odd: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def examine(folder: str | Path) -> Examination:
    """Look at a checkpoint folder; raises `UserError` when it is none at all."""
    path = find(folder)
    raw = read_json(path / "config.json")
    if not isinstance(raw, dict):
        raise UserError(f"{path / 'config.json'}: is no JSON object")
    weights = read_headers(path)
    config, problems = _config(path, raw)
    problems += weights.problems
    if config is not None and not problems:
        problems += _against_model(config, weights.shapes)
    rope = dict(getattr(config, "rope_parameters", None) or {})
    architecture = (raw.get("architectures") or ["?"])[0]
    shards = sorted(path.glob("*.safetensors"))
    return Examination(
        folder=str(path),
        what=_what(raw, config),
        model_type=raw.get("model_type"),
        architecture=architecture,
        loads=not problems,
        problems=problems,
        parameters=sum(_size(shape) for shape in weights.shapes.values()),
        tensors=len(weights.shapes),
        shards=len(shards),
        bytes=weights.bytes,
        dtypes=sorted(weights.dtypes),
        context=getattr(config, "max_position_embeddings", None),
        rope=rope,
        odd=[*_odd_config(raw, rope), *_odd_files(path, raw), *disagreements(path)],
    )


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def _what(raw: dict[str, Any], config: Any) -> str:
    if raw.get("model_type") == "telechat" and raw.get("vocab_size", TELECHAT1_VOCABULARY) == TELECHAT1_VOCABULARY:
        return "TeleChat1"
    known = NAMES.get(str(raw.get("model_type")))
    return known or (f"{raw.get('model_type')} (transformers)" if config is not None else "unknown")


def read_headers(path: Path) -> Weights:
    """Shapes and types from the headers of every shard; what is missing or broken is in `problems`."""
    found = Weights()
    shards = sorted(path.glob("*.safetensors"))
    index = path / "model.safetensors.index.json"
    wanted = read_json(index).get("weight_map", {}) if index.is_file() else {}
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


def _config(path: Path, raw: dict[str, Any]) -> tuple[Any, list[str]]:
    """The configuration as transformers reads it, or why it does not."""
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True), []
    except (OSError, ValueError, KeyError, TypeError) as error:
        kind = raw.get("model_type")
        why = one_line(error)[:200]
        return None, [f"config.json cannot be used (model_type {kind!r}): {why}"]


def _against_model(config: Any, found: dict[str, tuple[int, ...]]) -> list[str]:
    """What the model that the configuration describes lacks in the tensors that are there, and the other way round."""
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (ValueError, KeyError, TypeError, RuntimeError, ZeroDivisionError) as error:
        return [one_line(error)[:300]]
    if config.model_type == "deepseek_v3" or getattr(model, "_checkpoint_conversion_mapping", None):
        return []  # experts are stored one by one and fused on loading: names differ on purpose
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
    return out


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
    original, factor = scaling.get("original_max_position_embeddings"), scaling.get("factor")
    context = raw.get("max_position_embeddings")
    if original and factor and context and context > original * factor:
        out.append(
            f"max_position_embeddings {context} is longer than the rotary scaling reaches "
            f"({original} x {factor:g} = {original * factor:g}); answers beyond that are not what it was trained for"
        )
    if scaling.get("rope_type", scaling.get("type")) == "telechat3-yarn":
        out.append(
            f"rotary scaling telechat3-yarn: YaRN with an attention factor of {rope.get('attention_factor', 0):.5f} "
            f"(0.07 in place of 0.1); programs that take it for plain YaRN answer a little wrong"
        )
    return out


def _odd_files(path: Path, raw: dict[str, Any]) -> list[str]:
    """What is unusual among the files."""
    out = []
    pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in path.glob(pattern))
    if pickles:
        out.append(f"pickled files are never read: {', '.join(pickles[:5])}")
    named = {str(value).split("--")[-1].split(".")[0] + ".py" for value in (raw.get("auto_map") or {}).values()}
    absent = sorted(name for name in named if not (path / name).is_file())
    if absent:
        out.append(f"auto_map names files that are not here: {', '.join(absent)}")
    settings = path / "tokenizer_config.json"
    if settings.is_file() and read_json(settings).get("unk_token") == "<_end>":
        out.append("tokenizer_config.json calls <_end> the unknown token, a known slip of the published file")
    return out
