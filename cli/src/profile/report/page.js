"use strict";
// Draws the report from the JSON data in the page. Nothing is loaded from a network.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

/// Creates an element with attributes and children. Strings become text nodes, never markup.
function make(name, attributes = {}, ...children) {
  const isSvg = ["svg", "g", "rect", "text", "line", "title"].includes(name);
  const node = isSvg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "style") node.style.cssText = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}
const fixed = (value, digits) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const ms = (ns) => fixed(ns / 1e6, ns < 1e7 ? 3 : 2);
const whole = (value) => fixed(value, 0);
const color = (kind) => `var(--${kind})`;

/// Black or white, whichever is easier to read on this colour of the page (WCAG relative luminance).
function inkOn(kind) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${kind}`).trim();
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
}

/// A relative change in percent, and a class with its direction; only changes that are marked as more than noise have a class.
function change(before, after, marked) {
  const direction = !marked ? "" : after > before ? "up" : "down";
  if (!(before > 0)) return [after > 0 ? "new" : "", direction];
  const ratio = after / before - 1;
  return [`${ratio >= 0 ? "+" : ""}${fixed(ratio * 100, 1)} %`, direction];
}

/// Whether a row of the comparison is marked.
const isMarked = (comparison, group, name) =>
  comparison?.rows.some((row) => row.marked && row.group === group && row.name === name) ?? false;

const tip = byId("tip");
function hint(node, text) {
  node.addEventListener("pointerenter", () => { tip.textContent = text(); tip.hidden = false; });
  node.addEventListener("pointermove", (event) => {
    const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${x}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
  });
  node.addEventListener("pointerleave", () => { tip.hidden = true; });
}

function summary(profile, base, comparison) {
  const cards = [
    ["ms per block (median)", ms(profile.ns), base && change(base.ns, profile.ns, isMarked(comparison, "block", "whole"))],
    ["Ggas/s", fixed(profile.gas / profile.ns, 2)],
    ["Mgas", fixed(profile.gas / 1e6, 2)],
    ["transactions", whole(profile.transactions)],
    ["threads", whole(profile.threads)],
    ["ms of processor time", ms(profile.sampling.cpu_ns), base && change(base.sampling.cpu_ns, profile.sampling.cpu_ns, false)],
    ["instructions", whole(profile.code.opcodes.reduce((sum, row) => sum + row.count, 0))],
  ];
  for (const [name, count] of Object.entries(profile.counters.values)) cards.push([name, `${fixed(count / 1e6, 1)} M`]);
  byId("summary").replaceChildren(...cards.map(([name, value, difference]) => {
    const card = make("div", { class: "card" }, make("b", {}, value), make("span", {}, name));
    if (difference) card.append(" ", make("span", { class: difference[1] }, difference[0]));
    return card;
  }));
  const refused = profile.counters.unavailable ? ` Hardware counters: ${profile.counters.unavailable}.` : "";
  byId("what").textContent = `${profile.block}: ${profile.fork} block in ${profile.mode} mode, ${profile.loop} loop; ` +
    `median of ${profile.repeats} executions, the fastest took ${ms(profile.ns_min)} ms.${refused}`;
}

/// Draws bars for rows [name, ns, color, ns of the dark part, ns in the other run, whether the change is marked]; a line marks the other run's time.
function bars(target, rows, of) {
  const grid = make("div", { class: "bars" });
  const most = Math.max(1, ...rows.map((row) => Math.max(row[1], row[4] ?? 0)));
  for (const [name, ns, fill, inner, before, marked] of rows) {
    const track = make("div", { class: "track" }, make("div", { class: "fill", style: `width:${100 * ns / most}%;background:${fill}` }));
    if (inner > 0) track.append(make("div", { class: "inner", style: `width:${100 * inner / most}%` }));
    const text = make("span", {}, `${ms(ns)} ms · ${fixed(100 * ns / of, 1)} %`);
    if (before != null) {
      track.append(make("div", { class: "before", style: `left:calc(${100 * before / most}% - 1px)` }));
      const [difference, direction] = change(before, ns, marked);
      text.append(" ", make("span", { class: direction }, difference));
    }
    hint(track, () => `${name}: ${ms(ns)} ms${inner > 0 ? `\nof it Keccak-256: ${ms(inner)} ms` : ""}${before == null ? "" : `\nbefore: ${ms(before)} ms`}`);
    grid.append(make("div", { class: "bar" }, make("span", {}, name), track, text));
  }
  target.replaceChildren(grid);
}

const PART_COLORS = { interpreter: "execute", "state lookup": "read", hashing: "list_hash", precompile: "body_roots", transaction: "task", verify: "verify", senders: "recover", root: "root", decode: "decode" };
function stagesAndParts(profile, base, comparison) {
  const before = (rows, key, name, field) => base && (rows(base).find((row) => row[key] === name)?.[field] ?? 0);
  bars(byId("stages"), profile.stages.map((row) =>
    [row.stage, row.busy_ns, color(row.stage), 0, before((other) => other.stages, "stage", row.stage, "busy_ns"),
      isMarked(comparison, "stage", row.stage)]), profile.ns);
  const sampling = profile.sampling;
  byId("parts-note").textContent = sampling.unavailable ? `No samples: ${sampling.unavailable}.` :
    `All threads, from ${whole(sampling.samples)} samples of ${whole(sampling.repeats)} executions. The dark part is Keccak-256.`;
  bars(byId("parts"), sampling.parts.map((row) =>
    [row.part, row.ns, color(PART_COLORS[row.part] ?? "schedule"), row.keccak_ns,
      before((other) => other.sampling.parts, "part", row.part, "ns"), isMarked(comparison, "part", row.part)]), Math.max(1, sampling.cpu_ns));
}

function timeline(profile) {
  const [lane, gap, left, top] = [20, 12, 76, 22];
  const end = Math.max(profile.ns, ...profile.slices.map((slice) => slice[5]));
  const height = top + profile.threads * (2 * lane + gap);
  const width = () => Math.max(200, byId("timeline").clientWidth);
  const svg = make("svg", { height, role: "img", "aria-label": "timeline", tabindex: 0 });
  const inner = make("svg", { x: left, y: 0, height, preserveAspectRatio: "none" });
  const axis = make("g"), labels = make("g");
  for (let thread = 0; thread < profile.threads; thread++) {
    svg.append(make("text", { x: 6, y: top + thread * (2 * lane + gap) + lane + 4 }, `worker ${thread}`));
  }
  const rowOf = (slice) => top + slice[0] * (2 * lane + gap) + (slice[2] === null ? 0 : lane);
  const name = (slice) => slice[2] === null ? slice[1] :
    slice[2] === 0 ? "before the transactions" : slice[2] > profile.transactions ? "after the transactions" : `transaction ${slice[2] - 1}`;
  const kindOf = (slice) => slice[2] === null ? slice[1] : slice[2] % 2 ? "task" : "task2";
  profile.slices.forEach((slice) => {
    const fill = color(kindOf(slice));
    const rect = make("rect", { class: "slice", x: slice[4], y: rowOf(slice) + 1, width: Math.max(1, slice[5] - slice[4]), height: lane - 2, style: `fill:${fill}` });
    hint(rect, () => `${name(slice)}\n${fixed((slice[5] - slice[4]) / 1e3, 1)} µs, from ${ms(slice[4])} to ${ms(slice[5])} ms${slice[3] === null ? "" : `\n${whole(slice[3])} gas`}`);
    inner.append(rect);
  });
  svg.append(axis, inner, labels);
  let view = [0, end];
  function draw() {
    const room = width() - left - 8;
    svg.setAttribute("viewBox", `0 0 ${width()} ${height}`);
    inner.setAttribute("width", room);
    inner.setAttribute("viewBox", `${view[0]} 0 ${view[1] - view[0]} ${height}`);
    const scale = room / (view[1] - view[0]);
    axis.replaceChildren();
    labels.replaceChildren();
    const rough = (view[1] - view[0]) / 8, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? rough;
    for (let at = Math.ceil(view[0] / step) * step; at <= view[1]; at += step) {
      const x = left + (at - view[0]) * scale;
      axis.append(make("line", { class: "axis", x1: x, x2: x, y1: top - 4, y2: height }), make("text", { class: "axis-text", x: x + 3, y: 13 }, step < 1e5 ? `${whole(at / 1e3)} µs` : `${fixed(at / 1e6, step < 1e6 ? 1 : 0)} ms`));
    }
    for (const slice of profile.slices) {
      const from = Math.max(slice[4], view[0]), to = Math.min(slice[5], view[1]);
      const text = slice[2] === null ? slice[1] : slice[2] === 0 || slice[2] > profile.transactions ? "system" : `tx ${slice[2] - 1}`;
      if ((to - from) * scale > text.length * 6.2 + 8) {
        labels.append(make("text", { class: "label", style: `fill:${inkOn(kindOf(slice))}`, x: left + (from - view[0]) * scale + 4, y: rowOf(slice) + lane - 6 }, text));
      }
    }
  }
  /// Changes the length of the visible time; the point at `share` of the width stays in place.
  function zoom(factor, share) {
    const at = view[0] + share * (view[1] - view[0]);
    const length = Math.min(end, Math.max(1000, (view[1] - view[0]) * factor));
    const from = Math.min(end - length, Math.max(0, at - share * length));
    view = [from, from + length];
    draw();
  }
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(1.25 ** Math.sign(event.deltaY), Math.min(1, Math.max(0, (event.offsetX - left) / (width() - left - 8))));
  }, { passive: false });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.2, ArrowRight: 0.2 }[event.key];
    if (event.key === "+" || event.key === "=") zoom(0.8, 0.5);
    else if (event.key === "-") zoom(1.25, 0.5);
    else if (event.key === "0") zoom(Infinity, 0);
    else if (step) {
      const by = Math.min(end - view[1], Math.max(-view[0], step * (view[1] - view[0])));
      view = [view[0] + by, view[1] + by];
      draw();
    } else return;
    event.preventDefault();
  });
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    const [x, from] = [event.clientX, view];
    const scale = (from[1] - from[0]) / (width() - left - 8);
    svg.onpointermove = (move) => {
      const by = Math.min(end - from[1], Math.max(-from[0], (x - move.clientX) * scale));
      view = [from[0] + by, from[1] + by];
      draw();
    };
    svg.onpointerup = svg.onpointercancel = () => { svg.onpointermove = null; };
  });
  svg.addEventListener("dblclick", () => { view = [0, end]; draw(); });
  const kinds = [...new Set(profile.slices.filter((slice) => slice[2] === null).map((slice) => slice[1]))];
  const key = make("div", { class: "key" }, ...[...kinds, "task"].map((kind) => make("span", {}, make("i", { style: `background:${color(kind)}` }), kind)));
  byId("timeline").replaceChildren(svg, key);
  draw();
  return draw;
}

/// The tree of folded stacks. `before` holds the other run's samples times `scale`, so that a sample is the same time in both runs.
function flameTree(stacks, other, scale) {
  const node = (name) => ({ name, value: 0, before: 0, children: new Map() });
  const root = node("all");
  const add = (list, field, scale) => {
    for (const [stack, samples] of Object.entries(list)) {
      let at = root;
      at[field] += samples * scale;
      for (const name of stack.split(";")) {
        if (!at.children.has(name)) at.children.set(name, node(name));
        at = at.children.get(name);
        at[field] += samples * scale;
      }
    }
  };
  add(stacks, "value", 1);
  if (other) add(other, "before", scale);
  return root;
}

function flame(profile, base) {
  const sampleNs = (from) => from.sampling.cpu_ns / Math.max(1, from.sampling.samples);
  const scale = base ? sampleNs(base) / Math.max(1e-9, sampleNs(profile)) : 0;
  const tree = flameTree(profile.stacks, base?.stacks, scale);
  const height = 18;
  let [focus, path] = [tree, [tree]];
  byId("flame-note").textContent = (base ? "Red frames take more time than in the other run, blue frames less; grey frames differ by noise only. " : "") +
    "Functions below their stage. The width of a frame is its share of all samples. Click a frame to enlarge it.";
  const fill = (node, depth) => {
    if (base) {
      const by = (node.value - node.before) / Math.max(4, node.value, node.before);
      // The standard deviation of a count is its square root; scaling the other run's count scales its deviation as well.
      const noise = 3 * Math.sqrt(node.value + node.before * scale);
      if (Math.abs(node.value - node.before) <= noise || Math.abs(by) < 0.05) return "hsl(220 8% 85%)";
      return by > 0 ? `hsl(8 75% ${88 - 35 * by}%)` : `hsl(212 70% ${88 + 35 * by}%)`;
    }
    let hash = 7;
    for (const letter of node.name.split("::")[0]) hash = (hash * 31 + letter.charCodeAt(0)) % 997;
    return depth < 2 ? `hsl(210 25% 78%)` : `hsl(${18 + hash % 38} ${62 + hash % 25}% ${66 + hash % 9}%)`;
  };
  function draw() {
    const width = Math.max(200, byId("flame").clientWidth);
    const svg = make("svg", { role: "img", "aria-label": "flamegraph" });
    const wanted = byId("search").value.toLowerCase();
    let [deepest, found] = [0, 0];
    const frame = (node, x, room, depth, inFound) => {
      if (room < 0.7) return;
      deepest = Math.max(deepest, depth);
      const isFound = wanted !== "" && node.name.toLowerCase().includes(wanted);
      if (isFound && !inFound) found += node.value;
      const rect = make("rect", { x, y: depth * height, width: Math.max(0.5, room - 0.6), height: height - 1, rx: 1.5, fill: fill(node, depth), opacity: wanted === "" || isFound ? 1 : 0.45 });
      if (isFound) rect.setAttribute("class", "found");
      const share = 100 * node.value / Math.max(1, tree.value);
      hint(rect, () => `${node.name}\n${whole(node.value)} samples, ${fixed(share, 2)} %` + (base ? `\nbefore: ${fixed(100 * node.before / Math.max(1, tree.value), 2)} %` : ""));
      rect.addEventListener("click", () => {
        tip.hidden = true;
        const at = path.indexOf(node);
        if (at >= 0) path = path.slice(0, at + 1);
        else path = pathTo(tree, node) ?? [tree];
        focus = node;
        draw();
      });
      svg.append(rect);
      const letters = Math.floor((room - 8) / 6.1);
      if (letters > 2) svg.append(make("text", { x: x + 4, y: depth * height + 12.5 }, node.name.length > letters ? `${node.name.slice(0, letters - 1)}…` : node.name));
      let at = x;
      for (const child of [...node.children.values()].sort((a, b) => b.value - a.value)) {
        const own = room * child.value / Math.max(1e-9, node.value);
        frame(child, at, own, depth + 1, inFound || isFound);
        at += own;
      }
    };
    // The callers of the focused frame are drawn above it in full width.
    path.slice(0, -1).forEach((node, depth) => {
      const children = node.children;
      node.children = new Map();
      frame(node, 0, width, depth, false);
      node.children = children;
    });
    frame(focus, 0, width, path.length - 1, false);
    svg.setAttribute("height", (deepest + 1) * height);
    svg.setAttribute("viewBox", `0 0 ${width} ${(deepest + 1) * height}`);
    byId("flame").replaceChildren(svg);
    byId("found").textContent = wanted === "" ? "" : `${fixed(100 * found / Math.max(1, tree.value), 1)} % of all samples`;
  }
  function pathTo(from, node) {
    if (from === node) return [from];
    for (const child of from.children.values()) {
      const below = pathTo(child, node);
      if (below) return [from, ...below];
    }
    return null;
  }
  byId("search").oninput = draw;
  byId("flame-reset").onclick = () => { [focus, path] = [tree, [tree]]; draw(); };
  draw();
  return draw;
}

/// The order of each table, which stays when its rows change: column and direction.
const orders = new Map();

/// A table that can be sorted by its columns [title, value, text, class]; `rows` are any objects.
function table(target, columns, rows, sorted, share) {
  let [by, descending] = orders.get(target.id) ?? [sorted, true];
  if (by >= columns.length) [by, descending] = [sorted, true];
  const value = (row, column = by) => columns[column][1](row);
  function draw() {
    const order = [...rows].sort((a, b) => {
      const [one, two] = [value(a), value(b)];
      const less = typeof one === "string" ? one.localeCompare(two) : (one ?? -Infinity) - (two ?? -Infinity);
      return descending ? -less : less;
    });
    const head = make("tr", {}, ...columns.map(([title], at) => {
      const button = make("button", { type: "button" }, title);
      const cell = make("th", { scope: "col" }, button);
      if (at === by) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
      button.addEventListener("click", () => {
        descending = at === by ? !descending : rows.length === 0 || typeof value(rows[0], at) !== "string";
        by = at;
        orders.set(target.id, [by, descending]);
        draw();
        target.querySelectorAll("th button")[at].focus();
      });
      return cell;
    }));
    const body = order.map((row) => make("tr", {}, ...columns.map(([, , text, direction], at) => {
      const cell = make("td", {}, text(row));
      if (direction?.(row)) cell.className = direction(row);
      if (share && at === share[0]) {
        cell.className += " share";
        cell.style.setProperty("--share", `${100 * share[1](row)}%`);
      }
      return cell;
    })));
    target.replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
  }
  draw();
}

function code(profile, base, comparison) {
  const times = profile.code;
  const precompiles = (from) => from.code.precompiles.map((row) => ({ ...row, name: `precompile ${row.name}` }));
  const rows = [...times.opcodes, ...precompiles(profile)];
  const before = new Map(base ? [...base.code.opcodes, ...precompiles(base)].map((row) => [row.name, row]) : []);
  const all = Math.max(1, rows.reduce((sum, row) => sum + row.ns, 0));
  const most = Math.max(1, ...rows.map((row) => row.ns));
  byId("code-note").textContent = `Measured in the ${times.loop} loop; the time and gas of a call exclude those of the called frame. ` +
    `${fixed(times.reading_ns, 1)} ns per clock reading are subtracted (measured alone, a reading takes ${fixed(times.reading_alone_ns, 1)} ns). All tasks take ` +
    `${ms(times.watched_ns)} ms with measurement, ${ms(times.unwatched_ns)} ms in the same form of the loop without it, and ${ms(times.shipped_ns)} ms in the form that runs outside of profiling.`;
  const columns = [
    ["instruction", (row) => row.name, (row) => row.name],
    ["count", (row) => row.count, (row) => whole(row.count)],
    ["gas", (row) => row.gas, (row) => whole(row.gas)],
    ["ms", (row) => row.ns, (row) => ms(row.ns)],
    ["%", (row) => row.ns, (row) => fixed(100 * row.ns / all, 1)],
    ["ns per run", (row) => row.ns / Math.max(1, row.count), (row) => fixed(row.ns / Math.max(1, row.count), 1)],
    ["ns per gas", (row) => row.gas >= 1 ? row.ns / row.gas : null, (row) => row.gas >= 1 ? fixed(row.ns / row.gas, 2) : ""],
  ];
  const workers = Math.max(0, ...rows.map((row) => row.workers.length));
  for (let worker = 0; workers > 1 && worker < workers; worker++) {
    columns.push([`ms on ${worker}`, (row) => row.workers[worker]?.ns ?? 0, (row) => ms(row.workers[worker]?.ns ?? 0)]);
  }
  if (base) {
    const perRun = (row) => row.ns / Math.max(1, row.count);
    const old = (row) => before.get(row.name);
    columns.push(["before: ns per run", (row) => old(row) ? perRun(old(row)) : null, (row) => old(row) ? fixed(perRun(old(row)), 1) : ""]);
    const group = (row) => row.name.startsWith("precompile ") ? ["precompile", row.name.slice(11)] : ["instruction", row.name];
    const difference = (row) => change(old(row) ? perRun(old(row)) : 0, perRun(row), isMarked(comparison, ...group(row)));
    columns.push(["change", (row) => old(row) ? perRun(row) / perRun(old(row)) : null, (row) => difference(row)[0], (row) => difference(row)[1]]);
  }
  const draw = () => {
    const wanted = byId("filter").value.toLowerCase();
    table(byId("code"), columns, rows.filter((row) => row.name.toLowerCase().includes(wanted)), 3, [3, (row) => row.ns / most]);
  };
  byId("filter").oninput = draw;
  draw();
}

function contracts(profile) {
  const rows = profile.code.contracts ?? [];
  byId("contracts-section").hidden = rows.length === 0;
  const all = Math.max(1, rows.reduce((sum, row) => sum + row.ns, 0));
  const most = Math.max(1, ...rows.map((row) => row.ns));
  const isInit = (row) => /^0x0+$/.test(row.code_hash);
  table(byId("contracts"), [
    ["contract", (row) => row.address, (row) => row.address, () => "mono"],
    ["code", (row) => row.code_hash, (row) => isInit(row) ? "init code" : row.code_hash.slice(0, 10), () => "mono"],
    ["frames", (row) => row.count, (row) => whole(row.count)],
    ["gas", (row) => row.gas, (row) => whole(row.gas)],
    ["ms", (row) => row.ns, (row) => ms(row.ns)],
    ["%", (row) => row.ns, (row) => fixed(100 * row.ns / all, 1)],
    ["ns per gas", (row) => row.gas >= 1 ? row.ns / row.gas : null, (row) => row.gas >= 1 ? fixed(row.ns / row.gas, 2) : ""],
  ], rows, 4, [4, (row) => row.ns / most]);
}

function transactions(profile) {
  const rows = profile.transaction_rows ?? [];
  byId("transactions-section").hidden = rows.length === 0;
  const all = Math.max(1, rows.reduce((sum, row) => sum + row.ns, 0));
  const most = Math.max(1, ...rows.map((row) => row.ns));
  table(byId("transactions"), [
    ["index", (row) => row.index, (row) => String(row.index)],
    ["hash", (row) => row.hash, (row) => row.hash, () => "mono"],
    ["to", (row) => row.to ?? "creation", (row) => row.to ?? "creation", () => "mono"],
    ["gas", (row) => row.gas, (row) => whole(row.gas)],
    ["ms", (row) => row.ns, (row) => ms(row.ns)],
    ["%", (row) => row.ns, (row) => fixed(100 * row.ns / all, 1)],
    ["ns per gas", (row) => row.ns / Math.max(1, row.gas), (row) => fixed(row.ns / Math.max(1, row.gas), 2)],
  ], rows, 4, [4, (row) => row.ns / most]);
}

function against(at) {
  const comparison = data.comparisons[at];
  byId("against").hidden = !comparison;
  if (!comparison) return;
  byId("against-note").textContent = `Compared with ${comparison.against}. Marked (•): differences larger than those between the executions within each run, and at least 5 % of the longer time and 1 % of the block's processor time; for sampled parts also of more than three standard errors.`;
  const direction = (row) => !row.marked ? "" : row.after_ns > row.before_ns ? "up" : "down";
  table(byId("differences"), [
    ["what", (row) => `${row.group}: ${row.name}`, (row) => `${row.marked ? "• " : ""}${row.group}: ${row.name}`, direction],
    ["before ms", (row) => row.before_ns, (row) => ms(row.before_ns)],
    ["now ms", (row) => row.after_ns, (row) => ms(row.after_ns)],
    ["difference ms", (row) => Math.abs(row.after_ns - row.before_ns), (row) => `${row.after_ns >= row.before_ns ? "+" : "−"}${ms(Math.abs(row.after_ns - row.before_ns))}`, direction],
    ["change", (row) => row.before_ns > 0 ? row.after_ns / row.before_ns : null, (row) => change(row.before_ns, row.after_ns, false)[0], direction],
  ], comparison.rows, 3);
}

let redraw = [];
function show(at) {
  const profile = data.profiles[at];
  const base = data.bases[at] ?? null;
  const comparison = data.comparisons[at];
  summary(profile, base, comparison);
  stagesAndParts(profile, base, comparison);
  redraw = [timeline(profile), flame(profile, base)];
  code(profile, base, comparison);
  contracts(profile);
  transactions(profile);
  against(at);
  document.documentElement.dataset.ready = String(at);
}

const select = byId("block");
select.append(...data.profiles.map((profile, at) => make("option", { value: at }, profile.block)));
select.hidden = data.profiles.length < 2;
select.addEventListener("change", () => show(Number(select.value)));
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  // The colour of labels depends on the theme.
  redraw.forEach((draw) => draw());
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw.forEach((draw) => draw()));
addEventListener("resize", () => redraw.forEach((draw) => draw()));
if (data.profiles.length > 0) show(0);
