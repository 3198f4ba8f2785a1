// Replaces the parts of the run at work. Its newest state is a script, `live/state.js`, which calls `tilthLive`: a page
// that was opened as a file may load scripts, but not fetch.
(() => {
  const POLL_MS = 2000;
  const GRACE_SECONDS = 15;
  const region = document.getElementById("live");
  const notice = document.getElementById("live-notice");
  const remembered = `tilth ${location.pathname}`;
  let newest = { updated: Number(region.dataset.updated), every: Number(region.dataset.every) };
  const shown = new Map();

  const say = (text) => {
    if (notice.textContent !== text) notice.textContent = text;
    notice.hidden = !text;
  };
  const keyOf = (details) => details.dataset.key ?? `${details.closest("section")?.id}/${details.querySelector("summary")?.textContent}`;
  const openKeys = (root) => [...root.querySelectorAll("details[open]")].map(keyOf);
  const openAgain = (root, keys) => {
    for (const details of root.querySelectorAll("details")) if (keys.includes(keyOf(details))) details.open = true;
  };

  const replace = (part, markup) => {
    const keys = openKeys(part);
    const focused = part.contains(document.activeElement) ? document.activeElement.closest("details") : null;
    const key = focused && keyOf(focused);
    const scrolled = part.querySelector("ol")?.scrollTop;
    part.innerHTML = markup; // no script in it would run: the policy allows none
    openAgain(part, keys);
    if (scrolled) part.querySelector("ol").scrollTop = scrolled;
    if (key) [...part.querySelectorAll("details")].find((d) => keyOf(d) === key)?.querySelector("summary")?.focus();
  };

  // Scroll position is the browser's to keep; what was opened is ours.
  const store = (value) => { try { sessionStorage.setItem(remembered, JSON.stringify(value)); } catch { /* none */ } };
  const stored = () => { try { return JSON.parse(sessionStorage.getItem(remembered)) ?? {}; } catch { return {}; } };
  const busy = () => getSelection()?.isCollapsed === false || document.activeElement instanceof HTMLInputElement;
  const reload = (reason) => {
    if (stored().reason === reason) return false; // it was tried: the page is as it is
    if (busy()) return true;
    store({ reason, open: openKeys(document.querySelector("main")) });
    location.reload();
    return true;
  };

  window.tilthLive = (state) => {
    if (state.ended) {
      clearInterval(timer);
      if (!reload(`${state.started} ended`)) say("The run has ended. Its final page could not be written.");
      return;
    }
    newest = state;
    const other = state.started !== region.dataset.started;
    if (other || state.page > Number(region.dataset.page)) reload(`${state.started} page ${state.page}`);
    for (const part of region.querySelectorAll("[data-part]")) {
      const markup = state.parts[part.dataset.part] ?? "";
      if (shown.get(part) === markup) continue;
      shown.set(part, markup);
      replace(part, markup);
    }
  };

  const check = () => {
    const stale = Date.now() / 1000 - newest.updated > 4 * newest.every + GRACE_SECONDS;
    const when = new Date(newest.updated * 1000).toLocaleString();
    region.classList.toggle("stale", stale);
    say(stale ? `This page is no longer updated: the last update was at ${when}. The process has ended or is stopped. The same command continues the run.` : "");
  };
  const poll = () => {
    const script = document.createElement("script");
    script.src = `live/state.js?${Date.now()}`;
    script.onload = script.onerror = () => { script.remove(); check(); };
    document.head.append(script);
  };
  const timer = setInterval(poll, POLL_MS);
  const before = stored();
  if (before.open) { openAgain(document.querySelector("main"), before.open); store({ reason: before.reason }); }
  poll();
})();
