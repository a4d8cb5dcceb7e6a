// The playground: conversations, one answer at a time, and the page that an answer holds beside them.

import { html, render, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/htm-preact-3.1.1.js";
import { addChunk, ApiError, dropUnfinishedCalls, apiKey, complete, models } from "./api.js";
import { Artifact } from "./artifact.js";
import { pagesOf } from "./markdown.js";
import { Message, Results } from "./message.js";
import { Chats, Settings } from "./panels.js";
import { PLACE, freshChat, isChat, loadChats, mergeChats, requestOf, saveChats } from "./store.js";
import { preferredLanguage, wordsOf } from "./words.js";

function useChats() {
  const [chats, setChats] = useState(loadChats);
  const [id, setId] = useState(null);
  const current = useMemo(() => chats.find((chat) => chat.id === id) ?? null, [chats, id]);
  const busyId = useRef(null);
  useEffect(() => saveChats(chats), [chats]);
  useEffect(() => {
    const elsewhere = (event) => event.key === PLACE && setChats((mine) => mergeChats(mine, busyId.current));
    addEventListener("storage", elsewhere);
    return () => removeEventListener("storage", elsewhere);
  }, []);
  return { chats, setChats, current, busyId, open: (chat) => setId(chat?.id ?? null) };
}

function App() {
  const [language, setLanguage] = useState(preferredLanguage);
  const words = wordsOf(language);
  const { chats, setChats, current, busyId, open } = useChats();
  const [model, setModel] = useState({});
  const [problem, setProblem] = useState("");
  const [draft, setDraft] = useState("");
  const [search, setSearch] = useState("");
  const [busy, setBusy] = useState(false);
  const [settingsOpen, setSettingsOpen] = useState(false);
  const [menuOpen, setMenuOpen] = useState(false);
  const [page, setPage] = useState(null);
  const [key, setKey] = useState(apiKey.get());
  const [blank, setBlank] = useState(() => freshChat());
  const stopper = useRef(null);
  const bottom = useRef(null);
  const follow = useRef(true);
  const chat = current ?? blank;
  const shown = useRef(null);
  shown.current = chat.id;

  useLayoutEffect(() => {
    document.documentElement.lang = language;
    localStorage.setItem("telechat.language", language);
  }, [language]);

  useEffect(() => {
    models().then((found) => { setModel(found[0] ?? {}); setProblem(""); }).catch((error) => {
      setProblem(error.message);
      if (error.status === 401) setSettingsOpen(true);
    });
  }, [key]);

  useEffect(() => {
    const press = (event) => {
      if (event.key === "Escape") stopper.current?.abort();
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setMenuOpen(true);
        setTimeout(() => document.getElementById("search")?.focus());
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);

  useEffect(() => {
    if (follow.current) bottom.current?.scrollIntoView({ block: "end" });
  });

  // Replaces a conversation by a changed copy; one that is new comes first.
  function put(changed) {
    changed = { ...changed, updated: Date.now() };
    setChats((before) => (before.some((c) => c.id === changed.id) ? before.map((c) => (c.id === changed.id ? changed : c)) : [changed, ...before]));
    return changed;
  }

  async function answer(asked) {
    const message = { role: "assistant", content: null, started: Date.now() };
    const { id } = put({ ...asked, messages: [...asked.messages, message] });
    open({ id });
    setBusy(true);
    busyId.current = id;
    follow.current = true;
    stopper.current = new AbortController();
    let drawn = 0;
    const draw = (force) => {
      if (!force && performance.now() - drawn < 40) return; // the eye sees no more, and drawing costs
      drawn = performance.now();
      const messages = [...asked.messages, { ...message, tool_calls: message.tool_calls && [...message.tool_calls] }];
      // Only the messages: the conversation may have been removed meanwhile, or have other settings.
      setChats((before) => before.map((c) => (c.id === id ? { ...c, messages, updated: Date.now() } : c)));
    };
    try {
      for await (const chunk of complete(requestOf(asked, model), stopper.current.signal)) {
        const before = (message.content?.length ?? 0) + (message.reasoning_content?.length ?? 0);
        addChunk(message, chunk);
        if ((message.content?.length ?? 0) + (message.reasoning_content?.length ?? 0) > before || message.tool_calls) {
          message.firstAt ??= Date.now();
          message.pieces = (message.pieces ?? 0) + 1;
        }
        draw(false);
      }
    } catch (error) {
      if (error.name !== "AbortError") message.error = error.message;
      if (error instanceof ApiError && error.status === 401) setSettingsOpen(true);
    } finally {
      message.endedAt = Date.now();
      dropUnfinishedCalls(message);
      const made = message.error ? [] : pagesOf(message.content);
      if (made.length && shown.current === id && matchMedia("(min-width: 800px)").matches) setPage(made.at(-1)); // a page shows by itself, where it was asked for
      draw(true);
      setBusy(false);
      busyId.current = null;
      stopper.current = null;
    }
  }

  function ask(text) {
    if (!text.trim() || busy) return;
    setDraft("");
    if (!current) setBlank(freshChat(chat.settings));
    answer({ ...chat, messages: [...chat.messages, { role: "user", content: text }] });
  }

  // Goes back to a question, changed or not, and forgets what came after it.
  function askAgain(index, text) {
    const messages = chat.messages.slice(0, index);
    answer({ ...chat, messages: [...messages, { role: "user", content: text }] });
  }

  function regenerate() {
    const last = chat.messages.findLastIndex((message) => message.role !== "assistant");
    answer({ ...chat, messages: chat.messages.slice(0, last + 1) });
  }

  function remove(gone) {
    if (busy && gone === current) stopper.current?.abort();
    setChats((before) => before.filter((c) => c.id !== gone.id));
    if (gone === current) open(null);
  }

  function exportChats() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(chats, null, 1)], { type: "application/json" }));
    link.download = "telechat-chats.json";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  async function importChats(file) {
    if (!file) return;
    try {
      const found = JSON.parse(await file.text()).filter(isChat);
      setChats((before) => [...found.filter((c) => !before.some((b) => b.id === c.id)), ...before]);
    } catch (error) {
      setProblem(error.message);
    }
  }

  const messages = chat.messages;
  const lastMessage = messages.at(-1);
  const waiting = !busy && lastMessage?.role === "assistant" && lastMessage.tool_calls?.length ? lastMessage.tool_calls : null;
  const changeSettings = (settings) => (current ? put({ ...current, settings }) : setBlank({ ...blank, settings }));

  return html`<div class=${`shell ${menuOpen ? "menu-open" : ""} ${page !== null ? "with-artifact" : ""}`}>
    <${Chats} chats=${chats} current=${current} words=${words} search=${search} onSearch=${setSearch}
      onOpen=${(c) => { open(c); setMenuOpen(false); setPage(null); }} onNew=${() => { open(null); setMenuOpen(false); setPage(null); }}
      onRemove=${remove} onExport=${exportChats} onImport=${importChats} />
    <main>
      <header class="top">
        <button class="menu" aria-label=${words.menu} onClick=${() => setMenuOpen(!menuOpen)}>☰</button>
        <strong title=${words.model}>${model.id || "telechat"}</strong>
        <span class="space"></span>
        <button onClick=${() => setLanguage(language === "zh" ? "en" : "zh")}>${words.language}</button>
        <button aria-expanded=${settingsOpen} onClick=${() => setSettingsOpen(!settingsOpen)}>${words.settings}</button>
      </header>
      ${problem ? html`<p class="error banner" role="alert">${problem}</p>` : null}
      ${settingsOpen ? html`<${Settings} settings=${chat.settings} words=${words} apiKey=${key} onChange=${changeSettings}
        onKey=${(value) => { apiKey.set(value); setKey(value); }} onClose=${() => setSettingsOpen(false)} />` : null}
      <section class="talk" aria-live="polite" onScroll=${(e) => { const t = e.target; follow.current = t.scrollHeight - t.scrollTop - t.clientHeight < 60; }}>
        ${messages.length ? null : html`<p class="empty">${words.empty}</p>`}
        ${messages.map((message, index) => html`<${Message} key=${index} message=${message} last=${index === messages.length - 1} busy=${busy} words=${words}
          onEdit=${(text) => askAgain(index, text)} onAgain=${regenerate} onShow=${setPage} />`)}
        ${waiting ? html`<${Results} key=${messages.length} calls=${waiting} words=${words}
          onSend=${(results) => answer({ ...chat, messages: [...messages, ...results] })} />` : null}
        <div ref=${bottom}></div>
      </section>
      <form class="composer" onSubmit=${(e) => { e.preventDefault(); ask(draft); }}>
        <textarea id="draft" rows=${Math.min(8, draft.split("\n").length)} placeholder=${words.ask} aria-label=${words.ask} value=${draft} autofocus
          onInput=${(e) => setDraft(e.target.value)}
          onKeyDown=${(e) => { if (e.key === "Enter" && !e.shiftKey && !e.isComposing) { e.preventDefault(); ask(draft); } }}></textarea>
        ${busy ? html`<button type="button" class="stop" onClick=${() => stopper.current?.abort()}>${words.stop}</button>`
          : html`<button class="primary" disabled=${!draft.trim()}>${words.send}</button>`}
      </form>
    </main>
    ${page !== null ? html`<${Artifact} page=${page} words=${words} onClose=${() => setPage(null)}
      onFix=${(errors) => ask(`${words.fix}:\n\n\`\`\`\n${errors}\n\`\`\``)} />` : null}
  </div>`;
}

render(html`<${App} />`, document.getElementById("app"));
