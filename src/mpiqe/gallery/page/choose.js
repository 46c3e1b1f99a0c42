"use strict";
// Which photos are shown, in which order and in which groups.

const RADIX_BITS = 11; // of a value's 32 that one pass of sorting looks at
const SIGN = 0x80000000; // the bit of it

/** Sort keys: a label, a value for each photo (NaN: comes last), and which way round is natural. */
function sortKeys(gallery, decisions) {
  const { first, second } = gallery;
  const toBest = first.higherIsBetter ? 1 : -1;
  const keys = {};
  if (second) {
    keys.disagreement = { label: "disagreement", value: (photo) => -Math.abs(gallery.change(photo)), ways: ["Largest first", "Smallest first"] };
    keys.change = { label: "change", value: (photo) => gallery.change(photo), ways: ["Worse first", "Better first"] };
  }
  keys.score = { label: second ? `score (${first.name})` : "score", value: (photo) => toBest * first.score[photo], ways: ["Worst first", "Best first"] };
  if (second) keys.second = { label: `score (${second.name})`, value: (photo) => second.quality(photo), ways: ["Worst first", "Best first"] };
  keys.interval = { label: "interval width", value: (photo) => first.intervalLow[photo] - first.intervalHigh[photo], ways: ["Widest first", "Narrowest first"] };
  keys.distortion = { label: "distortion", value: byClass(first.distortion), ways: ["A to Z", "Z to A"] };
  keys.scene = { label: "scene", value: byClass(first.scene), ways: ["A to Z", "Z to A"] };
  keys.spread = { label: "spread over crops", value: (photo) => -first.spread[photo], ways: ["Largest first", "Smallest first"] };
  keys.size = { label: "size in pixels", value: (photo) => -gallery.bySize[photo], ways: ["Largest first", "Smallest first"] };
  keys.name = { label: "name", value: (photo) => gallery.order[photo], ways: ["A to Z", "Z to A"] };
  if (gallery.taken) {
    let ranks = null;
    keys.taken = { label: "time taken", value: (photo) => (ranks ??= ranked(gallery.taken))[photo], ways: ["Earliest first", "Latest first"] };
  }
  keys.rating = { label: "rating", value: (photo) => -(decisions.rating(photo) ?? NaN), ways: ["Highest first", "Lowest first"] };
  return keys;
}

/** By the name of the most probable class, and the surest first among those of one name. */
function byClass(classes) {
  const ranks = classes.names.map((name) => [...classes.names].sort().indexOf(name));
  return (photo) => {
    const number = classes.likeliest[photo];
    return number === NO_CLASS ? NaN : ranks[number] + (1 - (classes.best(photo) || 0)) / 2;
  };
}

/**
 * All photos in order: a Uint32Array. Photos without a value come last, those of one value by name.
 *
 * A radix sort: each value's bits are turned so that they are ordered as values are, and three stable passes, from the
 * photos in the order of their names, put them in order. A comparing function would be called two million times.
 */
function sorted({ count, byName }, key, reversed, groups) {
  const values = new Float32Array(count);
  for (let photo = 0; photo < count; photo++) {
    const value = key.value(photo);
    values[photo] = Number.isNaN(value) ? Infinity : reversed ? -value : value;
  }
  const bits = new Uint32Array(values.buffer);
  for (let photo = 0; photo < count; photo++) {
    bits[photo] = bits[photo] & SIGN ? ~bits[photo] : bits[photo] | SIGN;
  }
  const photos = sortedByBits(byName, [bits]);
  return groups ? inGroups(photos, groups) : photos;
}

/** Photos in the order of columns of 32 bits, the last of which counts most; those of equal bits stay as they were. */
function sortedByBits(photos, columns) {
  let from = photos, to = new Uint32Array(photos.length), spare = new Uint32Array(photos.length);
  for (const bits of columns) {
    for (let shift = 0; shift < 32; shift += RADIX_BITS) {
      sortPass(from, to, bits, shift);
      [from, to, spare] = [to, spare, to];
    }
  }
  return from;
}

/** Put photos into `placed` in the order of some bits of theirs; those of equal bits stay in their order. */
function sortPass(photos, placed, bits, shift) {
  const mask = (1 << RADIX_BITS) - 1;
  const starts = new Uint32Array(mask + 2);
  for (const photo of photos) starts[((bits[photo] >>> shift) & mask) + 1]++;
  for (let at = 0; at < mask; at++) starts[at + 1] += starts[at];
  for (const photo of photos) placed[starts[(bits[photo] >>> shift) & mask]++] = photo;
}

/** Photos group by group, in the order that they have, by counting. */
function inGroups(photos, { count, of }) {
  const starts = new Uint32Array(count + 1);
  for (const photo of photos) starts[of[photo] + 1]++;
  for (let group = 0; group < count; group++) starts[group + 1] += starts[group];
  const placed = new Uint32Array(photos.length);
  for (const photo of photos) placed[starts[of[photo]]++] = photo;
  return placed;
}

/** The rank of each value among all, NaN for NaN: single precision holds it where it does not hold the value. */
function ranked(values) {
  const count = values.length;
  const known = Float64Array.from(values, (value) => (Number.isNaN(value) ? Infinity : value));
  const halves = new Uint32Array(known.buffer); // little-endian, as the columns of data.js are
  const low = new Uint32Array(count), high = new Uint32Array(count);
  for (let photo = 0; photo < count; photo++) {
    const isBelow = halves[2 * photo + 1] & SIGN;
    low[photo] = isBelow ? ~halves[2 * photo] : halves[2 * photo];
    high[photo] = isBelow ? ~halves[2 * photo + 1] : halves[2 * photo + 1] | SIGN;
  }
  const ranks = new Float32Array(count);
  let rank = 1, before = Infinity;
  for (const photo of sortedByBits(Uint32Array.from(values.keys()), [low, high])) {
    if (known[photo] > before) rank++;
    before = known[photo];
    ranks[photo] = Number.isNaN(values[photo]) ? NaN : rank;
  }
  return ranks;
}

/** Groups: their count, of each its label and a note about it, and of each photo its group; null without any. */
function grouped(gallery, kind) {
  if (kind === "none") return null;
  if (kind === "shots") return groupedByShots(gallery);
  const { first } = gallery;
  const names = kind === "folder" ? first.shortFolders : first[kind].names;
  const number = kind === "folder" ? first.folder : first[kind].likeliest;
  const ordered = [...names.keys()].sort((a, b) => compareText(names[a], names[b]));
  const ranks = new Uint32Array(NO_CLASS + 1 > names.length ? NO_CLASS + 1 : names.length).fill(names.length);
  ordered.forEach((at, rank) => { ranks[at] = rank; });
  const of = Uint32Array.from(number, (at) => ranks[at]);
  const label = (group) => (group < ordered.length ? names[ordered[group]] || "(this folder)" : "Unknown");
  return { count: names.length + 1, label, note: () => "", of };
}

const compareText = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** Shots of one subject, each group with its best; what is alone comes last. */
function groupedByShots({ shots, first, taken }) {
  const { count } = shots;
  const label = (group) => {
    if (group === count) return "Alone";
    const photo = shots.photos(group)[0];
    if (shots.by === "folder") return first.shortFolders[first.folder[photo]] || "(this folder)";
    return shots.by === "time" ? `Burst at ${timeText(taken[photo])}` : `Like ${first.names[shots.best[group]]}`;
  };
  const note = (group) => (group === count ? "" : shots.verdict(group));
  return { count: count + 1, label, note, of: Uint32Array.from(shots.of, (group) => Math.min(group, count)) };
}

/** A camera's own time, without a time zone. */
function timeText(seconds) {
  return new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");
}

/** Quantities that a range can be chosen of: of each its values (one a photo, NaN without) and how it is written. */
function rangeKeys(gallery) {
  const { first, second, count } = gallery;
  const made = (value) => {
    const values = new Float32Array(count);
    for (let photo = 0; photo < count; photo++) values[photo] = value(photo);
    return values;
  };
  const written = (decimals) => (value) => decimal(value, decimals);
  const keys = {};
  if (second) keys.change = { label: "Change, in shares of the scale", values: made((photo) => gallery.change(photo)), text: written(2) };
  keys.score = { label: second ? `Score (${first.name})` : "Score", values: first.score, text: written(first.decimals) };
  if (second) keys.second = { label: `Score (${second.name})`, values: second.score, text: written(second.decimals) };
  keys.interval = { label: "Interval width", values: made((photo) => first.intervalHigh[photo] - first.intervalLow[photo]), text: written(first.decimals) };
  keys.size = { label: "Megapixels", values: gallery.bySize, text: (value) => (value / 1e6).toFixed(2) };
  return keys;
}

/** The filters that are set. */
class Filters {
  constructor() {
    this.clear();
  }

  clear() {
    this.view = "all";
    this.text = "";
    this.ranges = new Map(); // by key: {low, high, values}
    this.words = { scene: new Set(), distortion: new Set() }; // numbers of classes; empty: all
  }

  get isEmpty() {
    const { scene, distortion } = this.words;
    return this.view === "all" && !this.text.trim() && !this.ranges.size && !scene.size && !distortion.size;
  }

  /** The photos that pass, in the same order: each filter that is set goes through those that the one before left. */
  apply(photos, gallery, decisions, texts) {
    const { first } = gallery;
    let kept = photos;
    const room = () => (kept === photos ? new Uint32Array(photos.length) : kept); // what is read lies ahead of what is written
    const keep = (passes) => {
      const left = room();
      let count = 0;
      for (const photo of kept) if (passes(photo)) left[count++] = photo;
      kept = left.subarray(0, count);
    };
    // Without a call for each photo, since the first time it is the slow kind of call.
    const keepWithin = (values, low, high) => {
      const left = room(), from = kept, length = kept.length;
      let count = 0;
      for (let at = 0; at < length; at++) {
        const photo = from[at], value = values[photo];
        if (value >= low && value <= high) left[count++] = photo;
      }
      kept = left.subarray(0, count);
    };
    for (const kind of ["scene", "distortion"]) {
      if (!this.words[kind].size) continue;
      const wanted = new Uint8Array(NO_CLASS + 1);
      for (const number of this.words[kind]) wanted[number] = 1;
      const { likeliest } = first[kind];
      keep((photo) => wanted[likeliest[photo]]);
    }
    for (const { low, high, values } of this.ranges.values()) keepWithin(values, low, high);
    if (this.view !== "all") keep((photo) => this.inView(photo, decisions, gallery.shots));
    const words = this.text.toLowerCase().split(/\s+/).filter(Boolean);
    for (const word of words) keep(texts.matcher(word));
    return kept;
  }

  inView(photo, decisions, shots) {
    const { view } = this;
    if (view === "undecided") return !decisions.isDecided(photo);
    if (view === "rated") return decisions.rating(photo) !== null;
    if (view === "best") return shots.isBest(photo);
    return decisions.decision(photo) === view;
  }
}

/** The paths that are searched, in small letters. */
class Texts {
  constructor(table) {
    this.table = table;
  }

  /**
   * Make all names one text, and note where each begins: a search goes through it many times quicker than through each.
   * Done when somebody is about to type, or else with the first word.
   */
  prepare() {
    if (this.text) return;
    this.folders = this.table.folders.map((folder) => folder.toLowerCase());
    this.text = `${this.table.names.join("/").toLowerCase()}/`;
    this.starts = new Uint32Array(this.table.names.length);
    for (let photo = 0, at = 0; photo < this.starts.length; photo++) {
      this.starts[photo] = at;
      at = this.text.indexOf("/", at) + 1;
    }
  }

  /** A function that says whether a photo's path has a word, which is in small letters. */
  matcher(word) {
    this.prepare();
    const { folders, text, starts, table } = this;
    const name = (photo) => text.slice(starts[photo], text.indexOf("/", starts[photo]));
    if (/[/\\:]/.test(word)) return (photo) => (folders[table.folder[photo]] + name(photo)).includes(word);
    const inFolder = Uint8Array.from(folders, (folder) => folder.includes(word));
    const inName = new Uint8Array(starts.length);
    let photo = 0;
    for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at)) {
      while (photo + 1 < starts.length && starts[photo + 1] <= at) photo++;
      inName[photo] = 1;
      at = photo + 1 < starts.length ? starts[photo + 1] : text.length; // once a name is enough
    }
    return (photo) => inFolder[table.folder[photo]] || inName[photo];
  }
}
