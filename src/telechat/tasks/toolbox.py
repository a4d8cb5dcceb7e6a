"""The tools that call kinds offer: short OpenAI function schemas, and the ways in which people ask for them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from telechat.core.types import ToolCall
from telechat.tasks.words import CITIES, ITEMS, NAMES

LANGUAGES = ("French", "German", "Spanish", "Latin")
SONGS = ("Hello", "Sun", "Moon", "Rain", "River", "Home")
DEVICES = ("lamp", "fan", "radio", "oven", "heater")
FOODS = ("pizza", "rice", "soup", "cake", "fish", "salad")
APPS = ("mail", "maps", "music", "notes", "chess")
THINGS = ("tea", "milk", "bread", "cheese", *ITEMS)
TOPICS = ("sport", "music", "money", "health", "space")
SHORT_WORDS = ("cat", "dog", "sun", "tree", "house", "bread")


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name and what may stand for it. Numbers make it an integer, words a string."""

    name: str
    values: Sequence[str] | range

    @property
    def type(self) -> str:
        """The JSON Schema type."""
        return "integer" if isinstance(self.values, range) else "string"


@dataclass(frozen=True)
class Tool:
    """One tool. `en` are imperatives and `zh` a request, with `{parameter}` slots; `topic` are words of which an answer
    that names the request must hold one."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    en: tuple[str, ...]
    zh: str
    topic: tuple[str, ...]

    def schema(self) -> dict[str, Any]:
        """The OpenAI function schema."""
        properties = {p.name: {"type": p.type} for p in self.parameters}
        parameters = {"type": "object", "properties": properties, "required": [p.name for p in self.parameters]}
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }


def _tool(name: str, description: str, parameters: dict[str, Any], en: tuple[str, ...], zh: str, topic: str) -> Tool:
    return Tool(name, description, tuple(Parameter(k, v) for k, v in parameters.items()), en, zh, tuple(topic.split()))


TOOLS: tuple[Tool, ...] = (
    _tool(
        "get_weather",
        "Get the weather",
        {"city": CITIES},
        ("get the weather in {city}", "check the weather in {city}"),
        "看{city}的天气",
        "weather 天气",
    ),
    _tool(
        "get_time",
        "Get the local time",
        {"city": CITIES},
        ("get the time in {city}", "check the time in {city}"),
        "看{city}的时间",
        "time 时间",
    ),
    _tool(
        "play_song",
        "Play a song",
        {"title": SONGS},
        ("play the song {title}", "start the song {title}"),
        "放歌{title}",
        "song 歌",
    ),
    _tool(
        "set_alarm",
        "Set an alarm",
        {"hour": range(1, 24)},
        ("set an alarm at {hour}", "wake me at {hour}"),
        "在{hour}点叫我",
        "alarm wake 叫",
    ),
    _tool(
        "set_timer",
        "Start a timer",
        {"minutes": range(2, 60)},
        ("set a timer for {minutes} minutes", "start a timer of {minutes} minutes"),
        "计时{minutes}分",
        "timer 计时",
    ),
    _tool(
        "send_mail",
        "Send a mail",
        {"to": NAMES, "text": SONGS},
        ("send a mail to {to} with {text}", "mail {text} to {to}"),
        "给{to}发邮件{text}",
        "mail 邮件",
    ),
    _tool(
        "call_person", "Call a person", {"name": NAMES}, ("call {name}", "phone {name}"), "给{name}打电话", "call phone 电话"
    ),
    _tool(
        "add_note",
        "Save a note",
        {"text": SHORT_WORDS},
        ("save the note {text}", "write the note {text}"),
        "记下{text}",
        "note 记下",
    ),
    _tool(
        "turn_on",
        "Turn a device on",
        {"device": DEVICES},
        ("turn on the {device}", "switch on the {device}"),
        "打开{device}",
        "on 打开",
    ),
    _tool(
        "turn_off",
        "Turn a device off",
        {"device": DEVICES},
        ("turn off the {device}", "switch off the {device}"),
        "关{device}",
        "off 关",
    ),
    _tool(
        "book_hotel",
        "Book a hotel",
        {"city": CITIES, "nights": range(2, 10)},
        ("book a hotel in {city} for {nights} nights", "find a hotel in {city} for {nights} nights"),
        "在{city}住{nights}天",
        "hotel 住",
    ),
    _tool(
        "buy",
        "Buy things",
        {"item": THINGS, "count": range(2, 20)},
        ("buy {count} {item}", "get me {count} {item}"),
        "买{count}个{item}",
        "buy get 买",
    ),
    _tool(
        "translate",
        "Translate a word",
        {"word": SHORT_WORDS, "language": LANGUAGES},
        ("translate {word} to {language}", "say {word} in {language}"),
        "把{word}译成{language}",
        "translate say 译",
    ),
    _tool(
        "get_price",
        "Get a price",
        {"item": THINGS},
        ("get the price of {item}", "check the price of {item}"),
        "看{item}的价格",
        "price 价格",
    ),
    _tool(
        "find_route",
        "Find a route",
        {"start": CITIES, "end": CITIES},
        ("find a route from {start} to {end}", "show the way from {start} to {end}"),
        "找{start}到{end}的路",
        "route way 路",
    ),
    _tool(
        "get_news",
        "Get news",
        {"topic": TOPICS},
        ("get news about {topic}", "show news on {topic}"),
        "看{topic}新闻",
        "news 新闻",
    ),
    _tool(
        "open_app", "Open an app", {"app": APPS}, ("open the app {app}", "launch the app {app}"), "用{app}这个应用", "app 应用"
    ),
    _tool(
        "set_volume",
        "Set the volume",
        {"level": range(1, 100)},
        ("set the volume to {level}", "change the volume to {level}"),
        "把音量改成{level}",
        "volume 音量",
    ),
    _tool(
        "order_food",
        "Order food",
        {"dish": FOODS, "count": range(2, 10)},
        ("order {count} times {dish}", "have {dish} brought {count} times"),
        "点{count}份{dish}",
        "order brought 点",
    ),
    _tool(
        "set_heat",
        "Set the heat",
        {"degrees": range(10, 30)},
        ("set the heat to {degrees} degrees", "heat the room to {degrees} degrees"),
        "加热到{degrees}度",
        "heat 加热",
    ),
)

WRAPS = ("{Do}.", "Please {do}.", "Can you {do}?", "I want you to {do}.")
WRAPS_TRANSFER = ("Would you {do} for me?", "{Do} now, will you?", "Now {do}, thanks.")
WRAPS_ZH, WRAPS_ZH_TRANSFER = ("请{do}", "{do}"), ("你能不能{do}?", "我要你{do}")


@dataclass(frozen=True)
class Request:
    """A wish for one call: which tool, with which values, in which words (`do`), and how to think of it."""

    tool: Tool
    arguments: dict[str, Any]
    do: str

    @property
    def call(self) -> ToolCall:
        """The call that fulfils it."""
        return ToolCall(self.tool.name, self.arguments)

    @property
    def thinking(self) -> str:
        """Tool name, and every argument by name and value."""
        return " ".join([self.tool.name, *(f"{key} {value}" for key, value in self.arguments.items())])


def request(rng: random.Random, tool: Tool, chinese: bool) -> Request:
    """A wish for `tool` with values of its own."""
    arguments: dict[str, Any] = {}
    for parameter in tool.parameters:
        value = rng.choice(parameter.values)
        while value in arguments.values():
            value = rng.choice(parameter.values)
        arguments[parameter.name] = value
    wording = tool.zh if chinese else rng.choice(tool.en)
    return Request(tool, arguments, wording.format(**arguments))


def wrapped(rng: random.Random, do: str, chinese: bool, transfer: bool) -> str:
    """The whole sentence around a wish."""
    if chinese:
        return rng.choice(WRAPS_ZH_TRANSFER if transfer else WRAPS_ZH).format(do=do)
    return rng.choice(WRAPS_TRANSFER if transfer else WRAPS).format(do=do, Do=do[0].upper() + do[1:])


def same_calls(got: Sequence[ToolCall], want: Sequence[tuple[str, dict[str, Any]]]) -> bool:
    """The same calls in any order: names, argument names, values and their types."""
    return sorted(map(call_key, got)) == sorted(call_key(ToolCall(name, arguments)) for name, arguments in want)


def call_key(call: ToolCall) -> str:
    """A text that is equal for calls of equal name and arguments, and for no others (1, 1.0, "1" and True differ)."""
    return f"{call.name} {sorted((key, _shown(value)) for key, value in call.arguments.items())}"


def _shown(value: Any) -> str:
    """`repr`, also of numbers that are too long for it."""
    try:
        return repr(value)
    except ValueError:
        return "a number of too many digits"
