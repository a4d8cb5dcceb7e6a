"""What would stop a run on its way is said before it begins."""

from __future__ import annotations

import textwrap

import pytest
import yaml

from telechat.core.errors import UserError
from telechat.core.recipe import Recipe
from telechat.core.recipe_file import read_recipe
from telechat.preflight import own_code, own_names, refuse_what_cannot_run
from tests.tiny_recipe import TINY


def changed(**stages: dict | None) -> Recipe:
    """The tiny recipe with other values in some stages; None takes a stage out."""
    data = yaml.safe_load(TINY)
    data.pop("sizes", None)
    data["stages"] = [{**s, **(stages.get(key(s)) or {})} for s in data["stages"] if stages.get(key(s), {}) is not None]
    return Recipe.model_validate(data)


def key(stage: dict) -> str:
    return stage["name"].replace("-", "_")


def complaint(recipe: Recipe) -> str:
    with pytest.raises(UserError) as error:
        refuse_what_cannot_run(recipe)
    assert "\n" not in str(error.value)
    return str(error.value)


def names(kind: str) -> list[str]:
    return [key(s) for s in yaml.safe_load(TINY)["stages"] if s["kind"] == kind]


def test_what_can_run_is_not_refused():
    refuse_what_cannot_run(changed())
    refuse_what_cannot_run(read_recipe("nano"))


def test_unknown_names_are_refused_with_the_stage_that_has_them():
    (sft,), rl, pretrain = names("sft"), names("rl")[-1], names("pretrain")[0]
    assert "did you mean addition" in complaint(changed(**{sft: {"weights": {"additon": 2}}}))
    assert "did you mean code?" in complaint(changed(**{rl: {"kinds": ["coed"]}}))
    assert "replayy" in complaint(changed(**{rl: {"replay_shares": {"replayy": 2}}}))
    assert f"stage {rl.replace('_', '-')!r}" in complaint(changed(**{rl: {"reward": {"own": {"nowhere:reward": 1}}}}))
    assert "chat.maths" in complaint(changed(**{pretrain: {"mixture": {"chat.maths": 1}}}))
    assert "books" in complaint(changed(**{pretrain: {"mixture": {"books": 1}}}))
    assert "no sft stage before" in complaint(changed(**{sft: {"data_from": rl}}))


def test_stages_need_what_comes_before_them():
    whole = yaml.safe_load(TINY)["stages"]
    no_pretraining: dict = {key(s): None for s in whole if s["kind"] in ("pretrain", "merge")}
    assert "put a pretrain stage" in complaint(changed(**no_pretraining))
    assert "begins with its one tokenizer" in complaint(changed(**dict.fromkeys(names("tokenizer"))))
    assert "a tokenizer alone" in complaint(changed(**{key(s): None for s in whole if s["kind"] != "tokenizer"}))
    rewarded = {name: {"reward": {"model": 0.5}} for name in names("rl")}
    assert "needs a reward_model stage" in complaint(changed(**rewarded, **dict.fromkeys(names("reward_model"))))


@pytest.mark.parametrize(("kinds", "words"), [(["addition", "code"], "several turns"), (["tool_lookup"], "a single turn")])
def test_a_stage_without_any_of_its_kinds_is_refused(kinds, words):
    rows = {key(s): {"kinds": [], "mixture": {"stdlib.code": 1.0}} for s in yaml.safe_load(TINY)["stages"]}
    allowed = {"rl": "kinds", "agent_sft": "kinds", "agentic_rl": "kinds", "merge": "kinds", "pretrain": "mixture"}
    stages = {key(s): s["kind"] for s in yaml.safe_load(TINY)["stages"]}
    given = {n: {allowed[k]: rows[n][allowed[k]]} for n, k in stages.items() if k in allowed}
    assert words in complaint(changed(**given).model_copy(update={"kinds": kinds}))


def test_code_of_ones_own_is_known_by_its_content(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "mine_reward.py"
    file.write_text("def short(task, trajectory):\n    return 1.0\n")
    rl = names("rl")[-1]
    recipe = changed(**{rl: {"reward": {"own": {"mine_reward:short": 1.0}}}})
    refuse_what_cannot_run(recipe)
    stage = next(s for s in recipe.stages if key({"name": s.name}) == rl)
    assert "mine_reward:short" in own_names(recipe, stage)
    first = own_code(recipe)
    file.write_text("def short(task, trajectory):\n    return 2.0\n")
    assert list(first) == ["mine_reward:short"]
    assert own_code(recipe) != first
    assert list(own_names(recipe, recipe.stages[0])) == []


def test_a_kind_of_ones_own_must_tell_right_from_nothing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    text = """
        from telechat.tasks.kinds.addition import Addition
        from telechat.tasks.answers import judged
        from telechat.core.types import Verdict

        class Never(Addition):
            def verify(self, task, message):
                return Verdict(0.0, False)

        class Always(Addition):
            def verify(self, task, message):
                return Verdict(1.0, True)
    """
    (tmp_path / "mine_kinds.py").write_text(textwrap.dedent(text))
    for name, words in (("Never", "refuses the first path"), ("Always", "accepts an empty answer")):
        recipe = changed()
        assert words in complaint(recipe.model_copy(update={"kinds": [*recipe.kinds, f"mine_kinds:{name}"]}))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import nowhere_at_all", "cannot import"),
        ("def f(:\n", "SyntaxError"),
        ("f = 3", "not a function"),
        ("exit(3)", "SystemExit"),
    ],
)
def test_a_reward_that_cannot_be_used_is_one_line(tmp_path, monkeypatch, code, words):
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"reward_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
    assert words in complaint(changed(**{names("rl")[-1]: {"reward": {"own": {f"{name}:f": 1.0}}}}))
