// What a page does by itself: local times, things that tick, parts that change, keys. All of it can be read without.
"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);

  // --- times -------------------------------------------------------------------------------------------------------
  const pad = (number, digits = 2) => String(number).padStart(digits, "0");
  const month = new Intl.DateTimeFormat("en", { month: "short" });

  function zoneName() {
    const parts = new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(new Date());
    return parts.find((part) => part.type === "timeZoneName")?.value ?? "local time";
  }

  function localize(within) {
    const now = new Date(), zone = zoneName();
    for (const element of all("time[data-form]", within)) {
      const at = new Date(element.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const clock = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
      const day = `${month.format(at)} ${at.getDate()}`;
      const date = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
      const near = at.getFullYear() === now.getFullYear() ? `${day} ${clock.slice(0, 5)}` : date;
      const today = at.toDateString() === now.toDateString();
      const exact = `${clock}.${pad(at.getMilliseconds(), 3)}`;
      const forms = { full: `${day} ${clock}`, exact, clock: today ? clock : near };
      element.textContent = forms[element.dataset.form];
      element.title = `${date} ${exact} ${zone}`;
    }
  }

  // The same words as perdure.durations.took and left.
  function took(seconds) {
    if (seconds < 0.0995) return `${Math.max(seconds * 1000, 0).toFixed(0)}ms`;
    if (seconds < 59.95) return `${seconds.toFixed(1)}s`;
    for (const [size, unit, part, smaller] of [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]]) {
      const parts = Math.round(seconds / part), each = size / part;
      if (parts < each) continue;
      const whole = Math.floor(parts / each), rest = parts % each;
      if (!rest) return `${whole}${unit}`;
      return unit === "d" ? `${whole}d${rest}h` : `${whole}${unit}${pad(rest)}${smaller}`;
    }
    return `${Math.round(seconds)}s`;
  }
  const left = (seconds) => (seconds < 59.5 ? `${Math.max(Math.round(seconds), 1)}s` : took(seconds));

  function tick() {
    if (document.hidden) return;
    const now = Date.now();
    for (const element of all("[data-since]")) {
      const text = took(Math.max(now - Date.parse(element.dataset.since), 0) / 1000);
      if (element.textContent !== text) element.textContent = text;
    }
    for (const element of all("[data-until]")) {
      const seconds = (Date.parse(element.dataset.until) - now) / 1000;
      const isLeft = element.dataset.form === "left";
      const text = seconds > 0 ? (isLeft ? `${left(seconds)} left` : `in ${left(seconds)}`) : isLeft ? "due" : "now";
      if (element.textContent !== text) element.textContent = text;
    }
    advance();
  }

  // The line of now moves, and with it the end of what is open; at the edge the timeline is asked for anew.
  let drawnAt = performance.now();
  function advance() {
    const timeline = one("#timeline[data-now]");
    if (!timeline) return;
    const x = Number(timeline.dataset.now) + ((performance.now() - drawnAt) / 1000) * Number(timeline.dataset.rate);
    if (x > 97) {
      timeline.dataset.v = "";
      return;
    }
    const line = one("[data-nowline]", timeline), future = one("[data-future]", timeline);
    line?.setAttribute("x1", `${x}%`);
    line?.setAttribute("x2", `${x}%`);
    future?.setAttribute("x", `${x}%`);
    future?.setAttribute("width", `${100 - x}%`);
    for (const bar of all("[data-open]", timeline)) {
      bar.setAttribute("width", `${Math.max(x - parseFloat(bar.getAttribute("x")), 0.45)}%`);
    }
  }

  // --- parts -------------------------------------------------------------------------------------------------------
  function selectedWithin(element) {
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed && selection.anchorNode && element.contains(selection.anchorNode));
  }

  function place(element) {
    // How to find it again in a new copy of its part.
    if (element.id) return `#${CSS.escape(element.id)}`;
    const href = element.getAttribute("href");
    if (href) return `${element.localName}[href="${CSS.escape(href)}"]`;
    return element.dataset.copy ? `[data-copy="${CSS.escape(element.dataset.copy)}"]` : null;
  }

  function patch(id, html) {
    const old = document.getElementById(id);
    if (!old) return;
    const template = document.createElement("template");
    template.innerHTML = html;
    const fresh = template.content.firstElementChild;
    if (!fresh) return;
    const focused = old.contains(document.activeElement) ? place(document.activeElement) : null;
    for (const details of all("details[data-keep]", old)) {
      const same = one(`details[data-keep="${CSS.escape(details.dataset.keep)}"]`, fresh);
      if (same) same.open = details.open;
    }
    const scrolled = all("pre", old).map((pre) => [pre.scrollTop, pre.scrollLeft]);
    const top = old.scrollTop;
    old.replaceWith(fresh);
    fresh.scrollTop = top;
    all("pre", fresh).forEach((pre, number) => {
      if (scrolled[number]) [pre.scrollTop, pre.scrollLeft] = scrolled[number];
    });
    if (focused) one(focused, fresh)?.focus({ preventScroll: true });
    if (id === "timeline") drawnAt = performance.now();
    dress(fresh);
  }

  function dress(within) {
    localize(within);
    for (const button of all("[data-copy]", within)) button.hidden = false;
  }

  // --- what has changed --------------------------------------------------------------------------------------------
  const dot = one("[data-live-dot]");
  let live = root.dataset.live ?? "";
  let again = Number(root.dataset.again ?? 0);
  let asked = 0;
  let failed = 0;
  let timer = 0;

  function say(text, isOff) {
    if (!dot) return;
    dot.hidden = !text;
    dot.classList.toggle("off", isOff);
    const words = one("span", dot);
    if (words.textContent !== text) words.textContent = text;
  }

  function seen() {
    return all("[data-part]").map((part) => `${part.id}:${part.dataset.v}`).join(",");
  }

  async function look(address) {
    const counts = asked++ % 5 === 4 ? "&counts=1" : "";
    const answer = await fetch(`${address}${counts}&seen=${encodeURIComponent(seen())}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  }

  function show(found) {
    for (const [id, html] of Object.entries(found.parts)) {
      const old = document.getElementById(id);
      if (old && !selectedWithin(old)) patch(id, html);
    }
    const bar = one("#fresh");
    if (bar) {
      const many = found.fresh > 99 ? "99+" : found.fresh;
      bar.hidden = !found.fresh;
      bar.textContent = `↑ ${many} new ${found.fresh === 1 ? "run" : "runs"} since you opened this page`;
    } else if (found.fresh && one("[data-empty]")) {
      location.reload();
    }
  }

  async function poll() {
    if (document.hidden) return plan(again);
    const began = performance.now();
    try {
      const found = await look(live);
      failed = 0;
      show(found);
      again = found.again_ms;
      say(again ? "Live" : "", false);
      plan(again && Math.max(again, 4 * (performance.now() - began)));
    } catch {
      failed += 1;
      const seconds = Math.min(2 ** failed, 30);
      say(`Reconnecting in ${seconds} s`, true);
      plan(seconds * 1000);
    }
  }

  function plan(ms) {
    clearTimeout(timer);
    if (live && ms) timer = setTimeout(poll, ms);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !live || !again) return;
    tick();
    plan(50);
  });

  // --- within the page of a run: only its parts are fetched -----------------------------------------------------------
  function liveOf(href) {
    const here = new URL(live, location.href), there = new URL(href, location.href);
    there.searchParams.set("run", here.searchParams.get("run"));
    there.searchParams.set("run_id", here.searchParams.get("run_id"));
    return `/live?${there.searchParams}`;
  }

  async function go(href, isNew) {
    const address = liveOf(href);
    try {
      const answer = await fetch(`${address}&seen=`, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const found = await answer.json();
      if (isNew) history.pushState(null, "", href);
      live = address;
      for (const [id, html] of Object.entries(found.parts)) patch(id, html);
      if (one("#inspector") && matchMedia("(max-width: 1240px)").matches && href.includes("step=")) {
        one("#inspector").scrollIntoView({ block: "start" });
      }
      plan(found.again_ms);
    } catch {
      location.href = href;
    }
  }

  document.addEventListener("click", (event) => {
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const target = event.target instanceof Element ? event.target : null;
    const button = target?.closest("[data-copy]");
    if (button) return copy(button);
    const map = target?.closest("[data-cells]");
    if (map && live) return go(`${map.dataset.href}&call=${cellAt(map, event)}`, true);
    const link = target?.closest("a[data-soft]");
    if (!link || !live || root.dataset.live === "") return;
    event.preventDefault();
    go(link.getAttribute("href").split("#")[0], true);
  });
  addEventListener("popstate", () => {
    if (live && one("#inspector")) go(location.pathname + location.search, false);
  });

  function cellAt(map, event) {
    const box = map.getBoundingClientRect(), columns = Number(map.dataset.cells);
    const side = box.width / columns;
    const column = Math.min(Math.max(Math.floor((event.clientX - box.left) / side), 0), columns - 1);
    const row = Math.max(Math.floor((event.clientY - box.top) / side), 0);
    return Math.min((row * columns + column) * Number(map.dataset.per), Number(map.dataset.count) - 1);
  }

  async function copy(button) {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.classList.add("done");
      setTimeout(() => button.classList.remove("done"), 1200);
    } catch { /* the browser does not allow it */ }
  }

  // --- keys ----------------------------------------------------------------------------------------------------------
  function step(by, only) {
    const rows = all("[data-row]").filter((row) => row.offsetParent !== null);
    const at = rows.indexOf(document.activeElement);
    for (let n = at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by; rows[n]; n += by) {
      if (!only || only(rows[n])) return rows[n].focus();
    }
  }
  const isLoud = (row) => row.dataset.state !== undefined && !["completed", "cancelled"].includes(row.dataset.state);

  const KEYS = {
    j: () => step(1),
    k: () => step(-1),
    e: () => step(1, isLoud),
    "/": () => one("[data-filter]")?.select(),
    "?": () => one("#keys").showModal(),
    Escape: () => one("[data-close]")?.click(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    if (event.target instanceof Element && event.target.matches("input, select, textarea")) return;
    if (one("dialog[open]")) return;
    const act = KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  // --- theme ---------------------------------------------------------------------------------------------------------
  const THEMES = ["auto", "light", "dark"];
  const toggle = one("[data-theme-toggle]");
  if (toggle) {
    const word = one("[data-theme-word]", toggle);
    word.textContent = root.dataset.theme ?? "auto";
    toggle.hidden = false;
    toggle.addEventListener("click", () => {
      const theme = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
      if (theme === "auto") delete root.dataset.theme;
      else root.dataset.theme = theme;
      word.textContent = theme;
      try { localStorage.setItem("perdure-theme", theme); } catch { /* storage may be switched off */ }
    });
  }
  const help = one("[data-keys]");
  if (help) {
    help.hidden = false;
    help.addEventListener("click", () => one("#keys").showModal());
  }

  // --- begin ---------------------------------------------------------------------------------------------------------
  const zone = one("[data-zone]");
  if (zone) zone.textContent = zoneName();
  dress(document);
  setInterval(tick, 1000);
  if (live && again) {
    say("Live", false);
    plan(again);
  }
})();
