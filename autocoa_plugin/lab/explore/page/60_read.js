// The trajectory as people read it: prose, calls, observations, the answer.

const LONG_TEXT = 700; // characters; a longer observation or prompt is folded
const LONG_LINES = 9;
const TAG_REACH = 200; // characters at either end in which tags are looked for
const TAG = String.raw`<\|?\/?[A-Za-z_][\w.:-]{0,40}\|?>`;
const OPENING = new RegExp(String.raw`^(?:\s*(?:${TAG}|\\boxed\{))+`);
const CLOSING = new RegExp(String.raw`(?:${TAG}\s*)+$`);
const CLOSING_BOX = new RegExp(String.raw`(?:(?:${TAG}|\})\s*)+$`);
// what follows the first tag of an observation is the document's own
const OPENING_ONE = new RegExp(String.raw`^\s*${TAG}`);
const CLOSING_ONE = new RegExp(String.raw`${TAG}\s*$`);

/** A segment's text in three parts: tags that open it, what it says, tags that close it. Nothing is lost. */
function parted(text, role) {
  const isForeign = role === "observation";
  const open = text.slice(0, TAG_REACH).match(isForeign ? OPENING_ONE : OPENING)?.[0] ?? "";
  const rest = text.slice(open.length);
  const isBoxed = role === "answer" && open.includes("\\boxed{");
  const closing = isForeign ? CLOSING_ONE : isBoxed ? CLOSING_BOX : CLOSING;
  const close = rest.slice(-TAG_REACH).match(closing)?.[0] ?? "";
  return { open, body: rest.slice(0, rest.length - close.length), close };
}

/**
 * Segments that are read as one: what the loop injected belongs to the thought or answer it opens or closes, and the
 * tags around an imagined observation to what was sampled between them, which has the call.
 */
function blocksOf(segments) {
  const blocks = [];
  for (const segment of segments) {
    const last = blocks.at(-1);
    const isPart = last && last.role === segment.role && !(last.call && segment.call) && last.segments.at(-1).source !== segment.source;
    if (!isPart) blocks.push({ role: segment.role, segments: [], call: null, real: null, author: segment });
    const block = blocks.at(-1);
    block.segments.push(segment);
    if (segment.call) Object.assign(block, { call: segment.call, real: segment.real, author: segment });
  }
  // an observation tells what was asked; the action before it shows that
  for (let i = 0; i + 1 < blocks.length; i++)
    if (blocks[i].role === "action" && !blocks[i].call && blocks[i + 1].role === "observation") blocks[i].asked = blocks[i + 1].call;
  return blocks;
}

function textOf(block) {
  return block.segments.map((segment) => segment.text).join("");
}

/** The text of a block with its tags in the background. */
function prose(block) {
  const { open, body, close } = parted(textOf(block), block.role);
  const tag = (text) => (text.trim() ? h("span", { class: "tag" }, text.trim()) : null);
  return h("div", { class: "seg-text", dir: "auto" }, tag(open), body.trim() ? h("span", { class: "body" }, body.trim()) : null, tag(close));
}

function isLong(text) {
  return text.length > LONG_TEXT || text.split("\n", LONG_LINES + 1).length > LONG_LINES;
}

/** A long text, folded; one button opens and closes it. */
function folded(element, length, isOpen = false) {
  const more = `Show all ${whole(length)} characters`;
  const button = h("button", { class: "unfold", type: "button", "aria-expanded": String(isOpen) }, isOpen ? "Show less" : more);
  const box = h("div", { class: isOpen ? "fold open" : "fold" }, element, button);
  button.addEventListener("click", () => {
    const opened = box.classList.toggle("open");
    button.setAttribute("aria-expanded", String(opened));
    button.textContent = opened ? "Show less" : more;
  });
  return box;
}

/** What a call cost and how it went. */
function callFacts(call) {
  const facts = [h("span", { class: "fact" }, seconds(call.seconds ?? 0))];
  if (call.cost) facts.push(h("span", { class: "fact", title: "in the configured currency" }, `cost ${number(call.cost, { digits: 5 })}`));
  if (call.outcome && call.outcome !== "ok") facts.push(h("span", { class: "fact warn", "data-outcome": call.outcome }, OUTCOMES[call.outcome] ?? plain(call.outcome)));
  return facts;
}

function provenance(block) {
  const notes = [];
  const isInjected = block.segments.some((segment) => segment.source === "template");
  if (isInjected && block.role !== "observation") notes.push(h("span", { class: "fact warn", title: SOURCES.template }, "partly injected"));
  const { trained } = block.author;
  if (block.role === "observation" && trained === true) notes.push(h("span", { class: "fact warn" }, "carries loss"));
  if (block.role !== "observation" && block.segments.every((segment) => segment.trained === false)) notes.push(h("span", { class: "fact" }, "no loss"));
  return notes;
}

/** One block as a card; `view.openDiff` is called for an imagined observation that can be compared. */
function card(block, { isOpen, openDiff }) {
  const { role, call } = block;
  const attributes = { class: "seg", "data-role": role, "data-source": block.author.source, "data-origin": call?.origin };
  const text = prose(block);
  if (role === "observation") {
    const head = [call ? originBadge(call.origin) : null, call ? callFacts(call) : null];
    if (block.real) head.push(h("button", { class: "to-diff", type: "button", onclick: openDiff }, "Compare with the real answer"));
    const length = textOf(block).length;
    const body = isLong(textOf(block)) ? folded(text, length, isOpen(textOf(block))) : text;
    const error = call?.error ? h("p", { class: "error" }, call.error) : null;
    return h("section", attributes, h("h3", {}, "Observation", head, provenance(block)), error, body);
  }
  if (role === "action") return h("section", attributes, h("h3", {}, "Action", provenance(block)), actionBody(block, text));
  return h("section", attributes, h("h3", {}, role, provenance(block)), text);
}

function actionBody(block, text) {
  const call = block.call ?? block.asked;
  if (!call) return text;
  return h("p", { class: "call" }, h("span", { class: "tool" }, call.tool), h("span", { class: "query", dir: "auto" }, call.parameters));
}

/** What stands above every view: the question, the gold answers, the answer, badges. */
function head(row) {
  const question = h("h2", { id: "question", dir: "auto" }, row.question || row.id);
  const golds = row.golds.length ? row.golds.map((gold) => h("bdi", { class: "gold" }, gold)) : h("span", { class: "none" }, "none known");
  const answer = row.answer === null ? h("span", { class: "none" }, "none") : h("bdi", { class: `given ${verdict(row.correct).kind}` }, row.answer);
  return [
    isLong(row.question) ? folded(question, row.question.length) : question,
    h("dl", { class: "answers" },
      h("div", {}, h("dt", {}, "Answer"), h("dd", { id: "answer" }, answer)),
      h("div", {}, h("dt", {}, row.golds.length === 1 ? "Gold" : "Golds"), h("dd", { id: "golds" }, golds))),
    h("p", { class: "badges" }, badges(row)),
    parts(row),
  ];
}

function readView(row, rec, tools) {
  const prompt = rec.prompt
    ? h("details", { class: "prompt" }, h("summary", {}, `Prompt, ${many(rec.prompt.length, "character")}`), h("pre", { dir: "auto" }, rec.prompt))
    : null;
  const cards = blocksOf(rec.segments).map((block) => card(block, tools));
  return h("div", { class: "read" }, prompt, cards.length ? cards : empty("This trajectory has no text: nothing was sampled."));
}

function empty(...words) {
  return h("p", { class: "empty" }, ...words);
}
