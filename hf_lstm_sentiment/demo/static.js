// The demo page without a server: tokenizer and model run in the browser, and what is typed stays there.

const SETTINGS = document.body.dataset;
const [LEAST_KNOWN, UNSURE_BELOW, MAX_CHARACTERS] = JSON.parse(SETTINGS.limits);
// As on the page of the Python package: changes that are listed, how far apart they are, and the least of them; tokens
// that are written along the curve, and characters of one; labels that are listed. Prefixes that are computed together.
const [TURNS, APART, TURN, ALONG, SHORT, SCORES, ROWS] = [5, 12, 0.02, 24, 14, 10, 64];
const DASHES = ["6 2", "3 2", "1 2", "8 2 1 2"], [STRONGEST, FAINT, LONG] = [0.55, 0.15, 600];

async function get(name, kind, options) {
  const answer = await fetch(name, options);
  if (!answer.ok) throw new Error(`${name} could not be loaded (${answer.status})`);
  return answer[kind]();
}

async function load() {
  const [ort, { Tokenizer }, wasmBinary, model, config, vocabulary, settings] = await Promise.all([
    import("onnxruntime-web"),
    import("@huggingface/tokenizers"),
    get(SETTINGS.wasm, "arrayBuffer", { integrity: SETTINGS.integrity }),
    get("onnx/model_quantized.onnx", "arrayBuffer"),
    ...["config.json", "tokenizer.json", "tokenizer_config.json"].map((name) => get(name, "json")),
  ]);
  Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary });
  const session = await ort.InferenceSession.create(new Uint8Array(model));
  const tokenizer = new Tokenizer(vocabulary, settings);
  const labels = Object.keys(config.id2label).sort((a, b) => a - b).map((id) => config.id2label[id]);
  const unknown = tokenizer.token_to_id(settings.unk_token);
  return { ort, session, tokenizer, config, labels, unknown, length: settings.model_max_length };
}

const ready = load();

/** Logits of every label, had the text ended after 0, 1, ... of its tokens. */
async function prefixLogits({ ort, session, config, labels }, ids) {
  const tensor = (rows) => new ort.Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, ids.length]);
  const run = (masks, outputs) =>
    session.run({ input_ids: tensor(masks.map(() => ids)), attention_mask: tensor(masks) }, outputs);
  const all = [];
  if (config.bidirectional) {
    // Each token changes all that the backward direction has read: a mask for every prefix.
    for (let start = 0; start <= ids.length; start += ROWS) {
      const ends = Array.from({ length: Math.min(ROWS, ids.length + 1 - start) }, (_, row) => start + row);
      const { logits } = await run(ends.map((end) => ids.map((_, i) => Number(i < end))), ["logits"]);
      ends.forEach((_, row) => all.push([...logits.data.slice(row * labels.length, (row + 1) * labels.length)]));
    }
    return all;
  }
  const { states, weight, bias } = await run([ids.map(() => 1)], ["states", "weight", "bias"]);
  const width = states.dims[2], pooled = new Float64Array(width);
  for (let step = 0; step <= ids.length; step++) {
    for (let i = 0; step && i < width; i++) {
      const state = states.data[(step - 1) * width + i];
      if (config.pooling === "max" && step > 1) pooled[i] = Math.max(pooled[i], state);
      else if (config.pooling === "mean") pooled[i] += (state - pooled[i]) / step;
      else pooled[i] = state;
    }
    const logits = Array.from(bias.data, (own, row) =>
      pooled.reduce((sum, value, i) => sum + value * weight.data[row * width + i], own));
    all.push(logits.length === 1 ? [0, logits[0]] : logits);
  }
  return all;
}

const logSumExp = (values) => {
  const top = Math.max(...values);
  return top + Math.log(values.reduce((sum, value) => sum + Math.exp(value - top), 0));
};
const softmax = (logits) => logits.map((logit) => Math.exp(logit - logSumExp(logits)));

/** Where in the text each token stands: the tokenizer's steps once more, with the place of every character. */
function places(text, tokenizer) {
  let from = Array.from({ length: text.length }, (_, i) => i), to = from.map((i) => i + 1);
  for (const step of tokenizer.normalizer.normalizers) {
    const next = { text: "", from: [], to: [] };
    let done = 0;
    const keep = (end) => {
      next.text += text.slice(done, end);
      for (; done < end; done++) next.from.push(from[done]), next.to.push(to[done]);
    };
    // What is no replacement works on letters with their marks.
    for (const { 0: part, index } of text.matchAll(step.pattern ?? /\P{M}\p{M}*|\p{M}+/gsu)) {
      const content = step.pattern ? step.config.content : step.normalize(part);
      if (content === part) continue;
      keep(index);
      next.text += content;
      for (let i = 0; i < content.length; i++) next.from.push(from[index]), next.to.push(to[index + part.length - 1]);
      done = index + part.length;
    }
    keep(text.length);
    ({ text, from, to } = next);
  }
  let before = 0;
  return Array.from(text.matchAll(tokenizer.pre_tokenizer.pattern), ({ 0: part, index }) => {
    const start = Math.max(from[index], before);
    before = Math.max(to[index + part.length - 1], start);
    return [start, before];
  });
}

/** What the model says of a text, after every token and at its end. */
export async function classify(text) {
  const own = await ready, { tokenizer, labels, unknown, length } = own;
  text = text.toWellFormed?.() ?? text;
  const all = tokenizer.encode(text).ids, ids = all.slice(0, length), spans = places(text, tokenizer);
  const logits = await prefixLogits(own, ids), prefixes = logits.map(softmax), scores = prefixes.at(-1);
  const best = scores.indexOf(Math.max(...scores)), target = labels.length === 2 ? 1 : best;
  const odds = logits.map((row) => row[target] - logSumExp(row.filter((_, i) => i !== target)));
  const tokens = all.map((id, i) => {
    const [start, end] = spans[i], read = i < ids.length;
    const [change, chance] = read ? [odds[i + 1] - odds[i], prefixes[i + 1][target]] : [0, null];
    return { start, end, text: text.slice(start, end), unknown: id === unknown, read, change, chance };
  });
  const known = ids.length ? ids.filter((id) => id !== unknown).length / ids.length : 0;
  const label = (scores[best] < UNSURE_BELOW ? "UNSURE: " : "") + labels[best];
  const rivals = scores.map((_, i) => i).filter((i) => i !== target && labels.length > 2);
  rivals.sort((a, b) => scores[b] - scores[a]);
  const [name, other] = [labels[target], labels.length === 2 ? labels[0] : "another label"];
  return { text, ids, tokens, prefixes, scores, labels, label, best, target, name, other, rivals, known };
}

/** An element with attributes, and children that are elements or text. */
function make(name, attributes = {}, ...children) {
  const space = `http://www.w3.org/${/svg|line/.test(name) ? "2000/svg" : "1999/xhtml"}`;
  const made = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false) made.setAttribute(key, value);
  }
  made.append(...children.flat(2).filter(Boolean));
  return made;
}

const percent = (chance, digits = 1) => `${(100 * chance).toFixed(digits)}\u00a0%`;
const shown = (number) => number.toLocaleString("en");
const count = (number, what) => `${shown(number)} ${what}${number === 1 ? "" : "s"}`;
const short = (text) => ([...text].length > SHORT ? `${[...text].slice(0, SHORT - 1).join("")}…` : text);

/** The look of a token; direction and kind have a line of their own each, for readers who see no colors. */
function look(change, strength, { unknown = false, read = true } = {}) {
  if (!read) return "color: var(--unread); font-style: italic";
  const line = change > 0 ? "2px solid var(--towards)" : "4px double var(--against)";
  return `background: rgba(${change > 0 ? "0, 114, 178" : "213, 94, 0"}, ${STRONGEST * strength})`
    + (strength >= FAINT ? `; border-bottom: ${line}` : "")
    + (unknown ? "; text-decoration: underline dotted var(--unread)" : "");
}

/** The review, each token colored by what it changed. */
function colored({ text, tokens, name }) {
  const strongest = Math.max(...tokens.map((token) => Math.abs(token.change))) || 1;
  let done = 0;
  const parts = tokens.map((token) => {
    const title = token.read ? `${name} ${percent(token.chance)} after this token` : "not read";
    const style = look(token.change, Math.abs(token.change) / strongest, token), before = text.slice(done, token.start);
    done = token.end;
    return [before, make("span", { title, style }, token.text)];
  });
  const region = { tabindex: 0, role: "region", "aria-label": "The review, colored token by token" };
  return make("p", { class: "review", dir: "auto", ...(text.length > LONG && region) }, parts, text.slice(done));
}

/** The largest changes of a probability, in order; not two in one place of the curve. */
function turnsOf(chances) {
  const change = (i) => Math.abs(chances[i] - chances[i - 1]), largest = [];
  for (const i of chances.map((_, i) => i).slice(1).sort((a, b) => change(b) - change(a))) {
    const free = largest.every((j) => Math.abs(i - j) * APART >= chances.length);
    if (change(i) >= TURN && largest.length < TURNS && free) largest.push(i);
  }
  return largest.sort((a, b) => a - b);
}

const numbered = (chances, i, place, attributes) =>
  make("b", { class: chances[i] > chances[i - 1] ? "up" : "down", ...attributes }, `${place + 1}`);

function curve({ tokens, prefixes, name, other, target, rivals }, chances, turns) {
  const across = chances.map((_, i) => (100 * (i + 0.5)) / chances.length);
  const line = (label, attributes) => {
    const heights = prefixes.slice(1).map((row) => 100 - 100 * row[label]);
    // A single token is a level line.
    const points = heights.length === 1 ? [[0, heights], [1000, heights]] : heights.map((y, i) => [10 * across[i], y]);
    const look = { fill: "none", stroke: "currentColor", "vector-effect": "non-scaling-stroke" };
    return make("polyline", { points: points.join(" "), ...look, ...attributes });
  };
  const said = `Probability of ${name}: ${percent(chances[0], 0)} after the first token, `
    + `${percent(chances.at(-1), 0)} after the last${turns.length ? "; the largest changes are in the table" : ""}.`;
  const dashed = (rival, i) => line(rival, { "stroke-opacity": 0.7, "stroke-dasharray": DASHES[i] });
  const drawing = make("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img", "aria-label": said },
    rivals.slice(0, DASHES.length).map(dashed), line(target, { "stroke-width": 2.25, "stroke-linejoin": "round" }));
  const hidden = { "aria-hidden": true }, along = chances.length <= ALONG;
  const marks = turns.map((i, place) =>
    numbered(chances, i, place, { ...hidden, style: `left: ${across[i]}%; top: ${100 - 100 * chances[i]}%` }));
  const words = along ? tokens.slice(0, chances.length).map((token) => short(token.text))
    : ["first token", `token ${shown(chances.length)}`];
  const height = `height: ${1 + 0.42 * Math.max(...words.map((word) => word.length))}rem`;
  return make("div", { class: "curve" },
    make("div", { class: "axis", ...hidden }, make("b", {}, name), make("span", {}, "50\u00a0%"), make("b", {}, other)),
    make("div", { class: "plot" }, drawing, marks),
    make("div", { class: along ? "words" : "ends under", ...hidden, style: along && height },
      words.map((word, i) => make("span", { style: along && `left: ${across[i]}%` }, word))));
}

/** Which label is how probable: a scale of two labels, bars of more. */
function verdict({ scores, labels, name, other, target, rivals }) {
  const chance = scores[target];
  if (labels.length === 2) {
    const sides = [`${other} ${percent(1 - chance)}`, `${name} ${percent(chance)}`], said = `${sides[1]}, ${sides[0]}`;
    const mark = make("i", { style: `left: ${100 * chance}%` });
    return [make("div", { class: "scale", role: "img", "aria-label": said }, mark),
      make("p", { class: "ends" }, sides.map((side) => make("span", {}, side)))];
  }
  const listed = [target, ...rivals].slice(0, SCORES);
  // Of few labels, in their own order: stars, say.
  if (labels.length <= SCORES) listed.sort((a, b) => a - b);
  const rows = listed.map((label) => {
    const dash = DASHES[rivals.indexOf(label)] ?? "none";
    const line = make("line", { x2: 30, y1: 3, y2: 3, stroke: "currentColor", "stroke-dasharray": dash });
    const key = make("svg", { width: 30, height: 6, "aria-hidden": true }, line);
    return make("tr", { class: label === target && "target" },
      make("th", { scope: "row", class: "word" }, key, ` ${labels[label]}`),
      make("td", { class: "bar" }, make("i", { style: `width: ${100 * scores[label]}%` })),
      make("td", {}, percent(scores[label])));
  });
  return make("table", { class: "scores", "aria-label": "Probabilities" }, make("tbody", {}, rows));
}

function show(found) {
  const { label, scores, best, name, other, known, tokens, ids } = found, unread = tokens.length - ids.length;
  const chances = tokens.slice(0, ids.length).map((token) => token.chance), turns = turnsOf(chances);
  const note = (...parts) => make("p", { class: "note" }, ...parts), title = (text) => make("h2", {}, text);
  const legend = [[{}, 1, `towards ${name}`], [{}, -1, `towards ${other}`]];
  if (tokens.some((token) => token.unknown)) legend.push([{ unknown: true }, 0, "not in the vocabulary"]);
  if (unread) legend.push([{ read: false }, 0, "not read"]);
  const sample = ([kind, sign, text]) => make("span", { style: look(sign, 0.6 * Math.abs(sign), kind) }, text);
  const row = (kind, ...cells) => make("tr", {}, cells.map((content, i) =>
    make(kind, { scope: kind === "th" && "col", class: !i && "word" }, content)));
  const rows = turns.map((i, place) => row("td", [numbered(chances, i, place), tokens[i].text],
    percent(chances[i - 1], 0), percent(chances[i], 0)));
  const head = row("th", "after the token", `${name} before`, "after");
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, rows));
  return make("div", { class: "explanation" },
    make("p", { class: "verdict" }, `${label} `, make("span", {}, percent(scores[best]))), verdict(found),
    !ids.length ? note("There is no token to read; this is what the model says of an empty review.") : [
      note(`The model knows ${percent(known, 0)} of the ${count(ids.length, "token")} that it reads`,
        known < LEAST_KNOWN && make("strong", {}, ": it cannot judge this text, and its score says little"), "."),
      title("What each token changed"), make("p", { class: "note legend" }, legend.map(sample)), colored(found),
      unread > 0 && note(`It reads the first ${count(ids.length, "token")}; ${shown(unread)} more are not read.`),
      title("Probability after every token"), note("What the model would say had the review ended there."),
      curve(found, chances, turns),
      turns.length > 0 && [title("Largest changes"), table],
    ]);
}

const problem = (error) => make("p", { class: "problem", role: "alert" }, `That did not work: ${error.message}.`);
const review = document.getElementById("review"), opinion = document.getElementById("opinion");

async function read() {
  opinion.setAttribute("aria-busy", "true");
  if (!opinion.firstChild) opinion.append("The model is being loaded …");
  const text = review.value;
  try {
    if (!text.trim()) throw new Error("there is nothing to read yet: type or paste a review, or take an example");
    if (text.length > MAX_CHARACTERS) {
      throw new Error(`the text has ${shown(text.length)} characters; up to ${shown(MAX_CHARACTERS)} are read here`);
    }
    const found = await classify(text);
    // Not what was asked for before something else.
    if (text === review.value) opinion.replaceChildren(show(found));
  } catch (error) {
    opinion.replaceChildren(problem(error));
  }
  opinion.setAttribute("aria-busy", "false");
}

ready.catch((error) => opinion.replaceChildren(problem(error)));
document.getElementById("ask").addEventListener("submit", (event) => (event.preventDefault(), read()));
review.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.shiftKey || event.ctrlKey || event.metaKey)) event.preventDefault(), read();
});
for (const button of document.querySelectorAll("#examples button")) {
  button.addEventListener("click", () => ((review.value = button.dataset.text), read()));
}
