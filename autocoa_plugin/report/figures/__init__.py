"""The pictures of a report, one module each; `canvas` turns what they paint into SVG of the page."""
