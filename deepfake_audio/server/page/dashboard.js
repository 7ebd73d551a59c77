// How the service is doing: figures, and each chart with its table.

import * as api from "./api.js";
import { VERDICTS, histogram, patterns, periodLegend, stacks, verdict, verdictLegend } from "./charts.js";
import { choose, details, h, name, quiet, table, title } from "./dom.js";
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
  const choice = choose("days", t("period"), [7, 28, 90].map((n) => [n, t("last_days", n)]),
    days, (chosen) => (location.hash = `#/dashboard?days=${chosen}`));
  main.append(
    h("div", { class: "bar-top" }, title(t("dashboard")), h("div", {}, choice)),
    patterns(), tiles(found),
    h("div", { class: "panels" }, volume(found), scores(found, days), decisions(t("outcomes"), t("verdict"), found.reviews.by_verdict, verdict),
      decisions(t("reviewers"), t("reviewer"), found.reviews.reviewers, name)));
}

function tiles({ days, latency, queue, reviews }) {
  const suspected = reviews.by_verdict.likely_synthetic ?? {};
  const yes = suspected.synthetic ?? 0, told = yes + (suspected.genuine ?? 0);
  return h("dl", { class: "tiles" },
    tile(t("recordings"), number(days.reduce((n, day) => n + day.total, 0))),
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
    stacks(t("volume"), days.map((day) => ({ name: short(day.date), values: day.verdicts })), VERDICTS), verdictLegend(),
    details(t("as_table"), table(t("volume"), [t("day"), ...[...VERDICTS, ...others, ...actions].map((key) => t(key)), t("total")],
      days.map((day) => [day.date, ...[...VERDICTS, ...others].map((key) => number(day.verdicts[key] ?? 0)),
        ...actions.map((key) => number(day.actions[key] ?? 0)), number(day.total)]), { class: "numbers" })));
}

function scores({ scores: { edges, now, before, stability_index: index, needs } }, days) {
  const size = index == null ? t("drift_unknown", needs)
    : `${number(index, 2)}, ${t(index < 0.1 ? "drift_small" : index < 0.25 ? "drift_medium" : "drift_large")}`;
  const title = t("histogram", days);
  return panel(title, histogram(title, now, before),
    periodLegend(sum(now), sum(before)), h("p", {}, `${t("drift")}: ${size}`),
    details(t("as_table"), table(title, [t("from_to"), t("now"), t("before")],
      now.map((count, i) => [`${number(edges[i], 1)}–${number(edges[i + 1], 1)}`, number(count), number(before[i])]), { class: "numbers" })));
}

// Decisions counted by something: found is {key: {decision: count}}.
function decisions(caption, by, found, write) {
  const columns = DECISIONS.filter((each) => Object.values(found).some((counts) => counts[each]));
  const rows = Object.keys(found).map((key) => [write(key), ...columns.map((each) => number(found[key][each] ?? 0)), number(sum(found[key]))]);
  return panel(caption, rows.length
    ? table(caption, [by, ...columns.map((key) => t(key)), t("total")], rows, { class: "numbers" }) : quiet(t("nothing")));
}
