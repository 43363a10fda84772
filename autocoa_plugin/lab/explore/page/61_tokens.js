// Every token of the response, coloured by its role, by whether it carries loss, or by its log-probability.

const ROLES = ["thought", "action", "observation", "answer"]; // that have a colour
// probabilities at which a token's colour changes: from nearly certain to a surprise
const STEPS = [0.99, 0.9, 0.7, 0.5, 0.3, 0.1, 0.03, 0.01];
const STEP_NAMES = ["\u2265 99 %", "\u2265 90 %", "\u2265 70 %", "\u2265 50 %", "\u2265 30 %", "\u2265 10 %", "\u2265 3 %", "\u2265 1 %", "< 1 %"];
const THRESHOLDS = STEPS.map(Math.log);
const PIECE = 200; // tokens that are laid out together, to the next line's end
const TOKENS_PER_LINE = 18; // about; only for the height of what was not laid out yet
const BREAK = /(\n|\t| +)/;

let colouring = "role"; // stays while one walks through trajectories

/** The colour step of a log-probability: 0 is nearly certain. */
function stepOf(logprob) {
  const step = THRESHOLDS.findIndex((threshold) => logprob >= threshold);
  return step < 0 ? THRESHOLDS.length : step;
}

/** The tokens of a segment: [{id, text, logprob}], or null where it is unknown how ids and text belong together. */
function tokensOf(segment) {
  if (!segment.tokens) return null;
  const { ids, lengths, logprobs } = segment.tokens;
  let at = 0;
  return ids.map((id, i) => ({ id, text: segment.text.slice(at, (at += lengths[i])), logprob: logprobs ? logprobs[i] : null }));
}

/** A token as one element whose text is exactly the token's; signs for blanks are drawn by the style sheet. */
function tokenSpan(token, position) {
  const span = document.createElement("span");
  const step = token.logprob === null ? "n" : stepOf(token.logprob);
  span.className = token.text === "" ? `t p${step} hollow` : `t p${step}`;
  span.dataset.i = position;
  const { text } = token;
  if (text[0] === " " && text.length > 1 && text[1] !== " " && !/\s/.test(text.slice(1))) {
    span.className += " s"; // the common case, without an element for the blank
    put(span, text);
  } else if (/\s/.test(text)) {
    for (const piece of text.split(BREAK)) if (piece) span.append(blankOrText(piece));
  } else put(span, text);
  return span;
}

function blankOrText(piece) {
  const kind = { "\n": "newline", "\t": "tab", " ": "blank" }[piece[0]];
  return h("span", kind ? { class: kind, "data-blanks": kind === "blank" ? "\u00b7".repeat(piece.length) : null } : {}, piece);
}

function legend() {
  const swatch = (kind, name) => h("li", {}, h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), name);
  if (colouring === "role") return ROLES.map((role) => swatch(`role-${role}`, role));
  if (colouring === "loss") return [swatch("loss-true", "carries loss"), swatch("loss-false", "masked"), swatch("loss-null", "not known")];
  return [...STEP_NAMES.map((name, step) => swatch(`p${step}`, name)), swatch("pn", "not sampled, or not told")];
}

function summaryOf(list, segments) {
  const sampled = list.map((token) => token.logprob).filter((value) => value !== null);
  const trained = segments.reduce((sum, segment) => sum + (segment.trained && segment.tokens ? segment.tokens.ids.length : 0), 0);
  const facts = [many(list.length, "token"), `${whole(trained)} carry loss`];
  if (sampled.length) {
    const mean = sampled.reduce((sum, value) => sum + value, 0) / sampled.length;
    facts.push(`mean log-probability ${number(mean)} (perplexity ${number(Math.exp(-mean), { digits: 2 })})`);
  }
  return facts.join(" \u00b7 ");
}

function colourButtons(onChange) {
  const names = [["role", "Role"], ["loss", "Loss"], ["logprob", "Probability"]];
  return names.map(([name, word]) =>
    h("button", { id: `colour-${name}`, type: "button", "aria-pressed": String(colouring === name), onclick: () => onChange(name) }, word),
  );
}

function tokensView(row, rec) {
  if (!rec.segments.some((segment) => segment.tokens))
    return empty("This file holds no tokens for this trajectory. ", index.has_tokens ? "Its text and its ids could not be aligned." : "Write it with --tokenizer FOLDER to see them.");
  const list = [];
  const runs = rec.segments.map((segment) => run(segment, list));
  const stream = h("div", { class: "tokens", "data-colour": colouring, tabindex: "0", role: "group", "aria-label": "Tokens" }, runs);
  const key = h("ul", { class: "legend", "aria-label": "Legend" }, legend());
  const buttons = h("div", { class: "choice", role: "group", "aria-label": "Colour by" });
  const colour = (name) => {
    colouring = name;
    stream.dataset.colour = name;
    key.replaceChildren(...legend());
    buttons.replaceChildren(...colourButtons(colour));
    byId(`colour-${name}`)?.focus();
  };
  buttons.append(...colourButtons(colour));
  explainTokens(stream, list);
  return h("div", { class: "token-view" }, h("div", { class: "token-bar" }, h("span", { class: "by" }, "Colour by"), buttons, key), h("p", { class: "fine" }, summaryOf(list, rec.segments)), stream);
}

function run(segment, list) {
  const tokens = tokensOf(segment);
  const facts = [SOURCES[segment.source] ?? plain(segment.source), tokens ? many(tokens.length, "token") : "no tokens", segment.call ? originName(segment.call.origin) : null];
  const label = h("p", { class: "run-label" }, h("b", {}, segment.role), " ", facts.filter(Boolean).join(" \u00b7 "));
  const body = tokens ? piecesOf(tokens, segment, list) : h("div", { class: "run-text", dir: "auto" }, segment.text);
  return h("div", { class: "run", "data-role": segment.role, "data-trained": String(segment.trained) }, label, body);
}

/** The tokens in pieces of whole lines, so that the browser lays out only the pieces near the visible part. */
function piecesOf(tokens, segment, list) {
  const pieces = [];
  let piece = null;
  for (const token of tokens) {
    if (piece === null) pieces.push((piece = h("div", { class: "run-text", dir: "auto" })));
    piece.append(tokenSpan(token, list.length));
    list.push({ ...token, segment });
    if (piece.childElementCount >= PIECE && token.text.endsWith("\n")) piece = null;
  }
  for (const each of pieces) each.style.containIntrinsicSize = `auto ${Math.ceil(each.childElementCount / TOKENS_PER_LINE) * 1.64}rem`;
  return pieces;
}
