// All samples of one prompt side by side: what the advantage compares.

const BRIEF = 420; // characters of a segment in a column

async function groupView(row, rec, { open }) {
  const members = groups.get(row.group_key);
  const found = await Promise.all(members.map((n) => record(n)));
  const columns = members.map((n, i) => column(rows[n], found[i], n === row.n, open));
  const box = h("div", { class: "columns", tabindex: "0", role: "group", "aria-label": "Samples of this prompt" }, columns);
  const current = columns[members.indexOf(row.n)];
  requestAnimationFrame(() => (box.scrollLeft = current.offsetLeft + current.offsetWidth - box.offsetLeft - box.clientWidth));
  return h("div", { class: "group-view" }, h("p", { class: "fine" }, groupFacts(members)), box);
}

function groupFacts(members) {
  if (members.length === 1) return "The only sample of its prompt in this file: it has nothing to be compared with.";
  const list = members.map((n) => rows[n]);
  const facts = [many(list.length, "sample")];
  if (list.some((row) => row.correct !== null)) facts.push(`${whole(list.filter((row) => row.correct).length)} correct`);
  const rewards = list.map((row) => row.reward).filter((value) => value !== null);
  if (rewards.length) facts.push(`mean reward ${number(rewards.reduce((sum, value) => sum + value, 0) / rewards.length)}`);
  const answers = new Set(list.map((row) => (row.answer ?? "").trim().toLowerCase()).filter(Boolean));
  if (answers.size) facts.push(answers.size === 1 ? "one answer" : `${answers.size} different answers`);
  return facts.join(" \u00b7 ");
}

function column(row, rec, isCurrent, open) {
  const { sign, word, kind } = verdict(row.correct);
  const most = mostAdvantage(row);
  const scores = [
    row.reward === null ? null : h("span", {}, "reward ", h("b", {}, number(row.reward))),
    row.advantage === null ? null : h("span", {}, "advantage ", h("b", {}, number(row.advantage, { sign: true })), advantageBar(row.advantage, most)),
  ];
  const title = `Sample ${row.sample}`;
  return h(
    "section",
    { class: isCurrent ? "column current" : "column", "data-n": row.n, "aria-label": title },
    h("header", {},
      h("button", { class: "open", type: "button", "aria-label": `Read sample ${row.sample}`, onclick: () => open(row.n) },
        h("span", { class: `sign ${kind}`, role: "img", "aria-label": word }, sign), title, h("span", { class: "go", "aria-hidden": "true" }, "Read")),
      h("p", { class: "column-answer", dir: "auto" }, row.answer ?? h("i", {}, "no answer")),
      h("p", { class: "scores" }, scores),
      h("p", { class: "scores" }, [many(row.actions, "action"), row.stop === null ? null : plain(row.stop)].filter(Boolean).join(" \u00b7 "))),
    blocksOf(rec.segments).map(brief),
  );
}

function brief(block) {
  const call = block.call ?? block.asked;
  const { body } = parted(textOf(block), block.role);
  const text = block.role === "action" && call ? call.parameters : body.trim();
  const shown = text.length > BRIEF ? text.slice(0, BRIEF) + " \u2026" : text;
  const what = block.role === "action" && call ? call.tool : block.role;
  const origin = block.role === "observation" && call ? originBadge(call.origin) : null;
  return h("div", { class: "brief", "data-role": block.role, "data-origin": block.call?.origin }, h("p", { class: "brief-role" }, what, origin), h("p", { class: "brief-text", dir: "auto" }, shown));
}
