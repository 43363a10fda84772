// One state (which row, which view), shown; what was asked last wins over what is still being unpacked.

const VIEWS = { read: readView, tokens: tokensView, group: groupView, diff: diffView, raw: rawView };
const ADDRESS_PAUSE = 120; // milliseconds; browsers refuse an address that changes with every repeated key

class App {
  constructor() {
    this.n = null;
    this.view = "read";
    this.shown = [];
    this.hash = location.hash; // the address as last read or written here
    this.turn = 0; // of the trajectory shown
    this.search = 0; // of the list shown
    this.work = Promise.resolve();
    this.list = new List((n) => this.choose(n));
    this.finder = new Finder((chosen) => (this.work = this.filter(chosen)));
  }

  async start() {
    this.shown = matching(nothingChosen(), null);
    this.list.show(this.shown);
    this.count();
    const { n, view } = this.address();
    await this.show(n ?? this.shown[0] ?? null, view);
    await painted();
  }

  async filter(chosen) {
    const turn = ++this.search;
    let texts = null;
    if (termsOf(chosen.text).length) {
      try {
        texts = await allText();
      } catch (error) {
        if (turn === this.search) byId("count").textContent = `The text for searching cannot be read: ${error.message}`;
        return;
      }
    }
    if (turn !== this.search) return;
    this.shown = matching(chosen, texts);
    this.list.box.scrollTop = 0;
    this.list.show(this.shown);
    this.count();
    const isHidden = this.shown.length > 0 && !this.list.place.has(this.n);
    await this.show(isHidden ? this.shown[0] : this.n, this.view);
  }

  count() {
    const all = rows.length;
    byId("count").textContent = this.shown.length === all ? many(all, "trajectory", "trajectories") : `${whole(this.shown.length)} of ${whole(all)}`;
    byId("list").classList.toggle("nothing", this.shown.length === 0);
  }

  /** Show row n in a view; resolves when it stands there, or when a later one has taken its place. */
  show(n, view = this.view) {
    this.work = this.paint(n, view, ++this.turn);
    return this.work;
  }

  async paint(n, view, turn) {
    const isOther = n !== this.n;
    [this.n, this.view] = [n, view];
    byId("detail").dataset.ready = "false";
    this.list.select(n);
    this.tabs();
    hideTooltip();
    if (n === null) return byId("view").replaceChildren(empty("There is no trajectory in this file."));
    const content = await this.content(rows[n], view);
    if (turn !== this.turn) return;
    byId("head").replaceChildren(...head(rows[n]).filter(Boolean));
    byId("view").replaceChildren(content);
    if (isOther) byId("detail").scrollTop = 0;
    this.mark(isOther);
    Object.assign(byId("detail").dataset, { n, view, ready: "true" });
    this.writeAddress();
    if (isOther) byId("announce").textContent = `${byId("position").textContent}: ${visible(rows[n].question)}`;
    const next = this.shown[this.list.place.get(n) + 1];
    if (next !== undefined) record(next).catch(() => {}); // so that the next one is there when asked for
  }

  async content(row, view) {
    const tools = { open: (n) => this.choose(n, "read", true), openDiff: () => this.show(row.n, "diff"), isOpen: (text) => this.isFoundIn(text) };
    try {
      return await VIEWS[view](row, await record(row.n), tools);
    } catch (error) {
      console.error(error);
      return h("p", { class: "empty error" }, `This trajectory cannot be shown: ${error.message}`);
    }
  }

  isFoundIn(text) {
    const small = text.toLowerCase();
    return termsOf(this.finder.chosen.text).some((term) => small.includes(term));
  }

  mark(mayScroll) {
    if (this.view === "tokens") return;
    const first = markFound(byId("detail").querySelector("article"), termsOf(this.finder.chosen.text));
    if (!first || !mayScroll) return;
    const pane = byId("detail").getBoundingClientRect();
    const place = first.getBoundingClientRect();
    if (place.bottom > pane.bottom) byId("detail").scrollTop += place.top - pane.top - pane.height / 3;
  }

  tabs() {
    for (const tab of byId("views").children) {
      const isShown = tab.dataset.view === this.view;
      tab.setAttribute("aria-selected", String(isShown));
      tab.tabIndex = isShown ? 0 : -1;
    }
    byId("view").setAttribute("aria-labelledby", `tab-${this.view}`);
    const size = this.n === null ? 1 : groups.get(rows[this.n].group_key).length;
    byId("tab-group").textContent = size > 1 ? `Group (${size})` : "Group";
    const pairs = this.n === null ? 0 : rows[this.n].n_imagined_diff;
    byId("tab-diff").textContent = pairs ? `Diff (${pairs})` : "Diff";
    const place = this.list.place.get(this.n);
    byId("position").textContent = `${place === undefined ? "\u2013" : whole(place + 1)} of ${whole(this.shown.length)}`;
    byId("prev").disabled = !place;
    byId("next").disabled = place === undefined ? this.shown.length === 0 : place + 1 >= this.shown.length;
  }

  choose(n, view = this.view, isStep = false) {
    openDrawer(false);
    if (isStep) {
      this.writeAddress(0);
      this.hash = location.hash = hashOf(n, view); // a step that the browser's back button undoes
    }
    return this.show(n, view);
  }

  /** Go `by` rows forward (or back) in the list as shown. */
  move(by) {
    const place = this.list.place.get(this.n);
    const n = this.shown[place === undefined ? 0 : place + by];
    if (n !== undefined) this.show(n);
  }

  address() {
    const words = new URLSearchParams(location.hash.slice(1));
    const [n, view] = [words.get("r"), words.get("v")];
    return { n: /^\d+$/.test(n ?? "") && rows[Number(n)] ? Number(n) : null, view: Object.hasOwn(VIEWS, view ?? "") ? view : "read" };
  }

  /** Put the state into the address when it has rested, or at once. */
  writeAddress(pause = ADDRESS_PAUSE) {
    clearTimeout(this.pause);
    const write = () => {
      // changed by the reader a moment ago: `readAddress` is about to hear of it
      if (location.hash !== this.hash) return;
      this.hash = hashOf(this.n, this.view);
      if (location.hash !== this.hash) location.replace(this.hash);
    };
    if (pause) this.pause = setTimeout(write, pause);
    else write();
  }

  readAddress() {
    if (location.hash === this.hash) return; // written here, and the state may have moved on since
    this.hash = location.hash;
    const { n, view } = this.address();
    if (n !== null && (n !== this.n || view !== this.view)) this.show(n, view);
  }
}

const hashOf = (n, view) => `#r=${n}&v=${view}`;

/** Resolves after the browser has painted; at once where nothing is painted (a page in the background). */
function painted() {
  const frame = new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return Promise.race([frame, new Promise((done) => setTimeout(done, 250))]);
}
