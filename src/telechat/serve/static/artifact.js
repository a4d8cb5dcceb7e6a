// A page beside the chat, in a frame that can reach nothing: not this page, not the network.

import { html, useLayoutEffect, useRef, useState } from "./vendor/htm-preact-3.1.1.js";

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

  const errors = lines.filter((line) => line.level === "error");
  return html`<aside class="artifact" aria-label=${words.artifact}>
    <header>
      <strong>${words.artifact}</strong>
      ${errors.length ? html`<button onClick=${() => onFix(errors.map((line) => line.text).join("\n"))}>${words.fix}</button>` : null}
      <button onClick=${() => setRound(round + 1)}>${words.run}</button>
      <button onClick=${onClose} aria-label=${words.close}>✕</button>
    </header>
    <iframe key=${`${round}:${page}`} ref=${frame} src="playground/frame.html" sandbox="allow-scripts" referrerpolicy="no-referrer"
      title=${words.artifact}></iframe>
    ${lines.length ? html`<details class="console" open=${errors.length > 0}><summary>${words.console} (${lines.length})</summary>
      ${lines.map((line) => html`<pre class=${line.level}>${line.text}</pre>`)}</details>` : null}
  </aside>`;
}
