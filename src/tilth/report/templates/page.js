// Tooltips for touch as well (without this script the browser shows its own titles), boxes that scroll, links to steps.
"use strict";

const tip = (() => {
  const box = document.createElement("div");
  box.className = "tip";
  box.hidden = true;
  document.body.append(box);
  const hide = () => { box.hidden = true; };
  addEventListener("scroll", hide, { passive: true });
  return {
    hide,
    // `content` is text or an element; `around` a rectangle of the window that stays visible.
    show(content, around) {
      box.replaceChildren(content);
      box.hidden = false;
      const half = box.offsetWidth / 2;
      const middle = Math.min(Math.max((around.left + around.right) / 2, half + 8), innerWidth - half - 8);
      const above = around.top - box.offsetHeight - 8;
      box.style.left = `${middle - half}px`;
      box.style.top = `${above > 4 ? above : around.bottom + 8}px`;
    },
  };
})();

(() => {
  for (const carrier of document.querySelectorAll("main [title]")) {
    const text = carrier.title;
    carrier.removeAttribute("title");
    const show = () => tip.show(text, carrier.getBoundingClientRect());
    carrier.addEventListener("pointerenter", show);
    carrier.addEventListener("pointerleave", tip.hide);
    carrier.addEventListener("click", show);
  }
})();

// A box that scrolls can be reached and scrolled with the keyboard.
const watchBoxes = (() => {
  const check = (box) => {
    const scrolls = box.scrollHeight > box.clientHeight + 1 || box.scrollWidth > box.clientWidth + 1;
    if (scrolls) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };
  const observer = new ResizeObserver((entries) => entries.forEach((entry) => check(entry.target)));
  return (root) => root.querySelectorAll("pre, .wide").forEach((box) => observer.observe(box));
})();
watchBoxes(document);

(() => {
  const open = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) target.open = true;
  };
  addEventListener("hashchange", open);
  open();
})();
