// Imagined observations beside what the real tool answers to the same query, word by word.

function diffView(row, rec) {
  const blocks = blocksOf(rec.segments);
  const pairs = blocks.filter((block) => block.real);
  if (!pairs.length) return empty(whyNothing(blocks));
  const key = h("ul", { class: "legend", "aria-label": "Legend" },
    h("li", {}, h("del", { class: "imagined-only" }, "imagined only")),
    h("li", {}, h("ins", { class: "real-only" }, "real only")),
    h("li", {}, "unmarked: in both"));
  return h("div", { class: "diff-view" }, key, pairs.map(pair));
}

function whyNothing(blocks) {
  const imagined = blocks.filter((block) => block.call?.origin === "world_model").length;
  if (!imagined) return "Nothing was imagined in this trajectory.";
  return `${many(imagined, "imagined observation")}, but no real answer to compare with. Write this file with --corpus, --settings or --search-url to ask the real tool.`;
}

function pair(block) {
  const { real, call } = block;
  const asked = call ? h("p", { class: "call" }, h("span", { class: "tool" }, call.tool), h("span", { class: "query", dir: "auto" }, call.parameters)) : null;
  const side = (name, note, kinds, mark, className) =>
    h("div", { class: "side", "data-side": name }, h("h4", {}, name, note ? h("span", { class: "fact" }, note) : null),
      h("p", { class: "side-text", dir: "auto" }, real.diff.filter(([kind]) => kinds.includes(kind)).map(([kind, text]) => (kind === "=" ? text : h(mark, { class: className }, text)))));
  return h("section", { class: "pair" }, asked, h("p", { class: "fine" }, inCommon(real.diff)),
    h("div", { class: "sides" },
      side("imagined", null, "=-", "del", "imagined-only"),
      side("real", real.from, "=+", "ins", "real-only")));
}

function inCommon(diff) {
  const words = (kind) => diff.filter(([of]) => of === kind).reduce((sum, [, text]) => sum + (text.match(/\S+/g)?.length ?? 0), 0);
  const [both, imagined, real] = [words("="), words("-"), words("+")];
  const all = 2 * both + imagined + real;
  const share = all ? Math.round((200 * both) / all) : 100;
  return `${share} % of the words in common (${whole(both)} in both, ${whole(imagined)} only imagined, ${whole(real)} only real)`;
}
