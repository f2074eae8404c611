// The page: one conversation, or two beside each other with the same questions. Nothing that is said is kept in the
// browser; settings are.
import { answer, models, rate } from "./client.js";

const byId = (id) => document.getElementById(id);
const settings = byId("settings");
const message = byId("message");
const columns = [];
let isAsking = false;

const setting = (name) => settings.elements[name].value.trim();
const percent = (share) => `${Math.round(100 * share)} %`;

function filled(template) {
  return byId(template).content.firstElementChild.cloneNode(true);
}

class Column {
  constructor(model) {
    this.section = filled("column");
    this.model = this.section.querySelector(".model");
    this.turns = this.section.querySelector(".turns");
    this.model.value = model;
    this.messages = [];
    byId("columns").append(this.section);
    this.number();
  }

  number() {
    const name = columns.length ? "Second conversation" : "Conversation";
    this.section.setAttribute("aria-label", name);
    this.turns.setAttribute("aria-label", `${name}: messages`);
  }

  stop() {
    this.asking?.abort();
  }

  restart() {
    this.stop();
    this.messages = [];
    this.turns.replaceChildren();
  }

  async ask(question) {
    const { signal } = (this.asking = new AbortController());
    const turn = new Turn(this.turns, question);
    const asked = [...this.messages, { role: "user", content: question }];
    try {
      const text = await turn.follow(answer(requested(this.model.value.trim(), asked), named(), signal));
      if (!signal.aborted) this.messages = [...asked, { role: "assistant", content: text }];
    } catch (problem) {
      turn.fail(signal.aborted ? "Stopped; the model will not remember this question." : problem.message);
    }
  }
}

function requested(model, asked) {
  const system = setting("system") ? [{ role: "system", content: setting("system") }] : [];
  return {
    model,
    messages: [...system, ...asked],
    max_tokens: Number(setting("maxTokens")),
    temperature: Number(setting("temperature")),
    ...(settings.elements.confidence.checked && { logprobs: true }),
  };
}

function named() {
  return setting("user") ? { [setting("userHeader")]: setting("user") } : {};
}

class Turn {
  constructor(turns, question) {
    this.turns = turns;
    this.article = filled("turn");
    this.part("question").textContent = question;
    this.probabilities = [];
    this.began = performance.now();
    turns.append(this.article);
    this.scroll(true);
  }

  part(name) {
    return this.article.querySelector(`.${name}`);
  }

  scroll(always) {
    const { turns } = this;
    if (always || turns.scrollHeight - turns.scrollTop - turns.clientHeight < 80) turns.scrollTop = turns.scrollHeight;
  }

  async follow(pieces) {
    this.turns.setAttribute("aria-busy", "true"); // a reader of screens waits for the whole answer
    try {
      for await (const piece of pieces) this.take(piece);
    } finally {
      this.turns.setAttribute("aria-busy", "false");
      this.tell();
    }
    return this.part("answer").textContent;
  }

  take(piece) {
    if ("exposure" in piece) this.head = piece;
    if (piece.tokens !== undefined) this.tokens = piece.tokens;
    if (piece.text || piece.thought) this.first ??= performance.now();
    if (piece.thought) {
      this.part("thoughts").hidden = false;
      this.part("thoughts").lastElementChild.append(piece.thought);
    }
    if (piece.text) this.part("answer").append(piece.text);
    this.probabilities.push(...(piece.probabilities ?? []));
    this.scroll(false);
  }

  tell() {
    if (!this.head) return;
    const { variant, version, fallback, exposure } = this.head;
    const ended = performance.now();
    const sum = this.probabilities.reduce((total, one) => total + one, 0);
    const facts = [
      variant && `Variant ${variant}${fallback ? ", answered for by the control" : ""}`,
      `Version ${version}`,
      this.probabilities.length && `Confidence ${percent(sum / this.probabilities.length)}`,
      this.first && `First words after ${((this.first - this.began) / 1000).toFixed(2)} s`,
      this.tokens && `${this.tokens} tokens in ${((ended - this.began) / 1000).toFixed(2)} s`,
    ];
    this.part("facts").textContent = facts.filter(Boolean).join(" · ");
    if (exposure) this.offerRating(exposure);
    this.scroll(false);
  }

  offerRating(exposure) {
    const group = this.part("rating");
    const metric = setting("metric");
    const told = document.createElement("span");
    told.setAttribute("role", "status");
    for (let value = 1; value <= Number(setting("best")); value++) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = value;
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", async () => {
        try {
          told.textContent = await rate(exposure, metric, value);
          for (const other of group.querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
        } catch (problem) {
          told.textContent = problem.message;
        }
      });
      group.append(button);
    }
    group.append(told);
    group.hidden = false;
  }

  fail(sentence) {
    const error = this.part("error");
    error.hidden = false;
    error.textContent = sentence;
    this.scroll(false);
  }
}

// One of the two buttons goes, and whoever was on it is led to the message; nobody else is led anywhere.
function show(asking) {
  const [send, stop, at] = [byId("send"), byId("stop"), document.activeElement];
  isAsking = asking;
  send.hidden = asking;
  stop.hidden = !asking;
  if ([send, stop, document.body].includes(at)) message.focus();
}

async function ask() {
  const question = message.value.trim();
  const fields = [...settings.elements, ...columns.map((column) => column.model)];
  if (isAsking || !question) return;
  settings.parentElement.open ||= !settings.checkValidity(); // a field that is not seen says nothing
  if (!fields.every((field) => field.reportValidity())) return;
  message.value = "";
  show(true);
  await Promise.all(columns.map((column) => column.ask(question)));
  show(false);
}

function compare() {
  if (columns.length === 1) {
    columns.push(new Column(columns[0].model.value));
    columns[1].model.select();
    columns[1].model.focus();
  } else {
    const closed = columns.pop();
    closed.stop();
    closed.section.remove();
  }
  byId("compare").setAttribute("aria-pressed", columns.length === 2);
}

function remember() {
  const kept = [...settings.elements].map((field) => [field.name, field.type === "checkbox" ? field.checked : field.value]);
  try {
    localStorage.setItem("anneal-chat", JSON.stringify(Object.fromEntries(kept)));
  } catch {} // a browser may keep nothing for anybody
}

function remembered() {
  try {
    return JSON.parse(localStorage.getItem("anneal-chat")) ?? {};
  } catch {
    return {};
  }
}

function recall() {
  const kept = remembered();
  settings.elements.user.value = `chat-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
  for (const field of settings.elements) {
    if (!(field.name in kept)) continue;
    if (field.type === "checkbox") field.checked = kept[field.name];
    else field.value = kept[field.name];
  }
  remember();
}

async function begin() {
  recall();
  columns.push(new Column(""));
  settings.addEventListener("input", remember);
  settings.addEventListener("submit", (event) => event.preventDefault());
  byId("compare").addEventListener("click", compare);
  byId("restart").addEventListener("click", () => {
    for (const column of columns) column.restart();
    message.focus();
  });
  byId("stop").addEventListener("click", () => columns.forEach((column) => column.stop()));
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  message.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return; // composing: a syllable is not finished
    event.preventDefault();
    ask();
  });
  try {
    const names = await models();
    byId("models").append(...names.map((name) => new Option(name, name)));
    columns[0].model.value ||= names[0] ?? "";
  } catch (problem) {
    byId("columns").prepend(Object.assign(document.createElement("p"), { className: "error", textContent: problem.message }));
  }
  message.focus();
}

begin();
