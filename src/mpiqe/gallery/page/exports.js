"use strict";
// Decisions as files: CSV with the columns path, decision, rating; JSON, a list of such objects; a list of paths.

const DECISION_COLUMNS = ["path", "decision", "rating"];

function decidedRows(gallery, decisions) {
  const rows = [];
  for (let photo = 0; photo < gallery.count; photo++) {
    if (decisions.isDecided(photo)) {
      rows.push({ path: gallery.first.path(photo), decision: decisions.decision(photo), rating: decisions.rating(photo) });
    }
  }
  return rows;
}

function csvField(value) {
  const text = value === null ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function decisionsAsCsv(rows) {
  const lines = rows.map((row) => DECISION_COLUMNS.map((name) => csvField(row[name])).join(","));
  return `${[DECISION_COLUMNS.join(","), ...lines].join("\n")}\n`;
}

const decisionsAsJson = (rows) => `${JSON.stringify(rows, null, 1)}\n`;

/** Paths line by line, in the bytes that they have on disk. */
function pathsAsLines(paths) {
  return new Blob(paths.flatMap((path) => [bytesOfName(path), "\n"]), { type: "text/plain" });
}

function download(name, content, type) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

/** Records of CSV text, quotes and line breaks within them included. */
function csvRecords(text) {
  const records = [];
  let record = [], field = "", quoted = false;
  const source = text.replace(/^\ufeff/, "");
  for (let at = 0; at < source.length; at++) {
    const letter = source[at];
    if (quoted) {
      if (letter !== '"') field += letter;
      else if (source[at + 1] === '"') { field += '"'; at++; }
      else quoted = false;
    } else if (letter === '"') quoted = true;
    else if (letter === ",") { record.push(field); field = ""; }
    else if (letter === "\n" || letter === "\r") {
      if (letter === "\r" && source[at + 1] === "\n") at++;
      records.push([...record, field]);
      record = []; field = "";
    } else field += letter;
  }
  if (field || record.length) records.push([...record, field]);
  return records;
}

/** The rows of an exported file; throws an Error that says what is wrong. */
function parseDecisions(text) {
  let rows;
  if (text.trimStart().startsWith("[")) rows = JSON.parse(text);
  else {
    const [head, ...records] = csvRecords(text);
    if (!head || DECISION_COLUMNS.some((name) => !head.includes(name))) {
      throw new Error(`it has no columns ${DECISION_COLUMNS.join(", ")}`);
    }
    rows = records.map((record) => Object.fromEntries(head.map((name, at) => [name, record[at]])));
  }
  return rows.map(({ path, decision, rating }, at) => {
    const number = rating === null || rating === undefined || rating === "" ? null : Number(rating);
    const isRating = number === null || (Number.isInteger(number) && number >= 0 && number <= 5);
    if (typeof path !== "string" || !DECISIONS.includes(decision || "") || !isRating) {
      throw new Error(`row ${at + 1} is no decision`);
    }
    return { path, decision: decision || "", rating: number };
  });
}
