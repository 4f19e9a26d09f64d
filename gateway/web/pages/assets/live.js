// Asks for the changing part of the overview now and then, and puts it in place.

const place = document.getElementById("live");
const pause = document.getElementById("pause");
const EVERY_MS = Number(place.dataset.every) * 1000;
let paused = false;

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
});

function opened() {
  return new Set([...place.querySelectorAll("figure details[open] table")].map((table) => table.dataset.chart));
}

/** Whether somebody is at work inside: what they hold must not be taken from under their hands. */
function inUse() {
  return place.contains(document.activeElement) && document.activeElement !== document.body;
}

async function refresh() {
  if (paused || document.hidden || inUse()) return;
  const answer = await fetch(place.dataset.source, { headers: { Accept: "text/html" }, redirect: "manual" });
  if (answer.type === "opaqueredirect" || answer.status === 401) {
    location.reload();
    return;
  }
  if (!answer.ok) return;
  const fresh = await answer.text();
  if (inUse()) return;
  const open = opened();
  place.innerHTML = fresh;
  for (const table of place.querySelectorAll("table[data-chart]")) {
    if (open.has(table.dataset.chart)) table.closest("details").open = true;
  }
  place.dataset.refreshed = String(Number(place.dataset.refreshed || 0) + 1);
}

async function forever() {
  try {
    await refresh();
  } catch (error) {
    // The server is away for a moment; the next round tries again.
    if (!(error instanceof TypeError)) throw error;
  } finally {
    setTimeout(forever, EVERY_MS);
  }
}

setTimeout(forever, EVERY_MS);
