"""Questions to an open page that are the same for every page: contrast, page scroll, elements made from text.

Contrast is that of WCAG 2.2 (success criterion 1.4.3, level AA): 4.5 for text, 3 for large text. Backgrounds are
composed from the colours of the ancestors, inside an SVG with the shape that is drawn under the middle of the text.
"""

from __future__ import annotations

from typing import Any

# colours go through a canvas, because computed styles may be spelled rgb(), color() or oklch()
_CONTRASTS = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  // what is drawn under the middle of a text of an SVG: the last filled shape before it
  const drawnUnder = (text) => {
    const box = text.getBoundingClientRect(), middle = new DOMPoint(box.x + box.width / 2, box.y + box.height / 2);
    const shapes = [...text.ownerSVGElement.querySelectorAll("path, rect, circle, polygon")].reverse();
    const shape = shapes.find((each) => {
      if (!(each.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING)) return false;
      const style = getComputedStyle(each);
      if (style.fill === "none" || !each.getScreenCTM()) return false;
      return each.isPointInFill(middle.matrixTransform(each.getScreenCTM().inverse()));
    });
    const below = background(text.ownerSVGElement);
    if (!shape) return below;
    const style = getComputedStyle(shape), colour = rgba(style.fill);
    colour[3] *= Number(style.fillOpacity) * opacity(shape);
    return over(colour, below);
  };
  const background = (element) => {
    if (!element) return dark ? [18, 18, 18, 1] : [255, 255, 255, 1];
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, background(element.parentElement));
  };
  const opacity = (element) =>
    element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1;
  const luminance = (colour) => {
    const [r, g, b] = colour.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
    if (!text || ["SCRIPT", "STYLE", "TEMPLATE", "NOSCRIPT"].includes(element.tagName)) continue;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest(":disabled")) continue; // the criterion leaves out what cannot be used
    const style = getComputedStyle(element), isSvg = element instanceof SVGElement;
    const below = isSvg ? drawnUnder(element) : background(element);
    const colour = rgba(isSvg ? style.fill : style.color);
    colour[3] *= opacity(element);
    const [a, b] = [luminance(over(colour, below)), luminance(below)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    found.push({ text: text.slice(0, 40), contrast: (a + 0.05) / (b + 0.05), needed: isLarge ? 3 : 4.5,
                 where: `${element.tagName.toLowerCase()}.${element.getAttribute("class") ?? ""}` });
  }
  return found;
}
"""


def faint_texts(page: Any) -> list[str]:
    """The visible texts whose contrast is too low; raises when the page shows no text at all."""
    found = page.evaluate(_CONTRASTS)
    assert found, "the page shows no text"
    low = {f"{each['where']} {each['text']!r} {each['contrast']:.2f}": each for each in found}
    return sorted(name for name, each in low.items() if each["contrast"] < each["needed"])


def sideways_scroll(page: Any) -> int:
    """By how many pixels the page can be scrolled sideways."""
    return page.evaluate("() => document.scrollingElement.scrollWidth - document.documentElement.clientWidth")


_DANGEROUS = "[onload], [onerror], [href^='javascript' i], img:not([src^='data:']), iframe, object, embed, base"


def assert_nothing_ran(page: Any) -> None:
    """No hostile text became code or an element: `HOSTILE` of `made_files` is what it tries."""
    assert page.evaluate("() => typeof window.pwned") == "undefined"
    assert page.evaluate("dangerous => document.querySelectorAll(dangerous).length", _DANGEROUS) == 0


_OVERLAPS = """
(svg) => {
  const texts = [...svg.querySelectorAll("text")].filter((each) => each.textContent.trim());
  const boxes = texts.map((each) => [each.textContent, each.getBoundingClientRect()]);
  const found = [];
  boxes.forEach(([name, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 1 && high > 0.3 * Math.min(a.height, b.height)) found.push(`${name} | ${other}`);
  }));
  return found;
}
"""


def overlapping_texts(picture: Any) -> list[str]:
    """Pairs of texts of an SVG that cover one another by more than a third of a line."""
    return picture.evaluate(_OVERLAPS)
