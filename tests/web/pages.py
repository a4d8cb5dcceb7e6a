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
copy.onclick = () => navigator.clipboard.writeText("x");
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


# Small things that real pages do, each of which a careless evaluator calls a fault.
ANSWERS = {
    "an alert": "<button onclick=\"alert('Thanks')\">Send</button>",
    "a question": "<button onclick=\"if (confirm('Sure?')) p.textContent = 'gone'\">Clear</button><p id=p>all</p>",
    "a loop that waits": "<button onclick=\"const end = performance.now() + 50; while (performance.now() < end); p.append('x')\">Think"
    "</button><p id=p></p>",
    "loading anew": '<button onclick="location.reload()">Restart</button><script>(function f(){requestAnimationFrame(f)})()</script>',
    "closing a field": "<button onclick=\"t.disabled = true; this.textContent = 'stopped'\">Stop</button>"
    "<label>x <input id=t></label>",
    "colour far below": '<div style="height: 1500px"></div><button onclick="b.style.background = \'red\'">Paint</button>'
    '<div id=b style="height: 90px"></div>',
    "a list with its own scroll bar": '<main style="height: 300px; overflow: auto"><div style="height: 900px"></div>'
    "<button onclick=\"this.textContent = 'on'\">Low</button></main>",
    "filters before a dialog": '<button onclick="m.hidden = false">New</button><button onclick="v.textContent = \'all\'">All</button>'
    '<button onclick="v.textContent = \'done\'">Done</button><p id=v>all</p><div id=m hidden style="position: fixed; inset: 0;'
    ' background: #0008"><button onclick="m.hidden = true">Close</button></div>',
    "choices": "<form><label><input type=radio name=a checked> one</label><label><input type=radio name=a> two</label>"
    '<select aria-label="size"><option>S<option>M</select><input type=range aria-label="loud"></form>',
    "a double click": "<p id=p style='width: 100px'>edit me</p><script>p.addEventListener('dblclick', () => { p.textContent = 'x' })"
    "</script>",
    "drawing": "<canvas id=c></canvas><script>let d, g = c.getContext('2d'); c.onmousedown = e => { d = 1; g.moveTo(e.offsetX,"
    " e.offsetY) }; c.onmousemove = e => { if (d) { g.lineTo(e.offsetX, e.offsetY); g.stroke() } }; onmouseup = () => { d = 0 }"
    "</script>",
    "copying": "<button onclick=\"navigator.clipboard.writeText('x').then(() => p.append('copied'))\">Copy</button><p id=p></p>",
    "a file": "<button onclick=\"const a = document.createElement('a'); a.download = 'a.txt'; a.href = window.URL.createObjectURL(new Blob("
    "['x'])); a.click()\">Export</button>",
    "a form with rules": "<form onsubmit=\"event.preventDefault(); p.textContent = 'in'\"><label>Password <input type=password"
    " minlength=12 required></label><label>Age <input type=number min=18></label><button>Log in</button></form><p id=p></p>",
    "a message that goes away": "<button onclick=\"p.textContent = 'saved'; setTimeout(() => { p.textContent = '' }, 700)\">Save"
    "</button><p id=p></p>",
    "a link to what is in sight": '<a href="#top">Logo</a> <a href="#here">Here</a><p id=here>here</p>',
    "a menu under the pointer": "<style>#m { display: none } #b:hover + #m { display: block }</style>"
    '<div id=b style="cursor: pointer; width: 80px">Menu</div><div id=m>item</div>',
    "everything glides": "<style>* { transition: all .3s } html { scroll-behavior: smooth }</style>"
    "<button onclick=\"this.style.marginLeft = '99px'\">Go</button>",
    "a bar that follows the scrolling": "<style>@keyframes g { to { transform: scaleX(1) } } #b { height: 4px; background: red;"
    " transform: scaleX(0); animation: g linear; animation-timeline: scroll() }</style><div id=b></div><p style='height: 3000px'>x",
    "what comes into sight": "<style>.r { opacity: 0; transition: .6s } .v { opacity: 1 }</style><div class=r><p>Hi</p></div><script>"
    "new IntersectionObserver(all => all.forEach(e => e.isIntersecting && e.target.classList.add('v'))).observe(document"
    ".querySelector('.r'))</script>",
    "a closed group": "<fieldset disabled><button>Off</button></fieldset>",
}
