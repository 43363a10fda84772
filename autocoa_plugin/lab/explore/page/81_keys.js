// What the keys do, and the drawer that the list becomes on narrow screens.

const LETTERS = { r: "read", t: "tokens", g: "group", d: "diff" };

function openDrawer(isOpen) {
  document.body.classList.toggle("drawer", isOpen);
  byId("scrim").hidden = !isOpen;
  byId("open-list").setAttribute("aria-expanded", String(isOpen));
}

const isNarrow = () => getComputedStyle(byId("open-list")).display !== "none";

function focusIn(id) {
  if (isNarrow()) openDrawer(true);
  byId(id).focus();
}

function escape(app) {
  const field = document.activeElement;
  if (field === byId("search") && field.value) return app.finder.clearSearch();
  if (byId("list-pane").contains(field) && field !== byId("list")) byId("list").focus();
  if (!byId("filters").hidden && byId("list").matches(":focus")) app.finder.toggle(false);
  if (document.body.classList.contains("drawer")) {
    openDrawer(false);
    byId("open-list").focus();
  }
  hideTooltip();
}

function onKey(event, app) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    event.preventDefault();
    return escape(app);
  }
  if (event.target.closest?.("input, select, textarea")) return;
  const isReading = byId("detail").contains(document.activeElement) && document.activeElement !== byId("detail");
  const action = keyAction(event.key, app, isReading);
  if (!action) return;
  event.preventDefault();
  action();
}

function keyAction(key, app, isReading) {
  if (key === "j" || (key === "ArrowDown" && !isReading)) return () => app.move(1);
  if (key === "k" || (key === "ArrowUp" && !isReading)) return () => app.move(-1);
  if (key === "/") return () => focusIn("search");
  if (key === "f") return () => (isNarrow() && openDrawer(true), app.finder.toggle(true));
  if (key === "?") return () => byId("help").showModal();
  const view = LETTERS[key] ?? Object.keys(VIEWS)[Number(key) - 1];
  return view && (() => app.show(app.n, view));
}

function onTabKey(event, app) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  const names = Object.keys(VIEWS);
  const view = names[(names.indexOf(app.view) + by + names.length) % names.length];
  app.show(app.n, view);
  byId(`tab-${view}`).focus();
}

function onListKey(event, app) {
  const page = Math.max(1, Math.floor(app.list.box.clientHeight / ROW_HEIGHT) - 1);
  const place = app.list.place.get(app.n) ?? 0;
  const last = app.shown.length - 1;
  const target = { Home: 0, End: last, PageDown: Math.min(last, place + page), PageUp: Math.max(0, place - page) }[event.key];
  if (target === undefined || last < 0) return;
  event.preventDefault();
  app.show(app.shown[target]);
}
