// Theme, the dialogs and the wiring of buttons and keys; then the first trajectory is shown.

function switchTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  remember("autocoa-theme", root.dataset.theme);
}

// storage may be closed to pages from a file
function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {}
}

function recall(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

function about() {
  const facts = [["trajectories", whole(rows.length)], ["from", index.kind], ["made", index.made], ["tokens", index.has_tokens ? "yes" : "no"], ["log-probabilities", index.has_logprobs ? "yes" : "no"]];
  const list = (title, items) => (items.length ? [h("h3", {}, title), h("ul", {}, items.map((item) => h("li", {}, item)))] : []);
  byId("about-body").append(
    h("dl", {}, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    ...list("Notes", index.notes),
    ...list("Files", index.files),
  );
  if (index.notes.length) byId("open-about").textContent = many(index.notes.length, "note");
}

function wire(app) {
  document.addEventListener("keydown", (event) => onKey(event, app));
  byId("views").addEventListener("keydown", (event) => onTabKey(event, app));
  byId("list").addEventListener("keydown", (event) => onListKey(event, app));
  byId("views").addEventListener("click", (event) => event.target.dataset.view && app.show(app.n, event.target.dataset.view));
  byId("prev").addEventListener("click", () => app.move(-1));
  byId("next").addEventListener("click", () => app.move(1));
  byId("theme").addEventListener("click", switchTheme);
  byId("open-help").addEventListener("click", () => byId("help").showModal());
  byId("open-about").addEventListener("click", () => byId("about").showModal());
  byId("open-list").addEventListener("click", () => openDrawer(!document.body.classList.contains("drawer")));
  byId("scrim").addEventListener("click", () => openDrawer(false));
  window.addEventListener("hashchange", () => app.readAddress());
}

function start() {
  const theme = recall("autocoa-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  put(byId("title"), index.title);
  about();
  const app = new App();
  wire(app);
  const explorer = {
    openedMs: null,
    ready: app.start().then(() => {
      explorer.openedMs = performance.now();
      performance.mark("autocoa-opened");
    }),
    get shown() {
      return app.shown;
    },
    get selected() {
      return app.n;
    },
    get view() {
      return app.view;
    },
    settled: async () => {
      for (let work = null; work !== app.work; ) await (work = app.work);
    },
    visible,
  };
  window.autocoaExplorer = explorer;
}

start();
