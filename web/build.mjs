// Makes the folder that a static host serves: the page, ONNX Runtime from the npm package, and the embedded model.
//
//     npm run --prefix web build [-- --out DIR]
//
// Model and runtime lie in folders named after what they hold, so that a browser never mixes two versions.
import { createHash } from "node:crypto";
import { cp, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const HERE = dirname(fileURLToPath(import.meta.url));
const WEIGHTS = join(HERE, "..", "src", "mpiqe", "weights");
const PACKAGE = join(HERE, "node_modules", "onnxruntime-web");
const GRAPH = ["mpiqe.onnx", "mpiqe.safetensors", "backbone/model.safetensors"]; // the graph, and where its weights lie
const CARD = "mpiqe.json";
const RUNTIME = ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"];
const MARKER = "files.json"; // a folder that has it was made by this script and may be replaced

async function main() {
  // npm runs this in web/; a relative folder is meant from where npm was called
  const { values } = parseArgs({ options: { out: { type: "string" } } });
  const out = values.out ? resolve(process.env.INIT_CWD ?? ".", values.out) : join(HERE, "dist");
  await makeRoom(out);
  await cp(join(HERE, "page"), out, { recursive: true });
  for (const name of ["LICENSE", "NOTICE"]) await cp(join(HERE, "..", name), join(out, `${name}.txt`));

  const { version } = JSON.parse(await readFile(join(PACKAGE, "package.json"), "utf8"));
  const model = await copied(WEIGHTS, [CARD, ...GRAPH], out, `model-${await digest(WEIGHTS, [CARD, ...GRAPH])}`);
  const runtime = await copied(join(PACKAGE, "dist"), RUNTIME, out, `runtime-${version}`);
  await writeFile(join(out, MARKER), JSON.stringify({ model, runtime }, null, 2) + "\n");

  const megabytes = (part) => (part.files.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6).toFixed(1);
  console.log(`${out}: model ${megabytes(model)} MB, runtime ${megabytes(runtime)} MB (onnxruntime-web ${version})`);
}

/** Empties the folder if an earlier build made it; any other folder that holds files is left alone. */
async function makeRoom(out) {
  const exists = (path) => stat(path).then(() => true, (error) => error.code !== "ENOENT");
  if (await exists(out)) {
    if (!(await exists(join(out, MARKER)))) throw new Error(`${out} exists and is no earlier build; choose another --out`);
    await rm(out, { recursive: true });
  }
  await mkdir(out, { recursive: true });
}

async function digest(folder, names) {
  const hash = createHash("sha256");
  for (const name of names) hash.update(await readFile(join(folder, name)));
  return hash.digest("hex").slice(0, 12);
}

/** Copies files into `out/folder`; returns the folder with each file's name and bytes. */
async function copied(from, names, out, folder) {
  const files = [];
  for (const name of names) {
    await cp(join(from, name), join(out, folder, name));
    files.push({ name, bytes: (await stat(join(from, name))).size });
  }
  return { folder, files };
}

await main();
