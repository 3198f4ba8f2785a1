// Tooltips for touch as well. Without this script the browser shows its own titles.
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.append(tip);

  const texts = new WeakMap();
  const carriers = [];
  for (const title of document.querySelectorAll("figure svg title")) {
    texts.set(title.parentNode, title.textContent);
    carriers.push(title.parentNode);
    title.remove();
  }
  for (const carrier of document.querySelectorAll("main [title]")) {
    texts.set(carrier, carrier.title);
    carriers.push(carrier);
    carrier.removeAttribute("title");
  }

  const show = (carrier) => {
    tip.textContent = texts.get(carrier);
    tip.hidden = false;
    const box = carrier.getBoundingClientRect();
    const half = tip.offsetWidth / 2;
    const middle = Math.min(Math.max(box.left + box.width / 2, half + 8), innerWidth - half - 8);
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${middle - half}px`;
    tip.style.top = `${above > 4 ? above : box.bottom + 8}px`;
  };
  for (const carrier of carriers) {
    carrier.addEventListener("pointerenter", () => show(carrier));
    carrier.addEventListener("pointerleave", () => { tip.hidden = true; });
    carrier.addEventListener("click", () => show(carrier));
  }
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // A link to a step opens it.
  const open = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) target.open = true;
  };
  addEventListener("hashchange", open);
  open();
})();
