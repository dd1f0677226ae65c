"use strict";
// The page's behaviour, part by part as the page has them. What came from a server is only ever shown as text.

const byId = (id) => document.getElementById(id);

function make(name, properties, ...children) {
  const element = document.createElement(name);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

// ---- languages, themes, parts --------------------------------------------------------------------------------------

const shown = { language: navigator.language.startsWith("zh") ? "zh" : "en", theme: "auto" };
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

// A browser may forbid a page to remember anything; then it begins anew each time.
function remember(name, value) {
  try { localStorage.setItem(`oaiserve.${name}`, value); } catch { /* it is for this time only */ }
}
function remembered(name) {
  try { return localStorage.getItem(`oaiserve.${name}`); } catch { return null; }
}

function say(word, values = {}) {
  return WORDS[shown.language][word].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function showLanguage() {
  document.documentElement.lang = shown.language;
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = say(element.dataset.word);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label));
  for (const element of document.querySelectorAll("[data-hint]")) element.placeholder = say(element.dataset.hint);
  const other = shown.language === "en" ? "zh" : "en";
  byId("language").textContent = other === "zh" ? "中文" : "English";
  byId("language").lang = other;
  showTheme();
}

function showTheme() {
  const isDark = shown.theme === "dark" || (shown.theme === "auto" && systemIsDark.matches);
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  byId("theme").textContent = say(`theme_${shown.theme}`);
}

byId("language").onclick = () => {
  shown.language = shown.language === "en" ? "zh" : "en";
  remember("language", shown.language);
  showLanguage();
  showServer();
  showState();
  learnServer();
  showMessages();
  showWatching();
  drawRows();
  showMine();
};
byId("theme").onclick = () => {
  shown.theme = { auto: "light", light: "dark", dark: "auto" }[shown.theme];
  remember("theme", shown.theme);
  showTheme();
};
systemIsDark.addEventListener("change", showTheme);

const tabs = [...document.querySelectorAll("[role=tab]")];
const onShown = {}; // what is to be done when a part begins or ceases to be seen

// With its slash it is no element's name: a browser would go there, past the head, and take the focus away.
const namedPart = () => location.hash.replace(/^#\/?/, "");

function showPart(name) {
  const known = tabs.find((tab) => !tab.hidden && tab.getAttribute("aria-controls") === name) || tabs[0];
  for (const tab of tabs) {
    const part = tab.getAttribute("aria-controls");
    tab.setAttribute("aria-selected", tab === known);
    tab.tabIndex = tab === known ? 0 : -1;
    byId(part).hidden = tab !== known;
    if (onShown[part]) onShown[part](tab === known);
  }
}
for (const tab of tabs) {
  tab.onclick = () => { location.hash = `/${tab.getAttribute("aria-controls")}`; };
  tab.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const there = tabs.filter((other) => !other.hidden);
    const next = there[(there.indexOf(tab) + step + there.length) % there.length];
    next.focus();
    next.click();
  };
}
addEventListener("hashchange", () => showPart(namedPart()));

async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page that came without TLS from elsewhere has no clipboard of its own
    const area = make("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = say("copied");
  setTimeout(() => { button.textContent = say(button.dataset.word || "copy"); }, 1500);
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.onclick = () => copyText(byId(button.dataset.copy).textContent, button);
}

// ---- asking the server ---------------------------------------------------------------------------------------------

const address = (path) => new URL(path, location.origin + location.pathname).href;
const base = address("v1");

function withKey(fields = {}) {
  const key = byId("key").value.trim();
  return key ? { ...fields, authorization: `Bearer ${key}` } : fields;
}

class Refused extends Error {
  constructor(status, text) {
    let message = text.slice(0, 2000);
    try {
      const { error, message: detail } = JSON.parse(text);
      message = (error && error.message) || detail || message;
    } catch { /* it is no JSON, and shown as it came */ }
    super(say("refused", { status, message }));
    this.status = status;
  }
}

async function getJson(path) {
  const answer = await fetch(address(path), { headers: withKey({ accept: "application/json" }), cache: "no-store" });
  if (!answer.ok) throw new Refused(answer.status, await answer.text());
  return answer.json();
}

// Give the data of each event of a stream (HTML standard, "Server-sent events"), as it comes.
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text += part.value;
      const blocks = text.split(/\r?\n\r?\n/);
      text = blocks.pop();
      for (const block of blocks) {
        const lines = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// ---- this server ---------------------------------------------------------------------------------------------------

let server = null; // what GET / says of it
let resting = []; // the backends that requests keep away from
let snippet = "curl";

const isKeyNeeded = () => server && (server.features.includes("keys") || server.example.key !== "");
const exampleKey = () => (isKeyNeeded() ? "YOUR-API-KEY" : "any");

const SNIPPETS = {
  curl: () => curlOf(exampleBody(), isKeyNeeded() ? exampleKey() : ""),
  Python: () => `from openai import OpenAI

client = OpenAI(base_url="${base}", api_key="${exampleKey()}")
stream = client.chat.completions.create(
    model="${exampleModel()}", stream=True,
    messages=[{"role": "user", "content": "Hello"}],
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)
print()
`,
  Node: () => `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${base}", apiKey: "${exampleKey()}" });
const stream = await client.chat.completions.create({
  model: "${exampleModel()}", stream: true,
  messages: [{ role: "user", content: "Hello" }],
});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? "");
`,
  LangChain: () => `from langchain_openai import ChatOpenAI

chat = ChatOpenAI(model="${exampleModel()}", base_url="${base}", api_key="${exampleKey()}")
for part in chat.stream("Hello"):
    print(part.content, end="", flush=True)
print()
`,
  browser: () => `const answer = await fetch("${base}/chat/completions", {
  method: "POST",
  headers: { "Content-Type": "application/json", Authorization: "Bearer ${exampleKey()}" },
  body: JSON.stringify({
    model: "${exampleModel()}",
    messages: [{ role: "user", content: "Hello" }],
  }),
});
console.log((await answer.json()).choices[0].message.content);
`,
  environment: () => `export OPENAI_BASE_URL=${base}\nexport OPENAI_API_KEY=${exampleKey()}\n`,
  windows: () => `$env:OPENAI_BASE_URL = "${base}"\n$env:OPENAI_API_KEY = "${exampleKey()}"\n`,
};

const exampleModel = () => (server ? server.example.model : "gpt-4o-mini");
const exampleBody = () => ({ model: exampleModel(), stream: true, messages: [{ role: "user", content: "Hello" }] });

// A line for any shell: only double quotes mean the same everywhere.
function curlOf(body, key) {
  const text = JSON.stringify(body).replace(/[^\x20-\x7e]/g, asEscape);
  const field = key ? ` -H "Authorization: Bearer ${key}"` : "";
  const quoted = text.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/([$`])/g, "\\$1");
  return `curl -N ${base}/chat/completions${field} -H "Content-Type: application/json" -d "${quoted}"`;
}
const asEscape = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;

function chooseAmong(place, names, chosen, choose) {
  place.replaceChildren(...names.map((name) => {
    const button = make("button", { type: "button", textContent: WORDS.en[name] ? say(name) : name });
    button.setAttribute("aria-pressed", name === chosen);
    button.onclick = () => { choose(name); place.querySelector("[aria-pressed=true]").focus(); };
    return button;
  }));
}

function showSnippet() {
  chooseAmong(byId("snippets"), Object.keys(SNIPPETS), snippet, (name) => { snippet = name; showSnippet(); });
  byId("snippet").textContent = SNIPPETS[snippet]();
}

function showServer() {
  byId("base").textContent = base;
  if (!byId("snippets").contains(document.activeElement)) showSnippet();
  if (!server) return;
  byId("version").textContent = server.version;
  byId("backends").replaceChildren(...Object.entries(server.backends).map(([name, kind]) => {
    const patterns = Object.entries(server.routes)
      .filter(([, names]) => names.includes(name))
      .map(([pattern, names]) => [pattern, names[names.indexOf(name) + 1]]);
    const takes = patterns.flatMap(([pattern, next], at) => [
      at ? ", " : "", make("code", { textContent: pattern }), next ? ` (${say("then")} ${next})` : "",
    ]);
    if (!patterns.length) takes.push(make("span", { className: "note", textContent: say("nothing_routed") }));
    const state = resting.includes(name) ? "rests" : patterns.length ? "ready" : "unused";
    const cells = [name, kind, say(state)].map((textContent) => make("td", { textContent }));
    if (state === "rests") cells[2].className = "failed";
    return make("tr", {}, ...cells, make("td", {}, ...takes));
  }));
  byId("doors").replaceChildren(...Object.entries(server.endpoints).flatMap(([door, text]) => [
    make("dt", {}, make("code", { textContent: door })),
    make("dd", DOORS[shown.language][door] ? { textContent: DOORS[shown.language][door] } : { textContent: text, lang: "en" }),
  ]));
  byId("tab-mine").hidden = !server.features.includes("keys");
}

async function showState() {
  const state = byId("state");
  let word;
  try {
    ({ status: word, resting } = await (await fetch(address("ready"), { cache: "no-store" })).json());
  } catch {
    word = "unreachable";
  }
  state.className = `state ${{ ready: "good", draining: "warn" }[word] || "bad"}`;
  state.textContent = say(word in WORDS.en ? word : "unreachable");
  showServer();
}

function showTrouble(element, text) {
  element.textContent = text;
  element.hidden = !text;
}

async function learnServer() {
  showTrouble(byId("trouble"), "");
  try {
    server = await getJson("");
    showServer();
    if (!byId("model").value) byId("model").value = server.example.model;
    showRequest();
    if (server.features.includes("keys") && !byId("key").value.trim()) {
      showTrouble(byId("trouble"), say("needs_key"));
      return;
    }
    const { data } = await getJson("v1/models");
    byId("models").replaceChildren(...data.slice(0, 1000).map((model) => make("option", { value: model.id })));
  } catch (error) {
    if (!server || error.status === 401) {
      showTrouble(byId("trouble"), error.status === 401 ? say("needs_key") : error.message);
    }
  }
}

byId("key").onchange = async () => {
  await learnServer();
  showPart(namedPart());
};
byId("key-form").onsubmit = (event) => event.preventDefault();

// ---- playground ----------------------------------------------------------------------------------------------------

let messages = [{ role: "user", content: null }]; // null: the language's own first words
let picture = ""; // a data: URL
let asking = null; // what stops the request that is under way
let form = "JSON";
const come = []; // what came in answer to it

const EXAMPLE_TOOLS = [{
  type: "function",
  function: {
    name: "get_weather", description: "The weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
}];
const EXAMPLE_SCHEMA = {
  type: "object", additionalProperties: false, required: ["name", "age"],
  properties: { name: { type: "string" }, age: { type: "integer" } },
};

const contentOf = (message) => (message.content === null ? say("user_text") : message.content);

function showMessages() {
  byId("messages").replaceChildren(...messages.map((message, at) => {
    const role = make("select", {}, ...["user", "assistant", "system", "tool"].map((name) => make("option", { textContent: name })));
    role.value = message.role;
    role.setAttribute("aria-label", `${say("role")} ${at + 1}`);
    role.onchange = () => { message.role = role.value; showRequest(); };
    const content = make("textarea", { rows: 2, value: contentOf(message) });
    content.setAttribute("aria-label", `${say("content")} ${at + 1}`);
    content.oninput = () => { message.content = content.value; showRequest(); };
    const remove = make("button", { type: "button", className: "quiet", textContent: say("remove"), disabled: messages.length === 1 });
    remove.onclick = () => { messages.splice(at, 1); showMessages(); byId("add").focus(); };
    return make("div", { className: "message" }, role, content, remove);
  }));
  showRequest();
}

function parsed(id, word) {
  const text = byId(id).value.trim();
  if (!text) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(say("no_json", { field: say(word), why: error.message }));
  }
}

// What is to be sent; an Error where a field is no JSON.
function chatRequest() {
  const body = { model: byId("model").value.trim(), messages: [] };
  if (byId("system").value.trim()) body.messages.push({ role: "system", content: byId("system").value });
  body.messages.push(...messages.map((message) => ({ role: message.role, content: contentOf(message) })));
  if (picture) {
    const last = body.messages[body.messages.length - 1];
    last.content = [{ type: "text", text: last.content }, { type: "image_url", image_url: { url: picture } }];
  }
  if (byId("temperature").value) body.temperature = Number(byId("temperature").value);
  if (byId("most").value) body.max_completion_tokens = Number(byId("most").value);
  const tools = parsed("tools", "tools");
  if (tools) body.tools = tools;
  const schema = parsed("schema", "schema");
  if (schema) body.response_format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema } };
  if (byId("stream").checked) Object.assign(body, { stream: true, stream_options: { include_usage: true } });
  return body;
}

// JSON is Python, but for three words, which are replaced outside of strings.
const asPython = (value) => JSON.stringify(value, null, 4).replace(/"(?:[^"\\]|\\.)*"|\b(?:true|false|null)\b/g,
  (part) => ({ true: "True", false: "False", null: "None" })[part] || part);

const FORMS = {
  JSON: (body) => JSON.stringify(body, null, 2),
  curl: (body) => curlOf(body, byId("key").value.trim() || (isKeyNeeded() ? exampleKey() : "")) + "\n",
  Python: (body) => `from openai import OpenAI

client = OpenAI(base_url="${base}", api_key="${exampleKey()}")
answer = client.chat.completions.create(**${asPython(body)})
${body.stream ? 'for chunk in answer:\n    print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)\nprint()' : "print(answer.choices[0].message.content)"}
`,
  JavaScript: (body) => `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${base}", apiKey: "${exampleKey()}" });
const answer = await client.chat.completions.create(${JSON.stringify(body, null, 2)});
${body.stream ? 'for await (const chunk of answer) process.stdout.write(chunk.choices[0]?.delta.content ?? "");' : "console.log(answer.choices[0].message.content);"}
`,
};

function showRequest() {
  chooseAmong(byId("forms"), Object.keys(FORMS), form, (name) => { form = name; showRequest(); });
  try {
    byId("request").textContent = FORMS[form](chatRequest());
  } catch (error) {
    byId("request").textContent = error.message;
  }
}

function showFigures(place, figures) {
  place.replaceChildren(...figures.filter(([, value]) => value !== undefined && value !== null && value !== "").map(([word, value]) =>
    make("div", {}, make("dt", { textContent: say(word) }), make("dd", { textContent: value }))));
}

const milliseconds = (seconds) => (seconds === null || seconds === undefined ? "" : seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`);

// Gathers what the chunks of an answer say, and when.
class Reply {
  constructor(began) {
    Object.assign(this, { began, text: "", calls: [], pieces: 0, first: null, last: null, usage: null, finish: "", status: 0 });
  }
  take(chunk) {
    if (chunk.error) throw new Error(chunk.error.message || JSON.stringify(chunk.error));
    if (chunk.usage) this.usage = chunk.usage;
    const choice = (chunk.choices || [])[0];
    if (!choice) return;
    if (choice.finish_reason) this.finish = choice.finish_reason;
    const said = choice.delta || choice.message || {};
    const text = (said.reasoning_content || "") + (said.content || said.refusal || "");
    for (const call of said.tool_calls || []) {
      const known = this.calls[call.index || 0] || (this.calls[call.index || 0] = { name: "", arguments: "" });
      known.name += (call.function || {}).name || "";
      known.arguments += (call.function || {}).arguments || "";
    }
    if (text || said.tool_calls) {
      this.pieces += 1;
      this.last = performance.now();
      if (this.first === null) this.first = this.last;
    }
    this.text += text;
  }
  get shown() {
    return [this.text, ...this.calls.filter(Boolean).map((call) => `${call.name}(${call.arguments})`)].filter(Boolean).join("\n");
  }
  figures(now) {
    const out = this.usage ? this.usage.completion_tokens : this.pieces;
    const seconds = (this.last - this.first) / 1000;
    return [
      ["status", this.status || ""],
      ["first_token", this.first === null ? "" : milliseconds((this.first - this.began) / 1000)],
      ["total", milliseconds((now - this.began) / 1000)],
      ["rate_tokens", out > 1 && seconds > 0.001 ? ((out - 1) / seconds).toFixed(1) : ""],
      ["tokens", this.usage ? `${this.usage.prompt_tokens} → ${this.usage.completion_tokens}` : ""],
      ["finish", this.finish],
    ];
  }
}

function noteEvent(data) {
  come.push(data);
  byId("event-count").textContent = `(${come.length})`;
  byId("events").append(`${data}\n\n`);
}

async function send() {
  const answer = byId("answer");
  let body;
  showTrouble(byId("ask-trouble"), "");
  try {
    body = chatRequest();
  } catch (error) {
    showTrouble(byId("ask-trouble"), error.message);
    return;
  }
  asking = new AbortController();
  answer.textContent = "";
  byId("events").textContent = "";
  come.length = 0;
  byId("event-count").textContent = "";
  byId("go-on").hidden = true;
  byId("send").disabled = true;
  byId("stop").disabled = false;
  answer.classList.add("waits");
  const reply = new Reply(performance.now());
  try {
    const response = await fetch(`${base}/chat/completions`, {
      method: "POST", headers: withKey({ "content-type": "application/json" }), body: JSON.stringify(body), signal: asking.signal,
    });
    reply.status = response.status;
    if (!response.ok) {
      const text = await response.text();
      noteEvent(text);
      throw new Refused(response.status, text);
    }
    if ((response.headers.get("content-type") || "").includes("text/event-stream")) {
      for await (const data of eventsOf(response.body)) {
        noteEvent(data);
        if (data === "[DONE]") break;
        reply.take(JSON.parse(data));
        answer.textContent = reply.shown;
        showFigures(byId("figures"), reply.figures(performance.now()));
      }
    } else {
      const whole = await response.json();
      noteEvent(JSON.stringify(whole, null, 2));
      reply.take(whole);
      answer.textContent = reply.shown;
    }
  } catch (error) {
    const isOurs = error.name === "AbortError";
    showTrouble(byId("ask-trouble"), isOurs ? say("stopped") : error instanceof Refused ? error.message : say("broke", { why: error.message }));
  } finally {
    asking = null;
    answer.classList.remove("waits");
    byId("send").disabled = false;
    byId("stop").disabled = true;
    byId("go-on").hidden = !reply.text;
    showFigures(byId("figures"), reply.figures(performance.now()));
  }
}

byId("ask").onsubmit = (event) => {
  event.preventDefault();
  if (!asking) send();
};
byId("ask").onkeydown = (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("ask").requestSubmit();
};
byId("ask").oninput = showRequest;
byId("stop").onclick = () => { if (asking) asking.abort(); };
byId("add").onclick = () => {
  messages.push({ role: "user", content: "" });
  showMessages();
  byId("messages").lastChild.querySelector("textarea").focus();
};
byId("go-on").onclick = () => {
  messages.push({ role: "assistant", content: byId("answer").textContent }, { role: "user", content: "" });
  byId("go-on").hidden = true;
  showMessages();
  byId("messages").lastChild.querySelector("textarea").focus();
};
byId("tools-example").onclick = () => { byId("tools").value = JSON.stringify(EXAMPLE_TOOLS, null, 2); showRequest(); };
byId("schema-example").onclick = () => { byId("schema").value = JSON.stringify(EXAMPLE_SCHEMA, null, 2); showRequest(); };
byId("image").onchange = () => {
  const [file] = byId("image").files;
  const show = (url) => {
    picture = url;
    byId("picture").replaceChildren(...(url ? [make("img", { src: url, alt: file.name })] : []));
    showRequest();
  };
  if (!file) return show("");
  const reader = new FileReader();
  reader.onload = () => show(reader.result);
  reader.readAsDataURL(file);
};

// ---- live ----------------------------------------------------------------------------------------------------------

const MOST_ROWS = 500;
const SHOWN_ROWS = 200;
const SECONDS = 60;
const live = { watching: null, isPaused: false, rows: [], waiting: [], skipped: 0, seconds: new Map(), word: "" };

function showWatching(word = live.word) {
  live.word = word;
  const state = byId("live-state");
  state.className = `state ${{ watching: "good", paused: "warn", not_watching: "bad" }[word] || ""}`;
  state.textContent = word ? say(word) : "";
  byId("pause").textContent = say(live.isPaused ? "resume" : "pause");
  byId("pause").setAttribute("aria-pressed", live.isPaused);
  const missed = [];
  if (live.skipped) missed.push(say("missed", { n: live.skipped }));
  if (server && server.features.includes("workers")) missed.push(say("one_worker"));
  byId("missed").textContent = missed.join(" ");
}

async function watch() {
  const stop = new AbortController();
  live.watching = stop;
  while (!stop.signal.aborted) {
    try {
      const response = await fetch(address("_oaiserve/live"), { headers: withKey(), signal: stop.signal, cache: "no-store" });
      if (!response.ok) throw new Refused(response.status, await response.text());
      showTrouble(byId("trouble"), "");
      showWatching(live.isPaused ? "paused" : "watching");
      for await (const data of eventsOf(response.body)) takeRows(JSON.parse(data));
    } catch (error) {
      if (stop.signal.aborted) return;
      if (error instanceof Refused) {
        showTrouble(byId("trouble"), error.status === 401 ? say("needs_key") : error.message);
        showWatching("not_watching");
        return;
      }
    }
    showWatching("not_watching");
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

onShown.live = (isSeen) => {
  if (isSeen && !live.watching) watch();
  if (!isSeen && live.watching) {
    live.watching.abort();
    live.watching = null;
  }
};

function takeRows({ rows, skipped }) {
  for (const row of rows) note(row.at, row.seconds);
  if (skipped) {
    live.skipped += skipped;
    note(rows.length ? rows[rows.length - 1].at : Date.now() / 1000, null, skipped);
  }
  if (live.isPaused) {
    live.waiting = [...live.waiting, ...rows].slice(-MOST_ROWS);
  } else {
    live.rows = [...rows.reverse(), ...live.rows].slice(0, MOST_ROWS);
    drawRows();
  }
  showWatching();
}

function note(at, seconds, count = 1) {
  const second = Math.floor(at);
  const known = live.seconds.get(second) || { count: 0, times: [] };
  known.count += count;
  if (seconds !== null && known.times.length < 1000) known.times.push(seconds);
  live.seconds.set(second, known);
  for (const old of live.seconds.keys()) if (old < second - 2 * SECONDS) live.seconds.delete(old);
}

const timeOf = (at) => new Date(at * 1000).toLocaleTimeString(shown.language === "zh" ? "zh-CN" : "en-GB");
const kindOf = (status) => (status < 400 ? "ok" : status < 500 ? "refused" : "failed");
const modelOf = (row) => (row.sent && row.sent !== row.asked ? `${row.asked} → ${row.sent}` : row.asked || "");
const keyOf = (row) => (row.key === "-" ? "" : row.key || "");
const tokensOf = (row) => (row.in === undefined ? "" : `${row.in} → ${row.out}`);
const notesOf = (row) => [row.rule, row.fault, row.attempts && row.attempts.length > 1 ? row.attempts.join(", ") : ""].filter(Boolean).join("; ");

function fits(row, text) {
  return !text || [row.method, row.path, row.status, modelOf(row), keyOf(row), row.backend, notesOf(row), row.session]
    .join(" ").toLowerCase().includes(text);
}

const drawn = new WeakMap(); // a row's line is made once
function lineOf(row) {
  let line = drawn.get(row);
  if (!line) {
    const open = make("button", { type: "button", className: "open", textContent: `${row.method} ${row.path}` });
    const cell = (text, className = "") => make("td", { textContent: text, className });
    line = make("tr", {},
      cell(timeOf(row.at)), make("td", { className: "path" }, open), cell(row.status, kindOf(row.status)),
      cell(modelOf(row), "wide"), cell(keyOf(row), "wide"), cell(milliseconds(row.first), "wide number"),
      cell(milliseconds(row.seconds), "number"), cell(tokensOf(row), "wide number"), cell(notesOf(row), "wide"));
    line.onclick = () => openCall(row);
    drawn.set(row, line);
  }
  return line;
}

function drawRows() {
  const text = byId("filter").value.trim().toLowerCase();
  const fitting = live.rows.filter((row) => fits(row, text)).slice(0, SHOWN_ROWS);
  const focused = document.activeElement;
  byId("rows").replaceChildren(...fitting.map(lineOf));
  if (focused && focused.className === "open" && focused.isConnected) focused.focus();
  byId("nothing").hidden = live.rows.length > 0;
}

byId("filter").oninput = drawRows;
byId("pause").onclick = () => {
  live.isPaused = !live.isPaused;
  if (!live.isPaused) {
    live.rows = [...live.waiting.reverse(), ...live.rows].slice(0, MOST_ROWS);
    live.waiting = [];
    drawRows();
  }
  showWatching(live.isPaused ? "paused" : "watching");
};
byId("clear").onclick = () => {
  Object.assign(live, { rows: [], waiting: [], skipped: 0 });
  live.seconds.clear();
  drawRows();
  showWatching();
};

const SVG = "http://www.w3.org/2000/svg";
function draw(name, attributes, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// Draw what each second had, and the largest value as the scale's end.
function drawChart(svg, most, shapes, unit) {
  const width = svg.clientWidth || 400;
  svg.setAttribute("viewBox", `0 0 ${width} 90`);
  const label = `${most >= 10 || Number.isInteger(most) ? Math.round(most) : most.toFixed(3)}${unit}`;
  svg.setAttribute("aria-label", label);
  svg.replaceChildren(
    draw("line", { x1: 0, x2: width, y1: 84, y2: 84, class: "base" }),
    ...shapes(width, (value) => 84 - (most ? (value / most) * 68 : 0)),
    draw("text", { x: 2, y: 10 }, label),
  );
}

function drawCharts() {
  if (byId("live").hidden) return;
  const now = Math.floor(Date.now() / 1000) - 1;
  const seconds = Array.from({ length: SECONDS }, (_, at) => live.seconds.get(now - SECONDS + 1 + at) || { count: 0, times: [] });
  drawChart(byId("rate"), Math.max(...seconds.map((one) => one.count)), (width, y) => seconds.map((one, at) =>
    draw("rect", { x: (at * width) / SECONDS + 0.5, width: width / SECONDS - 1, y: y(one.count), height: 84 - y(one.count), class: "bar-of" })), "/s");
  const points = seconds.map(({ times }) => [...times].sort((one, other) => one - other));
  const slowest = Math.max(0, ...points.map((times) => times[times.length - 1] || 0));
  drawChart(byId("latency"), slowest, (width, y) => [["slow", (times) => times[times.length - 1]], ["median", (times) => times[times.length >> 1]]].map(
    ([name, of]) => draw("path", {
      class: name,
      d: points.map((times, at) => {
        if (!times.length) return "";
        const x = ((at + 0.5) * width) / SECONDS;
        return `${at && points[at - 1].length ? "L" : "M"}${x} ${y(of(times))}h1`;
      }).join(""),
    })), " s");
}
setInterval(drawCharts, 1000);

async function openCall(row) {
  byId("call-title").textContent = `${row.method} ${row.path}`;
  showFigures(byId("call-facts"), [
    ["status", row.status], ["time", timeOf(row.at)], ["first", milliseconds(row.first)], ["total", milliseconds(row.seconds)],
    ["endpoint", row.endpoint], ["asked", row.asked], ["sent", row.sent], ["backend", row.backend], ["tokens", tokensOf(row)],
    ["attempts", (row.attempts || []).join(", ")], ["whose", keyOf(row)], ["peer", row.peer], ["rule", row.rule],
    ["fault", row.fault], ["session", row.session], ["id", row.id],
  ]);
  byId("call-whole").hidden = true;
  byId("call-note").textContent = row.call ? "" : say("no_bodies");
  byId("call").showModal();
  if (!row.call) return;
  try {
    const root = row.session ? `s/${row.session}/_oaiserve/` : "_oaiserve/";
    const { calls } = await getJson(`${root}calls?since=${row.came - 0.000001}`);
    const call = calls.find((one) => one.number === row.call);
    if (!call) throw new Error(say("gone"));
    byId("call-request").textContent = JSON.stringify(call.request, null, 2);
    byId("call-answer").textContent = JSON.stringify(call.answer, null, 2);
    byId("call-whole").hidden = false;
  } catch (error) {
    byId("call-note").textContent = error.message;
  }
}
byId("close").onclick = () => byId("call").close();

// ---- my key --------------------------------------------------------------------------------------------------------

let mine = null;

async function learnMine() {
  mine = null;
  byId("mine-note").textContent = say("mine_hint");
  if (byId("key").value.trim()) {
    try {
      mine = await getJson("_oaiserve/me");
    } catch (error) {
      byId("mine-note").textContent = error.message;
    }
  }
  showMine();
}
onShown.mine = (isSeen) => { if (isSeen) learnMine(); };

// How long it is until a limit is whole again, in the two largest units.
function spanOf(seconds) {
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = units.findIndex(([size]) => seconds >= size);
  if (at < 0) return seconds ? "1 s" : "";
  const [[size, unit], [next, smaller] = [0, ""]] = units.slice(at);
  const rest = next ? Math.floor((seconds % size) / next) : 0;
  return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${smaller}` : ""}`;
}

const dollars = (nano) => (nano === null || nano === undefined ? "" : (nano / 1e9).toFixed(4));

function showMine() {
  byId("mine-shown").hidden = !mine;
  if (!mine) return;
  byId("mine-note").textContent = say("mine_name", { name: mine.key, team: mine.team || say("no_team") }) + (mine.usage ? "" : ` · ${say("no_ledger")}`);
  byId("limits").replaceChildren(...mine.limits.map((limit) => {
    const amount = (value) => (limit.kind === "money" ? `$${dollars(value)}` : value.toLocaleString());
    return make("tr", {},
      make("td", { textContent: limit.of }), make("td", { textContent: `${say(`kind_${limit.kind}`)} / ${WORDS.en[`per_${limit.window}`] ? say(`per_${limit.window}`) : limit.window}` }),
      make("td", { textContent: amount(limit.left), className: "number" }), make("td", { textContent: amount(limit.limit), className: "number" }),
      make("td", { textContent: spanOf(limit.reset) }));
  }));
  byId("no-limits").hidden = mine.limits.length > 0;
  byId("used").hidden = !mine.usage;
  if (!mine.usage) return;
  const days = new Map();
  for (const one of mine.usage) days.set(one.day, (days.get(one.day) || 0) + one.tok_in + one.tok_out);
  const today = Math.floor(Date.now() / 86400000);
  drawChart(byId("days"), Math.max(0, ...days.values()), (width, y) => [...days].map(([day, tokens]) => {
    const at = 29 - today + Date.parse(day) / 86400000;
    return draw("rect", { x: (at * width) / 30 + 1, width: width / 30 - 2, y: y(tokens), height: 84 - y(tokens), class: "bar-of" });
  }), ` ${say("kind_tokens")}`);
  byId("usage").replaceChildren(...mine.usage.map((one) => make("tr", {},
    make("td", { textContent: one.day }), make("td", { textContent: one.model }),
    ...[one.calls, one.tok_in, one.tok_out].map((value) => make("td", { textContent: value.toLocaleString(), className: "number" })),
    make("td", { textContent: dollars(one.cost_nano), className: "number" }))));
}

// ---- the beginning -------------------------------------------------------------------------------------------------

shown.language = { en: "en", zh: "zh" }[remembered("language")] || shown.language;
shown.theme = { light: "light", dark: "dark" }[remembered("theme")] || "auto";
showLanguage();
showServer();
showMessages();
showPart(namedPart());
learnServer();
showState();
setInterval(showState, 10000);
