// Charts: the values at the pointer, the same with the arrow keys, and the numbers as a file.
"use strict";

(() => {
  const button = (figure, rank) => {
    const section = figure.closest("section");
    let title = figure.querySelector("figcaption b");
    for (let other = figure.previousElementSibling; other && !title; other = other.previousElementSibling) {
      if (other.matches("h3")) title = other;
    }
    const name = `${section ? section.id : "chart"} ${title ? title.textContent : rank + 1}`;
    const control = document.createElement("button");
    control.type = "button";
    control.className = "csv";
    control.textContent = "CSV";
    control.setAttribute("aria-label", `Numbers of “${title ? title.textContent : name}” as a CSV file`);
    control.addEventListener("click", () => {
      const file = document.createElement("a");
      file.href = URL.createObjectURL(new Blob([figure.dataset.csv], { type: "text/csv" }));
      file.download = `${name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-")}.csv`;
      file.click();
      setTimeout(() => URL.revokeObjectURL(file.href), 1000);
    });
    const scale = figure.querySelector(".scale");
    if (scale) scale.prepend(control);
    else figure.prepend(control);
  };
  document.querySelectorAll("figure[data-csv]").forEach(button);

  const scaleOf = (text) => {
    const [low, high, start, end] = text.split(" ").map(Number);
    const f = text.endsWith("log") ? Math.log : (value) => value;
    const clamp = (value) => Math.min(Math.max(value, low), high);
    return (value) => start + (f(clamp(value)) - f(low)) / (f(high) - f(low)) * (end - start);
  };

  // The rows of a line chart: numbers from its CSV (only its first line holds text), the same as text from its table.
  const read = (figure) => {
    const table = figure.querySelector(".values table");
    const [first, ...heads] = [...table.tHead.rows[0].cells];
    const numbers = figure.dataset.csv.trimEnd().split("\n").slice(-table.tBodies[0].rows.length)
      .map((line) => line.split(",").map((field) => (field === "" ? NaN : Number(field))));
    const texts = [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent));
    const series = heads.map((head, index) => ({
      name: head.textContent,
      tone: head.querySelector(".key").className,
      rows: numbers.flatMap((row, rank) => (Number.isNaN(row[index + 1]) ? [] : [rank])),
    }));
    return { name: first.textContent, numbers, texts, series };
  };

  // The row of a series that is nearest to `row`; none before its first and after its last.
  const nearest = (rows, row, numbers) => {
    if (row < rows[0] || row > rows.at(-1)) return -1;
    const x = numbers[row][0];
    return rows.reduce((best, other) => (
      Math.abs(numbers[other][0] - x) < Math.abs(numbers[best][0] - x) ? other : best
    ));
  };

  const valuesAt = (data, row) => data.series.map(({ name, tone, rows }, index) => {
    const found = rows.length ? nearest(rows, row, data.numbers) : -1;
    if (found < 0) return { name, tone, text: "–", row: -1 };
    const at = data.texts[found][0];
    const value = data.texts[found][index + 1];
    return { name, tone, row: found, text: at === data.texts[row][0] ? value : `${value} at ${at}` };
  });

  const readout = (data, row, values) => {
    const list = document.createElement("dl");
    list.className = "readout";
    const add = (tag, ...content) => {
      const element = document.createElement(tag);
      element.append(...content);
      list.append(element);
    };
    add("dt", data.name);
    add("dd", data.texts[row][0]);
    for (const { name, tone, text } of values) {
      const key = document.createElement("i");
      key.className = tone;
      add("dt", key, name);
      add("dd", text);
    }
    return list;
  };

  const crosshair = (figure, svg, data, spoken) => {
    const x = scaleOf(svg.dataset.x);
    const y = scaleOf(svg.dataset.y);
    const [, , bottom, top] = svg.dataset.y.split(" ").map(Number);
    const element = (name, attributes) => {
      const made = document.createElementNS(svg.namespaceURI, name);
      Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
      return made;
    };
    const group = element("g", { class: "cross" });
    let row = -1;

    const hide = () => {
      group.replaceChildren();
      row = -1;
      tip.hide();
    };
    const move = (to) => {
      row = to;
      const values = valuesAt(data, row);
      const at = x(data.numbers[row][0]);
      const dots = values.flatMap(({ row: found, tone }, index) => (found < 0 ? [] : [element("circle", {
        class: `dot ${tone}`, r: 5, cx: x(data.numbers[found][0]), cy: y(data.numbers[found][index + 1]),
      })]));
      group.replaceChildren(element("line", { x1: at, x2: at, y1: bottom, y2: top }), ...dots);
      const frame = svg.getBoundingClientRect();
      const left = frame.left + at / svg.viewBox.baseVal.width * frame.width;
      tip.show(readout(data, row, values), { left, right: left, top: frame.top, bottom: frame.bottom });
      return values;
    };
    const speak = (values) => {
      const parts = values.map(({ name, text }) => `${name} ${text}`);
      spoken.textContent = `${data.name} ${data.texts[row][0]}: ${parts.join(", ")}`;
    };

    const follow = (event) => {
      const frame = svg.getBoundingClientRect();
      const pointer = (event.clientX - frame.left) / frame.width * svg.viewBox.baseVal.width;
      const distance = (other) => Math.abs(x(data.numbers[other][0]) - pointer);
      const rows = [...data.numbers.keys()];
      move(rows.reduce((best, other) => (distance(other) < distance(best) ? other : best)));
    };
    svg.append(group);
    svg.addEventListener("pointermove", follow);
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });

    // Keys: left and right by one, with shift (or Page Up and Down) by a tenth; Home, End; Escape hides.
    const last = data.numbers.length - 1;
    const far = Math.max(1, Math.round(last / 10));
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -far, PageDown: far, Home: -Infinity, End: Infinity };
    svg.tabIndex = 0;
    svg.setAttribute("aria-label", `${svg.getAttribute("aria-label")}. Arrow keys read the values.`);
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide();
      if (!(event.key in steps)) return;
      event.preventDefault();
      const step = steps[event.key] * (event.shiftKey ? far : 1);
      const from = row >= 0 ? row : (step > 0 ? -1 : last + 1);
      speak(move(Math.min(Math.max(from + step, 0), last)));
    });
    svg.addEventListener("blur", hide);
  };

  for (const figure of document.querySelectorAll("figure.chart")) {
    const data = read(figure);
    const spoken = document.createElement("p");
    spoken.className = "spoken";
    spoken.setAttribute("aria-live", "polite");
    figure.append(spoken);
    figure.querySelectorAll("svg").forEach((svg) => crosshair(figure, svg, data, spoken));
  }
})();
