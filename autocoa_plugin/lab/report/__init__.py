"""Report page (`autocoa report`): evaluations, trainings and scorecards as one HTML file that needs only a browser.

    RUN... ──> read ──> Material ──> sections ─────────────> page ──> report.html
                       (`material`)  (`tables`, `figures*`)     └───> report.json

| file | answers |
|---|---|
| `material` | what was read, in the paper's order of methods and questions |
| `comparable` | which evaluations may stand in one table, and which method leads a column |
| `sections`, `sections_training`, `table_one`, `tables` | what stands in each section |
| `curves` | which training metrics make which panel |
| `figures`, `figures_results`, `figures_training` | the pictures, as SVG whose colours the page decides |
| `page`, `cli` | the blocks of a page and its HTML; the command |
"""
