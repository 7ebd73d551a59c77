// Lists of recordings: the queue, with a box to upload, and the search.

import * as api from "./api.js";
import { VERDICTS, verdict } from "./charts.js";
import { $, choose, h, name, printable, quiet, say, title } from "./dom.js";
import { moment, number, probability, t } from "./strings.js";

const REFRESH_MS = 10000;

export const caseState = ({ state, decision }) =>
  state === "closed" ? t("closed", t(decision))
  : state === "open" ? t(decision === "escalate" ? "escalated" : "open") : t("not_asked");

// What j and k walk through, here and from one recording to the next.
export let listed = [];

const columns = () =>
  [["recording"], ["verdict"], ["from_to", "number"], ["novelty", "number wide"], ["action", "wide"], ["surface", "wide"], ["state"], ["received", "wide"]]
    .map(([key, kind]) => [t(key), kind]);

const rows = (found) => found.map((one) =>
  h("tr", { "data-id": one.id, onclick: (event) => event.target.closest("a") || (location.hash = `#/d/${one.id}`) },
    h("th", { scope: "row" }, h("a", { href: `#/d/${one.id}` }, name(one.name))),
    h("td", {}, verdict(one.report?.verdict ?? one.status)),
    h("td", { class: "number" }, probability(one.report?.p_synthetic)),
    h("td", { class: "number wide" }, number(one.report?.novelty, 3)),
    h("td", { class: "wide" }, one.action ? t(one.action) : "–"),
    h("td", { class: "wide" }, t(one.surface)),
    h("td", {}, caseState(one.review)),
    h("td", { class: "wide" }, moment(one.created_at))));

// A table that grows by pages; fetchPage(cursor) -> {detections, next_cursor}.
async function list(place, caption, fetchPage) {
  const body = h("tbody", {});
  const more = h("button", { onclick: () => grow() }, t("more"));
  let cursor, ids = [];
  async function grow() {
    const page = await fetchPage(cursor);
    ids = ids.concat(page.detections.map((one) => one.id));
    listed = ids;
    body.append(...rows(page.detections));
    cursor = page.next_cursor;
    more.hidden = !cursor;
    return page;
  }
  const first = await grow();
  place.replaceChildren(ids.length
    ? h("div", {}, h("table", { class: "list" }, h("caption", {}, caption),
        h("thead", {}, h("tr", {}, columns().map(([text, kind]) => h("th", { scope: "col", class: kind }, text)))), body), more)
    : h("p", { class: "empty" }, t("nothing")));
  return first;
}

export async function queueView(main, params, me) {
  const place = h("section", { "aria-label": t("in_queue") });
  const order = choose("order", t("order"), ["risk", "novelty", "oldest"].map((key) => [key, t(key)]),
    params.order, (chosen) => (location.hash = `#/queue?order=${chosen}`));
  const rule = quiet();
  main.append(
    h("div", { class: "bar-top" }, title(t("queue")), h("div", {}, order)),
    me.scopes.includes("submit") ? uploadBox(() => load()) : "", rule, place);
  let shown;
  async function load() {
    const fetchPage = (cursor) => api.get("reviews/queue", { order: params.order, cursor });
    const first = await fetchPage();
    const state = JSON.stringify(first.detections.map((one) => [one.id, one.review]));
    if (state === shown) return;
    shown = state;
    const focused = document.activeElement?.closest?.("[data-id]")?.dataset.id;
    await list(place, t("in_queue"), (cursor) => (cursor ? fetchPage(cursor) : first));
    rule.textContent = first.two_person ? t("two_person") : "";
    if (focused) place.querySelector(`[data-id="${CSS.escape(focused)}"] a`)?.focus();
  }
  await load();
  const timer = setInterval(() => document.hidden || load().catch((error) => say(error.message, true)), REFRESH_MS);
  return { close: () => clearInterval(timer) };
}

function uploadBox(done) {
  const input = h("input", { type: "file", id: "file", multiple: true, onchange: () => send([...input.files]) });
  const results = h("ul", { class: "results", "aria-live": "polite" });
  async function send(files) {
    for (const file of files) {
      const item = h("li", {}, t("uploading", printable(file.name)));
      results.prepend(item);
      try {
        const one = await api.upload(file);
        item.replaceChildren(h("a", { href: `#/d/${one.id}` },
          t("uploaded", printable(one.name), t(one.report?.verdict ?? one.status), one.action ? t(one.action) : "–")));
      } catch (error) {
        item.textContent = `${printable(file.name)}: ${error.message}`;
      }
    }
    input.value = "";
    await done();
  }
  const box = h("section", { class: "upload", "aria-label": t("try_file"),
    ondragover: (event) => { event.preventDefault(); box.classList.add("over"); },
    ondragleave: () => box.classList.remove("over"),
    ondrop: (event) => { event.preventDefault(); box.classList.remove("over"); send([...event.dataTransfer.files]); },
  }, h("label", { for: "file" }, t("try_file")), input, results);
  return box;
}

export async function searchView(main, params) {
  const place = h("section", { "aria-label": t("found") });
  const choice = (key, label, values) => h("div", {}, choose(key, t(label),
    [["", t("any")], ...values.map((value) => [value, t(value === "closed" ? "closed_any" : value)])], params[key]));
  const field = (key, label, type) => h("div", {}, h("label", { for: key }, t(label)),
    h("input", { id: key, name: key, type, value: params[key] ?? "", maxlength: 200 }));
  const form = h("form", { class: "filters", role: "search",
    onsubmit: (event) => {
      event.preventDefault();
      const given = [...new FormData(form)].filter(([, value]) => value);
      location.hash = `#/search?${new URLSearchParams(given)}`;
    } },
    field("search", "file_name", "search"),
    choice("verdict", "verdict", VERDICTS),
    choice("action", "action", ["pass", "label", "review", "block"]),
    choice("surface", "surface", ["upload", "message", "live"]),
    choice("review", "state", ["open", "closed"]),
    field("since", "since", "date"), field("until", "until", "date"),
    h("button", { type: "submit", class: "main" }, t("search")));
  main.append(title(t("search")), form, place);
  // A day begins where the reviewer is, and the last one is meant whole.
  const day = (text, after) => {
    if (!text) return "";
    const [year, month, date] = text.split("-").map(Number);
    return new Date(year, month - 1, date + after).toISOString();
  };
  const wanted = { ...params, since: day(params.since, 0), until: day(params.until, 1) };
  await list(place, t("found"), (cursor) => api.get("detections", { ...wanted, cursor }));
}

export const focusSearch = () => $("search")?.focus();

// Moves the focus up or down a list; false where there is none.
export function walk(step) {
  const links = [...document.querySelectorAll("table.list a")];
  if (!links.length) return false;
  const at = links.indexOf(document.activeElement);
  links[Math.max(0, Math.min(links.length - 1, at < 0 ? 0 : at + step))].focus();
  return true;
}
