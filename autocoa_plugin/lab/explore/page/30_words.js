// The words and badges that several views share.

const ORIGINS = {
  real: ["real", "a tool was asked"],
  cache: ["cached", "an earlier answer of a real tool"],
  replay: ["replayed", "a real tool's answer, recorded in another run"],
  world_model: ["imagined", "a language model wrote it"],
  notice: ["notice", "no tool was asked: the action could not be executed"],
};
const OUTCOMES = {
  empty: "found nothing",
  timeout: "timed out",
  error: "failed",
  refused: "not executed",
  miss: "no recorded answer",
};
const SOURCES = {
  policy: "sampled by the policy",
  environment: "from the environment",
  template: "injected by the loop",
  unknown: "of unknown source",
};

const plain = (name) => String(name).replaceAll("_", " ");
const originName = (origin) => ORIGINS[origin]?.[0] ?? plain(origin);

/** Correct, wrong or unknown: a sign and a word, never a colour alone. */
function verdict(correct) {
  if (correct === true) return { sign: "\u2713", word: "correct", kind: "good" };
  if (correct === false) return { sign: "\u2717", word: "wrong", kind: "bad" };
  return { sign: "?", word: "unknown", kind: "unsure" };
}

function badge(name, kind, ...children) {
  return h("span", { class: `badge ${kind}`, "data-badge": name }, ...children);
}

function originBadge(origin) {
  const [word, meaning] = ORIGINS[origin] ?? [plain(origin), null];
  return h("span", { class: "origin", "data-origin": origin, title: meaning }, word);
}

/** A bar to the right or left of zero; `most` is the value that fills one side. */
function advantageBar(value, most) {
  const bar = h("span", { class: value < 0 ? "lever below" : "lever above", "aria-hidden": "true" }, h("i"));
  const share = most > 0 ? Math.min(1, Math.abs(value) / most) : 0;
  bar.firstChild.style.width = `${share * 50}%`;
  return bar;
}

/** The largest advantage in a row's group, for bars that can be compared. */
function mostAdvantage(row) {
  return Math.max(...groups.get(row.group_key).map((n) => Math.abs(rows[n].advantage ?? 0)));
}

/** Outcome and reward of a row in a few badges. */
function badges(row) {
  const { sign, word, kind } = verdict(row.correct);
  const list = [badge("correct", kind, `${sign} ${word}`)];
  if (row.judge !== null) {
    const disagrees = row.correct !== null && row.judge !== row.correct;
    list.push(badge("judge", disagrees ? "warn" : "", `judge: ${verdict(row.judge).word}`));
  }
  if (row.reward !== null) list.push(badge("reward", "", "reward ", h("b", {}, number(row.reward))));
  if (row.advantage !== null) {
    const text = h("b", {}, number(row.advantage, { sign: true }));
    list.push(badge("advantage", "", "advantage ", text, advantageBar(row.advantage, mostAdvantage(row))));
  }
  if (row.stop !== null) list.push(badge("stop", row.stop === "answered" ? "" : "warn", plain(row.stop)));
  if (row.forced) list.push(badge("forced", "warn", "answer forced"));
  for (const error of row.format_errors) list.push(badge("format_error", "warn", plain(error)));
  for (const outcome of row.outcomes) list.push(badge("outcome", "warn", `a call ${OUTCOMES[outcome] ?? plain(outcome)}`));
  list.push(badge("actions", "", many(row.actions, "action")));
  if (row.tokens !== null) list.push(badge("tokens", "", many(row.tokens, "token")));
  if (row.step !== null) list.push(badge("step", "", `step ${row.step}`));
  if (row.split !== null) list.push(badge("split", "", plain(row.split)));
  if (row.run) list.push(badge("run", "", row.run));
  if (row.group) list.push(badge("group", "", row.group));
  return list;
}

/** The parts of the reward by name. */
function parts(row) {
  const names = Object.keys(row.parts);
  if (!names.length) return null;
  const items = names.map((name) => h("div", { class: "part", "data-part": name }, h("dt", {}, plain(name)), h("dd", {}, number(row.parts[name]))));
  return h("dl", { class: "parts", "aria-label": "Reward parts" }, items);
}
