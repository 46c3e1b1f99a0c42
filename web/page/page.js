// The page: takes photos, hands them to the worker, and shows what it sends.
import { Card } from "./card.js";

const at = (id) => document.getElementById(id);
const cards = new Map(); // by id, in the order in which they were added
let next = 0;
let worker = null;
let card = null; // mpiqe.json, once the model is there

const files = await readList();

async function readList() {
  try {
    const response = await fetch("files.json");
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    const list = await response.json();
    const bytesOf = (part) => part.files.reduce((sum, { bytes }) => sum + bytes, 0);
    const parts = [bytesOf(list.model), bytesOf(list.runtime)];
    const [all, model, runtime] = [parts[0] + parts[1], ...parts].map((bytes) => Math.round(bytes / 1e6));
    at("cost").textContent =
      `The first photo downloads ${all} MB: the model (${model} MB) and ONNX Runtime, which computes it ` +
      `(${runtime} MB, less if the host compresses). Your browser's cache keeps both. ` +
      "A photo then takes about a second, and its map one or two more; what yours took is shown.";
    return list;
  } catch (error) {
    notice(`files.json could not be read (${error.message}); build the page with npm run build.`);
    return null;
  }
}

/** The worker, started with the first photo: nothing large is downloaded before. */
function started() {
  if (worker || !files) return worker;
  // from a blob, since such a worker is bound by this page's policy and one from an address is not
  const source = `import ${JSON.stringify(new URL("worker.js", document.baseURI).href)};`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  worker = new Worker(address, { type: "module" });
  worker.onmessage = ({ data }) => receive(data);
  worker.onerror = (event) => fail(event.message || "the worker could not start; is the browser up to date?");
  worker.postMessage({ start: { base: document.baseURI, files } });
  at("loading").hidden = false;
  return worker;
}

function receive(message) {
  if (message.progress) {
    const [loaded, total] = message.progress;
    at("progress").value = loaded / total;
    const megabytes = (bytes) => (bytes / 1e6).toFixed(0);
    at("loading-text").textContent =
      loaded < total ? `Downloading the model: ${megabytes(loaded)} of ${megabytes(total)} MB` : "Starting the model";
  } else if (message.ready) {
    card = message.ready;
    at("loading").hidden = true;
    const ends = [card.low, card.high].map((end) => end.toFixed(0));
    at("scale").textContent =
      `Scores are in the unit “${card.unit}”, about ${ends[0]} to ${ends[1]}, higher is better (${card.version}). ` +
      "The interval holds the mean opinion of people for 90 % of photos like those of the calibration.";
    if (!message.exact) {
      notice("This browser changes the pixels that a page reads, against fingerprinting; scores are off by a little.");
    }
  } else if (message.fault) {
    fail(message.fault);
  } else {
    const shown = cards.get(message.id);
    if (!shown) return; // cleared meanwhile
    if (message.error) shown.fail(message.error);
    else if (message.result) shown.score(message, card);
    else shown.map(message.map, at("maps").checked);
    if (!message.map) arrange();
  }
}

function fail(reason) {
  at("loading").hidden = true;
  notice(`The model could not be started: ${reason}`);
  for (const shown of cards.values()) if (!shown.done) shown.fail("not scored");
}

function notice(text) {
  at("notice").textContent = text;
  at("notice").hidden = false;
}

function add(list) {
  const dropped = [...list];
  if (!dropped.length || !started()) return;
  for (const file of dropped) {
    const id = next++;
    const shown = new Card(file.name || "pasted photo");
    cards.set(id, shown);
    at("photos").append(shown.element);
    worker.postMessage({ id, file });
  }
  arrange();
}

/** Puts the photos in the chosen order, and says how many are done. */
function arrange() {
  const all = [...cards.values()];
  const direction = { worst: 1, best: -1 }[at("order").value];
  const place = (shown) => (shown.value === null ? Infinity : direction * shown.value);
  const ordered = direction ? all.toSorted((a, b) => place(a) - place(b) || 0) : all;
  ordered.forEach((shown, index) => {
    const there = at("photos").children[index];
    if (there !== shown.element) at("photos").insertBefore(shown.element, there);
  });
  at("bar").hidden = !all.length;
  const done = all.filter((shown) => shown.done).length;
  const scored = all.filter((shown) => shown.value !== null);
  const mean = scored.reduce((sum, shown) => sum + shown.seconds, 0) / scored.length;
  at("status").textContent =
    (done < all.length ? `${done} of ${all.length} photos done` : `${all.length} photo${all.length === 1 ? "" : "s"}`) +
    (scored.length ? `, ${mean.toFixed(2)} s each` : "");
}

at("files").addEventListener("change", () => {
  add(at("files").files);
  at("files").value = ""; // the same photo can be chosen again
});
at("order").addEventListener("change", arrange);
at("maps").addEventListener("change", () => cards.forEach((shown) => shown.showMap(at("maps").checked)));
at("clear").addEventListener("click", () => {
  cards.forEach((shown) => shown.remove());
  cards.clear();
  arrange();
  at("files").focus();
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  add(event.dataTransfer.files);
});
addEventListener("paste", (event) => add(event.clipboardData.files));
document.body.classList.add("ready");
