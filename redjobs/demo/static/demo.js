// The page works without this: it keeps the two lists fresh and counts the seconds.
"use strict";

const POLL_MS = 1000;
const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;

// This machine's clock may be wrong; the countdown goes by the server's.
let ahead = 0;
const shown = new Map();

function readClock(page) {
  ahead = Number(page.getElementById("planned").dataset.now) - Date.now();
}

function countdown(ms) {
  if (ms <= 0) return "due";
  const two = (n) => String(n).padStart(2, "0");
  const days = Math.floor(ms / DAY), hours = Math.floor(ms / HOUR) % 24;
  const minutes = Math.floor(ms / MINUTE) % 60, seconds = Math.floor(ms / SECOND) % 60;
  const clock = `${two(hours)}:${two(minutes)}:${two(seconds)}`;
  return days > 0 ? `${days} ${days === 1 ? "day" : "days"} ${clock}` : clock;
}

function ago(ms) {
  if (ms < MINUTE) return "just now";
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)}m ago`;
  return ms < DAY ? `${Math.floor(ms / HOUR)}h ago` : `${Math.floor(ms / DAY)}d ago`;
}

function tick() {
  const now = Date.now() + ahead;
  for (const time of document.querySelectorAll("#planned time")) {
    time.textContent = countdown(Date.parse(time.dateTime) - now);
  }
  for (const time of document.querySelectorAll("#inbox time")) {
    time.textContent = ago(now - Date.parse(time.dateTime));
  }
}

// Replaces a list only where it changed, and keeps what the reader has opened or focused.
function swap(fresh) {
  const old = document.getElementById(fresh.id);
  // The times, in words, differ on each look: they are no news, and `tick` writes them anyway.
  const news = fresh.innerHTML.replace(/(<time [^>]*>)[^<]*/g, "$1");
  if (!old || shown.get(fresh.id) === news) return;
  const first = !shown.has(fresh.id);
  shown.set(fresh.id, news);
  const open = [...old.querySelectorAll("details[open]")].map((each) => each.id);
  const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
  const known = new Set([...old.querySelectorAll("li")].map((each) => each.id));
  old.replaceWith(fresh);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused) document.getElementById(focused)?.focus();
  for (const item of fresh.querySelectorAll("li")) {
    if (!first && !known.has(item.id)) item.classList.add("new");
  }
}

function show(html, withNote) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const note = page.getElementById("note");
  if (withNote && note) document.getElementById("note").replaceWith(note);
  readClock(page);
  for (const list of page.querySelectorAll("[data-live]")) swap(list);
  tick();
}

let busy = false;

async function load(url, options, withNote) {
  if (busy) return;
  busy = true;
  try {
    const response = await fetch(url, options);
    document.body.classList.toggle("offline", !response.ok);
    if (response.ok) show(await response.text(), withNote);
  } catch {
    document.body.classList.add("offline"); // the web process is being restarted, say
  } finally {
    busy = false;
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.closest("[data-live]") || busy) return; // the ordinary way works just as well
  event.preventDefault();
  load(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) }, true);
});

// A reload should not say again what happened once.
if (location.search) history.replaceState(null, "", location.pathname);
readClock(document);
tick();
setInterval(tick, SECOND / 4);
setInterval(() => document.hidden || load(location.pathname, {}, false), POLL_MS);
