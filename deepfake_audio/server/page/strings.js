// All words of the page, English and Chinese, and how numbers and moments are written.

const WORDS = {
  queue: ["Queue", "待审队列"],
  search: ["Search", "搜索"],
  dashboard: ["Dashboard", "概览"],
  help: ["Help", "帮助"],
  skip: ["Skip to content", "跳到正文"],
  theme: ["Theme", "主题"],
  theme_auto: ["system", "跟随系统"],
  theme_light: ["light", "浅色"],
  theme_dark: ["dark", "深色"],
  close: ["Close", "关闭"],
  loading: ["Loading …", "加载中…"],
  more: ["Show more", "显示更多"],
  nothing: ["Nothing here.", "暂无内容。"],
  none: ["none", "无"],
  pair: ["{0}: {1}", "{0}：{1}"],

  sign_in: ["Sign in", "登录"],
  sign_out: ["Sign out", "退出"],
  api_key: ["API key", "API 密钥"],
  key_hint: ["With the scopes read, review and, to upload, submit. It stays in this tab.",
    "需要 read、review 权限，上传需 submit。只保存在此标签页中。"],

  likely_synthetic: ["likely synthetic", "疑似合成"],
  uncertain: ["uncertain", "不确定"],
  likely_authentic: ["likely authentic", "可能为真人语音"],
  inconclusive: ["inconclusive", "无法判断"],
  queued: ["waits to be scored", "等待评分"],
  processing: ["is being scored", "评分中"],
  failed: ["could not be read", "无法读取"],
  done: ["scored", "已评分"],
  too_short: ["under 1 s of audio or of speech", "音频或语音不足 1 秒"],
  no_speech: ["no speech found", "未发现语音"],
  unreadable_part: ["the file breaks off, and under 1 s of speech could be read", "文件中断，可读语音不足 1 秒"],
  means_likely_synthetic: ["At or above the threshold: a suspicion, not a proof.",
    "达到或高于阈值：属于疑似，并非证明。"],
  means_uncertain: ["Below the threshold, but not low enough to call it authentic. Please listen.",
    "低于阈值，但不足以认为是真人语音。请试听。"],
  means_strange: ["Unlike what the model knows. Please listen.", "与模型所知差异过大。请试听。"],
  means_likely_authentic: ["In the range of genuine speech. Good synthesis can score so, too.",
    "处于真人语音的范围。高质量的合成语音也可能如此。"],
  means_inconclusive: ["There is not enough to judge:", "可供判断的内容不足："],
  threshold: ["Threshold {0} ({1})", "阈值 {0}（{1}）"],
  flags: ["flags about {0} in 100 genuine clips of the calibration set, more of other sources",
    "在校准集中，每 100 段真人语音约有 {0} 段会被标记，其他来源会更多"],
  flags_unknown: ["false-positive rate not measured", "误报率未测量"],
  score: ["p(synthetic) {0} under a prior of {1}, LLR {2}", "p(合成) {0}（先验 {1}），LLR {2}"],

  pass: ["pass", "放行"],
  label: ["label", "标注疑似"],
  review: ["review", "人工审核"],
  block: ["block", "拦截"],
  live: ["live", "直播"],
  message: ["message", "消息"],
  upload: ["upload", "上传"],
  genuine: ["genuine", "真人"],
  synthetic: ["synthetic", "合成"],
  unsure: ["unsure", "拿不准"],
  escalate: ["escalate", "上报"],
  open: ["open", "待审"],
  escalated: ["escalated", "已上报"],
  closed: ["closed: {0}", "已结案：{0}"],
  closed_any: ["closed", "已结案"],
  not_asked: ["no review asked for", "无需审核"],

  order: ["Order", "排序"],
  risk: ["Risk", "风险"],
  novelty: ["Novelty", "新颖度"],
  oldest: ["Oldest first", "最早优先"],
  in_queue: ["Open cases, escalated ones first", "待审案例（上报者优先）"],
  two_person: ["Two people must agree before a case is closed.", "须两人意见一致方可结案。"],
  try_file: ["Upload a recording", "上传录音"],
  uploading: ["Uploading {0} …", "正在上传 {0}…"],
  uploaded: ["{0}: {1}; action: {2}", "{0}：{1}；处置：{2}"],

  recording: ["Recording", "录音"],
  verdict: ["Verdict", "判断"],
  action: ["Action", "处置"],
  surface: ["Surface", "来源"],
  received: ["Received", "接收时间"],
  state: ["Review", "审核"],
  any: ["any", "不限"],
  file_name: ["Name contains", "名称包含"],
  since: ["From", "起"],
  until: ["Until", "止"],
  found: ["Recordings, the newest first", "录音（最新优先）"],

  sound: ["Sound", "声音"],
  player: ["Player", "播放器"],
  channel: ["Channel", "声道"],
  spectrogram: ["Spectrogram of channel {0}, 0 to {1} kHz, over {2} s", "声道 {0} 的频谱图，0 至 {1} kHz，共 {2} 秒"],
  over_time: ["p(synthetic) over time", "p(合成) 随时间变化"],
  over_time_label: ["p(synthetic) over time; {0} stretches, highest {1} at {2} to {3} s", "p(合成) 随时间变化；共 {0} 段，最高 {1}，位于 {2} 至 {3} 秒"],
  no_scores: ["No speech was scored.", "没有语音被评分。"],
  no_audio: ["The audio was deleted; the record stays.", "音频已删除，记录仍保留。"],
  segments: ["Scores as a table", "以表格显示分数"],
  start: ["Start, s", "开始（秒）"],
  end: ["End, s", "结束（秒）"],

  decide: ["Your decision", "您的结论"],
  note: ["Note", "备注"],
  note_hint: ["Optional; kept with the decision.", "可选；与结论一并保存。"],
  decided: ["Recorded: {0}. The case is {1}.", "已记录：{0}。案例状态：{1}。"],
  closed_hint: ["Closed. Escalate reopens it.", "已结案。上报可重新开启。"],
  previous: ["Previous", "上一条"],
  next: ["Next", "下一条"],
  facts: ["Facts", "信息"],
  heard: ["Heard", "内容"],
  heard_value: ["{0} s of speech in {1} s, {2} channel(s), {3}", "{1} 秒中有 {0} 秒语音，{2} 个声道，{3}"],
  model: ["Model", "模型"],
  policy: ["Policy", "策略"],
  dry_run: ["dry run", "试运行"],
  warnings: ["Warnings", "警告"],
  mixed_segments: ["parts are suspected synthetic", "部分片段疑似合成"],
  metadata: ["Metadata", "元数据"],
  provenance: ["Labels in the file", "文件内标识"],
  retained: ["Audio kept until", "音频保留至"],
  error: ["Error", "错误"],
  history: ["Decisions", "审核记录"],
  audit: ["Audit trail", "审计记录"],
  who: ["Who", "操作者"],
  when: ["When", "时间"],
  what: ["What", "事件"],
  hash: ["Hash", "哈希"],

  last_days: ["Last {0} days", "最近 {0} 天"],
  period: ["Period", "时间范围"],
  volume: ["Recordings a day, by verdict", "每日录音数（按判断）"],
  day: ["Day", "日期"],
  total: ["Total", "合计"],
  recordings: ["Recordings", "录音"],
  as_table: ["As a table", "以表格显示"],
  histogram: ["Scores now and in the {0} days before", "本期与之前 {0} 天的分数分布"],
  now: ["now", "本期"],
  before: ["before", "上期"],
  from_to: ["p(synthetic)", "p(合成)"],
  drift: ["Drift (population stability index)", "漂移（PSI）"],
  drift_small: ["no change to speak of", "无明显变化"],
  drift_medium: ["a change", "有变化"],
  drift_large: ["a large change", "变化较大"],
  drift_unknown: ["each period needs {0} scores", "每期至少需要 {0} 个分数"],
  latency: ["Seconds until scored", "评分用时（秒）"],
  median: ["median", "中位数"],
  of_newest: ["of the newest {0}", "取最新 {0} 条"],
  in_queue_now: ["In the queue", "队列中"],
  waiting_since: ["oldest: {0}", "最早：{0}"],
  agreement: ["Reviewers agree", "审核一致"],
  pairs: ["{0} of {1} pairs of decisions", "{1} 对结论中有 {0} 对一致"],
  confirmed: ["Suspected synthetic, confirmed", "疑似合成经确认"],
  confirmed_of: ["{0} of {1} decided by people", "人工判定 {1} 条，确认 {0} 条"],
  outcomes: ["What people made of the verdicts", "人工结论与判断对照"],
  reviewers: ["Decisions by reviewer", "各审核者的结论数"],
  reviewer: ["Reviewer", "审核者"],

  shortcuts: ["Keyboard", "键盘快捷键"],
  shortcuts_on: ["Single-key shortcuts", "启用单键快捷键"],
  do_next: ["next / previous recording", "下一条 / 上一条"],
  do_open: ["open the chosen one", "打开所选录音"],
  do_play: ["play or pause", "播放或暂停"],
  do_note: ["write a note (Esc leaves it)", "填写备注（Esc 离开）"],
  do_search: ["search", "搜索"],
  do_help: ["this help", "本帮助"],
  evidence: ["A score is evidence, not proof: never the only ground for a decision about a person.",
    "分数只是参考，并非证明；不得作为对个人作出决定的唯一依据。"],
};

const chosen = localStorage.language ?? navigator.language;
export let language = chosen.toLowerCase().startsWith("zh") ? "zh-CN" : "en";

export function switchLanguage() {
  language = language === "en" ? "zh-CN" : "en";
  localStorage.language = language;
}

// A word that is not in the list, as of a newer service, is shown as it is.
export function t(key, ...values) {
  const words = WORDS[key];
  if (!words) return String(key ?? "–");
  return words[language === "en" ? 0 : 1].replace(/\{(\d)\}/g, (_, i) => values[i]);
}

export const number = (value, digits = 0) =>
  value == null ? "–" : value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const probability = (p) => number(p, 3);

export const signed = (value) => (value == null ? "–" : (value < 0 ? "−" : "+") + number(Math.abs(value), 2));

export function moment(text) {
  const element = document.createElement("time");
  element.dateTime = text;
  element.textContent = new Date(text).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
  return element;
}
