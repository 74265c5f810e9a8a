"use strict";
// Shows /openapi.json: operations by tag, their parameters, bodies and answers, and lets each be tried.
// Whatever is shown is set as text; nothing is ever read as markup. The token is in its field and in the
// requests that are sent to this server, and nowhere else.

const METHODS = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
const MOST_SHOWN = 256 * 1024;

const byId = (id) => document.getElementById(id);

/** An element with attributes and children; texts become text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** What a `$ref` of the document stands for. */
function resolve(api, value) {
  if (!value || !value.$ref) return value || {};
  const names = value.$ref.split("/").slice(1).map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  return resolve(api, names.reduce((at, name) => at[name], api));
}

/** All operations of the document, in its order. */
function operations(api) {
  const found = [];
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((method) => method in item)) {
      found.push({ path, method, ...item[method], parameters: [...(item.parameters || []), ...(item[method].parameters || [])] });
    }
  }
  return found;
}

function table(caption, heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell))));
  return make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
}

/** A schema in a few words. */
function words(api, schema, depth = 0) {
  if (schema && schema.$ref) return schema.$ref.split("/").pop();
  if (!schema || depth > 2) return "";
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.oneOf || schema.anyOf) return (schema.oneOf || schema.anyOf).map((one) => words(api, one, depth + 1)).filter(Boolean).join(" or ");
  if (schema.type === "array") return `array of ${words(api, schema.items, depth + 1) || "anything"}`;
  return [schema.type].flat().filter(Boolean).join(" | ") + (schema.format ? ` (${schema.format})` : "");
}

/** The members of an object. */
function membersOf(api, schema) {
  const object = resolve(api, schema);
  if (!object.properties) return [];
  const rows = Object.entries(object.properties).map(([name, member]) => {
    const about = member.description || resolve(api, member).description || "";
    const needed = (object.required || []).includes(name) ? "yes" : "";
    return [make("code", {}, name), words(api, member), needed, about];
  });
  return [table("Members", ["name", "is", "needed", "means"], rows)];
}

function contentOf(api, content) {
  return Object.entries(content || {}).flatMap(([type, { schema }]) => [
    make("p", {}, make("code", {}, type), ` ${words(api, schema)}`),
    ...membersOf(api, schema),
  ]);
}

function parametersOf(api, operation) {
  if (!operation.parameters.length) return [];
  const rows = operation.parameters.map((given) => {
    const parameter = resolve(api, given);
    const is = `${parameter.in}, ${words(api, parameter.schema)}`;
    return [make("code", {}, parameter.name), is, parameter.required ? "yes" : "", parameter.description || ""];
  });
  return [table("Parameters", ["name", "is", "needed", "means"], rows)];
}

function bodyOf(api, operation) {
  const body = resolve(api, operation.requestBody);
  return body.content ? [make("h4", {}, "Body"), ...contentOf(api, body.content)] : [];
}

function answersOf(api, operation) {
  const answers = Object.entries(operation.responses).map(([status, given]) => {
    const answer = resolve(api, given);
    return make("details", {}, make("summary", {}, `${status} ${answer.description || ""}`), ...contentOf(api, answer.content));
  });
  return [make("h4", {}, "Answers"), ...answers];
}

/** A body to begin with: the schema's example. */
function exampleOf(api, body) {
  const [type, media] = Object.entries(body.content)[0];
  const schema = resolve(api, media.schema);
  const example = media.example ?? (schema.examples || [])[0] ?? {};
  return { type, text: type.includes("json") ? JSON.stringify(example, null, 2) : "" };
}

/** The fields of an operation, and what sends them. */
function trialOf(api, operation) {
  const id = operation.operationId;
  const fields = operation.parameters.map((given) => resolve(api, given)).map((parameter, at) => {
    const input = make("input", { id: `${id}-${at}`, spellcheck: "false" });
    return { parameter, input, label: make("label", { for: `${id}-${at}` }, `${parameter.name} (${parameter.in})`) };
  });
  const body = resolve(api, operation.requestBody);
  const area = make("textarea", { id: `${id}-body`, spellcheck: "false" });
  const type = make("select", { id: `${id}-type` }, ...Object.keys(body.content || {}).map((name) => make("option", {}, name)));
  if (body.content) area.value = exampleOf(api, body).text;
  const send = make("button", { type: "submit" }, "Send");
  const stop = make("button", { type: "button", disabled: "" }, "Stop");
  const shown = make("div", { role: "status" });
  const form = make("form", { autocomplete: "off" }, ...fields.flatMap(({ label, input }) => [label, input]));
  if (body.content) form.append(make("label", { for: `${id}-type` }, "Content-Type"), type, make("label", { for: `${id}-body` }, "Body"), area);
  form.append(send, stop);
  let running = null;
  stop.addEventListener("click", () => running && running.abort());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    running = new AbortController();
    send.disabled = true;
    stop.disabled = false;
    await attempt(request(operation, fields, body.content && { type: type.value, text: area.value }), running.signal, shown);
    send.disabled = false;
    stop.disabled = true;
  });
  return [make("details", {}, make("summary", {}, "Try it"), form, shown)];
}

/** The request that the fields make. */
function request(operation, fields, body) {
  let path = operation.path;
  const [query, headers] = [new URLSearchParams(), new Headers()];
  for (const { parameter, input } of fields) {
    const value = input.value;
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, escaped(parameter, value));
    if (value !== "" && parameter.in === "query") query.set(parameter.name, value);
    // A browser compresses no bodies: what is named there would not be true.
    if (value !== "" && parameter.in === "header" && parameter.name !== "Content-Encoding") headers.set(parameter.name, value);
  }
  const token = byId("token").value;
  if (token) headers.set("Authorization", `Bearer ${token}`);
  if (body) headers.set("Content-Type", body.type);
  const url = path + (query.size ? `?${query}` : "");
  return { url, options: { method: operation.method.toUpperCase(), headers, body: body ? body.text : undefined, cache: "no-store", credentials: "same-origin", redirect: "error", referrerPolicy: "no-referrer" } };
}

/** One segment, or all that are left of a path. */
function escaped(parameter, value) {
  return parameter.name === "rest" ? value.split("/").map(encodeURIComponent).join("/") : encodeURIComponent(value);
}

async function attempt({ url, options }, signal, shown) {
  const [line, text] = [make("p", {}, `${options.method} ${url}`), make("pre", { tabindex: "0" })];
  shown.replaceChildren(line, text);
  try {
    const answer = await fetch(url, { ...options, signal });
    line.append(` → ${answer.status}`);
    line.className = answer.ok ? "" : "bad";
    const heads = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    text.textContent = `${heads}\n\n`;
    await readInto(text, answer);
  } catch (error) {
    line.append(signal.aborted ? " – stopped" : ` – ${error.message}`);
  }
}

/** Shows an answer as it comes; a stream has no end. */
async function readInto(text, answer) {
  if (!answer.body) return;
  const [reader, decoder] = [answer.body.getReader(), new TextDecoder()];
  let whole = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const piece = decoder.decode(value, { stream: true });
    whole += piece;
    text.append(piece);
    if (whole.length > MOST_SHOWN) {
      text.append("… and more, which is not shown");
      await reader.cancel();
      return;
    }
  }
  if ((answer.headers.get("content-type") || "").includes("json")) pretty(text, whole);
}

function pretty(text, whole) {
  const heads = text.textContent.slice(0, text.textContent.length - whole.length);
  try {
    text.textContent = heads + JSON.stringify(JSON.parse(whole), null, 2);
  } catch {
    // It is shown as it came.
  }
}

function sectionOf(api, operation) {
  const { method, path, summary, description, operationId } = operation;
  const head = make("summary", {}, make("span", { class: "method" }, method.toUpperCase()), make("span", { class: "path" }, path), make("span", {}, summary || ""));
  const parts = [parametersOf, bodyOf, answersOf, trialOf].flatMap((part) => part(api, operation));
  return make("details", { class: "operation", id: operationId }, head, make("div", {}, make("p", {}, description || ""), ...parts));
}

function show(api) {
  byId("title").textContent = `${api.info.title} ${api.info.version}`;
  byId("about").textContent = api.info.description || "";
  const all = operations(api);
  const [main, contents] = [byId("operations"), make("ul")];
  main.replaceChildren();
  for (const { name, description } of api.tags) {
    const of = all.filter((operation) => (operation.tags || []).includes(name));
    main.append(make("h2", { id: `tag-${name}` }, name), make("p", {}, description || ""), ...of.map((operation) => sectionOf(api, operation)));
    contents.append(make("li", {}, make("a", { href: `#tag-${name}` }, `${name} (${of.length})`)));
  }
  byId("contents").replaceChildren(contents);
}

/** Leaves those operations that hold the text. */
function filter(text) {
  const wanted = text.trim().toLowerCase();
  for (const section of document.querySelectorAll("details.operation")) {
    section.hidden = !section.querySelector("summary").textContent.toLowerCase().includes(wanted);
  }
}

async function begin() {
  byId("access").addEventListener("submit", (event) => event.preventDefault());
  byId("filter").addEventListener("input", (event) => filter(event.target.value));
  try {
    const answer = await fetch("/openapi.json");
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    byId("state").textContent = `The document cannot be read: ${error.message}`;
    byId("state").className = "bad";
  }
}

begin();
