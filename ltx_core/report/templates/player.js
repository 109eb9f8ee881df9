(() => {
  const LATE = 0.06; // seconds by which a video may be behind the first of its row
  const videos = [...document.querySelectorAll("video")];
  const button = name => document.querySelector(`[data-do="${name}"]`);
  const pressed = b => b.getAttribute("aria-pressed") === "true";
  const press = (b, on) => b.setAttribute("aria-pressed", String(on));
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  const rows = [...document.querySelectorAll("[data-row]")].map(element => {
    const own = [...element.querySelectorAll("video")], lead = own[0];
    const toggle = element.querySelector("[data-row-play]"), slider = element.querySelector("input");
    const row = { element, playing: false };
    const each = act => own.forEach(act);
    const place = time => each(v => { if (Math.abs(v.currentTime - time) > LATE) v.currentTime = time; });
    row.show = () => { toggle.textContent = row.playing ? "Pause" : "Play"; };
    row.play = () => {
      row.playing = true;
      place(lead.currentTime);
      each(v => v.play().catch(() => {}));
      row.show();
    };
    row.pause = () => { row.playing = false; each(v => v.pause()); place(lead.currentTime); row.show(); };
    row.restart = () => { each(v => { v.currentTime = 0; }); };
    if (!lead) return row;
    toggle.onclick = () => row.playing ? row.pause() : row.play();
    slider.oninput = () => {
      row.pause();
      if (lead.duration) each(v => { v.currentTime = slider.value * lead.duration; });
    };
    lead.addEventListener("timeupdate", () => {
      if (row.playing) place(lead.currentTime);
      if (lead.duration && document.activeElement !== slider) slider.value = lead.currentTime / lead.duration;
    });
    each(v => v.addEventListener("play", () => { if (!row.playing) row.play(); }));
    each(v => v.addEventListener("pause", () => { if (row.playing && !v.ended && !v.seeking) row.pause(); }));
    each(v => v.addEventListener("seeked", () => { if (!row.playing) place(v.currentTime); }));
    return row;
  });

  if (rows.length) {
    const view = new IntersectionObserver(seen => seen.forEach(({ target, isIntersecting }) => {
      const row = rows.find(one => one.element === target);
      if (!isIntersecting && row.playing) row.pause();
      else if (isIntersecting && !row.playing && pressed(button("play"))) row.play();
    }), { threshold: 0.4 });
    const watch = on => rows.forEach(row => on ? view.observe(row.element) : (view.unobserve(row.element), row.pause()));
    button("play").onclick = () => { press(button("play"), !pressed(button("play"))); watch(pressed(button("play"))); };
    button("restart").onclick = () => rows.forEach(row => row.restart());
    button("mute").onclick = () => videos.forEach(v => { v.muted = true; });
    if (still) press(button("play"), false); else watch(true);
  }
  videos.forEach(v => v.addEventListener("volumechange", () => {
    if (!v.muted) videos.forEach(other => { if (other !== v) other.muted = true; });
    if (button("mute")) press(button("mute"), videos.every(other => other.muted));
  }));
})();
