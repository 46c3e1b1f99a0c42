"use strict";
// The page's data, as data.js holds it: columns of numbers as base64 of little-endian values, one entry a photo.

const NO_CLASS = 255;

/** A number with so many decimals, and a minus sign that is one. */
const decimal = (value, decimals) => value.toFixed(decimals).replace("-", "−");

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

const column = (Kind, text) => new Kind(bytesOf(text).buffer);

/** Scenes or distortions of all photos. */
class Classes {
  constructor(packed, count) {
    this.names = packed.names;
    this.likeliest = bytesOf(packed.likeliest);
    this.shares = packed.shares === null ? null : bytesOf(packed.shares);
    this.count = count;
  }

  /** The most probable name, "" for a photo without one. */
  name(photo) {
    const number = this.likeliest[photo];
    return number === NO_CLASS ? "" : this.names[number];
  }

  /** The probability of a class by its number; NaN where only names are known. */
  share(photo, number) {
    return this.shares === null ? NaN : this.shares[photo * this.names.length + number] / 255;
  }

  /** The probability of the most probable class. */
  best(photo) {
    const number = this.likeliest[photo];
    return number === NO_CLASS ? NaN : this.share(photo, number);
  }
}

/** One table of scores. */
class Table {
  constructor(packed, count) {
    for (const name of ["name", "unit", "low", "high", "higherIsBetter", "decimals", "model", "folders", "addresses"]) {
      this[name] = packed[name];
    }
    this.names = count ? packed.names.split("/") : []; // a name has no such stroke
    this.pictures = packed.pictures; // {folder, suffix, absent} of files, or {data} of data URIs
    this.absent = new Set(packed.pictures?.absent);
    this.folder = column(Uint32Array, packed.folder);
    this.score = column(Float32Array, packed.score);
    this.spread = column(Float32Array, packed.spread);
    this.intervalLow = column(Float32Array, packed.intervalLow);
    this.intervalHigh = column(Float32Array, packed.intervalHigh);
    this.width = column(Uint32Array, packed.width);
    this.height = column(Uint32Array, packed.height);
    this.scene = new Classes(packed.scene, count);
    this.distortion = new Classes(packed.distortion, count);
  }

  path(photo) {
    return this.folders[this.folder[photo]] + this.names[photo];
  }

  /** The names of folders below the deepest one that all photos share; "" for that one itself. */
  get shortFolders() {
    if (this.short) return this.short;
    let [shared = ""] = this.folders;
    for (const folder of this.folders) while (!folder.startsWith(shared)) shared = upperFolder(shared);
    if (this.folders.length === 1) shared = upperFolder(shared);
    this.short = this.folders.map((folder) => folder.slice(shared.length));
    return this.short;
  }

  /** How far along the scale a value lies, from 0 to 1. */
  place(value) {
    return Math.min(1, Math.max(0, (value - this.low) / (this.high - this.low || 1)));
  }

  /** From 0, the worst, to 1. */
  quality(photo) {
    const place = this.place(this.score[photo]);
    return this.higherIsBetter ? place : 1 - place;
  }

  /** "poor", "fair" or "good", by thirds of the scale. */
  grade(photo) {
    const quality = this.quality(photo);
    return quality > 2 / 3 ? "good" : quality > 1 / 3 ? "fair" : "poor";
  }

  number(value) {
    return decimal(value, this.decimals);
  }

  hasInterval(photo) {
    return !Number.isNaN(this.intervalLow[photo]);
  }

  /** Whether photos of this table have pictures of their own. */
  get hasPictures() {
    return this.pictures !== null;
  }

  /** The address of a photo's thumbnail, null where there is none. */
  thumbnail(photo) {
    if (this.pictures === null) return null;
    const { folder, suffix, data } = this.pictures;
    if (data) return data[photo];
    if (this.absent.has(photo)) return null;
    const name = String(photo).padStart(6, "0");
    return `${folder}/${name.slice(0, -3)}/${name}${suffix}`;
  }

  /** The address of the photo itself, null where it is no file beside the page. */
  original(photo) {
    const folder = this.addresses[this.folder[photo]];
    return folder ? folder + encodeName(this.names[photo]) : null;
  }
}

/** What stands before the last part of a folder: "/a/" of "/a/b/". */
function upperFolder(folder) {
  return folder.replace(/[^/\\]*[/\\]*$/, "");
}

/** All that the page shows. */
class Gallery {
  constructor(packed) {
    for (const name of ["id", "title", "level", "notes", "count", "maps"]) this[name] = packed[name];
    this.tables = packed.tables.map((table) => new Table(table, packed.count));
    this.first = this.tables[0];
    this.second = this.tables[1] || null;
    this.order = column(Uint32Array, packed.order); // the place of each photo by name
    this.byName = new Uint32Array(packed.count); // the photos in that order
    this.order.forEach((place, photo) => { this.byName[place] = photo; });
    this.taken = packed.taken === null ? null : column(Float64Array, packed.taken);
    this.shots = packed.groups === null ? null : new Shots(packed.groups);
    this.failures = packed.tables.flatMap((table) =>
      table.failures.map(([path, reason]) => ({ path, reason, table: table.name })));
    this.bySize = new Float32Array(packed.count); // single precision tells sizes apart to one in 16 million
    for (let photo = 0; photo < packed.count; photo++) {
      this.bySize[photo] = this.first.width[photo] * this.first.height[photo];
    }
  }

  /** How much better the second table finds a photo than the first, in shares of the scale. */
  change(photo) {
    return this.second.quality(photo) - this.first.quality(photo);
  }

  /** Whether both tables' scores are in the same units, so that one can be taken from the other. */
  get sameUnits() {
    const { first, second } = this;
    return second !== null && first.unit === second.unit && first.low === second.low && first.high === second.high;
  }
}

/** A name in rows as the bytes it has on disk: what is not UTF-8 stands there as \udcXX. */
function bytesOfName(name) {
  const encoder = new TextEncoder();
  if (!name.includes("\\udc")) return encoder.encode(name);
  const bytes = [];
  for (const part of name.split(/(\\udc[0-9a-f]{2})/)) {
    if (/^\\udc[0-9a-f]{2}$/.test(part)) bytes.push(parseInt(part.slice(4), 16));
    else bytes.push(...encoder.encode(part));
  }
  return Uint8Array.from(bytes);
}

/** A name as it stands in an address. */
function encodeName(name) {
  let text = "";
  for (const byte of bytesOfName(name)) {
    const letter = String.fromCharCode(byte);
    text += /[A-Za-z0-9._~-]/.test(letter) ? letter : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return text;
}
