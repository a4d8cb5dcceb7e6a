"""The tokenizer stage: byte-fallback BPE with the family's special tokens.

As in the family's own tokenizer, every digit is a token, newlines and tabs stand alone, and no rule stops a merge at
a space, so that a phrase which returns again and again becomes one token. Merges are learned in two passes, words
first and then phrases of whole words (SuperBPE, arXiv 2503.13423): a word then has the same tokens wherever it
stands, behind a space or behind a tag, which is what a small model needs to copy it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from telechat.chat.formats import get_format
from telechat.chat.segments import segments
from telechat.chat.template import attach
from telechat.core.recipe import PretrainStage, Recipe, TokenizerStage
from telechat.data.corpora import documents, stdlib_digest
from telechat.tasks.registry import generate
from telechat.train.stage import StageContext, StageResult

# Ids 0–23 of the family's tokenizer (TeleChat3's `tokenizer.model`).
SPECIAL_TOKENS = (
    *("<_unk>", "<_start>", "<_end>", "<_pad>", "<_user>", "<_bot>", "<_system>", "<_observation>", "<_sep>"),
    *("</think>", "<think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    *(f"<_control{i}>" for i in range(1, 10)),
)
WORDS = Regex(r"[A-Za-z]+|[0-9]|\n|\t| |[\u4e00-\u9fff]")  # the first pass merges inside of these and between them
SPLIT = Regex(r"[0-9]|\n|\t")  # what no merge ever crosses
PHRASES = 0.2  # share of the learned pieces that the second pass may add
MAX_WORD, MAX_PHRASE = 24, 24  # characters of a piece of the first pass, pieces of the first in one of the second
PLANE = 0xF0000  # private code points that stand for pieces in the second pass
MIN_COUNT = 4  # a rarer character is spelled in bytes


def _empty(model: models.BPE, split: Regex) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(split, behavior="isolated")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _learn(learner: Tokenizer, texts: Iterable[str], size: int, alphabet: Sequence[str], longest: int) -> Tokenizer:
    """Learn merges from `texts` until there are `size` pieces."""
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=list(alphabet), min_frequency=8, max_token_length=longest, show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    return learner


def _phrases(words: Tokenizer, texts: Sequence[str], count: int) -> list[tuple[str, str]]:
    """The second pass: `count` merges of pieces of the first, learned with one private character for each of them."""
    pieces = {number: piece for piece, number in words.get_vocab().items()}
    parts = [part for text in texts for part in re.split(r"[0-9\n\t]", text) if part]
    spelled = ["".join(chr(PLANE + number) for number in encoding.ids) for encoding in words.encode_batch(parts)]
    learner = Tokenizer(models.BPE())
    learned = json_model(_learn(learner, spelled, len(pieces) + count, [chr(PLANE + n) for n in pieces], MAX_PHRASE))

    def text(piece: str) -> str:
        return "".join(pieces[ord(character) - PLANE] for character in piece)

    return [(text(left), text(right)) for left, right in learned["merges"]]


def train_tokenizer(texts: Iterable[str], vocab_size: int, context: int) -> PreTrainedTokenizerFast:
    """Learn merges from `texts` and return a tokenizer of at most `vocab_size` pieces that can encode any text.

    Characters that are too rare for a piece of their own are spelled in bytes (`<0xNN>`).
    """
    pieces = vocab_size - len(SPECIAL_TOKENS) - 256
    # A control word is never spelled in pieces, so no piece may be learned from one.
    control = re.compile("|".join(re.escape(name) for name in SPECIAL_TOKENS))
    texts = [part for text in texts for part in control.split(text) if part]
    # The trainer's own limit on the alphabet breaks ties by a random hash; ours does not.
    counts = Counter(chain.from_iterable(texts))
    ranked = sorted(counts, key=lambda c: (-counts[c], c))
    alphabet = [c for c in ranked[: max(64, pieces * 2 // 3)] if counts[c] >= MIN_COUNT]
    common = re.compile(f"[{re.escape(''.join(alphabet))}]+")
    parts = [part for text in texts for part in common.findall(text)]
    phrases = int(PHRASES * pieces)
    words = _learn(_empty(models.BPE(), WORDS), parts, pieces - phrases, sorted(alphabet), MAX_WORD)
    learned = json_model(words)
    merges = [tuple(pair) for pair in learned["merges"]]
    merges += _phrases(words, parts, phrases)
    names = [*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256))]
    names += [piece for piece, _ in sorted(learned["vocab"].items(), key=lambda item: item[1])]
    names = list(dict.fromkeys([*names, *(left + right for left, right in merges)]))
    vocabulary = {name: i for i, name in enumerate(names)}
    model = models.BPE(vocab=vocabulary, merges=merges, unk_token="<_unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = _empty(model, SPLIT)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<_unk>",
        bos_token="<_start>",
        eos_token="<_end>",
        pad_token="<_pad>",
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def json_model(tokenizer: Tokenizer) -> dict[str, Any]:
    """The BPE model of `tokenizer` as JSON: its vocabulary and merges."""
    return json.loads(tokenizer.to_str())["model"]


def run(context: StageContext, config: TokenizerStage) -> StageResult:
    """Learn the tokenizer from every text source of the recipe and from rendered conversations of every kind."""
    texts = list(_texts(context, config))
    tokenizer = train_tokenizer(texts, config.vocab_size, context.recipe.model.context)
    attach(tokenizer, get_format(context.recipe.chat_format))
    folder = context.folder / "model"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    sample = "\n".join(texts[:: max(1, len(texts) // 500)])
    ids = tokenizer.backend_tokenizer.encode(sample, add_special_tokens=False).ids
    fallback = sum(len(SPECIAL_TOKENS) <= i < len(SPECIAL_TOKENS) + 256 for i in ids)
    metrics = {
        "pieces": len(tokenizer),
        "bytes_per_token": round(len(sample.encode()) / len(ids), 3),
        "byte_fallback_share": round(fallback / len(ids), 5),
        "stdlib": stdlib_digest(),
    }
    return StageResult(metrics)


def plain_sources(recipe: Recipe) -> list[str]:
    """The sources of all pretrain stages that are read as they are, in the order of their names."""
    sources = {s for stage in recipe.stages if isinstance(stage, PretrainStage) for s in stage.mixture}
    return sorted(s for s in sources if not s.startswith("chat."))


def _texts(context: StageContext, config: TokenizerStage) -> Iterator[str]:
    """Text as the model will read it: documents of the plain sources, text segments of rendered conversations."""
    for source in plain_sources(context.recipe):
        size = 0
        for document in documents(source, "train", context.seed, context.kinds):
            yield document.text
            size += len(document.text.encode())
            if size >= config.corpus_bytes:
                break
    chat = get_format(context.recipe.chat_format)
    for kind in context.kinds:
        for index in range(config.documents):
            task = generate(kind, "train", context.seed, index)
            for path in task.paths:
                conversation = [*task.messages, *path]
                for segment in segments(chat, conversation, task.tools, add_generation_prompt=False):
                    if not segment.control:
                        yield segment.text
