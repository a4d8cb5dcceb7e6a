"""The playground in a real browser: what people do with it, and what a generated page cannot do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import httpx

from telechat.serve.playground import ROOT

from .conftest import until
from .test_chat_completions import CALL

STATIC = Path(str(ROOT))
WEATHER = json.dumps([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}])


def test_the_page_its_files_and_their_headers(scripted):
    url, _, _ = scripted("</think>ok<_end>", api_keys=("secret",))
    page = httpx.get(f"{url}/")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "https:" not in page.text.replace("http://www.w3.org", "")
    script = httpx.get(f"{url}/static/app.js")
    assert script.headers["content-type"].startswith("text/javascript")
    again = httpx.get(f"{url}/static/app.js", headers={"if-none-match": script.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    frame = httpx.get(f"{url}/playground/frame.html")
    assert frame.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    for path in ("static/../app.py", "static/%2e%2e/app.py", "static/nothing.js", "static/frame.html", "static//app.js"):
        assert httpx.get(f"{url}/{path}").status_code in (401, 404), path
    assert httpx.get(f"{url}/v1/models").status_code == 401


def test_everything_the_page_loads_is_small_and_comes_with_its_licence():
    files = [f for f in STATIC.rglob("*") if f.suffix in (".js", ".css", ".html")]
    assert sum(len(gzip.compress(f.read_bytes())) for f in files) < 250_000
    for library in (STATIC / "vendor").glob("*.js"):
        licences = [f.name for f in (STATIC / "vendor").glob("LICENSE.*")]
        name = library.stem.removeprefix("htm-preact-").removeprefix("highlight-")
        assert any(name.split("-")[-1] in licence for licence in licences), library.name
    for file in STATIC.glob("*.js"):
        assert "http://" not in file.read_text().replace("http://www.w3.org", "")
        assert "https://" not in file.read_text()


def ask(page, text: str) -> None:
    page.fill("#draft", text)
    page.press("#draft", "Enter")


def answered(page, count: int = 1):
    """The last of `count` finished answers."""
    page.wait_for_function(
        "count => { const all = document.querySelectorAll('article.assistant');"
        " return all.length === count && [...all].every(a => a.getAttribute('aria-busy') !== 'true') }",
        arg=count,
        timeout=15_000,
    )
    return page.locator("article.assistant").nth(count - 1)


def test_a_conversation(scripted, visit):
    url, engine, _ = scripted("let me see\n</think>**Hello** there.\n\n```python\nprint(1)\n```\n<_end>")
    page = visit(url)
    page.wait_for_selector("text=toy")
    ask(page, "hi")
    answer = answered(page)
    assert answer.locator(".markdown strong").inner_text() == "Hello"
    assert answer.locator(".code .hljs-built_in, .code .hljs-title").count() >= 1
    assert "print(1)" in answer.locator(".code pre").inner_text()
    thinking = answer.locator("details.thinking")
    assert thinking.get_attribute("open") is None
    thinking.locator("summary").click()
    assert thinking.locator("div").inner_text().strip() == "let me see"
    assert "tok" in answer.locator(".figures").inner_text()
    ask(page, "and again")
    answered(page, 2)
    assert len(engine.prompts[1]) > len(engine.prompts[0])


def test_markup_from_a_model_is_harmless(scripted, visit):
    url, _, _ = scripted(
        "</think><img src=x onerror=alert(1)><script>document.title='bad'</script>[a](javascript:alert(2))<_end>"
    )
    page = visit(url)
    ask(page, "hi")
    answer = answered(page)
    assert answer.locator("script, img").count() == 0
    assert answer.locator("a[href^=javascript]").count() == 0
    assert page.title() == "telechat"


def test_conversations_stay_in_the_browser(scripted, visit):
    url, _, _ = scripted("</think>ok<_end>")
    page = visit(url)
    ask(page, "first question")
    answered(page)
    page.click("text=New chat")
    ask(page, "second question")
    answered(page)
    page.reload()
    page.wait_for_selector(".chats li")
    assert page.locator(".chats .open").all_inner_texts() == ["second question", "first question"]
    page.fill("#search", "first")
    assert page.locator(".chats .open").all_inner_texts() == ["first question"]
    page.click(".chats .open")
    assert page.locator("article.user").inner_text().startswith("first question")
    page.hover(".chats li")
    page.click(".chats .remove")
    page.fill("#search", "")
    assert page.locator(".chats .open").all_inner_texts() == ["second question"]


def test_stop_edit_and_regenerate(scripted, visit):
    url, engine, worker = scripted("</think>" + "on and on " * 400 + "<_end>", pace=0.005)
    page = visit(url)
    ask(page, "count")
    page.wait_for_function("() => document.querySelector('article.assistant .markdown')?.textContent.length > 20")
    page.click("text=Stop")
    answered(page)
    until(lambda: worker.idle)
    page.click("text=Regenerate")
    until(lambda: len(engine.prompts) == 2)
    page.keyboard.press("Escape")
    answered(page)
    page.locator("article.user").hover()
    page.locator("article.user button", has_text="Edit").click()
    page.fill("article.user textarea", "count to ten")
    page.click("text=Save and ask")
    until(lambda: len(engine.prompts) == 3)  # the text of before may still stand there
    page.keyboard.press("Escape")
    answered(page)
    assert page.locator("article.user").count() == 1
    assert engine.prompts[0] == engine.prompts[1] != engine.prompts[2]


def test_tools_as_cards_and_their_results(scripted, visit, chat):
    from .scripted import ids_of

    calls = ids_of(chat.renderer, f"look\n</think>{CALL.format('Paris')}<_end>")
    done = ids_of(chat.renderer, "</think>It is sunny.<_end>")
    marker = chat.renderer.control_ids["<tool_response>"]
    url, engine, _ = scripted(lambda prompt, sample: done if marker in prompt else calls)
    page = visit(url)
    page.click("text=Settings")
    page.locator("dialog textarea").nth(1).fill("[oops")
    assert page.locator("dialog .error").is_visible()
    page.locator("dialog textarea").nth(1).fill(WEATHER)
    page.click("dialog button[aria-label=Close]")
    ask(page, "weather?")
    card = answered(page).locator(".card.call")
    assert card.locator("code").inner_text() == "weather"
    assert '"city": "Paris"' in card.locator("pre").inner_text()
    page.fill(".results textarea", "sunny")
    page.click("text=Send results")
    assert answered(page, 2).locator(".markdown").inner_text() == "It is sunny."
    assert "sunny" in page.locator("article.tool").inner_text()
    assert "look" in chat.renderer.decode(engine.prompts[1])  # thinking stays between calls


def test_a_conversation_removed_while_it_is_answered_stays_away(scripted, visit):
    url, _, worker = scripted("</think>" + "on and on " * 400 + "<_end>", pace=0.005)
    page = visit(url)
    ask(page, "count")
    page.wait_for_function("() => document.querySelector('article.assistant .markdown')?.textContent.length > 20")
    page.hover(".chats li")
    page.click(".chats .remove")
    until(lambda: worker.idle)
    page.wait_for_timeout(200)
    assert page.locator(".chats li").count() == 0
    assert page.evaluate("localStorage.getItem('telechat.chats')") is None


def test_two_tabs_keep_each_others_conversations(scripted, visit):
    url, _, _ = scripted("</think>ok<_end>")
    page = visit(url)
    other = page.context.new_page()
    other.goto(url)
    other.wait_for_selector("#draft")
    ask(page, "from the first")
    answered(page)
    other.wait_for_selector(".chats .open")
    ask(other, "from the second")
    answered(other)
    page.wait_for_function("() => document.querySelectorAll('.chats .open').length === 2")
    ask(page, "and on")
    answered(page, 2)
    other.wait_for_function("() => document.querySelectorAll('.chats .open').length === 2")
    kept = json.loads(page.evaluate("localStorage.getItem('telechat.chats')"))
    assert sorted(len(chat["messages"]) for chat in kept) == [2, 4]
    other.close()


def test_other_engines_get_presets_in_numbers(scripted, visit):
    url, _, _ = scripted("</think>ok<_end>")
    sent = []

    def models(route):
        route.fulfill(json={"data": [{"id": "TeleChat3-36B", "owned_by": "vllm"}]})

    page = visit("about:blank", ready="body")
    page.route("**/v1/models", models)
    page.on("request", lambda request: sent.append(request.post_data_json) if "completions" in request.url else None)
    page.goto(url)
    page.wait_for_selector("strong:text('TeleChat3-36B')")
    page.click("text=Settings")
    page.select_option("select", "general")
    page.route("**/v1/chat/completions", lambda route: route.abort())
    ask(page, "hi")
    answered(page)
    assert "preset" not in sent[0]
    assert (sent[0]["temperature"], sent[0]["top_p"], sent[0]["repetition_penalty"]) == (0.6, 0.95, 1.05)
    page.problems.clear()


def test_settings_changed_during_an_answer_are_kept(scripted, visit):
    url, engine, _ = scripted("</think>" + "on and on " * 60 + "<_end>", pace=0.01)
    page = visit(url)
    ask(page, "count")
    page.wait_for_function("() => document.querySelector('article.assistant .markdown')?.textContent.length > 20")
    page.click("text=Settings")
    page.locator("dialog input[type=number]").nth(2).fill("7")
    page.click("dialog button[aria-label=Close]")
    page.keyboard.press("Escape")
    answered(page)
    ask(page, "again")
    answered(page, 2)
    assert [params.max_tokens for (params,) in engine.seen[-1:]] == [7]


def test_a_call_that_was_stopped_halfway_does_not_block_the_conversation(scripted, visit, chat):
    from .scripted import ids_of

    call = ids_of(
        chat.renderer, "</think>One moment.<tool_call>weather<param_key>city</param_key><param_value>" + "Paris " * 400
    )
    url, _, _ = scripted(lambda prompt, sample: call, pace=0.01)
    page = visit(url)
    page.click("text=Settings")
    page.locator("dialog textarea").nth(1).fill(WEATHER)
    page.click("dialog button[aria-label=Close]")
    ask(page, "weather?")
    page.wait_for_function("() => document.querySelector('.card.call pre')?.textContent.includes('Paris')")
    page.keyboard.press("Escape")
    answered(page)
    assert page.locator(".card.call").count() == page.locator(".results").count() == 0
    ask(page, "never mind")
    page.wait_for_function("() => document.querySelectorAll('.card.call pre').length === 1")
    assert page.locator(".error").count() == 0
    page.keyboard.press("Escape")


def test_settings_reach_the_server(scripted, visit):
    url, engine, _ = scripted("</think>ok<_end>")
    page = visit(url)
    page.click("text=Settings")
    page.select_option("dialog select", "agent")
    page.locator("dialog textarea").first.fill("Be brief.")
    page.locator("dialog input[type=number]").nth(2).fill("7")
    page.click("dialog button[aria-label=Close]")
    ask(page, "hi")
    answered(page)
    params = engine.seen[-1][0]
    assert (params.temperature, params.top_p, params.max_tokens) == (0.6, 0.95, 7)


def test_the_key_is_asked_for_and_kept_for_this_session_only(scripted, visit):
    url, _, _ = scripted("</think>ok<_end>", api_keys=("secret",))
    page = visit(url)
    page.wait_for_selector("dialog input[type=password]")
    page.fill("dialog input[type=password]", "secret")
    page.wait_for_selector("text=toy")
    page.click("dialog button[aria-label=Close]")
    ask(page, "hi")
    answered(page)
    assert page.evaluate("JSON.stringify(localStorage)").find("secret") == -1
    assert "secret" not in page.url


PAGE = """</think>Here it is:

```html
<!doctype html><title>t</title><body><button id=b onclick="this.textContent='clicked'">press</button>
<script>
localStorage.setItem("a", "1"); console.log("stored", localStorage.getItem("a"));
let reached = "no"; try { reached = String(parent.document.title) } catch (e) { reached = "refused" }
console.log("parent " + reached);
fetch("/v1/models").then(() => console.log("network yes"), () => console.log("network refused"));
nothing.here();
</script>
```
<_end>"""


def test_a_generated_page_runs_beside_the_chat_and_reaches_nothing(scripted, visit):
    url, _, _ = scripted(PAGE)
    page = visit(url)
    ask(page, "make a page")
    answered(page)
    inside = page.frame_locator(".artifact iframe")
    inside.locator("#b").click()
    assert inside.locator("#b").inner_text() == "clicked"
    page.wait_for_selector(".console .error")
    page.wait_for_function("() => document.querySelector('.console')?.textContent.includes('network')")
    lines = page.locator(".console pre").all_inner_texts()
    assert "stored 1" in lines
    assert "parent refused" in lines
    assert "network refused" in lines
    assert any("nothing is not defined" in line for line in lines)
    page.click("text=Fix this")
    answered(page, 2)
    assert "nothing is not defined" in page.locator("article.user").nth(1).inner_text()
    page.click(".artifact button[aria-label=Close]")
    assert page.locator(".artifact").count() == 0
    answered(page, 2).locator("button", has_text="Run").click()
    inside.locator("#b").wait_for()
    assert set(page.problems) == {"nothing is not defined"}  # the generated page's own
    page.problems.clear()


def test_chinese_and_a_phone(scripted, visit):
    url, _, _ = scripted("</think>你好<_end>")
    page = visit(url, locale="zh-CN", viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    assert page.get_attribute("html", "lang") == "zh"
    assert page.get_attribute("#draft", "placeholder") == "请输入问题…"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ask(page, "你好")
    assert answered(page).locator(".markdown").inner_text() == "你好"
    page.click("button.menu")
    page.wait_for_function("() => document.querySelector('.chats').getBoundingClientRect().left >= 0")
    page.click(".chats .open")
    page.click("text=English")
    assert page.get_attribute("html", "lang") == "en"


def test_it_opens_in_under_a_second(scripted, visit):
    url, _, _ = scripted("</think>ok<_end>")
    page = visit(url)
    timing = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert 0 < timing < 1000
