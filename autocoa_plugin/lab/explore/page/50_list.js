// The list on the left: only the rows near its visible part exist, so ten thousand cost what thirty do.

const ROW_HEIGHT = 102; // pixels, as in 20_list.css
const SPARE_ROWS = 8; // above and below, so that a quick scroll finds them painted
const LONGEST_QUESTION = 240; // more never fits into two lines

class List {
  constructor(onSelect) {
    this.box = byId("list");
    this.space = byId("list-space");
    this.onSelect = onSelect;
    this.shown = [];
    this.place = new Map(); // n -> its place among the shown
    this.selected = null;
    this.painted = new Map(); // n -> element
    let isDue = false;
    const soon = () => {
      if (isDue) return;
      isDue = true;
      requestAnimationFrame(() => {
        isDue = false;
        this.paint();
      });
    };
    this.box.addEventListener("scroll", soon, { passive: true });
    new ResizeObserver(soon).observe(this.box);
    this.box.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) this.onSelect(Number(row.dataset.n));
    });
  }

  show(shown) {
    this.shown = shown;
    this.place = new Map(shown.map((n, place) => [n, place]));
    this.space.style.height = `${shown.length * ROW_HEIGHT}px`;
    this.space.replaceChildren();
    this.painted.clear();
    this.paint();
  }

  select(n) {
    this.painted.get(this.selected)?.setAttribute("aria-selected", "false");
    this.selected = n;
    if (this.place.has(n)) this.bringIntoView(this.place.get(n) * ROW_HEIGHT);
    this.paint();
    this.painted.get(n)?.setAttribute("aria-selected", "true");
    if (this.painted.has(n)) this.box.setAttribute("aria-activedescendant", `row-${n}`);
    else this.box.removeAttribute("aria-activedescendant");
  }

  bringIntoView(top) {
    const { scrollTop, clientHeight } = this.box;
    if (top < scrollTop) this.box.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + clientHeight) this.box.scrollTop = top + ROW_HEIGHT - clientHeight;
  }

  paint() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_HEIGHT) - SPARE_ROWS);
    const last = Math.min(this.shown.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW_HEIGHT) + SPARE_ROWS);
    const wanted = new Set(this.shown.slice(first, last));
    for (const [n, element] of this.painted)
      if (!wanted.has(n)) {
        element.remove();
        this.painted.delete(n);
      }
    for (const n of wanted)
      if (!this.painted.has(n)) {
        const element = this.row(rows[n], this.place.get(n));
        this.painted.set(n, element);
        this.space.append(element);
      }
  }

  row(row, place) {
    const { sign, word, kind } = verdict(row.correct);
    const facts = [row.step === null ? null : `step ${row.step}`, many(row.actions, "action"), row.tokens === null ? null : many(row.tokens, "token")];
    const element = h(
      "div",
      { class: "row", id: `row-${row.n}`, role: "option", "data-n": row.n, "aria-selected": row.n === this.selected ? "true" : "false",
        "aria-setsize": this.shown.length, "aria-posinset": place + 1 },
      h("span", { class: `sign ${kind}`, role: "img", "aria-label": word, title: word }, sign),
      h("span", { class: "row-question" }, row.question.slice(0, LONGEST_QUESTION) || row.id),
      h("span", { class: "row-answer" }, row.answer === null ? h("i", {}, "no answer") : row.answer.slice(0, LONGEST_QUESTION)),
      h("span", { class: "row-facts" }, facts.filter(Boolean).join(" \u00b7 "), row.origins.map(dot)),
      row.reward === null ? null : h("span", { class: "row-reward", title: "reward" }, number(row.reward, { digits: 2 })),
    );
    element.style.transform = `translateY(${place * ROW_HEIGHT}px)`;
    return element;
  }
}

function dot(origin) {
  return h("span", { class: "dot", "data-origin": origin, title: originName(origin), role: "img", "aria-label": originName(origin) });
}
