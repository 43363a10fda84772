// Marks what the search found in the shown trajectory, without touching its text (CSS custom highlights).

const MOST_MARKS = 2000;

/** Mark every occurrence of the terms inside `element`; returns the first place, or null. */
function markFound(element, terms) {
  if (!globalThis.CSS?.highlights) return null;
  CSS.highlights.delete("found");
  if (!terms.length) return null;
  const ranges = [];
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node && ranges.length < MOST_MARKS; node = walker.nextNode()) rangesIn(node, terms, ranges);
  if (ranges.length) CSS.highlights.set("found", new Highlight(...ranges));
  return ranges[0] ?? null;
}

function rangesIn(node, terms, ranges) {
  const text = node.data.toLowerCase();
  if (text.length !== node.data.length) return; // a letter that changes length: places would be wrong
  for (const term of terms)
    for (let at = text.indexOf(term); at >= 0 && ranges.length < MOST_MARKS; at = text.indexOf(term, at + term.length)) {
      const range = new Range();
      range.setStart(node, at);
      range.setEnd(node, at + term.length);
      ranges.push(range);
    }
}
