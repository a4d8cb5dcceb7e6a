"""Pictures of the playground as people see it; `make screenshots` keeps them for the README."""

from __future__ import annotations

import json

from .scripted import ids_of
from .test_chat_completions import CALL
from .test_playground import answered, ask

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Today's weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
CLOCK = """</think>A clock whose hand shows the seconds:

```html
<!doctype html>
<title>Clock</title>
<body style="display:grid;place-items:center;height:90vh;font-family:sans-serif">
<svg viewBox="-50 -50 100 100" width="260">
  <circle r="46" fill="none" stroke="#557" stroke-width="3"/>
  <line id="hand" y2="-38" stroke="#d33" stroke-width="2.5"/>
</svg>
<p><button id="turn">Night</button></p>
<script>
turn.onclick = () => { document.body.style.background = document.body.style.background ? "" : "#223" };
setInterval(() => hand.setAttribute("transform", `rotate(${new Date().getSeconds() * 6})`), 200)
</script>
```
<_end>"""


def test_thinking_calls_and_their_results(scripted, visit, photograph, chat):
    call = ids_of(chat.renderer, f"The user asks for the weather; I have a tool for it.\n</think>{CALL.format('上海')}<_end>")
    done = ids_of(
        chat.renderer, "It rains: 12 degrees.\n</think>In Shanghai it **rains** today, at 12 °C. Take an umbrella.<_end>"
    )
    marker = chat.renderer.control_ids["<tool_response>"]
    url, _, _ = scripted(lambda prompt, sample: done if marker in prompt else call)
    page = visit(url)
    page.click("text=Settings")
    page.locator("dialog textarea").nth(1).fill(json.dumps(TOOLS))
    page.click("dialog button[aria-label=Close]")
    ask(page, "What is the weather like in Shanghai?")
    answered(page).locator("details summary").first.click()
    page.fill(".results textarea", "rain, 12 degrees")
    page.click("text=Send results")
    assert "umbrella" in answered(page, 2).inner_text()
    photograph(page, "playground")


def test_a_page_beside_the_chat(scripted, visit, photograph):
    url, _, _ = scripted(CLOCK)
    page = visit(url, viewport={"width": 1400, "height": 800})
    ask(page, "Draw a clock as a web page.")
    answered(page)
    page.frame_locator(".artifact iframe").locator("#hand").wait_for()
    if page.locator(".artifact button", has_text="Check it").count():
        page.click(".artifact button:has-text('Check it')")
        page.wait_for_selector(".verdict li", timeout=60_000)
        assert page.locator(".verdict summary").inner_text().startswith("Nothing is wrong")
    photograph(page, "artifact")


def test_on_a_phone_in_chinese(scripted, visit, photograph):
    url, _, _ = scripted("用户在问好。\n</think>你好!有什么可以帮你?<_end>")
    page = visit(url, locale="zh-CN", viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    ask(page, "你好")
    assert "你好" in answered(page).inner_text()
    photograph(page, "phone")
