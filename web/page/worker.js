// Scores photos one after the other, apart from the page, so that it stays quick. Photos go before maps.
//
// Takes { start: { base, files } } once, then { id, file } for each photo.
// Sends { progress: [loaded, total] }, { ready: card, exact }, { fault }; and of each photo { id, preview, size, result,
// seconds }, then { id, map }; or { id, error }.
import { cut, gridPositions, slidingPositions, viewed } from "./crops.js";
import { decode, readsPixelsExactly } from "./decode.js";
import { blend, windowWeights } from "./map.js";
import { loadModel } from "./model.js";
import { ranked } from "./score.js";

const MAP = 384; // pixels along the longer side; a window of the map is some thirty of the photo's wide

const photos = [];
const maps = [];
let model;
let busy = false;

self.onmessage = ({ data }) => {
  if (data.start) start(data.start);
  else photos.push(data);
  work();
};

async function start({ base, files }) {
  try {
    let told = 0;
    const onProgress = (loaded, total) => {
      if (loaded < total && loaded - told < 2e5) return;
      told = loaded;
      self.postMessage({ progress: [loaded, total] });
    };
    model = await loadModel(base, files, onProgress);
    self.postMessage({ ready: model.card, exact: readsPixelsExactly() });
    work();
  } catch (error) {
    self.postMessage({ fault: error.message });
  }
}

async function work() {
  if (busy || !model) return;
  busy = true;
  for (;;) {
    const [task, job] = photos.length ? [score, photos.shift()] : [explain, maps.shift()];
    if (!job) break;
    try {
      await task(job);
    } catch (error) {
      self.postMessage({ id: job.id, error: error.message });
    }
  }
  busy = false;
}

async function score({ id, file }) {
  const began = performance.now();
  const { card } = model;
  const { image, preview } = await decode(file);
  const { width, height } = image;
  const canvas = viewed(image, card.view, card.crop_size);
  const positions = gridPositions(canvas.width, canvas.height, card.crop_size, card.crops);
  const result = await model.score(cut(canvas, positions, card.crop_size));
  self.postMessage({ id, preview, size: [width, height], result, seconds: (performance.now() - began) / 1000 });
  maps.push({ id, canvas, width, height, distortion: ranked(result.distortion)[0][0] });
}

async function explain({ id, canvas, width, height, distortion }) {
  const { crop_size: size, window_temperature: temperature } = model.card;
  const positions = slidingPositions(canvas.width, canvas.height, size);
  const { values, cells } = await model.similarity(cut(canvas, positions, size), distortion);
  const factor = Math.min(1, MAP / Math.max(width, height));
  const shape = { width: Math.max(1, Math.round(width * factor)), height: Math.max(1, Math.round(height * factor)) };
  const weights = windowWeights(values, temperature);
  self.postMessage({ id, map: { ...shape, values: blend(weights, cells, positions, size, canvas, shape) } });
}
