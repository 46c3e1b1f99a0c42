"use strict";
// Which photos are shown, in which order and in which groups.

const ORDER_ROOM = 2 ** 21; // photos; 32 bits of a value and 21 of a place are what a double holds exactly

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
 * A comparing function would be called two million times. Instead each photo becomes one number: the bits of its value,
 * turned so that they are ordered as values are, and its place by name below them; such an array sorts natively.
 */
function sorted(gallery, key, reversed, groups) {
  const { count, order } = gallery;
  const values = new Float32Array(count);
  for (let photo = 0; photo < count; photo++) {
    const value = key.value(photo);
    values[photo] = Number.isNaN(value) ? Infinity : reversed ? -value : value;
  }
  const bits = new Uint32Array(values.buffer);
  const packed = new Float64Array(count);
  const byName = new Uint32Array(count);
  for (let photo = 0; photo < count; photo++) {
    const turned = bits[photo] & 0x80000000 ? ~bits[photo] >>> 0 : (bits[photo] | 0x80000000) >>> 0;
    packed[photo] = turned * ORDER_ROOM + order[photo];
    byName[order[photo]] = photo;
  }
  packed.sort();
  const photos = new Uint32Array(count);
  for (let place = 0; place < count; place++) photos[place] = byName[packed[place] % ORDER_ROOM];
  return groups ? inGroups(photos, groups) : photos;
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

/** The place of each photo among all by a value that has more digits than single precision keeps. */
function ranked(values) {
  const known = values.map((value) => (Number.isNaN(value) ? Infinity : value));
  const photos = new Uint32Array(values.length);
  for (let photo = 0; photo < photos.length; photo++) photos[photo] = photo;
  photos.sort((a, b) => known[a] - known[b] || 0);
  const ranks = new Float32Array(values.length);
  let rank = 0;
  photos.forEach((photo, place) => {
    if (place > 0 && known[photo] !== known[photos[place - 1]]) rank++;
    ranks[photo] = Number.isNaN(values[photo]) ? NaN : rank;
  });
  return ranks;
}

/** Groups: their count, of each its label and a note about it, and of each photo its group; null without any. */
function grouped(gallery, kind) {
  if (kind === "none") return null;
  if (kind === "shots") return groupedByShots(gallery);
  const { first } = gallery;
  const names = kind === "folder" ? first.folders : first[kind].names;
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
    if (shots.by === "folder") return first.folders[first.folder[photo]] || "(this folder)";
    return shots.by === "time" ? `Burst at ${timeText(taken[photo])}` : `Like ${first.names[shots.best[group]]}`;
  };
  const note = (group) => (group === count ? "" : shots.verdict(group));
  return { count: count + 1, label, note, of: Uint32Array.from(shots.of, (group) => Math.min(group, count)) };
}

/** A camera's own time, without a time zone. */
function timeText(seconds) {
  return new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");
}

/** Quantities that a range can be chosen of. */
function rangeKeys(gallery) {
  const { first, second } = gallery;
  const keys = {};
  if (second) keys.change = { label: "Change, in shares of the scale", value: (photo) => gallery.change(photo), decimals: 2 };
  keys.score = { label: second ? `Score (${first.name})` : "Score", value: (photo) => first.score[photo], decimals: first.decimals };
  if (second) keys.second = { label: `Score (${second.name})`, value: (photo) => second.score[photo], decimals: second.decimals };
  keys.interval = { label: "Interval width", value: (photo) => first.intervalHigh[photo] - first.intervalLow[photo], decimals: first.decimals };
  keys.size = { label: "Megapixels", value: (photo) => gallery.bySize[photo] / 1e6, decimals: 2 };
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

  /** The photos that pass, in the same order. */
  apply(photos, gallery, decisions, texts) {
    const { first } = gallery;
    const wanted = this.text.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = wanted.length ? texts.matcher(wanted) : null;
    const ranges = [...this.ranges.values()];
    const { scene, distortion } = this.words;
    const kept = new Uint32Array(photos.length);
    let count = 0;
    for (const photo of photos) {
      if (!this.inView(photo, decisions, gallery.shots)) continue;
      if (scene.size && !scene.has(first.scene.likeliest[photo])) continue;
      if (distortion.size && !distortion.has(first.distortion.likeliest[photo])) continue;
      if (!ranges.every(({ low, high, values }) => values[photo] >= low && values[photo] <= high)) continue;
      if (matches && !matches(photo)) continue;
      kept[count++] = photo;
    }
    return kept.subarray(0, count);
  }

  inView(photo, decisions, shots) {
    const { view } = this;
    if (view === "all") return true;
    if (view === "undecided") return !decisions.isDecided(photo);
    if (view === "rated") return decisions.rating(photo) !== null;
    if (view === "best") return shots.isBest(photo);
    return decisions.decision(photo) === view;
  }
}

/** The paths that are searched, in small letters; made when the first word is searched. */
class Texts {
  constructor(table) {
    this.table = table;
  }

  /** A function that says whether a photo's path has all of the words, which are in small letters. */
  matcher(words) {
    this.names ??= this.table.names.map((name) => name.toLowerCase());
    this.folders ??= this.table.folders.map((folder) => folder.toLowerCase());
    const { names, folders, table } = this;
    const tests = words.map((word) => {
      const inFolder = folders.map((folder) => folder.includes(word));
      if (/[/\\:]/.test(word)) return (photo) => (folders[table.folder[photo]] + names[photo]).includes(word);
      return (photo) => inFolder[table.folder[photo]] || names[photo].includes(word);
    });
    return (photo) => tests.every((test) => test(photo));
  }
}
