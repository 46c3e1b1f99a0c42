// Pillow's resizing of 8-bit pixels: as src/mpiqe/torch/resize.py, which has it from Pillow's src/libImaging/Resample.c.
//
// Pillow filters along the rows, rounds to whole levels, filters along the columns and rounds again; a photo that has to
// become much smaller is first averaged over blocks of whole pixels. Tall photos begin with the columns. A canvas resizes otherwise in every browser.

const REDUCING_GAP = 3; // pixels of a reduced photo for each one of the scaled; Lanczos' filter does the rest
const PRECISION = 2 ** 22; // Pillow holds coefficients as whole multiples of 1 / PRECISION

const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

const FILTERS = {
  lanczos: { support: 3, at: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) },
  bicubic: { support: 2, at: bicubic },
};

function bicubic(value) {
  const a = -0.5;
  const x = Math.abs(value);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/** Resizes { width, height, data } of RGB bytes; with "lanczos" as large photos are brought down, else "bicubic". */
export function resize(image, width, height, how) {
  let covered = [image.width, image.height];
  if (how === "lanczos") {
    const across = Math.trunc(image.width / width / REDUCING_GAP) || 1;
    const down = Math.trunc(image.height / height / REDUCING_GAP) || 1;
    if (across > 1 || down > 1) {
      covered = [Math.fround(image.width / across), Math.fround(image.height / down)]; // the last block may be cut short
      image = reduced(image, across, down);
    }
  }
  const across = (from) => {
    if (from.width === width && covered[0] === width) return from;
    return filtered(from, coefficients(from.width, width, covered[0], how), true);
  };
  const down = (from) => {
    if (from.height === height && covered[1] === height) return from;
    return filtered(from, coefficients(from.height, height, covered[1], how), false);
  };
  // from Pillow 13 on: columns first where the height shrinks by more than twice what the width does
  const columnsFirst = height < image.height && image.height - height > 2 * (image.width - width);
  return columnsFirst ? across(down(image)) : down(across(image));
}

/** Means of blocks of `across` x `down` pixels, fewer in the last column and row if no more are left. */
function reduced({ width, height, data }, across, down) {
  const [columns, rows] = [Math.ceil(width / across), Math.ceil(height / down)];
  const result = new Uint8Array(columns * rows * 3);
  for (let row = 0, at = 0; row < rows; row++) {
    const bottom = Math.min(height, (row + 1) * down);
    for (let column = 0; column < columns; column++, at += 3) {
      const right = Math.min(width, (column + 1) * across);
      const count = (right - column * across) * (bottom - row * down);
      let [red, green, blue] = [0, 0, 0];
      for (let y = row * down; y < bottom; y++) {
        for (let pixel = (y * width + column * across) * 3; pixel < (y * width + right) * 3; pixel += 3) {
          red += data[pixel];
          green += data[pixel + 1];
          blue += data[pixel + 2];
        }
      }
      // Pillow divides by a product with a whole number of 24 bits, which is often one level low at exact halves
      const inverse = Math.floor(Math.fround(2 ** 24 / count));
      const half = Math.floor(count / 2);
      result[at] = Math.floor(((red + half) * inverse) / 2 ** 24);
      result[at + 1] = Math.floor(((green + half) * inverse) / 2 ** 24);
      result[at + 2] = Math.floor(((blue + half) * inverse) / 2 ** 24);
    }
  }
  return { width: columns, height: rows, data: result };
}

/** For each of `length` new pixels the first old one and the whole-number weights of those from it on. */
function coefficients(old, length, covered, how) {
  const { support, at } = FILTERS[how];
  const scale = covered / length;
  const stretch = Math.max(1, scale); // of the filter, against aliasing
  return Array.from({ length }, (_, index) => {
    const middle = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(middle - support * stretch + 0.5));
    const last = Math.min(old, Math.trunc(middle + support * stretch + 0.5));
    const weights = Array.from({ length: last - first }, (_, place) => at((first + place - middle + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: Float64Array.from(weights, (weight) => awayFromZero((weight / sum) * PRECISION)) };
  });
}

function awayFromZero(value) {
  return value < 0 ? Math.ceil(value - 0.5) : Math.floor(value + 0.5);
}

/** Filters along the rows, or along the columns. */
function filtered({ width, height, data }, places, alongRows) {
  const result = { width: alongRows ? places.length : width, height: alongRows ? height : places.length };
  const levels = new Uint8ClampedArray(result.width * result.height * 3);
  const step = alongRows ? 3 : width * 3;
  for (let y = 0, at = 0; y < result.height; y++) {
    for (let x = 0; x < result.width; x++) {
      const { first, weights } = places[alongRows ? x : y];
      const start = alongRows ? (y * width + first) * 3 : (first * width + x) * 3;
      for (let channel = 0; channel < 3; channel++, at++) {
        let sum = PRECISION / 2;
        for (let index = 0, from = start + channel; index < weights.length; index++, from += step) {
          sum += data[from] * weights[index];
        }
        levels[at] = Math.floor(sum / PRECISION);
      }
    }
  }
  return { ...result, data: new Uint8Array(levels.buffer) };
}
