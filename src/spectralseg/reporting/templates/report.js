"use strict";
// The state of the page is the fragment of its address, so that a view can be shared: #at=SECTION, then NAME=VALUE.
const state = {
  read() {
    const text = location.hash.slice(1);
    return new URLSearchParams(text.includes("=") ? text : "");
  },
  // Values that are undefined are removed. Only what a reader may want to go back to is a new entry of the history.
  write(section, changes, entry = false) {
    const found = this.read();
    found.set("at", section);
    for (const [name, value] of Object.entries(changes)) {
      if (value === undefined) found.delete(name);
      else found.set(name, value);
    }
    history[entry ? "pushState" : "replaceState"](null, "", "#" + found);
  },
};

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const missing = (key) => key === "" || key === "–" || key === null;

// Values in order, what is missing at the end in either direction.
function compare(a, b, descending) {
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const order = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b);
  return descending ? -order : order;
}

// Words that must all be there, in any order.
function filter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return (content) => words.every((word) => content.includes(word));
}

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function drawing(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const plural = (count, all, what) => `${count.toLocaleString("en")} of ${all.toLocaleString("en")} ${what}`;

// A table that the page holds already: headings become buttons that sort, the form above it filters.
class Grid {
  constructor(root) {
    this.root = root;
    this.section = (root.closest("article[id]") || root.closest("section")).id;
    this.body = root.querySelector("tbody");
    this.rows = [...this.body.rows];
    this.heads = [...root.querySelectorAll("thead tr:last-child th")];
    this.form = root.querySelector("form");
    this.status = root.querySelector(".status");
    this.selects = [...this.form.querySelectorAll("select")];
    this.text = new Map(this.rows.map((row) => [row, row.textContent.toLowerCase()]));
    this.heads.forEach((head, column) => {
      const button = element("button", { type: "button" }, ...head.childNodes);
      button.addEventListener("click", () => this.turn(column));
      head.append(button);
    });
    this.form.hidden = this.rows.length < 2;
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", (event) => this.choose(event.target));
    this.form.addEventListener("reset", (event) => {
      event.preventDefault();
      this.write({ filter: undefined, ...Object.fromEntries(this.selects.map((one) => [one.name, ""])) });
    });
    this.apply();
  }

  key(row, column) {
    const cell = row.cells[column];
    return cell.dataset.key === undefined ? cell.textContent.trim() : Number(cell.dataset.key);
  }

  // First the order that one looks for: the largest number, the first word. Then the other way round, then as printed.
  turn(column) {
    const first = this.heads[column].classList.contains("number") ? "d" : "a";
    const [sorted, direction] = this.sorted();
    const next = sorted !== column ? first : direction === first ? (first === "a" ? "d" : "a") : undefined;
    this.write({ sort: next && column + next });
  }

  sorted() {
    const found = /^(\d+)([ad])$/.exec(state.read().get(`${this.root.id}.sort`) || "");
    return found && found[1] < this.heads.length ? [Number(found[1]), found[2]] : [undefined, undefined];
  }

  choose(input) {
    this.write({ [input.name]: input.name === "filter" ? input.value || undefined : input.value });
  }

  write(changes) {
    const named = Object.entries(changes).map(([name, value]) => [`${this.root.id}.${name}`, value]);
    state.write(this.section, Object.fromEntries(named));
    this.apply();
  }

  apply() {
    const found = state.read();
    const get = (name) => found.get(`${this.root.id}.${name}`);
    const [column, direction] = this.sorted();
    this.heads.forEach((head, place) => {
      if (place === column) head.setAttribute("aria-sort", direction === "a" ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    const text = get("filter") || "";
    if (this.form.elements.filter.value !== text) this.form.elements.filter.value = text;
    for (const select of this.selects) {
      const first = select.querySelector("[data-first]");
      const value = get(select.name) ?? (first ? first.value : "");
      select.value = [...select.options].some((one) => one.value === value) ? value : "";
    }
    const chosen = this.selects.filter((one) => one.value);
    const fits = filter(text);
    let count = 0;
    for (const row of this.rows) {
      const same = (one) => row.cells[one.name].textContent.trim() === one.value;
      row.hidden = !(fits(this.text.get(row)) && chosen.every(same));
      count += !row.hidden;
    }
    const order = [...this.rows];
    if (column !== undefined) {
      order.sort((a, b) => compare(this.key(a, column), this.key(b, column), direction === "d"));
    }
    this.body.append(...order);
    const said = chosen.map((one) => `${this.heads[one.name].textContent}: ${one.value}`);
    if (text) said.push(`filter: ${text}`);
    const all = count === this.rows.length;
    this.status.textContent = all ? "" : plural(count, this.rows.length, "rows") + ` (${said.join("; ")})`;
  }
}

// The browser of cases: a list that is made from numbers, and one case at a time in full.
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
    this.fill(fields.metric, data.metrics.map(([name, label]) => [name, label]));
    this.fill(fields.protocol, [...data.protocols].reverse()); // the sound one first
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
    select.replaceChildren(...values.map((one) => {
      const [value, text] = Array.isArray(one) ? one : [one, one];
      return element("option", { value, textContent: text });
    }));
  }

  get(name) {
    return state.read().get(`cases.${name}`);
  }

  write(changes, entry = false) {
    const named = Object.entries(changes).map(([name, value]) => [`cases.${name}`, value]);
    state.write("cases", Object.fromEntries(named), entry);
    this.apply();
  }

  choose() {
    const { data, metric, protocol, class: part, filter: text, pictures } = this.form.elements;
    const other = data.value !== this.pair.label;
    this.write({
      data: data.value,
      metric: metric.value,
      protocol: protocol.value,
      class: other ? undefined : part.value,
      filter: text.value || undefined,
      pictures: pictures.checked ? "1" : undefined,
      ...(other ? { case: undefined, sort: undefined, all: undefined } : {}),
    });
  }

  // Mean over the seeds of a method of the values that are defined, in printed units; "" without a run, null undefined.
  value(method, place, metric = this.metric, protocol = this.protocol) {
    const values = this.perSeed(method, place, metric, protocol).map(([, value]) => value);
    if (!values.length) return "";
    const defined = values.filter((value) => value !== null);
    return defined.length ? defined.reduce((sum, value) => sum + value, 0) / defined.length : null;
  }

  perSeed(method, place, metric, protocol) {
    const of = this.pair.values[protocol]?.[metric[0]]?.[this.part] || [];
    return this.pair.runs
      .map(([number, seed], run) => [seed, number === method && of.length ? of[run][place] : -1])
      .filter(([, value]) => value !== -1)
      .map(([seed, value]) => [seed, value === null ? null : value / 10 ** metric[2]]);
  }

  text(value, metric) {
    return value === "" ? "–" : value === null ? "undef." : value.toFixed(metric[2]);
  }

  unit(metric, protocol) {
    return metric[0] === "hd95" ? this.pair.unit[protocol] : "%";
  }

  arrow(metric) {
    return metric[3] ? "↑" : "↓";
  }

  apply() {
    const { pairs, metrics, protocols } = this.data;
    const fields = this.form.elements;
    this.pair = pairs.find((pair) => pair.label === this.get("data")) || pairs[0];
    if (!this.pair) {
      this.status.textContent = "There are no metrics of single cases.";
      this.form.hidden = true;
      return;
    }
    this.metric = metrics.find(([name]) => name === this.get("metric")) || metrics[0];
    this.protocol = protocols.includes(this.get("protocol")) ? this.get("protocol") : protocols.at(-1);
    const classes = this.pair.classes.map(([name]) => name);
    this.part = Math.max(0, classes.indexOf(this.get("class")));
    this.fill(fields.class, classes);
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
    const found = /^(case|\d+)([ad])$/.exec(this.get("sort") || "");
    if (found && (found[1] === "case" || found[1] < this.pair.methods.length)) return [found[1], found[2]];
    return ["0", this.worst()];
  }

  // The direction that brings the worst cases to the top.
  worst() {
    return this.metric[3] ? "a" : "d";
  }

  turn(column) {
    const first = column === "case" ? "a" : this.worst();
    const [sorted, direction] = this.sorted();
    this.write({ sort: column + (sorted === column && direction === first ? (first === "a" ? "d" : "a") : first) });
  }

  list() {
    const { pair, metric } = this;
    const [by, direction] = this.sorted();
    const fits = filter(this.get("filter") || "");
    const group = (place) => (pair.groups ? pair.groups[place] : "");
    const pictured = (place) => place in pair.pictures;
    const key = (place) => (by === "case" ? pair.cases[place] : this.value(Number(by), place));
    this.order = pair.cases
      .map((_, place) => place)
      .filter((place) => fits(`${pair.cases[place]} ${group(place)}`.toLowerCase()))
      .filter((place) => !this.get("pictures") || pictured(place))
      .map((place) => [key(place), place])
      .sort(([a, one], [b, other]) => compare(a, b, direction === "d") || one - other)
      .map(([, place]) => place);
    const head = (column, label, numeric) => {
      const button = element("button", { type: "button", textContent: label });
      button.addEventListener("click", () => {
        this.turn(column);
        this.table.querySelector(`[data-column="${column}"] button`).focus();
      });
      const made = element("th", { scope: "col", className: numeric ? "number" : "", "data-column": column }, button);
      if (by === column) made.setAttribute("aria-sort", direction === "a" ? "ascending" : "descending");
      return made;
    };
    const heads = pair.methods.map((method, number) => head(String(number), method, true));
    const extra = [...(pair.groups ? ["Group"] : []), "Remarks"];
    const all = Boolean(this.get("all"));
    const rows = (all ? this.order : this.order.slice(0, this.few)).map((place) => {
      const button = element("button", { type: "button", className: "open", textContent: pair.cases[place] });
      button.addEventListener("click", () => this.write({ case: pair.cases[place] }, true));
      const cells = pair.methods.map((_, number) =>
        element("td", { className: "number", textContent: this.text(this.value(number, place), metric) }));
      if (pair.groups) cells.push(element("td", { textContent: group(place) }));
      const remarks = [pictured(place) ? "picture" : "", pair.seen.includes(place) ? "seen in training data" : ""];
      cells.push(element("td", { textContent: remarks.filter(Boolean).join(", ") }));
      const row = element("tr", {}, element("th", { scope: "row" }, button), ...cells);
      if (pair.cases[place] === this.get("case")) row.className = "current";
      return row;
    });
    const title = `${metric[1]} ${this.arrow(metric)} in ${this.unit(metric, this.protocol)}, protocol ${this.protocol}`;
    const part = this.part || pair.classes.length > 1 ? `, class ${pair.classes[this.part][0]}` : "";
    this.table.replaceChildren(
      element("caption", { textContent: `${pair.label}: ${title}${part}` }),
      element("thead", {}, element("tr", {}, head("case", "Case", false), ...heads,
        ...extra.map((name) => element("th", { scope: "col", textContent: name })))),
      element("tbody", {}, ...rows),
    );
    this.status.textContent = plural(rows.length, pair.cases.length, "cases shown") +
      (this.order.length < pair.cases.length ? `, ${this.order.length.toLocaleString("en")} match` : "");
    this.more.hidden = this.order.length <= this.few;
    this.more.textContent = all ? `Show ${this.few} cases` : `Show all ${this.order.length.toLocaleString("en")} cases`;
  }

  open() {
    const place = this.pair.cases.indexOf(this.get("case"));
    const shown = this.pair.cases[place] ?? null;
    const key = JSON.stringify([this.pair.label, shown, this.part]);
    if (this.shown === key) return;
    this.shown = key;
    this.panel.hidden = shown === null;
    this.panel.replaceChildren();
    if (shown === null) return;
    const title = element("h3", { id: "case-title", tabIndex: -1, textContent: `Case ${shown}` });
    if (this.pair.seen.includes(place)) {
      title.append(element("span", { className: "tag", textContent: "seen in training or validation data" }));
    }
    const rank = this.order.indexOf(place);
    const go = (label, target) => {
      const button = element("button", { type: "button", textContent: label, disabled: target === undefined });
      button.addEventListener("click", () => this.write({ case: this.pair.cases[target] }, true));
      return button;
    };
    const close = element("button", { type: "button", textContent: "Close", id: "case-close" });
    close.addEventListener("click", () => this.close());
    const buttons = element("div", { className: "buttons" },
      go("Previous", rank > 0 ? this.order[rank - 1] : undefined), go("Next", this.order[rank + 1]), close);
    const group = this.pair.groups ? `, group ${this.pair.groups[place]}` : "";
    const part = this.pair.classes.length > 1 ? `, class ${this.pair.classes[this.part][0]}` : "";
    this.panel.append(buttons, title, element("p", { className: "note", textContent: this.pair.label + group + part }),
      element("div", { className: "scroll" }, this.values(place)), ...this.pictures(place));
    title.focus({ preventScroll: true });
    this.panel.scrollIntoView({ block: "nearest" });
  }

  close() {
    const name = this.get("case");
    this.write({ case: undefined }, true);
    const row = [...this.table.querySelectorAll(".open")].find((button) => button.textContent === name);
    (row || this.form.elements.filter).focus();
  }

  // All metrics of a case under both protocols, one row per method; with several seeds their values below the mean.
  values(place) {
    const columns = this.data.protocols.flatMap((protocol) => this.data.metrics
      .filter(([name]) => name in this.pair.values[protocol])
      .map((metric) => [protocol, metric]));
    const heads = columns.map(([protocol, metric]) => element("th", {
      scope: "col", className: "number",
      textContent: `${metric[1]} ${this.arrow(metric)} ${this.unit(metric, protocol)}, ${protocol}`,
    }));
    const rows = this.pair.methods.map((method, number) => {
      const cells = columns.map(([protocol, metric]) => {
        const seeds = this.perSeed(number, place, metric, protocol);
        const mean = this.text(this.value(number, place, metric, protocol), metric);
        const cell = element("td", { className: "number", textContent: mean });
        if (seeds.length > 1) {
          cell.append(element("small", { textContent: seeds.map(([, value]) => this.text(value, metric)).join(" · ") }));
        }
        return cell;
      });
      return element("tr", {}, element("th", { scope: "row", textContent: method }), ...cells);
    });
    const several = this.pair.runs.some(([, seed]) => seed !== this.pair.runs[0][1]);
    return element("table", {},
      element("caption", { textContent: several ? "Mean over seeds; below it, each seed" : "One seed" }),
      element("thead", {}, element("tr", {}, element("th", { scope: "col", textContent: "Method" }), ...heads)),
      element("tbody", {}, ...rows));
  }

  pictures(place) {
    const found = this.pair.pictures[place];
    const note = (text) => element("p", { className: "note", textContent: text });
    if (!found) return [note("No prediction of this case is stored, so there is no picture.")];
    const colours = Object.fromEntries(this.pair.classes);
    const several = this.pair.classes.length > 1;
    const image = () => drawing("image", {
      href: `data:image/jpeg;base64,${found.image}`, width: found.side, height: found.side, preserveAspectRatio: "none",
    });
    const paths = (outlines, kind) => outlines.map(([name, d]) => drawing("path",
      kind === "label" ? { class: kind, d, fill: colours[name], stroke: colours[name] } : { class: kind, d }));
    const panel = (label, caption, ...layers) => {
      const many = found.reference.some(([, d]) => d.split("M").length > 30);
      const svg = drawing("svg", { role: "img", viewBox: `0 0 ${found.side} ${found.side}`, "aria-label": label,
        ...(many ? { class: "many" } : {}) }, image(), ...layers.flat());
      return element("figure", {}, svg, element("figcaption", { textContent: caption }));
    };
    const reference = several ? paths(found.reference, "label")
      : [paths(found.reference, "rim"), paths(found.reference, "reference")];
    const panels = [
      panel("Image alone", "Image"),
      panel("Image with the outline of the reference", "Reference", ...reference),
      ...this.pair.methods.map((method, number) => {
        const one = found.predictions[number];
        if (!one) {
          return element("figure", {}, element("figcaption", { textContent: `${method}: no prediction is stored` }));
        }
        const dice = one.dice === null ? "both empty" : `DSC ${one.dice.toFixed(1)}`;
        const layers = several
          ? [paths(one.outlines, "label"), paths(found.reference, "edge")]
          : [paths([...found.reference, ...one.outlines], "rim"), paths(found.reference, "reference"),
            paths(one.outlines, "prediction")];
        const label = `Prediction of ${method} and outline of the reference, ${dice}`;
        return panel(label, `${method}, seed ${one.seed}: ${dice}`, ...layers);
      }),
    ];
    const mark = (style, name, text) => element("li", {}, element("i", { style, className: name }), text);
    const key = several
      ? [...this.pair.classes.slice(1).map(([name, colour]) => mark(`background:${colour}`, "", name)),
        mark("color:var(--soft)", "line dashed", "outline of the reference")]
      : [mark("color:var(--reference)", "line", "reference"), mark("color:var(--prediction)", "line dashed", "prediction")];
    const where = found.slice ? `Slice ${found.slice[0]} of ${found.slice[1]}. ` : "";
    const zoom = found.part ? "Central third. " : "";
    return [
      element("ul", { className: "key" }, ...key),
      element("div", { className: "pictures" }, ...panels),
      note(`${where}${zoom}DSC here is that of the slice at prepared resolution in %, mean over its classes.`),
    ];
  }
}

const grids = [...document.querySelectorAll(".grid")].map((root) => new Grid(root));
const cases = new Cases(JSON.parse(document.getElementById("case-data").textContent));
function show() {
  const section = document.getElementById(state.read().get("at") || "");
  if (section && cases.panel.hidden) section.scrollIntoView();
}
// A plain #section only moves there; what was sorted, filtered and opened stays.
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
