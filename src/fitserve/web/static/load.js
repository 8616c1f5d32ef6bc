// Parts that come after the page because they take seconds, and forms that ask for such a part again.
import { morph } from "./morph.js";

let number = 0;

export function loads() {
  const place = document.querySelector("[data-load]");
  if (!place) return;
  if (!place.querySelector("[data-load-form]")) load(place.dataset.load + location.search);
  document.addEventListener("input", (event) => {
    const form = event.target.closest("[data-load-form]");
    if (form) setTimeout(() => again(form), 200);
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-load-form]")) return;
    event.preventDefault();
    again(event.target);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-load-link]");
    if (!link || event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    go(new URL(link.href).searchParams);
  });
}

function again(form) {
  go(new URLSearchParams(new FormData(form)));
}

function go(query) {
  query.delete("now");
  history.replaceState(null, "", `?${query}`);
  load(`${document.querySelector("[data-load]").dataset.load}?${query}`);
}

async function load(address) {
  const mine = ++number, place = document.querySelector("[data-load]");
  place.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(address);
    const text = await answer.text();
    if (mine !== number) return;
    if (!answer.ok) throw new Error("refused");
    morph(place, new DOMParser().parseFromString(text, "text/html").body.firstElementChild);
  } catch {
    place.textContent = place.dataset.lost;
  }
  place.removeAttribute("aria-busy");
}
