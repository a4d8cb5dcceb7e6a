"""Rollouts: the model acts on tasks until it has answered. One loop for single-turn and multi-turn tasks.

Token in, token out: a turn that was generated is kept as it was generated; tool results and the next generation
prompt are appended (`Renderer.extend`), and the mask says which tokens are the model's own.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from telechat.chat.parser import parse
from telechat.chat.render import Renderer
from telechat.core.seeds import seed_of
from telechat.core.types import Message, RolloutParams, Task, Trajectory, Verdict
from telechat.engine import Completion, Engine, SamplingParams
from telechat.tasks.base import MultiTurnKind, World
from telechat.tasks.registry import get_kind, verify


@dataclass
class Attempt:
    """One attempt at a task while it is being made."""

    task: Task
    number: int
    ids: list[int]
    mask: list[int]
    logprobs: list[float]
    prompt_length: int
    messages: list[Message] = field(default_factory=list)
    world: World | None = None
    finish: str = "stop"
    turns: int = 0
    truncated: bool = False  # the last turn ends inside its thinking or inside a call
    open: bool = True


def roll_out(
    engine: Engine,
    renderer: Renderer,
    tasks: Sequence[Task],
    samples: int | Sequence[int],
    params: RolloutParams,
    hints: Sequence[Sequence[int]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[Trajectory]]:
    """`samples` attempts at every task (or `samples[i]` at task i), judged by its verifier.

    `hints[i]` are token ids that the attempts at task i start from, as if the model had thought them; they count as
    prompt, not as the model's own. `progress` is told how many of a turn's prompts are answered. Returns
    trajectories[task][sample].
    """
    begun = time.perf_counter()
    counts = [samples] * len(tasks) if isinstance(samples, int) else samples
    attempts = [
        _begin(renderer, task, j, () if hints is None else hints[i]) for i, task in enumerate(tasks) for j in range(counts[i])
    ]
    turn = 0
    while live := [a for a in attempts if a.open]:
        completions = _generate(engine, renderer, live, params, turn, progress)
        for attempt, completion in zip(live, completions, strict=True):
            _take_turn(renderer, attempt, completion, params, engine.max_len)
        turn += 1
    seconds = (time.perf_counter() - begun) / max(1, len(attempts))
    judged = iter([_judge(attempt, seconds) for attempt in attempts])
    return [list(itertools.islice(judged, count)) for count in counts]


def _begin(renderer: Renderer, task: Task, number: int, hint: Sequence[int]) -> Attempt:
    ids = [*renderer.render(task.messages, task.tools).ids, *hint]
    kind = get_kind(task.kind)
    attempt = Attempt(task, number, ids, [0] * len(ids), [0.0] * len(ids), len(ids))
    attempt.world = kind.world(task) if isinstance(kind, MultiTurnKind) else None
    return attempt


def _generate(
    engine: Engine,
    renderer: Renderer,
    live: list[Attempt],
    params: RolloutParams,
    turn: int,
    progress: Callable[[int, int], None] | None,
) -> list[Completion]:
    """One turn of every live attempt; equal prompts (a group's first turn) are computed once."""
    stop = (renderer.end_id,)
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, attempt in enumerate(live):
        groups.setdefault(tuple(attempt.ids), []).append(i)
    prompts = list(groups)
    wanted = [
        [
            SamplingParams(
                params.max_tokens,
                params.temperature,
                params.top_p,
                seed=_row_seed(params.seed, live[i], turn),
                stop_ids=stop,
            )
            for i in groups[prompt]
        ]
        for prompt in prompts
    ]
    split = [(p, w[k : k + engine.slots]) for p, w in zip(prompts, wanted, strict=True) for k in range(0, len(w), engine.slots)]
    told = None if progress is None else (lambda done: progress(done, len(split)))
    produced = engine.generate([p for p, _ in split], [w for _, w in split], told)
    flat = iter([completion for completions in produced for completion in completions])
    out: dict[int, Completion] = {}
    for prompt in prompts:
        for i in groups[prompt]:
            out[i] = next(flat)
    return [out[i] for i in range(len(live))]


def _row_seed(seed: int, attempt: Attempt, turn: int) -> int:
    """A 62-bit seed from the rollout's seed, the task and the attempt: independent of who else is in the batch."""
    return seed_of(seed, attempt.task.id, attempt.number, turn) >> 2


def _take_turn(renderer: Renderer, attempt: Attempt, completion: Completion, params: RolloutParams, room: int) -> None:
    """Append a generated turn; run its tool calls and open the next turn, or close the attempt."""
    start = attempt.prompt_length if attempt.turns == 0 else len(attempt.ids)
    hint = attempt.ids[_generation_start(renderer, attempt) : start] if attempt.turns == 0 else []
    attempt.ids += completion.ids
    attempt.mask += [1] * len(completion.ids)
    attempt.logprobs += completion.logprobs
    attempt.turns += 1
    attempt.finish = completion.finish
    parsed = parse(renderer.format, renderer.decode([*hint, *completion.ids]), attempt.task.tools)
    attempt.messages.append(parsed.message)
    calls = parsed.message.tool_calls
    attempt.truncated = parsed.truncated
    if attempt.world is None or not calls or attempt.truncated or completion.finish != "stop" or attempt.turns >= params.turns:
        attempt.open = False
        return
    results = [Message("tool", attempt.world.call(call.name, call.arguments)) for call in calls]
    attempt.messages += results
    extended = renderer.extend(attempt.ids, results, attempt.task.tools).ids
    if len(extended) + params.max_tokens > room:
        attempt.open = False
        return
    added = len(extended) - len(attempt.ids)
    attempt.ids = extended
    attempt.mask += [0] * added
    attempt.logprobs += [0.0] * added


def _generation_start(renderer: Renderer, attempt: Attempt) -> int:
    """Where the model's own turn begins in the first prompt: after the generation prompt, before a hint."""
    return len(renderer.render(attempt.task.messages, attempt.task.tools).ids)


def _judge(attempt: Attempt, seconds: float) -> Trajectory:
    verdict: Verdict
    if attempt.finish != "stop" or attempt.truncated:
        verdict = Verdict(0.0, False)
    elif attempt.world is not None:
        verdict = verify(attempt.task, attempt.messages)
    else:
        verdict = verify(attempt.task, attempt.messages[-1])
    return Trajectory(
        attempt.task.id, attempt.messages, attempt.ids, attempt.mask, attempt.logprobs, verdict, seconds, attempt.finish
    )


class LocalRollouts:
    """Rollouts on the embedded engine in this process; the trainer's model and the engine share one machine."""

    def __init__(self, engine: Engine, renderer: Renderer) -> None:
        self.engine = engine
        self.renderer = renderer

    def refresh(self) -> None:
        """Take the model's present weights."""
        self.engine.refresh()

    def __call__(
        self,
        tasks: Sequence[Task],
        samples: int | Sequence[int],
        params: RolloutParams,
        hints: Sequence[Sequence[int]] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Trajectory]]:
        """`samples` judged attempts at each task, or `samples[i]` at task i."""
        return roll_out(self.engine, self.renderer, tasks, samples, params, hints, progress)
