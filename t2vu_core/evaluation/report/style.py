"""The report's style sheet: one column, dark or light as the reader's system."""

STYLE = """
:root { color-scheme: light dark; --fore: #1d1f24; --back: #fff; --soft: #6b7280; --line: #d9dce3;
  --before: #8a93a6; --after: #c2410c; --good: #15803d; --fair: #a16207; --bad: #b91c1c; }
@media (prefers-color-scheme: dark) {
  :root { --fore: #e8eaf0; --back: #16181d; --soft: #9aa3b2; --line: #343946; --before: #7f8aa3; --after: #fb923c; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--fore); font: 16px/1.5 system-ui, sans-serif;
  overflow-wrap: break-word; }
main { max-width: 860px; margin: 0 auto; padding: 20px 16px 60px; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 8px 0; }
h2 { font-size: 1.15rem; margin: 34px 0 8px; }
h3 { font-size: 1rem; margin: 18px 0 4px; }
h3 + p, h3 + p + p { margin: 0 0 4px; }
.badges { margin: 12px 0; }
.badge { display: inline-block; padding: 3px 12px; border-radius: 99px; color: #fff; margin: 0 4px 4px 0; }
.good { background: var(--good); } .fair { background: var(--fair); } .bad { background: var(--bad); }
.verdict { font-size: 1.15rem; margin: 8px 0 16px; }
.facts { margin: 0; font-size: .9rem; }
.facts > div { display: grid; grid-template-columns: 190px 1fr; gap: 2px 16px; padding: 6px 0; }
.facts > div { border-bottom: 1px solid var(--line); }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; }
table + .facts, .wide + .facts { margin-top: 16px; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 18px; }
.pair > div { display: flex; gap: 8px; }
.pair p { margin: 4px 0 0; font-size: .9rem; overflow-wrap: anywhere; }
figure { margin: 0; flex: 1 1 0; min-width: 0; }
figure img { width: 100%; image-rendering: pixelated; border-radius: 6px; display: block; }
figcaption, small, .row i { color: var(--soft); font-size: .8rem; font-style: normal; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 6px 10px 6px 0; border-bottom: 1px solid var(--line); }
td:not(:first-child), th:not(:first-child) { font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { width: 100%; height: auto; max-width: 640px; }
svg line { stroke: var(--line); }
svg text { fill: var(--soft); font-size: 11px; }
svg polyline { fill: none; stroke-width: 2; }
svg polyline.before { stroke: var(--before); } svg polyline.after { stroke: var(--after); }
svg circle.before { fill: var(--before); } svg circle.after { fill: var(--after); }
svg .band { fill: var(--after); opacity: .15; }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 3px; }
.key.before, .bar.before { background: var(--before); } .key.after, .bar.after { background: var(--after); }
.concepts { max-width: 640px; }
.row { display: grid; grid-template-columns: 84px 1fr 96px; gap: 10px; align-items: center; }
.bars { display: grid; gap: 2px; } .bar { height: 7px; border-radius: 3px; min-width: 1px; }
.row i { white-space: nowrap; text-align: right; font-variant-numeric: tabular-nums; }
pre { overflow-x: auto; font-size: .8rem; border: 1px solid var(--line); border-radius: 6px; padding: 10px; }
@media (max-width: 480px) {
  .pairs { grid-template-columns: 1fr; }
  .facts > div { grid-template-columns: 1fr; }
  th, td { padding-right: 8px; font-size: .9rem; }
  td small { display: block; }
  svg text { font-size: 15px; }
}
@media print { section, .pair { break-inside: avoid; } .badge { border: 1px solid currentColor; color: inherit; } }
"""
