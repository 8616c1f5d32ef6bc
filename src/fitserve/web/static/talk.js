// Questions open in a dialog: the address is that of the question, so that it can be shared, and Back closes it.
import { morph } from "./morph.js";

let number = 0;

export function talks() {
  const box = document.querySelector("[data-dialog]");
  if (!box) return;
  if (box.open) {
    box.open = false;
    box.showModal();
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-talk]");
    if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
      event.preventDefault();
      history.pushState({ talk: true }, "", link.getAttribute("href"));
      open(box, link.dataset.id, "");
    }
    if (event.target === box || event.target.closest("[data-close]")) {
      event.preventDefault();
      box.close();
    }
  });
  document.addEventListener("submit", (event) => {
    if (!("mine" in event.target.dataset)) return;
    event.preventDefault();
    const form = new FormData(event.target), name = form.get("gpu").trim(), count = Number(form.get("n") || 1);
    const query = name ? `?gpu=${encodeURIComponent(count > 1 ? `${name}:${count}` : name)}` : "";
    history.replaceState({ talk: true }, "", `/discussions/${event.target.dataset.mine}${query}`);
    open(box, event.target.dataset.mine, query);
  });
  box.addEventListener("close", () => {
    number++;
    if (location.pathname !== "/discussions") history.pushState(null, "", "/discussions");
  });
  addEventListener("popstate", () => {
    const id = location.pathname.split("/")[2];
    if (id) open(box, id, location.search);
    else if (box.open) box.close();
  });
}

async function open(box, id, query) {
  const mine = ++number;
  box.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(`/part/discussions/${encodeURIComponent(id)}${query}`);
    const text = await answer.text();
    if (mine !== number) return;
    if (!answer.ok) throw new Error("refused");
    const made = new DOMParser().parseFromString(text, "text/html").querySelector("article"), old = box.querySelector("article");
    if (old && old.dataset.told === made.dataset.told) morph(old, made);
    else {
      box.replaceChildren(document.importNode(made, true));
      box.scrollTop = 0;
    }
    if (!box.open) box.showModal();
    if (!old) box.querySelector("#told-title").focus({ preventScroll: true });
  } catch {
    if (mine === number) location.assign(`/discussions/${id}${query}`); // the server says what is wrong
  }
  box.removeAttribute("aria-busy");
}
