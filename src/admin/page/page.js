// Asks once a second, and shows what has changed.

import { bar, element, heatChart, percentileChart, sparkline } from "./charts.js";
import { DRAWN, drawMap, routeName } from "./map.js";
import { ago, bytes, CONCERNS, count, day, plain, span, speech, time, whole } from "./words.js";

const MOMENTS = 300;
const COLUMN = 5;
const COLUMNS = MOMENTS / COLUMN;
const EVERY_MS = 1000;

const by = (id) => document.getElementById(id);
const known = {
  live: null, started: null, moments: [], columns: new Map(), bounds: new Map(), listener: "", detail: null,
  inventory: null, paused: false, failedSince: null,
  // Counts how often it was forgotten.
  past: 0,
};

// --- asking ---------------------------------------------------------------------------------------

async function ask() {
  const query = new URLSearchParams();
  if (known.moments.length > 0) query.set("since", known.moments.at(-1).number);
  if (known.listener) query.set("listener", known.listener);
  if (by("search").value) query.set("search", by("search").value);
  if (known.inventory) query.set("inventory", known.inventory.number);
  const asked = { searched: by("search").value, past: known.past };
  const answer = await fetch(`/page/data?${query}`, { cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (!answer.ok) throw new Error(`${answer.status}: ${(await answer.text()).trim()}`);
  take(await answer.json(), asked);
}

function take(data, asked) {
  if (known.started !== null && known.started !== data.live.started_unix_ms) {
    // Another process: its moments are numbered anew, and so is its inventory.
    forgetPast();
    known.inventory = null;
    known.started = null;
    return;
  }
  known.started = data.live.started_unix_ms;
  known.live = data.live;
  // What was chosen or typed meanwhile is asked for next; this is about what was before, and has the past
  // from some moment on only.
  if (asked.past === known.past) {
    known.moments = [...known.moments, ...data.moments].slice(-MOMENTS);
    if (data.listener) takeDetail(data.listener);
  }
  if (data.inventory && asked.searched === by("search").value) known.inventory = data.inventory;
}

function takeDetail(detail) {
  if (known.detail && known.detail.name !== detail.name) known.columns.clear();
  known.detail = detail;
  for (const row of detail.heat) {
    const columns = known.columns.get(row.phase) ?? new Map();
    row.columns.forEach((counts, index) => columns.set(row.first + index, { number: row.first + index, counts }));
    const last = row.first + row.columns.length - 1;
    for (const number of columns.keys()) if (number <= last - COLUMNS) columns.delete(number);
    known.columns.set(row.phase, columns);
    known.bounds.set(row.phase, row.bounds_us);
  }
}

function forgetPast() {
  known.past += 1;
  known.moments = [];
  known.columns.clear();
}

let timer = null;
let asking = false;

async function turn() {
  clearTimeout(timer);
  if (asking) return;
  asking = true;
  const began = performance.now();
  try {
    await ask();
    known.failedSince = null;
    if (!known.paused && known.live) show();
  } catch (error) {
    known.failedSince ??= new Date();
    by("trouble").textContent =
      `No answer since ${clock(known.failedSince)}: ${error.message}. What is shown is from before.`;
  }
  asking = false;
  if (!document.hidden) timer = setTimeout(turn, Math.max(100, EVERY_MS - (performance.now() - began)));
}

// --- showing --------------------------------------------------------------------------------------

const shown = new Map();

// Puts something in its place if what it is made from has changed.
function put(id, from, make) {
  const key = JSON.stringify(from);
  if (shown.get(id) === key) return;
  shown.set(id, key);
  by(id).replaceChildren(...[make()].flat().filter((node) => node !== null));
}

function show() {
  if (by("trouble").textContent) by("trouble").textContent = "";
  showHead();
  showTiles();
  showListeners();
  showTimes();
  showShards();
  showTrouble();
  if (known.inventory) showInventory();
}

function showHead() {
  const { live } = known;
  const state = by("state");
  if (state.textContent !== live.state) {
    state.textContent = live.state;
    state.className = `badge ${live.state}`;
  }
  const { config, process } = live;
  const loaded = `generation ${config.generation}${config.reloads ? `, loaded ${ago(config.loaded_unix_ms / 1e3, live.taken_unix_ms / 1e3)}` : ""}`;
  const refused = config.last_failure ? `; the last reload was refused: ${config.last_failure.split("\n")[0]}` : "";
  by("about").textContent = [
    `version ${live.version}`, live.engine, `up ${span(live.uptime_seconds)}`, loaded + refused,
    `${bytes(process.resident_bytes)} of memory`,
  ].join(" · ");
  by("clock").textContent = clock(new Date(live.taken_unix_ms));
}

const clock = (date) => date.toTimeString().slice(0, 8);

// The last three seconds together: a figure that can be read.
function recent(name) {
  const moments = known.moments.slice(-3);
  const seconds = moments.reduce((sum, moment) => sum + moment.seconds, 0);
  return seconds > 0 ? moments.reduce((sum, moment) => sum + moment[name], 0) / seconds : 0;
}

const rate = (name) => known.moments.map((moment) => moment[name] / moment.seconds);
const level = (name) => known.moments.map((moment) => moment[name]);

function tile(title, value, lines, parts, alarm = false) {
  const keyed = parts.map(([text, kind, dashed]) => element("span", {},
    kind ? element("span", { class: `key ${kind}${dashed ? " dashed" : ""}`, "aria-hidden": "true" }) : null, text, " "));
  const most = Math.max(0, ...lines.flatMap((line) => line.values));
  const label = `${title}, last minutes, at most ${count(most)}`;
  return element("article", { class: alarm ? "tile alarm" : "tile" },
    element("h3", {}, title), element("p", {}, value), element("p", { class: "parts" }, ...keyed),
    lines.length > 0 ? sparkline(lines, MOMENTS, label) : null);
}

const perSecond = (text) => [text, element("small", {}, " /s")];
const together = (parts) => element("span", {}, ...parts);

function showTiles() {
  put("tiles", [known.moments.at(-1)?.number, known.live.taken_unix_ms], () => {
    const { live } = known;
    const [full, resumed] = [recent("handshakes_full"), recent("handshakes_resumed")];
    const [received, sent] = [recent("bytes_received"), recent("bytes_sent")];
    const [failed, shed] = [recent("handshake_failures"), recent("shed")];
    const tiles = [
      tile("Handshakes", together(perSecond(count(full + resumed))),
        [{ values: rate("handshakes_full"), kind: "full" }, { values: rate("handshakes_resumed"), kind: "resumed", dashed: true }],
        [[`${count(full)} full`, "full"], [`${count(resumed)} resumed`, "resumed", true]]),
      tile("Open connections", count(live.gauges.open_connections),
        [{ values: level("open"), kind: "full" }], [[`${count(recent("accepted"))} new per second`]]),
      tile("Messages", together(perSecond(count(recent("messages")))), [{ values: rate("messages"), kind: "third" }],
        [["pieces relayed, both ways"]]),
      tile("Bytes", together(perSecond(bytes(received + sent))),
        [{ values: rate("bytes_received"), kind: "full" }, { values: rate("bytes_sent"), kind: "resumed", dashed: true }],
        [[`${bytes(received)} in`, "full"], [`${bytes(sent)} out`, "resumed", true]]),
      tile("Failed handshakes", together(perSecond(count(failed))), [{ values: rate("handshake_failures"), kind: "resumed" }],
        [[failed > 0 ? "reasons are below" : "none now"]], failed > 0 && failed > 0.05 * (full + resumed)),
      tile("Shed", together(perSecond(count(shed))), [{ values: rate("shed"), kind: "resumed" }],
        [[shed > 0 ? "handshakes that were not done" : "none now"]], shed > 0),
      tile("Handshakes in progress", count(live.gauges.handshakes_in_flight),
        [{ values: level("handshakes_in_flight"), kind: "full" }, { values: level("handshakes_waiting"), kind: "resumed", dashed: true }],
        [["in progress", "full"], [`${count(live.gauges.handshakes_waiting)} steps wait`, "resumed", true]]),
    ];
    if (live.headroom !== null) tiles.push(headroomTile(live.headroom));
    return tiles;
  });
}

function headroomTile(share) {
  return tile("Headroom", `${Math.round(share * 100)} %`, [],
    [["of what can be done before answers become slow"]], share < 0.1);
}

// A table: head as [text, class], rows as arrays of text, nodes, or [text, class]. Where a row has too
// much for a phone, it becomes a card there, whose cells say what they are.
function table(caption, head, rows, leftOut = 0, none = "none", kind = null) {
  const cells = (name, values, more = () => ({})) => values.map((value, index) => {
    const [content, look] = Array.isArray(value) ? value : [value, null];
    return element(name, { ...more(index), class: look }, content);
  });
  const title = (index) => ({ "data-head": Array.isArray(head[index]) ? head[index][0] : head[index] });
  const body = rows.map((row) => element("tr", {}, ...cells("th", [row[0]], () => ({ scope: "row" })),
    ...cells("td", row.slice(1), (index) => title(index + 1))));
  if (rows.length === 0) body.push(element("tr", { class: "empty" }, element("td", { colspan: head.length }, none)));
  const more = leftOut > 0 ? element("span", { class: "more" }, ` (${whole(leftOut)} more are not shown)`) : null;
  const made = element("table", { class: kind }, element("caption", {}, caption, more),
    element("thead", {}, element("tr", {}, ...cells("th", head, () => ({ scope: "col" })))), element("tbody", {}, ...body));
  return element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption }, made);
}

function showListeners() {
  const { rows, left_out } = known.live.listeners;
  put("listeners-table", known.live.listeners, () => table("Rates are per second, since the look before",
    [["listener", "text"], ["address", "text minor"], "open", ["stale", "minor"], "new /s", "full /s", "resumed /s", "failed /s",
      ["messages /s", "minor"], "in /s", "out /s", ["full p99", "minor"], ["resumed p99", "minor"]],
    rows.map(({ rates, ...row }) => [
      [row.name, "text long"], [row.address ?? "gone", "text minor"], count(row.open), [count(row.stale), row.stale ? "soon minor" : "minor"],
      count(rates?.accepted), count(rates?.handshakes_full), count(rates?.handshakes_resumed),
      [count(rates?.handshake_failures), rates?.handshake_failures ? "over" : null],
      [count(rates?.messages), "minor"], bytes(rates?.bytes_received), bytes(rates?.bytes_sent),
      [time(row.full_p99_us), "minor"], [time(row.resumed_p99_us), "minor"],
    ]), left_out, "none", "cards"));
  const names = rows.map((row) => row.name);
  const chosen = known.detail?.name ?? "";
  put("listener", names, () => names.map((name) => element("option", { value: name }, name)));
  if (by("listener").value !== chosen && document.activeElement !== by("listener")) by("listener").value = chosen;
}

function showTimes() {
  if (!known.detail) return;
  const [phase, period] = [by("phase").value, by("span").value];
  const what = `${plain(phase)} of ${known.detail.name}`;
  const ofSpan = known.detail.percentiles.filter((row) => row.span === period);
  const rows = ofSpan.filter((row) => row.phase === phase);
  put("curves", [what, period, rows], () => percentileChart(rows, what));
  const columns = [...(known.columns.get(phase)?.values() ?? [])];
  const last = Math.floor(((known.moments.at(-1)?.number ?? 0) + 1) / COLUMN);
  const map = known.bounds.has(phase) ? { bounds_us: known.bounds.get(phase) } : null;
  put("heat", [what, columns, last], () => heatChart(map, columns, last, COLUMNS, COLUMN, what));
  put("percentiles-table", [known.detail.name, ofSpan], () => table(`All phases of ${known.detail.name}`,
    [["phase", "text"], ["kind", "text"], ["count", "minor"], "p50", ["p90", "minor"], "p99", ["p99.9", "minor"], ["p99.99", "minor"], "max"],
    ofSpan.map(({ phase, kind, count: number, micros: [p50, p90, p99, p999, p9999, max] }) => [
      [plain(phase), "text"], [kind, "text"], [count(number), "minor"], time(p50), [time(p90), "minor"], time(p99),
      [time(p999), "minor"], [time(p9999), "minor"], time(max),
    ]), 0, "nothing was measured in this time"));
}

function showShards() {
  const { shards, generations, config } = known.live;
  put("shards-table", shards, () => {
    const most = Math.max(1, ...shards.rows.map((row) => row.open_connections));
    return table("Connections by shard",
      [["shard", "text"], ["open", ""], ["", "minor"], "in progress", "waiting", ["events /s", "minor"], ["system calls /s", "minor"], "headroom", ["answered", "minor"]],
      shards.rows.map((row) => [
        [String(row.shard), "text"], count(row.open_connections), [bar(row.open_connections, most), "minor"],
        count(row.handshakes_in_flight), count(row.handshakes_waiting), [count(row.events_per_second), "minor"],
        [count(row.system_calls_per_second), "minor"],
        row.headroom === null ? "–" : [`${Math.round(row.headroom * 100)} %`, row.headroom < 0.1 ? "over" : null],
        row.ended ? ["ended", "minor"] : [`${span(row.answered_ms_ago / 1e3)} ago`, row.answered_ms_ago > 5000 ? "over minor" : "minor"],
      ]), shards.left_out);
  });
  put("generations-table", [generations, config.generation], () => {
    const most = Math.max(1, ...generations.rows.map((row) => row.open));
    return table("Connections by generation of the configuration",
      [["generation", "text"], "open", ""],
      generations.rows.map((row) => [
        [`${row.generation}${row.generation === config.generation ? " (runs)" : ""}`, "text"], whole(row.open), bar(row.open, most),
      ]), generations.left_out, "no connection yet");
  });
}

function showTrouble() {
  const { gauges, shed, refused, failures } = known.live;
  const facts = [
    ["in progress", count(gauges.handshakes_in_flight)],
    ["steps that wait", count(gauges.handshakes_waiting)],
    ["the oldest for", time(gauges.handshakes_waiting_us)],
    ["longest step ever", time(gauges.handshake_step_longest_us)],
  ];
  put("queue", facts, () => facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  const counts = (rows, what) => rows.map((row) => [
    [plain(row.cause), "text"], [what, "text"], whole(row.count), [count(row.per_second), row.per_second > 0 ? "over" : null],
  ]);
  put("shed-table", [shed, refused], () => table("Not done, by cause",
    [["cause", "text"], ["what", "text"], "in all", "per second"],
    [...counts(shed, "handshake shed"), ...counts(refused, "connection refused")], 0, "nothing was shed or refused"));
  put("failures-table", failures, () => table("Went wrong, by cause",
    [["reason", "text"], ["where", "text"], ["by", "text"], "in all", "per second"],
    failures.slice(0, 25).map((row) => [
      [plain(row.reason), "text"], [row.what, "text"], [row.cause ?? "component", "text"],
      whole(row.count), [count(row.per_second), row.per_second > 0 ? "over" : null],
    ]), Math.max(0, failures.length - 25), "nothing went wrong"));
}

function mark(concern, text) {
  return element("span", { class: `mark ${concern}`, "data-sign": CONCERNS[concern].sign }, text);
}

function showInventory() {
  const { inventory } = known;
  const searched = by("search").value ? ", as searched for" : "";
  put("concerns", inventory.concerns, () => ["plaintext", "legacy", "unauthenticated"].map((concern) => {
    const number = inventory.concerns[concern];
    const item = mark(concern, `${whole(number)} of ${whole(inventory.concerns.links)} links: ${CONCERNS[concern].word}`);
    if (number === 0) item.classList.add("zero");
    return element("li", {}, item);
  }));
  const side = (one) => (one ? mark(one.concern, speech(one)) : "not reached");
  put("map", inventory.links, () => (inventory.links.rows.length > 0 ? drawMap(inventory.links.rows) : []));
  put("links-table", [inventory.links, inventory.taken_unix], () => table(`Links, the worst first${searched}`,
    [["peers", "text"], ["speak", "text"], ["route", "text"], ["speaks", "text"], ["component", "text"], "open", ["in all", "minor"], ["last", "minor"]],
    inventory.links.rows.map((link) => [
      [link.sources === 1 && link.source ? link.source : `${count(link.sources)} sources`, "text"], [side(link.downstream), "text"],
      [routeName(link), "text long"], [side(link.upstream), "text"], [link.endpoint ?? "–", "text long"],
      count(link.open), [whole(link.connections), "minor"], [ago(link.last_unix, inventory.taken_unix), "minor"],
    ]), inventory.links.left_out, "no connection has been seen", "cards"));
  by("links-note").textContent = [
    inventory.links.rows.length > DRAWN ? `The map shows the first ${DRAWN}.` : "",
    inventory.workers_missing > 0 ? `${inventory.workers_missing} shards did not answer: what they saw is missing.` : "",
    inventory.others.evicted_rows > 0 ? `${whole(inventory.others.evicted_rows)} rows made room for newer ones.` : "",
  ].filter(Boolean).join(" ");
  put("routes-table", [inventory.routes], () => table(`Routes, those with most connections first${searched}`,
    [["route", "text"], "open", ["in all", "minor"], "components up", "failed connects"],
    inventory.routes.rows.map((row) => [
      [row.route, "text long"], count(row.open), [whole(row.connections), "minor"],
      [row.endpoints ? `${row.endpoints_up} of ${row.endpoints}` : "–", row.endpoints_up < row.endpoints ? "over" : null],
      [whole(row.connect_failures), row.connect_failures > 0 ? "soon" : null],
    ]), inventory.routes.left_out));
  put("ends-table", [inventory.ends], () => table(`Certificates, OCSP responses and CRLs, what ends first first${searched}`,
    [["what", "text"], ["whose", "text"], ["side", "text minor"], ["where", "text minor"], ["name", "text"], "ends", "left"],
    inventory.ends.rows.map((row) => [
      [row.what === "crl" ? "CRL" : plain(row.what), "text"], [row.owner, "text"], [row.side ?? "–", "text minor"],
      [row.place, "text long minor"], [row.name, "text long"], day(row.ends_unix), left(row.days_left),
    ]), inventory.ends.left_out, "none", "cards"));
}

function left(days) {
  if (days < 0) return [`✕ over since ${whole(-days)} d`, "over"];
  return days < 30 ? [`! ${days} d`, "soon"] : `${whole(days)} d`;
}

// --- what a reader does ---------------------------------------------------------------------------

by("pause").addEventListener("click", () => {
  known.paused = !known.paused;
  by("pause").setAttribute("aria-pressed", String(known.paused));
  by("pause").textContent = known.paused ? "Go on" : "Pause";
  if (!known.paused && known.live) show();
});
by("listener").addEventListener("change", () => {
  known.listener = by("listener").value;
  // Columns of another listener are asked for from the first one on.
  forgetPast();
  turn();
});
for (const id of ["phase", "span"]) by(id).addEventListener("change", showTimes);
by("search").addEventListener("input", () => {
  known.inventory = null;
  turn();
});
for (const id of ["choice", "finding"]) by(id).addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) turn();
});
turn();
