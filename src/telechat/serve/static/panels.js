// The list of conversations and the settings.

import { html, useState } from "./vendor/htm-preact-3.1.1.js";
import { parseTools, titleOf } from "./store.js";

export function Chats({ chats, current, words, onOpen, onNew, onRemove, onExport, onImport, search, onSearch }) {
  const wanted = search.trim().toLowerCase();
  const shown = chats.filter((chat) => chat.messages.length || chat === current).filter((chat) => !wanted
    || titleOf(chat, words).toLowerCase().includes(wanted)
    || chat.messages.some((m) => m.content?.toLowerCase().includes(wanted)));
  return html`<nav class="chats" aria-label=${words.menu}>
    <button class="primary wide" onClick=${onNew}>${words.newChat}</button>
    <input id="search" type="search" placeholder=${words.search} value=${search} onInput=${(e) => onSearch(e.target.value)} />
    <ul>${[...shown].sort((a, b) => b.updated - a.updated).map((chat) => html`<li key=${chat.id} class=${chat === current ? "current" : ""}>
      <button class="open" onClick=${() => onOpen(chat)}>${titleOf(chat, words)}</button>
      <button class="remove" aria-label=${words.remove} title=${words.remove} onClick=${() => onRemove(chat)}>✕</button></li>`)}</ul>
    <div class="row">
      <button onClick=${onExport}>${words.export}</button>
      <label class="button">${words.import}<input type="file" accept="application/json" hidden onChange=${(e) => onImport(e.target.files[0])} /></label>
    </div>
  </nav>`;
}

const PRESETS = ["code", "agent", "math", "general"];

export function Settings({ settings, words, apiKey, onChange, onKey, onClose }) {
  const [badTools, setBadTools] = useState(false);
  const change = (name) => (event) => onChange({ ...settings, [name]: event.target.value });
  const number = (name, label, step, low, high) => html`<label>${label}<input type="number" step=${step} min=${low} max=${high} value=${settings[name]}
    disabled=${Boolean(settings.preset) && name !== "maxTokens"} onInput=${change(name)} /></label>`;
  return html`<dialog open class="settings" aria-label=${words.settings}>
    <header><strong>${words.settings}</strong><button onClick=${onClose} aria-label=${words.close}>✕</button></header>
    <label>${words.system}<textarea rows="3" value=${settings.system} onInput=${change("system")}></textarea></label>
    <label>${words.preset}<select value=${settings.preset} onChange=${change("preset")}>
      <option value="">${words.own}</option>${PRESETS.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
    <div class="grid">${number("temperature", words.temperature, 0.1, 0, 2)}${number("topP", words.topP, 0.05, 0.05, 1)}${number("maxTokens", words.maxTokens, 1, 1, 1000000)}</div>
    <label>${words.tools}<textarea rows="4" spellcheck="false" value=${settings.tools}
      onInput=${(e) => { setBadTools(parseTools(e.target.value) === null); change("tools")(e); }}></textarea></label>
    ${badTools ? html`<p class="error" role="alert">${words.badTools}</p>` : null}
    <label>${words.key}<input type="password" autocomplete="off" value=${apiKey} onInput=${(e) => onKey(e.target.value)} /></label>
  </dialog>`;
}
