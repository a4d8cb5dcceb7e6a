"""Recipes: what is accepted, and how bad input is explained in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from telechat.core.errors import UserError
from telechat.core.recipe import STAGE_KINDS
from telechat.core.recipe_file import builtin_recipes, read_recipe, write_recipe

SMALL = """\
name: small
kinds: [addition]
stages:
  - name: tokenizer
    kind: tokenizer
  - name: sft
    kind: sft
    steps: 3
    optimizer:
      lr: 1.0e-3
"""


def complaint(tmp_path, text: str) -> str:
    file = tmp_path / "r.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        read_recipe(str(file))
    return str(error.value)


def test_the_nano_recipe_has_every_stage_of_the_cards():
    kinds = [stage.kind for stage in read_recipe("nano").stages]
    assert set(kinds) == set(STAGE_KINDS)
    assert kinds.count("pretrain") >= 3
    assert kinds.count("rl") == 2
    assert len(read_recipe("nano").kinds) >= 12


def test_every_builtin_recipe_is_valid():
    assert "nano" in builtin_recipes()
    for name in builtin_recipes():
        assert read_recipe(name).stages


def test_the_smoke_size_is_the_same_recipe_with_smaller_numbers():
    whole, small = read_recipe("nano"), read_recipe("nano", size="smoke")
    assert [s.name for s in small.stages] == [s.name for s in whole.stages]
    assert small.evaluation.heldout < whole.evaluation.heldout


def test_a_resolved_recipe_reads_back_as_itself(tmp_path):
    recipe = read_recipe("nano")
    write_recipe(tmp_path / "recipe.yaml", recipe)
    assert read_recipe(str(tmp_path / "recipe.yaml")) == recipe
    assert "save_every" in (tmp_path / "recipe.yaml").read_text()


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("    steps: 3", "    stpes: 3"), 8, ["stpes", "steps"]),
        (("lr: 1.0e-3", "lrr: 1.0e-3"), 10, ["lrr", "'lr'"]),
        (("kinds: [addition]", "kind: [addition]"), 2, ["kind", "kinds"]),
        (("kind: sft", "kind: sftt"), 6, ["sftt", "sft"]),
        (("steps: 3", "steps: many"), 8, ["steps", "many"]),
        (("steps: 3", "steps: 0"), 8, ["steps", "0"]),
        (("name: sft", "name: tokenizer"), 1, ["tokenizer"]),
        (("lr: 1.0e-3", "lr: -1"), 10, ["lr"]),
        (("lr: 1.0e-3", "lr: .nan"), 10, ["lr", "finite"]),
        (("steps: 3", "steps: true"), 8, ["steps", "must be a number"]),
        (("steps: 3", "steps: 3\n    steps: 4"), 9, ["steps", "line 8"]),
        (("steps: 3", "steps: 3\n    weights: {addition: .inf}"), 9, ["addition", "finite"]),
        (("steps: 3", "steps: 3\n    weights: {addition: yes}"), 9, ["weights", "true or false"]),
    ],
)
def test_a_mistake_is_named_with_file_line_and_remedy(tmp_path, change, line, words):
    message = complaint(tmp_path, SMALL.replace(*change))
    assert f"r.yaml:{line}:" in message
    for word in words:
        assert word in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "text", ["", "just words", "- a\n- b\n", "name: [unclosed\n", "a: b: c\n", b"\xff\xfe\x00binary", b"\x00\x01\x02"]
)
def test_broken_empty_and_binary_files_get_one_line(tmp_path, text):
    message = complaint(tmp_path, text)
    assert "r.yaml" in message
    assert "\n" not in message


def test_impossible_sizes_are_refused(tmp_path):
    assert "multiple" in complaint(tmp_path, SMALL + "model: {hidden_size: 100, heads: 3}\n")
    assert "hidden_size" in complaint(tmp_path, SMALL + "model: {hidden_size: 0}\n")


def test_a_mixture_of_nothing_is_refused():
    with pytest.raises(UserError, match="every share is 0"):
        read_recipe("nano", ["stages.pretrain-general.mixture={stdlib.code: 0}"])


def test_a_recipe_of_aliases_of_aliases_ends_at_once(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "r.yaml" in complaint(tmp_path, "\n".join(lines) + "\nstages: [{kind: *a11}]\n")


def test_what_an_override_breaks_is_not_blamed_on_the_file(tmp_path):
    (tmp_path / "r.yaml").write_text(SMALL + "sizes: {big: {stages.sft.steps: lots}}\n")
    for given, size, words in ((["seed=-1"], None, "--set seed=-1: seed:"), ([], "big", "size big: stages.1.steps:")):
        with pytest.raises(UserError, match=words) as error:
            read_recipe(str(tmp_path / "r.yaml"), given, size)
        assert "r.yaml:" not in str(error.value)
    assert "sizes: write" in complaint(tmp_path, SMALL + "sizes: {big: 3}\n")


def test_candidates_are_taken_at_a_constant_rate():
    with pytest.raises(UserError, match="constant rate"):
        read_recipe("nano", ["stages.pretrain-hard.optimizer.decay=0.5"])


def test_what_an_alias_repeats_is_set_in_one_place_alone(tmp_path):
    text = SMALL.replace("lr: 1.0e-3", "lr: 1.0e-3\n  - {name: more, kind: sft, steps: 3, optimizer: *o}").replace(
        "optimizer:", "optimizer: &o", 1
    )
    (tmp_path / "r.yaml").write_text(text)
    recipe = read_recipe(str(tmp_path / "r.yaml"), ["stages.more.optimizer.lr=0.5"])
    assert [s.optimizer.lr for s in recipe.stages if s.kind == "sft"] == [1e-3, 0.5]


def test_set_reaches_stages_by_name():
    recipe = read_recipe("nano", ["seed=7", "stages.sft.steps=11", "stages.sft.optimizer.lr=0.5"])
    sft = next(s for s in recipe.stages if s.name == "sft")
    assert (recipe.seed, sft.steps, sft.optimizer.lr) == (7, 11, 0.5)


@pytest.mark.parametrize(
    "override",
    [
        "seed",
        "=1",
        "stages.stf.steps=3",
        "seed.x=1",
        "seeed=1",
        "stages.sft.steps=lots",
        "seed=2024-13-45",
        "seed=0b_",
        "seed=" + "9" * 5000,
        "seed=0x" + "f" * 5000,
    ],
)
def test_a_wrong_set_is_explained(override):
    with pytest.raises(UserError):
        read_recipe("nano", [override])


@pytest.mark.parametrize("name", ["nanno", "/nowhere/r.yaml", "/tmp"])
def test_a_recipe_that_is_not_there_is_explained(name):
    with pytest.raises(UserError, match=r"nano|folder"):
        read_recipe(name)


def test_reading_a_recipe_needs_no_torch():
    code = "import sys; from telechat.core.recipe_file import read_recipe; read_recipe('nano'); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_yaml_of_the_recipe_is_plain_data():
    assert isinstance(yaml.safe_load(SMALL)["stages"], list)
