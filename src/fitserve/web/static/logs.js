// A log that is dropped on the page is sent as it is, piece by piece, without a copy in a form.
import { morph } from "./morph.js";

export function logs() {
  const form = document.querySelector("[data-log]"), place = document.querySelector("[data-drop]");
  if (!form) return;
  for (const name of ["dragover", "dragleave", "drop"])
    form.addEventListener(name, (event) => {
      event.preventDefault();
      place.classList.toggle("over", name === "dragover");
    });
  form.addEventListener("drop", (event) => {
    const file = event.dataTransfer.files[0];
    if (file) send(form, file);
  });
}

async function send(form, file) {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (typeof value === "string" && name !== "log" && value) query.set(name, value);
  const place = document.getElementById("diagnosed");
  place.setAttribute("aria-busy", "true");
  const answer = await fetch(`/diagnose?${query}`, { method: "POST", body: file, headers: { "content-type": "text/plain" } }).catch(() => null);
  if (answer?.ok) morph(place, new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("diagnosed"));
  else place.textContent = answer ? `${answer.status} ${answer.statusText}` : "";
  place.removeAttribute("aria-busy");
}
