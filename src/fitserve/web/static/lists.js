// Tables that are sorted and narrowed where they stand.
export function lists() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-sort]");
    if (button) sort(button);
    const more = event.target.closest("[data-add-variant]");
    if (more) addVariant(more);
  });
  document.addEventListener("change", (event) => {
    if (!("sortBy" in event.target.dataset)) return;
    for (const head of document.querySelectorAll("[data-sortable] th[aria-sort]")) head.removeAttribute("aria-sort");
    sort(document.querySelector(`[data-sort="${event.target.value}"]`));
  });
  document.addEventListener("input", (event) => {
    if (event.target.closest("[data-filters]")) narrow();
  });
}

function sort(button) {
  const head = button.closest("th"), table = head.closest("table"), key = button.dataset.sort;
  const wasDown = head.getAttribute("aria-sort") === "descending", isText = key === "name";
  const isUp = isText ? head.getAttribute("aria-sort") !== "ascending" : wasDown;
  for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", isUp ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows], sign = isUp ? 1 : -1;
  rows.sort((a, b) => {
    const [x, y] = [a.dataset[key], b.dataset[key]];
    return sign * (isText ? x.localeCompare(y) : Number(x) - Number(y));
  });
  table.tBodies[0].append(...rows);
}

function narrow() {
  const box = document.querySelector("[data-filters]"), wanted = {};
  for (const field of box.querySelectorAll("[data-filter]")) wanted[field.dataset.filter] = field.value.trim().toLowerCase();
  let shown = 0, all = 0;
  for (const row of document.querySelectorAll("[data-sortable] tbody tr")) {
    const fits =
      (!wanted.text || wanted.text.split(/\s+/).every((word) => row.dataset.name.includes(word))) &&
      (!wanted.licence || row.dataset.licence.toLowerCase() === wanted.licence) &&
      (!wanted.korean || Number(row.dataset.korean) >= Number(wanted.korean)) &&
      (!wanted.speed || Number(row.dataset.speed) >= Number(wanted.speed));
    row.hidden = !fits;
    shown += fits;
    all += 1;
  }
  box.querySelector("[data-filtered]").textContent = shown === all ? "" : `${shown} / ${all}`;
}

function addVariant(button) {
  const rows = button.closest("section").querySelectorAll(".field"), last = rows[rows.length - 1], number = rows.length + 1;
  const row = last.cloneNode(true), field = row.querySelector("input"), label = row.querySelector("label");
  field.id = label.htmlFor = `v-${number}`;
  field.value = "";
  label.textContent = label.textContent.replace(/\d+/, number);
  last.after(row);
  if (number >= 8) button.remove();
  field.focus();
}
