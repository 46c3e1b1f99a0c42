"use strict";
// Groups of like photos, bursts say, as mpiqe best finds them: which shot is the best, and by how much.

const ALONE = 0xffffffff;

class Shots {
  constructor(packed) {
    this.by = packed.by;
    this.clearFrom = packed.clearFrom;
    this.of = column(Uint32Array, packed.of);
    this.best = column(Uint32Array, packed.best);
    this.margin = column(Float32Array, packed.margin);
    this.behind = column(Float32Array, packed.behind);
    // The photos of all groups, group by group: those of group g are members[starts[g]] to members[starts[g + 1] - 1].
    this.starts = new Uint32Array(this.best.length + 1);
    for (const group of this.of) if (group !== ALONE) this.starts[group + 1]++;
    for (let group = 0; group < this.best.length; group++) this.starts[group + 1] += this.starts[group];
    const next = this.starts.slice();
    this.members = new Uint32Array(this.starts[this.best.length]);
    this.of.forEach((group, photo) => { if (group !== ALONE) this.members[next[group]++] = photo; });
  }

  get count() {
    return this.best.length;
  }

  /** The photos of a group. */
  photos(group) {
    return this.members.subarray(this.starts[group], this.starts[group + 1]);
  }

  /** The group of a photo, null for one that is alone. */
  group(photo) {
    return this.of[photo] === ALONE ? null : this.of[photo];
  }

  isBest(photo) {
    return this.of[photo] !== ALONE && this.best[this.of[photo]] === photo;
  }

  /** Whether the best of a group is far enough ahead of the next. */
  canTell(group) {
    return this.margin[group] >= this.clearFrom;
  }

  /** What mpiqe best decides: the best is picked, and what it is told from rejected. */
  decision(photo) {
    return this.isBest(photo) ? "pick" : this.behind[photo] >= this.clearFrom ? "reject" : "";
  }

  /** "margin 1.44", "" where there is none. */
  marginText(margin) {
    return Number.isNaN(margin) ? "" : `margin ${margin.toFixed(2)}`;
  }

  /** About a group: whether its best can be told. */
  verdict(group) {
    const margin = this.marginText(this.margin[group]);
    return `${this.canTell(group) ? "clear best" : "cannot tell the best"}${margin && `, ${margin}`}`;
  }

  /** About a photo among its group. */
  place(photo) {
    const group = this.group(photo);
    if (group === null) return "";
    const size = this.photos(group).length;
    if (this.isBest(photo)) return `${this.canTell(group) ? "best" : "highest score"} of ${size}, ${this.verdict(group)}`;
    const behind = this.behind[photo];
    return `one of ${size}${Number.isNaN(behind) ? "" : `, ${behind.toFixed(2)} behind the best`}`;
  }
}
