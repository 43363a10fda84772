// What a token is, shown beside it: under the pointer, or for the one that the arrow keys reached.

function explainTokens(stream, list) {
  let current = null;
  const choose = (span) => {
    current?.classList.remove("current");
    current = span;
    current?.classList.add("current");
  };
  stream.addEventListener("pointerover", (event) => {
    const span = event.target.closest(".t");
    if (span) showTooltip(span, list);
    else hideTooltip();
  });
  stream.addEventListener("pointerleave", hideTooltip);
  stream.addEventListener("click", (event) => choose(event.target.closest(".t")));
  stream.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const place = current ? Number(current.dataset.i) + move : 0;
    const span = stream.querySelector(`.t[data-i="${place}"]`);
    if (!span) return;
    choose(span);
    span.scrollIntoView({ block: "nearest" });
    showTooltip(span, list);
    byId("announce").textContent = byId("tooltip").textContent;
  });
}

function describe(token, position) {
  const { id, text, logprob, segment } = token;
  const shown = text.replaceAll(" ", "\u2423").replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5");
  const line = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, ...value));
  const likely = logprob === null ? "none" : `${number(logprob)} (${number(Math.exp(logprob) * 100, { digits: 2 })} %)`;
  return h(
    "dl",
    {},
    line("text", text === "" ? "part of a character" : h("b", {}, shown)),
    line("id", String(id)),
    line("position", String(position)),
    line("log-probability", likely),
    line("role", segment.role),
    line("loss", segment.trained === null ? "not known" : segment.trained ? "yes" : "no"),
  );
}

function showTooltip(span, list) {
  const tooltip = byId("tooltip");
  const position = Number(span.dataset.i);
  tooltip.replaceChildren(describe(list[position], position));
  tooltip.hidden = false;
  const at = span.getClientRects()[0] ?? span.getBoundingClientRect();
  const { offsetWidth, offsetHeight } = tooltip;
  const left = Math.max(8, Math.min(at.left, document.documentElement.clientWidth - offsetWidth - 8));
  const below = at.bottom + 6;
  const top = below + offsetHeight > window.innerHeight ? at.top - offsetHeight - 6 : below;
  tooltip.style.transform = `translate(${Math.round(left)}px, ${Math.round(Math.max(0, top))}px)`;
}

function hideTooltip() {
  byId("tooltip").hidden = true;
}
