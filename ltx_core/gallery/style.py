"""How pages look, and the few lines of script that play videos together. Kept here so that a page is one file."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f6f4; --card: #ffffff; --ink: #1d1d1b; --soft: #6a6a66; --line: #e2e1dc; --accent: #2f5fb3;
  --good: #1f7a4d; --warn: #96650a; --bad: #b3362b;
  --s0: #2f5fb3; --s1: #c2571a; --s2: #2a8a62; --s3: #8a4fb0; --s4: #767672;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #161615; --card: #1f1f1d; --ink: #ecece8; --soft: #a09f99; --line: #34342f; --accent: #8fb4f5;
    --good: #6cc596; --warn: #e0b15c; --bad: #ef8a7f;
    --s0: #8fb4f5; --s1: #f0a06a; --s2: #74cfa6; --s3: #c99be6; --s4: #a8a8a2;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1360px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; font-weight: 650; margin: 0 0 20px; letter-spacing: -0.01em; }
h2 { font-size: 18px; font-weight: 650; margin: 40px 0 12px; }
h3 { font-size: 16px; font-weight: 550; margin: 0; overflow-wrap: anywhere; }
a { color: var(--accent); }
.note { color: var(--soft); margin: -6px 0 12px; max-width: 80ch; }
.empty { color: var(--soft); background: var(--card); border: 1px dashed var(--line); border-radius: 8px;
  padding: 14px 16px; margin: 0; }
.warn { color: var(--warn); }
dl { margin: 0; } dt { color: var(--soft); font-size: 12px; } dd { margin: 0; overflow-wrap: anywhere; }
.top .facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); gap: 14px 24px;
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 20px; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-size: 12px; font-weight: 550; color: var(--soft); white-space: nowrap; }
th, td { padding: 8px 16px; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.badge { display: inline-block; font-size: 12px; font-weight: 550; line-height: 1; padding: 4px 9px;
  border-radius: 99px; border: 1px solid currentColor; color: var(--soft); white-space: nowrap; }
.badge.good { color: var(--good); } .badge.warn { color: var(--warn); } .badge.bad { color: var(--bad); }
.curve { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 18px 8px; max-width: 860px; }
.curve svg { display: block; width: 100%; height: auto; }
.curve text { fill: var(--soft); font-size: 11px; } .curve .label { font-size: 12px; }
.curve .grid { stroke: var(--line); } .curve .axis, .curve .tick { stroke: var(--soft); }
.curve .line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.curve circle { fill: var(--card); stroke: currentColor; stroke-width: 1.75; }
.series0 { color: var(--s0); } .series1 { color: var(--s1); } .series2 { color: var(--s2); }
.series3 { color: var(--s3); } .series4 { color: var(--s4); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 6px; padding: 0;
  font-size: 13px; }
.legend li::before { content: ""; display: inline-block; width: 14px; height: 3px; border-radius: 2px;
  background: currentColor; margin-right: 7px; vertical-align: middle; }
.player { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; position: sticky; top: 0; z-index: 1;
  background: var(--page); padding: 10px 0; color: var(--soft); font-size: 13px; }
.player button { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line);
  border-radius: 7px; padding: 5px 12px; cursor: pointer; }
.player button[aria-pressed="true"] { border-color: var(--accent); color: var(--accent); }
.player span { margin-left: 6px; }
.row { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px 20px;
  margin-bottom: 18px; }
.row > header { display: grid; grid-template-columns: auto 1fr; gap: 6px 12px; margin-bottom: 14px; }
.index { color: var(--soft); font-variant-numeric: tabular-nums; line-height: 24px; }
.row > header .facts { grid-column: 2; display: flex; flex-wrap: wrap; gap: 2px 18px; font-size: 13px; }
.row > header .facts div { display: flex; gap: 6px; align-items: baseline; }
.videos { display: grid; gap: 18px; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); }
.videos figure { margin: 0; min-width: 0; }
.videos video { display: block; width: 100%; background: #000; border-radius: 6px; }
figcaption { display: flex; justify-content: space-between; align-items: baseline; gap: 12px; margin-bottom: 6px; }
.variant { text-transform: capitalize; font-weight: 600; } .detail { color: var(--soft); font-size: 13px;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.figures { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 6px 10px; margin-top: 10px; }
.figures dt { white-space: nowrap; }
.figures dd { font-variant-numeric: tabular-nums; line-height: 1.3; }
.figures small { display: block; color: var(--soft); font-size: 12px; }
@media (max-width: 720px) { .videos { grid-template-columns: 1fr; } main { padding: 20px 14px 40px; } }
"""

SCRIPT = """
(() => {
  const videos = [...document.querySelectorAll("video")];
  const button = name => document.querySelector(`[data-do="${name}"]`);
  if (!videos.length || !button("play")) return;
  const pressed = b => b.getAttribute("aria-pressed") === "true";
  const press = (b, on) => b.setAttribute("aria-pressed", String(on));
  const play = v => v.play().catch(() => {});
  button("play").onclick = e => {
    const on = !pressed(e.target);
    press(e.target, on);
    videos.forEach(v => on ? play(v) : v.pause());
  };
  button("loop").onclick = e => {
    const on = !pressed(e.target);
    press(e.target, on);
    videos.forEach(v => { v.loop = on; });
  };
  button("restart").onclick = () => {
    press(button("play"), true);
    videos.forEach(v => { v.currentTime = 0; play(v); });
  };
  button("mute").onclick = () => videos.forEach(v => { v.muted = true; });
  videos.forEach(v => v.addEventListener("volumechange", () => {
    if (!v.muted) videos.forEach(other => { if (other !== v) other.muted = true; });
    press(button("mute"), videos.every(other => other.muted));
  }));
})();
"""
