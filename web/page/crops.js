// What crops are cut from, and where: as src/mpiqe/view.py and src/mpiqe/images.py.
//
// An image is { width, height, data }, data being RGB bytes row by row. A position is [left, top].
import { resize } from "./resize.js";

export const MOST_PIXELS = 200_000_000; // of a photo, as mpiqe.decoding.DEFAULT_MAX_PIXELS

/** The image that crops of `crop` pixels are cut from, in the view of a card: `{ kind, side }`. */
export function viewed(image, view, crop) {
  const [width, height] = viewSize(image.width, image.height, view, crop);
  if (width !== image.width || height !== image.height) return resize(image, width, height, "lanczos");
  const short = Math.min(width, height);
  if (short >= crop) return image;
  const large = [width, height].map((length) => roundHalfEven((length * crop) / short));
  if (large[0] * large[1] > MOST_PIXELS) throw new Error(`a strip of ${width} x ${height} pixels cannot hold crops`);
  return resize(image, ...large, "bicubic");
}

/** Width and height that a photo is brought to. */
export function viewSize(width, height, { kind, side }, crop) {
  if (kind === "square") return [side, side];
  if (kind === "native" || width * height <= side ** 2) return [width, height];
  const along = (a, b) => Math.floor(Math.sqrt(Math.floor((side ** 2 * a) / b)));
  const scaled = [along(width, height), along(height, width)];
  if (Math.min(...scaled) >= crop) return scaled;
  const short = Math.min(width, height);
  if (short <= crop) return [width, height];
  return [width, height].map((length) => Math.max(crop, roundHalfEven((length * crop) / short)));
}

/** `count` positions in rows from edge to edge, as many rows as suit the image's shape. */
export function gridPositions(width, height, size, count) {
  const [across, down] = [width - size, height - size];
  let rows = Math.min(count, Math.max(1, roundHalfEven(Math.sqrt((count * height) / width))));
  if (!across || !down) rows = down ? count : 1; // a strip leaves one direction to spread in
  return spread(down, rows).flatMap((top, row) => {
    const columns = Math.floor(count / rows) + (row < count % rows ? 1 : 0);
    return spread(across, columns).map((left) => [left, top]);
  });
}

/** Positions that together show every pixel: half a crop apart, or up to seven eighths if that makes over `most`. */
export function slidingPositions(width, height, size, most = 1024) {
  const [across, down] = [width - size, height - size];
  let step = Math.max(1, Math.floor(size / 2));
  const widest = Math.max(step, Math.floor((size * 7) / 8));
  const number = (room) => Math.ceil(room / step) + 1;
  while (number(across) * number(down) > most && step < widest) step += 1;
  const [columns, rows] = [spread(across, number(across)), spread(down, number(down))];
  return rows.flatMap((top) => columns.map((left) => [left, top]));
}

/** The crops at `positions`, one after the other, RGB bytes. */
export function cut({ width, data }, positions, size) {
  const crops = new Uint8Array(positions.length * size * size * 3);
  positions.forEach(([left, top], index) => {
    for (let row = 0; row < size; row++) {
      const start = ((top + row) * width + left) * 3;
      crops.set(data.subarray(start, start + size * 3), (index * size + row) * size * 3);
    }
  });
  return crops;
}

/** Whole numbers evenly from 0 to `room`, both met; the middle when it is one. */
function spread(room, count) {
  if (count === 1) return [Math.floor(room / 2)];
  return Array.from({ length: count }, (_, index) => Math.floor((index * room) / (count - 1)));
}

/** As Python's round. */
function roundHalfEven(value) {
  const whole = Math.floor(value);
  if (value - whole !== 0.5) return Math.round(value);
  return whole % 2 ? whole + 1 : whole;
}
