// A run while it trains: stages, curves, scores, rollouts, and two of its models side by side.

import { html, render, useEffect, useState } from "./vendor/htm-preact-3.1.1.js";
import { apiKey } from "./api.js";

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

function Curve({ name, points }) {
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
  const [x0, x1] = [xs[0], xs.at(-1)], [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  const at = (p) => `${((p[0] - x0) / (x1 - x0 || 1) * 300).toFixed(1)},${(98 - (p[1] - y0) / (y1 - y0 || 1) * 96).toFixed(1)}`;
  return html`<figure class="curve" style="margin:0"><header><strong>${name}</strong><span>${short(ys.at(-1))} (${short(y0)} … ${short(y1)})</span></header>
    <svg viewBox="0 0 300 100" preserveAspectRatio="none" role="img" aria-label=${name}><polyline points=${points.map(at).join(" ")} /></svg></figure>`;
}

function Scores({ scores }) {
  return html`<div class="bars">${Object.entries(scores).map(([kind, share]) => html`<span>${kind}</span>
    <span><i style=${`width:${Math.max(0.5, share * 100)}%`}></i></span><span>${(share * 100).toFixed(1)} %</span>`)}</div>`;
}

function Rollouts({ stage }) {
  const [found, setFound] = useState(null);
  const load = (step) => ask(`api/rollouts/${encodeURIComponent(stage)}${step === undefined ? "" : `?step=${step}`}`).then(setFound).catch(() => setFound(null));
  useEffect(() => { load(); }, [stage]);
  if (!found?.rows.length) return null;
  return html`<section><h3>Rollouts at step <select value=${found.step} onChange=${(e) => load(e.target.value)}>
    ${found.steps.map((step) => html`<option value=${step}>${step}</option>`)}</select></h3>
    ${found.rows.map((row) => html`<details class=${`rollout ${row.score >= 1 ? "right" : "wrong"}`}>
      <summary>${row.prompt.at(-1).content} <em>(${(row.group * 100).toFixed(0)} % of the group)</em></summary>
      ${row.messages.map((m) => html`${m.reasoning_content ? html`<pre class="thinking">${m.reasoning_content}</pre>` : null}
        ${(m.tool_calls ?? []).map((call) => html`<pre>→ ${call.function.name} ${JSON.stringify(call.function.arguments)}</pre>`)}
        ${m.content ? html`<pre>${m.role === "tool" ? "← " : ""}${m.content}</pre>` : null}`)}</details>`)}</section>`;
}

function Side({ stages, initial, question }) {
  const [stage, setStage] = useState(initial);
  const [answer, setAnswer] = useState(null);
  useEffect(() => {
    if (!question) return;
    setAnswer({ content: "…" });
    ask("api/chat", { stage, messages: [{ role: "user", content: question }] }).then(setAnswer).catch((e) => setAnswer({ content: e.message }));
  }, [question, stage]);
  return html`<div><select value=${stage} onChange=${(e) => setStage(e.target.value)}>${stages.map((name) => html`<option value=${name}>${name}</option>`)}</select>
    ${answer ? html`${answer.reasoning_content ? html`<pre class="thinking">${answer.reasoning_content}</pre>` : null}
      ${(answer.tool_calls ?? []).map((call) => html`<pre>→ ${call.function.name} ${JSON.stringify(call.function.arguments)}</pre>`)}
      <pre class="answer">${answer.content ?? ""}</pre>` : null}</div>`;
}

function Compare({ stages }) {
  const [draft, setDraft] = useState("");
  const [question, setQuestion] = useState("");
  if (stages.length < 1) return null;
  return html`<section><h3>Two stages side by side</h3>
    <form class="row" onSubmit=${(e) => { e.preventDefault(); setQuestion(draft.trim()); }}>
      <input id="question" placeholder="345 + 678" value=${draft} onInput=${(e) => setDraft(e.target.value)} /><button class="primary">Ask</button></form>
    <div class="pair"><${Side} stages=${stages} initial=${stages[0]} question=${question} /><${Side} stages=${stages} initial=${stages.at(-1)} question=${question} /></div></section>`;
}

function App() {
  const [run, setRun] = useState(null);
  const [problem, setProblem] = useState("");
  const [chosen, setChosen] = useState(null);
  const [key, setKey] = useState(apiKey.get());
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
  return html`<div class="watch"><h2>${run?.name ?? "telechat"}</h2>
    ${problem ? html`<p class="error" role="alert">${problem}</p><input type="password" placeholder="API key" value=${key}
      onInput=${(e) => { apiKey.set(e.target.value); setKey(e.target.value); }} />` : null}
    <table><thead><tr><th>stage</th><th>kind</th><th>state</th><th>steps</th><th>seconds</th><th>mean score</th></tr></thead>
      <tbody>${stages.map((s) => html`<tr class=${`${s.state} ${s === stage ? "current" : ""}`} onClick=${() => setChosen(s.name)}>
        <td>${s.name}</td><td>${s.kind}</td><td>${s.state}</td><td>${s.steps || ""}</td><td>${s.seconds ? Math.round(s.seconds) : ""}</td>
        <td>${s.scores ? `${(s.scores.mean * 100).toFixed(1)} %` : ""}</td></tr>`)}</tbody></table>
    ${stage ? html`<h3>${stage.name}</h3><div class="curves">${Object.entries(stage.series).map(([name, points]) => html`<${Curve} key=${name} name=${name} points=${points} />`)}</div>
      ${stage.scores ? html`<${Scores} scores=${stage.scores} />` : null}
      ${stage.rollouts ? html`<${Rollouts} key=${stage.name} stage=${stage.name} />` : null}` : null}
    <${Compare} key=${models.join()} stages=${models} /></div>`;
}

render(html`<${App} />`, document.getElementById("app"));
