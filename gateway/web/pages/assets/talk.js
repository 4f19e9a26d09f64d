// What the conversation looks like: questions, replies that grow, tool calls to be answered.

export const words = document.getElementById("words").dataset;
const talk = document.getElementById("talk");

export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function article(kind, title) {
  const made = make("article", { class: `message ${kind}` }, make("header", {}, make("h2", {}, title)));
  talk.append(made);
  return made;
}

function atTheEnd(change) {
  const near = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80;
  change();
  if (near) talk.scrollTop = talk.scrollHeight;
}

export function clearTalk() {
  talk.replaceChildren();
}

export function showQuestion(text) {
  atTheEnd(() => article("asked", words.question).append(make("div", { class: "text", dir: "auto" }, text)));
}

/** A reply as it comes. */
export class Reply {
  constructor() {
    atTheEnd(() => {
      this.article = article("replied", words.reply);
    });
    this.article.setAttribute("aria-busy", "true");
    this.calls = [];
  }

  token(text) {
    this.text ??= this.put(make("div", { class: "text", dir: "auto" }));
    atTheEnd(() => this.text.append(text));
  }

  thought(text) {
    this.thoughts ??= this.putThought();
    this.thoughts.append(text);
  }

  putThought() {
    const inner = make("div", { class: "text", dir: "auto" });
    this.put(make("details", { class: "thought" }, make("summary", {}, words.thought), inner));
    return inner;
  }

  call(call) {
    const field = make("textarea", { rows: "2", dir: "auto", id: `result-${call.id}`, "data-call": call.id });
    this.calls.push({ call, field });
    this.put(
      make(
        "section",
        { class: "call", "aria-label": `${words.call} ${call.name}` },
        make("p", {}, make("b", {}, words.call), " ", make("code", {}, call.name)),
        make("pre", { dir: "auto" }, call.arguments_text ?? JSON.stringify(call.arguments, null, 2)),
        make("label", { for: field.id }, words.answer),
        field,
      ),
    );
  }

  source(source) {
    this.sources ??= this.put(make("ol", { class: "sources", "aria-label": words.sources }));
    const link = /^https?:/i.test(source.url ?? "") ? make("a", { href: source.url, rel: "noopener noreferrer" }) : make("span");
    link.append(make("bdi", {}, source.title ?? source.url ?? source.id ?? ""));
    this.sources.append(make("li", {}, link));
  }

  note(text, kind = "note") {
    atTheEnd(() => this.put(make("p", { class: kind }, text)));
  }

  /** The reply has ended; `answer` gets what the tools said, once somebody has written it. */
  end(answer) {
    this.article.removeAttribute("aria-busy");
    if (!this.calls.length || !answer) return;
    const form = make("form", { class: "results" }, make("button", { class: "main" }, words.sendResults));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      form.remove();
      answer(this.calls.map(({ call, field }) => ({ role: "tool", tool_call_id: call.id, content: field.value })));
    });
    this.put(form);
    this.calls[0].field.focus();
  }

  put(element) {
    this.article.append(element);
    return element;
  }
}
