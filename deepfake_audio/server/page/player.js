// The sound of a recording: player, spectrogram, and the score over time beneath it.

import * as api from "./api.js";
import { choose, details, h, quiet, svg, table } from "./dom.js";
import { drawSpectrogram, mostSuspicious, readWav, scoreOverTime } from "./sound.js";
import { number, probability, signed, t } from "./strings.js";

const STEP = 100; // height of the score's drawing: p = 1

export async function showSound(section, one, ended) {
  const segments = one.report?.segments ?? [];
  section.append(h("h2", {}, t("sound")));
  if (!one.audio.available) {
    section.append(h("p", {}, t("no_audio")), ...scores(one.report, one.report?.input.duration_s));
    return;
  }
  const waiting = quiet(t("loading"));
  section.append(waiting);
  let buffer;
  try {
    buffer = await api.audio(one.id, ended);
  } catch (error) {
    waiting.textContent = error.message;
    return;
  }
  if (ended.aborted) return;
  waiting.remove();
  const wav = readWav(buffer);
  const url = URL.createObjectURL(new Blob([buffer], { type: "audio/wav" }));
  const player = h("audio", { id: "player", controls: true, src: url, "aria-label": t("player") });
  const heads = [];
  const seek = (event) => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    player.currentTime = ((event.clientX - left) / width) * wav.duration;
  };
  const strip = (...children) => {
    const head = h("div", { class: "head", "aria-hidden": "true" });
    heads.push(head);
    return h("div", { class: "strip", onclick: seek }, ...children, head);
  };
  let frame;
  const follow = () => {
    for (const head of heads) head.style.left = `${(100 * player.currentTime) / wav.duration}%`;
    cancelAnimationFrame(frame);
    if (!player.paused) frame = requestAnimationFrame(follow);
  };
  for (const event of ["play", "pause", "seeked"]) player.addEventListener(event, follow);
  ended.addEventListener("abort", () => {
    player.pause();
    cancelAnimationFrame(frame);
    URL.revokeObjectURL(url);
  });

  const canvas = h("canvas", { role: "img" });
  const draw = (channel) => {
    drawSpectrogram(canvas, wav, channel);
    canvas.setAttribute("aria-label", t("spectrogram", channel + 1, number(wav.rate / 2000), number(wav.duration, 1)));
  };
  const first = Math.min(mostSuspicious(segments), wav.channels - 1);
  const choice = wav.channels < 2 ? "" : h("p", {}, choose("channel", t("channel"),
    Array.from({ length: wav.channels }, (_, i) => [i, i + 1]), first, (chosen) => draw(Number(chosen))));
  section.append(choice, h("div", { class: "plot" },
    h("div", { class: "axis" }, h("span", {}, `${number(wav.rate / 2000)} kHz`), h("span", {}, "0")), strip(canvas)),
    ...scores(one.report, wav.duration, strip), player);
  draw(first);
}

// The score over time of each channel, and the same as a table.
function scores(report, duration, strip = (picture) => picture) {
  const { segments, policy } = report ?? { segments: [] };
  if (!segments.length) return [h("p", {}, t("no_scores"))];
  const channels = [...new Set(segments.map((segment) => segment.channel))].sort((a, b) => a - b);
  const x = (seconds) => (1000 * seconds) / duration, y = (p) => STEP * (1 - p);
  const plots = channels.map((channel) => {
    const own = segments.filter((segment) => segment.channel === channel);
    const steps = scoreOverTime(own);
    const top = steps.reduce((a, b) => (b.p > a.p ? b : a));
    const path = (from) => steps.map((step) =>
      `M${x(step.start)} ${from ?? y(step.p)}V${y(step.p)}H${x(step.end)}${from == null ? "" : `V${from}Z`}`).join("");
    const label = t("over_time_label", own.length, probability(top.p), number(top.start, 1), number(top.end, 1));
    return h("div", { class: "plot" },
      h("div", { class: "axis" }, h("span", {}, "1"), channels.length > 1 ? h("span", {}, `${t("channel")} ${channel + 1}`) : "", h("span", {}, "0")),
      strip(svg("svg", { class: "scores", viewBox: `0 -4 1000 ${STEP + 8}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
        svg("rect", { x: 0, y: 0, width: 1000, height: y(policy.threshold), class: "above" }),
        svg("path", { d: path(STEP), class: "under" }),
        svg("line", { x1: 0, x2: 1000, y1: y(policy.threshold), y2: y(policy.threshold), class: "threshold" }),
        svg("path", { d: path(null), class: "step" }))));
  });
  return [
    h("h3", {}, t("over_time"), h("span", { class: "quiet" }, `  – – ${t("threshold", number(policy.threshold, 2), policy.name)}`)),
    ...plots,
    h("div", { class: "times", "aria-hidden": "true" }, [0, 0.25, 0.5, 0.75, 1].map((share) => h("span", {}, `${number(share * duration, 1)} s`))),
    details(t("segments"), table(t("over_time"), [t("channel"), t("start"), t("end"), "p", "LLR"],
      segments.map((s) => [s.channel + 1, number(s.start_s, 1), number(s.end_s, 1), probability(s.p_synthetic), signed(s.llr_synthetic)]))),
  ];
}
