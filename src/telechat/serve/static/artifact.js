// A page beside the chat, in a frame that can reach nothing: not this page, not the network.

import { check } from "./api.js";
import { CHECKS_PAGES } from "./server.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact-3.1.1.js";

const MAX_LINES = 200;

export function Artifact({ page, words, onClose, onFix }) {
  const frame = useRef(null);
  const [lines, setLines] = useState([]);
  const [round, setRound] = useState(0);

  useLayoutEffect(() => { // before the frame can have loaded: it says once that it is ready
    setLines([]);
    const listen = (event) => {
      if (event.source !== frame.current?.contentWindow || typeof event.data !== "object" || !event.data) return;
      if (event.data.kind === "ready") frame.current.contentWindow.postMessage({ kind: "page", html: page }, "*");
      if (event.data.kind === "line") {
        const line = { level: String(event.data.level).slice(0, 10), text: String(event.data.text).slice(0, 2000) };
        setLines((before) => [...before.slice(1 - MAX_LINES), line]);
      }
    };
    addEventListener("message", listen);
    return () => removeEventListener("message", listen);
  }, [page, round]);

  const errors = lines.filter((line) => line.level === "error").map((line) => line.text);
  const [checked, setChecked] = useState(null); // null, "busy", { problem } or a verdict
  const checking = useRef(null);
  useEffect(() => {
    setChecked(null);
    return () => checking.current?.abort();
  }, [page]);

  async function checkPage() {
    const stop = new AbortController();
    checking.current = stop;
    setChecked("busy");
    try {
      setChecked(await check(page, stop.signal));
    } catch (error) {
      if (!stop.signal.aborted) setChecked({ problem: error.message });
    }
  }

  const faults = [...errors, ...(checked?.rules ?? []).filter((rule) => !rule.passed).map((rule) => `${rule.rule}: ${rule.evidence}`)];
  return html`<aside class="artifact" aria-label=${words.artifact}>
    <header>
      <strong>${words.artifact}</strong>
      ${faults.length ? html`<button onClick=${() => onFix(faults.join("\n"))}>${words.fix}</button>` : null}
      ${CHECKS_PAGES ? html`<button disabled=${checked === "busy"} onClick=${checkPage}>${checked === "busy" ? words.checking : words.check}</button>` : null}
      <button onClick=${() => setRound(round + 1)}>${words.run}</button>
      <button onClick=${onClose} aria-label=${words.close}>✕</button>
    </header>
    <iframe key=${`${round}:${page}`} ref=${frame} src="playground/frame.html" sandbox="allow-scripts" referrerpolicy="no-referrer"
      title=${words.artifact}></iframe>
    ${checked === null || checked === "busy" ? null : html`<${Verdict} checked=${checked} words=${words} />`}
    ${lines.length ? html`<details class="console" open=${errors.length > 0}><summary>${words.console} (${lines.length})</summary>
      ${lines.map((line) => html`<pre class=${line.level}>${line.text}</pre>`)}</details>` : null}
  </aside>`;
}

// What the page evaluator found, rule by rule.
function Verdict({ checked, words }) {
  if (checked.problem) return html`<p class="verdict error" role="alert">${checked.problem}</p>`;
  return html`<details class="verdict" open>
    <summary role="status">${checked.passed ? words.passed : words.notPassed} · ${Math.round(checked.score * 100)}%</summary>
    <ul>${checked.rules.map((rule) => html`<li class=${rule.passed ? "passed" : "error"}>
      ${rule.passed ? "✓" : "✗"} ${words.rules[rule.rule] ?? rule.rule}${rule.evidence ? html`<small>${rule.evidence}</small>` : null}</li>`)}</ul>
  </details>`;
}
