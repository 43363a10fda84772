"""`autocoa report`: evaluations, trainings and scorecards as one page that needs nothing but a browser.

    RUN... ──> read ──> Material ──> sections ──────────────> page ──> report.html
                       (`material`)  (`tables`, `figures/`)      └───> report.json

| file | answers |
|---|---|
| `comparable` | which evaluations may stand in one table, and what tells the tables apart |
| `leaders` | which method leads a column, as far as the evidence goes |
| `sections_*`, `table_one`, `tables*` | what stands in each section |
| `paper` | in which order methods and questions stand |
| `curves` | which training metrics make which panel |
| `figures/` | one picture each, as SVG whose colours the page decides |
"""
