// The embedded model on ONNX Runtime Web: downloads, and predictions for crops.
import { scored } from "./score.js";

const MOST_CROPS_AT_ONCE = 16; // to bound the memory

/**
 * Downloads what `files` (files.json) lists below `base`; returns { card, predict, similarity }.
 *
 * `onProgress(loaded, total)` is called with bytes. Throws an Error with a reason for people.
 */
export async function loadModel(base, files, onProgress) {
  const parts = [files.model, files.runtime];
  const total = parts.flatMap((part) => part.files).reduce((sum, { bytes }) => sum + bytes, 0);
  let loaded = 0;
  const got = {};
  for (const { folder, files: listed } of parts) {
    for (const { name, bytes } of listed) {
      const content = await download(new URL(`${folder}/${name}`, base), bytes, (more) => onProgress((loaded += more), total));
      got[name] = content;
    }
  }
  const [script, binary] = files.runtime.files.map(({ name }) => name);
  const card = JSON.parse(new TextDecoder().decode(got["mpiqe.json"]));
  const ort = await import(new URL(`${files.runtime.folder}/${script}`, base));
  ort.env.wasm.wasmBinary = got[binary];
  ort.env.wasm.numThreads = 1; // more need headers that a static host does not send
  const weights = Object.keys(got).filter((name) => name.endsWith(".safetensors"));
  const session = await ort.InferenceSession.create(got["mpiqe.onnx"], {
    executionProviders: ["wasm"],
    externalData: weights.map((path) => ({ path, data: got[path] })), // the graph's large weights lie in them
    logSeverityLevel: 3,
  });

  async function run(crops, names) {
    const { crop_size: side } = card;
    const each = side * side * 3;
    const found = Object.fromEntries(names.map((name) => [name, []]));
    for (let start = 0; start < crops.length; start += MOST_CROPS_AT_ONCE * each) {
      const some = crops.subarray(start, start + MOST_CROPS_AT_ONCE * each);
      const pixels = new ort.Tensor("uint8", some, [some.length / each, side, side, 3]);
      const outputs = await session.run({ pixels }, names);
      for (const name of names) found[name].push(...outputs[name].data);
    }
    return found;
  }

  return {
    card,
    /** The score of a photo from its crops. */
    score: async (crops) => scored(await run(crops, ["score", "scene", "distortion"]), card),
    /** Eq. 10's cosines of one distortion, (K x cells x cells), and the cells along a crop. */
    async similarity(crops, distortion) {
      const { similarity } = await run(crops, ["similarity"]);
      const chosen = card.distortions.indexOf(distortion);
      const values = Float32Array.from({ length: similarity.length / card.distortions.length }, (_, index) => {
        return similarity[index * card.distortions.length + chosen];
      });
      const number = crops.length / (card.crop_size ** 2 * 3);
      return { values, cells: Math.sqrt(values.length / number) };
    },
  };
}

async function download(url, bytes, onMore) {
  const response = await fetch(url).catch((error) => {
    throw new Error(`${url.pathname} could not be downloaded: ${error.message}`);
  });
  if (!response.ok) throw new Error(`${url.pathname} could not be downloaded: the server answered ${response.status}`);
  const content = new Uint8Array(bytes);
  let at = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (at + value.length > bytes) throw new Error(`${url.pathname} is longer than ${bytes} bytes; build the page anew`);
    content.set(value, at);
    at += value.length;
    onMore(value.length);
  }
  if (at < bytes) throw new Error(`${url.pathname} ended after ${at} of ${bytes} bytes; reload the page`);
  return content;
}
