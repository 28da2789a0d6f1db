"""How the page looks: on a telephone, on a desk, in the dark, on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fdfdfc; --ink: #1c1c1a; --soft: #62625d; --rule: #d9d9d4; --raised: #f3f3ef;
  --good: #00694c; --bad: #a83a00; --edge: rgb(0 0 0 / .22);
  --series-1: #0072b2; --series-2: #d55e00; --series-3: #009e73; --series-4: #b3568a; --series-5: #b07a00;
  --series-6: #2a8fc4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #17181a; --ink: #e8e8e4; --soft: #a5a5a0; --rule: #3a3b3e; --raised: #222326;
    --good: #45c9a0; --bad: #ff9a5c; --edge: rgb(255 255 255 / .28);
    --series-1: #5db4ea; --series-2: #ff8b3d; --series-3: #2fc79b; --series-4: #e39ac4; --series-5: #f0b73a;
    --series-6: #9ad6f7;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.6 system-ui, "Hiragino Sans", "Yu Gothic UI", "Noto Sans JP", "Noto Sans CJK JP", Meiryo, sans-serif;
  overflow-wrap: break-word;
}
main { max-width: 60rem; margin: 0 auto; padding: 1.25rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.75rem 0 .5rem; padding-top: .75rem;
     border-top: 1px solid var(--rule); }
h3 { font-size: 1.02rem; margin: 1.6rem 0 .4rem; overflow-wrap: anywhere; }
p, ul { max-width: 44rem; margin: .5rem 0; }
ul { padding-left: 1.25rem; }
li { margin: .3rem 0; }
.muted { color: var(--soft); font-weight: normal; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.verdict { font-weight: 600; }
.verdict.muted { font-weight: normal; }
.note { font-size: .88rem; color: var(--soft); }
.lead { font-size: 1.06rem; }
.missing { border-left: 3px solid var(--rule); padding: .1rem 0 .1rem .75rem; color: var(--soft); }
q { quotes: none; font-style: italic; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem; margin: .75rem 0; }
.tile { background: var(--raised); border-radius: .5rem; padding: .65rem .8rem; display: flex;
        flex-direction: column; }
.tile .name { font-size: .82rem; color: var(--soft); line-height: 1.35; min-height: 2.7em; }
.tile b { font-size: 1.65rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile small { color: var(--soft); }
.tile .verdict { font-size: .82rem; margin-top: .25rem; line-height: 1.35; }
/* A shadow at each edge behind which the table goes on; covers that move with the table hide it at its ends. */
.scroll {
  overflow-x: auto; margin: .75rem 0;
  background:
    linear-gradient(to right, var(--ground) 30%, transparent) left / 2.5rem 100% no-repeat local,
    linear-gradient(to left, var(--ground) 30%, transparent) right / 2.5rem 100% no-repeat local,
    linear-gradient(to right, var(--edge), transparent) left / .9rem 100% no-repeat scroll,
    linear-gradient(to left, var(--edge), transparent) right / .9rem 100% no-repeat scroll;
}
table { border-collapse: collapse; font-size: .9rem; min-width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .38rem .7rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--rule); }
td { white-space: nowrap; }
td small { display: inline-block; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th[scope=row], th:first-child { text-align: left; font-weight: normal; padding-left: 0; min-width: 9rem; }
.wordy td, .codes td { white-space: normal; text-align: left; min-width: 10rem; }
@media (min-width: 48rem) {
  .wordy td, .codes td { min-width: 13rem; }
  th[scope=row], th:first-child { min-width: 14rem; }
}
@media (max-width: 30rem) {
  th, td { padding: .38rem .45rem; }
  th[scope=row], th:first-child { min-width: 7rem; }
}
.wordy thead th, .codes thead th { text-align: left; }
code, pre { font: .82rem/1.5 ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; }
code { overflow-wrap: anywhere; }
pre { background: var(--raised); border-radius: .5rem; padding: .75rem .9rem; margin: .5rem 0;
      white-space: pre-wrap; overflow-wrap: anywhere; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1.2rem 1.6rem;
        margin: .75rem 0; }
.grid.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .88rem; line-height: 1.4; margin-bottom: .3rem; }
figure svg { display: block; width: 100%; height: auto; max-width: 34rem; }
svg text { font-family: inherit; }
.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .9rem; }
.legend li { display: flex; align-items: center; gap: .45rem; margin: 0; min-width: 0; overflow-wrap: anywhere; }
.legend svg { width: 2.7rem; height: .95rem; flex: none; }
.card { background: var(--raised); border-radius: .5rem; padding: .6rem .8rem .8rem; min-width: 0; }
.card .note { margin: 0 0 .4rem; }
.triple { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .6rem; }
.triple img { display: block; width: 100%; height: auto; image-rendering: pixelated; border-radius: .2rem; }
.triple figcaption { font-size: .76rem; margin: .3rem 0 0; overflow-wrap: anywhere; }
@media print {
  :root {
    --ground: #fff; --ink: #000; --soft: #444; --rule: #bbb; --raised: #f4f4f4; --good: #00694c; --bad: #a83a00;
    --series-1: #0072b2; --series-2: #d55e00; --series-3: #009e73; --series-4: #b3568a; --series-5: #b07a00;
    --series-6: #2a8fc4;
  }
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  h2, h3 { break-after: avoid; }
  figure, .card, .tile, tr { break-inside: avoid; }
  .scroll { overflow: visible; background: none; }
  table { font-size: 8.5pt; }
  td { white-space: normal; }
  .grid { grid-template-columns: 1fr 1fr; }
  .grid.small { grid-template-columns: 1fr 1fr 1fr; }
  a, .tile b { color: inherit; }
}
"""
