// One message: what was asked, what was thought, said and called, what a tool gave back.

import { html, useLayoutEffect, useRef, useState } from "./vendor/htm-preact-3.1.1.js";
import { pagesOf, toHtml } from "./markdown.js";

function Markdown({ text, words }) {
  const box = useRef(null);
  useLayoutEffect(() => {
    box.current.innerHTML = toHtml(text);
    for (const button of box.current.querySelectorAll("button.copy")) {
      button.textContent = words.copy;
      button.onclick = () => copy(button, button.closest(".code").querySelector("code").textContent, words);
    }
  }, [text, words]);
  return html`<div class="markdown" ref=${box}></div>`;
}

async function copy(button, text, words) {
  await navigator.clipboard.writeText(text);
  button.textContent = words.copied;
  setTimeout(() => { button.textContent = words.copy; }, 1500);
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // it is still being written
  }
}

function Figures({ message, words }) {
  const { usage, started, firstAt, endedAt } = message;
  if (!firstAt) return null;
  const seconds = ((endedAt ?? Date.now()) - firstAt) / 1000;
  const tokens = usage?.completion_tokens ?? message.pieces ?? 0;
  const cached = usage?.prompt_tokens_details?.cached_tokens;
  return html`<span class="figures">${tokens} ${words.tokens}${seconds > 0.05 ? html` · ${(tokens / seconds).toFixed(1)} ${words.perSecond}` : null}
    · ${words.first} ${((firstAt - started) / 1000).toFixed(2)} s${cached ? html` · ${cached} ${words.cached}` : null}
    ${message.finish === "length" ? html` · <em>${words.cut}</em>` : null}</span>`;
}

function Thinking({ message, busy, words }) {
  if (!message.reasoning_content) return null;
  const open = busy && !message.content && !message.tool_calls;
  return html`<details class="thinking" open=${open}><summary>${open ? words.thinking : words.thought}</summary>
    <div>${message.reasoning_content}</div></details>`;
}

function Editor({ text, words, onSave, onCancel }) {
  const [draft, setDraft] = useState(text);
  return html`<div class="editor"><textarea value=${draft} onInput=${(e) => setDraft(e.target.value)} rows=${Math.min(12, draft.split("\n").length + 1)}></textarea>
    <div class="row"><button class="primary" onClick=${() => onSave(draft)}>${words.save}</button><button onClick=${onCancel}>${words.cancel}</button></div></div>`;
}

export function Message({ message, last, busy, words, onEdit, onAgain, onShow }) {
  const [editing, setEditing] = useState(false);
  if (message.role === "user") {
    return html`<article class="user">${editing
      ? html`<${Editor} text=${message.content} words=${words} onSave=${(text) => { setEditing(false); onEdit(text); }} onCancel=${() => setEditing(false)} />`
      : html`<div class="bubble">${message.content}</div>
        <div class="actions"><button onClick=${() => setEditing(true)} disabled=${busy}>${words.edit}</button></div>`}</article>`;
  }
  if (message.role === "tool") {
    return html`<article class="tool"><div class="card"><header>${words.result}</header><pre>${message.content}</pre></div></article>`;
  }
  const pages = pagesOf(message.content);
  const working = busy && last;
  return html`<article class="assistant" aria-busy=${working}>
    <${Thinking} message=${message} busy=${working} words=${words} />
    ${message.content ? html`<${Markdown} text=${message.content} words=${words} />` : null}
    ${(message.tool_calls ?? []).map((call) => html`<div class="card call"><header>${words.call} <code>${call.function.name}</code></header>
      <pre>${pretty(call.function.arguments)}</pre></div>`)}
    ${working && !message.content && !message.reasoning_content ? html`<div class="dots" aria-hidden="true"><i></i><i></i><i></i></div>` : null}
    ${message.error ? html`<p class="error" role="alert">${words.failed}: ${message.error}</p>` : null}
    <div class="actions">
      ${working ? null : html`
        ${pages.map((page) => html`<button class="primary" onClick=${() => onShow(page)}>${words.run}</button>`)}
        <button onClick=${(e) => copy(e.target, message.content ?? "", words)}>${words.copy}</button>
        ${last ? html`<button onClick=${onAgain}>${words.again}</button>` : null}`}
      <${Figures} message=${message} words=${words} />
    </div>
  </article>`;
}

export function Results({ calls, words, onSend }) {
  const [texts, setTexts] = useState(calls.map(() => ""));
  return html`<section class="results">${calls.map((call, i) => html`<label>${words.result}: <code>${call.function.name}</code>
    <textarea rows="2" placeholder=${words.giveResult} value=${texts[i]}
      onInput=${(e) => setTexts(texts.map((text, k) => (k === i ? e.target.value : text)))}></textarea></label>`)}
    <button class="primary" onClick=${() => onSend(calls.map((call, i) => ({ role: "tool", tool_call_id: call.id, content: texts[i] })))}>${words.sendResults}</button>
  </section>`;
}
