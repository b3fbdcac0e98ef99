// What changes by itself: parts of the page, events, logs. Everything else works without this.
//
// What comes from outside becomes text, never markup: rows are clones of the page's own templates,
// filled by textContent. Nothing is asked for while nobody looks at the page.

const PERIOD_MS = 2000, AGAIN_MS = 1500, EVENTS = 200, LINES = 1000;
const CONTROL = /\x1b\[[0-?]*[ -\/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]/g;

const page = document.querySelector("[data-refresh]");
const events = document.querySelector("[data-events]");
const logs = document.querySelector("[data-logs]");

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const seen = () => document.hidden
  ? new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }))
  : Promise.resolve();

function answers(yes) {
  document.getElementById("connection").hidden = yes;
}

// ── parts of the page ─────────────────────────────────────────────────────────────────────────

// Whether somebody is using a part just now: it must not change under their fingers.
function held(part) {
  const selection = getSelection();
  return part.contains(document.activeElement)
    || [...part.querySelectorAll("input")].some((input) => input.value !== input.defaultValue)
    || (!selection.isCollapsed && selection.containsNode(part, true));
}

async function refresh() {
  const address = new URL(page.dataset.refresh, location.href);
  address.searchParams.set("live", "1");
  const answer = await fetch(address, { signal: AbortSignal.timeout(15000) });
  if ([401, 404].includes(answer.status)) location.replace(page.dataset.refresh);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (next && !held(part) && next.innerHTML !== part.innerHTML) {
      part.replaceChildren(...next.childNodes);
    }
  }
}

async function keepFresh() {
  for (;;) {
    await pause(PERIOD_MS);
    await seen();
    await refresh().then(() => answers(true), () => answers(false));
  }
}

// ── streams ───────────────────────────────────────────────────────────────────────────────────

// Yields the lines of an answer that goes on, until it ends or nobody looks any more.
async function* lines(address) {
  const leaving = new AbortController();
  const leave = () => document.hidden && leaving.abort();
  document.addEventListener("visibilitychange", leave);
  try {
    const answer = await fetch(address, { signal: leaving.signal });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const decoder = new TextDecoder();
    let rest = "";
    for (const reader = answer.body.getReader();;) {
      const { done, value } = await reader.read();
      if (done) return;
      const found = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = found.pop();
      yield* found;
    }
  } finally {
    document.removeEventListener("visibilitychange", leave);
    leaving.abort();
  }
}

// Follows a stream for ever: after an end, an error, or when the page is looked at again.
async function follow(begin, take) {
  for (;;) {
    await seen();
    try {
      for await (const line of lines(begin())) take(line);
    } catch (error) {
      if (error.name !== "AbortError") console.info(`stream: ${error.message}`);
    }
    await pause(AGAIN_MS);
  }
}

function filled(template, fields, time) {
  const row = document.getElementById(template).content.firstElementChild.cloneNode(true);
  const moment = new Date(time * 1000).toISOString();
  row.querySelector("time").textContent = moment.slice(11, 19);
  row.querySelector("time").dateTime = moment;
  for (const [name, text] of Object.entries(fields)) {
    row.querySelector(`.${name}`).textContent = String(text).replace(CONTROL, "");
  }
  return row;
}

// ── events: the newest first ──────────────────────────────────────────────────────────────────

let after = events?.dataset.after;

function short(value) {
  if (typeof value === "number") return String(Number(value.toPrecision(6)));
  return typeof value === "string" ? value : JSON.stringify(value);
}

function takeEvent(line) {
  if (line.startsWith("event: gone")) after = "";
  if (!line.startsWith("data: {")) return;
  const event = JSON.parse(line.slice(6));
  after = event.sequence;
  const inputs = Object.entries(event.inputs).map(([key, value]) => `${key}=${short(value)}`);
  const { kind, message } = event;
  const row = filled("event-row", { kind, message, inputs: inputs.join(" ") }, event.unix_s);
  row.classList.add("new");
  events.prepend(row);
  while (events.children.length > EVENTS) events.lastElementChild.remove();
}

function watchFrom() {
  return after === "" ? events.dataset.events : `${events.dataset.events}?after=${after}`;
}

// ── logs: the newest last, written once a frame however many there are ────────────────────────

let waiting = [];

function takeLine(text) {
  if (!text) return;
  if (waiting.push(JSON.parse(text)) === 1) requestAnimationFrame(writeLines);
  if (waiting.length > 2 * LINES) waiting = waiting.slice(-LINES);
}

function writeLines() {
  const atEnd = logs.scrollHeight - logs.scrollTop - logs.clientHeight < 40;
  const rows = waiting.slice(-LINES).map(({ replica, text, stream, unix_s }) => {
    const row = filled("log-row", { whose: replica, message: text }, unix_s);
    row.className = stream === "stderr" ? "stderr" : "stdout";
    return row;
  });
  waiting = [];
  logs.append(...rows);
  while (logs.children.length > LINES) logs.firstElementChild.remove();
  if (atEnd) logs.scrollTop = logs.scrollHeight;
}

function tailOfLogs() {
  waiting = [];
  logs.replaceChildren();
  return `${logs.dataset.logs}?follow=true&tail=200`;
}

if (page) keepFresh();
if (events) follow(watchFrom, takeEvent);
if (logs) follow(tailOfLogs, takeLine);
