/* The page: tokens as they are typed, their merges, a search, and the comparison of two tokenizers. */
"use strict";

const MOST_DRAWN = 4000; // tokens
const MOST_FOUND = 100; // results of a search
const LONG_TEXT = 50000; // characters, from which on the page waits until typing pauses
const NODE_HEIGHT = 54;
const $ = (id) => document.getElementById(id);

const view = { panels: [], timer: 0 };

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const count = (number) => number.toLocaleString("en");
const bytesText = (bytes) => Array.from(bytes.subarray(0, 64), hex).join(" ") + (bytes.length > 64 ? " \u2026" : "");

/* --- the panels --- */

function makePanel(tokenizer, index) {
  const title = element("h2", {}, tokenizer.name);
  const form = tokenizer.form ? `, ${tokenizer.form}` : "";
  const about = `${count(tokenizer.vocabularySize)} tokens, ${count(tokenizer.made.length)} merges, pattern ${tokenizer.pattern}${form}`;
  const counts = element("dl", { className: "counts" });
  const tokens = element("div", { className: "tokens", role: "group", "aria-label": `Tokens of ${tokenizer.name}` });
  const panel = { tokenizer, index, counts, tokens, title, found: [], chosen: -1 };
  tokens.addEventListener("click", (event) => choose(panel, indexOf(event.target)));
  tokens.addEventListener("keydown", (event) => onKey(panel, event));
  for (const kind of ["mouseover", "focusin"]) tokens.addEventListener(kind, (event) => showTip(panel, event.target));
  for (const kind of ["mouseout", "focusout"]) tokens.addEventListener(kind, () => ($("tip").hidden = true));
  const box = element("div", { className: "panel" }, title, element("p", { className: "soft" }, about), counts, tokens);
  $("panels").append(box);
  return panel;
}

function indexOf(target) {
  const token = target.closest?.(".token");
  return token ? Number(token.dataset.index) : -1;
}

function update() {
  const text = $("text").value;
  for (const panel of view.panels) {
    panel.chosen = -1;
    try {
      const pieces = panel.tokenizer.encode(text, $("special").checked);
      panel.found = tokensOf(panel.tokenizer, pieces);
      drawCounts(panel, text, pieces);
      drawTokens(panel);
    } catch (error) {
      panel.found = [];
      panel.counts.replaceChildren();
      panel.tokens.replaceChildren(element("p", { className: "error" }, error.message));
    }
  }
  $("detail").hidden = true;
  drawDifference();
}

function drawCounts(panel, text, pieces) {
  const bytes = utf8.encode(text).length;
  const tokens = panel.found.length;
  const rows = [
    ["tokens", count(tokens)],
    ["characters", count(Array.from(text).length)],
    ["bytes", count(bytes)],
    ["bytes per token", tokens ? (bytes / tokens).toFixed(2) : "\u2013"],
    ["pretokens", count(pieces.filter((piece) => !piece.added).length)],
  ];
  panel.counts.replaceChildren(
    ...rows.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
}

/* What a token looks like: signs for whitespace are faint. */
function faces(bytes) {
  return shown(bytes).split(/([\u00b7\u23ce\u21e5\u240d])/).filter(Boolean)
    .map((part) => (/^[\u00b7\u23ce\u21e5\u240d]$/.test(part) ? element("i", {}, part) : part));
}

function drawTokens(panel) {
  const drawn = document.createDocumentFragment();
  panel.found.slice(0, MOST_DRAWN).forEach((token, index) => {
    const added = token.piece.added ? " added" : "";
    drawn.append(
      element(
        "span",
        {
          className: `token c${index % 6}${added}`, "data-index": index, tabIndex: index ? -1 : 0, role: "button",
          "aria-label": `${shown(token.bytes)}, id ${token.id}`,
        },
        ...faces(token.bytes),
      ),
    );
    if (token.bytes.at(-1) === 10) drawn.append(element("br"));
  });
  const left = panel.found.length - MOST_DRAWN;
  if (left > 0) drawn.append(element("p", { className: "soft" }, `and ${count(left)} more tokens, which are counted`));
  panel.tokens.replaceChildren(drawn);
}

function onKey(panel, event) {
  const at = indexOf(event.target);
  if (at < 0) return;
  const last = Math.min(panel.found.length, MOST_DRAWN) - 1;
  const target = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last }[event.key];
  if (event.key === "Enter" || event.key === " ") choose(panel, at);
  else if (target === undefined) return;
  else focusToken(panel, Math.max(0, Math.min(last, target)));
  event.preventDefault();
}

function tokenElement(panel, index) {
  return panel.tokens.querySelector(`[data-index="${index}"]`);
}

function focusToken(panel, index) {
  for (const token of panel.tokens.querySelectorAll('[tabindex="0"]')) token.tabIndex = -1;
  const token = tokenElement(panel, index);
  token.tabIndex = 0;
  token.focus();
}

function showTip(panel, target) {
  const token = panel.found[indexOf(target)];
  if (!token) return;
  const tip = $("tip");
  const rank = panel.tokenizer.rankThatMakes(token.id);
  const unmerged = token.bytes.length === 1 ? "a single byte" : "no merge makes it";
  const origin = token.piece.added ? "added token" : rank === undefined ? unmerged : `merge rank ${count(rank)}`;
  tip.replaceChildren(
    element("div", {}, `id ${token.id} \u00b7 ${origin}`),
    element("div", {}, `${token.bytes.length} ${token.bytes.length === 1 ? "byte" : "bytes"}: ${bytesText(token.bytes)}`),
  );
  tip.hidden = false;
  tip.style.left = "0"; // so that the width of the tip does not depend on where it was
  const place = target.closest(".token").getClientRects()[0];
  tip.style.left = `${Math.max(4, Math.min(place.left, document.documentElement.clientWidth - tip.offsetWidth - 4))}px`;
  const below = place.bottom + 6;
  tip.style.top = `${below + tip.offsetHeight > innerHeight ? place.top - tip.offsetHeight - 6 : below}px`;
}

/* --- the merges of a token --- */

function choose(panel, index) {
  const token = panel.found[index];
  if (!token) return;
  for (const other of document.querySelectorAll(".token.chosen")) other.classList.remove("chosen");
  focusToken(panel, index);
  tokenElement(panel, index).classList.add("chosen");
  panel.chosen = index;
  drawDetail(panel.tokenizer, token);
}

function drawDetail(tokenizer, token) {
  const { id, bytes, piece } = token;
  const detail = $("detail");
  const rank = tokenizer.rankThatMakes(id);
  const facts = [`id ${count(id)}`, `bytes ${bytesText(bytes)}`];
  if (rank !== undefined && !piece.added) facts.push(`merge rank ${count(rank)}`);
  const name = view.panels.length > 1 ? ` in ${tokenizer.name}` : "";
  detail.replaceChildren(
    element("h2", { id: "detail-title" }, `Token \u201c${shown(bytes)}\u201d${name}`),
    element("p", { className: "soft" }, facts.join(" \u00b7 ")),
  );
  detail.hidden = false;
  if (piece.added) {
    const options = ["special", "singleWord", "lstrip", "rstrip", "normalized"].filter((option) => piece.added[option]);
    const said = "An added token: it is found before the text is split, and no merges make it.";
    detail.append(element("p", {}, said), element("p", { className: "soft" }, `options: ${options.join(", ") || "none"}`));
    return;
  }
  const forest = mergeForest(tokenizer, piece.bytes);
  const node = [...forest.nodes, ...forest.roots].find(
    (found) => found.id === id && found.start === token.start - piece.start && found.end - found.start === bytes.length,
  );
  const whole = tokenizer.wholeToken(piece.key);
  if (whole && forest.nodes.length) detail.append(element("p", {}, "The whole pretoken is a token, so it needs no merges."));
  if (node?.children.length) detail.append(element("h3", {}, "Merge tree"), treeOf(tokenizer, node));
  else if (!node) detail.append(element("p", {}, "No merges make this token. Only a whole pretoken becomes it."));
  else detail.append(element("p", {}, "This token is a single byte."));
  if (forest.nodes.length) detail.append(...stepper(tokenizer, piece, forest));
}

function svg(tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

/* A drawing of a node and what it was merged from. */
function treeOf(tokenizer, root) {
  const drawing = svg("svg", { role: "img" });
  const lines = svg("g", {});
  const nodes = svg("g", {});
  let right = 2;
  const place = (node) => {
    const label = shown(tokenizer.bytesOf(node.id));
    const width = Math.max(26, 8 * Array.from(label).length + 14);
    const children = node.children.map(place);
    const height = children.length ? 1 + Math.max(...children.map((child) => child.height)) : 0;
    let x = right + width / 2;
    if (children.length) x = (children[0].x + children[1].x) / 2;
    else right += width + 10;
    const placed = { x, height, width, label, rank: node.rank, children };
    return placed;
  };
  const top = place(root);
  const left = Math.min(0, top.x - top.width / 2 - 2);
  const total = Math.max(right, top.x + top.width / 2 + 2) - left;
  const rows = top.height * NODE_HEIGHT + 30;
  const draw = (node) => {
    const y = (top.height - node.height) * NODE_HEIGHT + 14;
    for (const child of node.children) {
      const childY = (top.height - child.height) * NODE_HEIGHT + 14;
      lines.append(svg("line", { x1: node.x, y1: y + 12, x2: child.x, y2: childY - 12 }));
      draw(child);
    }
    const fill = `var(--c${node.children.length ? 1 : 0})`;
    nodes.append(svg("rect", { x: node.x - node.width / 2, y: y - 12, width: node.width, height: 24, rx: 5, style: `fill:${fill}` }));
    nodes.append(svg("text", { x: node.x, y: y + 5 }, node.label));
    if (node.rank !== undefined) nodes.append(rankLabel(node.x, y + 25, node.rank));
  };
  draw(top);
  drawing.setAttribute("viewBox", `${left} 0 ${total} ${rows}`);
  drawing.setAttribute("width", total);
  drawing.setAttribute("height", rows);
  drawing.setAttribute("aria-label", `Merge tree of ${top.label}`);
  drawing.append(lines, nodes);
  return element("div", { className: "scroll", tabIndex: 0 }, drawing);
}

function rankLabel(x, y, rank) {
  const text = `rank ${count(rank)}`;
  const width = text.length * 6.6 + 4;
  const label = svg("g", {});
  label.append(svg("rect", { x: x - width / 2, y: y - 10, width, height: 13, style: "fill:var(--panel);stroke:none" }));
  label.append(svg("text", { x, y, class: "rank" }, text));
  return label;
}

/* Buttons and a slider that go through the merges of a pretoken. */
function stepper(tokenizer, piece, forest) {
  const last = forest.nodes.length;
  const slider = element("input", { type: "range", min: 0, max: last, value: last, "aria-label": "Number of merges" });
  const back = element("button", { type: "button", ariaLabel: "One merge back" }, "\u25c0");
  const on = element("button", { type: "button", ariaLabel: "Next merge" }, "\u25b6");
  const said = element("p", { role: "status" });
  const symbols = element("div", { className: "symbols" });
  const go = (to) => {
    slider.value = to;
    const at = Number(slider.value);
    back.disabled = at === 0;
    on.disabled = at === last;
    const made = at ? forest.nodes[at - 1] : null;
    said.textContent = made
      ? `Merge ${at} of ${last}: ${pairText(tokenizer, made)}, rank ${count(made.rank)}`
      : `${count(forest.states[0].length)} bytes; the numbers between them are ranks, and the lowest merges next`;
    symbols.replaceChildren(...symbolsOf(tokenizer, forest.states[at], made));
  };
  slider.addEventListener("input", () => go(slider.value));
  back.addEventListener("click", () => go(Number(slider.value) - 1));
  on.addEventListener("click", () => go(Number(slider.value) + 1));
  go(0);
  const title = element("h3", {}, `Merges of the pretoken \u201c${shown(piece.bytes)}\u201d`);
  return [title, element("div", { className: "stepper" }, back, slider, on), said, symbols];
}

function symbolsOf(tokenizer, nodes, made) {
  const ranks = nodes.slice(1).map((node, k) => tokenizer.rankOf(nodes[k].id, node.id));
  const lowest = Math.min(...ranks.filter((rank) => rank !== undefined));
  const isNext = ranks.indexOf(lowest);
  return nodes.flatMap((node, k) => {
    const symbol = element("b", { className: node === made ? "made" : "" }, shown(tokenizer.bytesOf(node.id)));
    if (k === nodes.length - 1) return [symbol];
    const rank = ranks[k] === undefined ? "\u2013" : count(ranks[k]);
    return [symbol, element("small", { className: k === isNext ? "next" : "" }, rank)];
  });
}

/* --- search and comparison --- */

function search() {
  const tokenizer = view.panels[Number($("which").value)].tokenizer;
  const query = $("search").value;
  if (!query) return $("found").replaceChildren();
  const wanted = keyOf(utf8.encode(query));
  const spelled = query.replace(/\\x([0-9a-f]{2})/gi, (_, byte) => String.fromCharCode(parseInt(byte, 16)));
  const keys = spelled === query ? [wanted] : [spelled];
  const ids = [];
  let matches = 0;
  const take = (id) => matches++ < MOST_FOUND && ids.push(id);
  if (/^\d+$/.test(query) && tokenizer.lengths[Number(query)]) take(Number(query));
  tokenizer.keys ??= Array.from({ length: tokenizer.size }, (_, id) => tokenizer.keyOfId(id));
  const exact = tokenizer.keys.flatMap((key, id) => (keys.includes(key) && !ids.includes(id) ? [id] : []));
  exact.forEach(take);
  const taken = new Set(ids);
  tokenizer.keys.forEach((key, id) => !taken.has(id) && keys.some((sought) => key.includes(sought)) && take(id));
  drawFound(tokenizer, ids, matches);
}

function drawFound(tokenizer, ids, matches) {
  const rows = ids.map((id) => {
    const bytes = tokenizer.bytesOf(id);
    const button = element("button", { type: "button" }, ...faces(bytes));
    button.addEventListener("click", () => showFound(tokenizer, id));
    const rank = tokenizer.rankThatMakes(id);
    const origin = tokenizer.addedById.has(id) ? "added" : rank === undefined ? "\u2013" : count(rank);
    return element(
      "tr", {}, element("td", { className: "number" }, String(id)), element("td", { className: "token" }, button),
      element("td", { className: "bytes" }, bytesText(bytes)), element("td", { className: "number" }, origin),
    );
  });
  const more = matches > ids.length ? `, of which the first ${ids.length} are shown` : "";
  const said = element("p", { className: "soft" }, `${count(matches)} ${matches === 1 ? "token" : "tokens"}${more}`);
  const heads = [["id", "number"], ["token", ""], ["bytes", "bytes"], ["rank", "number"]];
  const head = element("tr", {}, ...heads.map(([name, className]) => element("th", { className }, name)));
  $("found").replaceChildren(said, ...(rows.length ? [element("table", {}, head, ...rows)] : []));
}

function showFound(tokenizer, id) {
  const bytes = tokenizer.bytesOf(id);
  const added = tokenizer.addedById.get(id);
  drawDetail(tokenizer, { id, bytes, start: 0, piece: { added, bytes, key: keyOf(bytes), start: 0 } });
  $("detail").scrollIntoView({ block: "nearest" });
}

function drawDifference() {
  const box = $("difference");
  box.hidden = view.panels.length < 2;
  if (box.hidden) return;
  const [one, other] = view.panels;
  const found = firstDifference([one.tokenizer, one.found], [other.tokenizer, other.found]);
  box.querySelector("h2").textContent = found ? `First difference: token ${count(found.index + 1)}, byte ${count(found.start)}` : "No difference";
  const lines = found ? found.lines : ["Both give this text the same tokens and ids."];
  const histories = (found?.histories ?? []).map(({ name, merges }) =>
    element("div", {}, element("h3", {}, `Merges of ${name}`), element("ol", {}, ...merges.map((merge) => element("li", {}, merge)))),
  );
  box.querySelector("div").replaceChildren(
    ...lines.map((line) => element("p", {}, line)), element("div", { className: "histories" }, ...histories),
  );
  if (found) for (const panel of view.panels) tokenElement(panel, found.index)?.classList.add("differs");
}

async function start() {
  const payloads = JSON.parse($("payloads").textContent);
  const tokenizers = await Promise.all(payloads.map((payload) => PageTokenizer.read(payload)));
  view.panels = tokenizers.map(makePanel);
  view.tokenizers = tokenizers;
  $("which").append(...tokenizers.map((tokenizer, k) => element("option", { value: k }, tokenizer.name)));
  $("which").hidden = tokenizers.length < 2;
  $("text").addEventListener("input", () => {
    clearTimeout(view.timer);
    view.timer = setTimeout(update, $("text").value.length > LONG_TEXT ? 400 : 0);
  });
  $("special").addEventListener("change", update);
  $("search").addEventListener("input", search);
  $("which").addEventListener("change", search);
  update();
  $("status").textContent = "Type or paste text. Point at a token for its id; click it for its merges.";
  view.readyAfter = performance.now() / 1000; // seconds
  return view;
}

window.fastlmView = start().catch((error) => {
  $("status").textContent = `The page cannot start: ${error.message}`;
  $("status").className = "error";
  throw error;
});
