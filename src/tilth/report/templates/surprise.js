
// Tokens can be walked through with the arrow keys; the tooltip is the one that pointing shows.
(() => {
  const point = (token, kind) => token.dispatchEvent(new Event(kind));
  for (const text of document.querySelectorAll(".bits")) {
    const tokens = [...text.querySelectorAll("span")];
    tokens.forEach((token, index) => { token.tabIndex = index ? -1 : 0; });
    text.addEventListener("focusin", (event) => point(event.target, "pointerenter"));
    text.addEventListener("focusout", (event) => point(event.target, "pointerleave"));
    text.addEventListener("click", (event) => { if (tokens.includes(event.target)) event.target.focus({ preventScroll: true }); });
    text.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const next = step && tokens[tokens.indexOf(event.target) + step];
      if (!next) return;
      event.preventDefault();
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  }
})();
