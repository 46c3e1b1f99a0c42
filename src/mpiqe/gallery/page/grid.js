"use strict";
// A grid of which only what is on the screen, and a little around it, is in the document.
//
// It is a listbox to assistive technology: the grid itself has the focus and says which photo is active, each photo
// says where it is among how many, and whether it is chosen.

const GAP = 8;
const HEADING = 40;
const AHEAD = 0.6; // screens above and below that are kept, and filled when the screen is drawn

class Grid {
  /**
   * `host`: the element. `fill(cell, photo)` shows a photo in a cell, `make()` makes an empty one;
   * `onOpen(photo)` is told what is opened, `onChosen()` that another photo is active or chosen.
   */
  constructor(host, { make, fill, onOpen, onChosen, captionHeight }) {
    Object.assign(this, { host, make, fill, onOpen, onChosen, captionHeight });
    this.photos = new Uint32Array(0); // what is shown, in order
    this.active = 0; // a place in photos
    this.anchor = 0; // where a range of chosen photos begins
    this.chosen = new Set(); // photos, not places
    this.choosesMany = false;
    this.cells = new Map(); // by place
    this.headings = new Map(); // by row
    this.free = []; // cells in the document whose photo is to be another one
    this.spare = []; // cells that are not in the document
    this.top = 0; // of what is scrolled; the host is not asked for it, nor for its size, since it would lay out first
    this.width = this.viewHeight = 0;
    this.cellSize = 168;
    this.sheet = element("div", "sheet");
    this.sheet.setAttribute("role", "presentation");
    host.append(this.sheet);
    this.setRows(null);
    host.addEventListener("scroll", () => { this.top = host.scrollTop; this.drawSoon(); }, { passive: true });
    host.addEventListener("keydown", (event) => this.key(event));
    host.addEventListener("click", (event) => this.click(event));
    host.addEventListener("dblclick", (event) => event.preventDefault());
    new ResizeObserver(() => { if (this.measure()) this.layOut(); }).observe(host);
  }

  /** Ask the host for its size; whether it has another one than before. A hidden host has none. */
  measure() {
    const { clientWidth, clientHeight } = this.host;
    if (!clientWidth || (clientWidth === this.width && clientHeight === this.viewHeight)) return false;
    this.width = clientWidth;
    this.viewHeight = clientHeight;
    return true;
  }

  scrollTo(top) {
    const to = Math.max(0, Math.min(top, this.height - this.viewHeight));
    if (to === this.top) return;
    this.host.scrollTop = to;
    this.top = this.host.scrollTop;
  }

  /**
   * Show these photos; `groups` are those of `grouped`, the photos in their order. The active photo stays
   * active where it is among them, unless all is shown `fromStart`.
   */
  show(photos, groups, fromStart) {
    const before = fromStart ? undefined : this.photos[this.active];
    this.photos = photos;
    this.groups = groups;
    const kept = before === undefined ? -1 : photos.indexOf(before);
    this.active = Math.max(0, kept);
    this.anchor = this.active;
    if (this.chosen.size) this.chosen = new Set(photos.filter((photo) => this.chosen.has(photo)));
    if (!this.width) this.measure();
    this.layOut({ stay: kept > 0 });
    this.onChosen();
  }

  get activePhoto() {
    return this.photos[this.active];
  }

  /** The chosen photos in order, or the active one where none is chosen. */
  get subjects() {
    if (this.chosen.size) return [...this.photos].filter((photo) => this.chosen.has(photo));
    return this.photos.length ? [this.activePhoto] : [];
  }

  // Rows: their top, their first place, and the group whose heading they are, or -1 for a row of photos.

  setRows(groups) {
    const { columns } = this;
    const count = this.photos.length;
    if (!groups) {
      const rows = count && Math.ceil(count / columns), step = count && this.rowHeight + GAP;
      const tops = Float64Array.from({ length: rows }, (_, row) => GAP + row * step);
      const firsts = Uint32Array.from({ length: rows }, (_, row) => row * columns);
      this.rows = { tops, firsts, heads: new Int32Array(rows).fill(-1) };
      this.height = GAP + rows * step;
      return;
    }
    const tops = [], firsts = [], heads = [];
    let top = GAP;
    const add = (height, first, head) => {
      tops.push(top);
      firsts.push(first);
      heads.push(head);
      top += height + (head < 0 ? GAP : 0);
    };
    for (let place = 0; place < count;) {
      const group = groups.of[this.photos[place]];
      let end = place + 1;
      while (end < count && groups.of[this.photos[end]] === group) end++;
      add(HEADING, place, group);
      for (; place < end; place += columns) add(this.rowHeight, place, -1);
      place = end;
    }
    this.rows = { tops, firsts, heads };
    this.height = top;
  }

  layOut({ stay = true } = {}) {
    const width = this.width - 2 * GAP;
    if (width <= 0) return;
    this.columns = Math.max(2, Math.floor((width + GAP) / (this.cellSize + GAP)));
    this.cellWidth = Math.floor((width + GAP) / this.columns) - GAP;
    this.rowHeight = this.cellWidth + this.captionHeight;
    this.setRows(this.groups);
    this.sheet.style.height = `${this.height}px`;
    this.recycle();
    if (stay) this.reveal(this.active);
    else this.scrollTo(0);
    this.draw();
  }

  recycle() {
    this.free.push(...[...this.cells.values()].reverse()); // taken from the end: the first stays the first
    for (const heading of this.headings.values()) heading.remove();
    this.cells.clear();
    this.headings.clear();
  }

  /** Take cells that no photo has taken out of the document. */
  removeFree() {
    for (const cell of this.free) {
      cell.remove();
      if (this.spare.length < 400) this.spare.push(cell);
    }
    this.free.length = 0;
  }

  /** The last row that begins at or before a height. */
  rowAt(height) {
    const { tops } = this.rows;
    let low = 0, high = tops.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (tops[middle] <= height) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  rowOf(place) {
    const { firsts, heads } = this.rows;
    let low = 0, high = firsts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (firsts[middle] <= place) low = middle;
      else high = middle - 1;
    }
    return heads[low] >= 0 ? low + 1 : low;
  }

  placesOf(row) {
    const { firsts, heads } = this.rows;
    if (heads[row] >= 0) return [];
    let end = Math.min(this.photos.length, firsts[row] + this.columns);
    if (row + 1 < firsts.length) end = Math.min(end, firsts[row + 1]);
    return Array.from({ length: end - firsts[row] }, (_, at) => firsts[row] + at);
  }

  drawSoon() {
    if (!this.waits) {
      this.waits = true;
      requestAnimationFrame(() => {
        this.waits = false;
        this.draw();
      });
    }
  }

  /** Draw what is on the screen, and what lies ahead when that has been shown. */
  draw() {
    this.drawWithin(0);
    clearTimeout(this.later);
    this.later = setTimeout(() => this.drawWithin(AHEAD), 50);
  }

  drawWithin(ahead) {
    const { top, viewHeight } = this;
    const { tops, heads } = this.rows;
    const wanted = new Set(), kept = new Set(), wantedHeadings = new Set();
    if (tops.length) {
      const rows = (screens) => [this.rowAt(top - viewHeight * screens), this.rowAt(top + viewHeight * (1 + screens))];
      const [first, last] = rows(ahead), [from, to] = rows(AHEAD);
      for (let row = from; row <= to; row++) {
        if (heads[row] >= 0) wantedHeadings.add(row);
        for (const place of this.placesOf(row)) (row >= first && row <= last ? wanted : kept).add(place);
      }
      if (this.active < this.photos.length) wanted.add(this.active);
    }
    for (const [place, cell] of this.cells) {
      if (!wanted.has(place) && !kept.has(place)) {
        this.cells.delete(place);
        this.free.push(cell);
      }
    }
    for (const [row, heading] of this.headings) {
      if (!wantedHeadings.has(row)) {
        this.headings.delete(row);
        heading.remove();
      }
    }
    const added = document.createDocumentFragment();
    for (const row of wantedHeadings) if (!this.headings.has(row)) added.append(this.heading(row));
    for (const place of wanted) if (!this.cells.has(place)) this.place(place, added);
    if (added.firstChild) this.sheet.append(added);
    this.removeFree();
    this.mark();
  }

  heading(row) {
    const heading = element("div", "heading");
    heading.setAttribute("role", "presentation");
    const { firsts, tops, heads } = this.rows;
    let end = row + 1;
    while (end < heads.length && heads[end] < 0) end++;
    const count = (end < firsts.length ? firsts[end] : this.photos.length) - firsts[row];
    const group = heads[row];
    heading.append(element("span", "", this.groups.label(group)), element("small", "", ` ${count}`));
    const note = this.groups.note(group);
    if (note) heading.append(element("small", "note", note));
    heading.style.transform = `translate(${GAP}px, ${tops[row]}px)`;
    this.headings.set(row, heading);
    return heading;
  }

  /** Show the photo of a place in a cell; one that is new in the document goes to `added`. */
  place(place, added) {
    let cell = this.free.pop();
    if (!cell) {
      cell = this.spare.pop() || this.make();
      added.append(cell);
    }
    const row = this.rowOf(place);
    const column = place - this.rows.firsts[row];
    setStyle(cell, "transform", `translate(${GAP + column * (this.cellWidth + GAP)}px, ${this.rows.tops[row]}px)`);
    setStyle(cell, "width", `${this.cellWidth}px`);
    setStyle(cell, "height", `${this.rowHeight}px`);
    const photo = this.photos[place];
    cell.id = `photo-${photo}`;
    cell.place = place;
    cell.setAttribute("aria-posinset", place + 1);
    cell.setAttribute("aria-setsize", this.photos.length);
    this.fill(cell, photo);
    this.cells.set(place, cell);
    return cell;
  }

  /** Show what is active and chosen. */
  mark() {
    for (const [place, cell] of this.cells) {
      const isActive = place === this.active;
      cell.classList.toggle("active", isActive);
      setAttribute(cell, "aria-selected", String(this.chosen.has(this.photos[place])));
      if (isActive) setAttribute(this.host, "aria-activedescendant", cell.id);
    }
    if (!this.photos.length) this.host.removeAttribute("aria-activedescendant");
  }

  /** Show photos anew after something about them has changed. */
  refresh(photos) {
    const changed = new Set(photos);
    for (const [place, cell] of this.cells) if (changed.has(this.photos[place])) this.fill(cell, this.photos[place]);
  }

  reveal(place) {
    if (!this.photos.length) return;
    const row = this.rowOf(place);
    const top = this.rows.tops[row];
    const over = this.rows.heads[row - 1] >= 0 ? HEADING : GAP;
    if (top - over < this.top) this.scrollTo(top - over);
    else if (top + this.rowHeight > this.top + this.viewHeight) this.scrollTo(top + this.rowHeight + GAP - this.viewHeight);
  }

  /** Make a place active; with `extend` choose everything from the anchor to it. */
  move(place, { extend = false, keep = false } = {}) {
    if (!this.photos.length) return;
    this.active = Math.min(this.photos.length - 1, Math.max(0, place));
    if (extend) {
      this.chosen.clear();
      const [low, high] = [this.anchor, this.active].sort((a, b) => a - b);
      for (let at = low; at <= high; at++) this.chosen.add(this.photos[at]);
    } else {
      this.anchor = this.active;
      if (!keep) this.chosen.clear();
    }
    this.reveal(this.active);
    this.draw();
    this.onChosen();
  }

  /** The place a number of rows further down, in the same column. */
  down(rows) {
    const { heads, firsts } = this.rows;
    let row = this.rowOf(this.active);
    const column = this.active - firsts[row];
    const step = Math.sign(rows);
    for (let left = Math.abs(rows); left > 0; left--) {
      let next = row + step;
      while (next >= 0 && next < heads.length && heads[next] >= 0) next += step;
      if (next < 0 || next >= heads.length) break;
      row = next;
    }
    const places = this.placesOf(row);
    return places[Math.min(column, places.length - 1)];
  }

  toggle(place) {
    const photo = this.photos[place];
    if (!this.chosen.delete(photo)) this.chosen.add(photo);
  }

  chooseAll() {
    this.chosen = new Set(this.photos);
    this.mark();
    this.onChosen();
  }

  chooseNone() {
    this.chosen.clear();
    this.mark();
    this.onChosen();
  }

  key(event) {
    const screen = Math.max(1, Math.floor(this.viewHeight / (this.rowHeight + GAP)));
    const to = {
      ArrowLeft: () => this.active - 1,
      ArrowRight: () => this.active + 1,
      ArrowUp: () => this.down(-1),
      ArrowDown: () => this.down(1),
      PageUp: () => this.down(-screen),
      PageDown: () => this.down(screen),
      Home: () => 0,
      End: () => this.photos.length - 1,
    }[event.key];
    if (event.altKey || !this.photos.length) return;
    if (to) this.move(to(), { extend: event.shiftKey, keep: event.ctrlKey || event.metaKey });
    else if (event.key === "Enter") this.onOpen(this.activePhoto);
    else if (event.key === " ") {
      this.toggle(this.active);
      this.mark();
      this.onChosen();
    } else if (event.key === "a" && (event.ctrlKey || event.metaKey)) this.chooseAll();
    else return;
    event.preventDefault();
  }

  click(event) {
    const cell = event.target.closest("[role=option]");
    if (!cell) return;
    this.host.focus({ preventScroll: true });
    if (event.shiftKey) this.move(cell.place, { extend: true });
    else if (event.ctrlKey || event.metaKey || this.choosesMany || event.target.closest(".tick")) {
      this.toggle(cell.place);
      this.move(cell.place, { keep: true });
    } else {
      this.move(cell.place);
      this.onOpen(this.activePhoto);
    }
  }
}

/** What is written without need costs the browser as much as what has changed. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setStyle(node, name, value) {
  if (node.style[name] !== value) node.style[name] = value;
}

function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** An element with a class and children; text is never taken for markup. */
function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}
