// Dropped documents: search, filter by reason, pages. Rows come from the JSON beside each form and are set as text only.
"use strict";

(() => {
  const PAGE = 20;

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text) made.textContent = text;
    return made;
  };

  const entry = ({ source, reason, stage, detail, size, excerpt }) => {
    const item = element("li");
    const head = element("p", "head-line");
    head.append(
      element("code", "", source || "unknown source"),
      element("span", "reason", reason),
      element("span", "quiet", [stage, size].filter(Boolean).join(" · ")),
    );
    if (detail) head.append(element("b", "measure", detail));
    item.append(head);
    if (excerpt) {
      const box = element("pre", "", excerpt);
      box.dir = "auto";
      item.append(box);
    }
    return item;
  };

  for (const finder of document.querySelectorAll(".finder")) {
    const { groups, rows } = JSON.parse(finder.querySelector("script").textContent);
    const documents = rows.map(([group, source, detail, size, excerpt, id]) => ({
      group, source, detail, size, excerpt, ...groups[group],
      text: [source, detail, groups[group].reason, groups[group].stage, excerpt, id].join("\n").toLowerCase(),
    }));
    const [query] = finder.getElementsByTagName("input");
    const [reason] = finder.getElementsByTagName("select");
    const [before, after] = finder.getElementsByTagName("button");
    const list = finder.querySelector("ol");
    const state = finder.querySelector(".state");
    let found = documents;
    let page = 0;

    const show = () => {
      const first = page * PAGE;
      const shown = found.slice(first, first + PAGE);
      list.replaceChildren(...shown.map(entry));
      list.start = first + 1;
      watchBoxes(list);
      before.disabled = page === 0;
      after.disabled = first + PAGE >= found.length;
      state.textContent = found.length
        ? `${first + 1}–${first + shown.length} of ${found.length.toLocaleString("en")}`
        : "Nothing found. Search for a part of a name, of a reason or of the text.";
    };
    const search = () => {
      const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
      const group = reason.value === "" ? -1 : Number(reason.value);
      found = documents.filter((one) => (group < 0 || one.group === group) && words.every((w) => one.text.includes(w)));
      page = 0;
      show();
    };
    const turn = (step) => {
      page += step;
      show();
      finder.querySelector(".controls").scrollIntoView({ block: "nearest" });
    };
    query.addEventListener("input", search);
    query.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { query.value = ""; search(); }
    });
    reason.addEventListener("change", search);
    before.addEventListener("click", () => turn(-1));
    after.addEventListener("click", () => turn(1));
    finder.hidden = false;
    show();
  }
})();
