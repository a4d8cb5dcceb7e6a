// The server: what it serves, and one streamed answer at a time.

const KEY = "telechat.key";

export const apiKey = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (key) => sessionStorage.setItem(KEY, key),
};

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function headers() {
  const key = apiKey.get();
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

async function failure(answer) {
  let text = `${answer.status}`;
  try {
    text = (await answer.json()).error.message;
  } catch { /* no JSON: the status must do */ }
  return new ApiError(answer.status, text);
}

export async function models() {
  const answer = await fetch("v1/models", { headers: headers() });
  if (!answer.ok) throw await failure(answer);
  return (await answer.json()).data;
}

// The verdict of the page evaluator; `signal` stops it.
export async function check(page, signal) {
  const answer = await fetch("playground/check", { method: "POST", headers: headers(), body: JSON.stringify({ html: page }), signal });
  if (!answer.ok) throw await failure(answer);
  return answer.json();
}

// Yields the parsed chunks of a chat completion; `signal` stops it.
export async function* complete(body, signal) {
  const answer = await fetch("v1/chat/completions", {
    method: "POST",
    headers: headers(),
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true, continuous_usage_stats: true } }),
    signal,
  });
  if (!answer.ok) throw await failure(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ") || event === "data: [DONE]") continue;
      const chunk = JSON.parse(event.slice(6));
      if (chunk.error) throw new ApiError(500, chunk.error.message);
      yield chunk;
    }
  }
}

// Adds a chunk to the assistant message that it belongs to.
export function addChunk(message, chunk) {
  if (chunk.usage) message.usage = chunk.usage;
  for (const choice of chunk.choices ?? []) {
    const delta = choice.delta ?? {};
    const thought = delta.reasoning_content ?? delta.reasoning;
    if (thought) message.reasoning_content = (message.reasoning_content ?? "") + thought;
    if (delta.content) message.content = (message.content ?? "") + delta.content;
    for (const part of delta.tool_calls ?? []) {
      message.tool_calls ??= [];
      const call = (message.tool_calls[part.index] ??= { id: "", type: "function", function: { name: "", arguments: "" } });
      if (part.id) call.id = part.id;
      call.function.name += part.function?.name ?? "";
      call.function.arguments += part.function?.arguments ?? "";
    }
    if (choice.finish_reason) message.finish = choice.finish_reason;
  }
}

// An answer that ended inside a call: such a call can be neither answered nor sent back.
export function dropUnfinishedCalls(message) {
  if (!message.tool_calls) return;
  message.tool_calls = message.tool_calls.filter((call) => {
    try {
      return Boolean(call) && typeof JSON.parse(call.function.arguments || "{}") === "object";
    } catch {
      return false;
    }
  });
  if (!message.tool_calls.length) delete message.tool_calls;
}
