// Answers that follow the form: one request at a time, the newest wins; while a slider moves only the candidate on show is
// judged again, and when it rests the whole question is asked.
import { morph, morphById } from "./morph.js";
import { restoreTabs } from "./small.js";

const REST_MS = 260, BUSY_MS = 150;
let running = null, waiting = null, timer = 0;

export function live() {
  document.addEventListener("click", step);
  const root = document.querySelector("[data-live]");
  if (!root) return;
  const path = () => root.dataset.live;
  fold();
  document.addEventListener("input", (event) => {
    if (!event.target.closest("[data-rig]")) return;
    const dial = event.target.dataset?.dial;
    if (dial) follow(event.target, dial);
    if (event.target.classList.contains("dial-n")) lead(event.target);
    if (dial && path() === "plan") soon("quick");
  });
  document.addEventListener("change", (event) => {
    const form = event.target.form;
    if (!form?.matches("[data-rig]")) return;
    if ("use" in event.target.dataset) for (const box of form.querySelectorAll(".dial-n")) box.value = "";
    if ("machine" in event.target.dataset) form.querySelector("[data-gpus]").hidden = event.target.value !== "gpus";
    if (["model", "gpu", "format", "engine", "engine_version", "kv_format", "offload"].includes(event.target.name)) dropPick();
    if ("machine" in event.target.dataset) dropPick();
    rest(event.target.dataset.dial ? REST_MS : 0);
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-rig]")) return;
    event.preventDefault();
    rest(0);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-swap]");
    if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
      event.preventDefault();
      history.pushState(null, "", link.getAttribute("href"));
      ask("full", new URL(link.href).search.slice(1));
      return;
    }
    addGpu(event);
  });
  addEventListener("popstate", () => ask("full", location.search.slice(1)));
}

// ---- the form

function follow(range, name) {
  const value = range.dataset.steps.split(",")[range.value];
  const box = document.getElementById(name);
  box.value = value === "0" ? "" : value;
  range.setAttribute("aria-valuetext", value === "0" ? box.placeholder : Number(value).toLocaleString("en"));
}

function lead(box) {
  const range = document.querySelector(`[data-dial="${box.id}"]`), steps = range.dataset.steps.split(",").map(Number);
  const value = Number(box.value) || 0;
  range.value = steps.reduce((best, step, at) => (Math.abs(step - value) < Math.abs(steps[best] - value) ? at : best), 0);
  rest(REST_MS * 2);
}

function step(event) {
  const button = event.target.closest("[data-step]");
  if (!button) return;
  const box = button.parentElement.querySelector("input");
  box.value = Math.min(Number(box.max), Math.max(Number(box.min), Number(box.value || 1) + Number(button.dataset.step)));
  if (!box.form.matches("[data-rig]")) return;
  dropPick();
  rest(REST_MS);
}

function addGpu(event) {
  const button = event.target.closest("[data-add-gpu]");
  if (!button) return;
  const rows = button.parentElement.querySelectorAll(".gpu"), number = rows.length + 1;
  const row = rows[rows.length - 1].cloneNode(true);
  for (const part of row.querySelectorAll("[id],[for],[aria-controls]"))
    for (const name of ["id", "for", "aria-controls"])
      if (part.hasAttribute(name)) part.setAttribute(name, part.getAttribute(name).replace(/\d+$/, number));
  const [name, count] = row.querySelectorAll("input");
  name.value = "";
  count.value = 1;
  button.before(row);
  name.focus();
}

function dropPick() {
  const query = new URLSearchParams(location.search);
  query.delete("pick");
  history.replaceState(null, "", `?${query}`);
}

export function queryOf(form) {
  const data = new FormData(form), query = new URLSearchParams(), gpus = data.getAll("gpu"), counts = data.getAll("n");
  const machine = data.get("machine");
  for (const [name, value] of data)
    if (!["gpu", "n", "machine"].includes(name) && String(value).trim()) query.append(name, String(value).trim());
  if (machine && machine !== "gpus") query.append("gpu", machine);
  else gpus.forEach((name, at) => {
    const bare = name.trim(), count = Number(counts[at] || 1);
    if (bare) query.append("gpu", count > 1 && !/[:×*]\s*\d+$/.test(bare) ? `${bare}:${count}` : bare);
  });
  const pick = new URLSearchParams(location.search).get("pick");
  if (pick) query.append("pick", pick);
  return query.toString().replaceAll("%3A", ":").replaceAll("%2F", "/").replaceAll("%7E", "~");
}

// ---- asking

function soon(kind) {
  ask(kind, queryOf(document.querySelector("[data-rig]")));
}

function rest(delay) {
  clearTimeout(timer);
  if (running) running.stop.abort(); // its answer would put the old values back into the form
  timer = setTimeout(() => {
    const query = queryOf(document.querySelector("[data-rig]"));
    history.replaceState(null, "", `?${query}`);
    ask("full", query);
  }, delay);
}

function ask(kind, query) {
  if (running && running.kind === "quick" && kind === "quick") {
    waiting = { kind, query };
    return;
  }
  if (running) running.stop.abort();
  waiting = null;
  const stop = new AbortController(), own = { kind, stop };
  running = own;
  const root = document.querySelector("[data-live]"), main = document.getElementById("main");
  const busy = setTimeout(() => main.setAttribute("aria-busy", "true"), kind === "full" ? BUSY_MS : 4 * BUSY_MS);
  const shown = document.getElementById("verdict")?.dataset.pick;
  const params = new URLSearchParams(query);
  if (kind === "quick" && shown) params.set("pick", shown);
  fetch(`/part/${root.dataset.live}${kind === "quick" ? "/quick" : ""}?${params}`, { signal: stop.signal })
    .then((answer) => answer.text().then((text) => ({ ok: answer.ok || answer.status === 422, text })))
    .then(({ ok, text }) => {
      if (!ok) throw new Error("refused");
      show(kind, new DOMParser().parseFromString(text, "text/html"));
    })
    .catch((error) => {
      if (error.name !== "AbortError") lost(root);
    })
    .finally(() => {
      clearTimeout(busy);
      if (running !== own) return;
      running = null;
      main.removeAttribute("aria-busy");
      if (waiting) ask(waiting.kind, waiting.query);
    });
}

function show(kind, made) {
  const problems = made.querySelector(".problem");
  const hint = document.getElementById("hint");
  if (problems) {
    // the old answer stays and says that it is old
    const place = document.getElementById("problems");
    if (place) place.replaceChildren(document.importNode(problems, true));
    if (kind === "full") document.getElementById("main").classList.add("stale");
    return;
  }
  document.getElementById("main").classList.remove("stale");
  document.getElementById("problems")?.replaceChildren();
  if (hint) hint.remove();
  if (kind === "quick") morphById(made);
  else {
    const wanted = made.getElementById("bench");
    morph(document.getElementById("bench"), wanted);
    const gauge = made.getElementById("gauge");
    if (gauge) morph(document.getElementById("gauge"), gauge);
  }
  restoreTabs();
  document.querySelector("[data-back]").value = location.pathname + location.search;
}

function lost(root) {
  const place = document.getElementById("problems");
  if (!place) return;
  const note = document.createElement("p");
  note.className = "plate problem";
  note.setAttribute("role", "alert");
  note.textContent = root.dataset.lost;
  place.replaceChildren(note);
}

function fold() {
  const picks = document.querySelector("[data-picks]");
  if (picks && matchMedia("(max-width: 68rem)").matches && location.search) picks.open = false;
}
