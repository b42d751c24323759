"""How the page of a pilot looks, and the few lines that filter its pictures."""

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf8; --card: #ffffff; --ink: #1f2328; --soft: #646b73; --line: #e4e1db;
  --accent: #1f5f8b; --warm: #9a5b00; --warm-paper: #fdf3e1; --bad: #a4262c; --bad-paper: #fbeaea;
  --well: #f3f1ed;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171a; --card: #1d2024; --ink: #e7e5e1; --soft: #a0a6ad; --line: #31353b;
    --accent: #8cc3ea; --warm: #f0bd6a; --warm-paper: #35290f; --bad: #ff9c98; --bad-paper: #3c1d1d;
    --well: #24282d;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 88rem;
  background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
h1 { font-size: 1.6rem; font-weight: 650; letter-spacing: -0.01em; margin: 0; }
h2 { font-size: 0.95rem; font-weight: 650; margin: 0 0 0.6rem; }
h3 { font-size: 0.95rem; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
p { margin: 0; }
.lead { color: var(--soft); margin-top: 0.25rem; max-width: 60rem; }
dl { margin: 0; }
dd { margin: 0; }
.figures {
  display: flex; flex-wrap: wrap; gap: 1px; margin: 1.5rem 0;
  background: var(--line); border: 1px solid var(--line); border-radius: 10px; overflow: hidden;
}
.figures > div { flex: 1 1 11rem; background: var(--card); padding: 0.9rem 1.1rem; }
.figures dt { color: var(--soft); font-size: 0.85rem; }
.figures dd { font-size: 1.45rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.figures dd.remark { font-size: 0.85rem; font-weight: 400; color: var(--soft); }
.command { margin-bottom: 1.5rem; }
.command .label { font-size: 0.85rem; color: var(--soft); margin-bottom: 0.3rem; }
pre {
  margin: 0; padding: 0.8rem 1.1rem; background: var(--well); border: 1px solid var(--line);
  border-radius: 10px; white-space: pre-wrap; overflow-wrap: anywhere; user-select: all;
}
code { font: 0.92rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem; }
.panel {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1rem 1.1rem;
}
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0 0.3rem 1rem; text-align: right; font-weight: 400; vertical-align: top; }
th:first-child { padding-left: 0; text-align: left; }
thead th { color: var(--soft); font-size: 0.85rem; white-space: nowrap; }
tbody tr { border-top: 1px solid var(--line); }
td, td strong { white-space: nowrap; }
strong { font-weight: 650; }
small { display: block; color: var(--soft); }
.facts > div {
  display: grid; grid-template-columns: minmax(6.5rem, 1fr) auto; column-gap: 1rem;
  padding: 0.3rem 0; border-top: 1px solid var(--line);
}
.facts > div:first-child { border-top: 0; }
.facts dt { color: var(--soft); }
.facts dd { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.facts dd.remark { grid-column: 1 / -1; text-align: left; color: var(--soft); font-size: 0.85rem; }
.strata { margin-top: 1rem; }
.strata summary { cursor: pointer; color: var(--accent); padding: 0.3rem 0; width: max-content; }
.wide { overflow-x: auto; }
.notes { color: var(--soft); margin: 1rem 0 0; padding-left: 1.1rem; font-size: 0.9rem;
  max-width: 60rem; }
.controls {
  display: flex; flex-wrap: wrap; gap: 0.6rem 1.2rem; align-items: center; margin: 2rem 0 1rem;
}
.controls h2 { margin: 0 auto 0 0; font-size: 1.1rem; }
.controls #count { color: var(--soft); }
select {
  font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; padding: 0.3rem 0.5rem; max-width: 100%;
}
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(17.5rem, 1fr));
  gap: 1rem; }
article {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden;
  display: flex; flex-direction: column;
}
article[hidden] { display: none; }
article.odd { border-color: var(--warm); }
article > div:last-child {
  flex: 1; padding: 0.9rem 1rem 1rem; display: flex; flex-direction: column; gap: 0.55rem;
}
.picture { background: var(--well); height: 15rem; display: grid; place-items: center;
  color: var(--soft); }
.picture img { max-width: 100%; max-height: 15rem; object-fit: contain; display: block; }
.badges { display: flex; flex-wrap: wrap; gap: 0.35rem; }
.badge {
  font-size: 0.8rem; padding: 0.05rem 0.5rem; border-radius: 99px;
  background: var(--warm-paper); color: var(--warm);
}
.badge.bad { background: var(--bad-paper); color: var(--bad); }
.badge.quiet { background: var(--well); color: var(--soft); }
.answer {
  display: grid; grid-template-columns: minmax(4.5rem, max-content) minmax(0, 1fr);
  gap: 0.2rem 0.8rem; align-items: baseline;
}
.answer dt { color: var(--soft); font-size: 0.82rem; max-width: 7.5rem; overflow-wrap: anywhere; }
.answer dd { overflow-wrap: anywhere; font-size: 0.92rem; }
.tag {
  display: inline-block; background: var(--well); border-radius: 6px; padding: 0 0.4rem;
  margin: 0.1rem 0; font-size: 0.88rem;
}
.nothing, .message, .uri { color: var(--soft); }
.nothing { font-style: italic; }
.message, .uri { font-size: 0.8rem; overflow-wrap: anywhere; }
.foot {
  display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; font-size: 0.85rem;
  color: var(--soft); font-variant-numeric: tabular-nums; border-top: 1px solid var(--line);
  padding-top: 0.55rem; margin-top: auto;
}
.cost { color: var(--ink); }
@media print { .controls, .command { display: none; } article { break-inside: avoid; } }
"""

SCRIPT: Final = """
const stratum = document.getElementById("stratum"), odd = document.getElementById("odd");
const count = document.getElementById("count");
const cards = [...document.getElementById("cards").children];
function filter() {
  let shown = 0;
  for (const card of cards) {
    card.hidden = (stratum.value && card.dataset.stratum !== stratum.value)
      || (odd.checked && !card.dataset.odd);
    shown += !card.hidden;
  }
  count.textContent = shown + (shown === 1 ? " picture" : " pictures");
}
stratum.addEventListener("change", filter);
odd.addEventListener("change", filter);
"""
