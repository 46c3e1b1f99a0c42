// A photo's file -> upright RGB bytes, by the browser's own decoder.
import { MOST_PIXELS } from "./crops.js";

const PIXELS_AT_ONCE = 4e6; // canvases have limits that photos exceed, so that a photo is read in strips
const PREVIEW = 800; // pixels along the longer side

/** Returns { image: { width, height, data }, preview }: RGB bytes, and a JPEG of at most 800 x 800 pixels to show. */
export async function decode(file) {
  let bitmap;
  try {
    // orientation from EXIF; colour profiles are ignored, as the data sets that models learn from are read without them
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error("this browser cannot read the file as a photo");
  }
  try {
    if (bitmap.width * bitmap.height > MOST_PIXELS) {
      throw new Error(`${bitmap.width} x ${bitmap.height} pixels are over the limit of ${MOST_PIXELS / 1e6} million`);
    }
    return { image: pixelsOf(bitmap), preview: await previewOf(bitmap) };
  } finally {
    bitmap.close();
  }
}

function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  const data = new Uint8Array(width * height * 3);
  const rows = Math.min(height, Math.max(1, Math.floor(PIXELS_AT_ONCE / width)));
  const context = canvasContext(width, rows);
  for (let top = 0, at = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    context.fillStyle = "#fff"; // transparency is laid over white
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, top, width, count, 0, 0, width, count);
    const strip = context.getImageData(0, 0, width, count).data;
    for (let pixel = 0; pixel < strip.length; pixel += 4, at += 3) {
      data[at] = strip[pixel];
      data[at + 1] = strip[pixel + 1];
      data[at + 2] = strip[pixel + 2];
    }
  }
  return { width, height, data };
}

async function previewOf(bitmap) {
  const factor = Math.min(1, PREVIEW / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * factor)));
  const context = canvasContext(width, height);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return context.canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 });
}

function canvasContext(width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error(`this browser has no canvas of ${width} x ${height} pixels`);
  return context;
}

/** Whether pixels are read as they were drawn: some browsers change them, against fingerprinting. */
export function readsPixelsExactly() {
  const context = canvasContext(64, 64);
  const levels = Array.from({ length: 64 * 64 * 4 }, (_, index) => (index % 4 === 3 ? 255 : (index * 7) % 256));
  const drawn = new ImageData(Uint8ClampedArray.from(levels), 64, 64);
  context.putImageData(drawn, 0, 0);
  const { data } = context.getImageData(0, 0, 64, 64);
  return data.every((level, index) => level === drawn.data[index]);
}
