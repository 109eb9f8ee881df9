(() => {
  const LATE = 0.06; // seconds by which a video may be behind the first of its row
  const videos = [...document.querySelectorAll("video")];
  const buttons = name => [...document.querySelectorAll(`[data-do="${name}"]`)]; // a bar above each group of rows
  const pressed = name => buttons(name).some(b => b.getAttribute("aria-pressed") === "true");
  const press = (name, on) => buttons(name).forEach(b => b.setAttribute("aria-pressed", String(on)));
  const clicked = (name, act) => buttons(name).forEach(b => { b.onclick = act; });
  if (location.protocol === "blob:") // MLflow's frame, which may not go to a place in its own page
    document.querySelectorAll('a[href^="#"]').forEach(a => {
      a.onclick = e => { e.preventDefault(); document.getElementById(a.hash.slice(1))?.scrollIntoView(); };
    });
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
    each(v => { // the row plays and seeks; a browser's own controls would hide what is compared
      v.controls = false;
      v.tabIndex = 0;
      v.title = "Click to hear or mute, twice to fill the screen";
      v.onclick = () => { v.muted = !v.muted; };
      v.ondblclick = () => v.requestFullscreen?.().catch(() => {});
      v.onkeydown = e => { if (e.key === "Enter") v.onclick(); };
    });
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
      else if (isIntersecting && !row.playing && pressed("play")) row.play();
    }), { threshold: 0.4 });
    const watch = on => rows.forEach(row => on ? view.observe(row.element) : (view.unobserve(row.element), row.pause()));
    clicked("play", () => { press("play", !pressed("play")); watch(pressed("play")); });
    clicked("restart", () => rows.forEach(row => row.restart()));
    clicked("mute", () => videos.forEach(v => { v.muted = true; }));
    if (still) press("play", false); else watch(true);
  }
  videos.forEach(v => v.addEventListener("volumechange", () => {
    if (!v.muted) videos.forEach(other => { if (other !== v) other.muted = true; });
    v.classList.toggle("heard", !v.muted);
    press("mute", videos.every(other => other.muted));
  }));
})();
