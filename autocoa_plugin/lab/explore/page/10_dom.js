// Building elements. Text of trajectories reaches the page only through `put`, as text nodes: it can never become
// an element, an address or a script. Characters that are invisible or turn the reading order are replaced by their code points.

// C0 but tab and newline, DEL and C1, soft hyphen, zero width (not the joiners, which scripts and emoji need), line and
// paragraph separators, bidi controls, interlinear marks, tag characters, lone surrogates
const CONTROL =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}\ud800-\udfff]/gu;

// addresses and inline code are never made here; `on...` takes functions only
const FORBIDDEN = new Set(["href", "src", "srcdoc", "style", "action", "formaction"]);

const byId = (id) => document.getElementById(id);

function codePoint(character) {
  return "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
}

/** What is shown for a text: the same, with code points in place of control characters. */
function visible(text) {
  return String(text).replace(CONTROL, codePoint);
}

/** Append a text to an element. */
function put(parent, text) {
  let last = 0;
  for (const match of text.matchAll(CONTROL)) {
    parent.append(text.slice(last, match.index));
    const mark = document.createElement("span");
    mark.className = "ctl";
    mark.textContent = codePoint(match[0]);
    parent.append(mark);
    last = match.index + match[0].length;
  }
  parent.append(text.slice(last));
}

/** An element; strings and numbers among the children become text, null and false nothing. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (FORBIDDEN.has(name)) throw new Error(`attribute ${name} is never set from here`);
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : visible(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    if (child instanceof Node) element.append(child);
    else put(element, String(child));
  }
  return element;
}

const whole = (value) => value.toLocaleString("en");

/** "1,000 trajectories", "1 trajectory" */
function many(count, one, more = one + "s") {
  return `${whole(count)} ${count === 1 ? one : more}`;
}

/** A number for people: at most `digits` decimals, a real minus sign; with `sign` a plus as well. */
function number(value, { digits = 3, sign = false } = {}) {
  if (value === null || value === undefined || Number.isNaN(value)) return "\u2013";
  const text = Math.abs(value).toLocaleString("en", { maximumFractionDigits: digits });
  if (text === "0") return "0";
  return (value < 0 ? "\u2212" : sign ? "+" : "") + text;
}

function seconds(value) {
  if (value < 0.0005) return "0 s";
  if (value < 1) return `${number(value * 1000, { digits: 0 })} ms`;
  return `${number(value, { digits: 2 })} s`;
}
