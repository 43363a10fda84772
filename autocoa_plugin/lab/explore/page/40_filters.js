// Which rows are shown, and in which order: pure functions of the rows and of what was chosen.

const FACETS = [
  { id: "stop", label: "Stop reason", values: (row) => [row.stop], name: plain },
  { id: "source", label: "Observation source", values: (row) => row.origins, name: originName },
  { id: "flag", label: "Only with", values: flags, name: (flag) => FLAGS[flag] },
  { id: "step", label: "Step", values: (row) => [row.step], name: String },
  { id: "split", label: "Split", values: (row) => [row.split], name: plain },
  { id: "group", label: "Group", values: (row) => [row.group], name: String },
  { id: "run", label: "Run", values: (row) => [row.run ?? ""], name: String },
];
const FLAGS = {
  error: "failed call",
  refused: "action not executed",
  empty: "empty result",
  forced: "forced answer",
  format_error: "format error",
  judge_disagrees: "judge disagrees",
  diff: "imagined and real to compare",
};
const SORTS = {
  order: ["file order", (row) => row.n, 1],
  "reward-high": ["highest reward", (row) => row.reward, -1],
  "reward-low": ["lowest reward", (row) => row.reward, 1],
  "advantage-high": ["highest advantage", (row) => row.advantage, -1],
  "advantage-low": ["lowest advantage", (row) => row.advantage, 1],
  "tokens-high": ["most tokens", (row) => row.tokens, -1],
  "tokens-low": ["fewest tokens", (row) => row.tokens, 1],
  "actions-high": ["most actions", (row) => row.actions, -1],
  "actions-low": ["fewest actions", (row) => row.actions, 1],
};
const CORRECT = { yes: true, no: false, unknown: null };

const nothingChosen = () => ({ text: "", correct: "all", facets: {}, least: null, most: null, sort: "order" });

function flags(row) {
  return [
    row.outcomes.some((outcome) => ["error", "timeout", "miss"].includes(outcome)) && "error",
    row.outcomes.includes("refused") && "refused",
    row.outcomes.includes("empty") && "empty",
    row.forced && "forced",
    row.format_errors.length > 0 && "format_error",
    row.judge !== null && row.correct !== null && row.judge !== row.correct && "judge_disagrees",
    row.n_imagined_diff > 0 && "diff",
  ].filter(Boolean);
}

/** The values of a facet with how many rows have each; numbers in order, words by how common they are. */
function facetValues(facet) {
  const counts = new Map();
  for (const row of rows)
    for (const value of new Set(facet.values(row))) if (value !== null && value !== "") counts.set(value, (counts.get(value) ?? 0) + 1);
  const isNumeric = [...counts.keys()].every((value) => typeof value === "number");
  return [...counts].sort((a, b) => (isNumeric ? a[0] - b[0] : b[1] - a[1]));
}

/** The words of a query, all of which must occur; quotes keep a phrase together. */
function termsOf(query) {
  return Array.from(query.toLowerCase().matchAll(/"([^"]+)"|([^\s"]+)/g), (match) => match[1] ?? match[2]);
}

/** The n of the rows that match, in the chosen order; `texts` is from `allText`, or null without a search. */
function matching(chosen, texts) {
  const terms = termsOf(chosen.text);
  const facets = FACETS.filter((facet) => chosen.facets[facet.id] !== undefined);
  const isLimited = chosen.least !== null || chosen.most !== null;
  const found = rows.filter(
    (row) =>
      (chosen.correct === "all" || row.correct === CORRECT[chosen.correct]) &&
      facets.every((facet) => facet.values(row).some((value) => String(value) === chosen.facets[facet.id])) &&
      (!isLimited || row.reward !== null) &&
      (chosen.least === null || row.reward >= chosen.least) &&
      (chosen.most === null || row.reward <= chosen.most) &&
      (texts === null || terms.every((term) => texts[row.n].includes(term))),
  );
  const [, key, direction] = SORTS[chosen.sort];
  if (chosen.sort !== "order") found.sort((a, b) => unknownLast(key(a), key(b), direction) || a.n - b.n);
  return found.map((row) => row.n);
}

function unknownLast(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);
  return direction * (a - b);
}
