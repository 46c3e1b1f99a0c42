// One photo on the page: its picture, score, interval, words and map.
import { painted } from "./map.js";
import { clamp, ranked } from "./score.js";

export class Card {
  /** The card's element is a list item. */
  constructor(name) {
    this.element = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.done = false;
    this.value = null; // the score; of a photo without one null
    this.seconds = 0;
    this.distortion = "";
    this.at("h2").textContent = name;
    this.at("h2").title = name;
    this.at(".size").textContent = "waiting";
    this.at(".toggle").addEventListener("click", () => this.showMap(this.at("canvas").hidden));
  }

  at(selector) {
    return this.element.querySelector(selector);
  }

  /** Shows what the worker says of a photo. */
  score({ preview, size, result, seconds }, card) {
    this.done = true;
    this.value = result.score;
    this.seconds = seconds;
    this.element.classList.add("done");
    const [width, height] = size;
    const image = this.at("img");
    image.width = width;
    image.height = height;
    image.alt = this.at("h2").textContent;
    image.src = URL.createObjectURL(preview);
    this.at(".size").textContent = `${width} × ${height} pixels, scored in ${seconds.toFixed(2)} s`;

    const digits = card.high - card.low >= 30 ? 1 : card.high - card.low >= 3 ? 2 : 3;
    const text = (value) => value.toFixed(digits).replace("-", "−");
    const place = (value) => clamp((value - card.low) / (card.high - card.low || 1), 0, 1);
    const middle = place(result.score);
    this.element.classList.add(middle > 2 / 3 ? "good" : middle > 1 / 3 ? "fair" : "poor");
    this.at(".number b").textContent = text(result.score);
    this.at(".mark").style.left = `${100 * middle}%`;
    const ends = this.at(".ends").children;
    ends[0].textContent = text(card.low);
    ends[1].textContent = text(card.high);
    this.at(".whisker").hidden = !result.interval;
    if (result.interval) {
      const [low, high] = result.interval;
      this.at(".interval").textContent =
        `${Math.round(100 * card.interval.level)} % interval ${text(low)} to ${text(high)}`;
      this.at(".whisker").style.left = `${100 * place(low)}%`;
      this.at(".whisker").style.right = `${100 * (1 - place(high))}%`;
    }
    const [distortions, scenes] = [ranked(result.distortion), ranked(result.scene)];
    this.distortion = distortions[0][0];
    const second = distortions.slice(1, 2).filter(([, probability]) => probability >= 0.05);
    this.at(".words").append(...bars([distortions[0], ...second], "distortion"), ...bars(scenes.slice(0, 1), "scene"));
    this.at(".all").append(...bars(distortions, "distortion"), ...bars(scenes, "scene"));
    this.at(".toggle").textContent = "Computing the map";
  }

  /** Takes the map { width, height, values } of the likeliest distortion. */
  map(map, shown) {
    const canvas = this.at("canvas");
    canvas.width = map.width;
    canvas.height = map.height;
    canvas.getContext("2d").putImageData(painted(map), 0, 0);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Where ${this.distortion} is`);
    this.mapped = map;
    this.element.classList.add("mapped");
    this.at(".toggle").textContent = `Where “${this.distortion}” is`;
    this.at(".toggle").disabled = false;
    this.showMap(shown);
  }

  showMap(shown) {
    if (!this.mapped) return;
    this.at("canvas").hidden = !shown;
    this.at(".legend").hidden = !shown;
    this.at(".toggle").setAttribute("aria-pressed", String(shown));
    this.at("img").classList.toggle("grey", shown);
  }

  /** Shows why there is no score, or no map. */
  fail(reason) {
    this.done = true;
    this.at(".error").textContent = reason;
    this.at(".error").hidden = false;
    if (this.value === null) {
      this.element.classList.add("failed");
      this.at(".size").textContent = "";
    } else {
      this.at(".toggle").textContent = "No map";
    }
  }

  remove() {
    URL.revokeObjectURL(this.at("img").src);
    this.element.remove();
  }
}

/** A name, its probability and a bar, each. */
function bars(labels, kind) {
  return labels.map(([name, probability]) => {
    const made = ["div", "dt", "small", "dd", "span", "span"].map((tag) => document.createElement(tag));
    const [row, term, small, number, rail, bar] = made;
    row.className = kind;
    small.textContent = kind;
    term.append(`${name} `, small);
    number.textContent = `${Math.round(100 * probability)} %`;
    rail.className = "share";
    bar.style.width = `${100 * probability}%`;
    rail.append(bar);
    number.append(rail);
    row.append(term, number);
    return row;
  });
}
