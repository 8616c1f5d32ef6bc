// Tabs, copying, menus: what several pages share.
let chosenTab = null;

export function tabs() {
  document.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) choose(tab, true);
  });
  document.addEventListener("keydown", (event) => {
    const tab = event.target.closest?.("[role=tab]");
    if (!tab) return;
    const all = [...tab.parentElement.children], at = all.indexOf(tab), last = all.length - 1;
    const next = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(all[next], true);
    all[next].focus();
  });
}

function choose(tab, isAsked) {
  for (const other of tab.parentElement.children) {
    const isChosen = other === tab;
    other.setAttribute("aria-selected", String(isChosen));
    if (isChosen) other.removeAttribute("tabindex");
    else other.setAttribute("tabindex", "-1");
    document.getElementById(other.getAttribute("aria-controls")).hidden = !isChosen;
  }
  if (isAsked) chosenTab = tab.id;
}

export function restoreTabs() {
  const tab = chosenTab && document.getElementById(chosenTab);
  if (tab) choose(tab, false);
}

export function copying() {
  document.addEventListener("click", (event) => event.target.closest("[data-print]") && print());
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy],[data-copy-link]");
    if (!button) return;
    const text = "copyLink" in button.dataset ? location.href : button.parentElement.querySelector("pre").textContent;
    if (!(await copied(text))) return;
    const label = button.textContent;
    button.textContent = button.dataset.done;
    setTimeout(() => (button.textContent = label), 1600);
  });
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // a plain http address of another machine has no clipboard
    const box = document.createElement("textarea");
    box.value = text;
    box.className = "vh";
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    return done;
  }
}

export function menus() {
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("[data-menu][open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = document.querySelector("[data-menu][open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  const button = document.querySelector("[data-theme-switch]");
  if (button && !document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches) button.value = "light";
}
