// Small charts as SVG. Each has a table of its figures beside it, and each series a pattern, not
// only a colour.

import { h, svg } from "./dom.js";
import { number, t } from "./strings.js";

export const VERDICTS = ["likely_synthetic", "uncertain", "likely_authentic", "inconclusive"];
const GLYPHS = { likely_synthetic: "▲", uncertain: "◆", likely_authentic: "●", inconclusive: "○" };

export const verdict = (of) =>
  h("span", { class: `verdict ${VERDICTS.includes(of) ? of : "inconclusive"}` },
    h("span", { "aria-hidden": "true" }, `${GLYPHS[of] ?? "·"} `), t(of));

const pattern = (id, ...shapes) =>
  svg("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse" },
    svg("rect", { width: 6, height: 6, class: "ground" }), ...shapes);

export const patterns = () =>
  svg("svg", { class: "hidden", "aria-hidden": "true" }, svg("defs", {},
    pattern("fill-likely_synthetic", svg("rect", { width: 6, height: 6, class: "ink likely_synthetic" })),
    pattern("fill-uncertain", svg("path", { d: "M0 6L6 0M-1 1L1 -1M5 7L7 5", class: "line uncertain" })),
    pattern("fill-likely_authentic", svg("path", { d: "M1.5 0V6M4.5 0V6", class: "line likely_authentic" })),
    pattern("fill-inconclusive", svg("circle", { cx: 3, cy: 3, r: 1.2, class: "ink inconclusive" }))));

const swatch = (kind, fill) => svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" },
  kind === "outline" ? svg("path", { d: "M0 6H12", class: kind }) : svg("rect", { width: 12, height: 12, class: kind, fill }));

const legend = (items) => h("ul", { class: "legend" }, items.map(([picture, word]) => h("li", {}, picture, word)));

export const verdictLegend = () => legend(VERDICTS.map((of) => [swatch(`edge ${of}`, `url(#fill-${of})`), t(of)]));

export const periodLegend = (now, before) => legend([
  [swatch("bar"), `${t("now")} (${number(now)})`], [swatch("outline"), `${t("before")} (${number(before)})`]]);

const W = 600, H = 180, LEFT = 34, BOTTOM = 20, TOP = 8;

// An even number to end an axis at, not far above a value.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [2, 4, 6, 10].map((step) => step * power).find((end) => end >= value);
}

const frame = (label, top, ...shapes) =>
  svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label, class: "chart" },
    [0, 0.5, 1].map((share) => {
      const y = H - BOTTOM - share * (H - BOTTOM - TOP);
      return [
        svg("line", { x1: LEFT, x2: W, y1: y, y2: y, class: "grid" }),
        svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, number(share * top, top < 2 ? 2 : 0)),
      ];
    }).flat(), ...shapes);

const height = (value, top) => (value / top) * (H - BOTTOM - TOP);

// One stack a group: groups are [{name, values: {series: count}}].
export function stacks(label, groups, series) {
  const top = nice(Math.max(...groups.map((g) => series.reduce((n, of) => n + (g.values[of] ?? 0), 0))));
  const step = (W - LEFT) / groups.length, every = Math.ceil(groups.length / 8);
  return frame(label, top, groups.flatMap((group, i) => {
    let y = H - BOTTOM;
    const x = LEFT + i * step + step * 0.18;
    const bars = series.filter((of) => group.values[of]).map((of) => {
      const tall = height(group.values[of], top);
      y -= tall;
      return svg("rect", { x, y, width: step * 0.64, height: tall, class: `edge ${of}`, fill: `url(#fill-${of})` },
        svg("title", {}, `${group.name} · ${t(of)}: ${number(group.values[of])}`));
    });
    const written = i % every ? [] : [svg("text", { x: LEFT + (i + 0.5) * step, y: H - 5, "text-anchor": "middle" }, group.name)];
    return [...bars, ...written];
  }));
}

// Shares in equal bins of 0 to 1: bars for one series, an outline for the other.
export function histogram(label, bars, outline) {
  const share = (counts) => {
    const total = counts.reduce((a, b) => a + b, 0);
    return counts.map((count) => (total ? count / total : 0));
  };
  const [now, before] = [share(bars), share(outline)];
  const most = Math.max(...now, ...before);
  const top = [0.1, 0.2, 0.4, 0.6, 0.8].find((end) => end >= most) ?? 1;
  const step = (W - LEFT) / bars.length;
  const y = (value) => H - BOTTOM - height(value, top);
  return frame(label, top,
    now.map((value, i) => svg("rect", { x: LEFT + i * step + 1, y: y(value), width: step - 2, height: height(value, top), class: "bar" })),
    svg("path", { class: "outline", d: before.map((value, i) =>
      `${i ? "L" : "M"}${LEFT + i * step} ${y(value)}H${LEFT + (i + 1) * step}`).join("") }),
    [0, 0.5, 1].map((p) => svg("text", { x: LEFT + p * (W - LEFT), y: H - 5, "text-anchor": ["start", "middle", "end"][p * 2] }, number(p, 1))));
}
