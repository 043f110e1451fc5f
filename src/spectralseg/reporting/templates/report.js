"use strict";
// The URL fragment stores the state of the page, so that a view can be shared: #at=SECTION&NAME.KEY=VALUE.
const state = {
  parameters() {
    const text = location.hash.slice(1);
    return new URLSearchParams(text.includes("=") ? text : "");
  },
  read(name) {
    return this.parameters().get(name);
  },
  // Undefined values are removed. With `entry`, the browser's back button returns to the state before.
  write(section, prefix, changes, entry = false) {
    const parameters = this.parameters();
    parameters.set("at", section);
    for (const [key, value] of Object.entries(changes)) {
      if (value === undefined) parameters.delete(`${prefix}.${key}`);
      else parameters.set(`${prefix}.${key}`, value);
    }
    history[entry ? "pushState" : "replaceState"](null, "", "#" + parameters);
  },
  // Column and direction, "a" or "d", of NAME.sort if it matches a pattern.
  sort(name, pattern) {
    const match = pattern.exec(this.read(`${name}.sort`) || "");
    return match ? [match[1], match[2]] : [undefined, undefined];
  },
};

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const missing = (key) => key === "" || key === "–" || key === null;

// Compares two values; missing values come last in either direction.
function compare(a, b, descending) {
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const order = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b);
  return descending ? -order : order;
}

// A test whether a text contains all words, in any order.
function filter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return (content) => words.every((word) => content.includes(word));
}

function element(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function svgElement(name, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function button(text, onClick, properties = {}) {
  const node = element("button", { type: "button", ...properties }, text);
  node.addEventListener("click", onClick);
  return node;
}

const sortLabel = (direction) => (direction === "a" ? "ascending" : "descending");
const opposite = (direction) => (direction === "a" ? "d" : "a");
const fraction = (count, all, noun) => `${count.toLocaleString("en")} of ${all.toLocaleString("en")} ${noun}`;

// Rows that stay together: a row, and those below that repeat its heading.
function unitsOf(rows) {
  const units = [];
  for (const row of rows) {
    if (units.length && row.cells[0].classList.contains("repeated")) units.at(-1).push(row);
    else units.push([row]);
  }
  return units;
}

// The second column stays in view right of the first, whose width depends on its content.
const widths = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    target.closest("table").style.setProperty("--first", `${target.getBoundingClientRect().width}px`);
  }
});
document.querySelectorAll("table.two-keys thead tr:last-child th:first-child").forEach((head) => widths.observe(head));

// Sorting and filtering of a table of the page: its headings become sort buttons, the form above it filters.
class Grid {
  constructor(root) {
    this.root = root;
    this.section = (root.closest("article[id]") || root.closest("section")).id;
    this.body = root.querySelector("tbody");
    this.units = unitsOf([...this.body.rows]);
    this.order = this.units; // of the rows on the page
    this.texts = new Map();
    this.print = element("style");
    root.append(this.print);
    this.count = this.body.rows.length;
    this.heads = [...root.querySelectorAll("thead tr:last-child th")];
    this.form = root.querySelector("form");
    this.status = root.querySelector(".status");
    this.selects = [...this.form.querySelectorAll("select")];
    this.heads.forEach((head, column) => {
      head.replaceChildren(button(head.textContent, () => this.sortBy(column)));
    });
    this.form.hidden = this.count < 2;
    this.form.elements.csv.addEventListener("click", () => this.download());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", (event) => this.choose(event.target));
    this.form.addEventListener("reset", (event) => {
      event.preventDefault();
      this.write({ filter: undefined, ...Object.fromEntries(this.selects.map((select) => [select.name, ""])) });
    });
    this.apply();
  }

  // Text that the filter searches; large tables are only read when somebody filters.
  text(rows) {
    if (!this.texts.has(rows)) this.texts.set(rows, rows.map((row) => row.textContent.toLowerCase()).join(" "));
    return this.texts.get(rows);
  }

  // Sort key of a unit: that of its measured row, else of its first row.
  key(rows, column) {
    const row = rows.find(({ cells }) => cells[1]?.textContent.trim() === "measured") || rows[0];
    const cell = row.cells[column];
    return cell.dataset.key === undefined ? cell.textContent.trim() : Number(cell.dataset.key);
  }

  // Cycles through descending (of text: ascending), the opposite, and the original order.
  sortBy(column) {
    const first = this.heads[column].classList.contains("number") ? "d" : "a";
    const [sorted, direction] = this.sorted();
    const next = sorted !== column ? first : direction === first ? opposite(first) : undefined;
    this.write({ sort: next && column + next });
  }

  sorted() {
    const [column, direction] = state.sort(this.root.id, /^(\d+)([ad])$/);
    return column < this.heads.length ? [Number(column), direction] : [undefined, undefined];
  }

  choose(input) {
    this.write({ [input.name]: input.name === "filter" ? input.value || undefined : input.value });
  }

  write(changes) {
    state.write(this.section, this.root.id, changes);
    this.apply();
  }

  apply() {
    const get = (name) => state.read(`${this.root.id}.${name}`);
    const [column, direction] = this.sorted();
    this.heads.forEach((head, place) => {
      if (place === column) head.setAttribute("aria-sort", sortLabel(direction));
      else head.removeAttribute("aria-sort");
    });
    const text = get("filter") || "";
    if (this.form.elements.filter.value !== text) this.form.elements.filter.value = text;
    for (const select of this.selects) {
      const value = get(select.name) ?? select.querySelector("[data-first]")?.value ?? "";
      select.value = [...select.options].some((option) => option.value === value) ? value : "";
    }
    const active = this.selects.filter((select) => select.value);
    // Where a filter selects one value, the line above the table has it, and paper needs no column of it.
    const repeated = active.filter((select) => this.heads[select.name].matches(":nth-child(n + 3)"));
    this.print.textContent = repeated.map((select) =>
      `@media print { #${this.root.id} tr > :nth-child(${Number(select.name) + 1}) { display: none } }`).join("\n");
    const matches = filter(text);
    let count = 0;
    for (const rows of this.units) {
      const selected = (select) => rows.some((row) => row.cells[select.name].textContent.trim() === select.value);
      const visible = active.every(selected) && (!text || matches(this.text(rows)));
      rows.forEach((row) => { row.hidden = !visible; });
      count += visible ? rows.length : 0;
    }
    const sorted = (a, b) => compare(this.key(a, column), this.key(b, column), direction === "d");
    const order = column === undefined ? this.units : [...this.units].sort(sorted);
    if (order !== this.order) this.body.append(...order.flat());
    this.order = order;
    const filters = active.map((select) => `${this.heads[select.name].textContent}: ${select.value}`);
    if (text) filters.push(`filter: ${text}`);
    const all = count === this.count;
    this.status.textContent = all ? "" : fraction(count, this.count, "rows") + ` (${filters.join("; ")})`;
  }

  // The visible rows as a CSV file.
  download() {
    const rows = [...this.body.rows].filter((row) => !row.hidden).map((row) => [...row.cells]);
    const texts = [this.heads, ...rows].map((cells) => cells.map((cell) => cell.textContent.trim()));
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const csv = texts.map((row) => row.map(quoted).join(",") + "\r\n").join("");
    const href = URL.createObjectURL(new Blob(["\ufeff", csv], { type: "text/csv" }));
    element("a", { href, download: `${this.root.id}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 1000);
  }
}

// A picture as large as the window, until Escape or a click.
function enlarged(svg, caption) {
  const dialog = document.getElementById("large");
  dialog.replaceChildren(element("div", { className: "pictures" }, svg.cloneNode(true)), element("p", {}, caption));
  dialog.onclick = () => dialog.close();
  dialog.showModal();
}

// The case browser: a list of all cases, and one case at a time in full.
class Cases {
  constructor(data) {
    this.data = data;
    this.form = document.getElementById("case-controls");
    this.table = document.getElementById("case-list");
    this.status = document.getElementById("case-status");
    this.panel = document.getElementById("case");
    this.more = document.getElementById("more");
    this.few = 25;
    const fields = this.form.elements;
    this.fill(fields.data, data.pairs.map((pair) => pair.label));
    this.fill(fields.metric, data.metrics);
    this.fill(fields.protocol, [...data.protocols].reverse()); // sound first
    this.form.hidden = false;
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", () => this.choose());
    this.more.addEventListener("click", () => this.write({ all: this.get("all") ? undefined : "1" }));
    this.panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
    this.apply();
  }

  fill(select, values) {
    select.replaceChildren(...values.map((option) => {
      const [value, text] = Array.isArray(option) ? option : [option, option];
      return element("option", { value, textContent: text });
    }));
  }

  get(name) {
    return state.read(`cases.${name}`);
  }

  write(changes, entry = false) {
    state.write("cases", "cases", changes, entry);
    this.apply();
  }

  choose() {
    const { data, metric, protocol, class: part, against, filter: text, pictures } = this.form.elements;
    const other = data.value !== this.pair.label;
    this.write({
      data: data.value,
      metric: metric.value,
      protocol: protocol.value,
      class: other ? undefined : part.value,
      against: other ? undefined : against.value || undefined,
      filter: text.value || undefined,
      pictures: pictures.checked ? "1" : undefined,
      ...(other ? { case: undefined, sort: undefined, all: undefined } : {}),
    });
  }

  // Mean over the seeds of a method of the defined values, in printed units; "" without a run, null if undefined.
  value(method, place, metric = this.metric, protocol = this.protocol) {
    const values = this.perSeed(method, place, metric, protocol).map(([, value]) => value);
    if (!values.length) return "";
    const defined = values.filter((value) => value !== null);
    return defined.length ? defined.reduce((sum, value) => sum + value, 0) / defined.length : null;
  }

  // What the list shows: the value of a method, or its difference to the method of the form.
  shown(method, place) {
    const value = this.value(method, place);
    if (this.against < 0 || !Number.isFinite(value)) return value;
    const reference = this.value(this.against, place);
    return Number.isFinite(reference) ? value - reference : reference;
  }

  perSeed(method, place, metric, protocol) {
    const values = this.pair.values[protocol]?.[metric[0]]?.[this.part] || [];
    return this.pair.runs
      .map(([number, seed], run) => [seed, number === method && values.length ? values[run][place] : -1])
      .filter(([, value]) => value !== -1)
      .map(([seed, value]) => [seed, value === null ? null : value / 10 ** metric[2]]);
  }

  text(value, metric, signed = false) {
    if (!Number.isFinite(value)) return value === null ? "undef." : "–";
    const digits = Math.abs(value).toFixed(metric[2]);
    return (value < 0 && Number(digits) ? "−" : signed ? "+" : "") + digits;
  }

  // For example "HD95 ↓ mm".
  label([name, label, , higherIsBetter], protocol, separator = " ") {
    return `${label} ${higherIsBetter ? "↑" : "↓"}${separator}${name === "hd95" ? this.pair.unit[protocol] : "%"}`;
  }

  className() {
    return this.pair.classes.length > 1 ? `, class ${this.pair.classes[this.part][0]}` : "";
  }

  apply() {
    const { pairs, metrics, protocols } = this.data;
    const fields = this.form.elements;
    this.pair = pairs.find((pair) => pair.label === this.get("data")) || pairs[0];
    if (!this.pair) {
      this.status.textContent = "The results folder contains no metrics of cases.";
      this.form.hidden = true;
      return;
    }
    this.metric = metrics.find(([name]) => name === this.get("metric")) || metrics[0];
    this.protocol = protocols.includes(this.get("protocol")) ? this.get("protocol") : protocols.at(-1);
    const classes = this.pair.classes.map(([name]) => name);
    this.part = Math.max(0, classes.indexOf(this.get("class")));
    this.fill(fields.class, classes);
    this.fill(fields.against, [["", "values"], ...this.pair.methods.map((method) => [method, `difference to ${method}`])]);
    this.against = this.pair.methods.indexOf(this.get("against"));
    fields.against.value = this.pair.methods[this.against] ?? "";
    fields.class.parentElement.hidden = classes.length < 2;
    fields.data.value = this.pair.label;
    fields.metric.value = this.metric[0];
    fields.protocol.value = this.protocol;
    fields.class.value = classes[this.part];
    const text = this.get("filter") || "";
    if (fields.filter.value !== text) fields.filter.value = text;
    fields.pictures.checked = Boolean(this.get("pictures"));
    this.list();
    this.open();
  }

  sorted() {
    const [column, direction] = state.sort("cases", /^(case|\d+)([ad])$/);
    if (column === "case" || column < this.pair.methods.length) return [column, direction];
    return ["0", this.worst()];
  }

  // The direction that puts the worst cases first.
  worst() {
    return this.metric[3] ? "a" : "d";
  }

  sortBy(column) {
    const first = column === "case" ? "a" : this.worst();
    const [sorted, direction] = this.sorted();
    this.write({ sort: column + (sorted === column && direction === first ? opposite(first) : first) });
  }

  openCase(place) {
    this.write({ case: this.pair.cases[place] }, true);
  }

  list() {
    const { pair, metric } = this;
    const [by, direction] = this.sorted();
    const matches = filter(this.get("filter") || "");
    const group = (place) => (pair.groups ? pair.groups[place] : "");
    const pictured = (place) => place in pair.pictures;
    const key = (place) => (by === "case" ? pair.cases[place] : this.shown(Number(by), place));
    this.order = pair.cases
      .map((_, place) => place)
      .filter((place) => matches(`${pair.cases[place]} ${group(place)}`.toLowerCase()))
      .filter((place) => !this.get("pictures") || pictured(place))
      .map((place) => [key(place), place])
      .sort(([a, first], [b, second]) => compare(a, b, direction === "d") || first - second)
      .map(([, place]) => place);
    const head = (column, label, numeric) => {
      const sort = button(label, () => {
        this.sortBy(column);
        this.table.querySelector(`[data-column="${column}"] button`).focus();
      });
      const cell = element("th", { scope: "col", className: numeric ? "number" : "", "data-column": column }, sort);
      if (by === column) cell.setAttribute("aria-sort", sortLabel(direction));
      return cell;
    };
    const heads = pair.methods.map((method, number) => head(String(number), method, true));
    const extra = [...(pair.groups ? ["Group"] : []), "Remarks"];
    const all = Boolean(this.get("all"));
    const rows = (all ? this.order : this.order.slice(0, this.few)).map((place) => {
      const open = button(pair.cases[place], () => this.openCase(place), { className: "open" });
      const cells = pair.methods.map((_, number) =>
        element("td", { className: "number" }, this.text(this.shown(number, place), metric, this.against >= 0)));
      if (pair.groups) cells.push(element("td", {}, group(place)));
      const remarks = [pictured(place) ? "picture" : "", pair.seen.includes(place) ? "leaked test case" : ""];
      cells.push(element("td", {}, remarks.filter(Boolean).join(", ")));
      const row = element("tr", {}, element("th", { scope: "row" }, open), ...cells);
      if (pair.cases[place] === this.get("case")) row.className = "current";
      return row;
    });
    const less = this.against < 0 ? "" : `, less ${pair.methods[this.against]}`;
    const title = `${this.label(metric, this.protocol, " in ")}, protocol ${this.protocol}${this.className()}${less}`;
    this.table.replaceChildren(
      element("caption", {}, `${pair.label}: ${title}`),
      element("thead", {}, element("tr", {}, head("case", "Case", false), ...heads,
        ...extra.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...rows),
    );
    this.status.textContent = fraction(rows.length, pair.cases.length, "cases shown") +
      (this.order.length < pair.cases.length ? `, ${this.order.length.toLocaleString("en")} match` : "");
    this.more.hidden = this.order.length <= this.few;
    this.more.textContent = all ? `Show ${this.few} cases` : `Show all ${this.order.length.toLocaleString("en")} cases`;
  }

  open() {
    const place = this.pair.cases.indexOf(this.get("case"));
    const name = this.pair.cases[place] ?? null;
    const view = JSON.stringify([this.pair.label, name, this.part]);
    if (this.view === view) return;
    this.view = view;
    this.panel.hidden = name === null;
    this.panel.replaceChildren();
    if (name === null) return;
    const title = element("h3", { id: "case-title", tabIndex: -1 }, `Case ${name}`);
    if (this.pair.seen.includes(place)) {
      title.append(element("span", { className: "tag" }, "leaked: in the training or validation data"));
    }
    const rank = this.order.indexOf(place);
    const go = (label, target) => button(label, () => this.openCase(target), { disabled: target === undefined });
    const buttons = element("div", { className: "buttons" },
      go("Previous", rank > 0 ? this.order[rank - 1] : undefined), go("Next", this.order[rank + 1]),
      button("Close", () => this.close(), { id: "case-close" }));
    const group = this.pair.groups ? `, group ${this.pair.groups[place]}` : "";
    this.panel.append(buttons, title, element("p", { className: "note" }, this.pair.label + group + this.className()),
      element("div", { className: "scroll", role: "region", tabIndex: 0, "aria-label": `Metrics of case ${name}` },
        this.values(place)), ...this.pictures(place));
    title.focus({ preventScroll: true });
    this.panel.scrollIntoView({ block: "nearest" });
  }

  close() {
    const name = this.get("case");
    this.write({ case: undefined }, true);
    const row = [...this.table.querySelectorAll(".open")].find((button) => button.textContent === name);
    (row || this.form.elements.filter).focus();
  }

  // All metrics of a case under both protocols, one row per method; with several seeds, each value below the mean.
  values(place) {
    const columns = this.data.protocols.flatMap((protocol) => this.data.metrics
      .filter(([name]) => name in this.pair.values[protocol])
      .map((metric) => [protocol, metric]));
    const heads = columns.map(([protocol, metric]) =>
      element("th", { scope: "col", className: "number" }, `${this.label(metric, protocol)}, ${protocol}`));
    const rows = this.pair.methods.map((method, number) => {
      const cells = columns.map(([protocol, metric]) => {
        const seeds = this.perSeed(number, place, metric, protocol);
        const mean = this.text(this.value(number, place, metric, protocol), metric);
        const cell = element("td", { className: "number" }, mean);
        if (seeds.length > 1) {
          cell.append(element("small", {}, seeds.map(([, value]) => this.text(value, metric)).join(" · ")));
        }
        return cell;
      });
      return element("tr", {}, element("th", { scope: "row" }, method), ...cells);
    });
    const several = this.pair.runs.some(([, seed]) => seed !== this.pair.runs[0][1]);
    return element("table", {},
      element("caption", {}, several ? "Mean over seeds; below it, each seed" : "One seed"),
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Method"), ...heads)),
      element("tbody", {}, ...rows));
  }

  pictures(place) {
    const picture = this.pair.pictures[place];
    const note = (text) => element("p", { className: "note" }, text);
    if (!picture) return [note("No picture: no prediction of this case is stored.")];
    const { image, side, reference } = picture;
    const colours = Object.fromEntries(this.pair.classes);
    const several = this.pair.classes.length > 1;
    const many = reference.some(([, d]) => d.split("M").length > 30);
    const paths = (outlines, kind) => outlines.map(([name, d]) => svgElement("path",
      kind === "label" ? { class: kind, d, fill: colours[name], stroke: colours[name] } : { class: kind, d }));
    const panel = (label, caption, ...layers) => {
      const jpeg = svgElement("image", {
        href: `data:image/jpeg;base64,${image}`, width: side, height: side, preserveAspectRatio: "none",
      });
      const svg = svgElement("svg", { role: "img", viewBox: `0 0 ${side} ${side}`, "aria-label": label,
        ...(many ? { class: "many" } : {}) }, jpeg, ...layers.flat());
      const enlarge = button(svg, () => enlarged(svg, caption), { className: "enlarge", "aria-label": `Enlarge: ${label}` });
      return element("figure", {}, enlarge, element("figcaption", {}, caption));
    };
    const panels = [
      panel("Image alone", "Image"),
      panel("Image with the outline of the reference", "Reference",
        ...(several ? paths(reference, "label") : [paths(reference, "rim"), paths(reference, "reference")])),
      ...this.pair.methods.map((method, number) => {
        const prediction = picture.predictions[number];
        if (!prediction) return element("figure", {}, element("figcaption", {}, `${method}: no prediction is stored`));
        const { dice: value, outlines, seed } = prediction;
        const dice = value === null ? "both empty" : `DSC ${value.toFixed(1)}`;
        const layers = several
          ? [paths(outlines, "label"), paths(reference, "edge")]
          : [paths([...reference, ...outlines], "rim"), paths(reference, "reference"), paths(outlines, "prediction")];
        const label = `Prediction of ${method} and outline of the reference, ${dice}`;
        return panel(label, `${method}, seed ${seed}: ${dice}`, ...layers);
      }),
    ];
    const mark = (style, name, text) => element("li", {}, element("i", { style, className: name }), text);
    const key = several
      ? [...this.pair.classes.slice(1).map(([name, colour]) => mark(`background:${colour}`, "", name)),
        mark("color:var(--soft)", "line dashed", "outline of the reference")]
      : [mark("color:var(--reference)", "line", "reference"), mark("color:var(--prediction)", "line dashed", "prediction")];
    const where = picture.slice ? `Slice ${picture.slice[0]} of ${picture.slice[1]}. ` : "";
    const zoom = picture.part ? "Central third. " : "";
    return [
      element("ul", { className: "key" }, ...key),
      element("div", { className: "pictures" }, ...panels),
      note(`${where}${zoom}DSC of this slice at prepared resolution in %, mean over its classes.`),
    ];
  }
}

// Browsers do not scroll to a focused control that is partly visible, be it one pixel.
document.addEventListener("focusin", ({ target }) => {
  if (target.matches(".scroll :is(button, a)")) target.scrollIntoView({ block: "nearest", inline: "nearest" });
});

const grids = [...document.querySelectorAll(".grid")].map((root) => new Grid(root));
const cases = new Cases(JSON.parse(document.getElementById("case-data").textContent));
function show() {
  const section = document.getElementById(state.read("at") || "");
  if (section && cases.panel.hidden) section.scrollIntoView();
}
// A plain #section only scrolls; sorting, filters and the open case stay.
addEventListener("hashchange", () => {
  if (!location.hash.includes("=")) return;
  grids.forEach((grid) => grid.apply());
  cases.apply();
  show();
});
addEventListener("popstate", () => {
  if (location.hash.includes("=") || !location.hash) cases.apply();
});
show();
