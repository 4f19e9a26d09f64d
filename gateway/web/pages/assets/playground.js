// The playground: a client of the gateway like any other, with its insides shown.

import { Refused, Turn } from "./connection.js";
import { clearTalk, Reply, showQuestion, words } from "./talk.js";

const at = (id) => document.getElementById(id);
const [form, message, send, stop, drop, state, events] = ["ask", "message", "send", "stop", "drop", "state", "events"].map(at);
const SAMPLE = [
  {
    name: "search_entries",
    description: "يبحث عن كلمة في المعجم",
    parameters: { type: "object", properties: { word: { type: "string" } }, required: ["word"] },
  },
];
let conversation = "";
let turn = null;

function fresh() {
  conversation = `playground-${Date.now()}-${Math.random().toString(36).slice(2, 8)}`;
  at("conversation-id").textContent = conversation;
  at("conversation").href = `/dashboard/conversations/${conversation}`;
  clearTalk();
  state.textContent = "";
}

/** The tools of the editor, or null where they are none that can be sent. */
function tools() {
  const text = at("tools").value.trim();
  try {
    const found = text ? JSON.parse(text) : [];
    if (!Array.isArray(found)) throw new SyntaxError();
    at("tools-problem").textContent = "";
    return found;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    at("tools-problem").textContent = words.badTools;
    at("tools-box").open = true;
    at("tools").focus();
    return null;
  }
}

/** What every request of this page has in common, or null. */
function settings() {
  const offered = tools();
  if (offered === null) return null;
  const chosen = at("model").selectedOptions[0];
  const body = { conversation_id: conversation };
  if (chosen) Object.assign(body, { provider: chosen.dataset.provider, model: chosen.value });
  if (at("system").value.trim()) body.system_prompt = at("system").value;
  if (offered.length) body.tools = offered;
  return body;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function showCurl(body, key) {
  at("curl").textContent = [
    `curl -N ${location.origin}/chat/stream`,
    '  -H "Authorization: Bearer $ADMIN_TOKEN"',
    "  -H 'Content-Type: application/json'",
    `  -H 'Idempotency-Key: ${key}'`,
    `  -d ${quoted(JSON.stringify(body))}`,
  ].join(" \\\n");
}

function showEvent(event) {
  events.append(`id: ${event.id}\nevent: ${event.event}\ndata: ${JSON.stringify(event.data)}\n\n`);
}

function busy(running) {
  send.disabled = running;
  stop.disabled = drop.disabled = !running;
}

async function run(body) {
  turn = new Turn(body);
  const reply = new Reply();
  events.textContent = "";
  showCurl(body, turn.key);
  state.textContent = words.waiting;
  busy(true);
  const began = performance.now();
  try {
    for await (const event of turn.events(() => cut(reply), () => resumed(reply))) {
      showEvent(event);
      show(event, reply, began);
    }
  } catch (error) {
    const problem = error instanceof Refused ? error.problem : null;
    reply.note(problem ? `${problem.status} ${problem.code}: ${problem.detail}` : String(error), "problem");
    state.textContent = words.failed;
    reply.end(null);
  } finally {
    busy(false);
  }
}

function cut(reply) {
  reply.note(`${words.dropped} ${turn.lastEventId?.split(".").pop() ?? "–"}`, "note cut");
}

function resumed(reply) {
  reply.resumedAt = turn.counts.slice(0, -1).reduce((sum, count) => sum + count, 0);
}

function show(event, reply, began) {
  const { data } = event;
  if (["token", "thought", "tool_call", "source"].includes(event.event) && state.textContent === words.waiting) {
    state.textContent = `${words.writing}. ${words.first}: ${Math.round(performance.now() - began)} ms`;
  }
  if (event.event === "token") reply.token(data.text);
  else if (event.event === "thought") reply.thought(data.text);
  else if (event.event === "tool_call") reply.call(data);
  else if (event.event === "source") reply.source(data);
  else if (event.event === "status") reply.note(`${data.state === "retrying" ? words.retrying : words.switched}: ${data.provider} ${data.model}`);
  else if (event.event === "done") done(data, reply, began);
  else if (event.event === "failed") failed(data, reply);
}

function done(data, reply, began) {
  const cost = data.usage.cost_usd === null ? "" : ` · $${data.usage.cost_usd}`;
  const tokens = `${data.usage.input_tokens ?? "–"} + ${data.usage.output_tokens ?? "–"}`;
  const took = Math.round(performance.now() - began);
  if (reply.resumedAt) reply.note(`${words.before}: ${reply.resumedAt}, ${words.after}: ${turn.counts.at(-1)}`, "note resumed");
  state.textContent = `${words[data.status] ?? data.status} · ${data.provider} ${data.model} · ${tokens} · ${took} ms${cost}`;
  reply.end((results) => answer(results));
  if (!reply.calls.length) message.focus();
}

function failed(data, reply) {
  reply.note(`${data.status} ${data.code}: ${data.detail}`, "problem");
  state.textContent = words.failed;
  reply.end(null);
}

function answer(results) {
  const body = settings();
  if (body) run({ ...body, messages: results });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const body = settings();
  const text = message.value.trim();
  if (!body || !text || send.disabled) return;
  showQuestion(text);
  message.value = "";
  run({ ...body, message: text });
});
message.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
stop.addEventListener("click", () => {
  state.textContent = words.stopping;
  turn.stop();
});
drop.addEventListener("click", () => turn.drop());
at("fresh").addEventListener("click", () => {
  fresh();
  message.focus();
});
at("sample-tool").addEventListener("click", () => {
  at("tools").value = JSON.stringify(SAMPLE, null, 2);
});
at("settings").addEventListener("submit", (event) => event.preventDefault());
at("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(at("curl").textContent);
  at("copy").textContent = words.copied;
});
fresh();
