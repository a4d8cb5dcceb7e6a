// Conversations and settings, kept in this browser only.

import { CARD, PRESETS } from "./presets.js";

export const PLACE = "telechat.chats";
const DEFAULTS = { system: "", preset: "", temperature: "", topP: "", maxTokens: "", tools: "" };

export function freshChat(settings) {
  return { id: crypto.randomUUID?.() ?? `${Date.now()}${Math.random()}`, title: "", messages: [], updated: Date.now(),
           settings: { ...DEFAULTS, ...settings } };
}

export function loadChats() {
  try {
    const chats = JSON.parse(localStorage.getItem(PLACE) ?? "[]");
    return Array.isArray(chats) ? chats.filter(isChat) : [];
  } catch {
    return [];
  }
}

// What another tab has saved, with this tab's newer versions; `busy` is being answered here and stays.
export function mergeChats(mine, busy) {
  const stored = loadChats();
  const newest = stored.map((chat) => mine.find((m) => m.id === chat.id && m.updated > chat.updated) ?? chat);
  return [...mine.filter((m) => m.id === busy && !stored.some((chat) => chat.id === m.id)), ...newest];
}

// The oldest conversations make room when the browser has none left.
export function saveChats(chats) {
  let kept = chats.filter((chat) => chat.messages.length);
  while (kept.length) {
    try {
      localStorage.setItem(PLACE, JSON.stringify(kept));
      return;
    } catch {
      const oldest = kept.reduce((a, b) => (a.updated < b.updated ? a : b));
      kept = kept.filter((chat) => chat !== oldest);
    }
  }
  localStorage.removeItem(PLACE);
}

export function isChat(chat) {
  return typeof chat?.id === "string" && Array.isArray(chat.messages) && chat.messages.every((m) => typeof m?.role === "string")
    && typeof chat.settings === "object";
}

export function titleOf(chat, words) {
  const first = chat.messages.find((message) => message.role === "user")?.content ?? "";
  return chat.title || first.split("\n")[0].slice(0, 60) || words.name;
}

// What the server is sent for a conversation.
export function requestOf(chat, { id: model, owned_by: owner } = {}) {
  const { system, preset, temperature, topP, maxTokens, tools } = chat.settings;
  const messages = chat.messages.filter((m) => !m.error || m.content || m.tool_calls).map(({ role, content, reasoning_content, tool_calls, tool_call_id }) => ({
    role, content: content ?? null,
    ...(reasoning_content ? { reasoning_content } : {}),
    ...(tool_calls ? { tool_calls } : {}),
    ...(tool_call_id ? { tool_call_id } : {}),
  }));
  const offered = parseTools(tools);
  return {
    model: model ?? "",
    messages: system ? [{ role: "system", content: system }, ...messages] : messages,
    ...(preset ? (owner === "telechat" ? { preset } : sampling(preset, model)) : {}),
    ...(!preset && temperature !== "" ? { temperature: Number(temperature) } : {}),
    ...(!preset && topP !== "" ? { top_p: Number(topP) } : {}),
    ...(maxTokens !== "" ? { max_tokens: Number(maxTokens) } : {}),
    ...(offered?.length ? { tools: offered } : {}),
  };
}

// A preset in numbers, for a server that does not know it by name.
function sampling(preset, model) {
  return /2\.5/.test(model) ? CARD : PRESETS[preset] ?? {};
}

// The tools of a settings text: null when it is no JSON list of objects.
export function parseTools(text) {
  if (!text?.trim()) return [];
  try {
    const tools = JSON.parse(text);
    return Array.isArray(tools) && tools.every((tool) => typeof tool === "object" && tool) ? tools : null;
  } catch {
    return null;
  }
}
