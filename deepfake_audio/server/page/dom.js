// Elements, made without any HTML text: whatever a client sent can only ever become text.

const SVG = "http://www.w3.org/2000/svg";

function build(element, props, children) {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

export const h = (tag, props, ...children) => build(document.createElement(tag), props, children);

export const svg = (tag, props, ...children) =>
  build(document.createElementNS(SVG, tag), props, children);

export const $ = (id) => document.getElementById(id);

// Control characters, direction marks and lone surrogates would let a name look like another one.
export const printable = (text) =>
  String(text).replace(/[\p{C}\u2028\u2029]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

export const name = (text) => h("bdi", {}, printable(text));

let later;
export function say(text, isError = false) {
  const status = $("status");
  status.textContent = text;
  status.classList.toggle("error", isError);
  clearTimeout(later);
  if (!isError) later = setTimeout(() => (status.textContent = ""), 8000);
}

export const quiet = (...words) => h("p", { class: "quiet" }, ...words);

// Of a view; takes the focus when the view comes on screen.
export const title = (words) => h("h1", { tabindex: -1 }, words);

// A key's name on a button; for the ear there is aria-keyshortcuts.
export const kbd = (key) => h("kbd", { "aria-hidden": "true" }, key);

// Label and list: values are [value, word].
export const choose = (id, label, values, chosen, onchange) => [
  h("label", { for: id }, label),
  h("select", { id, name: id, onchange: onchange && ((event) => onchange(event.target.value)) },
    values.map(([value, word]) => h("option", { value, selected: value === chosen }, word)))];

export const table = (caption, head, rows, props = {}) =>
  h("div", { class: "scroll" },
    h("table", props,
      h("caption", {}, caption),
      h("thead", {}, h("tr", {}, head.map((cell) => h("th", { scope: "col" }, cell)))),
      h("tbody", {}, rows.map((row) =>
        h("tr", {}, row.map((cell, i) => i ? h("td", {}, cell) : h("th", { scope: "row" }, cell)))))));

export const details = (summary, ...children) =>
  h("details", {}, h("summary", {}, summary), ...children);
