// One recording: what was said of it, its sound with the score beneath, and what people decide.

import * as api from "./api.js";
import { verdict } from "./charts.js";
import { $, details, h, kbd, name, printable, quiet, say, table, title } from "./dom.js";
import { showSound } from "./player.js";
import { caseState, listed } from "./queue.js";
import { moment, number, probability, signed, t } from "./strings.js";

const KEYS = { genuine: "g", synthetic: "s", unsure: "u", escalate: "e" };

export async function detectionView(main, params, me, id) {
  const one = await api.get(`detections/${id}`);
  const ended = new AbortController();
  const aside = h("aside", { "aria-label": t("decide") });
  const sound = h("section", { "aria-label": t("sound") });
  const history = h("section", { "aria-label": t("history") });
  main.append(
    h("div", { class: "bar-top" },
      title(name(one.name)), neighbour(id, -1), neighbour(id, 1)),
    h("div", { class: "columns" }, h("div", {}, headline(one), sound), aside,
      h("div", {}, facts(one), history)));
  if (me.scopes.includes("review")) {
    showDecision(aside, history, one);
    showHistory(history, id);
    showSound(sound, one, ended.signal);
  }
  return { close: () => ended.abort(), key: (key) => onKey(key, aside) };
}

function neighbour(id, step) {
  const at = listed.indexOf(id), other = at < 0 ? undefined : listed[at + step];
  return other && h("a", { class: "button", rel: step < 0 ? "prev" : "next", href: `#/d/${other}` }, t(step < 0 ? "previous" : "next"));
}

function headline(one) {
  const { report } = one;
  if (!report) {
    return h("section", { class: "headline" }, h("p", { class: "said" }, verdict(one.status)),
      one.error && h("p", {}, t("pair", t("error"), printable(one.error.message))));
  }
  const { policy } = report;
  const strange = policy.max_novelty != null && report.novelty > policy.max_novelty;
  const cost = policy.expected_fpr == null ? t("flags_unknown") : t("flags", number(100 * policy.expected_fpr, 1));
  return h("section", { class: `headline ${report.verdict}`, "aria-label": t("verdict") },
    h("p", { class: "said" }, verdict(report.verdict)),
    h("p", {}, t(strange ? "means_strange" : `means_${report.verdict}`), report.reason ? ` ${t(report.reason)}` : ""),
    report.p_synthetic == null ? "" :
      h("p", { class: "figures" }, t("score", probability(report.p_synthetic), number(policy.prior_synthetic, 2), signed(report.llr_synthetic))),
    quiet(t("pair", t("threshold", number(policy.threshold, 2), policy.name), cost)));
}

function facts(one) {
  const { report, decided_by: by } = one;
  const short = (sha256) => h("code", { title: sha256 }, (sha256 ?? "").slice(0, 12));
  const json = (value) => h("pre", {}, printable(JSON.stringify(value)));
  const input = report?.input;
  const labels = Object.entries(report?.provenance ?? {}).filter(([key, value]) => value != null && key !== "read");
  const pairs = [
    ["action", one.action && [t(one.action), by?.policy?.dry_run ? ` (${t("dry_run")})` : ""]],
    ["warnings", report && (report.warnings.map((each) => t(each)).join(", ") || t("none"))],
    ["novelty", report?.novelty != null && number(report.novelty, 3)],
    ["heard", input && t("heard_value", number(input.speech_s, 1), number(input.duration_s, 1), input.channels, `${printable(input.format)}, ${number(input.sample_rate_hz)} Hz`)],
    ["surface", t(one.surface)],
    ["received", moment(one.created_at)],
    ["retained", one.audio.available && moment(one.audio.retained_until)],
    ["model", by?.model && [`${by.model.name} ${by.model.version} `, short(by.model.sha256)]],
    ["policy", by?.policy && [`${by.policy.version} `, short(by.policy.sha256)]],
    ["provenance", labels.length > 0 && json(Object.fromEntries(labels))],
    ["metadata", Object.keys(one.metadata).length > 0 && json(one.metadata)],
    ["SHA-256", short(one.sha256)],
    ["ID", h("code", {}, one.id)],
  ];
  return h("section", { "aria-labelledby": "facts" }, h("h2", { id: "facts" }, t("facts")),
    h("dl", {}, pairs.filter(([, value]) => value).flatMap(([key, value]) => [h("dt", {}, t(key)), h("dd", {}, value)])));
}

function showDecision(aside, history, one) {
  const closed = one.review.state === "closed";
  let busy = false; // a second press of the key is no second decision
  async function decide(decision) {
    if (busy) return;
    busy = true;
    try {
      const after = await api.review(one.id, decision, $("note").value);
      say(t("decided", t(decision), caseState(after.review)));
      showDecision(aside, history, after);
      await showHistory(history, one.id);
    } catch (error) {
      busy = false;
      say(error.message, true);
    }
  }
  const button = (decision) => h("button", { "data-decision": decision, "aria-keyshortcuts": KEYS[decision],
    disabled: one.status !== "done" || (closed && decision !== "escalate"), onclick: () => decide(decision) },
    t(decision), " ", kbd(KEYS[decision]));
  aside.replaceChildren(
    h("h2", {}, t("decide")),
    h("p", { id: "case" }, t("pair", t("state"), ""), h("strong", {}, caseState(one.review))),
    h("div", { class: "decisions" }, Object.keys(KEYS).map(button)),
    closed ? quiet(t("closed_hint")) : "",
    h("label", { for: "note" }, t("note"), " ", kbd("n")),
    h("textarea", { id: "note", rows: 3, maxlength: 2000, "aria-describedby": "note-hint",
      onkeydown: (event) => event.key === "Escape" && event.target.blur() }),
    h("p", { class: "quiet", id: "note-hint" }, t("note_hint")),
    quiet(t("evidence")));
}

async function showHistory(history, id) {
  const [{ reviews }, { events }] = await Promise.all([api.get(`detections/${id}/reviews`), api.get(`detections/${id}/events`)]);
  history.replaceChildren(
    h("h2", {}, t("history")),
    reviews.length ? h("ol", { class: "said-by" }, reviews.map((said) => h("li", {},
      h("strong", {}, t(said.decision)), " · ", name(said.reviewer.name), " · ", moment(said.created_at),
      said.note ? h("blockquote", {}, printable(said.note)) : ""))) : quiet(t("none")),
    details(`${t("audit")} (${events.length})`, table(t("audit"), ["#", t("when"), t("who"), t("what"), t("hash")],
      events.map((event) => [event.seq, moment(event.at), h("code", {}, event.actor), h("code", {}, event.kind),
        h("code", { title: event.hash }, event.hash.slice(0, 12))]))));
}

// A key while a recording is on screen; true if it meant something.
function onKey(key, aside) {
  const decision = Object.keys(KEYS).find((each) => KEYS[each] === key);
  const player = $("player");
  if (decision) aside.querySelector(`[data-decision=${decision}]:enabled`)?.click();
  else if (key === "n") $("note")?.focus();
  else if (key === " " && player) player.paused ? player.play() : player.pause();
  else if (key === "j" || key === "k") document.querySelector(`a[rel=${key === "j" ? "next" : "prev"}]`)?.click();
  else return false;
  return true;
}
