// How the service is doing: figures, and each chart with its table.

import * as api from "./api.js";
import { VERDICTS, histogram, legend, patterns, stacks, verdict } from "./charts.js";
import { details, h, name, table } from "./dom.js";
import { language, moment, number, t } from "./strings.js";

const DECISIONS = ["genuine", "synthetic", "unsure", "escalate"];

const sum = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);
const percent = (share) => share.toLocaleString(language, { style: "percent", maximumFractionDigits: 0 });
const share = (part, whole) => (whole ? percent(part / whole) : "–");

const tile = (label, value, hint) =>
  h("div", { class: "tile" }, h("dt", {}, label), h("dd", {}, h("strong", {}, value), hint ? h("span", { class: "quiet" }, hint) : ""));

const panel = (title, ...children) => h("section", { class: "panel" }, h("h2", {}, title), ...children);

export async function dashboardView(main, params) {
  const days = Number(params.days) || 7;
  const found = await api.get("dashboard", { days });
  const choice = h("select", { id: "days", onchange: (event) => (location.hash = `#/dashboard?days=${event.target.value}`) },
    [7, 28, 90].map((n) => h("option", { value: n, selected: n === days }, t("last_days", n))));
  main.append(
    h("div", { class: "bar-top" }, h("h1", { tabindex: -1 }, t("dashboard")), h("label", { for: "days" }, t("period")), choice),
    patterns(), tiles(found),
    h("div", { class: "panels" }, volume(found), scores(found, days), outcomes(found.reviews), reviewers(found.reviews)));
}

function tiles({ days, latency, queue, reviews }) {
  const suspected = reviews.by_verdict.likely_synthetic ?? {};
  const yes = suspected.synthetic ?? 0, told = yes + (suspected.genuine ?? 0);
  return h("dl", { class: "tiles" },
    tile(t("total"), number(days.reduce((n, day) => n + day.total, 0))),
    tile(t("in_queue_now"), number(queue.open), [`${t("escalated")}: ${number(queue.escalated)}`,
      ...(queue.oldest ? [h("br"), t("waiting_since", moment(queue.oldest).textContent)] : [])]),
    tile(t("latency"), latency.count ? number(latency.p50_s, 2) : "–", latency.count
      ? `${t("median")}; p95 ${number(latency.p95_s, 2)}, p99 ${number(latency.p99_s, 2)} (${t("of_newest", number(latency.count))})` : ""),
    tile(t("agreement"), share(reviews.pairs_agreeing, reviews.pairs), t("pairs", number(reviews.pairs_agreeing), number(reviews.pairs))),
    tile(t("confirmed"), share(yes, told), t("confirmed_of", number(yes), number(told))));
}

function volume({ days }) {
  const short = (date) => new Date(`${date}T00:00Z`).toLocaleDateString(language, { timeZone: "UTC", month: "numeric", day: "numeric" });
  const others = [...new Set(days.flatMap((day) => Object.keys(day.verdicts)))].filter((key) => !VERDICTS.includes(key));
  const actions = ["pass", "label", "review", "block"];
  return panel(t("volume"),
    stacks(t("volume"), days.map((day) => ({ name: short(day.date), values: day.verdicts })), VERDICTS), legend(VERDICTS),
    details(t("as_table"), table(t("volume"), [t("day"), ...[...VERDICTS, ...others, ...actions].map((key) => t(key)), t("total")],
      days.map((day) => [day.date, ...[...VERDICTS, ...others].map((key) => number(day.verdicts[key] ?? 0)),
        ...actions.map((key) => number(day.actions[key] ?? 0)), number(day.total)]), { class: "numbers" })));
}

function scores({ scores: { edges, now, before, stability_index: index, needs } }, days) {
  const size = index == null ? t("drift_unknown", needs)
    : `${number(index, 2)}: ${t(index < 0.1 ? "drift_small" : index < 0.25 ? "drift_medium" : "drift_large")}`;
  const title = t("histogram", days);
  return panel(title, histogram(title, now, before),
    h("p", { class: "quiet" }, `▇ ${t("now")} (${number(sum(now))})   ▔ ${t("before")} (${number(sum(before))})`),
    h("p", {}, `${t("drift")}: ${size}`),
    details(t("as_table"), table(title, [t("from_to"), t("now"), t("before")],
      now.map((count, i) => [`${number(edges[i], 1)}–${number(edges[i + 1], 1)}`, number(count), number(before[i])]), { class: "numbers" })));
}

function outcomes({ by_verdict: found }) {
  const columns = DECISIONS.slice(0, 3);
  const rows = VERDICTS.filter((key) => found[key]);
  return panel(t("outcomes"), rows.length
    ? table(t("outcomes"), [t("verdict"), ...columns.map((key) => t(key))],
      rows.map((key) => [verdict(key), ...columns.map((each) => number(found[key][each] ?? 0))]), { class: "numbers" })
    : h("p", { class: "quiet" }, t("nothing")));
}

function reviewers({ reviewers: found }) {
  const names = Object.keys(found);
  return panel(t("reviewers"), names.length
    ? table(t("reviewers"), [t("reviewer"), ...DECISIONS.map((key) => t(key)), t("total")],
      names.map((who) => [name(who), ...DECISIONS.map((key) => number(found[who][key] ?? 0)), number(sum(found[who]))]), { class: "numbers" })
    : h("p", { class: "quiet" }, t("nothing")));
}
