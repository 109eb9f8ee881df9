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
