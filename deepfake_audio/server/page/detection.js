// One recording: what was said of it, its sound with the score beneath, and what people decide.

import * as api from "./api.js";
import { verdict } from "./charts.js";
import { $, details, h, name, printable, say, svg, table } from "./dom.js";
import { caseState, listed } from "./queue.js";
import { drawSpectrogram, mostSuspicious, readWav, scoreOverTime } from "./sound.js";
import { moment, number, probability, signed, t } from "./strings.js";

const KEYS = { genuine: "g", synthetic: "s", unsure: "u", escalate: "e" };
const STEP = 100; // height of the score's drawing: p = 1

let view = null; // the recording on screen, for the keyboard

export async function detectionView(main, params, me, id) {
  const one = await api.get(`detections/${id}`);
  const mayReview = me.scopes.includes("review");
  const aside = h("aside", { "aria-label": t("decide") });
  const sound = h("section", { "aria-label": t("sound") });
  const history = h("section", { "aria-label": t("history") });
  main.append(
    h("div", { class: "bar-top" },
      h("h1", { tabindex: -1 }, name(one.name)), neighbour(id, -1), neighbour(id, 1)),
    h("div", { class: "columns" }, h("div", {}, headline(one), sound), aside,
      h("div", {}, facts(one), mayReview ? history : "")));
  view = { id, aside, history };
  const closers = [];
  if (mayReview) {
    showDecision(one);
    await Promise.all([showHistory(), showSound(sound, one, closers)]);
  }
  return () => {
    view = null;
    closers.forEach((close) => close());
  };
}

function neighbour(id, step) {
  const at = listed.indexOf(id), other = at < 0 ? undefined : listed[at + step];
  return h("a", { class: "button", rel: step < 0 ? "prev" : "next", href: other ? `#/d/${other}` : null,
    "aria-disabled": other ? null : "true" }, t(step < 0 ? "previous" : "next"));
}

function headline(one) {
  const { report } = one;
  if (!report) {
    return h("section", { class: "headline" }, h("p", { class: "said" }, verdict(one.status)),
      one.error ? h("p", {}, `${t("error")}: ${printable(one.error.message)}`) : "");
  }
  const { policy } = report;
  const cost = policy.expected_fpr == null ? t("flags_unknown") : t("flags", number(100 * policy.expected_fpr, 1));
  return h("section", { class: `headline ${report.verdict}`, "aria-label": t("verdict") },
    h("p", { class: "said" }, verdict(report.verdict)),
    h("p", {}, t(`means_${report.verdict}`), report.reason ? ` ${t(report.reason)}` : ""),
    report.p_synthetic == null ? "" :
      h("p", { class: "figures" }, t("score", probability(report.p_synthetic), number(policy.prior_synthetic, 2), signed(report.llr_synthetic))),
    h("p", { class: "quiet" }, `${t("threshold", number(policy.threshold, 2), policy.name)}: ${cost}`));
}

function facts(one) {
  const { report, decided_by: by } = one;
  const short = (sha256) => h("code", { title: sha256 }, (sha256 ?? "").slice(0, 12));
  const json = (value) => h("pre", {}, printable(JSON.stringify(value)));
  const input = report?.input;
  const labels = Object.entries(report?.provenance ?? {}).filter(([, value]) => value);
  const pairs = [
    ["action", one.action && [t(one.action), by?.policy?.dry_run ? ` (${t("dry_run")})` : ""]],
    ["warnings", report && (report.warnings.join(", ") || t("none"))],
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

function showDecision(one, note = "") {
  const closed = one.review.state === "closed";
  const button = (decision) => h("button", { type: "button", "data-decision": decision, "aria-keyshortcuts": KEYS[decision],
    disabled: one.status !== "done" || (closed && decision !== "escalate"), onclick: () => decide(decision) },
    t(decision), " ", h("kbd", { "aria-hidden": "true" }, KEYS[decision]));
  view.aside.replaceChildren(
    h("h2", {}, t("decide")),
    h("p", { id: "case" }, `${t("state")}: `, h("strong", {}, caseState(one.review))),
    h("div", { class: "decisions" }, Object.keys(KEYS).map(button)),
    closed ? h("p", { class: "quiet" }, t("closed_hint")) : "",
    h("label", { for: "note" }, t("note"), " ", h("kbd", { "aria-hidden": "true" }, "n")),
    h("textarea", { id: "note", rows: 3, maxlength: 2000, "aria-describedby": "note-hint",
      onkeydown: (event) => event.key === "Escape" && event.target.blur() }, note),
    h("p", { class: "quiet", id: "note-hint" }, t("note_hint")),
    h("p", { class: "quiet" }, t("evidence")));
}

let deciding = false;

async function decide(decision) {
  if (deciding || !view) return;
  const { id } = view;
  deciding = true; // a second press of the key is not a second decision
  try {
    const one = await api.review(id, decision, $("note").value);
    say(t("decided", t(decision), caseState(one.review)));
    if (view?.id !== id) return;
    showDecision(one);
    await showHistory();
  } catch (error) {
    say(error.message, true);
  } finally {
    deciding = false;
  }
}

async function showHistory() {
  const { id, history } = view;
  const [{ reviews }, { events }] = await Promise.all([api.get(`detections/${id}/reviews`), api.get(`detections/${id}/events`)]);
  history.replaceChildren(
    h("h2", {}, t("history")),
    reviews.length ? h("ol", { class: "said-by" }, reviews.map((said) => h("li", {},
      h("strong", {}, t(said.decision)), " · ", name(said.reviewer.name), " · ", moment(said.created_at),
      said.note ? h("blockquote", {}, printable(said.note)) : ""))) : h("p", { class: "quiet" }, t("none")),
    details(`${t("audit")} (${events.length})`, table(t("audit"), ["#", t("when"), t("who"), t("what"), t("hash")],
      events.map((event) => [event.seq, moment(event.at), h("code", {}, event.actor), h("code", {}, event.kind),
        h("code", { title: event.hash }, event.hash.slice(0, 12))]))));
}

async function showSound(section, one, closers) {
  const segments = one.report?.segments ?? [];
  section.append(h("h2", {}, t("sound")));
  if (!one.audio.available) {
    section.append(h("p", {}, t("no_audio")), ...(one.report ? scores(one.report, one.report.input.duration_s, null) : []));
    return;
  }
  const waiting = h("p", { class: "quiet" }, t("loading"));
  section.append(waiting);
  let buffer;
  try {
    buffer = await api.audio(one.id);
  } catch (error) {
    waiting.textContent = error.message;
    return;
  }
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
    if (!player.paused) frame = requestAnimationFrame(follow);
  };
  for (const event of ["play", "pause", "seeked", "timeupdate"]) player.addEventListener(event, follow);
  closers.push(() => {
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
  const choice = wav.channels < 2 ? "" : h("p", {}, h("label", { for: "channel" }, t("channel"), " "),
    h("select", { id: "channel", onchange: (event) => draw(Number(event.target.value)) },
      Array.from({ length: wav.channels }, (_, i) => h("option", { value: i, selected: i === first }, i + 1))));
  section.append(choice, h("div", { class: "plot" },
    h("div", { class: "axis" }, h("span", {}, `${number(wav.rate / 2000)} kHz`), h("span", {}, "0")), strip(canvas)),
    ...scores(one.report, wav.duration, strip), player);
  draw(first);
}

// The score over time of each channel, and the same as a table.
function scores(report, duration, strip = null) {
  const { segments, policy } = report ?? { segments: [] };
  if (!segments.length) return [h("p", {}, t("no_scores"))];
  const place = strip ?? ((...children) => h("div", { class: "strip" }, ...children));
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
      place(svg("svg", { class: "scores", viewBox: `0 -4 1000 ${STEP + 8}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
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

// A key while a recording is on screen; true if it meant something.
export function onKey(key) {
  if (!view) return false;
  const decision = Object.keys(KEYS).find((each) => KEYS[each] === key);
  const player = $("player");
  if (decision) view.aside.querySelector(`[data-decision=${decision}]:enabled`)?.click();
  else if (key === "n") $("note")?.focus();
  else if (key === " " && player) player.paused ? player.play() : player.pause();
  else if (key === "j" || key === "k") document.querySelector(`a[rel=${key === "j" ? "next" : "prev"}][href]`)?.click();
  else return false;
  return true;
}
