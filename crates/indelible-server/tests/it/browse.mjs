// Runs the script of the page over a document model that is just large enough, and tells what came of it.
import { readFileSync } from "node:fs";
import vm from "node:vm";

const folder = process.argv[2];

class Element {
  constructor(name) {
    Object.assign(this, { name, attributes: {}, children: [], listeners: {}, value: "", hidden: false, className: "", disabled: false });
  }
  setAttribute(key, value) {
    this.attributes[key] = value;
    if (key === "disabled") this.disabled = true;
  }
  append(...children) {
    this.children.push(...children);
    // A list has the first of its options.
    if (this.name === "select" && this.value === "") this.value = children[0]?.textContent ?? "";
  }
  replaceChildren(...children) {
    this.children = children;
  }
  addEventListener(name, listener) {
    this.listeners[name] = listener;
  }
  get textContent() {
    return this.children.map((child) => (typeof child === "string" ? child : child.textContent)).join("");
  }
  set textContent(text) {
    this.children = [text];
  }
  *all() {
    yield this;
    for (const child of this.children) if (child instanceof Element) yield* child.all();
  }
  find(wanted) {
    return [...this.all()].find(wanted);
  }
  querySelector(name) {
    return this.find((element) => element !== this && element.name === name);
  }
}

const ids = Object.fromEntries(["title", "about", "access", "token", "filter", "contents", "operations", "state"].map((id) => [id, new Element(id)]));
const isOperation = (element) => element.name === "details" && element.attributes.class === "operation";
const document = {
  getElementById: (id) => ids[id],
  createElement: (name) => new Element(name),
  querySelectorAll: () => [...ids.operations.all()].filter(isOperation),
};
const requests = [];
async function fetch(url, options) {
  if (url === "/openapi.json") return new Response(readFileSync(`${folder}/openapi.json`), { headers: { "content-type": "application/json" } });
  requests.push({ url, options });
  return new Response('{"index":1}', { status: 201, headers: { "content-type": "application/json" } });
}
const settled = async (is) => {
  for (let turn = 0; turn < 10000 && !is(); turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

vm.runInNewContext(readFileSync(`${folder}/page.js`, "utf8"), { document, fetch, Headers, URLSearchParams, TextDecoder, AbortController, console });
await settled(() => ids.contents.children.length > 0);
const operations = document.querySelectorAll();
const auth = operations.find((element) => element.attributes.id === "recordAuth");
const field = (name) => {
  const label = auth.find((element) => element.name === "label" && element.textContent.startsWith(name));
  return auth.find((element) => element.attributes.id === label.attributes.for);
};
ids.token.value = "secret";
field("log").value = "t.example/a";
field("Idempotency-Key").value = "k-1";
const form = auth.querySelector("form");
await form.listeners.submit({ preventDefault() {} });
ids.filter.listeners.input({ target: { value: "/v1/api-keys" } });

const { url, options } = requests[0];
console.log(JSON.stringify({
  shown: operations.map((element) => element.attributes.id),
  sent: {
    url,
    method: options.method,
    token: options.headers.get("authorization"),
    idempotency: options.headers.get("idempotency-key"),
    type: options.headers.get("content-type"),
    body: JSON.parse(options.body),
  },
  answer: auth.querySelector("pre").textContent,
  filtered: operations.filter((element) => !element.hidden).length,
}));
