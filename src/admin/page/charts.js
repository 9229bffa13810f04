// Charts as SVG. Colours and dashes are classes: the style sheet has them for light and dark.

import { count, tick } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes and children; what is a string becomes text.
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function shape(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

// --- sparklines -----------------------------------------------------------------------------------

const WIDE = 300;
const HIGH = 40;

// Lines over the same moments, the last one at the right edge; `places` is how many fit.
export function sparkline(lines, places, label) {
  const svg = shape("svg", {
    viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": label,
  });
  const most = Math.max(1e-9, ...lines.flatMap((line) => line.values));
  for (const { values, kind, dashed } of lines) {
    if (values.length < 2) continue;
    const first = places - values.length;
    const points = values.map((value, index) => {
      const x = ((first + index) / (places - 1)) * WIDE;
      return `${x.toFixed(1)} ${(HIGH - 2 - (value / most) * (HIGH - 4)).toFixed(1)}`;
    });
    const begin = ((first / (places - 1)) * WIDE).toFixed(1);
    svg.append(
      shape("path", { class: `area ${kind}`, d: `M${begin} ${HIGH}L${points.join("L")}L${WIDE} ${HIGH}Z` }),
      shape("path", { class: `line ${kind}${dashed ? " dashed" : ""}`, d: `M${points.join("L")}` }),
    );
  }
  return svg;
}

// --- charts with axes -----------------------------------------------------------------------------

const SIZE = [760, 300];
const LEFT = 92;
const RIGHT = 16;
const TOP = 12;
const BOTTOM = 40;

const across = (place) => LEFT + place * (SIZE[0] - LEFT - RIGHT);
const up = (place) => SIZE[1] - BOTTOM - place * (SIZE[1] - TOP - BOTTOM);

function chart(label) {
  return shape("svg", { class: "chart", viewBox: `0 0 ${SIZE[0]} ${SIZE[1]}`, role: "img", "aria-label": label });
}

function empty(label) {
  const svg = chart(label);
  svg.append(shape("text", { class: "nothing", x: SIZE[0] / 2, y: SIZE[1] / 2 }, label));
  return svg;
}

function horizontalLine(svg, place, text) {
  const y = up(place).toFixed(1);
  svg.append(
    shape("path", { class: "grid", d: `M${LEFT} ${y}H${SIZE[0] - RIGHT}` }),
    shape("text", { class: "beside", x: LEFT - 8, y: Number(y) + 4 }, text),
  );
}

function below(svg, x, text) {
  svg.append(shape("text", { class: "below", x: x.toFixed(1), y: SIZE[1] - BOTTOM + 20 }, text));
}

const QUANTILES = [[0.5, "50 %"], [0.9, "90 %"], [0.99, "99 %"], [0.999, "99.9 %"], [0.9999, "99.99 %"]];
const nines = (share) => -Math.log10(1 - share);

// Curves of rows with `kind`, `count` and `micros`: each further nine has the same width.
export function percentileChart(rows, what) {
  const lines = rows.filter((row) => row.count > 0).map((row) => ({
    kind: row.kind,
    points: QUANTILES.map(([share], index) => [share, row.micros[index]])
      // No further than there are values to stand for it.
      .filter(([share, micros]) => micros > 0 && (share === 0.5 || nines(share) <= Math.log10(row.count))),
  }));
  const all = lines.flatMap((line) => line.points.map((point) => point[1]));
  if (all.length === 0) return empty(`nothing measured: ${what}`);
  const bottom = Math.floor(Math.log10(Math.min(...all)));
  const top = Math.max(Math.ceil(Math.log10(Math.max(...all))), bottom + 1);
  const [left, right] = [nines(0.5), nines(0.9999)];
  const place = ([share, micros]) => [
    across((nines(share) - left) / (right - left)),
    up((Math.log10(micros) - bottom) / (top - bottom)),
  ];
  const svg = chart(`percentiles: ${what}`);
  for (let decade = bottom; decade <= top; decade += 1) {
    horizontalLine(svg, (decade - bottom) / (top - bottom), tick(10 ** decade));
  }
  for (const [share, text] of QUANTILES) {
    const x = across((nines(share) - left) / (right - left));
    svg.append(shape("path", { class: "grid", d: `M${x.toFixed(1)} ${TOP}V${SIZE[1] - BOTTOM}` }));
    below(svg, Math.min(x, SIZE[0] - RIGHT - 22), text);
  }
  lines.forEach(({ kind, points }, number) => {
    const places = points.map(place);
    const path = places.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
    svg.append(shape("path", { class: `line ${kind}${kind === "resumed" ? " dashed" : ""}`, d: `M${path}` }));
    for (const [x, y] of places) svg.append(mark(kind, x, y));
    const legend = 24 + number * 22;
    svg.append(
      shape("path", { class: `line ${kind}${kind === "resumed" ? " dashed" : ""}`, d: `M${LEFT + 14} ${legend}h36` }),
      mark(kind, LEFT + 32, legend),
      shape("text", { x: LEFT + 58, y: legend + 4 }, kind),
    );
  });
  return svg;
}

// Round for full handshakes, square for resumed ones.
function mark(kind, x, y) {
  return kind === "full"
    ? shape("circle", { class: `dot ${kind}`, cx: x.toFixed(1), cy: y.toFixed(1), r: 4 })
    : shape("rect", { class: `dot ${kind}`, x: (x - 4).toFixed(1), y: (y - 4).toFixed(1), width: 8, height: 8 });
}

// Columns of counts by band; the darker, the more. `last` is the number of the newest column.
export function heatChart(map, columns, last, places, seconds, what) {
  const bands = map ? map.bounds_us.length + 1 : 0;
  const shown = columns.filter((column) => column.counts.some((value) => value > 0));
  if (shown.length === 0) return empty(`nothing measured: ${what}`);
  const most = Math.log1p(Math.max(...shown.flatMap((column) => column.counts)));
  // Only bands between the lowest and the highest that were ever hit, and one around them.
  const hit = (band) => shown.some((column) => column.counts[band] > 0);
  const all = [...Array(bands).keys()].filter(hit);
  const low = Math.max(0, all[0] - 1);
  const high = Math.min(bands - 1, all.at(-1) + 1);
  const height = 1 / (high - low + 1);
  const width = 1 / places;
  const svg = chart(`how long it took, over time: ${what}`);
  for (let band = low; band <= high; band += 1) {
    if ((high - low) < 10 || (band - low) % 2 === 1 || band === high) {
      horizontalLine(svg, (band - low + 1) * height, band === bands - 1 ? "more" : tick(map.bounds_us[band]));
    }
  }
  for (const column of shown) {
    const x = across(1 - (last - column.number + 1) * width);
    column.counts.forEach((value, band) => {
      if (value === 0) return;
      const bound = band === bands - 1 ? "more" : `up to ${tick(map.bounds_us[band])}`;
      const strength = 0.18 + 0.82 * (Math.log1p(value) / most);
      svg.append(shape("rect", {
        class: "cell", x: x.toFixed(1), y: up((band - low + 1) * height).toFixed(1),
        width: (width * (SIZE[0] - LEFT - RIGHT) - 0.6).toFixed(1),
        height: (height * (SIZE[1] - TOP - BOTTOM) - 0.6).toFixed(1),
        "fill-opacity": strength.toFixed(2),
      }, shape("title", {}, `${count(value)} took ${bound}`)));
    });
  }
  for (let minutes = 0; minutes * 60 <= places * seconds; minutes += 1) {
    const x = across(1 - (minutes * 60) / (places * seconds));
    below(svg, Math.max(Math.min(x, SIZE[0] - RIGHT - 14), LEFT + 18), minutes === 0 ? "now" : `−${minutes} min`);
  }
  return svg;
}

// A part of a whole, beside its number.
export function bar(value, most) {
  const share = most > 0 ? (value / most) * 100 : 0;
  return element("span", { class: "bar", "aria-hidden": "true" },
    shape("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none" },
      shape("rect", { width: share.toFixed(1), height: 10 })));
}
