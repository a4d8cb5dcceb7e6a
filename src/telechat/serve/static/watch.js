// A run while it trains: stages, curves, scores, rollouts, and two of its models side by side.

import { html, render, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact-3.1.1.js";
import { apiKey } from "./api.js";
import { preferredLanguage, wordsOf } from "./words.js";

const EVERY = 3000;

async function ask(path, body) {
  const key = apiKey.get();
  const headers = { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
  const answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  const found = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(found.error?.message ?? answer.status), { status: answer.status });
  return found;
}

const short = (value) => (Math.abs(value) >= 1000 ? Math.round(value).toLocaleString() : Number(value.toPrecision(4)).toString());
const percent = (share) => `${(share * 100).toFixed(1)} %`;

function Curve({ name, points }) {
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
  const [x0, x1] = [xs[0], xs.at(-1)], [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  const at = (p) => `${((p[0] - x0) / (x1 - x0 || 1) * 300).toFixed(1)},${(98 - (p[1] - y0) / (y1 - y0 || 1) * 96).toFixed(1)}`;
  return html`<figure class="curve" style="margin:0"><header><strong>${name}</strong><span>${short(ys.at(-1))} (${short(y0)} … ${short(y1)})</span></header>
    <svg viewBox="0 0 300 100" preserveAspectRatio="none" role="img" aria-label=${name}><polyline points=${points.map(at).join(" ")} /></svg></figure>`;
}

function Bars({ title, shares }) {
  return html`<section><h3>${title}</h3><div class="bars">${Object.entries(shares).map(([kind, share]) => html`<span>${kind}</span>
    <span><i style=${`width:${Math.max(0.5, share * 100)}%`}></i></span><span>${percent(share)}</span>`)}</div></section>`;
}

function Turn({ message }) {
  if (message.role === "user") return html`<pre class="asked">${message.content}</pre>`;
  return html`${message.reasoning_content ? html`<pre class="thinking">${message.reasoning_content}</pre>` : null}
    ${(message.tool_calls ?? []).map((call) => html`<pre>→ ${call.function.name} ${JSON.stringify(call.function.arguments)}</pre>`)}
    ${message.content ? html`<pre class=${message.role === "assistant" ? "answer" : ""}>${message.role === "tool" ? "← " : ""}${message.content}</pre>` : null}`;
}

function Rollout({ row, words }) {
  const parts = Object.entries(row.reward ?? {}).map(([name, value]) => `${name} ${short(value)}`).join(" + ");
  return html`<details class=${`rollout ${row.score >= 1 ? "right" : "wrong"}`}>
    <summary>${row.prompt.at(-1).content} <em>(${words.ofGroup(percent(row.group))}${parts ? `; ${words.reward} ${parts}` : ""})</em></summary>
    ${row.messages.map((message) => html`<${Turn} message=${message} />`)}</details>`;
}

// The newest rollouts, as they come; those of one step once it was chosen.
function Rollouts({ stage, count, words }) {
  const [found, setFound] = useState(null);
  const [step, setStep] = useState(null);
  useEffect(() => {
    let current = true;
    ask(`api/rollouts/${encodeURIComponent(stage)}${step === null ? "" : `?step=${step}`}`)
      .then((rows) => current && setFound(rows)).catch(() => {});
    return () => { current = false; };
  }, [stage, count, step]);
  if (!found?.rows.length) return null;
  return html`<section class="rollouts"><h3>${words.rollouts} <select value=${step ?? ""} onChange=${(e) => setStep(e.target.value === "" ? null : Number(e.target.value))}>
    <option value="">${words.newest} (${found.steps.at(-1)})</option>
    ${found.steps.map((each) => html`<option value=${each}>${each}</option>`)}</select></h3>
    ${found.rows.map((row) => html`<${Rollout} key=${`${row.step} ${row.task}`} row=${row} words=${words} />`)}</section>`;
}

// One stage's side of a conversation: it goes on with its own answers, whatever the other one says. Another stage is
// asked all the questions again.
function Side({ stages, initial, questions, words }) {
  const [stage, setStage] = useState(initial);
  const [, redraw] = useState(0);
  const talk = useRef({ messages: [], answered: 0, busy: false });
  useEffect(() => {
    let mine = talk.current;
    if (mine.stage !== stage || mine.answered > questions.length || (mine.busy && !questions.length)) {
      mine = talk.current = { stage, messages: [], answered: 0, busy: false };
    }
    mine.questions = questions;
    const go = async () => {
      mine.busy = true;
      while (mine === talk.current && mine.answered < mine.questions.length) {
        mine.messages.push({ role: "user", content: mine.questions[mine.answered] });
        redraw((n) => n + 1);
        try {
          mine.messages.push(await ask("api/chat", { stage, messages: mine.messages.filter((m) => !m.failed) }));
        } catch (problem) {
          mine.messages.push({ role: "assistant", content: problem.message, failed: true });
        }
        mine.answered += 1;
      }
      mine.busy = false;
      redraw((n) => n + 1);
    };
    if (!mine.busy) go();
  }, [questions, stage]);
  const { messages, busy } = talk.current;
  return html`<div class="side"><select aria-label=${words.stage} value=${stage} onChange=${(e) => setStage(e.target.value)}>
      ${stages.map((name) => html`<option value=${name}>${name}</option>`)}</select>
    ${messages.map((message, i) => html`<${Turn} key=${i} message=${message} />`)}
    ${busy ? html`<div class="dots" aria-hidden="true"><i></i><i></i><i></i></div>` : null}</div>`;
}

function Compare({ stages, words }) {
  const [draft, setDraft] = useState("");
  const [questions, setQuestions] = useState([]);
  if (!stages.length) return null;
  const send = (event) => {
    event.preventDefault();
    if (!draft.trim()) return;
    setQuestions([...questions, draft.trim()]);
    setDraft("");
  };
  return html`<section><h3>${words.sideBySide}</h3>
    <div class="pair"><${Side} stages=${stages} initial=${stages[0]} questions=${questions} words=${words} />
      <${Side} stages=${stages} initial=${stages.at(-1)} questions=${questions} words=${words} /></div>
    <form class="row" onSubmit=${send}>
      <input id="question" placeholder="345 + 678" aria-label=${words.ask} value=${draft} onInput=${(e) => setDraft(e.target.value)} />
      <button class="primary">${words.send}</button>
      <button type="button" onClick=${() => setQuestions([])}>${words.newChat}</button></form></section>`;
}

function Stages({ stages, current, words, onChoose }) {
  return html`<table><thead><tr>${[words.stage, words.kind, words.state, words.steps, words.seconds, words.meanScore].map((name) => html`<th>${name}</th>`)}</tr></thead>
    <tbody>${stages.map((s) => html`<tr class=${`${s.state} ${s === current ? "current" : ""}`} onClick=${() => onChoose(s.name)}>
      <td>${s.name}</td><td>${s.kind}</td><td>${words.states[s.state] ?? s.state}</td><td>${s.steps || ""}</td><td>${s.seconds ? Math.round(s.seconds) : ""}</td>
      <td>${s.scores ? percent(s.scores.mean) : ""}</td></tr>`)}</tbody></table>`;
}

function App() {
  const [language, setLanguage] = useState(preferredLanguage);
  const [run, setRun] = useState(null);
  const [problem, setProblem] = useState("");
  const [chosen, setChosen] = useState(null);
  const [key, setKey] = useState(apiKey.get());
  const words = wordsOf(language);
  useLayoutEffect(() => {
    document.documentElement.lang = language;
    localStorage.setItem("telechat.language", language);
  }, [language]);
  useEffect(() => {
    let going = true;
    const look = async () => {
      try {
        setRun(await ask("api/run"));
        setProblem("");
      } catch (error) {
        setProblem(error.message);
      }
      if (going) setTimeout(look, EVERY);
    };
    look();
    return () => { going = false; };
  }, [key]);
  const stages = run?.stages ?? [];
  const stage = stages.find((s) => s.name === chosen) ?? stages.at(-1);
  const models = stages.filter((s) => s.model).map((s) => s.name);
  return html`<div class="watch"><header class="row"><h2>${run?.name ?? "telechat"}</h2><span class="space"></span>
      <button id="language" onClick=${() => setLanguage(language === "zh" ? "en" : "zh")}>${words.language}</button></header>
    ${problem ? html`<p class="error" role="alert">${problem}</p><input type="password" placeholder=${words.key} value=${key}
      onInput=${(e) => { apiKey.set(e.target.value); setKey(e.target.value); }} />` : null}
    <${Stages} stages=${stages} current=${stage} words=${words} onChoose=${setChosen} />
    ${stage ? html`<h3>${stage.name}</h3><div class="curves">${Object.entries(stage.series).map(([name, points]) => html`<${Curve} key=${name} name=${name} points=${points} />`)}</div>
      ${Object.keys(stage.rates ?? {}).length ? html`<${Bars} title=${words.passRates} shares=${stage.rates} />` : null}
      ${stage.scores ? html`<${Bars} title=${words.scores} shares=${stage.scores} />` : null}
      ${stage.rollouts ? html`<${Rollouts} key=${stage.name} stage=${stage.name} count=${stage.rollouts} words=${words} />` : null}` : null}
    <${Compare} stages=${models} words=${words} /></div>`;
}

render(html`<${App} />`, document.getElementById("app"));
