"""A recipe with every stage that runs in seconds."""

TINY = """\
name: tiny
seed: 3
model: {hidden_size: 32, layers: 2, heads: 4, kv_heads: 2, intermediate_size: 64, context: 512}
kinds: [addition, code, call_single, tool_lookup]
evaluation: {heldout: 3, between: 2, transfer: 2, sampled: 2, max_tokens: 24, base_max_tokens: 16, turns: 3, slots: 64}
stages:
  - {name: tokenizer, kind: tokenizer, vocab_size: 512, documents: 20, corpus_bytes: 20000}
  - {name: general, kind: pretrain, steps: 12, context: 64, batch: 4, save_every: 3, mixture: {stdlib.code: 0.8, stdlib.docs: 0.2}}
  - {name: dense, kind: pretrain, steps: 12, context: 96, batch: 4, save_every: 3, mixture: {text.math: 0.8, knowledge: 0.2}}
  - {name: hard, kind: pretrain, steps: 20, context: 128, batch: 4, save_every: 3, mixture: {chat.math: 0.5, chat.tools: 0.5}, candidates: 3,
     optimizer: {name: muon, lr: 2.0e-3}}
  - {name: merge, kind: merge, dev: 2, heldout: 2}
  - {name: sft, kind: sft, steps: 30, batch: 8, pool: 40, probes: 2, save_every: 4, optimizer: {name: muon, lr: 3.0e-3}}
  - {name: rm, kind: reward_model, steps: 5, batch: 4, prompts: 6, samples: 4, heldout_prompts: 4}
  - {name: rl, kind: rl, steps: 6, prompts: 6, group: 4, max_tokens: 24, hint_share: 0.5, replay: 2, reward: {model: 0.1},
     optimizer: {lr: 3.0e-4}}
  - {name: agent-sft, kind: agent_sft, steps: 8, batch: 4, problems: 6, samples: 2, max_tokens: 24, save_every: 3}
  - {name: agentic-rl, kind: agentic_rl, steps: 4, prompts: 3, group: 3, max_tokens: 24}
"""
