"""Grammars say what the formats say: what a renderer writes is accepted, what no parser could read is not."""

from __future__ import annotations

import json

import pytest

from telechat.chat.formats import FORMATS, get_format
from telechat.chat.grammar import answer_grammar, plain_schema
from telechat.chat.render import Renderer
from telechat.core.types import Message, ToolCall
from telechat.engine.grammar import Grammars, Guided

pytest.importorskip("llguidance")

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"type": "integer"},
                "note": {"type": "string"},
                "unit": {"enum": ["km", "m", 5]},
                "maybe": {"type": ["number", "null"]},
                "where": {"$ref": "#/$defs/place"},
            },
            "required": ["a", "note"],
            "$defs": {"place": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
        },
    },
}
NOW = {"type": "function", "function": {"name": "now"}}
POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}


@pytest.fixture(scope="module", params=FORMATS)
def setting(request, tokenizer):
    renderer = Renderer(tokenizer, get_format(request.param))
    return renderer, Grammars(tokenizer, len(tokenizer), [renderer.end_id])


def answer_ids(renderer: Renderer, message: Message) -> list[int]:
    """What stands behind the thinking, `<_end>` excluded."""
    ids = list(renderer.completion_ids(message))
    end = renderer.control_ids["</think>"]
    return [i for i in ids[ids.index(end) + 1 if end in ids else 0 :] if i != renderer.end_id]


def verdict(grammars: Grammars, grammar: str, ids: list[int]) -> str:
    matcher = grammars.matcher(grammar)
    for number in ids:
        if not matcher.consume_token(number):
            return "refused"
    return "whole" if matcher.is_accepting() else "open"


GOOD = {"a": -3, "note": "a <b>\n你好 </param_key> x", "unit": "km", "maybe": None, "where": {"x": 1.5}}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (GOOD, "whole"),
        ({"a": 1, "note": ""}, "whole"),
        ({"a": 1, "note": "n", "unit": 5}, "whole"),
        ({"a": "one", "note": "n"}, "refused"),
        ({"note": "n", "a": 1}, "refused"),
        ({"a": 1}, "refused"),
        ({"a": 1, "note": "n", "unit": "mile"}, "refused"),
        ({"a": 1, "note": "n", "where": {"x": "far"}}, "refused"),
    ],
)
def test_calls_as_they_are_rendered(setting, arguments, expected):
    renderer, grammars = setting
    grammar = answer_grammar(renderer.format, renderer.control_ids, tools=[ADD, NOW])
    call = Message("assistant", None, "hm", (ToolCall("add", arguments),))
    assert verdict(grammars, grammar, answer_ids(renderer, call)) == expected


def test_several_calls_one_call_and_the_named_call(setting):
    renderer, grammars = setting
    two = Message("assistant", None, "hm", (ToolCall("now", {}), ToolCall("add", {"a": 1, "note": "n"})))
    one = Message("assistant", None, "hm", (ToolCall("now", {}),))

    def judged(message: Message, **limits: object) -> str:
        grammar = answer_grammar(renderer.format, renderer.control_ids, tools=[ADD, NOW], **limits)
        return verdict(grammars, grammar, answer_ids(renderer, message))

    assert (judged(two), judged(two, several=False), judged(two, only="now")) == ("whole", "refused", "refused")
    assert (judged(one), judged(one, several=False), judged(one, only="now")) == ("whole", "whole", "whole")
    assert judged(one, only="add") == "refused"
    assert judged(Message("assistant", "No call.", "hm")) == "refused"


def test_json_that_fits_a_schema_or_a_call(setting):
    renderer, grammars = setting
    grammar = answer_grammar(renderer.format, renderer.control_ids, schema=POINT)
    either = answer_grammar(renderer.format, renderer.control_ids, schema=POINT, tools=[NOW])
    for text, expected in (('{"x": 5}', "whole"), ('{"x": "5"}', "refused"), ('{"x": 5', "open"), ("five", "refused")):
        ids = answer_ids(renderer, Message("assistant", text, "hm"))
        assert verdict(grammars, grammar, ids) == verdict(grammars, either, ids) == expected
    call = answer_ids(renderer, Message("assistant", None, "hm", (ToolCall("now", {}),)))
    assert (verdict(grammars, grammar, call), verdict(grammars, either, call)) == ("refused", "whole")


@pytest.mark.parametrize("fmt", FORMATS)
def test_free_answers_whose_calls_of_strict_tools_fit_their_schemas(tokenizer, fmt):
    renderer = Renderer(tokenizer, get_format(fmt))
    grammars = Grammars(tokenizer, len(tokenizer), [renderer.end_id])
    loose = {"type": "function", "function": {**ADD["function"], "name": "loose"}}
    tools = [ADD, NOW, loose]
    grammar = answer_grammar(renderer.format, renderer.control_ids, tools=tools, strict={"add"})
    single = answer_grammar(renderer.format, renderer.control_ids, tools=tools, strict={"add"}, several=False)

    def judged(content: str | None, *calls: ToolCall, grammar: str = grammar) -> str:
        return verdict(grammars, grammar, answer_ids(renderer, Message("assistant", content, "hm", calls)))

    fits, wrong = ToolCall("add", {"a": 1, "note": "n"}), ToolCall("add", {"a": "one", "note": "n"})
    assert judged("No call <b>\n{}.") == "whole"
    assert judged("Let me see.", fits) == "whole"
    assert judged(None, fits, ToolCall("now", {}), fits) == "whole"
    assert judged(None, fits, fits, grammar=single) == "refused"
    assert judged("Let me see.", wrong) == "refused"
    assert judged(None, ToolCall("loose", {"a": "one"})) == "whole"
    assert judged(None, ToolCall("unknown", {})) == "refused"
    assert verdict(grammars, grammar, renderer.encode("see <tool_call>add")) == "refused"
    assert judged(None, ToolCall("nowhere", {})) == "refused"


def test_clients_give_no_orders_to_the_grammar_engine():
    schema = {"x-guidance": {"lenient": True}, "items": [{"%llguidance": {}, "type": "string"}], "type": "array"}
    assert plain_schema(schema) == {"items": [{"type": "string"}], "type": "array"}
    assert "lenient" not in answer_grammar(get_format("telechat3"), {}, schema=schema)


def test_odd_names_and_texts_cannot_break_out_of_the_grammar(setting):
    renderer, grammars = setting
    odd = {
        "name": "f",
        "parameters": {"properties": {'k"\n| "': {"enum": ['a"\nstart: "b"', "/x/"]}, "s": {"type": "string"}}},
    }
    grammar = answer_grammar(renderer.format, renderer.control_ids, tools=[{"type": "function", "function": odd}])
    grammars.check(grammar)
    call = Message("assistant", None, "hm", (ToolCall("f", {'k"\n| "': "/x/", "s": "t"}),))
    assert verdict(grammars, grammar, answer_ids(renderer, call)) == "whole"


def test_a_schema_that_is_none_still_makes_a_grammar(setting):
    renderer, grammars = setting
    loose = {"name": "f", "parameters": {"properties": {"a": True, "b": "?"}, "required": 5}}
    if renderer.format.calls == "xml":  # elsewhere the schema itself is given to the engine, which refuses it
        grammars.check(answer_grammar(renderer.format, renderer.control_ids, tools=[{"type": "function", "function": loose}]))


def test_a_matcher_that_fails_ends_the_answer_and_is_known():
    class Failing:
        def __init__(self, reason: str, stopped: bool) -> None:
            self.reason, self.stopped, self.failed = reason, stopped, stopped and reason == "error"

        def is_stopped(self) -> bool:
            return self.stopped

        def is_error(self) -> bool:
            return self.failed

        def stop_reason(self) -> str:
            return self.reason

        def compute_bitmask(self) -> bytes:
            self.failed = True  # a limit was met, and the mask is that of the end
            return bytes([8, 0])

    for reason, stopped, broken in (
        ("error", True, True),
        ("LexerTooComplex", True, True),
        ("", False, True),
        ("NoExtension", True, False),
    ):
        guided = Guided(Failing(reason, stopped), 10, [3], None)
        assert not guided.broken
        assert guided.allowed().nonzero().flatten().tolist() == [3]
        assert guided.broken is broken


def test_thinking_comes_first_and_has_a_bound(tokenizer):
    renderer = Renderer(tokenizer, get_format("telechat3-coder"))
    grammars = Grammars(tokenizer, len(tokenizer), [renderer.end_id])
    think_end = renderer.control_ids["</think>"]
    matcher = grammars.matcher(answer_grammar(renderer.format, renderer.control_ids, schema=POINT))
    guided = Guided(matcher, grammars.vocabulary, [renderer.end_id], think_end, budget=3)
    for token in renderer.encode("a b c d e f")[:3]:
        allowed = guided.allowed()
        assert not allowed[renderer.end_id]
        assert allowed[token]
        guided.accept(token)
    assert guided.allowed().nonzero().flatten().tolist() == [think_end]
    guided.accept(think_end)
    for token in renderer.encode(json.dumps({"x": 5})):
        assert guided.allowed()[token]
        guided.accept(token)
    assert guided.allowed().nonzero().flatten().tolist() == [renderer.end_id]


def test_a_model_that_opens_its_thinking_itself_may_do_so_first(tokenizer):
    renderer = Renderer(tokenizer, get_format("telechat2.5"))
    grammars = Grammars(tokenizer, len(tokenizer), [renderer.end_id])
    start, end = renderer.control_ids["<think>"], renderer.control_ids["</think>"]
    opening, thought = renderer.encode(json.dumps({"x": 5}))[0], renderer.encode("hm")

    def guided(grammar: bool, budget: int | None) -> Guided:
        matcher = grammars.matcher(answer_grammar(renderer.format, renderer.control_ids, schema=POINT)) if grammar else None
        return Guided(matcher, grammars.vocabulary, [renderer.end_id], end, budget, start)

    thinks = guided(True, 1)
    assert thinks.allowed()[[start, opening]].all()
    thinks.accept(start)
    assert thinks.allowed()[thought[0]]
    thinks.accept(thought[0])
    assert thinks.allowed().nonzero().flatten().tolist() == [end]
    thinks.accept(end)
    assert thinks.allowed()[opening]
    assert not thinks.allowed()[start]
    answers = guided(True, None)
    answers.accept(opening)
    assert not answers.allowed()[start]
    assert not guided(True, 0).allowed()[start]
    free = guided(False, 1)
    assert free.allowed() is None
    free.accept(thought[0])
    assert free.allowed() is None  # later it is a word like any other
    bounded = guided(False, 0).allowed()
    assert bounded[opening]
    assert not bounded[start]
