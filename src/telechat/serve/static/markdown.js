// Markdown to safe HTML with highlighted code, and the pages that an answer holds.

import { Marked } from "./vendor/marked-18.2.1.js";
import DOMPurify from "./vendor/dompurify-3.4.18.js";
import hljs from "./vendor/highlight-11.12.0.js";

const escaped = (text) => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    code({ text, lang }) {
      const language = (lang ?? "").split(/\s/)[0];
      const known = language && hljs.getLanguage(language);
      const body = known ? hljs.highlight(text, { language, ignoreIllegals: true }).value : escaped(text);
      return `<div class="code"><div class="code-head"><span>${escaped(language)}</span><button type="button" class="copy"></button></div>`
        + `<pre><code class="hljs">${body}</code></pre></div>`;
    },
    image({ href, text }) {
      return `<a href="${escaped(href)}">${escaped(text || href)}</a>`; // nothing is fetched that the reader did not ask for
    },
  },
});

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer");
  }
});

export function toHtml(text) {
  return DOMPurify.sanitize(marked.parse(text), { FORBID_TAGS: ["style", "form", "input", "img"], FORBID_ATTR: ["style"] });
}

// The HTML documents of an answer: fenced blocks, or the answer itself when it is one.
export function pagesOf(text) {
  const pages = [...(text ?? "").matchAll(/```(?:html|HTML)[^\n]*\n([\s\S]*?)```/g)].map((match) => match[1]);
  const whole = (text ?? "").trim();
  if (!pages.length && /^<(?:!doctype html|html)[\s>]/i.test(whole)) pages.push(whole);
  return pages.filter((page) => /<[a-z!]/i.test(page));
}
