"use strict";
// What was decided about each photo, with undo, kept in the browser's localStorage under the photos' own key.

const DECISIONS = ["", "pick", "reject"];
const MOST_UNDONE = 200;

class Decisions {
  constructor(id, count) {
    this.key = `mpiqe-report:${id}`;
    this.bytes = new Uint8Array(count); // decision + 4 * (rating + 1); 0: nothing was decided
    this.undone = [];
    this.isKept = true;
    this.onChange = () => {};
    this.load();
  }

  decision(photo) {
    return DECISIONS[this.bytes[photo] & 3];
  }

  /** 0 to 5, null without one. */
  rating(photo) {
    const rating = (this.bytes[photo] >> 2) - 1;
    return rating < 0 ? null : rating;
  }

  isDecided(photo) {
    return this.bytes[photo] !== 0;
  }

  /** Decide about several photos at once; what is absent from the change stays. */
  set(photos, { decision, rating }) {
    this.write(photos, (byte) => {
      if (decision !== undefined) byte = (byte & ~3) | DECISIONS.indexOf(decision);
      if (rating !== undefined) byte = (byte & 3) | ((rating === null ? 0 : rating + 1) << 2);
      return byte;
    });
  }

  /** Decide anew about photos by number: what a file of decisions holds. */
  replace(changes) {
    const photos = [...changes.keys()];
    this.write(photos, (_, photo) => {
      const { decision, rating } = changes.get(photo);
      return DECISIONS.indexOf(decision) | ((rating === null ? 0 : rating + 1) << 2);
    });
  }

  write(photos, change) {
    const before = photos.map((photo) => this.bytes[photo]);
    for (const photo of photos) this.bytes[photo] = change(this.bytes[photo], photo);
    if (photos.every((photo, at) => this.bytes[photo] === before[at])) return;
    this.undone.push({ photos, before });
    if (this.undone.length > MOST_UNDONE) this.undone.shift();
    this.changed(photos);
  }

  /** Take the last change back; returns the photos that it was of. */
  undo() {
    const last = this.undone.pop();
    if (!last) return [];
    last.photos.forEach((photo, at) => { this.bytes[photo] = last.before[at]; });
    this.changed(last.photos);
    return last.photos;
  }

  counts() {
    const counts = { pick: 0, reject: 0, rated: 0, undecided: 0 };
    for (const byte of this.bytes) {
      if (byte === 0) counts.undecided++;
      else {
        if ((byte & 3) === 1) counts.pick++;
        if ((byte & 3) === 2) counts.reject++;
        if (byte >> 2) counts.rated++;
      }
    }
    return counts;
  }

  changed(photos) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save(), 100);
    this.onChange(photos);
  }

  load() {
    try {
      const kept = localStorage.getItem(this.key);
      const bytes = kept === null ? null : bytesOf(kept);
      if (bytes !== null && bytes.length === this.bytes.length) this.bytes.set(bytes);
    } catch {
      this.isKept = false; // the browser keeps nothing for this page, or what it kept is damaged
    }
  }

  save() {
    clearTimeout(this.timer);
    let text = "";
    for (let at = 0; at < this.bytes.length; at += 8192) {
      text += String.fromCharCode(...this.bytes.subarray(at, at + 8192));
    }
    try {
      if (this.bytes.some((byte) => byte)) localStorage.setItem(this.key, btoa(text));
      else localStorage.removeItem(this.key);
      this.isKept = true;
    } catch {
      this.isKept = false;
    }
  }
}
