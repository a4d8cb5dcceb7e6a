"""Models by name: found among what was downloaded before, or fetched from Hugging Face or ModelScope.

An interrupted download goes on: ModelScope's client inside a file, Hugging Face's at the first file that is not whole
(inside it, while the process lives). Every file is compared with the hub's checksum. Python files and pickled weights are
never fetched. Modelers has a client as well, but it pins `requests` to one version of 2024: download with it into a
folder, and give the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import Literal, get_args

import yaml

from telechat.core.errors import UserError, one_line
from telechat.core.files import read_json, write_text

Source = Literal["hf", "modelscope"]
SOURCES: tuple[Source, ...] = get_args(Source)
HUBS = {"hf": "Hugging Face", "modelscope": "ModelScope"}
WANTED = ("*.safetensors", "*.json", "*.model", "*.jinja", "*.txt", "*.md", "LICENSE*", "LICENCE*")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def parse_name(model: str) -> tuple[Source, str] | None:
    """`owner/name`, `hf:owner/name` or `modelscope:owner/name` as (source, owner/name); None for anything else."""
    source, colon, rest = model.partition(":")
    if colon and source in SOURCES and _NAME.fullmatch(rest):
        return source, rest
    return ("hf", model) if _NAME.fullmatch(model) else None


def check_folder(folder: str | Path) -> Path:
    """`folder` when it looks like a transformers checkpoint; a `UserError` otherwise."""
    path = Path(folder)
    if not path.exists():
        raise UserError(f"{folder}: no such folder; give a checkpoint folder or a finished run directory")
    if not path.is_dir():
        raise UserError(f"{folder}: is a file; give the folder that holds config.json")
    if (path / "report.json").exists() and not (path / "config.json").exists():
        return run_model(path)
    if not (path / "config.json").is_file():
        raise UserError(f"{folder}: is no checkpoint: it has no config.json")
    if not any(path.glob("*.safetensors")):
        raise UserError(f"{folder}: has no *.safetensors weights; weights in other formats are not read")
    return path


def run_model(out: Path) -> Path:
    """The last model of a finished run directory."""
    report = read_json(out / "report.json")
    models = [
        s["model"] for s in report.get("stages", []) if s.get("model") and s.get("kind") not in ("reward_model", "tokenizer")
    ]
    if not models:
        raise UserError(f"{out}: this run has no finished model")
    return check_folder(out / models[-1])


def refuse_early(model: str | Path) -> None:
    """Raise `UserError` at once, before anything heavy is imported, for what is neither here nor a hub's name."""
    if Path(model).exists() or parse_name(str(model)) is None:
        check_folder(model)


def find(model: str | Path) -> Path:
    """The checkpoint folder of `model`: a folder, a finished run directory, or a hub name (fetched where needed).

    Raises `UserError` when it is none of them or cannot be fetched.
    """
    named = None if Path(model).exists() else parse_name(str(model))
    if named is None:
        return check_folder(model)
    source, name = named
    path = check_folder(_cached(source, name) or pull(name, source))
    if note := licence_note(path, name):
        print(f"telechat: {note}", file=sys.stderr)
    return path


def pull(name: str, source: Source = "hf", revision: str | None = None, folder: Path | None = None) -> Path:
    """Fetch the model `owner/name` into the hub's cache, or into `folder`; returns where it is.

    Raises `UserError` when the hub cannot be reached, has no such model, or sends other bytes than it announces.
    """
    fetch = _pull_hf if source == "hf" else _pull_modelscope
    try:
        return fetch(name, revision, folder)
    except UserError:
        raise
    except Exception as error:  # the clients raise their own and their HTTP library's errors
        raise UserError(
            f"{name}: is no folder here, and cannot be fetched from {HUBS[source]}: {_why(error)}; "
            f"give a folder, another name, or --from {' or '.join(s for s in SOURCES if s != source)}"
        ) from None


def _why(error: BaseException) -> str:
    text = one_line(error)[:240]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _pull_hf(name: str, revision: str | None, folder: Path | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    def fetch() -> Path:
        return Path(snapshot_download(name, revision=revision, local_dir=folder, allow_patterns=list(WANTED)))

    path = fetch()
    for again in (True, False):
        checked = HfApi().verify_repo_checksums(name, revision=revision, local_dir=folder)
        wrong = [mismatch["path"] for mismatch in checked.mismatches]
        if not wrong:
            break
        if not again:
            raise UserError(f"{name}: these files differ from the hub's checksum: {', '.join(wrong[:5])}; pull it again later")
        for file in wrong:
            (path / file).resolve().unlink(missing_ok=True)
            (path / file).unlink(missing_ok=True)
        path = fetch()
    return path


def _pull_modelscope(name: str, revision: str | None, folder: Path | None) -> Path:
    snapshot_download = _modelscope()
    found = snapshot_download(  # it compares the checksums itself
        name, revision=revision, local_dir=str(folder) if folder else None, allow_patterns=list(WANTED)
    )
    return Path(found)


def _modelscope():  # type: ignore[no-untyped-def]  # an optional package without types
    try:
        from modelscope import snapshot_download
    except ImportError:
        raise UserError("ModelScope needs its client: pip install 'telechat[modelscope]'") from None
    return snapshot_download


def _cached(source: Source, name: str) -> Path | None:
    """Where a whole model of an earlier download is, if there is one."""
    try:
        if source == "hf":
            from huggingface_hub import snapshot_download

            path = Path(snapshot_download(name, local_files_only=True, allow_patterns=list(WANTED)))
        else:
            path = Path(_modelscope()(name, local_files_only=True))
        return check_folder(path)
    except Exception:
        return None


def licence_note(path: Path, name: str) -> str | None:
    """What the model's own page says about its licence, once for each model and person; None when it was said before."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "telechat" / "licences"
    marker = state / name.replace("/", "--")
    if marker.exists():
        return None
    with contextlib.suppress(OSError):  # a home that cannot be written to: it is told again next time
        write_text(marker, "")
    stated = _stated_licence(path / "README.md")
    own = ", and LICENSE lies beside it" if any(path.glob("LICEN[SC]E*")) else ""
    note = f"licence of {name}: its page states {stated or 'none'}{own}."
    if "telechat" in name.lower():
        note += (
            " TeleChat2 names the TeleChat community licence agreement (《TeleChat模型社区许可协议》), with commercial use"
            " on application to tele_ai@chinatelecom.cn; where a page states nothing, ask there."
        )
    return note


def _stated_licence(readme: Path) -> str | None:
    """The `license` field of a model card."""
    try:
        head = readme.read_text(encoding="utf-8").split("---")
        found = yaml.safe_load(head[1]) if len(head) > 2 and not head[0].strip() else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return str(found["license"]) if isinstance(found, dict) and found.get("license") else None
