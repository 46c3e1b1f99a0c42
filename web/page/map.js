// Where a distortion is: as src/mpiqe/scoring/explanation.py and blending.py.

const LEAST = 1e-3; // the weight at a crop's edge, of 1 in its middle: never nothing, since at the photo's edge it is alone

/** Eq. 10's weights of one class, over the largest: softmax(s / T) over the windows of all crops. */
export function windowWeights(similarity, temperature) {
  const highest = similarity.reduce((a, b) => Math.max(a, b), -Infinity);
  return Float64Array.from(similarity, (value) => Math.exp((value - highest) / temperature));
}

/**
 * One map from the grids (K x cells x cells) of the crops of `size` at `positions` on a canvas.
 *
 * Each grid is interpolated linearly between the middles of its cells and counts by a raised cosine, most in the middle
 * of its crop. `canvas` and the map's `shape` are { width, height }. The largest value is 1.
 */
export function blend(grids, cells, positions, size, canvas, shape) {
  const total = new Float64Array(shape.width * shape.height);
  const weight = new Float64Array(shape.width * shape.height);
  positions.forEach(([left, top], index) => {
    const grid = grids.subarray(index * cells * cells, (index + 1) * cells * cells);
    const across = line(left, size, cells, canvas.width, shape.width);
    for (const down of line(top, size, cells, canvas.height, shape.height)) {
      for (const { pixel, importance, lower, upper, share } of across) {
        const above = grid[down.lower * cells + lower] * (1 - share) + grid[down.lower * cells + upper] * share;
        const below = grid[down.upper * cells + lower] * (1 - share) + grid[down.upper * cells + upper] * share;
        const at = down.pixel * shape.width + pixel;
        total[at] += down.importance * importance * (above * (1 - down.share) + below * down.share);
        weight[at] += down.importance * importance;
      }
    }
  });
  const values = total.map((value, at) => value / weight[at]);
  const highest = values.reduce((a, b) => Math.max(a, b), 0);
  return Float32Array.from(values, (value) => value / highest);
}

/** Where a crop meets the map in one direction: at which pixels, with what weight, mixed from which two cells. */
function line(start, size, cells, canvas, pixels) {
  const met = [];
  for (let pixel = 0; pixel < pixels; pixel++) {
    const place = (((pixel + 0.5) * canvas) / pixels - start) / size;
    if (place < 0 || place >= 1) continue;
    const lower = Math.floor(place * cells - 0.5);
    met.push({
      pixel,
      importance: LEAST + (1 - LEAST) * Math.sin(Math.PI * place) ** 2,
      lower: Math.max(0, lower), // beyond the middle of an outer cell it is that cell alone
      upper: Math.min(cells - 1, lower + 1),
      share: place * cells - 0.5 - lower,
    });
  }
  return met;
}

// Inferno at every ninth of its length, dark to bright; by Nathaniel Smith and Stefan van der Walt, CC0, in matplotlib.
const INFERNO = ["000004", "1b0c41", "4a0c6b", "781c6d", "a52c60", "cf4446", "ed6925", "fb9b06", "f7d13d", "fcffa4"].map(
  (code) => [0, 2, 4].map((at) => parseInt(code.slice(at, at + 2), 16)),
);

/** The map in Inferno's colours, the root of the weights, the higher the denser: an ImageData to lay over the photo. */
export function painted({ width, height, values }) {
  const pixels = new ImageData(width, height);
  values.forEach((value, index) => {
    const level = Math.sqrt(Math.min(1, Math.max(0, value)));
    const place = level * (INFERNO.length - 1);
    const lower = Math.min(INFERNO.length - 2, Math.floor(place));
    const colour = INFERNO[lower].map((channel, c) => channel + (place - lower) * (INFERNO[lower + 1][c] - channel));
    pixels.data.set([...colour, 255 * (0.3 + 0.45 * level)], index * 4);
  });
  return pixels;
}
