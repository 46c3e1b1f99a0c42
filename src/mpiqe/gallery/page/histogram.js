"use strict";
// A histogram to drag a range on; its two ends are sliders, so that keys work too.

const HISTOGRAM_BARS = 40;
const SLIDER_STEPS = 400;

class Histogram {
  /** `values`: one for each photo, NaN for those without; `text` writes one. `onRange` gets [low, high], or null for all. */
  constructor(label, values, text, onRange) {
    this.write = text;
    this.onRange = onRange;
    this.low = Infinity;
    this.high = -Infinity;
    for (const value of values) {
      if (value < this.low) this.low = value;
      if (value > this.high) this.high = value;
    }
    this.element = element("fieldset", "range", element("legend", "", label));
    if (!(this.low < this.high)) {
      this.element.hidden = true;
      return;
    }
    this.from = this.slider(`${label}: at least`, 0);
    this.to = this.slider(`${label}: at most`, SLIDER_STEPS);
    this.text = element("output", "");
    this.plot = element("div", "plot");
    this.plot.setAttribute("aria-hidden", "true");
    this.bars = this.heights(values).map((height) => {
      const bar = element("span", "");
      bar.style.height = `${height * 100}%`;
      return bar;
    });
    this.plot.append(...this.bars);
    this.dragging();
    this.element.append(this.plot, element("div", "sliders", this.from, this.to), this.text);
    this.show();
  }

  heights(values) {
    const counts = new Uint32Array(HISTOGRAM_BARS);
    const { low, high } = this, perUnit = HISTOGRAM_BARS / (high - low);
    for (const value of values) {
      if (value >= low) counts[Math.min(HISTOGRAM_BARS - 1, Math.floor((value - low) * perUnit))]++; // not of NaN
    }
    const most = Math.max(...counts);
    return Array.from(counts,(count) => (count === 0 ? 0 : Math.max(0.03, count / most)));
  }

  slider(label, value) {
    const slider = document.createElement("input");
    Object.assign(slider, { type: "range", min: 0, max: SLIDER_STEPS, step: 1, value });
    slider.setAttribute("aria-label", label);
    slider.addEventListener("input", () => {
      if (+this.from.value > +this.to.value) {
        if (slider === this.from) this.to.value = this.from.value;
        else this.from.value = this.to.value;
      }
      this.changed();
    });
    return slider;
  }

  /** Dragging over the bars chooses from where it began to where it is. */
  dragging() {
    let began = null;
    const step = (event) => {
      const { left, width } = this.plot.getBoundingClientRect();
      return Math.round(Math.min(1, Math.max(0, (event.clientX - left) / width)) * SLIDER_STEPS);
    };
    this.plot.addEventListener("pointerdown", (event) => {
      began = step(event);
      this.plot.setPointerCapture(event.pointerId);
    });
    this.plot.addEventListener("pointermove", (event) => {
      if (began === null) return;
      const now = step(event);
      if (now === began) return;
      this.from.value = Math.min(began, now);
      this.to.value = Math.max(began, now);
      this.changed();
    });
    for (const end of ["pointerup", "pointercancel"]) this.plot.addEventListener(end, () => { began = null; });
    this.plot.addEventListener("dblclick", () => {
      this.clear();
      this.onRange(null);
    });
  }

  valueAt(step) {
    return this.low + ((this.high - this.low) * step) / SLIDER_STEPS;
  }

  /** The chosen range, null for all. The ends are open: the lowest and highest photos stay in. */
  range() {
    const from = +this.from.value, to = +this.to.value;
    if (from === 0 && to === SLIDER_STEPS) return null;
    return [from === 0 ? -Infinity : this.valueAt(from), to === SLIDER_STEPS ? Infinity : this.valueAt(to)];
  }

  changed() {
    this.show();
    this.onRange(this.range());
  }

  /** Choose all again, and tell nobody. */
  clear() {
    if (this.element.hidden || this.range() === null) return;
    this.from.value = 0;
    this.to.value = SLIDER_STEPS;
    this.show();
  }

  show() {
    const from = +this.from.value, to = +this.to.value;
    const [low, high] = [this.valueAt(from), this.valueAt(to)].map(this.write);
    this.text.textContent = `${low} to ${high}`;
    this.from.setAttribute("aria-valuetext", low);
    this.to.setAttribute("aria-valuetext", high);
    this.bars.forEach((bar, at) => {
      const middle = ((at + 0.5) / HISTOGRAM_BARS) * SLIDER_STEPS;
      bar.classList.toggle("out", middle < from || middle > to);
    });
  }
}
