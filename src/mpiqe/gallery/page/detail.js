"use strict";
// One photo, large: the photo itself with its distortion map, its score, all probabilities and what was decided.

const MAP_SIDE = 220; // pixels of a map beside the photo
const MOST_SHOTS = 24; // of a group that are shown in a row

class Detail {
  /** `step(by)` goes to another photo and returns it; `goTo(photo)` makes one active, if it is among those shown; `decide(what)` decides about this one. */
  constructor(dialog, gallery, decisions, { step, goTo, decide, announce }) {
    Object.assign(this, { dialog, gallery, decisions, step, goTo, decide, announce });
    this.showsMap = false;
    this.pictures = element("div", "pictures");
    this.side = element("div", "side");
    const close = button("Close", () => dialog.close(), "Escape");
    this.at = element("span", "faint");
    const head = element("div", "detail-head", button("‹", () => this.go(-1), "ArrowLeft"), button("›", () => this.go(1), "ArrowRight"), this.at, close);
    head.children[0].setAttribute("aria-label", "Previous photo");
    head.children[1].setAttribute("aria-label", "Next photo");
    close.classList.add("close");
    this.close = close;
    dialog.append(element("div", "detail", this.pictures, element("div", "side-frame", head, this.side)));
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    new ResizeObserver(() => this.fit()).observe(this.pictures);
    this.swipe();
  }

  get isOpen() {
    return this.dialog.open;
  }

  open(photo) {
    this.show(photo);
    if (!this.dialog.open) this.dialog.showModal();
    this.close.focus();
    this.fit();
  }

  go(by) {
    const photo = this.step(by);
    if (photo !== undefined) this.show(photo);
  }

  key(event) {
    if (event.key === "ArrowLeft") this.go(-1);
    else if (event.key === "ArrowRight") this.go(1);
    else if (event.key === "m" || event.key === "M") this.toggleMap();
    else return false;
    return true;
  }

  /** A finger that moves sideways goes on. */
  swipe() {
    let from = null;
    this.pictures.addEventListener("pointerdown", (event) => {
      from = event.pointerType === "touch" && event.isPrimary ? [event.clientX, event.clientY] : null;
    });
    this.pictures.addEventListener("pointerup", (event) => {
      if (!from) return;
      const [x, y] = [event.clientX - from[0], event.clientY - from[1]];
      from = null;
      if (Math.abs(x) > 60 && Math.abs(x) > 2 * Math.abs(y)) this.go(x < 0 ? 1 : -1);
    });
  }

  show(photo, isOutside = false) {
    const { gallery } = this;
    this.photo = photo;
    this.isOutside = isOutside;
    const place = this.step(0, true);
    this.at.textContent = place;
    const tables = gallery.tables.filter((table) => table.hasPictures);
    const shown = tables.length > 1 ? tables : [gallery.first];
    this.pictures.replaceChildren(...shown.map((table) => this.picture(table, photo, shown.length > 1)));
    this.side.replaceChildren(...this.about(photo));
    this.side.scrollTop = 0;
    this.fit();
    this.announce(`${gallery.first.names[photo]}, ${place}`);
  }

  picture(table, photo, isNamed) {
    const frame = element("figure", "picture-frame");
    const box = element("div", "box");
    box.ratio = [table.width[photo] || 4, table.height[photo] || 3];
    const image = document.createElement("img");
    image.alt = table.names[photo];
    image.decoding = "async";
    const note = element("figcaption", "faint", isNamed ? table.name : "");
    const small = table.thumbnail(photo), large = table.original(photo);
    if (small) image.src = small;
    if (large) {
      const whole = new Image();
      whole.addEventListener("load", () => { image.src = large; });
      whole.addEventListener("error", () => { note.append(small ? " The photo itself cannot be shown; this is its thumbnail." : " The photo cannot be shown."); });
      whole.src = large;
    } else if (!small) note.append(" There is no picture of this photo.");
    box.append(image);
    const map = table === this.gallery.first ? this.gallery.maps[photo] : undefined;
    if (map) {
      const over = document.createElement("img");
      over.className = "map";
      over.alt = `Map: where “${map[0]}” is`;
      over.src = map[1];
      box.append(over);
      box.classList.toggle("mapped", this.showsMap);
    }
    frame.append(box, note);
    return frame;
  }

  toggleMap() {
    this.showsMap = !this.showsMap;
    for (const box of this.pictures.querySelectorAll(".box")) {
      box.classList.toggle("mapped", this.showsMap && box.querySelector(".map") !== null);
    }
    this.mapButton?.setAttribute("aria-pressed", this.showsMap);
  }

  about(photo) {
    const { gallery } = this;
    const { first } = gallery;
    const parts = [element("h2", "", first.names[photo])];
    for (const table of gallery.tables) parts.push(this.score(table, photo, gallery.second ? table.name : null));
    if (gallery.second) parts.push(element("p", "change", changeText(gallery, photo)));
    parts.push(this.choices(photo));
    if (gallery.shots && gallery.shots.group(photo) !== null) parts.push(this.shots(photo));
    this.mapButton = null;
    if (gallery.maps[photo]) parts.push(this.mapChoice(photo));
    for (const table of gallery.tables) {
      const of = gallery.second ? ` (${table.name})` : "";
      parts.push(shareBars(`Distortion${of}`, table.distortion, photo), shareBars(`Scene${of}`, table.scene, photo));
    }
    parts.push(this.facts(photo));
    return parts;
  }

  /** The map over a small picture of the photo; a click lays it over the large one. */
  mapChoice(photo) {
    const { first, maps } = this.gallery;
    const [distortion, address] = maps[photo];
    const box = element("span", "box mapped");
    const [width, height] = [first.width[photo] || 4, first.height[photo] || 3];
    const factor = Math.min(MAP_SIDE / width, MAP_SIDE / height);
    box.style.width = `${width * factor}px`;
    box.style.height = `${height * factor}px`;
    box.style.display = "block";
    const small = first.thumbnail(photo);
    for (const [source, className] of [[small, ""], [address, "map"]]) {
      if (source === null) continue;
      const image = element("img", className);
      image.alt = "";
      image.src = source;
      box.append(image);
    }
    this.mapButton = button(box, () => this.toggleMap(), "M");
    this.mapButton.setAttribute("aria-pressed", this.showsMap);
    this.mapButton.setAttribute("aria-label", `Lay the map of “${distortion}” over the photo`);
    this.mapButton.title = "Lay it over the photo (M)";
    return element("section", "map-choice", element("h3", "", distortion === "others" ? "Where other distortions are " : `Where “${distortion}” is `, element("kbd", "", "M")), this.mapButton);
  }

  score(table, photo, name) {
    const score = element("section", "score-panel");
    if (name) score.append(element("h3", "", name));
    const number = element("p", `number ${table.grade(photo)}`, table.number(table.score[photo]));
    score.append(number, scaleBar(table, photo));
    const ends = element("p", "ends", element("span", "", table.number(table.low)), element("span", "", table.number(table.high)));
    score.append(ends);
    const said = [];
    if (table.hasInterval(photo)) {
      const [low, high] = [table.intervalLow[photo], table.intervalHigh[photo]].map((end) => table.number(end));
      said.push(`${percent(this.gallery.level)} interval: ${low} to ${high}.`);
    }
    if (table.spread[photo]) said.push(`± ${table.number(table.spread[photo])} over its crops.`); // one crop has none
    if (table.unit) said.push(`${table.unit}, ${table.higherIsBetter ? "higher" : "lower"} is better.`);
    score.append(element("p", "faint", said.join(" ")));
    return score;
  }

  choices(photo) {
    const decision = this.decisions.decision(photo), rating = this.decisions.rating(photo);
    const row = element("div", "choices");
    for (const [what, label, letter] of [["pick", "Pick", "P"], ["reject", "Reject", "X"]]) {
      const choice = button(label, () => this.decide(what), letter);
      choice.prepend(element("kbd", "", letter), " ");
      choice.setAttribute("aria-pressed", decision === what);
      choice.classList.add(what);
      row.append(choice);
    }
    row.append(starButtons(rating, (stars) => this.decide(stars)));
    return row;
  }

  /** The photos of its group, the best first; a click goes there. */
  shots(photo) {
    const { shots, first } = this.gallery;
    const group = shots.group(photo);
    const verdict = shots.verdict(group);
    const row = element("div", "shots-row");
    const photos = [...shots.photos(group)].sort((a, b) => shots.behind[a] - shots.behind[b] || (shots.isBest(b) - shots.isBest(a)));
    for (const each of photos.slice(0, MOST_SHOTS)) {
      const image = document.createElement("img");
      image.alt = "";
      const address = first.thumbnail(each);
      if (address) image.src = address;
      const behind = shots.behind[each];
      const under = shots.isBest(each) ? "best" : Number.isNaN(behind) ? "" : `−${behind.toFixed(2)}`;
      const choice = button("", () => {
        this.show(each, !this.goTo(each));
        this.side.querySelector(".shots-row [aria-current]").focus();
      });
      choice.append(image, element("span", "", first.number(first.score[each])), element("small", "", under));
      choice.setAttribute("aria-label", `${first.names[each]}, score ${first.number(first.score[each])}, ${shots.place(each)}`);
      choice.title = first.names[each];
      if (each === photo) choice.setAttribute("aria-current", "true");
      row.append(choice);
    }
    const more = photos.length - MOST_SHOTS;
    return element("section", "shots",
      element("h3", "", `${photos.length} shots: ${verdict}`), row, ...(more > 0 ? [element("p", "faint", `and ${more} more`)] : []));
  }

  /** Show what was decided anew. */
  refresh() {
    const row = this.side.querySelector(".choices");
    const focused = [...row.querySelectorAll("button")].indexOf(document.activeElement);
    const made = this.choices(this.photo);
    row.replaceWith(made);
    if (focused >= 0) made.querySelectorAll("button")[focused].focus();
  }

  facts(photo) {
    const { gallery } = this;
    const section = element("section", "facts");
    const list = element("dl", "");
    const add = (name, value) => list.append(element("dt", "", name), element("dd", "", value));
    const { first } = gallery;
    const megapixels = gallery.bySize[photo] / 1e6;
    add("Size", `${first.width[photo]} × ${first.height[photo]} pixels, ${megapixels < 0.1 ? megapixels.toPrecision(1) : megapixels.toFixed(1)} MP`);
    if (gallery.taken && !Number.isNaN(gallery.taken[photo])) add("Taken", timeText(gallery.taken[photo]));
    section.append(list);
    const tables = gallery.second && gallery.second.path(photo) !== first.path(photo) ? gallery.tables : [first];
    for (const table of tables) section.append(this.path(table, photo));
    return section;
  }

  path(table, photo) {
    const field = document.createElement("input");
    Object.assign(field, { type: "text", readOnly: true, value: table.path(photo) });
    field.setAttribute("aria-label", "Path");
    const copy = button("Copy path", () => copyText(field, () => {
      copy.textContent = "Copied";
      this.announce("The path is copied.");
      setTimeout(() => { copy.textContent = "Copy path"; }, 1500);
    }));
    const row = element("div", "path", field, copy);
    const large = table.original(photo);
    if (large) {
      const link = element("a", "", "Open the file");
      link.href = large;
      link.target = "_blank";
      link.rel = "noopener noreferrer";
      row.append(link);
    }
    return row;
  }

  /** Make each box as large as fits, in the photo's own shape: the map lies exactly on it. */
  fit() {
    for (const frame of this.pictures.children) {
      const box = frame.firstChild;
      const width = frame.clientWidth, height = frame.clientHeight - frame.lastChild.offsetHeight;
      const factor = Math.min(width / box.ratio[0], height / box.ratio[1]);
      if (factor > 0) {
        box.style.width = `${box.ratio[0] * factor}px`;
        box.style.height = `${box.ratio[1] * factor}px`;
      }
    }
  }
}

/** How the second table's score differs: in units where both have the same, else in shares of the scale. */
function changeText(gallery, photo) {
  const { first, second } = gallery;
  const signed = (text) => (text.startsWith("−") ? text : `+${text}`);
  if (gallery.sameUnits) return `Change: ${signed(first.number(second.score[photo] - first.score[photo]))}`;
  return `Change: ${signed(decimal(gallery.change(photo) * 100, 0))} % of the scale`;
}

function button(label, onClick, shortcut) {
  const made = element("button", "", label);
  made.type = "button";
  if (shortcut) made.setAttribute("aria-keyshortcuts", shortcut);
  made.addEventListener("click", onClick);
  return made;
}

/** Buttons for 1 to 5 stars, those up to the rating filled. */
function starButtons(rating, onRate) {
  const row = element("span", "stars");
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", "Rating");
  for (let stars = 1; stars <= 5; stars++) {
    const star = button(rating !== null && stars <= rating ? "★" : "☆", () => onRate(stars), String(stars));
    star.setAttribute("aria-label", stars === 1 ? "1 star" : `${stars} stars`);
    star.setAttribute("aria-pressed", rating === stars);
    star.title = `${stars} (key ${stars})`;
    row.append(star);
  }
  return row;
}

function copyText(field, done) {
  field.focus();
  field.select();
  if (navigator.clipboard) navigator.clipboard.writeText(field.value).then(done, () => document.execCommand("copy") && done());
  else if (document.execCommand("copy")) done();
}
