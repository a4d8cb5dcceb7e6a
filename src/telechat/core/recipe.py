"""The recipe: one file that says what a run does. Reading one needs no torch.

An unknown key, a wrong type or an impossible value is an error that names the file, the line and, for keys, the
nearest valid one (`telechat.core.recipe_file` reads YAML and reports).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator


def _no_truth(value: Any) -> Any:
    """YAML's yes, on and true would be read as 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


Int = Annotated[int, BeforeValidator(_no_truth)]
Float = Annotated[float, BeforeValidator(_no_truth)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


Share = Annotated[Float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class ModelConfig(_Strict):
    """The architecture of a model trained from nothing: a TeleChat3 of any size."""

    hidden_size: Int = Field(160, ge=16, le=65536)
    layers: Int = Field(4, ge=1, le=512)
    heads: Int = Field(4, ge=1, le=1024)
    kv_heads: Int = Field(2, ge=1, le=1024)
    intermediate_size: Int = Field(448, ge=16, le=1 << 20)
    context: Int = Field(640, ge=64, le=1 << 21)
    rope_theta: Float = Field(10000.0, gt=0, le=1e12)
    rope_factor: Float = Field(
        1.0, ge=1.0, description="telechat3-yarn factor; above 1 the original context is context / factor"
    )
    tie_embeddings: bool = True
    initializer_range: Float = Field(0.02, gt=0, le=10)

    @model_validator(mode="after")
    def _shapes(self) -> ModelConfig:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of 2 × heads ({2 * self.heads})")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} must be a multiple of kv_heads {self.kv_heads}")
        return self


class EvaluationConfig(_Strict):
    """How many tasks of each kind judge a stage, and how long an answer may be."""

    heldout: Int = Field(200, ge=1, description="tasks of each kind at sft, after the rl stages and at the end")
    between: Int = Field(40, ge=0, description="tasks of each kind after the other stages; 0 skips them")
    transfer: Int = Field(40, ge=0, description="tasks of each kind with unseen wordings and ranges, at the end")
    sampled: Int = Field(40, ge=0, description="tasks of each kind at the card's sampling, at the end")
    max_tokens: Int = Field(112, ge=8)
    base_max_tokens: Int = Field(64, ge=8, description="for models before sft, which may never end their turn")
    turns: Int = Field(6, ge=2, description="assistant turns in a multi-turn task at most")
    slots: Int = Field(544, ge=1, le=1 << 16, description="sequences that are decoded together")


class OptimizerConfig(_Strict):
    """The optimiser and its learning rate: warm-up, constant, linear decay to `final` × lr over the last `decay` share."""

    name: Literal["adamw", "muon"] = "adamw"
    lr: Float = Field(1e-3, gt=0, le=1)
    warmup: Int = Field(20, ge=0)
    decay: Float = Field(0.0, ge=0, le=1)
    final: Float = Field(0.0, ge=0, le=1)
    weight_decay: Float = Field(0.0, ge=0)
    beta1: Float = Field(0.9, ge=0, lt=1)
    beta2: Float = Field(0.95, ge=0, lt=1)
    clip: Float = Field(1.0, gt=0)


class _Stage(_Strict):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)


class Learning(_Stage):
    """What every stage that trains has."""

    steps: Int = Field(ge=1)
    optimizer: OptimizerConfig = OptimizerConfig()
    microbatch_tokens: Int = Field(8192, ge=64, description="padded tokens in one forward pass")
    save_every: Int = Field(50, ge=1, description="steps between two checkpoints of the training state")


class TokenizerStage(_Stage):
    """Byte-fallback BPE with the family's special tokens, trained on the corpora as rendered."""

    kind: Literal["tokenizer"] = "tokenizer"
    vocab_size: Int = Field(1024, ge=320, le=1 << 20)
    documents: Int = Field(200, ge=1, description="rendered conversations of each task kind to learn from")
    corpus_bytes: Int = Field(400_000, ge=1000, description="bytes of each text source to learn from")


class PretrainStage(Learning):
    """Next-token prediction on a mixture of sources."""

    kind: Literal["pretrain"] = "pretrain"
    context: Int = Field(256, ge=16)
    batch: Int = Field(16, ge=1, description="sequences of `context` tokens in a step")
    mixture: dict[str, Share] = Field(min_length=1, description="source name: share of the tokens")
    across_documents: bool = Field(True, description="tokens attend to the documents before theirs in the same row")
    prompt_weight: Float = Field(1.0, ge=0, le=1, description="weight of what the model only reads in conversations")
    candidates: Int = Field(0, ge=0, description="checkpoints kept from the late part, at constant rate, for a merge stage")
    candidate_gap: Float = Field(0.1, ge=0.1, le=0.5, description="distance between candidates as a share of the steps")
    allow_easier: bool = Field(False, description="accept data that is not harder and denser than the previous stage's")

    @model_validator(mode="after")
    def _constant(self) -> PretrainStage:
        if self.candidates and self.optimizer.decay:
            raise ValueError("candidates are taken at a constant rate: set optimizer.decay to 0, and anneal after the merge")
        return self

    @field_validator("mixture")
    @classmethod
    def _something(cls, mixture: dict[str, float]) -> dict[str, float]:
        if not any(mixture.values()):
            raise ValueError("every share is 0; at least one must be more")
        return mixture


class MergeStage(_Stage):
    """Performance-weighted fusion of the previous stage's candidates."""

    kind: Literal["merge"] = "merge"
    dev: Int = Field(24, ge=1, description="dev tasks of each kind that give the weights")
    heldout: Int = Field(48, ge=1, description="held-out tasks of each kind that judge the fusion")
    temperature: Float = Field(0.1, gt=0, description="weights are softmax(score / temperature)")
    kinds: list[str] = Field(default_factory=list, description="kinds to score on; empty: all of the recipe's")


class SftStage(Learning):
    """Fine-tuning on task conversations with several solution paths, chosen by difficulty and diversity."""

    kind: Literal["sft"] = "sft"
    batch: Int = Field(32, ge=1, description="problems in a step; each carries its paths")
    pool: Int = Field(600, ge=1, description="problems of each kind to choose from")
    keep: Float = Field(0.8, gt=0, le=1, description="share of the pool that is kept")
    probes: Int = Field(2, ge=0, description="samples of the present model that estimate a problem's pass rate")
    paths: Int = Field(2, ge=1, description="solution paths of a problem at most")
    several: Float = Field(1.0, ge=0, le=1, description="share of the problems that show more than their first path")
    data_from: str | None = Field(None, description="an earlier sft stage whose problems are used again")
    weights: dict[str, Share] = Field(default_factory=dict, description="share of a kind relative to the others (default 1)")


class RewardModelStage(Learning):
    """Bradley–Terry on pairs of sampled answers, one verified right and one wrong."""

    kind: Literal["reward_model"] = "reward_model"
    batch: Int = Field(32, ge=1, description="pairs in a step")
    prompts: Int = Field(400, ge=1, description="training prompts of each kind to sample from at most")
    pairs: Int = Field(200, ge=1, description="training pairs of a kind after which no more of its prompts are asked")
    samples: Int = Field(8, ge=2, description="answers sampled to each prompt")
    temperature: Float = Field(1.0, gt=0, le=2)
    heldout_prompts: Int = Field(40, ge=1, description="held-out prompts of each kind for the pair accuracy")
    likelihood: Float = Field(0.5, ge=0, description="share of an answer's own log-likelihood in its score (tied embeddings)")


class RewardConfig(_Strict):
    """The fused reward: `rule` × verdict + `model` × normalised reward-model score, plus rewards of one's own."""

    rule: Float = Field(1.0, ge=0)
    model: Float = Field(0.0, ge=0)
    own: dict[str, Annotated[Float, Field(allow_inf_nan=False)]] = Field(
        default_factory=dict, description="module:function → weight"
    )


Shares = dict[str, Annotated[Int, Field(ge=0, le=1000)]]
"""Task kind → how often it stands in a turn of all kinds (default 1)."""


class RlStage(Learning):
    """GRPO on verified rewards; kinds are drawn in proportion to p(1 − p)."""

    kind: Literal["rl"] = "rl"
    kinds: list[str] = Field(default_factory=list, description="task kinds; empty: all single-turn kinds of the recipe")
    prompts: Int = Field(32, ge=1)
    group: Int = Field(16, ge=2)
    updates: Int = Field(1, ge=1, description="updates of the weights from the rollouts of one step, each from its own part")
    max_tokens: Int = Field(96, ge=8)
    temperature: Float = Field(1.0, gt=0, le=2)
    std_floor: Float = Field(0.1, gt=0, description="advantages are divided by (standard deviation + this)")
    hint_share: Float = Field(0.0, ge=0, le=1, description="share of prompts that get a structured hint at the first step")
    hint_until: Float = Field(0.5, gt=0, le=1, description="share of the steps over which hints are annealed to none")
    replay: Int = Field(0, ge=0, description="verified supervised samples added to a step, to keep what sampling seldom finds")
    replay_weight: Float = Field(0.1, ge=0)
    replay_shares: Shares = Field(default_factory=dict, description="how often a kind is replayed in a turn of all kinds")
    min_share: Float = Field(0.02, ge=0, le=1, description="floor of a kind's share of the prompts, as a share of uniform")
    multi_turn_share: Float = Field(1.0, ge=0, le=1, description="of the prompts, at most, for kinds of several turns together")
    reward: RewardConfig = RewardConfig()
    save_every: Int = Field(1, ge=1)


class AgentSftStage(Learning):
    """Fine-tuning on the model's own verified multi-turn trajectories, thinking kept between tool calls."""

    kind: Literal["agent_sft"] = "agent_sft"
    kinds: list[str] = Field(default_factory=list)
    batch: Int = Field(24, ge=1)
    problems: Int = Field(160, ge=1, description="problems of each kind to roll out")
    samples: Int = Field(4, ge=1, description="trajectories sampled for each problem")
    agree: Float = Field(0, ge=0, le=1, description="share of a problem's samples that must be right for one to be learned")
    gold_share: Float = Field(
        0.5, ge=0, le=1, description="share of the other problems that are shown a verified generated path"
    )
    hard: Float = Field(
        0, ge=0, le=1000, description="further problems with a generated path, for each of those other problems"
    )
    replay: Float = Field(0.5, ge=0, le=1000, description="single-turn problems for each multi-turn one, against forgetting")
    temperature: Float = Field(1.0, gt=0, le=2)
    max_tokens: Int = Field(64, ge=8)


class AgenticRlStage(Learning):
    """GRPO over multi-turn tool use; tokens of the environment are read and never learned."""

    kind: Literal["agentic_rl"] = "agentic_rl"
    kinds: list[str] = Field(default_factory=list)
    prompts: Int = Field(16, ge=1)
    group: Int = Field(8, ge=2)
    updates: Int = Field(1, ge=1, description="updates of the weights from the rollouts of one step, each from its own part")
    max_tokens: Int = Field(64, ge=8)
    temperature: Float = Field(1.0, gt=0, le=2)
    std_floor: Float = Field(0.1, gt=0)
    replay: Int = Field(0, ge=0)
    replay_weight: Float = Field(0.1, ge=0)
    replay_shares: Shares = Field(default_factory=dict)
    reward: RewardConfig = RewardConfig()
    save_every: Int = Field(1, ge=1)


Stage = Annotated[
    TokenizerStage | PretrainStage | MergeStage | SftStage | RewardModelStage | RlStage | AgentSftStage | AgenticRlStage,
    Field(discriminator="kind"),
]
STAGE_KINDS = ("tokenizer", "pretrain", "merge", "sft", "reward_model", "rl", "agent_sft", "agentic_rl")


class Recipe(_Strict):
    """A whole run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    seed: Int = Field(0, ge=0, le=2**32 - 1)
    threads: Int | None = Field(None, ge=1, le=1024, description="CPU threads; part of what makes a run repeatable. Default: 2")
    chat_format: Literal["telechat3-coder"] = "telechat3-coder"
    model: ModelConfig = ModelConfig()
    kinds: list[str] = Field(min_length=1)
    evaluation: EvaluationConfig = EvaluationConfig()
    stages: list[Stage] = Field(min_length=1)

    @model_validator(mode="after")
    def _order(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two stages are called {name!r}")
        previous: Stage | None = None
        for stage in self.stages:
            if isinstance(stage, MergeStage) and not (isinstance(previous, PretrainStage) and previous.candidates >= 2):
                raise ValueError(f"stage {stage.name!r} needs a pretrain stage with candidates ≥ 2 right before it")
            if isinstance(stage, PretrainStage):
                if stage.context > self.model.context:
                    raise ValueError(f"stage {stage.name!r}: context {stage.context} exceeds the model's {self.model.context}")
                if stage.candidates > 1 and (stage.candidates - 1) * stage.candidate_gap > 0.9:
                    raise ValueError(f"stage {stage.name!r}: {stage.candidates} candidates do not fit at that gap")
            previous = stage
        return self
