"use strict";

/* Copy a paragraph for a methods section. */
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const place = document.getElementById(button.dataset.copy);
    const said = button.parentElement.querySelector(".copied");
    try {
      await navigator.clipboard.writeText(place.textContent);
      said.textContent = "copied";
    } catch {  // pages opened from a disk may not write to the clipboard: select it instead
      getSelection().selectAllChildren(place);
      said.textContent = document.execCommand("copy") ? "copied" : "selected: copy it with Ctrl-C";
    }
  });
}

/* Tables: sort, filter, show the other rows. */
function asNumber(text) {
  const number = Number(text.replace("\u2212", "-").replaceAll("\u00a0", ""));
  return text === "n/a" || text === "" ? NaN : number;
}

function compareCells(a, b) {
  const x = asNumber(a), y = asNumber(b);
  if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  if (Number.isNaN(x) !== Number.isNaN(y) && (a === "n/a" || b === "n/a")) return a === "n/a" ? 1 : -1;
  return a.localeCompare(b, undefined, { numeric: true });
}

for (const box of document.querySelectorAll(".table")) {
  const body = box.querySelector("tbody"), heads = [...box.querySelectorAll("thead th")];
  const isNumber = heads.map((head) => head.classList.contains("number"));
  const data = box.querySelector("script.rows"), more = box.querySelector(".more");
  const input = box.querySelector("input"), found = box.querySelector(".found");
  const first = body.rows.length;
  let rows = [...body.rows].map((row) => [...row.cells].map((cell) => cell.textContent));
  if (data) rows = rows.concat(JSON.parse(data.textContent));
  let shown = rows, isWhole = !data;

  function show() {
    const visible = isWhole ? shown : shown.slice(0, first);
    const made = visible.map((cells) => {
      const row = document.createElement("tr");
      cells.forEach((text, place) => {
        const cell = row.insertCell();
        cell.textContent = text;
        if (isNumber[place]) cell.className = "number";
      });
      return row;
    });
    body.replaceChildren(...made);
    if (more) {
      more.hidden = isWhole || shown.length <= first;
      more.textContent = `Show ${shown.length - first} more rows`;
    }
  }
  function filter() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (cells) => words.every((word) => cells.some((text) => text.toLowerCase().includes(word)));
    shown = words.length ? rows.filter(fits) : rows;
    found.textContent = words.length ? `${shown.length} of ${rows.length} rows` : "";
    show();
  }
  heads.forEach((head, place) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    rows = [...rows].sort((a, b) => (down ? -1 : 1) * compareCells(a[place], b[place]));
    filter();
  }));
  input.addEventListener("input", filter);
  if (more) more.addEventListener("click", () => { isWhole = true; show(); });
}

/* Confusion matrix: the clips of a cell. */
for (const box of document.querySelectorAll(".confusions")) {
  const clips = JSON.parse(box.querySelector("script").textContent);
  const which = box.querySelector(".which"), list = box.querySelector(".clips ul");
  let chosen = null;
  function choose(event) {
    const button = event.target.closest("[data-cell]");
    if (!button || button === chosen) return;
    if (chosen) chosen.classList.remove("chosen");
    chosen = button;
    button.classList.add("chosen");
    which.textContent = button.getAttribute("aria-label");
    list.replaceChildren(...(clips[button.dataset.cell] || []).map((name) => {
      const item = document.createElement("li");
      item.textContent = name;
      return item;
    }));
  }
  for (const name of ["mouseover", "focusin", "click"]) box.addEventListener(name, choose);
}

/* Timeline of a run: probabilities as shades of grey, what was played as boxes. */
const SVG = "http://www.w3.org/2000/svg";
function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function drawTimeline(svg, classes, run, tell) {
  const longest = Math.max(...classes.map((name) => name.length));
  const left = Math.min(160, 12 + 6.5 * longest), row = 20, step = 2.4, n = run.p.length;
  const width = left + n * step + 12, height = classes.length * row + 42;
  const parts = [];
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  svg.setAttribute("aria-label", `Class probabilities in ${n} volumes of ${run.name}`);
  const defs = shape("defs", {});
  const hatch = shape("pattern", { id: "hatch", width: 4, height: 4, patternUnits: "userSpaceOnUse" });
  hatch.append(shape("path", { d: "M0 4L4 0", stroke: "#999", "stroke-width": 1 }));
  defs.append(hatch);
  parts.push(defs);
  classes.forEach((name, k) => {
    const shownName = name.length > 22 ? `${name.slice(0, 21)}\u2026` : name;
    parts.push(shape("text", { x: left - 6, y: k * row + 14, "text-anchor": "end", fill: "#1a1a1a" }, shownName));
    let start = 0;
    for (let v = 1; v <= n; v += 1) {  // neighbours of the same shade become one rectangle
      if (v < n && run.p[v][k] === run.p[start][k]) continue;
      const p = run.p[start][k];
      if (p !== 0) parts.push(shape("rect", {
        x: left + start * step, y: k * row, width: (v - start) * step, height: row,
        fill: p < 0 ? "url(#hatch)" : `rgb(${[0, 1, 2].map(() => Math.round(255 - 2.35 * p)).join(" ")})`,
      }));
      start = v;
    }
  });
  parts.push(shape("rect", { x: left, y: 0, width: n * step, height: classes.length * row, fill: "none", stroke: "#888" }));
  for (const [first, last, trial, played, clip] of run.played) {
    const k = classes.indexOf(played);
    if (k < 0) continue;
    const box = shape("rect", {
      x: left + first * step, y: k * row + 1, width: (last - first + 1) * step, height: row - 2, fill: "transparent",
      stroke: "#c23b00", "stroke-width": 1.6, "stroke-dasharray": trial > 0 ? "none" : "2 2",
    });
    const text = `trial ${trial}: ${clip} (${played}), volumes ${first} to ${last}`;
    box.append(shape("title", {}, text));
    box.addEventListener("mouseover", () => { tell.textContent = text; });
    parts.push(box);
  }
  const bottom = classes.length * row;
  for (let s = 0; s <= n * run.tr_s; s += 60) {
    const x = left + (s / run.tr_s) * step;
    parts.push(shape("line", { x1: x, x2: x, y1: bottom, y2: bottom + 5, stroke: "#555" }));
    parts.push(shape("text", { x, y: bottom + 17, "text-anchor": "middle", fill: "#333" }, s));
  }
  parts.push(shape("text", { x: left + (n * step) / 2, y: bottom + 34, "text-anchor": "middle", fill: "#333" },
    `time (s); ${n} volumes of ${run.tr_s} s`));
  svg.replaceChildren(...parts);
  tell.textContent = "";
}

for (const box of document.querySelectorAll(".timelines")) {
  const { classes, runs } = JSON.parse(box.querySelector("script").textContent);
  const select = box.querySelector("select"), svg = box.querySelector("svg"), tell = box.querySelector(".under");
  const draw = () => { if (runs.length) drawTimeline(svg, classes, runs[Number(select.value)], tell); };
  select.addEventListener("change", draw);
  draw();
}
