// Makes an element equal to another one and touches only what differs, so that bars glide, focus stays and screen readers
// hear what is new and nothing else.
export function morph(from, to) {
  if (from.nodeName !== to.nodeName) {
    from.replaceWith(document.importNode(to, true));
    return;
  }
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  attributes(from, to);
  if (from.matches("ul.list")) return; // belongs to the field above it
  children(from, to);
  values(from, to);
}

export function morphById(made) {
  for (const wanted of made.body.children) {
    const old = wanted.id && document.getElementById(wanted.id);
    if (old) morph(old, wanted);
  }
}

function attributes(from, to) {
  const keepOpen = from.nodeName === "DETAILS", isActive = from === document.activeElement;
  for (const { name, value } of to.attributes) {
    if (keepOpen && name === "open") continue;
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    if (to.hasAttribute(name) || (keepOpen && name === "open") || (isActive && name.startsWith("aria-"))) continue;
    from.removeAttribute(name);
  }
}

function children(from, to) {
  const wanted = [...to.childNodes], named = new Map();
  for (const node of from.children) if (node.dataset?.key || node.id) named.set(node.dataset.key || node.id, node);
  let at = from.firstChild;
  for (const next of wanted) {
    const key = next.nodeType === Node.ELEMENT_NODE && (next.dataset.key || next.id);
    const same = key && named.get(key);
    if (same && same !== at) from.insertBefore(same, at);
    if (same) at = same;
    const isOther = at && at.nodeType === Node.ELEMENT_NODE && (at.dataset.key || at.id) && !same;
    if (at && at.nodeName === next.nodeName && !isOther) {
      const following = at.nextSibling;
      morph(at, next);
      at = following;
    } else {
      from.insertBefore(document.importNode(next, true), at);
    }
  }
  while (at) {
    const following = at.nextSibling;
    at.remove();
    at = following;
  }
}

function values(from, to) {
  if (from === document.activeElement && from.nodeName !== "SELECT") return;
  if (from.nodeName === "INPUT") {
    if (from.type === "radio" || from.type === "checkbox") from.checked = to.hasAttribute("checked");
    else if (from.value !== (to.getAttribute("value") ?? "")) from.value = to.getAttribute("value") ?? "";
  }
  if (from.nodeName === "SELECT") from.value = to.querySelector("option[selected]")?.value ?? to.querySelector("option")?.value ?? "";
}
