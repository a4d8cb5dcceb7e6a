"""The models of the benches: TeleChat3 of any size with random weights."""

from __future__ import annotations

import itertools

import torch

from telechat.chat.formats import get_format
from telechat.data.corpora import documents
from telechat.models.configuration import Telechat3Config
from telechat.models.telechat3 import Telechat3ForCausalLM
from telechat.serve.session import ChatModel
from telechat.train.tokenizer import train_tokenizer

PIECES, DOCUMENTS = 2048, 300


def random_model(
    hidden: int,
    intermediate: int,
    layers: int,
    heads: int,
    kv_heads: int,
    vocabulary: int,
    context: int,
    tied: bool = True,
) -> Telechat3ForCausalLM:
    """A model of these sizes; `tied`: its input and output embeddings are one matrix. Equal sizes give equal weights."""
    torch.manual_seed(0)
    config = Telechat3Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
    )
    return Telechat3ForCausalLM(config)


def chat_model(
    hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, vocabulary: int, context: int
) -> ChatModel:
    """The same with a tokenizer learned from the standard library's docstrings, ready to be served; its vocabulary is
    the tokenizer's, of at most `vocabulary` pieces."""
    texts = [document.text for document in itertools.islice(documents("stdlib.docs", "train", 0, ()), DOCUMENTS)]
    tokenizer = train_tokenizer(texts, min(vocabulary, PIECES), context)
    model = random_model(hidden, intermediate, layers, heads, kv_heads, len(tokenizer), context).eval()
    return ChatModel(model, tokenizer, get_format("telechat3-coder"))
