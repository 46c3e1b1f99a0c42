"use strict";
// The page: what is shown, and what keys and buttons do.

const gallery = new Gallery(mpiqeGallery);
delete globalThis.mpiqeGallery; // megabytes that have become columns
const decisions = new Decisions(gallery.id, gallery.count);
const filters = new Filters();
const texts = new Texts(gallery.first);
const keys = sortKeys(gallery, decisions);
const state = { key: gallery.second ? "disagreement" : "score", reversed: false, group: "none", order: null, groups: null };
const byId = (id) => document.getElementById(id);

const grid = new Grid(byId("grid"), {
  make: makeCell,
  fill: fillCell,
  onOpen: (photo) => detail.open(photo),
  onChosen: () => showChosen(),
  captionHeight: gallery.second ? 74 : 56,
});

const detail = new Detail(byId("detail"), gallery, decisions, {
  step: (by, tellsPlace) => {
    if (tellsPlace) return detail.isOutside ? "not among those shown" : `${count(grid.active + 1)} of ${count(grid.photos.length)}`;
    const to = grid.active + by;
    if (to < 0 || to >= grid.photos.length) return undefined;
    grid.move(to);
    return grid.activePhoto;
  },
  goTo: (photo) => {
    const place = grid.photos.indexOf(photo);
    if (place >= 0) grid.move(place);
    return place >= 0;
  },
  decide: (what) => decide(what, [detail.photo]),
  announce: say,
});

const histograms = [];

function count(number) {
  return number.toLocaleString("en");
}

const photosText = (number) => `${count(number)} ${number === 1 ? "photo" : "photos"}`;

/** Tell a screen reader. */
function say(text) {
  byId("said").textContent = text;
}

// Cells

function makeCell() {
  const cell = element("div", "cell");
  cell.setAttribute("role", "option");
  cell.pictures = gallery.tables.filter((table) => table.hasPictures);
  if (!cell.pictures.length) cell.pictures = [gallery.first];
  cell.images = cell.pictures.map(() => {
    const image = document.createElement("img");
    image.alt = "";
    image.decoding = "async";
    image.draggable = false;
    return image;
  });
  cell.picture = element("div", cell.images.length > 1 ? "picture two" : "picture", ...cell.images);
  cell.tick = element("span", "tick");
  cell.tick.setAttribute("aria-hidden", "true");
  cell.mark = element("span", "mark");
  cell.score = element("span", "score");
  cell.bar = element("span", "rail", element("span", ""));
  cell.word = element("span", "word");
  cell.name = element("span", "name");
  cell.best = element("span", "best");
  cell.change = element("span", "cell-change");
  const top = element("div", "line", cell.score, cell.bar);
  const lines = gallery.second ? [top, element("div", "line", cell.change), element("div", "line", cell.name)] : [top, element("div", "line", cell.word, cell.name)];
  cell.append(cell.picture, element("div", "caption", ...lines), cell.mark, cell.tick);
  cell.picture.append(cell.best);
  return cell;
}

function fillCell(cell, photo) {
  const { first, second } = gallery;
  cell.images.forEach((image, at) => {
    const address = cell.pictures[at].thumbnail(photo);
    if (address === null) image.removeAttribute("src");
    else if (image.getAttribute("src") !== address) image.src = address;
    image.classList.toggle("absent", address === null);
  });
  const decision = decisions.decision(photo), rating = decisions.rating(photo);
  cell.className = `cell ${first.grade(photo)} ${decision}`;
  const score = first.number(first.score[photo]);
  setText(cell.score, second ? `${score} → ${second.number(second.score[photo])}` : score);
  setStyle(cell.bar.firstChild, "width", `${(first.place(first.score[photo]) * 100).toFixed(1)}%`);
  setText(cell.word, first.distortion.name(photo));
  setText(cell.name, first.names[photo]);
  cell.title = first.path(photo);
  if (second) {
    cell.change.textContent = changeText(gallery, photo);
    cell.change.className = `cell-change ${gallery.change(photo) < 0 ? "worse" : "better"}`;
  }
  const mark = decision === "pick" ? "✓" : decision === "reject" ? "✕" : "";
  const marked = mark + (rating === null ? "" : rating === 0 ? "☆" : "★".repeat(rating));
  setText(cell.mark, marked);
  cell.mark.hidden = marked === "";
  showBest(cell.best, photo);
  cell.setAttribute("aria-label", labelOf(photo));
}

/** The mark of a group's best shot: "best of 3", with a question mark where it cannot be told. */
function showBest(mark, photo) {
  const { shots } = gallery;
  mark.hidden = !shots?.isBest(photo);
  if (mark.hidden) return;
  const group = shots.group(photo), clear = shots.canTell(group);
  mark.textContent = `best of ${count(shots.photos(group).length)}${clear ? "" : "?"}`;
  mark.classList.toggle("unclear", !clear);
  mark.title = shots.place(photo);
}

function labelOf(photo) {
  const { first, second } = gallery;
  const said = [first.names[photo], `score ${first.number(first.score[photo])}`];
  if (second) said.push(changeText(gallery, photo));
  const word = wordOf(first.distortion, photo);
  if (word) said.push(word);
  if (gallery.shots?.group(photo) != null) said.push(gallery.shots.place(photo));
  const decision = decisions.decision(photo), rating = decisions.rating(photo);
  if (decision) said.push(decision === "pick" ? "picked" : "rejected");
  if (rating !== null) said.push(rating === 1 ? "1 star" : `${rating} stars`);
  return said.join(", ");
}

// What is shown

function order() {
  state.groups = grouped(gallery, state.group);
  state.order = sorted(gallery, keys[state.key], state.reversed, state.groups);
  show(true);
}

function show(fromStart = false) {
  const isFailures = filters.view === "failures";
  const photos = isFailures ? new Uint32Array(0) : filters.apply(state.order, gallery, decisions, texts);
  byId("grid").hidden = isFailures || !photos.length;
  byId("bar").hidden = isFailures || !gallery.count;
  byId("failures").hidden = !isFailures;
  if (isFailures) failuresView.show(filters.text);
  grid.show(photos, state.groups, fromStart);
  const shown = isFailures ? failuresView.shown.length : photos.length;
  const all = isFailures ? gallery.failures.length : gallery.count;
  byId("shown").textContent = isFailures
    ? `${photosText(shown)} could not be read`
    : shown === all ? photosText(all) : `${count(shown)} of ${photosText(all)}`;
  byId("empty").hidden = shown > 0;
  byId("empty").firstElementChild.textContent = all ? "No photo passes these filters." : "There is no photo here.";
  byId("empty").lastElementChild.hidden = filters.isEmpty;
  byId("reset").disabled = filters.isEmpty;
}

/** Photos that could not be read, with the reasons: a list of which only what is on the screen is in the document. */
const failuresView = {
  shown: [],

  /** Two lines each of path and reason, beside each other or, on a phone, below. */
  get rowHeight() {
    return matchMedia("(max-width: 820px)").matches ? 92 : 52;
  },

  show(text) {
    const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.shown = gallery.failures.filter(({ path, reason }) =>
      wanted.every((word) => `${path} ${reason}`.toLowerCase().includes(word)));
    this.shown.sort((a, b) => state.failureKey === "path" ? compareText(a.path, b.path) : compareText(a.reason, b.reason) || compareText(a.path, b.path));
    this.draw();
  },

  draw() {
    const host = byId("failures");
    if (!this.list) {
      const order = document.createElement("select");
      order.append(new Option("reason", "reason"), new Option("path", "path"));
      order.addEventListener("change", () => { state.failureKey = order.value; show(); });
      this.list = element("ul", "");
      host.append(element("label", "", "Sort by ", order), this.list);
      host.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()), { passive: true });
      new ResizeObserver(() => this.draw()).observe(host);
    }
    const { rowHeight } = this;
    this.list.style.height = `${this.shown.length * rowHeight}px`;
    const top = Math.max(0, host.scrollTop - this.list.offsetTop);
    const from = Math.max(0, Math.floor(top / rowHeight) - 10);
    const to = Math.min(this.shown.length, from + Math.ceil(host.clientHeight / rowHeight) + 20);
    this.list.replaceChildren(...this.shown.slice(from, to).map(({ path, reason }, at) => {
      const row = element("li", "", element("span", "path", path), element("span", "reason", reason));
      row.title = `${path}: ${reason}`;
      row.style.height = `${rowHeight}px`;
      row.style.transform = `translateY(${(from + at) * rowHeight}px)`;
      return row;
    }));
  },
};

// Decisions

/** Decide: "pick", "reject", "clear", "undo" or a number of stars; about the chosen photos, or the active one. */
function decide(what, photos = detail.isOpen ? [detail.photo] : grid.subjects) {
  if (what === "undo") {
    const undone = decisions.undo();
    say(undone.length ? `Undone for ${photosText(undone.length)}` : "There is nothing to undo");
    return;
  }
  if (!photos.length) return;
  if (what === "clear") decisions.set(photos, { decision: "", rating: null });
  else if (typeof what === "number") decisions.set(photos, { rating: what });
  else {
    const isSet = photos.every((photo) => decisions.decision(photo) === what);
    decisions.set(photos, { decision: isSet ? "" : what });
  }
  say(photos.length === 1 ? labelOf(photos[0]) : `${photosText(photos.length)} decided`);
}

decisions.onChange = (photos) => {
  grid.refresh(photos);
  if (detail.isOpen) detail.refresh();
  showCounts();
  showChosen();
  if (!decisions.isKept) showNotices();
};

function showCounts() {
  const counts = decisions.counts();
  const numbers = { all: gallery.count, pick: counts.pick, reject: counts.reject, rated: counts.rated, undecided: counts.undecided, best: gallery.shots?.count, failures: gallery.failures.length };
  for (const input of byId("views").querySelectorAll("input")) {
    input.nextElementSibling.lastElementChild.textContent = count(numbers[input.value]);
  }
  const decided = gallery.count - counts.undecided;
  byId("decided").textContent = decided
    ? `${photosText(decided)} decided: ${count(counts.pick)} picked, ${count(counts.reject)} rejected, ${count(counts.rated)} rated.`
    : "Nothing is decided yet: choose a photo and press P, X or 0 to 5.";
  for (const each of document.querySelectorAll("[data-export]")) {
    const number = { picked: counts.pick, rejected: counts.reject, shown: gallery.count }[each.dataset.export] ?? decided;
    each.disabled = number === 0;
  }
}

function showChosen() {
  const bar = byId("bar");
  const { subjects } = grid;
  setText(byId("chosen"), grid.chosen.size ? `${count(grid.chosen.size)} chosen` : subjects.length ? gallery.first.names[subjects[0]] : "");
  const ratings = new Set(subjects.slice(0, 1000).map((photo) => decisions.rating(photo)));
  const rating = ratings.size === 1 ? [...ratings][0] : null;
  bar.querySelectorAll(".stars button").forEach((star, at) => {
    setText(star, rating !== null && at < rating ? "★" : "☆");
    setAttribute(star, "aria-pressed", String(rating === at + 1));
  });
  for (const what of ["pick", "reject"]) {
    const pressed = subjects.length > 0 && subjects.slice(0, 1000).every((photo) => decisions.decision(photo) === what);
    setAttribute(bar.querySelector(`[data-decide=${what}]`), "aria-pressed", String(pressed));
  }
  bar.querySelector("[data-decide=undo]").disabled = !decisions.undone.length;
}

function exportAs(kind) {
  const paths = (photos) => pathsAsLines([...photos].map((photo) => gallery.first.path(photo)));
  const all = [...Array(gallery.count).keys()];
  if (kind === "csv") download("decisions.csv", decisionsAsCsv(decidedRows(gallery, decisions)), "text/csv");
  else if (kind === "json") download("decisions.json", decisionsAsJson(decidedRows(gallery, decisions)), "application/json");
  else if (kind === "picked") download("picked.txt", paths(all.filter((photo) => decisions.decision(photo) === "pick")));
  else if (kind === "rejected") download("rejected.txt", paths(all.filter((photo) => decisions.decision(photo) === "reject")));
  else download("shown.txt", paths(grid.photos));
}

async function importFrom(file) {
  let rows;
  try {
    rows = parseDecisions(await file.text());
  } catch (error) {
    notice(`${file.name} holds no decisions: ${error.message}.`);
    return;
  }
  const numbers = new Map();
  for (let photo = 0; photo < gallery.count; photo++) numbers.set(gallery.first.path(photo), photo);
  const changes = new Map();
  for (const row of rows) if (numbers.has(row.path)) changes.set(numbers.get(row.path), row);
  decisions.replace(changes);
  const unknown = rows.length - changes.size;
  notice(`${count(changes.size)} decisions of ${file.name} were taken over${unknown ? `; ${count(unknown)} are of photos that are not here` : ""}.`);
}

// Notices

const said = new Set();

function notice(text) {
  if (said.has(text)) return;
  said.add(text);
  const line = element("p", "notice", text, button("Dismiss", () => { line.remove(); said.delete(text); }));
  byId("notices").append(line);
  say(text);
}

function showNotices() {
  if (!decisions.isKept) notice("This browser keeps nothing for this page: export your decisions before you close it.");
}

// Controls

const SHOTS = {
  time: { group: "burst", view: "Best of bursts" },
  similarity: { group: "likeness", view: "Best of like photos" },
  folder: { group: "folder", view: "Best of folders" },
};

/** Pick the best of each group and reject what it is told from, where nothing was decided yet. */
function decideByShots() {
  const changes = new Map();
  for (const photo of gallery.shots.members) {
    const decision = gallery.shots.decision(photo);
    if (decision && !decisions.isDecided(photo)) changes.set(photo, { decision, rating: null });
  }
  decisions.replace(changes);
  say(`${photosText(changes.size)} decided`);
}

function buildViews() {
  const views = [["all", "All"], ["undecided", "Undecided"], ["pick", "Picked"], ["reject", "Rejected"], ["rated", "Rated"]];
  if (gallery.shots) views.push(["best", SHOTS[gallery.shots.by].view]);
  if (gallery.failures.length) views.push(["failures", "Could not be read"]);
  for (const [value, label] of views) {
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "view", value, checked: value === filters.view });
    input.addEventListener("change", () => { filters.view = value; show(); });
    byId("views").append(element("label", "", input, element("span", "", label, " ", element("small", ""))));
  }
}

function buildOrder() {
  for (const [value, { label }] of Object.entries(keys)) byId("sort").append(new Option(label, value));
  byId("sort").value = state.key;
  byId("sort").addEventListener("change", () => {
    state.key = byId("sort").value;
    state.reversed = false;
    showDirection();
    order();
  });
  byId("direction").addEventListener("click", () => {
    state.reversed = !state.reversed;
    showDirection();
    order();
  });
  const groups = [["none", "nothing"], ["folder", "folder"], ["distortion", "distortion"], ["scene", "scene"]];
  const by = gallery.shots?.by;
  if (by === "folder") groups[1][0] = "shots";
  else if (by) groups.splice(1, 0, ["shots", SHOTS[by].group]);
  for (const [value, label] of groups) byId("group").append(new Option(label, value));
  byId("group").addEventListener("change", () => { state.group = byId("group").value; order(); });
  const size = byId("cell-size");
  if (innerWidth > 1800) grid.cellSize = 208;
  size.value = grid.cellSize;
  size.addEventListener("input", () => { grid.cellSize = +size.value; grid.layOut(); });
  showDirection();
}

function showDirection() {
  byId("direction").textContent = keys[state.key].ways[+state.reversed];
  byId("direction").setAttribute("aria-pressed", state.reversed);
}

function buildRanges() {
  for (const [name, { label, values, text }] of Object.entries(rangeKeys(gallery))) {
    const histogram = new Histogram(label, values, text, (range) => {
      if (range) filters.ranges.set(name, { low: range[0], high: range[1], values });
      else filters.ranges.delete(name);
      show();
    });
    histograms.push(histogram);
    byId("ranges").append(histogram.element);
  }
}

function buildWords() {
  for (const [kind, title] of [["distortion", "Distortion"], ["scene", "Scene"]]) {
    const classes = gallery.first[kind];
    const counts = new Uint32Array(NO_CLASS + 1);
    for (const number of classes.likeliest) counts[number]++;
    const numbers = [...classes.names.keys()].filter((number) => counts[number]).sort((a, b) => counts[b] - counts[a]);
    if (!numbers.length) continue;
    const box = element("fieldset", "words", element("legend", "", title));
    for (const number of numbers) {
      const input = document.createElement("input");
      Object.assign(input, { type: "checkbox" });
      input.addEventListener("change", () => {
        if (input.checked) filters.words[kind].add(number);
        else filters.words[kind].delete(number);
        show();
      });
      box.append(element("label", "", input, element("span", "", classes.names[number], " ", element("small", "", count(counts[number])))));
    }
    byId("words").append(box);
  }
}

function clearFilters() {
  filters.clear();
  byId("search").value = "";
  for (const histogram of histograms) histogram.clear();
  for (const input of document.querySelectorAll("#words input")) input.checked = false;
  byId("views").querySelector("input").checked = true;
  show();
}

function buildBar() {
  const stars = starButtons(null, (number) => decide(number));
  byId("bar").querySelector(".stars").replaceWith(stars);
  byId("bar").addEventListener("click", (event) => {
    const what = event.target.closest("[data-decide]")?.dataset.decide;
    if (what) decide(what);
    if (event.detail > 0) byId("grid").focus(); // a click of the mouse: arrows go on through the photos
  });
  byId("choose-many").addEventListener("click", () => {
    grid.choosesMany = !grid.choosesMany;
    byId("choose-many").setAttribute("aria-pressed", grid.choosesMany);
    document.body.classList.toggle("choosing", grid.choosesMany);
    if (!grid.choosesMany) grid.chooseNone();
  });
}

const THEMES = ["auto", "light", "dark"];

function buildTheme() {
  let theme = "auto";
  try {
    theme = localStorage.getItem("mpiqe-report:theme") || theme;
  } catch {
    // this browser keeps nothing: the theme is the system's
  }
  const set = (name) => {
    theme = THEMES.includes(name) ? name : "auto";
    document.documentElement.dataset.theme = theme;
    byId("theme").textContent = theme[0].toUpperCase() + theme.slice(1);
  };
  set(theme);
  byId("theme").addEventListener("click", () => {
    set(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
    try {
      localStorage.setItem("mpiqe-report:theme", theme);
    } catch {
      // likewise
    }
  });
}

const HELP = [
  ["Arrows, Page Up, Page Down, Home, End", "go through the photos"],
  ["Enter, or click", "open a photo; Escape closes it"],
  ["Space, Ctrl + click", "choose several photos"],
  ["Shift + arrows, Shift + click", "choose all between"],
  ["Ctrl + A, Escape", "choose all shown, or none"],
  ["P, X", "pick, reject; once more takes it back"],
  ["0 to 5", "rate"],
  ["Backspace", "clear pick, reject and rating"],
  ["U", "undo"],
  ["M", "in an open photo: show where its distortion is, or hide it"],
  ["/", "search"],
];

function buildHelp() {
  const list = element("dl", "");
  for (const [name, meaning] of HELP) list.append(element("dt", "", name), element("dd", "", meaning));
  const title = element("h2", "", "Keys");
  title.id = "help-title";
  const dialog = byId("help");
  dialog.append(element("div", "help-head", title, button("Close", () => dialog.close(), "Escape")), list,
    element("p", "faint", "Decisions are about the chosen photos, or the active one where none is chosen. They stay in this browser; export them to keep them, and for mpiqe apply."));
  byId("show-help").addEventListener("click", () => dialog.showModal());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}

function buildPanel() {
  const set = (open) => {
    document.body.classList.toggle("panel-open", open);
    byId("show-panel").setAttribute("aria-expanded", open);
    (open ? byId("hide-panel") : byId("show-panel")).focus();
  };
  byId("show-panel").addEventListener("click", () => set(!document.body.classList.contains("panel-open")));
  byId("hide-panel").addEventListener("click", () => set(false));
  byId("panel").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.body.classList.contains("panel-open")) set(false);
  });
}

function onKey(event) {
  const typing = event.target.matches("input:not([type=checkbox], [type=radio], [type=range]), select, textarea");
  if (typing || event.altKey || byId("help").open) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key === "z") decide("undo");
    else return;
  } else if (detail.isOpen && detail.key(event)) {
    // it is done
  } else if (/^[0-5]$/.test(event.key)) decide(+event.key);
  else if (event.key === "p" || event.key === "P") decide("pick");
  else if (event.key === "x" || event.key === "X") decide("reject");
  else if (event.key === "u" || event.key === "U") decide("undo");
  else if (event.key === "Backspace" || event.key === "Delete") decide("clear");
  else if (event.key === "Escape" && !detail.isOpen && grid.chosen.size) grid.chooseNone();
  else if (event.key === "?") byId("help").showModal();
  else if (event.key === "/" && !detail.isOpen) byId("search").focus();
  else return;
  event.preventDefault();
}

function start() {
  document.title = gallery.title;
  byId("title").textContent = gallery.title;
  const { first, second } = gallery;
  const about = second ? `${first.name} → ${second.name}. ` : "";
  byId("about").textContent = `${about}${first.unit ? `Scores: ${first.unit}, about ${first.number(first.low)} to ${first.number(first.high)}, ${first.higherIsBetter ? "higher" : "lower"} is better. ` : ""}${first.model ? `Model: ${first.model}.` : ""}`;
  buildViews();
  buildOrder();
  buildRanges();
  buildWords();
  buildBar();
  buildTheme();
  buildHelp();
  buildPanel();
  for (const text of gallery.notes) notice(text);
  showNotices();
  let typing;
  byId("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => { filters.text = byId("search").value; show(); }, 80);
  });
  byId("search").addEventListener("focus", () => texts.prepare());
  byId("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "ArrowDown") byId("grid").focus();
  });
  byId("reset").addEventListener("click", clearFilters);
  byId("empty").lastElementChild.addEventListener("click", clearFilters);
  byId("panel").addEventListener("click", (event) => {
    const kind = event.target.closest("[data-export]")?.dataset.export;
    if (kind) exportAs(kind);
  });
  byId("decide-best").hidden = !gallery.shots;
  byId("decide-best").addEventListener("click", decideByShots);
  byId("import").addEventListener("click", () => byId("import-file").click());
  byId("import-file").addEventListener("change", async ({ target }) => {
    if (target.files[0]) await importFrom(target.files[0]);
    target.value = "";
  });
  byId("detail").addEventListener("close", () => byId("grid").focus());
  document.addEventListener("keydown", onKey);
  addEventListener("pagehide", () => decisions.save());
  if (!gallery.count && gallery.failures.length) {
    filters.view = "failures";
    byId("views").querySelector("[value=failures]").checked = true;
  }
  showCounts();
  order();
  document.body.classList.add("ready");
  byId("grid").focus({ preventScroll: true });
}

start();
