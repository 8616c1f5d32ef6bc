// A field with a list of names below it (the combobox pattern of ARIA): arrows move, Enter takes, Escape closes.
const WAIT_MS = 90;
let timer = 0, number = 0;

export function combos() {
  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-find]")) later(event.target);
  });
  document.addEventListener("focusin", (event) => {
    if (event.target.matches("[data-find]")) event.target.select();
  });
  document.addEventListener("focusout", (event) => {
    if (event.target.matches("[data-find]")) close(event.target);
  });
  document.addEventListener("mousedown", (event) => {
    const option = event.target.closest(".combo .list [data-value]");
    if (!option) return;
    event.preventDefault(); // the field keeps the focus
    take(option.closest(".combo").querySelector("input"), option);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.matches?.("[data-find]")) keys(event, event.target);
  });
}

const listOf = (field) => document.getElementById(field.getAttribute("aria-controls"));
const options = (field) => [...listOf(field).querySelectorAll("[data-value]")];
const current = (field) => options(field).findIndex((option) => option.getAttribute("aria-selected") === "true");

function later(field) {
  clearTimeout(timer);
  timer = setTimeout(() => find(field), WAIT_MS);
}

async function find(field) {
  const mine = ++number;
  try {
    const answer = await fetch(`${field.dataset.find}?q=${encodeURIComponent(field.value)}`);
    const text = await answer.text();
    if (!answer.ok || mine !== number || document.activeElement !== field) return;
    const list = listOf(field), made = new DOMParser().parseFromString(`<ul>${text}</ul>`, "text/html");
    list.replaceChildren(...[...made.querySelectorAll("li")].map((item) => document.importNode(item, true)));
    for (const option of list.children) option.id = `${field.id}-${option.id || "none"}`;
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
    mark(field, 0);
  } catch {
    close(field);
  }
}

function mark(field, at) {
  options(field).forEach((option, index) => option.setAttribute("aria-selected", String(index === at)));
  const option = options(field)[at];
  if (!option) {
    field.removeAttribute("aria-activedescendant");
    return;
  }
  field.setAttribute("aria-activedescendant", option.id);
  option.scrollIntoView({ block: "nearest" });
}

function keys(event, field) {
  const isOpen = !listOf(field).hidden, last = options(field).length - 1;
  if (event.key === "ArrowDown" && !isOpen) find(field);
  else if (event.key === "ArrowDown") mark(field, Math.min(last, current(field) + 1));
  else if (event.key === "ArrowUp" && isOpen) mark(field, Math.max(0, current(field) - 1));
  else if (event.key === "Escape" && isOpen) close(field);
  else if (event.key === "Enter" && isOpen && current(field) >= 0) take(field, options(field)[current(field)]);
  else return;
  event.preventDefault();
}

function take(field, option) {
  field.value = option.dataset.value;
  close(field);
  field.dispatchEvent(new Event("change", { bubbles: true }));
}

function close(field) {
  number++;
  clearTimeout(timer);
  const list = listOf(field);
  if (!list) return;
  list.hidden = true;
  field.setAttribute("aria-expanded", "false");
  field.removeAttribute("aria-activedescendant");
}
