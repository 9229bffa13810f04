// Figures for people, and the words for them.

const SIZES = [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]];

// Three digits: "0", "7", "0.4", "12.3 k", "4.56 M".
export function count(value) {
  if (value === null || value === undefined) return "–";
  for (const [letter, size] of SIZES) {
    if (Math.abs(value) >= size * (size === 1e3 ? 10 : 1)) return `${three(value / size)} ${letter}`;
  }
  return value >= 100 || Number.isInteger(value) ? whole(value) : value.toFixed(1);
}

export function whole(value) {
  return Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, " ");
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  for (const [letter, size] of SIZES) {
    if (value >= size) return `${three(value / size)} ${letter}B`;
  }
  return `${Math.round(value)} B`;
}

// Microseconds.
export function time(micros) {
  if (micros === null || micros === undefined) return "–";
  if (micros < 1e3) return `${Math.round(micros)} µs`;
  if (micros < 1e6) return `${three(micros / 1e3)} ms`;
  return micros < 120e6 ? `${three(micros / 1e6)} s` : span(micros / 1e6);
}

// The same beside an axis, where nothing is behind the point but zeros.
export const tick = (micros) => time(micros).replace(/\.?0+ /, (zeros) => (zeros[0] === "." ? " " : zeros));

// Seconds, in the two largest units.
export function span(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0 s";
  const [name, size] = units[first];
  const text = `${Math.floor(seconds / size)} ${name}`;
  const next = units[first + 1];
  const rest = next ? Math.floor((seconds % size) / next[1]) : 0;
  return rest > 0 ? `${text} ${rest} ${next[0]}` : text;
}

export function ago(unix, now) {
  const seconds = Math.max(0, now - unix);
  return seconds < 2 ? "now" : `${span(seconds).split(" ").slice(0, 2).join(" ")} ago`;
}

export function day(unix) {
  return new Date(unix * 1000).toISOString().slice(0, 10);
}

// A word of the log, as a person would write it.
export function plain(word) {
  return word.replaceAll("_", " ");
}

export const VERSIONS = { "TLSv1.3": "TLS 1.3", "TLSv1.2": "TLS 1.2", "TLSv1.1": "TLS 1.1", TLSv1: "TLS 1.0" };

const SECURITY = {
  plaintext: "plaintext",
  unauthenticated: "nobody verified",
  server: "server verified",
  mutual: "both verified",
  unread: "passed through",
};

// How a side is spoken; who is verified says more than a cipher.
export function speech(side) {
  if (!side) return "not reached";
  const version = side.version ? VERSIONS[side.version] ?? side.version : null;
  const security = SECURITY[side.security] ?? side.security;
  if (side.concern === "local") return "plaintext, this machine";
  if (side.concern === "unauthenticated" && side.security !== "unauthenticated") {
    return `${version ?? security}, peer not verified`;
  }
  return version ? `${version}, ${security}` : security;
}

// A sign for each, so that none is told by its colour alone.
export const CONCERNS = {
  plaintext: { sign: "✕", word: "plaintext" },
  legacy: { sign: "▼", word: "legacy TLS" },
  unauthenticated: { sign: "!", word: "not authenticated" },
  local: { sign: "·", word: "plaintext on this machine" },
  none: { sign: "✓", word: "authenticated" },
};

function three(value) {
  return value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}
