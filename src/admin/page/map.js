// Who talks to whom: peers on the left, routes in the middle, components on the right.

import { shape } from "./charts.js";
import { CONCERNS, count, speech } from "./words.js";

// Links that are drawn; the table has the others.
export const DRAWN = 14;

const WIDE = 1000;
const NODE = [250, 44];
const GAP = 14;
const HEAD = 26;
const LEFT = 0;
const MIDDLE = (WIDE - NODE[0]) / 2;
const RIGHT = WIDE - NODE[0];

export function routeName(link) {
  return link.route === link.listener ? link.listener : `${link.listener}/${link.route}`;
}

export function drawMap(links) {
  const drawn = links.slice(0, DRAWN);
  const [peers, routes, components] = [new Map(), new Map(), new Map()];
  const edges = [];
  for (const link of drawn) {
    const name = routeName(link);
    const route = node(routes, name, { name, under: "", concern: "none" });
    route.open = (route.open ?? 0) + link.open;
    const said = speech(link.downstream);
    const peer = node(peers, `${name}|${said}`, { said, concern: link.downstream.concern, sources: 0, open: 0 });
    peer.sources += link.sources;
    peer.open += link.open;
    peer.source = link.source;
    edges.push([peer, route, link.downstream.concern]);
    if (link.upstream && link.endpoint) {
      const spoken = speech(link.upstream);
      const component = node(components, `${link.endpoint}|${spoken}`, {
        name: link.endpoint, under: spoken, concern: link.upstream.concern,
      });
      edges.push([route, component, link.upstream.concern]);
    }
  }
  for (const peer of peers.values()) {
    peer.name = peer.sources === 1 && peer.source ? peer.source : `${count(peer.sources)} sources`;
    peer.under = `${peer.said} · ${count(peer.open)} open`;
  }
  for (const route of routes.values()) route.under = `${count(route.open)} open`;
  return draw([peers, routes, components].map((nodes) => [...nodes.values()]), edges);
}

function node(nodes, key, fresh) {
  if (!nodes.has(key)) nodes.set(key, fresh);
  return nodes.get(key);
}

function draw(columns, edges) {
  const rows = Math.max(...columns.map((nodes) => nodes.length));
  const tall = HEAD + rows * (NODE[1] + GAP);
  columns.forEach((nodes, column) => {
    const x = [LEFT, MIDDLE, RIGHT][column];
    const step = (tall - HEAD) / nodes.length;
    nodes.forEach((one, index) => Object.assign(one, { x, y: HEAD + (index + 0.5) * step - NODE[1] / 2 }));
  });
  const svg = shape("svg", {
    viewBox: `-4 0 ${WIDE + 8} ${Math.ceil(tall)}`, role: "img",
    "aria-label": "Map of links; the table below has the same in words",
  });
  [["Peers", LEFT], ["Routes", MIDDLE], ["Components", RIGHT]].forEach(([text, x]) => {
    svg.append(shape("text", { class: "head", x, y: 14 }, text));
  });
  const seen = new Set();
  for (const [from, to, concern] of edges) {
    const [x, y] = [from.x + NODE[0], from.y + NODE[1] / 2];
    const [right, low] = [to.x, to.y + NODE[1] / 2];
    const half = (x + right) / 2;
    const d = `M${x} ${y.toFixed(1)}C${half} ${y.toFixed(1)} ${half} ${low.toFixed(1)} ${right} ${low.toFixed(1)}`;
    if (!seen.has(d + concern)) svg.append(shape("path", { class: `edge ${concern}`, d }));
    seen.add(d + concern);
  }
  columns.flat().forEach((one) => svg.append(box(one)));
  return svg;
}

function box({ x, y, name, under, concern }) {
  const sign = concern === "none" || concern === "local" ? "" : `${CONCERNS[concern].sign} `;
  return shape("g", { class: "node", transform: `translate(${x} ${y.toFixed(1)})` },
    shape("rect", { width: NODE[0], height: NODE[1], rx: 6 }),
    shape("text", { x: 12, y: 18 }, short(name, 34)),
    shape("text", { class: `under ${concern}`, x: 12, y: 35 }, sign + short(under, 40)),
    shape("title", {}, `${name}: ${under}`));
}

function short(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
