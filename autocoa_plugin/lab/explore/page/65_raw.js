// Everything that the file holds about one trajectory, as it is.

function rawView(row, rec) {
  const block = (id, title, text) => h("section", {}, h("h3", {}, title), h("pre", { id, dir: "auto" }, text));
  return h(
    "div",
    { class: "raw" },
    rec.prompt === null ? null : block("raw-prompt", "Prompt", rec.prompt),
    block("raw-response", "Response", rec.segments.map((segment) => segment.text).join("")),
    table("raw-counts", "Counts", Object.entries(rec.counts).filter(([, value]) => value !== 0).map(([name, value]) => [plain(name), number(value)])),
    table("raw-extra", "Further fields", Object.entries(rec.extra)),
    block("raw-row", "Row", JSON.stringify(row, null, 2)),
  );
}

function table(id, title, entries) {
  if (!entries.length) return null;
  const lines = entries.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { dir: "auto" }, value)));
  return h("section", {}, h("h3", {}, title), h("table", { id }, h("tbody", {}, lines)));
}
