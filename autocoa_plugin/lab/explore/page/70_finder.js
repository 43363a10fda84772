// The search box, the filters and the order above the list; tells `onChange` what was chosen.

const TYPING_PAUSE = 120; // milliseconds without a key before a search runs

class Finder {
  constructor(onChange) {
    this.onChange = onChange;
    this.chosen = nothingChosen();
    this.build();
    this.listen();
  }

  build() {
    byId("sort").append(...Object.entries(SORTS).map(([value, [name]]) => h("option", { value }, visible(name))));
    const facets = FACETS.map((facet) => this.facet(facet)).filter(Boolean);
    const rewards = rows.map((row) => row.reward).filter((value) => value !== null);
    byId("filters").append(...facets, rewards.length ? this.range(rewards) : "", h("button", { id: "clear-filters", type: "button" }, "Clear all"));
    for (const button of byId("filter-correct").children) {
      const key = button.dataset.correct;
      const count = rows.filter((row) => key === "all" || row.correct === CORRECT[key]).length;
      button.append(" ", h("span", { class: "amount" }, whole(count)));
      button.hidden = key !== "all" && count === 0;
    }
  }

  facet(facet) {
    const values = facetValues(facet);
    const isTelling = values.length > 1 || (values.length === 1 && values[0][1] < rows.length);
    if (!isTelling) return null;
    const options = values.map(([value, count]) => {
      const option = h("option", {}, visible(`${facet.name(value)} (${whole(count)})`));
      option.value = String(value); // the value itself, which may hold characters that are never shown
      return option;
    });
    const select = h("select", { id: `filter-${facet.id}` }, h("option", { value: "" }, "any"), options);
    select.addEventListener("change", () => {
      if (select.selectedIndex === 0) delete this.chosen.facets[facet.id];
      else this.chosen.facets[facet.id] = select.value;
      this.changed();
    });
    return h("label", {}, facet.label, select);
  }

  range(rewards) {
    const [low, high] = [rewards.reduce((a, b) => Math.min(a, b)), rewards.reduce((a, b) => Math.max(a, b))];
    const input = (id, name, bound) => h("input", { id, type: "number", step: "any", "aria-label": name, placeholder: number(bound, { digits: 2 }), oninput: () => this.readRange() });
    return h("div", { class: "range" }, h("span", {}, "Reward"), input("reward-min", "Least reward", low), h("span", {}, "to"), input("reward-max", "Greatest reward", high));
  }

  readRange() {
    const value = (id) => (byId(id).value === "" ? null : Number(byId(id).value));
    this.chosen.least = value("reward-min");
    this.chosen.most = value("reward-max");
    this.changed();
  }

  listen() {
    let pause = null;
    byId("search").addEventListener("input", () => {
      clearTimeout(pause);
      pause = setTimeout(() => this.readSearch(), TYPING_PAUSE);
    });
    byId("search").addEventListener("focus", () => rows.length && allText().catch(() => {}), { once: true }); // unpack while one types
    byId("sort").addEventListener("change", () => {
      this.chosen.sort = byId("sort").value;
      this.changed();
    });
    byId("filter-correct").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.chooseCorrect(button.dataset.correct);
    });
    byId("open-filters").addEventListener("click", () => this.toggle());
    byId("clear-filters").addEventListener("click", () => this.clear());
  }

  readSearch() {
    if (byId("search").value === this.chosen.text) return;
    this.chosen.text = byId("search").value;
    this.changed();
  }

  clearSearch() {
    byId("search").value = "";
    this.readSearch();
  }

  chooseCorrect(key) {
    this.chosen.correct = key;
    for (const button of byId("filter-correct").children) button.setAttribute("aria-pressed", String(button.dataset.correct === key));
    this.changed();
  }

  toggle(isOpen = byId("filters").hidden) {
    byId("filters").hidden = !isOpen;
    byId("open-filters").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) byId("filters").querySelector("select, input")?.focus();
  }

  clear() {
    const { sort } = this.chosen;
    this.chosen = { ...nothingChosen(), sort };
    for (const field of byId("filters").querySelectorAll("select, input")) field.value = "";
    byId("search").value = "";
    this.chooseCorrect("all");
  }

  changed() {
    const { facets, least, most } = this.chosen;
    const active = Object.keys(facets).length + (least !== null || most !== null ? 1 : 0);
    byId("open-filters").textContent = active ? `Filters (${active})` : "Filters";
    this.onChange(this.chosen);
  }
}
