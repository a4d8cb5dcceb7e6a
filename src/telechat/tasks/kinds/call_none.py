"""Tools are offered, and none of them fits the wish."""

from __future__ import annotations

import random
import re

from telechat.core.types import Message, Rule, Task, Verdict
from telechat.tasks.answers import has, judged, plain
from telechat.tasks.base import Draft, Kind, answer, ask
from telechat.tasks.calling import CHINESE_SHARE
from telechat.tasks.toolbox import TOOLS, request, wrapped

_TOOL = r"(?:tools?|functions?)"
_OTHERWISE = r"(?! (?:calls? )?(?:(?:is|are|was|were) )?(?:not )?(?:needed|required|necessary|problem|trouble|error)\b)"
_NOT = r"(?:do|does|did|is|are|have|has)(?: not|n['’]t)"
_CANNOT = r"(?:can(?:no|['’])t|can not|(?:do|does|is|are)(?: not|n['’]t))"
_NO_TOOL = re.compile(
    r"(?<!need )\b(?:no|none of (?:the|my|these|those)|neither(?: of (?:the|my|these))?|without an?y?|lack an?y?) "
    rf"(?:\w+ )?{_TOOL}\b{_OTHERWISE}"
    rf"|\b{_NOT} (?!need|require|use|want)(?:have )?(?:access to )?(?:an?y? |the )?(?:\w+ )?{_TOOL}\b{_OTHERWISE}"
    rf"|\b{_TOOL} (?:\w+ ){{0,3}}?{_CANNOT}\b(?! (?:needed|required|necessary)\b)"
    rf"|\bcan(?:no|['’]| no)t\b[^.;!?]{{0,60}}\bwith (?:the|these|those|my|any of the) (?:\w+ )?{_TOOL}\b"
    r"|\b(?:none|neither) of (?:them|these|those) (?:\w+ )?(?:can|does|fits?|is|are|works?|helps?)\b"
    r"|没有[^,。;!?]{0,20}?(?:工具|函数)|(?:工具|函数)[里中]?(?:都|也|均|全)?(?:不能|无法|不支持|做不到|没有|不可以|没法)",
    re.IGNORECASE,
)
_COMMON = (
    "get",
    "on",
    "off",
    "say",
    "way",
    "call",
    "order",
    "brought",
    "点",
    "叫",
    "走",
    "住",
)  # topics that are everyday words too
_ALIKE = {"buy", "order_food"}  # one could stand in for the other


class CallNone(Kind):
    """No call, but a sentence that says that no tool can do what was asked, and names it."""

    name = "call_none"
    group = "tools"

    def draw(self, rng: random.Random, transfer: bool) -> Draft:
        """One or two tools and a wish for another one."""
        chinese = rng.random() < CHINESE_SHARE
        wanted, *offered = rng.sample(TOOLS, rng.choice((2, 3)))
        while {wanted.name, *(tool.name for tool in offered)} >= _ALIKE:
            wanted, *offered = rng.sample(TOOLS, rng.choice((2, 3)))
        wish = request(rng, wanted, chinese)
        text = wrapped(rng, wish.do, chinese, transfer)
        content = f"没有工具能{wish.do}。" if chinese else f"No tool can {wish.do}."
        thinking = f"{wanted.name} no"  # as in the other kinds the name comes first; here it is not among the tools
        check = {"topic": list(wanted.topic), "arguments": [str(value) for value in wish.arguments.values()]}
        tools = [tool.schema() for tool in offered]
        return Draft(ask(text), [answer(content, thinking), answer(content)], check, tools, 0.2 + 0.2 * len(offered))

    def verify(self, task: Task, message: Message) -> Verdict:
        """The sentence says that no tool fits, names this wish with its values, and names no other wish."""
        text = plain(message.content)
        prompt = plain(task.messages[-1].content)
        own = {*task.check["topic"], *_COMMON}
        others = [w for tool in TOOLS for w in tool.topic if w not in own and has(text, w) and not has(prompt, w)]
        said = len(_NO_TOOL.findall(text))
        missing = [value for value in task.check["arguments"] if not has(text, value)]
        return judged(
            message,
            Rule("no tool fits", said > 0, text[:80]),
            Rule("names the wish", any(has(text, word) for word in task.check["topic"]) and not missing, ", ".join(missing)),
            Rule("names no other wish", said < 2 and not others and len(text) <= 160, ", ".join(others)[:80]),
        )
