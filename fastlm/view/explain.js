/* Merge trees, and why two tokenizers differ on a text. */
"use strict";

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/* A character of UTF-8, or else a byte, in a string that has one character for each byte. */
const CHARACTER = new RegExp(
  [
    "[\\0-\\x7f]", "[\\xc2-\\xdf][\\x80-\\xbf]", "\\xe0[\\xa0-\\xbf][\\x80-\\xbf]", "\\xed[\\x80-\\x9f][\\x80-\\xbf]",
    "[\\xe1-\\xec\\xee\\xef][\\x80-\\xbf]{2}", "\\xf0[\\x90-\\xbf][\\x80-\\xbf]{2}",
    "[\\xf1-\\xf3][\\x80-\\xbf]{3}", "\\xf4[\\x80-\\x8f][\\x80-\\xbf]{2}", "[^]",
  ].join("|"),
  "g",
);
const SIGNS = { " ": "\u00b7", "\n": "\u23ce", "\t": "\u21e5", "\r": "\u240d" };

/* Bytes as people read them: whitespace and invisible characters are visible, and what is no UTF-8 is hexadecimal. */
function shown(bytes) {
  const parts = keyOf(bytes).match(CHARACTER) ?? [];
  const visible = parts.map((part) => {
    if (part.length === 1 && part >= "\x80") return `\\x${hex(part.charCodeAt(0))}`;
    const char = part.length === 1 ? part : decoder.decode(bytesOfKey(part));
    if (!/[\p{C}\p{Z}]/u.test(char)) return char;
    return SIGNS[char] ?? `\\u{${char.codePointAt(0).toString(16)}}`;
  });
  return visible.join("").replace(/^(?=\p{M})/u, "\u25cc");
}

/* The tokens of pieces, each with the place of its first byte. */
function tokensOf(tokenizer, pieces) {
  const tokens = [];
  let start = 0;
  for (const piece of pieces) {
    let at = start;
    piece.start = start;
    piece.ids.forEach((id) => {
      const bytes = piece.added ? piece.bytes : tokenizer.bytesOf(id);
      tokens.push({ id, bytes, key: keyOf(bytes), piece, start: at });
      at += bytes.length;
    });
    start += piece.bytes.length;
  }
  return tokens;
}

/* The nodes of the merges of a pretoken: {start, end, id, children, rank}. Bytes have no children and no rank. */
function mergeForest(tokenizer, bytes) {
  const kept = Uint8Array.from(bytes).filter((byte) => tokenizer.byteIds[byte] !== NO_ID);
  const { steps, ids } = tokenizer.merge(kept);
  let roots = Array.from(kept, (byte, k) => ({ start: k, end: k + 1, id: tokenizer.byteIds[byte], children: [] }));
  const nodes = [];
  const states = [roots];
  for (const step of steps) {
    const at = roots.findIndex((node) => node.start === step.at);
    const [left, right] = roots.slice(at, at + 2);
    const node = { start: left.start, end: right.end, id: step.made, children: [left, right], rank: step.rank };
    nodes.push(node);
    roots = [...roots.slice(0, at), node, ...roots.slice(at + 2)];
    states.push(roots);
  }
  return { roots, nodes, states, ids };
}

function pairText(tokenizer, node) {
  return node.children.map((child) => `\u201c${shown(tokenizer.bytesOf(child.id))}\u201d`).join(" + ");
}

/* The first merge of one tokenizer that makes what the other does not make, as a sentence; or null. */
function onlyMerge(one, other, oneForest, otherForest) {
  const spans = new Set(otherForest.nodes.map((node) => `${node.start}-${node.end}`));
  const node = oneForest.nodes.find((found) => !spans.has(`${found.start}-${found.end}`));
  if (!node) return null;
  const rank = rankOfBytes(other, ...node.children.map((child) => one.bytesOf(child.id)));
  const said = `${one.name} merges ${pairText(one, node)} at rank ${rankText(node.rank)}.`;
  if (rank === undefined) return `${said} ${other.name} has no such merge.`;
  const crossing = otherForest.nodes.find(
    (found) => found.start < node.end && node.start < found.end && !contains(found, node) && !contains(node, found),
  );
  const why = crossing
    ? `its merge of ${pairText(other, crossing)} at rank ${rankText(crossing.rank)} comes first`
    : "the parts are not next to each other there";
  return `${said} ${other.name} has it at rank ${rankText(rank)}, but ${why}.`;
}

function contains(outer, inner) {
  return outer.start <= inner.start && inner.end <= outer.end;
}

function rankText(rank) {
  return rank.toLocaleString("en");
}

/* The rank of the merge of two tokens that are given by their bytes. */
function rankOfBytes(tokenizer, left, right) {
  if (!tokenizer.idsOfKey) {
    tokenizer.idsOfKey = new Map();
    for (let id = tokenizer.size - 1; id >= 0; id--) {
      if (tokenizer.lengths[id] && !tokenizer.addedById.has(id)) tokenizer.idsOfKey.set(tokenizer.keyOfId(id), id);
    }
  }
  const [a, b] = [left, right].map((bytes) => tokenizer.idsOfKey.get(keyOf(bytes)));
  return a === undefined || b === undefined ? undefined : tokenizer.rankOf(a, b);
}

/* Where the tokens of two tokenizers first differ: {index, start, kind, lines}; or null. If merges are the reason, then
 * `histories` has the merges of both. */
function firstDifference([one, oneTokens], [other, otherTokens]) {
  const length = Math.max(oneTokens.length, otherTokens.length);
  let at = 0;
  while (at < length && oneTokens[at]?.key === otherTokens[at]?.key) at++;
  const [a, b] = [oneTokens[at], otherTokens[at]];
  if (at < length) return { index: at, start: (a ?? b).start, ...reason([one, a], [other, b]) };
  const numbered = oneTokens.findIndex((token, k) => token.id !== otherTokens[k].id);
  if (numbered < 0) return null;
  const token = oneTokens[numbered];
  const ids = `${rankText(token.id)} in ${one.name} and ${rankText(otherTokens[numbered].id)} in ${other.name}`;
  const lines = [`The tokens are the same, with other ids: \u201c${shown(token.bytes)}\u201d has id ${ids}.`];
  return { index: numbered, start: token.start, kind: "ids", lines };
}

function reason([one, a], [other, b]) {
  if (!a || !b) {
    return { kind: "text", lines: [`The text of ${(a ? other : one).name} ends here: its normalization differs.`] };
  }
  const [first, second] = [a.piece, b.piece];
  if (first.added || second.added) {
    const [owner, lacking, piece] = first.added ? [one, other, first] : [other, one, second];
    const said = `\u201c${shown(piece.bytes)}\u201d is an added token of ${owner.name}, found before the text is split.`;
    return { kind: "added", lines: [said, `${lacking.name} does not have it here.`] };
  }
  if (first.start === second.start && first.key === second.key) {
    return { kind: "merges", ...mergeReasons([one, first], [other, second]) };
  }
  const lines = [[one, first], [other, second]].map(
    ([tokenizer, piece]) => `${tokenizer.name} (pattern ${tokenizer.pattern.slice(0, 60)}): \u201c${shown(piece.bytes)}\u201d`,
  );
  return { kind: "pretokens", lines: ["The pretokens at this place differ:", ...lines] };
}

function mergeReasons([one, first], [other, second]) {
  const wholes = [[one, first], [other, second]].filter(([tokenizer, piece]) => tokenizer.wholeToken(piece.key));
  const forests = [mergeForest(one, first.bytes), mergeForest(other, second.bytes)];
  const lines = [`Both have the pretoken \u201c${shown(first.bytes)}\u201d, and merge it differently.`];
  for (const [tokenizer] of wholes) lines.push(`It is one token of ${tokenizer.name}.`);
  const found = [onlyMerge(one, other, ...forests), onlyMerge(other, one, forests[1], forests[0])];
  const histories = [one, other].map((tokenizer, k) => ({
    name: tokenizer.name,
    merges: forests[k].nodes.map((node) => `${pairText(tokenizer, node)}, rank ${rankText(node.rank)}`),
  }));
  return { lines: [...lines, ...found.filter(Boolean)], histories };
}
