// What a person can use on the page: `find()` lists it, `reach(path)` scrolls to one and says where it is and whether it
// can be hit, `text()` is the text that is to be seen. Evaluated in the page, with the hooks of clock.js.
(() => {
  "use strict";
  const hooks = window["NAME"];
  const TYPED = new Set(["text", "search", "email", "url", "tel", "password", "number", "date", "time", "month", "week", "datetime-local", "color"]);
  const PRESSED = "button, summary, [role=button], [role=tab], [role=menuitem], [role=switch], [role=option], [role=checkbox]";
  const SEEN = { opacityProperty: true, visibilityProperty: true };

  const seen = (el) => {
    const box = el.getBoundingClientRect();
    return box.width >= 4 && box.height >= 4 && el.checkVisibility(SEEN);
  };
  const pointer = (el) => getComputedStyle(el).cursor === "pointer";

  function kindOf(el) {
    if (el.disabled || el.getAttribute("aria-disabled") === "true" || el.closest("[inert]")) return null;
    const tag = el.localName;
    if (tag === "input") {
      const type = el.type;
      if (type === "checkbox" || type === "radio") return "tick";
      if (type === "range") return "slide";
      if (TYPED.has(type)) return el.readOnly ? null : "type";
      return ["button", "submit", "reset", "image"].includes(type) ? "press" : null;
    }
    if (tag === "textarea") return el.readOnly ? null : "type";
    if (tag === "select") return "choose";
    if (el.isContentEditable && !el.parentElement?.isContentEditable) return "type";
    if (tag === "a" && el.hasAttribute("href")) return /^(#|javascript:)/i.test(el.getAttribute("href")) ? "press" : null;
    if (tag === "html" || tag === "body") return null;
    if (tag === "label") return null; // its field is the control
    if (tag === "canvas") {
      for (let at = el; at; at = at.parentNode) if (hooks.takesPointer(at)) return "draw";
      return hooks.takesPointer(window) ? "draw" : null;
    }
    if (el.matches(PRESSED) || hooks.takesPointer(el)) return "press";
    return pointer(el) && el.parentElement && !pointer(el.parentElement) ? "press" : null;
  }

  const pathOf = (el) => {
    const parts = [];
    for (let at = el; at.parentElement; at = at.parentElement) {
      parts.unshift(`${at.localName}:nth-child(${1 + [...at.parentElement.children].indexOf(at)})`);
    }
    return ["html", ...parts].join(">");
  };
  const words = (text) => (text ?? "").replace(/\s+/g, " ").trim().slice(0, 60);
  const nameOf = (el) => words(
    el.getAttribute("aria-label")
    || (el.getAttribute("aria-labelledby") ?? "").split(/\s+/).map((id) => document.getElementById(id)?.textContent ?? "").join(" ").trim()
    || [...(el.labels ?? [])].map((label) => label.textContent).join(" ").trim()
    || (el.localName === "input" && /^(button|submit|reset)$/.test(el.type) ? el.value || el.type : "")
    || (el.localName === "input" || el.localName === "textarea" || el.localName === "select" ? "" : el.innerText)
    || el.querySelector?.("img[alt]")?.alt || el.getAttribute("alt") || el.title || el.getAttribute("placeholder"));

  function find() {
    const all = [...document.querySelectorAll("body *")].map((el) => ({ el, kind: kindOf(el) })).filter((c) => c.kind && seen(c.el));
    const inner = new Set(all.map((c) => c.el));
    const holds = (el) => [...inner].some((other) => other !== el && el.contains(other));
    return all
      .filter(({ el, kind }) => kind !== "press" || el.matches(`${PRESSED}, a, input`) || !holds(el))
      .map(({ el, kind }) => {
        const box = el.getBoundingClientRect();
        const label = nameOf(el);
        return {
          path: pathOf(el), kind, name: label, tag: el.localName, type: el.type ?? "",
          native: /^(a|button|summary|input|select|textarea)$/.test(el.localName) || el.hasAttribute("role"),
          parts: el.querySelectorAll("*").length,
          group: [kind, el.localName, el.className?.baseVal ?? el.className, Math.round(box.width), Math.round(box.height)].join("|"),
        };
      });
  }

  // Points of the control that hit it, or a part of it, and not what lies above it: its middle first.
  function reach(path) {
    const el = document.querySelector(path);
    if (!el || !seen(el)) return null;
    el.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    const box = el.getBoundingClientRect();
    const points = [];
    for (const [fx, fy] of [[.5, .5], [.25, .25], [.75, .25], [.25, .75], [.75, .75]]) {
      const x = box.x + box.width * fx, y = box.y + box.height * fy;
      const hit = document.elementFromPoint(x, y);
      if (hit && [el, ...(el.labels ?? [])].some((own) => own.contains(hit))) points.push({ x, y });
    }
    return points.length ? points : null;
  }

  function text() {
    const out = [];
    const walker = document.createTreeWalker(document.body ?? document.documentElement, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const around = node.parentElement;
      if (around && node.data.trim() && !/^(script|style|noscript|template)$/.test(around.localName) && around.checkVisibility(SEEN)) out.push(node.data.trim());
    }
    return out.join(" ").normalize("NFKC").replace(/\s+/g, " ");
  }

  // What one can see or has entered, also below the fold.
  const state = () => JSON.stringify([
    text(), scrollX, scrollY, document.documentElement.scrollHeight, hooks.effects(), document.title,
    [...document.querySelectorAll("input, select, textarea")].map((f) => [f.type === "checkbox" || f.type === "radio" ? f.checked : f.value]),
  ]);

  const overflow = () => {
    const wide = document.documentElement.scrollWidth - innerWidth;
    const out = [...document.querySelectorAll("body *")].filter((el) => seen(el) && el.getBoundingClientRect().right > innerWidth + 1);
    const last = out.find((el) => ![...el.children].some((child) => out.includes(child)));
    return { wide, culprit: last ? `<${last.localName}${last.id ? ` id="${last.id}"` : ""}>` : "" };
  };

  return { find, reach, text, state, overflow, keys: () => Boolean(hooks.takesKeys()) };
})()
