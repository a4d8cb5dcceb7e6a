"""Pages of several kinds, each right as it is; `without` makes one wrong in one thing."""

from __future__ import annotations

HEAD = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>t</title>'
)

TODO = (
    HEAD
    + """
<style>button { cursor: pointer; transition: background .3s } button:hover { background: #ccc }</style>
<h1>Todo</h1>
<form id="form"><label>New <input id="item" required></label> <button>Add</button></form>
<ul id="list"></ul><button id="clear">Clear</button>
<script>
form.onsubmit = (event) => {
  event.preventDefault();
  const line = document.createElement("li");
  line.textContent = item.value;
  list.append(line);
  item.value = "";
};
clear.onclick = () => { list.innerHTML = ""; };
</script>"""
)

CALCULATOR = (
    HEAD
    + """
<style>#keys { display: grid; grid-template-columns: repeat(4, 60px) } #keys div { cursor: pointer; padding: 1em }</style>
<output id="shown">0</output><div id="keys"></div>
<script>
let typed = "";
for (const key of "789/456*123-0C=+") {
  const cell = document.createElement("div");
  cell.textContent = key;
  cell.addEventListener("click", () => {
    if (key === "C") typed = "";
    else if (key === "=") { try { typed = String(eval(typed)); } catch { typed = "error"; } }
    else typed += key;
    shown.textContent = typed || "0";
  });
  keys.append(cell);
}
</script>"""
)

GAME = (
    HEAD
    + """
<style>body { margin: 0 } #menu { position: fixed; inset: 0; background: #0008 }</style>
<canvas id="field" width="300" height="300"></canvas><div id="menu"><button id="start">Start</button></div>
<script>
const draw = field.getContext("2d"), held = {};
let x = 10, y = 140;
const dots = Array.from({ length: 9 }, () => [Math.random() * 300, Math.random() * 300]);
function frame() {
  if (held.ArrowRight) x += 2;
  draw.clearRect(0, 0, 300, 300);
  for (const dot of dots) { dot[0] += Math.random(); draw.fillRect(dot[0], dot[1], 3, 3); }
  draw.fillRect(x, y, 20, 20);
  requestAnimationFrame(frame);
}
start.onclick = () => { menu.remove(); frame(); };
addEventListener("keydown", (event) => { held[event.key] = true; });
addEventListener("keyup", (event) => { delete held[event.key]; });
field.addEventListener("mousedown", (event) => { y = event.offsetY; });
</script>"""
)

ARTICLE = HEAD + "<h1>Tea</h1><p>Nothing to press here.</p>"

LONG = (
    HEAD
    + """
<h1>Long</h1><nav><a href="#end">To the end</a> <a href="https://example.org/">elsewhere</a></nav>
<p style="height: 3000px">text</p>
<h2 id="end">End</h2><button id="copy">Copy</button><button id="more">More</button><p id="told"></p>
<script>
copy.onclick = () => navigator.clipboard.writeText("x").catch(() => {});
more.onclick = () => { told.textContent = "more"; };
</script>"""
)

RIGHT = {"todo": TODO, "calculator": CALCULATOR, "game": GAME, "article": ARTICLE, "long": LONG}


def without(page: str, part: str, instead: str = "") -> str:
    """`page` with one part changed."""
    assert page.count(part) == 1, part
    return page.replace(part, instead)


def page(body: str) -> str:
    """A page of this body."""
    return HEAD + "<h1>Page</h1>" + body
