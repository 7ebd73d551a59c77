// The page: who is signed in, which view is on screen, and the keyboard.

import * as api from "./api.js";
import { dashboardView } from "./dashboard.js";
import { detectionView } from "./detection.js";
import { $, h, kbd, name, quiet, say, title } from "./dom.js";
import { focusSearch, queueView, searchView, walk } from "./queue.js";
import { language, switchLanguage, t } from "./strings.js";

const VIEWS = { queue: queueView, search: searchView, d: detectionView, dashboard: dashboardView };
const MENU = ["queue", "search", "dashboard"];
const THEMES = ["auto", "light", "dark"];

let me = null; // who is signed in
let view = null; // what is on screen: may want keys, and to be closed
let turn = 0; // a view that comes late finds another one on screen

function clear() {
  view?.close?.();
  view = null;
  return ++turn;
}

async function show() {
  const [, kind = "queue", id, query] = location.hash.match(/^#\/(\w+)(?:\/(\w+))?(?:\?(.*))?$/) ?? [];
  const mine = clear();
  document.documentElement.lang = language;
  if (!me) return signIn();
  const main = h("div", { class: "view" });
  top(kind);
  $("main").setAttribute("aria-busy", "true");
  try {
    const draw = VIEWS[kind] ?? queueView;
    const drawn = await draw(main, Object.fromEntries(new URLSearchParams(query)), me, id);
    if (mine !== turn) return drawn?.close?.();
    view = drawn;
  } catch (error) {
    if (mine !== turn) return;
    if (error.status === 401) return signOut();
    main.replaceChildren(title(t(kind)), h("p", { role: "alert" }, error.message));
  }
  $("main").replaceChildren(main);
  $("main").removeAttribute("aria-busy");
  const head = main.querySelector("h1");
  document.title = `${head.textContent} · deepfake_audio`;
  head.focus({ preventScroll: true });
  scrollTo(0, 0);
  if (kind === "search" && !query) focusSearch();
}

function top(kind) {
  $("skip").textContent = t("skip");
  const { theme = "auto" } = localStorage;
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  $("top").replaceChildren(
    h("strong", { class: "brand" }, "deepfake_audio"),
    h("nav", {}, me ? MENU.map((each) =>
      h("a", { href: `#/${each}`, "aria-current": each === kind ? "page" : null }, t(each))) : ""),
    h("div", { class: "tools" },
      me ? h("span", { class: "quiet who" }, name(me.name)) : "",
      h("button", { id: "theme", onclick: () => { localStorage.theme = next; paint(); top(kind); $("theme").focus(); } },
        `${t("theme")}: ${t(`theme_${theme}`)}`),
      h("button", { id: "language", lang: language === "en" ? "zh-CN" : "en",
        onclick: () => { switchLanguage(); show(); } }, language === "en" ? "中文" : "English"),
      h("button", { onclick: help }, t("help"), " ", kbd("?")),
      api.hasKey() ? h("button", { onclick: signOut }, t("sign_out")) : ""));
}

function paint() {
  document.documentElement.dataset.theme = localStorage.theme ?? "auto";
}

function signIn(message = "") {
  top("");
  const input = h("input", { id: "key", type: "password", required: true, autocomplete: "off", "aria-describedby": "key-hint" });
  $("main").replaceChildren(h("form", { class: "sign-in", onsubmit: (event) => {
    event.preventDefault();
    api.useKey(input.value.trim());
    enter();
  } }, title(t("sign_in")), h("label", { for: "key" }, t("api_key")), input,
  h("p", { class: "quiet", id: "key-hint" }, t("key_hint")),
  h("p", { role: "alert" }, message), h("button", { type: "submit", class: "main" }, t("sign_in"))));
  document.title = `${t("sign_in")} · deepfake_audio`;
  input.focus();
}

function signOut() {
  api.useKey(null);
  me = null;
  clear();
  signIn();
}

async function enter() {
  const given = api.hasKey();
  try {
    me = await api.get("me");
  } catch (error) {
    api.useKey(null);
    document.documentElement.lang = language;
    return signIn(given ? error.message : "");
  }
  return show();
}

function help() {
  const keys = [["j / k", "do_next"], ["Enter", "do_open"], ["Space", "do_play"], ["g", "genuine"], ["s", "synthetic"],
    ["u", "unsure"], ["e", "escalate"], ["n", "do_note"], ["/", "do_search"], ["?", "do_help"]];
  const on = h("input", { type: "checkbox", id: "single", checked: localStorage.keys !== "off",
    onchange: (event) => (localStorage.keys = event.target.checked ? "on" : "off") });
  $("help").replaceChildren(h("h2", { id: "help-title" }, t("shortcuts")),
    h("dl", { class: "keys" }, keys.flatMap(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, t(what))])),
    h("p", {}, on, " ", h("label", { for: "single" }, t("shortcuts_on"))),
    h("button", { class: "main", onclick: () => $("help").close() }, t("close")));
  $("help").showModal();
}

addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !me || $("help").open) return;
  if (target.closest("textarea, select, audio, input:not([type=file])")) return;
  if (key === " " && target.closest("button, summary, input")) return;
  if (localStorage.keys === "off" && key !== "?") return;
  if (key === "?") help();
  else if (key === "/") location.hash.startsWith("#/search") ? focusSearch() : (location.hash = "#/search");
  else if (!view?.key?.(key) && !((key === "j" || key === "k") && walk(key === "j" ? 1 : -1))) return;
  event.preventDefault();
});

addEventListener("hashchange", show);
addEventListener("unhandledrejection", (event) => say(event.reason?.message ?? String(event.reason), true));
// The hash is the view's: the link moves the focus instead.
$("skip").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); });

paint();
enter();
