// What a person can use on the page: `find()` lists it, `reach(path, kind)` scrolls to one and says where it can be hit,
// `text()` is the text that is to be seen, `state()` what else there is to compare. Evaluated in a world of its own, which
// shares the document with the page and nothing else, so that the page cannot change what is read of it.
(() => {
  "use strict";
  const MOST_TEXT = 100_000;
  const PRESSED = "button, summary, [role=button], [role=tab], [role=menuitem], [role=switch], [role=option], [role=checkbox]";
  const SEEN = { opacityProperty: true, visibilityProperty: true };
  const TEXTS = { // what is typed into a field
    email: "a@example.org", url: "https://example.org/", tel: "5550100", password: "Long-Pass-w0rd", date: "2026-03-04", time: "10:30",
    month: "2026-03", week: "2026-W10", "datetime-local": "2026-03-04T10:30", color: "#336699", number: "7", text: "tea 7", search: "tea 7",
  };

  const heard = (el, how) => !el.dispatchEvent(new CustomEvent(`NAME-${how}`, { cancelable: true }));
  const seen = (el) => {
    const box = el.getBoundingClientRect();
    return box.width >= 4 && box.height >= 4 && el.checkVisibility(SEEN);
  };
  const pointer = (el) => getComputedStyle(el).cursor === "pointer";

  function linkKind(el) {
    const target = el.getAttribute("href");
    if (!/^(#|javascript:)/i.test(target)) return null; // it leads away
    if (heard(el, "single") || !target.startsWith("#")) return "press";
    if (target === "#" || target === "#top") return null; // a place that is kept
    const aim = document.getElementById(decodeURIComponent(target.slice(1))) ?? document.getElementsByName(target.slice(1))[0];
    if (!aim) return "press";
    const top = aim.getBoundingClientRect().top; // nothing to scroll to where it is in sight
    return top >= 0 && top < innerHeight ? null : "press";
  }

  function kindOf(el) {
    if (el.matches(":disabled") || el.getAttribute("aria-disabled") === "true" || el.closest("[inert]")) return null;
    const tag = el.localName;
    if (tag === "input") {
      const type = el.type;
      if (type === "checkbox" || type === "radio") return "tick";
      if (type === "range") return "slide";
      if (type in TEXTS) return el.readOnly ? null : "type";
      return ["button", "submit", "reset", "image"].includes(type) ? "press" : null;
    }
    if (tag === "textarea") return el.readOnly ? null : "type";
    if (tag === "select") return el.options.length > 1 ? "choose" : null;
    if (el.isContentEditable && !el.parentElement?.isContentEditable) return "type";
    if (tag === "a" && el.hasAttribute("href")) return linkKind(el);
    if (tag === "html" || tag === "body") return null;
    if (tag === "label") return null; // its field is the control
    if (tag === "canvas") {
      for (let at = el; at; at = at.parentElement) if (heard(at, "single")) return "draw";
      return null; // what the document hears may be meant for it or not: the pointer is tried on what has a listener
    }
    if (el.matches(PRESSED) || heard(el, "single")) return "press";
    if (heard(el, "double")) return "double";
    return pointer(el) && el.parentElement && !pointer(el.parentElement) ? "press" : null;
  }

  const places = new Map(); // parent → child → its number among all
  const placeOf = (el) => {
    const parent = el.parentElement;
    if (!places.has(parent)) places.set(parent, new Map([...parent.children].map((child, i) => [child, i + 1])));
    return places.get(parent).get(el);
  };
  const pathOf = (el) => {
    const parts = [];
    for (let at = el; at.parentElement; at = at.parentElement) parts.unshift(`${at.localName}:nth-child(${placeOf(at)})`);
    return ["html", ...parts].join(">");
  };
  const words = (text) => (text ?? "").replace(/\s+/g, " ").trim().slice(0, 60);
  const nameOf = (el) => words(
    el.getAttribute("aria-label")
    || (el.getAttribute("aria-labelledby") ?? "").split(/\s+/).map((id) => document.getElementById(id)?.textContent ?? "").join(" ").trim()
    || [...(el.labels ?? [])].map((label) => label.textContent).join(" ").trim()
    || (el.localName === "input" && /^(button|submit|reset)$/.test(el.type) ? el.value || el.type : "")
    || (/^(input|textarea|select)$/.test(el.localName) ? "" : el.innerText)
    || el.querySelector?.("img[alt]")?.alt || el.getAttribute("alt") || el.title || el.getAttribute("placeholder"));

  function valueFor(el) {
    const least = Number(el.min), most = Number(el.max);
    if (el.type === "number") {
      if (el.min !== "" && 7 < least) return el.min;
      return el.max !== "" && 7 > most ? el.max : "7";
    }
    const text = TEXTS[el.type] ?? "tea 7";
    return el.minLength > text.length ? text.padEnd(Math.min(el.minLength, 100), "x") : text;
  }

  function find() {
    const all = [...document.querySelectorAll("body *")].map((el) => ({ el, kind: kindOf(el) })).filter((c) => c.kind && seen(c.el));
    const outer = new Set(); // what has a control in it
    for (const { el } of all) for (let at = el.parentElement; at && !outer.has(at); at = at.parentElement) outer.add(at);
    return all
      .filter(({ el, kind }) => kind !== "press" || el.matches(`${PRESSED}, a, input`) || !outer.has(el))
      .map(({ el, kind }) => {
        const box = el.getBoundingClientRect();
        return {
          path: pathOf(el), kind, name: nameOf(el), tag: el.localName, value: kind === "type" ? valueFor(el) : "",
          native: /^(a|button|summary|input|select|textarea)$/.test(el.localName) || el.hasAttribute("role"),
          parts: el.querySelectorAll("*").length,
          group: [kind, el.localName, el.className?.baseVal ?? el.className, Math.round(box.width), Math.round(box.height)].join("|"),
        };
      });
  }

  const scrolls = () => [...document.querySelectorAll("*")].filter((el) => el.scrollTop || el.scrollLeft)
    .map((el) => [pathOf(el), Math.round(el.scrollLeft), Math.round(el.scrollTop)]);

  // Points of the control that hit it, or a part of it, and not what lies above it: its middle first.
  function reach(path, kind) {
    const el = document.querySelector(path);
    if (!el || !seen(el) || kindOf(el) !== kind) return null;
    const before = JSON.stringify(scrolls());
    el.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    const box = el.getBoundingClientRect();
    const points = [];
    for (const [fx, fy] of [[.5, .5], [.25, .25], [.75, .25], [.25, .75], [.75, .75]]) {
      const x = box.x + box.width * fx, y = box.y + box.height * fy;
      const hit = document.elementFromPoint(x, y);
      if (hit && [el, ...(el.labels ?? [])].some((own) => own.contains(hit))) points.push({ x, y });
    }
    return points.length ? { points, scrolled: JSON.stringify(scrolls()) !== before } : null;
  }

  function text() {
    const out = [];
    let length = 0;
    const walker = document.createTreeWalker(document.body ?? document.documentElement, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node && length < MOST_TEXT; node = walker.nextNode()) {
      const around = node.parentElement;
      const words = node.data.trim();
      if (!around || !words || /^(script|style|noscript|template)$/.test(around.localName) || !around.checkVisibility(SEEN)) continue;
      out.push(words);
      length += words.length;
    }
    return out.join(" ").slice(0, MOST_TEXT).normalize("NFKC").replace(/\s+/g, " ");
  }

  // What one can read, has entered or has scrolled to.
  const state = () => JSON.stringify([
    text(), scrolls(), document.documentElement.scrollHeight,
    [...document.querySelectorAll("input, select, textarea")].slice(0, 1000)
      .map((f) => (f.type === "checkbox" || f.type === "radio" ? f.checked : String(f.value).slice(0, 1000))),
  ]);

  const overflow = () => {
    const wide = document.documentElement.scrollWidth - innerWidth;
    const out = new Set([...document.querySelectorAll("body *")].filter((el) => seen(el) && el.getBoundingClientRect().right > innerWidth + 1));
    const last = [...out].find((el) => ![...el.children].some((child) => out.has(child)));
    return { wide, culprit: last ? `<${last.localName}${last.id ? ` id="${last.id}"` : ""}>` : "" };
  };

  return { find, reach, text, state, overflow };
})()
