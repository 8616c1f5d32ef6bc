// What a browser adds to pages that work without it: answers that change while a slider moves, lists while one types,
// tabs, copying. Everything is read from attributes; nothing is kept but the address.
import { live } from "./live.js";
import { combos } from "./combo.js";
import { tabs, copying, menus } from "./small.js";
import { lists } from "./lists.js";
import { loads } from "./load.js";
import { logs } from "./logs.js";
import { talks } from "./talk.js";

document.documentElement.classList.add("js");
menus();
copying();
tabs();
combos();
lists();
loads();
logs();
talks();
live();
